"""The metrics of one context: their logs, and the slow recorder, which explains what is wrong with a point."""

from collections.abc import Mapping
from typing import Any

from .._base.text import nearest, short
from ..errors import (
    ForeignMetricError,
    SchemaError,
    UnknownMetricError,
)
from ..events import MetricRecorded
from .event_dispatch import EventDispatcher
from .fast_recorders import Recorder, fast_recorder
from .key import plain_key
from .metric_log import MetricLog, fetched
from .metrics import Metric, MetricSchema
from .point_log import PointLog, fetch
from .steps import StepRegistry, StepToken


class MetricStore:
    """The metrics of one context.

    Attributes:
        schema: The declared metrics; None where any name is allowed.
        dispatcher: Whom to tell.
        registry: The steps that record.
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
            # The types of a metric that cannot be used raise now, and not at hour nine.
            self.logs[name] = MetricLog(name, metric, PointLog(metric.checks.layout))

    def find(self, metric: Metric[Any, Any] | str) -> MetricLog | None:
        """Return the log of a metric; None if nothing was recorded yet under a name that may be any.

        A metric that the schema does not declare raises UnknownMetricError, another schema's ForeignMetricError.
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
        """Return the log of a metric; without a schema, the first use of a name makes it."""
        log = self.find(metric)
        if log is None:
            self.logs.setdefault(self._name(metric), self.new(metric))
            log = self.open(metric)
        return log

    def new(self, metric: Metric[Any, Any] | str) -> MetricLog:
        """Return a log for a name that nobody has used."""
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

        log = self.find(metric)
        if log is None or log.metric is None or log.metric.checks.split is None:
            return slow
        return fast_recorder(slow, self.dispatcher, log, token)

    def record(self, metric: Metric[Any, Any] | str, token: StepToken, value: Any, tags: Any) -> None:
        """Validate a point and keep it, the slow way."""
        token.check_open()
        found = self.find(metric)
        log = found or self.new(metric)
        kept, kept_tags = log.prepare(value, tags)
        # A point that is not valid takes no name. Of several threads that use a new name, the first one decides.
        if found is None and self.logs.setdefault(log.name, log) is not log:
            self.record(metric, token, value, tags)
        else:
            self.keep(log, token, kept, kept_tags)

    def keep(self, log: MetricLog, token: StepToken, value: Any, tags: dict[str, Any]) -> None:
        """Keep a point that is valid and frozen, then tell the sinks."""
        dispatcher = self.dispatcher
        if not dispatcher.sinks:
            log.points.append(value, tags, token.open_number())
            return
        with dispatcher.lock:
            position = log.points.length()
            log.points.append(value, tags, token.open_number())
            facts = (log.name, fetch(value), fetched(tags), token.step, position, None)
            dispatcher.emit(MetricRecorded._make(facts))

    def counts(self, number: int, since: Mapping[str, int]) -> dict[str, int]:
        """Return the number of points that a step recorded here, by metric, from marks on."""
        logs = {name: log.points for name, log in self.logs.copy().items()}
        counts = {name: points.count(number, since.get(name, 0)) for name, points in logs.items()}
        return {name: count for name, count in counts.items() if count}

    def marks(self) -> dict[str, int]:
        """Return the marks of this moment, by metric."""
        marks = {name: log.points.mark() for name, log in self.logs.copy().items()}
        return {name: mark for name, mark in marks.items() if mark}

    def copy(self, dispatcher: EventDispatcher | None = None) -> "MetricStore":
        """Return a store of its own with the same points."""
        copied = MetricStore(self.schema, dispatcher)
        for name, log in self.logs.copy().items():
            copied.logs[name] = MetricLog(name, log.metric, log.points.copy())
        # After the points, which others may record meanwhile: the steps that recorded them are among these.
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
        store.logs[name] = MetricLog(name, declared, points)
    return store
