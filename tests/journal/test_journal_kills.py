"""Runs whose process is killed at any moment: what was acknowledged is there, whole and once, and the run goes on."""

from pathlib import Path
from random import Random

import pytest

from crystallize import FrozenContext, Journal, load_run
from crystallize.runs import list_runs, verify_run

from .journal_runs import SMALL, Expected, Plan, RunMetrics, acts, killed, perform, whole


def kill_again_and_again(folder: Path, seed: int) -> None:
    """Kill a run up to four times, in recording, in draining, where its spool wraps or in opening; then end it."""
    random = Random(seed)
    expected = Expected(seed)
    metrics = random.choice((None, RunMetrics))
    path: Path | None = None
    for _ in range(random.randint(1, 4)):
        batch, delay = random.choice(((1000, 0.1), (20, 0.001), (100, 0.01), (1, 0.0001)))
        plan = Plan(
            seed, path or folder, random.choice((SMALL, SMALL, 2 * SMALL, 1 << 20)), batch, delay, metrics=metrics
        )
        kind = random.random()
        if kind < 0.3:  # in opening
            died = killed(plan, after=random.random() * 0.02)
        elif kind < 0.6:  # anywhere
            died = killed(plan, after=random.random() * 0.2)
        else:  # at once after an act
            died = killed(plan, acknowledged=int(10 ** random.uniform(0, 3.7)))
        expected.take(died)
        for found in list_runs(folder):
            # One that died in opening may have been made, and not have said so.
            assert () == verify_run(found)
            path = path or found
        if path is not None:
            expected.check(path)
            assert "died" == load_run(path).status
    if path is None:
        return
    with Journal.resume(path) as resumed:
        session = len(load_run(path).sessions)
        ctx = resumed.context(FrozenContext, metrics=metrics)
        done: list[None] = []
        perform(ctx, whole(acts(seed, session, 200)), lambda: done.append(None))
        # A resumed context tells no inputs, which its writers acknowledge as an act.
        expected.acknowledged[session] = len(done) + 1
    expected.check(path)
    assert "finished" == load_run(path).status
    assert [path] == [file for file in folder.iterdir() if file.stem == path.stem]


pytestmark = pytest.mark.usefixtures("without_environment")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_killed_run_has_all_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    """Whenever a run is killed, all that was acknowledged is in its file, once and whole, and the run can go on."""
    kill_again_and_again(tmp_path, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_runs_killed_300_times(tmp_path: Path, seed: int) -> None:
    """As above, over as many seeds as take minutes."""
    kill_again_and_again(tmp_path, seed)
