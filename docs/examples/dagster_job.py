"""The steps of `folds.py` as a job of Dagster's. Launched again after a crash, it runs what is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import folds
from dagster import (
    ConfigurableResource,
    DynamicOut,
    DynamicOutput,
    In,
    Nothing,
    RetryPolicy,
    job,
    multiprocess_executor,
    op,
)
from folds import FOLDS, Train, TrainMetrics, open_run

from crystallize import Branch, Delta, FrozenContext, Journal, fork, merge
from crystallize.runs import find_run


class TrainRun(ConfigurableResource[Any]):
    """The run, as a resource. It is a file, which ops in several processes open one after another."""

    folder: str = "runs"
    name: str = "folds"
    lr: float = 0.1

    @contextmanager
    def open(self, *, may_start: bool = False) -> Iterator[FrozenContext[Train]]:
        where = self.folder, self.name
        with open_run(*where) if may_start else Journal.resume(find_run(*where)) as journal:
            yield journal.context(FrozenContext[Train], {"lr": self.lr}, metrics=TrainMetrics)


class Fold(NamedTuple):
    number: int
    branch: Branch[Train]


AGAIN = RetryPolicy(max_retries=2)
WRITES = {"crystallize/run": "writes", "dagster/priority": "1"}
"""Of ops that open the run: the executor runs one of them at a time, and before others, so that little is lost."""


@op(out=DynamicOut(), retry_policy=AGAIN, tags=WRITES)
def load(run: TrainRun) -> Iterator[DynamicOutput[Fold]]:
    with run.open(may_start=True) as ctx:
        ctx.run(folds.load)
        missing = [number for number in range(FOLDS) if not ctx.provenance.finished(f"fold-{number}")]
        forked = [Fold(number, fork(ctx, f"fold-{number}")) for number in missing]
    for fold in forked:
        yield DynamicOutput(fold, mapping_key=f"fold_{fold.number}")


@op(retry_policy=AGAIN)
def validate(fold: Fold) -> Delta:
    child = fold.branch.open()  # a context of this attempt alone
    folds.validate(child, fold.number)
    return child.delta()


@op(retry_policy=AGAIN, tags=WRITES)
def keep(run: TrainRun, delta: Delta) -> None:
    with run.open() as ctx:
        merge(ctx, delta)


@op(ins={"kept": In(Nothing)}, retry_policy=AGAIN, tags=WRITES)
def summarize(run: TrainRun) -> float:
    with run.open() as ctx:
        ctx.run(folds.summarize, ctx.metrics.series(TrainMetrics.loss))
        return ctx.fields.error


ONE_WRITER = {"tag_concurrency_limits": [{"key": "crystallize/run", "value": "writes", "limit": 1}]}


@job(resource_defs={"run": TrainRun()}, executor_def=multiprocess_executor.configured(ONE_WRITER))
def cross_validate() -> None:
    kept = load().map(validate).map(keep)
    summarize(kept.collect())


if __name__ == "__main__":
    print(cross_validate.execute_in_process().output_for_node("summarize"))
