"""Fields of a dataclass with `init=False`: a step may set them, and an instance may bring them."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

import pydantic
import pytest
from pydantic import PositiveFloat, SecretStr
from pydantic.dataclasses import dataclass as pydantic_dataclass

from crystallize import (
    ContextMutationError,
    FrozenContext,
    IncompleteContextError,
    InvalidValueError,
    SchemaError,
    Shared,
)

V = TypeVar("V")


class Opaque:
    """Pydantic knows nothing of it."""


class Odd:
    def __eq__(self, other: object) -> bool:
        raise ValueError("no comparison today")

    __hash__ = None  # type: ignore[assignment]  # as Python does where there is an `__eq__`


@dataclass
class Train:
    lr: float
    accuracy: PositiveFloat = field(init=False)


@dataclass
class Defaults:
    lr: float
    best: float | None = field(init=False, default=None)
    seen: list[int] = field(init=False, default_factory=list)


@dataclass
class Placeholder:
    lr: float
    items: list[int] = field(default_factory=list)
    accuracy: float | None = field(init=False)
    odd: Any = field(init=False)

    def __post_init__(self) -> None:
        self.accuracy = None
        self.odd = Odd()
        self.items.append(1)


@dataclass
class Tree:
    name: str
    children: "list[Tree]" = field(init=False)


@dataclass
class Box(Generic[V]):
    size: int
    item: V = field(init=False)
    items: list[V] = field(init=False)


@dataclass(frozen=True)
class Marked:
    lr: float
    model: Annotated[Any, Shared] = field(init=False)
    token: SecretStr = field(init=False)


@pydantic_dataclass(config={"arbitrary_types_allowed": True})
class Configured:
    lr: float
    opaque: Opaque = field(init=False)
    best: float = pydantic.Field(init=False, default=0.5)


@dataclass
class Undefined:
    lr: float
    other: "Missing" = field(init=False)  # type: ignore[name-defined]  # noqa: F821 - on purpose


def test_step_sets_it() -> None:
    """A step sets the field of a context that was made of a dict, once, and the snapshot has it."""
    ctx = FrozenContext[Train]({"lr": 0.1})
    assert "accuracy" not in ctx
    with ctx.step("fit") as step:
        step.fields.accuracy = 0.9

    assert 0.9 == ctx.fields.accuracy == ctx.snapshot().accuracy
    assert ["accuracy"] == list(ctx.provenance.steps[0].writes)
    with pytest.raises(ContextMutationError):
        ctx.fields.accuracy = 0.8


def test_instance_brings_it() -> None:
    """An instance on which the field was set brings its value; one on which it was not leaves it to a step."""
    given = Train(0.1)
    unset = FrozenContext[Train](given)
    given.accuracy = 0.9
    ctx = FrozenContext[Train](given)
    unset.fields.accuracy = 0.8

    assert {"lr": 0.1, "accuracy": 0.9} == dict(ctx)
    assert 0.9 == ctx.snapshot().accuracy
    assert 0.8 == unset.snapshot().accuracy


def test_it_is_validated() -> None:
    """The value is validated by the field's type, like any other."""
    ctx = FrozenContext[Train]({"lr": 0.1})
    with pytest.raises(InvalidValueError, match="greater than 0"):
        ctx.fields.accuracy = -1


def test_snapshot_without_it() -> None:
    """A snapshot names the field that is not written, unless a `__post_init__` sets it."""
    with pytest.raises(IncompleteContextError, match="accuracy"):
        FrozenContext[Train]({"lr": 0.1}).snapshot()

    assert FrozenContext[Placeholder]({"lr": 0.1}).snapshot().accuracy is None


def test_defaults_are_no_inputs() -> None:
    """A default of such a field is for the snapshot, so that a step can set the field."""
    for initial in ({"lr": 0.1}, Defaults(0.1)):
        ctx = FrozenContext[Defaults](initial)
        assert ["lr"] == list(ctx)
        assert (None, []) == (ctx.snapshot().best, ctx.snapshot().seen)
        ctx.fields.best, ctx.fields.seen = 0.5, [1]
        assert (0.5, [1]) == (ctx.snapshot().best, ctx.snapshot().seen)
    given = Defaults(0.1)
    given.seen.append(3)
    assert {"lr": 0.1, "seen": [3]} == dict(FrozenContext[Defaults](given))


def test_placeholder_of_post_init() -> None:
    """What a `__post_init__` sets is a default, too: a step can write the field, and the snapshot keeps that value."""
    given = Placeholder(0.1)
    ctx = FrozenContext[Placeholder](given)
    ctx.fields.accuracy = 0.9

    assert 0.9 == ctx.snapshot().accuracy
    assert [1] == given.items
    given.accuracy = 0.7
    assert 0.7 == FrozenContext[Placeholder](given).snapshot().accuracy
    assert "odd" in ctx


def test_recursive_type() -> None:
    """The type of the field may refer to the dataclass itself."""
    ctx = FrozenContext[Tree]({"name": "root"})
    leaf = Tree("leaf")
    leaf.children = []
    ctx.fields.children = [leaf]

    assert "leaf" == ctx.snapshot().children[0].name
    with pytest.raises(InvalidValueError):
        FrozenContext[Tree]({"name": "root"})["children"] = [5]


def test_generic() -> None:
    """The type of the field may be a type variable, or contain one."""
    ctx = FrozenContext[Box[int]]({"size": 1})
    ctx.fields.item, ctx.fields.items = 5, [6]

    assert (5, [6]) == (ctx.snapshot().item, ctx.snapshot().items)
    for key in ("item", "items"):
        with pytest.raises(InvalidValueError):
            FrozenContext[Box[int]]({"size": 1})[key] = ["a"]
    FrozenContext[Box[Any]]({"size": 1})["item"] = "anything"


def test_markers_and_secrets() -> None:
    """The field may be Shared or secret, in a frozen dataclass too."""
    model = Opaque()
    ctx = FrozenContext[Marked]({"lr": 0.1})
    ctx["model"], ctx["token"] = model, "hunter2"

    assert model is ctx["model"] is ctx.snapshot().model
    assert "hunter2" not in repr(ctx)


def test_config() -> None:
    """The dataclass's own config decides which types are allowed."""
    ctx = FrozenContext[Configured]({"lr": 0.1})
    ctx.fields.opaque = Opaque()
    ctx.fields.best = 0.75

    assert 0.75 == ctx.snapshot().best
    with pytest.raises(InvalidValueError, match="Opaque"):
        FrozenContext[Configured]({"lr": 0.1})["opaque"] = 5


def test_undefined_type() -> None:
    """A type that is not defined is named when the context is made."""
    with pytest.raises(SchemaError, match="Undefined: it refers to 'Missing', which is not defined"):
        FrozenContext[Undefined]({"lr": 0.1})


def test_local_type() -> None:
    """A quoted type that is local to a function is found there."""

    class Local(pydantic.BaseModel):
        x: int

    @dataclass
    class Here:
        lr: float
        item: "dict[str, Local]" = field(init=False)

    ctx = FrozenContext[Here]({"lr": 0.1})
    ctx.fields.item = {"a": Local(x=1)}
    assert {"a": Local(x=1)} == ctx.snapshot().item
