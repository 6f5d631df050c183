"""Descriptions of runs: all that `show` prints."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal, Run, fork, load_run, merge
from crystallize._journal.run_summary import summary_of
from crystallize._tables.export import as_json, point_rows, value_rows
from crystallize._tables.run_description import MadeArtifact, MetricSummary, describe

from .exported_runs import recorded


def test_describe(run: Run[Any]) -> None:
    """A description has all that is known of a run, without its points."""
    found = describe(run)

    assert ("digits-0001", 1, "finished", str(run.path)) == (found.name, found.number, found.status, found.path)
    assert ["lr", "token", "model"] == [row.key for row in found.inputs]
    assert ["accuracy", "weights"] == [row.key for row in found.values]
    assert (MadeArtifact("model.bin", 5, "fit"),) == found.artifacts
    (session,) = found.sessions
    assert (1, "finished", None) == (session.number, session.outcome, session.error)
    assert run.sessions[0].origin == session.origin
    (step,) = found.steps
    assert ("fit", 1, "finished", None) == (step.name, step.session, step.outcome, step.error)
    assert (("lr",), ("accuracy",), ("accuracy",)) == (step.reads, step.absent, step.writes)
    assert ({"loss": 3}, ("model.bin",)) == (step.points, step.artifacts)
    assert () == found.dead_attempts


def test_description_is_json(run: Run[Any]) -> None:
    """A description is a document of JSON, and its fields are the keys."""
    found = json.loads(as_json(describe(run)))

    assert [
        *("name", "number", "path", "status", "started", "ended", "seconds", "error", "sessions", "inputs", "values"),
        *("steps", "dead_attempts", "metrics", "artifacts", "parent", "traceback", "note", "tags"),
    ] == list(found)
    ends = {"first": 0.5, "last": -0.25, "min": -0.25, "max": 0.5}
    assert {"metric": "loss", "count": 3, **ends, "missing": 0} == found["metrics"][0]


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        ((1, 2.5, -3), -3, 2.5),
        ((math.nan, math.inf, 1.0, -math.inf), 1.0, 1.0),
        ((math.nan,), None, None),
        ((True, "text", None, [1]), None, None),
        ((10**400, 1), 1, 10**400),
    ],
    ids=["numbers", "some-finite", "none-finite", "no-numbers", "large"],
)
def test_metric_summary(tmp_path: Path, values: tuple[Any, ...], least: float | None, most: float | None) -> None:
    """A series in a line has its ends, and the least and the most of its finite numbers."""
    (found,) = describe(recorded(tmp_path, *values)).metrics

    assert as_json(MetricSummary("seen", len(values), values[0], values[-1], least, most)) == as_json(found)


DIES = """
import os, sys
from crystallize import FrozenContext, Journal

ctx = Journal.start(sys.argv[1], "digits").context(FrozenContext)
try:
    with ctx.step("load"):
        raise OSError("full")
except OSError:
    pass
with ctx.step("fit") as fit:
    fit["model"] = object()
with ctx.step("eval"):
    os._exit(0)
"""


@pytest.mark.slow
def test_attempts(tmp_path: Path) -> None:
    """Each opening of a step says how it came out, and those that count for nothing stand apart."""
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=True)
    (path,) = tmp_path.glob("*.db")
    first = describe(load_run(path))
    with Journal.resume(path) as resumed:
        ctx = resumed.context(FrozenContext)
        with ctx.step("fit") as fit:
            fit["model"] = 1
        with ctx.step("eval"):
            resumed.flush()
            found = describe(load_run(path))

    assert [("died", None, None)] == [(session.outcome, session.ended, session.error) for session in first.sessions]
    assert ("died", None, None) == (first.status, first.ended, first.seconds)
    assert [("load", 1, "failed"), ("fit", 1, "done again"), ("eval", 1, "died")] == [
        (attempt.name, attempt.session, attempt.outcome) for attempt in found.dead_attempts
    ]
    assert [("fit", 2, "finished"), ("eval", 2, "running")] == [
        (step.name, step.session, step.outcome) for step in found.steps
    ]
    assert "OSError: full" == found.dead_attempts[0].error
    assert [None, None] == [found.steps[1].ended, found.steps[1].seconds]
    assert ["died", "running"] == [session.outcome for session in found.sessions]
    assert [("model", 1, "fit")] == [(row.key, row.value, row.step) for row in found.values]


@pytest.mark.slow
def test_steps_done_again_count_once(tmp_path: Path) -> None:
    """A step that was done again in a later process is one step, finished."""
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=True)
    (path,) = tmp_path.glob("*.db")
    with Journal.resume(path) as resumed:
        ctx = resumed.context(FrozenContext)
        for name in ("load", "fit", "eval"):
            with ctx.step(name):
                pass
    found = summary_of(path)

    assert ("finished", None) == (found.status, found.error)
    assert (3, 3) == (found.steps, found.steps_finished)


@pytest.fixture
def branched(tmp_path: Path) -> Run[Any]:
    """A run with two branches within a step, of which the second was merged first."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        with ctx.step("tune") as tune:
            children = [fork(tune, f"fold-{fold}").open() for fold in range(2)]
            for fold, child in enumerate(children):
                with child.step("fit") as fit:
                    fit[f"score-{fold}"] = fold
                    fit.record("loss", fold)
                child.artifacts.add(f"model-{fold}", b"12345")
            for child in reversed(children):
                merge(ctx, child.delta())
            tune["best"] = 1
    return load_run(journal.path)


def test_branches_of_a_run(branched: Run[Any]) -> None:
    """What branches brought is of their steps, and stands where they were forked."""
    described = describe(branched)
    names = ["tune", "tune/fold-0", "tune/fold-0/fit", "tune/fold-1", "tune/fold-1/fit"]

    assert names == [step.name for step in described.steps]
    summary = summary_of(branched.path)
    assert (5, 5) == (summary.steps, summary.steps_finished)
    assert [("tune/fold-0/fit", 0), ("tune/fold-1/fit", 1)] == [(row.step, row.value) for row in point_rows(branched)]
    assert ["lr", "score-0", "score-1", "best"] == [row.key for row in value_rows(branched)]
    assert [("model-0", "tune/fold-0"), ("model-1", "tune/fold-1")] == [
        (artifact.name, artifact.step) for artifact in described.artifacts
    ]
    assert [0, 1] == [described.metrics[0].first, described.metrics[0].last]
    assert () == described.dead_attempts
