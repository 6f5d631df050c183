"""Runs in short: only scalar values, and the best of metrics with a goal."""

import json
import sqlite3
import sys
from contextlib import closing, suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from crystallize import FrozenContext, Journal, Metric, MetricSchema, load_run
from crystallize._journal import run_summary
from crystallize._journal.run_summary import summary_of


class Tuned(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    depth: int = 3
    weights: np.ndarray


class Goals(MetricSchema):
    loss = Metric(float, goal="minimize")
    score = Metric(float, goal="maximize")
    other = Metric(float)
    name = Metric(str, goal="minimize")


def scalars_of(folder: Path, values: dict[str, Any], shape: Any = FrozenContext) -> dict[str, Any]:
    with Journal.start(folder, "kinds") as journal:
        journal.context(shape, values)
    return summary_of(journal.path).scalars


def test_scalars(tmp_path: Path) -> None:
    """Scalars are there as they are; fields have names with dots; short lists and other simple values are texts."""
    values = {
        "lr": 0.1,
        "seed": 10**30,
        "ok": True,
        "nothing": None,
        "name": "x",
        "cfg": {"depth": 3, "opt": {"name": "adam"}},
        "layers": [64, 32],
        "pair": (1, 2),
        "day": date(2026, 1, 2),
        "when": datetime(2026, 1, 2, 3),
        "wait": timedelta(seconds=3),
        "price": Decimal("1.5"),
        "accuracy": np.float64(0.75),
        "count": np.int64(3),
        "image": np.zeros(3),
        "table": pd.DataFrame({"epoch": [1, 2]}),
        "long": [*range(1000)],
        "text": "y" * 5000,
        "token": SecretStr("hunter2"),
    }

    assert {
        "inputs.lr": 0.1,
        "inputs.seed": 10**30,
        "inputs.ok": True,
        "inputs.nothing": None,
        "inputs.name": "x",
        "inputs.cfg.depth": 3,
        "inputs.cfg.opt.name": "adam",
        "inputs.layers": "[64,32]",
        "inputs.pair": "[1,2]",
        "inputs.day": "2026-01-02",
        "inputs.when": "2026-01-02 03:00:00",
        "inputs.wait": "0:00:03",
        "inputs.price": 1.5,
        "inputs.accuracy": 0.75,
        "inputs.count": 3,
    } == scalars_of(tmp_path, values)


def test_fields_beside_arrays(tmp_path: Path) -> None:
    """The scalar fields of a model are there, and its arrays are not."""

    class Shape(BaseModel):
        tuned: Tuned

    assert {"inputs.tuned.depth": 3} == scalars_of(
        tmp_path, {"tuned": Tuned(weights=np.zeros(3))}, FrozenContext[Shape]
    )


def test_numbers_of_numpy_without_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NumPy is not installed, its numbers are left out."""
    with Journal.start(tmp_path, "kinds") as journal:
        journal.context(FrozenContext, {"lr": 0.1, "accuracy": np.float64(0.75)})
    monkeypatch.setitem(sys.modules, "numpy", None)

    assert {"inputs.lr": 0.1} == summary_of(journal.path).scalars


def test_large_values_are_not_read(tmp_path: Path) -> None:
    """Neither the arrays nor the long texts of a run are read: another content of theirs is not even noticed."""
    array = np.random.default_rng(0).random(100_000)
    with Journal.start(tmp_path, "large") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1, "text": "z" * 2_000_000})
        for number in range(3):
            ctx[f"array-{number}"] = array[: 100_000 + number]
        ctx["numbers"] = {"score": np.float32(0.5), "array": array[:1000]}
        ctx["accuracy"] = 0.9
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as connection:
        connection.execute("UPDATE arrays SET npy = zeroblob(length(npy)) WHERE length(npy) > 5000")
        connection.execute("UPDATE entries SET json = replace(json, 'z', 'y') WHERE key = 'text'")

    assert {"inputs.lr": 0.1, "values.accuracy": 0.9} == summary_of(journal.path).scalars


def test_best(tmp_path: Path) -> None:
    """The best of a metric with a goal is that of its series, without NaN; others have none, and are not read."""
    with Journal.start(tmp_path, "best") as journal:
        ctx = journal.context(FrozenContext, metrics=Goals)
        for value in (nan, 0.5, 0.25, nan, 0.75):
            ctx.record("loss", value)
            ctx.record("score", value)
            ctx.record("other", value)
        ctx.record("name", "x")
    series = load_run(journal.path, metrics=Goals).metrics.series

    assert {"best.loss": 0.25, "best.score": 0.75} == summary_of(journal.path).scalars
    assert (0.25, 0.75) == (series(Goals.loss).best, series(Goals.score).best)


def test_resumed(tmp_path: Path) -> None:
    """Work that was done again counts once, and the time between two processes does not count."""
    with suppress(OSError), Journal.start(tmp_path, "again") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1}, metrics=Goals)
        with ctx.step("fit") as fit:
            fit.record("loss", 0.1)
            fit["accuracy"] = 0.5
            raise OSError("no space")
    assert ("failed", "OSError: no space", 1, 0) == facts_of(journal.path)
    with Journal.resume(journal.path) as journal, journal.context(FrozenContext, metrics=Goals).step("fit") as fit:
        fit.record("loss", 0.4)
        fit["accuracy"] = 0.8
    summary = summary_of(journal.path)
    first, second = load_run(journal.path).sessions

    assert {"inputs.lr": 0.1, "values.accuracy": 0.8, "best.loss": 0.4} == summary.scalars
    assert ("finished", None, 1, 1) == facts_of(journal.path)
    assert first.ended is not None
    assert second.ended is not None
    worked = (first.ended - first.started) + (second.ended - second.started)
    assert worked.total_seconds() == pytest.approx(summary.took)


def facts_of(path: Path) -> tuple[Any, ...]:
    summary = summary_of(path)
    return summary.status, summary.error, summary.steps, summary.steps_finished


def test_running(tmp_path: Path) -> None:
    """A run that is being written has the values that are in its file so far."""
    with Journal.start(tmp_path, "running") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1}, metrics=Goals)
        ctx["accuracy"] = 0.9
        ctx.record("loss", 0.5)
        journal.flush()
        summary = summary_of(journal.path)

    assert ("running", None) == (summary.status, summary.ended)
    assert {"inputs.lr": 0.1, "values.accuracy": 0.9, "best.loss": 0.5} == summary.scalars


def test_failures(tmp_path: Path) -> None:
    """The error of a run that goes on is that of the last step that failed; a step that failed is not finished."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for text in ("first", "second"):
            with suppress(OSError), ctx.step("fit"):
                raise OSError(text)
        with ctx.step("eval"):
            journal.flush()
            assert ("running", "OSError: second", 3, 0) == facts_of(journal.path)
            assert 0 <= (summary_of(journal.path).took or -1) < 60
    assert ("finished", "OSError: second", 3, 1) == facts_of(journal.path)


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read has the reason as its error."""
    path = tmp_path / "run-0001.db"
    path.write_text("no run")
    assert "damaged" == summary_of(path).status
    assert "unreadable" == summary_of(tmp_path / "absent-0001.db").status

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_summary, "open_outline", refuse)
    assert "it cannot be read ([Errno 13] Permission denied)" == summary_of(path).error
    assert json.dumps(summary_of(path).scalars) == "{}"
