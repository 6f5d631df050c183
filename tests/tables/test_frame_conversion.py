"""Points as Arrow tables and readers, and as polars and pandas frames."""

import math
import re
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from crystallize import (
    DamagedRunError,
    FrozenContext,
    Journal,
    JournalError,
    Metric,
    MetricSchema,
    MissingExtraError,
    fork,
    load_run,
    merge,
)
from crystallize._base.optional import OptionalModule
from crystallize._core.point_log import BLOCK
from crystallize._journal import point_stream as batches
from crystallize.frames import to_arrow, to_pandas, to_polars, to_reader, write_arrow, write_parquet

from ..profiles import examples
from .recorded_points import (
    FEW,
    TEXT,
    RunMetrics,
    Shade,
    Sweep,
    facts_in,
    read_back,
    recorded,
    rows_of,
    same,
    tagged,
    tags_of,
    value_of,
    valued,
)

pytestmark = pytest.mark.usefixtures("quick_journals")


TAGS = ("epoch", "step", "", "tag.step", "x")
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([1 << 53, (1 << 53) + 1, -(1 << 63), 1 << 63, 1 << 70]),
    st.booleans(),
    st.text(max_size=5).filter(lambda text: text.isprintable()),
    st.none(),
)
KINDS = (
    *(st.floats(), st.integers(), st.integers(0, 100), st.booleans(), st.sampled_from("ab"), st.floats() | st.none()),
    *(SCALARS, SCALARS | st.lists(st.integers(), max_size=2)),
)


@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kinds=st.dictionaries(st.sampled_from(TAGS), st.sampled_from(KINDS), max_size=3),
    values=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(KINDS), min_size=1),
    times=st.sampled_from([1, 1, 1, 600]),
    data=st.data(),
)
def test_what_is_written_is_what_is_read_back(kinds: Any, values: Any, times: int, data: st.DataObject) -> None:
    """Whatever is recorded, a table has it, value by value and tag by tag; so has what is written of it."""
    tags = st.fixed_dictionaries({}, optional=kinds)
    drawn = data.draw(st.lists(st.tuples(st.sampled_from([*values]), tags), max_size=8))
    points = [(name, data.draw(values[name]), point_tags) for name, point_tags in drawn] * times
    ctx = recorded(*points)

    table = to_arrow(ctx)

    expected = []
    for name in ("a", "b"):
        series = [(value, tags) for metric, value, tags in points if metric == name]
        expected += [(name, at, value, tags) for at, (value, tags) in enumerate(series)]
    found = [
        (row["metric"], row["sequence"], value_of(row), tags_of(table, row))
        for row in sorted(table.to_pylist(), key=lambda row: (row["metric"], row["sequence"]))
    ]
    assert len(expected) == len(found)
    for (*place, value, tags_), (*at, given_, tags_given) in zip(expected, found, strict=True):
        assert place == at
        assert is_same(value, given_)
        present = {tag: item for tag, item in tags_.items() if item is not None}
        assert present.keys() == tags_given.keys()
        assert all(is_same(item, tags_given[tag]) for tag, item in present.items())
    assert same(table, read_back(write_parquet, table))
    assert same(table, read_back(write_arrow, ctx))


def is_same(value: Any, given: Any) -> bool:
    """Whether a value was given back, NaN included; in JSON it is a text."""
    if isinstance(value, float) and not math.isfinite(value) and isinstance(given, str):
        return value == float(given) or (math.isnan(value) and given == "NaN")
    if isinstance(value, float) or isinstance(given, float):
        return repr(float(value)) == repr(float(given)) and isinstance(value, bool) == isinstance(given, bool)
    return type(value) is type(given) and bool(value == given)


@pytest.mark.slow
@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30), size=st.sampled_from([1, 7, 1000]))
def test_ways_to_a_table_agree(seed: int, size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A living context, its journal, its file, and a stream of that have the same points, those of branches too."""
    random, folder = Random(seed), tmp_path_factory.mktemp("runs")
    with Journal.start(folder, "run") as journal, pytest.MonkeyPatch.context() as patched:
        patched.setattr(batches, "BATCH", size)
        ctx = journal.context(FrozenContext)
        out: list[Any] = []
        for at in range(random.randrange(2, 12)):
            choice = random.random()
            if choice < 0.4:
                branch = fork(ctx, f"fold-{at}").open()
                with branch.step("inner") as inner:
                    measure(inner, random)
                measure(branch, random)
                out.append(branch.delta())
            elif choice < 0.6 and out:
                merge(ctx, out.pop(random.randrange(len(out))))
            else:
                with ctx.step("own") as own:
                    measure(own, random)
                measure(ctx, random)
        living = rows_of(to_arrow(ctx))
        assert living == rows_of(to_arrow(journal)) == rows_of(to_reader(journal).read_all())
    run = load_run(journal.path)
    assert living == rows_of(to_arrow(run)) == rows_of(to_reader(str(journal.path)).read_all())
    assert {"run-0001"} >= {row[2] for row in living}
    for name in run.metrics:
        assert [*range(len(run.metrics.series(name)))] == [row[1] for row in living if row[0] == name]


def measure(ctx: FrozenContext[Any], random: Random) -> None:
    for _ in range(random.choice((0, 1, 3, 40))):
        ctx.record(random.choice(("loss", "rows")), random.choice((1, 0.5, 7)), tags={"at": random.randrange(3)})


def test_polars() -> None:
    """In polars few texts are Categorical, and NaN is not null."""
    frame = to_polars(recorded(("loss", math.nan, {"epoch": 0, "split": "val"}), ("rows", 1, {}), schema=RunMetrics))

    assert [pl.Categorical, pl.Float64, pl.Int64] == [frame.schema[name] for name in ("split", "value", "epoch")]
    assert "[nan, 1.0]" == repr(frame["value"].to_list())
    assert ["val", None] == frame["split"].to_list()


def test_pandas() -> None:
    """In pandas a column has the usual type, unless something is absent from it: then one that can say so."""
    whole = to_pandas(tagged({"n": 1, "x": math.nan, "b": True, "t": "a"}))
    holey = to_pandas(tagged({"n": 1, "x": math.nan, "b": True, "t": "a"}, {}))

    assert ["int64", "float64", "bool", "str"] == [str(whole[name].dtype) for name in "nxbt"]
    assert ["Int64", "double[pyarrow]", "boolean", "str"] == [str(holey[name].dtype) for name in "nxbt"]
    assert [False, True] == holey["x"].isna().tolist()
    assert "category" == str(whole["metric"].dtype)


def test_a_table_is_taken_on() -> None:
    """What `to_arrow` returns can be given for what it was made of."""
    table = to_arrow(valued(1, 2))

    assert table is to_arrow(table)
    assert [1, 2] == to_pandas(table)["value"].tolist() == to_polars(table)["value"].to_list()
    assert [1, 2] == to_reader(table).read_all()["value"].to_pylist()
    assert [7] == read_back(write_parquet, pa.table({"own": [7]}))["own"].to_pylist()


def test_runs_are_typed_by_their_metrics(runs: Path) -> None:
    """With the metrics of a run its table has the types and the units that they declare, also as a stream."""
    path = sorted(runs.glob("*.db"))[0]
    table = to_arrow(path, metrics=RunMetrics)

    assert FEW == table.schema.field("split").type
    assert TEXT == to_arrow(path).schema.field("split").type
    assert same(table, to_arrow(load_run(path, Sweep, metrics=RunMetrics)))
    assert same(table, to_reader(path, metrics=RunMetrics).read_all())
    for told in (to_arrow(path), to_reader(path).read_all(), to_arrow(load_run(path))):
        assert facts_in(table) == facts_in(told)
        assert "Of a batch." == facts_in(told)["metrics"]["loss"]["description"]
    assert same(to_arrow(path), to_reader(path).read_all())


class OddTags(TypedDict):
    day: date
    shade: Shade
    at: tuple[int, int]


class OddMetrics(MetricSchema):
    weights = Metric(Any, tags=OddTags)


class OlderMetrics(MetricSchema):
    weights = Metric(Any)


def test_stream_is_typed_by_its_metrics(tmp_path: Path) -> None:
    """A stream has the types that whoever loads the run has, also where the metrics were declared otherwise."""
    tags: Any = {"day": date(2026, 1, 2), "shade": Shade.DARK, "at": (1, 2)}
    paths = []
    for schema in (OddMetrics, None):
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext, metrics=schema)
            ctx.record("weights", np.zeros(3), tags)
        paths.append(journal.path)
    for path in paths:
        table = to_arrow(path, metrics=OddMetrics)
        assert same(table, to_reader(path, metrics=OddMetrics).read_all())
        assert [date(2026, 1, 2)] == table["day"].to_pylist()
        assert ["dark"] == table["shade"].to_pylist()
        assert "missing" not in table.column_names
        for make in (to_arrow, to_reader):
            with pytest.raises(JournalError, match="'weights' was declared otherwise"):
                make(path, metrics=OlderMetrics)


def test_stream_of_a_living_run(tmp_path: Path) -> None:
    """A stream has what there was when it was asked for, whatever is recorded while it is read."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("seen", 1)
        reader = to_reader(journal)
        ctx.record("seen", "later")
        journal.flush()
        assert [1] == reader.read_all()["value"].to_pylist()
        assert [1.0, None] == to_reader(journal).read_all()["value"].to_pylist()
    assert [1.0, None] == to_reader(journal).read_all()["value"].to_pylist()


def test_stream_of_a_run_that_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was resumed while it was opened is opened again."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("seen", 1)
    answers = iter([False, True, True])
    monkeypatch.setattr("crystallize._journal.read_run.has_writer", lambda _: next(answers))

    assert [1] == to_reader(journal.path).read_all()["value"].to_pylist()


def test_stream_of_a_long_series(tmp_path: Path) -> None:
    """A batch of a stream may have more points than a block."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        for at in range(BLOCK + 3):
            ctx.record("seen", at)

    assert [*range(BLOCK + 3)] == to_reader(journal.path).read_all()["value"].to_pylist()


def test_stream_that_is_left(tmp_path: Path) -> None:
    """A stream that nobody reads to its end lets the run go."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("seen", 1)
        reader = to_reader(journal)
        del reader


def test_points_that_json_alone_does_not_give_back(tmp_path: Path) -> None:
    """Without their metrics, values are as the file has them, in memory and as a stream."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        for value in (date(2026, 1, 2), (1, 2), Shade.DARK, 0.5):
            ctx.record("seen", value)
    table = to_arrow(journal.path)

    assert ['"2026-01-02"', "[1,2]", '"dark"', None] == table["value_json"].to_pylist()
    assert same(table, to_reader(journal.path).read_all())


def test_a_damaged_run_is_said_to_be(tmp_path: Path) -> None:
    """Points of a step that is not there are damage."""
    import sqlite3

    with Journal.start(tmp_path, "run") as journal, journal.context(FrozenContext).step("fit") as step:
        step.record("seen", 1)
    from crystallize._journal.database import update

    connection = sqlite3.connect(journal.path, isolation_level=None)
    (record,) = connection.execute("SELECT record FROM steps").fetchone()
    update(connection, "steps", "name = 'fit'", name="other", record=record.replace('"fit"', '"other"'))
    connection.close()

    with pytest.raises(DamagedRunError, match="'fit', which is not there"):
        to_reader(journal.path)


def test_table_of_a_reader(runs: Path) -> None:
    """A reader is taken wherever a table is."""
    path = runs / "sweep-0001.db"
    table = to_arrow(path)

    assert same(table, to_arrow(to_reader(path)))
    assert to_pandas(table).equals(to_pandas(to_reader(path)))
    assert to_polars(table).equals(to_polars(to_reader(path)))
    assert same(table, to_reader(to_reader(path)).read_all())
    assert same(table, read_back(write_parquet, to_reader(path)))


@pytest.mark.parametrize(("library", "call"), [("polars", to_polars), ("pandas", to_pandas)])
def test_libraries_that_are_missing(library: str, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library a function says what to install."""
    monkeypatch.setattr("crystallize._tables.frame_conversion.pd", OptionalModule("pandas", "pandas"))
    monkeypatch.setattr("crystallize._tables.frame_conversion.pl", OptionalModule("polars", "polars"))
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=re.escape(f"crystallize-context[{library}]")):
        call(FrozenContext())
