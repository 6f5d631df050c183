"""What the tests of all engines do: have steps fail or die, and look at the run that comes of it."""

import os
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

import folds
import pytest
from folds import EPOCHS, FOLDS, Train, TrainMetrics

from crystallize import Context, Run, load_run

__all__ = ["EXAMPLES", "NAMES", "Attempts", "check_complete", "finished", "killed", "run_number"]

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
NAMES = ["load", *(f"fold-{fold}" for fold in range(FOLDS)), "summarize"]
"""The steps and branches of a run that is complete."""


def run_number(number: int) -> Run[Train]:
    return load_run(f"runs/folds-{number:04d}.db", Train, metrics=TrainMetrics)


def finished(run: Run[Train]) -> list[str]:
    return [name for name in NAMES if run.provenance.finished(name)]


def check_complete(run: Run[Train]) -> None:
    """Check that a run has each step and point once, however many attempts there were."""
    assert "finished" == run.status
    assert sorted(NAMES) == sorted(step.name for step in run.provenance.steps if step.error is None)
    loss = run.metrics.series(TrainMetrics.loss)
    tags = [(point.tags["fold"], point.tags["epoch"]) for point in loss]
    assert [(fold, epoch) for fold in range(FOLDS) for epoch in range(EPOCHS)] == sorted(tags)
    assert [f"fold-{fold}" for fold, _ in tags] == [point.step for point in loss]
    assert pytest.approx(2.64947) == run.values["error"]


class Attempts:
    """Stands in for the steps of the examples: counts the attempts at each, and makes some of them fail.

    Attributes:
        names: The steps and branches, once for each attempt.
        failing: How many more attempts at a step will fail, when they have done what they should.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.failing: dict[str, int] = {}
        self._load, self._validate = folds.load, folds.validate
        monkeypatch.setattr(folds, "load", self.load)
        monkeypatch.setattr(folds, "validate", self.validate)

    def load(self, ctx: Context[folds.Load]) -> None:
        self._load(ctx)
        self._end("load")

    def validate(self, ctx: Context[folds.Validate], fold: int) -> None:
        self._validate(ctx, fold)
        self._end(f"fold-{fold}")

    def _end(self, name: str) -> None:
        self.names.append(name)
        if self.failing.get(name, 0):
            self.failing[name] -= 1
            raise OSError(f"{name} timed out")


DIES = """
import os, signal, time
import folds

validate = folds.validate

def dies(ctx, fold):
    validate(ctx, fold)
    if fold == 2:
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGKILL)

folds.validate = dies
"""


def killed(call: str, **environment: str) -> None:
    """Run an example in a process that dies in its third fold, when others had time to be merged."""
    command = [sys.executable, "-c", f"{DIES}\n{call}"]
    path = {"PYTHONPATH": str(EXAMPLES)}
    process = subprocess.run(command, env={**os.environ, **path, **environment}, capture_output=True, check=False)
    assert -SIGKILL == process.returncode, process.stderr.decode()
