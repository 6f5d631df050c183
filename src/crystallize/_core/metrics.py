"""Metrics: what is measured, declared once, and the series of points that were recorded of it."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import isnan
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, NoReturn, Self, TypeAlias, overload

from typing_extensions import Format, TypeForm, TypeVar, get_annotations

from .._base.table import Table
from .._base.text import counted, nearest, short
from ..errors import (
    ContextMutationError,
    ForeignMetricError,
    InvalidMetricError,
    InvalidTagError,
    MetricClashError,
    NoGoalError,
    NoPointsError,
    Problem,
    SchemaError,
    UnknownMetricError,
)
from ..events import MetricRecorded
from .codec import NotRestorable, json_view
from .event_dispatch import EventDispatcher
from .freezing import PLAIN, same, secrets_in
from .point_log import BLOCK, FULL, PointLog, Row, StepRegistry, StepToken, fetch, store
from .schema import MetricChecks, plain_key

__all__ = ["FrozenMetrics", "Metric", "MetricLog", "MetricSchema", "Point", "Series", "as_number", "fetched"]

V = TypeVar("V", default=Any)
"""The type of a metric's values."""
G = TypeVar("G", default=Any)
"""The type of a metric's tags."""
_V = TypeVar("_V")
_G = TypeVar("_G")
_TagType: TypeAlias = type[_G]
"""The class of tags, by a name that `Metric.type` does not hide; the next is a schema's."""
_Schema: TypeAlias = "type[MetricSchema]"


class Metric(Generic[V, G]):
    """What is measured: declared as an attribute of a `MetricSchema`, and named by it.

    Example:
        >>> class TrainMetrics(MetricSchema):
        ...     loss = Metric(float, unit="nats", goal="minimize")

    Attributes:
        name: The attribute's name; empty until the class is made.
        owner: The full name of the schema that it is declared in; None until then.
        type: The type of its values.
        tags: The type of its tags; None where it takes none.
        unit: The unit of its values.
        goal: Which values are better.
        description: What it tells.
    """

    name: str
    owner: str | None
    type: Any
    tags: Any
    unit: str | None
    goal: Literal["minimize", "maximize"] | None
    description: str | None
    _checks: MetricChecks | None
    _schema: "_Schema | None"

    @overload
    def __init__(
        self: "Metric[_V, None]",
        type: TypeForm[_V],
        *,
        tags: None = None,
        unit: str | None = None,
        goal: Literal["minimize", "maximize"] | None = None,
        description: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Metric[_V, _G]",
        type: TypeForm[_V],
        *,
        tags: _TagType[_G],
        unit: str | None = None,
        goal: Literal["minimize", "maximize"] | None = None,
        description: str | None = None,
    ) -> None: ...
    def __init__(
        self,
        type: Any,
        *,
        tags: Any = None,
        unit: str | None = None,
        goal: Literal["minimize", "maximize"] | None = None,
        description: str | None = None,
    ) -> None:
        """Declare what is measured.

        Args:
            type: Anything that Pydantic validates: `float`, `FiniteFloat`, `Annotated[float, Field(ge=0)]`.
            tags: How each point is tagged: a `TypedDict` or a model. None: it takes no tags.
            unit: The unit of the values, as text.
            goal: Which values are better; `Series.best` goes by it.
            description: What it tells, in a sentence.

        Raises:
            SchemaError: The goal is neither "minimize" nor "maximize".
        """
        if goal not in (None, "minimize", "maximize"):
            raise SchemaError("metric", f'its goal is "minimize" or "maximize", not {short(goal)}')
        facts = {"name": "", "owner": None, "type": type, "tags": tags, "unit": unit, "goal": goal}
        vars(self).update(facts, description=description, _checks=None, _schema=None)

    def __set_name__(self, owner: "_Schema", name: str) -> None:
        # Of a second name its second class complains: what is raised here Python would wrap.
        if self._schema is None:
            module = "__main__" if owner.__module__ == _MAIN_OF_A_WORKER else owner.__module__
            vars(self).update(name=name, owner=f"{module}.{owner.__qualname__}", _schema=owner)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise ContextMutationError(name, f"Cannot assign {name!r} of {self!r}: what a metric is stays as declared")

    def __repr__(self) -> str:
        return f"Metric({self.owner}.{self.name})" if self.owner is not None else "Metric(unnamed)"

    @property
    def checks(self) -> MetricChecks:
        """What validates its values and tags; made when first asked for.

        Raises:
            SchemaError: Its types cannot be used.
        """
        if self._checks is None:
            label = f"{self.owner.rpartition('.')[2]}.{self.name}" if self.owner else self.name
            vars(self)["_checks"] = MetricChecks(label, self.type, self.tags)
        checks = self._checks
        assert checks is not None
        return checks

    def is_same(self, other: "Metric[Any, Any]") -> bool:
        """Whether another one is this one, or a copy of it that came by pickle."""
        copied = self._schema is None or other._schema is None
        return self is other or (copied and (self.name, self.owner) == (other.name, other.owner))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._schema is not None and _is_importable(self._schema):
            return _declared_metric, (self._schema, self.name)
        # By value: where the schema cannot be imported it travels by value too, with this in it.
        facts = (self.name, self.owner, self.type, self.tags, self.unit, self.goal, self.description)
        return _copied_metric, facts


_MAIN_OF_A_WORKER = "__mp_main__"
"""What multiprocessing calls `__main__` in the processes that it starts."""


def _is_importable(schema: type) -> bool:
    """Whether another process finds a class by its name."""
    found: Any = sys.modules.get(schema.__module__)
    for part in schema.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is schema and schema.__module__ not in ("__main__", _MAIN_OF_A_WORKER)


def _declared_metric(schema: "type[MetricSchema]", name: str) -> Metric[Any, Any]:
    return schema.metrics[name]


def _copied_metric(name: str, owner: str, type: Any, tags: Any, *facts: Any) -> Metric[Any, Any]:
    unit, goal, description = facts
    metric: Metric[Any, Any] = Metric(type, tags=tags, unit=unit, goal=goal, description=description)
    vars(metric).update(name=name, owner=owner)
    return metric


class MetricSchema:
    """What a run measures: a class whose attributes are each a `Metric`. A subclass adds its own.

    Example:
        >>> class TrainMetrics(MetricSchema):
        ...     loss = Metric(float, unit="nats", goal="minimize")
        ...     seen = Metric(int, description="Images looked at.")
        >>> ctx = FrozenContext(metrics=TrainMetrics)
        >>> ctx.record(TrainMetrics.loss, 0.5)

    Attributes:
        metrics: The metrics by name, in the order of declaration, those of base classes first.
    """

    metrics: ClassVar[Mapping[str, Metric[Any, Any]]] = MappingProxyType({})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the metrics.

        Raises:
            MetricClashError: Two classes declare one name.
            SchemaError: An attribute takes the place of something that every schema has, or is no metric and was
                probably meant to be.
        """
        super().__init_subclass__(**kwargs)
        if "metrics" in vars(cls):
            raise SchemaError(cls.__qualname__, "'metrics' is the list of its metrics; give that metric another name")
        for name, annotation in get_annotations(cls, format=Format.FORWARDREF).items():
            if name not in vars(cls) and not name.startswith("_") and "ClassVar" not in str(annotation):
                raise SchemaError(cls.__qualname__, f"{name!r} is annotated alone; declare it as {name} = Metric(...)")
        found: dict[str, Metric[Any, Any]] = {}
        bases = [base.metrics for base in cls.__bases__ if issubclass(base, MetricSchema)]
        own = {name: value for name, value in vars(cls).items() if _is_declared(cls, name, value)}
        for name, metric in chain.from_iterable(source.items() for source in [*bases, own]):
            if found.setdefault(name, metric) is not metric:
                raise MetricClashError(cls.__qualname__, name, (str(found[name].owner), str(metric.owner)))
        cls.metrics = MappingProxyType(found)


def _is_declared(cls: type, name: str, value: object) -> bool:
    """Whether an attribute of a schema is a metric of its own.

    Raises:
        SchemaError: It is none and was probably meant to be, or it is another one's.
    """
    if isinstance(value, Metric):
        if (value.name, value._schema) != (name, cls):
            raise SchemaError(cls.__qualname__, f"metric {name!r} is declared already, as {value!r}; declare its own")
        return True
    nested = isinstance(value, type) and value.__qualname__.startswith(f"{cls.__qualname__}.")
    if not name.startswith("_") and name != "metrics" and not nested and not hasattr(type(value), "__get__"):
        raise SchemaError(cls.__qualname__, f"{name!r} is no metric; declare it as Metric({short(value)}, ...)")
    return False


class Point(NamedTuple, Generic[V, G]):
    """One measurement.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> list(ctx.metrics.series("loss"))
        [Point(value=0.5, tags={'epoch': 1}, step=None)]
    """

    value: V
    tags: G
    step: str | None
    """The step that recorded it; None outside any step."""


@dataclass(eq=False)
class MetricLog:
    """One metric of one context: what it allows, and what was recorded of it."""

    name: str
    metric: Metric[Any, Any] | None
    log: PointLog

    def prepare(self, value: Any, tags: Any) -> tuple[Any, dict[str, Any]]:
        """Validate and freeze a value and its tags."""
        return self.prepare_value(value), self.prepare_tags(tags)

    def prepare_value(self, value: Any) -> Any:
        """Validate and freeze a value."""
        number = value if type(value) in PLAIN else as_number(value)
        valid = number if self.metric is None else self.metric.checks.check(self.name, number)
        if type(valid) in PLAIN:
            return valid
        if secrets_in(valid):
            raise InvalidMetricError(self.name, (Problem((), "should be no secret", type(value).__name__, None),))
        return store(valid, f"a value of metric {self.name!r}")

    def prepare_tags(self, tags: Any) -> dict[str, Any]:
        """Validate and freeze tags."""
        checks = None if self.metric is None else self.metric.checks
        valid = _free_tags(self.name, tags) if checks is None else checks.check_tags(self.name, _with_numbers(tags))
        return {name: tag if type(tag) in PLAIN else self._kept_tag(name, tag) for name, tag in valid.items()}

    def _kept_tag(self, name: str, tag: Any) -> Any:
        tag = as_number(tag)
        if secrets_in(tag):
            raise InvalidTagError(self.name, (Problem((name,), "should be no secret", type(tag).__name__, None),))
        return store(tag, f"a tag of metric {self.name!r}")

    def tags_of(self, kept: dict[str, Any]) -> Any:
        """Return tags as a reader gets them."""
        tags = fetched(kept)
        if self.metric is None:
            return tags
        return None if self.metric.tags is None else self.metric.checks.make_tags(tags)


_new_tuple: Any = tuple.__new__
"""Makes a named tuple of a tuple, in half the time that the named tuple's own class takes."""


def fetched(tags: dict[str, Any]) -> dict[str, Any]:
    """Return tags as a reader gets them, by name."""
    return tags.copy() if PLAIN.issuperset(map(type, tags.values())) else {tag: fetch(tags[tag]) for tag in tags}


def as_number(value: Any) -> Any:
    """Turn a numpy or torch scalar into the Python number that it holds."""
    package = type(value).__module__.partition(".")[0]
    if package in ("numpy", "torch") and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def _with_numbers(tags: Any) -> Any:
    """Return tags with Python's numbers in place of those of numpy and torch."""
    if not isinstance(tags, Mapping) or PLAIN.issuperset(map(type, tags.values())):
        return tags
    return {name: as_number(value) for name, value in tags.items()}


def _free_tags(metric: str, tags: Any) -> dict[str, Any]:
    """Return undeclared tags by name."""
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        should = "should be a mapping from names to values"
        raise InvalidTagError(metric, (Problem((), should, type(tags).__name__, short(tags)),))
    for name in tags:
        if not isinstance(name, str):
            raise InvalidTagError(metric, (Problem((), "a name should be a str", type(name).__name__, short(name)),))
    return {str.__str__(name): value for name, value in tags.items()}


_Add: TypeAlias = Callable[..., None]
"""Records a point: takes a value and its tags."""


def _short_adder(add: _Add, store: "MetricStore", channel: MetricLog, scope: StepToken, checks: MetricChecks) -> _Add:
    """Return a function that only succeeds: what is not plainly right it leaves to `add`, which explains."""
    log, validate, split, count = channel.log, checks.validate, checks.split, checks.tag_count
    extend, tail, seal, full = log.extend, log.tail, log.seal, FULL
    assert split is not None

    def add_shortly(value: Any, tags: Any = None) -> None:
        try:
            row = (validate(value), split(tags), scope.number)
            fits = count is None or len(tags) == count
        except Exception:  # whatever it is, `add` meets it too
            pass
        else:
            if fits:
                extend(row)
                if len(tail) >= full:
                    seal()
                return
        add(value, tags)

    lock, tell, name, blocks = store.dispatcher.lock, store.dispatcher.emit, channel.name, log.blocks

    def add_shortly_and_tell(value: Any, tags: Any = None) -> None:
        try:
            valid, kept = validate(value), split(tags)
            fits = count is None or len(tags) == count
        except Exception:  # as above
            pass
        else:
            with lock:
                number = getattr(scope, "number", None)
                if fits and number is not None:
                    told = (name, valid, kept.copy(), scope.step, len(blocks) * BLOCK + len(tail) // 3, None)
                    extend((valid, kept, number))
                    if len(tail) >= full:
                        seal()
                    tell(_new_tuple(MetricRecorded, told))
                    return
        add(value, tags)

    return add_shortly_and_tell if store.dispatcher.sinks else add_shortly


def _short_noter(note: _Add, store: "MetricStore", channel: MetricLog, scope: StepToken, tags: dict[str, Any]) -> _Add:
    """Return the same for values whose tags are valid already."""
    assert channel.metric is not None
    log, validate = channel.log, channel.metric.checks.validate
    extend, tail, seal, full = log.extend, log.tail, log.seal, FULL

    def note_shortly(value: Any) -> None:
        try:
            extend((validate(value), tags, scope.number))
        except Exception:  # whatever it is, `note` meets it too
            pass
        else:
            if len(tail) >= full:
                seal()
            return
        note(value)

    lock, tell, name, blocks = store.dispatcher.lock, store.dispatcher.emit, channel.name, log.blocks

    def note_shortly_and_tell(value: Any) -> None:
        try:
            valid = validate(value)
        except Exception:  # as above
            pass
        else:
            with lock:
                number = getattr(scope, "number", None)
                if number is not None:
                    told = (name, valid, tags.copy(), scope.step, len(blocks) * BLOCK + len(tail) // 3, None)
                    extend((valid, tags, number))
                    if len(tail) >= full:
                        seal()
                    tell(_new_tuple(MetricRecorded, told))
                    return
        note(value)

    return note_shortly_and_tell if store.dispatcher.sinks else note_shortly


class MetricStore:
    """All that one context measures."""

    def __init__(self, schema: type[MetricSchema] | None, dispatcher: EventDispatcher) -> None:
        self.schema = schema
        self.dispatcher = dispatcher
        self.scopes = StepRegistry()
        self.channels: dict[str, MetricLog] = {}
        for name, metric in (schema.metrics if schema is not None else {}).items():
            # A metric that cannot be used says so now, and not at hour nine.
            self.channels[name] = MetricLog(name, metric, PointLog(metric.checks.layout))

    def find(self, metric: "Metric[Any, Any] | str") -> MetricLog | None:
        """Return a metric's channel; None where nothing was recorded under a name that may be any.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's, or its name stands for another one already.
        """
        name = self._name(metric)
        channel = self.channels.get(name)
        if isinstance(metric, Metric):
            self._check_same(metric, channel)
        if channel is None and self.schema is not None:
            declared = tuple(self.channels)
            raise UnknownMetricError(name, self.schema.__qualname__, nearest(name, declared), declared)
        return channel

    def open(self, metric: "Metric[Any, Any] | str") -> MetricLog:
        """Return a metric's channel; where there is no schema, the first use of a name makes it."""
        channel = self.find(metric)
        if channel is None:
            self.channels.setdefault(self._name(metric), self.new(metric))
            channel = self.open(metric)
        return channel

    def new(self, metric: "Metric[Any, Any] | str") -> MetricLog:
        """Return a channel for a name that nobody has used."""
        if isinstance(metric, str):
            return MetricLog(plain_key(metric), None, PointLog())
        return MetricLog(metric.name, metric, PointLog(metric.checks.layout))

    def _name(self, metric: "Metric[Any, Any] | str") -> str:
        if isinstance(metric, str):
            return str.__str__(metric)
        if not isinstance(metric, Metric):
            reason = f"a metric is a Metric or the name of one, not {short(metric)} ({type(metric).__name__})"
            raise ForeignMetricError(short(metric), None, self._schema_name, reason)
        if not metric.name:
            reason = "a Metric is named by the MetricSchema that it is an attribute of; this one is not in any"
            raise ForeignMetricError("", None, self._schema_name, reason)
        return metric.name

    @property
    def _schema_name(self) -> str | None:
        return None if self.schema is None else self.schema.__qualname__

    def _check_same(self, metric: Metric[Any, Any], channel: MetricLog | None) -> None:
        if channel is not None and channel.metric is not None and channel.metric.is_same(metric):
            return
        name, owner = metric.name, metric.owner
        if self.schema is not None:
            reason = f"metric {name!r} is declared in {owner}, and this context records {self.schema.__qualname__}"
            raise ForeignMetricError(name, owner, self._schema_name, reason)
        if channel is not None:
            first = "without a declaration" if channel.metric is None else f"as {channel.metric!r}"
            reason = f"metric {name!r} was first recorded {first}; {metric!r} is another one of that name"
            raise ForeignMetricError(name, owner, None, reason)

    def adder(self, metric: "Metric[Any, Any] | str", scope: StepToken) -> _Add:
        """Return what records points of a metric: the short way where its types have one, else the long way."""

        def add(value: Any, tags: Any = None) -> None:
            self.record(metric, scope, value, tags)

        channel = self.find(metric)
        checks = channel.metric.checks if channel is not None and channel.metric is not None else None
        if channel is None or checks is None or checks.split is None:
            return add
        return _short_adder(add, self, channel, scope, checks)

    def record(self, metric: "Metric[Any, Any] | str", scope: StepToken, value: Any, tags: Any) -> None:
        """Validate a point and keep it, the long way."""
        scope.check_open()
        found = self.find(metric)
        channel = found or self.new(metric)
        kept, kept_tags = channel.prepare(value, tags)
        # A point that is not valid takes no name. Of several threads that use a new name, the first one decides.
        if found is None and self.channels.setdefault(channel.name, channel) is not channel:
            self.record(metric, scope, value, tags)
        else:
            self.keep(channel, scope, kept, kept_tags)

    def keep(self, channel: MetricLog, scope: StepToken, value: Any, tags: dict[str, Any]) -> None:
        """Keep a point that is valid and frozen, then tell the sinks."""
        dispatcher = self.dispatcher
        if not dispatcher.sinks:
            channel.log.append(value, tags, scope.open_number())
            return
        with dispatcher.lock:
            position = channel.log.length()
            channel.log.append(value, tags, scope.open_number())
            told = (channel.name, fetch(value), fetched(tags), scope.step, position, None)
            dispatcher.emit(_new_tuple(MetricRecorded, told))


class Series(Generic[V, G]):
    """The points of one metric, in the order in which they were recorded; a live view.

    Got from `FrozenMetrics.series`. What it hands out never changes what is kept.

    Example:
        >>> loss = FrozenContext().metrics.series("loss")
        >>> loss.add(0.7, {"split": "train"})
        >>> note = loss.bind({"split": "val"})  # the tags are validated once
        >>> note(0.5)
        >>> loss.values, loss.last, loss.where(split="train").values
        ((0.7, 0.5), 0.5, (0.7,))
    """

    def __init__(
        self, store: MetricStore, metric: Metric[V, G] | str, scope: StepToken, where: Mapping[str, Any] | None = None
    ) -> None:
        self.add = store.adder(metric, scope)  # type: ignore[method-assign]  # the slot below
        self._store = store
        self._metric = metric
        self._scope = scope
        self._where = where or {}

    if TYPE_CHECKING:

        @overload
        def add(self, value: V, tags: G) -> None: ...
        @overload
        def add(self: "Series[V, None]", value: V) -> None: ...
        def add(self, value: Any, tags: Any = None) -> None:
            """Record a point.

            Args:
                value: What was measured, in the metric's unit.
                tags: How it is tagged.

            Raises:
                InvalidMetricError: The value is not allowed. Nothing is recorded.
                InvalidTagError: The tags are not allowed, or one is missing. Nothing is recorded.
                StepClosedError: The step that this series came from has ended.
            """

    else:
        # A slot and not a method: it is called in loops, and is bound once to what records in the shortest way.
        __slots__ = ("_metric", "_scope", "_store", "_where", "add")

    @overload
    def bind(self, tags: G) -> Callable[[V], None]: ...
    @overload
    def bind(self: "Series[V, None]") -> Callable[[V], None]: ...
    def bind(self, tags: Any = None) -> Callable[[V], None]:
        """Return a function that records values under these tags: the fastest way to record.

        Args:
            tags: How all the values are tagged.

        Returns:
            A function of the value alone.

        Raises:
            InvalidTagError: The tags are not allowed, or one is missing.
        """
        store, scope = self._store, self._scope
        scope.check_open()
        # Tags that are not valid take no name.
        kept_tags = (store.find(self._metric) or store.new(self._metric)).prepare_tags(tags)
        channel = store.open(self._metric)

        def note(value: V) -> None:
            scope.check_open()
            store.keep(channel, scope, channel.prepare_value(value), kept_tags)

        plain = PLAIN.issuperset(map(type, kept_tags.values()))
        if not plain or channel.metric is None or channel.metric.checks.split is None:
            return note
        return _short_noter(note, store, channel, scope, kept_tags)

    def where(self, /, **tags: Any) -> Self:
        """Return the part of the series whose points have these tags.

        Args:
            **tags: The value of each tag to go by.

        Returns:
            A series of those points alone; it too is a live view.

        Raises:
            InvalidTagError: The metric has no such tag, or does not allow the value.
        """
        metric, tags = self.metric, _with_numbers(tags)
        if metric is not None:
            tags = {tag: metric.checks.check_tag(metric.name, tag, value) for tag, value in tags.items()}
        return type(self)(self._store, self._metric, self._scope, {**self._where, **tags})

    def _rows(self) -> Iterator[Row]:
        channel = self._store.find(self._metric)
        rows = channel.log.rows() if channel is not None else iter(())
        return (row for row in rows if self._matches(row[1])) if self._where else rows

    def _matches(self, tags: dict[str, Any]) -> bool:
        return all(name in tags and _equal(json_view(fetch(tags[name])), value) for name, value in self._where.items())

    def __iter__(self) -> Iterator[Point[V, G]]:
        channel = self._store.find(self._metric)
        if channel is not None:
            for value, tags, number in self._rows():
                yield Point(fetch(value), channel.tags_of(tags), self._store.scopes.names[number])

    def __len__(self) -> int:
        channel = self._store.find(self._metric)
        if channel is None or not self._where:
            return 0 if channel is None else len(channel.log)
        return sum(1 for _ in self._rows())

    def __repr__(self) -> str:
        return f"Series({self.name!r}{self._told_where()}; {counted(len(self), 'point')})"

    def _told_where(self) -> str:
        return "".join(f", {name}={short(value)}" for name, value in self._where.items())

    def _repr_html_(self) -> str:
        """Return the first and the last points as a table, for notebooks."""
        from .._base.html import as_html  # only notebooks need it

        count, shown = self._ends()
        tags = tuple(dict.fromkeys(chain.from_iterable(tags for _, tags, _ in shown.values())))
        names = self._store.scopes.names
        rows = [
            (f"{at:,}", _cell(value), names[number], *(_cell(kept[tag]) if tag in kept else None for tag in tags))
            for at, (value, kept, number) in shown.items()
        ]
        metric, best = self.metric, _told_best(self)
        unit = f" in {metric.unit}" if metric is not None and metric.unit else ""
        title = f"{self.name}{unit}{self._told_where()}: {counted(count, 'point')}"
        if best is not None:
            title += f", the best {best}"
        return as_html(Table(title, ("point", "value", "step", *tags), rows, count - len(shown)))

    def _ends(self) -> tuple[int, dict[int, Row]]:
        """Return how many points there are, and the first and the last of them by their places."""
        channel = self._store.find(self._metric)
        if channel is None:
            return 0, {}
        if self._where:
            rows = [*self._rows()]
            count, oldest, newest = len(rows), rows[:_ENDS], rows[-_ENDS:]
        else:
            count, oldest, newest = channel.log.ends(_ENDS)
        return count, dict(enumerate(oldest)) | dict(enumerate(newest, count - len(newest)))

    @property
    def name(self) -> str:
        """The metric's name."""
        return self._metric if isinstance(self._metric, str) else self._metric.name

    @property
    def metric(self) -> Metric[V, G] | None:
        """The metric; None where it is not declared."""
        channel = self._store.find(self._metric)
        declared = self._metric if channel is None or channel.metric is None else channel.metric
        return declared if isinstance(declared, Metric) else None

    @property
    def values(self) -> tuple[V, ...]:
        """The values, oldest first."""
        channel = self._store.find(self._metric)
        if channel is not None and not self._where:
            # Tags would take most of the time.
            return tuple(map(fetch, channel.log.values()))
        return tuple(fetch(value) for value, _, _ in self._rows())

    @property
    def tags(self) -> tuple[G, ...]:
        """The tags of each point, oldest first."""
        return tuple(point.tags for point in self)

    @property
    def first(self) -> V:
        """The oldest value.

        Raises:
            NoPointsError: There is none.
        """
        for value, _, _ in self._rows():
            oldest: V = fetch(value)
            return oldest
        raise self._no_points()

    @property
    def last(self) -> V:
        """The newest value.

        Raises:
            NoPointsError: There is none.
        """
        channel = self._store.find(self._metric)
        row = channel.log.last() if channel is not None and not self._where else None
        for newest in self._rows() if row is None else ():
            row = newest
        if row is None:
            raise self._no_points()
        value: V = fetch(row[0])
        return value

    @property
    def best(self) -> V:
        """The best value by the metric's goal, the first of equals. Any is better than NaN, None, or what is lost.

        Raises:
            NoGoalError: The metric has no goal.
            NoPointsError: There is no point.

        Example:
            >>> class TrainMetrics(MetricSchema):
            ...     loss = Metric(float, goal="minimize")
            >>> ctx = FrozenContext(metrics=TrainMetrics)
            >>> for value in (0.7, 0.5, 0.6):
            ...     ctx.record(TrainMetrics.loss, value)
            >>> ctx.metrics.series(TrainMetrics.loss).best
            0.5
        """
        metric = self.metric
        if metric is None or metric.goal is None:
            raise NoGoalError(self.name)
        values: tuple[Any, ...] = self.values
        if not values:
            raise self._no_points()
        values = tuple(value for value in values if type(value) is not NotRestorable) or values
        numbers = [value for value in values if value is not None and not (isinstance(value, float) and isnan(value))]
        best: Any = (min if metric.goal == "minimize" else max)(numbers) if numbers else values[0]
        return best  # type: ignore[no-any-return]  # one of the values, which are V

    def _no_points(self) -> NoPointsError:
        return NoPointsError(self.name, ", ".join(f"{name}={short(value)}" for name, value in self._where.items()))


_ENDS = 5
"""Points that a notebook shows at either end of a series."""


def _cell(kept: Any) -> str:
    return short(fetch(kept))


def _told_best(series: Series[Any, Any]) -> str | None:
    """Return the best value in short; None where there is none."""
    if series.metric is None or series.metric.goal is None or not len(series):
        return None
    try:
        return short(series.best)
    except Exception as error:  # whatever values of a user's type raise when they are compared
        return f"<{type(error).__name__}>"


def _equal(one: Any, other: Any) -> bool:
    """Whether two tags are the same; a bool is no number here."""
    if hasattr(one, "dtype") or hasattr(other, "dtype"):
        return same(one, other)
    try:
        return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
    except ValueError:  # arrays inside, which compare item by item
        return same(one, other)


class FrozenMetrics:
    """All that was measured: points are added, never changed.

    Looking never creates: a metric that was never recorded has no values and is not listed.

    Example:
        >>> metrics = FrozenContext().metrics
        >>> metrics.add("loss", 0.5, {"epoch": 1})
        >>> metrics["loss"], metrics.get_tags("loss"), list(metrics)
        ((0.5,), ({'epoch': 1},), ['loss'])
    """

    __slots__ = ("__weakref__", "_adders", "_scope", "_store")

    def __init__(self, schema: type[MetricSchema] | None = None, *, dispatcher: EventDispatcher | None = None) -> None:
        """Make a place for points.

        Args:
            schema: What may be measured; None: anything.
            dispatcher: Whom to tell; a context passes its own.

        Raises:
            SchemaError: `schema` is not a `MetricSchema`, or a metric's types cannot be used.
        """
        if schema is not None and not (isinstance(schema, type) and issubclass(schema, MetricSchema)):
            raise SchemaError(short(schema), "metrics are declared by a subclass of MetricSchema; pass the class")
        self._store = MetricStore(schema, dispatcher or EventDispatcher())
        self._scope = StepToken()
        self._adders: dict[Metric[Any, Any] | str, _Add] = {}

    def _bound(self, scope: StepToken) -> "FrozenMetrics":
        """A view of the same store, for a step."""
        view = FrozenMetrics.__new__(FrozenMetrics)
        view._store = self._store
        view._scope = scope
        view._adders = {}
        return view

    def _counts(self, number: int, since: Mapping[str, int]) -> dict[str, int]:
        """How many points a scope recorded, by metric, from the given places in the series on."""
        logs = {name: channel.log for name, channel in self._store.channels.copy().items()}
        counts = {name: log.count(number, since.get(name, 0)) for name, log in logs.items()}
        return {name: count for name, count in counts.items() if count}

    def _lengths(self) -> dict[str, int]:
        """How many points there are without those of branches, by metric."""
        lengths = {name: channel.log.own for name, channel in self._store.channels.copy().items()}
        return {name: length for name, length in lengths.items() if length}

    def _copy(self, dispatcher: EventDispatcher) -> "FrozenMetrics":
        """Metrics of their own with the same points, for a copy of their context."""
        copied = FrozenMetrics(self.schema, dispatcher=dispatcher)
        for name, channel in self._store.channels.copy().items():
            copied._store.channels[name] = MetricLog(name, channel.metric, channel.log.copy())
        # After the points, which others may record meanwhile: the steps that they have been recorded in are among them.
        copied._store.scopes = StepRegistry(self._store.scopes.names)
        return copied

    def __copy__(self) -> "FrozenMetrics":
        return self._copy(EventDispatcher())

    def __deepcopy__(self, memo: object) -> "FrozenMetrics":
        return self._copy(EventDispatcher())

    def __reduce__(self) -> tuple[Any, ...]:
        store = self._copy(EventDispatcher())._store
        channels = {name: (channel.metric, channel.log) for name, channel in store.channels.items()}
        return _restored_metrics, (self.schema, store.scopes.names, channels)

    @property
    def schema(self) -> type[MetricSchema] | None:
        """What may be measured; None where that is anything."""
        return self._store.schema

    @overload
    def series(self, metric: Metric[V, G]) -> Series[V, G]: ...
    @overload
    def series(self, metric: str) -> Series[Any, Any]: ...
    def series(self, metric: Metric[Any, Any] | str) -> Series[Any, Any]:
        """Return the series of a metric.

        Args:
            metric: A metric, or the name of one.

        Returns:
            A live view of its points, by which more can be recorded.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's.
        """
        return Series(self._store, metric, self._scope)

    @overload
    def add(self, key: Metric[_V, None], value: _V, tags: None = None) -> None: ...
    @overload
    def add(self, key: Metric[_V, _G], value: _V, tags: _G) -> None: ...
    @overload
    def add(self, key: str, value: Any, tags: Mapping[str, Any] | None = None) -> None: ...
    def add(self, key: Any, value: Any, tags: Any = None) -> None:
        """Record a point.

        Args:
            key: A metric, or the name of one.
            value: What was measured, in the metric's unit. numpy and torch scalars become Python numbers.
            tags: How it is tagged: a mapping, or an instance of the metric's tag model.

        Raises:
            UnknownMetricError: The metric is not declared in the schema.
            ForeignMetricError: It is another schema's.
            InvalidMetricError: The value is not allowed. Nothing is recorded.
            InvalidTagError: The tags are not allowed, or one is missing. Nothing is recorded.
            StepClosedError: The step has ended.
        """
        kind = type(key)
        # A subclass of str may have its own idea of equality, and a dict would go by it.
        add = self._adders.get(key) if kind is str or kind is Metric else None
        (add or self._adder(key))(value, tags)

    def _adder(self, metric: Metric[Any, Any] | str) -> _Add:
        """Return what records points of a metric; kept from when its name is taken."""
        self._scope.check_open()
        add = self._store.adder(metric, self._scope)
        if self._store.find(metric) is not None:
            self._adders[metric] = add
        return add

    @overload
    def __getitem__(self, key: Metric[_V, Any]) -> tuple[_V, ...]: ...
    @overload
    def __getitem__(self, key: str) -> tuple[Any, ...]: ...
    def __getitem__(self, key: Metric[Any, Any] | str) -> tuple[Any, ...]:
        """Return the values of a metric, oldest first; none if it was never recorded.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's.
        """
        channel = self._store.find(key)
        return () if channel is None else tuple(map(fetch, channel.log.values()))

    def get_tags(self, key: Metric[Any, Any] | str) -> tuple[dict[str, Any], ...]:
        """Return the tags of each point of a metric, oldest first; `{}` where it has none.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's.
        """
        channel = self._store.find(key)
        rows = channel.log.rows() if channel is not None else ()
        return tuple(fetched(tags) for _, tags, _ in rows)

    def as_dict(self) -> Mapping[str, tuple[Any, ...]]:
        """Return the values of every recorded metric by its name, in a mapping that cannot be changed."""
        return MappingProxyType({name: self[name] for name in self})

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of what was recorded."""
        return iter([name for name, channel in self._store.channels.copy().items() if len(channel.log)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, metric: object) -> bool:
        """Whether a metric, or a metric of a name, was recorded."""
        name = metric.name if isinstance(metric, Metric) else metric
        channel = self._store.channels.get(str.__str__(name)) if isinstance(name, str) else None
        if channel is None or not len(channel.log):
            return False
        return not isinstance(metric, Metric) or (channel.metric is not None and channel.metric.is_same(metric))

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {len(self._store.channels[name].log)}" for name in self)
        return f"FrozenMetrics({counts or 'no points'})"

    def _repr_html_(self) -> str:
        """Return a table of what can be measured and what was, for notebooks."""
        from .._base.html import as_html  # only notebooks need it

        return as_html(self._table())

    def _table(self) -> Table:
        def row(name: str) -> tuple[str | None, ...]:
            series: Series[Any, Any] = self.series(name)
            metric, count = series.metric, len(series)
            declared = (metric.unit, metric.goal, metric.description) if metric is not None else (None, None, None)
            unit, goal, description = declared
            last = short(series.last) if count else None
            return name, unit, goal, f"{count:,}", last, _told_best(series), description

        channels = self._store.channels.copy()
        headings = ("metric", "unit", "goal", "points", "last", "best", "description")
        title = f"{self.schema.__qualname__ if self.schema is not None else 'Metrics'}: {counted(len(self), 'metric')}"
        return Table.of(title, headings, [*channels], row)

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._store.channels]


def _restored_metrics(schema: type[MetricSchema] | None, names: list[str | None], channels: Any) -> FrozenMetrics:
    metrics = FrozenMetrics(schema)
    metrics._store.scopes = StepRegistry(names)
    for name, (metric, log) in channels.items():
        declared = metric if schema is None else schema.metrics[name]
        metrics._store.channels[name] = MetricLog(name, declared, log)
    return metrics
