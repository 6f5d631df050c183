"""The typed views behind `ctx.fields`."""

import traceback
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from functools import cached_property, partialmethod
from typing import Any, ClassVar, Generic, TypeVar

import pytest
from pydantic import BaseModel, PrivateAttr, computed_field
from typing_extensions import TypedDict

from crystallize import (
    AbsentKeyError,
    ContextMutationError,
    FrozenContext,
    InvalidKeyError,
    InvalidValueError,
    ItemFieldsError,
    KeyLookupError,
    LoggingContext,
    ModelMethodError,
    UnknownKeyError,
)

C: Any = FrozenContext
"""For shapes that no type checker can read."""

V = TypeVar("V")


class Train(BaseModel):
    kinds: ClassVar[list[str]] = ["sgd"]
    lr: float
    epochs: int = 3
    layers: list[int] = [1, 2]
    accuracy: float
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)

    @property
    def doubled(self) -> float:
        return self.lr * 2

    @computed_field  # type: ignore[prop-decorator]
    @property
    def percent(self) -> float:
        return self.lr * 100

    @cached_property
    def total(self) -> int:
        return sum(self.layers)

    @property
    def needs_accuracy(self) -> float:
        return self.accuracy

    def scaled(self, by: float) -> float:
        return self.lr * by

    tripled = partialmethod(scaled, 3)

    def learn(self) -> None:
        self.accuracy = 0.5

    def cached(self) -> int:
        return len(self._cache)

    @classmethod
    def named(cls) -> str:
        return cls.__name__

    @staticmethod
    def halved(value: float) -> float:
        return value / 2


@dataclass
class TrainData:
    lr: float
    accuracy: float
    epochs: int = 3
    kinds: ClassVar[list[str]] = ["sgd"]

    @property
    def doubled(self) -> float:
        return self.lr * 2

    def scaled(self, by: float) -> float:
        return self.lr * by

    @classmethod
    def named(cls) -> str:
        return cls.__name__.removesuffix("Data")

    @staticmethod
    def halved(value: float) -> float:
        return value / 2


class Items(TypedDict, total=False):
    lr: float
    layers: list[int]
    note: str


ATTRIBUTES: list[Any] = [Train, TrainData]


@pytest.fixture(params=[Train, TrainData])
def ctx(request: pytest.FixtureRequest) -> Any:
    """A context over attributes."""
    return C[request.param]({"lr": 0.5})


@pytest.fixture
def train() -> FrozenContext[Train]:
    """A context over a model."""
    return FrozenContext[Train]({"lr": 0.5})


@pytest.fixture(params=[Items, dict[str, Any], None])
def items(request: pytest.FixtureRequest) -> Any:
    """The view of a context over items."""
    return (C if request.param is None else C[request.param])({"lr": 0.5}).fields


# Attributes


def test_attributes(ctx: Any) -> None:
    """Keys are attributes, to read and to write."""
    ctx.fields.accuracy = "0.9"

    assert (0.5, 3, 0.9) == (ctx.fields.lr, ctx.fields.epochs, ctx.fields.accuracy)
    assert 0.9 == ctx["accuracy"]


def test_attribute_is_written_once(ctx: Any) -> None:
    """An attribute cannot be written again nor deleted."""
    with pytest.raises(ContextMutationError, match="Cannot mutate existing key: 'lr'"):
        ctx.fields.lr = 0.5
    with pytest.raises(ContextMutationError, match="Cannot delete key: 'lr'"):
        del ctx.fields.lr

    assert 0.5 == ctx.fields.lr


def test_attribute_is_validated(ctx: Any) -> None:
    """An attribute is validated when it is written."""
    with pytest.raises(InvalidValueError, match="cannot write 'accuracy'"):
        ctx.fields.accuracy = "high"

    assert "accuracy" not in ctx


def test_attribute_that_is_absent(ctx: Any) -> None:
    """A declared attribute that is not written is an error, and absent to `hasattr` and `getattr`."""
    with pytest.raises(AbsentKeyError, match=r"'accuracy' is declared in .* and not written yet"):
        ctx.fields.accuracy

    assert not hasattr(ctx.fields, "accuracy")
    assert 7 == getattr(ctx.fields, "accuracy", 7)


def test_attribute_that_is_not_declared(ctx: Any) -> None:
    """An undeclared attribute is an error with the nearest name, to read and to write."""
    with pytest.raises(UnknownKeyError, match="did you mean 'accuracy'"):
        ctx.fields.acuracy
    with pytest.raises(UnknownKeyError, match="did you mean 'accuracy'"):
        ctx.fields.acuracy = 1.0

    assert not hasattr(ctx.fields, "acuracy")


@pytest.mark.parametrize("name", ["acuracy", "accuracy"])
def test_attribute_without_a_value_has_one_hint_at_most(ctx: Any, name: str) -> None:
    """Python adds no hint of its own to the traceback, neither after ours nor where there is nothing to hint at."""
    with pytest.raises(KeyLookupError) as caught:
        getattr(ctx.fields, name)
    text, explained = traceback.format_exception_only(caught.value)

    assert f"{type(caught.value).__module__}.{type(caught.value).__name__}: {caught.value}\n" == text
    assert explained.startswith("Explained by")


def test_attribute_is_a_copy(train: FrozenContext[Train]) -> None:
    """What an attribute hands out can be changed without effect."""
    train.fields.layers.append(3)

    assert [1, 2] == train.fields.layers


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda view: view.doubled, 1.0),
        (lambda view: view.scaled(3), 1.5),
        (lambda view: view.halved(3), 1.5),
        (lambda view: view.named(), "Train"),
        (lambda view: view.kinds, ["sgd"]),
    ],
)
def test_own_definitions(ctx: Any, ask: Callable[[Any], Any], answer: Any) -> None:
    """A shape's properties, methods, class methods and class variables work on the view."""
    assert answer == ask(ctx.fields)


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda view: view.percent, 50.0),
        (lambda view: view.total, 3),
        (lambda view: view.tripled(), 1.5),
    ],
)
def test_own_definitions_of_model(train: FrozenContext[Train], ask: Callable[[Any], Any], answer: Any) -> None:
    """Computed fields, cached properties and partial methods work on the view of a model."""
    assert answer == ask(train.fields)


def test_method_writes(train: FrozenContext[Train]) -> None:
    """A method that assigns an attribute writes its key, once."""
    train.fields.learn()

    assert 0.5 == train["accuracy"]
    with pytest.raises(ContextMutationError):
        train.fields.learn()


def test_property_needs_absent_key(train: FrozenContext[Train]) -> None:
    """A property that needs a key not written yet names that key."""
    with pytest.raises(AbsentKeyError) as raised:
        train.fields.needs_accuracy

    assert "accuracy" == raised.value.key


def test_private_attribute(train: FrozenContext[Train]) -> None:
    """A method that uses private attributes does not run on the view."""
    with pytest.raises(AttributeError, match="_cache"):
        train.fields.cached()


class Slow(BaseModel):
    lr: float
    log: ClassVar[list[str]] = []

    @cached_property
    def value(self) -> float:
        self.log.append("made")
        return self.lr


def test_cached_property_keeps_nothing() -> None:
    """A cached property leaves nothing behind in the context."""
    ctx = FrozenContext[Slow]({"lr": 0.5})

    assert 0.5 == ctx.fields.value
    assert {"lr": 0.5} == dict(ctx) == vars(ctx.fields)


@pytest.mark.parametrize("name", ["model_dump", "model_copy", "model_dump_json", "model_fields", "model_extra"])
def test_machinery(train: FrozenContext[Train], name: str) -> None:
    """What Pydantic gives every model is refused, with what to write instead."""
    with pytest.raises(ModelMethodError, match=rf"write ctx.snapshot\(\).{name}") as raised:
        getattr(train.fields, name)

    assert name == raised.value.key
    assert not hasattr(train.fields, name)


class FrozenModel(BaseModel, frozen=True):
    lr: float
    accuracy: float


@dataclass(frozen=True)
class FrozenData:
    lr: float
    accuracy: float


@pytest.mark.parametrize("shape", [FrozenModel, FrozenData])
def test_frozen_view(shape: Any) -> None:
    """The view of a frozen shape refuses assignment and points to where to write."""
    ctx = C[shape]({"lr": 0.5})
    with pytest.raises(ContextMutationError, match=r"Cannot assign 'accuracy': .* is frozen; write through ctx\['acc"):
        ctx.fields.accuracy = 0.9

    assert "accuracy" not in ctx
    ctx["accuracy"] = 0.9
    assert 0.9 == ctx.fields.accuracy


def test_vars(ctx: Any) -> None:
    """`vars` of the view holds what the context holds, and changes nothing."""
    shown = vars(ctx.fields)
    before = dict(shown)
    shown["lr"] = 9.0
    shown["accuracy"] = 9.0

    assert before == vars(ctx.fields) == dict(ctx)
    assert 0.5 == ctx.fields.lr
    assert not hasattr(ctx.fields, "accuracy")


@pytest.mark.parametrize("name", ["__dict__", "__class__"])
def test_inner_attributes_are_kept(ctx: Any, name: str) -> None:
    """What Python itself keeps on the view cannot be swapped."""
    with pytest.raises((UnknownKeyError, ContextMutationError)):
        setattr(ctx.fields, name, {"lr": 9.0})

    assert 0.5 == ctx.fields.lr


@pytest.mark.parametrize("name", ["__array__", "__wrapped__", "__len__"])
def test_asked_by_tools(name: str) -> None:
    """What tools ask of every object is no key, and is not noted as one that was looked for."""
    log = LoggingContext(FrozenContext[Train]({"lr": 0.5}))

    assert not hasattr(log.fields, name)
    assert set() == log.absent


def test_dir(train: FrozenContext[Train]) -> None:
    """`dir` of the view lists the keys and the shape's own names, and nothing of Pydantic's."""
    own = {"cached", "doubled", "halved", "kinds", "learn", "named", "needs_accuracy", "percent", "scaled", "total"}

    assert {"lr", "epochs", "layers", "accuracy", "tripled", *own} == set(dir(train.fields))


def test_dir_of_undeclared() -> None:
    """`dir` of the view lists undeclared keys that are written."""

    class Open(BaseModel, extra="allow"):
        lr: float

    assert ["lr", "more"] == dir(FrozenContext[Open]({"lr": 1, "more": 2}).fields)


def test_undeclared_attribute_of_open_schema() -> None:
    """An undeclared attribute is read and written where the schema allows it."""

    class Open(BaseModel, extra="allow"):
        lr: float

    ctx = C[Open]({"lr": 1})
    ctx.fields.more = [1]

    assert [1] == ctx.fields.more
    assert not hasattr(ctx.fields, "less")


class Box(BaseModel, Generic[V]):
    item: V

    @property
    def pair(self) -> tuple[V, V]:
        return self.item, self.item


@dataclass
class BoxData(Generic[V]):
    item: V

    @property
    def pair(self) -> tuple[V, V]:
        return self.item, self.item


@pytest.mark.parametrize("shape", [Box, BoxData])
def test_generic_view(shape: Any) -> None:
    """The view of a generic shape has its properties."""
    view = C[shape[int]]({"item": 1}).fields

    assert (1, 1) == view.pair
    assert {"item", "pair"} == set(dir(view))


def test_view_prints(ctx: Any) -> None:
    """A view prints as its context."""
    assert repr(ctx) == repr(ctx.fields)


def test_property_without_getter() -> None:
    """A property that cannot be read is no value."""

    class Odd(BaseModel):
        lr: float
        sink = property(None, lambda self, value: None)

    with pytest.raises(AttributeError, match="has no getter"):
        FrozenContext[Odd]({"lr": 1}).fields.sink


@pytest.mark.parametrize("shape", ATTRIBUTES)
def test_view_notes_reads(shape: Any) -> None:
    """What a view hands out, by attribute, property or method, is on its handle's record."""
    log = LoggingContext(C[shape]({"lr": 0.5}))

    assert (1.0, 1.5) == (log.fields.doubled, log.fields.scaled(3))
    assert {"lr": 0.5} == log.reads
    assert not hasattr(log.fields, "accuracy")
    assert {"accuracy"} == log.absent


# Items


def test_items(items: Any) -> None:
    """Keys are items of a mutable mapping, to read and to write."""
    items["note"] = "warm"

    assert {"lr": 0.5, "note": "warm"} == dict(items) == items.copy()
    assert ["lr", "note"] == list(items) == list(items.keys())
    assert 2 == len(items)
    assert {"lr": 0.5, "note": "warm"} == items
    assert "note" in items
    assert "layers" not in items
    assert isinstance(items, MutableMapping)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda view: view.__delitem__("lr"),
        lambda view: view.pop("lr"),
        lambda view: view.pop("missing", None),
        lambda view: view.popitem(),
        lambda view: view.clear(),
        lambda view: view.__setitem__("lr", 0.5),
        lambda view: view.update(lr=0.5),
    ],
)
def test_items_are_kept(items: Any, attempt: Callable[[Any], Any]) -> None:
    """A view of items refuses to delete and to write again."""
    with pytest.raises(ContextMutationError, match=r"Cannot (delete|mutate)"):
        attempt(items)

    assert {"lr": 0.5} == dict(items)


@pytest.mark.parametrize("method", ["popitem", "clear"])
def test_refused_method_is_no_key(items: Any, method: str) -> None:
    """The error of a method that would delete keys does not speak of the method as of a key."""
    with pytest.raises(ContextMutationError) as raised:
        getattr(items, method)()

    assert repr(method) not in str(raised.value)


def test_update(items: Any) -> None:
    """`update` and `setdefault` write what is not written."""
    items.update(note="warm")

    assert 0.5 == items.setdefault("lr", 0.7)
    assert [1] == items.setdefault("layers", [1])
    assert {"lr": 0.5, "note": "warm", "layers": [1]} == dict(items)


def test_setdefault_returns_what_is_held() -> None:
    """`setdefault` returns what is held, as validated, and not what was passed."""
    passed: Any = ["1"]
    view = FrozenContext[Items]().fields
    returned = view.setdefault("layers", passed)

    assert [1] == returned == view["layers"]


def test_items_are_validated() -> None:
    """Items are validated, and undeclared ones are errors with the nearest name."""
    view: Any = FrozenContext[Items]({"lr": 0.5}).fields

    with pytest.raises(InvalidValueError, match="cannot write 'note'"):
        view["note"] = 5
    with pytest.raises(UnknownKeyError, match="did you mean 'note'"):
        view["noet"]
    with pytest.raises(UnknownKeyError, match="did you mean 'note'"):
        view["noet"] = "x"
    with pytest.raises(AbsentKeyError, match="'note' is declared in Items and not written yet"):
        view["note"]
    assert {"lr": 0.5} == dict(view)


def test_get_item() -> None:
    """`get` of a view covers a key not written yet, and not one that is not declared."""
    view: Any = FrozenContext[Items]({"lr": 0.5}).fields

    assert (0.5, None, 7) == (view.get("lr"), view.get("note"), view.get("note", 7))
    with pytest.raises(UnknownKeyError, match="did you mean 'note'"):
        view.get("noet")


@pytest.mark.parametrize("key", [3, None, "", ("lr",)])
def test_in_never_raises(items: Any, key: Any) -> None:
    """`in` answers no for what cannot be a key."""
    assert key not in items


def test_item_key_is_checked(items: Any) -> None:
    """What cannot be a key is an error that says so."""
    with pytest.raises(InvalidKeyError, match="is of type int"):
        items[3] = 1


def test_item_is_a_copy() -> None:
    """What an item hands out can be changed without effect."""
    view: Any = FrozenContext[Items]({"layers": [1]}).fields
    view["layers"].append(2)
    view.copy()["layers"].append(2)

    assert [1] == view["layers"]


def test_items_complete(items: Any) -> None:
    """A view of items offers its keys to IPython."""
    assert {"lr"} <= set(items._ipython_key_completions_())


def test_items_print(items: Any) -> None:
    """A view of items prints what is held."""
    assert "lr=0.5" in repr(items)


# Completion


@pytest.fixture
def complete() -> Callable[[str, Any], set[str]]:
    """What IPython offers at the end of a line, with a context under the name `ctx`."""
    from IPython.core.completer import IPCompleter, provisionalcompleter

    def completed(line: str, ctx: Any) -> set[str]:
        make: Any = IPCompleter
        completer = make(namespace={"ctx": ctx}, global_namespace={})
        completer.use_jedi = False
        with provisionalcompleter():
            return {found.text.strip("\"'.[]") for found in completer.completions(line, len(line))}

    return completed


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ('ctx["', {"lr", "epochs", "layers", "accuracy"}),
        ("ctx.fields.", {"lr", "epochs", "layers", "accuracy", "doubled"}),
        ('ctx.metrics["', {"loss"}),
    ],
)
def test_ipython_completes(complete: Callable[[str, Any], set[str]], line: str, offered: set[str]) -> None:
    """IPython completes keys, fields and metrics."""
    ctx = FrozenContext[Train]({"lr": 0.5})
    ctx.record("loss", 0.5)

    assert offered <= {name.rpartition(".")[2] for name in complete(line, ctx)}


def test_attribute_of_items() -> None:
    """An attribute asked of a view of items says how to write it, and is missing to those who only look."""
    fields: Any = FrozenContext({"lr": 0.1}).fields
    with pytest.raises(ItemFieldsError, match=r"write fields\['lr'\]"):
        fields.lr

    assert getattr(fields, "lr", None) is None
    assert not hasattr(fields, "__array__")
