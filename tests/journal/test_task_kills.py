"""A program of tasks, coroutines, retries and reuse that is killed again and again ends as one that was not killed."""

import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crystallize import load_run
from crystallize.runs import list_runs, verify_run

ROOT = Path(__file__).parents[2]


def command(folder: Path, *arguments: object) -> list[str]:
    """Return the command that runs the program."""
    return [sys.executable, "-m", "tests.journal.task_program", str(folder), *map(str, arguments)]


def end(folder: Path, *arguments: object) -> Path:
    """Let the program come to its end, and return the file of its run."""
    folder.mkdir(exist_ok=True)
    subprocess.run(command(folder, *arguments), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (path,) = list_runs(folder)
    return path


def kill_once(killed: list[str], random: Random) -> bool:
    """Run the program, kill it some time after one of its calls, and return whether it was killed before its end."""
    with subprocess.Popen(killed, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(random.randint(1, 5)):
            process.stdout.readline()
        time.sleep(random.random() * 0.005)
        process.kill()
        errors = process.stderr.read()
    assert process.returncode in (0, -9), errors
    return process.returncode == -9


def end_of(path: Path) -> dict[str, Any]:
    """Return all that a run has in the end, apart from the records of attempts that failed."""
    assert () == verify_run(path)
    run = load_run(path)
    assert "finished" == run.status
    records = run.context.provenance.steps
    return {
        "values": dict(run.context),
        "points": run.context.metrics.as_dict(),
        "artifacts": {artifact.name: artifact.data for artifact in run.context.artifacts},
        "steps": {record.name for record in records if record.error is None and "/attempt-" not in record.name},
    }


def kill_again_and_again(folder: Path, kills: int, seed: int) -> None:
    """Kill the program a number of times, let it end, and compare it with one that was not killed."""
    random, killed = Random(seed), folder / "killed"
    earlier = end(folder / "earlier", 0)
    killed.mkdir()
    assert all(kill_once(command(killed, 1, earlier), random) for _ in range(kills))
    path = end(killed, 1, earlier)
    records = load_run(path).context.provenance.steps
    reused = {record.name for record in records if record.reused_from == earlier.stem}
    assert {"load-5", "fit-a", "fit-a/epoch-a-3", "upload-one", "talk/ask-2"} <= reused
    assert not {"fit-b", "fit-b/epoch-b-0", "upload-two", "talk/ask-1", "talk"} & reused
    assert end_of(end(folder / "whole", 1)) == end_of(path)


@pytest.mark.slow
def test_a_program_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    """After three kills at random moments, values, points, artifacts, results and steps are the same."""
    kill_again_and_again(tmp_path, 3, 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 18))
def test_programs_killed_51_times(tmp_path: Path, seed: int) -> None:
    """As above, over as many seeds as take minutes."""
    kill_again_and_again(tmp_path, 3, seed)
