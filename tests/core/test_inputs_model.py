"""The inputs of a shape as a model of their own, and the objects that a context takes its inputs from."""

import copy
import json
import pickle
import warnings
from argparse import SUPPRESS, ArgumentParser, Namespace
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Generic, NotRequired, Required, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
    validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from crystallize import (
    FrozenContext,
    InputsModel,
    InvalidInitialError,
    Journal,
    Output,
    ResumeError,
    SchemaError,
    Shared,
    inputs_of,
)

C: Any = FrozenContext
MODEL: Any = inputs_of
"""For shapes that no type checker can read."""

V = TypeVar("V")


class Optimizer(BaseModel):
    name: str = "sgd"
    steps: list[int]


class Train(BaseModel, str_strip_whitespace=True):
    """Trains a model."""

    LARGEST: ClassVar[int] = 1000

    lr: Annotated[float, Field(gt=0, description="the size of a step")] = Field(alias="learning_rate")
    epochs: int = 3
    layers: list[int] = Field(default_factory=lambda: [64])
    width: int = Field(default_factory=lambda data: data.get("epochs", 0) + 1)
    name: str = Field(default="run", max_length=5)
    optimizer: Optimizer = Optimizer(steps=[1])
    token: SecretStr = SecretStr("none")
    accuracy: Annotated[float, Output]
    best_epoch: Annotated[int | None, Output] = None

    @field_validator("epochs", "best_epoch")
    @classmethod
    def doubled(cls, value: int) -> int:
        if value > cls.LARGEST:
            raise ValueError(f"should be at most {cls.LARGEST}")
        return 2 * value

    @field_validator("width")
    @classmethod
    def above_epochs(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("epochs", 0):
            raise ValueError("should be above the epochs")
        return value

    @field_validator("accuracy")
    @classmethod
    def never(cls, value: float) -> float:
        raise AssertionError

    @field_validator("*", mode="before")
    @classmethod
    def not_none(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("should be given")
        return value

    @field_serializer("layers")
    def joined(self, value: list[int]) -> str:
        return "-".join(map(str, value))

    @field_serializer("best_epoch")
    def shown(self, value: int | None) -> str:
        raise AssertionError

    @model_validator(mode="after")
    def improves(self) -> "Train":
        if self.accuracy < 0.5:
            raise ValueError("worse than a coin")
        return self

    @computed_field  # type: ignore[prop-decorator]  # as Pydantic documents it
    @property
    def error(self) -> float:
        return 1 - self.accuracy


@dataclass
class Plain:
    lr: float
    epochs: int = 3
    width: int = Field(default=4, gt=3)
    layers: list[int] = field(default_factory=list)
    accuracy: float = field(init=False)
    best_epoch: Annotated[int | None, Output] = None


@pydantic_dataclass(config=ConfigDict(str_max_length=3))
class Validated:
    lr: float
    name: str = ""
    epochs: Annotated[int, AfterValidator(lambda value: 2 * value)] = 3
    accuracy: Annotated[float, Output] = 0.0

    @field_validator("name")
    @classmethod
    def shouted(cls, value: str) -> str:
        return value + "!"


class Items(TypedDict):
    __pydantic_config__ = ConfigDict(str_max_length=3)  # type: ignore[misc]  # Pydantic reads it
    lr: float
    note: NotRequired[Annotated[str, Field(min_length=2)]]
    epochs: Annotated[int, Field(default=3), AfterValidator(lambda value: 2 * value)]
    accuracy: Annotated[float, Output]


class Partial(TypedDict, total=False):
    lr: Annotated[Required[float], Field(gt=0)]
    epochs: int
    best_epoch: Annotated[int, Output]


SHAPES: list[Any] = [Train, Plain, Validated, Items, Partial]


@pytest.mark.parametrize("shape", SHAPES)
def test_inputs_without_outputs(shape: Any) -> None:
    """The model has the inputs of each kind of shape, named after the shape, and is made once."""
    model = inputs_of(shape)

    assert f"{shape.__name__}Inputs" == model.__name__
    assert shape.__module__ == model.__module__
    assert model is inputs_of(shape)
    assert issubclass(model, BaseModel)
    assert {"lr", "epochs"} <= set(model.model_fields)
    assert set() == {"accuracy", "best_epoch"} & set(model.model_fields)


def test_fields_are_kept() -> None:
    """Types, defaults, aliases, constraints, descriptions and settings of the shape are those of its inputs."""
    schema = inputs_of(Train).model_json_schema()

    assert "Trains a model." == inputs_of(Train).__doc__
    assert ["learning_rate"] == schema["required"]
    rate = schema["properties"]["learning_rate"]
    assert ("the size of a step", 0) == (rate["description"], rate["exclusiveMinimum"])
    assert (3, 5) == (schema["properties"]["epochs"]["default"], schema["properties"]["name"]["maxLength"])
    made = inputs_of(Train)(learning_rate="0.5", name=" ab ", optimizer={"steps": ["2"]})
    assert (0.5, 3, [64], 4, "ab") == (made.lr, made.epochs, made.layers, made.width, made.name)
    assert Optimizer(steps=[2]) == made.optimizer


def test_validators_and_serializers_of_fields_are_kept() -> None:
    """Decorated validators and serializers of the inputs run, and those of outputs and of the whole shape do not."""
    made = inputs_of(Train)(lr=1, epochs=2, layers=[1, 2])

    assert 4 == made.epochs
    assert "1-2" == made.model_dump()["layers"]
    with pytest.raises(ValidationError, match="should be at most 1000"):
        inputs_of(Train)(lr=1, epochs=1001)
    with pytest.raises(ValidationError, match="should be above the epochs"):
        inputs_of(Train)(lr=1, epochs=9, width=1)


@pytest.mark.parametrize("values", [{}, {"lr": 0}, {"lr": 1, "epohcs": 4}, {"lr": 1, "accuracy": 0.5}])
def test_inputs_refuse(values: dict[str, Any]) -> None:
    """An input that is missing or not allowed is refused, and so is a key that is an output or not declared."""
    with pytest.raises(ValidationError):
        inputs_of(Train)(**values)


def test_inputs_as_initial() -> None:
    """A context takes the inputs as they are: no validator runs twice, and secrets stay secrets."""
    made = inputs_of(Train)(lr=1, epochs=2, token="tok-5f3a")
    ctx = FrozenContext[Train](made)

    assert 4 == ctx["epochs"]
    assert "tok-5f3a" == ctx.fields.token.get_secret_value()
    assert {"accuracy", "best_epoch"} == set(Train.model_fields) - set(ctx)


def test_inputs_are_copied() -> None:
    """A later change of a list in the inputs does not reach the context."""
    made = inputs_of(Train)(lr=1)
    ctx = FrozenContext[Train](made)
    made.layers.append(9)

    assert [64] == ctx["layers"]


def test_inputs_are_immutable() -> None:
    """The inputs reject assignment, since the context trusts them."""
    made: Any = inputs_of(Train)(lr=1)

    with pytest.raises(ValidationError, match="frozen"):
        made.lr = 2


def test_inputs_of_json() -> None:
    """The inputs are validated as JSON where they come as JSON."""
    made = inputs_of(Train).model_validate_json('{"learning_rate": 1, "optimizer": {"steps": [3]}}', strict=True)

    assert [3] == made.optimizer.steps


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
@pytest.mark.parametrize("shape", SHAPES)
def test_inputs_are_copied_and_pickled(shape: Any, copied: Any) -> None:
    """Inputs can be copied and pickled, though no module has their class."""
    made = inputs_of(shape)(lr=1)
    found = copied(made)

    assert made == found
    assert type(made) is type(found)
    assert dict(C[shape](made)) == dict(C[shape](found))


class OwnPlain(MODEL(Plain)):  # type: ignore[misc]  # made when the program runs
    verbose: bool = False


def test_subclass_of_inputs_is_pickled() -> None:
    """An instance of a subclass of the inputs stays one."""
    made = OwnPlain(lr=1, verbose=True)

    assert made == pickle.loads(pickle.dumps(made)) == copy.copy(made)


def test_key_that_is_not_required() -> None:
    """A key that a TypedDict does not require is absent where it is not given, in dumps and in the context too."""
    made = inputs_of(Items)(lr=1)

    assert "<not given>" == repr(made.note)
    assert "ItemsInputs(lr=1.0, epochs=3)" == repr(made)
    assert {"lr": 1.0, "epochs": 3} == made.model_dump() == json.loads(made.model_dump_json()) == dict(C[Items](made))
    assert {"lr"} == made.model_fields_set
    assert made == inputs_of(Items)(lr=1, note=made.note)
    assert ["lr"] == inputs_of(Items).model_json_schema()["required"]
    assert made.note is copy.deepcopy(made.note)
    with pytest.raises(ValidationError, match="at least 2"):
        inputs_of(Items)(lr=1, note="a")


def test_key_named_as_a_method() -> None:
    """A key that Pydantic has a method for is a key without a warning."""

    class Named(TypedDict):
        json: int
        model_dump: int

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {"json": 1, "model_dump": 2} == dict(C[Named](MODEL(Named)(json=1, model_dump=2)))


class Box(BaseModel, Generic[V]):
    value: V


@dataclass
class PlainBox(Generic[V]):
    value: V
    values: list[V] = field(default_factory=list)


@pydantic_dataclass
class ValidatedBox(Generic[V]):
    value: V


class ItemBox(TypedDict, Generic[V]):
    value: V


@pytest.mark.parametrize("shape", [Box[int], PlainBox[int], ValidatedBox[int], ItemBox[int]])
def test_generic_shape(shape: Any) -> None:
    """The arguments of a generic shape are in its inputs, which are made once."""
    made = inputs_of(shape)(value="1")

    assert 1 == made.value
    assert inputs_of(shape) is type(made)
    assert inputs_of(shape).__name__.endswith("Box_intInputs")
    assert 1 == C[shape](made)["value"]
    assert made == pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("shape", [dict, dict[str, int]])
def test_shape_without_declared_keys(shape: Any) -> None:
    """A dict declares no keys, so that its inputs are not known."""
    with pytest.raises(SchemaError, match="it declares no keys, and so no inputs; declare them in a Pydantic model"):
        inputs_of(shape)


class Underscored(TypedDict):
    _lr: float


class Machinery(TypedDict):
    model_config: float


@pytest.mark.parametrize("shape", [Underscored, Machinery])
def test_key_that_cannot_be_a_field(shape: Any) -> None:
    """A key that Pydantic allows in no model is an error that names it."""
    key = next(iter(shape.__annotations__))
    with pytest.raises(SchemaError, match=f"{shape.__name__}: a Pydantic model cannot have a field '{key}'"):
        inputs_of(shape)


def test_validator_of_pydantic_1() -> None:
    """A validator that is decorated as in Pydantic 1 is refused, with what to write."""
    with pytest.warns(DeprecationWarning, match="V1 style"):

        class Old(BaseModel):
            lr: float

            @validator("lr")
            @classmethod
            def check(cls, value: float) -> float:
                return value

    with pytest.raises(SchemaError, match="'check' is a validator of Pydantic 1; decorate it with @field_validator"):
        inputs_of(Old)


class Open(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, PositiveInt]
    lr: float = Field(alias="rate")


def test_undeclared_inputs() -> None:
    """Where the shape allows undeclared keys, they are inputs too, and the context validates them."""
    assert {"lr": 1.0, "more": 2} == dict(FrozenContext[Open](inputs_of(Open)(lr=1, more="2")))
    with pytest.raises(InvalidInitialError, match="'more' should be greater than 0"):
        FrozenContext[Open](inputs_of(Open)(lr=1, more=-2))
    with pytest.raises(InvalidInitialError, match="'lr' is given twice"):
        FrozenContext[Open](inputs_of(Open)(lr=1, rate=2))


class Crossed(BaseModel):
    left: int = Field(alias="right")
    right: int = Field(alias="left")


def test_name_that_is_the_alias_of_another_key() -> None:
    """A name that is the alias of another key is read as that alias alone."""
    assert {"left": 2, "right": 1} == dict(FrozenContext[Crossed](inputs_of(Crossed)(left=1, right=2)))


def test_local_types() -> None:
    """The types of a shape that is defined within a function are found."""

    class Part(BaseModel):
        size: int

    class Whole(TypedDict):
        part: "Part"

    @dataclass
    class WholeData:
        part: "Part"

    for shape in (Whole, WholeData):
        assert {"part": Part(size=1)} == dict(C[shape](MODEL(shape)(part={"size": "1"})))


class Recursive(BaseModel, defer_build=True):
    child: "Recursive | None" = None


def test_recursive_shape() -> None:
    """A shape may refer to itself."""
    made = inputs_of(Recursive)(child={"child": {}})

    assert Recursive(child=Recursive(child=Recursive())).child == made.child


class Handed(BaseModel, arbitrary_types_allowed=True):
    tool: Annotated[object, Shared]


def test_shared_input() -> None:
    """An input that is Shared is handed on as it is."""
    tool = object()

    assert tool is FrozenContext[Handed](inputs_of(Handed)(tool=tool))["tool"]


class Pathed(BaseModel):
    lr: float = Field(validation_alias=AliasChoices("rate", AliasPath("optimizer", "lr")))


def test_alias_path() -> None:
    """Paths of aliases are kept."""
    assert 0.5 == inputs_of(Pathed)(optimizer={"lr": "0.5"}).lr
    assert 0.5 == inputs_of(Pathed)(lr=0.5).lr


def test_annotation() -> None:
    """The base of all models of inputs can be written with its shape, and is no model of inputs by itself."""
    assert issubclass(inputs_of(Train), InputsModel)
    with pytest.raises(InvalidInitialError, match="an instance of Train, got InputsModel"):
        C[Train](InputsModel[Train]())


def test_unknown_attribute() -> None:
    """An attribute that is no input is an AttributeError."""
    with pytest.raises(AttributeError, match="'TrainInputs' object has no attribute 'accuracy'"):
        inputs_of(Train)(lr=1).accuracy


# The law


VALUES = st.sampled_from([1, 2, 5000, -1, "2", "ab", "abcdef", None, [1], [], {"steps": ["1"]}, 0.5])
NAMES = st.sampled_from(["lr", "learning_rate", "epochs", "layers", "width", "name", "optimizer", "note", "undeclared"])


def outcome(make: Any) -> dict[str, Any] | None:
    """Return the values of a context, or None where they are refused."""
    try:
        return dict(make())
    except (InvalidInitialError, ValidationError):
        return None


@pytest.mark.parametrize("shape", [*SHAPES, Open, Pathed])
@given(values=st.dictionaries(NAMES, VALUES), rate=st.sampled_from([1, "1", -1]))
def test_same_as_directly(shape: Any, values: dict[str, Any], rate: Any) -> None:
    """The inputs by way of the model are those that the context takes directly: the same are refused, none differs."""
    values = values if shape is Train and "learning_rate" in values else {"lr": rate, **values}

    assert outcome(lambda: C[shape](values)) == outcome(lambda: C[shape](inputs_of(shape).model_validate(values)))


# Other objects


def test_namespace() -> None:
    """The namespace of an ArgumentParser is validated as a mapping is."""
    parser = ArgumentParser(argument_default=SUPPRESS)
    parser.add_argument("--lr")
    parser.add_argument("--epochs", type=int)
    ctx = FrozenContext[Train](parser.parse_args(["--lr", "0.5"]))

    assert (0.5, 3) == (ctx["lr"], ctx["epochs"])


@pytest.mark.parametrize("kind", [Namespace, SimpleNamespace])
def test_namespace_of_any_shape(kind: Any) -> None:
    """Over every kind of shape a namespace serves, an option named as a method of dict too."""
    assert 1.0 == C[Train](kind(learning_rate="1"))["lr"]
    assert 1.0 == C[Items](kind(lr="1"))["lr"]
    assert {"keys": 1, "items": 2} == dict(C[dict[str, int]](kind(keys="1", items=2)))
    assert {"keys": "1"} == dict(FrozenContext(kind(keys="1")))
    assert {} == dict(FrozenContext(kind()))


def test_option_that_is_no_input() -> None:
    """An option that is no input is refused, and the error says how to take it out."""
    args = Namespace(lr=0.5, verbose=True)

    with pytest.raises(InvalidInitialError) as raised:
        FrozenContext[Train](args)
    assert "'verbose' is not declared in Train" in str(raised.value)
    assert "take an option that is no input out first, as by vars(args).pop('verbose')" in str(raised.value)
    assert vars(args).pop("verbose")
    assert 0.5 == FrozenContext[Train](args)["lr"]


def test_option_that_is_not_given() -> None:
    """An option that argparse set to None is refused where None is not allowed, and the error says why it is None."""
    with pytest.raises(InvalidInitialError, match=r"an option that is not given is None, unless .*argument_default"):
        FrozenContext[Plain](Namespace(lr=None))
    with pytest.raises(InvalidInitialError) as raised:
        FrozenContext[Plain](Namespace(lr="fast", layers=["x"]))
    assert "option" not in str(raised.value)


class Method(BaseModel):
    lr: float
    keys: int = 3


def test_instance_without_brackets() -> None:
    """A context without a shape takes that of the instance it is made from."""
    ctx = FrozenContext(Method(lr=0.5))

    assert 0.5 == ctx.fields.lr
    assert "FrozenContext[Method](lr=0.5, keys=3)" == repr(ctx)
    assert Method(lr=0.5) == ctx.snapshot() == pickle.loads(pickle.dumps(ctx)).snapshot()
    assert Plain(lr=0.5).lr == FrozenContext(Plain(lr=0.5)).fields.lr
    assert 1 == FrozenContext(Box[int](value=1)).fields.value
    assert "FrozenContext[PlainBox[int]](value=1, values=[])" == repr(FrozenContext(PlainBox[int](1)))


@pytest.mark.parametrize("instance", [Box(value=1), PlainBox(1)])
def test_generic_instance_without_brackets(instance: Any) -> None:
    """An instance that does not tell its type arguments is refused, with what to write."""
    with pytest.raises(SchemaError, match=r"an instance does not tell its type arguments; write FrozenContext\[\w+\["):
        FrozenContext(instance)


def test_instance_of_another_model() -> None:
    """An instance of a model that is not the shape is refused, also where it has a field named as a method of dict."""
    with pytest.raises(InvalidInitialError, match="a mapping, a namespace or an instance of Train, got Method"):
        C[Train](Method(lr=1))
    with pytest.raises(InvalidInitialError, match="the initial values should be a mapping or a namespace, got"):
        C[dict[str, int]](Method(lr=1))


def test_inputs_of_another_shape() -> None:
    """The inputs of another shape are refused, and so are inputs without a shape; the error says what to write."""
    for shape in (Train, dict[str, Any]):
        with pytest.raises(InvalidInitialError, match=r"these are the inputs of FrozenContext\[Plain\]\(\.\.\.\)"):
            C[shape](inputs_of(Plain)(lr=1))
    with pytest.raises(InvalidInitialError, match=r"these are the inputs of FrozenContext\[Plain\]\(\.\.\.\)"):
        C(inputs_of(Plain)(lr=1))


def test_inputs_of_a_shape_that_was_defined_again() -> None:
    """The inputs of a class that was defined again since are refused, and the error says so."""

    def defined() -> Any:
        class Again(BaseModel):
            lr: float

        return Again

    with pytest.raises(InvalidInitialError, match="defined again after this object was made"):
        C[defined()](inputs_of(defined())(lr=1))


def test_subclass_with_more_fields() -> None:
    """An instance of a subclass of the inputs that has more fields is refused, since they are not declared."""
    with pytest.raises(InvalidInitialError, match="'verbose' is not declared in Plain"):
        FrozenContext[Plain](OwnPlain(lr=1))


class Fetch(BaseModel):
    url: str
    token: SecretStr


def test_resumed_with_inputs(tmp_path: Any) -> None:
    """A run is begun and resumed with inputs, a namespace, or an instance without brackets."""
    with Journal.start(tmp_path, "fetch") as journal:
        journal.context(FrozenContext[Fetch], inputs_of(Fetch)(url="a", token="tok-5f3a"))
    for initial in (inputs_of(Fetch)(url="a", token="tok-5f3a"), Namespace(token="tok-5f3a")):
        with Journal.resume(tmp_path / "fetch-0001.db") as journal:
            ctx = journal.context(FrozenContext[Fetch], initial)
            assert ("a", "tok-5f3a") == (ctx.fields.url, ctx.fields.token.get_secret_value())
    with Journal.resume(tmp_path / "fetch-0001.db") as journal, pytest.raises(ResumeError, match="'token'"):
        journal.context(FrozenContext[Fetch], Namespace(url="a"))
    with Journal.resume(tmp_path / "fetch-0001.db") as journal:
        opened: Any = journal.context(FrozenContext, Fetch(url="a", token=SecretStr("tok-5f3a")))
        assert "a" == opened.fields.url
