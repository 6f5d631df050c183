"""Record points: every fast recorder, and the slow one that explains what is wrong.

Recording is called in the innermost loops of a training, so there are two ways to do it. The slow way,
`MetricStore.record`, does one thing after the other: it finds the metric, validates value and tags, freezes both,
appends the point, and emits an event. It raises the errors.

A fast recorder is a closure, made once for a metric and a step, that does the same for plainly valid points only. Three
facts make it fast:

- All that it needs is a local variable of the closure: no attribute is looked up per point.
- `checks.validate` and `checks.split` are methods of pydantic-core. Where the types of a metric can only give floats,
  ints, bools and texts (`checks.split` is not None then), their results are immutable and need no freezing.
- `token.number` is deleted when the step ends. Reading it is the check that the step is open, at no cost.

A fast recorder never raises an error of its own. Whatever goes wrong, it has changed nothing, and calls the slow way
with the same arguments, which meets the same fault and explains it. Both ways have the same outcome for every input:
value, tags, step, events and errors. A property test compares them.

A point enters a log by one call of `list.extend`, which no other thread interrupts. With sinks, the lock over effect
and event is held over that call and `emit`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._base.text import nearest, short
from ..errors import (
    ForeignMetricError,
    InvalidMetricError,
    InvalidTagError,
    Problem,
    SchemaError,
    UnknownMetricError,
)
from ..events import MetricRecorded
from .event_dispatch import EventDispatcher
from .immutable_types import PLAIN
from .key import plain_key
from .metrics import Metric, MetricSchema
from .point_log import BLOCK, FULL, PointLog, fetch, store
from .secrets import secrets_in
from .steps import StepRegistry, StepToken

__all__ = ["MetricLog", "MetricStore", "Recorder", "as_number", "fast_bound_recorder", "fetched", "with_numbers"]


@dataclass(eq=False)
class MetricLog:
    """One metric of one context: its declaration, and its points."""

    name: str
    metric: Metric[Any, Any] | None
    """None where it was never declared."""
    points: PointLog

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
        valid = _free_tags(self.name, tags) if checks is None else checks.check_tags(self.name, with_numbers(tags))
        return {name: tag if type(tag) in PLAIN else self._prepare_tag(name, tag) for name, tag in valid.items()}

    def _prepare_tag(self, name: str, tag: Any) -> Any:
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


def fetched(tags: dict[str, Any]) -> dict[str, Any]:
    """Return tags as a reader gets them, by name."""
    return tags.copy() if PLAIN.issuperset(map(type, tags.values())) else {tag: fetch(tags[tag]) for tag in tags}


def as_number(value: Any) -> Any:
    """Convert a NumPy or PyTorch scalar to the Python number in it."""
    package = type(value).__module__.partition(".")[0]
    if package in ("numpy", "torch") and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def with_numbers(tags: Any) -> Any:
    """Return tags with NumPy and PyTorch scalars converted to Python numbers."""
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


Recorder: TypeAlias = Callable[..., None]
"""Records a point: takes a value and its tags."""

_new_tuple: Any = tuple.__new__
"""Makes a named tuple of a tuple, in half the time that the named tuple's own class takes."""


def _fast_recorder(slow: Recorder, store: "MetricStore", log: MetricLog, token: StepToken) -> Recorder:
    """Return a fast recorder; on any failure it calls the slow one, which raises the error."""
    assert log.metric is not None
    assert log.metric.checks.split is not None
    validate, split, count = log.metric.checks.validate, log.metric.checks.split, log.metric.checks.tag_count
    extend, tail, seal, full = log.points.extend, log.points.tail, log.points.seal, FULL

    def record(value: Any, tags: Any = None) -> None:
        try:
            row = (validate(value), split(tags), token.number)
            fits = count is None or len(tags) == count
        except Exception:  # the slow recorder meets it too
            pass
        else:
            if fits:
                extend(row)
                if len(tail) >= full:
                    seal()
                return
        slow(value, tags)

    lock, emit, name, blocks = store.dispatcher.lock, store.dispatcher.emit, log.name, log.points.blocks

    def record_and_emit(value: Any, tags: Any = None) -> None:
        try:
            valid, kept = validate(value), split(tags)
            fits = count is None or len(tags) == count
        except Exception:  # as above
            pass
        else:
            with lock:
                number = getattr(token, "number", None)
                if fits and number is not None:
                    facts = (name, valid, kept.copy(), token.step, len(blocks) * BLOCK + len(tail) // 3, None)
                    extend((valid, kept, number))
                    if len(tail) >= full:
                        seal()
                    emit(_new_tuple(MetricRecorded, facts))
                    return
        slow(value, tags)

    return record_and_emit if store.dispatcher.sinks else record


def fast_bound_recorder(
    slow: Recorder, store: "MetricStore", log: MetricLog, token: StepToken, tags: dict[str, Any]
) -> Recorder:
    """Return a fast recorder of values under tags that are valid already."""
    assert log.metric is not None
    validate = log.metric.checks.validate
    extend, tail, seal, full = log.points.extend, log.points.tail, log.points.seal, FULL

    def record(value: Any) -> None:
        try:
            extend((validate(value), tags, token.number))
        except Exception:  # the slow recorder meets it too
            pass
        else:
            if len(tail) >= full:
                seal()
            return
        slow(value)

    lock, emit, name, blocks = store.dispatcher.lock, store.dispatcher.emit, log.name, log.points.blocks

    def record_and_emit(value: Any) -> None:
        try:
            valid = validate(value)
        except Exception:  # as above
            pass
        else:
            with lock:
                number = getattr(token, "number", None)
                if number is not None:
                    facts = (name, valid, tags.copy(), token.step, len(blocks) * BLOCK + len(tail) // 3, None)
                    extend((valid, tags, number))
                    if len(tail) >= full:
                        seal()
                    emit(_new_tuple(MetricRecorded, facts))
                    return
        slow(value)

    return record_and_emit if store.dispatcher.sinks else record


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
        return _fast_recorder(slow, self, log, token)

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
            dispatcher.emit(_new_tuple(MetricRecorded, facts))

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
