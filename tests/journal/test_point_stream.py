"""The points of a run come back from its file as they were, or as not restorable, or the file is damaged."""

import contextlib
import sqlite3
import sys
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic_core import to_json
from typing_extensions import TypedDict

import crystallize
from crystallize import (
    DamagedRunError,
    FrozenContext,
    Journal,
    JournalError,
    Metric,
    MetricSchema,
    NotRestorable,
    load_run,
)
from crystallize._core.equality import same
from crystallize._journal import database, packed_points
from crystallize.runs import verify_run


@pytest.mark.parametrize(
    "value",
    [
        *(np.float64(0.5), np.float32(np.nan), np.int8(3), np.bool_(True), np.str_("é"), np.datetime64("2026-01-02")),
        *(
            np.datetime64(5, "ns"),
            np.datetime64("NaT"),
            np.timedelta64(5, "ns"),
            np.timedelta64(5, "M"),
            np.timedelta64(5),
        ),
        *(np.array(7), {"crystallize.scalar": 0}, [{"crystallize.scalar": 0}, np.zeros(1)]),
    ],
    ids=repr,
)
def test_numpys_scalars_come_back(tmp_path: Path, value: Any) -> None:
    """A scalar of numpy comes back as one, and an array of no dimension as that; nothing is taken for a scalar."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, {"a": value})
        ctx.record("m", value, {"t": value})
        recorded = (ctx.metrics["m"], ctx.metrics.get_tags("m"))
    run = load_run(journal.path)
    assert {} == run.unrestorable
    assert same(value, run.values["a"])
    assert same(recorded, (run.metrics["m"], run.metrics.get_tags("m")))


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2024-01-01 00:00:00.000000001"),
        pd.Timestamp("2024-01-01", tz="Asia/Tokyo"),
        pd.Timedelta(5, "ns"),
        pd.NaT,
        pd.NA,
    ],
)
def test_times_of_pandas_come_back(tmp_path: Path, value: Any) -> None:
    """A time of pandas comes back with all its digits and its zone, as a value and as a tag."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, {"a": value})
        ctx.record("m", 1, {"t": value})
    run = load_run(journal.path)

    assert same(value, run.values["a"])
    assert same({"t": value}, run.metrics.get_tags("m")[0])


def test_arrays_of_ml_dtypes_come_back(tmp_path: Path) -> None:
    """An array of bfloat16 comes back as one, as a value and as a tag."""
    ml_dtypes: Any = pytest.importorskip("ml_dtypes")
    array = np.array([0.5, np.nan, -3], ml_dtypes.bfloat16)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, {"a": array, "b": array[0]})
        ctx.record("m", array[0], {"t": array, "u": array[2]})
        assert same(array, ctx["a"])
    run = load_run(journal.path)
    (tags,) = run.metrics.get_tags("m")

    assert {} == dict(run.unrestorable)
    assert same((array, array[0]), (run.values["a"], run.values["b"]))
    assert ((0.5,), -3.0) == (run.metrics["m"], tags["u"])
    assert same(array, tags["t"])


@dataclass
class Span:
    """A value that only a schema restores."""

    start: Any
    end: Any


SPAN = f"{__name__}.Span"


class Epochs(TypedDict):
    epoch: int


class Declared(MetricSchema):
    m = Metric(float, tags=Epochs)


class Unknown:
    """A value that no codec stores."""


def test_a_lost_point_with_other_tags_than_declared(tmp_path: Path) -> None:
    """If a run is resumed with other tags, a point that stays lost keeps its own, and the next points are recorded."""
    with contextlib.suppress(KeyboardInterrupt), Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("m", Unknown(), {"old": "a"})
        raise KeyboardInterrupt
    with Journal.resume(journal.path) as journal:
        ctx = journal.context(FrozenContext, metrics=Declared)
        for epoch in range(5000):
            ctx.record("m", 0.5, {"epoch": epoch})

    assert ({"old": "a"}, *({"epoch": epoch} for epoch in range(5000))) == ctx.metrics.get_tags("m")
    assert [NotRestorable, float] == [type(value) for value in ctx.metrics["m"][:2]]


class When(TypedDict):
    at: datetime
    note: str


class Shade(StrEnum):
    DARK = "dark"
    LIGHT = "light"


class Shaded(TypedDict):
    shade: Any


class Scores(MetricSchema):
    score = Metric(Any, tags=Shaded, goal="maximize")


class OddMetrics(MetricSchema):
    price = Metric(Decimal, tags=When)
    items = Metric(list[int])
    anything = Metric(Any)


def test_points_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Values and tags of any type come back by their schema; of those that do not something says so in their place."""
    at = datetime(2024, 2, 29, tzinfo=UTC)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=OddMetrics)
        ctx.record("price", Decimal("1.50"), {"at": at, "note": "a"})
        ctx.record("items", [1, 2])
        for _ in range(2):
            ctx.record("anything", Span(1, 2))
        ctx.record("anything", [3])
    run = load_run(journal.path, metrics=OddMetrics)

    assert (Decimal("1.50"),) == run.metrics["price"]
    assert ({"at": at, "note": "a"},) == run.metrics.get_tags("price")
    assert ([1, 2],) == run.metrics["items"]
    lost = NotRestorable(SPAN, '{"start": 1, "end": 2}')
    assert (lost, lost, [3]) == run.metrics["anything"] == load_run(journal.path).metrics["anything"]
    assert {"start": 1, "end": 2} == run.metrics["anything"][0].seen
    assert {"anything": 2} == run.unrestorable_points
    assert ["1.50"] == list(load_run(journal.path).metrics["price"])
    assert 1 == caplog.text.count(f"metric 'anything' holds a {SPAN}, which a file cannot give back")


HELD: tuple[Any, ...] = (
    np.arange(3),
    {"a": [np.eye(2), {"b": np.array([np.nan])}]},
    [1.0, float("nan"), [float("inf")]],
    {"x": float("-inf")},
    {"crystallize.npy": 0},
    "x" * 5000,
    10**30,
)


@pytest.mark.parametrize("value", HELD, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("typed", [False, True])
def test_arrays_and_nan_within_points(tmp_path: Path, value: Any, typed: bool) -> None:
    """What JSON does not have by itself comes back as it was, as a key, as a value, as a tag, and from a branch."""

    class AnyTags(TypedDict):
        held: Any

    class AnyMetrics(MetricSchema):
        seen = Metric(Any, tags=AnyTags)

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=AnyMetrics if typed else None)
        ctx["key"] = value
        ctx.record("seen", value, {"held": value})
        child = crystallize.fork(ctx, "branch").open()
        child.record("seen", value, {"held": 1})
        crystallize.merge(ctx, child.delta())
    for run in (load_run(journal.path), load_run(journal.path, metrics=AnyMetrics)):
        assert same(value, run.values["key"])
        points = [(point.value, point.tags) for point in run.metrics.series("seen")]
        assert same([(value, {"held": value}), (value, {"held": 1})], points)
        assert {} == run.unrestorable_points
    with Journal.resume(journal.path) as resumed:
        again = resumed.context(FrozenContext, metrics=AnyMetrics if typed else None)
        assert same((value, value), again.metrics["seen"])
    assert () == verify_run(journal.path)


def test_points_that_do_not_come_back(tmp_path: Path) -> None:
    """In place of what a file cannot give back stands its type, and what JSON makes of it; nothing is left out."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("a", object(), {"t": Span(np.zeros(2), 1 + 2j)})
        ctx.record("a", Span({1: 2}, 3))
        ctx.record("b", 1, {"\ud800": 1})
        ctx.record("c", 1, {"t": "train"})
    run = load_run(journal.path)

    assert (NotRestorable("object"), NotRestorable(SPAN, '{"start": {"1": 2}, "end": 3}')) == run.metrics["a"]
    assert None is run.metrics["a"][0].seen
    seen = '{"start": [0.0, 0.0], "end": "1+2j"}'
    assert ({"t": NotRestorable(SPAN, seen)}, {}) == run.metrics.get_tags("a")
    assert ({"\\ud800": NotRestorable("str")},) == run.metrics.get_tags("b")
    assert {"a": 2, "b": 1} == run.unrestorable_points
    with Journal.resume(journal.path) as resumed:
        assert run.metrics["a"] == resumed.context(FrozenContext).metrics["a"]
    assert {"a": 2, "b": 1} == load_run(journal.path).unrestorable_points


def test_points_that_were_lost_under_another_schema(tmp_path: Path) -> None:
    """What was lost comes back by a schema that takes its JSON, stays lost where it has none, and else is an error."""

    class NewMetrics(MetricSchema):
        seen = Metric(Span, tags=When)
        odd = Metric(bytes)

    class OtherMetrics(NewMetrics):
        other = Metric(int)

    at = datetime(2024, 2, 29, tzinfo=UTC)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("seen", Span(1, 2), {"at": at, "note": "a"})
        ctx.record("odd", object())
        journal.flush()
        run = load_run(journal.path, metrics=NewMetrics)
        ctx.record("other", (1, 2))
    with pytest.raises(JournalError, match="metric 'other' was declared otherwise"):
        load_run(journal.path, metrics=OtherMetrics).context

    assert (Span(1, 2),) == run.metrics["seen"]
    assert ({"at": at, "note": "a"},) == run.metrics.get_tags("seen")
    assert (NotRestorable("object"),) == run.metrics["odd"]


def test_best_of_what_was_lost(tmp_path: Path) -> None:
    """What a file cannot give back is the best value only where there is no other, and has tags as JSON shows them."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=Scores)
        ctx.record("score", Span(1, 2), {"shade": Shade.DARK})
        journal.flush()
        lost = NotRestorable(SPAN, '{"start": 1, "end": 2}')
        assert lost == load_run(journal.path, metrics=Scores).metrics.series("score").best
        ctx.record("score", 3, {"shade": Shade.DARK})
        ctx.record("score", 2, {"shade": Shade.LIGHT})
    assert 3 == load_run(journal.path, metrics=Scores).metrics.series("score").best
    assert 2 == len(load_run(journal.path).metrics.series("score").where(shade="dark"))


def test_old_points(tmp_path: Path) -> None:
    """Of a run from before arrays were kept with points nothing is made up: what is not there is told."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("a", 1)
    old = [
        [
            "a",
            {"crystallize.npy": 0},
            {"t": [{"crystallize.npy": 1}], "n": 1},
            None,
            ["json", {"t": "json", "n": "json"}],
        ],
        ["a", [1, None], {}, None, ["none", {}]],
        ["a", [1, 2], {"t": {"x": [1]}}, None, ["json", {"t": "json"}]],
    ]
    connection = sqlite3.connect(journal.path, isolation_level=None)
    database.update(connection, "points", "sequence > ?", 0, count=3, content=zlib.compress(to_json(old)))
    database.update(connection, "sessions", "session = ?", 1, finished=5)
    database.update(connection, "run", "id = ?", 1, drained=5)
    connection.close()
    run = load_run(journal.path)

    assert () == verify_run(journal.path)
    lost = NotRestorable("", '{"crystallize.npy": 0}'), NotRestorable("", "[1, null]")
    assert (*lost, [1, 2]) == run.metrics["a"]
    assert (
        {"t": NotRestorable("", '[{"crystallize.npy": 1}]'), "n": 1},
        {},
        {"t": {"x": [1]}},
    ) == run.metrics.get_tags("a")


def test_point_with_an_array_without_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numpy is not installed, a run with an array in a point says so."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("a", np.zeros(2))
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(JournalError, match="metric 'a' holds an array, and numpy is not installed"):
        load_run(journal.path).context


def test_large_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that are large come in rows of fewer."""
    monkeypatch.setattr(packed_points, "LARGE", 10_000)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        for at in range(9):
            ctx.record("a", np.full(500, at))
    with contextlib.closing(sqlite3.connect(journal.path)) as connection:
        rows = connection.execute("SELECT sequence, count FROM points").fetchall()
    assert len(rows) > 4
    assert [float(at) for at in range(9)] == [value[0] for value in load_run(journal.path).metrics["a"]]
    assert () == verify_run(journal.path)


def test_points_that_cannot_be_unpacked(tmp_path: Path) -> None:
    """Points whose check is right and whose content is none are damage."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("loss", 1)
    connection = sqlite3.connect(journal.path, isolation_level=None)
    database.update(connection, "points", "sequence > ?", 0, content=b"none")
    connection.close()

    with pytest.raises(DamagedRunError, match="a row of points cannot be read"):
        load_run(journal.path).metrics
    assert "a row of points cannot be read" in str(verify_run(journal.path))


def test_points_of_a_step_that_is_not_there(tmp_path: Path) -> None:
    """Points by a step that nobody opened are damage, though their check is right."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("loss", 1)
    connection = sqlite3.connect(journal.path, isolation_level=None)
    database.update(connection, "points", "sequence > ?", 0, content=zlib.compress(b'[["loss",1,{},"fit"]]'))
    connection.close()

    with pytest.raises(DamagedRunError, match="points were recorded by step 'fit', which is not there"):
        load_run(journal.path).metrics
    assert ("points were recorded by step 'fit', which is not there",) == verify_run(journal.path)
