"""A model that is validated fold by fold: what its steps share, what they measure, and the steps.

No engine is in here. `prefect_flow.py`, `dagster_job.py` and `kedro_nodes.py` run these steps, each on its engine.
"""

from statistics import fmean
from typing import Protocol

from pydantic import BaseModel, FiniteFloat, NonNegativeInt, PositiveFloat
from typing_extensions import TypedDict

from crystallize import Context, Journal, Metric, MetricSchema, RunNotFoundError, Series, load_run
from crystallize.runs import find_run


class Train(BaseModel):
    lr: PositiveFloat
    rows: list[float]
    error: FiniteFloat


class FoldTags(TypedDict):
    fold: NonNegativeInt
    epoch: NonNegativeInt


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=FoldTags, goal="minimize")


FOLDS = 4
EPOCHS = 3


class Load(Protocol):
    rows: list[float]


def load(ctx: Context[Load]) -> None:
    ctx.fields.rows = [1.0, 2.0, 3.0, 4.0]


class Validate(Protocol):
    lr: float
    rows: list[float]


def validate(ctx: Context[Validate], fold: int) -> None:
    """Learn the mean of all rows but one, and measure how far it is from that one."""
    loss = ctx.metrics.series(TrainMetrics.loss)
    rows = ctx.fields.rows
    held_out = rows.pop(fold)
    mean = 0.0
    for epoch in range(EPOCHS):
        for row in rows:
            mean += ctx.fields.lr * (row - mean)
        loss.add((held_out - mean) ** 2, {"fold": fold, "epoch": epoch})


class Summarize(Protocol):
    error: float


def summarize(ctx: Context[Summarize], loss: Series[float, FoldTags]) -> None:
    ctx.fields.error = fmean(loss.where(epoch=EPOCHS - 1).values)


def open_run(folder: str, name: str) -> Journal:
    """Go on with the newest run of this name if its last step has not finished, or start one."""
    try:
        newest = load_run(find_run(folder, name))
    except RunNotFoundError:
        return Journal.start(folder, name)
    is_complete = newest.provenance.finished("summarize")
    return Journal.start(folder, name) if is_complete else Journal.resume(newest.path)
