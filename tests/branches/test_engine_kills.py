"""Workers that die: whatever dies whenever, in the end the context is as if nothing had."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Any

import numpy as np
import pytest

from crystallize import FrozenContext, Journal, LostBranchesError, MetricSchema, fan_out, load_run
from crystallize._branches import base_file, engines
from crystallize._journal import run_files
from crystallize.runs import verify_run

from ..journal.journal_runs import no_environment
from .engine_tasks import (
    IDLE,
    WorkMetrics,
    dies_of,
    dies_once,
    dies_opening,
    in_a_loop,
    in_the_hands_of_a_killer,
    is_at_work,
    opened,
    sums,
    view,
    writes_a_lot,
)

pytestmark = [
    pytest.mark.slow,
    # Since Python 3.12, of a fork in a process that has threads; it is tried here on purpose.
    pytest.mark.filterwarnings(r"ignore:.*use of fork\(\):DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "current_environment", no_environment)


@contextmanager
def context_in(folder: Path | None, metrics: type[MetricSchema] | None) -> Iterator[FrozenContext]:
    """Make a context with a journal in a folder; at the end, check that the file has all that the context holds."""
    initial = {"table": np.arange(6.0)}
    if folder is None:
        yield FrozenContext(initial, metrics=metrics)
        return
    with Journal.start(folder, "run") as opened_journal:
        ctx = opened_journal.context(FrozenContext, initial, metrics=metrics)
        yield ctx
    assert () == verify_run(opened_journal.path)
    run = load_run(opened_journal.path, metrics=metrics)
    assert "finished" == run.status
    assert view(ctx) == view(run.context)


def until_done(ctx: FrozenContext, task: Any, items: list[tuple[str, int]], engine: str) -> tuple[list[int], int]:
    """Fan out, on a new executor whenever one has broken; return the results, and how often one has."""
    for broken in range(1000):
        with opened(engine) as executor:
            try:
                return fan_out(ctx, task, items, executor=executor), broken
            except LostBranchesError as error:
                lost = error
        merged = {record.name for record in ctx.provenance.steps if record.error is None}
        rest = [item for at, item in enumerate(items) if f"{task.__name__}-{at}" not in merged]
        assert f"{task.__name__}-{rest[0][1]}" == lost.branch
        assert [f"{at})" for _, at in rest] == [item.rpartition(" ")[2] for item in lost.items]
    raise AssertionError("it never ended")


def alone(task: Any, items: list[tuple[str, int]], metrics: type[MetricSchema] | None) -> tuple[list[int], Any]:
    """Do the same in this process."""
    ctx = FrozenContext({"table": np.arange(6.0)}, metrics=metrics)
    return in_a_loop(ctx, task, items), view(ctx)


def dying_items(folder: Path, count: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return items whose workers die once, and the same for which they have died."""
    alive, deadly = folder / "alive", folder / "deadly"
    for path in (alive, deadly):
        path.mkdir()
    for at in range(count):
        (alive / f"met-{at}").touch()
    return [(str(deadly), at) for at in range(count)], [(str(alive), at) for at in range(count)]


def check_dying(folder: Path, engine: str, count: int, *, with_journal: bool, most: int = 0) -> None:
    """Kill each worker once that comes to the middle of two items in three; Dask may break `most` times."""
    deadly, harmless = dying_items(folder, count)
    metrics = WorkMetrics if with_journal else None
    expected, expected_view = alone(dies_once, harmless, metrics)
    with context_in(folder if with_journal else None, metrics) as ctx:
        results, broken = until_done(ctx, dies_once, deadly, engine)
        assert expected == results
        assert expected_view == view(ctx)
    # Dask tries again by itself.
    assert broken <= most if engine == "dask" else 0 < broken <= count


@pytest.mark.parametrize("with_journal", [False, True])
def test_workers_that_die_once(tmp_path: Path, with_journal: bool) -> None:
    """Where workers die in the middle of their tasks, no point is doubled or lost, in the context or the file."""
    check_dying(tmp_path, "fork", 4, with_journal=with_journal)


@pytest.mark.parametrize("engine", ["fork", "loky", "dask"])
def test_workers_that_die_with_what_was_sent_once(tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds where the parent's values are sent once, and may be lost with the last worker that had it."""
    monkeypatch.setattr(base_file, "SMALL", -1)
    check_dying(tmp_path, engine, 4, with_journal=True, most=4)


def test_workers_that_die_with_what_dask_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Dask itself sends the parent's values, as to other machines, it sends them again."""
    monkeypatch.setattr(base_file, "SMALL", -1)
    monkeypatch.setattr(engines, "is_near", lambda client: False)
    check_dying(tmp_path, "dask", 4, with_journal=True)


@pytest.mark.parametrize("builder", ["fork", "spawn"])
def test_workers_that_die_opening_what_the_parent_holds(tmp_path: Path, builder: str) -> None:
    """Where workers are killed while they map the file, the same call on a new pool does the rest."""
    ctx = FrozenContext({"table": np.arange(60_000.0)})
    context = multiprocessing.get_context(builder)
    broken = 0
    while True:
        try:
            with ProcessPoolExecutor(2, context, dies_opening, (str(tmp_path), 2)) as executor:
                assert [0.0, 1.0, 2.0] == fan_out(ctx, sums, range(3), executor=executor)
            break
        except LostBranchesError:
            broken += 1
    assert broken >= 1
    assert ["met-0", "met-1"] == sorted(os.listdir(tmp_path))
    assert (ctx["rows-2"] == ctx["table"] * 2).all()
    assert 3 == sum(record.error is None for record in ctx.provenance.steps)


@pytest.mark.parametrize("engine", ["fork", "loky", "dask"])
def test_a_worker_that_always_dies(engine: str) -> None:
    """An item that kills whoever takes it is named; the other items can be done without it."""
    ctx = FrozenContext()
    with (
        opened(engine, deaths=0) as executor,
        pytest.raises(LostBranchesError, match="the same fan_out with a new executor") as caught,
    ):
        fan_out(ctx, dies_of, [2, 1, 3], executor=executor, name=str)
    assert ("2", "2") == (caught.value.branch, caught.value.items[0])
    with opened(engine) as executor:
        assert [1, 3] == fan_out(ctx, dies_of, [1, 3], executor=executor, name=str)
    assert {"1", "3"} == {record.name for record in ctx.provenance.steps if record.error is None}


@pytest.mark.long
@pytest.mark.parametrize("engine", ["fork", "spawn", "forkserver", "loky", "dask"])
def test_many_workers_that_die_once(tmp_path: Path, engine: str) -> None:
    """As above on each engine, of as many items as take minutes."""
    check_dying(tmp_path, engine, 45 if engine == "spawn" else 100, with_journal=True)


@contextmanager
def killer(folder: Path, count: int, seed: int) -> Iterator[list[int]]:
    """Kill workers at random that are at work, up to a number of them; yields those that were."""
    random, ends = Random(seed), threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while len(killed) < count and not ends.wait(random.random() * 0.05):
            marks = [mark for mark in sorted(folder.iterdir()) if is_at_work(mark)]
            if marks:
                killed.append(int(random.choice(marks).name.rpartition("-")[2]))
                with suppress(ProcessLookupError):  # it may have ended since
                    os.kill(killed[-1], SIGKILL)
                (folder / IDLE).unlink(missing_ok=True)

    (folder / IDLE).touch()
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ends.set()
        thread.join()
        (folder / IDLE).unlink(missing_ok=True)


def check_killed(folder: Path, engine: str, count: int, kills: int, seed: int) -> None:
    """Kill workers at random while they work."""
    for name in ("alive", "deadly"):
        (folder / name).mkdir()
    task = in_the_hands_of_a_killer
    items = [(str(folder / "deadly"), at) for at in range(count)]
    expected, expected_view = alone(task, [(str(folder / "alive"), at) for at in range(count)], WorkMetrics)
    with (
        context_in(folder, WorkMetrics) as ctx,
        killer(folder / "deadly", kills, seed) as killed,
    ):
        results, _ = until_done(ctx, task, items, engine)
        assert expected == results
        assert expected_view == view(ctx)
    assert 0 < len(killed) <= kills


def test_workers_killed_at_random(tmp_path: Path) -> None:
    """Whenever workers are killed, no point is doubled or lost, in the context or the file."""
    check_killed(tmp_path, "fork", 10, 3, 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("engine", ["fork", "spawn", "forkserver", "loky", "dask"])
def test_workers_killed_tens_of_times(tmp_path: Path, engine: str, seed: int) -> None:
    """As above, over as many kills as take minutes."""
    check_killed(tmp_path, engine, 100, 30, seed)


# Not dead, but large.


def check_large(folder: Path, what: str, metrics: type[MetricSchema] | None = None) -> None:
    """Send something large through a pool of processes, into a context with a journal and its usual spool."""
    ctx = FrozenContext({}, metrics=metrics)
    expected = in_a_loop(ctx, writes_a_lot, [what])
    with Journal.start(folder, "run") as opened_journal, opened("fork") as executor:
        large = opened_journal.context(FrozenContext, {}, metrics=metrics)
        assert expected == fan_out(large, writes_a_lot, [what], executor=executor)
        assert view(ctx) == view(large)
    assert () == verify_run(opened_journal.path)
    run = load_run(opened_journal.path, metrics=metrics)
    assert view(ctx) == view(run.context)


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_branch_of_many_keys(tmp_path: Path, count: int) -> None:
    """A branch of thousands of keys is merged and kept whole."""
    check_large(tmp_path, f"{count} keys")


def test_a_branch_of_a_large_value(tmp_path: Path) -> None:
    """A branch with a value of 20 MB, more than a spool holds, is merged and kept whole."""
    check_large(tmp_path, "value")


@pytest.mark.long
def test_a_branch_of_a_larger_value(tmp_path: Path) -> None:
    """A branch with a value of 50 MB, three times what a spool holds, is merged and kept whole."""
    check_large(tmp_path, "larger value")


@pytest.mark.long
@pytest.mark.parametrize("metrics", [None, WorkMetrics], ids=["undeclared", "declared"])
def test_a_branch_of_a_million_points(tmp_path: Path, metrics: type[MetricSchema] | None) -> None:
    """A branch of 1,000,000 points, more than a spool holds, is merged and kept whole."""
    check_large(tmp_path, "points", metrics)
