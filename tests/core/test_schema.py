"""What may be said of a context's keys: every kind of shape, and what its validators see and do."""

import copy
import dataclasses
import pickle
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import date
from enum import Enum
from io import StringIO
from typing import Annotated, Any, Generic, Literal, NotRequired, Protocol, Required, TypeVar, runtime_checkable
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    computed_field,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypeAliasType, TypedDict

from crystallize import (
    AbsentKeyError,
    ContextMutationError,
    CrystallizeError,
    ForeignMetricError,
    FrozenContext,
    IncompleteContextError,
    InvalidInitialError,
    InvalidMetricError,
    InvalidSnapshotError,
    InvalidTagError,
    InvalidValueError,
    Metric,
    MetricSchema,
    MissingTagError,
    Output,
    Problem,
    SchemaError,
    Shared,
    UnknownKeyError,
)

C: Any = FrozenContext
"""For shapes that no type checker can read."""

V = TypeVar("V")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Every error that a traceback would show."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# Shapes


class Model(BaseModel):
    lr: float
    epochs: int = 3


@dataclass
class Plain:
    lr: float
    epochs: int = 3


@dataclass(frozen=True)
class Frozen:
    lr: float
    epochs: int = 3


@dataclass(slots=True)
class Slotted:
    lr: float
    epochs: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Strictest:
    epochs: int = 3
    lr: float


@pydantic_dataclass
class Validated:
    lr: float
    epochs: int = 3


@pydantic_dataclass(frozen=True, slots=True)
class ValidatedFrozen:
    lr: float
    epochs: int = 3


class Optimizer(TypedDict):
    name: str
    steps: list[int]


class Items(TypedDict):
    lr: float
    optimizer: Optimizer
    note: NotRequired[str]


class Partial(TypedDict, total=False):
    lr: Required[float]
    note: str


ATTRIBUTES: list[Any] = [Model, Plain, Frozen, Slotted, Strictest, Validated, ValidatedFrozen]


@pytest.mark.parametrize("shape", ATTRIBUTES)
def test_model_or_dataclass(shape: Any) -> None:
    """Every kind of model and dataclass declares keys, validates them, sets defaults and makes snapshots."""
    ctx = C[shape]({"lr": "0.5"})

    assert {"lr": 0.5, "epochs": 3} == dict(ctx)
    assert shape(lr=0.5, epochs=3) == ctx.snapshot()
    assert shape is type(ctx.snapshot())


@pytest.mark.parametrize("shape", ATTRIBUTES)
def test_model_or_dataclass_refuses(shape: Any) -> None:
    """Every kind of model and dataclass refuses what its types do not allow and what it does not declare."""
    with pytest.raises(InvalidInitialError) as raised:
        C[shape]({"lr": "fast", "epohcs": 4})

    assert {("lr",), ("epohcs",)} == {problem.location for problem in raised.value.problems}


@pytest.mark.parametrize("shape", ATTRIBUTES)
def test_instance_as_initial(shape: Any) -> None:
    """An instance of the shape makes the same context as a mapping of its values."""
    assert {"lr": 0.5, "epochs": 7} == dict(C[shape](shape(lr=0.5, epochs=7)))


def test_typed_dict() -> None:
    """A TypedDict's keys are validated, nested ones too, and its snapshot is a plain dict."""
    ctx = FrozenContext[Items]({"lr": 1, "optimizer": {"name": "sgd", "steps": [1, 2]}})

    assert {"lr": 1.0, "optimizer": {"name": "sgd", "steps": [1, 2]}} == ctx.snapshot()


def test_nested_typed_dict_refuses() -> None:
    """What is wrong within a nested TypedDict is placed all the way down."""
    ctx = FrozenContext[Items]({"lr": 1})

    with pytest.raises(InvalidValueError) as raised:
        ctx["optimizer"] = {"name": "sgd", "steps": [1, "x"]}

    assert [("optimizer", "steps", 1)] == [problem.location for problem in raised.value.problems]
    assert {"lr": 1.0} == dict(ctx)


@pytest.mark.parametrize("shape", [Items, Partial])
def test_key_not_required(shape: Any) -> None:
    """What a TypedDict does not require is declared, and need not be written for a snapshot."""
    optimizer = {"optimizer": {"name": "sgd", "steps": []}} if shape is Items else {}
    ctx = C[shape]({"lr": 1, **optimizer})

    assert "note" not in ctx.snapshot()
    ctx["note"] = "warm"
    assert "warm" == ctx.snapshot()["note"]


def test_key_required() -> None:
    """What a TypedDict requires is missed by a snapshot."""
    with pytest.raises(IncompleteContextError) as raised:
        FrozenContext[Partial]({"note": "cold"}).snapshot()

    assert ("lr",) == raised.value.missing


class WrongDict(typing.TypedDict):
    lr: float


@dataclass
class HoldsWrongDict:
    inner: WrongDict


@pytest.mark.parametrize("shape", [WrongDict, dict[str, WrongDict], HoldsWrongDict])
def test_typed_dict_of_typing(shape: Any) -> None:
    """Where Pydantic needs the TypedDict of typing_extensions, the error names it; elsewhere either serves."""
    if sys.version_info < (3, 12):
        with pytest.raises(SchemaError, match="typing_extensions"):
            C[shape]()
    else:
        assert {} == dict(C[shape]())


@pytest.mark.parametrize("shape", [dict[str, int], Mapping[str, int], dict[Any, int], typing.Dict[str, int]])  # noqa: UP006
def test_dict(shape: Any) -> None:
    """Over dict[str, V] any key is declared, and every value is a V."""
    ctx = C[shape]({"a": "1"})

    with pytest.raises(InvalidValueError):
        ctx["b"] = "x"

    assert {"a": 1} == ctx.snapshot() == dict(ctx)


@pytest.mark.parametrize("shape", [dict, dict[str, Any], Mapping])
def test_dict_of_anything(shape: Any) -> None:
    """A dict that says nothing of its values holds any."""
    assert {"a": 1, "b": "x"} == dict(C[shape]({"a": 1, "b": "x"}))


def test_equal_dicts_are_kept_apart() -> None:
    """Types that compare equal and validate differently are not mixed up."""
    for _ in range(2):
        number = C[dict[str, float | bytes]]({"a": 1})
        data = C[dict[str, bytes | float]]({"a": "1"})

        assert dict[str, float | bytes] == dict[str, bytes | float]
        assert "FrozenContext[dict[str, float | bytes]](a=1.0)" == repr(number)
        assert "FrozenContext[dict[str, bytes | float]](a=b'1')" == repr(data)
        assert 1.0 == C[dict[str, float | bytes]]({"a": "1"})["a"]


class NeedsLr(Protocol):
    lr: float


class Root(RootModel[dict[str, int]]):
    pass


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (int, r"int: it declares no keys; .* write FrozenContext\[dict\[str, int\]\]"),
        (list, r"write FrozenContext\[dict\[str, list\]\]"),
        (list[int], r"write FrozenContext\[dict\[str, list\[int\]\]\]"),
        (int | str, r"write FrozenContext\[dict\[str, int \| str\]\]"),
        (typing.Union[int, str], "declares no keys"),  # noqa: UP007
        (Literal["a"], r"Literal\['a'\]: it declares no keys"),
        (Any, "Any: it declares no keys"),
        ({"lr": float}, r"(?m)it declares no keys; .* or dict\[str, V\]$"),
        (None, "None.* declares no keys"),
        (5, "declares no keys"),
        (Root, "Root: it declares no keys"),
        (V, "V: a type variable says nothing yet"),
        (NeedsLr, r"a protocol declares the needs of a step, as in Context\[NeedsLr\]; make the context over a model"),
        (dict[int, int], r"a context's keys are any str; write dict\[str, \.\.\.\]"),
    ],
)
def test_unusable_shape(shape: Any, text: str) -> None:
    """A type without keys is an error that says what to write instead."""
    with pytest.raises(SchemaError, match=text) as raised:
        C[shape]({"a": 1})

    assert str(raised.value) == str(pickle.loads(pickle.dumps(raised.value)))


class Opaque:
    pass


@dataclass
class HoldsOpaque:
    thing: Opaque


@pytest.mark.parametrize("shape", [HoldsOpaque, dict[str, Opaque]])
def test_type_that_pydantic_does_not_know(shape: Any) -> None:
    """A type that Pydantic cannot work with is named, with what to do about it."""
    with pytest.raises(SchemaError, match=r"Unable to generate pydantic-core schema for .*Opaque"):
        C[shape]()


class Closable(Protocol):
    def close(self) -> None: ...


@runtime_checkable
class Checkable(Closable, Protocol):
    pass


ANY_CLASS = ConfigDict(arbitrary_types_allowed=True)


class HoldsProtocol(TypedDict):
    __pydantic_config__ = ANY_CLASS  # type: ignore[misc]  # Pydantic reads it
    lr: float
    handles: dict[str, list[Closable]]


@dataclass
class ProtocolData:
    __pydantic_config__ = ANY_CLASS
    handles: Closable | None


class SharesProtocol(TypedDict):
    handles: Annotated[Closable, Shared]


class LateProtocol(BaseModel, arbitrary_types_allowed=True, defer_build=True):
    handles: tuple[Closable, ...]


CLOSABLE = (
    "isinstance cannot check a value against Closable; if Closable is a Protocol, decorate it with "
    "@typing.runtime_checkable, or declare another class, or Any"
)


@pytest.mark.parametrize("shape", [HoldsProtocol, ProtocolData, SharesProtocol, LateProtocol])
def test_a_protocol_that_isinstance_does_not_take(shape: Any) -> None:
    """A Protocol that is not runtime-checkable is named with its key when the context is made, with what to do."""
    with pytest.raises(SchemaError) as caught:
        C[shape]()

    assert f"{shape.__name__}: 'handles': {CLOSABLE}" == str(caught.value).partition("\n")[0]


@pytest.mark.parametrize("shape", [dict[str, Annotated[Closable, Shared]], dict[str, HoldsProtocol]])
def test_a_protocol_of_any_key(shape: Any) -> None:
    """In the type of undeclared keys such a Protocol is named too."""
    with pytest.raises(SchemaError, match=re.escape(f": {CLOSABLE}")):
        C[shape]()


def test_a_protocol_of_a_metric() -> None:
    """In the type of a metric or its tags such a Protocol is named too."""

    class Measured(MetricSchema):
        closed = Metric(float, tags=HoldsProtocol)

    with pytest.raises(SchemaError, match=re.escape(CLOSABLE)):
        FrozenContext(metrics=Measured)


def test_a_protocol_that_isinstance_takes() -> None:
    """A runtime-checkable Protocol is checked."""

    class Holds(TypedDict):
        handle: Annotated[Checkable, Shared]

    Holds.__pydantic_config__ = ANY_CLASS  # type: ignore[attr-defined]  # Pydantic reads it
    with StringIO() as file:
        assert file is C[Holds]({"handle": file})["handle"]
    with pytest.raises(InvalidInitialError, match="should be an instance of Checkable"):
        C[Holds]({"handle": 5})


class Unbuildable(TypedDict):
    text: Annotated[str, Field(pattern="(")]


def test_a_type_that_pydantic_cannot_build() -> None:
    """Another fault of a type, which Pydantic finds when it builds the validators, is an error with its reason."""
    with pytest.raises(SchemaError, match=r"Unbuildable: 'text': regex parse error: .* unclosed group"):
        FrozenContext[Unbuildable]()
    with pytest.raises(SchemaError, match=r"]: regex parse error: .* unclosed group"):
        C[dict[str, Annotated[str, Field(pattern="(")]]]()


class Odd(BaseModel):
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return {"type": "any"}


def test_shape_with_its_own_validation() -> None:
    """A model that is validated in a way of its own has no keys, and the error says so."""
    with pytest.raises(SchemaError, match="Odd: it has its own way to be validated"):
        FrozenContext[Odd]()


class Dangling(BaseModel):
    node: "NowhereDefined"  # type: ignore[name-defined]  # noqa: F821 - what the test is about


@dataclass
class DanglingData:
    node: "NowhereDefined"  # type: ignore[name-defined]  # noqa: F821 - what the test is about


@pytest.mark.parametrize("shape", [Dangling, DanglingData])
def test_undefined_forward_reference(shape: Any) -> None:
    """A forward reference to what is not defined is named."""
    with pytest.raises(SchemaError, match="it refers to 'NowhereDefined', which is not defined"):
        C[shape]()


class Early(BaseModel):
    later: "Later"


class Later(BaseModel):
    value: int


def test_forward_reference_defined_later() -> None:
    """A forward reference to what was defined after the model is followed."""
    assert Later(value=1) == FrozenContext[Early]({"later": {"value": "1"}})["later"]


class Deferred(BaseModel, defer_build=True):
    lr: PositiveFloat
    child: "Deferred | None" = None


@pydantic_dataclass(config=ConfigDict(defer_build=True))
class DeferredData:
    lr: PositiveFloat
    child: "DeferredData | None" = None


@pytest.mark.parametrize("shape", [Deferred, DeferredData])
def test_deferred_build(shape: Any) -> None:
    """A shape whose building was put off is built when it is needed."""
    with pytest.raises(InvalidInitialError):
        C[shape]({"lr": -1})

    assert shape(lr=1.0, child=shape(lr=2.0)) == C[shape]({"lr": 1, "child": {"lr": 2}}).snapshot()


# Dataclasses, further


@dataclass
class WithInitVar:
    lr: float
    seed: InitVar[int] = 0


def test_init_var() -> None:
    """An InitVar is refused, since nothing would hold it."""
    with pytest.raises(SchemaError, match="WithInitVar: an InitVar is no key"):
        FrozenContext[WithInitVar]()


@dataclass
class WithPostInit:
    lr: float
    tags: list[str] = field(default_factory=list)
    doubled: float = field(init=False)

    def __post_init__(self) -> None:
        self.doubled = 2 * self.lr


def test_post_init() -> None:
    """What a dataclass computes after it is made is no key; the snapshot computes it."""
    ctx = FrozenContext[WithPostInit]({"lr": 0.5})

    assert ["lr", "tags"] == list(ctx)
    assert 1.0 == ctx.snapshot().doubled
    assert WithPostInit(0.5) == ctx.snapshot()


def test_instance_with_post_init() -> None:
    """An instance whose class computes an attribute after it is made can be the initial values."""
    assert {"lr": 0.5, "tags": []} == dict(FrozenContext[WithPostInit](WithPostInit(0.5)))


@pydantic_dataclass(config=ConfigDict(extra="allow", str_max_length=3))
class OpenData:
    name: str


def test_dataclass_config() -> None:
    """A dataclass's config decides over undeclared keys and lengths."""
    ctx = FrozenContext[OpenData]({"name": "abc", "more": 1})

    assert 1 == ctx["more"]
    assert ("abc", 1) == ((made := ctx.snapshot()).name, vars(made)["more"])
    with pytest.raises(InvalidInitialError):
        FrozenContext[OpenData]({"name": "abcd"})


# Subclasses of the shape


class MoreModel(Model):
    extra: int = 0


@dataclass
class MorePlain(Plain):
    extra: int = 0


@pydantic_dataclass
class MoreValidated(Validated):
    extra: int = 0


class SameModel(Model):
    pass


@pytest.mark.parametrize(("shape", "sub"), [(Model, MoreModel), (Plain, MorePlain), (Validated, MoreValidated)])
def test_instance_with_more_fields(shape: Any, sub: Any) -> None:
    """An instance of a subclass that has more fields than the shape is an error that names them."""
    with pytest.raises(InvalidInitialError, match="extra"):
        C[shape](sub(lr=1.0))


def test_instance_of_subclass() -> None:
    """An instance of a subclass with the same fields is an instance of the shape."""
    assert {"lr": 1.0, "epochs": 3} == dict(FrozenContext[Model](SameModel(lr=1.0)))


# Field validators


def doubled(value: Any) -> Any:
    return value * 2


def doubled_with_info(value: Any, info: ValidationInfo) -> Any:
    return value * 2 if info.field_name == "value" else value


def wrapped(value: Any, handler: Any) -> Any:
    return handler(value) * 2


def wrapped_with_info(value: Any, handler: Any, info: ValidationInfo) -> Any:
    return handler(value) * 2


@pytest.mark.parametrize(
    "validator",
    [
        BeforeValidator(doubled),
        BeforeValidator(doubled_with_info),
        AfterValidator(doubled),
        AfterValidator(doubled_with_info),
        WrapValidator(wrapped),
        WrapValidator(wrapped_with_info),
        PlainValidator(doubled),
        PlainValidator(doubled_with_info),
    ],
)
@pytest.mark.parametrize("write", ["initial", "later"])
def test_validators_run_once(validator: Any, write: str) -> None:
    """A field's validator of every kind runs once, on the write, and not again in reads, copies or snapshots."""

    class Holder(BaseModel):
        value: Annotated[int, validator]

    ctx = FrozenContext[Holder]({"value": 1} if write == "initial" else {})
    if write == "later":
        ctx["value"] = 1

    assert 2 == ctx["value"]
    assert 2 == ctx.snapshot().value
    assert 2 == copy.deepcopy(ctx)["value"]
    assert 2 == FrozenContext[Holder](ctx.snapshot())["value"]


class Decorated(BaseModel):
    low: int
    high: int

    @field_validator("low", "high", mode="before")
    @classmethod
    def strip(cls, value: Any) -> Any:
        return value.strip("<>") if isinstance(value, str) else value

    @field_validator("high")
    @classmethod
    def above(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data["low"]:
            raise ValueError(f"should be above {info.data['low']}")
        return value


def test_decorated_validators() -> None:
    """A model's decorated validators run, and `info.data` is what the context holds."""
    ctx = FrozenContext[Decorated]({"low": "<1>"})
    ctx["high"] = "<2>"

    assert {"low": 1, "high": 2} == dict(ctx)


def test_validator_sees_initial_values() -> None:
    """Initial values are validated in the schema's order, whatever order they are given in."""
    assert {"low": 1, "high": 2} == dict(FrozenContext[Decorated]({"high": 2, "low": 1}))


def test_validator_with_data_refuses() -> None:
    """A validator that looks at the other keys refuses by its own words, and is the error's cause."""
    ctx = FrozenContext[Decorated]({"low": 5})

    with pytest.raises(InvalidValueError, match="cannot write 'high': should be above 5, got 4") as raised:
        ctx["high"] = 4

    assert "should be above 5" == str(raised.value.__cause__)
    assert {"low": 5} == dict(ctx)


def test_validator_needs_absent_key() -> None:
    """A validator that needs a key not written yet gives an error that names both keys."""
    ctx = FrozenContext[Decorated]()

    with pytest.raises(AbsentKeyError, match="'high' needs 'low', which is not written yet") as raised:
        ctx["high"] = 4

    assert ("low", "high") == (raised.value.key, raised.value.needed_by)
    assert 0 == len(ctx)


def test_initial_validator_needs_absent_key() -> None:
    """Among initial values too, the key that a validator needs is named."""
    with pytest.raises(InvalidInitialError, match="'high' needs 'low'"):
        FrozenContext[Decorated]({"high": 4})


def test_initial_validator_needs_refused_key() -> None:
    """A key that was itself refused is not complained of again by those that need it."""
    with pytest.raises(InvalidInitialError) as raised:
        FrozenContext[Decorated]({"low": "x", "high": 4})

    assert [("low",)] == [problem.location for problem in raised.value.problems]


def above_low(value: int, info: ValidationInfo) -> int:
    if value <= info.data["low"]:
        raise ValueError("too low")
    return value


def test_undeclared_keys_see_each_other() -> None:
    """The one validator of a dict's values sees what is held, and its errors name the key written."""
    ctx = C[dict[str, Annotated[int, AfterValidator(lambda v, info: v + info.data.get("low", 0))]]]({"low": 1})
    ctx["high"] = 2

    assert {"low": 1, "high": 3} == dict(ctx)
    with pytest.raises(AbsentKeyError) as raised:
        C[dict[str, Annotated[int, AfterValidator(above_low)]]]()["high"] = 2
    assert ("low", "high") == (raised.value.key, raised.value.needed_by)


COLOURS = {"red": 1}


class Coloured(BaseModel):
    colour: Annotated[int, BeforeValidator(lambda name: COLOURS[name])]


def test_validator_fails_to_look_up() -> None:
    """A validator's own failed lookup leaves as it is: it is no key of the context that is missing."""
    ctx = FrozenContext[Coloured]()

    with pytest.raises(KeyError) as raised:
        ctx["colour"] = "blue"

    assert not isinstance(raised.value, CrystallizeError)
    assert "colour" not in ctx


@pytest.mark.parametrize("error", [KeyError(), KeyError(3), KeyError("low"), RuntimeError("boom")])
def test_validator_raises_what_is_its_own(error: Exception) -> None:
    """An exception of a validator that says nothing of a missing key leaves as it is, with nothing written."""

    def fail(value: Any, info: ValidationInfo) -> Any:
        raise error

    class Holder(BaseModel):
        low: int = 1
        value: Annotated[int, BeforeValidator(fail)]

    ctx = FrozenContext[Holder]()
    with pytest.raises(type(error)) as raised:
        ctx["value"] = 1

    assert error is raised.value
    assert {"low": 1} == dict(ctx)


def test_validator_cannot_change_others() -> None:
    """What `info.data` holds is a copy: a validator that changes it changes nothing."""

    def meddle(value: int, info: ValidationInfo) -> int:
        info.data["layers"].append(9)
        return value

    class Holder(BaseModel):
        layers: list[int]
        value: Annotated[int, AfterValidator(meddle)]

    ctx = FrozenContext[Holder]({"layers": [1], "value": 1})

    assert [1] == ctx["layers"]


def test_errors_hide_pydantics_own() -> None:
    """No error has Pydantic's ValidationError behind it, which would print the input."""
    ctx = FrozenContext[Decorated]({"low": 5})
    attempts: list[Callable[[], object]] = [
        lambda: ctx.add("high", "x"),
        lambda: ctx.add("high", 4),
        lambda: FrozenContext[Decorated]().add("high", 4),
        lambda: FrozenContext[Decorated]({"low": "x", "high": []}),
        lambda: FrozenContext[Refusing]({"lr": 1}).snapshot(),
        lambda: FrozenContext(metrics=Measured).record("loss", "x", {"epoch": 1}),
        lambda: FrozenContext(metrics=Measured).record("loss", 1.0, {"epoch": "x"}),
        lambda: FrozenContext(metrics=Measured).metrics.series("loss").where(epoch="x"),
    ]
    for attempt in attempts:
        with pytest.raises(CrystallizeError) as raised:
            attempt()
        assert [] == [error for error in chain(raised.value) if isinstance(error, ValidationError)]


class Scores(BaseModel):
    scores: dict[str, int]


def test_location_below_a_key_of_the_same_name() -> None:
    """The place of a problem is whole, also where a name on the way down is the key's own."""
    ctx = FrozenContext[Scores]()

    with pytest.raises(InvalidValueError) as raised:
        ctx["scores"] = {"scores": "x"}

    assert [("scores", "scores")] == [problem.location for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "cannot write 'lr': should be a valid number, unable to parse string as a number, got 'x' (str)"),
        (-1, "cannot write 'lr': should be greater than 0, got -1 (int)"),
        (None, "cannot write 'lr': should be a valid number, got None (NoneType)"),
    ],
)
def test_text_of_invalid_value(value: Any, text: str) -> None:
    """An invalid value is refused with the key, what was allowed, and what was given."""
    with pytest.raises(InvalidValueError) as raised:
        FrozenContext[Several]()["lr"] = value

    assert text == str(raised.value)
    assert ("lr", type(value).__name__) == (raised.value.key, raised.value.problems[0].type)


# Defaults


class Defaults(BaseModel):
    size: int = 2
    layers: list[int] = [1]
    made: list[int] = Field(default_factory=lambda: [0])
    total: int = Field(default_factory=lambda data: data["size"] + len(data["layers"]))


def test_defaults() -> None:
    """Fields with defaults are inputs, set when the context is made; a factory sees what is held."""
    assert {"size": 2, "layers": [1], "made": [0], "total": 3} == dict(FrozenContext[Defaults]())
    assert 6 == FrozenContext[Defaults]({"size": 5})["total"]


def test_mutable_default() -> None:
    """A default that can be changed is each context's own."""
    first = FrozenContext[Defaults]()
    first["layers"].append(9)
    first.snapshot().layers.append(9)

    assert [1] == first["layers"] == FrozenContext[Defaults]()["layers"] == Defaults().layers


class Needy(BaseModel):
    size: int
    total: int = Field(default_factory=lambda data: data["size"] + 1)


def test_default_factory_needs_absent_key() -> None:
    """A factory that needs a key that is not given gives an error that names it."""
    with pytest.raises(InvalidInitialError, match="'total' needs 'size', which is not written yet"):
        FrozenContext[Needy]()


@pytest.mark.parametrize("error", [KeyError(), KeyError("size"), ZeroDivisionError()])
def test_default_factory_raises_what_is_its_own(error: Exception) -> None:
    """An exception of a factory that says nothing of a missing key leaves as it is."""

    def fail(data: dict[str, Any]) -> int:
        raise error

    class Holder(BaseModel):
        size: int = 1
        total: int = Field(default_factory=fail)

    with pytest.raises(type(error)) as raised:
        FrozenContext[Holder]()

    assert error is raised.value


class ChecksDefault(BaseModel):
    size: PositiveInt = Field(default=-1, validate_default=True)


class ChecksDefaults(BaseModel, validate_default=True):
    size: PositiveInt = -1


@pydantic_dataclass(config=ConfigDict(validate_default=True))
class ChecksDefaultData:
    size: PositiveInt = -1


@pytest.mark.parametrize("shape", [ChecksDefault, ChecksDefaults, ChecksDefaultData])
def test_validate_default(shape: Any) -> None:
    """A default that is to be validated is, by the field's word or by the config's."""
    with pytest.raises(InvalidInitialError, match="'size' should be greater than 0"):
        C[shape]()
    assert 1 == C[shape]({"size": 1})["size"]


class TextDefault(BaseModel):
    size: int = "7"  # type: ignore[assignment]  # as it comes from an environment


def test_default_is_not_validated() -> None:
    """A default is taken as it is where nothing says that it is to be validated."""
    assert "7" == FrozenContext[TextDefault]()["size"]


# Config


class StrictModel(BaseModel, strict=True, str_max_length=3, str_strip_whitespace=True):
    name: str = ""
    count: int = 0
    loose: int = Field(default=0, strict=False)


@pytest.mark.parametrize(("key", "value"), [("count", "1"), ("count", True), ("name", "abcd"), ("name", 1)])
def test_config_is_kept(key: str, value: Any) -> None:
    """A model's strictness and lengths hold for each key by itself."""
    with pytest.raises(InvalidInitialError):
        FrozenContext[StrictModel]({key: value})


def test_config_converts() -> None:
    """A model's config converts too, and a field may say otherwise."""
    ctx = FrozenContext[StrictModel]({"name": " ab ", "loose": "3"})

    assert ("ab", 3) == (ctx["name"], ctx["loose"])


class Allowing(BaseModel, extra="allow"):
    lr: float = 0.1


class AllowingInts(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, int]
    lr: float = 0.1


@pytest.mark.parametrize("shape", [Allowing, AllowingInts])
def test_extra_allowed(shape: Any) -> None:
    """Undeclared keys are taken where the schema allows them, and are in the snapshot."""
    ctx = C[shape]({"seen": 3})
    ctx["more"] = 4

    assert {"lr": 0.1, "seen": 3, "more": 4} == dict(ctx)
    assert {"seen": 3, "more": 4} == ctx.snapshot().model_extra
    assert shape(lr=0.1, seen=3, more=4) == ctx.snapshot()
    assert {"lr": 0.1, "seen": 3, "more": 4} == dict(C[shape](ctx.snapshot()))


def test_extra_typed() -> None:
    """Undeclared keys are held to the type that the schema gives them."""
    with pytest.raises(InvalidValueError, match="'seen'"):
        FrozenContext[AllowingInts]()["seen"] = "many"


class Ignoring(BaseModel, extra="ignore"):
    lr: float = 0.1


class Forbidding(BaseModel, extra="forbid"):
    lr: float = 0.1


@pytest.mark.parametrize("shape", [Ignoring, Forbidding])
def test_extra_not_allowed(shape: Any) -> None:
    """Undeclared keys are errors, also where the model would ignore them."""
    ctx = C[shape]()
    with pytest.raises(UnknownKeyError, match="did you mean 'lr'"):
        ctx["lrr"] = 1
    with pytest.raises(InvalidInitialError, match="'lrr' is not declared"):
        C[shape]({"lrr": 1})


class OpenItems(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    lr: float


def test_typed_dict_extra() -> None:
    """A TypedDict whose config allows it takes undeclared keys."""
    assert {"lr": 1.0, "more": "x"} == FrozenContext[OpenItems]({"lr": 1, "more": "x"}).snapshot()


class Aliased(BaseModel):
    plain: int = Field(default=0, alias="Plain")
    validated: int = Field(default=0, validation_alias="Validated")
    path: int = Field(default=0, validation_alias=AliasPath("nested", "list", 1))
    choices: int = Field(default=0, validation_alias=AliasChoices("one", AliasPath("two", 0)))


class AliasedByName(Aliased, populate_by_name=True):
    pass


@pytest.mark.parametrize("shape", [Aliased, AliasedByName])
@pytest.mark.parametrize(
    ("initial", "key"),
    [
        ({"Plain": 5}, "plain"),
        ({"plain": 5}, "plain"),
        ({"Validated": 5}, "validated"),
        ({"nested": {"list": [0, 5]}}, "path"),
        ({"one": 5}, "choices"),
        ({"two": [5]}, "choices"),
        ({"choices": 5}, "choices"),
    ],
)
def test_aliases_in_initial(shape: Any, initial: dict[str, Any], key: str) -> None:
    """Initial values come by alias or by field name, and are held by field name."""
    ctx = C[shape](initial)

    assert 5 == ctx[key]
    assert {"plain", "validated", "path", "choices"} == set(ctx)


@pytest.mark.parametrize("alias", ["Plain", "Validated", "nested", "one"])
def test_aliases_elsewhere(alias: str) -> None:
    """After the start a key is its field's name, and an alias is not declared."""
    ctx = FrozenContext[Aliased]()
    for attempt in (lambda: ctx[alias], lambda: ctx.add(alias, 1)):
        with pytest.raises(UnknownKeyError):
            attempt()


def test_alias_and_name_at_once() -> None:
    """A key given by its alias and by its name is an error that shows both."""
    with pytest.raises(InvalidInitialError, match="'plain' is given twice, as 'Plain' and as 'plain'"):
        FrozenContext[Aliased]({"Plain": 1, "plain": 2})


@pytest.mark.parametrize("initial", [{"nested": {"list": [0]}}, {"nested": 3}, {"nested": {"lst": [0, 1]}}])
def test_alias_that_leads_nowhere(initial: dict[str, Any]) -> None:
    """Where an alias leads nowhere, what it began with is not declared."""
    with pytest.raises(InvalidInitialError, match="'nested' is not declared"):
        FrozenContext[Aliased](initial)


# Generic, recursive, discriminated


class Box(BaseModel, Generic[V]):
    item: V
    others: list[V] = []


@dataclass
class BoxData(Generic[V]):
    item: V
    others: list[V] = field(default_factory=list)


class BoxDict(TypedDict, Generic[V]):
    item: V


@pytest.mark.parametrize("shape", [Box, BoxData, BoxDict])
def test_generic(shape: Any) -> None:
    """A generic shape is held to its parameters."""
    ctx = C[shape[int]]({"item": "1"})

    assert 1 == ctx["item"]
    assert "x" == C[shape[str]]({"item": "x"})["item"]
    with pytest.raises(InvalidInitialError, match="'item' should be a valid integer"):
        C[shape[int]]({"item": "x"})


@pytest.mark.parametrize("shape", [Box, BoxData])
def test_generic_instance(shape: Any) -> None:
    """A generic shape is made by a snapshot, and is taken as initial values."""
    made = C[shape[int]](shape[int](item=1)).snapshot()

    assert shape[int](item=1) == made


class Tree(BaseModel):
    value: PositiveInt
    children: list["Tree"] = []
    parent: "Tree | None" = None


def test_recursive() -> None:
    """A recursive model is validated all the way down."""
    ctx = FrozenContext[Tree]({"value": 1, "children": [{"value": 2, "children": [{"value": 3}]}]})

    assert 3 == ctx.fields.children[0].children[0].value
    assert Tree(value=1, children=[Tree(value=2, children=[Tree(value=3)])]) == ctx.snapshot()
    with pytest.raises(InvalidValueError) as raised:
        FrozenContext[dict[str, Tree]]()["t"] = {"value": 1, "children": [{"value": -2}]}
    assert [("t", "children", 0, "value")] == [problem.location for problem in raised.value.problems]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: int


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    second: Cat | Dog | None = Field(default=None, discriminator="kind")


def test_discriminated() -> None:
    """A discriminated union goes by its discriminator, and a problem names the branch."""
    ctx = FrozenContext[Owner]({"pet": {"kind": "dog", "tricks": "2"}})

    assert Dog(kind="dog", tricks=2) == ctx["pet"]
    with pytest.raises(InvalidInitialError) as raised:
        FrozenContext[Owner]({"pet": {"kind": "dog", "tricks": "x"}})
    assert [("pet", "dog", "tricks")] == [problem.location for problem in raised.value.problems]


# Snapshot


class Span(BaseModel):
    low: int
    high: int
    _runs: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def never(cls, data: Any) -> Any:
        raise AssertionError("a context is not one document")

    @model_validator(mode="after")
    def ordered(self) -> "Span":
        self._runs.append("after")
        if self.low > self.high:
            raise ValueError("low should be below high")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def around(cls, data: Any, handler: Any) -> Any:
        made = handler(data)
        made._runs.append("wrap")
        return made


def test_model_validators() -> None:
    """Model-level validators run once, in a snapshot; those that come before never do."""
    ctx = FrozenContext[Span]({"low": 3})
    ctx["high"] = 5

    assert ["after", "wrap"] == ctx.snapshot()._runs
    assert (3, 5) == (ctx.snapshot().low, ctx.snapshot().high)


def test_model_validator_refuses() -> None:
    """A snapshot that a model-level validator refuses is an error in the validator's words, caused by its own."""
    ctx = FrozenContext[Span]({"low": 3, "high": 1})

    with pytest.raises(InvalidSnapshotError) as raised:
        ctx.snapshot()

    assert "no valid Span yet: low should be below high" == str(raised.value)
    assert isinstance(raised.value.__cause__, ValueError)
    assert "Span" == raised.value.schema
    assert {"low": 3, "high": 1} == dict(ctx)


@pydantic_dataclass
class SpanData:
    low: int
    high: int

    @model_validator(mode="after")
    def ordered(self) -> "SpanData":
        if self.low > self.high:
            raise ValueError("low should be below high")
        return self


def test_dataclass_model_validator() -> None:
    """A dataclass's model-level validators run in a snapshot too."""
    assert SpanData(low=1, high=2) == FrozenContext[SpanData]({"low": 1, "high": 2}).snapshot()
    with pytest.raises(InvalidSnapshotError, match="low should be below high"):
        FrozenContext[SpanData]({"low": 2, "high": 1}).snapshot()


class Refusing(BaseModel):
    lr: float

    @model_validator(mode="after")
    def refuse(self) -> "Refusing":
        raise ValueError("never")


class Guarded(BaseModel):
    password: SecretStr

    @model_validator(mode="after")
    def refuse(self) -> "Guarded":
        raise ValueError(f"{self.password.get_secret_value()} is too short")


def test_snapshot_error_keeps_secrets() -> None:
    """What a model-level validator says of a secret is shown nowhere."""
    with pytest.raises(InvalidSnapshotError) as raised:
        FrozenContext[Guarded]({"password": "hunter2"}).snapshot()

    assert "Guarded" in str(raised.value)
    assert [] == [error for error in chain(raised.value) if "hunter2" in f"{error} {error!r}"]


def test_incomplete() -> None:
    """A snapshot with keys missing names them all."""
    with pytest.raises(IncompleteContextError, match="no complete Span yet; not written: low, high") as raised:
        FrozenContext[Span]().snapshot()

    assert ("low", "high") == raised.value.missing
    assert isinstance(raised.value, LookupError)


class Rich(BaseModel):
    lr: float
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)
    _name: str = PrivateAttr(default="none")

    def model_post_init(self, context: Any) -> None:
        self._name = f"at {self.lr}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def percent(self) -> float:
        return self.lr * 100


def test_private_and_computed() -> None:
    """A snapshot has its private attributes, its post-init done, and its computed fields, as if made plainly."""
    made = FrozenContext[Rich]({"lr": 0.5}).snapshot()

    assert ({}, "at 0.5", 50.0) == (made._cache, made._name, made.percent)
    assert Rich(lr=0.5) == made
    assert {"lr": 0.5, "percent": 50.0} == made.model_dump()


class OwnInit(BaseModel):
    lr: float

    def __init__(self, rate: float) -> None:
        super().__init__(lr=rate)


def test_own_init() -> None:
    """A model with an `__init__` of its own declares its fields, and takes part as an instance too."""
    assert 0.5 == FrozenContext[OwnInit]({"lr": "0.5"}).snapshot().lr
    assert 0.5 == FrozenContext[OwnInit](OwnInit(0.5))["lr"]


class FrozenShape(BaseModel, frozen=True):
    lr: float
    tags: tuple[str, ...] = ()


def test_frozen_shape() -> None:
    """A frozen model serves like any other; its snapshot is frozen and hashes."""
    made = FrozenContext[FrozenShape]({"lr": 0.5}).snapshot()

    assert FrozenShape(lr=0.5) == made
    assert hash(FrozenShape(lr=0.5)) == hash(made)


class Anything(BaseModel, arbitrary_types_allowed=True):
    number: int
    text: str
    listed: list[list[int]]
    mapped: dict[str, list[float]]
    child: Model | None
    pair: tuple[int, set[str]]


anythings: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "number": st.integers(),
        "text": st.text(),
        "listed": st.lists(st.lists(st.integers(), max_size=3), max_size=3),
        "mapped": st.dictionaries(st.text(), st.lists(st.floats(allow_nan=False), max_size=3), max_size=3),
        "child": st.none() | st.builds(Model, lr=st.floats(allow_nan=False), epochs=st.integers()),
        "pair": st.tuples(st.integers(), st.frozensets(st.text(), max_size=3).map(set)),
    }
)


@given(anythings)
def test_snapshot_round_trip(values: dict[str, Any]) -> None:
    """A snapshot is what the shape makes of the same values, and a context made of it holds the same."""
    ctx = FrozenContext[Anything](values)

    assert Anything(**values) == ctx.snapshot()
    assert dict(ctx) == dict(FrozenContext[Anything](ctx.snapshot()))


@given(anythings)
def test_snapshot_is_the_callers_own(values: dict[str, Any]) -> None:
    """A snapshot can be changed at any depth without effect on the context."""
    ctx = FrozenContext[Anything](values)
    before = copy.deepcopy(dict(ctx))
    made = ctx.snapshot()
    made.listed.append([1])
    made.mapped["x"] = [1.0]
    made.pair[1].add("more")
    for inner in made.listed:
        inner.append(7)

    assert before == dict(ctx)


# Output and Shared


class Outputs(BaseModel):
    lr: float
    best: Annotated[int | None, Output] = None
    curve: Annotated[list[int], Output] = [1]
    made: Annotated[list[int], Output] = Field(default_factory=lambda data: [data["lr"]])
    later: Annotated[int, Output]


def test_output_is_unwritten() -> None:
    """What a step writes is not set by its default when the context is made."""
    ctx = FrozenContext[Outputs]({"lr": 1})
    ctx["best"] = 3

    assert {"lr": 1.0, "best": 3} == dict(ctx)


def test_output_default_serves_snapshot() -> None:
    """An output's default stands in a snapshot, its factory seeing the rest, and stays unwritten."""
    ctx = FrozenContext[Outputs]({"lr": 1, "later": 2})

    assert Outputs(lr=1, later=2) == ctx.snapshot()
    assert ["lr", "later"] == list(ctx)


def test_output_default_is_each_snapshots_own() -> None:
    """A default that can be changed is made anew for each snapshot."""
    ctx = FrozenContext[Outputs]({"lr": 1, "later": 2})
    ctx.snapshot().curve.append(9)

    assert [1] == ctx.snapshot().curve
    assert [1] == Outputs(lr=1, later=2).curve


def test_output_without_default() -> None:
    """An output without a default is missed by a snapshot."""
    with pytest.raises(IncompleteContextError, match="later"):
        FrozenContext[Outputs]({"lr": 1}).snapshot()


def test_output_unset_in_instance() -> None:
    """An instance that did not set an output leaves it unwritten; one that did, writes it."""
    assert ["lr", "later"] == list(FrozenContext[Outputs](Outputs(lr=1, later=2)))
    assert ["lr", "best", "later"] == list(FrozenContext[Outputs](Outputs(lr=1, later=2, best=None)))


def test_output_unset_in_snapshot() -> None:
    """A context made of a snapshot leaves unwritten what was unwritten in the context of that snapshot."""
    ctx = FrozenContext[Outputs]({"lr": 1, "later": 2})

    assert ["lr", "later"] == list(FrozenContext[Outputs](ctx.snapshot()))


class OutputNeeds(BaseModel):
    lr: float = 0.1
    made: Annotated[int, Output] = Field(default_factory=lambda data: data["later"])
    later: Annotated[int, Output] = 1


def test_output_factory_needs_absent_key() -> None:
    """A snapshot whose output's factory needs what is not there names it."""
    with pytest.raises(AbsentKeyError, match="'made' needs 'later'"):
        FrozenContext[OutputNeeds]().snapshot()


@dataclass
class OutputsData:
    lr: float
    best: Annotated[int | None, Output] = None


def test_output_of_dataclass() -> None:
    """A dataclass marks outputs in the same way."""
    assert ["lr"] == list(FrozenContext[OutputsData]({"lr": 1}))
    assert ["lr"] == list(FrozenContext[OutputsData](OutputsData(1.0)))
    assert OutputsData(1.0) == FrozenContext[OutputsData]({"lr": 1}).snapshot()


class Handle:
    def __deepcopy__(self, memo: object) -> "Handle":
        raise TypeError("one of a kind")


Handles = TypeAliasType("Handles", Annotated[Handle, Shared])


class ByType(BaseModel, arbitrary_types_allowed=True):
    plain: Annotated[Handle, Shared]
    inside: Annotated[Handle, Shared] | None
    optional: Annotated[Handle | None, Shared]
    listed: Annotated[list[Handle], Shared]
    both: Annotated[Handle, Output, Shared]
    named: Handles
    named_too: Handles


@pytest.mark.parametrize("key", list(ByType.model_fields))
def test_shared(key: str) -> None:
    """What is marked as shared is handed over as it is, wherever in the type the mark stands."""
    value: Any = [Handle()] if key == "listed" else Handle()
    ctx = FrozenContext[ByType]()
    ctx[key] = value

    if key == "listed":
        assert value[0] is ctx[key][0]
        assert ctx[key] is ctx[key]
    else:
        assert value is ctx[key]
    assert ctx[key] is copy.deepcopy(ctx)[key]


class SharedTree(BaseModel):
    first: Annotated[Tree, Shared]
    second: Annotated[Tree, Shared]
    copied: Tree


def test_shared_model() -> None:
    """A mark holds for the key that has it, and not for others of the same type."""
    tree = Tree(value=1)
    ctx = FrozenContext[SharedTree]({"first": tree, "second": tree, "copied": tree})

    assert tree is ctx["first"] is ctx["second"]
    assert tree is not ctx["copied"]
    assert tree == ctx["copied"]


def test_shared_in_generic() -> None:
    """A mark may come as the parameter of a generic."""

    class Holder(BaseModel, Generic[V], arbitrary_types_allowed=True):
        item: V

    handle = Handle()

    assert handle is C[Holder[Annotated[Handle, Shared]]]({"item": handle})["item"]


def test_shared_in_dict() -> None:
    """A dict may share all its values."""

    class Boxed(BaseModel):
        values: list[int] = []

    box = Boxed()

    assert box is C[dict[str, Annotated[Boxed, Shared]]]({"a": box})["a"]


# Errors


class Several(BaseModel):
    lr: PositiveFloat
    epochs: int = 3
    layers: list[int]
    token: SecretStr = SecretStr("")


def test_all_problems_at_once() -> None:
    """All that is wrong with initial values comes in one error, in the order of the schema."""
    with pytest.raises(InvalidInitialError) as raised:
        FrozenContext[Several]({"epohcs": 3, "layers": ["x", 1, "y"], "lr": -1, "token": 5, "": 1})

    text = str(raised.value)
    locations = [problem.location for problem in raised.value.problems]
    assert text.startswith("cannot make FrozenContext[Several]: 6 problems\n")
    assert {("lr",), ("layers", 0), ("layers", 2), ("token",), ("epohcs",), ()} == set(locations)
    assert "'epohcs' is not declared in Several; did you mean 'epochs'?" in text
    assert "'lr' should be greater than 0, got -1 (int)" in text
    assert "'token' should be a valid string, got int" in text
    assert "FrozenContext[Several]" == raised.value.context


@given(st.dictionaries(st.sampled_from(["lr", "epochs", "layers", "more"]), st.sampled_from([1, "x", [1], [-1, "x"]])))
def test_initial_is_all_or_nothing(initial: dict[str, Any]) -> None:
    """Initial values that a model takes make a context; of others each wrong key is named."""
    try:
        expected = Several.model_validate(initial | {"lr": initial.get("lr", 1), "layers": initial.get("layers", [])})
        wrong = set(initial) - {"lr", "epochs", "layers"}
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors()} | (set(initial) - {"lr", "epochs", "layers"})
    if wrong:
        with pytest.raises(InvalidInitialError) as raised:
            FrozenContext[Several](initial)
        assert wrong == {problem.location[0] for problem in raised.value.problems}
    else:
        ctx = FrozenContext[Several](initial)
        assert {name: getattr(expected, name) for name in ctx} == dict(ctx)


class SecretInt(Secret[int]):
    pass


class Secrets(BaseModel, arbitrary_types_allowed=True):
    token: SecretStr
    keys: dict[str, SecretBytes]
    choice: Annotated[SecretStr, AfterValidator(lambda value: fail_with(value.get_secret_value()))]
    hidden: Annotated[int, AfterValidator(SecretInt)]
    either: SecretStr | int


def fail_with(text: str) -> Any:
    raise ValueError(f"{text} is wrong")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token", ["hunter2"]),
        ("keys", {"hunter2": 5}),
        ("keys", {"a": ["hunter2"]}),
        ("choice", "hunter2"),
        ("hidden", "hunter2"),
        ("either", ["hunter2"]),
    ],
)
def test_invalid_secret(key: str, value: Any) -> None:
    """Of a key whose type holds a secret no error shows any input, nor what a validator says of it."""
    with pytest.raises(InvalidValueError) as raised:
        FrozenContext[Secrets]()[key] = value

    assert (key, None) == (raised.value.problems[0].location[0], raised.value.problems[0].value)
    assert [] == [error for error in chain(raised.value) if "hunter2" in f"{error} {error!r} {error.args}"]


def test_error_pickles() -> None:
    """An error about values keeps its attributes and text through a pickle."""
    with pytest.raises(InvalidInitialError) as raised:
        FrozenContext[Several]({"lr": -1, "layers": 3})
    again = pickle.loads(pickle.dumps(raised.value))

    assert (str(raised.value), raised.value.problems) == (str(again), again.problems)
    assert isinstance(again.problems[0], Problem)


# Metrics


class EpochTags(TypedDict):
    epoch: PositiveInt
    split: NotRequired[Literal["train", "val"]]


class OpenTags(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    epoch: int


class TagModel(BaseModel):
    epoch: PositiveInt = Field(alias="Epoch")
    split: Literal["train", "val"] = "train"


class OpenTagModel(BaseModel, extra="allow"):
    epoch: int


class OrderedTags(BaseModel):
    low: int
    high: int

    @field_validator("high")
    @classmethod
    def above(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data["low"]:
            raise ValueError("should be above low")
        return value


class CheckedTags(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def ordered(self) -> "CheckedTags":
        if self.low > self.high:
            raise ValueError("low should be below high")
        return self


class Measured(MetricSchema):
    loss = Metric(float, tags=EpochTags)
    open = Metric(float, tags=OpenTags)
    model = Metric(float, tags=TagModel)
    open_model = Metric(float, tags=OpenTagModel)
    ordered = Metric(float, tags=OrderedTags)
    checked = Metric(float, tags=CheckedTags)
    bare = Metric(Annotated[float, AfterValidator(lambda value: value if value > 0 else fail_with(str(value)))])


def record(metric: str, value: Any, tags: Any = None) -> Any:
    ctx = FrozenContext(metrics=Measured)
    ctx.record(metric, value, tags)
    return ctx.metrics.get_tags(metric)[0]


@pytest.mark.parametrize(
    ("metric", "tags", "kept"),
    [
        ("loss", {"epoch": "1"}, {"epoch": 1}),
        ("loss", {"epoch": 1, "split": "val"}, {"epoch": 1, "split": "val"}),
        ("open", {"epoch": 1, "more": 2}, {"epoch": 1, "more": 2}),
        ("open_model", {"epoch": 1, "more": 2}, {"epoch": 1, "more": 2}),
        ("open_model", OpenTagModel.model_validate({"epoch": 1, "more": 2}), {"epoch": 1, "more": 2}),
        ("model", {"Epoch": 1}, {"epoch": 1, "split": "train"}),
        ("model", TagModel(Epoch=1), {"epoch": 1, "split": "train"}),
        ("ordered", {"low": 1, "high": 2}, {"low": 1, "high": 2}),
        ("checked", {"low": 1, "high": 2}, {"low": 1, "high": 2}),
        ("bare", None, {}),
        ("bare", {}, {}),
    ],
)
def test_tags_are_validated(metric: str, tags: Any, kept: dict[str, Any]) -> None:
    """Tags are validated as their type says, and kept by field name."""
    assert kept == record(metric, 1.0, tags)


@pytest.mark.parametrize(
    ("metric", "tags", "error", "text"),
    [
        ("loss", {"epoch": -1}, InvalidTagError, "cannot tag 'loss': 'epoch' should be greater than 0, got -1"),
        ("loss", {"epoch": 1, "split": "trian"}, InvalidTagError, "'split' should be 'train' or 'val', got 'trian'"),
        ("loss", {"split": "val"}, MissingTagError, "'epoch' is missing"),
        ("loss", None, MissingTagError, "'epoch' is missing"),
        ("loss", {"epoch": 1, "splt": "val"}, InvalidTagError, "'splt' is not .*did you mean 'split'"),
        ("loss", 5, InvalidTagError, "got 5"),
        ("model", {"Epoch": 1, "splt": "val"}, InvalidTagError, "'splt' is not .*did you mean 'split'"),
        ("model", OpenTagModel(epoch=1), InvalidTagError, "should be an instance of TagModel or a mapping"),
        ("checked", {"low": 2, "high": 1}, InvalidTagError, "low should be below high"),
        ("bare", {"epoch": 1}, InvalidTagError, "takes no tags"),
    ],
)
def test_tags_are_refused(metric: str, tags: Any, error: type[Exception], text: str) -> None:
    """Tags that their type does not allow are refused, with the tag and what was allowed."""
    with pytest.raises(error, match=text):
        record(metric, 1.0, tags)


def test_value_is_refused() -> None:
    """A value that the metric's validator refuses is shown with the validator's words, and causes the error."""
    with pytest.raises(InvalidMetricError, match=r"cannot record 'bare': -1\.0 is wrong, got -1\.0") as raised:
        record("bare", -1.0)

    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("metric", "where"), [("loss", {"epoch": "1"}), ("open", {"more": 2}), ("ordered", {"high": 2, "low": 1})]
)
def test_where_validates(metric: str, where: dict[str, Any]) -> None:
    """Points are looked up by validated tags; a tag that needs to see the others is taken as it is."""
    ctx = FrozenContext(metrics=Measured)
    ctx.record("loss", 1.0, {"epoch": 1})
    ctx.record("open", 1.0, {"epoch": 1, "more": 2})
    ctx.record("ordered", 1.0, {"low": 1, "high": 2})

    assert (1.0,) == ctx.metrics.series(metric).where(**where).values


@pytest.mark.parametrize("where", [{"epoch": "x"}, {"split": "trian"}, {"splt": "val"}])
def test_where_refuses(where: dict[str, Any]) -> None:
    """Looking points up by what no point can have is an error."""
    with pytest.raises(InvalidTagError):
        FrozenContext(metrics=Measured).metrics.series("loss").where(**where)


@pytest.mark.parametrize(
    ("type_", "tags", "text"),
    [
        (SecretStr, None, "a secret is not to be recorded"),
        (list[SecretStr], None, "a secret is not to be recorded"),
        (float, Secrets, "a secret is not to be recorded"),
        (float, Plain, "its tags are a TypedDict or a model, not Plain"),
        (float, dict[str, int], r"its tags are a TypedDict or a model, not dict\[str, int\]"),
        (float, int, "its tags are a TypedDict or a model"),
        (Opaque, None, "Opaque"),
    ],
)
def test_unusable_metric(type_: Any, tags: Any, text: str) -> None:
    """A metric whose types cannot be used is an error when a context is made with it."""
    schema: Any = type("Bad", (MetricSchema,), {"bad": Metric(type_, tags=tags)})

    with pytest.raises(SchemaError, match=text):
        FrozenContext(metrics=schema)


# What a value holds, as bytes


class Colour(Enum):
    RED = "red"


class Contents(BaseModel, arbitrary_types_allowed=True):
    number: int = 1
    mapped: dict[str, int] = {"b": 2, "a": 1}
    chosen: set[str] = {"b", "a"}
    nested: dict[str, list[set[int]]] = {"x": [{2, 1}]}
    coloured: dict[str, set[Colour]] = {"x": {Colour.RED}}
    mixed: tuple[Any, ...] = (1, {2, 3}, "x")
    opaque: Annotated[Opaque, Shared] = Opaque()


def test_digests() -> None:
    """Equal values have equal digests, whatever the order in their dicts and sets; what JSON cannot hold has none."""
    first = FrozenContext[Contents]()
    second = FrozenContext[Contents]({"mapped": {"a": 1, "b": 2}, "chosen": {"a", "b"}})
    digests = {key: first.provenance.digest(key) for key in first}

    assert digests == {key: second.provenance.digest(key) for key in second}
    assert None is digests.pop("opaque")
    assert len(digests) == len(set(digests.values()) - {None})


class Unwritable:
    """Neither JSON nor Pydantic knows how to write it."""


@pytest.mark.parametrize(
    "value",
    [Unwritable(), [Unwritable()], {Unwritable()}, {"a": {1, Unwritable()}}, np.array([object()], dtype=object)],
    ids=["object", "list", "set", "dict", "array"],
)
def test_no_digest(value: Any) -> None:
    """What has no bytes that are the same in every process has no digest."""
    assert None is FrozenContext({"a": value}).provenance.digest("a")


def test_digest_of_array() -> None:
    """A digest of an array goes by its type, its shape and what it holds."""
    arrays = {
        "a": np.array([1, 2, 3, 4]),
        "b": np.array([1, 2, 3, 5]),
        "c": np.array([1.0, 2.0, 3.0, 4.0]),
        "d": np.array([[1, 2], [3, 4]]),
    }
    first, second = FrozenContext(arrays), FrozenContext({key: array.copy() for key, array in arrays.items()})
    digests = [first.provenance.digest(key) for key in arrays]

    assert digests == [second.provenance.digest(key) for key in arrays]
    assert 4 == len(set(digests))


@pytest.mark.slow
def test_digest_in_another_process() -> None:
    """A digest of a set is the same in a process that hashes otherwise."""
    code = "from crystallize import FrozenContext; print(FrozenContext({'a': {'x', 'y', 'z'}}).provenance.digest('a'))"
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]  # fmt: skip

    assert runs[0] == runs[1]
    assert runs[0].strip() == str(FrozenContext({"a": {"z", "y", "x"}}).provenance.digest("a"))


def test_field_order_is_the_schemas() -> None:
    """Initial keys are written in the schema's order, undeclared ones after them."""
    assert ["lr", "epochs", "z", "a"] == list(
        C[type("Open", (Model,), {"model_config": ConfigDict(extra="allow"), "__module__": __name__})](
            {"z": 1, "epochs": 2, "a": 3, "lr": 1}
        )
    )


def test_dataclass_fields_are_those_of_dataclasses() -> None:
    """A dataclass's keys are its fields, in order."""
    assert [attribute.name for attribute in dataclasses.fields(Strictest)] == list(FrozenContext[Strictest]({"lr": 1}))


def test_name_of_a_type_is_no_shape() -> None:
    """A type's name in quotes is refused with what to write instead."""
    with pytest.raises(SchemaError, match="'Train': a context is made over a type, not over the name of one"):
        FrozenContext["Train"]()  # type: ignore[name-defined]  # what the test is about


def test_validator_that_fails_by_itself() -> None:
    """What a validator raises besides a ValueError is its own, and comes as it is."""

    def broken(value: object) -> object:
        raise RuntimeError("the table is not there")

    class Odd(BaseModel):
        a: Annotated[int, BeforeValidator(broken)]

    ctx = FrozenContext[Odd]()
    with pytest.raises(RuntimeError, match="the table is not there"):
        ctx["a"] = 1
    assert "a" not in ctx


class Parsed(BaseModel):
    day: date
    id: UUID
    url: AnyUrl


@pytest.mark.parametrize("key", ["day", "id", "url"])
def test_what_pydantic_parses(key: str) -> None:
    """A value that a parser of Pydantic's refuses is an error of ours, when written and at the start."""
    ctx = FrozenContext[Parsed]()
    with pytest.raises(InvalidValueError, match=f"cannot write '{key}': should be a valid") as caught:
        ctx[key] = "x"
    with pytest.raises(InvalidInitialError, match=f"'{key}' should be a valid"):
        FrozenContext[Parsed]({key: "x"})

    assert caught.value.__cause__ is None
    assert key not in ctx


def test_shared_within_a_value() -> None:
    """Shared within a key's value would have no effect, and the schema says so."""

    class Tools(BaseModel):
        tokenizer: Annotated[list[int], Shared]

    class Holds(BaseModel):
        tools: Tools

    with pytest.raises(SchemaError, match="tools: Shared marks a whole key"):
        FrozenContext[Holds]()


@pytest.mark.parametrize("sinks", [5, [5]])
def test_what_is_no_sink(sinks: Any) -> None:
    """What cannot be told events is refused when the context is made."""
    with pytest.raises(SchemaError, match=r"sinks|a sink has the methods"):
        FrozenContext({}, sinks=sinks)


def test_a_context_is_made_once() -> None:
    """A context cannot be made anew over what it holds."""
    ctx = FrozenContext({"a": 1})
    with pytest.raises(ContextMutationError, match="Cannot initialize a context again"):
        ctx.__init__({"a": 2})  # type: ignore[misc]  # what the test is about
    assert {"a": 1} == dict(ctx)
    assert {} == dict(FrozenContext(None))


def test_alias_misspelt_and_alias_in_the_wrong_place() -> None:
    """A misspelt alias is corrected in initial values; elsewhere an alias is answered with its key."""

    class Rates(BaseModel):
        lr: float = Field(alias="learning_rate")

    with pytest.raises(
        InvalidInitialError, match="'learning_rat' is not declared in Rates; did you mean 'learning_rate'"
    ):
        FrozenContext[Rates]({"learning_rat": 1})
    with pytest.raises(UnknownKeyError, match="'learning_rate' is not declared in Rates; did you mean 'lr'"):
        FrozenContext[Rates]({"learning_rate": 1})["learning_rate"]


# Aliases


Alias = TypeAliasType("Alias", Model)
Renamed = typing.NewType("Renamed", Model)
Pair = TypeAliasType("Pair", dict[str, V], type_params=(V,))


def small(model: Model) -> Model:
    if model.lr > 1:
        raise ValueError("too large")
    return model


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (Alias, "Alias"),
        (Renamed, "Renamed"),
        (Annotated[Model, "for training"], "Model"),
        (TypeAliasType("Twice", Annotated[Alias, "again"]), "Twice"),
        (TypeAliasType("OfDict", dict[str, float]), "OfDict"),
        (Pair[float], "Pair[float]"),
    ],
)
def test_an_alias_of_a_shape(shape: Any, name: str) -> None:
    """A context over an alias is one over what the alias stands for, under the alias's name."""
    ctx = C[shape]({"lr": 0.5})
    with pytest.raises(InvalidInitialError, match=rf"FrozenContext\[{re.escape(name)}\].*valid number"):
        C[shape]({"lr": "fast"})
    assert pickle.loads(pickle.dumps(ctx)).snapshot() == ctx.snapshot()
    assert copy.deepcopy(ctx)["lr"] == 0.5


def test_validators_beside_a_shape() -> None:
    """A validator in the metadata of a shape checks a snapshot, as one within the shape does."""
    with pytest.raises(InvalidSnapshotError, match="too large"):
        C[Annotated[Model, AfterValidator(small)]]({"lr": 2}).snapshot()


# Generic shapes


class Crate(BaseModel, Generic[V]):
    value: V


class DictCrate(TypedDict, Generic[V]):
    value: V


@pytest.mark.parametrize(
    "make",
    [
        lambda: Crate[float],
        lambda: DictCrate[float],
        lambda: Crate[list[bool]],
        lambda: dict[str, int | None],
        lambda: Crate[Crate[bytes] | None],
        lambda: Crate[dict[str, Crate[date]]],
    ],
)
def test_pickles_over_a_generic_shape(make: Callable[[], Any]) -> None:
    """A context over a generic shape can be pickled, also if Pydantic's class for it has no name in its module."""
    ctx = C[make()]()
    copied = pickle.loads(pickle.dumps(ctx))
    for each in (ctx, copied):
        with pytest.raises(InvalidValueError, match="cannot write 'value'"):
            each["value"] = object()
    assert repr(copied) == repr(ctx)


# Values that can be read only once


class Rows(BaseModel):
    rows: typing.Iterable[int]


class Nested(BaseModel):
    inner: Rows | None = None


class SharedRows(BaseModel):
    rows: Annotated[typing.Iterable[int], Shared]


def test_iterables() -> None:
    """A type whose values can be read only once is refused when the context is made, as it was written."""
    for shape, text in (
        (Rows, r"Rows: 'rows': the items of Iterable\[int\] can be read only once.*write list"),
        (Nested, "'inner': the items of .*Rows"),
        (dict[str, typing.Generator[int, None, None]], r"the items of Generator\[int, "),
    ):
        with pytest.raises(SchemaError, match=text):
            C[shape]()

    class Metrics(MetricSchema):
        loss = Metric(typing.Iterable[int])

    with pytest.raises(SchemaError, match=r"items of Iterable\[int\]"):
        FrozenContext(metrics=Metrics)
    assert len(C[SharedRows]({"rows": [1, 2]})) == 1


# Classes that were defined again, as by importlib.reload, or by a notebook's cell that is run again


def defined() -> Any:
    """Define a model, a dataclass, another class, and a shape and metrics of them."""

    class Net(BaseModel):
        depth: int

    @dataclass
    class Size:
        width: int

    class Other:
        pass

    class Tags(BaseModel):
        epoch: int

    class Again(BaseModel, arbitrary_types_allowed=True):
        net: Net
        size: Size
        other: Other

    class AgainMetrics(MetricSchema):
        loss = Metric(float, tags=Tags)

    return Again(net=Net(depth=1), size=Size(2), other=Other()), AgainMetrics, Tags


def test_defined_again() -> None:
    """An object of an earlier definition of a class is told from one of any other class."""
    (old, old_metrics, old_tags), (new, metrics, _) = defined(), defined()
    with pytest.raises(InvalidInitialError, match="3 problems") as caught:
        C[type(new)]({"net": old.net, "size": old.size, "other": old.other})
    assert str(caught.value).count("was defined again after this object was made (make the object again)") == 3
    with pytest.raises(InvalidInitialError, match="instance of Again, which was defined again"):
        C[type(new)](old)

    ctx = FrozenContext(metrics=metrics)
    with pytest.raises(ForeignMetricError, match=r"AgainMetrics was defined again .* or record by the name 'loss'"):
        ctx.record(old_metrics.loss, 0.5, {"epoch": 1})
    with pytest.raises(InvalidTagError, match="which was defined again"):
        ctx.record(metrics.loss, 0.5, old_tags(epoch=1))
    ctx.record("loss", 0.5, {"epoch": 1})

    with pytest.raises(InvalidInitialError) as caught:
        C[type(new)]({"net": 3, "size": 4, "other": 5})
    assert "again" not in str(caught.value)
