"""The callback of Keras, in real training."""

from math import nan
from typing import Any

import keras
import numpy
import pytest

from crystallize import (
    FrozenContext,
    InvalidMetricError,
    Journal,
    SinkError,
    UndeclaredMetricWarning,
    UnknownMetricError,
)
from crystallize.callbacks.keras import KerasCallback

from .schemas import BrokenSink, FitMetrics, facts, steps, typed

POINTS = numpy.random.default_rng(0).normal(size=(20, 3))


def model_of(*metrics: str) -> Any:
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=list(metrics))
    return model


def fit(callback: KerasCallback, *metrics: str, targets: Any = POINTS[:, 0], **options: Any) -> Any:
    model = model_of(*metrics)
    options = {"callbacks": [callback], "validation_split": 0.5, "epochs": 2, **options}
    return model, model.fit(POINTS, targets, verbose=0, **options).history


def test_records_epochs() -> None:
    """Each epoch has a point for each data set; the settings are an artifact of the step."""
    ctx = FrozenContext()
    _, history = fit(KerasCallback(ctx), "mae")

    series = ctx.metrics.series("loss")
    assert [{"epoch": n, "split": split} for n in range(2) for split in ("train", "val")] == list(series.tags)
    assert history["val_loss"] == list(series.where(split="val").values)
    assert {"loss", "mae"} == set(ctx.metrics)
    assert [("fit", None)] == steps(ctx)
    settings = facts(ctx, "fit-settings.json")
    assert (2, pytest.approx(0.01)) == (settings["epochs"], settings["optimizer"]["learning_rate"])


def test_typed_without_a_mapping() -> None:
    """A metric that declares the tag `split` takes both data sets; the learning rate need not be declared."""
    ctx = typed()
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    fit(callback := KerasCallback(ctx), callbacks=[schedule, callback])

    assert 2 == len(ctx.metrics.series(FitMetrics.loss).where(split="val"))


def test_refuses_an_undeclared_name_after_the_first_batch() -> None:
    """A name that is neither declared nor mapped is an error at once, and not at the end of the epoch."""
    ctx = typed()
    batches = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))
    with pytest.raises(UnknownMetricError, match="'mae' is not declared in FitMetrics"):
        fit(callback := KerasCallback(ctx), "mae", callbacks=[count, callback])

    assert [0] == batches
    assert [True] == [error is not None for _, error in steps(ctx)]


def test_leaves_out_a_name_that_comes_late() -> None:
    """A name that another callback adds in the middle of a fit does not end it."""
    ctx = typed()
    late = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update({"f1": 0.5} if epoch else {}))
    with pytest.warns(UndeclaredMetricWarning, match="leaves out 'f1'"):
        fit(callback := KerasCallback(ctx), callbacks=[late, callback])

    assert 4 == len(ctx.metrics["loss"])


def test_evaluates_alone() -> None:
    """An evaluation outside a fit has a step of its own."""
    ctx = FrozenContext()
    callback = KerasCallback(ctx)
    model, _ = fit(callback)
    model.evaluate(POINTS, POINTS[:, 0], verbose=0, callbacks=[callback])

    assert [("fit", None), ("evaluate", None)] == steps(ctx)
    assert 1 == len(ctx.metrics.series("loss").where(split="test"))


def test_fits_twice_and_goes_on() -> None:
    """Each fit has a step, and `initial_epoch` counts the epochs on."""
    ctx = FrozenContext()
    callback = KerasCallback(ctx, step="train", tags={"fold": 1})
    fit(callback)
    fit(callback, initial_epoch=2, epochs=3)

    assert [("train", None), ("train#2", None)] == steps(ctx)
    assert [0, 1, 2] == [tags["epoch"] for tags in ctx.metrics.series("loss").where(split="val", fold=1).tags]


def test_a_resumable_fit() -> None:
    """With `resumable`, the epochs that ended survive the process, and the curve is whole."""

    def train(journal: Journal, dies_in: int, **options: Any) -> FrozenContext[Any]:
        ctx = journal.context(FrozenContext)

        def die(epoch: int, logs: Any) -> None:
            if epoch == dies_in:
                raise OSError("gone")

        crash = keras.callbacks.LambdaCallback(on_epoch_end=die)
        fit(callback := KerasCallback(ctx, resumable=True), callbacks=[crash, callback], epochs=4, **options)
        return ctx

    with pytest.raises(OSError, match="gone"), Journal.start("runs", "line") as journal:
        train(journal, 2)
    with Journal.resume("runs/line-0001.db") as journal:
        ctx = train(journal, -1, initial_epoch=1)  # from a checkpoint after the first epoch

    series = ctx.metrics.series("loss").where(split="val")
    assert [0, 1, 2, 3] == [tags["epoch"] for tags in series.tags]


def test_in_a_step_that_crashes() -> None:
    """In a step of the user, what ends the training is on its record."""
    ctx = FrozenContext()
    with pytest.raises(ValueError, match="cardinality"), ctx.step("search") as step:
        fit(KerasCallback(step), targets=POINTS[:3])

    (record,) = ctx.provenance.steps
    assert record.error is not None
    assert "ValueError" in record.error


def test_a_loss_that_is_no_number() -> None:
    """A value that the schema does not allow ends the fit."""
    with pytest.raises(InvalidMetricError, match="should be a finite number"):
        fit(KerasCallback(typed()), targets=numpy.full(20, nan))


def test_a_broken_sink() -> None:
    """What a sink raises comes out of the training."""
    with pytest.raises(SinkError, match="disk full"):
        fit(KerasCallback(FrozenContext(sinks=[BrokenSink()])))


def test_a_model_that_was_not_compiled() -> None:
    """A training loop of one's own may call the callback, without a model."""
    ctx = FrozenContext()
    callback = KerasCallback(ctx)
    callback.on_train_begin()
    callback.on_epoch_end(0, {"loss": 0.5})
    callback.on_train_end()

    assert ((0.5,), 0) == (ctx.metrics["loss"], len(ctx.artifacts))
