"""Live objects: where each reader would get a copy that nobody else sees change, they are refused."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, Union

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from crystallize import (
    Context,
    FrozenContext,
    InvalidInitialError,
    LiveValueError,
    Metric,
    MetricSchema,
    Output,
    Shared,
    fan_out,
    register,
)
from crystallize._core import copy_plans, live_types

BUILT_IN = {
    "torch.nn.Module": "state_dict()",
    "torch.optim.Optimizer": "state_dict()",
    "torch.optim.lr_scheduler.LRScheduler": "state_dict()",
    "torch.amp.GradScaler": "state_dict()",
    "torch.utils.data.DataLoader": "",
    "keras.Model": "get_weights()",
    "keras.layers.Layer": "get_weights()",
    "keras.optimizers.Optimizer": "",
    "flax.nnx.Module": "",
    "xgboost.Booster": "save_raw()",
    "lightgbm.Booster": "model_to_string()",
}
"""What the package knows, and the method that returns the state."""


class Net:
    """A stand-in for `torch.nn.Module`."""

    def __init__(self, weight: float = 0.0) -> None:
        self.weight = weight

    def state_dict(self) -> dict[str, float]:
        return {"weight": self.weight}


class Deep(Net):
    pass


class Engine:
    """Live by its registration."""


@dataclass
class Holder:
    part: Any


class Trainer:
    def __init__(self, part: Any) -> None:
        self.part = part


class Estimator:
    """A stand-in for `sklearn.base.BaseEstimator`."""

    def __init__(self, part: Any) -> None:
        self.part = part


class Schema(BaseModel, arbitrary_types_allowed=True):
    lr: float = 0.1
    model: Annotated[Net | None, Output] = None
    anything: Annotated[Any, Output] = None
    shared: Annotated[Net | None, Shared, Output] = None


class Open(BaseModel, extra="allow"):
    lr: float = 0.1


class Items(TypedDict, total=False):
    model: Any


@dataclass
class Data:
    model: Annotated[Any, Output] = None


class Loss(MetricSchema):
    loss = Metric(Any)


register(Engine, live=True)


@pytest.fixture(autouse=True)
def _libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand-ins for the libraries, and no warning given yet."""
    torch, nn, base = ModuleType("torch"), ModuleType("torch.nn"), ModuleType("sklearn.base")
    nn.Module, base.BaseEstimator = Net, Estimator  # type: ignore[attr-defined]  # as a library defines them
    for name, module in {"torch": torch, "torch.nn": nn, "sklearn.base": base}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Net, "__module__", "torch.nn.modules")
    monkeypatch.setattr(Estimator, "__module__", "sklearn.base")
    monkeypatch.setattr(live_types, "_warned", set())
    copy_plans.forget_copiers()
    yield
    copy_plans.forget_copiers()


WRAPS: list[Callable[[Any], Any]] = [
    *(lambda it: it, lambda it: [it], lambda it: {"a": (1, [it])}, Holder, Trainer, lambda it: [Trainer([it])]),
    *(lambda it: Open.model_validate({"part": it}), lambda it: SimpleNamespace(part=it), lambda it: {"set": {it}}),
]
SHAPES: list[tuple[Any, str]] = [
    *((Schema, "anything"), (Open, "more"), (Items, "model"), (Data, "model"), (dict[str, Any], "model")),
]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize(("shape", "key"), SHAPES, ids=[str(shape) for shape, _ in SHAPES])
@pytest.mark.parametrize("cls", [Net, Deep, Engine])
def test_refused(shape: Any, key: str, wrap: Callable[[Any], Any], cls: Any) -> None:
    """A context with a schema refuses a live object, at any depth, and names the key and the type."""
    ctx, value = FrozenContext[shape](), wrap(cls())
    with pytest.raises(LiveValueError) as caught:
        ctx[key] = value

    assert repr(key) == caught.value.subject
    assert caught.value.type.endswith(f".{cls.__name__}")
    own = {f"{key}: Annotated[{type(value).__name__}, {output}Shared]" for output in ("Output, ", "")}
    assert caught.value.declaration in own | {"dict[str, Annotated[Any, Shared]]"}
    assert key not in ctx


def test_the_lines_that_help() -> None:
    """The error shows how the key is declared, and how the state of the object is stored."""
    with pytest.raises(LiveValueError) as caught:
        FrozenContext[Schema]().fields.model = Deep()

    name = f"{__name__}.Deep"
    assert (
        f"cannot hold 'model': a {name} changes while it is used, and every reader would get a copy\n"
        "To share the object itself with all readers, declare:\n"
        "  model: Annotated[Net | None, Output, Shared]\n"
        "To store a copy of its state, write in its place:\n"
        "  model.state_dict()"
    ) == str(caught.value)
    declaration = "model: Annotated[Net | None, Output, Shared]"
    assert ("'model'", name, declaration, "model.state_dict()") == caught.value.args


class Group(BaseModel, arbitrary_types_allowed=True):
    nets: list[Net]
    pair: tuple[Net, ...]
    named: dict[str, Net | None]
    either: Union[list[Net], dict[str, list[Net]], None]  # noqa: UP007 - as some users write it


@pytest.mark.parametrize(
    ("key", "value", "kind", "state"),
    [
        ("nets", [Net()], "list[Net]", "[item.state_dict() for item in nets]"),
        ("pair", (Net(), Deep()), "tuple[Net, ...]", "[item.state_dict() for item in pair]"),
        ("named", {"a": Net()}, "dict[str, Net | None]", "{key: item.state_dict() for key, item in named.items()}"),
        ("named", {"a": Net(), "b": None}, "dict[str, Net | None]", "state_dict() of each Net in it"),
        ("either", {"a": [Net()]}, "list[Net] | dict[str, list[Net]] | None", "state_dict() of each Net in it"),
    ],
)
def test_the_declaration_is_the_users(key: str, value: Any, kind: str, state: str) -> None:
    """The error shows the annotation of the key as it is, with Shared, and the state of each object in the value."""
    with pytest.raises(LiveValueError) as caught:
        FrozenContext[Group]()[key] = value

    assert (f"{key}: Annotated[{kind}, Shared]", state) == (caught.value.declaration, caught.value.state)


def test_what_the_lines_say_works() -> None:
    """A key that is declared as the error says accepts the object, and so does any key its state."""

    class Declared(BaseModel, arbitrary_types_allowed=True):
        model: Annotated[Deep, Shared]

    model = Deep(0.5)
    assert model is FrozenContext[Declared]({"model": model}).fields.model
    assert model is FrozenContext[dict[str, Annotated[Any, Shared]]]({"model": model})["model"]
    assert {"weight": 0.5} == FrozenContext[Schema]({"anything": model.state_dict()})["anything"]
    assert model is FrozenContext[Schema]({"shared": model}).fields.shared


def test_dict_of_a_type() -> None:
    """A context over a dict has no declarations of keys, so that the error shows that of all values."""
    with pytest.raises(LiveValueError) as caught:
        FrozenContext[dict[str, Any]]()["my model"] = [Engine()]

    assert "dict[str, Annotated[Any, Shared]]" == caught.value.declaration
    assert "" == caught.value.state
    with pytest.raises(LiveValueError) as caught:
        FrozenContext[dict[str, Any]]()["my model"] = Deep()

    assert "deep.state_dict()" == caught.value.state


@pytest.mark.parametrize("initial", [{"model": Deep()}, Schema.model_construct(model=Deep())], ids=["dict", "instance"])
def test_initial_values(initial: Any) -> None:
    """An initial value is refused as well, together with all other problems."""
    with pytest.raises(InvalidInitialError) as caught:
        FrozenContext[Schema](initial)

    assert "'model' is a" in str(caught.value)
    assert "declare it as model: Annotated[Net | None, Output, Shared], or store model.state_dict()" in str(
        caught.value
    )


def test_untyped_contexts_warn() -> None:
    """A context without a schema warns once for each type, at the line that writes, and copies the object."""
    ctx, model = FrozenContext(), Deep(0.5)
    with pytest.warns(UserWarning, match="'a' contains a .*or store what its state_dict\\(\\) returns") as caught:
        ctx["a"] = model
    ctx["b"] = [model]
    ctx.add("c", Deep())
    with pytest.warns(UserWarning, match="each reader gets a copy of it.*declared with Shared.$") as others:
        FrozenContext({"d": Engine()})
    model.weight = 1.0

    assert [__file__] * 2 == [warning.filename for warning in [*caught, *others]]
    assert 0.5 == ctx["a"].weight == ctx["b"][0].weight
    assert ctx["a"] is not ctx["a"]


def test_warnings_as_errors() -> None:
    """Where warnings are errors, each write of a live object is refused."""
    ctx = FrozenContext()
    for _ in range(2):
        with pytest.raises(UserWarning, match="each reader gets a copy"):
            ctx["a"] = Deep()

    assert "a" not in ctx


def test_metrics() -> None:
    """A live object as a point's value or tag is refused if the metric is declared; if not, there is the warning."""
    typed, free = FrozenContext[Schema](metrics=Loss), FrozenContext()
    with pytest.raises(LiveValueError, match="cannot hold a value of metric 'loss'") as caught:
        typed.record(Loss.loss, Deep())

    assert ("", "deep.state_dict()") == (caught.value.declaration, caught.value.state)
    with pytest.raises(LiveValueError) as caught:
        typed.record(Loss.loss, [Deep()])

    assert "state_dict() of each Deep in it" == caught.value.state
    with pytest.warns(UserWarning, match="a value of metric 'model' contains a"):
        free.record("model", Deep())
    assert 0 == len(typed.metrics)
    assert 1 == len(free.metrics["model"])


def make_model(branch: Context[Any], weight: float) -> Deep:
    return Deep(weight)


def test_results_of_branches() -> None:
    """The result of a branch belongs to its caller alone, and so may be a live object."""
    with ThreadPoolExecutor(2) as pool:
        results = fan_out(FrozenContext[Schema](), make_model, [0.5, 1.0], executor=pool)

    assert [0.5, 1.0] == [model.weight for model in results]


def test_within_an_estimator() -> None:
    """A fitted estimator is copied as a whole, with the booster or the network in it."""
    values: list[Any] = [Estimator(Deep(0.5)), [Estimator([Deep(0.5)])]]
    for value in values:
        ctx = FrozenContext[Schema]({"anything": value})
        assert ctx["anything"] is not ctx["anything"]
    with pytest.raises(LiveValueError):
        FrozenContext[Schema]()["anything"] = [Estimator(Deep()), Trainer(Deep())]


def test_registered_again() -> None:
    """The latest registration counts: a live type can be given functions that copy it, and the other way round."""

    class Own(Net):
        pass

    with pytest.raises(LiveValueError):
        FrozenContext[Schema]()["anything"] = Own()
    register(Own, freeze=lambda value: value.weight, thaw=Own)
    assert 0.5 == FrozenContext[Schema]({"anything": [Own(0.5)]})["anything"][0].weight
    register(Own, live=True)
    with pytest.raises(LiveValueError):
        FrozenContext[Schema]()["anything"] = Own()


@pytest.mark.parametrize(("name", "state"), BUILT_IN.items(), ids=BUILT_IN)
def test_built_in(name: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The types of the common libraries are known by the names under which they are imported."""
    module, _, attribute = name.rpartition(".")
    inside = type(attribute, (), {"__module__": f"{name.partition('.')[0]}.inner"})
    face = ModuleType(module)
    monkeypatch.setattr(face, attribute, inside, raising=False)
    monkeypatch.setitem(sys.modules, module, face)
    with pytest.raises(LiveValueError) as caught:
        FrozenContext[Schema]()["anything"] = type("Mine", (inside,), {})()

    assert (f"mine.{state}" if state else "", "'anything'") == (
        caught.value.state.replace("anything", "mine"),
        caught.value.subject,
    )
