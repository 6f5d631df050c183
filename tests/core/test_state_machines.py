"""A context and its metrics against plain dicts and lists, over any order of operations."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, PositiveFloat
from typing_extensions import TypedDict

from crystallize import (
    AbsentKeyError,
    ContextMutationError,
    ForeignMetricError,
    FrozenContext,
    FrozenMetrics,
    InvalidMetricError,
    InvalidTagError,
    InvalidValueError,
    KeyWritten,
    LoggingContext,
    Metric,
    MetricRecorded,
    MetricSchema,
    StepClosedError,
    UncopyableValueError,
    UnknownKeyError,
    UnknownMetricError,
)
from crystallize.sinks.memory import MemorySink

from ..profiles import examples

# Random programs open steps that they do not use.
pytestmark = pytest.mark.filterwarnings("ignore::crystallize.UnusedStepWarning")

SETTINGS = settings(
    max_examples=examples(40), stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class Inner(BaseModel):
    names: list[str]


class Shape(BaseModel):
    lr: PositiveFloat
    count: NonNegativeInt
    kind: Literal["a", "b"]
    items: list[int]
    table: dict[str, list[float]]
    inner: Inner
    maybe: tuple[int, ...] | None


VALID: dict[str, st.SearchStrategy[Any]] = {
    "lr": st.floats(min_value=1e-9, allow_infinity=False),
    "count": st.integers(min_value=0),
    "kind": st.sampled_from(["a", "b"]),
    "items": st.lists(st.integers(), max_size=3),
    "table": st.dictionaries(st.text(max_size=2), st.lists(st.floats(allow_nan=False), max_size=2), max_size=2),
    "inner": st.builds(Inner, names=st.lists(st.text(max_size=2), max_size=2)),
    "maybe": st.none() | st.lists(st.integers(), max_size=2).map(tuple),
}
INVALID: dict[str, list[Any]] = {
    "lr": [0, -1.0, math.nan, "x", None],
    "count": [-1, 1.5, "x", None],
    "kind": ["c", 1, None],
    "items": [["x"], 5, None, [None]],
    "table": [{"a": 1}, [], {1: []}],
    "inner": [{}, {"names": 5}, None],
    "maybe": [5, ["x"]],
}
FREE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3) | st.tuples(inner, inner)
    ),
    max_leaves=6,
)
NAMES = ["lr", "count", "kind", "items", "a", "b"]


class Stubborn:
    def __deepcopy__(self, memo: object) -> "Stubborn":
        raise RuntimeError("never")


def spoil(value: Any) -> None:
    """Change all of a value that can be changed."""
    if isinstance(value, BaseModel):
        for part in list(vars(value).values()):
            spoil(part)
        value.__dict__["spoilt"] = True
    elif isinstance(value, dict):
        for part in list(value.values()):
            spoil(part)
        value["spoilt"] = True
    elif isinstance(value, list):
        for part in value:
            spoil(part)
        value.append("spoilt")
    elif isinstance(value, tuple):
        for part in value:
            spoil(part)


def same(left: Any, right: Any) -> bool:
    return bool(type(left) is type(right) and left == right)


class Notes(NamedTuple):
    """What was done through one step."""

    step: str
    reads: list[str]
    absent: list[str]
    writes: list[str]


class ContextMachine(RuleBasedStateMachine):
    """Writes, reads, steps and copies of a context, held against a dict and a list of facts."""

    shape: Any = None

    @initialize()
    def make(self) -> None:
        self.sink: MemorySink | None = MemorySink()
        cls: Any = FrozenContext
        if self.shape is not None:
            cls = cls[self.shape]
        self.ctx: FrozenContext[Any] = cls({}, sinks=[self.sink])
        self.held: dict[str, Any] = {}
        self.writers: dict[str, str | None] = {}
        self.opened: list[tuple[Any, LoggingContext[Any], Notes]] = []
        self.records: list[tuple[str, list[str], list[str], list[str]]] = []
        self.uses: dict[str, int] = {}
        self.points: list[tuple[int, str | None]] = []

    def names(self) -> list[str]:
        return NAMES if self.shape is None else list(VALID)

    def handle(self, data: st.DataObject) -> tuple[FrozenContext[Any], Notes | None]:
        """The context itself or one of the steps that are open, with the notes of the latter."""
        at = data.draw(st.integers(0, len(self.opened)), label="handle")
        return (self.ctx, None) if at == 0 else self.opened[at - 1][1:]

    def value(self, data: st.DataObject, key: str) -> Any:
        return data.draw(FREE if self.shape is None else VALID[key], label="value")

    @rule(data=st.data(), way=st.sampled_from(["item", "add", "field"]))
    def write(self, data: st.DataObject, way: str) -> None:
        handle, notes = self.handle(data)
        key = data.draw(st.sampled_from(self.names()), label="key")
        value = self.value(data, key)
        expected = copy.deepcopy(value)
        known = key in self.held

        def act() -> None:
            if way == "item":
                handle[key] = value
            elif way == "add":
                handle.add(key, value)
            elif self.shape is None:
                handle.fields[key] = value
            else:
                setattr(handle.fields, key, value)

        if known:
            with pytest.raises(ContextMutationError, match=f"Cannot mutate existing key: {key!r}"):
                act()
        else:
            act()
            self.held[key] = expected
            self.writers[key] = None if notes is None else notes.step
            if notes is not None:
                notes.writes.append(key)
        spoil(value)

    @rule(data=st.data())
    def write_what_is_not_allowed(self, data: st.DataObject) -> None:
        handle, _ = self.handle(data)
        key = data.draw(st.sampled_from(self.names()), label="key")
        bad: Any = Stubborn() if self.shape is None else data.draw(st.sampled_from(INVALID[key]), label="bad")
        with pytest.raises((InvalidValueError, UncopyableValueError, ContextMutationError)) as caught:
            handle[key] = bad
        assert (key in self.held) == isinstance(caught.value, ContextMutationError)

    @precondition(lambda self: self.shape is not None)
    @rule(data=st.data())
    def use_what_is_not_declared(self, data: st.DataObject) -> None:
        handle, notes = self.handle(data)
        with pytest.raises(UnknownKeyError):
            handle["lrr"] = 1.0
        with pytest.raises(UnknownKeyError):
            handle.get("lrr", 1.0)
        if notes is not None:
            notes.absent.append("lrr")

    @rule(data=st.data(), way=st.sampled_from(["item", "get", "in"]))
    def read(self, data: st.DataObject, way: str) -> None:
        handle, notes = self.handle(data)
        key = data.draw(st.sampled_from(self.names()), label="key")
        if way == "in":
            assert (key in self.held) == (key in handle)
        elif key in self.held:
            value = handle[key] if way == "item" else handle.get(key)
            assert same(self.held[key], value)
            spoil(value)
        elif way == "get":
            assert handle.get(key, "default") == "default"
        else:
            with pytest.raises(AbsentKeyError):
                handle[key]
        if notes is not None and (key not in self.held or way != "in"):
            (notes.reads if key in self.held else notes.absent).append(key)

    @rule(data=st.data())
    def record(self, data: st.DataObject) -> None:
        handle, notes = self.handle(data)
        handle.record("m", len(self.points))
        self.points.append((len(self.points), None if notes is None else notes.step))

    @rule(data=st.data(), name=st.sampled_from(["fit", "epoch"]))
    def open_step(self, data: st.DataObject, name: str) -> None:
        if len(self.opened) == 3:
            return
        handle, notes = self.handle(data)
        opened = handle.step(name)
        path = name if notes is None else f"{notes.step}/{name}"
        self.uses[path] = self.uses.get(path, 0) + 1
        own = path if self.uses[path] == 1 else f"{path}#{self.uses[path]}"
        self.opened.append((opened, opened.__enter__(), Notes(own, [], [], [])))

    @precondition(lambda self: bool(self.opened))
    @rule(data=st.data())
    def close_step(self, data: st.DataObject) -> None:
        opened, step, notes = self.opened.pop(data.draw(st.integers(0, len(self.opened) - 1), label="step"))
        opened.__exit__(None, None, None)
        reads, absent, writes = (list(dict.fromkeys(keys)) for keys in notes[1:])
        self.records.append((notes.step, reads, absent, writes))
        with pytest.raises(StepClosedError):
            step["a"]
        with pytest.raises(StepClosedError):
            step.record("m", 1)

    @precondition(lambda self: not self.opened)
    @rule(copied=st.sampled_from([copy.deepcopy, lambda ctx: pickle.loads(pickle.dumps(ctx))]))
    def go_on_with_a_copy(self, copied: Callable[[Any], Any]) -> None:
        """Copies have no sinks and are independent: the original is spoilt, and the copy goes on."""
        other = copied(self.ctx)
        self.ctx.record("m", -1)
        for key in self.names():
            if key not in self.held and self.shape is None:
                self.ctx[key] = "spoilt"
        self.ctx, self.sink = other, None

    @invariant()
    def all_is_as_in_the_dict(self) -> None:
        if not hasattr(self, "ctx"):
            return
        assert list(self.held) == list(self.ctx)
        assert len(self.held) == len(self.ctx)
        assert all(same(value, self.ctx[key]) for key, value in self.held.items())
        assert self.held == dict(self.ctx.as_dict())
        assert self.writers == {key: self.ctx.provenance.writer(key) for key in self.ctx}
        assert self.points == [(point.value, point.step) for point in self.ctx.metrics.series("m")]
        found = self.ctx.provenance.steps
        assert self.records == [(record.name, [*record.reads], [*record.absent], [*record.writes]) for record in found]
        for record in found:
            assert record.points.get("m", 0) == sum(step == record.name for _, step in self.points)

    @invariant()
    def events_are_effects(self) -> None:
        if getattr(self, "sink", None) is None:
            return
        assert self.sink is not None
        written = [event for event in self.sink.events if isinstance(event, KeyWritten)]
        points = [event for event in self.sink.events if isinstance(event, MetricRecorded)]
        assert [*self.writers.items()] == [(event.key, event.step) for event in written]
        assert all(same(self.held[event.key], event.value) for event in written)
        assert [(at, *point) for at, point in enumerate(self.points)] == [
            (event.position, event.value, event.step) for event in points
        ]


class TypedContextMachine(ContextMachine):
    """The same over a model."""

    shape = Shape


class Tags(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val"]


class Measured(MetricSchema):
    loss = Metric(FiniteFloat, tags=Tags, goal="minimize")
    score = Metric(float, tags=Tags, goal="maximize")
    boxes = Metric(list[int])
    count = Metric(int)


class OtherMeasured(MetricSchema):
    loss = Metric(float)


GOOD_TAGS = st.fixed_dictionaries({"epoch": st.integers(0, 3), "split": st.sampled_from(["train", "val"])})
BAD_TAGS: list[Any] = [
    None,
    {"epoch": 1},
    {"epoch": -1, "split": "val"},
    {"epoch": 1, "split": "trian"},
    {"epoch": 1, "split": "val", "more": 1},
    5,
]
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "loss": st.floats(allow_nan=False, allow_infinity=False),
    "score": st.floats(allow_nan=False),
    "boxes": st.lists(st.integers(), max_size=3),
    "count": st.integers() | st.integers(-100, 100).map(np.int64),
}
BAD: dict[str, list[Any]] = {
    "loss": [math.nan, math.inf, "x", None],
    "score": ["x", None, []],
    "boxes": [1, ["x"], None],
    "count": [1.5, "x", None],
}


class MetricsMachine(RuleBasedStateMachine):
    """Points recorded in every way, held against a dict of lists."""

    schema: type[MetricSchema] | None = Measured

    @initialize()
    def make(self) -> None:
        self.metrics = FrozenMetrics(self.schema)
        self.model: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
        self.bound: list[tuple[str, dict[str, Any], Callable[[Any], None]]] = []

    def tags(self, data: st.DataObject, name: str) -> Any:
        return data.draw(GOOD_TAGS, label="tags") if name in ("loss", "score") else None

    @rule(
        data=st.data(),
        name=st.sampled_from(list(GOOD)),
        way=st.sampled_from(["add", "series", "bind"]),
        times=st.sampled_from([1, 1, 1, 1, 1500]),
    )
    def record(self, data: st.DataObject, name: str, way: str, times: int) -> None:
        metric: Any = Measured.metrics[name]
        # Without a schema a name by itself would be another metric than the declared one.
        known = self.schema is not None or name in self.model
        use = data.draw(st.sampled_from([metric, name]), label="metric") if known else metric
        tags, value = self.tags(data, name), data.draw(GOOD[name], label="value")
        expected = int(value) if isinstance(value, np.integer) else copy.deepcopy(value)
        self.model.setdefault(name, []).extend([(expected, copy.deepcopy(tags) or {})] * times)
        bound = self.metrics.series(use).bind(tags) if way == "bind" else None
        for _ in range(times):
            if bound is not None:
                bound(value)
            elif way == "add":
                self.metrics.add(use, value, tags)
            else:
                self.metrics.series(use).add(value, tags)
        if bound is not None:
            self.bound.append((name, copy.deepcopy(tags) or {}, bound))
        spoil(value)
        spoil(tags)

    @precondition(lambda self: bool(self.bound))
    @rule(data=st.data())
    def record_bound(self, data: st.DataObject) -> None:
        name, tags, bound = data.draw(st.sampled_from(self.bound), label="bound")
        value = data.draw(GOOD[name], label="value")
        bound(value)
        self.model[name].append((int(value) if isinstance(value, np.integer) else copy.deepcopy(value), tags))
        spoil(value)

    @rule(data=st.data(), name=st.sampled_from(list(GOOD)), way=st.sampled_from(["add", "series"]))
    def record_what_is_not_allowed(self, data: st.DataObject, name: str, way: str) -> None:
        metric: Any = Measured.metrics[name]
        act = (
            self.metrics.add
            if way == "add"
            else lambda metric, value, tags: self.metrics.series(metric).add(value, tags)
        )
        with pytest.raises(InvalidMetricError):
            act(metric, data.draw(st.sampled_from(BAD[name]), label="bad value"), self.tags(data, name))
        bad = data.draw(st.sampled_from(BAD_TAGS), label="bad tags") if name in ("loss", "score") else {"epoch": 1}
        with pytest.raises(InvalidTagError):
            act(metric, data.draw(GOOD[name], label="value"), bad)

    @rule()
    def use_what_is_not_declared(self) -> None:
        if self.schema is not None or "loss" in self.model:
            with pytest.raises(ForeignMetricError):
                self.metrics.add(OtherMeasured.loss, 1.0)
        if self.schema is not None:
            with pytest.raises(UnknownMetricError):
                self.metrics.add("lss", 1.0)
        else:
            assert () == self.metrics["lss"]

    @rule(copied=st.sampled_from([copy.copy, copy.deepcopy, lambda metrics: pickle.loads(pickle.dumps(metrics))]))
    def go_on_with_a_copy(self, copied: Callable[[FrozenMetrics], FrozenMetrics]) -> None:
        other = copied(self.metrics)
        self.metrics.add(Measured.count, 1)
        self.metrics, self.bound = other, []

    @rule(split=st.sampled_from(["train", "val"]), epoch=st.integers(0, 3))
    def narrow(self, split: Literal["train", "val"], epoch: int) -> None:
        series = self.metrics.series(Measured.loss).where(split=split).where(epoch=epoch)
        expected = [value for value, tags in self.model.get("loss", []) if tags == {"split": split, "epoch": epoch}]
        assert expected == list(series.values)
        assert len(expected) == len(series)
        if expected:
            assert (expected[-1], min(expected)) == (series.last, series.best)

    @rule(name=st.sampled_from(list(GOOD)))
    def spoil_what_is_read(self, name: str) -> None:
        spoil(list(self.metrics[name]))
        spoil(list(self.metrics.get_tags(name)))
        spoil(list(self.metrics.series(name).tags))
        spoil(dict(self.metrics.as_dict()))

    @invariant()
    def all_is_as_in_the_lists(self) -> None:
        if not hasattr(self, "metrics"):
            return
        assert set(self.model) == set(self.metrics)
        for name, points in self.model.items():
            assert [value for value, _ in points] == list(self.metrics[name])
            assert [tags for _, tags in points] == list(self.metrics.get_tags(name))
            series = self.metrics.series(name)
            assert (len(points), points[-1][0]) == (len(series), series.last)
            assert same(points[-1][0], series.last)


class FreeMetricsMachine(MetricsMachine):
    """The same without a schema, by metrics of their own types."""

    schema = None


TestContext = ContextMachine.TestCase
TestContext.settings = SETTINGS
TestTypedContext = TypedContextMachine.TestCase
TestTypedContext.settings = SETTINGS
TestMetrics = MetricsMachine.TestCase
TestMetrics.settings = SETTINGS
TestFreeMetrics = FreeMetricsMachine.TestCase
TestFreeMetrics.settings = SETTINGS
