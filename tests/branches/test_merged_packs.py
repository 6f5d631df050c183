"""Merged branches in packs, in memory and in the file of a run: nothing else is read than without packs."""

import gc
import multiprocessing
import os
import pickle
import signal
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from crystallize import (
    BranchContext,
    BranchError,
    DamagedRunError,
    Delta,
    DivergentRetryError,
    FrozenContext,
    Journal,
    JournalError,
    Metric,
    MetricSchema,
    RunNotFoundError,
    fan_out,
    fork,
    load_run,
    merge,
)
from crystallize._branches import merged_packs
from crystallize._branches.branch_registry import registry_of
from crystallize._core import ordered_log
from crystallize._core.context import state_of
from crystallize._core.step_log import PackedRecords
from crystallize._journal import drainer
from crystallize.frames import to_arrow
from tests.interruption import Stopped, called_at, count_bytecodes, in_thread, interrupted

from ..profiles import examples


class Tags(TypedDict, total=False):
    epoch: int
    split: str


class Measured(MetricSchema):
    loss = Metric(float, tags=Tags, goal="minimize")
    any = Metric(Any, tags=Tags)


@pytest.fixture
def soon() -> Iterator[None]:
    """Pack as few as four branches, and leave packs to the file at once."""
    with pytest.MonkeyPatch.context() as patch:
        pack_soon(patch)
        yield


def pack_soon(patch: pytest.MonkeyPatch, most: int = 4, in_memory: int = 0) -> None:
    patch.setattr(merged_packs, "MOST", most)
    patch.setattr(merged_packs, "IN_MEMORY", in_memory)
    patch.setattr(ordered_log, "FEWEST", 2)


# Each is what a branch does; its number makes names and values differ.


def nothing(child: BranchContext[Any], at: int) -> None:
    pass


def plain(child: BranchContext[Any], at: int) -> None:
    for epoch in range(at % 3):
        child.record("loss", at + epoch / 7, {"epoch": epoch})
    value: Any = [None, True, "x", at, float("inf")][at % 5]
    tags: Any = [{}, {"split": "val"}, {"epoch": at}][at % 3]
    child.record("any", value, tags)


def odd(child: BranchContext[Any], at: int) -> None:
    """Points that a file does not give back as they are, or only with notes."""
    child.record("any", [1 << 70, (1, 2), b"x", {"a": [1]}][at % 4], {})


def stepwise(child: BranchContext[Any], at: int) -> None:
    for epoch in range(2):
        with child.step("epoch") as step:
            step.record("loss", epoch / 3, {"epoch": epoch})
    child.record("loss", 0.5, {})


def nested(child: BranchContext[Any], at: int) -> None:
    for number in range(3):
        inner = fork(child, f"part-{number}").open()
        plain(inner, at + number)
        merge(child, inner.delta())


def writing(child: BranchContext[Any], at: int) -> None:
    child[f"score-{at}"] = child["lr"] * at
    child.artifacts.add(f"curve-{at}", b"x")
    child.get("absent")


TASKS: list[Callable[[BranchContext[Any], int], None]] = [nothing, plain, plain, odd, stepwise, nested, writing]


def read(ctx: FrozenContext[Any]) -> dict[str, Any]:
    """Return all that can be read of a context, except for times."""
    found: dict[str, Any] = {}
    for name in ctx.metrics:
        series = ctx.metrics.series(name)
        points = [repr(tuple(point)) for point in series]
        assert (repr(series.values), len(points)) == (repr(ctx.metrics[name]), len(series))
        found[name] = [points, repr(series.first), repr(series.last), repr(series.where(epoch=1).values)]
        with suppress(Exception):
            found[name].append(series.best)
        if name == "loss":
            table = to_arrow(series)
            found["table"] = [table.column(column).to_pylist() for column in ("step", "branch", "sequence", "value")]
    steps = ctx.provenance.steps
    names = [*(step.name for step in steps), "fold-0/epoch", "fold-1/part-0", "no", "fold-0/epoch/no"]
    found["steps"] = [
        (step.name, step.reads, step.absent, step.writes, dict(step.points), step.error) for step in steps
    ]
    found["finished"] = [ctx.provenance.finished(name) for name in names]
    found["keys"] = [*ctx], [artifact.name for artifact in ctx.artifacts], ctx.provenance.lineage
    found["repr"] = repr(ctx.metrics), repr(ctx.provenance), ctx.metrics._repr_html_()
    return found


def run(
    ctx: FrozenContext[Any], program: list[tuple[int, int, bool]], notes: Callable[[int], object] = int
) -> FrozenContext[Any]:
    """Run a program: for each branch its task, the number of branches after which it is merged, and more."""
    waiting: list[tuple[int, int, Any]] = []

    def deliver(now: int) -> None:
        for found in [found for found in waiting if found[0] <= now]:
            waiting.remove(found)
            merge(ctx, found[2])
            notes(found[1])

    for at, (task, delay, records) in enumerate(program):
        if records:
            ctx.record("loss", float(at), {})
            with ctx.step("between"):
                pass
        child = fork(ctx, f"fold-{at}").open()
        TASKS[task](child, at)
        waiting.append((at + delay, at, child.delta()))
        deliver(at)
    deliver(1000)
    return ctx


programs = st.lists(
    st.tuples(
        st.integers(0, len(TASKS) - 1), st.sampled_from([0, 0, 0, 0, 1, 3]), st.sampled_from([False] * 9 + [True])
    ),
    min_size=4,
    max_size=25,
)
LAW = settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_law(program: list[tuple[int, int, bool]], metrics: type[MetricSchema] | None, data: st.DataObject) -> None:
    expected = read(run(FrozenContext({"lr": 0.1}, metrics=metrics), program))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        pack_soon(patch, data.draw(st.sampled_from([2, 4, 9])), data.draw(st.sampled_from([0, 0, 5])))
        patch.setattr(merged_packs, "POINTS", data.draw(st.sampled_from([4, merged_packs.POINTS])))
        flushes = data.draw(st.sets(st.integers(0, 24)), label="after which branches the facts are in the database")
        with Journal.start(folder, "fit") as journal:
            ctx = journal.context(FrozenContext, {"lr": 0.1}, metrics=metrics)
            run(ctx, program, lambda at: journal.flush() if at in flushes else None)
            assert expected == read(ctx)
            assert expected == read(pickle.loads(pickle.dumps(ctx)))
        assert expected == read(ctx)
        assert expected == read(load_run(journal.path, metrics=metrics).context) or has_odd_points(program)
        with Journal.resume(journal.path) as journal:
            ctx = journal.context(FrozenContext, metrics=metrics)
            assert expected == read(ctx) or has_odd_points(program)
            child = fork(ctx, "late").open()
            merge(ctx, child.delta())


def has_odd_points(program: list[tuple[int, int, bool]]) -> bool:
    """Whether a file gives some points back otherwise than they were, as it always does."""
    return any(TASKS[task] is odd for task, _, _ in program)


@pytest.mark.filterwarnings("ignore")
@LAW
@given(program=programs, metrics=st.sampled_from([None, Measured]), data=st.data())
def test_any_schedule_reads_the_same(**drawn: Any) -> None:
    """Whatever is recorded, forked, merged and flushed when: reads, copies, the file and the resumed run are equal."""
    check_law(**drawn)


def merged(ctx: FrozenContext[Any], numbers: range, task: Callable[[Any, int], None] = plain) -> FrozenContext[Any]:
    for at in numbers:
        child = fork(ctx, f"fold-{at}").open()
        task(child, at)
        merge(ctx, child.delta())
    return ctx


def filed(journal: Journal, count: int, task: Callable[[Any, int], None] = plain) -> FrozenContext[Any]:
    """Return the context of a run whose merged branches are in its file alone."""
    ctx = merged(journal.context(FrozenContext, {"lr": 0.1}), range(count), task)
    journal.flush()
    merged_packs.pack_merged(state_of(ctx), registry_of(state_of(ctx)))
    return ctx


def is_filed(ctx: FrozenContext[Any]) -> bool:
    """Whether a context has no branch in memory."""
    state = state_of(ctx)
    registry = registry_of(state)
    records = all(isinstance(section.items, PackedRecords) for section in state.step_log.sections())
    return records and not registry.entries and not registry.waiting


@pytest.mark.usefixtures("soon")
def test_packs_are_read_from_the_file(tmp_path: Path) -> None:
    """Once the facts of merged branches are in the database, they are read from there, also when the run has ended."""
    with Journal.start(tmp_path, "fit") as journal:
        ctx = filed(journal, 20)
        assert is_filed(ctx)
        assert read(merged(FrozenContext({"lr": 0.1}), range(20))) == read(ctx)
    assert read(merged(FrozenContext({"lr": 0.1}), range(20))) == read(ctx)
    copied = pickle.loads(pickle.dumps(ctx))
    journal.path.unlink()
    assert 20 == len(copied.provenance.steps) == len(copied.metrics["any"])
    # Of the others, this needs no file.
    series = ctx.metrics.series("any")
    assert (20, float("inf"), "FrozenMetrics(any: 20, loss: 19)") == (len(series), series.last, repr(ctx.metrics))
    assert ctx.provenance.finished("fold-7")
    assert not ctx.provenance.finished("fold-20")
    text = "branches that were merged are in this file alone, and it cannot be read: there is no such run"
    for ask in (lambda: series.values, lambda: ctx.provenance.steps, lambda: pickle.dumps(ctx)):
        with pytest.raises(RunNotFoundError, match=text):
            ask()


def merged_between(ctx: FrozenContext[Any], task: Callable[[Any, int], None]) -> FrozenContext[Any]:
    """Merge branches that were forked at one moment, and do something in the parent between the merges."""
    for at, branch in enumerate([fork(ctx, f"fold-{at}") for at in range(20)]):
        child = branch.open()
        task(child, at)
        merge(ctx, child.delta())
        with ctx.step("own") as own:
            own.record("own", at)
    return ctx


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("task", [nothing, plain, odd, stepwise, nested, writing])
def test_each_kind_of_work_is_read_from_the_file(tmp_path: Path, task: Callable[[Any, int], None]) -> None:
    """Whatever branches did, it reads the same, also if the file has facts of the parent between theirs."""
    with Journal.start(tmp_path, "fit") as journal:
        ctx = merged_between(journal.context(FrozenContext, {"lr": 0.1}), task)
        journal.flush()
        merged_packs.pack_merged(state_of(ctx), registry_of(state_of(ctx)))
        assert not registry_of(state_of(ctx)).waiting
        assert read(merged_between(FrozenContext({"lr": 0.1}), task)) == read(ctx)


@pytest.mark.usefixtures("soon")
def test_file_of_another_run(tmp_path: Path) -> None:
    """If another run is under the name of the file, reading says so."""
    with Journal.start(tmp_path, "fit") as journal:
        ctx = filed(journal, 8)
    with Journal.start(tmp_path, "other") as other:
        merged(other.context(FrozenContext, {"lr": 0.1}), range(8))
    other.path.replace(journal.path)
    with pytest.raises(DamagedRunError, match="it is the file of another run"):
        _ = ctx.metrics["any"]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("table", ["points", "steps", "merges"])
def test_rows_that_are_deleted(tmp_path: Path, table: str) -> None:
    """If rows of the work of branches are deleted, reading them says so."""
    with Journal.start(tmp_path, "fit") as journal:
        ctx = filed(journal, 8)
        again = changed(ctx)
        with closing(sqlite3.connect(journal.path, isolation_level=None)) as connection:
            connection.execute(f"DELETE FROM {table} WHERE sequence > 40")
        asked: dict[str, Callable[[], object]] = {
            "points": lambda: ctx.metrics["any"],
            "steps": lambda: ctx.provenance.steps,
            "merges": lambda: merge(ctx, again),
        }
        with pytest.raises(DamagedRunError, match=rf"'any' are missing|missing in {table}"):
            asked[table]()


def changed(ctx: FrozenContext[Any]) -> Delta:
    """Return the work of a branch that has the name of another one."""
    child = fork(ctx, "fold-7").open()
    child.record("loss", -1.0)
    return child.delta()


@pytest.mark.usefixtures("soon")
def test_reading_while_the_database_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs of branches whose facts are in the spool alone stay in memory, and are left to the file later."""
    monkeypatch.setattr(drainer, "DELAY", 1000)
    monkeypatch.setattr(drainer, "BATCH", 1_000_000)
    with Journal.start(tmp_path, "fit") as journal:
        ctx = merged(journal.context(FrozenContext, {"lr": 0.1}), range(30))
        registry = registry_of(state_of(ctx))
        assert 6 < len(registry.waiting)
        assert read(merged(FrozenContext({"lr": 0.1}), range(30))) == read(ctx)
        journal.flush()
        merged(ctx, range(30, 100))
        assert 16 < len(registry.waiting) < 19
        assert read(merged(FrozenContext({"lr": 0.1}), range(100))) == read(ctx)


def test_database_that_is_gone(tmp_path: Path) -> None:
    """If the database cannot be opened, branches stay in memory; the journal reports it."""
    journal = Journal.start(tmp_path, "fit")
    merged(journal.context(FrozenContext, {"lr": 0.1}), range(3))
    journal.flush()
    assert journal.merge_archive.stored(["fold-0", "fold-2"]) is not None
    assert journal.merge_archive.stored(["fold-0", "fold-3"]) is None
    journal.path.unlink()
    assert journal.merge_archive.stored(["fold-0", "fold-2"]) is None
    with pytest.raises(JournalError, match="moved or deleted"):
        journal.close()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("is_filed", [False, True])
def test_merged_again(tmp_path: Path, is_filed: bool) -> None:
    """The same work is merged once, other work is an error, and the name is taken, as without packs."""
    with ExitStack() as stack:
        if is_filed:
            ctx = filed(stack.enter_context(Journal.start(tmp_path, "fit")), 20)
        else:
            ctx = merged(FrozenContext({"lr": 0.1}), range(20))
        before = read(ctx)
        merged(ctx, range(20))
        assert before == read(ctx)
        with pytest.raises(DivergentRetryError, match="the points that it recorded"):
            merge(ctx, changed(ctx))
        with ctx.step("fold-3"):
            pass
        assert "fold-3#2" == ctx.provenance.steps[-1].name
        assert before["steps"] == read(ctx)["steps"][:-1]


def square(child: BranchContext[Any], at: int) -> int | None:
    plain(child, at)
    if at == child.get("bad"):
        raise ValueError(at)
    return at * at if at % 2 else None


@pytest.mark.usefixtures("soon")
def test_fan_out_over_packed_branches(tmp_path: Path) -> None:
    """A repeated `fan_out` runs what failed alone, returns all results in order once, and the resumed run has them."""
    expected = [at * at if at % 2 else None for at in range(20)]
    with Journal.start(tmp_path, "fit") as journal, ThreadPoolExecutor(2) as pool:
        ctx = journal.context(FrozenContext, {"bad": 9})
        with pytest.raises(ValueError, match="9"):
            fan_out(ctx, square, range(20), executor=pool)
        journal.flush()
        merged_packs.pack_merged(state_of(ctx), registry_of(state_of(ctx)))
        # Besides it there are those that have no branch beside them to be packed with.
        left = {*registry_of(state_of(ctx)).entries}
        assert "square-9" in left
        assert len(left) < 10
        found = fan_out(ctx, mended, range(20), executor=pool, name="square")
        assert expected == found
        copied = pickle.loads(pickle.dumps(ctx))
        for each in (ctx, copied):
            with pytest.raises(BranchError, match="an earlier call has merged it"):
                fan_out(each, mended, range(20), executor=pool, name="square")
    with Journal.resume(journal.path) as journal, ThreadPoolExecutor(2) as pool:
        assert expected == fan_out(journal.context(FrozenContext), mended, range(20), executor=pool, name="square")


def mended(child: BranchContext[Any], at: int) -> int | None:
    plain(child, at)
    child.get("bad")
    return at * at if at % 2 else None


@pytest.mark.usefixtures("soon")
def test_results_of_packed_branches() -> None:
    """A pickled context has the receipts of packed branches without their results."""
    ctx: FrozenContext[Any] = FrozenContext({"bad": -1})
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        fan_out(ctx, lambda child, at: 1 / (at - 8), range(9), executor=pool, name="inverse")
    registry = registry_of(state_of(ctx))
    receipt = registry.receipt("inverse-1")
    assert receipt is not None
    assert (-1 / 7, False) == (receipt.result, receipt.is_taken)
    same = pickle.loads(pickle.dumps(registry.packed.find("inverse-1")))
    assert receipt == same.receipt(1, same.read()[1])
    copied = registry.copied().receipt("inverse-1")
    assert receipt._replace(result=None, is_taken=True) == copied


@pytest.mark.usefixtures("soon")
def test_branches_that_may_move_are_not_packed() -> None:
    """A branch whose step runs again in a resumed run may move, and stays as it is."""
    ctx = merged(FrozenContext({"lr": 0.1}), range(3))
    registry = registry_of(state_of(ctx))
    registry.entries["fold-0"].is_adrift = True
    expected = read(ctx)
    merged_packs.pack_merged(state_of(ctx), registry)
    assert ["fold-0"] == [*registry.entries]
    assert expected == read(ctx)


@pytest.mark.usefixtures("soon")
def test_packs_that_a_signal_handler_leaves_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a signal handler leaves the same packs to the file meanwhile, nothing is left twice or forgotten."""
    with Journal.start(tmp_path, "fit") as journal:
        ctx = merged(journal.context(FrozenContext, {"lr": 0.1}), range(3))
        journal.flush()
        stored = journal.merge_archive.stored
        calls = iter(range(100))

        def handled(branches: Sequence[str]) -> Any:
            if next(calls) == 0:
                merged_packs.pack_merged(state_of(ctx), registry_of(state_of(ctx)))
            return stored(branches)

        monkeypatch.setattr(journal.merge_archive, "stored", handled)
        merged_packs.pack_merged(state_of(ctx), registry_of(state_of(ctx)))
        assert is_filed(ctx)
        assert read(merged(FrozenContext({"lr": 0.1}), range(3))) == read(ctx)


# Interruptions.


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("step", [41, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("with_file", [False, True])
def test_interrupted_packing(tmp_path: Path, step: int, with_file: bool) -> None:
    """If Ctrl-C comes at any bytecode of packing, all is read as before, and packing goes on with the next merge."""
    expected = read(merged(FrozenContext({"lr": 0.1}), range(12)))

    def begun(stack: ExitStack) -> FrozenContext[Any]:
        if not with_file:
            return merged(FrozenContext({"lr": 0.1}), range(3))
        journal = stack.enter_context(Journal.start(tmp_path, "fit"))
        ctx = merged(journal.context(FrozenContext, {"lr": 0.1}), range(3))
        journal.flush()
        return ctx

    def pack(ctx: FrozenContext[Any]) -> None:
        merged_packs.pack_merged(state_of(ctx), registry_of(state_of(ctx)))

    def interrupt(at: int) -> None:
        with ExitStack() as stack:
            ctx = begun(stack)
            with suppress(Stopped), interrupted(at, Stopped()):
                pack(ctx)
            assert 3 == len(ctx.provenance.steps)
            merged(ctx, range(12))
            assert expected == read(ctx)

    with ExitStack() as stack:
        ctx = begun(stack)
        count = count_bytecodes(lambda: pack(ctx))
    for at in range(1, count, step):
        in_thread(partial(interrupt, at))


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.long)])
def test_signal_handler_that_merges_while_packing(step: int) -> None:
    """If a signal handler merges other branches, which are packed at once, nothing is lost or read twice."""
    expected = read(merged(FrozenContext({"lr": 0.1}), range(16)))
    for at in range(1, 800, step):
        ctx = merged(FrozenContext({"lr": 0.1}), range(3))
        child = fork(ctx, "fold-3").open()
        plain(child, 3)
        delta = child.delta()
        with called_at(at, partial(merged, ctx, range(4, 12))):
            merge(ctx, delta)
        merged(ctx, range(16))
        assert expected == read(ctx)


# Processes that die.


def merge_until_killed(folder: str, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        pack_soon(patch)
        ctx = filed(Journal.start(folder, "fit"), count)
        assert is_filed(ctx)
        merged(ctx, range(count, 2 * count))
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("soon")
def test_killed_and_resumed(tmp_path: Path) -> None:
    """A process whose branches are in the file alone is killed; the resumed run has them, and goes on."""
    process = multiprocessing.get_context("spawn").Process(target=merge_until_killed, args=(str(tmp_path), 30))
    process.start()
    process.join()
    assert -signal.SIGKILL == process.exitcode
    with Journal.resume(tmp_path / "fit-0001.db") as journal:
        ctx = merged(journal.context(FrozenContext), range(90))
        assert read(merged(FrozenContext({"lr": 0.1}), range(90))) == read(ctx)


# Without the file of a run.


@pytest.mark.usefixtures("soon")
def test_packs_are_read_from_a_temporary_file() -> None:
    ctx = merged(FrozenContext({"lr": 0.1}), range(30))
    file = registry_of(state_of(ctx)).spill_file
    assert file is not None
    copy: FrozenContext[Any] = pickle.loads(pickle.dumps(ctx))
    merged(ctx, range(30, 60))
    assert registry_of(state_of(ctx)).spill_file is file
    merged(copy, range(30, 60))
    with pytest.MonkeyPatch.context() as patch:
        pack_soon(patch, most=1 << 20)
        expected = read(merged(FrozenContext({"lr": 0.1}), range(60)))
    assert read(ctx) == read(copy) == expected


@pytest.mark.usefixtures("soon")
def test_no_temporary_file_can_be_written(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    expected = read(merged(FrozenContext({"lr": 0.1}), range(30)))
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/no folder")
    assert read(merged(FrozenContext({"lr": 0.1}), range(30))) == expected
    (line,) = caplog.messages
    assert line.startswith("the work of merged branches stays in memory: no temporary file can be written (")


@pytest.mark.usefixtures("soon")
def test_forked_process_writes_to_its_own_temporary_file() -> None:
    ctx = merged(FrozenContext({"lr": 0.1}), range(30))
    child = os.fork()
    if not child:
        with suppress(BaseException):
            merged(ctx, range(30, 60))
            os._exit(0 if len(read(ctx)["steps"]) == 60 else 1)
        os._exit(2)
    merged(ctx, range(30, 60))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.MonkeyPatch.context() as patch:
        pack_soon(patch, most=1 << 20)
        assert read(ctx) == read(merged(FrozenContext({"lr": 0.1}), range(60)))


# Memory.


def bytes_each(ctx: FrozenContext[Any], first: int, last: int, settle: Callable[[], object]) -> float:
    """Return the bytes that are kept for each branch from the first to the last."""
    held = []
    merged(ctx, range(first), three_points)
    tracemalloc.start()
    try:
        for numbers in (range(first, first + 1), range(first + 1, last)):
            merged(ctx, numbers, three_points)
            settle()
            merged_packs.pack_merged(state_of(ctx), registry_of(state_of(ctx)))
            gc.collect()
            # Only what the context holds, made by these files or by named tuples: the journal reads its environment.
            made_by = [tracemalloc.Filter(True, name) for name in ("*/_core/*", "*/_branches/*", "*/merge_archive.py")]
            kept = tracemalloc.take_snapshot().filter_traces([*made_by, tracemalloc.Filter(True, "<string>")])
            held.append(sum(found.size for found in kept.statistics("filename")))
    finally:
        tracemalloc.stop()
    return (held[1] - held[0]) / (last - first - 1)


def three_points(child: BranchContext[Any], at: int) -> None:
    for epoch in range(3):
        child.record("loss", at + epoch / 7)


def test_memory_of_branches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merged branch with three points takes a few bytes, as its work is in the run's file or in a temporary one."""
    pack_soon(monkeypatch, 64)
    assert bytes_each(FrozenContext({"lr": 0.1}), 64, 576, int) < 80
    with Journal.start(tmp_path, "fit") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        assert bytes_each(ctx, 64, 576, journal.flush) < 80


@pytest.mark.long
def test_memory_of_many_branches(tmp_path: Path) -> None:
    """After the first 10,000 branches, a merged branch with three points takes hardly any memory."""
    assert bytes_each(FrozenContext({"lr": 0.1}), 10_000, 30_000, int) < 30
    with Journal.start(tmp_path, "fit") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        assert bytes_each(ctx, 10_000, 30_000, journal.flush) < 30
