"""The callback of XGBoost, in real training."""

import copy
import pickle
from math import nan
from typing import Any

import numpy
import pytest
import xgboost

from crystallize import FrozenContext, InvalidMetricError, SchemaError, SinkError, UnknownMetricError
from crystallize.callbacks.xgboost import XGBoostCallback

from .schemas import BrokenSink, FitMetrics, facts, steps, typed

POINTS = numpy.random.default_rng(0).normal(size=(40, 3))
DATA = xgboost.DMatrix(POINTS[:20], label=POINTS[:20, 0])
OTHER = xgboost.DMatrix(POINTS[20:], label=-POINTS[20:, 1])
NAMES = {"train-rmse": FitMetrics.loss, "val-rmse": FitMetrics.loss}


def train(callback: XGBoostCallback, rounds: int = 3, **options: Any) -> Any:
    evals = [(DATA, "train"), (OTHER, "val")]
    options = {"callbacks": [callback], **options}
    return xgboost.train({"eta": 0.5, "max_depth": 2}, DATA, rounds, evals=evals, verbose_eval=False, **options)


def test_records_rounds() -> None:
    """Each round has a point for each data set; the settings and the result are artifacts of the step."""
    ctx = FrozenContext()
    model = train(XGBoostCallback(ctx))

    assert [("fit", None)] == steps(ctx)
    series = ctx.metrics.series("rmse")
    assert [{"step": n, "split": split} for n in range(3) for split in ("train", "val")] == list(series.tags)
    assert pytest.approx(float(model.eval(DATA).split(":")[1]), abs=1e-5) == series.where(split="train").last
    assert "0.5" == facts(ctx, "fit-settings.json")["learner"]["gradient_booster"]["tree_train_param"]["eta"]
    assert {"rounds": 3} == facts(ctx, "fit-result.json")


def test_typed() -> None:
    """With a schema, names are mapped, and the points are validated."""
    ctx = typed()
    train(XGBoostCallback(ctx, names=NAMES))

    assert 3 == len(ctx.metrics.series(FitMetrics.loss).where(split="val"))


def test_refuses_an_undeclared_name_at_the_first_round() -> None:
    """A name that is neither declared nor mapped ends the fit before anything is recorded."""
    ctx = typed()
    with pytest.raises(UnknownMetricError, match="'train-rmse' is not declared in FitMetrics"):
        train(XGBoostCallback(ctx))

    assert ["fit"] == [name for name, error in steps(ctx) if error is not None]
    assert 0 == len(ctx.metrics)


@pytest.mark.parametrize("is_first", [False, True])
def test_early_stopping(is_first: bool) -> None:
    """The last round is on record wherever the callback that stops stands, and the best round is in the result."""
    ctx = FrozenContext()
    stop = xgboost.callback.EarlyStopping(rounds=2)
    callback = XGBoostCallback(ctx)
    callbacks = [callback, stop]
    model = train(callback, 100, callbacks=callbacks[::-1] if is_first else callbacks)

    assert model.num_boosted_rounds() < 100
    assert model.num_boosted_rounds() == len(ctx.metrics.series("rmse").where(split="val"))
    assert model.best_iteration == int(facts(ctx, "fit-result.json")["best_iteration"])


def test_goes_on_from_a_model() -> None:
    """The rounds of a fit that goes on from a model are counted on, in a step of their own."""
    ctx = FrozenContext()
    callback = XGBoostCallback(ctx)
    train(callback, xgb_model=train(callback))

    assert [*range(6)] == [tags["step"] for tags in ctx.metrics.series("rmse").where(split="val").tags]
    assert [("fit", None), ("fit#2", None)] == steps(ctx)
    assert "fit-2-settings.json" in ctx.artifacts


def test_cross_validation() -> None:
    """The mean over the folds is recorded, and the standard deviation beside it."""
    ctx = FrozenContext()
    table = xgboost.cv({}, DATA, 2, nfold=2, callbacks=[XGBoostCallback(ctx)], as_pandas=False)

    assert table["test-rmse-mean"] == list(ctx.metrics.series("rmse").where(split="test").values)
    assert table["test-rmse-std"] == list(ctx.metrics.series("rmse-std").where(split="test").values)

    declared = typed()
    names = {"train-rmse": None, "test-rmse": FitMetrics.loss}
    xgboost.cv({}, DATA, 2, nfold=2, callbacks=[XGBoostCallback(declared, names=names)], as_pandas=False)
    assert 2 == len(declared.metrics["loss"])


def test_in_a_step() -> None:
    """In a step of the user, no step is opened, and what ends the training is on its record."""
    ctx = FrozenContext()

    class Crash(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"), ctx.step("search") as step:
        train(XGBoostCallback(step), callbacks=[XGBoostCallback(step), Crash()])

    assert [("search", "OSError: gone")] == steps(ctx)
    assert 2 == len(ctx.metrics["rmse"])


def test_a_fit_that_failed_before() -> None:
    """A fit that another callback has broken is ended, as failed, when the next one begins."""
    ctx = FrozenContext()
    callback = XGBoostCallback(ctx)
    callback.before_training(train(callback))
    train(callback)

    error = "RuntimeError: the training framework did not end this fit"
    assert [("fit", None), ("fit#2", error), ("fit#3", None)] == steps(ctx)


def test_a_loss_that_is_no_number() -> None:
    """A value that the schema does not allow ends the fit."""
    ctx = typed()
    with pytest.raises(InvalidMetricError, match="should be a finite number"):
        train(XGBoostCallback(ctx, names=NAMES), custom_metric=lambda _, data: ("rmse", nan))


def test_a_broken_sink() -> None:
    """What a sink raises comes out of the training."""
    with pytest.raises(SinkError, match="disk full"):
        train(XGBoostCallback(FrozenContext(sinks=[BrokenSink()])))


def test_other_ranks_record_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In distributed training, rank 0 records alone."""
    ctx = FrozenContext()
    monkeypatch.setattr(xgboost.collective, "get_rank", lambda: 1)
    train(XGBoostCallback(ctx))

    assert ([], 0) == (steps(ctx), len(ctx.metrics))


def test_an_estimator_and_its_copies() -> None:
    """An estimator takes the callback, and so does its clone; a pickle of it is refused."""
    ctx = FrozenContext()
    callback = XGBoostCallback(ctx)
    model = xgboost.XGBRegressor(n_estimators=2, callbacks=[copy.deepcopy(callback)])
    model.fit(POINTS, POINTS[:, 0], eval_set=[(POINTS, POINTS[:, 0])], verbose=False)

    assert 2 == len(ctx.metrics["rmse"])
    with pytest.raises(SchemaError, match="the context of the process that made it"):
        pickle.dumps(callback)
