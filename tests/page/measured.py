"""Runs with metrics, made for the tests of charts and results."""

from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, Metric, MetricSchema, Run, load_run

__all__ = ["Measured", "measured", "tagged"]


class Tags(TypedDict):
    epoch: int
    split: str


class Measured(MetricSchema):
    loss = Metric(float, tags=Tags, unit="nats", goal="minimize", description="Cross entropy.")
    accuracy = Metric(float, tags=Tags, goal="maximize")
    seconds = Metric(float)


def measured(folder: Path, points: dict[str, list[Any]], metrics: type[MetricSchema] | None = Measured) -> Run[Any]:
    """Make a run with these points: values, or values with tags."""
    with Journal.start(folder, "digits") as journal:
        ctx = journal.context(FrozenContext, metrics=metrics)
        for name, all_points in points.items():
            for point in all_points:
                ctx.record(name, *(point if isinstance(point, tuple) else (point,)))
    return load_run(journal.path)


def tagged(*values: float, split: str = "train") -> list[Any]:
    return [(value, {"epoch": epoch, "split": split}) for epoch, value in enumerate(values)]
