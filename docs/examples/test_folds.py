"""Tests of the steps of `folds.py`: each alone, with no engine, no file, and no step before it."""

import os
from collections.abc import Callable
from math import inf
from multiprocessing import get_context
from pathlib import Path
from signal import SIGKILL
from typing import Annotated

import pytest
from annotated_types import Ge, Gt, Le, Len
from folds import EPOCHS, FOLDS, Train, TrainMetrics, Validate, load, summarize, validate
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from crystallize import (
    Context,
    FrozenContext,
    InvalidMetricError,
    InvalidValueError,
    Journal,
    MetricRecorded,
    load_run,
    step,
)
from crystallize.sinks.memory import MemorySink

# A step, given the real schema. Keys that it does not need are left out: they are not written yet.


@pytest.fixture
def ctx() -> FrozenContext[Train]:
    return FrozenContext[Train]({"lr": 0.5, "rows": [1.0, 2.0, 4.0]}, metrics=TrainMetrics)


def test_measures_each_epoch(ctx: FrozenContext[Train]) -> None:
    """The loss of each epoch is a point. Half a step to 1 and to 4 leads to 2.25, and 2 was left out."""
    validate(ctx, 1)
    loss = ctx.metrics.series(TrainMetrics.loss)
    assert [point.tags for point in loss] == [{"fold": 1, "epoch": epoch} for epoch in range(EPOCHS)]
    assert loss.values[0] == 0.25**2


def test_does_what_it_says(ctx: FrozenContext[Train]) -> None:
    """It reads two keys, writes none, and measures one metric."""
    ctx.run(validate, 1)
    (record,) = ctx.provenance.steps
    assert record.reads == ("rows", "lr")
    assert record.writes == ()
    assert record.points == {"loss": EPOCHS}


def test_leaves_the_rows_as_they_are(ctx: FrozenContext[Train]) -> None:
    """It takes a row out of its own copy of the list."""
    validate(ctx, 1)
    assert ctx.fields.rows == [1.0, 2.0, 4.0]


# What is wrong is refused, at the line that does it.


def test_refuses_an_infinite_loss() -> None:
    """A row that is infinite makes a loss that the schema does not allow."""
    ctx = FrozenContext[Train]({"lr": 0.5, "rows": [1.0, inf]}, metrics=TrainMetrics)
    with pytest.raises(InvalidMetricError, match="cannot record 'loss': should be a finite number, got inf"):
        validate(ctx, 1)
    assert len(ctx.metrics.series(TrainMetrics.loss)) == 0


def test_refuses_an_infinite_error(ctx: FrozenContext[Train]) -> None:
    """What the schema does not allow is not written."""
    with pytest.raises(InvalidValueError, match="cannot write 'error'"):
        ctx.fields.error = inf
    assert "error" not in ctx


# A step, given no more than it asks for, and values that hypothesis makes from the types.


class Small(BaseModel):
    lr: Annotated[float, Gt(0), Le(1)]
    rows: Annotated[list[Annotated[float, Ge(-100), Le(100)]], Len(2, 10)]


@given(st.builds(Small))
def test_the_loss_has_bounds(small: Small) -> None:
    """The mean lies among 0 and the rows, so the loss is at most the square of what lies between these."""
    ctx = FrozenContext[Small](small, metrics=TrainMetrics)
    validate(ctx, 0)
    assert all(0 <= value <= 200**2 for value in ctx.metrics["loss"])


# A step, with a sink.


def test_tells_of_each_point() -> None:
    """A sink is told of each point when it is recorded."""
    sink = MemorySink()
    ctx = FrozenContext[Train]({"lr": 0.5, "rows": [1.0, 2.0]}, metrics=TrainMetrics, sinks=[sink])
    validate(ctx, 0)
    told = [event for event in sink.events if isinstance(event, MetricRecorded)]
    assert [event.tags["epoch"] for event in told] == list(range(EPOCHS))


# All steps, in a process that dies.


def run(journal: Journal, validate: Callable[[Context[Validate], int], None] = validate) -> FrozenContext[Train]:
    ctx = journal.context(FrozenContext[Train], {"lr": 0.5}, metrics=TrainMetrics)
    ctx.run(load)
    for fold in range(FOLDS):
        ctx.run(validate, fold)
    ctx.run(summarize, ctx.metrics.series(TrainMetrics.loss))
    return ctx


@step("validate-{fold}")
def dies(ctx: Context[Validate], fold: int) -> None:
    validate(ctx, fold)
    if fold == 2:
        os.kill(os.getpid(), SIGKILL)


def run_and_die(folder: Path) -> None:
    with Journal.start(folder, "folds") as journal:
        run(journal, dies)


def test_goes_on_after_a_death(tmp_path: Path) -> None:
    """Killed in its third fold and resumed, a run is as one that was not killed."""
    process = get_context("spawn").Process(target=run_and_die, args=(tmp_path,))
    process.start()
    process.join()
    died = load_run(tmp_path / "folds-0001.db")
    assert [record.name for record in died.provenance.steps] == ["load", "validate-0", "validate-1"]

    with Journal.resume(died.path) as journal:
        resumed = run(journal)
    with Journal.start(tmp_path, "whole") as journal:
        whole = run(journal)
    assert resumed.metrics["loss"] == whole.metrics["loss"]
    assert resumed.snapshot() == whole.snapshot()
