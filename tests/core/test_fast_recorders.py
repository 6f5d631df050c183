"""The fast recorders against the slow one: for every input the same points, events and errors."""

import math
from collections.abc import Callable
from typing import Any, Literal, NotRequired

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from crystallize import CrystallizeError, FrozenMetrics, Metric, MetricSchema, Series
from crystallize._core.event_dispatch import EventDispatcher
from crystallize._core.metric_store import MetricStore
from crystallize._core.series import metrics_view
from crystallize._core.steps import StepRegistry, StepToken
from crystallize.sinks.memory import MemorySink

from ..profiles import examples


class Whole(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val"]


class Partial(TypedDict):
    epoch: int
    note: NotRequired[str | None]


class Model(BaseModel):
    epoch: int = Field(ge=0)
    split: str = "train"


class Measured(MetricSchema):
    finite = Metric(FiniteFloat, tags=Whole)
    number = Metric(float, tags=Partial)
    count = Metric(int, tags=Model)
    flag = Metric(bool)
    limited = Metric(float, tags=Whole, goal="minimize")


METRICS: list[Metric[Any, Any]] = [*Measured.metrics.values()]
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.floats(allow_nan=True),
    st.integers(-3, 10**20),
    st.booleans(),
    st.sampled_from(["0.5", "x", None, [], b"1", 1 + 2j]),
)
TAG_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-1, 3), st.sampled_from(["train", "val", "1", "x", None, 1.0, 1.5, True, [1]])
)
TAGS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(["epoch", "split", "note", "other"]), TAG_VALUES, max_size=4),
    st.builds(Whole, epoch=st.integers(0, 2), split=st.sampled_from(["train", "val"])),
    st.builds(Partial, epoch=st.integers(0, 2), note=st.none() | st.text(max_size=2)),
    st.builds(Model, epoch=st.integers(0, 2), split=st.sampled_from(["train", "x"])),
    st.sampled_from([5, "epoch", [("epoch", 1)], {"epoch": 1, "split": "val", "other": 2}, {"epoch": 1, "other": 2}]),
)
CALLS: st.SearchStrategy[Any] = st.lists(st.tuples(VALUES, TAGS), min_size=1, max_size=5)


class Outcome:
    """A store, the events that it emits, and the errors of calls that record into it."""

    def __init__(self, *, has_sink: bool) -> None:
        self.sink = MemorySink()
        self.store = MetricStore(Measured, EventDispatcher([self.sink] if has_sink else []), StepRegistry())
        self.token = self.store.registry.open("fit")
        self.errors: list[tuple[type, str, Any]] = []

    def call(self, record: Callable[..., object], *arguments: Any) -> None:
        try:
            record(*arguments)
        except CrystallizeError as error:
            self.errors.append((type(error), str(error), error.args))

    def seen(self) -> Any:
        points = {
            name: [(repr(value), type(value), repr(tags), number) for value, tags, number in log.points.rows()]
            for name, log in self.store.logs.items()
        }
        return points, [repr(event) for event in self.sink.events], self.errors


@settings(max_examples=examples(300), deadline=None)
@given(metric=st.sampled_from(METRICS), calls=CALLS, has_sink=st.booleans(), closes=st.booleans())
def test_fast_and_slow(metric: Metric[Any, Any], calls: list[Any], has_sink: bool, closes: bool) -> None:
    """A fast recorder has the same outcome as the slow one for every input, also after its step has ended."""
    fast, slow = Outcome(has_sink=has_sink), Outcome(has_sink=has_sink)
    record = fast.store.recorder(metric, fast.token)
    for at, (value, tags) in enumerate(calls):
        if closes and at == len(calls) - 1:
            fast.token.close()
            slow.token.close()
        fast.call(record, value, tags)
        slow.call(slow.store.record, metric, slow.token, value, tags)
    assert slow.seen() == fast.seen()


@settings(max_examples=examples(300), deadline=None)
@given(metric=st.sampled_from(METRICS), tags=TAGS, values=st.lists(VALUES, min_size=1), has_sink=st.booleans())
def test_fast_and_slow_bound(metric: Metric[Any, Any], tags: Any, values: list[Any], has_sink: bool) -> None:
    """A bound recorder has the same outcome as the slow recorder with the same tags."""
    fast, slow = Outcome(has_sink=has_sink), Outcome(has_sink=has_sink)
    series: Series[Any, Any] = metrics_view(fast.store, fast.token).series(metric)
    log = slow.store.find(metric)
    assert log is not None
    fast.call(series.bind, tags)
    slow.call(log.prepare_tags, tags)
    assert slow.seen() == fast.seen()
    if fast.errors:
        return
    record = series.bind(tags)
    for value in values:
        fast.call(record, value)
        slow.call(slow.store.record, metric, slow.token, value, tags)
    fast.token.close()
    slow.token.close()
    fast.call(record, values[0])
    slow.call(slow.store.record, metric, slow.token, values[0], tags)
    assert slow.seen() == fast.seen()


def test_most_of_the_metrics_have_a_fast_recorder() -> None:
    """The laws above speak of fast recorders: each of these metrics has one."""
    fast = Outcome(has_sink=False)
    for metric in METRICS:
        assert "fast_recorder" in fast.store.recorder(metric, StepToken()).__qualname__


def test_a_full_block_is_sealed_by_either() -> None:
    """Points that fill a block are packed, whichever recorder adds the last of them."""
    fast, slow = FrozenMetrics(Measured), FrozenMetrics(Measured)
    note = fast.series(Measured.limited).bind({"epoch": 1, "split": "val"})
    add = slow.series(Measured.limited).add
    for at in range(5000):
        note(at / 7)
        add(at / 7, {"epoch": 1, "split": "val"})
    assert fast.series("limited").values == slow.series("limited").values
    assert fast.series("limited").tags == slow.series("limited").tags
    assert math.isclose(4999 / 7, fast.series(Measured.limited).last)
