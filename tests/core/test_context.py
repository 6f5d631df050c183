"""FrozenContext: typed, validated, written once."""

import copy
import gc
import logging
import pickle
import subprocess
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Mapping
from enum import StrEnum
from inspect import signature
from typing import Annotated, Any, Generic, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, PositiveFloat, SecretStr
from typing_extensions import TypedDict

from crystallize import (
    AbsentKeyError,
    Context,
    ContextMutationError,
    CrystallizeError,
    FrozenContext,
    InvalidInitialError,
    InvalidKeyError,
    InvalidValueError,
    KeyWritten,
    LoggingContext,
    Metric,
    MetricSchema,
    Output,
    SchemaError,
    Shared,
    SinkError,
    UncopyableValueError,
    UnknownKeyError,
)
from crystallize.sinks.memory import MemorySink

C: Any = FrozenContext
"""For shapes that no type checker can read."""

V = TypeVar("V")


class Handle:
    def __deepcopy__(self, memo: object) -> "Handle":
        raise TypeError("one of a kind")


HANDLE = Handle()


class Train(BaseModel, arbitrary_types_allowed=True):
    lr: PositiveFloat
    epochs: int = 3
    layers: list[int] = [1, 2]
    accuracy: Annotated[float, Output]
    handle: Annotated[Handle | None, Shared] = None


class Items(TypedDict):
    lr: float


class TrainMetrics(MetricSchema):
    loss = Metric(float)


class TrainContext(FrozenContext[Train]):
    pass


class Renamed(TrainContext):
    pass


class Boxed(FrozenContext[V], Generic[V]):
    pass


class BoxedTrain(Boxed[Train]):
    pass


class Typed(FrozenContext[dict[str, V]]):
    pass


class Plain(FrozenContext):
    pass


class FailingSink:
    def handle(self, event: object, /) -> None:
        raise OSError("disk full")

    def close(self) -> None: ...


keys = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=255)
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


# Reading and writing


@given(st.dictionaries(keys, values))
def test_holds_what_it_was_given(initial: dict[str, Any]) -> None:
    """A context holds the initial values, in their order, by every way of reading."""
    ctx = FrozenContext(initial)

    assert initial == dict(ctx) == ctx.as_dict() == dict(ctx.items()) == ctx.snapshot()
    assert list(initial) == list(ctx) == list(ctx.keys())
    assert len(initial) == len(ctx) == len(ctx.keys())
    assert list(initial.values()) == list(ctx.values())
    assert all(key in ctx and ctx[key] == ctx.get(key) == value for key, value in initial.items())


@given(st.lists(st.tuples(st.sampled_from("abcd"), values)))
def test_written_once(writes: list[tuple[str, Any]]) -> None:
    """The first write of a key holds; any other is an error that changes nothing."""
    ctx, held = FrozenContext(), dict[str, Any]()
    for key, value in writes:
        if key in held:
            with pytest.raises(ContextMutationError, match=f"Cannot mutate existing key: '{key}'"):
                ctx[key] = value
        else:
            ctx[key] = value
            held[key] = value

    assert held == dict(ctx)


@given(st.lists(st.tuples(st.sampled_from(["lr", "accuracy", "lrr", "", "a\nb"]), st.sampled_from([-1, 0.5, "x", []]))))
def test_failing_write_changes_nothing(writes: list[tuple[str, Any]]) -> None:
    """After a write that fails nothing has changed and nobody was told; one that succeeds is told."""
    sink = MemorySink()
    ctx = C[Train]({"lr": 1}, sinks=[sink])
    for key, value in writes:
        before, told = dict(ctx), list(sink.events)
        try:
            ctx[key] = value
        except CrystallizeError:
            assert (before, told) == (dict(ctx), sink.events)
        else:
            assert {**before, key: value} == dict(ctx)
            assert [*told, KeyWritten(key, value, None)] == sink.events


@pytest.mark.parametrize(
    "write",
    [
        lambda ctx: ctx.__setitem__("lr", 1.0),
        lambda ctx: ctx.add("lr", 1.0),
        lambda ctx: ctx.add("lr", "not valid either"),
        lambda ctx: setattr(ctx.fields, "lr", 1.0),
    ],
)
def test_second_write(write: Callable[[Any], None]) -> None:
    """A second write is refused even for an equal value, by every way of writing."""
    ctx = FrozenContext[Train]({"lr": 1.0})
    with pytest.raises(ContextMutationError, match="Cannot mutate existing key: 'lr', written as an initial value"):
        write(ctx)


def test_second_write_names_the_first() -> None:
    """The error of a second write says by which step the key was written, if by one."""
    ctx = FrozenContext()
    ctx["a"] = 1
    with ctx.step("fit") as step:
        step["b"] = 2

    for key, by in {"a": "outside any step", "b": "by step 'fit'"}.items():
        with pytest.raises(ContextMutationError, match=f"written {by}") as raised:
            ctx[key] = 1
        assert key == raised.value.key


@pytest.mark.parametrize("key", ["lr", "accuracy", "unknown"])
def test_delete(key: str) -> None:
    """No key can be deleted."""
    ctx: Any = FrozenContext[Train]({"lr": 1})
    with pytest.raises(ContextMutationError, match=f"Cannot delete key: '{key}'"):
        del ctx[key]

    assert 1.0 == ctx["lr"]


@pytest.mark.parametrize("name", ["lr", "fields", "metrics", "artifacts", "logger", "new", "_state", "__dict__"])
def test_attributes_are_set_for_good(name: str) -> None:
    """No attribute of a context can be assigned or deleted."""
    ctx: Any = FrozenContext[Train]({"lr": 1})
    with pytest.raises(ContextMutationError, match=f"Cannot assign attribute '{name}'"):
        setattr(ctx, name, 1)
    with pytest.raises(ContextMutationError, match=f"Cannot delete attribute '{name}'"):
        delattr(ctx, name)


def test_alias_has_the_signature_of_its_class() -> None:
    """Editors and `help` show the arguments of `FrozenContext[Train]`, and of a subclass those of its own."""
    assert signature(FrozenContext) == signature(FrozenContext[Train])
    assert ["initial", "logger", "metrics", "sinks"] == [*signature(FrozenContext[Train]).parameters]
    assert ["ctx", "logger"] == [*signature(LoggingContext[Train]).parameters]


def test_attribute_of_subclass_is_set_for_good() -> None:
    """A subclass refuses new attributes too."""
    ctx: Any = TrainContext({"lr": 1})
    with pytest.raises(ContextMutationError):
        ctx.new = 1


def test_unknown_key() -> None:
    """An undeclared key is an error with the nearest name, by every way of reading and writing but `in`."""
    ctx = FrozenContext[Train]({"lr": 1})
    asked: list[Callable[[], Any]] = [
        lambda: ctx["epohcs"],
        lambda: ctx.get("epohcs"),
        lambda: ctx.add("epohcs", 1),
    ]
    for ask in asked:
        with pytest.raises(
            UnknownKeyError, match=r"'epohcs' is not declared in Train; did you mean 'epochs'\?"
        ) as raised:
            ask()
        assert isinstance(raised.value, KeyError)
        assert isinstance(raised.value, AttributeError)

    assert "epohcs" not in ctx


def test_unknown_key_far_from_all() -> None:
    """Where no name is near, the declared ones are listed."""
    with pytest.raises(UnknownKeyError, match="declared are: accuracy, epochs, handle, layers, lr"):
        FrozenContext[Train]({"lr": 1})["something else"]


def test_absent_key() -> None:
    """A declared key that is not written says so, and has a default in `get`."""
    ctx = FrozenContext[Train]({"lr": 1})
    with pytest.raises(AbsentKeyError, match="'accuracy' is declared in Train and not written yet"):
        ctx["accuracy"]

    assert (None, 7) == (ctx.get("accuracy"), ctx.get("accuracy", 7))
    assert "accuracy" not in ctx


def test_absent_key_without_schema() -> None:
    """Without a shape an absent key has the default, and its error names a near key that is written."""
    ctx = FrozenContext({"learning_rate": 1})
    with pytest.raises(AbsentKeyError, match=r"'learning_rat' is not written; did you mean 'learning_rate'\?"):
        ctx["learning_rat"]

    assert (None, 7) == (ctx.get("learning_rat"), ctx.get("x", 7))


def test_invalid_value() -> None:
    """A value that its key does not allow is refused with what was allowed."""
    ctx = FrozenContext[Train]({"lr": 1})
    with pytest.raises(InvalidValueError, match=r"cannot write 'accuracy': should be a valid number.*got 'high'"):
        ctx["accuracy"] = "high"

    assert "accuracy" not in ctx


def test_as_dict_is_read_only() -> None:
    """`as_dict` gives a mapping that cannot be changed, and does not follow the context."""
    ctx = FrozenContext({"a": 1})
    given_ = ctx.as_dict()
    ctx["b"] = 2

    assert isinstance(given_, Mapping)
    assert {"a": 1} == given_
    assert not hasattr(given_, "__setitem__")


def test_views_are_live() -> None:
    """`keys`, `values` and `items` follow the context."""
    ctx = FrozenContext({"a": 1})
    shown = ctx.keys(), ctx.values(), ctx.items()
    ctx["b"] = 2

    assert [["a", "b"], [1, 2], [("a", 1), ("b", 2)]] == [list(view) for view in shown]


def test_writing_while_iterating() -> None:
    """A context can be written to while it is iterated over."""
    ctx = FrozenContext({"a": 1, "b": 2})
    for key in ctx:
        ctx[f"{key}2"] = ctx[key]

    assert {"a": 1, "b": 2, "a2": 1, "b2": 2} == dict(ctx)


# Keys


class Name(StrEnum):
    LR = "lr"
    EPOCHS = "epochs"


class Liar(str):
    """A str that takes itself for 'lie', and for equal to anything."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return hash("lie")

    def __str__(self) -> str:
        return "lie"


class Unhashable(str):
    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]


class Raising(str):
    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


BAD_KEYS: list[tuple[Any, str]] = [
    ("", "is empty"),
    ("k" * 256, "has 256"),
    ("a\0b", "has unprintable"),
    ("a\nb", "has unprintable"),
    ("a\ud800", "has unprintable"),
    ("\u200b", "has unprintable"),
    (3, "3 is of type int"),
    (None, "None is of type NoneType"),
    (b"lr", "is of type bytes"),
    (("a", "b"), "is of type tuple"),
    (["a"], "is of type list"),
]


@pytest.mark.parametrize(("key", "text"), BAD_KEYS, ids=[ascii(key)[:9] for key, _ in BAD_KEYS])
@pytest.mark.parametrize("shape", [dict[str, int], Train, Items])
def test_bad_key(key: Any, text: str, shape: Any) -> None:
    """What cannot be a key is an error that says what a key is, by every way but `in`; nothing has changed."""
    ctx = C[shape]({"lr": 1})
    before = dict(ctx)
    attempts: list[Callable[[], Any]] = [lambda: ctx[key], lambda: ctx.get(key), lambda: ctx.add(key, 1)]
    for attempt in attempts:
        with pytest.raises(InvalidKeyError, match="a name is a str of 1 to 255 printable characters") as raised:
            attempt()
        assert text in str(raised.value)
        assert raised.value.args == pickle.loads(pickle.dumps(raised.value)).args
    assert key not in ctx
    assert before == dict(ctx)


def test_bad_initial_keys() -> None:
    """All initial keys that cannot be keys come in one error."""
    bad = [key for key, _ in BAD_KEYS if not isinstance(key, list)]
    with pytest.raises(InvalidInitialError) as raised:
        C(dict.fromkeys(bad, 1))

    assert len(bad) == len(raised.value.problems)


@pytest.mark.parametrize("key", ["k" * 255, " ", "a.b/c", "ü", "键", "__class__", "self", "keys"])
def test_good_key(key: str) -> None:
    """Any printable name of up to 255 characters is a key."""
    ctx = FrozenContext({key: 1})

    assert {key: 1} == dict(ctx)
    assert 1 == ctx[key]


def test_enum_key() -> None:
    """A StrEnum member is stored as the plain str that it holds, and finds it again."""
    ctx = FrozenContext[Train]({Name.LR: 1})

    assert 1.0 == ctx[Name.LR] == ctx["lr"] == ctx.get(Name.LR)
    assert Name.EPOCHS in ctx
    assert {str} == {type(key) for key in ctx}


@pytest.mark.parametrize("cls", [Liar, Unhashable, Raising])
@pytest.mark.parametrize("value", [1, [1]])
def test_key_of_a_subclass_of_str(cls: Any, value: Any) -> None:
    """A key of a subclass of str counts as the str that it holds, whatever it says of itself."""
    ctx = FrozenContext({"lie": "wrong"})
    ctx[cls("truth")] = value

    assert ["lie", "truth"] == [*map(str.__str__, ctx)]
    assert {str} == {type(key) for key in ctx}
    assert value == ctx["truth"] == ctx[cls("truth")] == ctx.get(cls("truth"))
    assert cls("truth") in ctx
    assert cls("absent") not in ctx
    with pytest.raises(AbsentKeyError):
        ctx[cls("absent")]
    with pytest.raises(ContextMutationError):
        ctx[cls("truth")] = value


class Growing(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, PositiveFloat]
    lr: PositiveFloat
    twice: Annotated[float, AfterValidator(lambda value, info: value * info.data["lr"])] = 1.0


SOME_KEYS = st.one_of(
    st.sampled_from(["lr", "twice", "a", "", "a\n", "k" * 255, "k" * 256, 3, None, Name.LR, Liar("a")]),
    st.text(max_size=3),
)
SOME_VALUES = st.one_of(st.floats(), st.integers(-1, 3), st.sampled_from(["2", "x", None, [1]]))


@given(
    shape=st.sampled_from([Train, Growing, dict[str, PositiveFloat], dict[str, Any], dict[str, list[int]]]),
    writes=st.lists(st.tuples(SOME_KEYS, SOME_VALUES), max_size=6),
)
def test_fast_and_slow_write(shape: Any, writes: list[tuple[Any, Any]]) -> None:
    """A write that goes the fast way has the outcome of the slow way, which every write with a sink goes."""
    found = []
    for sinks in ([], [MemorySink()]):
        ctx, errors = C[shape]({"lr": 0.5}, sinks=sinks) if shape is Train else C[shape](sinks=sinks), []
        for key, value in writes:
            try:
                ctx[key] = value
            except CrystallizeError as error:
                errors.append((type(error), str(error)))
        found.append((repr(dict(ctx)), errors))
    assert found[0] == found[1]


class Truth(BaseModel):
    lie: int = 0
    truth: int = 0


def test_initial_key_of_a_subclass_of_str() -> None:
    """Among initial values too, a key counts as the str that it holds."""
    assert {"lie": 0, "truth": 1} == dict(FrozenContext[Truth]({Liar("truth"): 1}))


# Initial values


def test_a_schema_in_place_of_initial_values() -> None:
    """Whoever hands a schema on as values is told where it goes."""
    with pytest.raises(InvalidInitialError, match=r"a schema goes in brackets, FrozenContext\[Train\]\(\.\.\.\)"):
        FrozenContext(Train)


@pytest.mark.parametrize("initial", [5, [("lr", 1)], "lr", Train])
@pytest.mark.parametrize("shape", [Train, Items, dict[str, int]])
def test_initial_of_another_type(shape: Any, initial: Any) -> None:
    """What is neither a mapping nor an instance of the shape is an error that says so."""
    with pytest.raises(InvalidInitialError, match="the initial values should be a mapping"):
        C[shape](initial)


@pytest.mark.parametrize(
    "initial", [FrozenContext({"lr": 1}), types.MappingProxyType({"lr": 1}), LoggingContext(FrozenContext({"lr": 1}))]
)
def test_initial_of_any_mapping(initial: Any) -> None:
    """Any mapping serves as initial values, another context too."""
    assert 1.0 == FrozenContext[Train](initial)["lr"]


def test_nothing_given() -> None:
    """A context without initial values is empty."""
    ctx = FrozenContext()

    assert {} == dict(ctx)
    assert "FrozenContext()" == repr(ctx)


@given(st.lists(st.sampled_from(["lr", "epochs", "layers", "x", "y"]), min_size=1, unique=True), st.booleans())
def test_initial_all_or_nothing(names: list[str], valid: bool) -> None:
    """Initial values are taken all or none: a sink hears of a context that is made, and of no other."""
    sink = MemorySink()
    good = {"lr": 1.0, "epochs": 2, "layers": [1]}
    initial: dict[str, Any] = {name: good.get(name) if valid else object() for name in names}
    if valid and not set(names) - set(good):
        ctx, told = C[Train](initial, sinks=[sink]), cast("list[KeyWritten]", sink.events)
        assert {**ctx, **initial} == dict(ctx) == {event.key: event.value for event in told}
    else:
        with pytest.raises(InvalidInitialError) as raised:
            C[Train](initial, sinks=[sink])
        wrong = set(names) - set(good) if valid else set(names)
        assert wrong == {problem.location[0] for problem in raised.value.problems}
        assert [] == sink.events


def test_uncopyable_initial_value() -> None:
    """An initial value that cannot be copied is among what is wrong with the initial values."""
    with pytest.raises(InvalidInitialError, match="cannot be copied") as raised:
        FrozenContext({"a": Handle(), "": 1})

    assert 2 == len(raised.value.problems)


def test_uncopyable_value() -> None:
    """A value that cannot be copied is refused with what to write, and nothing has changed."""
    ctx = FrozenContext()
    with pytest.raises(
        UncopyableValueError,
        match=r"cannot hold 'a'.*\n.*Annotated\[Handle, Shared\]\.\nOr say how it is copied:\n.*register\(",
    ):
        ctx["a"] = Handle()

    assert {} == dict(ctx)


def test_sink_that_is_none() -> None:
    """What is no sink is refused when the context is made."""
    with pytest.raises(SchemaError, match="a sink has the methods"):
        C(sinks=[object()])


def test_failing_sink() -> None:
    """A sink that fails is an error, and what took effect stays."""
    ctx = FrozenContext(sinks=[FailingSink()])
    with pytest.raises(SinkError, match="disk full"):
        ctx["a"] = 1

    assert {"a": 1} == dict(ctx)


class Guarded(BaseModel):
    token: SecretStr
    names: list[str] = []


def test_sinks_are_told() -> None:
    """Sinks are told each write in order, from the initial values on, with copies, and a mask for a secret."""
    sink = MemorySink()
    ctx = FrozenContext[Guarded]({"token": "hunter2"}, sinks=[sink])
    told: Any = sink.events
    told[1].value.append("x")

    assert ["token", "names"] == [event.key for event in told]
    assert "hunter2" not in repr(told)
    assert [] == ctx["names"]


def test_instance_without_a_field() -> None:
    """An instance that was made without one of its fields leaves that key to be written."""
    ctx = FrozenContext[Train](Train.model_construct(lr=1.0))

    assert {"lr", "epochs", "layers", "handle"} == set(ctx)
    ctx["accuracy"] = 0.5
    assert 0.5 == ctx.snapshot().accuracy


# Isolation


def change(value: Any) -> None:
    """Change a value at every depth."""
    if isinstance(value, list):
        for item in value:
            change(item)
        value.append("changed")
    elif isinstance(value, dict):
        for item in value.values():
            change(item)
        value["changed"] = True


@given(st.dictionaries(st.sampled_from("abc"), values), values)
def test_isolation(initial: dict[str, Any], later: Any) -> None:
    """What was passed in and what was read out can be changed at any depth without effect."""
    expected = copy.deepcopy({**initial, "later": later})
    ctx = FrozenContext(initial)
    ctx["later"] = later
    change(initial)
    change(later)
    reads: list[Callable[[], Any]] = [
        lambda: dict(ctx),
        lambda: dict(ctx.as_dict()),
        ctx.snapshot,
        lambda: ctx.fields.copy(),
    ]
    for read in reads:
        change(read())
    for key in ctx:
        change(ctx.get(key))

    assert expected == dict(ctx)


def test_isolation_of_models() -> None:
    """Models can be changed by their writer and their readers without effect."""
    written = Train(lr=1, accuracy=0.5)
    ctx = FrozenContext({"model": written})
    written.layers.append(9)
    ctx["model"].layers.append(9)
    ctx["model"].lr = 9.0

    assert Train(lr=1, accuracy=0.5) == ctx["model"]


def test_validator_that_keeps_its_input() -> None:
    """What a permissive type hands through is copied all the same."""
    inner = [1]
    ctx = C[dict[str, list[Any]]]({"a": [inner]})
    inner.append(2)

    assert [[1]] == ctx["a"]


def test_cycle() -> None:
    """A list that holds itself is held faithfully."""
    value: list[Any] = [1]
    value.append(value)
    ctx = FrozenContext({"a": value})
    held = ctx["a"]

    assert held is not value
    assert held is held[1]


# Threads


def test_one_winner_a_key() -> None:
    """Of all the threads that write one key, one wins; the others get a ContextMutationError."""
    ctx = C[dict[str, int]]()
    names = [f"k{number}" for number in range(500)]
    won: list[list[str]] = [[] for _ in range(8)]
    lost: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def race(me: int) -> None:
        start.wait()
        for name in names:
            try:
                ctx[name] = me
                won[me].append(name)
            except ContextMutationError:
                lost[me].append(name)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=race, args=(me,)) for me in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert sorted(names) == sorted(name for mine in won for name in mine)
    assert 7 * len(names) == sum(map(len, lost))
    assert dict(ctx) == {name: me for me in range(8) for name in won[me]}


def test_losing_by_a_hair() -> None:
    """A key that another thread writes while a value is being validated stays that thread's."""
    ctx: Any = None

    def meanwhile(value: Any) -> Any:
        if value == "mine":
            ctx["a"] = "theirs"
        return value

    ctx = C[dict[str, Annotated[str, AfterValidator(meanwhile)]]]()
    with pytest.raises(ContextMutationError):
        ctx["a"] = "mine"

    assert {"a": "theirs"} == dict(ctx)


# Copies


def made(cls: Any = FrozenContext[Train]) -> Any:
    """A context with something of everything in it."""
    ctx = cls({"lr": 1, "layers": [1]}, metrics=TrainMetrics, sinks=[MemorySink()])
    ctx.record("loss", 0.5)
    ctx.artifacts.add("a.txt", b"x")
    with ctx.step("fit") as step:
        step["accuracy"] = 0.9
    return ctx


COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda ctx: pickle.loads(pickle.dumps(ctx))]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("cls", [FrozenContext[Train], TrainContext, Renamed, Boxed[Train], BoxedTrain])
def test_copy(copied: Callable[[Any], Any], cls: Any) -> None:
    """A copy has the same class, keys, metrics, artifacts and provenance."""
    ctx = made(cls)
    other = copied(ctx)

    assert type(ctx) is type(other)
    assert dict(ctx) == dict(other)
    assert repr(ctx) == repr(other)
    assert (0.5,) == other.metrics["loss"]
    assert ["a.txt"] == [artifact.name for artifact in other.artifacts]
    assert ctx.provenance.steps == other.provenance.steps
    assert ctx.logger is other.logger
    with pytest.raises(ContextMutationError, match="written by step 'fit'"):
        other["accuracy"] = 1.0
    with pytest.raises(UnknownKeyError):
        other["lrr"]


@pytest.mark.parametrize("copied", COPIES)
def test_copy_is_independent(copied: Callable[[Any], Any]) -> None:
    """A copy and its original know nothing of each other, and the copy has no sinks."""
    sink = MemorySink()
    ctx = FrozenContext({"a": [1]}, sinks=[sink])
    other = copied(ctx)
    told = len(sink.events)
    other["b"] = 2
    other.record("loss", 1.0)
    other.artifacts.add("a.txt", b"")

    assert told == len(sink.events)
    assert {"a": [1]} == dict(ctx)
    assert () == ctx.metrics["loss"]
    assert 0 == len(ctx.artifacts)
    ctx["b"] = 3
    assert 2 == other["b"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copy_hands_over_what_is_shared(copied: Callable[[Any], Any]) -> None:
    """A copy holds the very object that is shared."""
    ctx = FrozenContext[Train]({"lr": 1, "handle": HANDLE})

    assert HANDLE is copied(ctx)["handle"]


SHAPES: list[Any] = [dict, dict[str, Any], dict[str, float], Mapping[str, float], Items]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_copy_keeps_the_shape(copied: Callable[[Any], Any], shape: Any) -> None:
    """A copy of a context over a generic type is over that type."""
    ctx = C[shape]({"lr": 1.5})
    other = copied(ctx)

    assert repr(ctx) == repr(other)
    assert {"lr": 1.5} == dict(other)
    assert type(ctx.fields) is type(other.fields)


@given(st.dictionaries(keys, values))
def test_copies_round_trip(initial: dict[str, Any]) -> None:
    """Whatever a context holds, its copies hold the same, in the same order."""
    ctx = FrozenContext(initial)
    for copied in COPIES:
        assert list(initial.items()) == list(copied(ctx).items())


def test_copy_does_not_validate_again() -> None:
    """What was accepted once is not validated again by a copy."""
    ctx = C[dict[str, Annotated[int, AfterValidator(lambda value: value + 1)]]]({"a": 1})

    assert 2 == copy.deepcopy(ctx)["a"] == copy.copy(ctx)["a"]


@pytest.mark.slow
def test_cloudpickle_of_a_script() -> None:
    """A context over a schema of a script reaches another process by cloudpickle."""
    write = """
import sys, cloudpickle
from pydantic import BaseModel
from crystallize import FrozenContext, Metric, MetricSchema
class Train(BaseModel):
    lr: float
    layers: list[int] = [1]
class Measured(MetricSchema):
    loss = Metric(float)
ctx = FrozenContext[Train]({"lr": 1}, metrics=Measured)
ctx.record(Measured.loss, 0.5)
sys.stdout.buffer.write(cloudpickle.dumps(ctx))
"""
    read = """
import sys, pickle
ctx = pickle.loads(sys.stdin.buffer.read())
print(ctx, ctx.metrics["loss"], ctx.fields.layers)
try:
    ctx["lrr"]
except KeyError as error:
    print(error)
"""
    env = {"PYTHONPATH": ":".join(sys.path)}
    sent = subprocess.run([sys.executable, "-c", write], env=env, capture_output=True, check=True).stdout
    got = subprocess.run([sys.executable, "-c", read], env=env, capture_output=True, check=True, input=sent).stdout

    expected = (
        "FrozenContext[Train](lr=1.0, layers=[1]) (0.5,) [1]\n'lrr' is not declared in Train; did you mean 'lr'?\n"
    )
    assert expected == got.decode()


# The alias


def test_alias() -> None:
    """`FrozenContext[Train]` is an alias as typing's are, and its call makes a FrozenContext."""
    alias: Any = FrozenContext[Train]

    assert FrozenContext is typing.get_origin(alias)
    assert (Train,) == typing.get_args(alias)
    assert FrozenContext is type(alias({"lr": 1}))
    assert alias == FrozenContext[Train]
    assert hash(alias) == hash(C[Train])
    assert alias == pickle.loads(pickle.dumps(alias)) == copy.deepcopy(alias)
    assert 1.0 == pickle.loads(pickle.dumps(alias))({"lr": 1})["lr"]
    assert (alias, type(None)) == typing.get_args(alias | None)


def test_alias_of_a_variable() -> None:
    """A type variable in an alias is filled in later, at any depth."""
    generic: Any = dict

    assert (V,) == C[V].__parameters__
    assert "FrozenContext[Train]" == repr(C[V][Train]({"lr": 1})).partition("(")[0]
    assert {"a": 1} == dict(C[generic[str, V]][int]({"a": "1"}))


def test_generic_function() -> None:
    """A generic function's annotations name the alias."""

    def lend(ctx: FrozenContext[V]) -> FrozenContext[V]:
        return ctx

    ctx = FrozenContext[Train]({"lr": 1})

    assert ctx is lend(ctx)
    assert C[V] == typing.get_type_hints(lend)["ctx"]


@pytest.mark.parametrize("args", [(), (int, str), (Train, int)])
def test_alias_of_another_number(args: Any) -> None:
    """One type is what a context is made over: none or two are an error."""
    with pytest.raises(TypeError):
        C[args]({"lr": 1})


# Subclasses


@pytest.mark.parametrize(
    "cls",
    [TrainContext, Renamed, Boxed[Train], BoxedTrain, C[V][Train]],
)
def test_subclass(cls: Any) -> None:
    """A subclass holds what the alias that it was made of says, as do its own subclasses and aliases."""
    ctx = cls({"lr": 1})

    assert isinstance(ctx, FrozenContext)
    assert isinstance(ctx, typing.get_origin(cls) or cls)
    assert {"lr", "epochs", "layers", "handle"} == set(ctx)
    with pytest.raises(InvalidInitialError, match=r"\[Train\]"):
        cls({"lr": -1})


def test_subclass_without_shape() -> None:
    """A subclass without a shape holds anything."""
    assert {"a": 1} == dict(Plain({"a": 1}))


def test_generic_subclass_of_a_part() -> None:
    """A generic subclass may leave open a part of its shape."""
    ctx = Typed[int]({"a": 1})

    assert {"a": 1} == dict(ctx)
    with pytest.raises(InvalidValueError):
        ctx["b"] = "x"


def test_subclass_with_its_own_init() -> None:
    """A subclass may have an `__init__` and methods of its own."""

    class Named(FrozenContext[Train]):
        def __init__(self, lr: float) -> None:
            super().__init__({"lr": lr})

        def halved(self) -> float:
            return self.fields.lr / 2

    assert 0.5 == Named(1.0).halved()


# Conformance


@pytest.mark.parametrize("ctx", [FrozenContext({"lr": 1}), FrozenContext[Train]({"lr": 1}), TrainContext({"lr": 1})])
def test_conforms(ctx: Any) -> None:
    """Every context is a `Context`, its handles too."""
    log: object = LoggingContext(ctx)

    assert isinstance(log, Context)
    assert isinstance(ctx, Context)
    assert not isinstance({"lr": 1}, Context)


def test_logger() -> None:
    """A context logs where it is told to, by default to the logger of the package's name."""
    own = logging.getLogger("own")

    assert own is FrozenContext({}, own).logger
    assert logging.getLogger("crystallize") is FrozenContext().logger


def test_metrics() -> None:
    """A context made with metrics records those alone."""
    ctx = FrozenContext[Train]({"lr": 1}, metrics=TrainMetrics)
    ctx.record(TrainMetrics.loss, 0.5)
    with pytest.raises(CrystallizeError):
        ctx.record("los", 0.5)

    assert (0.5,) == ctx.metrics[TrainMetrics.loss]


# Printing


def test_prints() -> None:
    """A context prints in short: its shape, its keys, their values, and no secret."""
    ctx = FrozenContext[Guarded]({"token": "hunter2", "names": ["x" * 1000]})

    assert repr(ctx).startswith("FrozenContext[Guarded](token=**********, names=['xxx")
    assert len(repr(ctx)) < 500


def test_prints_many() -> None:
    """A context of many keys prints the first of them and counts the others."""
    text = repr(FrozenContext({f"k{number}": number for number in range(100)}))

    assert "k19=19, and 80 more)" in text
    assert "k20" not in text


def test_completes() -> None:
    """IPython is offered the declared keys and those that are written."""
    assert ["lr", "epochs", "layers", "accuracy", "handle"] == C[Train]({"lr": 1})._ipython_key_completions_()
    assert ["a"] == FrozenContext({"a": 1})._ipython_key_completions_()


def test_is_freed() -> None:
    """A context that is used no more is freed, whatever was made of it."""
    ctx: Any = FrozenContext[Train]({"lr": 1})
    view, gone = ctx.fields, weakref.ref(ctx)
    del ctx, view
    gc.collect()

    assert None is gone()
