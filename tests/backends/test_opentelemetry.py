"""The OpenTelemetry sink: with the SDK in memory, with OTLP over HTTP, and with a Prometheus that scrapes."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from math import inf, nan
from pathlib import Path
from typing import Any, Literal

import pytest
import reporting
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, get_current_span
from prometheus_client import CollectorRegistry, start_http_server
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, SecretStr
from typing_extensions import TypedDict

from crystallize import (
    CheckingSink,
    FrozenContext,
    Metric,
    MetricSchema,
    SinkCheckError,
    SinkError,
    StepFinished,
    StepStarted,
    UndeliveredWarning,
    fan_out,
)
from crystallize.sinks.entry_points import find_sink
from crystallize.sinks.opentelemetry import OpenTelemetrySink

from ..examples import example_of, what_fails
from .servers import LOOPBACK, Prometheus, Receiver, free_port, running


class Train(BaseModel):
    lr: float
    accuracy: float
    password: SecretStr = SecretStr("hunter2")


class EpochTags(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val"]


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, unit="nats", goal="minimize", description="What is minimised.")
    latency = Metric(float, unit="s")


class Telemetry:
    """An application's SDK, which keeps all in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def sink(self, **options: Any) -> OpenTelemetrySink:
        return OpenTelemetrySink(meter_provider=self.meters, tracer_provider=self.tracers, **options)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans that ended, by the full names of their steps, or their own."""
        return {str((span.attributes or {}).get("crystallize.step", span.name)): span for span in self.ended}

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured, by the instruments' names."""
        data = self.reader.get_metrics_data()
        scopes = (
            [] if data is None else [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        )
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """The points of a metric, by their attributes."""
        return {tuple(sorted(point.attributes.items())): point for point in self.metrics[name].data.data_points}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


def test_gauges(telemetry: Telemetry) -> None:
    """A metric is a gauge with its unit and description; its points have their tags as attributes, and nothing else."""
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[telemetry.sink(omit={"epoch"})])
    with ctx.step("fit") as step:
        for epoch in range(3):
            step.record("loss", 1 / (epoch + 1), {"epoch": epoch, "split": "train"})
            step.record("loss", 2 / (epoch + 1), {"epoch": epoch, "split": "val"})

    loss = telemetry.metrics["loss"]
    assert ("nats", "What is minimised.") == (loss.unit, loss.description)
    points = telemetry.points("loss")
    assert {(("split", "train"),): 1 / 3, (("split", "val"),): 2 / 3} == {
        key: point.value for key, point in points.items()
    }


def test_all_tags(telemetry: Telemetry) -> None:
    """Unless some are omitted, each set of tags is a series of its own."""
    ctx = FrozenContext(metrics=TrainMetrics, sinks=[telemetry.sink(prefix="digits.")])
    for epoch in range(3):
        ctx.record("loss", 1 / (epoch + 1), {"epoch": epoch, "split": "train"})

    assert {(("epoch", epoch), ("split", "train")): 1 / (epoch + 1) for epoch in range(3)} == {
        key: point.value for key, point in telemetry.points("digits.loss").items()
    }


def test_histograms(telemetry: Telemetry) -> None:
    """A metric whose distribution counts is a histogram; what would spoil it is left out, and told."""
    sink = telemetry.sink(histograms=["latency"])
    ctx = FrozenContext(metrics=TrainMetrics, sinks=[sink])
    for seconds in (0.5, 3.0, inf, nan, -1.0):
        ctx.record(TrainMetrics.latency, seconds)
    [point] = telemetry.points("latency").values()

    assert (2, 3.5) == (point.count, point.sum)
    assert "s" == telemetry.metrics["latency"].unit
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()
    told = str(caught[0].message)
    assert "2 points: metric 'latency': it is infinite or NaN, which OpenTelemetry leaves out" in told
    assert "1 point: metric 'latency': it is negative, which a histogram leaves out" in told
    sink.close()


class Side(Enum):
    LEFT = "left"


def test_the_example(telemetry: Telemetry) -> None:
    """The example of the documentation reports what it says."""
    reporting.report_to_opentelemetry(telemetry.meters, telemetry.tracers)

    assert ["fit"] == list(telemetry.spans)
    assert {(("split", "train"),): 0.1 / 3} == {
        key: point.value for key, point in telemetry.points("digits.loss").items()
    }


def test_undeclared_metrics(telemetry: Telemetry) -> None:
    """Without a schema any number is recorded; what is none, or has a name that OpenTelemetry refuses, is told."""
    sink = telemetry.sink()
    ctx = FrozenContext(sinks=[sink])
    tags = {"a": True, "b": 2**70, "c": Decimal("0.5"), "d": None, "e": Side.LEFT, "f": 0.5, "g": "x", "h": 3}
    ctx.record("m", 3, tags)
    ctx.record("flag", True)
    ctx.record("large", 2**70)
    ctx.record("odd", nan)
    ctx.record("odd", 10**400)
    ctx.record("m", "text")
    ctx.record("größe", 1.0)
    ctx.record("größe", 2.0)

    expected = {"a": True, "b": str(2**70), "c": "0.5", "e": "left", "f": 0.5, "g": "x", "h": 3}
    assert {tuple(expected.items()): 3} == {key: point.value for key, point in telemetry.points("m").items()}
    assert 1 == telemetry.points("flag")[()].value
    assert 2.0**70 == telemetry.points("large")[()].value
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()
    told = str(caught[0].message)
    assert "2 points: metric 'odd': it is infinite or NaN, which OpenTelemetry leaves out" in told
    assert "1 point: metric 'm': it is a str, and OpenTelemetry takes numbers" in told
    assert "2 points: metric 'größe': an instrument is named by a letter" in told


def test_a_metric_without_a_schema(telemetry: Telemetry) -> None:
    """A metric that is used where no schema is given has its unit all the same."""
    ctx = FrozenContext(sinks=[telemetry.sink()])
    ctx.record(TrainMetrics.latency, 0.5)

    assert "s" == telemetry.metrics["latency"].unit


def test_spans(telemetry: Telemetry) -> None:
    """A step is a span under the current one, with the step's own times; what is done in it is below."""
    sink = telemetry.sink()
    ctx = FrozenContext[Train]({"lr": 0.1}, sinks=[sink])
    tracer = telemetry.tracers.get_tracer("application")
    with tracer.start_as_current_span("request") as request:
        with ctx.step("fit") as fit:
            fit.get("accuracy")
            with tracer.start_as_current_span("own"), fit.step("fold-1") as fold:
                fold.fields.accuracy = fold.fields.lr
                fold.artifacts.add("plot.svg", b"")
        assert get_current_span() is request
    with ctx.step("fit"):
        pass

    spans = telemetry.spans
    assert ["fold-1", "own", "fit", "request", "fit"] == [span.name for span in telemetry.ended]
    parents = {"fit/fold-1": "own", "own": "fit", "fit": "request"}
    for inner, outer in parents.items():
        parent, context = spans[inner].parent, spans[outer].context
        assert parent is not None
        assert context is not None
        assert context.span_id == parent.span_id
    assert spans["request"].parent is None
    assert spans["fit#2"].parent is None
    assert {
        "crystallize.step": "fit/fold-1",
        "crystallize.reads": ("lr",),
        "crystallize.writes": ("accuracy",),
        "crystallize.artifacts": ("plot.svg",),
    } == dict(spans["fit/fold-1"].attributes or {})
    assert ("accuracy",) == (spans["fit"].attributes or {})["crystallize.absent"]
    for record in ctx.provenance.steps:
        span = spans[record.name]
        times = [round(moment.timestamp() * 1e6) * 1000 for moment in (record.started, record.ended)]
        assert times == [span.start_time, span.end_time]
        assert StatusCode.UNSET == span.status.status_code


def test_exceptions(telemetry: Telemetry) -> None:
    """What ended a step is the status of its span, without secrets, and the span around it is the current one again."""
    ctx = FrozenContext[Train]({"lr": 0.1}, sinks=[telemetry.sink()])
    with pytest.raises(ValueError, match="hunter2"), ctx.step("fit"):
        raise ValueError("no entry for hunter2")
    with pytest.raises(KeyboardInterrupt), ctx.step("interrupted"):
        raise KeyboardInterrupt

    spans = telemetry.spans
    assert StatusCode.ERROR == spans["fit"].status.status_code
    assert "ValueError: no entry for **********" == spans["fit"].status.description
    assert "ValueError" == (spans["fit"].attributes or {})["error.type"]
    assert "KeyboardInterrupt" == spans["interrupted"].status.description
    assert not get_current_span().get_span_context().is_valid
    assert "hunter2" not in str([span.to_json() for span in telemetry.ended])


def test_steps_of_threads(telemetry: Telemetry) -> None:
    """A step that another thread opens is below the one around it, and no thread's current span is another's."""
    ctx = FrozenContext(sinks=[telemetry.sink()])

    def inner(number: int) -> bool:
        with step.step(f"inner-{number}"):
            return get_current_span().get_span_context().is_valid

    with ctx.step("outer") as step, ThreadPoolExecutor(4) as pool:
        assert [True] * 8 == list(pool.map(inner, range(8)))
        with suppress(AttributeError):
            assert "outer" == get_current_span().name  # type: ignore[attr-defined]  # one of the SDK has it

    spans = telemetry.spans
    outer = spans.pop("outer")
    assert outer.context is not None
    assert 8 == len(spans)
    assert {outer.context.span_id} == {span.parent.span_id for span in spans.values() if span.parent is not None}


def test_a_step_that_another_thread_ends(telemetry: Telemetry) -> None:
    """A step that ends in another thread than it began in ends its span, and is nobody's current one there."""
    ctx = FrozenContext(sinks=[telemetry.sink()])
    opened = ctx.step("fit")
    thread = threading.Thread(target=opened.__enter__)
    thread.start()
    thread.join()
    opened.__exit__(None, None, None)

    assert ["fit"] == list(telemetry.spans)
    assert not get_current_span().get_span_context().is_valid


def task(ctx: FrozenContext[Any], fold: int) -> float:
    with ctx.step("inner") as step:
        step.record("loss", fold / 10, {"fold": fold})
    return fold / 10


@pytest.mark.parametrize("within", [True, False])
def test_branches(telemetry: Telemetry, within: bool) -> None:
    """What a branch did has spans with its own times, below the step that it was forked in, and its points count."""
    ctx = FrozenContext(sinks=[telemetry.sink()])
    tracer = telemetry.tracers.get_tracer("application")
    with tracer.start_as_current_span("around"), ThreadPoolExecutor(2) as pool:
        if within:
            with ctx.step("tune") as step:
                fan_out(step, task, range(3), executor=pool)
        else:
            fan_out(ctx, task, range(3), executor=pool)

    spans, path = telemetry.spans, "tune/" if within else ""
    for fold in range(3):
        branch, inner = spans[f"{path}task-{fold}"], spans[f"{path}task-{fold}/inner"]
        assert branch.parent is not None
        assert inner.parent is not None
        around, own = spans["tune" if within else "around"].context, branch.context
        assert around is not None
        assert own is not None
        assert (around.span_id, own.span_id) == (branch.parent.span_id, inner.parent.span_id)
        assert f"{path}task-{fold}" == (inner.attributes or {})["crystallize.branch"]
        assert "inner" == inner.name
    for record in ctx.provenance.steps:
        assert round(record.started.timestamp() * 1e6) * 1000 == spans[record.name].start_time
    assert {(("fold", fold),): fold / 10 for fold in range(3)} == {
        key: point.value for key, point in telemetry.points("loss").items()
    }


def test_closing_ends_what_is_open(telemetry: Telemetry) -> None:
    """When the sink is closed the spans of steps that go on are ended, the inner ones first; it takes nothing more."""
    sink = telemetry.sink()
    ctx = FrozenContext(sinks=[sink])
    outer = ctx.step("outer")
    inner = outer.__enter__().step("inner")
    inner.__enter__()
    sink.close()

    assert ["outer/inner", "outer"] == list(telemetry.spans)
    assert not get_current_span().get_span_context().is_valid
    for opened in (inner, outer):
        with pytest.raises(SinkError, match="OpenTelemetrySink takes nothing more: it is closed"):
            opened.__exit__(None, None, None)
    assert 2 == len(telemetry.ended)


def test_events_that_are_not_whole(telemetry: Telemetry) -> None:
    """A step stands below the nearest one around it that is open; an end without a beginning is nothing."""
    sink, now = telemetry.sink(), datetime.now(UTC)
    sink.handle(StepStarted("a", now, "branch"))
    sink.handle(StepStarted("a/b/c", now, "branch"))
    for name in ("a/b/c", "a/b", "a"):
        sink.handle(StepFinished(name, (), (), (), {}, (), now, now, None, branch="branch"))

    spans = telemetry.spans
    assert ["a/b/c", "a"] == list(spans)
    parent, context = spans["a/b/c"].parent, spans["a"].context
    assert parent is not None
    assert context is not None
    assert context.span_id == parent.span_id


def test_without_an_sdk() -> None:
    """Where the application sets nothing up, nothing is reported and nothing goes wrong."""
    sink = OpenTelemetrySink()
    ctx = FrozenContext(sinks=[sink])
    with ctx.step("fit") as step:
        step.record("loss", 0.5)
    sink.close()

    assert "OpenTelemetrySink()" == repr(sink)
    assert not trace.get_current_span().is_recording()


class OddMetrics(MetricSchema):
    größe = Metric(float)
    unit = Metric(float, unit="µm")
    text = Metric(str)
    Loss = Metric(float)
    loss = Metric(float | None)


def test_check(telemetry: Telemetry) -> None:
    """Names, units and types that OpenTelemetry would refuse are told before the run, and what is misspelt."""
    sink = telemetry.sink(histograms=["Los"], omit=["epoch"])
    with pytest.raises(SinkCheckError) as caught:
        FrozenContext(metrics=OddMetrics, sinks=[sink])

    assert isinstance(sink, CheckingSink)
    assert [
        "there is no metric to be a histogram that is named 'Los'; did you mean 'Loss'?",
        "there is no tag to be omitted that is named 'epoch'",
        "metric 'größe': an instrument is named by a letter, then up to 254 of letters, digits and any of '_.-/'; "
        "'größe' is not",
        "metric 'unit': a unit has up to 63 ASCII characters; 'µm' is none",
        "the values of metric 'text' are of type str, and OpenTelemetry takes numbers",
        "metrics 'Loss' and 'loss' are the same to OpenTelemetry, which goes by no case",
    ] == [problem for _, problem in caught.value.problems]


def test_one_context(telemetry: Telemetry) -> None:
    """A sink is of one context, whose steps it knows by their names."""
    sink = telemetry.sink()
    FrozenContext(sinks=[sink])
    with pytest.raises(SinkCheckError, match="it reports one context, and has one already; make another sink"):
        FrozenContext(sinks=[sink])


def test_by_name() -> None:
    """It is found by the name of its extra."""
    assert find_sink("otel") is OpenTelemetrySink


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_otlp(receiver: Receiver) -> None:
    """Over OTLP arrives what was recorded: values, units, attributes, and spans with their parents and status."""
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{receiver.address}/v1/traces")))
    exporter = OTLPMetricExporter(f"{receiver.address}/v1/metrics")
    meters = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=inf)])
    sink = OpenTelemetrySink(histograms=["latency"], meter_provider=meters, tracer_provider=tracers)
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
    with ctx.step("fit") as fit:
        fit.record("loss", 0.5, {"epoch": 1, "split": "train"})
        fit.record(TrainMetrics.latency, 0.25)
        with pytest.raises(ZeroDivisionError), fit.step("inner"):
            1 / 0
    sink.close()
    tracers.shutdown()
    assert meters.force_flush()
    meters.shutdown()

    decoded: dict[str, Callable[[bytes], Any]] = {
        "/v1/metrics": ExportMetricsServiceRequest.FromString,
        "/v1/traces": ExportTraceServiceRequest.FromString,
    }
    posted = [(path, decoded[path](content)) for path, content in receiver.posted]
    [metrics] = [request for path, request in posted if path == "/v1/metrics"]
    loss, latency = metrics.resource_metrics[0].scope_metrics[0].metrics
    [point] = loss.gauge.data_points
    attributes = {attribute.key: attribute.value for attribute in point.attributes}
    assert ("loss", "nats", "What is minimised.", 0.5) == (loss.name, loss.unit, loss.description, point.as_double)
    assert (1, "train") == (attributes["epoch"].int_value, attributes["split"].string_value)
    assert {"epoch", "split"} == set(attributes)
    assert ("latency", 0.25) == (latency.name, latency.histogram.data_points[0].sum)
    spans = [request.resource_spans[0].scope_spans[0] for path, request in posted if path == "/v1/traces"]
    inner, outer = (scope.spans[0] for scope in spans)
    assert "crystallize" == spans[0].scope.name
    assert ("inner", "fit") == (inner.name, outer.name)
    assert outer.span_id == inner.parent_span_id == point.exemplars[0].span_id
    assert (2, "ZeroDivisionError: division by zero") == (inner.status.code, inner.status.message)


def test_prometheus(tmp_path: Path) -> None:
    """A Prometheus that scrapes the application has the last value of each series, with its unit and its tags."""
    registry, port = CollectorRegistry(), free_port()
    meters = MeterProvider([PrometheusMetricReader(disable_target_info=True, registry=registry)])
    server, thread = start_http_server(port, LOOPBACK, registry)
    sink = OpenTelemetrySink(histograms=["latency"], omit=["epoch"], prefix="digits.", meter_provider=meters)
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
    for epoch in range(10):
        ctx.record("loss", 1 / (epoch + 1), {"epoch": epoch, "split": "train"})
        ctx.record("loss", 2 / (epoch + 1), {"epoch": epoch, "split": "val"})
        ctx.record(TrainMetrics.latency, 0.5)
    prometheus = Prometheus(tmp_path, port)
    with running(prometheus):
        loss = prometheus.query("digits_loss_nats")
        seconds = prometheus.query("digits_latency_seconds_sum")
    sink.close()
    meters.shutdown()
    server.shutdown()
    server.server_close()
    thread.join()

    assert {"train": "0.1", "val": "0.2"} == {series["metric"]["split"]: series["value"][1] for series in loss}
    own = {"__name__", "instance", "job", "otel_scope_name", "otel_scope_schema_url", "otel_scope_version"}
    assert {"split"} == set(loss[0]["metric"]) - own
    assert ["5"] == [series["value"][1] for series in seconds]


def test_example_runs() -> None:
    """The example of the sink's docstring runs."""
    assert "" == what_fails(example_of(OpenTelemetrySink), {"OpenTelemetrySink": OpenTelemetrySink})
