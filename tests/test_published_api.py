"""The published module's public names, used as code written against it uses them: without a schema."""

import copy
import logging
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

import crystallize
from crystallize.utils import context as published
from crystallize.utils.context import ContextMutationError, FrozenContext, FrozenMetrics, LoggingContext


@pytest.mark.parametrize("name", ["ContextMutationError", "FrozenContext", "FrozenMetrics", "LoggingContext"])
def test_names(name: str) -> None:
    """The published names are where they were, and in the package itself."""
    assert getattr(crystallize, name) is getattr(published, name)
    assert name in published.__all__


# ContextMutationError


class GuardError(ContextMutationError):
    """An error that a user has made of the published one."""


@pytest.mark.parametrize("kind", [ContextMutationError, GuardError])
@pytest.mark.parametrize("given", [(), ("the plan is frozen",), ("{lr} is frozen",), ("lr", "the plan is frozen")])
def test_mutation_error_of_a_user(kind: type[ContextMutationError], given: tuple[str, ...]) -> None:
    """The error is raised with its message alone, or with a key and a message; it prints, pickles and copies."""
    with pytest.raises(ContextMutationError) as caught:
        raise kind(*given)
    error = caught.value

    assert ("".join(given[-1:]), given) == (str(error), error.args)
    assert "".join(given[:-1]) == error.key
    for found in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (kind, str(error), error.args, vars(error)) == (type(found), str(found), found.args, vars(found))


# FrozenMetrics


def test_metrics_keep_order() -> None:
    """Values and tags are kept in order, as tuples."""
    metrics = FrozenMetrics()
    metrics.add("loss", 0.5)
    metrics.add("loss", 0.4, {"epoch": 1})
    metrics.add("loss", 0.3, tags={"epoch": 2})
    metrics.add("seen", 3)

    assert (0.5, 0.4, 0.3) == metrics["loss"]
    assert ({}, {"epoch": 1}, {"epoch": 2}) == metrics.get_tags("loss")
    assert {"loss": (0.5, 0.4, 0.3), "seen": (3,)} == metrics.as_dict()


def test_metrics_as_dict_is_read_only() -> None:
    """`as_dict` gives a mapping that cannot be changed."""
    metrics = FrozenMetrics()
    metrics.add("loss", 0.5)

    assert isinstance(metrics.as_dict(), Mapping)
    assert not hasattr(metrics.as_dict(), "__setitem__")


def test_metric_that_is_absent() -> None:
    """A name never recorded has no values and no tags, and asking creates nothing."""
    metrics = FrozenMetrics()

    assert () == metrics["loss"] == metrics.get_tags("loss")
    assert {} == metrics.as_dict()
    assert "loss" not in metrics


def test_metrics_alias_nothing() -> None:
    """Tags and values can be changed by who passed or read them, without effect."""
    value, tags = [1], {"epochs": [1]}
    metrics = FrozenMetrics()
    metrics.add("curve", value, tags)
    value.append(2)
    tags["epochs"].append(2)
    metrics["curve"][0].append(3)
    metrics.get_tags("curve")[0]["epochs"].append(3)
    metrics.as_dict()["curve"][0].append(3)

    assert ([1],) == metrics["curve"]
    assert ({"epochs": [1]},) == metrics.get_tags("curve")


# FrozenContext


def test_context() -> None:
    """A context is made of a dict, read and written by item, and by its methods."""
    ctx = FrozenContext({"a": 1, "b": {"c": [2]}})
    ctx["d"] = 3
    ctx.add("e", 4)

    assert (1, 3, 4) == (ctx["a"], ctx["d"], ctx["e"])
    assert (1, None, "x") == (ctx.get("a"), ctx.get("z"), ctx.get("z", "x"))
    assert (1, "x") == (ctx.get("a", default=0), ctx.get(key="z", default="x"))
    assert {"a": 1, "b": {"c": [2]}, "d": 3, "e": 4} == ctx.as_dict()


@pytest.mark.parametrize("again", ["item", "add"])
def test_second_write(again: str) -> None:
    """Setting a key again raises, and changes nothing."""
    ctx = FrozenContext({"a": 1})
    with pytest.raises(ContextMutationError, match="Cannot mutate existing key: 'a'"):
        ctx.__setitem__("a", 2) if again == "item" else ctx.add("a", 2)

    assert 1 == ctx["a"]


def test_absent_key() -> None:
    """An absent key is a KeyError."""
    with pytest.raises(KeyError):
        FrozenContext({"a": 1})["b"]


def test_context_aliases_nothing() -> None:
    """What was passed in and what is read can be changed at any depth, without effect and without an error."""
    initial: dict[str, Any] = {"a": {"b": [1, {"c": 2}]}}
    ctx = FrozenContext(initial)
    initial["a"]["b"][1]["c"] = 9
    initial["x"] = 1
    ctx["a"]["b"].append(3)
    ctx["a"]["b"][1]["c"] = 9
    found: Any = ctx.get("a")
    found["b"].clear()
    ctx.as_dict()["a"]["b"][1]["c"] = 9

    assert {"a": {"b": [1, {"c": 2}]}} == ctx.as_dict()


def test_as_dict_is_read_only() -> None:
    """`as_dict` gives a mapping that cannot be changed."""
    given: Any = FrozenContext({"a": 1}).as_dict()
    with pytest.raises(TypeError):
        given["a"] = 2


def test_record() -> None:
    """`record` adds to the context's metrics."""
    ctx = FrozenContext({})
    ctx.record("loss", 0.5)
    ctx.record("loss", 0.4, {"epoch": 1})
    ctx.record("loss", 0.3, tags={"epoch": 2})

    assert (0.5, 0.4, 0.3) == ctx.metrics["loss"]
    assert ({}, {"epoch": 1}, {"epoch": 2}) == ctx.metrics.get_tags("loss")


def test_record_by_published_keywords() -> None:
    """`record` takes its arguments by the names that were published."""
    ctx: Any = FrozenContext({})
    ctx.record(metric_name="loss", value=0.5, tags={"epoch": 1})

    assert (0.5,) == ctx.metrics["loss"]


def test_artifacts() -> None:
    """Artifacts are bytes under a name, iterated over, counted and cleared."""
    ctx = FrozenContext({})
    ctx.artifacts.add("a.txt", b"x")

    assert [("a.txt", b"x")] == [(artifact.name, artifact.data) for artifact in ctx.artifacts]
    assert 1 == len(ctx.artifacts)
    ctx.artifacts.clear()
    assert 0 == len(ctx.artifacts)


def test_logger() -> None:
    """The logger is the one given, by place or by name, else the one named crystallize."""
    own = logging.getLogger("own")

    assert own is FrozenContext({}, own).logger is FrozenContext({}, logger=own).logger
    assert "crystallize" == FrozenContext({}).logger.name
    assert own is LoggingContext(FrozenContext({}, own)).logger
    assert own is LoggingContext(FrozenContext({}), own).logger is LoggingContext(FrozenContext({}), logger=own).logger


# LoggingContext


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> LoggingContext[dict[str, Any]]:
    """A proxy that logs at DEBUG."""
    caplog.set_level(logging.DEBUG, "crystallize")
    return LoggingContext(FrozenContext({"foo": 1, "bar": [1]}))


def test_logging_context_is_a_context() -> None:
    """A LoggingContext is a FrozenContext with the same metrics and artifacts."""
    ctx = FrozenContext({"foo": 1})
    log = LoggingContext(ctx)

    assert isinstance(log, FrozenContext)
    assert ctx.metrics is log.metrics
    assert ctx.artifacts is log.artifacts


def test_reads(log: LoggingContext[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    """Reads are kept in a plain dict, with a DEBUG line each; what a default answered is absent."""
    assert (1, [1], 7) == (log["foo"], log.get("bar"), log.get("baz", 7))

    assert {"foo": 1, "bar": [1]} == log.reads
    assert dict is type(log.reads)
    assert {"baz"} == log.absent
    assert ["Read foo -> 1", "Read bar -> [1]"] == caplog.messages


def test_writes_go_through() -> None:
    """What is written, recorded and added through a LoggingContext is in the context that it wraps."""
    ctx = FrozenContext({"foo": 1})
    log = LoggingContext(ctx)
    log["a"] = 1
    log.add("b", 2)
    log.record("loss", 0.5)
    log.artifacts.add("a.txt", b"")

    assert {"foo": 1, "a": 1, "b": 2} == ctx.as_dict()
    assert (0.5,) == ctx.metrics["loss"]
    assert 1 == len(ctx.artifacts)
    assert {} == log.reads
    with pytest.raises(ContextMutationError, match="Cannot mutate existing key: 'foo'"):
        log["foo"] = 2


def test_wrapping_twice() -> None:
    """A LoggingContext of a LoggingContext reads the same context, and both note it."""
    inner = LoggingContext(FrozenContext({"foo": 1}))
    outer = LoggingContext(inner)

    assert 1 == outer["foo"]
    assert {"foo": 1} == outer.reads == inner.reads


# Faults that must not come back


@pytest.mark.parametrize("make", [FrozenContext, lambda initial: LoggingContext(FrozenContext(initial))])
def test_in_and_iter(make: Any) -> None:
    """`in` and iteration work."""
    ctx = make({"a": 1, "b": 2})
    keys: Iterable[str] = iter(ctx)

    assert "a" in ctx
    assert "z" not in ctx
    assert ["a", "b"] == list(keys)
    assert 2 == len(ctx)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda log: pickle.loads(pickle.dumps(log))])
def test_logging_context_copies(copied: Any) -> None:
    """A LoggingContext can be pickled and copied, with what it noted."""
    log = LoggingContext(FrozenContext({"foo": 1}))
    log["foo"]
    log.get("bar")
    other = copied(log)

    assert LoggingContext is type(other)
    assert ({"foo": 1}, {"bar"}) == (other.reads, other.absent)
    other["new"] = 1
    assert "new" not in log


def test_reading_an_absent_metric_creates_nothing() -> None:
    """Reading a metric that is absent leaves no trace, through a proxy either."""
    ctx = FrozenContext({})
    log = LoggingContext(ctx)

    assert () == ctx.metrics["loss"] == log.metrics["loss"]
    assert {} == ctx.metrics.as_dict()


class Counted:
    copies = 0

    def __deepcopy__(self, memo: object) -> "Counted":
        Counted.copies += 1
        return Counted()


def test_get_copies_one_value() -> None:
    """`get` on a LoggingContext copies no other value."""
    log = LoggingContext(FrozenContext({"big": Counted(), "small": [1]}))
    before = Counted.copies

    assert [1] == log.get("small")
    assert before == Counted.copies


class Account(BaseModel):
    user: str
    password: SecretStr


@pytest.mark.parametrize(
    "value",
    [
        SecretStr("hunter2"),
        [SecretStr("hunter2")],
        {"inner": {"password": SecretStr("hunter2")}},
        Account(user="me", password=SecretStr("hunter2")),
    ],
)
def test_secret_is_not_printed(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A secret is printed neither at DEBUG nor by the context, at any depth."""
    caplog.set_level(logging.DEBUG, "crystallize")
    log = LoggingContext(FrozenContext({"password": value}))
    log["password"]

    assert 1 == len(caplog.messages)
    assert caplog.messages[0].startswith("Read password -> ")
    assert "hunter2" not in caplog.text + repr(log) + repr(log.reads)
