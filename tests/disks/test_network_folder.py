"""Runs in a folder of a network file system, for which FUSE stands: written, killed, loaded and resumed there."""

import os
from pathlib import Path
from random import Random

import pytest

from crystallize import Journal, JournalError

from .faults import FAULTS, Fault, Faults
from .mirror import Mirror
from .mounts import in_own_mounts, missing, served
from .promises import promises_in
from .writer import SAY, Writer, in_a_fork, write_and_kill

REASON = missing(device="/dev/fuse")
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(REASON), reason=REASON)]
WRITE_AHEAD = 2
"""What byte 18 of a database says if it has a write-ahead log."""


def check_killed(scratch: Path, seed: int, maps: bool) -> None:
    """Kill a run three times, then check it."""
    behind = scratch / "behind"
    behind.mkdir()
    with served(Mirror(behind, maps=maps), scratch / "net") as root:
        promises = write_and_kill(root, scratch / "said", seed)
        (path,) = root.rglob("*.db")
        assert path.read_bytes()[18] != WRITE_AHEAD, "a network file system cannot share a write-ahead log"
        promises.check_resuming(path)


@pytest.mark.parametrize("maps", [False, True], ids=["unmapped", "mapped"])
@pytest.mark.parametrize("seed", range(5))
def test_a_run_that_is_killed(tmp_path: Path, seed: int, maps: bool) -> None:
    """A run that is killed has all that was acknowledged, and goes on, whether files can be mapped or not."""
    in_own_mounts(check_killed, tmp_path, seed, maps)


def check_moved(scratch: Path, maps: bool) -> None:
    """Kill a run on an ordinary disk, and go on with it in the folder of a network file system."""
    behind = scratch / "behind"
    behind.mkdir()
    promises = write_and_kill(behind, scratch / "said", 3)
    with served(Mirror(behind, maps=maps), scratch / "net") as root:
        promises.check_resuming(root / "runs" / "run-0001.db")


@pytest.mark.parametrize("maps", [False, True], ids=["unmapped", "mapped"])
def test_a_run_that_is_moved(tmp_path: Path, maps: bool) -> None:
    """A run that was killed on an ordinary disk can be loaded and goes on in a folder of another machine."""
    in_own_mounts(check_moved, tmp_path, maps)


def check_without_links(scratch: Path) -> None:
    """Start a run where a file has one name."""
    behind = scratch / "behind"
    behind.mkdir()
    with served(Mirror(behind, links=False), scratch / "net") as root:
        try:
            Journal.start(root / "runs", "trial").close()
        except JournalError:
            assert not [path for path in behind.rglob("*") if path.is_file()], "a refused start left files"
        else:
            promises = write_and_kill(root, scratch / "said", 1)
            promises.check_resuming(root / "runs" / "run-0001.db")


def test_a_folder_without_links(tmp_path: Path) -> None:
    """Where a file cannot have two names, a run is refused and nothing is left of it, or it works as anywhere."""
    in_own_mounts(check_without_links, tmp_path)


def check_failing(scratch: Path, seed: int, fault: Fault, maps: bool) -> None:
    """Let the server fail in the middle of a run; then check the run when the server answers again."""
    behind, said, faults = scratch / "behind", scratch / "said", Faults()
    behind.mkdir()
    with served(Mirror(behind, faults, maps=maps), scratch / "net") as root:
        writer = Writer(root, os.open(said, SAY), seed)

        def write() -> bool:
            survives = "machine" if maps else "process"
            return writer.write_until_it_fails(writer.open(root / "runs"), survives=survives, most=20_000, pause=0.001)

        later = faults.later(fault, said, Random(seed).random())
        assert in_a_fork(write, later), "the journal went on as if nothing had happened"
        faults.set(None)
    with served(Mirror(behind, maps=maps), scratch / "net") as root:
        for name, promises in promises_in([said.read_bytes()]).items():
            promises.check_resuming(root / name)


@pytest.mark.parametrize("maps", [False, True], ids=["unmapped", "mapped"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(2))
def test_a_server_that_fails(tmp_path: Path, seed: int, fault: Fault, maps: bool) -> None:
    """Where the server fails, so does the journal, loudly; when it answers again all that was acknowledged is there."""
    in_own_mounts(check_failing, tmp_path, seed, fault, maps)
