"""Fits a line to points, and keeps the run in a file."""

import random
import time
from argparse import ArgumentParser
from statistics import fmean
from typing import Literal, Protocol, TypeAlias

from pydantic import BaseModel, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

from crystallize import Context, FrozenContext, Journal, Metric, MetricSchema
from crystallize.runs import find_run

Row: TypeAlias = tuple[float, float]  # x and y


class Line(BaseModel):
    lr: PositiveFloat  # an input: given when the run starts
    epochs: PositiveInt = 20  # an input with a default
    seed: int = 1
    rows: list[Row]  # written by a step
    slope: FiniteFloat
    distance: NonNegativeFloat


class EpochTags(TypedDict):
    epoch: PositiveInt
    split: Literal["train", "val"]


class LineMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, goal="minimize")


class Load(Protocol):
    seed: int  # the step reads this key
    rows: list[Row]  # and writes this one


def load(ctx: Context[Load]) -> None:
    """Draw 20 points near the line y = 3x."""
    noise = random.Random(ctx.fields.seed)
    ctx.fields.rows = [(x / 20, 3 * x / 20 + noise.gauss(0, 0.1)) for x in range(20)]


class Fit(Protocol):
    rows: list[Row]
    lr: float
    epochs: int
    slope: float


def fit(ctx: Context[Fit]) -> None:
    """Turn the line towards every other point, and measure the loss of each epoch."""
    train, val = ctx.fields.rows[::2], ctx.fields.rows[1::2]
    loss = ctx.metrics.series(LineMetrics.loss)
    slope = 0.0
    for epoch in range(1, ctx.fields.epochs + 1):
        slope -= ctx.fields.lr * fmean(2 * x * (slope * x - y) for x, y in train)
        loss.add(squared(slope, train), {"epoch": epoch, "split": "train"})
        loss.add(squared(slope, val), {"epoch": epoch, "split": "val"})
        print(f"epoch {epoch}: loss {loss.last:.3f}", flush=True)
        time.sleep(0.5)  # in place of real work
    ctx.fields.slope = slope


def squared(slope: float, rows: list[Row]) -> float:
    """Return the mean squared distance of the points from the line."""
    return fmean((slope * x - y) ** 2 for x, y in rows)


class Judge(Protocol):
    rows: list[Row]
    slope: float
    distance: float


def judge(ctx: Context[Judge]) -> None:
    """Measure how far the points are from the line."""
    ctx.fields.distance = squared(ctx.fields.slope, ctx.fields.rows) ** 0.5


def run(journal: Journal, inputs: dict[str, float]) -> None:
    """Run the steps that have not finished yet."""
    ctx = journal.context(FrozenContext[Line], inputs, metrics=LineMetrics)
    ctx.run(load)
    ctx.run(fit)
    ctx.run(judge)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--resume", action="store_true", help="go on with the newest run")
    options = parser.parse_args()
    if options.resume:
        with Journal.resume(find_run("runs", "line")) as journal:
            run(journal, {})  # the file has the inputs
    else:
        with Journal.start("runs", "line", reuse=True) as journal:
            run(journal, {"lr": options.lr})
