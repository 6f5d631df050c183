"""Annotations: what they say of the values to come."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, Protocol, TypeVar

import pytest
from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, PositiveInt
from typing_extensions import TypeAliasType, TypedDict

from crystallize._base.type_hints import choices_of, classes_of, key_types, unchecked_class

T = TypeVar("T")
UserId = NewType("UserId", int)
Share = TypeAliasType("Share", Annotated[float, Field(ge=0)])


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Model(BaseModel):
    lr: FiniteFloat
    layers: list[int] | None = None


class Typed(TypedDict, total=False):
    lr: Annotated[float, Field(gt=0)]
    split: Literal["train", "val"]


@dataclass
class Data:
    lr: float
    name: "str" = ""


class Box(TypedDict, Generic[T]):
    content: T
    label: str


class Filled(BaseModel, Generic[T]):
    content: T


def in_a_function() -> Any:
    class Inner(BaseModel):
        pass

    class Local(TypedDict):
        inner: "Inner"

    return Local


@pytest.mark.parametrize(
    ("shape", "names", "expected"),
    [
        (Model, ["lr", "layers"], {"lr": float, "layers": list[int] | None}),
        (Typed, ["lr", "split"], {"lr": float, "split": Literal["train", "val"]}),
        (Typed, ["split"], {"split": Literal["train", "val"]}),
        (Data, ["lr", "name"], {"lr": float, "name": str}),
        (Box[int], ["content", "label"], {"content": int, "label": str}),
        (Box, ["content"], {"content": Any}),
        (Filled[int], ["content"], {"content": int}),
        (dict[str, int], ["a", "b"], {"a": int, "b": int}),
        (dict, ["a"], {"a": Any}),
        (Model, ["beyond"], {"beyond": Any}),
        (in_a_function(), ["inner"], {"inner": Any}),
        (None, [], {}),
    ],
)
def test_key_types(shape: Any, names: list[str], expected: dict[str, Any]) -> None:
    """Each name has the type that it is declared with, without its constraints."""
    assert expected == key_types(shape, names)
    assert names == list(key_types(shape, names))


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, {int}),
        (FiniteFloat, {float}),
        (PositiveInt | None, {int, type(None)}),
        (Optional[str], {str, type(None)}),  # noqa: UP045 - as it is often written
        (Literal["a", 1], {str, int}),
        (Literal["a"] | float, {str, float}),
        (list[float], {list}),
        (UserId, {int}),
        (Share, {float}),
        (Colour, {Colour}),
        (Any, None),
        (int | Any, None),
        (T, None),
        (Annotated[str, AfterValidator(float)], None),
    ],
)
def test_classes(annotation: Any, expected: set[type] | None) -> None:
    """The classes of a type's values are known, or it is known that they are not."""
    assert expected == classes_of(annotation)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Literal["a", "b"], ("a", "b")),
        (Annotated[Literal["a"], "note"], ("a",)),
        (Literal["a"] | Colour, ("a", Colour.RED, Colour.BLUE)),
        (Colour, (Colour.RED, Colour.BLUE)),
        (Literal["a"] | None, None),
        (int, None),
        (Any, None),
    ],
)
def test_choices(annotation: Any, expected: tuple[Any, ...] | None) -> None:
    """The values of a type are listed where there are few that can be."""
    assert expected == choices_of(annotation)


class Unchecked(Protocol):
    pass


class Loop(BaseModel):
    odd: "dict[str, Unchecked]" = {}
    inner: "Loop | None" = None

    model_config = {"arbitrary_types_allowed": True, "defer_build": True}


class Linked(NamedTuple):
    odd: Annotated[Unchecked | None, 5]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Model, None),
        (Typed, None),
        (in_a_function(), None),
        (dict[str, Model], None),
        (Loop, ("odd", Unchecked)),
        (Linked, ("odd", Unchecked)),
        (dict[str, tuple[Linked, ...]], ("", Unchecked)),
        (Annotated[NewType("Named", Unchecked), 5], ("", Unchecked)),
        (list[Any], None),
    ],
)
def test_unchecked_class(shape: Any, expected: Any) -> None:
    """A class that isinstance rejects is found at any depth of a type, with its key."""
    assert expected == unchecked_class(shape)
