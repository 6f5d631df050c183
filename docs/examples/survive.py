"""A run that can be killed at any time: started again, it goes on. Its steps take a second together."""

from time import sleep
from typing import Literal

from pydantic import BaseModel, FiniteFloat, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, LoggingContext, Metric, MetricSchema, RunNotFoundError
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
    sleep(0.2)
    ctx.fields.rows = [0.5, 0.25]


def fit(ctx: LoggingContext[Train]) -> None:
    weights = ctx.metrics.series(TrainMetrics.weight)
    for epoch in range(1, 6):
        if ctx.provenance.finished(f"fit/epoch-{epoch}"):
            continue
        with ctx.step(f"epoch-{epoch}") as step:
            sleep(0.1)
            weight = weights.last if len(weights) else 0.0  # of the epoch before, also of a process that was killed
            weight += step.fields.lr * sum(step.fields.rows)
            step.metrics.series(TrainMetrics.weight).add(weight, {"epoch": epoch})
        print(f"epoch {epoch}", flush=True)
    ctx.fields.weight = weights.last


def evaluate(ctx: LoggingContext[Train]) -> None:
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
            if not ctx.provenance.finished(task.__name__):
                with ctx.step(task.__name__) as step:
                    task(step)
                print(f"{task.__name__}: done", flush=True)
        print(f"{journal.name}: {ctx.fields.verdict}, after {len(ctx.metrics['weight'])} epochs")


if __name__ == "__main__":
    main()
