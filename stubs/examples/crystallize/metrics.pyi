# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Metrics: what is measured, declared once, and the series of points that were recorded of it."""

import digits as _digits
import pipeline.schemas as _pipeline_schemas
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, NoReturn, Self, TypeAlias, overload
from typing_extensions import TypeForm, TypeVar
from .outlet import Outlet
from .points import PointLog, Scope, Scopes
from .schema import MetricChecks

__all__ = ["Channel", "FrozenMetrics", "Metric", "MetricSchema", "Point", "Series", "as_number", "fetched"]
V = TypeVar("V", default=Any)
"""The type of a metric's values."""

G = TypeVar("G", default=Any)
"""The type of a metric's tags."""

_V = TypeVar("_V")
_G = TypeVar("_G")
_TagType: TypeAlias = type[_G]
_Schema: TypeAlias = type[MetricSchema]

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

    @overload
    def __init__(
        self: Metric[_V, None],
        type: TypeForm[_V],
        *,
        tags: None = None,
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

    @overload
    def __init__(
        self: Metric[_V, _G],
        type: TypeForm[_V],
        *,
        tags: _TagType[_G],
        unit: str | None = None,
        goal: Literal["minimize", "maximize"] | None = None,
        description: str | None = None,
    ) -> None: ...
    def __set_name__(self, owner: _Schema, name: str) -> None: ...
    def __setattr__(self, name: str, value: object) -> NoReturn: ...
    def __repr__(self) -> str: ...
    @property
    def checks(self) -> MetricChecks:
        """What validates its values and tags; made when first asked for.

        Raises:
            SchemaError: Its types cannot be used.
        """

    def is_same(self, other: Metric[Any, Any]) -> bool:
        """Whether another one is this one, or a copy of it that came by pickle."""

    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

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

    metrics: ClassVar[Mapping[str, Metric[Any, Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the metrics.

        Raises:
            MetricClashError: Two classes declare one name.
            SchemaError: An attribute takes the place of something that every schema has, or is no metric and was
                probably meant to be.
        """

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
class Channel:
    """One metric of one context: what it allows, and what was recorded of it."""

    name: str
    metric: Metric[Any, Any] | None
    log: PointLog

    def prepare(self, value: Any, tags: Any) -> tuple[Any, dict[str, Any]]:
        """Validate and freeze a value and its tags."""

    def prepare_value(self, value: Any) -> Any:
        """Validate and freeze a value."""

    def prepare_tags(self, tags: Any) -> dict[str, Any]:
        """Validate and freeze tags."""

    def tags_of(self, kept: dict[str, Any]) -> Any:
        """Return tags as a reader gets them."""

def fetched(tags: dict[str, Any]) -> dict[str, Any]:
    """Return tags as a reader gets them, by name."""

def as_number(value: Any) -> Any:
    """Turn a numpy or torch scalar into the Python number that it holds."""

_Add: TypeAlias = Callable[..., None]

class _Store:
    schema: type[MetricSchema] | None
    outlet: Outlet
    scopes: Scopes
    channels: dict[str, Channel]

    def __init__(self, schema: type[MetricSchema] | None, outlet: Outlet) -> None: ...
    def find(self, metric: Metric[Any, Any] | str) -> Channel | None:
        """Return a metric's channel; None where nothing was recorded under a name that may be any.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's, or its name stands for another one already.
        """

    def open(self, metric: Metric[Any, Any] | str) -> Channel:
        """Return a metric's channel; where there is no schema, the first use of a name makes it."""

    def new(self, metric: Metric[Any, Any] | str) -> Channel:
        """Return a channel for a name that nobody has used."""

    def adder(self, metric: Metric[Any, Any] | str, scope: Scope) -> _Add:
        """Return what records points of a metric: the short way where its types have one, else the long way."""

    def record(self, metric: Metric[Any, Any] | str, scope: Scope, value: Any, tags: Any) -> None:
        """Validate a point and keep it, the long way."""

    def keep(self, channel: Channel, scope: Scope, value: Any, tags: dict[str, Any]) -> None:
        """Keep a point that is valid and frozen, then tell the sinks."""

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
        self,
        store: _Store,
        metric: Metric[V, G] | str,
        scope: Scope,
        where: Mapping[str, Any] | None = None,
    ) -> None: ...
    @overload
    def add(self, value: V, tags: G) -> None:
        """Record a point.

        Args:
            value: What was measured, in the metric's unit.
            tags: How it is tagged.

        Raises:
            InvalidMetricError: The value is not allowed. Nothing is recorded.
            InvalidTagError: The tags are not allowed, or one is missing. Nothing is recorded.
            StepClosedError: The step that this series came from has ended.
        """

    @overload
    def add(self: Series[V, None], value: V) -> None: ...
    @overload
    def bind(self, tags: G) -> Callable[[V], None]:
        """Return a function that records values under these tags: the fastest way to record.

        Args:
            tags: How all the values are tagged.

        Returns:
            A function of the value alone.

        Raises:
            InvalidTagError: The tags are not allowed, or one is missing.
        """

    @overload
    def bind(self: Series[V, None]) -> Callable[[V], None]: ...
    def where(self, /, **tags: Any) -> Self:
        """Return the part of the series whose points have these tags.

        Args:
            **tags: The value of each tag to go by.

        Returns:
            A series of those points alone; it too is a live view.

        Raises:
            InvalidTagError: The metric has no such tag, or does not allow the value.
        """

    def __iter__(self) -> Iterator[Point[V, G]]: ...
    def __len__(self) -> int: ...
    def __repr__(self) -> str: ...
    @property
    def name(self) -> str:
        """The metric's name."""

    @property
    def metric(self) -> Metric[V, G] | None:
        """The metric; None where it is not declared."""

    @property
    def values(self) -> tuple[V, ...]:
        """The values, oldest first."""

    @property
    def tags(self) -> tuple[G, ...]:
        """The tags of each point, oldest first."""

    @property
    def first(self) -> V:
        """The oldest value.

        Raises:
            NoPointsError: There is none.
        """

    @property
    def last(self) -> V:
        """The newest value.

        Raises:
            NoPointsError: There is none.
        """

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

    def __init__(self, schema: type[MetricSchema] | None = None, *, outlet: Outlet | None = None) -> None:
        """Make a place for points.

        Args:
            schema: What may be measured; None: anything.
            outlet: Whom to tell; a context passes its own.

        Raises:
            SchemaError: `schema` is not a `MetricSchema`, or a metric's types cannot be used.
        """

    def __copy__(self) -> FrozenMetrics: ...
    def __deepcopy__(self, memo: object) -> FrozenMetrics: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    @property
    def schema(self) -> type[MetricSchema] | None:
        """What may be measured; None where that is anything."""

    @overload
    def series(self, metric: Metric[V, G]) -> Series[V, G]:
        """Return the series of a metric.

        Args:
            metric: A metric, or the name of one.

        Returns:
            A live view of its points, by which more can be recorded.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's.
        """

    @overload
    def series(
        self,
        metric: Literal["accuracy"],
    ) -> Series[float, _pipeline_schemas.FoldTags] | Series[float, _digits.EpochTags]: ...
    @overload
    def series(
        self,
        metric: Literal["loss"],
    ) -> Series[float, _pipeline_schemas.EpochTags] | Series[float, _digits.EpochTags] | Series[float, None]: ...
    @overload
    def series(self, metric: Literal["rows"]) -> Series[int, None]: ...
    @overload
    def series(self, metric: Literal["score"]) -> Series[float, _digits.FoldTags]: ...
    @overload
    def series(self, metric: str) -> Series[Any, Any]: ...
    @overload
    def add(self, key: Metric[_V, None], value: _V, tags: None = None) -> None:
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

    @overload
    def add(self, key: Metric[_V, _G], value: _V, tags: _G) -> None: ...
    @overload
    def add(self, key: Literal["accuracy"], value: float, tags: _pipeline_schemas.FoldTags) -> None: ...
    @overload
    def add(self, key: Literal["accuracy"], value: float, tags: _digits.EpochTags) -> None: ...
    @overload
    def add(self, key: Literal["loss"], value: float, tags: _pipeline_schemas.EpochTags) -> None: ...
    @overload
    def add(self, key: Literal["loss"], value: float, tags: _digits.EpochTags) -> None: ...
    @overload
    def add(self, key: Literal["loss"], value: float, tags: None = None) -> None: ...
    @overload
    def add(self, key: Literal["rows"], value: int, tags: None = None) -> None: ...
    @overload
    def add(self, key: Literal["score"], value: float, tags: _digits.FoldTags) -> None: ...
    @overload
    def add(self, key: str, value: Any, tags: Mapping[str, Any] | None = None) -> None: ...
    @overload
    def __getitem__(self, key: Metric[_V, Any]) -> tuple[_V, ...]:
        """Return the values of a metric, oldest first; none if it was never recorded.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's.
        """

    @overload
    def __getitem__(self, key: Literal["accuracy"]) -> tuple[float, ...]: ...
    @overload
    def __getitem__(self, key: Literal["loss"]) -> tuple[float, ...]: ...
    @overload
    def __getitem__(self, key: Literal["rows"]) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, key: Literal["score"]) -> tuple[float, ...]: ...
    @overload
    def __getitem__(self, key: str) -> tuple[Any, ...]: ...
    @overload
    def get_tags(self, key: Literal["accuracy"]) -> tuple[dict[str, Any] | _digits.EpochTags, ...]: ...
    @overload
    def get_tags(
        self,
        key: Literal["loss"],
    ) -> tuple[_pipeline_schemas.EpochTags | _digits.EpochTags | dict[str, Any], ...]: ...
    @overload
    def get_tags(self, key: Literal["rows"]) -> tuple[dict[str, Any], ...]: ...
    @overload
    def get_tags(self, key: Literal["score"]) -> tuple[_digits.FoldTags, ...]: ...
    @overload
    def get_tags(self, key: Metric[Any, Any] | str) -> tuple[dict[str, Any], ...]:
        """Return the tags of each point of a metric, oldest first; `{}` where it has none.

        Raises:
            UnknownMetricError: It is not declared in the schema.
            ForeignMetricError: It is another schema's.
        """

    def as_dict(self) -> Mapping[str, tuple[Any, ...]]:
        """Return the values of every recorded metric by its name, in a mapping that cannot be changed."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of what was recorded."""

    def __len__(self) -> int: ...
    def __contains__(self, metric: object) -> bool:
        """Whether a metric, or a metric of a name, was recorded."""

    def __repr__(self) -> str: ...
