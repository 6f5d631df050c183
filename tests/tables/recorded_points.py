"""Contexts with points, and how tables of them are looked at."""

import enum
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, NotRequired

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, SecretStr
from typing_extensions import TypedDict

from crystallize import FrozenContext, Metric, MetricSchema
from crystallize.frames import to_arrow, write_parquet

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
    return recorded(*(("seen", 1.0, point_tags) for point_tags in tags))


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


def same(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables are the same, NaN included, however they are cut into chunks."""
    return left.schema.equals(right.schema, check_metadata=True) and repr(left.to_pylist()) == repr(right.to_pylist())


def rows_of(table: pa.Table) -> list[Any]:
    """Return what a table holds of each point, by metric and place."""
    found = [
        (
            row["metric"],
            row["sequence"],
            row["run"],
            row["step"],
            row["branch"],
            repr(value_of(row)),
            repr(tags_of(table, row)),
        )
        for row in table.to_pylist()
    ]
    return sorted(found, key=lambda row: row[:2])


def value_of(row: dict[str, Any]) -> Any:
    text = row.get("value_json")
    return row["value"] if text is None else json.loads(text)


def tags_of(table: pa.Table, row: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for column in table.column_names:
        if column not in OWN and row[column] is not None:
            facts = facts_in(table, column)
            found[facts["tag"]] = json.loads(row[column]) if facts.get("encoding") == "json" else row[column]
    return dict(sorted(found.items()))


def opened(url: str) -> Any:
    """Open what is at a URL; fsspec has no types."""
    import fsspec

    return fsspec.open(url)  # type: ignore[attr-defined]  # the stubs have what the package uses


def read_back(write: Callable[..., None], measured: Any) -> pa.Table:
    file = BytesIO()
    write(measured, file)
    content = file.getvalue()
    return pq.read_table(BytesIO(content)) if write is write_parquet else pa.ipc.open_file(content).read_all()


class Sweep(BaseModel):
    lr: float | int
    token: SecretStr
    layers: list[int]
    name: str = "small"
    epoch: int = 7
    tuned: bool | None = None
    accuracy: float


class OtherMetrics(MetricSchema):
    los = Metric(float)
