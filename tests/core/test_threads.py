import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typing_extensions import TypedDict

from crystallize import (
    ContextMutationError,
    FrozenContext,
    FrozenMetrics,
    KeyWritten,
    Metric,
    MetricRecorded,
    MetricSchema,
    StepFinished,
    StepStarted,
)
from crystallize.sinks.memory import MemorySink

THREADS = 8


class Tags(TypedDict):
    thread: int
    at: int


class RaceMetrics(MetricSchema):
    loss = Metric(int, tags=Tags)
    plain = Metric(int)


@pytest.fixture
def _switching_fast() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def race(work: Callable[[int], object]) -> None:
    """Run a function in all threads at once, and raise what any of them raised."""
    barrier = threading.Barrier(THREADS)
    failures: list[BaseException] = []

    def run(thread: int) -> None:
        barrier.wait()
        try:
            work(thread)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def write_all(ctx: FrozenContext, keys: list[str], thread: int, value: Callable[[int], Any]) -> list[str]:
    """Write all keys; return those that this thread won."""
    won = []
    for key in keys:
        try:
            ctx[key] = value(thread)
        except ContextMutationError:
            continue
        won.append(key)
    return won


@pytest.mark.slow
@pytest.mark.usefixtures("_switching_fast")
@pytest.mark.parametrize("count", [5_000, pytest.param(20_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("value", [lambda thread: thread, lambda thread: "shared", lambda thread: [thread]])
def test_one_thread_wins_each_key(value: Callable[[int], Any], count: int) -> None:
    """Of all threads that write one key exactly one wins, also where all write the same object."""
    ctx = FrozenContext({})
    keys = [f"k{at}" for at in range(count)]
    won: dict[int, list[str]] = {}
    race(lambda thread: won.setdefault(thread, write_all(ctx, keys, thread, value)))
    assert dict.fromkeys(keys, 1) == Counter(key for own in won.values() for key in own)
    assert {key: value(thread) for thread, own in won.items() for key in own} == dict(ctx)


def record_all(metrics: FrozenMetrics, thread: int, count: int) -> None:
    bound = metrics.series("plain").bind(None)
    series = metrics.series("loss")
    for at in range(count):
        tags = {"thread": thread, "at": at}
        if at % 2:
            series.add(thread * count + at, tags)
        else:
            metrics.add("loss", thread * count + at, tags)
        bound(thread * count + at)


def check_points(schema: type[MetricSchema] | None, total: int) -> None:
    """Record half of the points with tags and half without, from all threads, and look at each."""
    ctx = FrozenContext({}, metrics=schema)
    each = total // THREADS // 2
    done = threading.Event()
    torn: list[object] = []

    def read() -> None:
        # Reads while the others write: a point is whole or absent.
        while not done.is_set():
            torn.extend(point for point in list(ctx.metrics.series("loss")) if not is_whole(point, each))

    reader = threading.Thread(target=read)
    reader.start()
    race(lambda thread: record_all(ctx.metrics, thread, each))
    done.set()
    reader.join()
    assert [] == torn
    points = list(ctx.metrics.series("loss"))
    assert all(is_whole(point, each) for point in points)
    assert list(range(each * THREADS)) == sorted(point.value for point in points)
    assert list(range(each * THREADS)) == sorted(ctx.metrics["plain"])
    # Each thread's own points come in the order in which it recorded them.
    for thread in range(THREADS):
        own = [point.tags["at"] for point in points if point.tags["thread"] == thread]
        assert list(range(each)) == own


def is_whole(point: Any, each: int) -> bool:
    return bool(point.tags["thread"] * each + point.tags["at"] == point.value)


@pytest.mark.slow
@pytest.mark.usefixtures("_switching_fast")
@pytest.mark.parametrize("schema", [None, RaceMetrics])
def test_no_point_is_torn_or_lost(schema: type[MetricSchema] | None) -> None:
    """Of 40,000 points that all threads record at once none is lost, torn or out of its thread's order."""
    check_points(schema, 40_000)


@pytest.mark.long
@pytest.mark.usefixtures("_switching_fast")
@pytest.mark.parametrize("schema", [None, RaceMetrics])
def test_no_point_of_a_million_is_torn_or_lost(schema: type[MetricSchema] | None) -> None:
    """Of 1,000,000 points that all threads record at once none is lost, torn or out of its thread's order."""
    check_points(schema, 1_000_000)


@pytest.mark.usefixtures("_switching_fast")
def test_the_first_use_of_a_name_is_decided_once() -> None:
    """Where all threads use a new name at once, all their points are in one series."""
    metrics = FrozenMetrics()

    def work(thread: int) -> None:
        for at in range(500):
            metrics.add(f"m{at}", thread)

    race(work)
    assert {f"m{at}": list(range(THREADS)) for at in range(500)} == {
        name: sorted(values) for name, values in metrics.as_dict().items()
    }


@pytest.mark.usefixtures("_switching_fast")
def test_steps_at_once_have_each_their_own() -> None:
    """Steps open in several threads at once each have their own reads, writes and points."""
    ctx = FrozenContext({"seed": 1}, metrics=RaceMetrics)

    def work(thread: int) -> None:
        with ctx.step(f"s{thread}") as step:
            for at in range(300 + thread):
                step.record(RaceMetrics.plain, thread)
                step[f"{thread}-{at}"] = at
            step["seed"]

    race(work)
    assert {f"s{thread}" for thread in range(THREADS)} == {record.name for record in ctx.provenance.steps}
    for record in ctx.provenance.steps:
        thread = int(record.name[1:])
        assert {"plain": 300 + thread} == record.points
        assert tuple(f"{thread}-{at}" for at in range(300 + thread)) == record.writes
        assert ("seed",) == record.reads
    assert all(point.step == f"s{point.value}" for point in ctx.metrics.series(RaceMetrics.plain))


@pytest.mark.usefixtures("_switching_fast")
def test_steps_of_one_name_at_once_count_up() -> None:
    """Steps of one name opened in several threads at once get a name each."""
    ctx = FrozenContext({})

    def work(thread: int) -> None:
        for _ in range(50):
            with ctx.step("epoch") as step:
                step.record("m", thread)

    race(work)
    names = {"epoch", *(f"epoch#{count}" for count in range(2, 50 * THREADS + 1))}
    assert names == {record.name for record in ctx.provenance.steps}
    assert dict.fromkeys(names, 1) == Counter(point.step for point in ctx.metrics.series("m"))


@pytest.mark.usefixtures("_switching_fast")
def test_events_come_in_the_order_of_effects() -> None:
    """With a sink, events come in the order in which they took effect, of a raced key the winner's alone."""
    sink, other = MemorySink(), MemorySink()
    ctx = FrozenContext({}, metrics=RaceMetrics, sinks=[sink, other])
    keys = [f"k{at}" for at in range(500)]
    won: dict[int, list[str]] = {}

    def work(thread: int) -> None:
        with ctx.step(f"s{thread}") as step:
            own = won.setdefault(thread, [])
            record = step.metrics.series(RaceMetrics.plain).bind(None)
            for key in keys:
                step.record("loss", thread, {"thread": thread, "at": len(own)})
                own += write_all(step, [key], thread, lambda thread: thread)
                record(thread)

    race(work)
    assert sink.events == other.events
    written = [event for event in sink.events if isinstance(event, KeyWritten)]
    assert list(ctx) == [event.key for event in written]
    assert {key: (thread, f"s{thread}") for thread, own in won.items() for key in own} == {
        event.key: (event.value, event.step) for event in written
    }
    for name in ("loss", "plain"):
        points = [event for event in sink.events if isinstance(event, MetricRecorded) and event.metric == name]
        assert list(range(len(keys) * THREADS)) == [event.position for event in points]
        assert [(point.value, point.step) for point in ctx.metrics.series(name)] == [
            (event.value, event.step) for event in points
        ]
    # A step's events lie between its start and its end.
    for thread in range(THREADS):
        own = [event for event in sink.events if getattr(event, "step", None) == f"s{thread}"]
        assert isinstance(own[0], StepStarted)
        assert isinstance(own[-1], StepFinished)
        assert 2 == sum(isinstance(event, StepStarted | StepFinished) for event in own)
