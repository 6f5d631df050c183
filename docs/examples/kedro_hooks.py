"""Hooks that open the run of `kedro_nodes.py` in a Kedro project, whose settings say `HOOKS = (RunHooks(),)`."""

from folds import Train, TrainMetrics, open_run
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro_nodes import share

from crystallize import FrozenContext, Journal


class RunHooks:
    _journal: Journal

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        self._journal = open_run("runs", "folds")
        lr = catalog.load("params:lr")
        share(self._journal.context(FrozenContext[Train], {"lr": lr}, metrics=TrainMetrics), pipeline, catalog)

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._journal.close()

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        self._journal.__exit__(type(error), error, error.__traceback__)
