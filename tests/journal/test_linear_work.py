"""Ten times as much in a file is at most eleven times the work, for all that writes and reads files."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from shutil import copytree
from sqlite3 import Connection
from typing import Any

import pytest

from crystallize import Journal, fan_out, fork, load_run, merge
from crystallize._journal import drainer
from crystallize._journal.event_rows import apply
from crystallize.frames import to_arrow, to_reader
from crystallize.report import write_report
from crystallize.runs import diff_runs, verify_run

from ..core.test_linear_work import FILLS, Context, Fill
from ..work import growth


def branches(ctx: Context, number: int) -> None:
    for branch in [fork(ctx, f"branch-{at}") for at in range(number)]:
        child = branch.open()
        child[branch.name] = 1
        child.record("loss", 0.5)
        merge(ctx, child.delta())


def failing_steps(ctx: Context, number: int) -> None:
    for at in range(number):
        ctx[f"key-{at}"] = at
        with pytest.raises(ZeroDivisionError), ctx.step("fail"):
            raise ZeroDivisionError


def unrestorable(ctx: Context, number: int) -> None:
    """Steps whose values cannot be restored from the file, so that all of them are repeated."""
    for at in range(number):
        with ctx.step("lose") as step:
            step[f"key-{at}"] = object


ALL_FILLS: list[Fill] = [*FILLS, branches, failing_steps, unrestorable]


def written(folder: Path, fill: Fill, number: int, processes: int = 1) -> Path:
    with Journal.start(folder, "run") as journal:
        fill(journal.context(Context), number)
    for _ in range(1, processes):
        with Journal.resume(journal.path) as resumed:
            resumed.context(Context)
    return journal.path


@pytest.mark.parametrize("fill", ALL_FILLS)
def test_writing_a_run(fill: Fill, tmp_path: Path) -> None:
    """The work of an event does not grow with what the file holds."""
    assert growth(lambda number: lambda: written(tmp_path, fill, number)) < 11


def nothing(ctx: object, item: int) -> None:
    """A task that takes no time."""


def test_writing_the_branches_of_a_fan_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does as much for each branch, however many there are."""
    steps = 0

    def counted(connection: Connection, *facts: Any) -> None:
        def add() -> None:
            nonlocal steps
            steps += 1

        connection.set_progress_handler(add, 1)
        apply(connection, *facts)
        connection.set_progress_handler(None, 1)

    def work(number: int) -> int:
        before = steps
        with Journal.start(tmp_path, "run") as journal, ThreadPoolExecutor(2) as threads:
            fan_out(journal.context(Context), nothing, range(number), executor=threads)
        return steps - before

    monkeypatch.setattr(drainer, "apply", counted)
    assert work(300) / work(30) < 11


def resume(path: Path) -> None:
    with Journal.resume(path) as journal:
        journal.context(Context)


def load(path: Path) -> object:
    run = load_run(path)
    return run.context, run.entries, run.dead_attempts, run.so_far, run.unrestorable_points, run._repr_html_()


def diff(path: Path) -> object:
    return diff_runs(load_run(path), load_run(path))


def table(path: Path) -> object:
    return to_arrow(load_run(path)), to_reader(path).read_all()


def report(path: Path) -> None:
    write_report(load_run(path), path.with_suffix(".html"))


READS: list[Callable[[Path], object]] = [resume, load, diff, verify_run, table, report]


def is_quick(fill: Fill, read: Callable[[Path], object]) -> bool:
    """Whether a case is tried by `make test`: a report runs many bytecodes, so only that of branches is."""
    return read is not report or fill is branches


CASES = [
    pytest.param(
        fill, read, marks=() if is_quick(fill, read) else pytest.mark.long, id=f"{fill.__name__}-{read.__name__}"
    )
    for fill in ALL_FILLS
    for read in READS
]


@pytest.mark.slow
@pytest.mark.parametrize(("fill", "read"), CASES)
def test_reading_a_run(fill: Fill, read: Callable[[Path], object], tmp_path: Path) -> None:
    """All that reads a file reads each key, step, metric and branch once."""

    def prepared(number: int) -> Callable[[], object]:
        path = written(tmp_path, fill, number)
        return lambda: read(path)

    assert growth(prepared, few=10) < 11


@pytest.fixture(scope="module")
def resumed_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs by the number of their processes."""
    return {number: written(tmp_path_factory.mktemp("run"), FILLS[1], number, processes=number) for number in (4, 40)}


@pytest.mark.slow
@pytest.mark.parametrize("read", [*READS[:-1], pytest.param(report, marks=pytest.mark.long)])
def test_reading_a_run_of_many_processes(
    read: Callable[[Path], object], resumed_runs: dict[int, Path], tmp_path: Path
) -> None:
    """A run that was resumed ten times as often is read with at most eleven times the work."""
    numbers = count()

    def prepared(number: int) -> Callable[[], object]:
        # A copy, which may be resumed.
        path = resumed_runs[number]
        copied = copytree(path.parent, tmp_path / str(next(numbers))) / path.name
        return lambda: read(copied)

    assert growth(prepared, few=4) < 11
