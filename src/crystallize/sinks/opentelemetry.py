"""A sink that reports to OpenTelemetry: each metric as an instrument, each step as a span.

It uses the API alone. The application sets the SDK up, with the exporters of its choice; where there is none, nothing
is reported.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextvars import Token
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, partial
from importlib.metadata import version
from math import isfinite
from typing import Any, Final, NamedTuple

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
from .._core.metrics import Metric, MetricSchema
from .._core.protocols import DeclaredKey
from .._core.series import FrozenMetrics
from .._core.state import State
from ..errors import SinkClosedError
from ..events import BranchForked, BranchMerged, Event, MetricRecorded, StepFinished, StepStarted
from .undelivered import Undelivered

__all__ = ["OpenTelemetrySink"]

SCOPE: Final = "crystallize"
"""What the instruments and spans are said to come from."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")
"""What the specification allows as the name of an instrument."""
_LONGEST_UNIT: Final = 63
_COUNT = re.compile(r"#\d+$")
"""What is at the end of the name of a step whose name was used before."""
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Instrument(NamedTuple):
    """What a metric is to OpenTelemetry."""

    record: Callable[[int | float, Mapping[str, Any]], object]
    is_histogram: bool


class _Open(NamedTuple):
    """The span of a step that has not ended."""

    span: Span
    token: Token[Any] | None
    """What ends its being the current one; None where it is not."""


class OpenTelemetrySink:
    """Reports a context to OpenTelemetry.

    A metric is a gauge, or a histogram where that is asked for, with its unit and description; the tags of a point are
    its attributes, and nothing else is. A step is a span under the current one, and the current one itself until it
    ends, so that what is done in it stands below it. What ended it, if an exception did, is its status.

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
        """Get ready to report.

        Args:
            histograms: The metrics of which the distribution counts; of all others the last value does.
            omit: Tags that become no attribute, as one that counts up: each of its values would be a series of its own.
            prefix: What to put before the name of each metric, as "digits.".
            meter_provider: Where the instruments come from; by default the application's.
            tracer_provider: Where the spans come from; by default the application's.
        """
        self._meter = get_meter(SCOPE, _version(), meter_provider)
        self._tracer = get_tracer(SCOPE, _version(), tracer_provider)
        self._histograms, self._omit, self._prefix = frozenset(histograms), frozenset(omit), prefix
        self._metrics: FrozenMetrics | None = None
        self._instruments: dict[str, _Instrument] = {}
        self._open: dict[str, _Open] = {}
        """The spans of the steps that have not ended, by step."""
        self._forks: dict[str, ambient.Context] = {}
        """What was the current span where a branch was forked, by branch; it may be merged in another thread."""
        self._undelivered = Undelivered(type(self).__name__)
        self._is_closed = False

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return what OpenTelemetry would not take; see `CheckingSink`."""
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

    def _join(self, state: State) -> None:
        """Learn what is measured; called by the context, before it tells anything."""
        self._metrics = state.metrics

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
        instrument = self._instruments.get(event.metric) or self._instrument(event.metric)
        value = event.value
        reason = _unfit_value(value, is_histogram=instrument.is_histogram)
        if reason is not None:
            self._undelivered.note("point", f"metric {event.metric!r}: {reason}")
            return
        tags = {tag: _attribute(one) for tag, one in event.tags.items() if tag not in self._omit and one is not None}
        instrument.record(value if type(value) is float else _number(value), tags)

    def _instrument(self, name: str) -> _Instrument:
        """Make the instrument of a metric; one that records nothing where OpenTelemetry would refuse it."""
        metric = self._metrics._store.channels[name].metric if self._metrics is not None else None
        unit, description = ("", "") if metric is None else (metric.unit or "", metric.description or "")
        full, is_histogram = f"{self._prefix}{name}", name in self._histograms
        reason = _unfit_name(full) or _unfit_unit(unit)
        if reason is not None:
            record: Callable[..., object] = partial(self._leave_out, f"metric {name!r}: {reason}")
        elif is_histogram:
            record = self._meter.create_histogram(full, unit, description).record
        else:
            record = self._meter.create_gauge(full, unit, description).set
        return self._instruments.setdefault(name, _Instrument(record, is_histogram))

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
        # What a branch did is over when it is told.
        token = ambient.attach(set_span_in_context(span)) if branch is None else None
        self._open[step] = _Open(span, token)

    def _parent(self, event: StepStarted) -> ambient.Context | None:
        """Return below what the span of a step stands; None: the current span, if there is one."""
        if event.branch is None and get_current_span().get_span_context().is_valid:
            return None
        if event.step in self._forks:
            return self._forks[event.step]
        # The thread that opens a step within another one may have no current span.
        around = self._around(event.step)
        return None if around is None else set_span_in_context(around)

    def _around(self, step: str) -> Span | None:
        """Return the span of the step that one is within, if it has not ended."""
        while step := step.rpartition("/")[0]:
            if step in self._open:
                return self._open[step].span
        return None

    def _finish(self, event: StepFinished) -> None:
        found = self._open.pop(event.step, None)
        if found is None:
            return
        names = {"reads": event.reads, "absent": event.absent, "writes": event.writes, "artifacts": event.artifacts}
        for what, listed in names.items():
            if listed:
                found.span.set_attribute(f"crystallize.{what}", listed)
        if event.error is not None:
            found.span.set_attribute("error.type", event.error.partition(":")[0])
            found.span.set_status(Status(StatusCode.ERROR, event.error))
        _end(found, _nanoseconds(event.ended))

    def close(self) -> None:
        """End the spans of steps that have not ended. Closing again does nothing.

        Warns:
            UndeliveredWarning: There were points that OpenTelemetry does not take.
        """
        while self._open:
            _end(self._open.popitem()[1], None)
        if not self._is_closed:
            self._is_closed = True
            self._undelivered.warn()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@cache
def _version() -> str:
    return version("crystallize-context")


def _end(step: _Open, at: int | None) -> None:
    # Where another thread ends it, or leaves one of its own behind, that thread's current span is not this one.
    if step.token is not None and get_current_span() is step.span:
        ambient.detach(step.token)
    step.span.end(at)


def _unknown(what: str, names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    for name in sorted(names):
        if name not in known:
            near = nearest(name, known)
            yield f"there is no {what} that is named {name!r}" + (f"; did you mean {near!r}?" if near else "")


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
    """Return why a value is not recorded; None if it is."""
    if not isinstance(value, int | float):
        return f"it is a {type(value).__name__}, and OpenTelemetry takes numbers"
    try:
        is_finite = isfinite(value)
    except OverflowError:  # an int that no float comes near to
        is_finite = False
    if not is_finite:
        return "it is infinite or NaN, which OpenTelemetry leaves out"
    return "it is negative, which a histogram leaves out" if is_histogram and value < 0 else None


def _number(value: float) -> int | float:
    """Return a value as a number that goes into 64 bits."""
    return int(value) if isinstance(value, int) and -(2**63) <= value < 2**63 else float(value)


def _attribute(value: Any) -> str | bool | int | float:
    """Return the value of a tag as that of an attribute."""
    plain = value.value if isinstance(value, Enum) else value
    if isinstance(plain, str | bool | float) or (isinstance(plain, int) and -(2**63) <= plain < 2**63):
        return plain
    return str(plain)


def _nanoseconds(moment: datetime) -> int:
    """Return a moment in ns since 1970."""
    return (moment - _START) // timedelta(microseconds=1) * 1_000
