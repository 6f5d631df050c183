"""The steps of `folds.py` as a flow of Prefect's. Started again after a crash, it runs what is missing."""

import folds
from folds import FOLDS, Train, TrainMetrics, open_run
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed

from crystallize import Branch, Delta, FrozenContext, fork, merge


@task(retries=2, cache_policy=NO_CACHE)
def load(branch: Branch[Train]) -> Delta:
    child = branch.open()  # a context of this attempt alone
    folds.load(child)
    return child.delta()


@task(retries=2, cache_policy=NO_CACHE)
def validate(branch: Branch[Train], fold: int) -> Delta:
    child = branch.open()
    folds.validate(child, fold)
    return child.delta()


@flow
def cross_validate(lr: float = 0.1) -> float:
    with open_run("runs", "folds") as journal:
        ctx = journal.context(FrozenContext[Train], {"lr": lr}, metrics=TrainMetrics)
        finished = ctx.provenance.finished
        if not finished("load"):
            merge(ctx, load(fork(ctx, "load")))
        missing = [fold for fold in range(FOLDS) if not finished(f"fold-{fold}")]
        futures = validate.map([fork(ctx, f"fold-{fold}") for fold in missing], missing)
        for future in as_completed(futures):
            outcome = future.result(raise_on_failure=False)
            if isinstance(outcome, Delta):
                merge(ctx, outcome)  # from here on it is in the file
        futures.result()  # raises what a task has failed with, now that the others are merged
        ctx.run(folds.summarize, ctx.metrics.series(TrainMetrics.loss))
        return ctx.fields.error


if __name__ == "__main__":
    print(cross_validate())
