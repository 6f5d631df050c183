"""A process that stores large artifacts is killed at any moment: no fact is left without its object."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import pytest

from crystallize import FrozenContext, Journal, load_run
from crystallize._base.object_folder import ObjectFolder, name_of
from crystallize._journal import run_files
from crystallize.runs import list_runs, verify_run

from .journal_runs import no_environment, processes

SIZE = (1 << 20) + 1


def content(name: str) -> bytes:
    return Random(name).randbytes(1000) * (SIZE // 1000 + 1)


def add_artifacts(folder: Path, path: Path | None, pipe: Connection) -> None:
    """Add artifacts to a new or a resumed run, and acknowledge each."""
    run_files.current_environment = no_environment  # type: ignore[attr-defined]  # imported there
    with Journal.start(folder, "train") if path is None else Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        number = len(ctx.artifacts)
        while True:
            name = f"model-{number}"
            # Each content is added twice, under two names.
            ctx.artifacts.add(name, content(f"model-{number // 2}"))
            pipe.send(name)
            number += 1


def kill_again_and_again(folder: Path, seed: int) -> None:
    """Kill the process up to three times; look at the run after each."""
    random = Random(seed)
    path: Path | None = None
    acknowledged: list[str] = []
    for _ in range(random.randint(1, 3)):
        here, there = processes.Pipe(duplex=False)
        process = processes.Process(target=add_artifacts, args=(folder, path, there), daemon=True)
        process.start()
        there.close()
        # Wait for an artifact or two, and then for a moment in the middle of the next one.
        for _ in range(random.randint(0, 2)):
            acknowledged.append(here.recv())
        here.poll(random.random() * 0.05)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        try:
            while True:
                acknowledged.append(here.recv())
        except EOFError:
            here.close()
        path = next(iter(list_runs(folder)), None) if folder.exists() else None
        if path is None:
            assert [] == acknowledged
            continue
        assert () == verify_run(path)
        found = {artifact.name: artifact.data for artifact in load_run(path).artifacts}
        assert set(acknowledged) <= found.keys()
        assert {name: content(f"model-{int(name[6:]) // 2}") for name in found} == found
    if path is not None:
        with Journal.resume(path) as journal:
            journal.context(FrozenContext).artifacts.add("last", content("last"))
        assert () == verify_run(path)
        # Nothing but objects, at most one that no fact names, and unfinished files, which a later process removes.
        objects = ObjectFolder(folder / "objects")
        named = {objects.path_of(artifact.digest) for artifact in load_run(path).artifacts}
        files = {file for file in objects.path.rglob("*") if file.is_file() and file.suffix != ".new"}
        assert named <= files
        assert all(name_of([file.read_bytes()]).digest == file.parent.name + file.name for file in files)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_has_its_objects(tmp_path: Path, seed: int) -> None:
    """Whenever the process is killed, each artifact that the run names has its object, and the run goes on."""
    kill_again_and_again(tmp_path / "runs", seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_runs_killed_300_times(tmp_path: Path, seed: int) -> None:
    """As above, over as many seeds as take minutes."""
    kill_again_and_again(tmp_path / "runs", seed)
