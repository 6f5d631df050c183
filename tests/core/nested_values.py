"""Values of every kind within values of every kind: how they are made, described and changed.

A recipe is data that can be printed; each call of `built` makes a value of its own from it.
"""

import copy
import enum
import pickle
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel

from tests.core import test_array_copies as arrays
from tests.core import test_frame_copies as frames
from tests.core.value_kinds import KINDS, sparse


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


def in_array(part: Any) -> Any:
    """Return an array of objects with one object."""
    array = np.empty(1, dtype=object)
    array[0] = part
    return array


IMMUTABLE: dict[str, Any] = {
    repr(value): value
    for value in (
        *(None, True, 5, 10**30, 1.5, float("nan"), 1j, "text", b"bytes", Color.RED, Decimal("1.5"), date(2020, 1, 1)),
        *(datetime(2020, 1, 1, tzinfo=UTC), timedelta(1), np.float64(2), np.datetime64("2020-01-01"), frozenset({1})),
    )
}
_OTHERS: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(b"ab"),
    "set": lambda: {1, 2},
    "deque": lambda: deque([1]),
    "OrderedDict": lambda: OrderedDict(a=1),
    "defaultdict": lambda: defaultdict(list),
    "array": lambda: np.arange(4),
    "array in the order of Fortran": lambda: np.zeros((2, 2), order="F"),
    "array of texts": lambda: np.array(["a", "bc"]),
    "every second item": lambda: np.arange(4)[::2],
    "array of objects": lambda: np.array([[1], None], dtype=object),
    "masked array": lambda: np.ma.array([1, 2], mask=[True, False]),
    "array of a class": arrays.named,
    "table": lambda: pa.table({"a": pa.array(np.arange(3))}),
    "arrow array": lambda: pa.array(np.arange(3)),
    "chunks": lambda: pa.chunked_array([np.arange(3)]),
    "polars frame": lambda: pl.DataFrame({"a": np.arange(3)}),
    "polars series": lambda: pl.Series("a", np.arange(3)),
    "csr": lambda: sparse.csr_array(np.eye(3)),
    "coo": lambda: sparse.coo_array(np.eye(3)),
    "lil": lambda: sparse.lil_array(np.eye(3)),
}


def _itself(value: Any) -> Any:
    return value


def _pickled(value: Any) -> Any:
    """Return a copy of a value with copies of all objects in it, which `copy.deepcopy` of a frame does not have."""
    return pickle.loads(pickle.dumps(value))


def _frame(make: Callable[[], Any]) -> Any:
    return pd.DataFrame({"a": make(), "b": [1, 2, 3]})


def _series(make: Callable[[], Any]) -> Any:
    return pd.Series(make(), name="a")


def _index(make: Callable[[], Any]) -> Any:
    return pd.Index(make(), name="a")


PARTS: dict[str, Callable[[], Any]] = {
    **{name: partial(_itself, value) for name, value in IMMUTABLE.items()},
    **_OTHERS,
    **{f"structured, {name}": make for name, make in arrays.STRUCTURED.items()},
    **{f"frame of {name}": partial(_frame, make) for name, make in frames.COLUMNS.items()},
    **{f"series of {name}": partial(_series, make) for name, make in frames.COLUMNS.items()},
    **{f"index of {name}": partial(_index, make) for name, make in frames.COLUMNS.items()},
}
"""What makes a value of each kind that a context copies."""


STORED_PARTS: dict[str, Callable[[], Any]] = {
    name: partial(_pickled, value)
    for name, value in KINDS.items()
    if name != "pandas frame without columns"  # whose millions of labels are slow to describe
}
"""What makes a value of each kind that a file has a form for."""

if find_spec("torch") is not None:
    torch: Any = import_module("torch")

    STORED_PARTS |= {
        "tensor": lambda: torch.arange(4),
        "tensor of bfloat16": lambda: torch.ones(2, 3, dtype=torch.bfloat16),
        "parameter": lambda: torch.nn.Parameter(torch.ones(2)),
        "state_dict": lambda: torch.nn.BatchNorm1d(2).state_dict(),
    }

WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": lambda it: [it],
    "tuple": lambda it: (it, 1),
    "dict": lambda it: {"part": it},
    "dict with a number": lambda it: {7: it},
    "twice": lambda it: [it, it],
    "named tuple": Pair,
    "dataclass": Data,
    "frozen dataclass": FixedData,
    "object": Plain,
    "model": lambda it: Model(part=it),
    "frozen model": lambda it: Fixed(part=it),
    "open model": lambda it: Open.model_validate({"part": None, "more": it}),
    "own reduce": OwnReduce,
    "own deepcopy": OwnCopy,
    "read-only mapping": lambda it: MappingProxyType({"part": it}),
    "namespace": lambda it: SimpleNamespace(part=it),
    "deque": lambda it: deque([it]),
    "OrderedDict": lambda it: OrderedDict(part=it),
    "defaultdict": lambda it: defaultdict(list, part=it),
    "array of objects": in_array,
}

Recipe = tuple[str, Any]


def recipes(*parts: str, wraps: tuple[str, ...] = tuple(WRAPS)) -> st.SearchStrategy[Recipe]:
    """Return a strategy for recipes of these parts, in lists, dicts and these wraps, at any depth."""
    return st.recursive(
        st.tuples(st.just("part"), st.sampled_from(parts)),
        lambda inner: (
            st.tuples(st.just("items"), st.lists(inner, max_size=3))
            | st.tuples(st.just("keys"), st.dictionaries(st.text(max_size=2), inner, max_size=3))
            | st.tuples(st.sampled_from(wraps), inner)
        ),
        max_leaves=6,
    )


def built(recipe: Recipe) -> Any:
    """Return a value made from a recipe; nothing in it is of another value but what nobody can change."""
    how, rest = recipe
    match how:
        case "part":
            return (PARTS | STORED_PARTS)[rest]()
        case "items":
            return [*map(built, rest)]
        case "keys":
            return {name: built(part) for name, part in rest.items()}
    return WRAPS[how](built(rest))


def is_pandas(value: Any) -> bool:
    return isinstance(value, pd.DataFrame | pd.Series | pd.Index)


def is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def held_by(value: Any) -> list[Any]:
    """Return the parts that a value of this module contains."""
    if isinstance(value, dict | MappingProxyType):
        return [*value.keys(), *value.values()]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, list | tuple | deque):
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
    if isinstance(value, pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray):
        return kind, str(value.type if hasattr(value, "type") else value.schema), repr(value.to_pylist())
    if isinstance(value, pl.DataFrame | pl.Series):
        frame = value.to_frame() if isinstance(value, pl.Series) else value
        return kind, repr(frame.schema), repr(frame.to_dict(as_series=False))
    if sparse.issparse(value):
        return kind, value.toarray().tolist()
    if is_tensor(value):
        return kind, value.dtype, value.requires_grad, value.tolist()
    if isinstance(value, Image.Image):
        return kind, value.mode, value.size, value.tobytes(), value.getpalette(), repr(value.info)
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
        spoil_frame(value, met)
        return
    for part in [*held_by(value), *([value.mask] if isinstance(value, np.ma.MaskedArray) else [])]:
        spoil(part, met)
    match value:
        case np.ndarray() | np.void():
            spoil_array(value)
        case dict():
            value["spoilt"] = True
        case list() | bytearray() | deque():
            value *= 2
            value.append(7)
        case set():
            value.add("spoilt")
        case Image.Image():
            value.paste(1, (0, 0, *value.size))
            value.info["spoilt"] = True
        case _ if hasattr(value, "part"):
            with suppress(AttributeError, ValueError):
                value.part = "spoilt"
        case _:
            spoil_columns(value)


def spoil_frame(value: Any, met: set[int]) -> None:
    """Change a frame, series or index of pandas, and the objects in it."""
    for array in frames.arrays_of(value):
        for item in array if array.dtype == object else ():
            spoil(item, met)
    spoil(getattr(value, "attrs", None), met)
    frames.spoil(value)


def spoil_columns(value: Any) -> None:
    """Change a table, a frame of polars, a sparse array or a tensor."""
    if is_tensor(value):
        value.detach().zero_()
    if sparse.issparse(value) and value.format != "lil":
        value.data[:] = 9
    match value:
        case pa.ChunkedArray() | pa.Array():
            chunks: Any = value.chunks if isinstance(value, pa.ChunkedArray) else [value]
            with suppress(ValueError, TypeError, IndexError):
                np.frombuffer(chunks[0].buffers()[1], dtype="i8")[:] = 9
        case pa.Table() | pa.RecordBatch() if value.num_columns:
            spoil_columns(value.column(0))
        case pl.DataFrame():
            value[0, "a"] = 9
            value.columns = [f"spoilt {name}" for name in value.columns]
        case pl.Series():
            value[0] = 9
        case sparse.lil_array():
            value[0, 0] = 9


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
