"""Comparing two runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crystallize import (
    FrozenContext,
    Journal,
    Run,
    load_run,
)
from crystallize.runs import diff_runs, not_compared

from .train_runs import Train, TrainMetrics


def test_comparing_runs(tmp_path: Path) -> None:
    """Two runs differ in what they began with and what came out, and not in when."""
    paths = []
    for lr, last in ((0.1, 1.0), (0.1, 1.0), (0.2, float("nan"))):
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext[Train], {"lr": lr, "token": "hunter2"}, metrics=TrainMetrics)
            with ctx.step("fit") as step:
                step.record("loss", last, {"epoch": 1})
                step["accuracy"] = lr
            ctx.artifacts.add("a.txt", str(lr).encode())
        paths.append(journal.path)
    runs: list[Run[Any]] = [load_run(path) for path in paths]
    first, same, other = runs

    assert () == diff_runs(first, same) == diff_runs(other, load_run(paths[2]))
    assert [("input", "lr"), ("value", "accuracy"), ("metric", "loss"), ("artifact", "a.txt")] == [
        (found.what, found.name) for found in diff_runs(first, other)
    ]
    assert (("input", "token"),) == not_compared(first, same)
    assert "Run(run-0001, finished)" == repr(first)


@dataclass
class Odd:
    """A value that only a schema restores."""

    last: int


def test_comparing_arrays(tmp_path: Path) -> None:
    """Points with arrays differ where these do, anywhere; what no file gives back is told as not compared."""
    runs: list[Run[Any]] = []
    for last in (1, 2, 1):
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext, {"b": object()} if len(runs) < 2 else {})
            many = np.zeros(5000)
            many[2500] = last
            ctx.record("seen", many, {"at": {"x": np.array([last])}})
            ctx.record("bytes", b"\xff")
            ctx.record("lost", object())
            ctx.record("both", Odd(last))
            if not runs:
                ctx.record("alone", object())
            ctx["a"] = object()
        runs.append(load_run(journal.path))

    assert ["seen", "both", "alone"] == [found.name for found in diff_runs(runs[0], runs[1])]
    assert ["b", "alone"] == [found.name for found in diff_runs(runs[0], runs[2])]
    assert (("input", "b"), ("value", "a"), ("metric", "lost")) == not_compared(runs[0], runs[1])
    assert (("value", "a"), ("metric", "both"), ("metric", "lost")) == not_compared(runs[0], runs[2])
