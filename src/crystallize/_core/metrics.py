"""Metrics, schemas of metrics, and points."""

import sys
from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, NoReturn, Self, TypeAlias, overload

from typing_extensions import Format, TypeForm, TypeVar, get_annotations

from .._base.text import short
from ..errors import ContextMutationError, MetricClashError, SchemaError
from .metric_checks import MetricChecks

V = TypeVar("V", default=Any)
"""The type of a metric's values."""
G = TypeVar("G", default=Any)
"""The type of a metric's tags."""
_V = TypeVar("_V")
_G = TypeVar("_G")
_TagType: TypeAlias = type[_G]
"""The class of the tags. `type[_G]` cannot be written in `Metric`, where `type` is an attribute; also `_Schema`."""
_Schema: TypeAlias = "type[MetricSchema]"


class Metric(Generic[V, G]):
    """A metric, declared as an attribute of a `MetricSchema`. The attribute's name becomes the metric's name.

    Example:
        >>> class TrainMetrics(MetricSchema):
        ...     loss = Metric(float, unit="nats", goal="minimize")

    Attributes:
        name: The attribute's name; empty until the class is made.
        owner: The full name of the schema that declares it; None until the class is made.
        type: The type of its values.
        tags: The type of its tags; None if it has no tags.
        unit: The unit of its values.
        goal: Whether low or high values are better.
        description: Its meaning.
    """

    if TYPE_CHECKING:
        # Properties, since annotations cannot mark an attribute as read-only.
        @property
        def name(self) -> str: ...
        @property
        def owner(self) -> str | None: ...
        @property
        def type(self) -> Any: ...
        @property
        def tags(self) -> Any: ...
        @property
        def unit(self) -> str | None: ...
        @property
        def goal(self) -> Literal["minimize", "maximize"] | None: ...
        @property
        def description(self) -> str | None: ...

    else:
        # Hidden from checkers, which then report an assignment to a name that is no attribute.
        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise ContextMutationError(name, f"Cannot assign {name!r} of {self!r}: a metric stays as declared")

        def __delattr__(self, name: str) -> NoReturn:
            raise ContextMutationError(name, f"Cannot delete {name!r} of {self!r}: a metric stays as declared")

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
        """Declare a metric.

        Args:
            type: Any type that Pydantic validates: `float`, `FiniteFloat`, `Annotated[float, Field(ge=0)]`.
            tags: The type of the tags of each point, a `TypedDict` or a model; by default no tags are allowed.
            unit: The unit of the values, as text.
            goal: Whether low or high values are better; `Series.best` uses it.
            description: The meaning of the metric, in a sentence.

        Raises:
            SchemaError: The goal is neither "minimize" nor "maximize".
        """
        if goal not in (None, "minimize", "maximize"):
            raise SchemaError("metric", f'its goal is "minimize" or "maximize", not {short(goal)}')
        facts = {"name": "", "owner": None, "type": type, "tags": tags, "unit": unit, "goal": goal}
        vars(self).update(facts, description=description, _checks=None, _schema=None)

    def __set_name__(self, owner: "_Schema", name: str) -> None:
        # A second name raises in `__init_subclass__`: Python would wrap an error that is raised here.
        if self._schema is None:
            module = "__main__" if owner.__module__ == _MAIN_OF_A_WORKER else owner.__module__
            vars(self).update(name=name, owner=f"{module}.{owner.__qualname__}", _schema=owner)

    def __repr__(self) -> str:
        return f"Metric({self.owner}.{self.name})" if self.owner is not None else "Metric(unnamed)"

    @property
    def checks(self) -> MetricChecks:
        """The validators of its values and tags; made on first use.

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
        """Whether another metric is this metric, or a pickled copy of it."""
        copied = self._schema is None or other._schema is None
        return self is other or (copied and (self.name, self.owner) == (other.name, other.owner))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._schema is not None and _is_importable(self._schema):
            return _declared_metric, (self._schema, self.name)
        # By value: if its schema cannot be imported, the schema is pickled by value too, and contains this metric.
        facts = (self.name, self.owner, self.type, self.tags, self.unit, self.goal, self.description)
        return _copied_metric, facts


_MAIN_OF_A_WORKER = "__mp_main__"
"""The name of `__main__` in processes that multiprocessing starts."""


def _is_importable(schema: type) -> bool:
    """Whether another process can import a class by its name."""
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
    """The metrics of a run: a class whose attributes are `Metric` objects. Subclasses can add metrics.

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
            MetricClashError: Two classes declare the same name.
            SchemaError: An attribute hides an attribute of `MetricSchema`, or should probably be a metric.
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
    """Whether an attribute is a metric of this schema; raise SchemaError if it probably should be a metric."""
    if isinstance(value, Metric):
        if (value.name, value._schema) != (name, cls):
            raise SchemaError(cls.__qualname__, f"metric {name!r} is declared already, as {value!r}; declare its own")
        return True
    nested = isinstance(value, type) and value.__qualname__.startswith(f"{cls.__qualname__}.")
    if not name.startswith("_") and name != "metrics" and not nested and not hasattr(type(value), "__get__"):
        raise SchemaError(cls.__qualname__, f"{name!r} is no metric; declare it as Metric({short(value)}, ...)")
    return False


class Point(NamedTuple, Generic[V, G]):
    """One measurement of a metric.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> list(ctx.metrics.series("loss"))
        [Point(value=0.5, tags={'epoch': 1}, step=None)]
    """

    value: V
    tags: G
    step: str | None
    """The step that recorded the point; None outside any step."""
