"""Pickles of contexts whose values have classes that pickle does not find."""

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import cloudpickle
import pytest
from pydantic import BaseModel

from crystallize import FrozenContext, UnpicklableValueError
from crystallize._core import pickled_values

T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    size: T


class Holds(BaseModel):
    box: Box[list[int]]
    other: int = 0


NAME = f"{__name__}.Box[list[int]]"


def box() -> Any:
    return Box[list[int]](size=[1])


def in_a_schema() -> Any:
    return FrozenContext[Holds]({"box": box()})


def at_any_depth() -> Any:
    return FrozenContext({"other": 0, "box": {"a": [(box(), 1)]}})


def in_a_step() -> Any:
    with in_a_schema().step("fit") as step:
        return step


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("make", [in_a_schema, at_any_depth, in_a_step])
def test_a_generic_model_with_arguments(make: Callable[[], Any], protocol: int) -> None:
    """The error names the key and the class, and says to declare a class, with which the context can be pickled."""
    with pytest.raises(UnpicklableValueError) as caught:
        pickle.dumps(make(), protocol)

    assert ("box", NAME) == (caught.value.key, caught.value.type)
    assert "`class MyBox(Box[list[int]]): pass`" in str(caught.value)
    assert isinstance(caught.value.__cause__, pickle.PicklingError)


class MyBox(Box[list[int]]):
    pass


def test_a_class_with_a_name() -> None:
    """An instance of the class that the error advises to declare is pickled."""
    ctx = FrozenContext({"box": MyBox(size=[1])})
    assert dict(ctx) == dict(pickle.loads(pickle.dumps(ctx)))


def test_other_ways_to_copy() -> None:
    """A copy, a pickle of another context and one by cloudpickle are as before."""
    ctx = in_a_schema()
    assert dict(ctx) == dict(copy.deepcopy(ctx)) == dict(copy.copy(ctx))
    assert [1] == pickle.loads(cloudpickle.dumps(ctx))["box"].size
    other = FrozenContext({"a": 1})
    assert {"a": 1} == dict(pickle.loads(pickle.dumps(other)))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(FrozenContext({"a": lambda: 1}))


def test_a_class_that_pickle_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generic model with arguments that is in its module under its name, as Pydantic puts it there, is pickled."""
    ctx = in_a_schema()
    monkeypatch.setattr(sys.modules[__name__], "Box[list[int]]", Box[list[int]], raising=False)
    monkeypatch.setattr(pickled_values, "_arguments_given", {Box[list[int]]})
    assert dict(ctx) == dict(pickle.loads(pickle.dumps(ctx)))
