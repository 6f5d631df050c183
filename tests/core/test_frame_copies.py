"""Frames: nobody changes a kept frame, neither through its arrays and labels nor through what it holds besides."""

import copy
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.api.extensions import ExtensionArray, ExtensionDtype

from crystallize import FrozenContext


class ThingType(ExtensionDtype):
    """The dtype of a third party's array of objects."""

    name = "thing"
    type = object
    na_value = None

    @classmethod
    def construct_array_type(cls) -> Any:
        return Things


class Things(ExtensionArray):
    """A third party's array of objects. Its memory is its own matter, its `copy` copies no object."""

    def __init__(self, items: Any) -> None:
        self.items = np.empty(len(items), dtype=object)
        self.items[:] = items
        self.copies = 0

    @property
    def dtype(self) -> Any:
        return ThingType()

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Any:
        return cls(list(scalars))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: Any) -> Any:
        found = self.items[item]
        return Things(found) if isinstance(found, np.ndarray) else found

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __eq__(self, other: object) -> Any:
        return self.items == getattr(other, "items", other)

    def isna(self) -> Any:
        return np.array([item is None for item in self.items])

    def copy(self) -> Any:
        fresh = Things(self.items)
        fresh.copies = self.copies + 1
        return fresh


class Units(pd.DataFrame):
    """A frame with an attribute, as the documentation of pandas shows it."""

    _metadata: ClassVar[list[str]] = ["units", "label"]

    @property
    def _constructor(self) -> Any:
        return Units


class Tag:
    """An object that can be changed, and that pandas takes for a label."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Tag({self.name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and self.name == other.name

    def __hash__(self) -> int:
        return 1


DATES = ["2020-01-01", "2020-01-02", "2020-01-03"]
COLUMNS: dict[str, Callable[[], Any]] = {
    "ints": lambda: np.array([1, 2, 3]),
    "complex": lambda: np.array([1j, 2j, 3j]),
    "dates": lambda: pd.to_datetime(DATES),
    "zoned": lambda: pd.to_datetime(DATES, utc=True),
    "durations": lambda: pd.to_timedelta([1, 2, 3], "s"),
    "periods": lambda: pd.period_range("2020", periods=3, freq="Y"),
    "intervals": lambda: pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3]),
    "intervals of dates": lambda: pd.arrays.IntervalArray.from_breaks(pd.to_datetime(["2019-01-01", *DATES])),
    "nullable": lambda: pd.array([1, None, 3], dtype="Int64"),
    "flags": lambda: pd.array([True, None, False], dtype="boolean"),
    "text": lambda: pd.Series(["x", "y", None], dtype="str").array,
    "text of Python": lambda: pd.Series(["x", "y", None], dtype="string[python]").array,
    "arrow": lambda: pd.array([1, None, 3], dtype="int64[pyarrow]"),
    "lists of arrow": lambda: pd.Series([[1], [2], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))).array,
    "categories": lambda: pd.Categorical(["x", "y", "x"]),
    "categories of dates": lambda: pd.Categorical(pd.to_datetime(DATES)),
    "sparse": lambda: pd.arrays.SparseArray([0, 1, 0]),
    "objects": lambda: np.array([Tag("x"), Tag("y"), None], dtype=object),
    "sparse objects": lambda: pd.arrays.SparseArray(np.array([Tag("x"), Tag("y"), None], dtype=object)),
    "immutable objects": lambda: np.array([Decimal(1), "text", 5], dtype=object),
    "third party's": lambda: Things([Decimal(1), Decimal(2), None]),
    "third party's objects": lambda: Things([Tag("x"), Tag("y"), None]),
}
by_column = pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)


def axes_of(holder: Any) -> Any:
    return [holder] if isinstance(holder, pd.Index) else holder.axes


def arrays_of(holder: Any) -> Iterator[Any]:
    """Yield the array of each column and label of a frame, series or index."""
    if holder.ndim == 2:
        for place in range(holder.shape[1]):
            yield holder.iloc[:, place].array
    else:
        yield holder.array
    for axis in axes_of(holder):
        for label in axis.levels if axis.nlevels > 1 else [axis]:
            yield label.array
            yield from (label.categories.array,) if isinstance(label, pd.CategoricalIndex) else ()


def spoil(holder: Any) -> None:
    """Change all that can be changed in a frame, series or index."""
    for array in arrays_of(holder):
        for item in array:
            if isinstance(item, Tag):
                item.name = "spoilt"
        if isinstance(array, pd.Categorical):
            array.categories.name = "spoilt"
        with suppress(ValueError, TypeError, IndexError, NotImplementedError):
            array[0] = array[1]
        for name in ("_ndarray", "_data", "_mask", "_codes"):
            with suppress(ValueError, TypeError, IndexError, AttributeError):
                getattr(array, name)[0] = getattr(array, name)[1]
    for axis in axes_of(holder):
        with suppress(ValueError, AttributeError):
            axis.freq = None
        axis.names = ["spoilt"] * axis.nlevels


def shown(holder: Any) -> Any:
    """Describe a frame, series or index: its types, its values, and its labels with their names."""
    columns = [holder.iloc[:, at] for at in range(holder.shape[1])] if holder.ndim == 2 else [holder]
    labels = [
        (type(axis), axis.names, getattr(axis, "freq", None), [*map(item_text, axis)]) for axis in axes_of(holder)
    ]
    names = [column.dtype.categories.name for column in columns if hasattr(column.dtype, "categories")]
    return type(holder), [(str(column.dtype), [*map(item_text, column)]) for column in columns], labels, names


def item_text(item: Any) -> str:
    return f"{type(item).__name__} {item!r}"


def assert_kept(make: Callable[[], Any]) -> None:
    """Assert that neither the writer nor a reader can change a value, alone or within others."""
    for wrap, unwrap in WRAPS:
        value, expected = make(), shown(make())
        ctx = FrozenContext({"x": wrap(value)})
        spoil(value)
        for _ in range(2):
            assert expected == shown(unwrap(ctx["x"]))
            spoil(unwrap(ctx["x"]))
        assert expected == shown(unwrap(ctx["x"]))


WRAPS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda it: it, lambda it: it),
    (lambda it: {"a": (it,)}, lambda it: it["a"][0]),
    (lambda it: [WRAPS, WRAPS, it], lambda it: it[2]),
]


@by_column
def test_column(make: Callable[[], Any]) -> None:
    """The array behind a column of any kind is the reader's own, or cannot be written to."""
    assert_kept(lambda: pd.DataFrame({"a": make(), "b": [1.5, 2.5, 3.5]}))
    assert_kept(lambda: pd.Series(make(), name="a"))


@by_column
def test_index(make: Callable[[], Any]) -> None:
    """The labels of a frame are as safe as its columns: alone, as a level, and as an index by itself."""
    assert_kept(lambda: pd.Series([1, 2, 3], index=pd.Index(make(), name="key")))
    assert_kept(lambda: pd.DataFrame([[1, 2, 3]], columns=pd.Index(make())))
    assert_kept(lambda: pd.Index(make(), name="key"))
    if all(isinstance(item, Hashable) for item in make()) and not isinstance(make(), Things):
        assert_kept(lambda: pd.Series([1, 2, 3], index=pd.MultiIndex.from_arrays([make(), [1, 2, 3]])))


@by_column
def test_strided_column(make: Callable[[], Any]) -> None:
    """The same holds of a part of a frame, whose memory is strided."""
    assert_kept(lambda: pd.DataFrame({"a": make(), "b": make()})[::2])
    assert_kept(lambda: pd.Series(make())[::2])


def test_strided_numbers() -> None:
    """A part of a frame of numbers is kept in memory that cannot be written to, as a whole one is."""
    assert_kept(lambda: pd.DataFrame(np.arange(12.0).reshape(4, 3))[::2])
    assert_kept(lambda: pd.DataFrame(np.arange(12.0).reshape(4, 3)).iloc[::2, ::2])


def test_third_party_is_asked_for_a_copy() -> None:
    """An array of a third party is asked for a copy once a read, if its items are immutable."""
    value: Any = pd.Series(Things([Decimal(1), Decimal(2)]))
    ctx = FrozenContext({"x": value})

    assert [1, 1] == [ctx["x"].array.copies - value.array.copies for _ in range(2)]


def test_attributes_of_a_subclass() -> None:
    """The attributes that a subclass of a frame names in `_metadata` are copied with it."""
    for column in COLUMNS.values():
        value: Any = Units({"a": column()})
        value.units, value.label = {"a": "m"}, "height"
        ctx = FrozenContext({"x": value})
        value.units["a"] = "spoilt"
        for _ in range(2):
            assert (Units, {"a": "m"}, "height") == (type(ctx["x"]), ctx["x"].units, ctx["x"].label)
            ctx["x"].units["a"] = "spoilt"


@pytest.mark.parametrize("make", [lambda: pd.DataFrame({"a": [1, 2]}), lambda: pd.DataFrame({"a": ["x", "y"]})])
def test_reader_works_in_place(make: Callable[[], Any]) -> None:
    """A reader can change its frame in place by the methods of pandas, whatever memory it lies in."""
    ctx = FrozenContext({"x": make()})
    frame = ctx["x"]
    frame.loc[0, "a"] = frame.loc[1, "a"]
    frame["a"] = frame["a"] * 2
    frame.index = [5, 6]
    del frame["a"]

    assert make().equals(ctx["x"])


def test_attrs_and_flags() -> None:
    """`attrs` and `flags` are kept, and each reader's are its own."""
    value: Any = pd.DataFrame({"a": pd.to_datetime(DATES)}).set_flags(allows_duplicate_labels=False)
    value.attrs["note"] = ["m"]
    ctx = FrozenContext({"x": value})
    for holder in (value, ctx["x"]):
        holder.attrs["note"].append("spoilt")
        holder.flags.allows_duplicate_labels = True

    assert {"note": ["m"]} == ctx["x"].attrs
    assert not ctx["x"].flags.allows_duplicate_labels


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.array([1, None]),
        lambda: pd.array(["x", "y"], dtype="str"),
        lambda: pd.to_datetime(DATES).array.copy(),
        lambda: pd.Categorical(["x", "y"]),
        lambda: Things([1, 2]),
    ],
    ids=["nullable", "text", "dates", "categories", "third party's"],
)
def test_array_of_pandas_alone(make: Callable[[], Any]) -> None:
    """An array of pandas that is in no frame is deep-copied."""
    value, expected = make(), [*map(item_text, make())]
    ctx = FrozenContext({"x": value})
    for holder in (value, ctx["x"]):
        holder[0] = holder[1]

    assert type(value) is type(ctx["x"])
    assert expected == [*map(item_text, ctx["x"])]


def test_arrow_values_beside_tables() -> None:
    """Schemas, scalars and buffers of Arrow come back equal."""
    values = [pa.schema({"a": pa.int8()}), pa.scalar(5), pa.scalar("x"), pa.int8()]
    ctx = FrozenContext({"x": values})

    assert values == ctx["x"]
    assert values == copy.deepcopy(ctx)["x"]


@pytest.mark.parametrize("make", [lambda: pl.DataFrame({"a": [1]}), lambda: pl.Series("a", [1])])
def test_polars_alone(make: Callable[[], Any]) -> None:
    """Each reader of polars gets an object of its own."""
    ctx = FrozenContext({"x": make()})

    assert ctx["x"] is not ctx["x"]
    assert make().equals(ctx["x"])
