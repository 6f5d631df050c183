"""The logger of Lightning, in real training."""

import os
import subprocess
import sys
from argparse import Namespace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, TensorDataset

from crystallize import (
    FrozenContext,
    InvalidMetricError,
    Journal,
    SchemaError,
    SinkError,
    UndeclaredMetricWarning,
    UnknownMetricError,
)
from crystallize.callbacks.lightning import LightningLogger

from .schemas import BrokenSink, FitMetrics, facts, steps, typed

NAMES: Any = {
    "train_loss": (FitMetrics.loss, {"split": "train"}),
    "val_loss": (FitMetrics.loss, {"split": "val"}),
    "test_loss": None,
}


class Line(LightningModule):
    """A line through points."""

    def __init__(self, lr: float = 0.1, crash: BaseException | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["crash"])
        self.layer = torch.nn.Linear(1, 1)
        self.crash, self.scale = crash, scale

    def loss(self, batch: Any) -> Any:
        x, y = batch
        return torch.nn.functional.mse_loss(self.layer(x), y) * self.scale

    def training_step(self, batch: Any, number: int) -> Any:
        if self.crash is not None and self.global_step == 3:
            raise self.crash
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, number: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    def train_dataloader(self) -> Any:
        x = torch.arange(8.0).reshape(8, 1) / 8
        return DataLoader(TensorDataset(x, 2 * x), batch_size=4)

    val_dataloader = test_dataloader = train_dataloader


def trainer(logger: LightningLogger, **options: Any) -> Any:
    common = {"accelerator": "cpu", "max_epochs": 2, "log_every_n_steps": 1, "enable_progress_bar": False}
    options = {"enable_checkpointing": False, "enable_model_summary": False, **common, **options}
    return Trainer(logger=logger, **options)


def test_records_a_fit() -> None:
    """What the module logs is recorded with epoch and step, the check before the fit is not, and settings are kept."""
    ctx = FrozenContext()
    logger = LightningLogger(ctx)
    fitted = trainer(logger, enable_checkpointing=True, callbacks=[best := ModelCheckpoint(monitor="val_loss")])
    fitted.fit(Line())
    fitted.test(fitted.model)

    assert [{"epoch": n // 2, "step": n} for n in range(4)] == list(ctx.metrics.get_tags("train_loss"))
    assert [{"epoch": n, "step": 2 * n + 1} for n in range(2)] == list(ctx.metrics.get_tags("val_loss"))
    assert [("fit", None), ("test", None)] == steps(ctx)
    assert "test" == next(iter(ctx.metrics.series("test_loss"))).step
    assert {"lr": 0.1, "scale": 1.0} == facts(ctx, "fit-settings.json")
    result = facts(ctx, "fit-result.json")
    assert (best.best_model_path, "val_loss") == (result["best_model_path"], result["monitor"])
    assert min(ctx.metrics["val_loss"]) == pytest.approx(result["best_model_score"])
    assert f"crystallize/{logger.version}/checkpoints" in best.best_model_path


def test_typed() -> None:
    """With a schema, names are mapped to metrics, with tags."""
    ctx = typed()
    fitted = trainer(LightningLogger(ctx, names=NAMES))
    fitted.fit(Line())
    fitted.test(fitted.model)

    assert 4 == len(ctx.metrics.series(FitMetrics.loss).where(split="train"))
    assert 2 == len(ctx.metrics.series(FitMetrics.loss).where(split="val"))


def test_refuses_an_undeclared_name() -> None:
    """A name that is neither declared nor mapped ends the fit before anything is recorded."""
    ctx = typed()
    with pytest.raises(UnknownMetricError, match="'train_loss' is not declared in FitMetrics"):
        trainer(LightningLogger(ctx)).fit(Line())

    assert [True] == [error is not None for _, error in steps(ctx)]


def test_leaves_out_a_name_that_comes_late() -> None:
    """A name that is first measured later does not end the fit."""
    ctx = typed()
    with pytest.warns(UndeclaredMetricWarning, match="leaves out 'val_loss'") as caught:
        trainer(LightningLogger(ctx, names={"train_loss": FitMetrics.loss})).fit(Line())

    assert 1 == len([warning for warning in caught if warning.category is UndeclaredMetricWarning])
    assert 4 == len(ctx.metrics["loss"])


@pytest.mark.parametrize(("crash", "raised"), [(OSError("gone"), OSError), (KeyboardInterrupt(), SystemExit)])
def test_a_crash(crash: BaseException, raised: type[BaseException]) -> None:
    """What ends the fit is on the record of its step, and a fit that follows has a step of its own."""
    ctx = FrozenContext()
    logger = LightningLogger(ctx)
    with pytest.raises(raised):
        trainer(logger).fit(Line(crash=crash))
    trainer(logger).fit(Line())

    name = type(crash).__name__
    assert [("fit", f"{name}: {crash}".removesuffix(": ")), ("fit#2", None)] == steps(ctx)


def test_in_a_step() -> None:
    """In a step of the user, no step is opened."""
    ctx = FrozenContext()
    with ctx.step("search") as step:
        trainer(LightningLogger(step, tags={"fold": 1})).fit(Line())

    assert [("search", None)] == steps(ctx)
    assert {"fold": 1, "epoch": 0, "step": 0} == ctx.metrics.get_tags("train_loss")[0]


def test_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Steps and epochs are counted on where a fit goes on from a checkpoint."""
    ctx = FrozenContext()
    logger = LightningLogger(ctx)
    first = trainer(logger, max_epochs=1)
    first.fit(Line())
    first.save_checkpoint(tmp_path / "last.ckpt")
    trainer(logger).fit(Line(), ckpt_path=tmp_path / "last.ckpt")

    assert [{"epoch": n // 2, "step": n} for n in range(4)] == list(ctx.metrics.get_tags("train_loss"))


def test_a_resumable_fit() -> None:
    """With `resumable`, what was logged before the last checkpoint survives the process, and the curve is whole."""

    def train(journal: Journal, crash: BaseException | None, checkpoint: str | None) -> FrozenContext[Any]:
        ctx = journal.context(FrozenContext)
        save = ModelCheckpoint("saved", every_n_train_steps=2, save_last=True)
        fitted = trainer(LightningLogger(ctx, resumable=True), enable_checkpointing=True, callbacks=[save])
        fitted.fit(Line(crash=crash), ckpt_path=checkpoint)
        return ctx

    with pytest.raises(OSError, match="gone"), Journal.start("runs", "line") as journal:
        train(journal, OSError("gone"), None)
    with Journal.resume("runs/line-0001.db") as journal:
        ctx = train(journal, None, "saved/last.ckpt")

    assert [0, 1, 2, 3] == [tags["step"] for tags in ctx.metrics.get_tags("train_loss")]
    assert {"fit/part-1", "fit/part-2", "fit"} <= {record.name for record in ctx.provenance.steps}


def test_a_loss_that_is_no_number() -> None:
    """A value that the schema does not allow ends the fit."""
    with pytest.raises(InvalidMetricError, match="should be a finite number"):
        trainer(LightningLogger(typed(), names=NAMES)).fit(Line(scale=nan))


def test_a_broken_sink() -> None:
    """What a sink raises comes out of the training."""
    with pytest.raises(SinkError, match="disk full"):
        trainer(LightningLogger(FrozenContext(sinks=[BrokenSink()]))).fit(Line())


def test_by_hand() -> None:
    """Without the call at the start of a fit, the first metrics begin it."""
    ctx = FrozenContext()
    logger = LightningLogger(ctx, step="train")
    logger.log_hyperparams(Namespace(lr=0.1))
    logger.log_metrics({"loss": 0.5})
    logger.finalize("success")

    assert ([("train", None)], ({},)) == (steps(ctx), ctx.metrics.get_tags("loss"))
    assert {"lr": 0.1} == facts(ctx, "train-settings.json")


def test_other_ranks_record_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In distributed training, rank 0 records alone."""
    ctx = FrozenContext()
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = LightningLogger(ctx)
    logger.log_metrics({"loss": 0.5})
    logger.finalize("success")

    assert ([], 0) == (steps(ctx), len(ctx.metrics))


def test_processes_that_are_forked() -> None:
    """Where Lightning would train in processes that it forks, nothing would come back: that is an error."""
    with pytest.raises(Exception, match="the context of the process that made it") as caught:
        trainer(LightningLogger(FrozenContext()), devices=2, strategy="ddp_fork").fit(Line())
    assert SchemaError.__name__ in f"{type(caught.value)} {caught.value}"


DISTRIBUTED = """
import os
from pathlib import Path

from crystallize import FrozenContext
from crystallize.callbacks.lightning import LightningLogger
from tests.frameworks.test_lightning import Line, trainer

ctx = FrozenContext()
trainer(LightningLogger(ctx), devices=2, strategy="ddp").fit(Line())
Path(f"rank-{os.environ.get('LOCAL_RANK', 0)}").write_text(str(len(ctx.metrics["train_loss"])))
"""


def test_distributed(tmp_path: Path) -> None:
    """Of two processes that train together, one records."""
    script = tmp_path / "train.py"
    script.write_text(DISTRIBUTED, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, check=True, timeout=300)

    assert {"rank-0": "2", "rank-1": "0"} == {file.name: file.read_text("utf-8") for file in tmp_path.glob("rank-*")}
