"""The table of docs/concepts/durability.md, of which each cell is tried here."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, create_model

from crystallize import FrozenContext, Journal, LiveValueError, Shared, load_run, register
from crystallize._core.equality import same
from crystallize._core.live_types import LIVE as LIVE_TYPES
from crystallize._core.registered_codecs import CODECS
from crystallize._core.value_codecs import library

PAGE = Path(__file__).parents[2] / "docs/concepts/durability.md"


class Config(BaseModel):
    depth: int


@dataclass
class Span:
    start: int
    end: int


class Pair(NamedTuple):
    left: int
    right: int


class Color(StrEnum):
    RED = "red"


class Hidden(BaseModel):
    depth: Annotated[int, Field(exclude=True)]


class Deeper(Config):
    """A subclass of a declared model."""


class Scaler:
    """A class that only the program knows."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaler)

    __hash__ = None  # type: ignore[assignment]  # as of a class with an equality of its own


class Engine:
    """A class of live objects."""


class Running(BaseModel, arbitrary_types_allowed=True):
    engine: Engine


class Registered(Scaler):
    """A class whose codec is registered."""


KINDS: dict[str, tuple[Any, ...]] = {
    "numbers, NaN and infinities, texts, None": (0.1, 3, True, "a", float("nan"), None),
    "lists, and dicts with texts as keys": ([1, [2]], {"a": [1]}),
    "tuples, sets, deques, dicts with any keys, `OrderedDict`": ((1, 2), {1, 2}, frozenset([1]), {1: 2, (1, 2): 3}),
    "bytes, complex numbers, `Decimal`, `Fraction`, `UUID`, paths": (b"\xff", 1j, Path("a")),
    "dates and times, with a `ZoneInfo` too": (datetime(2026, 3, 28, tzinfo=ZoneInfo("Europe/Berlin")),),
    "models, dataclasses, named tuples, enums": (Config(depth=1), Span(1, 2), Pair(1, 2), Color.RED),
    "numpy arrays without objects inside, and scalars": (np.arange(3), np.float32(1), np.timedelta64(5, "ns")),
    "arrays and scalars of ml_dtypes: bfloat16, float8": (np.ones(2, ml_dtypes.bfloat16), ml_dtypes.float8_e5m2(1)),
    "sparse arrays of SciPy: CSR, CSC, BSR, COO, DIA": (library("scipy.sparse").csr_array(np.eye(2)),),
    "frames and series of pandas, also with lists or None in a column; its times": (
        pd.DataFrame({"a": pd.Series([1, None], dtype=object), "b": [["x", "y"], []]}),
        pd.DataFrame({"a": pd.Categorical(["x"])}),
        pd.Timestamp("2026-01-01", tz="Asia/Tokyo"),
    ),
    "frames and series of polars": (pl.DataFrame({"a": [1]}), pl.Series([1])),
    "tables and arrays of pyarrow": (pa.table({"a": [1]}), pa.array([1])),
    "images of Pillow": (Image.new("RGB", (2, 2)),),
    "types with a registered `dump` and `load`": (Registered(),),
    "instances of other classes": (Scaler(),),
    "sparse columns of pandas, a `LazyFrame`": (pd.DataFrame({"a": pd.arrays.SparseArray([0])}), pl.LazyFrame()),
    "a model with a field of `exclude=True`": (Hidden(depth=1),),
}


HEAD = "| value | a reader gets | restored, its type declared | restored without a schema |\n|---|---|---|---|\n"
LIVE = "live objects, such as a model in training"
TYPED: dict[str, tuple[Any, Any]] = {
    "anything `Shared` that is no number or text": (Annotated[Any, Shared], [1]),
    "an instance of a subclass of the declared model": (Config, Deeper(depth=1)),
}
"""Kinds that need a declaration of their own, which comes before the value."""


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the codec of one class, and that another one is live."""
    monkeypatch.setattr(CODECS, "_by_type", {})
    monkeypatch.setattr(LIVE_TYPES, "_by_type", {})
    register(Engine, live=True)
    register(Registered, dump=lambda value: b"", load=lambda content: Registered())


def restored(folder: Path, values: dict[str, Any], shape: Any) -> dict[str, bool]:
    """Return which values come back from a file under a schema; None is no schema."""
    kind: Any = FrozenContext if shape is None else FrozenContext[shape]
    with Journal.start(folder, "run") as journal:
        journal.context(kind, values)
    run = load_run(journal.path, shape)
    return {key: entry.missing is None and same(values[key], run.values[key]) for key, entry in run.entries.items()}


def read(ctx: FrozenContext[Any], keys: list[str]) -> str:
    """Return what a reader of the values of a row gets."""
    are_kept = [ctx[key] is ctx[key] for key in keys]
    if all(are_kept):
        return "the value itself"
    return "the value if it is immutable, or a copy" if any(are_kept) else "a copy"


def answer(found: set[bool]) -> str:
    (is_restored,) = found  # the values of one row have to agree
    return "yes" if is_restored else "no"


@pytest.mark.usefixtures("_registered")
def test_each_row_is_true(tmp_path: Path) -> None:
    """Of each kind, the page says whether a file restores it, with its type declared and without a schema."""
    keys = {name: [f"key_{at}_{part}" for part in range(len(row))] for at, (name, row) in enumerate(KINDS.items())}
    values = {key: value for name, row in KINDS.items() for key, value in zip(keys[name], row, strict=True)}
    declared: dict[str, Any] = {key: (type(value), ...) for key, value in values.items()}
    declared |= {f"typed_{at}": (kind, ...) for at, (kind, _) in enumerate(TYPED.values())}
    schema = create_model("Held", __config__=ConfigDict(arbitrary_types_allowed=True), **declared)
    others = {f"typed_{at}": value for at, (_, value) in enumerate(TYPED.values())}
    typed, untyped = restored(tmp_path, values | others, schema), restored(tmp_path, values, None)
    ctx = FrozenContext(values)
    rows = [
        f"| {name} | {read(ctx, keys[name])} "
        f"| {answer({typed[key] for key in keys[name]})} | {answer({untyped[key] for key in keys[name]})} |"
        for name in KINDS
    ]
    declaring = FrozenContext[schema](values | others)  # type: ignore[valid-type]  # a model that only runtime knows
    rows += [
        f"| {name} | {read(declaring, [f'typed_{at}'])} | {answer({typed[f'typed_{at}']})} | |"
        for at, name in enumerate(TYPED)
    ]
    with pytest.raises(LiveValueError):
        FrozenContext[Running]()["engine"] = Engine()
    rows.append(f"| {LIVE} | an error at the write, unless the key is `Shared` | no | no |")
    rest = PAGE.read_text("utf-8").partition(HEAD)[2]

    assert rows == rest.partition("\n\n")[0].split("\n")
