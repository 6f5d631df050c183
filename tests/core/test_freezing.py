"""Freezing: a value once written cannot change, whoever holds the writer's object or a reader's."""

import logging
import re
import subprocess
import sys
import threading
import uuid
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    create_model,
)
from typing_extensions import TypedDict

from crystallize import (
    FrozenContext,
    InvalidInitialError,
    InvalidMetricError,
    LoggingContext,
    Output,
    SchemaError,
    Shared,
    UncopyableValueError,
    register,
)
from crystallize._core import copy_by_type, copy_plans
from crystallize._core.schema import Schema
from crystallize._core.secrets import secrets_in

V = TypeVar("V")


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Split(StrEnum):
    TRAIN = "train"


class Right(Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    first: Any
    second: Any = None


class Model(BaseModel):
    a: Any = None
    b: Any = None


class Open(BaseModel, extra="allow"):
    a: Any = None


class Private(BaseModel):
    a: Any = None
    _seen: list[int] = PrivateAttr(default_factory=lambda: [1])


class Unset(BaseModel):
    a: Any = None
    _seen: list[int] = PrivateAttr()


class Box(BaseModel, Generic[V]):
    item: V


class Root(RootModel[list[int]]):
    pass


class Frozen(BaseModel, frozen=True):
    a: Any = None


class FrozenBox(BaseModel, Generic[V], frozen=True):
    item: V


class FrozenOpen(BaseModel, frozen=True, extra="allow"):
    a: Any = None


class FrozenPrivate(BaseModel, frozen=True):
    a: Any = None
    _seen: list[int] = PrivateAttr(default_factory=lambda: [1])


class FrozenCaching(BaseModel, frozen=True):
    a: Any = None

    @cached_property
    def found(self) -> list[int]:
        return [1]


class FrozenCached(FrozenCaching, frozen=True):
    b: Any = None


@dataclass
class Data:
    a: Any = None
    b: Any = None


@dataclass(slots=True)
class SlotData:
    a: Any = None
    b: Any = None


@dataclass
class DataBox(Generic[V]):
    item: V


@dataclass(frozen=True)
class FrozenData:
    a: Any = None


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    a: Any = None


@dataclass(frozen=True)
class FrozenDataCaching:
    a: Any = None

    @cached_property
    def found(self) -> list[int]:
        return [1]


class FrozenDataChild(FrozenData):
    """No dataclass itself, so that it takes attributes besides the fields."""


class DataChild(Data):
    """No dataclass itself, and with a slot besides the fields."""

    __slots__ = ("note",)
    note: Any


@dataclass
class Lazy:
    """A field of it may not be there."""

    a: Any = field(init=False)


@dataclass
class OwnCopy:
    """Says itself how it is copied."""

    a: Any = None
    copies: int = 0

    def __deepcopy__(self, memo: object) -> "OwnCopy":
        return OwnCopy(list(self.a), self.copies + 1)


class Key:
    """Hashable, and can be changed."""

    def __init__(self, items: list[int]) -> None:
        self.items = items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.items == other.items

    def __hash__(self) -> int:
        return 1


class Plain:
    def __init__(self, a: Any) -> None:
        self.a = a

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and bool(self.a == other.a)

    __hash__ = None  # type: ignore[assignment]  # as Python does where there is an `__eq__`


class Locked:
    """Cannot be copied, unless somebody says how."""

    def __init__(self, a: Any = None) -> None:
        self.a = a
        self.lock = threading.Lock()


class Outer:
    class Inner:
        def __init__(self) -> None:
            self.lock = threading.Lock()


class RaisingCopy:
    def __deepcopy__(self, memo: object) -> "RaisingCopy":
        raise ValueError("no copies today")


class RaisingRepr:
    def __repr__(self) -> str:
        raise ValueError("no repr today")


class MyInt(int):
    pass


class MyList(list[Any]):
    pass


def held(value: Any) -> FrozenContext[Any]:
    return FrozenContext({"x": value})


def nested(levels: int, wrap: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    value: Any = []
    for _ in range(levels):
        value = wrap(value)
    return value


def told(value: Any, met: dict[int, int] | None = None) -> Any:
    """Describe a value exactly: its types, what it holds, and what of it is one and the same object."""
    met = {} if met is None else met
    kind = type(value)
    if isinstance(value, list | dict | set | BaseModel | Data | SlotData | FrozenData | np.ndarray):
        if id(value) in met:
            return "again", met[id(value)]
        met[id(value)] = len(met)
    match value:
        case np.ndarray():
            return kind, value.dtype, value.shape, value.tobytes()
        case dict():
            return kind, [(told(key, met), told(item, met)) for key, item in value.items()]
        case set() | frozenset():
            return kind, frozenset((type(item), item) for item in value)
        case list() | tuple():
            return kind, [told(item, met) for item in value]
        case BaseModel():
            found = [vars(value), value.__pydantic_extra__ or {}, value.__pydantic_private__ or {}]
            held_in = [[(name, told(item, met)) for name, item in part.items()] for part in found]
            return kind, held_in, frozenset(value.model_fields_set)
        case Data() | SlotData() | FrozenData():
            return kind, told(value.a, met), told(getattr(value, "b", None), met)
    return kind, value


def spoil(value: Any, met: set[int] | None = None) -> None:
    """Change all that can be changed in a value, at any depth."""
    met = set() if met is None else met
    if id(value) in met:
        return
    met.add(id(value))
    match value:
        case np.ndarray():
            with suppress(ValueError):
                value[...] = 0
        case dict():
            for item in [*value, *value.values()]:
                spoil(item, met)
            value["spoilt"] = True
        case list() | tuple() | set() | frozenset():
            for item in value:
                spoil(item, met)
            if isinstance(value, list):
                value.append("spoilt")
            if isinstance(value, set):
                value.add("spoilt")
        case BaseModel() | Data() | SlotData() | FrozenData():
            for name in ("a", "b"):
                spoil(getattr(value, name, None), met)
                with suppress(AttributeError, ValueError):
                    setattr(value, name, "spoilt")


# Which values are handed out as they are.

IMMUTABLE = [
    *(5, 10**40, 1.5, float("inf"), 1j, True, "text", b"bytes", None, ..., NotImplemented, range(3)),
    *(int, Model, len, told, date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC), time(1), timedelta(1), UTC),
    *(Decimal("1.5"), Fraction(1, 3), uuid.UUID(int=1), re.compile("a"), Path("a")),
    *(PurePosixPath("a"), PureWindowsPath("a"), Color.RED, Level.HIGH, Split.TRAIN, Right.READ | Right.WRITE),
    *(SecretStr("a"), SecretBytes(b"a"), np.float64(1.5), np.int8(1), np.str_("a"), np.datetime64("2020-01-01")),
    *((), (1, "a"), (1, (2, (3,))), frozenset(), frozenset({1, (2, 3)}), Pair(1, (2,)), (Color.RED, Level.HIGH)),
    *(Frozen(a=1), Frozen(a=Frozen(a=(1, FrozenData("a")))), FrozenBox[int](item=1)),
    *(FrozenData(1), FrozenData(FrozenSlots(Frozen(a=1))), FrozenSlots((1, 2)), FrozenSlots(Color.RED)),
]


@pytest.mark.parametrize("value", IMMUTABLE, ids=lambda value: f"{type(value).__name__}-{str(value)[:20]}")
def test_immutable_is_the_same(value: Any) -> None:
    """What is immutable all the way down is kept and handed out as the very object that it is."""
    ctx = held(value)
    with ctx.step("reads") as step:
        assert value is step["x"]

    assert value is ctx["x"]
    assert value is held([value])["x"][0]
    assert value is held({"a": value})["x"]["a"]


SHARED: list[int] = [1]

MUTABLE: list[tuple[Any, Callable[[Any], object]]] = [
    ([1, 2], lambda it: it.append(3)),
    ([1, [2, [3]]], lambda it: it[1][1].append(4)),
    ({"a": 1}, lambda it: it.update(b=2)),
    ({"a": {"b": [1]}}, lambda it: it["a"]["b"].append(2)),
    ({(1, Color.RED): [1]}, lambda it: it[1, Color.RED].append(2)),
    ({1, 2}, lambda it: it.add(3)),
    ([{1}, {"a": {2}}], lambda it: it[1]["a"].add(3)),
    ((1, [2]), lambda it: it[1].append(3)),
    ((1, (2, [3])), lambda it: it[1][1].append(4)),
    (Pair([1], 2), lambda it: it.first.append(3)),
    (Pair((1,), {"a": Pair([1])}), lambda it: it.second["a"].first.append(3)),
    ({Key([1]): 2}, lambda it: next(iter(it)).items.append(2)),
    ({Key([1])}, lambda it: next(iter(it)).items.append(2)),
    (frozenset({Key([1])}), lambda it: next(iter(it)).items.append(2)),
    ((1, frozenset({Key([1])})), lambda it: next(iter(it[1])).items.append(2)),
    (bytearray(b"ab"), lambda it: it.extend(b"c")),
    (deque([1]), lambda it: it.append(2)),
    (OrderedDict(a=[1]), lambda it: it["a"].append(2)),
    (defaultdict(list, a=[1]), lambda it: it["b"].append(2)),
    (Counter("aab"), lambda it: it.update("b")),
    (MyList([1]), lambda it: it.append(2)),
    (MyInt(3), lambda it: setattr(it, "note", 1)),
    (Plain([1]), lambda it: it.a.append(2)),
    (Key([1]), lambda it: it.items.append(2)),
    (Model(a=1), lambda it: setattr(it, "a", 2)),
    (Model(a=[1]), lambda it: it.a.append(2)),
    (Model(a=1, b=Model(a={"k": [1]})), lambda it: it.b.a["k"].append(2)),
    (Model(a=1), lambda it: it.model_fields_set.add("b")),
    (Open.model_validate({"a": 1, "more": [1]}), lambda it: it.more.append(2)),
    (Open.model_validate({"a": 1, "more": 2}), lambda it: setattr(it, "other", 3)),
    (Open(a=1), lambda it: setattr(it, "other", 3)),
    (Private(a=[1]), lambda it: it._seen.append(2)),
    (Private(a=[1]), lambda it: it.a.append(2)),
    (Unset(a=1), lambda it: setattr(it, "_seen", [2])),
    (Box[list[int]](item=[1]), lambda it: it.item.append(2)),
    (Root([1]), lambda it: it.root.append(2)),
    (Frozen(a=[1]), lambda it: it.a.append(2)),
    (FrozenBox[list[int]](item=[1]), lambda it: it.item.append(2)),
    (FrozenOpen.model_validate({"a": 1, "more": [1]}), lambda it: it.more.append(2)),
    (FrozenPrivate(a=1), lambda it: it._seen.append(2)),
    (Data(1), lambda it: setattr(it, "a", 2)),
    (Data([1], {"k": Data([2])}), lambda it: it.b["k"].a.append(3)),
    (Data(1), lambda it: setattr(it, "note", 2)),
    (SlotData([1]), lambda it: it.a.append(2)),
    (SlotData(1), lambda it: setattr(it, "a", 2)),
    (DataBox[list[int]]([1]), lambda it: it.item.append(2)),
    (FrozenData([1]), lambda it: it.a.append(2)),
    (FrozenSlots([1]), lambda it: it.a.append(2)),
    (FrozenSlots(FrozenData({"a": {1}})), lambda it: it.a.a["a"].add(2)),
    (FrozenDataChild([1]), lambda it: it.a.append(2)),
    (np.zeros(1, dtype=[("a", "i4")])[0], lambda it: it.__setitem__("a", 5)),
    (np.array([[1], 2], dtype=object), lambda it: it[0].append(3)),
    (np.ma.array([1, 2], mask=[False, True]), lambda it: it.__setitem__(0, 9)),
    (np.array([[1, 2]]).view(np.matrix), lambda it: it.__setitem__((0, 0), 9)),
    (np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), lambda it: it.__setitem__("a", 9)),
    ([np.array([[1], 2], dtype=object)], lambda it: it[0][0].append(3)),
    ([SHARED, SHARED, np.array([1.0])], lambda it: it[2].__setitem__(0, 9)),
]


@pytest.mark.parametrize(
    ("value", "change"), MUTABLE, ids=[f"{type(v).__name__}-{i}" for i, (v, _) in enumerate(MUTABLE)]
)
def test_mutable_is_copied(value: Any, change: Callable[[Any], object]) -> None:
    """What can be changed is copied on the way in and out, as what it is: no change reaches another reader."""
    writers = FrozenContext({"x": value})["x"]
    ctx = held(writers)
    log = LoggingContext(ctx)
    first, second = ctx["x"], log["x"]
    before = deep_text(first)

    assert type(value) is type(first)
    for holder in (writers, first, second, ctx.as_dict()["x"], log.reads["x"]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            change(holder)
        assert before != deep_text(holder)
        assert before == deep_text(ctx["x"])


def deep_text(value: Any) -> str:
    """Spell a value out with all that its parts hold in attributes."""
    if isinstance(value, dict):
        return f"{type(value).__name__}{[(deep_text(key), deep_text(item)) for key, item in value.items()]}"
    if isinstance(value, list | tuple | set | frozenset | deque):
        return f"{type(value).__name__}{[deep_text(item) for item in value]}"
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__}{value.dtype}{deep_text(value.tolist())}"
    if isinstance(value, Enum):
        return repr(value)
    parts = [getattr(value, name, None) for name in ("__dict__", "__pydantic_extra__", "__pydantic_private__")]
    slots = {name: getattr(value, name, None) for name in getattr(type(value), "__slots__", ()) if name in ("a", "b")}
    named = sorted(getattr(value, "model_fields_set", ()))
    shown = [f"{sorted(part)}{deep_text(dict(part))}" for part in [*parts, slots] if part]
    return f"{type(value).__name__}:{value if not shown else ''}{shown}{named}"


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: FrozenCaching(a=1), lambda: FrozenCached(a=1), lambda: FrozenDataCaching(1)),
        *(lambda: FrozenCaching(a=[1]), lambda: FrozenDataCaching([1])),
    ],
)
def test_cached_property_is_not_shared(make: Callable[[], Any]) -> None:
    """What a frozen object has worked out and kept is no other reader's."""
    value = make()
    ctx = held(value)
    value.found.append(2)
    ctx["x"].found.append(3)

    assert [1] == ctx["x"].found
    assert make() == ctx["x"]


def test_child_of_frozen_dataclass() -> None:
    """A subclass of a frozen dataclass that is none itself takes attributes, and so is copied."""
    ctx = held(FrozenDataChild(1))
    reader: Any = ctx["x"]
    with suppress(AttributeError):
        reader.note = [1]

    assert not hasattr(ctx["x"], "note")
    assert FrozenDataChild(1) == ctx["x"]


def test_child_of_dataclass_keeps_its_slots() -> None:
    """What a subclass of a dataclass holds in slots of its own is copied too."""
    value = DataChild(1)
    value.note = [2]
    ctx = held(value)
    value.note.append(3)

    assert [2] == ctx["x"].note
    assert 1 == ctx["x"].a


def test_private_attributes_are_kept() -> None:
    """Private attributes are part of a model, whether they are set or not."""
    value = Private(a=1)
    value._seen.append(2)

    assert [1, 2] == held(value)["x"]._seen
    assert value == held(value)["x"]
    assert Unset(a=1) == held(Unset(a=1))["x"]
    assert not hasattr(held(Unset(a=1))["x"], "_seen")


def test_missing_field_stays_missing() -> None:
    """A field that an object does not have its copy does not have either."""
    assert not hasattr(held(Lazy())["x"], "a")


def test_own_way_to_be_copied() -> None:
    """A class that says how it is copied is copied that way, on the way in and out."""
    value = OwnCopy([1])
    ctx = held(value)
    value.a.append(2)

    assert OwnCopy([1], 2) == ctx["x"]
    assert OwnCopy([1], 2) == ctx["x"]


def test_frozen_over_what_was_copied() -> None:
    """A frozen object keeps what was frozen of its parts, and is still handed out as one object."""
    array = np.arange(3)
    for value in (FrozenData(array), Frozen(a=(1, array)), FrozenSlots(Pair(array)), (1, (array,)), Pair(array)):
        ctx = held(value)
        array[0] = 9
        assert "9" not in repr(ctx["x"])
        assert type(value) is type(ctx["x"])
        array[0] = 0


def test_hashed_array_holder() -> None:
    """A set of what holds an array is copied whole, since what is hashed cannot be swapped."""

    @dataclass(frozen=True, eq=False)
    class Holder:
        array: Any

    value = Holder(np.arange(3))
    for whole in ({value}, frozenset({value}), {value: 1}):
        ctx = held(whole)
        value.array[0] = 9
        assert [0, 1, 2] == next(iter(ctx["x"])).array.tolist()
        value.array[0] = 0


# Laws.

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([Color.RED, Split.TRAIN, Decimal("1.0"), date(2020, 1, 1), np.float64(2)])
)
keys = st.text(max_size=3) | st.integers() | st.tuples(st.booleans(), st.text(max_size=2)) | st.just(Level.HIGH)
arrays = st.builds(
    lambda shape, dtype, order: np.ones(shape, dtype, order),
    st.sampled_from([(), (0,), (3,), (2, 3), (2, 0, 1)]),
    st.sampled_from(["f8", ">i2", "?", "U3", "M8[D]", "c16", "O"]),
    st.sampled_from(["C", "F"]),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.builds(Model, a=inner, b=inner)
        | st.builds(lambda a, b: Open.model_validate({"a": a, "more": b}), inner, inner)
        | st.builds(Frozen, a=inner)
        | st.builds(FrozenPrivate, a=inner)
        | st.builds(Data, inner, inner)
        | st.builds(SlotData, inner, inner)
        | st.builds(FrozenData, inner)
        | st.builds(Pair, inner, inner)
    )


parts = leaves | st.sets(leaves, max_size=4) | st.frozensets(leaves, max_size=4) | arrays
values = st.recursive(parts, containers, max_leaves=12)


@settings(deadline=None)
@given(values)
def test_isolation(value: Any) -> None:
    """Whatever the writer and the readers do to a value, the next reader gets what was written, type for type."""
    expected = told(value)
    ctx = held(value)
    ctx.record("m", value)
    spoil(value)
    readers: list[Callable[[], Any]] = [lambda: ctx["x"], lambda: LoggingContext(ctx)["x"]]
    if getattr(value, "ndim", None) != 0:  # which is measured as the number that it holds
        readers.append(lambda: ctx.metrics["m"][0])
    for read in readers:
        assert expected == told(read())
        spoil(read())
        assert expected == told(read())


class Node(NamedTuple):
    """A part of a graph: which kind of object, and which others it holds."""

    kind: Callable[[], Any]
    holds: list[int]


nodes = st.builds(
    Node,
    st.sampled_from([list, dict, lambda: Model(a=[]), lambda: Data([]), lambda: SlotData([]), lambda: FrozenData([])]),
    st.lists(st.integers(0, 5), max_size=3),
)


def linked(graph: list[Node]) -> Any:
    """Make the objects of a graph, each holding its others, and return the first."""
    made = [node.kind() for node in graph]
    for whole, node in zip(made, graph, strict=True):
        for at, other in enumerate(node.holds):
            target = whole if isinstance(whole, list | dict) else whole.a
            part = made[other % len(made)]
            target.append(part) if isinstance(target, list) else target.update({at: part})
    return made[0]


@settings(deadline=None)
@given(st.lists(nodes, min_size=1, max_size=6))
def test_cycles_and_shared_parts_are_kept(graph: list[Node]) -> None:
    """A value in which a part is met twice, or holds itself, comes back in the same form, and apart."""
    value = linked(graph)
    expected = told(value)
    ctx = held(value)
    spoil(value)
    for _ in range(2):
        assert expected == told(ctx["x"])
        spoil(ctx["x"])


def test_list_in_itself() -> None:
    """A list that holds itself comes back as a list that holds itself."""
    value: list[Any] = [1]
    value.append(value)
    found = held(value)["x"]

    assert found is not value
    assert found[1] is found
    assert 1 == found[0]


def test_list_shared_twice() -> None:
    """A list that is met twice in a value is one list in what a reader gets."""
    part = [1]
    found = held({"a": part, "b": (part,)})["x"]
    found["a"].append(2)

    assert found["b"][0] is found["a"]
    assert found["a"] is not part


def test_immutable_part_met_twice() -> None:
    """An immutable part that is met twice is shared, and the rest is copied."""
    part = (1, (2, Frozen(a=3)))
    array = np.arange(3)
    found = held([part, [part], array, array])["x"]

    assert part is found[0] is found[1][0]
    assert np.shares_memory(found[2], found[3])


# Deep values.


@pytest.mark.parametrize(
    "wrap",
    [
        *(lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": inner}, lambda inner: Pair(inner)),
        *(lambda inner: Model.model_construct(a=inner), Data, FrozenData, Plain, lambda inner: deque([inner])),
    ],
    ids=["list", "tuple", "dict", "namedtuple", "model", "dataclass", "frozen", "object", "deque"],
)
def test_nested_too_deeply(wrap: Callable[[Any], Any]) -> None:
    """A value nested 2,000 deep is refused with an error of ours, and nothing has changed."""
    ctx = FrozenContext()
    value = nested(2000, wrap)
    with pytest.raises(UncopyableValueError, match="nested") as caught:
        ctx["x"] = value

    assert "'x'" == caught.value.subject
    assert "x" not in ctx
    assert 0 == len(ctx)


@pytest.fixture
def deep_stack() -> Iterator[None]:
    """Let Python call functions much more deeply than usual."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(usual)


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize("wrap", [lambda inner: [inner], Data, Pair], ids=["list", "dataclass", "namedtuple"])
def test_how_deep_is_too_deep(wrap: Callable[[Any], Any]) -> None:
    """How deeply a value may be nested does not depend on how deeply Python may call functions."""
    ctx = FrozenContext()
    with pytest.raises(UncopyableValueError, match=r"it is nested more than \d+ levels deep"):
        ctx["x"] = nested(2000, wrap)

    assert "x" not in ctx


@pytest.mark.parametrize("levels", [1, 50, 90])
def test_nested_deeply(levels: int) -> None:
    """A value nested as deeply as anybody would is kept."""
    found = held(nested(levels))["x"]
    for _ in range(levels):
        [found] = found

    assert [] == found


@pytest.mark.parametrize("levels", [150, 250, 400])
@pytest.mark.parametrize("beside", [[], [SHARED, SHARED]], ids=["tree", "shared"])
def test_what_was_written_can_be_read(levels: int, beside: list[Any]) -> None:
    """What was taken in can be read by whoever is deep in the stack already."""
    ctx = FrozenContext()
    with suppress(UncopyableValueError):
        ctx["x"] = [*beside, nested(levels)]

    def read(further: int) -> Any:
        return ctx.get("x") if further == 0 else read(further - 1)

    assert len(beside) + 1 == len(read(300) or [*beside, None])


# Arrays.

ARRAYS = {
    "1d": np.arange(5),
    "0d": np.array(1.5),
    "empty": np.empty((0,)),
    "empty-2d": np.empty((2, 0, 3)),
    "C": np.arange(6.0).reshape(2, 3),
    "F": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(12).reshape(3, 4)[::2, ::-1],
    "broadcast": np.broadcast_to(np.arange(3), (2, 3)),
    "structured": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "no-fields": np.zeros(2, dtype=[]),
    "text": np.array(["é", "bcd"]),
    "bytes": np.array([b"a", b"bc"]),
    "no-bytes": np.array([b"", b""], dtype="S0"),
    "big-endian": np.arange(3, dtype=">i4"),
    "dates": np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "complex": np.array([1j, 2]),
    "bool": np.array([True, False]),
    "nan": np.array([np.nan, -0.0, np.inf]),
    "read-only": np.frombuffer(b"abcd", dtype="u1"),
}
by_array = pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)


@by_array
def test_array(array: Any) -> None:
    """An array comes back with its dtype, shape, order and bytes."""
    found = held(array)["x"]

    assert np.ndarray is type(found)
    assert (array.dtype, array.shape) == (found.dtype, found.shape)
    assert array.tobytes() == found.tobytes()
    assert array.flags.fnc == found.flags.fnc


@by_array
def test_array_is_read_only_for_good(array: Any) -> None:
    """Nobody can make an array that was read writeable again, nor what it is a view of."""
    found = held(array)["x"]
    with pytest.raises(ValueError, match="read-only"):
        found[...] = found
    while isinstance(found, np.ndarray):
        with pytest.raises(ValueError, match="WRITEABLE"):
            found.flags.writeable = True
        found = found.base

    assert isinstance(found, bytes)


@pytest.mark.parametrize("write", [lambda a: a, lambda a: [a], lambda a: {"a": (a,)}, lambda a: FrozenData(a)])
def test_array_is_not_copied_for_readers(write: Callable[[Any], Any]) -> None:
    """Readers share an array's memory with one another, and not with the writer."""

    def inside(value: Any) -> Any:
        value = value["a"] if isinstance(value, dict) else value
        value = value[0] if isinstance(value, list | tuple) else value
        return value.a if isinstance(value, FrozenData) else value

    array = np.arange(1000)
    ctx = held(write(array))

    assert np.shares_memory(inside(ctx["x"]), inside(ctx["x"]))
    assert not np.shares_memory(array, inside(ctx["x"]))


def test_array_is_apart_from_its_writer() -> None:
    """What the writer does to an array, or to what it is a view of, changes nothing."""
    owner = np.arange(6)
    ctx = held(owner[::2])
    owner[:] = 9

    assert [0, 2, 4] == ctx["x"].tolist()


def test_array_of_long_strings() -> None:
    """An array of numpy's own strings is copied, as they lie outside of its buffer."""
    array = np.array(["a", "b" * 100], dtype=np.dtypes.StringDType())
    ctx = held(array)
    array[:] = "x"
    ctx["x"][:] = "y"

    assert ["a", "b" * 100] == ctx["x"].tolist()


@pytest.mark.parametrize("value", [np.ma.array([1, 2], mask=[False, True]), np.array([[1, 2]]).view(np.matrix)])
def test_array_subclass(value: Any) -> None:
    """A subclass of an array comes back as what it is, with all that it holds besides."""
    found = held(value)["x"]

    assert type(value) is type(found)
    assert repr(value) == repr(found)


# Tables and frames.

ARROW: dict[str, Callable[[Any], Any]] = {
    "table": lambda array: pa.table({"a": pa.array(array)}),
    "slice": lambda array: pa.table({"a": array}).slice(1, 2),
    "batch": lambda array: pa.record_batch({"a": pa.array(array)}),
    "array": pa.array,
    "chunked": lambda array: pa.chunked_array([pa.array(array), pa.array(array)]),
    "dictionary": lambda array: pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(array)),
    "list": lambda array: pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), pa.array(array)),
}
by_arrow = pytest.mark.parametrize("make", ARROW.values(), ids=ARROW)


@by_arrow
def test_arrow_is_apart_from_its_owner(make: Callable[[Any], Any]) -> None:
    """What lies over an array does not change with it, also within other values."""
    array = np.arange(4.0)
    value = make(array)
    expected = value.to_pylist()
    whole = {"alone": value, "in": [value], "twice": [SHARED, SHARED, value], "object": Plain(value)}
    ctx = FrozenContext(whole)
    array[:] = 9

    assert expected != value.to_pylist()
    found = (ctx["alone"], ctx["in"][0], ctx["twice"][2], ctx["object"].a)
    for arrow in found:
        assert type(value) is type(arrow)
        assert expected == arrow.to_pylist()


@by_arrow
def test_arrow_is_not_copied_for_readers(make: Callable[[Any], Any]) -> None:
    """Readers are handed the very same table."""
    ctx = held(make(np.arange(4.0)))

    assert ctx["x"] is ctx["x"]


def test_arrow_buffers_are_read_only() -> None:
    """Nobody can write to the memory that a table's readers share."""
    ctx = held(pa.table({"a": pa.array(np.arange(3.0))}))
    memory = np.frombuffer(ctx["x"]["a"].chunk(0).buffers()[1])
    with suppress(ValueError):
        memory[0] = 9

    assert [0, 1, 2] == ctx["x"]["a"].to_pylist()


def test_arrow_schema_is_kept() -> None:
    """A table's types and metadata are kept."""
    schema = pa.schema([pa.field("a", pa.int8(), nullable=False, metadata={"unit": "s"})], metadata={"k": "v"})
    table = pa.table({"a": pa.array([1, 2], pa.int8())}, schema=schema)

    assert held(table)["x"].equals(table, check_metadata=True)


POLARS: dict[str, Callable[[Any], Any]] = {
    "series": lambda array: pl.Series("a", array),
    "frame": lambda array: pl.DataFrame({"a": array}),
    "from-arrow": lambda array: pl.DataFrame(pa.table({"a": array})),
    "lazy": lambda array: pl.DataFrame({"a": array}).lazy(),
}


def column(value: Any) -> Any:
    """Return the numbers in a frame or series."""
    frame = value.collect() if isinstance(value, pl.LazyFrame) else value
    return (frame if isinstance(frame, pl.Series) else frame["a"]).to_list()


@pytest.mark.parametrize("make", POLARS.values(), ids=POLARS)
@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda it: it, lambda it: it),
        (lambda it: [it], lambda it: it[0]),
        (lambda it: [SHARED, SHARED, it], lambda it: it[2]),
        (Plain, lambda it: it.a),
    ],
    ids=["alone", "in", "twice", "object"],
)
def test_polars_is_apart_from_its_owner(make: Any, wrap: Any, unwrap: Any) -> None:
    """What lies over an array does not change with it, also within other values."""
    array = np.arange(4.0)
    value = make(array)
    ctx = held(wrap(value))
    array[:] = 9

    assert type(value) is type(unwrap(ctx["x"]))
    assert [0, 1, 2, 3] == column(unwrap(ctx["x"]))


def test_polars_readers_are_apart() -> None:
    """What a reader does to a frame or series in place it does to its own."""
    ctx = FrozenContext({"frame": pl.DataFrame({"a": [1, 2]}), "series": pl.Series("a", [1, 2])})
    frame, series = ctx["frame"], ctx["series"]
    frame[0, "a"] = 9
    frame.insert_column(0, pl.Series("b", [3, 4]))
    frame.columns = ["c", "d"]
    series[0] = 9
    series.append(series)

    assert pl.DataFrame({"a": [1, 2]}).equals(ctx["frame"])
    assert pl.Series("a", [1, 2]).equals(ctx["series"], check_names=True)


PANDAS: dict[str, Callable[[], Any]] = {
    "numbers": lambda: pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}),
    "text": lambda: pd.DataFrame({"a": ["x", "y"]}),
    "objects": lambda: pd.DataFrame({"a": pd.Series([[1], {"k": 2}], dtype=object), "b": [1, 2]}),
    "arrow": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="int64[pyarrow]")}),
    "nullable": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
    "categories": lambda: pd.DataFrame({"a": pd.Categorical(["x", "y"])}),
    "dates": lambda: pd.DataFrame({"a": pd.to_datetime(["2020", "2021"]).tz_localize("UTC")}),
    "multi-index": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")])),
    "multi-columns": lambda: pd.DataFrame([[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")])),
    "empty": lambda: pd.DataFrame(),
    "series": lambda: pd.Series([1, 2], name="a"),
    "object-series": lambda: pd.Series([[1], [2]], name="a"),
    "text-series": lambda: pd.Series(["x", "y"]),
}
by_pandas = pytest.mark.parametrize("make", PANDAS.values(), ids=PANDAS)


@by_pandas
def test_pandas_comes_back(make: Callable[[], Any]) -> None:
    """A frame or series comes back with its values, types, index and names."""
    found, expected = held(make())["x"], make()
    check = pd.testing.assert_frame_equal if expected.ndim == 2 else pd.testing.assert_series_equal
    check(expected, found)

    assert type(expected) is type(found)


@by_pandas
def test_pandas_is_apart(make: Callable[[], Any]) -> None:
    """What the writer and the readers do to a frame in place changes nobody else's."""
    value, expected = make(), make()
    value.attrs["note"] = [1]
    ctx = held(value)
    for holder in (value, ctx["x"], ctx["x"]):
        at = (0, 0) if holder.ndim == 2 else (0,)
        if len(holder):
            holder.iat[at] = holder.iat[(1, *at[1:])]
        holder.index.name = "spoilt"
        holder.attrs["note"].append(2)
        if holder.ndim == 2:
            holder.columns = range(holder.shape[1])

    assert expected.equals(ctx["x"])
    assert expected.index.name == ctx["x"].index.name
    assert {"note": [1]} == ctx["x"].attrs


def over(array: Any) -> Any:
    """Make a frame whose numbers lie over an array."""
    return pd.DataFrame({"a": pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(array)]))})


def test_pandas_over_a_table() -> None:
    """Columns that lie over an array, by way of Arrow, do not change with it."""
    array = np.arange(3.0)
    ctx = held(over(array))
    array[:] = 9

    assert [0, 1, 2] == ctx["x"]["a"].tolist()


@pytest.mark.parametrize("name", ["nullable", "categories", "dates", "text", "arrow", "numbers"])
def test_pandas_column_in_place(name: str) -> None:
    """Who writes to the array behind a column writes to no other reader's."""
    ctx = held(PANDAS[name]())
    array = ctx["x"]["a"].array
    with suppress(ValueError):
        array[0] = array[1]

    assert PANDAS[name]().equals(ctx["x"])


@pytest.mark.parametrize(
    ("make", "first"),
    [
        (lambda key: pd.DataFrame({"a": pd.Series([key], dtype=object)}), lambda it: it["a"].iloc[0]),
        (lambda key: pd.Series([key], dtype=object), lambda it: it.iloc[0]),
        (lambda key: pd.Series([1], index=pd.Index([key], dtype=object)), lambda it: it.index[0]),
        (lambda key: pd.Series([1], index=pd.MultiIndex.from_tuples([(key, 1)])), lambda it: it.index[0][0]),
        (lambda key: pd.DataFrame([[1]], columns=pd.Index([key], dtype=object)), lambda it: it.columns[0]),
        (lambda key: pd.Series(pd.Categorical([key])), lambda it: it.iloc[0]),
    ],
    ids=["frame", "series", "index", "multi-index", "columns", "categories"],
)
def test_pandas_objects(make: Callable[[Any], Any], first: Callable[[Any], Any]) -> None:
    """Objects inside a frame, wherever they are, are copied with it."""
    key = Key([1])
    ctx = held(make(key))
    key.items.append(2)
    first(ctx["x"]).items.append(3)

    assert [1] == first(ctx["x"]).items


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda it: [it], lambda it: it[0]),
        (lambda it: [SHARED, SHARED, it], lambda it: it[2]),
        (Plain, lambda it: it.a),
    ],
    ids=["in", "twice", "object"],
)
def test_pandas_objects_within(wrap: Callable[[Any], Any], unwrap: Callable[[Any], Any]) -> None:
    """Objects inside a frame are copied with it, also where the frame is part of another value."""
    frame = pd.DataFrame({"a": pd.Series([[1]], dtype=object)})
    ctx = held(wrap(frame))
    frame["a"][0].append(2)
    unwrap(ctx["x"])["a"][0].append(3)

    assert [1] == unwrap(ctx["x"])["a"][0]


# Shared.


class Setup(BaseModel, arbitrary_types_allowed=True):
    model: Annotated[Locked, Shared]
    maybe: Annotated[Any, Shared] = None
    items: list[int] = []


def test_shared_is_handed_over() -> None:
    """What is declared as Shared is the same object for all, even if it cannot be copied."""
    model, lock = Locked([1]), threading.Lock()
    ctx = FrozenContext[Setup]({"model": model, "maybe": lock})
    model.a.append(2)

    assert model is ctx["model"] is ctx.fields.model
    assert lock is ctx["maybe"]
    assert [1, 2] == ctx["model"].a


class Tree(BaseModel):
    children: "list[Tree]" = []


class Entry(TypedDict):
    x: int


KEPT: list[tuple[Any, Any]] = [
    *((dict[str, Locked], {"a": Locked()}), (list[int], [1]), (set[int], {1}), (frozenset[int], frozenset({1}))),
    *((tuple[list[int], ...], ([1],)), (deque[int], deque([1])), (OrderedDict[str, int], OrderedDict(a=1))),
    *((defaultdict[str, list[int]], defaultdict(list)), (Counter[str], Counter("aab")), (Mapping[str, int], {"a": 1})),
    *(
        (Sequence[int], [1]),
        (Iterable[int], [1]),
        (Iterator[int], iter([1])),
        (Generator[int, None, None], (n for n in [1])),
    ),
    *((Model, Model(a=1)), (Tree, Tree()), (Box[int], Box[int](item=1)), (Root, Root([1])), (Data, Data(1))),
    *((Entry, {"x": 1}), (Pair, Pair([1])), (dict[str, int] | list[int], [1]), (Locked, Locked()), (Any, [1])),
    *((SecretStr, SecretStr("hunter2")), (type[Model], Model), (Callable[..., int], len)),
]


@pytest.mark.parametrize("mark", [lambda it: Annotated[it, Shared], lambda it: Annotated[it, Output, Shared] | None])
@pytest.mark.parametrize(("kind", "value"), KEPT, ids=[str(kind) for kind, _ in KEPT])
def test_shared_is_the_written_object(kind: Any, value: Any, mark: Callable[[Any], Any]) -> None:
    """An instance of the declared type is kept as the very object, whatever Pydantic would make of its items."""
    config = ConfigDict(arbitrary_types_allowed=True)
    shape = create_model("Shape", __config__=config, x=(mark(kind), ...))
    ctx = FrozenContext[shape]()  # type: ignore[valid-type]  # it is made here
    ctx["x"] = value

    assert value is ctx["x"]
    assert value is FrozenContext[shape]({"x": value})["x"]  # type: ignore[valid-type]  # as above
    assert value is FrozenContext[dict[str, Annotated[Any, Shared]]]({"x": value})["x"]


class Checked(BaseModel, arbitrary_types_allowed=True):
    before: Annotated[list[int], AfterValidator(sorted), Shared] = []
    after: Annotated[list[int], Shared, AfterValidator(sorted)] = []
    count: Annotated[int, Field(gt=0), Shared] = 1
    model: Annotated[Private, Shared] = Private()
    items: Annotated[Sequence[int], Shared] = ()


def test_shared_is_validated_otherwise() -> None:
    """A value of another type is validated as usual, and so are numbers and texts; the user's validators run."""
    ctx = FrozenContext[Checked]({"before": [2, 1], "after": [2, 1], "model": {"a": 5}})

    assert [1, 2] == ctx.fields.before == ctx.fields.after
    assert Private(a=5) == ctx.fields.model
    wrong: list[tuple[str, Any]] = [("count", 0), ("model", 5), ("items", "abc"), ("before", 5), ("after", {"a": 1})]
    for key, value in wrong:
        with pytest.raises(InvalidInitialError):
            FrozenContext[Checked]({key: value})


def test_shared_from_json() -> None:
    """A value that comes from JSON is validated in full, as it cannot be the written object."""
    key = Schema.of(Numbers).keys["numbers"]

    assert {"a": 1} == key.validate_json(b'{"a": 1}')
    with pytest.raises(ValueError, match="valid integer"):
        key.validate_json(b'{"a": "many"}')


class Numbers(BaseModel):
    numbers: Annotated[dict[str, int], Shared]


# What refuses to be copied.

REFUSING: dict[str, Callable[[], Any]] = {
    "generator": lambda: (number for number in range(3)),
    "lock": threading.Lock,
    "holder": lambda: Plain(threading.Lock()),
    "in a list": lambda: [1, threading.Lock()],
    "in a dict": lambda: {"a": (1, [threading.Lock()])},
    "in a model": lambda: Model(a=threading.Lock()),
    "raising": RaisingCopy,
    "module": lambda: sys,
}


@pytest.mark.parametrize("make", REFUSING.values(), ids=REFUSING)
@pytest.mark.parametrize(
    "act",
    [
        lambda ctx, value: ctx.add("x", value),
        lambda ctx, value: ctx.record("x", value),
        lambda ctx, value: FrozenContext({"x": value}),
    ],
    ids=["write", "record", "initial"],
)
def test_what_refuses(make: Callable[[], Any], act: Callable[[FrozenContext[Any], Any], object]) -> None:
    """A value that cannot be copied is refused, with the reason, and nothing has changed."""
    ctx = FrozenContext()
    with pytest.raises((UncopyableValueError, InvalidInitialError), match=r"cannot be copied \(") as caught:
        act(ctx, make())

    assert ("cannot pickle" in str(caught.value)) != ("ValueError: no copies today" in str(caught.value))
    assert 0 == len(ctx) == len(ctx.metrics)


def test_cause_is_kept() -> None:
    """What a class's own way to be copied raised is the cause of the error."""
    with pytest.raises(UncopyableValueError) as caught:
        FrozenContext()["x"] = RaisingCopy()

    assert isinstance(caught.value.__cause__, ValueError)
    assert ("'x'", f"{__name__}.RaisingCopy") == (caught.value.subject, caught.value.type)
    assert "ValueError: no copies today" == caught.value.reason


def test_copies_that_fail_later() -> None:
    """A class that could be copied once and refuses then gives the same error on reading."""

    class Once:
        def __init__(self, left: int) -> None:
            self.left = left

        def __deepcopy__(self, memo: object) -> "Once":
            if not self.left:
                raise ValueError("no more copies")
            return Once(self.left - 1)

    ctx = held(Once(1))
    with pytest.raises(UncopyableValueError, match="no more copies"):
        ctx["x"]

    assert "x" in ctx


def test_repr_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """A value whose repr raises is stored, read, logged and printed like any other."""
    ctx = FrozenContext({"x": RaisingRepr(), "y": [RaisingRepr()]})
    with caplog.at_level(logging.DEBUG, "crystallize"):
        found = LoggingContext(ctx)["x"]

    assert RaisingRepr is type(found)
    assert "RaisingRepr" in caplog.messages[0]
    assert "x=" in repr(ctx)


@pytest.fixture
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is forgotten after it."""
    monkeypatch.setattr(copy_by_type.KINDS, "_by_name", dict(copy_by_type.KINDS._by_name))
    monkeypatch.setattr(copy_plans, "_copiers", {})


@pytest.mark.usefixtures("_own_registry")
@pytest.mark.parametrize(
    "make",
    [
        lambda: Outer.Inner(),
        threading.local,
        lambda: pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}),
        lambda: type("Here", (Locked,), {"__module__": __name__, "__qualname__": "no.<locals>.Here"})(),
    ],
    ids=["nested class", "builtin", "polars", "local class"],
)
def test_the_line_shown_works(make: Callable[[], Any]) -> None:
    """Where an error shows a line that registers the type, that line does so."""
    value = make()
    with pytest.raises(UncopyableValueError) as caught:
        FrozenContext()["x"] = value
    shown = re.search(r'crystallize\.register\("(.*)", freeze=\.\.\., thaw=\.\.\.\)', str(caught.value))
    if shown is not None:
        register(shown[1], freeze=lambda value: ("kept", value), thaw=lambda kept: kept[1])

    assert shown is None or value is held(value)["x"]


# The registry.


class Tensor:
    def __init__(self, data: list[int]) -> None:
        self.data = data
        self.lock = threading.Lock()


class Parameter(Tensor):
    pass


class Constant:
    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = threading.Lock()


class Fragile:
    pass


register(Tensor, freeze=lambda value: (type(value), [*value.data]), thaw=lambda kept: kept[0]([*kept[1]]))
register(Constant, freeze=lambda value: Constant(value.number))


@pytest.mark.parametrize("cls", [Tensor, Parameter])
def test_registered(cls: type[Tensor]) -> None:
    """A registered type, and its subclasses, are copied as was said, also within other values."""
    value = cls([1])
    ctx = FrozenContext({"alone": value, "in": [{"a": (value,)}], "model": Model(a=value)})
    value.data.append(2)

    readers: list[Callable[[], Any]] = [lambda: ctx["alone"], lambda: ctx["in"][0]["a"][0], lambda: ctx["model"].a]
    for read in readers:
        assert cls is type(read())
        read().data.append(3)
        assert [1] == read().data


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda it: [SHARED, SHARED, it], lambda it: it[2]),
        (Plain, lambda it: it.a),
        (lambda it: {Key([1]): it}, dict.values),
    ],
    ids=["beside a shared list", "in an object", "beside a copied key"],
)
def test_registered_within(wrap: Callable[[Any], Any], unwrap: Callable[[Any], Any]) -> None:
    """A registered type is copied as was said also where its surroundings are deep-copied."""
    value = Tensor([1])
    ctx = held(wrap(value))
    value.data.append(2)
    found = unwrap(ctx["x"])
    [found] = found if not isinstance(found, Tensor) else [found]

    assert [1] == found.data


def test_registrations_add_up() -> None:
    """A later call for a type adds to an earlier one: how values are stored is apart from how they are copied."""

    class Both:
        def __init__(self, items: list[int]) -> None:
            self.items = items
            self.lock = threading.Lock()

    register(Both, freeze=lambda value: [*value.items], thaw=lambda kept: Both([*kept]))
    register(Both, dump=lambda value: bytes(value.items), load=lambda data: Both([*data]))
    ctx = held(Both([1]))
    ctx["x"].items.append(2)

    assert [1] == ctx["x"].items


def test_registered_without_thaw() -> None:
    """Without `thaw` what is kept is handed out to all."""
    value = Constant(1)
    ctx = FrozenContext({"x": value, "y": [value, value], "z": (value,)})
    value.number = 2

    assert ctx["x"] is ctx["x"]
    assert 1 == ctx["x"].number == ctx["y"][0].number == ctx["z"][0].number
    assert ctx["y"][0] is ctx["y"][1]
    assert ctx["z"] is ctx["z"]


def test_registered_later() -> None:
    """What is registered holds from then on, whatever was found out about the type before."""

    class Later:
        pass

    assert Later is type(held(Later())["x"])
    register(Later, freeze=lambda value: "first")
    assert "first" == held(Later())["x"]
    register(Later, freeze=lambda value: "second")
    assert "second" == held(Later())["x"]


def test_freeze_that_raises() -> None:
    """What a registered function raises is the cause of an error that names key, type and reason."""

    def refuse(value: Fragile) -> Fragile:
        raise RuntimeError("on another device")

    register(Fragile, freeze=refuse)
    ctx = FrozenContext()
    with pytest.raises(UncopyableValueError) as caught:
        ctx["x"] = [1, Fragile()]

    assert isinstance(caught.value.__cause__, RuntimeError)
    assert ("'x'", f"{__name__}.Fragile") == (caught.value.subject, caught.value.type)
    assert "RuntimeError: on another device" == caught.value.reason
    assert "x" not in ctx


def test_registered_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name stands for the type that one would import by it, wherever it is defined, and its subclasses."""
    inside = type("Thing", (Locked,), {"__module__": "fakelib._core"})
    child = type("Child", (inside,), {"__module__": "elsewhere"})
    register("fakelib.Thing", freeze=lambda value: value.a, thaw=lambda kept: ("thawed", kept))
    with pytest.raises(UncopyableValueError, match=r'register\("fakelib\._core\.Thing"'):
        FrozenContext()["x"] = inside(1)

    face = ModuleType("fakelib")
    monkeypatch.setattr(face, "Thing", inside, raising=False)
    monkeypatch.setitem(sys.modules, "fakelib", face)
    register("fakelib.Other", freeze=id)
    assert ("thawed", 1) == held(inside(1))["x"]
    assert ("thawed", 2) == held(child(2))["x"]


@pytest.mark.parametrize("kind", ["Tensor", "", 5, None], ids=["bare", "empty", "int", "None"])
def test_registering_what_is_no_type(kind: Any) -> None:
    """Neither a type nor a full name cannot be registered, and the error shows how to write it."""
    with pytest.raises(TypeError, match=r'register: it takes a type or its full name, as in "torch.Tensor", not '):
        register(kind, freeze=id)


def test_class_without_a_module() -> None:
    """A class that does not say where it is from is held like any other."""
    odd = type("Odd", (), {"__module__": None})

    assert odd is type(held(odd())["x"])


@pytest.mark.slow
def test_names_import_nothing() -> None:
    """No array or frame library is imported to hold other values."""
    code = (
        "import sys; from crystallize import FrozenContext, register; register('torch.Tensor', freeze=id)\n"
        "class A: pass\n"
        "FrozenContext({'a': A(), 'b': [{A()}]})['b']\n"
        "print({'numpy', 'pandas', 'polars', 'pyarrow', 'torch'} & {*sys.modules})"
    )

    assert "set()\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout


# Secrets.

SECRET = SecretStr("hunter2")


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ([], 5),
        ([], [1, "a", {"b": (2,)}, {3}, Model(a=1), Plain(1), Model]),
        (["hunter2"], SECRET),
        ([b"hunter2"], SecretBytes(b"hunter2")),
        ([date(2020, 1, 1)], Secret(date(2020, 1, 1))),
        (["hunter2"], [1, [SECRET]]),
        (["hunter2"], (1, frozenset({SECRET}))),
        (["hunter2"], {"a": {SECRET}}),
        (["hunter2"], {SECRET: 1}),
        (["hunter2"], Model(a=[SECRET])),
        (["hunter2"], Open.model_validate({"more": [SECRET]})),
        (["hunter2"], Data({"a": SECRET})),
        (["hunter2"], FrozenSlots(SECRET)),
        (["hunter2"], [SECRET, SECRET]),
    ],
)
def test_secrets_in(expected: list[Any], value: Any) -> None:
    """The secrets in a value are found at any depth, each once, and nowhere else."""
    assert expected == secrets_in(value)


def test_secrets_in_private_attributes_and_cycles() -> None:
    """Secrets are found in private attributes and in values that hold themselves, however deep."""
    model: Any = Private()
    model._seen = [SECRET]
    cycle: list[Any] = [model]
    cycle.append(cycle)

    assert ["hunter2"] == secrets_in(cycle)
    assert ["hunter2"] == secrets_in(nested(2000, lambda inner: [inner or SECRET]))


@pytest.mark.parametrize("value", [SECRET, [SECRET], Model(a={"k": SECRET})])
def test_secrets_are_no_measurements(value: Any) -> None:
    """A secret is not recorded, and the error does not show it."""
    ctx = FrozenContext()
    with pytest.raises(InvalidMetricError) as caught:
        ctx.record("m", value)

    assert "hunter2" not in str(caught.value)
    assert 0 == len(ctx.metrics)


@pytest.mark.parametrize("kind", [int, str, type(None)])
def test_registering_what_cannot_change(kind: type) -> None:
    """A type whose values are never copied cannot be registered, since that would have no effect."""
    with pytest.raises(SchemaError, match="cannot change and is never copied"):
        register(kind, freeze=id)


def test_kind_that_leaves_a_value_to_deep_copies() -> None:
    """A freeze function may return NotImplemented, and the value is deep-copied, alone or beside a shared part."""

    class Left:
        def __init__(self) -> None:
            self.items = [1]

    register(Left, freeze=lambda value: NotImplemented)
    part = [2]
    ctx = FrozenContext({"alone": Left(), "beside": [part, part, Left()]})
    ctx["alone"].items.append(3)
    ctx["beside"][2].items.append(3)

    assert [1] == ctx["alone"].items
    assert [1] == ctx["beside"][2].items


def test_the_part_that_refuses_is_named() -> None:
    """Of a value that cannot be copied the error names the part that refuses, not the list around it."""
    with pytest.raises(UncopyableValueError, match=rf"a {__name__}\.RaisingCopy cannot be copied"):
        FrozenContext()["x"] = [{"a": RaisingCopy()}, object()]


def test_deep_in_the_stack() -> None:
    """Where too little is left of the stack to copy a value, an error of ours says so, and nothing is written."""
    ctx = FrozenContext()

    def descend() -> None:
        try:
            descend()
        except RecursionError:
            ctx["x"] = nested(50)

    with pytest.raises(UncopyableValueError, match="nested too deeply for the rest of the stack"):
        descend()
    assert "x" not in ctx


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        ({}, "give freeze, or dump and load, or live=True"),
        ({"freeze": 5}, "freeze should be a function or None, got 5"),
        ({"freeze": id, "thaw": 5}, "thaw should be a function or None, got 5"),
        ({"thaw": id}, "thaw is a function of what freeze returned, so give freeze, too"),
        ({"dump": repr}, "dump and load are inverse to one another, so give both or neither"),
        ({"load": repr}, "dump and load are inverse to one another, so give both or neither"),
        ({"freeze": id, "equal": id}, "equal compares a value with what load made of it, so give dump and load, too"),
        ({"freeze": id, "live": True}, "a live value is never copied, so give either live=True or freeze"),
    ],
)
def test_registering_functions_that_do_not_fit(functions: Any, reason: str) -> None:
    """Functions that do not go together are refused, with the reason."""
    with pytest.raises(SchemaError, match=re.escape(reason)):
        register("some.Type", **functions)
