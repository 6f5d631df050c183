"""The forms of values: equal for equal values, different for any other type or content."""

import array
import functools
import inspect
import logging
import operator
import re
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import MISSING, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, SecretStr
from pydantic_core import PydanticUndefined

from crystallize._core.value_forms import NoDigest, ValueForms, atom_form


class Point(NamedTuple):
    x: int


class PointWithMore(Point):
    pass


class Level(Enum):
    LOW = 1
    HIGH = 2


class Access(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Item:
    name: str
    sizes: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Slim:
    x: int


class Model(BaseModel, extra="allow"):
    x: float = 1.0
    _seen: int = PrivateAttr(0)


class Plain:
    def __init__(self, x: object) -> None:
        self.x = x

    def method(self) -> None:
        pass


@dataclass(frozen=True)
class FrozenItem:
    x: object


class FrozenModel(BaseModel, frozen=True):
    x: int = 0


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x: object) -> None:
        self.x = x


class Number(int):
    def __int__(self) -> int:
        return 0


class Words(list[str]):
    pass


def model(seen: int, **fields: Any) -> Model:
    made = Model(**fields)
    made._seen = seen
    return made


def function() -> None:
    pass


T = TypeVar("T")
DAY = datetime(2026, 1, 2, 3)

DIFFERENT: list[Callable[[], object]] = [
    *(lambda: None, lambda: ..., lambda: NotImplemented, lambda: True, lambda: 1, lambda: 1.0, lambda: 1j, lambda: "1"),
    *(lambda: b"1", lambda: 10**5000, lambda: 10**5000 + 1, lambda: 0.0, lambda: -0.0, lambda: float("nan")),
    *(lambda: "\ud800", lambda: range(3), lambda: slice(1)),
    *(lambda: object(), lambda: MISSING, lambda: PydanticUndefined),
    *(lambda: date(2026, 1, 2), lambda: DAY, lambda: DAY.replace(fold=1), lambda: DAY.replace(tzinfo=UTC)),
    *(lambda: DAY.replace(tzinfo=ZoneInfo("Europe/Rome")), lambda: DAY.replace(tzinfo=timezone(timedelta(hours=1)))),
    *(lambda: time(3), lambda: timedelta(1), lambda: Decimal("1.0"), lambda: Decimal("1.00"), lambda: Fraction(1, 2)),
    *(lambda: UUID(int=1), lambda: Path("a"), lambda: PurePosixPath("a"), lambda: Path("b")),
    *(lambda: re.compile("a"), lambda: re.compile("a", re.I)),
    *(lambda: (), lambda: [], lambda: {}, lambda: set(), lambda: frozenset(), lambda: (1,), lambda: [1], lambda: {1}),
    *(lambda: frozenset({1}), lambda: ((1,), 2), lambda: (1, (2,))),
    *(lambda: ["a", "b"], lambda: ["asb"], lambda: [["a"], "b"]),
    *(lambda: {"a": 1}, lambda: {"a": 2}, lambda: {1: "a"}, lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}),
    *(lambda: defaultdict(list), lambda: defaultdict(dict), lambda: OrderedDict(), lambda: Counter("a")),
    *(lambda: deque([1]), lambda: deque([1], 3), lambda: MappingProxyType({"a": 1}), lambda: bytearray(b"1")),
    *(lambda: memoryview(b"1"), lambda: {"a", "b", "c"}, lambda: {"a", "b", "d"}),
    *(lambda: Point(1), lambda: Point(2), lambda: PointWithMore(1), lambda: Level.LOW, lambda: Level.HIGH),
    *(lambda: Access.READ, lambda: Access.READ | Access.WRITE),
    *(lambda: Number(1), lambda: Number(2), lambda: Words("a")),
    *(lambda: Item("a", [1]), lambda: Item("a", [2]), lambda: Slim(1)),
    *(lambda: Slim(2), lambda: Plain(1), lambda: Plain([1])),
    *(lambda: Slotted(1), lambda: Slotted(2), lambda: Model()),
    *(lambda: Model(x=1), lambda: Model(x=2), lambda: Model.model_validate({"y": 1})),
    *(lambda: model(1), lambda: Plain(Model()), lambda: {"k": [Model(x=3)]}),
    *(lambda: np.array([1, 2]), lambda: np.array([1, 3]), lambda: np.array([[1], [2]]), lambda: np.array([1.0, 2.0])),
    *(lambda: np.float32(1), lambda: np.float64(1), lambda: pd.DataFrame({"a": [1]}), lambda: pd.DataFrame({"a": [2]})),
    *(lambda: np.dtype("f4"), lambda: np.dtype("f8"), lambda: pd.Timestamp(1), lambda: pd.Timestamp(2)),
    *(lambda: np.exp, lambda: np.log, lambda: FrozenItem(1), lambda: FrozenItem(2), lambda: FrozenModel()),
    *(lambda: pd.Series([1, 2]), lambda: [np.array([1])]),
    *(lambda: len, lambda: max, lambda: "a".upper, lambda: "b".upper, lambda: str.upper, lambda: object.__init__),
    *(lambda: Plain(1).method, lambda: Plain(2).method),
    *(lambda: functools.partial(len, [1]), lambda: functools.partial(len)),
    *(lambda: functools.partial(max, key=abs), lambda: property(len)),
    *(lambda: staticmethod(len), lambda: classmethod(type)),
    *(lambda: operator.itemgetter(1), lambda: operator.itemgetter(2), lambda: operator.attrgetter("a")),
    *(lambda: logging.getLogger("a"), lambda: logging.getLogger("b"), lambda: re, lambda: operator),
    *(lambda: list[int], lambda: list[str], lambda: typing.Any, lambda: int | str, lambda: Literal["a"]),
    *(lambda: Annotated[int, Field(gt=1)], lambda: Annotated[int, Field(gt=2)], lambda: Callable[[int], str]),
    *(lambda: Callable[[str], str], lambda: T, lambda: typing.ForwardRef("a"), lambda: inspect.Parameter.empty),
]  # fmt: skip


def form(value: object) -> tuple[bytes, list[Any]]:
    values = ValueForms()
    return values.form(value), values.referred


def test_different_values_have_different_forms() -> None:
    """Each value has a form of its own, and an equal value that was made anew has the same form."""
    found = [form(make()) for make in DIFFERENT]

    for index, (make, known) in enumerate(zip(DIFFERENT, found, strict=True)):
        assert known == form(make())
        assert [index] == [other for other, entry in enumerate(found) if entry == known]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_forms_are_equal_only_for_equal_values(one: Any, other: Any) -> None:
    """Copies have equal forms; values that print differently have different ones."""
    assert form(one) == form(deepcopy(one))
    assert (repr(one) == repr(other)) == (form(one) == form(other))


def test_values_that_contain_themselves() -> None:
    def knot(depth: int) -> list[Any]:
        inner: list[Any] = []
        made = inner
        for _ in range(depth):
            made = [made]
        inner.append(made)
        return made

    assert form(knot(1)) == form(knot(1)) != form(knot(2))


def test_a_value_in_two_places_counts_as_two_values() -> None:
    inner = [1]
    assert form([inner, inner]) == form([[1], [1]])


def test_functions_and_classes_are_referred_to() -> None:
    """They are followed by others; the form has their number only."""
    values = ValueForms()

    assert values.form((function, Plain, function)) == form((int, str, int))[0]
    assert [function, Plain] == values.referred


class Broken(BaseModel):
    token: SecretStr


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (iter(()), "is a tuple_iterator, which has no digest"),
        (SecretStr("a"), "is a secret, and secrets have no digest"),
        ({"a": Broken(token="x")}, "contains a secret, and secrets have no digest"),  # type: ignore[arg-type]
        (ModuleType("mine"), "is a module, which has no digest"),
        (array.array("i"), "is a array.array, which has no digest"),
        (np.array([iter(())], dtype=object), "is a numpy.ndarray, which has no digest"),
        (ValueError("a"), "is a ValueError, which has no digest"),
    ],
)
def test_values_without_a_form(value: object, reason: str) -> None:
    """The reason names the type, and says if it is only a part of the value. By type alone, each value has a form."""
    with pytest.raises(NoDigest) as raised:
        form(value)

    assert reason == str(raised.value)
    assert ValueForms(is_loose=True).form(value)


@pytest.mark.parametrize(
    "value", [None, True, 7, -0.5, 2j, "é\ud800", b"a", range(3), date(2026, 5, 17), Decimal("1.50"), UUID(int=1), ...]
)
def test_the_fast_way_gives_the_same_form(value: object) -> None:
    """A value of an atomic type has the same form without an owner; of any other type there is none."""
    assert ValueForms().form(value) == atom_form(value)
    assert atom_form([value]) is None


class TestGlobals:
    """As globals, mutable values count by their types; those of constants, and in immutable ones, by their content."""

    @staticmethod
    def form(value: object, *, is_constant: bool = False) -> tuple[bytes, list[Any]]:
        values = ValueForms(is_loose=True)
        return values.global_form(value, is_constant=is_constant), values.referred

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([1], [2]),
            ({}, {"a": 1}),
            (Plain(1), Plain(2)),
            (Model(), Model(x=2)),
        ],
    )
    def test_mutable_values(self, one: object, other: object) -> None:
        assert self.form(one) == self.form(other)
        assert self.form(one, is_constant=True) != self.form(other, is_constant=True)

    def test_arrays(self) -> None:
        assert self.form(np.zeros(2), is_constant=True) == self.form(np.ones(2), is_constant=True)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            *((1, 2), ((1, 2), (1, 3)), (frozenset("a"), frozenset("b")), (Level.LOW, Level.HIGH)),
            *((Point(1), Point(2)), ([], ()), (Plain(1), Item("a"))),
            (functools.partial(dict, x=1), functools.partial(dict, x=2)),
            *((np.float64(1), np.float64(2)), (np.dtype("f4"), np.dtype("f8")), (pd.Timestamp(1), pd.Timestamp(2))),
            *((np.exp, np.log), (Number(1), Number(2)), (FrozenItem(1), FrozenItem(2))),
            (FrozenModel(x=1), FrozenModel(x=2)),
            *(((1, [2]), (1, [3])), (FrozenItem([1]), FrozenItem([2]))),
        ],
    )
    def test_immutable_values(self, one: object, other: object) -> None:
        assert self.form(one) != self.form(other)


@pytest.mark.parametrize(
    ("value", "is_stable"),
    [(1, True), ((1, "a", function, Level.LOW), True), ([1], False), ((1, [2]), False), (Plain(1).method, False)],
)
def test_says_whether_a_value_may_change(value: object, is_stable: bool) -> None:
    values = ValueForms()
    values.form(value)

    assert is_stable == values.is_stable
