"""The metrics of one context: their logs, and the slow recorder, which raises the errors of invalid points."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from .._base.text import nearest, short, type_name
from ..errors import (
    ForeignMetricError,
    SchemaError,
    UnknownMetricError,
)
from ..events import Event, MetricRecorded
from .event_dispatch import EventDispatcher
from .fast_recorders import Recorder, fast_recorder
from .key import plain_key
from .metric_log import MetricLog, fetched
from .metrics import Metric, MetricSchema
from .packed_columns import ANY_TAGS
from .point_log import PointLog, fetch
from .steps import StepRegistry, StepToken


class MetricStore:
    """The metrics of one context.

    Attributes:
        schema: The declared metrics; None if any metric is allowed.
        dispatcher: Emits the events.
        registry: The steps that record points.
        logs: The logs by the names of their metrics.
    """

    def __init__(
        self,
        schema: type[MetricSchema] | None,
        dispatcher: EventDispatcher | None = None,
        registry: StepRegistry | None = None,
    ) -> None:
        if schema is not None and not (isinstance(schema, type) and issubclass(schema, MetricSchema)):
            raise SchemaError(short(schema), "metrics are declared by a subclass of MetricSchema; pass the class")
        self.schema = schema
        self.dispatcher: EventDispatcher = dispatcher or EventDispatcher()
        self.registry: StepRegistry = registry or StepRegistry()
        self.logs: dict[str, MetricLog] = {}
        for name, metric in (schema.metrics if schema is not None else {}).items():
            # Checked now, because the types of a metric that cannot be used should not raise hours later.
            self.logs[name] = MetricLog(name, metric, PointLog(metric.checks.layout))

    def find(self, metric: Metric[Any, Any] | str) -> MetricLog | None:
        """Return the log of a metric; None if its name is not declared and has no points.

        Raise UnknownMetricError if the schema does not declare it, and ForeignMetricError if another schema does.
        """
        name = self._name(metric)
        log = self.logs.get(name)
        if isinstance(metric, Metric):
            self._check_same(metric, log)
        if log is None and self.schema is not None:
            declared = tuple(self.logs)
            raise UnknownMetricError(name, self.schema.__qualname__, nearest(name, declared), declared)
        return log

    def open(self, metric: Metric[Any, Any] | str) -> MetricLog:
        """Return the log of a metric. Without a schema, the first use of a name creates the log."""
        log = self.find(metric)
        if log is None:
            self.logs.setdefault(self._name(metric), self.new(metric))
            log = self.open(metric)
        return log

    def new(self, metric: Metric[Any, Any] | str) -> MetricLog:
        """Return a new log for a name that is not used yet."""
        if isinstance(metric, str):
            return MetricLog(plain_key(metric), None, PointLog())
        return MetricLog(metric.name, metric, PointLog(metric.checks.layout))

    def _name(self, metric: Metric[Any, Any] | str) -> str:
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

    def _check_same(self, metric: Metric[Any, Any], log: MetricLog | None) -> None:
        if log is not None and log.metric is not None and log.metric.is_same(metric):
            return
        name, owner = metric.name, metric.owner
        if self.schema is not None and owner == type_name(self.schema):
            # A module was reloaded, or a cell of a notebook was run again.
            again = f"{owner} was defined again after the context was made"
            reason = f"metric {name!r}: {again}; make the context again, or record by the name {name!r}"
            raise ForeignMetricError(name, owner, self._schema_name, reason)
        if self.schema is not None:
            reason = f"metric {name!r} is declared in {owner}, and this context records {self.schema.__qualname__}"
            raise ForeignMetricError(name, owner, self._schema_name, reason)
        if log is not None:
            first = "without a declaration" if log.metric is None else f"as {log.metric!r}"
            reason = f"metric {name!r} was first recorded {first}; {metric!r} is another one of that name"
            raise ForeignMetricError(name, owner, None, reason)

    def recorder(self, metric: Metric[Any, Any] | str, token: StepToken) -> Recorder:
        """Return the fastest recorder of a metric for a step."""

        def slow(value: Any, tags: Any = None) -> None:
            self.record(metric, token, value, tags)

        try:
            log = self.find(metric)
        except (UnknownMetricError, ForeignMetricError):
            token.note_blind("the declared metrics")  # as in `record`
            raise
        if log is None:
            return self._first_recorder(metric, token, slow)
        if log.metric is not None and log.metric.checks.split is None:
            return slow
        log.note_use(token)
        return fast_recorder(slow, self.dispatcher, log, token)

    def _first_recorder(self, metric: Metric[Any, Any] | str, token: StepToken, slow: Recorder) -> Recorder:
        """Return the recorder of an undeclared metric, whose first point creates its log."""
        fastest: Recorder | None = None

        def record(value: Any, tags: Any = None) -> None:
            nonlocal fastest
            if fastest is not None:
                fastest(value, tags)
                return
            slow(value, tags)
            fastest = self.recorder(metric, token)

        return record

    def record(self, metric: Metric[Any, Any] | str, token: StepToken, value: Any, tags: Any) -> None:
        """Validate and store a point, the slow way."""
        token.check_open()
        try:
            found = self.find(metric)
            log = found or self.new(metric)
            kept, kept_tags = log.prepare(value, tags)
        except Exception:
            # The code of the step may catch the error, and go on otherwise.
            token.note_blind("the reason for which a point was refused")
            raise
        # An invalid point creates no log. If several threads use a new name, the first one creates its log.
        if found is None and self.logs.setdefault(log.name, log) is not log:
            self.record(metric, token, value, tags)
        else:
            self.keep(log, token, kept, kept_tags)

    def keep(self, log: MetricLog, token: StepToken, value: Any, tags: dict[str, Any]) -> None:
        """Store a point that is valid and frozen, then emit its event."""
        dispatcher = self.dispatcher
        log.note_use(token)
        if not dispatcher.sinks:
            log.points.append(value, tags, token.open_number())
            return
        points, row, position = log.points, list[Any](), 0

        def make() -> tuple[Event]:
            nonlocal position
            row[:] = points.layout.items(value, tags, token.open_number())
            position = points.length()
            facts = (log.name, fetch(value), fetched(tags), token.step, position, None)
            return (MetricRecorded._make(facts),)

        points.seal()
        dispatcher.commit(partial(points.extend, row), lambda: points.length() > position, make)

    def counts(self, number: int, marks: Mapping[str, int]) -> dict[str, int]:
        """Return the number of points that a step recorded here, by metric, given the marks before its first ones."""
        found = ((name, self.logs.get(name), mark) for name, mark in marks.items())
        counts = {name: log.points.count(number, mark) for name, log, mark in found if log is not None}
        return {name: count for name, count in counts.items() if count}

    def marks(self) -> dict[str, int]:
        """Return the current marks by metric."""
        marks = {name: log.points.mark() for name, log in self.logs.copy().items()}
        return {name: mark for name, mark in marks.items() if mark}

    def copy(self, dispatcher: EventDispatcher | None = None) -> "MetricStore":
        """Return an independent store with the same points."""
        copied = MetricStore(self.schema, dispatcher)
        for name, log in self.logs.copy().items():
            copied.logs[name] = MetricLog(name, log.metric, log.points.copy())
        # After the points, because other threads may record more: the registry must have the steps of all points.
        copied.registry = self.registry.copy()
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        store = self.copy()
        logs = {name: (log.metric, log.points) for name, log in store.logs.items()}
        return _restored_store, (self.schema, store.registry, logs)


def _restored_store(schema: type[MetricSchema] | None, registry: StepRegistry, logs: Any) -> MetricStore:
    store = MetricStore(schema, registry=registry)
    for name, (metric, points) in logs.items():
        declared = metric if schema is None else schema.metrics[name]
        # The declaration may have changed since these points were pickled.
        layout = ANY_TAGS if declared is None else declared.checks.layout
        store.logs[name] = MetricLog(name, declared, points.with_layout(layout))
    return store
