"""The commonest mistakes, which type checkers report: `docs/how-to/type-errors.md` has their messages."""

from typing import Literal

from pydantic import BaseModel, FiniteFloat, PositiveFloat
from typing_extensions import TypedDict

from crystallize import Context, FrozenContext, Metric, MetricSchema


class Train(BaseModel):
    lr: PositiveFloat
    rows: list[float]
    accuracy: float


class Other(BaseModel):
    lr: PositiveFloat


class EpochTags(TypedDict):
    epoch: int
    split: Literal["train", "val"]


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, goal="minimize")


def fit(ctx: Context[Train], epoch: int) -> float:
    return ctx.fields.lr * epoch


def ask(ctx: Context[Train]) -> str:
    return "why"


ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics)
other = FrozenContext[Other]({"lr": 0.1})
loss = ctx.metrics.series(TrainMetrics.loss)

ctx.fields.lrr  # A misspelt key
ctx.fields.accuracy = "high"  # A value of another type
ctx.fields.rows = [1, "2"]  # An item of another type
ctx.lr = 0.2  # A key as an attribute of the context
loss.add("0.5", {"epoch": 1, "split": "train"})  # A measurement of another type
loss.add(0.5, {"epoch": 1, "split": "trian"})  # A value that a tag does not allow
loss.add(0.5, {"epoch": 1})  # A missing tag
loss.add(0.5, {"epohc": 1, "split": "train"})  # A misspelt tag
ctx.run(fit, "3")  # An argument of another type
ctx.run(fit)  # A missing argument
TrainMetrics.los  # A misspelt metric
ask(other)  # A context without the keys of a step
