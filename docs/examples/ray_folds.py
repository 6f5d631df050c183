"""Validates a model on Ray, one fold a worker: by `fan_out`, then once more by hand."""

import ray
from pydantic import BaseModel, FiniteFloat, PositiveFloat
from ray_executor import RayExecutor

from crystallize import Branch, Delta, FrozenContext, Metric, MetricSchema, fan_out, fork, merge


class Score(BaseModel):
    fold: int
    loss: FiniteFloat


class Train(BaseModel):
    lr: PositiveFloat
    best: Score


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, unit="nats", goal="minimize")


def validate(ctx: FrozenContext[Train], fold: int) -> Score:
    with ctx.step("fit") as step:
        for epoch in range(3):
            step.record(TrainMetrics.loss, step.fields.lr * (fold + 1) / 2**epoch)
    return Score(fold=fold, loss=ctx.metrics.series(TrainMetrics.loss).last)


def by_fan_out(ctx: FrozenContext[Train]) -> None:
    scores = fan_out(ctx, validate, range(4), executor=RayExecutor(num_cpus=1))
    ctx.fields.best = min(scores, key=lambda score: score.loss)


@ray.remote
def validate_branch(branch: Branch[Train], fold: int) -> tuple[Score, Delta]:
    child = branch.open()
    score = validate(child, fold)
    return score, child.delta()


def by_hand(ctx: FrozenContext[Train]) -> None:
    scores = []
    pending = [validate_branch.remote(fork(ctx, f"validate-{fold}"), fold) for fold in range(4)]
    while pending:
        (ended, *_), pending = ray.wait(pending)
        score, delta = ray.get(ended)
        merge(ctx, delta)
        scores.append(score)
    ctx.fields.best = min(scores, key=lambda score: score.loss)


def main() -> None:
    ray.init()
    for run in (by_fan_out, by_hand):
        ctx = FrozenContext[Train]({"lr": 0.5}, metrics=TrainMetrics)
        run(ctx)
        print(f"{run.__name__}: {ctx.fields.best!r}")
        print(*(step.name for step in ctx.provenance.steps))
        print(*ctx.metrics[TrainMetrics.loss])


if __name__ == "__main__":
    main()
