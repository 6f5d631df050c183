"""Tables of points: which columns there are, what is in them, and how long a batch is."""

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from pydantic import BaseModel

from crystallize import FrozenContext, FrozenMetrics, Journal, Metric, MetricSchema, fan_out
from crystallize._core.point_log import BLOCK
from crystallize._tables import arrow_table
from crystallize.frames import to_arrow, to_pandas, to_polars, to_reader, write_parquet

from .recorded_points import FEW, OWN, RunMetrics, facts_in, read_back, same, tagged, tags_of, valued

pytestmark = pytest.mark.usefixtures("quick_journals")


def test_columns() -> None:
    """A row is a point: who recorded it, its place in its series, its value, and a typed column for each tag."""
    ctx = FrozenContext(metrics=RunMetrics)
    with ctx.step("fit") as step:
        step.record("loss", 0.5, {"epoch": 0, "split": "train"})
        step.record("loss", math.nan, {"epoch": 1, "split": "val"})
    ctx.record(RunMetrics.rows, 7)

    table = to_arrow(ctx)

    assert {
        **{"run": FEW, "step": FEW, "branch": FEW, "sequence": pa.int64(), "metric": FEW, "value": pa.float64()},
        **{"epoch": pa.int64(), "split": FEW},
    } == dict(zip(table.schema.names, table.schema.types, strict=True))
    none = {"run": None, "branch": None}
    assert repr(
        [
            {"step": "fit", "sequence": 0, "metric": "loss", "value": 0.5, "epoch": 0, "split": "train", **none},
            {"step": "fit", "sequence": 1, "metric": "loss", "value": math.nan, "epoch": 1, "split": "val", **none},
            {"step": None, "sequence": 0, "metric": "rows", "value": 7.0, "epoch": None, "split": None, **none},
        ]
    ) == repr([{name: row[name] for name in (*OWN_ORDER, *none)} for row in table.to_pylist()])


OWN_ORDER = ("step", "sequence", "metric", "value", "epoch", "split")


def test_metadata() -> None:
    """Units, goals and descriptions are in the metadata of the table, and of a column it says which tag it is."""
    table = to_arrow(FrozenMetrics(RunMetrics))

    assert {
        "metrics": {"loss": {"unit": "nats", "goal": "minimize", "description": "Of a batch."}, "rows": {}}
    } == facts_in(table)
    assert {"tag": "split"} == facts_in(table, "split")


def test_nothing_measured() -> None:
    """Where nothing was measured there are the columns without rows."""
    assert OWN[:-1] == tuple(to_arrow(FrozenContext()).column_names)
    assert (0, 6) == to_pandas(FrozenContext()).shape == to_polars(FrozenContext()).shape
    assert ["epoch", "split"] == to_arrow(FrozenMetrics(RunMetrics)).column_names[-2:]


def test_tags_named_as_columns() -> None:
    """A tag may have the name of a column, and any other; its metadata says which tag it is."""
    names = ["step", "value", "value_json", "tag.step", "", "\ud800", "x\n\0", "tag.value"]
    table = to_arrow(tagged({name: at for at, name in enumerate(names)}))

    columns = table.column_names[len(OWN) - 1 :]
    assert [
        "tag.step",
        "tag.value",
        "tag.value_json",
        "tag.tag.step",
        "tag.",
        "\\ud800",
        "x\n\0",
        "tag.tag.value",
    ] == columns
    assert list(range(8)) == [table[name][0].as_py() for name in columns]
    assert ["step", "tag.step"] == [facts_in(table, name)["tag"] for name in ("tag.step", "tag.tag.step")]
    assert columns == to_polars(table).columns[len(OWN) - 1 :] == list(to_pandas(table).columns[len(OWN) - 1 :])


def test_tags_of_many_names() -> None:
    """Each tag is a column, however many there are."""
    table = to_arrow(tagged(*({f"tag{at}": at} for at in range(100))))

    assert [{f"tag{at}": at} for at in range(100)] == [tags_of(table, row) for row in table.to_pylist()]


class Model(BaseModel, extra="allow"):
    fold: int


def test_tags_of_a_model() -> None:
    """Tags of a model are columns too, those too that it does not declare."""

    class Schema(MetricSchema):
        seen = Metric(float, tags=Model)

    ctx = FrozenContext(metrics=Schema)
    ctx.record("seen", 1.0, {"fold": 3, "more": "x"})

    assert {"fold": 3, "more": "x"} == {name: to_arrow(ctx)[name][0].as_py() for name in ("fold", "more")}


def test_steps() -> None:
    """Each point has its step, however often they change."""
    ctx = FrozenContext()
    opened = [ctx.step(name) for name in ("a", "b")]
    steps = [manager.__enter__() for manager in opened]
    for at in range(2 * BLOCK):
        [ctx, *steps][at % 3].record("seen", at)
    for manager in reversed(opened):
        manager.__exit__(None, None, None)

    assert [(None, "a", "b")[at % 3] for at in range(2 * BLOCK)] == to_arrow(ctx)["step"].to_pylist()


def test_branches() -> None:
    """A point has the branch that brought it, and stands where that was forked."""
    ctx = FrozenContext({"lr": 0.1})

    def fold(child: FrozenContext[Any], at: int) -> None:
        child.record("loss", at + 0.5)

    ctx.record("loss", 0.0)
    with ThreadPoolExecutor() as pool, ctx.step("cv") as step:
        fan_out(step, fold, range(3), executor=pool)
    ctx.record("loss", 9.0)

    table = to_arrow(ctx)
    assert [None, "cv/fold-0", "cv/fold-1", "cv/fold-2", None] == table["branch"].to_pylist()
    assert [0, 1, 2, 3, 4] == table["sequence"].to_pylist()
    assert [0.0, 0.5, 1.5, 2.5, 9.0] == table["value"].to_pylist()


def test_large_series_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long series is several batches, and no batch is much longer than the others."""
    monkeypatch.setattr(arrow_table, "_BATCH", BLOCK)
    ctx = valued(*range(3 * BLOCK + 1))

    assert [BLOCK, BLOCK, BLOCK, 1] == [len(batch) for batch in to_reader(ctx)]
    assert [*range(3 * BLOCK + 1)] == to_arrow(ctx)["value"].to_pylist() == to_arrow(ctx)["sequence"].to_pylist()


class Pair(NamedTuple):
    """A value that only a schema restores."""

    left: int
    right: int


class Day(datetime):
    """A time of a class that only the program knows."""


def test_what_a_file_cannot_give_back(tmp_path: Path) -> None:
    """What a file cannot give back stands there as JSON has it, and which columns that is of is told beside it."""
    day = Day(2026, 1, 2, tzinfo=UTC)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("a", 1.5, {"when": day, "step": object()})
        ctx.record("a", Pair(1, 2), {"when": day})
        ctx.record("a", 2.5, {"step": 1})
    table = to_arrow(journal.path)

    assert [*OWN, "missing", "when", "tag.step"] == table.column_names
    assert ["when, tag.step", "value, when", None] == table["missing"].to_pylist()
    assert [1.5, None, 2.5] == table["value"].to_pylist()
    assert [None, "[1,2]", None] == table["value_json"].to_pylist()
    assert ["2026-01-02T00:00:00Z"] * 2 + [None] == table["when"].to_pylist()
    assert [None, None, 1] == table["tag.step"].to_pylist()
    assert same(table, to_reader(journal.path).read_all())
    assert same(table, read_back(write_parquet, journal.path))


def test_texts_that_were_lost(tmp_path: Path) -> None:
    """A column of texts stays one where a text was lost, and a point from a bound recorder is no exception."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("a", "\ud800", {"t": "x"})
        ctx.record("a", "y", {"t": "\ud800"})
    table = to_arrow(journal.path)

    assert [None, "y"] == table["value"].to_pylist()
    assert ["x", None] == table["t"].to_pylist()
    assert ["value", "t"] == table["missing"].to_pylist()
    with Journal.resume(journal.path) as resumed:
        again = resumed.context(FrozenContext)
        lost = again.metrics["a"][0]
        note = again.metrics.series("b").bind({"lost": lost})
        for at in range(3):
            note(at)
        assert [*["value", "t"], *["lost"] * 3] == to_arrow(again)["missing"].to_pylist()


def test_a_tag_called_missing() -> None:
    """A tag that is called as a column of ours has another one."""
    assert "tag.missing" in to_arrow(tagged({"missing": 1})).column_names
