"""A run that reports to the tools that a team already has: MLflow, and whatever speaks OpenTelemetry."""

from typing import Literal

from mlflow import MlflowClient
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, PositiveFloat
from typing_extensions import TypedDict

from crystallize import Context, FrozenContext, Metric, MetricSchema
from crystallize.sinks.mlflow import MLflowSink
from crystallize.sinks.opentelemetry import OpenTelemetrySink


class Train(BaseModel):
    lr: PositiveFloat
    epochs: int = 3


class EpochTags(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val"]


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, unit="nats", goal="minimize", description="What is minimised.")


def fit(ctx: Context[Train]) -> None:
    loss = ctx.metrics.series(TrainMetrics.loss)
    for epoch in range(ctx.fields.epochs):
        loss.add(ctx.fields.lr / (epoch + 1), {"epoch": epoch, "split": "train"})


def report_to_mlflow(client: MlflowClient) -> str:
    """Train, and report to a new run, whose id it returns."""
    run_id = client.create_run(experiment_id="0").info.run_id
    with MLflowSink(client, run_id, step_tag="epoch") as sink:
        ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
        ctx.run(fit)
    client.set_terminated(run_id)
    return run_id


def report_to_opentelemetry(meters: MeterProvider, tracers: TracerProvider) -> None:
    """Train, and report to what the application has set up."""
    sink = OpenTelemetrySink(omit={"epoch"}, prefix="digits.", meter_provider=meters, tracer_provider=tracers)
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
    ctx.run(fit)
    sink.close()
