"""Values and points as rows, JSON and CSV."""

import csv
import json
import math
import sys
import tracemalloc
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crystallize import FrozenContext, Journal, Run, load_run
from crystallize._tables import export
from crystallize._tables.export import (
    PointRow,
    ValueRow,
    as_json,
    csv_of_points,
    csv_of_values,
    json_document,
    json_lines,
    json_pieces,
    point_rows,
    value_rows,
)
from crystallize._tables.legible_times import with_legible_times
from crystallize._tables.run_description import describe

from .exported_runs import Opaque, recorded, written


def lines_of(chunks: Iterator[bytes]) -> list[Any]:
    return [json.loads(line) for line in b"".join(chunks).splitlines()]


def table_of(chunks: Iterator[bytes]) -> list[list[str]]:
    return list(csv.reader(StringIO(b"".join(chunks).decode(), newline="")))


def test_value_rows(run: Run[Any]) -> None:
    """There is a row for each key in the order of writing, and it says why a value is missing."""
    *rows, weights = value_rows(run)
    lost = run.entries["model"].why

    assert [
        ValueRow("lr", "float", True, None, None, 0.1),
        ValueRow("token", "", True, None, "secret", None, "it is a secret, which is in no file"),
        ValueRow("model", f"{Opaque.__module__}.Opaque", True, None, "not restorable", None, lost),
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
    assert ["key", "type", "input", "step", "missing", "value", "why"] == list(values[0])
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
        (np.datetime64("2026-01-02", "s"), "2026-01-02T00:00:00"),
        (np.datetime64(1, "ns"), "1970-01-01T00:00:00.000000001"),
        (np.timedelta64(5, "ns"), "5 nanoseconds"),
        (np.timedelta64("NaT"), "NaT"),
        (np.array([(1, 2.5)], dtype="i,f"), [[1, 2.5]]),
        (np.array([[1, "NaT"]], "M8[ns]"), [["1970-01-01T00:00:00.000000001", "NaT"]]),
        (np.array([5], "m8[ns]"), ["5 nanoseconds"]),
    ],
    ids=[
        *("matrix", "scalar", "complex", "bytes", "longdouble", "dates", "seconds", "ns", "5 ns", "NaT", "records"),
        *("array of ns", "array of 5 ns"),
    ],
)
def test_json_of_array(array: Any, expected: object) -> None:
    """An array is a list, and what in it JSON has not is text."""
    assert expected == json.loads(as_json(array))


FINE = pd.Timestamp("2026-01-01 00:00:00.000000001")
FINE_TEXT = "2026-01-01T00:00:00.000000001"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.NaT, "NaT"),
        ([1, (pd.NaT, FINE)], [1, ["NaT", FINE_TEXT]]),
        ({"a": {"b": FINE.tz_localize("Europe/Berlin")}}, {"a": {"b": f"{FINE_TEXT}+01:00"}}),
        (pd.Timedelta(5, "ns"), "P0DT0H0M0.000000005S"),
        (pd.Timedelta(5, "s"), "PT5S"),
        (pd.Timestamp("2026-01-01", tz="UTC"), "2026-01-01T00:00:00Z"),
        (pd.Series([FINE, pd.NaT]), [FINE_TEXT, "NaT"]),
        (pd.DatetimeIndex([FINE]), [FINE_TEXT]),
        (pd.Series([pd.NaT, 1, {"a": FINE}], dtype=object), ["NaT", 1, {"a": FINE_TEXT}]),
        ([pd.Timestamp, 1], [str(pd.Timestamp), 1]),
    ],
)
def test_json_of_times_of_pandas(value: Any, expected: object) -> None:
    """A time that JSON cannot express is text, with its nanoseconds, at any depth and in rows."""
    assert expected == json.loads(as_json(value))
    assert expected == json.loads(as_json(ValueRow("a", "", False, None, None, value)))["value"]
    assert expected == json.loads(b"".join(json_pieces([value])))[0]


def test_times_in_a_program_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas there are no such times, and nothing is looked through for them."""
    monkeypatch.delitem(sys.modules, "pandas")
    value = [object()]
    assert value is with_legible_times(value)


def test_export_of_nat(tmp_path: Path) -> None:
    """A run with NaT as an input, a value and a tag can be exported and described."""
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext, {"at": pd.NaT, "all": [FINE]}).record("loss", 0.5, {"at": pd.NaT})
    run = load_run(journal.path)
    assert ["NaT", [FINE_TEXT]] == [row["value"] for row in lines_of(json_lines(value_rows(run)))]
    assert [{"at": "NaT"}] == [row["tags"] for row in lines_of(json_lines(point_rows(run)))]
    assert ['"NaT"', f'["{FINE_TEXT}"]'] == [row[-1] for row in table_of(csv_of_values(run))[1:]]
    assert '"NaT"' == table_of(csv_of_points(run))[1][-1]
    assert ["NaT", [FINE_TEXT]] == [row["value"] for row in json.loads(as_json(describe(run)))["inputs"]]


def test_csv_of_points(run: Run[Any]) -> None:
    """Points are a table with a column for each tag, empty where a point has none."""
    assert [
        ["metric", "sequence", "step", "missing", "value", "tag.epoch"],
        ["loss", "0", "fit", "", "0.5", "0"],
        ["loss", "1", "fit", "", "NaN", "1"],
        ["loss", "2", "fit", "", "-0.25", "2"],
        ["note", "0", "", "", "fine", ""],
    ] == table_of(csv_of_points(run))


class Pair(NamedTuple):
    """A value that only a schema restores."""

    left: int
    right: int


class One(NamedTuple):
    """A value that only a schema restores."""

    only: int


@pytest.fixture
def lossy(tmp_path: Path) -> Run[Any]:
    """A run with what no file gives back."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext, {"text": "\ud800"})
        ctx.record("loss", Pair(1, 2), {"when": One(1), "epoch": 0})
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
        ["model", f"{Opaque.__module__}.Opaque", "true", "", "not restorable", ""],
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


FORMULAS = ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n1", "\uff1d1+2", "\uff0bA1"]
SKIPPED = [" ", "  ", "\0", "\ufeff", "\t ", "\u00a0", "\u200b", "\u2060\u3000", "\x0b\x85", "\u202e", "\x1b"]


@pytest.mark.parametrize("text", [*FORMULAS, *(f"{before}=1+2" for before in SKIPPED), " @A1"], ids=ascii)
def test_text_is_no_formula(tmp_path: Path, text: str) -> None:
    """Text that a spreadsheet would take for a formula begins with a quote, wherever it stands; a number does not."""
    _, *points = table_of(csv_of_points(recorded(tmp_path, text, -1.5, tag=text)))
    _, *values = table_of(csv_of_values(written(tmp_path, key=text, less=-1, listed=[text])))

    assert [f"'{text}", "-1.5"] == [row[4] for row in points]
    assert f"'{text}" == points[0][5]
    assert [f"'{text}", "-1", as_json([text]).decode()] == [row[5] for row in values]


def test_array_is_no_formula(tmp_path: Path) -> None:
    """An array of one text is JSON, and no formula either."""
    assert '"=1+2"' == table_of(csv_of_values(written(tmp_path, key=np.array("=1+2"))))[1][5]


@pytest.mark.parametrize(
    "text", ["=1", " = 1", "a,b", 'say "hi"', "two\nlines", "two\rlines", "\r\n", "é 語", "'", "[red]"], ids=ascii
)
def test_csv_gives_text_back(tmp_path: Path, text: str) -> None:
    """Whatever else a text holds, a reader of CSV has it again."""
    given = table_of(csv_of_points(recorded(tmp_path, f"a{text}")))

    assert f"a{text}" == given[1][4]


LARGE_VALUES: dict[str, Any] = {
    "array": np.arange(60.0),
    "matrix": np.arange(60).reshape(3, 20),
    "one long row": np.arange(60).reshape(1, 1, 60),
    "array of longer texts than pieces": np.array(["é" * 40, '"quoted"']),
    "array without dimensions": np.array("x" * 40),
    "NaN": np.array([np.nan, np.inf] * 20),
    "dates": np.arange("2026-01-01", "2026-02-01", dtype="M8[D]"),
    "records": np.ones(20, dtype="i,f"),
    "empty": np.zeros((0, 7)),
    "array of objects": np.array([[1], None] * 20, dtype=object),
    "series": pd.Series(range(20), index=range(20, 0, -1)),
    "index": pd.Index(["x"] * 20),
    "arrow array": pa.array([1, None] * 20),
    "nested": {"a": [np.arange(60), {"b": np.arange(50)}], "c": 'a,"b"', "d": np.arange(2)},
    "text": 'a,"b"' * 20,
    "list": [1, "é"],
    "number": np.int8(-5),
    "None": None,
    "float": -0.5,
}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take arrays for large from some numbers on."""
    monkeypatch.setattr(export, "_PIECE", 64)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("value", LARGE_VALUES.values(), ids=LARGE_VALUES)
def test_json_of_large_arrays_in_pieces(value: Any) -> None:
    """The pieces are the JSON of the whole value."""
    assert as_json(value) == b"".join(json_pieces(value))
    assert as_json([value, value]) == b"".join(json_pieces([value, value]))


@pytest.mark.usefixtures("small_pieces")
def test_csv_of_large_arrays_in_pieces(tmp_path: Path) -> None:
    """A large value is one cell, in quotes, with the JSON of the value."""
    run = written(tmp_path, **{"first": 1, **LARGE_VALUES, "last": "x"})
    _, *rows = table_of(csv_of_values(run))
    cells = {key: cell for key, *_, cell in rows}

    assert ["first", *LARGE_VALUES, "last"] == [*cells]
    assert ("", "-0.5", LARGE_VALUES["text"]) == (cells["None"], cells["float"], cells["text"])
    for name in ("array", "matrix", "nested", "list", "arrow array", "array of longer texts than pieces"):
        assert as_json(LARGE_VALUES[name]).decode() == cells[name]


@pytest.mark.parametrize("make", [json_lines, lambda rows: json_document({"values": rows}), None])
def test_memory_of_an_export(tmp_path: Path, make: Any) -> None:
    """An export needs no more memory than reading one value, which has its bytes twice, however many there are."""
    array = np.zeros((4, 1 << 17))
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        ctx["a"], ctx["b"], ctx["c"] = array, [{"c": array.T}], array
    run = load_run(journal.path)
    assert ["a", "b", "c"] == [*run.values]
    tracemalloc.start()
    try:
        pieces = csv_of_values(run) if make is None else make(value_rows(run))
        size = sum(map(len, pieces))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 6 * array.size
    assert peak < 2.8 * array.nbytes
