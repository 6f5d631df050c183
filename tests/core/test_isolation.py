"""Isolation: a value of any kind, within any other, is what was written, whoever changes what they can reach."""

import copy
import enum
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from scipy import sparse  # type: ignore[import-untyped]  # it has no stubs here

from crystallize import FrozenContext
from tests.core import test_array_copies as arrays
from tests.core import test_frame_copies as frames


class Color(enum.Enum):
    RED = "red"


class Model(BaseModel):
    part: Any = None


class Open(BaseModel, extra="allow"):
    part: Any = None


class Fixed(BaseModel, frozen=True):
    part: Any = None


@dataclass
class Data:
    part: Any


@dataclass(frozen=True, slots=True)
class FixedData:
    part: Any


class Pair(NamedTuple):
    part: Any
    number: int = 5


class Plain:
    def __init__(self, part: Any) -> None:
        self.part = part


class OwnCopy(Plain):
    def __deepcopy__(self, memo: dict[int, Any]) -> "OwnCopy":
        return OwnCopy(copy.deepcopy(self.part, memo))


class OwnReduce(Plain):
    def __reduce__(self) -> Any:
        return OwnReduce, (self.part,)


IMMUTABLE: list[Any] = [
    *(None, True, 5, 10**30, 1.5, float("nan"), 1j, "text", b"bytes", Color.RED, Decimal("1.5"), date(2020, 1, 1)),
    *(datetime(2020, 1, 1, tzinfo=UTC), timedelta(1), np.float64(2), np.datetime64("2020-01-01"), frozenset({1})),
]
COLUMNS = list(frames.COLUMNS.values())
PARTS: list[Callable[[], Any]] = [
    *(lambda part=part: part for part in IMMUTABLE),
    *(
        lambda: bytearray(b"ab"),
        lambda: {1, 2},
        lambda: deque([1]),
        lambda: OrderedDict(a=1),
        lambda: defaultdict(list),
    ),
    *(
        lambda: np.arange(4),
        lambda: np.zeros((2, 2), order="F"),
        lambda: np.array(["a", "bc"]),
        lambda: np.arange(4)[::2],
    ),
    *(lambda: np.array([[1], None], dtype=object), lambda: np.ma.array([1, 2], mask=[True, False]), arrays.named),
    *arrays.STRUCTURED.values(),
    *(lambda make=make: pd.DataFrame({"a": make(), "b": [1, 2, 3]}) for make in COLUMNS),
    *(lambda make=make: pd.Series(make(), name="a") for make in COLUMNS),
    *(lambda make=make: pd.Index(make(), name="a") for make in COLUMNS),
    *(
        lambda: pa.table({"a": pa.array(np.arange(3))}),
        lambda: pa.array(np.arange(3)),
        lambda: pa.chunked_array([np.arange(3)]),
    ),
    *(lambda: pl.DataFrame({"a": np.arange(3)}), lambda: pl.Series("a", np.arange(3))),
    *(lambda: sparse.csr_array(np.eye(3)), lambda: sparse.coo_array(np.eye(3)), lambda: sparse.lil_array(np.eye(3))),
]
WRAPS: list[Callable[[Any], Any]] = [
    *(lambda it: [it], lambda it: (it, 1), lambda it: {"part": it}, lambda it: [it, it], Pair, Data, FixedData, Plain),
    *(lambda it: Model(part=it), lambda it: Fixed(part=it), lambda it: Open.model_validate({"more": it}), OwnReduce),
    *(lambda it: MappingProxyType({"part": it}), lambda it: SimpleNamespace(part=it), OwnCopy, lambda it: deque([it])),
    lambda it: defaultdict(list, part=it),
]


def in_array(part: Any) -> Any:
    """Return an array of objects with one object."""
    array = np.empty(1, dtype=object)
    array[0] = part
    return array


parts = st.sampled_from(PARTS).map(lambda make: make())
values = st.recursive(
    parts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(lambda wrap, part: wrap(part), st.sampled_from([*WRAPS, in_array]), inner)
    ),
    max_leaves=6,
)


def is_pandas(value: Any) -> bool:
    return isinstance(value, pd.DataFrame | pd.Series | pd.Index)


def held_by(value: Any) -> list[Any]:
    """Return the parts that a value of this module contains."""
    if isinstance(value, dict | MappingProxyType):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [*value]
    if isinstance(value, np.ndarray | np.void) and value.dtype.hasobject:
        return [*np.asarray(value).ravel().tolist()]
    extra = getattr(value, "__pydantic_extra__", None) or {}
    return [getattr(value, name) for name in ("part", "names") if hasattr(value, name)] + [*extra.values()]


def shown(value: Any) -> Any:
    """Describe a value: its type, and all that it contains. A read-only mapping becomes a dict."""
    kind = dict if isinstance(value, MappingProxyType) else type(value)
    if is_pandas(value):
        return frames.shown(value)
    if isinstance(value, np.ndarray | np.void):
        items = None if value.dtype.hasobject else repr(value.tolist())
        return kind, repr(value.dtype), value.shape, items, [*map(shown, held_by(value))]
    if isinstance(value, pa.Table | pa.Array | pa.ChunkedArray):
        return kind, value.to_pylist()
    if isinstance(value, pl.DataFrame | pl.Series):
        return kind, value.to_list() if isinstance(value, pl.Series) else value.to_dict(as_series=False)
    if sparse.issparse(value):
        return kind, value.toarray().tolist()
    if isinstance(value, dict | MappingProxyType | list | tuple | set | frozenset | deque) or hasattr(value, "part"):
        return kind, [*map(shown, held_by(value))], sorted(getattr(value, "model_fields_set", ()))
    return kind, repr(value)


def spoil(value: Any, met: set[int] | None = None) -> None:
    """Change all that can be changed in a value, at any depth."""
    met = set() if met is None else met
    if id(value) in met:
        return
    met.add(id(value))
    if is_pandas(value):
        frames.spoil(value)
        return
    for part in [*held_by(value), *([value.mask] if isinstance(value, np.ma.MaskedArray) else [])]:
        spoil(part, met)
    match value:
        case np.ndarray() | np.void():
            spoil_array(value)
        case pa.ChunkedArray() | pa.Array():
            chunks: Any = value.chunks if isinstance(value, pa.ChunkedArray) else [value]
            with suppress(ValueError, TypeError):
                np.frombuffer(chunks[0].buffers()[1], dtype="i8")[:] = 9
        case pa.Table():
            spoil(value["a"], met)
        case pl.DataFrame():
            value[0, "a"] = 9
            value.columns = ["spoilt"]
        case pl.Series():
            value[0] = 9
        case sparse.lil_array():
            value[0, 0] = 9
        case sparse.csr_array() | sparse.coo_array():
            value.data[:] = 9
        case dict():
            value["spoilt"] = True
        case list() | bytearray() | deque():
            value *= 2
            value.append(7)
        case set():
            value.add("spoilt")
        case _ if hasattr(value, "part"):
            with suppress(AttributeError, ValueError):
                value.part = "spoilt"


def spoil_array(array: Any) -> None:
    """Change an array or a structured scalar, and all arrays that it is a view of."""
    while hasattr(array, "dtype"):
        with suppress(ValueError, TypeError):
            array.flags.writeable = True
        with suppress(ValueError, TypeError, IndexError):
            array[...] = np.zeros((), array.dtype)
        if array.dtype.names:
            arrays.rename(array.dtype)
        with suppress(ValueError, TypeError, AttributeError):
            array.dtype = "V1" if array.dtype.names else "u1"
        array = array.base


@settings(deadline=None)
@given(values)
def test_isolation(value: Any) -> None:
    """Neither the writer nor a reader changes what the next reader gets: of a key, through a step, or in a copy."""
    expected = shown(value)
    ctx = FrozenContext({"x": value})
    spoil(value)
    with ctx.step("reads") as step:
        readers: list[Callable[[], Any]] = [
            *(lambda: ctx["x"], lambda: step["x"], lambda: ctx.as_dict()["x"], lambda: step.reads["x"]),
            lambda: copy.deepcopy(ctx)["x"],
        ]
        for read in readers:
            assert expected == shown(read())
            spoil(read())
        assert expected == shown(ctx["x"])


@pytest.mark.slow
def test_isolation_of_each_kind() -> None:
    """The same holds of each kind alone, and of each kind in each container."""
    for make in PARTS:
        test_isolation.hypothesis.inner_test(make())  # type: ignore[attr-defined]  # hypothesis sets it
    for wrap in [*WRAPS, in_array]:
        for make in PARTS[::3]:
            test_isolation.hypothesis.inner_test(wrap(make()))  # type: ignore[attr-defined]  # as above
