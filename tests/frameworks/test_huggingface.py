"""The callback of transformers' trainer, in real training."""

from math import nan
from typing import Any, Literal

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from typing_extensions import TypedDict

from crystallize import (
    FrozenContext,
    InvalidMetricError,
    InvalidTagError,
    Journal,
    Metric,
    MetricSchema,
    SinkError,
    UndeclaredMetricWarning,
    UnknownMetricError,
)
from crystallize.callbacks.huggingface import HuggingFaceCallback

from .schemas import BrokenSink, FitMetrics, facts, steps, typed


class Line(torch.nn.Module):
    """A line through points, which returns its loss as the models of transformers do."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.scale = scale

    def forward(self, x: Any, labels: Any) -> Any:
        guess = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(guess, labels) * self.scale, "logits": guess}


POINTS = [{"x": torch.tensor([n / 8]), "labels": torch.tensor([n / 4])} for n in range(8)]


def accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": 1.0}


def trainer(callback: HuggingFaceCallback, *others: Any, scale: float = 1.0, **options: Any) -> Any:
    common = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "eval_strategy": "epoch", **common, **options}
    measure = {"compute_metrics": options.pop("compute_metrics", None)}
    arguments = TrainingArguments("out", **options)
    callbacks = [callback, *others]
    model = Line(scale)
    return Trainer(model, arguments, train_dataset=POINTS, eval_dataset=POINTS, callbacks=callbacks, **measure)


def test_records_a_training() -> None:
    """What the trainer logs is recorded with step and epoch; the settings and the result are artifacts."""
    ctx = FrozenContext()
    found = trainer(HuggingFaceCallback(ctx), save_strategy="epoch", load_best_model_at_end=True)
    found.train()

    loss = ctx.metrics.series("loss")
    assert [(n, n / 2) for n in range(1, 5)] == [(t["step"], t["epoch"]) for t in loss.where(split="train").tags]
    assert [2, 4] == [tags["step"] for tags in loss.where(split="eval").tags]
    assert {"loss", "grad_norm", "learning_rate", "runtime", "train_runtime"} <= set(ctx.metrics)
    assert [("fit", None)] == steps(ctx)
    assert 2 == facts(ctx, "fit-settings.json")["num_train_epochs"]
    result = facts(ctx, "fit-result.json")
    assert (4, found.state.best_model_checkpoint) == (result["global_step"], result["best_model_checkpoint"])


def test_typed() -> None:
    """With a schema, the losses are validated, and of what the trainer adds unasked, what is declared is recorded."""
    ctx = typed()
    trainer(HuggingFaceCallback(ctx)).train()

    assert (["loss"], 2) == (list(ctx.metrics), len(ctx.metrics.series(FitMetrics.loss).where(split="eval")))


class TwoSplits(TypedDict):
    split: Literal["train", "val"]


class TwoSplitMetrics(MetricSchema):
    loss = Metric(float, tags=TwoSplits)


def test_checks_what_is_known_before_the_first_step() -> None:
    """That an evaluation will be tagged "eval" is known at the start; so an error that it causes comes then."""
    ctx = FrozenContext(metrics=TwoSplitMetrics)
    seen: list[int] = []
    count = Counter(seen)
    with pytest.raises(InvalidTagError, match="'split' should be 'train' or 'val', got 'eval'"):
        trainer(HuggingFaceCallback(ctx), count).train()
    assert [] == seen

    names: Any = {"eval_loss": (TwoSplitMetrics.loss, {"split": "val"})}
    trainer(HuggingFaceCallback(ctx, names=names), count).train()
    assert 2 == len(ctx.metrics.series(TwoSplitMetrics.loss).where(split="val"))


def test_refuses_an_undeclared_name_at_the_first_log() -> None:
    """A name that is neither declared nor mapped ends the training before anything is recorded."""
    ctx = typed()
    with pytest.raises(UnknownMetricError, match="'eval_accuracy' is not declared in FitMetrics"):
        trainer(HuggingFaceCallback(ctx), eval_on_start=True, compute_metrics=accuracy).train()

    assert [True] == [error is not None for _, error in steps(ctx)]


def test_leaves_out_a_name_that_comes_late() -> None:
    """A name that is first measured later does not end the training."""
    ctx = typed()
    with pytest.warns(UndeclaredMetricWarning, match="leaves out 'eval_accuracy'"):
        trainer(HuggingFaceCallback(ctx), compute_metrics=accuracy).train()

    assert 6 == len(ctx.metrics["loss"])


def test_evaluates_alone() -> None:
    """An evaluation outside a training has a step of its own."""
    ctx = FrozenContext()
    found = trainer(HuggingFaceCallback(ctx, step="train"))
    found.train()
    found.evaluate()

    assert [("train", None), ("evaluate", None)] == steps(ctx)
    assert "evaluate" == list(ctx.metrics.series("loss"))[-1].step


def test_trains_twice() -> None:
    """Each training has a step of its own, and begins at the first step of the trainer."""
    ctx = FrozenContext()
    found = trainer(HuggingFaceCallback(ctx), eval_strategy="no")
    found.train()
    found.train()

    assert [("fit", None), ("fit#2", None)] == steps(ctx)
    assert 2 * [1, 2, 3, 4] == [tags["step"] for tags in ctx.metrics.get_tags("loss")]


class Counter(TrainerCallback):
    """Notes each step."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append(state.global_step)


class Crash(TrainerCallback):
    """Ends a training after its third step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3:
            raise OSError("gone")


def test_goes_on_from_a_checkpoint() -> None:
    """A run that died and a training that goes on from a checkpoint have the whole curve, once."""
    options: Any = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"}

    def crash(journal: Journal) -> None:
        with journal.context(FrozenContext).step("fit") as step:
            trainer(HuggingFaceCallback(step), Crash(), **options).train()

    with pytest.raises(OSError, match="gone"), Journal.start("runs", "line") as journal:
        crash(journal)
    with Journal.resume("runs/line-0001.db") as journal:
        ctx = journal.context(FrozenContext)
        trainer(HuggingFaceCallback(ctx), **options).train(resume_from_checkpoint=True)

    assert [1, 2, 3, 4] == [tags["step"] for tags in ctx.metrics.get_tags("loss")]


def test_goes_on_in_the_same_context() -> None:
    """Points that are on record are not recorded again where a training goes on from a checkpoint."""
    ctx = FrozenContext()
    options: Any = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"}
    with pytest.raises(OSError, match="gone"):
        trainer(HuggingFaceCallback(ctx, names={"grad_norm": None}), Crash(), **options).train()
    trainer(HuggingFaceCallback(ctx, names={"grad_norm": None}), **options).train(resume_from_checkpoint=True)

    assert [1, 2, 3, 4] == sorted({tags["step"] for tags in ctx.metrics.get_tags("loss")})
    assert [1, 2] == [tags["step"] for tags in ctx.metrics.get_tags("loss")][:2]
    assert 1 == [tags["step"] for tags in ctx.metrics.get_tags("loss")].count(2)


def test_a_loss_that_is_no_number() -> None:
    """A value that the schema does not allow ends the training."""
    options: Any = {"scale": nan, "logging_nan_inf_filter": False}
    with pytest.raises(InvalidMetricError, match="should be a finite number"):
        trainer(HuggingFaceCallback(typed()), **options).train()


def test_a_broken_sink() -> None:
    """What a sink raises comes out of the training."""
    with pytest.raises(SinkError, match="disk full"):
        trainer(HuggingFaceCallback(FrozenContext(sinks=[BrokenSink()]))).train()


def test_other_ranks_record_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In distributed training, rank 0 records alone."""
    ctx = FrozenContext()
    found = trainer(HuggingFaceCallback(ctx))
    monkeypatch.setattr(type(found), "is_world_process_zero", lambda self: False)
    found.train()

    assert ([], 0) == (steps(ctx), len(ctx.metrics))
