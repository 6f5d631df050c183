"""The callback of LightGBM, in real training."""

from typing import Any

import lightgbm
import numpy
import pytest

from crystallize import FrozenContext, SchemaError, SinkError, UnknownMetricError
from crystallize.callbacks.lightgbm import LightGBMCallback

from .schemas import BrokenSink, FitMetrics, facts, steps, typed

POINTS = numpy.random.default_rng(0).normal(size=(80, 3))
QUIET = {"verbose": -1, "min_data_in_leaf": 1, "metric": "l2"}


def train(ctx: FrozenContext[Any], rounds: int = 3, callbacks: Any = (), **options: Any) -> Any:
    data = lightgbm.Dataset(POINTS[:40], label=POINTS[:40, 0])
    other = lightgbm.Dataset(POINTS[40:], label=-POINTS[40:, 0], reference=data)
    with ctx.step("fit") as step:
        callback = LightGBMCallback(step, **options)
        sets, names = [data, other], ["train", "val"]
        return lightgbm.train(QUIET, data, rounds, valid_sets=sets, valid_names=names, callbacks=[callback, *callbacks])


def test_records_rounds() -> None:
    """Each round has a point for each data set, in the step of the fit; the settings are an artifact."""
    ctx = FrozenContext()
    model = train(ctx)

    series = ctx.metrics.series("l2")
    assert [{"step": n, "split": split} for n in range(3) for split in ("train", "val")] == list(series.tags)
    assert model.best_score["val"]["l2"] == series.where(split="val").last
    assert ([("fit", None)], 1) == (steps(ctx), facts(ctx, "fit-settings.json")["min_data_in_leaf"])


def test_typed() -> None:
    """With a schema, names are mapped, and others refused at the first round."""
    ctx = typed()
    train(ctx, names={"train-l2": None, "val-l2": FitMetrics.loss})
    assert 3 == len(ctx.metrics["loss"])

    with pytest.raises(UnknownMetricError, match="'train-l2' is not declared in FitMetrics"):
        train(typed())


def test_early_stopping() -> None:
    """The round after which the training stops is on record."""
    ctx = FrozenContext()
    model = train(ctx, 100, [lightgbm.early_stopping(2, verbose=False)])

    values = ctx.metrics.series("l2").where(split="val").values
    assert model.best_iteration + 2 == len(values) < 100
    assert model.best_iteration == 1 + values.index(min(values))


def test_takes_a_step() -> None:
    """A context is refused, since LightGBM does not tell when a fit ends."""
    with pytest.raises(SchemaError, match="it takes a step, not a context"):
        LightGBMCallback(FrozenContext())


def test_cross_validation() -> None:
    """The mean over the folds is recorded, and the standard deviation beside it."""
    ctx = FrozenContext()
    data = lightgbm.Dataset(POINTS, label=POINTS[:, 0])
    with ctx.step("fit") as step:
        found = lightgbm.cv(QUIET, data, 2, stratified=False, callbacks=[LightGBMCallback(step)])

    assert found["valid l2-mean"] == list(ctx.metrics["l2"])
    assert found["valid l2-stdv"] == list(ctx.metrics["l2-std"])


def test_an_estimator_without_validation() -> None:
    """Where nothing is evaluated, nothing is recorded."""
    ctx = FrozenContext()
    with ctx.step("fit") as step:
        model = lightgbm.LGBMRegressor(n_estimators=2, **QUIET)
        model.fit(POINTS, POINTS[:, 0], callbacks=[LightGBMCallback(step)])

    assert 0 == len(ctx.metrics)


def test_a_broken_sink() -> None:
    """What a sink raises comes out of the training."""
    with pytest.raises(SinkError, match="disk full"):
        train(FrozenContext(sinks=[BrokenSink()]))
