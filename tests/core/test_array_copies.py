"""Arrays: nobody changes a kept array, neither its memory nor its dtype, shape or strides."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from crystallize import FrozenContext

NESTED: Any = [("x", "f8"), ("n", [("a", "i4"), ("b", "U2")], (2,))]
TITLED: Any = [(("the title", "x"), "f8")]
WITH_OBJECTS: Any = [("x", "f8"), ("o", "O")]


def noted() -> Any:
    return np.dtype([("x", np.dtype("f8", metadata={"unit": ["m"]}))])


class Named(np.ndarray[Any, Any]):
    """A subclass with an attribute, as numpy's documentation shows it."""

    names: list[str]

    def __array_finalize__(self, obj: Any) -> None:
        self.names = getattr(obj, "names", [])


def named() -> Named:
    array = np.zeros(2).view(Named)
    array.names = ["a"]
    return array


STRUCTURED: dict[str, Callable[[], Any]] = {
    "flat": lambda: np.zeros(2, [("x", "f8"), ("y", ">i4")]),
    "aligned": lambda: np.zeros(2, np.dtype([("x", "i1"), ("y", "f8")], align=True)),
    "nested": lambda: np.zeros(2, NESTED),
    "titled": lambda: np.zeros(2, TITLED),
    "noted": lambda: np.zeros(2, noted()),
    "objects": lambda: np.array([(1.0, [1]), (2.0, None)], WITH_OBJECTS),
    "record array": lambda: np.rec.array([(1, 2.0)], dtype=[("x", int), ("y", float)]),
    "masked": lambda: np.ma.array([(1, 2)], mask=[(True, False)], dtype=[("x", "i4"), ("y", "i4")]),
    "scalar": lambda: np.zeros(2, NESTED)[0],
    "scalar with objects": lambda: np.array([(1.0, [1])], WITH_OBJECTS)[0],
    "record": lambda: np.rec.array([(1, 2.0)], dtype=[("x", int), ("y", float)])[0],
}
WRAPS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "alone": (lambda it: it, lambda it: it),
    "in a tuple": (lambda it: (it,), lambda it: it[0]),
    "in a list, twice": (lambda it: [it, it], lambda it: it[1]),
    "beside a list that is met twice": (lambda it: [WRAPS, WRAPS, it], lambda it: it[2]),
}


def rename(dtype: Any) -> None:
    """Rename all fields of a dtype in place, at any depth."""
    for part, *_ in (dtype.base.fields or {}).values():
        if part.base.names:
            rename(part.base)
    dtype.names = [f"spoilt {name}" for name in dtype.names]


@pytest.mark.parametrize(("wrap", "unwrap"), WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("make", STRUCTURED.values(), ids=STRUCTURED)
def test_field_names(make: Callable[[], Any], wrap: Callable[[Any], Any], unwrap: Callable[[Any], Any]) -> None:
    """Who renames the fields of an array in place, the writer or a reader, renames those of no other."""
    value, expected = make(), make()
    ctx = FrozenContext({"x": wrap(value)})
    rename(value.dtype)
    for _ in range(2):
        found = unwrap(ctx["x"])
        assert type(expected) is type(found)
        assert (expected.dtype, expected.shape) == (found.dtype, found.shape)
        assert expected.dtype.isalignedstruct == found.dtype.isalignedstruct
        assert expected.dtype.fields.keys() == found.dtype.fields.keys()
        assert repr(expected) == repr(found)
        rename(found.dtype)


def test_mask_of_a_structured_array() -> None:
    """The mask of a masked array has field names, too."""
    ctx = FrozenContext({"x": STRUCTURED["masked"]()})
    rename(ctx["x"].mask.dtype)

    assert ("x", "y") == ctx["x"].mask.dtype.names


def test_metadata_of_a_dtype() -> None:
    """The objects in the metadata of a dtype are copied, too."""
    dtype = np.dtype("f8", metadata={"unit": ["m"]})
    ctx = FrozenContext({"plain": np.zeros(2, dtype), "field": np.zeros(2, noted())})
    readers: list[Callable[[], Any]] = [lambda: ctx["plain"].dtype, lambda: ctx["field"].dtype["x"]]
    for read in readers:
        dtype.metadata["unit"].append("spoilt")  # type: ignore[index]  # it has metadata
        read().metadata["unit"].append("spoilt")
        assert {"unit": ["m"]} == read().metadata


@pytest.mark.parametrize(("wrap", "unwrap"), WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize(("name", "value"), [("dtype", np.int32), ("shape", (2, 2)), ("strides", (0,))])
def test_reader_sets_attributes(
    name: str, value: Any, wrap: Callable[[Any], Any], unwrap: Callable[[Any], Any]
) -> None:
    """A reader that gives an array, or what it is a view of, another dtype or shape does so for itself alone."""
    ctx = FrozenContext({"x": wrap(np.arange(4))})
    found = unwrap(ctx["x"])
    while isinstance(found, np.ndarray):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of numpy, which is about to end some of these
            setattr(found, name, value)
        found = found.base

    again = unwrap(ctx["x"])
    assert (np.dtype(int), (4,), (8,)) == (again.dtype, again.shape, again.strides)
    assert [0, 1, 2, 3] == again.tolist()


def test_attributes_of_a_subclass() -> None:
    """What a subclass of an array holds in attributes is copied with it."""
    value = named()
    ctx = FrozenContext({"x": value, "in": [value, WRAPS, WRAPS]})
    value.names.append("spoilt")
    readers: list[Callable[[], Any]] = [lambda: ctx["x"], lambda: ctx["in"][0]]
    for read in readers:
        read().names.append("spoilt")
        assert ["a"] == read().names
        assert Named is type(read())


def test_record_with_an_object() -> None:
    """An object in a structured scalar is copied with it, and is the same object where it is met again."""
    value = np.array([(1.0, [1])], WITH_OBJECTS)[0]
    ctx = FrozenContext({"x": [value, value["o"]]})
    value["o"].append("spoilt")
    found, item = ctx["x"]
    item.append(2)

    assert [1, 2] == found["o"]
    assert [1] == ctx["x"][0]["o"]


def test_memory_map(tmp_path: Any) -> None:
    """A memory-mapped array is read into memory, so that the file does not change it."""
    path = tmp_path / "array"
    value = np.memmap(path, "f8", "w+", shape=(3,))
    ctx = FrozenContext({"x": value})
    value[:] = 9
    with suppress(ValueError):
        ctx["x"][:] = 8

    assert [0, 0, 0] == ctx["x"].tolist()


def test_each_read_is_a_view() -> None:
    """Each read of an array is a view of its own on the same memory, through `fields` and steps too."""
    ctx = FrozenContext[dict[str, Any]]({"x": np.arange(4)})
    with ctx.step("reads") as step:
        views = [ctx["x"], ctx["x"], ctx.fields["x"], step["x"], step.fields["x"]]

    assert len(views) == len(set(map(id, views)))
    assert all(np.shares_memory(views[0], view) for view in views)
