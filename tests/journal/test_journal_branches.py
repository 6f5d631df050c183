"""Branches of a run in a file: what they brought is there whole or not at all, and is not done again."""

import fcntl
import multiprocessing
import os
import pickle
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import date
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic_core import to_json
from typing_extensions import TypedDict

from crystallize import (
    BranchError,
    BranchForked,
    DamagedRunError,
    Delta,
    DivergentRetryError,
    Event,
    FinishedStepError,
    FrozenContext,
    Journal,
    JournalError,
    MergeConflictError,
    Metric,
    MetricRecorded,
    MetricSchema,
    NotRestorable,
    SinkError,
    fan_out,
    fan_out_iter,
    fork,
    load_run,
    merge,
)
from crystallize._core.equality import same
from crystallize._journal import database, drainer, event_rows, frame_writer, run_files
from crystallize._journal import event_bytes as facts
from crystallize._journal.diff import diff_runs
from crystallize._journal.frame_writer import FrameWriter
from crystallize._journal.loaded_run import Run
from crystallize._journal.read_run import read
from crystallize._journal.verify import verify_run
from crystallize.sinks.memory import MemorySink

from ..profiles import examples
from .journal_runs import SMALL, copied, die, files_of, no_environment, older, processes

SETTINGS = settings(
    max_examples=examples(20),
    # No shrinking, which takes minutes, as each example is several files.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    monkeypatch.setattr(frame_writer, "CAPACITY", SMALL)
    # Nothing is drained at a time that no test knows.
    monkeypatch.setattr(drainer, "DELAY", 1000)


def keep_in_the_spool(opened: Journal) -> None:
    """Bring nothing into the database from now on, until `drain_again`."""
    vars(opened)["flush"] = lambda: None


def drain_again(opened: Journal) -> None:
    del vars(opened)["flush"]


def picture(of: FrozenContext[Any] | Run[Any], *, times: bool = True) -> dict[str, Any]:
    """Return all that is to be seen of a context, or of the context of a run, in order."""
    ctx = of.context if isinstance(of, Run) else of
    blank: dict[str, Any] = {} if times else {"started": None, "ended": None}
    return {
        "values": [(key, ctx.provenance.writer(key), ctx[key]) for key in ctx],
        "series": {
            name: [(point.value, point.tags and dict(point.tags), point.step) for point in ctx.metrics.series(name)]
            for name in sorted(ctx.metrics)
        },
        "artifacts": [(*artifact,) for artifact in ctx.artifacts],
        "steps": [(*record._replace(points=dict(record.points), **blank),) for record in ctx.provenance.steps],
        "inputs": ctx.provenance.inputs,
        "lineage": (ctx.provenance.lineage.reads, ctx.provenance.lineage.writes),
    }


# Any program with branches


class Tags(TypedDict, total=False):
    day: date
    fold: int


class Measured(MetricSchema):
    loss = Metric(float)
    pair = Metric(tuple[int, str], tags=Tags)


POINTS: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("loss"), st.floats(), st.just({})),
    st.tuples(
        st.just("pair"),
        st.tuples(st.integers(-9, 9), st.text(max_size=2)),
        st.fixed_dictionaries({}, optional={"day": st.dates(), "fold": st.integers(0, 3)}),
    ),
)
FREE_POINTS = st.tuples(
    st.sampled_from(["loss", "pair", "other"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none() | st.integers() | st.floats() | st.text(max_size=3), max_size=2),
)
VALUES = (
    st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.dictionaries(st.text(max_size=2), st.lists(st.floats(-9, 9), max_size=2), max_size=2)
    | st.integers(0, 5).map(np.arange)
)


def acts(points: st.SearchStrategy[Any], depth: int) -> st.SearchStrategy[list[Any]]:
    """Return programs: each act is what to do and what with; those of steps and branches are programs themselves."""
    act = (
        st.tuples(st.just("key"), VALUES)
        | st.tuples(st.just("point"), points)
        | st.tuples(st.just("artifact"), st.binary(max_size=4))
        | st.tuples(st.just("merge"), st.integers(0, 9))
    )
    if depth:
        inner = acts(points, depth - 1)
        act = act | st.tuples(st.just("step"), inner) | st.tuples(st.just("failing"), inner)
        act = act | st.tuples(st.just("fork"), inner) | st.tuples(st.just("fork"), inner)
    return st.lists(act, max_size=6)


class Player:
    """Plays a program with one context: a run's own, or the child of a branch."""

    def __init__(self, travels: bool, prefix: str = "") -> None:
        self.travels = travels
        self.prefix = prefix
        self.numbers = count()
        self.pending: list[Delta] = []
        self.has_failed = False
        """Whether a step of its own failed, which is undone on resuming; one of a branch is not."""

    def play(self, handle: FrozenContext[Any], program: list[Any]) -> None:
        for what, given_ in program:
            name = f"{self.prefix}{what[0]}{next(self.numbers)}"
            if what == "key":
                handle[name] = given_
            elif what == "point":
                handle.record(*given_)
            elif what == "artifact":
                handle.artifacts.add(name, given_)
            elif what == "merge":
                self.merge_one(handle, given_)
            elif what == "fork":
                self.fork(handle, name, given_)
            else:
                with suppress(ZeroDivisionError), handle.step(what) as step:
                    step.get(name)
                    self.play(step, given_)
                    if what == "failing":
                        self.has_failed = True
                        raise ZeroDivisionError(name)

    def fork(self, handle: FrozenContext[Any], name: str, program: list[Any]) -> None:
        child = fork(handle, name).open()
        inner = Player(self.travels, f"{name}.")
        inner.play(child, program)
        delta = child.delta()
        self.pending.append(pickle.loads(pickle.dumps(delta)) if self.travels else delta)

    def merge_one(self, handle: FrozenContext[Any], which: int) -> None:
        if self.pending:
            merge(handle, self.pending.pop(which % len(self.pending)))


def check_every_way(opened: Journal, ctx: FrozenContext[Any], folder: Path, has_failed: bool) -> None:
    """Compare a context with its run, as it is after a death, while it runs, and after it was resumed."""
    metrics = ctx.metrics.schema
    expected = picture(ctx)
    ways = {"in the spool": copied(opened, folder / "in-the-spool")}
    drain_again(opened)
    opened.flush()
    assert same(expected, picture(load_run(opened.path, dict[str, Any], metrics=metrics)))
    assert "running" == load_run(opened.path).status
    ways["in the database"] = copied(opened, folder / "in-the-database")
    opened.close()
    ways["finished"] = opened.path
    for way, path in ways.items():
        assert () == verify_run(path), way
        run = load_run(path, dict[str, Any], metrics=metrics)
        assert same(expected, picture(run)), way
        assert () == diff_runs(run, load_run(opened.path, dict[str, Any], metrics=metrics))
        with Journal.resume(path) as resumed:
            again = resumed.context(FrozenContext[dict[str, Any]], metrics=metrics)
            assert has_failed or same(expected, picture(again)), way
        if not has_failed:
            assert same(expected, picture(load_run(path, dict[str, Any], metrics=metrics))), way
        assert () == verify_run(path)


@pytest.mark.slow
@SETTINGS
@given(data=st.data(), typed=st.booleans(), travels=st.booleans())
def test_a_run_with_branches_is_the_context(data: st.DataObject, typed: bool, travels: bool) -> None:
    """Whatever is forked and merged in whichever order, the file gives the context back: each thing in its place."""
    program = data.draw(acts(POINTS if typed else FREE_POINTS, 3))
    rest = data.draw(st.lists(st.integers(0, 9), max_size=4))
    metrics = Measured if typed else None
    with tempfile.TemporaryDirectory() as name:
        opened = Journal.start(Path(name) / "run", "run")
        ctx = opened.context(FrozenContext[dict[str, Any]], {"lr": 0.1}, metrics=metrics)
        keep_in_the_spool(opened)
        player = Player(travels)
        player.play(ctx, program)
        for which in rest:
            player.merge_one(ctx, which)
        check_every_way(opened, ctx, Path(name), player.has_failed)


# Programs that die

ITEMS = 5
Program = Callable[[FrozenContext[Any], Executor], list[tuple[int, str]]]


def mark(ctx: FrozenContext[Any], item: Any) -> None:
    """Leave a file that says that the task was run for an item."""
    descriptor, _ = tempfile.mkstemp(prefix=f"{item}-", dir=ctx["marks"])
    os.close(descriptor)


def marked(folder: Path) -> list[int]:
    """Return for which items the task was run, since this was asked last."""
    files = sorted(folder.iterdir())
    for file in files:
        file.unlink()
    return [int(file.name.partition("-")[0]) for file in files]


def train(ctx: FrozenContext[Any], item: int) -> tuple[int, str]:
    mark(ctx, item)
    ctx.record("loss", item)
    with ctx.step("fit") as fit:
        for at in range(3):
            fit.record("loss", item + at / 4, {"at": at})
        fit[f"k{item}"] = {"items": [item]}
    with suppress(ZeroDivisionError), ctx.step("fails"):
        raise ZeroDivisionError
    ctx.artifacts.add(f"a{item}", bytes([item]))
    return item, f"{item}!"


RESULTS = [(item, f"{item}!") for item in range(ITEMS)]


def play(ctx: FrozenContext[Any], executor: Executor) -> list[tuple[int, str]]:
    """Do what is not done of a program with branches; what surrounds them is in steps."""
    done = ctx.provenance.finished
    if not done("before"):
        with ctx.step("before") as before:
            before.record("loss", -1.0)
            before["before"] = 1
    results = fan_out(ctx, train, range(ITEMS), executor=executor)
    if not done("after"):
        with ctx.step("after") as after:
            after.record("loss", -2.0)
            after.artifacts.add("after", b"after")
            after["after"] = sum(item for item, _ in results)
    return results


def play_in_a_step(ctx: FrozenContext[Any], executor: Executor) -> list[tuple[int, str]]:
    """As `play`, with the branches forked in a step; a step that died is done again as a whole."""
    results = RESULTS
    if not ctx.provenance.finished("tune"):
        with ctx.step("tune") as tune:
            tune.record("loss", -1.0)
            tune["before"] = 1
            tune.artifacts.add("before", b"before")
            results = fan_out(tune, train, range(ITEMS), executor=executor)
            tune.record("loss", -2.0)
            tune["after"] = 2
    return results


def play_as_it_goes(ctx: FrozenContext[Any], executor: Executor) -> list[tuple[int, str]]:
    """As `play`, with items from a generator that does work of its own in between, and with a narrow window."""

    def items() -> Iterator[int]:
        for item in range(ITEMS):
            if not ctx.provenance.finished(f"make-{item}"):
                with ctx.step(f"make-{item}") as make:
                    make.record("loss", -1.0 - item)
                    make[f"made-{item}"] = item
            yield item

    results = list(fan_out_iter(ctx, train, items(), executor=executor, window=2))
    if not ctx.provenance.finished("after"):
        with ctx.step("after") as after:
            after["after"] = 1
    return results


@contextmanager
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


class Nobody(Executor):
    """An executor that is not to be used."""

    def submit(self, *given: Any, **named: Any) -> Future[Any]:
        raise AssertionError(f"this is done already: {given[1:]}")


def without_marks(seen: dict[str, Any]) -> dict[str, Any]:
    """Return a picture without where the marks are."""
    seen["values"] = [entry for entry in seen["values"] if entry[0] != "marks"]
    return seen


def picture_of(program: Program, folder: Path) -> dict[str, Any]:
    """Return the picture of a program where nobody dies, and nobody writes anything down."""
    ctx = FrozenContext({"marks": str(folder)})
    with threads() as executor:
        assert RESULTS == program(ctx, executor)
    return without_marks(picture(ctx, times=False))


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


class Deaths:
    """A sink that keeps the files of a run as they were after each of its events."""

    def __init__(self, opened: Journal, folder: Path) -> None:
        self.opened = opened
        self.folder = folder
        self.copies: list[tuple[Event, Path]] = []

    def handle(self, event: Event) -> None:
        self.copies.append((event, copied(self.opened, self.folder / f"{len(self.copies)}")))

    def close(self) -> None:
        pass


def merged_in(path: Path) -> set[int]:
    """Return the items whose branches a file has."""
    return {int(merged.branch.rpartition("-")[2]) for merged in read(path).merges}


def go_on(path: Path, marks: Path, undying: dict[str, Any], program: Program = play) -> None:
    """Resume a run, and check that it comes to what it would have been, and does nothing twice."""
    have = merged_in(path)
    marked(marks)
    with Journal.resume(path) as resumed, threads() as executor:
        ctx = resumed.context(FrozenContext, {"marks": str(marks)})
        assert RESULTS == program(ctx, executor)
    assert sorted({*range(ITEMS)} - have) == marked(marks)
    assert same(undying, without_marks(picture(ctx, times=False)))
    assert same(undying, without_marks(picture(load_run(path, dict[str, Any]), times=False)))
    assert () == verify_run(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [*(pytest.param(program, marks=pytest.mark.long) for program in (play, play_in_a_step)), play_as_it_goes],
)
def test_dying_after_any_event(tmp_path: Path, marks: Path, program: Program) -> None:
    """Wherever a run with branches dies, also within a merge, only what was not merged runs again."""
    undying = picture_of(program, marks)
    with Journal.start(tmp_path / "run", "run") as opened, threads() as executor:
        deaths = Deaths(opened, tmp_path)
        program(opened.context(FrozenContext, {"marks": str(marks)}, sinks=[deaths]), executor)
    assert len(deaths.copies) > 50
    seen = set()
    for event, path in deaths.copies:
        # All deaths within one merge leave the same behind.
        have = len(merged_in(path))
        if (have, type(event)) not in seen:
            seen.add((have, type(event)))
            go_on(path, marks, undying, program)
    assert {*range(ITEMS + 1)} == {have for have, _ in seen}


# Processes that are killed

KILLS = {"fact": 70, "append": 25, "insert": 90, "apply": 12, "gathered": ITEMS, "points": 20}
"""What a process can be killed in, and how often it does that at the most."""


def kill_in(what: str, at: int) -> None:
    """Kill this process by the time that it does something once more than so often."""
    left = count(at, -1)

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **named)

        return call

    places: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "fact": (facts.Encoder, "fact", dying(facts.Encoder.fact)),
        "append": (FrameWriter, "append", dying(FrameWriter.append)),
        "insert": (event_rows, "insert", dying(database.insert)),
        "apply": (drainer, "apply", dying(event_rows.apply)),
        "gathered": (facts, "gathered", dying(facts.gathered)),
        "points": (facts, "to_json", dying(to_json)),
    }
    owner, name, function = places[what]
    setattr(owner, name, function)


def end_with_parent(held: Path) -> None:
    """In a worker: end when whoever started it is killed, and hold a file locked until then."""
    # Open for as long as the process lives, and the lock with it.
    fcntl.flock(os.open(held, os.O_RDONLY), fcntl.LOCK_SH)
    parent = multiprocessing.parent_process()
    assert parent is not None
    if not parent.is_alive():
        os._exit(0)

    def wait() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def workers(kind: str, held: Path) -> Executor:
    if kind == "threads":
        return ThreadPoolExecutor(2)
    return ProcessPoolExecutor(2, mp_context=processes, initializer=end_with_parent, initargs=(held,))


def write(path: Path, marks: str, program: Program, what: str, at: int, kind: str, held: Path) -> None:
    """Start a run, or go on with it, until somebody kills this process."""
    frame_writer.CAPACITY = SMALL
    run_files.current_environment = no_environment  # type: ignore[attr-defined]  # imported there
    opened = Journal.resume(path) if path.is_file() else Journal.start(path.parent, "run")
    kill_in(what, at)
    with opened, workers(kind, held) as executor:
        program(opened.context(FrozenContext, {"marks": marks}), executor)


def write_until_killed(path: Path, marks: Path, program: Program, what: str, at: int, kind: str = "threads") -> bool:
    """Write a run in a process of its own; return whether it was killed, when its workers have ended too."""
    held = path.parent / "held-by-workers"
    held.touch()
    process = processes.Process(target=write, args=(path, str(marks), program, what, at, kind, held))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    return process.exitcode != 0


def die_often(folder: Path, marks: Path, seed: int, program: Program) -> None:
    """Kill a run four times, or until it has ended, and go on with it."""
    undying = picture_of(program, marks)
    marked(marks)
    random = Random(seed)
    path = folder / "run-0001.db"
    for _ in range(4):
        have = merged_in(path) if path.is_file() else set()
        what = random.choice([*KILLS])
        was_killed = write_until_killed(path, marks, program, what, random.randrange(KILLS[what]))
        assert have.isdisjoint(marked(marks))
        assert have <= merged_in(path)
        assert () == verify_run(path)
        if not was_killed:
            break
    go_on(path, marks, undying, program)


@pytest.mark.slow
@pytest.mark.parametrize("program", [play, play_in_a_step, play_as_it_goes])
@pytest.mark.parametrize("seed", range(1))
def test_killed_again_and_again(tmp_path: Path, marks: Path, seed: int, program: Program) -> None:
    """However often a run is killed, each branch is merged once, and it comes to what it would have been."""
    die_often(tmp_path, marks, seed, program)


@pytest.mark.long
@pytest.mark.parametrize("program", [play, play_in_a_step, play_as_it_goes])
@pytest.mark.parametrize("seed", range(1000, 1025))
def test_killed_100_times(tmp_path: Path, marks: Path, seed: int, program: Program) -> None:
    """As above, over as many deaths as take minutes."""
    die_often(tmp_path, marks, seed, program)


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 3])
def test_killed_in_a_fan_out_on_processes(tmp_path: Path, marks: Path, at: int) -> None:
    """Killed with workers at work: what was merged by then is there, and the rest is done anew."""
    path = tmp_path / "run-0001.db"
    undying = picture_of(play, marks)
    assert write_until_killed(path, marks, play, "gathered", at, "processes")
    assert at == len(merged_in(path))
    assert "died" == load_run(path).status
    go_on(path, marks, undying)


# What tasks return


class Found(BaseModel):
    model_config = ConfigDict(frozen=True)

    score: float
    names: list[str]


def nothing(ctx: FrozenContext[Any], item: int) -> None:
    pass


def third(ctx: FrozenContext[Any], item: int) -> float:
    return item / 3


def not_a_number(ctx: FrozenContext[Any], item: int) -> float:
    return float("nan")


def pair(ctx: FrozenContext[Any], item: int) -> tuple[int, str]:
    return item, "text"


def model(ctx: FrozenContext[Any], item: int) -> Found:
    return Found(score=item / 3, names=["a", "b"])


def models(ctx: FrozenContext[Any], item: int) -> dict[str, list[Found]]:
    return {"found": [Found(score=item / 3, names=["a"])]}


def array(ctx: FrozenContext[Any], item: int) -> NDArray[np.float64]:
    return np.arange(5) / (item + 1)


def arrays(ctx: FrozenContext[Any], item: int) -> dict[str, Any]:
    return {"one": np.arange(item), "other": [np.eye(2)], "text": "x"}


def unannotated(ctx, item):  # type: ignore[no-untyped-def]  # that is the point
    return {"item": [item, None, 0.5]}


@pytest.mark.parametrize(
    "task",
    [nothing, third, not_a_number, pair, model, models, array, arrays, unannotated],
    ids=lambda task: task.__name__,
)
@pytest.mark.parametrize("drained", [True, False])
def test_results_come_from_the_file(tmp_path: Path, task: Callable[..., Any], drained: bool) -> None:
    """What a task returned comes back as its annotation says, in the order of the items, and nothing runs."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    if not drained:
        keep_in_the_spool(opened)
    with threads() as executor:
        expected = fan_out(ctx, task, range(3), executor=executor)
    opened.flush()
    die(opened)
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        assert same(expected, fan_out(again, task, range(3), executor=Nobody()))
        with pytest.raises(BranchError, match=rf"{task.__name__}-0.*an earlier call has merged it"):
            fan_out(again, task, range(3), executor=Nobody())
    assert () == verify_run(opened.path)


class Opaque:
    """What no JSON has."""


def opaque(ctx: FrozenContext[Any], item: int) -> Any:
    mark(ctx, item)
    ctx[f"k{item}"] = item
    return Opaque() if item == 1 else item


def failing_opaque(ctx: FrozenContext[Any], item: int) -> Any:
    raise ValueError(f"no {item}")


def secret(ctx: FrozenContext[Any], item: int) -> Any:
    mark(ctx, item)
    ctx[f"k{item}"] = item
    return SecretStr("hunter2") if item == 1 else {"item": item}


def opaque_key(ctx: FrozenContext[Any], item: int) -> int:
    mark(ctx, item)
    ctx[f"k{item}"] = item
    with ctx.step("inner") as inner:
        inner.record("loss", item)
        inner[f"inner{item}"] = Opaque() if item == 1 else item
    return item


def secret_key(ctx: FrozenContext[Any], item: int) -> int:
    mark(ctx, item)
    ctx[f"k{item}"] = item
    with ctx.step("inner") as inner:
        inner.record("loss", item)
        inner[f"inner{item}"] = SecretStr("hunter2") if item == 1 else item
    return item


def all_bytes(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in files_of(path))


@pytest.mark.parametrize("task", [opaque, secret, opaque_key, secret_key], ids=lambda task: task.__name__)
def test_what_a_file_cannot_give_back_is_done_again(
    tmp_path: Path, marks: Path, task: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A branch that wrote or returned what no file holds runs again as a whole, and its siblings do not."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext, {"marks": str(marks)})
    with ctx.step("sibling"):
        pass
    with ctx.step("tune") as tune, threads() as executor:
        fan_out(tune, task, range(3), executor=executor)
    assert [0, 1, 2] == marked(marks)
    assert b"hunter2" not in all_bytes(opened.path)
    if "opaque" in task.__name__:
        (said,) = {record.getMessage() for record in caplog.records}
        reason = "its return annotation does not restore" if task is opaque else "a file cannot give back"
        assert f"a {__name__}.Opaque, which {reason}" in said
        assert ("The branch runs again when the run is resumed" in said) == (task is opaque)
    else:
        assert [] == caplog.records
    die(opened)
    seen = load_run(opened.path)
    assert {"marks", "k0", "k1", "k2"} <= {*seen.values}
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        assert {"marks", "k0", "k2"} == {key for key in again if not key.startswith("inner")}
        done = again.provenance.finished
        around = [done("tune"), done("sibling"), *(done(f"tune/{task.__name__}-{at}") for at in range(3))]
        assert [False, True, True, False, True] == around
        assert not done(f"tune/{task.__name__}-1/inner")
        with again.step("tune") as tune, threads() as executor:
            fan_out(tune, task, range(3), executor=executor)
        assert [1] == marked(marks)
    assert b"hunter2" not in all_bytes(opened.path)
    run = load_run(opened.path)
    lost = {*run.secrets, *run.unrestorable}
    assert [*ctx] == [*again]
    assert [key for key in ctx if key not in lost] == [*run.context]
    assert same(picture(ctx, times=False)["steps"], picture(again, times=False)["steps"])
    assert same(picture(again)["steps"], picture(run)["steps"])
    assert () == verify_run(opened.path)


def declared_an_int(ctx: FrozenContext[Any], item: int) -> int:
    return item


def declared_a_model(ctx: FrozenContext[Any], item: int) -> Found:
    raise AssertionError


def declared_a_text(ctx: FrozenContext[Any], item: int) -> str:
    raise AssertionError


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (pair, declared_a_model),
        (declared_an_int, declared_a_model),
        (declared_an_int, declared_a_text),
        (model, declared_an_int),
    ],
)
def test_a_return_type_that_has_changed(tmp_path: Path, before: Callable[..., Any], now: Callable[..., Any]) -> None:
    """A result that the task's return type does not take any more is an error that names the branch."""
    with Journal.start(tmp_path, "run") as opened, threads() as executor:
        fan_out(opened.context(FrozenContext), before, range(2), executor=executor, name="task")
    with Journal.resume(opened.path) as resumed:
        ctx = resumed.context(FrozenContext)
        with pytest.raises(BranchError, match=r"'task-0'.*does not take that back"):
            fan_out(ctx, now, range(2), executor=Nobody(), name="task")


def test_items_that_have_changed(tmp_path: Path) -> None:
    """A branch that was of another item is an error that names it, and more items are only more branches."""
    with Journal.start(tmp_path, "run") as opened, threads() as executor:
        fan_out(opened.context(FrozenContext), third, [1, 2], executor=executor)
    with Journal.resume(opened.path) as resumed, threads() as executor:
        ctx = resumed.context(FrozenContext)
        with pytest.raises(BranchError, match=r"'third-0'.*was of another item than 2"):
            fan_out(ctx, third, [2, 1], executor=executor)
        assert [1 / 3, 2 / 3, 1.0] == fan_out(ctx, third, [1, 2, 3], executor=executor)
    assert 3 == len(load_run(opened.path).provenance.steps)


# By hand


def branch_with(ctx: FrozenContext[Any], name: str, value: Any) -> Delta:
    child = fork(ctx, name).open()
    child.record("loss", float(value))
    with child.step("fit") as fit:
        fit[name] = value
    return child.delta()


FAILS: set[int] = set()


def failing(child: FrozenContext[Any], item: int) -> int:
    child[f"k{item}"] = child["lr"]
    child.record("m", item)
    if item in FAILS:
        raise ValueError(f"no {item}")
    return item


def fails(ctx: FrozenContext[Any], *items: int) -> None:
    """Run branches, of which some fail."""
    FAILS.update(items)
    with ThreadPoolExecutor(1) as pool:
        fan_out(ctx, failing, range(3), executor=pool, errors="collect")
    FAILS.clear()


@pytest.mark.parametrize("drained", [False, True])
def test_a_failed_branch_is_in_the_file(tmp_path: Path, drained: bool) -> None:
    """A branch that failed is in the file, also if the process dies then: with its error, and nothing of its work."""
    with suppress(RuntimeError), Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext, {"lr": 0.1})
        if not drained:
            keep_in_the_spool(opened)
        fails(ctx, 1)
        if drained:
            raise RuntimeError("the end")
        die(opened)
    run = load_run(opened.path)
    assert ("failed" if drained else "died") == run.status
    assert picture(ctx) == picture(run)
    assert ["lr", "k0", "k2"] == list(run.values)
    (dead,) = run.dead_attempts
    assert dead.record is not None
    assert ("failing-1", "ValueError: no 1", ("lr",)) == (dead.step, dead.record.error, dead.record.reads)
    assert ["failing-0", "failing-1", "failing-2"] == [attempt.step for attempt in run.attempts]
    assert () == verify_run(opened.path)
    assert "ValueError: no 1" in run._repr_html_()


def test_a_failed_branch_is_run_again(tmp_path: Path) -> None:
    """In a run that is resumed a branch that failed is run again; the failure stays in the file, to look at."""
    with Journal.start(tmp_path, "run") as opened:
        fails(opened.context(FrozenContext, {"lr": 0.1}), 1, 2)
    with Journal.resume(opened.path) as opened:
        ctx: FrozenContext[Any] = opened.context(FrozenContext)
        assert ["failing-0"] == [record.name for record in ctx.provenance.steps]
        fails(ctx, 2)
        fails(ctx, 2)
        opened.flush()
        assert picture(ctx) == picture(load_run(opened.path))
        fails(ctx)
        opened.flush()
        assert picture(ctx) == picture(load_run(opened.path))
    run = load_run(opened.path)
    assert ["failing-0", "failing-1", "failing-2"] == [record.name for record in run.provenance.steps]
    assert [("failing-1", 1), ("failing-2", 1), ("failing-2", 2), ("failing-2", 2)] == [
        (attempt.step, attempt.session) for attempt in run.dead_attempts
    ]
    assert () == verify_run(opened.path)
    assert 4 == run._repr_html_().count("ValueError: no ")
    with Journal.start(tmp_path, "whole") as opened:
        fails(opened.context(FrozenContext, {"lr": 0.1}))
    assert () == diff_runs(run, load_run(opened.path))


def test_a_file_without_failures_of_branches(tmp_path: Path) -> None:
    """A file of the version before there were failures in it is read, checked and gone on with."""
    with Journal.start(tmp_path, "run") as opened:
        fails(opened.context(FrozenContext, {"lr": 0.1}))
    with closing(sqlite3.connect(opened.path)) as connection:
        connection.executescript(older(1))
    assert ["failing-0", "failing-1", "failing-2"] == [attempt.step for attempt in load_run(opened.path).attempts]
    assert () == verify_run(opened.path)
    with Journal.resume(opened.path) as opened:
        ctx: FrozenContext[Any] = opened.context(FrozenContext)
        FAILS.add(3)
        with ThreadPoolExecutor(1) as pool:
            fan_out(ctx, failing, [3], executor=pool, errors="collect", name="more")
        FAILS.clear()
    assert ["more-0"] == [attempt.step for attempt in load_run(opened.path).dead_attempts]
    assert () == verify_run(opened.path)


def test_a_failure_of_a_branch_that_was_never_forked(tmp_path: Path) -> None:
    """A file that has a failure of a branch and not the branch is damaged."""
    with Journal.start(tmp_path, "run") as opened:
        fails(opened.context(FrozenContext, {"lr": 0.1}), 1)
    with closing(sqlite3.connect(opened.path)) as connection:
        connection.isolation_level = None
        database.update(connection, "failures", "branch = ?", "failing-1", branch="other")
    with pytest.raises(DamagedRunError, match="branch 'other' failed, and was never forked"):
        load_run(opened.path)


def test_the_same_delta_after_a_resumption(tmp_path: Path) -> None:
    """A delta that was merged before a resumption does nothing again; with other content it is an error."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    delta = branch_with(ctx, "fold-3", 1)
    merge(ctx, delta)
    die(opened)
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        before = picture(again)
        merge(again, delta)
        # Another attempt that did the same, by somebody who does not know of the first.
        merge(again, branch_with(FrozenContext(), "fold-3", 1))
        with pytest.raises(DivergentRetryError, match=r"fold-3.*the keys that it wrote and the points"):
            merge(again, branch_with(FrozenContext(), "fold-3", 2))
        assert same(before, picture(again))
    assert same(before, picture(load_run(opened.path)))
    assert 1 == len(read(opened.path).merges)


def test_forks_keep_their_order_over_a_resumption(tmp_path: Path) -> None:
    """A branch that is forked again after a resumption stands where it was forked first."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    late = branch_with(ctx, "late", 1)
    ctx.record("loss", 2.0)
    early = branch_with(ctx, "early", 3)
    merge(ctx, early)
    ctx["own"] = 4
    die(opened)
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        again.record("loss", 5.0)
        merge(again, branch_with(again, "new", 6))
        merge(again, branch_with(again, "late", 1))
        with pytest.raises(MergeConflictError):
            merge(again, branch_with(FrozenContext(), "own", 7))
        merge(again, late)
    assert (1.0, 2.0, 3.0, 5.0, 6.0) == again.metrics["loss"]
    assert ["late", "early", "own", "new"] == [*again]
    assert ["late/fit", "late", "early/fit", "early", "new/fit", "new"] == [
        record.name for record in again.provenance.steps
    ]
    assert same(picture(again), picture(load_run(opened.path)))
    assert () == verify_run(opened.path)


def test_the_name_of_a_merged_branch_after_a_resumption(tmp_path: Path) -> None:
    """A merged branch counts as a step that has finished, and so do its steps."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    merge(ctx, branch_with(ctx, "fold-3", 1))
    fork(ctx, "fold-4")
    die(opened)
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        done = again.provenance.finished
        assert (True, True, False) == (done("fold-3"), done("fold-3/fit"), done("fold-4"))
        with pytest.raises(FinishedStepError, match="fold-3"), again.step("fold-3"):
            raise AssertionError
        with again.step("fold-4") as step:
            step.record("loss", 2.0)
    # The name is the branch's, so a step of it counts on.
    assert ["fold-3/fit", "fold-3", "fold-4#2"] == [record.name for record in again.provenance.steps]
    assert same(picture(again), picture(load_run(opened.path)))


def test_a_branch_that_fails_when_it_is_done_again(tmp_path: Path, marks: Path) -> None:
    """A branch that was merged, is done anew since no file can give it back, and fails, has failed in the file too."""
    opened = Journal.start(tmp_path, "run")
    with threads() as executor:
        fan_out(opened.context(FrozenContext, {"marks": str(marks)}), opaque, range(3), executor=executor)
    die(opened)
    opened = Journal.resume(opened.path)
    ctx = opened.context(FrozenContext)
    with threads() as executor:
        fan_out(ctx, failing_opaque, range(3), executor=executor, name="opaque", errors="collect")
    expected = picture(ctx)
    assert (False, "k1" in ctx) == (ctx.provenance.finished("opaque-1"), False)
    die(opened)
    run = load_run(opened.path)
    assert same(expected, picture(run))
    assert [("opaque-1", 1), ("opaque-1", 2)] == [(attempt.step, attempt.session) for attempt in run.dead_attempts]
    with Journal.resume(opened.path) as resumed:
        assert not resumed.context(FrozenContext).provenance.finished("opaque-1")
    assert () == verify_run(opened.path)


def test_a_run_of_several_resumptions(tmp_path: Path, marks: Path) -> None:
    """A branch that no file can give back is done anew in each session; what is seen is the last time."""
    path = tmp_path / "run-0001.db"
    for session in range(3):
        opened = Journal.resume(path) if session else Journal.start(tmp_path, "run")
        ctx = opened.context(FrozenContext, {"marks": str(marks)})
        with threads() as executor:
            fan_out(ctx, opaque, range(3), executor=executor)
        assert ([1] if session else [0, 1, 2]) == marked(marks)
        die(opened)
        run = load_run(path)
        assert ["marks", "k0", "k1", "k2"] == [*run.values]
        assert ["opaque-0", "opaque-1", "opaque-2"] == [record.name for record in run.provenance.steps]
        assert [("opaque-1", at + 1) for at in range(session)] == [
            (attempt.step, attempt.session) for attempt in run.dead_attempts
        ]
        assert () == verify_run(path)


# Journals that fail


def failing_apply(*given: Any) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    raise error


def failing_encoder(encoder: facts.Encoder, event: Event) -> bytes:
    raise OSError(28, "No space left on device")


def merge_and_flush(opened: Journal, ctx: FrozenContext[Any], delta: Delta) -> None:
    merge(ctx, delta)
    opened.flush()


class Interrupting:
    """A sink that fails a journal at a moment within a merge."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, owner: Any, name: str, failing: Any) -> None:
        self.left = at
        self.arm: Callable[[], None] = lambda: monkeypatch.setattr(owner, name, failing)

    def handle(self, event: Event) -> None:
        if event.branch == "one" and not isinstance(event, BranchForked):
            self.left -= 1
            if self.left == 0:
                self.arm()

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("owner", "name", "failing", "is_there"),
    [(facts.Encoder, "fact", failing_encoder, False), (drainer, "apply", failing_apply, True)],
)
@pytest.mark.parametrize("at", range(1, 7))
def test_a_journal_that_fails_in_a_merge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    owner: Any,
    name: str,
    failing: Any,
    is_there: bool,
) -> None:
    """A journal that fails within a merge says so, takes nothing more, and has all of the branch or nothing."""
    opened = Journal.start(tmp_path, "run")
    with pytest.MonkeyPatch.context() as patch:
        ctx = opened.context(FrozenContext, sinks=[Interrupting(patch, at, owner, name, failing)])
        deltas = [branch_with(ctx, name, value) for value, name in enumerate(("zero", "one", "two"))]
        merge(ctx, deltas[0])
        with pytest.raises(SinkError if owner is facts.Encoder else JournalError):
            merge_and_flush(opened, ctx, deltas[1])
        with pytest.raises(SinkError, match="takes nothing more"):
            merge(ctx, deltas[2])
        assert {"zero", "one", "two"} == {*ctx}
        die(opened)
    seen = {"zero", "one"} if is_there else {"zero"}
    run = load_run(opened.path)
    assert seen == {*run.values} == {merged.branch for merged in read(opened.path).merges}
    assert () == verify_run(opened.path)
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        assert seen == {*again}
        for delta in deltas:
            merge(again, delta)
    assert same(picture(ctx), picture(again))
    assert same(picture(ctx), picture(load_run(opened.path)))
    assert () == verify_run(opened.path)


def test_ctrl_c_in_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a merge is written down: the file has nothing of it, and the journal takes nothing more."""

    def interrupted(gathered: Any) -> bytes:
        raise KeyboardInterrupt

    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    deltas = [branch_with(ctx, name, 1) for name in ("one", "two")]
    with monkeypatch.context() as patch:
        patch.setattr(facts, "gathered", interrupted)
        with pytest.raises(KeyboardInterrupt):
            merge(ctx, deltas[0])
    with pytest.raises(SinkError, match="was interrupted"):
        merge(ctx, deltas[1])
    die(opened)
    assert {} == load_run(opened.path).values
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        for delta in deltas:
            merge(again, delta)
    assert ["one", "two"] == [*load_run(opened.path).values]


# Points of all kinds, many, and large ones


class Counted(MetricSchema):
    count = Metric(int)
    text = Metric(str)


@pytest.mark.parametrize("metrics", [None, Counted])
@pytest.mark.parametrize("odd", [("text", "\ud800"), ("count", 10**5000), ("text", "x" * 5000)])
def test_odd_points_of_a_branch(tmp_path: Path, metrics: Any, odd: tuple[str, Any]) -> None:
    """A point of a branch that no file gives back, or only a long one, takes none of the others with it."""
    opened = Journal.start(tmp_path, "run")
    sink = MemorySink()
    ctx = opened.context(FrozenContext, metrics=metrics, sinks=[sink])
    child = fork(ctx, "branch").open()
    child.record("count", 1)
    child.record("text", "a")
    child.record(*odd)
    child.record("count", 2)
    child.record("text", "b")
    merge(ctx, child.delta())
    assert 5 == sum(isinstance(event, MetricRecorded) for event in sink.events)
    die(opened)
    run = load_run(opened.path, metrics=metrics)
    given = odd[1] if "x" * 5000 == odd[1] else NotRestorable(type(odd[1]).__name__)
    expected: dict[str, list[Any]] = {"count": [1, 2], "text": ["a", "b"]}
    expected[odd[0]].insert(1, given)
    assert expected == {name: [*run.metrics[name]] for name in ("count", "text")}
    assert () == verify_run(opened.path)
    with Journal.resume(opened.path) as resumed:
        assert same(picture(run), picture(resumed.context(FrozenContext, metrics=metrics)))


def test_merges_are_drained_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody flushes, enough merges at once are brought into the database all the same."""
    monkeypatch.setattr(drainer, "BATCH", 6)
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        opened.flush()
        for at in range(3):
            merge(ctx, branch_with(ctx, f"b{at}", at))
        end = monotonic() + 60
        while len(read(opened.path).merges) < 3:
            assert monotonic() < end
            sleep(0.01)


@pytest.mark.parametrize("metrics", [None, Measured])
@pytest.mark.parametrize("large", ["artifact", "points"])
def test_a_merge_larger_than_the_spool(tmp_path: Path, metrics: Any, large: str) -> None:
    """A merge for which the spool is too small is in the database as a whole, and what follows it has no hole."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext, metrics=metrics)
    keep_in_the_spool(opened)
    ctx.record("loss", -1.0)
    drain_again(opened)
    child = fork(ctx, "large").open()
    if large == "artifact":
        child.artifacts.add("weights", bytes(3 * SMALL))
    for at in range(5000 if large == "points" else 1):
        child.record("loss", float(at))
    child["key"] = 1
    delta = child.delta()
    merge(ctx, delta)
    keep_in_the_spool(opened)
    assert 1 == len(read(opened.path).merges)
    merge(ctx, branch_with(ctx, "small", 2))
    ctx.record("loss", -2.0)
    die(opened)
    run = load_run(opened.path, metrics=metrics)
    assert same(picture(ctx), picture(run))
    assert () == verify_run(opened.path)
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext, metrics=metrics)
        merge(again, delta)
        again.record("loss", -3.0)
    assert (-1.0, 0.0) == again.metrics["loss"][:2]
    assert (2.0, -2.0, -3.0) == again.metrics["loss"][-3:]
    assert same(picture(again), picture(load_run(opened.path, metrics=metrics)))
    assert () == verify_run(opened.path)


def test_merges_that_fill_the_spool(tmp_path: Path) -> None:
    """Where many merges fill the spool again and again, nothing is lost or there twice."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    for at in range(30):
        child = fork(ctx, f"b{at}").open()
        child.artifacts.add(f"a{at}", os.urandom(5000))
        child.record("loss", at)
        merge(ctx, child.delta())
        ctx.record("loss", -at)
    opened.flush()
    assert same(picture(ctx), picture(load_run(opened.path)))
    die(opened)
    assert () == verify_run(opened.path)
    assert same(picture(ctx), picture(load_run(opened.path)))


# Frames that were changed


def spooled_merge(folder: Path) -> tuple[Path, bytes]:
    """Return a run that died with a merge in its spool alone, and that fact."""
    opened = Journal.start(folder, "run")
    ctx = opened.context(FrozenContext)
    opened.flush()
    keep_in_the_spool(opened)
    delta = branch_with(ctx, "one", 1)
    merge(ctx, delta)
    ctx["after"] = 2
    (fact,) = [fact for fact in opened._writer.spool.pending if fact.startswith(facts.MERGE)]
    die(opened)
    return opened.path, fact


def test_a_merge_in_the_spool_that_was_changed(tmp_path: Path) -> None:
    """Of a merge whose bytes have changed, also in how many facts it has, nothing is taken for right."""
    path, fact = spooled_merge(tmp_path)
    file = path.with_suffix(".spool")
    whole = file.read_bytes()
    at = whole.index(fact)
    places = [at - 28 + 16, at, at + 1, at + 5, at + 20, at + len(fact) // 2, at + len(fact) - 1]
    assert {"one": 1, "after": 2} == load_run(path).values
    for place in places:
        for change in (1, 0x80):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            with pytest.raises(DamagedRunError, match="were acknowledged and cannot be read"):
                load_run(path)
            assert () != verify_run(path)
            with pytest.raises(DamagedRunError):
                Journal.resume(path)
    file.write_bytes(whole)
    with Journal.resume(path) as resumed:
        assert {"one": 1, "after": 2} == dict(resumed.context(FrozenContext))


def test_a_branch_that_this_context_has_not_forked(tmp_path: Path) -> None:
    """A branch that an equal context has forked, as in another process, is in the file as if it was forked here."""
    child = fork(FrozenContext({"lr": 0.1}), "fold-1").open()
    child["score"] = 0.9
    with Journal.start(tmp_path, "run") as opened:
        merge(opened.context(FrozenContext, {"lr": 0.1}), child.delta())
    run = load_run(opened.path)

    assert ({"lr": 0.1, "score": 0.9}, ["fold-1"]) == (run.values, [step.name for step in run.provenance.steps])
    assert () == verify_run(opened.path)
