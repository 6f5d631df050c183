"""Types within a function, which only the code there knows, in quoted annotations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from crystallize import FrozenContext, InvalidTagError, Journal, Metric, MetricSchema, SchemaError

C: Any = FrozenContext


def test_classes_within_a_function() -> None:
    """A shape within a function may refer to classes there, also to later ones."""

    class Inner(BaseModel):
        x: int

    class Dict(TypedDict):
        inner: Inner

    @dataclass
    class Data:
        inner: Inner

    class Model(BaseModel):
        inner: Later

    class Later(BaseModel):
        x: int

    for shape in (Dict, Data, Model, dict[str, Model]):
        given = {"inner": {"x": 1}} if shape != dict[str, Model] else {"a": {"inner": {"x": 1}}}
        with pytest.raises(Exception, match="should be a valid integer"):
            C[shape]({name: {"x": "one"} | {"inner": {"x": "one"}} for name in given})
        assert C[shape](given).snapshot() is not None


def test_tags_within_a_function() -> None:
    """The tags of a metric may refer to types in the function around the class of the schema."""
    Kind = Literal["fit", "judge"]

    class Tags(TypedDict):
        kind: Kind

    class Metrics(MetricSchema):
        loss = Metric(float, tags=Tags)

    ctx = C(metrics=Metrics)
    ctx.record(Metrics.loss, 0.5, {"kind": "fit"})
    with pytest.raises(InvalidTagError, match="'fit' or 'judge'"):
        ctx.record("loss", 0.5, {"kind": "guess"})


def test_a_journal_between(tmp_path: Path) -> None:
    """The names are found also if the context is made by a journal."""

    class Model(BaseModel):
        inner: Later

    class Later(BaseModel):
        x: int

    with Journal.start(tmp_path, "run") as journal:
        assert journal.context(FrozenContext[Model], {"inner": {"x": 1}})["inner"] == Later(x=1)


def made_elsewhere(shape: Any) -> None:
    C[shape]()


def test_not_where_the_context_is_made() -> None:
    """A name that is not known there is an error that says what to do."""

    class Model(BaseModel):
        inner: Hidden

    class Hidden(BaseModel):
        x: int

    with pytest.raises(SchemaError, match=r"refers to 'Hidden', which is not defined .* define Hidden there"):
        made_elsewhere(Model)
    assert Hidden(x=1).x == 1
    assert "inner" not in C[Model]()
