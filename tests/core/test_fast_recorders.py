"""The fast recorders against the slow one: for every input the same points, events and errors."""

import math
from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal, NotRequired

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from crystallize import CrystallizeError, Event, FrozenContext, FrozenMetrics, Metric, MetricSchema, Series
from crystallize._core.event_dispatch import EventDispatcher
from crystallize._core.metric_log import fetched
from crystallize._core.metric_store import MetricStore
from crystallize._core.packed_columns import ANY_TAGS
from crystallize._core.point_log import fetch
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


class One(TypedDict):
    epoch: int


class Three(TypedDict):
    note: str | None
    epoch: int
    other: float


class Four(Three):
    split: Literal["train", "val"]


class Renamed(TypedDict):
    """Each tag has the name of the other as its alias."""

    epoch: Annotated[int, Field(alias="split")]
    split: Annotated[int, Field(alias="epoch")]


class Measured(MetricSchema):
    one = Metric(float, tags=One)
    three = Metric(float, tags=Three)
    four = Metric(float, tags=Four)
    renamed = Metric(float, tags=Renamed)
    finite = Metric(FiniteFloat, tags=Whole)
    number = Metric(float, tags=Partial)
    count = Metric(int, tags=Model)
    flag = Metric(bool)
    limited = Metric(float, tags=Whole, goal="minimize")


METRICS: list[Metric[Any, Any]] = [*Measured.metrics.values()]
UNDECLARED: list[Metric[Any, Any] | str] = ["undeclared", *METRICS]


class Name(StrEnum):
    """The names of tags as an enum."""

    EPOCH = "epoch"
    SPLIT = "split"


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
    st.dictionaries(st.sampled_from(["epoch", "split", "note", "other"]), TAG_VALUES).map(MappingProxyType),
    st.dictionaries(st.sampled_from(["epoch", "split"]), TAG_VALUES).map(partial(defaultdict, int)),
    st.dictionaries(st.sampled_from(["epoch", "split"]), TAG_VALUES).map(
        lambda tags: {Name(name): tag for name, tag in tags.items()}
    ),
    st.permutations([("epoch", 1), ("note", "a"), ("other", 0.5), ("split", "val")]).map(dict),
    st.permutations([("epoch", 1), ("note", None), ("other", 2)]).map(dict),
    st.permutations([("epoch", 1), ("split", 2)]).map(dict),
    st.builds(Whole, epoch=st.integers(0, 2), split=st.sampled_from(["train", "val"])),
    st.builds(Partial, epoch=st.integers(0, 2), note=st.none() | st.text(max_size=2)),
    st.builds(Model, epoch=st.integers(0, 2), split=st.sampled_from(["train", "x"])),
    st.sampled_from([5, "epoch", [("epoch", 1)], {"epoch": 1, "split": "val", "other": 2}, {"epoch": 1, "other": 2}]),
)
CALLS: st.SearchStrategy[Any] = st.lists(st.tuples(VALUES, TAGS), min_size=1, max_size=5)


class Outcome:
    """A store, the events that it emits, and the errors of calls that record into it."""

    def __init__(self, *, has_sink: bool, schema: type[MetricSchema] | None = Measured) -> None:
        self.sink = MemorySink()
        self.store = MetricStore(schema, EventDispatcher([self.sink] if has_sink else []), StepRegistry())
        self.token = self.store.registry.open("fit")
        self.errors: list[tuple[type, str, Any]] = []

    def call(self, record: Callable[..., object], *arguments: Any) -> None:
        try:
            record(*arguments)
        except CrystallizeError as error:
            self.errors.append((type(error), str(error), error.args))

    def seen(self) -> Any:
        points = {
            name: [
                (repr(fetch(value)), type(value), repr(fetched(tags)), number)
                for value, tags, number in log.points.rows()
            ]
            for name, log in self.store.logs.items()
        }
        return points, [repr(event) for event in self.sink.events], self.errors


@settings(max_examples=examples(300), deadline=None)
@given(metric=st.sampled_from(UNDECLARED), calls=CALLS, has_sink=st.booleans(), closes=st.booleans())
def test_fast_and_slow(metric: Metric[Any, Any] | str, calls: list[Any], has_sink: bool, closes: bool) -> None:
    """A fast recorder has the same outcome as the slow one for every input, also after its step has ended."""
    schema = None if isinstance(metric, str) else Measured
    fast, slow = (Outcome(has_sink=has_sink, schema=schema) for _ in range(2))
    record = fast.store.recorder(metric, fast.token)
    for at, (value, tags) in enumerate(calls):
        if closes and at == len(calls) - 1:
            fast.token.close()
            slow.token.close()
        fast.call(record, value, tags)
        slow.call(slow.store.record, metric, slow.token, value, tags)
    assert slow.seen() == fast.seen()


@settings(max_examples=examples(300), deadline=None)
@given(metric=st.sampled_from(METRICS), calls=CALLS, has_sink=st.booleans())
def test_fast_and_slow_with_a_dict_of_tags(metric: Metric[Any, Any], calls: list[Any], has_sink: bool) -> None:
    """The outcomes are the same if the log stores the tags of each point as a dict, whatever the metric declares."""
    fast, slow = Outcome(has_sink=has_sink), Outcome(has_sink=has_sink)
    log = fast.store.logs[metric.name]
    log.points = log.points.with_layout(ANY_TAGS)
    record = fast.store.recorder(metric, fast.token)
    for value, tags in calls:
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
        assert "_recorder_of_" in fast.store.recorder(metric, StepToken()).__qualname__


def test_an_undeclared_metric_has_a_fast_recorder_from_its_second_point_on() -> None:
    """A series that is made before the first point of its metric records through the fast recorder too."""
    outcome = Outcome(has_sink=True, schema=None)
    slow = outcome.store.record
    calls: list[Any] = []
    outcome.store.record = lambda *call: calls.append(call) or slow(*call)  # type: ignore[method-assign, func-returns-value]  # counts
    add = metrics_view(outcome.store, outcome.token).series("loss").add
    add(0.5, {"epoch": 1})
    add(0.25, {"epoch": 2})
    add([1], {"epoch": 3})

    assert [0.5, [1]] == [value for _, _, value, _ in calls]
    assert [0.5, 0.25, [1]] == [event.value for event in outcome.sink.events]  # type: ignore[union-attr]  # points only


def test_tags_that_are_no_dict() -> None:
    """The tags of an undeclared metric may be any mapping, also once it has a fast recorder."""
    ctx = FrozenContext()
    for epoch in range(3):
        ctx.record("loss", 0.5, MappingProxyType({"epoch": epoch}))

    assert ({"epoch": 0}, {"epoch": 1}, {"epoch": 2}) == ctx.metrics.get_tags("loss")


def test_a_sink_that_changes_tags() -> None:
    """A sink that changes the tags of its event does not change the point, nor those of other points."""

    class Changing(MemorySink):
        def handle(self, event: Event, /) -> None:
            super().handle(event)
            event.tags["new"] = 1  # type: ignore[union-attr, index]  # a point, whose tags are a dict

    store = MetricStore(Measured, EventDispatcher([Changing()]), StepRegistry())
    metrics = metrics_view(store, store.registry.open("fit"))
    for metric, tags in {"finite": {"epoch": 1, "split": "val"}, "number": {"epoch": 1}}.items():
        metrics.series(metric).add(0.5, tags)
        metrics.series(metric).bind(tags)(0.25)

    assert ({"epoch": 1, "split": "val"},) * 2 == metrics.get_tags("finite")
    assert ({"epoch": 1},) * 2 == metrics.get_tags("number")


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
