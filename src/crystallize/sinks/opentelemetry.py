"""A sink that reports to OpenTelemetry: each metric as an instrument, each step as a span.

It uses only OpenTelemetry's API. The application sets up the SDK with its exporters. Without an SDK, nothing is
reported.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextvars import Token
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, partial
from importlib.metadata import version
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry import context as ambient
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import (
    Span,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from .._base.text import nearest, short
from .._base.type_hints import classes_of
from .._core.context_view import ContextView
from .._core.metrics import Metric, MetricSchema
from .._core.protocols import DeclaredKey
from .._core.series import FrozenMetrics
from ..errors import SinkClosedError
from ..events import BranchForked, BranchMerged, Event, MetricRecorded, StepFinished, StepStarted
from .undelivered import Undelivered

__all__ = ["OpenTelemetrySink"]

SCOPE: Final = "crystallize"
"""The instrumentation scope of the instruments and spans."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")
"""The names of instruments that the specification allows."""
_LONGEST_UNIT: Final = 63
_COUNT = re.compile(r"#\d+$")
"""The end of a step's name if the name was used before."""
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


_Recorder: TypeAlias = Callable[[int | float, Mapping[str, Any]], object]
"""Records a value with its attributes in the instrument of a metric."""


class _OpenSpan(NamedTuple):
    """The span of a step that has not ended."""

    span: Span
    token: Token[Any] | None
    """Detaches the span from the current context; None if it is not attached."""


class OpenTelemetrySink:
    """Reports a context to OpenTelemetry.

    A metric becomes a gauge, or a histogram if it is listed in `histograms`, with its unit and description. Only the
    tags of a point become its attributes. A step becomes a child of the current span, and is the current span until it
    ends, so that spans of other libraries become its children. An exception that ended the step is the span's status.

    Example:
        >>> sink = OpenTelemetrySink(histograms={"latency"}, omit={"epoch"})
        >>> sink.close()
    """

    def __init__(
        self,
        *,
        histograms: Collection[str] = (),
        omit: Collection[str] = (),
        prefix: str = "",
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        """Make a sink.

        Args:
            histograms: The metrics that become histograms. The others become gauges. The last value of a gauge counts.
            omit: Tags that do not become attributes, such as a counter: each of its values would start a new series.
            prefix: A prefix for the names of all metrics, such as "digits.".
            meter_provider: The provider of the instruments; by default the application's.
            tracer_provider: The provider of the spans; by default the application's.
        """
        self._meter = get_meter(SCOPE, _version(), meter_provider)
        self._tracer = get_tracer(SCOPE, _version(), tracer_provider)
        self._histograms, self._omit, self._prefix = frozenset(histograms), frozenset(omit), prefix
        self._metrics: FrozenMetrics | None = None
        self._recorders: dict[str, _Recorder] = {}
        """The recorders of the metrics that had a point, by metric."""
        self._spans: dict[str, _OpenSpan] = {}
        """The spans of the steps that have not ended, by step."""
        self._forks: dict[str, ambient.Context] = {}
        """The current context at the fork of each branch, which may be merged in another thread."""
        self._undelivered = Undelivered(type(self).__name__)
        self._is_closed = False

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return sentences about names and types that OpenTelemetry would reject; see `CheckingSink`."""
        if self._metrics is not None:
            yield "it reports one context, and has one already; make another sink"
        if metrics is None:
            return
        tags = {tag for metric in metrics.metrics.values() for tag in metric.checks.tag_names}
        yield from _unknown("metric to be a histogram", self._histograms, metrics.metrics)
        yield from _unknown("tag to be omitted", self._omit, tags)
        names: dict[str, str] = {}
        for metric in metrics.metrics.values():
            yield from self._problems_of(metric)
            other = names.setdefault(metric.name.casefold(), metric.name)
            if other != metric.name:
                yield f"metrics {other!r} and {metric.name!r} are the same to OpenTelemetry, which goes by no case"

    def _problems_of(self, metric: Metric[Any, Any]) -> Iterator[str]:
        if reason := _unfit_name(f"{self._prefix}{metric.name}"):
            yield f"metric {metric.name!r}: {reason}"
        if reason := _unfit_unit(metric.unit):
            yield f"metric {metric.name!r}: {reason}"
        kinds = classes_of(metric.type)
        if kinds is not None and not any(issubclass(kind, int | float) for kind in kinds):
            listed = " or ".join(sorted(kind.__name__ for kind in kinds))
            yield f"the values of metric {metric.name!r} are of type {listed}, and OpenTelemetry takes numbers"

    def attach(self, view: ContextView, /) -> None:
        """Store the metrics of the context; see `AttachedSink`."""
        self._metrics = view.metrics

    def handle(self, event: Event, /) -> None:
        """Report an event.

        Raises:
            SinkClosedError: The sink is closed.
        """
        if self._is_closed:
            raise SinkClosedError(type(self).__name__, "it is closed")
        if isinstance(event, MetricRecorded):
            self._record(event)
        elif isinstance(event, StepStarted):
            self._start(event)
        elif isinstance(event, StepFinished):
            self._finish(event)
        elif isinstance(event, BranchForked):
            self._forks[event.branch] = ambient.get_current()
        elif isinstance(event, BranchMerged):
            self._forks.pop(event.branch, None)

    def _record(self, event: MetricRecorded) -> None:
        record = self._recorders.get(event.metric) or self._recorder(event.metric)
        value = event.value
        reason = _unfit_value(value, is_histogram=event.metric in self._histograms)
        if reason is not None:
            self._undelivered.note("point", f"metric {event.metric!r}: {reason}")
            return
        omit = self._omit
        tags = {name: _attribute(tag) for name, tag in event.tags.items() if name not in omit and tag is not None}
        record(value if type(value) is float else _number(value), tags)

    def _recorder(self, name: str) -> _Recorder:
        """Make the recorder of a metric. If OpenTelemetry would reject it, it notes the points as undelivered."""
        metric = self._metrics.series(name).metric if self._metrics is not None else None
        unit, description = ("", "") if metric is None else (metric.unit or "", metric.description or "")
        full = f"{self._prefix}{name}"
        reason = _unfit_name(full) or _unfit_unit(unit)
        if reason is not None:
            record: _Recorder = partial(self._leave_out, f"metric {name!r}: {reason}")
        elif name in self._histograms:
            record = self._meter.create_histogram(full, unit, description).record
        else:
            record = self._meter.create_gauge(full, unit, description).set
        return self._recorders.setdefault(name, record)

    def _leave_out(self, reason: str, value: float, tags: Mapping[str, Any]) -> None:
        self._undelivered.note("point", reason)

    def _start(self, event: StepStarted) -> None:
        step, branch = event.step, event.branch
        span = self._tracer.start_span(
            _COUNT.sub("", step.rpartition("/")[2]),
            self._parent(event),
            attributes={"crystallize.step": step, **({} if branch is None else {"crystallize.branch": branch})},
            start_time=_nanoseconds(event.started),
        )
        # The steps of a branch have ended before their events are emitted.
        token = ambient.attach(set_span_in_context(span)) if branch is None else None
        self._spans[step] = _OpenSpan(span, token)

    def _parent(self, event: StepStarted) -> ambient.Context | None:
        """Return the context of the parent span of a step, or None for the current span, if there is one."""
        if event.branch is None and get_current_span().get_span_context().is_valid:
            return None
        if event.step in self._forks:
            return self._forks[event.step]
        # The thread that opens an inner step may have no current span.
        outer = event.step
        while outer := outer.rpartition("/")[0]:
            if outer in self._spans:
                return set_span_in_context(self._spans[outer].span)
        return None

    def _finish(self, event: StepFinished) -> None:
        found = self._spans.pop(event.step, None)
        if found is None:
            return
        names = {"reads": event.reads, "absent": event.absent, "writes": event.writes, "artifacts": event.artifacts}
        names |= {"artifact_reads": event.artifact_reads, "absent_artifacts": event.absent_artifacts}
        for attribute, listed in names.items():
            if listed:
                found.span.set_attribute(f"crystallize.{attribute}", listed)
        if event.error is not None:
            found.span.set_attribute("error.type", event.error.partition(":")[0])
            found.span.set_status(Status(StatusCode.ERROR, event.error))
        _end(found, _nanoseconds(event.ended))

    def close(self) -> None:
        """End the spans of steps that have not ended. Closing again does nothing.

        Warns:
            UndeliveredWarning: OpenTelemetry does not accept some of the points.
        """
        while self._spans:
            _end(self._spans.popitem()[1], None)
        if not self._is_closed:
            self._is_closed = True
            self._undelivered.warn()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@cache
def _version() -> str:
    return version("crystallize-context")


def _end(step: _OpenSpan, at: int | None) -> None:
    # It is not the current span if another thread ends it, or if a span within it was not ended.
    if step.token is not None and get_current_span() is step.span:
        ambient.detach(step.token)
    step.span.end(at)


def _unknown(noun: str, names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    for name in sorted(names):
        if name not in known:
            near = nearest(name, known)
            yield f"there is no {noun} that is named {name!r}" + (f"; did you mean {near!r}?" if near else "")


def _unfit_name(name: str) -> str | None:
    if _NAME.fullmatch(name):
        return None
    return (
        f"an instrument is named by a letter, then up to 254 of letters, digits and any of '_.-/'; {short(name)} is not"
    )


def _unfit_unit(unit: str | None) -> str | None:
    if unit is None or (unit.isascii() and len(unit) <= _LONGEST_UNIT):
        return None
    return f"a unit has up to {_LONGEST_UNIT} ASCII characters; {short(unit)} is none"


def _unfit_value(value: Any, *, is_histogram: bool) -> str | None:
    """Return why a value cannot be recorded, or None."""
    if not isinstance(value, int | float):
        return f"it is a {type(value).__name__}, and OpenTelemetry takes numbers"
    try:
        is_finite = isfinite(value)
    except OverflowError:  # an int above the largest float
        is_finite = False
    if not is_finite:
        return "it is infinite or NaN, which OpenTelemetry leaves out"
    return "it is negative, which a histogram leaves out" if is_histogram and value < 0 else None


def _number(value: float) -> int | float:
    """Return a value as an int of 64 bits or a float."""
    return int(value) if isinstance(value, int) and -(2**63) <= value < 2**63 else float(value)


def _attribute(value: Any) -> str | bool | int | float:
    """Return the value of a tag as the value of an attribute."""
    plain = value.value if isinstance(value, Enum) else value
    if isinstance(plain, str | bool | float) or (isinstance(plain, int) and -(2**63) <= plain < 2**63):
        return plain
    return str(plain)


def _nanoseconds(moment: datetime) -> int:
    """Return a time in ns since 1970."""
    return (moment - _START) // timedelta(microseconds=1) * 1_000
