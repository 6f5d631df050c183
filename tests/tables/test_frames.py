"""What was measured as a table: Arrow, polars, pandas, Parquet."""

import enum
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator, FiniteFloat, JsonValue, NonNegativeInt, SecretStr
from typing_extensions import TypedDict

from crystallize import (
    DamagedRunError,
    FrameError,
    FrozenContext,
    FrozenMetrics,
    Journal,
    JournalError,
    Metric,
    MetricSchema,
    MissingExtraError,
    RunNotFoundError,
    fan_out,
    fork,
    load_run,
    merge,
)
from crystallize._base.optional import Extra
from crystallize._core.point_log import BLOCK
from crystallize._journal import journal as journal_module
from crystallize._journal import point_stream as batches
from crystallize._tables import arrow_table
from crystallize.frames import (
    runs_frame,
    to_arrow,
    to_pandas,
    to_polars,
    to_reader,
    write_arrow,
    write_parquet,
)

from ..journal.journal_runs import copied, die, no_origin

FEW = pa.dictionary(pa.int32(), pa.string())
TEXT = pa.large_string()
OWN = ("run", "step", "branch", "sequence", "metric", "value", "value_json")


class Shade(enum.Enum):
    DARK = "dark"
    LIGHT = "light"


class Tags(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val", "test"]


class RunMetrics(MetricSchema):
    loss = Metric(FiniteFloat | float, tags=Tags, unit="nats", goal="minimize", description="Of a batch.")
    rows = Metric(int)


def recorded(*points: tuple[str, Any, dict[str, Any]], schema: type[MetricSchema] | None = None) -> FrozenContext:
    """Return a context with these points: the metric, the value and the tags of each."""
    ctx = FrozenContext(metrics=schema)
    for name, value, tags in points:
        ctx.record(name, value, tags=tags)
    return ctx


def valued(*values: Any) -> FrozenContext:
    return recorded(*(("seen", value, {}) for value in values))


def tagged(*tags: dict[str, Any]) -> FrozenContext:
    return recorded(*(("seen", 1.0, one) for one in tags))


def of(type: Any, *values: Any) -> pa.Table:
    """Return a table of values of a metric that is declared to be of a type."""

    class Schema(MetricSchema):
        seen = Metric(type)

    return to_arrow(recorded(*(("seen", value, {}) for value in values), schema=Schema))


def tag_of(type: Any, *tags: Any) -> "pa.ChunkedArray[Any]":
    """Return the column of a tag that is declared to be of a type, and that is only there where it is not `...`."""
    made: Any = TypedDict("made", {"tag": NotRequired[type]})

    class Schema(MetricSchema):
        seen = Metric(float, tags=made)

    points = [("seen", 1.0, {} if tag is ... else {"tag": tag}) for tag in tags]
    return to_arrow(recorded(*points, schema=Schema))["tag"]


def facts_in(table: pa.Table, column: str | None = None) -> Any:
    """Return what the metadata of a table, or of one of its columns, says."""
    metadata = table.schema.metadata if column is None else table.schema.field(column).metadata
    assert metadata is not None
    return json.loads(metadata[b"crystallize"])


def same(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables are the same, NaN included, however they are cut into chunks."""
    return one.schema.equals(other.schema, check_metadata=True) and repr(one.to_pylist()) == repr(other.to_pylist())


def rows_of(table: pa.Table) -> list[Any]:
    """Return what a table holds of each point, by metric and place."""
    found = [
        (
            row["metric"],
            row["sequence"],
            row["run"],
            row["step"],
            row["branch"],
            repr(_value(row)),
            repr(_tags(table, row)),
        )
        for row in table.to_pylist()
    ]
    return sorted(found, key=lambda row: row[:2])


def _value(row: dict[str, Any]) -> Any:
    text = row.get("value_json")
    return row["value"] if text is None else json.loads(text)


def _tags(table: pa.Table, row: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for column in table.column_names:
        if column not in OWN and row[column] is not None:
            facts = facts_in(table, column)
            found[facts["tag"]] = json.loads(row[column]) if facts.get("encoding") == "json" else row[column]
    return dict(sorted(found.items()))


@pytest.fixture(autouse=True, scope="module")
def _quick_journals() -> Iterator[None]:
    """Ask git nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_module, "origin", no_origin)
        yield


def opened(url: str) -> Any:
    """Open what is at a URL; fsspec has no types."""
    import fsspec

    return fsspec.open(url)  # type: ignore[attr-defined]  # the stubs have what the package uses


# Columns


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


def test_a_choice_has_all_it_can_be() -> None:
    """The dictionary of a `Literal` has all choices in their order, whatever was recorded."""
    table = to_arrow(recorded(("loss", 0.5, {"epoch": 0, "split": "val"}), schema=RunMetrics))

    split: Any = table["split"].chunk(0)
    assert ["train", "val", "test"] == split.dictionary.to_pylist()
    assert ["train", "val", "test"] == to_pandas(table)["split"].cat.categories.tolist()


def test_nothing_measured() -> None:
    """Where nothing was measured there are the columns without rows."""
    assert OWN[:-1] == tuple(to_arrow(FrozenContext()).column_names)
    assert (0, 6) == to_pandas(FrozenContext()).shape == to_polars(FrozenContext()).shape
    assert ["epoch", "split"] == to_arrow(FrozenMetrics(RunMetrics)).column_names[-2:]


@pytest.mark.parametrize(
    ("values", "type"),
    [
        ((0.5, math.inf, None, -0.0), pa.float64()),
        ((1, 2.5, 1 << 53), pa.float64()),
        ((1, -(1 << 63), None), pa.int64()),
        ((True, None, False), pa.bool_()),
        (("a", "", None, "é語"), TEXT),
        ((None,), pa.float64()),
        ((date(2026, 1, 2), date.max), pa.date32()),
        ((datetime(2026, 1, 2, 3, 4, 5, 6), datetime.max, datetime.min), pa.timestamp("us")),
        ((datetime(2026, 1, 2, tzinfo=UTC),), pa.timestamp("us", "UTC")),
    ],
    ids=["floats", "numbers", "ints", "bools", "texts", "none", "dates", "clocks", "moments"],
)
def test_values_of_one_type(values: tuple[Any, ...], type: pa.DataType) -> None:
    """Values of one type, or all numbers, are a column of that type, and nothing stands beside it."""
    table = to_arrow(valued(*values))

    assert type == table.schema.field("value").type
    assert "value_json" not in table.column_names
    assert list(values) == table["value"].to_pylist()


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        (0.5, 0.5, None),
        (3, 3.0, None),
        (None, None, None),
        (True, None, "true"),
        ("a", None, '"a"'),
        ([1, "x"], None, '[1,"x"]'),
        ({"a": {"b": 1}}, None, '{"a":{"b":1}}'),
        (np.array([1.0, math.nan]), None, '[1.0,"NaN"]'),
        (Shade.DARK, None, '"dark"'),
        ((1 << 60) + 1, float(1 << 60), str((1 << 60) + 1)),
        (10**400, None, str(10**400)),
        (date(2026, 1, 2), None, '"2026-01-02"'),
        ("\ud800", None, '"\\\\ud800"'),
    ],
    ids=str,
)
def test_values_of_several_types(value: Any, number: float | None, text: str | None) -> None:
    """Where values are no numbers, and not all of one type, what `value` cannot hold exactly is beside it as JSON."""
    ctx = recorded(("seen", value, {}), ("other", "text", {}), ("other", 0.5, {}), ("other", [], {}))
    table = to_arrow(ctx)

    assert (pa.float64(), TEXT) == (table.schema.field("value").type, table.schema.field("value_json").type)
    assert (number, text) == (table["value"][0].as_py(), table["value_json"][0].as_py())


class Rude:
    def __repr__(self) -> str:
        raise OSError

    __str__ = __repr__


def test_what_json_has_not() -> None:
    """Of what cannot be turned into JSON there is what can be said of it."""
    table = to_arrow(valued(Rude(), 10**5000, [10**5000], 1.5))

    texts: list[Any] = table["value_json"].to_pylist()
    assert "<Rude whose repr raises OSError>" == json.loads(texts[0])
    assert ["1" + "0" * 5000, f"[1{'0' * 5000}]"] == texts[1:3]


def test_declared_types_hold() -> None:
    """A column has the type that its metric declares, also where nothing was recorded that needs it."""
    assert (pa.int64(), [1]) == (of(int, 1)["value"].type, of(int, 1)["value"].to_pylist())
    assert pa.float64() == of(int | float, 1)["value"].type
    assert ["value", "value_json"] == of(int | str, 1).column_names[-2:]
    assert FEW == of(Literal["a", "b"], "b")["value"].type
    assert FEW == of(Shade, Shade.LIGHT)["value"].type
    assert "value_json" in of(Literal["a", 1], "a").column_names
    assert pa.float64() == of(JsonValue, 1.5)["value"].type


@pytest.mark.parametrize(
    ("kind", "type"),
    [
        (int, pa.int64()),
        (NonNegativeInt | None, pa.int64()),
        (float, pa.float64()),
        (bool, pa.bool_()),
        (str, TEXT),
        (Literal["a", "b"], FEW),
        (Literal["a", "b"] | None, FEW),
        (Literal["a"] | str, TEXT),  # noqa: PYI051 - no choice any more
        (Literal["a"] | JsonValue, pa.null()),
        (Literal[1, 2], pa.int64()),
        (Literal["a", 1], FEW),
        (Shade, FEW),
        (Annotated[int, BeforeValidator(int)], pa.int64()),
        (Annotated[int, AfterValidator(abs)], pa.null()),
        (int | float, pa.float64()),
        (JsonValue, pa.null()),
    ],
    ids=str,
)
def test_declared_tags(kind: Any, type: pa.DataType) -> None:
    """A tag has the type that it declares, also where no point has it."""
    assert type == tag_of(kind).type == tag_of(kind, ...).type


def test_absent_tags() -> None:
    """A tag that a point does not have is null, and NaN is NaN."""
    assert [1, None, 2] == tag_of(int, 1, ..., 2).to_pylist()
    assert "[nan, None, 2.5]" == repr(tag_of(float, math.nan, ..., 2.5).to_pylist())
    assert ["a", None, None] == tag_of(str | None, "a", None, ...).to_pylist()
    assert [True, None] == tag_of(bool, True, ...).to_pylist()
    assert ["dark", None, "light"] == tag_of(Shade, Shade.DARK, ..., Shade.LIGHT).to_pylist()
    assert [1, None] == tag_of(Literal[1, 2], 1, ...).to_pylist()


def test_tags_by_what_was_recorded() -> None:
    """A tag that is not declared has the type of what was recorded; of several types it is JSON, and says so."""
    table = to_arrow(tagged({"n": 1, "x": 0.5, "t": "a", "m": 1}, {"n": 2, "x": 1, "t": "\udfff", "m": "1", "l": [1]}))

    types = {name: table.schema.field(name).type for name in ("n", "x", "t", "m", "l")}
    assert {"n": pa.int64(), "x": pa.float64(), "t": TEXT, "m": TEXT, "l": TEXT} == types
    assert (["a", "\\udfff"], ["1", '"1"']) == (table["t"].to_pylist(), table["m"].to_pylist())
    assert ({"tag": "m", "encoding": "json"}, {"tag": "t"}) == (facts_in(table, "m"), facts_in(table, "t"))


def test_ints_that_are_no_floats() -> None:
    """Tags that a column of floats would change are JSON, and so are ints of more than 64 bits."""
    big = (1 << 53) + 1

    assert [str(big), "0.5"] == to_arrow(tagged({"n": big}, {"n": 0.5}))["n"].to_pylist()
    assert [str(1 << 64), "1"] == to_arrow(tagged({"n": 1 << 64}, {"n": 1}))["n"].to_pylist()
    assert [big, 1] == to_arrow(tagged({"n": big}, {"n": 1}))["n"].to_pylist()


def test_moments() -> None:
    """Times are in UTC where they say in which zone, and JSON where only some do."""
    noon = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))

    assert [noon] == to_arrow(tagged({"at": noon}))["at"].to_pylist()
    assert TEXT == to_arrow(tagged({"at": noon}, {"at": datetime(2026, 1, 2)}))["at"].type


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

    assert [{f"tag{at}": at} for at in range(100)] == [_tags(table, row) for row in table.to_pylist()]


class Model(BaseModel, extra="allow"):
    fold: int


def test_tags_of_a_model() -> None:
    """Tags of a model are columns too, those too that it does not declare."""

    class Schema(MetricSchema):
        seen = Metric(float, tags=Model)

    ctx = FrozenContext(metrics=Schema)
    ctx.record("seen", 1.0, {"fold": 3, "more": "x"})

    assert {"fold": 3, "more": "x"} == {name: to_arrow(ctx)[name][0].as_py() for name in ("fold", "more")}


def test_choice_for_some() -> None:
    """A tag that is a choice for one metric, and any text for another, is text."""

    class Free(TypedDict):
        tag: str

    class Chosen(TypedDict):
        tag: Literal["a"]

    class Schema(MetricSchema):
        some = Metric(float, tags=Free)
        other = Metric(float, tags=Chosen)

    assert TEXT == to_arrow(FrozenMetrics(Schema))["tag"].type


def test_enum_of_two_tags() -> None:
    """Several tags may be of one enum."""

    class Shades(TypedDict):
        one: Shade
        other: Shade

    class Schema(MetricSchema):
        seen = Metric(float, tags=Shades)

    assert [FEW, FEW] == [to_arrow(FrozenMetrics(Schema)).schema.field(name).type for name in ("one", "other")]


def test_texts_that_change() -> None:
    """Each point has its tag, also where there are more different ones than a block keeps apart."""
    texts = [str(at // 20) for at in range(2 * BLOCK + 7)]
    ctx = FrozenContext()
    for text in texts:
        ctx.record("seen", 1, tags={"t": text})

    assert texts == to_arrow(ctx)["t"].to_pylist()


def test_steps() -> None:
    """Each point has its step, however often they change."""
    ctx = FrozenContext()
    opened = [ctx.step(name) for name in ("a", "b")]
    steps = [one.__enter__() for one in opened]
    for at in range(2 * BLOCK):
        [ctx, *steps][at % 3].record("seen", at)
    for one in reversed(opened):
        one.__exit__(None, None, None)

    assert [(None, "a", "b")[at % 3] for at in range(2 * BLOCK)] == to_arrow(ctx)["step"].to_pylist()


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


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
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
    points = [(name, data.draw(values[name]), one) for name, one in drawn] * times
    ctx = recorded(*points)

    table = to_arrow(ctx)

    expected = []
    for name in ("a", "b"):
        series = [(value, tags) for metric, value, tags in points if metric == name]
        expected += [(name, at, value, tags) for at, (value, tags) in enumerate(series)]
    found = [
        (row["metric"], row["sequence"], _value(row), _tags(table, row))
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


def read_back(write: Callable[..., None], measured: Any) -> pa.Table:
    file = BytesIO()
    write(measured, file)
    content = file.getvalue()
    return pq.read_table(BytesIO(content)) if write is write_parquet else pa.ipc.open_file(content).read_all()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
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


# polars and pandas


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


# Runs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder of two runs of a sweep."""
    for lr in (0.1, 1):
        with Journal.start(tmp_path / "runs", "sweep") as journal:
            ctx = journal.context(
                FrozenContext[Sweep], {"lr": lr, "token": "hunter2", "layers": [1, 2]}, metrics=RunMetrics
            )
            with ctx.step("fit") as step:
                for epoch in range(3):
                    step.record("loss", lr / (epoch + 1), {"epoch": epoch, "split": "val"})
            ctx.fields.accuracy = 0.9
    return tmp_path / "runs"


class Sweep(BaseModel):
    lr: float | int
    token: SecretStr
    layers: list[int]
    name: str = "small"
    epoch: int = 7
    tuned: bool | None = None
    accuracy: float


def test_folder_of_runs(runs: Path) -> None:
    """The points of all runs are one table, and what each began with stands beside them."""
    table = runs_frame(runs, metrics=RunMetrics)

    columns = {"lr": pa.float64(), "layers": FEW, "name": FEW, "input.epoch": pa.int64(), "tuned": pa.null()}
    assert ["epoch", "split", *columns] == table.column_names[6:]
    assert columns == {name: table.schema.field(name).type for name in columns}
    assert ["sweep-0001"] * 3 + ["sweep-0002"] * 3 == table["run"].to_pylist()
    assert [0.1] * 3 + [1.0] * 3 == table["lr"].to_pylist()
    assert {"[1,2]"} == set(table["layers"].to_pylist())
    assert {"input": "layers", "encoding": "json"} == facts_in(table, "layers")
    assert "nats" == facts_in(table)["metrics"]["loss"]["unit"]
    assert facts_in(table) == facts_in(runs_frame(runs))
    assert {0.1: 0.1, 1.0: 1.0} == to_pandas(table).groupby("lr")["value"].max().to_dict()
    assert same(table, read_back(write_parquet, table))


def test_secrets_are_in_no_frame(runs: Path) -> None:
    """What a secret input holds is nowhere, and no column is made of it."""
    assert "hunter2" not in str(runs_frame(runs).to_pylist())
    assert "token" not in runs_frame(runs, inputs=["token", "lr"]).column_names


def test_some_runs(runs: Path) -> None:
    """Runs can be named, and inputs chosen."""
    first, second = sorted(runs.glob("*.db"))
    table = runs_frame([second, load_run(first)], inputs=["lr"])

    assert ["epoch", "split", "lr"] == table.column_names[6:]
    assert [1.0, 0.1] == list(dict.fromkeys(table["lr"].to_pylist()))
    assert OWN[:-1] == tuple(runs_frame([]).column_names)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (["lrr"], "inputs=.*no run began with 'lrr'; did you mean 'lr'"),
        (["lr", "qqqqqqqqq"], "no run began with 'qqqqqqqqq'; they began with 'lr', 'token', 'layers'"),
        (["accuracy"], "no run began with 'accuracy', which was written later"),
        ("lr", r"inputs='lr': write inputs=\['lr'\]"),
    ],
)
def test_inputs_that_there_are_not(runs: Path, inputs: Any, says: str) -> None:
    """An input that no run began with is named, with the nearest one."""
    with pytest.raises(FrameError, match=says):
        runs_frame(runs, inputs=inputs)


def test_inputs_of_runs_without_any(tmp_path: Path) -> None:
    """Where no run began with anything, that is said; of no runs nothing is asked."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext)
    with pytest.raises(FrameError, match="no run began with 'lr'; they began with nothing"):
        runs_frame(tmp_path, inputs=["lr"])
    assert 0 == len(runs_frame([], inputs=["lr"]))


def test_input_that_another_run_wrote_later(tmp_path: Path) -> None:
    """What one run began with and another one wrote later is an input of the first."""
    for initial in ({}, {"lr": 1}, {}):
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext, initial)
            ctx.record("seen", 1)
            if not initial:
                ctx["lr"] = 2
    assert [None, 1, None] == runs_frame(tmp_path, inputs=["lr"])["lr"].to_pylist()


def test_folder_with_a_damaged_run(runs: Path) -> None:
    """A file that cannot be read is named, with how to leave it out; left out, it is named in a warning."""
    damaged = runs / "sweep-0002.db"
    damaged.write_bytes(b"none")

    with pytest.raises(DamagedRunError, match=r'sweep-0002.db: .*verify.*; errors="skip" leaves it out'):
        runs_frame(runs)
    with pytest.warns(UserWarning, match=r"left out: .*sweep-0002.db: "):
        table = runs_frame(runs, errors="skip")
    assert {"sweep-0001"} == set(table["run"].to_pylist())
    assert 3 == len(runs_frame([path for path in runs.glob("*.db") if path != damaged]))
    with pytest.raises(RunNotFoundError, match=r'no.db: there is no such run; errors="skip" leaves it out'):
        runs_frame([runs / "no.db"])
    wrong: Any = "ignore"
    with pytest.raises(FrameError, match='errors=\'ignore\': it is "raise" or "skip"'):
        runs_frame(runs, errors=wrong)


def test_runs_of_two_schemas(runs: Path) -> None:
    """Where the metrics are not those of all runs, the error says what helps."""
    with Journal.start(runs, "other") as journal:
        journal.context(FrozenContext, metrics=OtherMetrics).record("los", 1)

    with pytest.raises(JournalError, match=r'other-0001.db: .*without metrics=.* can be read.*; errors="skip"'):
        runs_frame(runs, metrics=RunMetrics)
    assert 7 == len(runs_frame(runs))


def test_runs_with_other_inputs(tmp_path: Path) -> None:
    """An input that a run did not have is null; inputs of other types are JSON."""
    given: list[dict[str, Any]] = [{"a": 1, "b": 1 << 70}, {"b": "x", "c": "2026-01-02"}, {"a": 2.5, "c": None}]
    for values in given:
        with Journal.start(tmp_path, "run") as journal:
            journal.context(FrozenContext, values).record("seen", 1)
    table = runs_frame(tmp_path)

    assert [1.0, None, 2.5] == table["a"].to_pylist()
    assert [str(1 << 70), '"x"', None] == table["b"].to_pylist()
    assert [None, "2026-01-02", None] == table["c"].to_pylist()


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


def test_run_that_died(tmp_path: Path) -> None:
    """Of a run that died there is all that was acknowledged, also what only its spool has."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    for at in range(10):
        ctx.record("seen", at)
    path = copied(journal, tmp_path / "copy")
    die(journal)

    assert [*range(10)] == to_arrow(path)["value"].to_pylist() == to_reader(path).read_all()["value"].to_pylist()


def test_steps_done_again(tmp_path: Path) -> None:
    """What a step did that had to be done again is not in a table."""
    with suppress(OSError), Journal.start(tmp_path, "run") as journal:
        fit = journal.context(FrozenContext).step("fit")
        with fit as step:
            step.record("seen", 1.0)
            raise OSError
    with Journal.resume(journal.path) as resumed, resumed.context(FrozenContext).step("fit") as step:
        step.record("seen", 2.0)

    path = journal.path
    assert [2.0] == to_arrow(path)["value"].to_pylist() == to_reader(path).read_all()["value"].to_pylist()


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
    monkeypatch.setattr("crystallize._journal.loaded_run.is_locked", lambda _: next(answers))

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
    update(connection, "steps", "name = 'fit'", name="other")
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


def test_table_of_a_series() -> None:
    """A series is a table of its points alone, and a part of one of that part, each in its place."""
    points = [("loss", at / 2, {"epoch": at, "split": ("train", "val")[at % 2]}) for at in range(2 * BLOCK)]
    ctx = recorded(*points, ("rows", 7, {}), schema=RunMetrics)
    loss = ctx.metrics.series(RunMetrics.loss)

    whole, part = to_arrow(loss), to_arrow(loss.where(split="val"))
    assert ["epoch", "split"] == whole.column_names[6:]
    assert {"loss"} == facts_in(whole)["metrics"].keys()
    assert [at / 2 for at in range(2 * BLOCK)] == whole["value"].to_pylist()
    assert [*range(1, 2 * BLOCK, 2)] == part["sequence"].to_pylist() == part["epoch"].to_pylist()
    assert whole.schema.equals(part.schema, check_metadata=True)
    assert same(part, to_reader(loss.where(split="val")).read_all())
    assert same(part, read_back(write_parquet, loss.where(split="val")))
    assert BLOCK == len(to_pandas(loss.where(split="val")))
    assert [7] == to_polars(ctx.metrics.series("rows"))["value"].to_list()
    assert 0 == len(to_arrow(FrozenContext().metrics.series("none")))
    assert 0 == len(to_arrow(FrozenContext(metrics=RunMetrics).metrics.series("loss")))


# What a file cannot give back


def test_what_a_file_cannot_give_back(tmp_path: Path) -> None:
    """What a file cannot give back stands there as JSON has it, and which columns that is of is told beside it."""
    day = datetime(2026, 1, 2, tzinfo=UTC)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("a", 1.5, {"when": day, "step": b"\xff"})
        ctx.record("a", (1, 2), {"when": day})
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


# Files


@pytest.mark.parametrize("write", [write_parquet, write_arrow])
def test_written_to_a_path(tmp_path: Path, write: Callable[..., None]) -> None:
    """A file is written whole, in place of what was there, and nothing else stays."""
    path = tmp_path / "run.out"
    path.write_text("old")
    write(valued(1, 2), path)

    table = pq.read_table(path) if write is write_parquet else pa.ipc.open_file(str(path)).read_all()
    assert [1, 2] == table["value"].to_pylist()
    assert [path] == [*tmp_path.iterdir()]
    assert 0o666 & ~umask() == path.stat().st_mode & 0o777


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_file_that_is_not_finished(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails on the way leaves the file that was there before, at a path and at a URL."""

    def fail(*_: object) -> Iterator[Any]:
        yield {}
        raise OSError("gone")

    path, url = tmp_path / "run.parquet", f"memory://{tmp_path}/run.parquet"
    for where in (path, url):
        write_parquet(valued(1), where)
    monkeypatch.setattr(batches.StoredPoints, "batches", fail)
    for where in (path, url):
        with pytest.raises(OSError, match="gone"):
            write_parquet(runs / "sweep-0001.db", where)

    assert [1] == pq.read_table(path)["value"].to_pylist()
    with opened(url) as file:
        assert [1] == pq.read_table(file)["value"].to_pylist()
    assert {path, runs} == {*tmp_path.iterdir()}


def test_written_through_a_link(tmp_path: Path) -> None:
    """A path that is a link stays one, and what it leads to is written."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_parquet(valued(1), tmp_path / "link")

    assert (tmp_path / "link").is_symlink()
    assert [1] == pq.read_table(tmp_path / "file")["value"].to_pylist()


def test_written_to_a_device() -> None:
    """A path that is no file is written to as it is."""
    write_parquet(valued(1), "/dev/null")

    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_written_to_a_url(tmp_path: Path, scheme: str) -> None:
    """A URL is written by fsspec."""
    url = f"{scheme}://{tmp_path}/run.parquet"
    write_parquet(valued(1, 2), url)

    with opened(url) as file:
        assert [1, 2] == pq.read_table(file)["value"].to_pylist()


def test_written_after_what_is_there() -> None:
    """A file that is open is written on where it stands, and stays open."""
    file = BytesIO()
    file.write(b"before")
    write_parquet(valued(1), file)

    assert not file.closed
    assert [1] == pq.read_table(BytesIO(file.getvalue().removeprefix(b"before")))["value"].to_pylist()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nowhere://user:secret@host/x", r"nowhere://: .*nowhere"),
        ("http://user:secret@host/x", r"http://: fsspec cannot"),
    ],
)
def test_url_that_nobody_knows(url: str, says: str) -> None:
    """A URL that cannot be written says so, without what may be secret in it."""
    with pytest.raises(FrameError, match=says) as told:
        write_parquet(valued(1), url)
    assert "secret" not in str(told.value)


def test_written_to_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A folder that is not there is named, and not made."""
    with pytest.raises(FrameError, match=r"run.parquet: there is no folder '.*none'; make it first"):
        write_parquet(valued(1), tmp_path / "none" / "run.parquet")
    assert [] == [*tmp_path.iterdir()]


def test_written_to_what_is_no_place() -> None:
    """What is no path and no file is named by its type, with what was allowed."""
    nowhere: Any = 3
    with pytest.raises(FrameError, match="int: a table is written to a path, a URL, or an open binary file"):
        write_parquet(valued(1), nowhere)


def test_a_run_is_not_overwritten(runs: Path) -> None:
    """The file of a run is not taken for a place to write."""
    path = runs / "sweep-0001.db"
    with pytest.raises(FrameError, match="this is the file of a run"):
        write_parquet(path, path)
    assert 3 == len(to_arrow(path))


def test_stream_in_parquet(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in a file is written a batch at a time, and what is read back is all of it."""
    monkeypatch.setattr(batches, "BATCH", 1)
    path = runs / "sweep-0001.db"
    write_parquet(path, tmp_path / "run.parquet", metrics=RunMetrics)

    assert same(to_arrow(path, metrics=RunMetrics), pq.read_table(tmp_path / "run.parquet"))


# What is not right


@pytest.mark.parametrize(
    ("measured", "kind"), [({"loss": [1]}, "dict"), (None, "NoneType"), (pd.DataFrame(), "pandas.*DataFrame")]
)
def test_what_there_is_no_table_of(measured: Any, kind: str) -> None:
    """What holds no points is named by its type, with what was allowed."""
    with pytest.raises(FrameError, match=f"{kind}: there is no table of it; give metrics, a series, a context, a run"):
        to_arrow(measured)


@pytest.mark.parametrize("measured", [FrozenContext(), pa.table({"a": [1]}), pa.table({"a": [1]}).to_reader()])
@pytest.mark.parametrize("make", [to_arrow, to_reader, to_pandas])
def test_metrics_of_what_has_its_own(measured: Any, make: Any) -> None:
    """What has its own metrics takes no others."""
    with pytest.raises(FrameError, match="has its own metrics"):
        make(measured, metrics=RunMetrics)


def test_runs_that_are_not_there(tmp_path: Path, runs: Path) -> None:
    """A run, or a folder of runs, that is not there is named."""
    with pytest.raises(RunNotFoundError, match="this is a folder"):
        to_arrow(runs)
    with pytest.raises(RunNotFoundError):
        to_reader(tmp_path / "no.db")
    with pytest.raises(FrameError, match="no folder of runs; `to_arrow` takes a single run"):
        runs_frame(runs / "sweep-0001.db")


class OtherMetrics(MetricSchema):
    los = Metric(float)


def test_runs_of_other_metrics(runs: Path) -> None:
    """A run that measured what is not declared names it, with the nearest name."""
    path = runs / "sweep-0001.db"
    with pytest.raises(JournalError, match=r"measured what the schema does not declare.*did you mean 'los'"):
        to_arrow(path, metrics=OtherMetrics)
    with pytest.raises(JournalError, match=r"measured what the schema does not declare.*did you mean 'los'"):
        to_reader(path, metrics=OtherMetrics)


@pytest.mark.parametrize(("library", "call"), [("polars", to_polars), ("pandas", to_pandas)])
def test_libraries_that_are_missing(library: str, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library a function says what to install."""
    monkeypatch.setattr("crystallize._tables.conversions.pd", Extra("pandas", "pandas"))
    monkeypatch.setattr("crystallize._tables.conversions.pl", Extra("polars", "polars"))
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=re.escape(f"crystallize-context[{library}]")):
        call(FrozenContext())
