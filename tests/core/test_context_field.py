"""Contexts as fields of Pydantic models."""

from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, Field, PydanticInvalidForJsonSchema, TypeAdapter, ValidationError
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticSerializationError
from typing_extensions import TypedDict

from crystallize import FrozenContext, LoggingContext

V = TypeVar("V")


class Train(BaseModel):
    lr: float


class LongTrain(Train):
    epochs: int = 3


class Other(BaseModel):
    lr: float


class Items(TypedDict):
    lr: float


class Job(BaseModel):
    name: str
    ctx: FrozenContext[Train]
    earlier: FrozenContext[Train] | None = None
    others: list[FrozenContext[Train]] = []


class Node(BaseModel):
    parent: "FrozenContext[Node] | None" = None


class TrainContext(FrozenContext[Train]):
    pass


class Typed(FrozenContext[dict[str, V]]):
    pass


class Box(BaseModel, Generic[V]):
    ctx: FrozenContext[V]


@pytest.fixture
def ctx() -> FrozenContext[Train]:
    return FrozenContext[Train]({"lr": 0.1})


def test_field_is_the_context_itself(ctx: FrozenContext[Train]) -> None:
    """A model may have a context as a field, and keeps the object that it is given."""
    job = Job(name="a", ctx=ctx, earlier=LoggingContext(ctx), others=[TrainContext({"lr": 1})])
    assert job.ctx is ctx
    assert LoggingContext is type(job.earlier)
    assert job.model_dump(exclude={"others", "earlier"})["ctx"] is ctx
    copied = job.model_copy(deep=True)
    assert (False, 0.1) == (copied.ctx is ctx, copied.ctx.fields.lr)


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (FrozenContext[Train], FrozenContext[LongTrain]({"lr": 1}), True),
        (FrozenContext[LongTrain], FrozenContext[Train]({"lr": 1}), False),
        (FrozenContext[Items], FrozenContext[Items]({"lr": 1}), True),
        (FrozenContext[Items], FrozenContext[dict[str, float]]({"lr": 1}), False),
        (FrozenContext[dict[str, float]], FrozenContext[dict[str, float]]({"lr": 1}), True),
        (FrozenContext[dict[str, int]], FrozenContext[dict[str, float]]({"lr": 1}), False),
        (FrozenContext, FrozenContext[Other]({"lr": 1}), True),
        (FrozenContext[Any], FrozenContext[Other]({"lr": 1}), True),
        (LoggingContext[Train], FrozenContext[Train]({"lr": 1}), False),
        (TrainContext, TrainContext({"lr": 1}), True),
        (TrainContext, FrozenContext[Train]({"lr": 1}), False),
        (Typed, Typed[float]({"lr": 1}), True),
        (Typed[float], Typed[float]({"lr": 1}), True),
        (Typed[int], Typed[float]({"lr": 1}), False),
        (Box[Train], {"ctx": FrozenContext[Train]({"lr": 1})}, True),
        (Box[Train], {"ctx": FrozenContext[Other]({"lr": 1})}, False),
        (Box, {"ctx": FrozenContext[Other]({"lr": 1})}, True),
        (Node, {"parent": FrozenContext[Node]({})}, True),
        (Node, {"parent": FrozenContext[Train]({"lr": 1})}, False),
    ],
)
def test_field_takes_contexts_of_its_schema(kind: Any, value: Any, fits: bool) -> None:
    """A field takes a context of its class and schema, or of a subclass of either, as type checkers do."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    if fits:
        adapter.validate_python(value)
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


def test_other_context_is_refused(ctx: FrozenContext[Train]) -> None:
    """The error names the schema that the field declares and that of the context, also in a union and in a list."""
    other: Any = FrozenContext[Other]({"lr": 1})
    with pytest.raises(ValidationError) as raised:
        Job(name="a", ctx=other, earlier=other, others=[ctx, other])
    message = "should be a FrozenContext[Train], got a FrozenContext[Other]"
    places: list[tuple[int | str, ...]] = [("ctx",), ("earlier",), ("others", 1)]
    assert [(place, message) for place in places] == [(error["loc"], error["msg"]) for error in raised.value.errors()]
    assert {"context_schema"} == {error["type"] for error in raised.value.errors()}


@pytest.mark.parametrize("value", [{"lr": 0.1}, Train(lr=0.1), None])
def test_other_value_is_refused(value: Any) -> None:
    """A context is not made from anything else, and the error says so."""
    with pytest.raises(
        ValidationError, match=r"should be a FrozenContext\[Train\], got .*; a context is not converted"
    ):
        Job(name="a", ctx=value)
    with pytest.raises(ValidationError, match="a context is not converted"):
        Job.model_validate_json('{"name": "a", "ctx": {"lr": 0.1}}')


def test_a_context_has_no_json(ctx: FrozenContext[Train]) -> None:
    """JSON of the field, and its JSON schema, are errors that say how to leave it out."""
    job = Job(name="a", ctx=ctx)
    for dump in (job.model_dump_json, lambda: job.model_dump(mode="json")):
        with pytest.raises(PydanticSerializationError, match="declare the field with exclude=True"):
            dump()
    assert '{"name":"a"}' == job.model_dump_json(include={"name"})
    with pytest.raises(PydanticInvalidForJsonSchema, match="a FrozenContext has no JSON schema; annotate"):
        Job.model_json_schema()

    class Quiet(BaseModel):
        name: str
        ctx: Annotated[SkipJsonSchema[FrozenContext[Train]], Field(exclude=True)]

    assert '{"name":"a"}' == Quiet(name="a", ctx=ctx).model_dump_json()
    assert {"name"} == {*Quiet.model_json_schema()["properties"]}


def test_a_context_as_a_key(ctx: FrozenContext[Train]) -> None:
    """A schema may have a context as a key. Readers get copies."""
    outer = FrozenContext[Job]({"name": "a", "ctx": ctx})
    assert (False, 0.1) == (outer.fields.ctx is ctx, outer.fields.ctx["lr"])
