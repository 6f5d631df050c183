"""Runs as data for other programs: documents, and rows of values and points."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from crystallize import DamagedRunError, FrozenContext, Journal, JournalError, Run, fork, load_run, merge
from crystallize._tables.export import (
    PointRow,
    ValueRow,
    as_json,
    csv_of_points,
    csv_of_values,
    json_document,
    json_lines,
    point_rows,
    value_rows,
)
from crystallize._tables.run_description import MadeArtifact, MetricSummary, Overview, describe, overview, unreadable


class Opaque:
    """What no JSON has."""


class Train(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    lr: float
    token: SecretStr
    model: Opaque
    accuracy: float
    weights: np.ndarray


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


def started(folder: Path, name: str = "digits") -> tuple[Journal, FrozenContext]:
    journal = Journal.start(folder, name)
    return journal, journal.context(FrozenContext)


def recorded(folder: Path, *values: Any, **tags: Any) -> Run[Any]:
    """Return a run with one series."""
    journal, ctx = started(folder)
    for value in values:
        ctx.record("seen", value, tags=tags)
    journal.close()
    return load_run(journal.path)


def written(folder: Path, **values: Any) -> Run[Any]:
    """Return a run with these values."""
    with Journal.start(folder, "digits") as journal:
        journal.context(FrozenContext, values)
    return load_run(journal.path)


def lines_of(chunks: Iterator[bytes]) -> list[Any]:
    return [json.loads(line) for line in b"".join(chunks).splitlines()]


def table_of(chunks: Iterator[bytes]) -> list[list[str]]:
    return list(csv.reader(b"".join(chunks).decode().splitlines(keepends=True)))


def test_value_rows(run: Run[Any]) -> None:
    """There is a row for each key in the order of writing, and it says why a value is missing."""
    *rows, weights = value_rows(run)

    assert [
        ValueRow("lr", "float", True, None, None, 0.1),
        ValueRow("token", "", True, None, "secret", None),
        ValueRow("model", f"{__name__}.Opaque", True, None, "not restorable", None),
        ValueRow("accuracy", "float", False, "fit", None, 0.9),
    ] == rows
    assert ("weights", "numpy.ndarray", [1.0, math.inf]) == (weights.key, weights.type, weights.value.tolist())


def test_point_rows(run: Run[Any]) -> None:
    """There is a row for each point, with its place in its series, its step and its tags."""
    rows = list(point_rows(run))

    assert ["loss", "loss", "loss", "note"] == [row.metric for row in rows]
    assert [0, 1, 2, 0] == [row.sequence for row in rows]
    assert PointRow("loss", 0, "fit", None, 0.5, {"epoch": 0}) == rows[0]
    assert PointRow("note", 0, None, None, "fine", {}) == rows[-1]


def test_rows_come_one_by_one(run: Run[Any]) -> None:
    """Rows and what is made of them are made when they are asked for."""
    assert b'{"metric":"loss","sequence":0,"step":"fit","missing":null,"value":0.5,"tags":{"epoch":0}}\n' == next(
        json_lines(point_rows(run))
    )
    assert b"metric,sequence,step,missing,value,tag.epoch\r\n" == next(csv_of_points(run))


def test_json_lines(run: Run[Any]) -> None:
    """Each row is an object on a line, with numbers that are not finite by their names."""
    points, values = lines_of(json_lines(point_rows(run))), lines_of(json_lines(value_rows(run)))

    own = {"metric": "loss", "sequence": 1, "step": "fit", "missing": None}
    assert {**own, "value": "NaN", "tags": {"epoch": 1}} == points[1]
    assert ["key", "type", "input", "step", "missing", "value"] == list(values[0])
    assert [1.0, "Infinity"] == values[-1]["value"]


@pytest.mark.parametrize("parts", [["values"], ["values", "points"], ["points"]], ids="+".join)
def test_document(run: Run[Any], parts: list[str]) -> None:
    """Rows of several kinds make one document, with a list for each kind."""
    rows: dict[str, Any] = {"values": value_rows(run), "points": point_rows(run)}
    text = b"".join(json_document({part: rows[part] for part in parts}))
    lengths = {"values": 5, "points": 4}

    assert {part: lengths[part] for part in parts} == {part: len(found) for part, found in json.loads(text).items()}
    assert text.endswith(b"}\n")


def test_document_without_rows() -> None:
    """Where there are no rows there is an empty list."""
    assert {"points": []} == json.loads(b"".join(json_document({"points": []})))
    assert {} == json.loads(b"".join(json_document({})))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(3), 3),
        (np.array([1 + 2j]), ["1+2j"]),
        (np.array([b"\xff"]), ["_w=="]),
        (np.array([1.5], np.longdouble), ["1.5"]),
        (np.array(["2026-01-02"], "M8[D]"), ["2026-01-02"]),
        (np.array([(1, 2.5)], dtype="i,f"), [[1, 2.5]]),
    ],
    ids=["matrix", "scalar", "complex", "bytes", "longdouble", "dates", "records"],
)
def test_json_of_array(array: Any, expected: object) -> None:
    """An array is a list, and what in it JSON has not is text."""
    assert expected == json.loads(as_json(array))


def test_csv_of_points(run: Run[Any]) -> None:
    """Points are a table with a column for each tag, empty where a point has none."""
    assert [
        ["metric", "sequence", "step", "missing", "value", "tag.epoch"],
        ["loss", "0", "fit", "", "0.5", "0"],
        ["loss", "1", "fit", "", "NaN", "1"],
        ["loss", "2", "fit", "", "-0.25", "2"],
        ["note", "0", "", "", "fine", ""],
    ] == table_of(csv_of_points(run))


@pytest.fixture
def lossy(tmp_path: Path) -> Run[Any]:
    """A run with what no file gives back."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext, {"text": "\ud800"})
        ctx.record("loss", (1, 2), {"when": (1,), "epoch": 0})
        ctx.record("loss", 1, {"when": "\ud800"})
        ctx.record("loss", "\ud800")
        ctx.record("loss", [math.nan, np.array([1.5, math.inf])])
    return load_run(journal.path)


def test_what_is_not_restorable_is_told(lossy: Run[Any]) -> None:
    """Of what the file cannot give back there is what JSON makes of it, and beside it that this is not what it was."""
    assert [
        *[("value, tag.when", [1, 2], {"when": [1], "epoch": 0}), ("tag.when", 1, {"when": None})],
        *[("value", None, {}), (None, ["NaN", [1.5, "Infinity"]], {})],
    ] == [(row["missing"], row["value"], row["tags"]) for row in lines_of(json_lines(point_rows(lossy)))]
    assert [
        ["loss", "0", "", "value, tag.when", "[1,2]", "[1]", "0"],
        ["loss", "1", "", "tag.when", "1", "", ""],
    ] == table_of(csv_of_points(lossy))[1:3]
    assert [("text", "not restorable", None)] == [(row.key, row.missing, row.value) for row in value_rows(lossy)]
    (loss,) = describe(lossy).metrics
    assert ([1, 2], 1, 1, 3) == (loss.first, loss.min, loss.max, loss.missing)


def test_csv_of_values(run: Run[Any]) -> None:
    """Values are a table, with JSON where a value is neither a number nor text."""
    assert [
        ["key", "type", "input", "step", "missing", "value"],
        ["lr", "float", "true", "", "", "0.1"],
        ["token", "", "true", "", "secret", ""],
        ["model", f"{__name__}.Opaque", "true", "", "not restorable", ""],
        ["accuracy", "float", "false", "fit", "", "0.9"],
        ["weights", "numpy.ndarray", "false", "", "", '[1.0,"Infinity"]'],
    ] == table_of(csv_of_values(run))


def test_csv_of_nothing(tmp_path: Path) -> None:
    """A run without points is a table without rows."""
    assert [["metric", "sequence", "step", "missing", "value"]] == table_of(csv_of_points(written(tmp_path)))


def test_tags_named_as_columns(tmp_path: Path) -> None:
    """A tag may have the name of a column."""
    header, row = table_of(csv_of_points(recorded(tmp_path, 1, value="v", step=3, metric=None)))

    assert ["metric", "sequence", "step", "missing", "value", "tag.value", "tag.step", "tag.metric"] == header
    assert ["seen", "0", "", "", "1", "v", "3", ""] == row


@pytest.mark.parametrize("text", ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"], ids=ascii)
def test_text_is_no_formula(tmp_path: Path, text: str) -> None:
    """Text that a spreadsheet would take for a formula begins with a quote, wherever it stands; a number does not."""
    _, *points = table_of(csv_of_points(recorded(tmp_path, text, -1.5, tag=text)))
    _, *values = table_of(csv_of_values(written(tmp_path, key=text, less=-1, listed=[text])))

    assert [f"'{text}", "-1.5"] == [row[4] for row in points]
    assert f"'{text}" == points[0][5]
    assert [f"'{text}", "-1", json.dumps([text])] == [row[5] for row in values]


def test_array_is_no_formula(tmp_path: Path) -> None:
    """An array of one text is JSON, and no formula either."""
    assert '"=1+2"' == table_of(csv_of_values(written(tmp_path, key=np.array("=1+2"))))[1][5]


@pytest.mark.parametrize(
    "text", ["a,b", 'say "hi"', "two\nlines", "two\rlines", "\r\n", "é 語", "'", "[red]"], ids=ascii
)
def test_csv_gives_text_back(tmp_path: Path, text: str) -> None:
    """Whatever else a text holds, a reader of CSV has it again."""
    given = table_of(csv_of_points(recorded(tmp_path, f"a{text}")))

    assert f"a{text}" == given[1][4]


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
        *("steps", "dead_attempts", "metrics", "artifacts"),
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

    assert [("died", None, None)] == [(one.outcome, one.ended, one.error) for one in first.sessions]
    assert ("died", None, None) == (first.status, first.ended, first.seconds)
    assert [("load", 1, "failed"), ("fit", 1, "done again"), ("eval", 1, "died")] == [
        (one.name, one.session, one.outcome) for one in found.dead_attempts
    ]
    assert [("fit", 2, "finished"), ("eval", 2, "running")] == [
        (one.name, one.session, one.outcome) for one in found.steps
    ]
    assert "OSError: full" == found.dead_attempts[0].error
    assert [None, None] == [found.steps[1].ended, found.steps[1].seconds]
    assert ["died", "running"] == [session.outcome for session in found.sessions]
    assert [("model", 1, "fit")] == [(row.key, row.value, row.step) for row in found.values]


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

    assert names == [one.name for one in described.steps]
    assert (5, 5) == (overview(branched).steps, overview(branched).steps_finished)
    assert [("tune/fold-0/fit", 0), ("tune/fold-1/fit", 1)] == [(row.step, row.value) for row in point_rows(branched)]
    assert ["lr", "score-0", "score-1", "best"] == [row.key for row in value_rows(branched)]
    assert [("model-0", "tune/fold-0"), ("model-1", "tune/fold-1")] == [
        (one.name, one.step) for one in described.artifacts
    ]
    assert [0, 1] == [described.metrics[0].first, described.metrics[0].last]
    assert () == described.dead_attempts
