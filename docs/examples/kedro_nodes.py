"""The steps of `folds.py` as a pipeline of Kedro's. Started again after a crash, it runs what is missing."""

from functools import partial, update_wrapper
from typing import Any

import folds
from folds import FOLDS, Train, TrainMetrics, open_run
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from crystallize import Delta, FrozenContext, fork, merge


class Merged(AbstractDataset[Delta, FrozenContext[Train]]):
    """What a node did: saved by merging it into the context, and there from then on."""

    _SINGLE_PROCESS = True  # Kedro's ParallelRunner would merge into copies, and refuses such a dataset

    def __init__(self, ctx: FrozenContext[Train], name: str) -> None:
        self._ctx, self._name = ctx, name

    def save(self, data: Delta) -> None:
        merge(self._ctx, data)

    def load(self) -> FrozenContext[Train]:
        return self._ctx

    def _exists(self) -> bool:
        return self._ctx.provenance.finished(self._name)

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}


# A node is given the context, in which the nodes before it are merged, and returns what it did in a branch of it.


def load(ctx: FrozenContext[Train]) -> Delta:
    child = fork(ctx, "load").open()
    folds.load(child)
    return child.delta()


def validate(ctx: FrozenContext[Train], fold: int) -> Delta:
    child = fork(ctx, f"fold-{fold}").open()
    folds.validate(child, fold)
    return child.delta()


def summarize(ctx: FrozenContext[Train], *_: FrozenContext[Train]) -> Delta:
    child = fork(ctx, "summarize").open()
    folds.summarize(child, ctx.metrics.series(TrainMetrics.loss))
    return child.delta()


def make_pipeline() -> Pipeline:
    named = {f"fold-{fold}": update_wrapper(partial(validate, fold=fold), validate) for fold in range(FOLDS)}
    return Pipeline(
        [
            Node(load, inputs="context", outputs="load"),
            *(Node(function, inputs="load", outputs=name, name=name) for name, function in named.items()),
            Node(summarize, inputs=list(named), outputs="summarize"),
        ]
    )


def share(ctx: FrozenContext[Train], pipeline: Pipeline, catalog: DataCatalog) -> None:
    """Put a context into the catalog, and a place for each output of the pipeline."""
    catalog["context"] = MemoryDataset(ctx, copy_mode="assign")
    for name in pipeline.all_outputs():
        catalog[name] = Merged(ctx, name)


def main(lr: float = 0.1) -> float:
    pipeline, catalog = make_pipeline(), DataCatalog()
    with open_run("runs", "folds") as journal:
        ctx = journal.context(FrozenContext[Train], {"lr": lr}, metrics=TrainMetrics)
        share(ctx, pipeline, catalog)
        SequentialRunner().run(pipeline, catalog, only_missing_outputs=True)
        return ctx.fields.error


if __name__ == "__main__":
    print(main())
