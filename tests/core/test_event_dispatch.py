"""Sinks: each is told everything, in the order in which it took effect."""

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from crystallize import (
    ArtifactAdded,
    AttachedSink,
    BatchSink,
    ContextMutationError,
    ContextView,
    Event,
    FrozenContext,
    InvalidInitialError,
    InvalidMetricError,
    KeyWritten,
    Metric,
    MetricRecorded,
    MetricSchema,
    SchemaError,
    Sink,
    SinkError,
    StepFinished,
    StepStarted,
    register,
)
from crystallize._core import fast_recorders
from crystallize._core.context import state_of
from crystallize._core.event_delivery import Batch, EventDelivery
from crystallize._core.event_dispatch import EventDispatcher
from crystallize.sinks.memory import MemorySink


class Failing:
    """Raises at every event, or at those of one key alone."""

    def __init__(self, error: BaseException | None = None, key: str | None = None) -> None:
        self.error = error or OSError("disk full")
        self.key = key

    def handle(self, event: Event, /) -> None:
        if self.key in (None, event[0]):
            raise self.error

    def close(self) -> None:
        pass


class Echo:
    """Writes to the context that it listens to: for each number a smaller one."""

    def __init__(self) -> None:
        self.ctx: FrozenContext[Any] | None = None

    def handle(self, event: Event, /) -> None:
        if self.ctx is not None and isinstance(event, KeyWritten) and event.value > 0:
            self.ctx[f"{event.key}'"] = event.value - 1

    def close(self) -> None:
        pass


class Spoiling:
    """Changes whatever it is told."""

    def handle(self, event: Event, /) -> None:
        if isinstance(event, KeyWritten):
            event.value.append(9)
        if isinstance(event, MetricRecorded):
            event.value.append(9)
            event.tags["tag"].append(9)

    def close(self) -> None:
        pass


class Counted:
    """Counts how often it is copied for a reader."""

    def __init__(self) -> None:
        self.reads = 0


def count_read(value: Counted) -> int:
    value.reads += 1
    return value.reads


register(Counted, freeze=lambda value: value, thaw=count_read)  # type: ignore[arg-type]  # a count, not a copy


class Login(BaseModel):
    user: str
    password: SecretStr


def test_memory_sink_is_a_sink() -> None:
    """The sink for tests is one, and keeps what it is told."""
    sink = MemorySink()
    sink.handle(KeyWritten("a", 1, None))
    assert not sink.closed
    sink.close()

    assert isinstance(sink, Sink)
    assert sink.closed
    assert [KeyWritten("a", 1, None)] == sink.events


def test_what_is_no_sink() -> None:
    """What lacks a sink's methods is refused when the context is made."""
    with pytest.raises(SchemaError, match=r"a sink has the methods handle\(event\) and close\(\)"):
        FrozenContext(sinks=[object()])  # type: ignore[list-item]  # what a script without a checker may do


def test_events() -> None:
    """All that takes effect is told, in its order, with the step that did it."""
    sink = MemorySink()
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    ctx["a"] = [1]
    with ctx.step("fit") as step:
        step["b"] = step["lr"]
        step.get("c")
        step.record("loss", 0.5, tags={"epoch": 1})
        step.record("loss", 0.4)
        step.artifacts.add("plot.svg", b"<svg/>")
    [record] = ctx.provenance.steps

    assert [
        KeyWritten("lr", 0.1, None, is_input=True),
        KeyWritten("a", [1], None),
        StepStarted("fit", record.started),
        KeyWritten("b", 0.1, "fit"),
        MetricRecorded("loss", 0.5, {"epoch": 1}, "fit", 0),
        MetricRecorded("loss", 0.4, {}, "fit", 1),
        ArtifactAdded("plot.svg", b"<svg/>", "fit"),
        StepFinished(
            *("fit", ("lr",), ("c",), ("b",), {"loss": 2}, ("plot.svg",), record.started, record.ended), error=None
        ),
    ] == sink.events


def test_what_fails_is_not_told() -> None:
    """Of what did not take effect nobody is told."""
    sink = MemorySink()
    ctx = FrozenContext[dict[str, int]]({"a": 1}, sinks=[sink])
    with pytest.raises(ContextMutationError):
        ctx["a"] = 2
    with pytest.raises(InvalidMetricError):
        ctx.record("loss", SecretStr("hunter2"))
    with pytest.raises(InvalidInitialError):
        FrozenContext[dict[str, int]]({"a": "x"}, sinks=[sink])

    assert [KeyWritten("a", 1, None, is_input=True)] == sink.events


ACTS: dict[str, Callable[[FrozenContext[Any]], None]] = {
    "KeyWritten 'x'": lambda ctx: ctx.add("x", 1),
    "MetricRecorded 'x'": lambda ctx: ctx.record("x", 1.0, {"epoch": 1}),
    "ArtifactAdded 'x'": lambda ctx: ctx.artifacts.add("x", b"1"),
}


@pytest.mark.parametrize("told", ACTS)
def test_every_sink_is_told(told: str) -> None:
    """If sinks fail, the others are told, the failures come as one error, and the effect stays."""
    first, last = MemorySink(), MemorySink()
    errors = [OSError("disk full"), ValueError("odd")]
    ctx = FrozenContext(sinks=[first, Failing(errors[0]), Failing(errors[1]), last])
    with pytest.raises(SinkError) as caught:
        ACTS[told](ctx)

    assert told == caught.value.event
    assert (("Failing", "OSError: disk full"), ("Failing", "ValueError: odd")) == caught.value.failures
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert errors == list(caught.value.__cause__.exceptions)
    assert 1 == len(first.events) == len(last.events)
    assert 1 == len(ctx) + len(ctx.metrics) + len(ctx.artifacts)


def test_error_text() -> None:
    """The error says what took effect, and which sink raised what."""
    ctx = FrozenContext(sinks=[Failing()])
    with pytest.raises(SinkError) as caught:
        ctx["lr"] = 0.1

    expected = (
        "KeyWritten 'lr' took effect in the context, but not every sink took it: Failing raised OSError: disk full"
    )
    assert expected == str(caught.value)
    assert 0.1 == ctx["lr"]


def test_initial_values_are_told_to_every_sink() -> None:
    """Also of what a context is made with every sink is told all, whichever others fail."""
    sink = MemorySink()
    with pytest.raises(SinkError):
        FrozenContext({"a": 1, "b": 2}, sinks=[Failing(), sink])

    assert [KeyWritten("a", 1, None, is_input=True), KeyWritten("b", 2, None, is_input=True)] == sink.events


@pytest.mark.parametrize("before", [0, 1, 2])
def test_sink_that_writes(before: int) -> None:
    """What a sink writes to its own context comes after what it was told of, for every sink."""
    echo, sinks = Echo(), [MemorySink(), MemorySink()]
    ctx = FrozenContext(sinks=[*sinks[:before], echo, *sinks[before:]])
    echo.ctx = ctx
    ctx["a"] = 2
    ctx["b"] = 0

    expected = [("a", 2), ("a'", 1), ("a''", 0), ("b", 0)]
    assert expected == list(ctx.items())
    for sink in sinks:
        assert [KeyWritten(key, value, None) for key, value in expected] == sink.events


def test_sink_that_writes_where_another_fails() -> None:
    """A failure at what a sink wrote reaches whoever caused it all, and everything stays and is told."""
    echo, sink = Echo(), MemorySink()
    ctx = FrozenContext(sinks=[echo, Failing(key="a'"), sink])
    echo.ctx = ctx
    with pytest.raises(SinkError) as caught:
        ctx["a"] = 2

    assert 'KeyWritten "a\'"' == caught.value.event
    assert {"a": 2, "a'": 1, "a''": 0} == dict(ctx)
    assert ["a", "a'", "a''"] == [event[0] for event in sink.events]


def test_sink_that_is_interrupted() -> None:
    """An interrupt in a sink ends what was going on; the effect stays, and later events are told."""
    sink = MemorySink()
    ctx = FrozenContext(sinks=[sink, Failing(KeyboardInterrupt(), key="a")])
    with pytest.raises(KeyboardInterrupt):
        ctx["a"] = 1
    ctx["b"] = 2

    assert {"a": 1, "b": 2} == dict(ctx)
    assert ["a", "b"] == [event[0] for event in sink.events]


def test_sinks_change_nothing() -> None:
    """What a sink does to what it is told reaches neither the context nor other sinks' order of events."""
    ctx = FrozenContext({"a": [1]}, sinks=[Spoiling()])
    ctx["b"] = [2]
    ctx.record("loss", [3], tags={"tag": [4]})

    assert {"a": [1], "b": [2]} == dict(ctx)
    assert ([3],) == ctx.metrics["loss"]
    assert ({"tag": [4]},) == ctx.metrics.get_tags("loss")


def test_no_events_without_sinks() -> None:
    """With no sink no event is made: nothing is copied for one."""
    ctx = FrozenContext({"first": Counted()})
    ctx["a"] = Counted()
    ctx.record("m", Counted())

    assert [1, 1] == [ctx["first"], ctx["a"]]
    assert (1,) == ctx.metrics["m"]


def test_events_with_sinks() -> None:
    """With sinks one event is made of each effect, whatever the number of sinks."""
    ctx = FrozenContext({"first": Counted()}, sinks=[MemorySink(), MemorySink()])
    ctx["a"] = Counted()
    ctx.record("m", Counted())

    assert [2, 2] == [ctx["first"], ctx["a"]]
    assert (2,) == ctx.metrics["m"]


@pytest.mark.parametrize("shape", [None, dict[str, Login]])
def test_secrets_are_masked(shape: Any) -> None:
    """A sink is never told a secret, whether the schema knows of it or the value alone."""
    sink = MemorySink()
    make = FrozenContext if shape is None else FrozenContext[shape]
    ctx = make({"login": Login(user="ada", password=SecretStr("hunter2"))}, sinks=[sink])
    ctx["again"] = Login(user="ada", password=SecretStr("hunter2"))

    assert [
        KeyWritten("login", "**********", None, is_input=True),
        KeyWritten("again", "**********", None),
    ] == sink.events


def test_order_of_events_is_the_order_of_effects() -> None:
    """Whatever many threads do at once, every sink meets it in the one order in which it took effect."""
    sinks = [MemorySink(), MemorySink()]
    ctx = FrozenContext(sinks=sinks)
    start = threading.Barrier(8)

    def work(worker: int) -> None:
        start.wait()
        for number in range(100):
            ctx[f"{worker}.{number}"] = number
            ctx.record("m", worker * 100 + number)
            ctx.artifacts.add(f"{worker}.{number}", b"")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sinks[0].events == sinks[1].events
    assert list(ctx) == [event.key for event in sinks[0].events if isinstance(event, KeyWritten)]
    points = [event for event in sinks[0].events if isinstance(event, MetricRecorded)]
    assert ctx.metrics["m"] == tuple(event.value for event in points)
    assert list(range(800)) == [event.position for event in points]
    named = [event.name for event in sinks[0].events if isinstance(event, ArtifactAdded)]
    assert [artifact.name for artifact in ctx.artifacts] == named


def test_many_points_and_a_sink() -> None:
    """A sink is told every point in its place, however many there are, and all of them are kept."""

    class Measured(MetricSchema):
        loss = Metric(float)

    sink = MemorySink()
    ctx = FrozenContext({}, metrics=Measured, sinks=[sink])
    for n in range(10_000):
        ctx.record("loss", float(n))

    told = [event for event in sink.events if isinstance(event, MetricRecorded)]
    assert [(float(n), n) for n in range(10_000)] == [(event.value, event.position) for event in told]
    assert tuple(map(float, range(10_000))) == ctx.metrics["loss"]


def test_events_left_by_an_interrupt_come_first() -> None:
    """What a sink had still to be told when Ctrl-C came it is told before what comes after."""
    told: list[str] = []

    class Interrupted:
        def handle(self, event: Event, /) -> None:
            assert isinstance(event, KeyWritten)
            told.append(event.key)
            if event.key == "a":
                raise KeyboardInterrupt

        def close(self) -> None:
            pass

    ctx = FrozenContext(sinks=[Interrupted()])
    dispatcher = state_of(ctx).dispatcher
    with pytest.raises(KeyboardInterrupt):
        dispatcher.emit(KeyWritten("a", 1, None), KeyWritten("b", 1, None))
    dispatcher.emit(KeyWritten("c", 1, None))

    assert ["a", "b", "c"] == told


class Work:
    """Two events that took effect together."""

    last: Event = KeyWritten("b", 2, None)

    def events(self) -> Iterator[Event]:
        yield KeyWritten("a", 1, None)
        yield self.last


class Whole(MemorySink):
    """Receives work that was done elsewhere as a whole."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.error = error

    def handle_batch(self, work: Batch, /) -> None:
        self.batches.append(work)
        if self.error is not None:
            raise self.error


def test_a_batch_is_received_as_a_whole_or_event_by_event() -> None:
    """A sink that can handle a batch receives it once, and every other sink receives its events in order."""
    single, whole, work = MemorySink(), Whole(), Work()
    EventDispatcher([single, whole]).emit(work)

    assert (["a", "b"], []) == ([event[0] for event in single.events], whole.events)
    assert [work] == whole.batches
    assert isinstance(whole, BatchSink)


def test_a_batch_is_received_by_all_where_some_fail() -> None:
    """A sink that fails at a batch hinders no other sink; the error names the first failure of each."""
    single, whole = MemorySink(), Whole(OSError("disk full"))
    with pytest.raises(SinkError) as caught:
        EventDispatcher([Failing(ValueError("no")), whole, single]).emit(Work())

    assert ("KeyWritten 'a'", (("Failing", "ValueError: no"),)) == (caught.value.event, caught.value.failures)
    assert "Whole raised OSError: disk full" in caught.value.__notes__[-1]
    assert (["a", "b"], 1) == ([event[0] for event in single.events], len(whole.batches))


def test_a_batch_that_only_whole_sinks_receive() -> None:
    """The error of a sink that failed at a batch names its last event."""
    with pytest.raises(SinkError) as caught:
        EventDispatcher([Whole(OSError("disk full"))]).emit(Work())

    assert "KeyWritten 'b'" == caught.value.event


@pytest.mark.parametrize("fails", [False, True])
def test_a_sink_that_causes_a_batch(fails: bool) -> None:
    """A batch that a sink causes while it handles an event comes after that event, for every sink."""

    class Causing(MemorySink):
        def handle(self, event: Event, /) -> None:
            super().handle(event)
            if event[0] == "first":
                dispatcher.emit(Work())
                dispatcher.emit(KeyWritten("last", 3, None))

    causing, other = Causing(), MemorySink()
    whole = Whole(OSError("disk full") if fails else None)
    dispatcher = EventDispatcher([causing, other, whole])
    with pytest.raises(SinkError) if fails else nullcontext():
        dispatcher.emit(KeyWritten("first", 0, None))

    assert ["first", "a", "b", "last"] == [event[0] for event in causing.events]
    assert ["first", "a", "b", "last"] == [event[0] for event in other.events]
    assert (["first", "last"], 1) == ([event[0] for event in whole.events], len(whole.batches))


def test_a_sink_that_writes_while_it_receives_a_batch() -> None:
    """An event that a sink causes in the middle of a batch comes after the batch, for every sink."""

    class Causing(MemorySink):
        def handle(self, event: Event, /) -> None:
            super().handle(event)
            if event[0] == "a":
                dispatcher.emit(KeyWritten("later", 3, None))

    causing, failing = Causing(), Failing(key="later")
    dispatcher = EventDispatcher([causing, failing])
    with pytest.raises(SinkError, match="KeyWritten 'later'"):
        dispatcher.emit(Work())

    assert ["a", "b", "later"] == [event[0] for event in causing.events]


def test_an_attached_sink() -> None:
    """A sink that asks for it gets a view of the context once, before the first event, with its schema and secrets."""

    class Attached(MemorySink):
        view: ContextView | None = None

        def attach(self, view: ContextView, /) -> None:
            assert (None, []) == (self.view, self.events)
            self.view = view

    class Train(BaseModel):
        token: SecretStr

    class Measured(MetricSchema):
        loss = Metric(float)

    sink = Attached()
    ctx = FrozenContext[Train]({"token": "hunter2"}, metrics=Measured, sinks=[sink])
    view = sink.view

    assert isinstance(sink, AttachedSink)
    assert view is not None
    assert (["token"], Measured) == (list(view.schema.keys), view.metrics.schema)
    assert "it is **********" == view.mask("it is hunter2")
    assert "ValueError: not **********" == view.error_text(ValueError("not hunter2"))
    assert (ctx.metrics, ctx.provenance) == (view.metrics, view.provenance)
    assert view.lock is state_of(ctx).dispatcher.lock


def test_a_sink_that_refuses_its_context() -> None:
    """If a sink raises while it is attached, the context is not made, and no sink receives anything."""

    class Refusing(MemorySink):
        def attach(self, view: ContextView, /) -> None:
            raise OSError("no")

    other = MemorySink()
    with pytest.raises(OSError, match="no"):
        FrozenContext({"lr": 0.1}, sinks=[other, Refusing()])
    assert [] == other.events


def test_an_error_of_attach_names_the_sink() -> None:
    """The exception is the sink's own, and a note names the sink."""

    class Refusing(MemorySink):
        def attach(self, view: ContextView, /) -> None:
            raise OSError("no")

    with pytest.raises(OSError, match="no") as caught:
        FrozenContext({"lr": 0.1}, sinks=[Refusing()])
    assert ["Refusing.attach raised this, so that the context was not made"] == caught.value.__notes__


@pytest.mark.parametrize("initial", [{}, {"lr": 0.1}])
def test_a_sink_that_records_while_it_is_attached(initial: dict[str, Any]) -> None:
    """All sinks receive what a sink records, once every sink is attached, and before the initial values."""

    class Recording(MemorySink):
        def attach(self, view: ContextView, /) -> None:
            view.metrics.series("early").add(1.0)
            assert [] == self.events

    first, recording, last = MemorySink(), Recording(), MemorySink()
    ctx = FrozenContext(initial, sinks=[first, recording, last])

    assert (1.0,) == ctx.metrics["early"]
    assert ["early", *initial] == [event[0] for event in recording.events]
    assert first.events == recording.events == last.events


def test_what_was_recorded_for_a_context_that_was_refused() -> None:
    """No sink receives what a sink recorded in a context that was not made."""

    class Recording(MemorySink):
        def attach(self, view: ContextView, /) -> None:
            view.metrics.series("early").add(1.0)
            raise OSError("no")

    other = MemorySink()
    with pytest.raises(OSError, match="no"):
        FrozenContext(sinks=[other, Recording()])
    assert [] == other.events


def test_hooks_that_cannot_be_called() -> None:
    """A sink whose `handle_batch` is no method, or raises when it is looked up, hinders no other sink."""

    class Number(MemorySink):
        handle_batch = 3

    class Unready(MemorySink):
        @property
        def handle_batch(self) -> Any:
            raise OSError("not connected")

    single, whole = MemorySink(), Whole()
    with pytest.raises(SinkError) as caught:
        EventDispatcher([Number(), Unready(), single, whole]).emit(Work())

    assert (["a", "b"], 1) == ([event[0] for event in single.events], len(whole.batches))
    failed = (("Number", "TypeError: 'int' object is not callable"), ("Unready", "OSError: not connected"))
    assert failed == caught.value.failures


@pytest.mark.parametrize("whole", [False, True])
def test_sinks_of_one_class_that_fail(whole: bool) -> None:
    """Each sink's failure is reported, also if two sinks are of one class."""
    kind: Callable[[Exception], Sink] = Whole if whole else Failing
    with pytest.raises(SinkError) as caught:
        EventDispatcher([kind(OSError("first")), kind(OSError("second"))]).emit(Work())

    told = "\n".join((str(caught.value), *getattr(caught.value, "__notes__", ())))
    assert ("OSError: first" in told, "OSError: second" in told) == (True, True)


def test_a_class_is_no_sink() -> None:
    """A class in place of a sink is refused, and so is an object without the methods of a sink."""
    kind: Any = MemorySink
    with pytest.raises(SchemaError, match=r"a class; give a sink that is made of it, MemorySink\(\.\.\.\)"):
        FrozenContext(sinks=[kind])

    class Closed:
        def close(self) -> None:
            pass

    half: Any = Closed()
    with pytest.raises(SchemaError, match="and this has no method handle"):
        FrozenContext(sinks=[half])


def test_a_sink_that_causes_many_events() -> None:
    """Events that a sink causes while it handles another come after that event, for every sink."""

    class Causing(MemorySink):
        def handle(self, event: Event, /) -> None:
            super().handle(event)
            if event[0] == "first":
                dispatcher.emit(*(KeyWritten(key, 1, None) for key in ("a", "b")))

    causing, other = Causing(), MemorySink()
    dispatcher = EventDispatcher([causing, other])
    dispatcher.emit(KeyWritten("first", 0, None))

    assert ["first", "a", "b"] == [event[0] for event in other.events]
    assert causing.events == other.events


def test_events_that_wait_are_delivered_on_request() -> None:
    """A sink that a signal handler ends in the middle of an event may ask for the events that wait."""

    class Asking(MemorySink):
        def attach(self, view: ContextView, /) -> None:
            self.view = view

        def handle(self, event: Event, /) -> None:
            if isinstance(event, KeyWritten) and event.key == "outer":
                ctx["inner"] = 1  # as a handler does
                with pytest.raises(SinkError, match="Failing raised OSError"):
                    self.view.deliver_waiting()
            super().handle(event)

    class Failing(MemorySink):
        def handle(self, event: Event, /) -> None:
            super().handle(event)
            if isinstance(event, KeyWritten) and event.key == "inner":
                raise OSError("disk full")

    asking, failing = Asking(), Failing()
    ctx: FrozenContext[Any] = FrozenContext(sinks=[asking, failing])
    asking.view.deliver_waiting()  # none wait
    ctx["outer"] = 1
    for sink in (asking, failing):
        assert ["inner", "outer"] == [event.key for event in sink.events if isinstance(event, KeyWritten)]


def test_nothing_to_deliver_any_more() -> None:
    """An event that a signal handler has delivered meanwhile is not delivered again."""
    delivery = EventDelivery([sink := MemorySink()])
    found: list[Any] = []
    delivery.deliver(found)
    assert ([], []) == (found, sink.events)


def test_a_handler_that_records_before_the_point_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that a handler records while the event of another one is made comes first, for all sinks."""

    class Losses(MetricSchema):
        loss = Metric(float)

    ctx: FrozenContext[Any] = FrozenContext(metrics=Losses, sinks=[sink := MemorySink()])
    ctx.record(Losses.loss, 0.0)
    real = fast_recorders._new_tuple

    def make(*given: Any) -> Any:
        monkeypatch.setattr(fast_recorders, "_new_tuple", real)
        ctx.record(Losses.loss, 1.0)  # as a handler does
        return real(*given)

    monkeypatch.setattr(fast_recorders, "_new_tuple", make)
    ctx.record(Losses.loss, 2.0)
    assert (0.0, 1.0, 2.0) == ctx.metrics["loss"]
    assert [0.0, 1.0, 2.0] == [event.value for event in sink.events if isinstance(event, MetricRecorded)]
    assert [0, 1, 2] == [event.position for event in sink.events if isinstance(event, MetricRecorded)]
