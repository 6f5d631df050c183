"""Columns: the type that items are given, and the items themselves."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from pydantic import AfterValidator, BeforeValidator, JsonValue, NonNegativeInt
from typing_extensions import TypedDict

from crystallize import FrozenContext, FrozenMetrics, Metric, MetricSchema
from crystallize._core.point_log import BLOCK
from crystallize.frames import to_arrow, to_pandas

from .recorded_points import FEW, TEXT, RunMetrics, Shade, facts_in, of, recorded, tag_of, tagged, valued

pytestmark = pytest.mark.usefixtures("quick_journals")


def test_a_choice_has_all_it_can_be() -> None:
    """The dictionary of a `Literal` has all choices in their order, whatever was recorded."""
    table = to_arrow(recorded(("loss", 0.5, {"epoch": 0, "split": "val"}), schema=RunMetrics))

    split: Any = table["split"].chunk(0)
    assert ["train", "val", "test"] == split.dictionary.to_pylist()
    assert ["train", "val", "test"] == to_pandas(table)["split"].cat.categories.tolist()


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
        edge: Shade
        filling: Shade

    class Schema(MetricSchema):
        seen = Metric(float, tags=Shades)

    assert [FEW, FEW] == [to_arrow(FrozenMetrics(Schema)).schema.field(name).type for name in ("edge", "filling")]


def test_texts_that_change() -> None:
    """Each point has its tag, also where there are more different ones than a block keeps apart."""
    texts = [str(at // 20) for at in range(2 * BLOCK + 7)]
    ctx = FrozenContext()
    for text in texts:
        ctx.record("seen", 1, tags={"t": text})

    assert texts == to_arrow(ctx)["t"].to_pylist()
