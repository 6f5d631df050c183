"""What all callbacks share: the step of a fit, the metric of each name, and the tags of each point.

The callbacks themselves are tested in `tests/frameworks`, with the frameworks.
"""

import copy
import json
import os
import pickle
from importlib import import_module
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import FiniteFloat, NonNegativeInt, SecretStr
from typing_extensions import TypedDict

from crystallize import (
    FinishedStepError,
    ForeignMetricError,
    FrozenContext,
    InvalidMetricError,
    InvalidTagError,
    Journal,
    Metric,
    MetricSchema,
    MissingExtraError,
    MissingTagError,
    SchemaError,
    SinkError,
    StepClosedError,
    UndeclaredMetricWarning,
    UnknownMetricError,
)
from crystallize.callbacks.fit_recorder import FitRecorder
from crystallize.callbacks.metric_names import Measurement
from crystallize.events import Event, MetricRecorded


class EpochTags(TypedDict):
    epoch: NonNegativeInt
    split: str


class FoldTags(TypedDict):
    fold: int


class FitMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, goal="minimize")
    seen = Metric(int)
    accuracy = Metric(float, tags=FoldTags)


TRAIN = Measurement("loss", 0.5, "loss", "train")
VAL = Measurement("val_loss", 0.7, "loss", "val")


def typed() -> FrozenContext[Any]:
    return FrozenContext(metrics=FitMetrics)


def fit(ctx: FrozenContext[Any], *found: Measurement, **options: Any) -> FitRecorder:
    recorder = FitRecorder(ctx, **options)
    recorder.begin()
    recorder.record(found, epoch=1)
    recorder.end()
    return recorder


def ended(ctx: FrozenContext[Any]) -> list[tuple[str, str | None]]:
    return [(record.name, record.error) for record in ctx.provenance.steps]


# Names and tags.


def test_without_a_schema() -> None:
    """The name without the data set is the metric, and the data set a tag; a tag that is None is left out."""
    ctx = FrozenContext()
    recorder = FitRecorder(ctx)
    recorder.begin()
    recorder.record([TRAIN, VAL, Measurement("lr", 0.1)], epoch=1, step=None)

    assert ({"epoch": 1, "split": "train"}, {"epoch": 1, "split": "val"}) == ctx.metrics.get_tags("loss")
    assert ({"epoch": 1},) == ctx.metrics.get_tags("lr")


def test_each_metric_gets_the_tags_that_it_declares() -> None:
    """Tags that a metric does not declare are left out."""
    ctx = typed()
    fit(ctx, TRAIN, VAL, Measurement("seen", 60), Measurement("accuracy", 0.9), tags={"fold": 3})

    assert ["train", "val"] == [tags["split"] for tags in ctx.metrics.get_tags("loss")]
    assert (({},), ({"fold": 3},)) == (ctx.metrics.get_tags("seen"), ctx.metrics.get_tags("accuracy"))


class ValMetrics(MetricSchema):
    loss = Metric(float)
    val_loss = Metric(float)


def test_a_declared_name_comes_first() -> None:
    """Where the framework's own name is declared, it is the metric."""
    ctx = FrozenContext(metrics=ValMetrics)
    fit(ctx, TRAIN, VAL)

    assert ((0.5,), (0.7,)) == (ctx.metrics["loss"], ctx.metrics["val_loss"])


class LossMetrics(MetricSchema):
    loss = Metric(float)


def test_data_sets_are_not_mixed() -> None:
    """Without the tag `split`, what another data set gave is not recorded under the same metric."""
    with pytest.raises(UnknownMetricError, match="'val_loss' is not declared in LossMetrics"):
        fit(FrozenContext(metrics=LossMetrics), VAL)


def test_names_are_mapped() -> None:
    """A name is mapped to a metric, to a metric with tags that go before the framework's, or left out."""
    ctx = typed()
    names = {"a": FitMetrics.loss, "b": ("loss", {"split": "test"}), "c": None}
    fit(ctx, *(Measurement(name, 0.5, name, "train") for name in "abc"), names=names)

    assert ["train", "test"] == [tags["split"] for tags in ctx.metrics.get_tags("loss")]


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ({"a": "los"}, UnknownMetricError),
        ({"a": LossMetrics.loss}, ForeignMetricError),
        ({"a": 5}, ForeignMetricError),
        ({"a": (FitMetrics.loss, {"epoch": -1})}, InvalidTagError),
        ({"a": (FitMetrics.loss, {"spilt": "val"})}, InvalidTagError),
    ],
)
def test_a_mapping_that_cannot_work(names: Any, error: type[Exception]) -> None:
    """A wrong mapping is an error when the callback is made."""
    with pytest.raises(error):
        FitRecorder(typed(), names=names)


def test_a_metric_without_a_schema() -> None:
    """In a context without a schema, a mapped metric validates all the same, and a mapped name takes any tags."""
    ctx = FrozenContext()
    fit(
        ctx,
        VAL,
        Measurement("f1", 0.5),
        names={"val_loss": (FitMetrics.loss, {"split": "test"}), "f1": ("f", {"k": 1})},
    )

    assert ({"epoch": 1, "split": "test"},) == ctx.metrics.get_tags("loss")
    assert ({"epoch": 1, "k": 1},) == ctx.metrics.get_tags("f")


def test_a_tag_that_no_metric_declares() -> None:
    """A tag for all points that no metric declares is an error when the callback is made."""
    with pytest.raises(SchemaError, match="no metric declares the tag 'flod'"):
        FitRecorder(typed(), tags={"flod": 3})


def test_what_is_no_context() -> None:
    """A callback records in a context."""
    wrong: Any = {}
    with pytest.raises(SchemaError, match=r"it records in a FrozenContext or a step, not in \{\}"):
        FitRecorder(wrong)


# Names that the schema does not declare.


def test_an_undeclared_name_at_the_start() -> None:
    """Before the first point, an undeclared name ends the fit, and the error says how to map it."""
    ctx = typed()
    with pytest.raises(UnknownMetricError, match="'f1' is not declared") as caught:
        fit(ctx, TRAIN, Measurement("f1", 0.5))

    assert "Map it by names={'f1': ...} of the callback, or leave it out: {'f1': None}" in caught.value.__notes__
    assert 0 == len(ctx.metrics)
    assert ["fit"] == [name for name, error in ended(ctx) if "f1" in str(error)]


def test_a_tag_that_is_missing() -> None:
    """So does a metric that requires a tag which the framework does not give."""
    with pytest.raises(MissingTagError, match="'fold' is missing"):
        fit(typed(), Measurement("accuracy", 0.5))


def test_an_undeclared_name_later() -> None:
    """After the first point, an undeclared name is left out, with one warning; the fit goes on."""
    ctx = typed()
    recorder = FitRecorder(ctx)
    recorder.begin()
    recorder.record([TRAIN], epoch=0)
    with pytest.warns(UndeclaredMetricWarning, match=r"leaves out 'f1'.*next time, map it"):
        recorder.record([TRAIN, Measurement("f1", 0.5)], epoch=1)
    recorder.record([TRAIN, Measurement("f1", 0.5)], epoch=2)  # a second warning would be an error
    recorder.end()

    assert (3, [("fit", None)]) == (len(ctx.metrics["loss"]), ended(ctx))


def test_what_a_framework_adds_need_not_be_declared() -> None:
    """What a framework adds unasked is recorded if it is declared, and left out if not."""
    ctx = typed()
    fit(ctx, Measurement("seen", 60, is_extra=True), Measurement("runtime", 0.5, is_extra=True))
    assert ["seen"] == list(ctx.metrics)

    with pytest.raises(MissingTagError):
        fit(ctx, Measurement("accuracy", 0.5, is_extra=True))


def test_check_and_expect() -> None:
    """Names can be checked before there are values; an error ends the fit."""
    ctx = typed()
    recorder = FitRecorder(ctx, names={"out": None})
    recorder.begin()
    recorder.check([TRAIN], epoch=0)
    recorder.expect(["loss", "out"])
    assert recorder.is_open

    with pytest.raises(UnknownMetricError):
        recorder.expect(["f1"])
    assert not recorder.is_open
    assert 0 == len(ctx.metrics)


# Steps.


def test_each_fit_opens_a_step() -> None:
    """A fit is a step, a second one counts up, and its name can be chosen."""
    ctx = FrozenContext()
    fit(ctx, TRAIN)
    fit(ctx, TRAIN)
    fit(ctx, TRAIN, step="train")

    assert [("fit", None), ("fit#2", None), ("train", None)] == ended(ctx)
    assert ["fit", "fit#2", "train"] == [point.step for point in ctx.metrics.series("loss")]


def test_a_step_in_place_of_a_context() -> None:
    """In a step, the fits are recorded in that step; when it has ended, no fit begins."""
    ctx = FrozenContext()
    with ctx.step("search") as step:
        recorder = fit(step, TRAIN)
        recorder.begin()
        assert recorder.step is step
        recorder.end()
    assert [("search", None)] == ended(ctx)

    with pytest.raises(StepClosedError):
        recorder.begin()


def test_outside_a_fit() -> None:
    """Outside a fit nothing can be recorded, and ending it again does nothing."""
    recorder = fit(FrozenContext(), TRAIN)
    recorder.end()

    with pytest.raises(StepClosedError):
        recorder.record([TRAIN])


def test_a_fit_that_was_not_ended() -> None:
    """A fit whose end the framework did not tell is ended, as failed, when the next one begins."""
    ctx = FrozenContext()
    recorder = FitRecorder(ctx)
    recorder.begin()
    recorder.begin()
    recorder.end(OSError("gone"))

    error = "RuntimeError: the training framework did not end this fit"
    assert [("fit", error), ("fit#2", "OSError: gone")] == ended(ctx)


def test_an_invalid_value() -> None:
    """A value that the schema does not allow ends the fit. The points before it stay."""
    ctx = typed()
    with pytest.raises(InvalidMetricError, match="should be a finite number"):
        fit(ctx, TRAIN, VAL._replace(value=nan))

    assert (0.5,) == ctx.metrics["loss"]
    assert ["fit"] == [name for name, error in ended(ctx) if error is not None]


class FullDisk:
    """A sink that fails at the first point."""

    def handle(self, event: Event, /) -> None:
        if isinstance(event, MetricRecorded):
            raise OSError("disk full")

    def close(self) -> None:
        pass


def test_a_broken_sink() -> None:
    """What a sink raises comes out, and ends the fit."""
    ctx = FrozenContext(sinks=[FullDisk()])
    with pytest.raises(SinkError, match="disk full") as caught:
        fit(ctx, TRAIN)

    assert caught.value.__traceback__ is not None
    assert ["fit"] == [name for name, error in ended(ctx) if "disk full" in str(error)]


def test_a_run_that_is_resumed(tmp_path: Path) -> None:
    """A fit that did not finish begins anew in a resumed run, and one that finished is refused at its start."""

    def dies(journal: Journal) -> None:
        recorder = FitRecorder(journal.context(FrozenContext))
        recorder.begin({"lr": 0.1})
        recorder.record([TRAIN], epoch=0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), Journal.start(tmp_path, "fit") as journal:
        dies(journal)
    with Journal.resume(tmp_path / "fit-0001.db") as journal:
        ctx = journal.context(FrozenContext)
        recorder = FitRecorder(ctx)
        recorder.begin({"lr": 0.1})
        recorder.record([TRAIN], epoch=0)
        recorder.end()
        assert (1, ["fit-settings.json"]) == (len(ctx.metrics["loss"]), [file.name for file in ctx.artifacts])
    with Journal.resume(tmp_path / "fit-0001.db") as journal:
        recorder = FitRecorder(journal.context(FrozenContext))
        with pytest.raises(FinishedStepError, match="'fit'"):
            recorder.begin()


# Artifacts.


def test_settings_and_results() -> None:
    """Settings and results are JSON artifacts, named after the step, of which each has its own."""
    ctx = FrozenContext()
    with ctx.step("tune") as step:
        for fold in range(2):
            with step.step("fold") as inner:
                recorder = FitRecorder(inner)
                for _ in range(2):
                    recorder.begin({"fold": fold, "kind": FullDisk})
                    recorder.end(result={"best": 3})

    names = [file.name for file in ctx.artifacts if "settings" in file.name]
    assert [f"tune-fold{n}-settings{m}.json" for n in ("", "-2") for m in ("", "-2")] == names
    assert {"best": 3} == json.loads(ctx.artifacts["tune-fold-result.json"].data)
    assert [(), (), ()] == [record.absent_artifacts for record in ctx.provenance.steps]


def test_secrets_are_masked() -> None:
    """A secret of the context among the settings is masked."""
    ctx = FrozenContext({"token": SecretStr("hunter2-hunter2")})
    FitRecorder(ctx).begin({"hub_token": "hunter2-hunter2", "lr": 0.1})

    (settings,) = ctx.artifacts
    assert ("**********", 0.1) == tuple(json.loads(settings.data).values())


# Fits that go on, and other processes.


def test_replays_what_is_missing() -> None:
    """Of a history, what is on record is not recorded again, and names that are left out stay out."""
    ctx = typed()
    recorder = FitRecorder(ctx, names={"lr": None})
    history = [([TRAIN, VAL, Measurement("lr", 0.1)], {"epoch": epoch}) for epoch in range(3)]
    recorder.begin()
    recorder.record([TRAIN], epoch=1)
    recorder.replay(history)
    recorder.replay(history)

    found = [(tags["split"], tags["epoch"]) for tags in ctx.metrics.get_tags("loss")]
    assert [("train", 0), ("train", 1), ("train", 2), ("val", 0), ("val", 1), ("val", 2)] == sorted(found)


@given(st.integers(0, 8), st.integers(0, 8))
def test_a_replay_and_the_rest_are_the_whole(first: int, checkpoint: int) -> None:
    """Whatever was on record, a history up to a checkpoint leaves each of its points on record once."""
    ctx = FrozenContext()
    recorder = FitRecorder(ctx)
    recorder.begin()
    for step in range(first):
        recorder.record([TRAIN], step=step)
    recorder.replay([([TRAIN], {"step": step}) for step in range(checkpoint)])

    assert [*range(max(first, checkpoint))] == sorted(tags["step"] for tags in ctx.metrics.get_tags("loss"))


class Died(BaseException):
    """Ends a process in place of SIGKILL: no step finishes."""


def test_a_resumable_fit(tmp_path: Path) -> None:
    """What was recorded before the last checkpoint is kept when the process dies, and not recorded again after it."""

    def train(journal: Journal, epochs: range, dies_in: int = -1) -> FrozenContext[Any]:
        ctx = journal.context(FrozenContext)
        recorder = FitRecorder(ctx, resumable=True)
        recorder.begin()
        for epoch in epochs:
            recorder.record([TRAIN], epoch=epoch)
            if epoch == dies_in:
                raise Died
            recorder.keep_points()
        recorder.end()
        return ctx

    with pytest.raises(Died), Journal.start(tmp_path, "fit") as journal:
        train(journal, range(5), dies_in=2)
    with pytest.raises(Died), Journal.resume(tmp_path / "fit-0001.db") as journal:
        train(journal, range(1, 5), dies_in=3)  # from an older checkpoint: epoch 1 is measured again
    with Journal.resume(tmp_path / "fit-0001.db") as journal:
        ctx = train(journal, range(3, 5))

    found = [(point.tags["epoch"], point.step) for point in ctx.metrics.series("loss")]
    assert [(n, f"fit/part-{n + 1}") for n in range(5)] == found
    assert [*(f"fit/part-{n}" for n in range(1, 6)), "fit"] == [step.name for step in ctx.provenance.steps]


def test_two_resumable_fits() -> None:
    """Two fits in one process are two: the second one is not taken for the rest of the first."""
    ctx = FrozenContext()
    with ctx.step("search") as step:
        recorder = FitRecorder(step, resumable=True)
        for _ in range(2):
            recorder.begin()
            recorder.record([TRAIN], epoch=0)
            recorder.record([VAL], epoch=0)
            recorder.keep_points()
            recorder.end()

    assert [*2 * ["search/part-1"], *2 * ["search/part-2"]] == [point.step for point in ctx.metrics.series("loss")]


def test_a_resumable_fit_that_fails() -> None:
    """The error that ends a fit is on the record of its inner step, too; a part without points is not opened."""
    ctx = typed()
    recorder = FitRecorder(ctx, resumable=True)
    recorder.begin()
    recorder.keep_points()
    recorder.record([TRAIN], epoch=0)
    recorder.keep_points()
    with pytest.raises(InvalidMetricError):
        recorder.record([TRAIN._replace(value=nan)], epoch=1)

    assert [("fit/part-1", False), ("fit/part-2", True), ("fit", True)] == [
        (name, error is not None) for name, error in ended(ctx)
    ]


def test_copies_and_pickles() -> None:
    """A copy records in the same context. A pickle would not, and is refused."""
    recorder = FitRecorder(FrozenContext())

    assert copy.copy(recorder) is copy.deepcopy([recorder])[0] is recorder
    with pytest.raises(SchemaError, match="in the context of the process that made it"):
        pickle.dumps(recorder)


def test_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a forked process the points would be lost, so no fit begins there."""
    recorder = FitRecorder(FrozenContext())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(SchemaError, match="in the context of the process that made it"):
        recorder.begin()


def test_rounds_of_boosting() -> None:
    """A round has the name with its data set, and in cross-validation the deviation beside the mean."""
    assert [Measurement("train-rmse", 0.5, "rmse", "train")] == list(Measurement.of_round("train", "rmse", 0.5))
    mean, deviation = Measurement.of_round("test", "rmse", 0.5, 0.1)
    assert ("test-rmse-std", "rmse-std", 0.1, True) == (
        deviation.name,
        deviation.metric,
        deviation.value,
        deviation.is_extra,
    )
    assert not mean.is_extra


@pytest.mark.parametrize(
    ("module", "library"),
    [("huggingface", "transformers"), ("keras", "keras"), ("lightning", "lightning"), ("xgboost", "xgboost")],
)
def test_a_framework_that_is_not_installed(module: str, library: str) -> None:
    """The module of a framework that is not installed names the extra that installs it."""
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    with pytest.raises(MissingExtraError, match=rf"needs {library}.*crystallize-context\[{module}\]"):
        import_module(f"crystallize.callbacks.{module}")
