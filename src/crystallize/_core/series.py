"""The series of one metric, and the metrics of one context: views that record and read points."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import isnan
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, overload

from typing_extensions import TypeVar

from .._base.signal_handlers import reraise_from_handler
from .._base.table import Table, TableDisplay
from .._base.text import counted, short
from ..errors import InvalidTagError, NoGoalError, NoPointsError, Problem
from .codec import NotRestorable, json_view
from .equality import same
from .fast_recorders import Recorder, fast_bound_recorder
from .immutable_types import PLAIN
from .metric_log import MetricLog, checked, fetched, with_numbers
from .metric_store import MetricStore
from .metrics import Metric, MetricSchema, Point
from .packed_columns import StoredPoint
from .point_log import fetch
from .steps import StepToken

V = TypeVar("V", default=Any)
"""The type of a metric's values."""
G = TypeVar("G", default=Any)
"""The type of a metric's tags."""
_V = TypeVar("_V")
_G = TypeVar("_G")
_D = TypeVar("_D", bound=Mapping[str, object])
"""The type of tags that are a `TypedDict`."""

_ADD_DOC: Final = """Record a point.

Args:
    value: The measured value, in the metric's unit.
    tags: A mapping, or an instance of the metric's tag model.

Raises:
    InvalidMetricError: The value is not allowed. Nothing is recorded.
    InvalidTagError: The tags are not allowed, or one is missing. Nothing is recorded.
    StepClosedError: The step of this series has ended.
"""


class Series(TableDisplay, Generic[V, G]):
    """The points of one metric, in the order in which they were recorded; a live view.

    `FrozenMetrics.series` returns it. Its values and tags are immutable or copies, so points never change.

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
        store: MetricStore,
        metric: Metric[V, G] | str,
        token: StepToken,
        where: Mapping[str, Any] | None = None,
        tests: tuple[Callable[[Any], object], ...] = (),
    ) -> None:
        record = store.recorder(metric, token)
        record.__doc__ = _ADD_DOC
        self.add = record  # type: ignore[method-assign]  # the slot below
        self._store = store
        self._metric = metric
        self._token = token
        self._where = where or {}
        self._tests = tests

    if TYPE_CHECKING:

        @overload
        def add(self, value: V, tags: G) -> None: ...
        @overload
        def add(self: "Series[V, None]", value: V) -> None: ...
        def add(self, value: Any, tags: Any = None) -> None:
            """Record a point.

            Args:
                value: The measured value, in the metric's unit.
                tags: A mapping, or an instance of the metric's tag model.

            Raises:
                InvalidMetricError: The value is not allowed. Nothing is recorded.
                InvalidTagError: The tags are not allowed, or one is missing. Nothing is recorded.
                StepClosedError: The step of this series has ended.
            """

    else:
        # A slot and not a method: `add` is called in loops, so the slot contains the fastest recorder itself.
        __slots__ = {"_metric": None, "_store": None, "_tests": None, "_token": None, "_where": None, "add": _ADD_DOC}

    @overload
    def bind(self, tags: G) -> Callable[[V], None]: ...
    @overload
    def bind(self: "Series[V, None]") -> Callable[[V], None]: ...
    def bind(self, tags: Any = None) -> Callable[[V], None]:
        """Return a function that records values with these tags: the fastest way to record.

        Args:
            tags: The tags of all the values. They are validated once.

        Returns:
            A function whose only argument is the value.

        Raises:
            InvalidTagError: The tags are not allowed, or one is missing.
        """
        store, token = self._store, self._token
        token.check_open()
        # Invalid tags must not create a log for an undeclared name.
        kept_tags = (store.find(self._metric) or store.new(self._metric)).prepare_tags(tags)
        log = store.open(self._metric)

        def slow(value: V) -> None:
            """Record a value with the tags of `bind`."""
            token.check_open()
            store.keep(log, token, log.prepare_value(value), kept_tags)

        plain = PLAIN.issuperset(map(type, kept_tags.values()))
        if not plain or log.metric is None or log.metric.checks.split is None:
            return slow
        log.note_use(token)
        return fast_bound_recorder(slow, store.dispatcher, log, token, kept_tags)

    @overload
    def where(self, test: Callable[[G], object], /, **tags: Any) -> Self: ...
    @overload
    def where(self, /, **tags: Any) -> Self: ...
    def where(self, test: Any = None, /, **tags: Any) -> Self:
        """Return the points with these tags as a series.

        Args:
            test: A function of the tags of a point, which returns whether the point belongs to the series. A type
                checker finds a misspelt tag in it.
            **tags: The tags by name, with the value that each must have.

        Returns:
            A series of these points only, which is a live view too.

        Raises:
            InvalidTagError: The metric has no such tag, or does not allow the value; or `test` is not a function.
        """
        if test is not None and not callable(test):
            should = "should be a function of the tags, or tags by name, as in where(split='train')"
            raise InvalidTagError(self.name, (Problem((), should, type(test).__name__, short(test)),))
        metric, tags = declared_metric(self), with_numbers(tags)
        if metric is not None:
            check, error = partial(metric.checks.check_tag, metric.name), partial(InvalidTagError, metric.name)
            tags = {tag: checked(partial(check, tag), value, error) for tag, value in tags.items()}
        tests = self._tests if test is None else (*self._tests, test)
        return type(self)(self._store, self._metric, self._token, {**self._where, **tags}, tests)

    def _rows(self) -> Iterator[StoredPoint]:
        log = log_of(self)
        rows = log.points.rows() if log is not None else iter(())
        if not is_part(self):
            return rows
        matches = matcher(self)
        return (row for row in rows if matches(row[1]))

    def __iter__(self) -> Iterator[Point[V, G]]:
        log = log_of(self)
        if log is not None:
            names = self._store.registry.names
            for value, tags, step in self._rows():
                yield Point(fetch(value), log.tags_of(tags), step if type(step) is str else names[step])

    def __len__(self) -> int:
        log = log_of(self)
        if log is None or not is_part(self):
            return 0 if log is None else len(log.points)
        return sum(1 for _ in self._rows())

    def __repr__(self) -> str:
        return f"Series({self.name!r}{filter_text(self)}; {counted(len(self), 'point')})"

    def __notebook_tables__(self) -> tuple[Table, ...]:
        from .notebook import series_table

        return (series_table(self),)

    @property
    def name(self) -> str:
        """The metric's name."""
        return self._metric if isinstance(self._metric, str) else self._metric.name

    @property
    def metric(self) -> Metric[V, G] | None:
        """The metric; None if it is not declared. On the record of a step this counts as a read of its points."""
        log_of(self)
        return declared_metric(self)

    @property
    def values(self) -> tuple[V, ...]:
        """The values, oldest first."""
        log = log_of(self)
        if log is not None and not is_part(self):
            # Without the tags, which would take most of the time.
            return tuple(map(fetch, log.points.values()))
        return tuple(fetch(value) for value, _, _ in self._rows())

    @property
    def tags(self) -> tuple[G, ...]:
        """The tags of each point, oldest first."""
        return tuple(point.tags for point in self)

    @property
    def first(self) -> V:
        """The oldest value.

        Raises:
            NoPointsError: The series is empty.
        """
        for value, _, _ in self._rows():
            oldest: V = fetch(value)
            return oldest
        raise self._no_points()

    @property
    def last(self) -> V:
        """The newest value.

        Raises:
            NoPointsError: The series is empty.
        """
        log = log_of(self)
        row = log.points.last() if log is not None and not is_part(self) else None
        for newest in self._rows() if row is None else ():
            row = newest
        if row is None:
            raise self._no_points()
        value: V = fetch(row[0])
        return value

    @property
    def best(self) -> V:
        """The best value by the metric's goal; the first of equal values. NaN, None and unrestorable values are worst.

        Raises:
            NoGoalError: The metric has no goal.
            NoPointsError: The series is empty.

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
        return NoPointsError(self.name, filter_text(self).removeprefix(", "))


def log_of(series: Series[Any, Any]) -> MetricLog | None:
    """Return the log of a series for a read of its points; None if its name is not declared and has no points."""
    log = series._store.find(series._metric)
    if series._token.notes is not None:
        series._token.notes.note_metric(series.name, 0 if log is None else len(log.points))
    return log


def declared_metric(series: Series[V, G]) -> Metric[V, G] | None:
    """Return the metric of a series without a note on the record of a step; None if it is not declared."""
    log = series._store.find(series._metric)
    declared = series._metric if log is None or log.metric is None else log.metric
    return declared if isinstance(declared, Metric) else None


def is_part(series: Series[Any, Any]) -> bool:
    """Whether a series was filtered; see `Series.where`."""
    return bool(series._where or series._tests)


def filter_text(series: Series[Any, Any]) -> str:
    """Return the filter of a series, as ", split='train'"; an empty text if it was not filtered."""
    tests = (getattr(test, "__name__", "a function") for test in series._tests)
    parts = (*tests, *(f"{name}={short(value)}" for name, value in series._where.items()))
    return "".join(f", {part}" for part in parts)


def matcher(series: Series[Any, Any]) -> Callable[[dict[str, Any]], bool]:
    """Return the function that tells whether the tags of a stored point match the filter of a series."""
    wanted, tests, log = [*series._where.items()], series._tests, series._store.find(series._metric)

    def matches(tags: dict[str, Any]) -> bool:
        for name, value in wanted:
            if name not in tags or not _equal(json_view(fetch(tags[name])), value):
                return False
        return log is None or all(test(log.tags_of(tags)) for test in tests)

    return matches


def stored_points(series: Series[Any, Any]) -> Iterator[StoredPoint]:
    """Return the points of a series in their stored form."""
    return series._rows()


def _equal(tag: Any, wanted: Any) -> bool:
    """Whether two tags are equal. A bool equals no number."""
    if hasattr(tag, "dtype") or hasattr(wanted, "dtype"):
        return same(tag, wanted)
    try:
        return isinstance(tag, bool) == isinstance(wanted, bool) and bool(tag == wanted)
    except (ValueError, TypeError) as error:  # arrays in the tag, which compare item by item, or `pandas.NA`
        reraise_from_handler(error)
        return same(tag, wanted)


class FrozenMetrics(TableDisplay):
    """All the metrics of a run: points can be added, but never changed.

    Reading a metric that was never recorded returns no values, and does not add it to the listed names.

    Example:
        >>> metrics = FrozenContext().metrics
        >>> metrics.add("loss", 0.5, {"epoch": 1})
        >>> metrics["loss"], metrics.get_tags("loss"), list(metrics)
        ((0.5,), ({'epoch': 1},), ['loss'])
    """

    __slots__ = ("__weakref__", "_recorders", "_store", "_token")

    def __init__(self, schema: type[MetricSchema] | None = None) -> None:
        """Make metrics without points.

        Args:
            schema: The metrics that may be recorded; by default any.

        Raises:
            SchemaError: `schema` is not a `MetricSchema`, or a metric's types cannot be used.
        """
        self._store = MetricStore(schema)
        self._token = StepToken()
        self._recorders: dict[Metric[Any, Any] | str, Recorder] = {}

    def __copy__(self) -> "FrozenMetrics":
        return metrics_view(self._store.copy())

    def __deepcopy__(self, memo: object) -> "FrozenMetrics":
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        return metrics_view, (self._store.copy(),)

    @property
    def schema(self) -> type[MetricSchema] | None:
        """The metrics that may be recorded; None if any metric may be."""
        return self._store.schema

    @overload
    def series(self, metric: Metric[V, G]) -> Series[V, G]: ...
    @overload
    def series(self, metric: str) -> Series[Any, Any]: ...
    def series(self, metric: Metric[Any, Any] | str) -> Series[Any, Any]:
        """Return the series of a metric.

        Args:
            metric: A metric, or its name.

        Returns:
            A live view, which can also record points.

        Raises:
            UnknownMetricError: The metric is not declared in the schema.
            ForeignMetricError: The metric belongs to another schema.
        """
        return Series(self._store, metric, self._token)

    @overload
    def add(self, key: Metric[_V, None], value: _V, tags: None = None) -> None: ...
    @overload
    def add(self, key: Metric[_V, _G], value: _V, tags: _G) -> None: ...
    @overload
    def add(self, key: str, value: Any, tags: Mapping[str, Any] | None = None) -> None: ...
    def add(self, key: Any, value: Any, tags: Any = None) -> None:
        """Record a point.

        Args:
            key: A metric, or its name.
            value: The measured value, in the metric's unit. NumPy and PyTorch scalars are converted to Python numbers.
            tags: A mapping, or an instance of the metric's tag model.

        Raises:
            UnknownMetricError: The metric is not declared in the schema.
            ForeignMetricError: The metric belongs to another schema.
            InvalidMetricError: The value is not allowed. Nothing is recorded.
            InvalidTagError: The tags are not allowed, or one is missing. Nothing is recorded.
            StepClosedError: The step has ended.
        """
        kind = type(key)
        # A subclass of str may define its own equality, and a dict would use it.
        record = self._recorders.get(key) if kind is str or kind is Metric else None
        (record or self._find_recorder(key))(value, tags)

    def _find_recorder(self, metric: Metric[Any, Any] | str) -> Recorder:
        """Return the recorder of a metric; it is cached once the metric has a log."""
        self._token.check_open()
        record = self._store.recorder(metric, self._token)
        if self._store.find(metric) is not None:
            self._recorders[metric] = record
        return record

    @overload
    def __getitem__(self, key: Metric[_V, Any]) -> tuple[_V, ...]: ...
    @overload
    def __getitem__(self, key: str) -> tuple[Any, ...]: ...
    def __getitem__(self, key: Metric[Any, Any] | str) -> tuple[Any, ...]:
        """Return the values of a metric, oldest first; an empty tuple if it was never recorded.

        Raises:
            UnknownMetricError: The metric is not declared in the schema.
            ForeignMetricError: The metric belongs to another schema.
        """
        log = self._noted(key)
        return () if log is None else tuple(map(fetch, log.points.values()))

    @overload
    # A metric whose tags are of unknown type fits both; readers get dicts in either case.
    def get_tags(  # pyright: ignore[reportOverlappingOverload]  # as above
        self, key: Metric[Any, _D]
    ) -> tuple[_D, ...]: ...
    @overload
    def get_tags(self, key: Metric[Any, Any] | str) -> tuple[dict[str, Any], ...]: ...
    def get_tags(self, key: Metric[Any, Any] | str) -> tuple[Any, ...]:
        """Return the tags of each point of a metric, oldest first; `{}` for a point without tags.

        Raises:
            UnknownMetricError: The metric is not declared in the schema.
            ForeignMetricError: The metric belongs to another schema.
        """
        log = self._noted(key)
        rows = log.points.rows() if log is not None else ()
        return tuple(fetched(tags) for _, tags, _ in rows)

    def _noted(self, key: Metric[Any, Any] | str) -> MetricLog | None:
        """Return the log of a metric whose points are read; a step notes that."""
        log = self._store.find(key)
        if self._token.notes is not None:
            name = key.name if isinstance(key, Metric) else str.__str__(key)
            self._token.notes.note_metric(name, 0 if log is None else len(log.points))
        return log

    def as_dict(self) -> Mapping[str, tuple[Any, ...]]:
        """Return the values of every recorded metric by its name, in a read-only mapping."""
        return MappingProxyType({name: self[name] for name in self})

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the metrics that have points."""
        note_all_metrics(self)
        return iter([name for name, log in self._store.logs.copy().items() if len(log.points)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, metric: object) -> bool:
        """Whether a metric, given as a `Metric` or by its name, has points."""
        name = metric.name if isinstance(metric, Metric) else metric
        log = self._store.logs.get(str.__str__(name)) if isinstance(name, str) else None
        if self._token.notes is not None and isinstance(name, str):
            self._token.notes.note_metric(str.__str__(name), 0 if log is None else len(log.points))
        if log is None or not len(log.points):
            return False
        return not isinstance(metric, Metric) or (log.metric is not None and log.metric.is_same(metric))

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {len(self._store.logs[name].points)}" for name in self)
        return f"FrozenMetrics({counts or 'no points'})"

    def __notebook_tables__(self) -> tuple[Table, ...]:
        from .notebook import metrics_table

        return (metrics_table(self),)

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._store.logs]


def metrics_view(store: MetricStore, token: StepToken | None = None) -> FrozenMetrics:
    """Return a view of a store for a step, or for the context outside any step."""
    view = FrozenMetrics.__new__(FrozenMetrics)
    view._store = store
    view._token = token or StepToken()
    view._recorders = {}
    return view


def note_all_metrics(metrics: FrozenMetrics) -> None:
    """Note that a step looked at metrics without naming them."""
    if metrics._token.notes is not None:
        metrics._token.notes.blind["the set of metrics"] = None


def store_of(measured: FrozenMetrics | Series[Any, Any]) -> MetricStore:
    """Return the store behind a view."""
    if isinstance(measured, FrozenMetrics):
        note_all_metrics(measured)
    return measured._store


def recorders_of(
    metrics: FrozenMetrics,
) -> tuple[dict[Metric[Any, Any] | str, Recorder], Callable[[Metric[Any, Any] | str], Recorder]]:
    """Return the recorders that were found so far, and the function that finds others."""
    return metrics._recorders, metrics._find_recorder
