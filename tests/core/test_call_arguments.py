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
from pydantic import BaseModel, SecretStr

from crystallize._core.call_arguments import PARTIAL, digest_of_arguments


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
