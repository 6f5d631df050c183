"""Digests of the arguments of calls: equal for the same call in another process, different for another call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from crystallize._core.call_arguments import PARTIAL, atoms_of_call, digest_of_arguments, digest_of_atoms
from crystallize._core.code_digest import digest_call, digest_simple_call


def fit(ctx: Any, size: Any = 1, /, *more: Any, rate: float = 0.5, **others: Any) -> None: ...


class Model(BaseModel):
    depth: int


@dataclass(frozen=True)
class Fixed:
    depth: int

    def fit(self, ctx: Any) -> None: ...

    def __call__(self, ctx: Any) -> None: ...


@dataclass
class Changing:
    depth: int

    def fit(self, ctx: Any) -> None: ...


class Plain:
    def __init__(self, name: str) -> None:
        self.name = name


def of(task: Any, *args: Any, **kwargs: Any) -> str:
    return digest_of_arguments(task, args, kwargs)


def made(size: int) -> Callable[[Any], int]:
    return lambda ctx: size


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.0),
        (1, True),
        ("a", b"a"),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        (range(3), range(4)),
        (np.zeros(3), np.ones(3)),
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2]})),
        (pd.Series([1]), pd.Series([2])),
        (pl.DataFrame({"x": [1]}), pl.DataFrame({"x": [2]})),
        (pa.table({"x": [1]}), pa.table({"x": [2]})),
        (Model(depth=1), Model(depth=2)),
        (Plain("tree"), Plain("linear")),
        ({"lr": 0.1, "loss": len}, {"lr": 0.2, "loss": len}),
        (fit, Model),
    ],
)
def test_different(one: Any, other: Any) -> None:
    """Any argument of another value or type is another call."""
    assert of(fit, one) != of(fit, other)
    assert of(fit, one) == of(fit, one)
    assert of(fit, 1, x=one) != of(fit, 1, x=other)
    assert of(fit, 1, one) != of(fit, 1, other)
    assert not of(fit, one).startswith(PARTIAL)


def test_the_same() -> None:
    """By position, by name, as a default, or by a partial is the same call."""

    def task(ctx: Any, size: int, rate: float = 0.5, *, seed: int = 3) -> None: ...

    same = [of(task, 1), of(task, size=1), of(task, 1, rate=0.5), of(task, 1, 0.5, seed=3), of(partial(task, size=1))]
    assert 1 == len(set(same))
    assert of(task, 1) != of(task, 1, seed=4)
    # A name may be that of a positional-only parameter, too.
    assert of(fit, 1, size=2) != of(fit, 2, size=1)


def plain(ctx: Any, size: Any, rate: Any) -> None: ...
def with_defaults(ctx: Any, size: int, rate: float = 0.5, *, seed: int = 3, name: str = "a") -> None: ...
def with_any_names(ctx: Any, /, size: int, **others: int) -> None: ...


ATOMS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates())


@given(st.sampled_from([plain, with_defaults, with_any_names, fit]), st.data())
def test_calls_with_atoms_alone(task: Any, data: st.DataObject) -> None:
    """A call with nothing but numbers, texts and the like has the digests that the general functions return."""
    args = data.draw(st.lists(ATOMS, max_size=3).map(tuple))
    kwargs = data.draw(st.dictionaries(st.sampled_from(["rate", "seed", "size", "depth"]), ATOMS, max_size=2))
    _compare(task, args, kwargs)


def _compare(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    atoms = atoms_of_call(task, args, kwargs)
    if atoms is not None:
        assert digest_of_arguments(task, args, kwargs) == digest_of_atoms(atoms)
        assert digest_call(task, args, kwargs) == digest_simple_call(task, atoms)


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "is_fast"),
    [
        (plain, (1, 2.0), {}, True),
        (plain, (), {"size": 1}, True),
        (with_defaults, (1,), {"seed": 4}, True),
        (with_any_names, (1,), {"depth": 2}, True),
        (plain, ([1], 2), {}, False),
        (plain, (1, 2, 3), {}, False),
        (fit, (1,), {"size": 2}, False),
        (made(1), (), {}, False),
        (partial(plain, size=1), (), {}, False),
    ],
)
def test_kinds_of_calls(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_fast: bool) -> None:
    """Only a plain function is such a call, and only if it has no closure, and no value that can be changed."""
    assert is_fast == (atoms_of_call(task, args, kwargs) is not None)
    _compare(task, args, kwargs)


def test_defaults_of_other_code() -> None:
    """A function whose code was replaced by code with fewer parameters has more defaults than parameters."""

    def task(ctx: Any, size: int = 1, rate: int = 2) -> None: ...
    def other(ctx: Any) -> None: ...

    task.__code__ = other.__code__
    assert of(task) == digest_of_atoms(atoms_of_call(task, (), {}) or {})
    _compare(task, (), {})


def test_objects_of_methods() -> None:
    """An object that cannot be changed tells calls apart, and one that can does not."""
    assert of(Fixed(1).fit) != of(Fixed(2).fit)
    assert of(Fixed(1)) != of(Fixed(2))
    assert of(Changing(1).fit) == of(Changing(2).fit)
    assert of(Changing(1).fit).startswith(PARTIAL)


def test_closures() -> None:
    """So does a variable of a closure, unless the function itself changes it."""
    count = 0

    def counted(ctx: Any) -> None:
        def add() -> None:
            nonlocal count
            count += 1

        add()

    def late(ctx: Any) -> int:
        return value

    before = of(counted)
    counted(None)
    assert before == of(counted)
    assert before.startswith(PARTIAL)
    assert of(made(1)) != of(made(2))
    unset = of(late)
    value = 3
    assert unset != of(late)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [Lock(), SecretStr("x"), [Lock()], made(1), np.array([object()]), nested(100_000)])
def test_values_without_a_digest(value: Any) -> None:
    """The digest says so if it leaves out the content of a value."""
    assert of(fit, value).startswith(PARTIAL)
    assert of(fit, value, 1) != of(fit, value, 2)


def test_functions_in_c() -> None:
    """A callable without Python code has arguments by their order."""
    assert of(len, 1) != of(len, 2)
