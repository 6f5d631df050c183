"""Runs for the tests of tables."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crystallize import FrozenContext, Journal, Run, load_run
from crystallize._journal import run_files

from ..journal.journal_runs import no_environment
from .exported_runs import Opaque, Train
from .recorded_points import RunMetrics, Sweep


@pytest.fixture(scope="module")
def quick_journals() -> Iterator[None]:
    """Ask git nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_files, "current_environment", no_environment)
        yield


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder of two runs of a sweep."""
    for lr in (0.1, 1):
        with Journal.start(tmp_path / "runs", "sweep") as journal:
            ctx = journal.context(
                FrozenContext[Sweep], {"lr": lr, "token": "hunter2", "layers": [1, 2]}, metrics=RunMetrics
            )
            with ctx.step("fit") as step:
                for epoch in range(3):
                    step.record("loss", lr / (epoch + 1), {"epoch": epoch, "split": "val"})
            ctx.fields.accuracy = 0.9
    return tmp_path / "runs"


@pytest.fixture
def run(tmp_path: Path) -> Run[Any]:
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext[Train], {"lr": 0.1, "token": "hunter2", "model": Opaque()})
        with ctx.step("fit") as fit:
            fit.fields.lr
            assert "accuracy" not in fit
            for epoch, loss in enumerate([0.5, math.nan, -0.25]):
                fit.record("loss", loss, tags={"epoch": epoch})
            fit.fields.accuracy = 0.9
            fit.artifacts.add("model.bin", b"12345")
        ctx.fields.weights = np.array([1.0, math.inf])
        ctx.record("note", "fine")
    return load_run(journal.path)
