# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""A sink that reports to OpenTelemetry: each metric as an instrument, each step as a span.

It uses the API alone. The application sets the SDK up, with the exporters of its choice; where there is none, nothing
is reported.
"""

from collections.abc import Collection, Iterable, Mapping
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from ..events import Event
from ..metrics import MetricSchema
from ..protocols import DeclaredKey

__all__ = ["OpenTelemetrySink"]
SCOPE: str
"""What the instruments and spans are said to come from."""

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

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return what OpenTelemetry would not take; see `CheckingSink`."""

    def handle(self, event: Event, /) -> None:
        """Report an event.

        Raises:
            SinkClosedError: The sink is closed.
        """

    def close(self) -> None:
        """End the spans of steps that have not ended. Closing again does nothing.

        Warns:
            UndeliveredWarning: There were points that OpenTelemetry does not take.
        """

    def __repr__(self) -> str: ...
