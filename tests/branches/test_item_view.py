"""The items of a `fan_out` as they are put on record."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel, Field, SecretStr

from crystallize._branches.item_view import item_view


class Optimizer(Enum):
    ADAM = "adam"


class Inner(BaseModel):
    depth: int = 3
    weights: list[float] = Field(default_factory=lambda: [0.5] * 300)


class Config(BaseModel):
    lr: float = 0.1
    inner: Inner = Inner()


class Hidden(BaseModel):
    lr: float = 0.1
    other: int = Field(default=1, exclude=True)


@dataclass
class Fold:
    number: int
    model: object


class Pair(NamedTuple):
    lr: float
    depth: int


class Failing:
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


LOOP: dict[str, Any] = {}
LOOP["loop"] = LOOP


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (0.1, {"": 0.1}),
        (7, {"": 7}),
        (None, {"": None}),
        (True, {"": True}),
        ("a\ud800" + "b" * 300, {"": ("a\\ud800" + "b" * 300)[:200]}),
        (np.float32(0.5), {"": 0.5}),
        (date(2026, 1, 2), {"": "2026-01-02"}),
        (Decimal("1.5"), {"": "1.5"}),
        (PurePosixPath("a/b"), {"": "a/b"}),
        (Optimizer.ADAM, {"": "adam"}),
        ((0.1, "x\ud800"), {"": '[0.1,"x\\\\ud800"]'}),
        ([1.5] * 90, {}),
        ([[1]], {}),
        ([1] * 200, {}),
        (Pair(0.1, 3), {"lr": 0.1, "depth": 3}),
        ({"lr": 0.1, 3: {"x": 1}}, {"lr": 0.1, "3.x": 1}),
        (Config(), {"lr": 0.1, "inner.depth": 3}),
        (Fold(2, object()), {"number": 2}),
        (Fold, {}),
        (object(), {}),
        (Failing(), {}),
        (np.zeros(3), {}),
        (Hidden(), {}),
        ({"lr": 0.1, "token": SecretStr("hunter2")}, {}),
        ({str(number): number for number in range(101)}, {}),
        ({"a": {str(number): number for number in range(60)}, "b": {str(number): 1 for number in range(60)}}, {}),
        (LOOP, {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_item(item: Any, expected: dict[str, Any]) -> None:
    """The scalars of an item are on record by the names of their fields; large parts, secrets and objects are not."""
    assert expected == item_view(item)
