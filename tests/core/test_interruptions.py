"""Ctrl-C between any two bytecodes: the context and its sinks agree, and nothing waits for ever."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from crystallize import (
    ArtifactAdded,
    Event,
    FrozenContext,
    KeyWritten,
    Metric,
    MetricRecorded,
    MetricSchema,
    SinkError,
    StepFinished,
    fork,
    merge,
)
from crystallize._core.context import notes_of
from crystallize._core.event_dispatch import EventDispatcher
from crystallize._core.packed_columns import Block
from crystallize._core.point_log import BLOCK, PointLog
from crystallize._core.steps import StepRegistry
from crystallize.sinks.memory import MemorySink
from tests.interruption import Stopped, assert_free, called_at, count_bytecodes, in_thread, interrupted


class Tags(TypedDict):
    epoch: int
    split: str


class Measured(MetricSchema):
    loss = Metric(FiniteFloat)
    tagged = Metric(FiniteFloat, tags=Tags)
    text = Metric(list[int])


class Other:
    """A sink that knows nothing of interruptions."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def handle(self, event: Event, /) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def record_fast(ctx: FrozenContext[Any]) -> None:
    ctx.record("loss", 0.5)
    ctx.record("loss", 0.25)


def record_with_tags(ctx: FrozenContext[Any]) -> None:
    ctx.record("tagged", 0.5, {"epoch": 1, "split": "val"})
    ctx.metrics.series(Measured.tagged).bind({"epoch": 2, "split": "val"})(0.25)


def record_undeclared(ctx: FrozenContext[Any]) -> None:
    for epoch in range(3):
        ctx.record("loss", 0.5, {"epoch": epoch})


def record_bound(ctx: FrozenContext[Any]) -> None:
    note = ctx.metrics.series(Measured.loss).bind()
    note(0.5)
    note(0.25)


def record_slowly(ctx: FrozenContext[Any]) -> None:
    ctx.record("text", [1])
    ctx.record("text", [2])


def write(ctx: FrozenContext[Any]) -> None:
    ctx["atom"] = 1
    ctx["list"] = [1]


def add_artifacts(ctx: FrozenContext[Any]) -> None:
    ctx.artifacts.add("a.svg", b"a")
    ctx.artifacts.add("b.svg", b"b")


def run_step(ctx: FrozenContext[Any]) -> None:
    with ctx.step("fit") as step:
        step["inner"] = step["lr"]
        step.record("loss", 0.5)
        step.artifacts.add("step.svg", b"c")


def merge_branch(ctx: FrozenContext[Any]) -> None:
    child = fork(ctx, "fold").open()
    child["score"] = 1
    child.record("loss", 0.5)
    with child.step("fit") as fit:
        fit["deep"] = [2]
        fit.record("loss", 0.25)
    child.artifacts.add("fold.svg", b"d")
    merge(ctx, child.delta())


PROGRAMS = [
    record_fast,
    record_with_tags,
    record_undeclared,
    record_bound,
    record_slowly,
    write,
    add_artifacts,
    run_step,
    merge_branch,
]


def schema_of(program: Callable[[FrozenContext[Any]], None]) -> type[MetricSchema] | None:
    return None if program is record_undeclared else Measured


def seen_in(ctx: FrozenContext[Any]) -> dict[str, Any]:
    """Return all that a context contains, in the form of `told_to`."""
    steps = ctx.provenance.steps
    return {
        "keys": {key: ctx[key] for key in ctx},
        "points": {name: list(zip(ctx.metrics[name], ctx.metrics.get_tags(name), strict=True)) for name in ctx.metrics},
        "artifacts": {artifact.name: artifact.data for artifact in ctx.artifacts},
        "steps": sorted((step.name, step.error, step.writes, dict(step.points), step.artifacts) for step in steps),
        "finished": {step.name for step in steps if ctx.provenance.finished(step.name)},
    }


def told_to(events: list[Event]) -> dict[str, Any]:
    """Return all that a sink was told of."""
    points: dict[str, Any] = {}
    for point in events:
        if isinstance(point, MetricRecorded):
            points.setdefault(point.metric, []).append((point.value, dict(point.tags)))
    ends = [event for event in events if isinstance(event, StepFinished)]
    return {
        "keys": {event.key: event.value for event in events if isinstance(event, KeyWritten)},
        "points": points,
        "artifacts": {event.name: event.data for event in events if isinstance(event, ArtifactAdded)},
        "steps": sorted((end.step, end.error, end.writes, dict(end.points), end.artifacts) for end in ends),
        "finished": {end.step for end in ends if end.error is None},
    }


def check(program: Callable[[FrozenContext[Any]], None], at: int) -> None:
    """Interrupt a program; compare its context with two sinks, and use it in another thread."""
    first, other, last = MemorySink(), Other(), MemorySink()
    ctx = FrozenContext({"lr": 0.1}, metrics=schema_of(program), sinks=[first, other, last])
    with suppress(Stopped), interrupted(at, Stopped()):
        program(ctx)

    def use() -> None:
        with ctx.step("after") as step:
            step["after"] = 1
            step.record("loss", 0.125)
        assert 0.125 == ctx.metrics["loss"][-1]

    assert_free(use)
    assert seen_in(ctx) == told_to(first.events) == told_to(last.events)
    assert first.events == last.events
    assert len(first.events) == len({*map(repr, first.events)})
    assert len({*map(repr, first.events)} - {*map(repr, other.events)}) <= 1
    assert len(other.events) == len({*map(repr, other.events)})


def length(program: Callable[[FrozenContext[Any]], None]) -> int:
    def run() -> None:
        program(FrozenContext({"lr": 0.1}, metrics=schema_of(program), sinks=[MemorySink(), Other(), MemorySink()]))

    return count_bytecodes(run)


@pytest.mark.parametrize("program", PROGRAMS)
def test_some_bytecodes(program: Callable[[FrozenContext[Any]], None]) -> None:
    """Wherever Ctrl-C comes, the context and its sinks agree, and the exception is the program's own."""
    count = length(program)
    for at in range(1, count + 2, max(count // 100, 1)):
        in_thread(partial(check, program, at))


@pytest.mark.long
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_bytecode(program: Callable[[FrozenContext[Any]], None]) -> None:
    """The same at each bytecode."""
    for at in range(1, length(program) + 2):
        in_thread(partial(check, program, at))


def test_the_exception_of_a_step_comes_out_where_sinks_fail() -> None:
    """Sinks that fail at the end of a step do not hide the exception that ended it: it has a note."""

    class Failing(Other):
        def handle(self, event: Event, /) -> None:
            super().handle(event)
            if isinstance(event, StepFinished):
                raise OSError("disk full")

    sink = MemorySink()
    ctx = FrozenContext(sinks=[Failing(), sink])
    with pytest.raises(ValueError, match="mine") as caught, ctx.step("fit"):
        raise ValueError("mine")

    assert "Failing raised OSError: disk full" in caught.value.__notes__[-1]
    assert ["ValueError: mine"] == [step.error for step in ctx.provenance.steps]
    assert isinstance(sink.events[-1], StepFinished)


class Raising(Other):
    """Raises when it receives a point or a key."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def handle(self, event: Event, /) -> None:
        super().handle(event)
        if isinstance(event, MetricRecorded | KeyWritten):
            raise self.error


@pytest.mark.parametrize("program", [record_fast, record_bound, record_slowly, write])
@pytest.mark.parametrize("is_first", [False, True])
def test_an_interrupted_sink_and_one_that_fails(program: Callable[[FrozenContext[Any]], None], is_first: bool) -> None:
    """The interruption comes out with the failure as a note, and all sinks receive the event once."""
    first, last = MemorySink(), MemorySink()
    raising = [Raising(KeyboardInterrupt()), Raising(OSError("disk full")), Raising(SystemExit(3))]
    ctx = FrozenContext(metrics=Measured, sinks=[first, *raising[:: 1 if is_first else -1], last])
    with pytest.raises(KeyboardInterrupt if is_first else SystemExit) as caught:
        program(ctx)

    notes = "".join(caught.value.__notes__)
    assert "Raising raised OSError: disk full" in notes
    assert "SystemExit" if is_first else "KeyboardInterrupt" in notes
    assert 1 == len(first.events)
    assert [first.events] * 3 == [sink.events for sink in raising]
    assert first.events == last.events


def test_a_sink_that_fails_while_it_settles() -> None:
    """The failure of a sink's `settle` is a note on the interruption."""

    class Unsettled(Raising):
        def settle(self, event: Event, /) -> None:
            raise OSError("still full")

    ctx = FrozenContext(sinks=[Unsettled(KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt) as caught:
        ctx["a"] = 1

    assert "Unsettled raised OSError: still full" in caught.value.__notes__[-1]


def test_an_interrupted_sink_after_one_that_fails() -> None:
    """A fast recorder whose sinks fail and are interrupted raises the interruption, with the failure as a note."""
    failing, stopped, last = Raising(OSError("disk full")), Raising(Stopped()), MemorySink()
    ctx = FrozenContext(metrics=Measured, sinks=[failing, stopped, last])
    with pytest.raises(Stopped) as caught:
        ctx.record("loss", 0.5)

    assert "Raising raised OSError: disk full" in caught.value.__notes__[-1]
    assert [1, 1, 1] == [len(sink.events) for sink in (failing, stopped, last)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signal_handler_that_uses_the_context(program: Callable[[FrozenContext[Any]], None]) -> None:
    """A handler that records and writes between any two calls finds the context usable; the sinks agree with it."""
    count = length(program)
    for at in range(1, count // 4, max(count // 400, 1)):
        sink, other = MemorySink(), Other()
        ctx = FrozenContext({"lr": 0.1}, metrics=schema_of(program), sinks=[sink, other])

        def handle(ctx: FrozenContext[Any] = ctx) -> None:
            ctx.record("loss", 1.5)
            ctx["handled"] = 1
            with ctx.step("handler") as step:
                step.artifacts.add("handled.svg", b"h")

        with called_at(at, handle):
            program(ctx)
        seen, told = seen_in(ctx), told_to(sink.events)
        if program is merge_branch:  # merged points are read at the position of the fork
            seen["points"], told["points"] = (
                {m: sorted(map(repr, p)) for m, p in of["points"].items()} for of in (seen, told)
            )
        assert seen == told
        assert sink.events == other.events
        points = [event for event in sink.events if isinstance(event, MetricRecorded) and event.branch is None]
        for name in ctx.metrics:
            own = [event.position for event in points if event.metric == name]
            assert [*range(len(own))] == own


class Echo(MemorySink):
    """Writes a key and records a point when it receives a point or a key, once."""

    ctx: FrozenContext[Any] | None = None

    def handle(self, event: Event, /) -> None:
        super().handle(event)
        if isinstance(event, MetricRecorded | KeyWritten) and self.ctx is not None and "echo" not in self.ctx:
            self.ctx["echo"] = 1
            self.ctx.record("loss", 1.5)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signal_handler_that_raises(program: Callable[[FrozenContext[Any]], None]) -> None:
    """Wherever a handler raises, the context and its sinks agree, also if a sink itself uses the context."""

    def stop() -> None:
        raise Stopped

    count = length(program)
    for at in range(1, count // 4, max(count // 400, 1)):
        first, echo, last = MemorySink(), Echo(), MemorySink()
        ctx = FrozenContext({"lr": 0.1}, metrics=schema_of(program), sinks=[first, echo, last])
        echo.ctx = ctx
        with suppress(Stopped), called_at(at, stop):
            program(ctx)
        assert_free(partial(ctx.record, "loss", 0.125))
        seen, told = seen_in(ctx), told_to(first.events)
        if program is merge_branch:
            for content in (seen, told):
                content["points"] = {name: sorted(map(repr, points)) for name, points in content["points"].items()}
        assert seen == told
        assert first.events == last.events


def test_a_fast_recorder_whose_sinks_fail() -> None:
    """The failures of sinks reach the caller as one SinkError, also for events that a sink causes; the lock is free."""
    echo = Echo()
    ctx = FrozenContext(metrics=Measured, sinks=[echo, Raising(OSError("disk full"))])
    with pytest.raises(SinkError, match="MetricRecorded 'loss'") as caught:
        ctx.record("loss", 0.5)
    echo.ctx = ctx
    with pytest.raises(SinkError) as with_echo:
        ctx.record("loss", 0.25)

    assert (("Raising", "OSError: disk full"),) == caught.value.failures == with_echo.value.failures
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert_free(lambda: ctx.metrics["loss"])


def test_only_what_a_sink_caused_fails() -> None:
    """A fast recorder raises the SinkError of an event that a sink caused, after its own event has succeeded."""

    class Half(Other):
        def handle(self, event: Event, /) -> None:
            if isinstance(event, KeyWritten):
                raise OSError("disk full")

    echo = Echo()
    echo.ctx = FrozenContext(metrics=Measured, sinks=[echo, Half()])
    with pytest.raises(SinkError, match="KeyWritten 'echo'"):
        echo.ctx.record("loss", 0.5)

    assert (0.5, 1.5) == echo.ctx.metrics["loss"]


def test_settling() -> None:
    """A memory sink stores the event of an interrupted call once; a class that handles events itself is left alone."""

    class Own(MemorySink):
        def handle(self, event: Event, /) -> None:
            pass

    sink, own, event = MemorySink(), Own(), KeyWritten("a", 1, None)
    for _ in range(2):
        sink.settle(event)
        own.settle(event)

    assert ([event], []) == (sink.events, own.events)


def test_the_lock_is_renewed_for_the_thread_that_survives() -> None:
    """After a fork, the events of a thread that does not exist any more are dropped, and those of this thread kept."""
    dispatcher = EventDispatcher()
    dispatcher.pending.append(KeyWritten("a", 1, None))
    dispatcher.lock.run(dispatcher.renew)
    assert 1 == len(dispatcher.pending)
    dispatcher.renew()
    assert not dispatcher.pending


def test_steps_that_a_signal_handler_opens() -> None:
    """A step that is opened while another is being opened gets a name and a number of its own."""

    class Names(list[str | None]):
        def append(self, name: str | None) -> None:
            super().append(name)
            super().append("handler")

    registry = StepRegistry()
    registry.names = Names(registry.names)
    token = registry.open("fit")

    assert ("fit", 1) == (token.step, token.number)


def test_points_that_a_signal_handler_seals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that a signal handler packs while they are being packed are there once."""
    log = PointLog()
    for number in range(BLOCK - 1):
        log.append(number, {}, 0)
    pack = Block.of

    def interrupted_pack(*arguments: Any) -> Block:
        monkeypatch.undo()
        log.seal()
        return pack(*arguments)

    monkeypatch.setattr(Block, "of", interrupted_pack)
    log.append(BLOCK - 1, {}, 0)

    assert [*range(BLOCK)] == [*log.values()]


def test_a_key_that_a_step_writes_is_on_its_record_or_not_there() -> None:
    """Wherever Ctrl-C comes while a step writes a key, its record names the key if the context has it."""

    def write(at: int) -> tuple[int, bool, bool]:
        ctx = FrozenContext()
        with ctx.step("fit") as step, suppress(Stopped), interrupted(at, Stopped()) as counted:
            step["key"] = 1
        (record,) = ctx.provenance.steps
        return counted[0], "key" in ctx, "key" in record.writes

    found = [write(at) for at in range(write(0)[0] + 1)]
    assert {(False, False), (True, True)} == {(is_there, is_told) for _, is_there, is_told in found}


def test_an_exception_while_a_step_notes_a_key() -> None:
    """The key is there by then, so the record names it all the same."""

    class Interrupting(dict[str, None]):
        def __setitem__(self, key: str, value: None) -> None:
            if not told:
                told.append(key)
                raise Stopped
            super().__setitem__(key, value)

    told: list[str] = []
    ctx = FrozenContext()
    with ctx.step("fit") as step:
        notes = notes_of(step)
        assert notes is not None
        notes.writes = Interrupting()
        with pytest.raises(Stopped):
            step["key"] = 1
    assert (1, ("key",)) == (ctx["key"], ctx.provenance.steps[0].writes)


def test_an_exception_before_a_step_writes_a_key() -> None:
    """The key is neither there nor on the record."""

    class Refusing(dict[str, Any]):
        def setdefault(self, key: str, value: Any = None) -> Any:
            raise Stopped

    ctx = FrozenContext()
    with ctx.step("fit") as step:
        object.__setattr__(step, "_values", Refusing())
        with pytest.raises(Stopped):
            step["key"] = 1
    assert ("key" in ctx, ctx.provenance.steps[0].writes) == (False, ())
