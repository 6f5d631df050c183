"""Descriptions of runs: one line, and all there is to show."""

import json
import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crystallize import DamagedRunError, FrozenContext, Journal, JournalError, Run, fork, load_run, merge
from crystallize._tables.export import as_json, point_rows, value_rows
from crystallize._tables.run_description import MadeArtifact, MetricSummary, Overview, describe, overview, unreadable

from .exported_runs import recorded, started


def test_overview(run: Run[Any]) -> None:
    """A run in a line says how far it came and how long it took."""
    found = overview(run)

    assert run.ended is not None
    seconds = (run.ended - run.started).total_seconds()
    assert Overview("digits-0001", str(run.path), "finished", run.started, run.ended, seconds, 1, 1, None) == found


def test_overview_looks_at_no_points(run: Run[Any]) -> None:
    """The values and points of a run are not unpacked for its overview."""
    overview(run)

    assert "context" not in vars(run)


def test_overview_of_failed_run(tmp_path: Path) -> None:
    """What ended a run is its error."""
    with suppress(OSError), Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        with ctx.step("load"):
            pass
        with ctx.step("fit"):
            raise OSError("full")
    found = overview(load_run(journal.path))

    assert ("failed", "OSError: full") == (found.status, found.error)
    assert (2, 1) == (found.steps, found.steps_finished)


def test_overview_of_running_run(tmp_path: Path) -> None:
    """Of a run that goes on, the error is that of the last step that failed, and the time is the time so far."""
    journal, ctx = started(tmp_path)
    for text in ("first", "second"):
        with pytest.raises(OSError, match=text), ctx.step("fit"):
            raise OSError(text)
    with ctx.step("eval"):
        journal.flush()
        found = overview(load_run(journal.path))
    journal.close()

    assert ("running", "OSError: second") == (found.status, found.error)
    assert (3, 0) == (found.steps, found.steps_finished)
    assert found.ended is None
    assert found.seconds is not None
    assert 0 <= found.seconds < 60


@pytest.mark.parametrize(
    ("error", "status"),
    [(DamagedRunError("a.db", "cut short"), "damaged"), (JournalError("a.db", "cut short"), "unreadable")],
    ids=["damaged", "unreadable"],
)
def test_unreadable(error: JournalError, status: str) -> None:
    """A run that cannot be read has a line too, with the reason."""
    found = unreadable("a", error)

    assert ("a", "a.db", status, "cut short") == (found.name, found.path, found.status, found.error)
    assert {None} == {found.started, found.ended, found.seconds, found.steps, found.steps_finished}


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
    found = overview(load_run(path))

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
    assert (5, 5) == (overview(branched).steps, overview(branched).steps_finished)
    assert [("tune/fold-0/fit", 0), ("tune/fold-1/fit", 1)] == [(row.step, row.value) for row in point_rows(branched)]
    assert ["lr", "score-0", "score-1", "best"] == [row.key for row in value_rows(branched)]
    assert [("model-0", "tune/fold-0"), ("model-1", "tune/fold-1")] == [
        (artifact.name, artifact.step) for artifact in described.artifacts
    ]
    assert [0, 1] == [described.metrics[0].first, described.metrics[0].last]
    assert () == described.dead_attempts
