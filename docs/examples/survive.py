"""A run that can be killed at any time: started again, it goes on. Its steps take a second together."""

from time import sleep
from typing import Literal

from pydantic import BaseModel, FiniteFloat, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, LoggingContext, Metric, MetricSchema, RunNotFoundError, step
from crystallize.runs import find_run


class Train(BaseModel):
    lr: PositiveFloat
    rows: list[float]
    weight: FiniteFloat
    verdict: Literal["good", "poor"]


class EpochTags(TypedDict):
    epoch: PositiveInt


class TrainMetrics(MetricSchema):
    weight = Metric(FiniteFloat, tags=EpochTags)


def load(ctx: LoggingContext[Train]) -> None:
    print("load", flush=True)
    sleep(0.2)
    ctx.fields.rows = [0.5, 0.25]


def fit(ctx: LoggingContext[Train]) -> None:
    weight = 0.0
    for epoch in range(1, 6):
        weight = ctx.run(train_epoch, epoch, weight)
    ctx.fields.weight = weight


@step("epoch-{epoch}")
def train_epoch(ctx: LoggingContext[Train], epoch: int, weight: float) -> float:
    print(f"epoch {epoch}", flush=True)
    sleep(0.1)
    weight += ctx.fields.lr * sum(ctx.fields.rows)
    ctx.metrics.series(TrainMetrics.weight).add(weight, {"epoch": epoch})
    return weight


def evaluate(ctx: LoggingContext[Train]) -> None:
    print("evaluate", flush=True)
    sleep(0.1)
    ctx.fields.verdict = "good" if ctx.fields.weight > 0.3 else "poor"


def open_journal() -> Journal:
    """Go on with the newest run, or start the first one."""
    try:
        path = find_run("runs", "train")
    except RunNotFoundError:
        return Journal.start("runs", "train")
    return Journal.resume(path)


def main() -> None:
    with open_journal() as journal:
        ctx = journal.context(FrozenContext[Train], {"lr": 0.1}, metrics=TrainMetrics)
        for task in (load, fit, evaluate):
            ctx.run(task)
        print(f"{journal.name}: {ctx.fields.verdict}, after {len(ctx.metrics['weight'])} epochs")


if __name__ == "__main__":
    main()
