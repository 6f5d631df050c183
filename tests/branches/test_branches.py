"""Branches in one process: what a fork takes along, what a child brings, and how it is merged."""

import copy
import copyreg
import logging
import os
import pickle
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from importlib.util import find_spec
from itertools import islice
from math import nan
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NamedTuple

import numpy as np
import pytest
from pydantic import AfterValidator, BaseModel, SecretStr
from typing_extensions import TypedDict

import crystallize
from crystallize import (
    Artifact,
    ArtifactAdded,
    Branch,
    BranchContext,
    BranchError,
    BranchForked,
    BranchMerged,
    ContextMutationError,
    Delta,
    DivergentRetryError,
    ForeignDeltaError,
    ForeignMetricError,
    FrozenContext,
    InvalidStepError,
    InvalidValueError,
    KeyWritten,
    LoggingContext,
    LostBranchesError,
    MergeConflictError,
    Metric,
    MetricRecorded,
    MetricSchema,
    Output,
    SchemaError,
    Shared,
    SinkError,
    StepClosedError,
    StepFinished,
    StepStarted,
    TravelError,
    UnknownKeyError,
    UnknownMetricError,
    fan_out,
    fork,
    merge,
)
from crystallize._branches.branch_registry import registry_of
from crystallize._core.context import state_of
from crystallize._core.ordered_log import OrderedLog
from crystallize.sinks.memory import MemorySink


class Train(BaseModel):
    lr: float
    data: list[int] = []
    token: SecretStr = SecretStr("hunter2")
    score: Annotated[float | None, Output] = None
    report: Annotated[dict[str, int], Output]
    model: Annotated[Any, Shared, Output] = None


class Tags(TypedDict):
    epoch: int


class Measured(MetricSchema):
    loss = Metric(float, tags=Tags)
    count = Metric(int)


class Other(MetricSchema):
    loss = Metric(float)


def travelled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def as_it_is(value: Any) -> Any:
    return value


WAYS: list[Callable[[Any], Any]] = [as_it_is, travelled, copy.copy, copy.deepcopy]
ways = pytest.mark.parametrize("way", WAYS, ids=["as it is", "pickled", "copied", "deep-copied"])


def seen(ctx: FrozenContext[Any]) -> Any:
    """All that can be read of a context, in order."""
    provenance = ctx.provenance
    steps = provenance.steps
    return (
        list(ctx.items()),
        [ctx.provenance.writer(key) for key in ctx],
        {name: [tuple(point) for point in ctx.metrics.series(name)] for name in ctx.metrics},
        list(ctx.artifacts),
        [
            (step.name, step.reads, step.absent, step.writes, dict(step.points), step.artifacts, step.error)
            for step in steps
        ],
        [step.name for step in steps if provenance.finished(step.name)],
        provenance.lineage,
        (len(ctx), len(ctx.metrics), len(ctx.artifacts)),
    )


def done(branch: Branch[Any], **keys: Any) -> Delta:
    """What a branch brings that writes some keys."""
    child = branch.open()
    for key, value in keys.items():
        child[key] = value
    return child.delta()


# Forking


def test_a_branch_is_immutable_and_says_its_name() -> None:
    """A branch has its full name, and no attribute of it can be set."""
    branch = fork(FrozenContext({}), "fold-3")
    assert ("fold-3", "Branch('fold-3')") == (branch.name, repr(branch))
    with pytest.raises(AttributeError, match="'name' of a branch cannot be set"):
        branch.name = "other"
    with pytest.raises(AttributeError, match="'new' of a branch cannot be set"):
        branch.new = 1
    with pytest.raises(AttributeError):
        del branch.gone  # type: ignore[attr-defined]


def test_a_delta_is_immutable_and_says_its_branch() -> None:
    """A delta has the name of its branch and a digest, and no attribute of it can be set."""
    delta = fork(FrozenContext({}), "fold-3").open().delta()
    assert ("fold-3", "Delta('fold-3')") == (delta.branch, repr(delta))
    with pytest.raises(AttributeError, match="'digest' of a delta cannot be set"):
        delta.digest = "other"
    with pytest.raises(AttributeError, match="'new' of a delta cannot be set"):
        delta.new = 1


@pytest.mark.parametrize("name", ["", "a/b", "a#2", "a\nb", 5, None, "x" * 256])
def test_names_that_cannot_be(name: Any) -> None:
    """A branch's name is such as a step's is."""
    with pytest.raises(InvalidStepError):
        fork(FrozenContext({}), name)


@pytest.mark.parametrize("ctx", [{}, None, "ctx", FrozenContext])
def test_what_is_no_context_is_not_forked(ctx: Any) -> None:
    """Only a context is forked, or merged into."""
    delta = fork(FrozenContext({}), "a").open().delta()
    with pytest.raises((SchemaError, AttributeError)):
        fork(ctx, "a")
    with pytest.raises(SchemaError, match="is a FrozenContext"):
        merge(ctx, delta)
    with pytest.raises(SchemaError, match="is a FrozenContext"):
        fan_out(ctx, lambda child, item: None, [1], executor=Now())


def test_a_name_that_a_step_has() -> None:
    """A name that a step has used is none for a branch."""
    ctx = FrozenContext({})
    with ctx.step("fit"):
        pass
    with pytest.raises(BranchError, match="there is a step of that name") as caught:
        fork(ctx, "fit")
    assert "fit" == caught.value.branch


def test_a_step_named_as_a_branch_counts_on() -> None:
    """A step that is opened under the name of a branch that is out is the second one of that name."""
    ctx = FrozenContext({})
    branch = fork(ctx, "fold-3")
    with ctx.step("fold-3") as step:
        step["a"] = 1
    merge(ctx, branch.open().delta())
    assert ["fold-3", "fold-3#2"] == [record.name for record in ctx.provenance.steps]
    with ctx.step("fold-3"):
        pass
    assert "fold-3#3" == ctx.provenance.steps[-1].name
    assert "fold-3#2" == ctx.provenance.writer("a")


@ways
def test_a_copy_of_the_parent_keeps_the_names_of_its_branches(way: Callable[[Any], Any]) -> None:
    """Also in a copy of the parent a step under the name of a branch that is out counts on."""
    ctx = FrozenContext({})
    branch = fork(ctx, "fold-3")
    copied = way(ctx)
    with copied.step("fold-3"):
        pass
    merge(copied, branch.open().delta())
    assert ["fold-3", "fold-3#2"] == [record.name for record in copied.provenance.steps]


def test_a_closed_step_is_not_forked() -> None:
    """From a step that has ended nothing is forked, and nothing is merged through it."""
    ctx = FrozenContext({})
    with ctx.step("tune") as step:
        delta = fork(step, "a").open().delta()
    with pytest.raises(StepClosedError):
        fork(step, "b")
    with pytest.raises(StepClosedError):
        merge(step, delta)
    with pytest.raises(StepClosedError):
        fan_out(step, lambda child, item: None, [1], executor=Now())
    merge(ctx, delta)
    assert ["tune/a", "tune"] == [record.name for record in ctx.provenance.steps]


def test_a_branch_of_a_step() -> None:
    """A branch that is forked from a step is named after it; what it does is not that step's."""
    ctx = FrozenContext({"lr": 0.1})
    with ctx.step("tune") as tune:
        branch = fork(tune, "fold-3")
        tune["own"] = 1
        child = branch.open()
        child["score"] = child["lr"] * 2
        child.record("loss", 0.5)
        with child.step("fit") as fit:
            fit["model"] = "m"
        merge(tune, child.delta())
    assert "tune/fold-3" == branch.name
    names = ["tune/fold-3/fit", "tune/fold-3", "tune"]
    assert names == [record.name for record in ctx.provenance.steps]
    assert [("model",), ("score",), ("own",)] == [record.writes for record in ctx.provenance.steps]
    assert [{}, {"loss": 1}, {}] == [record.points for record in ctx.provenance.steps]
    assert "tune/fold-3/fit" == ctx.provenance.writer("model")
    # It was forked before the step wrote anything.
    assert ["lr", "score", "model", "own"] == list(ctx)


def test_forking_again_gives_the_same_branch_with_what_is_there_by_now() -> None:
    """A branch that is not merged may be forked again, and stands where it was forked first."""
    ctx = FrozenContext({})
    first = fork(ctx, "a")
    ctx["own"] = 1
    second = fork(ctx, "a")
    assert ([], ["own"]) == (list(first.open()), list(second.open()))
    merge(ctx, done(second, brought=2))
    merge(ctx, done(first, brought=2))
    assert ["brought", "own"] == list(ctx)


# A child


@ways
def test_a_child_has_the_keys_of_the_parent_alone(way: Callable[[Any], Any]) -> None:
    """A child holds the keys that the parent held at the fork, and no points, artifacts or steps."""
    ctx = FrozenContext[Train]({"lr": 0.1, "data": [1]}, metrics=Measured)
    ctx.record("loss", 0.5, {"epoch": 1})
    ctx.artifacts.add("f", b"")
    with ctx.step("before") as step:
        step["score"] = 0.5
    branch = way(fork(ctx, "a"))
    ctx["report"] = {"a": 1}
    child = branch.open()
    assert isinstance(child, BranchContext)
    assert isinstance(child, LoggingContext)
    assert {"lr": 0.1, "data": [1], "token": SecretStr("hunter2"), "score": 0.5} == child.as_dict()
    assert ((), (), [], []) == (
        child.provenance.steps,
        child.metrics["loss"],
        list(child.artifacts),
        list(child.metrics),
    )
    assert ("before", ("lr", "data", "token")) == (child.provenance.writer("score"), child.provenance.inputs)
    assert (0.1, Measured) == (child.fields.lr, child.metrics.schema)
    assert logging.getLogger("crystallize") is child.logger


@ways
def test_a_child_is_kept_apart(way: Callable[[Any], Any]) -> None:
    """What is done to values read from a child, or in a sibling, is not seen elsewhere."""
    ctx = FrozenContext({"data": [1]})
    branch = way(fork(ctx, "a"))
    child, sibling = branch.open(), branch.open()
    child["data"].append(2)
    child["own"] = [1]
    assert ([1], [1], [1]) == (ctx["data"], child["data"], sibling["data"])
    assert "own" not in sibling
    assert "own" not in ctx


def test_a_child_is_validated() -> None:
    """A child holds to the schema and to the metrics of the parent, and to what the parent wrote."""
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=Measured)
    child = fork(ctx, "a").open()
    with pytest.raises(InvalidValueError):
        child["score"] = "high"
    with pytest.raises(UnknownKeyError):
        child["scores"] = 1.0
    with pytest.raises(UnknownMetricError):
        child.record("los", 0.5)
    with pytest.raises(ContextMutationError, match="as an initial value"):
        child["lr"] = 0.2
    assert {} == dict(child.metrics.as_dict())


def test_a_child_notes_what_is_read() -> None:
    """What a child reads and misses is in the record of its branch; what its steps read is in theirs."""
    ctx = FrozenContext({"lr": 0.1, "data": 1})
    child = fork(ctx, "a").open()
    child["lr"]
    child.get("none")
    assert "nothing" not in child
    assert ({"lr": 0.1}, {"none", "nothing"}) == (child.reads, child.absent)
    with child.step("fit") as fit:
        fit["data"]
        fit["made"] = 1
        fit.artifacts.add("f", b"1")
    child["own"] = 2
    child.artifacts.add("g", b"2")
    merge(ctx, child.delta())
    fit_record, record = ctx.provenance.steps
    assert ("a/fit", ("data",), ("made",), ("f",), None) == (*fit_record[:2], fit_record[3], fit_record[5], None)
    assert ("a", ("lr",), ("none", "nothing"), ("own",), {}, ("g",)) == record[:6]
    assert record.error is None
    assert record.started <= fit_record.started <= fit_record.ended <= record.ended
    assert ctx.provenance.finished("a")
    assert ctx.provenance.finished("a/fit")
    assert frozenset({"lr", "data"}) == ctx.provenance.lineage.sources("made")


def test_a_child_is_closed_by_its_delta() -> None:
    """After its delta was taken, a child is not read, written or recorded to; the delta is the same one."""
    ctx = FrozenContext({"lr": 0.1, "list": [1]})
    child = fork(ctx, "a").open()
    series = child.metrics.series("m")
    delta = child.delta()
    assert delta is child.delta()
    acts: list[Callable[[], object]] = [
        lambda: child["lr"],
        lambda: child["list"],
        lambda: child.get("lr"),
        lambda: "lr" in child,
        lambda: list(child),
        lambda: child.add("new", 1),
        lambda: child.record("m", 1),
        lambda: series.add(1),
        lambda: child.artifacts.add("f", b""),
        lambda: child.step("fit").__enter__(),
        lambda: fork(child, "inner"),
        lambda: merge(child, delta),
    ]
    for act in acts:
        with pytest.raises(StepClosedError, match="'a' has ended"):
            act()
    assert delta is child.delta()


def test_a_step_that_is_open_keeps_a_delta_back() -> None:
    """A delta is taken when all steps of the child have ended, and not before."""
    child = fork(FrozenContext({}), "a").open()
    with child.step("fit") as step:
        with pytest.raises(BranchError, match="'a/fit' has not ended"):
            child.delta()
        step["still"] = 1
    child["own"] = 2
    assert isinstance(child.delta(), Delta)


def test_a_step_that_failed_is_brought() -> None:
    """The record of a child's step that an exception ended has the error, and the branch goes on."""
    ctx = FrozenContext({})
    child = fork(ctx, "a").open()
    with suppress(RuntimeError), child.step("fit"):
        raise RuntimeError("no")
    merge(ctx, child.delta())
    assert [("a/fit", "RuntimeError: no"), ("a", None)] == [(step.name, step.error) for step in ctx.provenance.steps]
    assert (False, True) == (ctx.provenance.finished("a/fit"), ctx.provenance.finished("a"))


@pytest.mark.parametrize("way", WAYS[1:], ids=["pickled", "copied", "deep-copied"])
def test_a_copy_of_a_child_is_a_context(way: Callable[[Any], Any]) -> None:
    """A copy of a child is a context with its content that goes on by itself, and brings no delta."""
    ctx = FrozenContext({"lr": 0.1})
    child = fork(ctx, "a").open()
    child["lr"]
    child["own"] = [1]
    child.record("m", 1)
    copied = way(child)
    assert LoggingContext is type(copied)
    assert ({"lr": 0.1}, {"lr": 0.1, "own": [1]}, (1,)) == (copied.reads, dict(copied.items()), copied.metrics["m"])
    copied["more"] = 1
    copied.record("m", 2)
    assert ("more" in child, child.metrics["m"]) == (False, (1,))
    child.delta()
    closed = way(child)
    with pytest.raises(StepClosedError):
        closed["lr"]


def test_an_interrupted_delta() -> None:
    """Where taking a delta is interrupted, it can be taken again."""
    at = 0
    is_interrupted = True
    while is_interrupted:
        ctx = FrozenContext({"lr": 0.1})
        child = fork(ctx, "a").open()
        child["k"] = child["lr"]
        child.record("m", 1)
        rest = at

        def is_time(frame: FrameType) -> bool:
            nonlocal rest
            rest -= 1
            return rest < 0

        is_interrupted = False
        try:
            with interrupted(is_time):
                child.delta()
        except KeyboardInterrupt:
            is_interrupted = True
        merge(ctx, child.delta())
        assert ({"lr": 0.1, "k": 0.1}, (1,), {"m": 1}) == (
            dict(ctx.items()),
            ctx.metrics["m"],
            ctx.provenance.steps[0].points,
        )
        at += 1
    assert at > 10


# Merging


@pytest.mark.parametrize("metrics", [None, Measured])
@ways
def test_all_is_brought(way: Callable[[Any], Any], metrics: type[MetricSchema] | None) -> None:
    """A merge brings keys, points, artifacts and steps, to be read as what was done in a step of that name."""
    ctx = FrozenContext({"lr": 0.1}, metrics=metrics)
    child = way(fork(ctx, "a")).open()
    child["list"] = [1]
    child.record("loss", 0.5, {"epoch": 1})
    child.artifacts.add("f", b"1")
    with child.step("fit") as fit:
        fit.record("loss", 0.25, {"epoch": 2})
        fit.record("count", 3)
        fit["atom"] = 5
    merge(ctx, way(child.delta()))
    assert {"lr": 0.1, "list": [1], "atom": 5} == dict(ctx.items())
    ctx["list"].append(2)
    assert [1] == ctx["list"]
    assert [(0.5, {"epoch": 1}, "a"), (0.25, {"epoch": 2}, "a/fit")] == [
        tuple(point) for point in ctx.metrics.series("loss")
    ]
    assert ((0.25,), 0.25) == (ctx.metrics.series("loss").where(epoch=2).values, ctx.metrics.series("loss").last)
    assert [Artifact("f", b"1", "a")] == list(ctx.artifacts)
    assert b"1" == ctx.artifacts["f"].data
    with pytest.raises(ContextMutationError, match="written by step 'a/fit'"):
        ctx["atom"] = 6
    with pytest.raises(ContextMutationError, match="'F' is one file with 'f'"):
        ctx.artifacts.add("F", b"")
    assert [("list", "a"), ("atom", "a/fit")] == [(key, ctx.provenance.writer(key)) for key in ("list", "atom")]
    ctx.record("count", 4)
    assert (3, 4) == ctx.metrics["count"]


def test_an_empty_delta() -> None:
    """A branch that did nothing leaves its record."""
    ctx = FrozenContext({})
    merge(ctx, fork(ctx, "a").open().delta())
    assert (["a"], [], [], []) == (
        [step.name for step in ctx.provenance.steps],
        list(ctx),
        list(ctx.metrics),
        list(ctx.artifacts),
    )


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_order_is_that_of_the_forks(order: str) -> None:
    """Keys, points, artifacts and steps stand where their branch was forked, whoever comes first."""
    ctx = FrozenContext({"start": 0})
    branches = {}

    def own(at: int) -> None:
        ctx[f"own-{at}"] = at
        ctx.record("m", at)
        ctx.artifacts.add(f"own-{at}", b"")
        with ctx.step(f"own-{at}") as step:
            step.record("m", at)

    own(1)
    branches["a"] = fork(ctx, "a")
    own(2)
    branches["b"] = fork(ctx, "b")
    own(3)
    for name in order:
        child = branches[name].open()
        child[name] = name
        child.record("m", name)
        child.artifacts.add(name, b"")
        merge(ctx, child.delta())
        known = [
            key
            for key in ("own-1", "a", "own-2", "b", "own-3")
            if "own" in key or key in order[: order.index(name) + 1]
        ]
        assert ["start", *known] == list(ctx) == list(ctx.keys()) == list(ctx.as_dict())
        assert known == [artifact.name for artifact in ctx.artifacts] == [step.name for step in ctx.provenance.steps]
        merged = [key for key in known if len(key) == 1]
        assert [*merged, *(f"artifact:{key}" for key in merged)] == [key for _, key in ctx.provenance.lineage.writes]
    assert (1, 1, "a", 2, 2, "b", 3, 3) == ctx.metrics["m"]
    assert [None, "own-1", "a", None, "own-2", "b", None, "own-3"] == [point.step for point in ctx.metrics.series("m")]
    assert (3, 1) == (ctx.metrics.series("m").last, ctx.metrics.series("m").first)
    assert {"start": 0, "own-1": 1, "a": "a", "own-2": 2, "b": "b", "own-3": 3} == dict(ctx.fields)
    assert repr(ctx).startswith("FrozenContext(start=0, own-1=1, a='a', own-2=2, b='b'")


def test_the_last_point_may_be_a_branchs() -> None:
    """The newest point is that of the branch forked last, unless something was recorded since."""
    ctx = FrozenContext({})
    branch = fork(ctx, "a")
    child = branch.open()
    child.record("m", 1)
    merge(ctx, child.delta())
    assert 1 == ctx.metrics.series("m").last
    ctx.record("m", 2)
    assert (2, (1, 2)) == (ctx.metrics.series("m").last, ctx.metrics["m"])


def test_the_same_delta_again_does_nothing() -> None:
    """A delta that comes again, pickled or not, from the same attempt or from another, changes nothing."""
    ctx = FrozenContext({}, sinks=[sink := MemorySink()])
    branch = fork(ctx, "a")
    delta = done(branch, a=1)
    merge(ctx, delta)
    before, told = seen(ctx), len(sink.events)
    merge(ctx, delta)
    merge(ctx, travelled(delta))
    merge(ctx, done(branch, a=1))
    merge(ctx, done(travelled(branch), a=1))
    assert (before, told) == (seen(ctx), len(sink.events))


@pytest.mark.parametrize("packed", [False, True])
def test_a_delta_of_a_branch_that_was_forked_elsewhere(packed: bool) -> None:
    """A context takes the delta of a branch that it did not fork, if it is of its kind: it stands where it came."""
    origin = FrozenContext({"lr": 0.1})
    delta = done(fork(origin, "a"), new=[1])
    ctx = FrozenContext({"lr": 0.2}, sinks=[sink := MemorySink()])
    ctx["own"] = 1
    merge(ctx, travelled(delta) if packed else delta)
    ctx["later"] = 2
    assert ["lr", "own", "new", "later"] == list(ctx)
    assert BranchForked("a") in sink.events
    with ctx.step("a"):
        pass
    assert "a#2" == ctx.provenance.steps[-1].name


def test_a_delta_from_elsewhere_whose_name_a_step_has() -> None:
    """A delta of a branch from elsewhere does not take the name of a step."""
    delta = fork(FrozenContext({}), "a").open().delta()
    ctx = FrozenContext({})
    with ctx.step("a"):
        pass
    with pytest.raises(BranchError, match="there is a step of that name in this context"):
        merge(ctx, delta)
    assert ["a"] == [step.name for step in ctx.provenance.steps]


@ways
def test_a_copy_of_the_parent_knows_its_branches(way: Callable[[Any], Any]) -> None:
    """A copy of a parent takes what is out where it was forked, and knows what was merged."""
    ctx = FrozenContext({})
    a, b = fork(ctx, "a"), fork(ctx, "b")
    ctx["own"] = 1
    ctx.record("m", 1)
    merge(ctx, done(b, b=1))
    copied = way(ctx)
    child = a.open()
    child["a"] = 2
    child.record("m", 2)
    delta = child.delta()
    merge(copied, delta)
    merge(copied, done(b, b=1))
    with pytest.raises(DivergentRetryError):
        merge(copied, done(b, b=2))
    assert ["a", "b", "own"] == list(copied)
    assert ((2, 1), ["a", "b"]) == (copied.metrics["m"], [step.name for step in copied.provenance.steps])
    if copied is not ctx:
        assert ["b", "own"] == list(ctx)
        merge(ctx, delta)
    assert seen(ctx) == seen(copied) == seen(way(copied))


def test_points_of_a_branch_over_many_blocks() -> None:
    """Any number of points comes in order, with steps and tags, and twice is once."""
    ctx = FrozenContext({}, metrics=Measured)
    branches = [fork(ctx, name) for name in "abc"]
    for branch in reversed(branches):
        for _ in range(2):
            child = branch.open()
            for at in range(5000):
                child.record("loss", float(at), {"epoch": at % 7})
            with child.step("end") as step:
                step.record("loss", -1.0, {"epoch": 0})
            merge(ctx, travelled(child.delta()))
    assert 3 * 5001 == len(ctx.metrics.series("loss"))
    expected = [*map(float, range(5000)), -1.0] * 3
    assert expected == list(ctx.metrics["loss"])
    assert [name for name in "abc" for _ in range(5000)] == [
        str(point.step) for point in ctx.metrics.series("loss") if point.value != -1.0
    ]
    assert 3 * 715 == len(ctx.metrics.series("loss").where(epoch=0)) - 3


def test_artifacts_that_were_forgotten_between_forks() -> None:
    """Where the artifacts were cleared while branches were out, those that come are read in the order of the forks."""
    ctx = FrozenContext({})
    for name in "xyz":
        ctx.artifacts.add(name, b"")
    early = fork(ctx, "early")
    ctx.artifacts.clear()
    late = fork(ctx, "late")
    for branch in (late, early):
        child = branch.open()
        child.artifacts.add(branch.name, b"")
        merge(ctx, child.delta())
    assert ["early", "late"] == [artifact.name for artifact in ctx.artifacts]
    ctx.artifacts.clear()
    ctx.artifacts.add("early", b"again")
    assert ["early"] == [artifact.name for artifact in travelled(ctx).artifacts]


# Nested branches


@ways
def test_a_child_may_fork(way: Callable[[Any], Any]) -> None:
    """What the branches of a child did is merged into the child, and comes with its delta, at its place."""
    ctx = FrozenContext({"lr": 0.1})
    branch = way(fork(ctx, "tune"))
    child = branch.open()
    first = way(fork(child, "one"))
    child["own"] = child["lr"]
    child.record("m", 0)
    with child.step("search") as step:
        second = way(fork(step, "two"))
    for inner, value in ((second, 2), (first, 1)):
        grandchild = inner.open()
        grandchild[inner.name] = [value]
        grandchild.record("m", value)
        grandchild.artifacts.add(f"file-{value}", b"")
        with grandchild.step("fit") as fit:
            fit.record("m", 10 * value)
        merge(child, way(grandchild.delta()))
    assert ("tune/one", "tune/search/two") == (first.name, second.name)
    assert ["lr", "tune/one", "own", "tune/search/two"] == list(child)
    merge(ctx, way(child.delta()))
    assert ["lr", "tune/one", "own", "tune/search/two"] == list(ctx)
    assert [
        (1, "tune/one"),
        (10, "tune/one/fit"),
        (0, "tune"),
        (2, "tune/search/two"),
        (20, "tune/search/two/fit"),
    ] == [(point.value, point.step) for point in ctx.metrics.series("m")]
    steps = ["tune/one/fit", "tune/one", "tune/search/two/fit", "tune/search/two", "tune/search", "tune"]
    assert steps == [step.name for step in ctx.provenance.steps]
    assert ["file-1", "file-2"] == [artifact.name for artifact in ctx.artifacts]
    assert {"m": 1} == ctx.provenance.steps[-1].points


def test_inner_branches_that_end_in_another_order() -> None:
    """Two attempts are the same whichever of their own branches ended first."""
    ctx = FrozenContext({})
    branch = fork(ctx, "tune")
    for order in ("pq", "qp", "qp"):
        child = branch.open()
        inner = {name: fork(child, name) for name in "pq"}
        for name in order:
            grandchild = inner[name].open()
            grandchild[name] = name
            grandchild.record("m", name)
            grandchild.artifacts.add(name, b"")
            merge(child, grandchild.delta())
        merge(ctx, child.delta())
    assert (["p", "q"], ("p", "q")) == (list(ctx), ctx.metrics["m"])


def test_a_delta_is_merged_where_it_was_forked() -> None:
    """The delta of a child's branch is not taken by the parent, nor one of the parent's by a child."""
    ctx = FrozenContext({})
    child = fork(ctx, "a").open()
    inner = fork(child, "x").open().delta()
    sibling = fork(ctx, "b").open()
    outer = fork(ctx, "c").open().delta()
    with pytest.raises(ForeignDeltaError, match="forked from the child of branch 'a', and this is the context itself"):
        merge(ctx, inner)
    with pytest.raises(ForeignDeltaError, match="forked from the child of branch 'a', and this is the child of branch"):
        merge(sibling, inner)
    with pytest.raises(ForeignDeltaError, match="forked from the context itself, and this is the child of branch 'a'"):
        merge(child, outer)
    merge(child, inner)
    assert ["a/x"] == [step.name for step in child.provenance.steps]


# What is refused


@pytest.mark.parametrize("delta", [None, 5, "delta", {}, Delta])
def test_what_is_no_delta(delta: Any) -> None:
    """Only a delta is merged."""
    with pytest.raises(ForeignDeltaError, match=r"a delta is what child.delta\(\) returns"):
        merge(FrozenContext({}), delta)


class OtherTrain(BaseModel):
    lr: int


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [(FrozenContext[OtherTrain], Measured), (FrozenContext[Train], Other), (FrozenContext[Train], None)],
)
def test_a_delta_of_another_schema(kind: Any, metrics: type[MetricSchema] | None) -> None:
    """A delta of another schema, or of other metrics, is refused."""
    delta = done(fork(kind({"lr": 1}, metrics=metrics), "a"))
    ctx = FrozenContext[Train]({"lr": 1}, metrics=Measured)
    before = seen(ctx)
    for foreign_delta in (delta, travelled(delta)):
        with pytest.raises(
            ForeignDeltaError, match="another schema or other metrics than Train with Measured"
        ) as caught:
            merge(ctx, foreign_delta)
    assert ("a", before) == (caught.value.branch, seen(ctx))


def test_a_delta_of_another_schema_to_a_context_without_metrics() -> None:
    """The message names the schema alone where there are no declared metrics."""
    delta = done(fork(FrozenContext[OtherTrain]({"lr": 1}), "a"))
    with pytest.raises(ForeignDeltaError, match="than Train here"):
        merge(FrozenContext[Train]({"lr": 1}), delta)


class Conflict(NamedTuple):
    what: str
    name: str
    act: Callable[[Any], object]


CONFLICTS = [
    Conflict("key", "score", lambda ctx: ctx.add("score", 1)),
    Conflict("artifact", "Report", lambda ctx: ctx.artifacts.add("Report", b"")),
]


@pytest.mark.parametrize("conflict", CONFLICTS, ids=["key", "artifact"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_two_branches_write(conflict: Conflict, packed: bool) -> None:
    """Of two branches that write one key, or add one artifact, the second is refused as a whole, naming both."""
    ctx = FrozenContext({})
    deltas = []
    for name in "ab":
        child = fork(ctx, name).open()
        child[f"first-{name}"] = 1
        child.record("m", 1)
        with child.step("fit") as fit:
            conflict.act(fit)
        child[f"last-{name}"] = [1]
        deltas.append(travelled(child.delta()) if packed else child.delta())
    merge(ctx, deltas[0])
    before = seen(ctx)
    with pytest.raises(MergeConflictError) as caught:
        merge(ctx, deltas[1])
    assert ("b", conflict.name, ("step 'a/fit'", "step 'b/fit'")) == (
        caught.value.branch,
        caught.value.name,
        caught.value.writers,
    )
    assert f"{conflict.what} {conflict.name!r} is written by step 'a/fit' and by step 'b/fit'" in str(caught.value)
    assert str(caught.value) == str(travelled(caught.value))
    assert before == seen(ctx)


@pytest.mark.parametrize("conflict", CONFLICTS, ids=["key", "artifact"])
@pytest.mark.parametrize("step", [None, "own"])
def test_what_the_parent_writes_meanwhile(conflict: Conflict, step: str | None) -> None:
    """A key or artifact that came to the parent since the fork is not written by a branch."""
    ctx = FrozenContext({})
    child = fork(ctx, "a").open()
    child["first"] = 1
    conflict.act(child)
    if step is None:
        conflict.act(ctx)
    else:
        with ctx.step(step) as opened:
            conflict.act(opened)
    before = seen(ctx)
    with pytest.raises(MergeConflictError) as caught:
        merge(ctx, child.delta())
    writer = "the parent outside any step" if step is None else "step 'own'"
    assert (writer, "step 'a'") == caught.value.writers
    assert before == seen(ctx)


def test_artifacts_that_are_one_file_somewhere() -> None:
    """Two names that differ in case alone are one artifact's."""
    ctx = FrozenContext({})
    child = fork(ctx, "a").open()
    child.artifacts.add("README", b"")
    ctx.artifacts.add("readme", b"")
    with pytest.raises(MergeConflictError, match="artifact 'README'"):
        merge(ctx, child.delta())


def test_metrics_that_stand_for_others_by_now() -> None:
    """Where metrics are not declared, a branch is refused whose metric is another than the parent's by now."""

    def merged(child_act: Callable[[Any], object], parent_act: Callable[[Any], object]) -> FrozenContext:
        ctx = FrozenContext({})
        child = fork(ctx, "a").open()
        child_act(child)
        parent_act(ctx)
        before = seen(ctx)
        try:
            merge(ctx, child.delta())
        finally:
            ctx_now = seen(ctx)
            assert before == ctx_now or len(ctx.provenance.steps) == 1
        return ctx

    acts: dict[str, Callable[[Any], object]] = {
        "measured": lambda ctx: ctx.record(Measured.loss, 0.5, {"epoch": 1}),
        "other": lambda ctx: ctx.record(Other.loss, 0.5),
        "free": lambda ctx: ctx.record("loss", 0.5),
    }
    for left in acts:
        for right in acts:
            if left == right:
                ctx = merged(acts[left], acts[right])
                assert (0.5, 0.5) == ctx.metrics["loss"]
            else:
                with pytest.raises(ForeignMetricError, match="loss"):
                    merged(acts[left], acts[right])


def test_a_child_holds_to_the_metrics_that_the_parent_used() -> None:
    """Where metrics are not declared, a child is held to what the parent recorded first under a name."""
    ctx = FrozenContext({})
    ctx.record(Measured.loss, 0.5, Tags(epoch=1))
    ctx.record("free", "x")
    for way in WAYS:
        child = way(fork(ctx, "a")).open()
        with pytest.raises(ForeignMetricError):
            child.record(Other.loss, 0.5)
        with pytest.raises(ForeignMetricError):
            child.metrics.add(_renamed("free"), 1.0)
        child.record("loss", 0.25, {"epoch": 2})
        assert ["loss"] == list(child.metrics)
        merge(ctx, way(child.delta()))
    assert (0.5, 0.25) == ctx.metrics["loss"]
    assert Measured.loss is ctx.metrics.series("loss").metric


def _renamed(name: str) -> Metric[float, None]:
    schema: Any = type("Late", (MetricSchema,), {name: Metric(float)})
    metric: Metric[float, None] = schema.metrics[name]
    return metric


class Work(NamedTuple):
    differs: str
    first: Callable[[Any], object]
    second: Callable[[Any], object]


def _stepped(name: str, act: Callable[[Any], object]) -> Callable[[Any], object]:
    def run(ctx: Any) -> None:
        with ctx.step(name) as step:
            act(step)

    return run


def _failing(ctx: Any, text: str) -> None:
    with suppress(ValueError), ctx.step("fit"):
        raise ValueError(text)


DIFFERENT = {
    "value": Work("the keys that it wrote", lambda c: c.add("k", 1), lambda c: c.add("k", 2)),
    "type": Work("the keys that it wrote", lambda c: c.add("k", 1), lambda c: c.add("k", 1.0)),
    "list": Work("the keys that it wrote", lambda c: c.add("k", [1]), lambda c: c.add("k", [2])),
    "key": Work("the keys that it wrote and its steps", lambda c: c.add("k", 1), lambda c: c.get("l") or c.add("l", 1)),
    "writer": Work(
        "the keys that it wrote",
        lambda c: (c.add("k", 1), _stepped("fit", lambda s: None)(c)),
        lambda c: _stepped("fit", lambda s: s.add("k", 1))(c),
    ),
    "point": Work("the points that it recorded", lambda c: c.record("m", 1), lambda c: c.record("m", 2)),
    "kind of point": Work("the points that it recorded", lambda c: c.record("m", 1), lambda c: c.record("m", True)),
    "tag": Work("the points that it recorded", lambda c: c.record("m", 1, {"a": 1}), lambda c: c.record("m", 1)),
    "mutable point": Work("the points that it recorded", lambda c: c.record("m", [1]), lambda c: c.record("m", [2])),
    "order of points": Work(
        "the points that it recorded",
        lambda c: (c.record("m", 1), c.record("m", 2)),
        lambda c: (c.record("m", 2), c.record("m", 1)),
    ),
    "step of a point": Work(
        "the points that it recorded",
        lambda c: (c.record("m", 1), _stepped("fit", lambda s: None)(c)),
        lambda c: _stepped("fit", lambda s: s.record("m", 1))(c),
    ),
    "surrogate": Work(
        "the points that it recorded", lambda c: c.record("m", "\ud800"), lambda c: c.record("m", "\ud801")
    ),
    "artifact": Work("its artifacts", lambda c: c.artifacts.add("f", b"1"), lambda c: c.artifacts.add("f", b"2")),
    "read": Work("its steps", lambda c: c["lr"], lambda c: None),
    "miss": Work("its steps", lambda c: c.get("none"), lambda c: None),
    "step": Work("its steps", _stepped("one", lambda s: None), _stepped("other", lambda s: None)),
    "error": Work("its steps", partial(_failing, text="one"), partial(_failing, text="other")),
    "all": Work(
        "the keys that it wrote and the points that it recorded and its artifacts and its steps",
        lambda c: None,
        lambda c: (c.add("k", 1), c.record("m", 1), c.artifacts.add("f", b""), c["lr"]),
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("which", DIFFERENT)
def test_an_attempt_that_differs(which: str, packed: bool) -> None:
    """A branch that was merged, and comes with other content, is refused, and what differs is named."""
    work = DIFFERENT[which]
    ctx = FrozenContext({"lr": 0.1})
    branch = fork(ctx, "a")
    deltas = []
    for act in (work.first, work.second):
        child = branch.open()
        act(child)
        deltas.append(travelled(child.delta()) if packed else child.delta())
    merge(ctx, deltas[0])
    before = seen(ctx)
    with pytest.raises(DivergentRetryError) as caught:
        merge(ctx, deltas[1])
    assert f"differs in {work.differs}, apart from times" in str(caught.value)
    assert ("a", before) == (caught.value.branch, seen(ctx))
    assert str(caught.value) == str(travelled(caught.value))


class Opaque:
    """Has no JSON."""

    def __init__(self, value: int = 0) -> None:
        self.value = value


SAME: dict[str, Callable[[Any], object]] = {
    "nan": lambda c: (c.add("k", nan), c.record("m", nan), c.record("m", [nan]), c.record("m", 1.0, {"t": nan})),
    "surrogate": lambda c: (c.add("k", "a\ud800"), c.record("m", "\ud800"), c.record("m", 1, {"\ud800": "\ud800"})),
    "object": lambda c: c.add("k", [Opaque(id(object()))]),
    "secret": lambda c: c.add("k", SecretStr(os.urandom(4).hex())),
    "set": lambda c: c.add("k", {"a", "b", "c"}),
    "order of keys": lambda c: [c.add(key, 1) for key in sorted("ab", key=lambda _: os.urandom(4))],
    "order of reads": lambda c: [c[key] for key in sorted(["lr", "data"], key=lambda _: os.urandom(4))],
    "many tags": lambda c: [c.record("m", at, {f"t{at}": at}) for at in range(40)],
    "absent tags": lambda c: (c.record("m", 1, {"a": None}), c.record("m", 1, {"b": 1})),
}


@pytest.mark.parametrize("which", SAME)
def test_attempts_that_are_the_same(which: str) -> None:
    """Equal work is equal whatever it is made of; what has no digest is taken from what was merged first."""
    ctx = FrozenContext({"lr": 0.1, "data": 1})
    branch = fork(ctx, "a")
    for at in range(4):
        child = branch.open()
        SAME[which](child)
        merge(ctx, travelled(child.delta()) if at % 2 else child.delta())
    assert ["a"] == [step.name for step in ctx.provenance.steps]


@pytest.mark.parametrize("packed", [False, True])
def test_what_has_no_digest_is_taken_from_the_first(packed: bool) -> None:
    """Of a shared value, or a secret, that differs between two attempts, that of the first merge stays."""
    ctx = FrozenContext[Train]({"lr": 0.1, "token": "a"})
    branch = fork(ctx, "a")
    for value in (1, 2):
        child = branch.open()
        child["model"] = Opaque(value) if value else None
        delta = child.delta()
        merge(ctx, travelled(delta) if packed else delta)
    assert 1 == ctx["model"].value


def test_a_declared_secret_is_brought() -> None:
    """A secret that a branch writes is the parent's, and is told nobody."""
    ctx = FrozenContext({}, sinks=[sink := MemorySink()])
    merge(ctx, travelled(done(fork(ctx, "a"), token=SecretStr("hunter2"))))
    assert "hunter2" == ctx["token"].get_secret_value()
    assert "hunter2" not in repr(ctx) + repr(sink.events)


# Everything or nothing


SOURCE = os.path.dirname(crystallize.__file__)


@contextmanager
def interrupted(when: Callable[[FrameType], bool]) -> Iterator[None]:
    """Raise KeyboardInterrupt in the package where a signal would, the first time that a condition holds."""
    is_over = False

    def look(frame: FrameType, event: str, arg: object) -> None:
        nonlocal is_over
        # Signals are looked for when a function begins, and when a call has returned.
        if is_over or event not in ("call", "return", "c_return") or not frame.f_code.co_filename.startswith(SOURCE):
            return
        if when(frame):
            is_over = True
            raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)


def _parent() -> FrozenContext:
    ctx = FrozenContext({"lr": 0.1})
    ctx.record("m", 1)
    ctx.artifacts.add("own", b"")
    return ctx


def _out_of(ctx: FrozenContext) -> Delta:
    branch = fork(ctx, "a")
    with ctx.step("own") as step:
        step["own"] = [1]
        step.record("m", 2)
        step.artifacts.add("own-2", b"")
    child = branch.open()
    child["list"] = [1]
    child["atom"] = 2
    child.record("m", 3)
    child.record(Measured.loss, 0.5, Tags(epoch=1))
    with child.step("fit") as fit:
        fit.record("m", 4)
        fit["inner"] = 5
        fit.artifacts.add("brought", b"")
    return child.delta()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("known", "packed"),
    [
        *((False, True), (True, False)),
        *(pytest.param(both, both, marks=pytest.mark.long) for both in (False, True)),
    ],
)
def test_a_merge_is_whole_or_absent_wherever_it_is_interrupted(known: bool, packed: bool) -> None:
    """Wherever Ctrl-C comes in a merge, the parent has all or nothing of the branch, and the merge can be repeated."""
    at, outcomes = 0, []
    is_interrupted = True
    while is_interrupted:
        ctx = _parent()
        delta = _out_of(ctx)
        ctx = ctx if known else _parent()
        delta = travelled(delta) if packed else delta
        before = seen(ctx)
        whole = copy.deepcopy(ctx)
        merge(whole, delta)
        rest = at

        def is_time(frame: FrameType) -> bool:
            nonlocal rest
            rest -= 1
            return rest < 0

        is_interrupted = False
        try:
            with interrupted(is_time):
                merge(ctx, delta)
        except KeyboardInterrupt:
            is_interrupted = True
        now = seen(ctx)
        assert now in (before, seen(whole)), at
        outcomes.append(now == before)
        if now == before:
            # Also the names that it would have given to metrics and steps are free.
            free = copy.deepcopy(ctx)
            free.record(Other.loss, 1.0)
            with free.step("a"):
                pass
            assert ("a#2" if known else "a") == free.provenance.steps[-1].name
        merge(ctx, delta)
        assert seen(whole) == seen(ctx)
        at += 1
    assert {True, False} == set(outcomes)


@pytest.mark.parametrize("metrics", [None, Measured])
def test_a_conflict_that_comes_up_in_the_middle(metrics: type[MetricSchema] | None) -> None:
    """A key that another thread writes while a merge goes on is a conflict, and nothing of the branch is there."""

    class Hasty(dict[str, Any]):
        """Values to which somebody else writes at the last moment."""

        def setdefault(self, key: str, default: Any = None) -> Any:
            if key == "third" and key not in self:
                super().__setitem__(key, (0, None, None, False))
            return super().setdefault(key, default)

    ctx = FrozenContext({"lr": 0.1}, metrics=metrics)
    child = fork(ctx, "a").open()
    for key in ("first", "second", "third", "fourth"):
        child[key] = [1] if key == "first" else 1
    child.record("count", 1)
    child.artifacts.add("f", b"")
    delta = child.delta()
    state = state_of(ctx)
    before = seen(ctx)
    values = state.values
    state.values = Hasty(values)
    with pytest.raises(MergeConflictError) as caught:
        merge(ctx, delta)
    assert ("third", ("the parent outside any step", "step 'a'")) == (caught.value.name, caught.value.writers)
    assert {"lr", "third"} == set(state.values)
    state.values = values
    assert before == seen(ctx)
    merge(ctx, delta)
    assert ["lr", "first", "second", "third", "fourth"] == list(ctx)


# Sinks


def test_sinks_hear_of_what_is_brought_as_it_arrives() -> None:
    """Sinks are told of each fork and, as a branch is merged, of all in it, with its name and its own positions."""
    ctx = FrozenContext({}, sinks=[sink := MemorySink()])
    a, b = fork(ctx, "a"), fork(ctx, "b")
    fork(ctx, "a")
    ctx.record("m", 0)
    for branch in (b, a):
        child = travelled(branch).open()
        child[branch.name] = [1]
        child.record("m", branch.name, {"t": [1]})
        with child.step("fit") as fit:
            fit.record("m", 1)
            fit.artifacts.add(f"{branch.name}.txt", b"x")
        merge(ctx, child.delta())
    assert [BranchForked("a"), BranchForked("b"), MetricRecorded("m", 0, {}, None, 0)] == sink.events[:3]
    told = sink.events[3:]
    assert 18 == len(told)
    for name, events in (("b", told[:9]), ("a", told[9:])):
        starts = [(event.step, event.branch) for event in events if isinstance(event, StepStarted)]
        assert [(name, name), (f"{name}/fit", name)] == starts
        assert KeyWritten(name, [1], name, False, name) in events
        assert [
            MetricRecorded("m", name, {"t": [1]}, name, 0, name),
            MetricRecorded("m", 1, {}, f"{name}/fit", 1, name),
        ] == [event for event in events if isinstance(event, MetricRecorded)]
        assert ArtifactAdded(f"{name}.txt", b"x", f"{name}/fit", name) in events
        ends = [event for event in events if isinstance(event, StepFinished)]
        assert [(f"{name}/fit", {"m": 1}, name), (name, {"m": 1}, name)] == [
            (event.step, event.points, event.branch) for event in ends
        ]
        last = events[-1]
        assert isinstance(last, BranchMerged)
        assert (name, None, Any, None) == (last.branch, last.result, last.type, last.item)
    assert [0, 1, 2] == [at for at, event in enumerate(sink.events) if not getattr(event, "branch", None) or at < 2]


class Failing:
    """A sink that takes nothing of some kinds."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds

    def handle(self, event: Any, /) -> None:
        if isinstance(event, self.kinds):
            raise OSError("disk full")

    def close(self) -> None:
        pass


class FailingToo(Failing):
    """Another one."""


def test_a_sink_that_fails_while_a_branch_is_merged() -> None:
    """A branch is merged also where sinks fail to take note; the others hear of all of it, and each failure is told."""
    ctx = FrozenContext({}, sinks=[Failing(MetricRecorded), sink := MemorySink(), FailingToo(ArtifactAdded)])
    branch = fork(ctx, "a")
    child = branch.open()
    child["k"] = 1
    child.record("m", 1)
    child.artifacts.add("f", b"")
    delta = child.delta()
    with pytest.raises(SinkError, match="Failing raised OSError: disk full") as caught:
        merge(ctx, delta)
    _, note = caught.value.__notes__
    assert "FailingToo raised OSError: disk full" in note
    assert (1, (1,), ["f"]) == (ctx["k"], ctx.metrics["m"], [artifact.name for artifact in ctx.artifacts])
    assert isinstance(sink.events[-1], BranchMerged)
    told = len(sink.events)
    merge(ctx, delta)
    assert told == len(sink.events)


def test_a_sink_that_fails_at_a_fork() -> None:
    """A branch is forked also where a sink fails to take note; forking again gives it."""
    ctx = FrozenContext({}, sinks=[Failing(BranchForked)])
    with pytest.raises(SinkError):
        fork(ctx, "a")
    ctx["own"] = 1
    merge(ctx, done(fork(ctx, "a"), k=1))
    assert ["k", "own"] == list(ctx)


# Kinds of contexts


@dataclass
class Plain:
    lr: float
    made: Annotated[list[int], Output] = dataclass_field(default_factory=list)


class Typed(TypedDict, total=False):
    lr: float
    made: list[int]


class Own(FrozenContext[Train]):
    """A context of one's own."""


@ways
@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (FrozenContext, "made", [1]),
        (FrozenContext[Train], "report", {"a": 1}),
        (FrozenContext[Plain], "made", [1]),
        (FrozenContext[Typed], "made", [1]),
        (FrozenContext[dict[str, float]], "made", 0.5),
        (Own, "report", {"a": 1}),
    ],
)
def test_any_kind_of_context(kind: Any, key: str, value: Any, way: Callable[[Any], Any]) -> None:
    """Contexts of any shape are forked and merged, and a child is written as the parent would be."""
    ctx = kind({"lr": 0.5})
    child = way(fork(ctx, "a")).open()
    assert 0.5 == child["lr"]
    child[key] = value
    merge(ctx, way(child.delta()))
    assert value == ctx[key]
    assert ctx.provenance.steps[0].writes == (key,)
    if kind is not FrozenContext:
        with pytest.raises((InvalidValueError, UnknownKeyError, ContextMutationError)):
            fork(ctx, "b").open()["more"] = "text"
    if kind is Own:
        assert {"a": 1} == ctx.snapshot().report


# What does not travel


class Unpicklable:
    """Is copied, and does not pickle."""

    def __deepcopy__(self, memo: object) -> "Unpicklable":
        return self

    def __reduce__(self) -> Any:
        raise RuntimeError("it holds a lock")


class Unreadable:
    """Pickles, and cannot be read again."""

    def __deepcopy__(self, memo: object) -> "Unreadable":
        return self

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> Any:
    raise RuntimeError("no such file")


class FreeModels(BaseModel):
    model: Annotated[Any, Shared] = None


@pytest.fixture(params=[True, False], ids=["with cloudpickle", "without"])
def cloudpickle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    with_it: bool = request.param
    if not with_it:
        _without(monkeypatch, "crystallize._branches.pickling", "cloudpickle")
    return with_it


def _without(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    def find(name: str) -> Any:
        return None if name == package else find_spec(name)

    monkeypatch.setattr(f"{module}.find_spec", find)


UNSENDABLE = "key 'model' cannot be sent to another process: a tests.*Unpicklable does not pickle .it holds a lock."


@pytest.mark.usefixtures("cloudpickle")
def test_a_value_of_the_parent_that_does_not_pickle(caplog: pytest.LogCaptureFixture) -> None:
    """A key that cannot be sent is an error of the branches that read it elsewhere, of which a warning says so."""
    ctx = FrozenContext[FreeModels]({"model": Unpicklable()})
    branch = fork(ctx, "a")
    child = travelled(branch).open()
    assert re.search(f"{UNSENDABLE}; a branch that reads the key fails", caplog.text)
    assert ["model"] == list(child)
    assert "<branch '(any)': key 'model' cannot be sent" in repr(child)
    with pytest.raises(TravelError, match=f"{UNSENDABLE}; a task that needs it has to make it"):
        child["model"]
    assert isinstance(branch.open()["model"], Unpicklable)
    again = travelled(fork(child, "b")).open()
    with pytest.raises(TravelError, match=UNSENDABLE):
        again["model"]


@pytest.mark.usefixtures("cloudpickle")
def test_a_value_that_does_not_pickle_and_is_not_shared() -> None:
    """The same holds of a value that is copied, also where the branch forks another one, or a task reads it."""
    ctx = FrozenContext({"model": Unpicklable()})
    child = travelled(fork(ctx, "a")).open()
    for opened in (child, travelled(fork(child, "b")).open()):
        with pytest.raises(TravelError, match=f"{UNSENDABLE}; a task that needs it has to make it"):
            opened["model"]
    executor: Any = type("Local", (Now,), {"__module__": "loky"})()
    with pytest.raises(TravelError, match=f"^branch 'reads-0': {UNSENDABLE}"):
        fan_out(ctx, reads, ["model"], executor=executor)


def reads(child: BranchContext[Any], key: str) -> Any:
    return child[key]


class Lonely:
    """Pickles at every second attempt."""

    attempts = 0

    def __reduce__(self) -> Any:
        Lonely.attempts += 1
        if Lonely.attempts % 2:
            raise RuntimeError("not now")
        return Lonely, ()


def test_shared_values_that_pickle_alone() -> None:
    """Shared values that do not pickle together are sent one by one."""
    _ = Lonely
    ctx = FrozenContext[dict[str, Annotated[Any, Shared]]]({"a": Lonely(), "b": [1]})
    Lonely.attempts = 0
    with pytest.MonkeyPatch.context() as patch:
        _without(patch, "crystallize._branches.pickling", "cloudpickle")
        child = travelled(fork(ctx, "a")).open()
    assert [1] == child["b"]


def test_shared_values_that_do_not_pickle() -> None:
    """Of several shared values, those that can be sent are, and still refer to the same objects."""
    words = {"a": 1}
    initial = {"words": words, "model": Unpicklable(), "same": [words], "fine": 1}
    ctx = FrozenContext[dict[str, Annotated[Any, Shared]]](initial)
    child = travelled(fork(ctx, "a")).open()
    assert list(initial) == list(child)
    assert child["same"][0] is child["words"]
    assert (words, 1) == (child["words"], child["fine"])
    with pytest.raises(TravelError, match=UNSENDABLE):
        child["model"]


@pytest.mark.usefixtures("cloudpickle")
def test_a_value_of_a_branch_that_does_not_pickle() -> None:
    """A delta that cannot be sent says which key cannot, and can be merged here all the same."""
    ctx = FrozenContext({})
    child = fork(ctx, "a").open()
    child["fine"] = [1]
    child["model"] = Unpicklable()
    delta = child.delta()
    with pytest.raises(TravelError, match="key 'model' cannot be sent"):
        pickle.dumps(delta)
    merge(ctx, delta)
    assert isinstance(ctx["model"], Unpicklable)


def test_a_point_that_does_not_pickle() -> None:
    """A delta that cannot be sent says which metric is at fault."""
    child = fork(FrozenContext({}), "a").open()
    child.record("m", Unpicklable())
    with pytest.raises(TravelError, match="metric 'm' cannot be sent"):
        pickle.dumps(child.delta())


def test_what_pickles_by_cloudpickle_alone(cloudpickle: bool) -> None:
    """A value that pickle itself cannot send goes by cloudpickle, where that is installed."""
    ctx = FrozenContext({"f": [lambda x: x + 1]})
    branch = fork(ctx, "a")
    child = branch.open()
    child["g"] = [lambda x: x + 2]
    delta = child.delta()
    if cloudpickle:
        assert 2 == travelled(branch).open()["f"][0](1)
        merge(ctx, travelled(delta))
        assert 3 == ctx["g"][0](1)
    else:
        with pytest.raises(TravelError, match="key 'f' cannot be sent"):
            travelled(branch).open()["f"]
        with pytest.raises(TravelError, match="key 'g' cannot be sent"):
            pickle.dumps(delta)


def test_an_open_file(cloudpickle: bool, tmp_path: Path) -> None:
    """An open file is not sent, also not by cloudpickle, which would send a copy of its content."""
    (tmp_path / "secret.txt").write_text("of the parent alone")
    with (tmp_path / "secret.txt").open() as file:
        reason = (
            "key 'f' cannot be sent to another process: .*TextIOWrapper.*; send its path, and open it in the branch"
        )
        values = {"f": file, "g": [lambda: 2] if cloudpickle else [2]}
        sent = pickle.dumps(fork(FrozenContext[dict[str, Annotated[Any, Shared]]](values), "a"))
        assert b"of the parent alone" not in sent
        child = pickle.loads(sent).open()
        with pytest.raises(TravelError, match=reason):
            child["f"]
    assert 2 == (child["g"][0]() if cloudpickle else child["g"][0])


def test_the_streams_of_the_process(cloudpickle: bool) -> None:
    """By cloudpickle the standard streams are sent by name: each process has its own."""
    ctx = FrozenContext[dict[str, Annotated[Any, Shared]]]({"out": [sys.stdout, lambda: 1]})
    if cloudpickle:
        assert sys.stdout is travelled(fork(ctx, "a")).open()["out"][0]
        return
    with pytest.raises(TravelError, match="key 'out' cannot be sent"):
        travelled(fork(ctx, "a")).open()["out"]


def test_a_logger_that_does_not_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch whose parent's logger cannot be sent says so."""
    _without(monkeypatch, "crystallize._branches.pickling", "cloudpickle")
    branch = fork(FrozenContext({}, logging.Logger("unknown")), "a")
    with pytest.raises(TravelError, match="the logger cannot be sent"):
        pickle.dumps(branch)


def test_a_schema_or_metrics_that_do_not_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch whose schema, or metrics, no other process knows says so."""
    _without(monkeypatch, "crystallize._branches.pickling", "cloudpickle")

    class Local(BaseModel):
        lr: float = 1.0

    class LocalMetrics(MetricSchema):
        loss = Metric(Annotated[float, AfterValidator(lambda value: value)])

    declared = "cannot be sent to another process: test_a_schema.* is declared in a function; declare it at the top"
    with pytest.raises(TravelError, match=f"the schema {declared}"):
        pickle.dumps(fork(FrozenContext[Local]({}), "a"))
    with pytest.raises(TravelError, match=f"the metrics {declared}"):
        pickle.dumps(fork(FrozenContext({}, metrics=LocalMetrics), "a"))
    ctx = FrozenContext({})
    ctx.record(LocalMetrics.loss, 0.5)
    with pytest.raises(TravelError, match="it cannot be sent to another process"):
        pickle.dumps(fork(ctx, "a"))
    child = fork(FrozenContext({}), "a").open()
    child.record(LocalMetrics.loss, 0.5)
    with pytest.raises(TravelError, match="it cannot be sent to another process"):
        pickle.dumps(child.delta())


def test_a_branch_that_cannot_be_read() -> None:
    """A branch, or a delta, that cannot be read where it arrived says so when it is used."""
    ctx = FrozenContext({"model": Unreadable()})
    opened = travelled(fork(ctx, "a")).open()
    with pytest.raises(TravelError, match=r"key 'model' cannot be read in this process .RuntimeError: no such file"):
        opened["model"]
    other = FrozenContext({})
    delta = travelled(done(fork(other, "a"), model=Unreadable()))
    before = seen(other)
    with pytest.raises(TravelError, match=r"its work cannot be read.*RuntimeError: no such file"):
        merge(other, delta)
    assert before == seen(other)


def test_a_branch_that_says_main() -> None:
    """A branch travels also where something in it names the main module, which each process has its own of."""
    branch = fork(FrozenContext({"text": "__main__", "list": [1]}), "a")
    assert {"text": "__main__", "list": [1]} == travelled(travelled(branch)).open().as_dict()


def test_a_branch_travels_on() -> None:
    """What arrived can be sent on, and what came with it is unpacked once for all branches that came together."""
    ctx = FrozenContext({"list": [1], "n": 5})
    a, b = fork(ctx, "a"), fork(ctx, "b")
    for branch in (travelled(travelled(a)), travelled(b)):
        child = branch.open()
        child["list"].append(2)
        child[f"own-{branch.name}"] = child["list"]
        merge(ctx, travelled(travelled(child.delta())))
    assert ([1], [1]) == (ctx["own-a"], ctx["own-b"])


class Shifty(BaseModel):
    lr: float


def test_a_schema_that_is_another_where_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch is not opened where its schema is another one than where it was forked."""

    class Newer(BaseModel):
        lr: int

    content = pickle.dumps(fork(FrozenContext[Shifty]({"lr": 1.0}), "a"))
    Newer.__qualname__, Newer.__name__ = "Shifty", "Shifty"
    monkeypatch.setattr(sys.modules[__name__], "Shifty", Newer)
    branch = pickle.loads(content)
    with pytest.raises(ForeignDeltaError, match="is another in this process than where it was forked"):
        branch.open()


# Many at once


class Now(Executor):
    """Does each task when it is submitted, in this thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.run(future, partial(fn, *args, **kwargs))
        return future

    def run(self, future: Future[Any], act: Callable[[], Any]) -> None:
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)


class Late(Now):
    """Does all tasks when the last one is submitted, in an order of its own."""

    def __init__(self, *order: int) -> None:
        self.order = order
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append((Future(), partial(fn, *args, **kwargs)))
        future = self.waiting[-1][0]
        if len(self.waiting) == len(self.order):
            for at in self.order:
                self.run(*self.waiting[at])
        return future


class Dying(Now):
    """Does some tasks, then breaks: from then on no task ends, or none is taken."""

    def __init__(self, lives: int, refuses: bool = False) -> None:
        self.lives = lives
        self.refuses = refuses

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.lives -= 1
        if self.lives >= 0:
            return super().submit(fn, *args, **kwargs)
        if self.refuses:
            raise BrokenExecutor("a worker died")
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("a worker died"))
        return future


def fold(ctx: FrozenContext[Any], item: int) -> int:
    ctx[f"fold-{item}"] = [item]
    ctx.record("m", item)
    with ctx.step("fit") as step:
        step.artifacts.add(f"{item}.txt", b"")
    return item * item


def test_results_are_in_the_order_of_the_items() -> None:
    """Whichever branch ends first, results, keys, points, artifacts and steps are in the order of the items."""
    ctx = FrozenContext({})
    ctx.record("m", -1)
    assert [0, 1, 4, 9] == fan_out(ctx, fold, range(4), executor=Late(2, 0, 3, 1))
    ctx.record("m", -2)
    assert [f"fold-{at}" for at in range(4)] == list(ctx)
    assert (-1, 0, 1, 2, 3, -2) == ctx.metrics["m"]
    assert [f"{at}.txt" for at in range(4)] == [artifact.name for artifact in ctx.artifacts]
    assert [name for at in range(4) for name in (f"fold-{at}/fit", f"fold-{at}")] == [
        step.name for step in ctx.provenance.steps
    ]


@pytest.mark.parametrize("workers", [1, 4])
def test_threads(workers: int) -> None:
    """Branches run in threads, where nothing is pickled."""
    ctx = FrozenContext({"shared": 1})

    def task(child: FrozenContext[Any], item: int) -> Any:
        child[f"made-{item}"] = [lambda: item]
        fold(child, item)
        return lambda: item

    with ThreadPoolExecutor(workers) as executor:
        results = fan_out(ctx, task, range(20), executor=executor)
    assert list(range(20)) == [result() for result in results] == list(ctx.metrics["m"])
    assert 19 == ctx["made-19"][0]()


def test_no_items() -> None:
    """Without items nothing is run, and nothing is forked."""
    ctx = FrozenContext({}, sinks=[sink := MemorySink()])
    assert [] == fan_out(ctx, fold, [], executor=Now())
    assert [] == sink.events


class Calling:
    """A task that is an object."""

    def __call__(self, ctx: FrozenContext[Any], item: int) -> int:
        return item


def _scaled(ctx: FrozenContext[Any], item: int, factor: int = 1) -> "Undefined":  # type: ignore[name-defined]  # noqa: F821
    return item * factor


@pytest.mark.parametrize(
    ("task", "name", "expected"),
    [
        (fold, None, ["fold-0", "fold-1"]),
        (fold, "part", ["part-0", "part-1"]),
        (fold, lambda item: f"item {item}", ["item 5", "item 7"]),
        (lambda ctx, item: item, None, ["branch-0", "branch-1"]),
        (partial(_scaled, factor=2), None, ["_scaled-0", "_scaled-1"]),
        (partial(partial(_scaled), factor=2), None, ["_scaled-0", "_scaled-1"]),
        (Calling(), None, ["Calling-0", "Calling-1"]),
    ],
)
def test_names_of_branches(task: Any, name: Any, expected: list[str]) -> None:
    """Branches are named after the task, or by a beginning, or by a function of the item; in a step after that."""
    ctx = FrozenContext({})
    fan_out(ctx, task, [5, 7], executor=Now(), name=name)
    assert expected == [record.name for record in ctx.provenance.steps if "/" not in record.name]
    with FrozenContext({}).step("tune") as step:
        fan_out(step, task, [5, 7], executor=Now(), name=name)
        names = [record.name for record in step.provenance.steps]
    assert [f"tune/{branch}" for branch in expected] == [path for path in names if path.count("/") == 1]


def test_what_a_task_says_that_it_returns_is_told() -> None:
    """Sinks are told the result of each branch, its type by the task's annotation, and a digest of the item."""

    def told(task: Any, items: list[Any]) -> list[BranchMerged]:
        sink = MemorySink()
        fan_out(FrozenContext({}, sinks=[sink]), task, items, executor=Now())
        return [event for event in sink.events if isinstance(event, BranchMerged)]

    first, second, third = told(fold, [1, 2]) + told(Calling(), [1])
    assert ((1, int), (4, int), (1, int)) == (
        (first.result, first.type),
        (second.result, second.type),
        (third.result, third.type),
    )
    assert None not in (first.item, second.item)
    assert (first.item == second.item, first.item == third.item) == (False, True)
    for task in (partial(_scaled, factor=1), lambda ctx, item: None):
        assert Any is told(task, [1])[0].type
    assert (None, "**********") == (
        told(lambda ctx, item: None, [Opaque()])[0].item,
        told(lambda ctx, item: SecretStr("hunter2"), [1])[0].result,
    )


@pytest.mark.parametrize("name", [lambda item: "same", lambda item: f"f{item % 2}"])
def test_names_that_are_there_twice(name: Any) -> None:
    """Two items of one name are refused before anything runs."""
    ctx = FrozenContext({})
    with pytest.raises(BranchError, match="two items have this name, 1 and "):
        fan_out(ctx, fold, [1, 2, 3], executor=Now(), name=name)
    assert () == ctx.provenance.steps


@pytest.mark.parametrize("name", [lambda item: "a/b", lambda item: "", "a#"])
def test_names_that_no_branch_can_have(name: Any) -> None:
    """A name that no step can have is refused before anything runs."""
    ctx = FrozenContext({})
    with pytest.raises(InvalidStepError):
        fan_out(ctx, fold, [1], executor=Now(), name=name)
    assert () == ctx.provenance.steps


@pytest.mark.parametrize(("name", "shown"), [("fold-{item}", "'fold-{item}'"), ("a}", "'a}'"), (7, "7")])
def test_names_that_are_no_prefix(name: Any, shown: str) -> None:
    """A template, which a prefix is not, is refused before anything runs, and so is another type."""
    ctx = FrozenContext({})
    with pytest.raises(BranchError, match=re.escape(f"name= is {shown}") + ".*lambda item"):
        fan_out(ctx, fold, [1], executor=Now(), name=name)
    assert () == ctx.provenance.steps


def test_functions_that_give_no_name() -> None:
    """What is no name, or the exception of the function that was to give one, comes with the item, and nothing runs."""
    ctx = FrozenContext({})
    wrong: Any = lambda item: item  # noqa: E731 - a name of another type than it should be
    with pytest.raises(BranchError, match="name= gave 7 for item 7; a branch's name is a str"):
        fan_out(ctx, fold, [7], executor=Now(), name=wrong)
    with pytest.raises(KeyError) as caught:
        fan_out(ctx, fold, [7], executor=Now(), name=lambda item: {1: "one"}[item])
    assert ["in name=, of item 7"] == caught.value.__notes__
    assert () == ctx.provenance.steps


async def _promises(ctx: FrozenContext[Any], item: int) -> int:
    return item


def _yields(ctx: FrozenContext[Any], item: int) -> Iterator[int]:
    yield item


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("fold", "a task is a function of a context, not 'fold'"),
        (_promises, "calling '_promises' runs nothing, as it is"),
        (partial(_yields), "calling '_yields' runs nothing, as it is"),
    ],
)
def test_tasks_that_do_not_run(task: Any, told: str) -> None:
    """What calling does not run is refused before there is a branch of it."""
    ctx = FrozenContext({})
    with pytest.raises(BranchError, match=told):
        fan_out(ctx, task, [1], executor=Now())
    assert () == ctx.provenance.steps


def test_a_result_that_is_a_number_of_numpy() -> None:
    """A scalar of numpy comes as the Python number that it holds, as in a metric."""
    (result,) = fan_out(FrozenContext({}), lambda ctx, item: np.float64(item), [0.5], executor=Now())
    assert (float, 0.5) == (type(result), result)


def test_a_result_that_is_a_time_of_numpy() -> None:
    """A time of numpy is no number, and comes as it is."""
    (result,) = fan_out(FrozenContext({}), lambda ctx, item: np.timedelta64(item, "ns"), [5], executor=Now())
    assert (np.timedelta64, np.timedelta64(5, "ns")) == (type(result), result)


def test_names_that_a_step_has() -> None:
    """A name that a step has is refused before anything runs."""
    ctx = FrozenContext({})
    with ctx.step("fold-1"):
        pass
    with pytest.raises(BranchError, match="there is a step of that name"):
        fan_out(ctx, fold, [0, 1], executor=Now())
    assert [] == list(ctx)


def test_names_that_are_taken() -> None:
    """Names of a call that returned are not used again."""
    ctx = FrozenContext({})
    fan_out(ctx, fold, [0, 1], executor=Now())
    with pytest.raises(BranchError, match="an earlier call has merged it"):
        fan_out(ctx, fold, [0, 1], executor=Now())
    with pytest.raises(BranchError, match="an earlier call has merged it"):
        fan_out(ctx, fold, [5], executor=Now())
    assert [4] == fan_out(ctx, fold, [2], executor=Now(), name="more")


@pytest.mark.parametrize("errors", ["ignore", None, ""])
def test_what_to_do_with_errors_is_one_of_two(errors: Any) -> None:
    """Failures are raised or collected; nothing else is done with them."""
    with pytest.raises(ValueError, match='errors is "raise" or "collect"'):
        fan_out(FrozenContext({}), fold, [1], executor=Now(), errors=errors)


def _flaky(ctx: FrozenContext[Any], item: int) -> int:
    ctx[f"flaky-{item}"] = item
    if item in BAD:
        raise ValueError(f"no {item}")
    return item


BAD: set[int] = set()


@pytest.fixture
def _bad() -> Iterator[None]:
    BAD.update({1, 3})
    yield
    BAD.clear()


def executors() -> list[Executor]:
    return [Now(), Late(4, 3, 2, 1, 0), ThreadPoolExecutor(2)]


@pytest.mark.usefixtures("_bad")
@pytest.mark.parametrize("executor", executors(), ids=["now", "late", "threads"])
def test_the_first_failure_is_raised_when_all_others_are_merged(executor: Executor) -> None:
    """The failure of the first item that failed is raised, saying which; the same call again runs only what failed."""
    with executor:
        ctx = FrozenContext({})
        with pytest.raises(ValueError, match="no 1") as caught:
            fan_out(ctx, _flaky, range(5), executor=executor)
        notes = "\n".join(caught.value.__notes__)
        assert "in branch '_flaky-1', of item 1" in notes
        assert "1 more failed, the next with ValueError: no 3" in notes
        assert ["flaky-0", "flaky-2", "flaky-4"] == list(ctx)
    BAD.clear()
    ran: list[int] = []

    class Counting(Now):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            ran.append(args[2])
            return super().submit(fn, *args, **kwargs)

    assert [0, 1, 2, 3, 4] == fan_out(ctx, _flaky, range(5), executor=Counting())
    assert [1, 3] == ran
    assert [f"flaky-{at}" for at in range(5)] == list(ctx)
    assert [f"_flaky-{at}" for at in range(5)] == [step.name for step in ctx.provenance.steps]


@pytest.mark.usefixtures("_bad")
def test_failures_are_collected() -> None:
    """Where failures are collected, each stands in the place of its item."""
    ctx = FrozenContext({})
    found = fan_out(ctx, _flaky, range(5), executor=Now(), errors="collect")
    assert [0, 2, 4] == [result for result in found if not isinstance(result, BaseException)]
    assert ["no 1", "no 3"] == [str(failure) for failure in (found[1], found[3])]
    BAD.discard(1)
    # What failed can be run by itself, and the same call again runs what failed.
    assert [1] == fan_out(ctx, _flaky, [1], executor=Now(), name=lambda item: f"_flaky-{item}")
    BAD.clear()
    with pytest.raises(BranchError, match=r"'_flaky-1': an earlier call has merged it"):
        fan_out(ctx, _flaky, range(5), executor=Now(), errors="collect")


@pytest.mark.usefixtures("_bad")
def test_failures_are_collected_until_there_are_none() -> None:
    """The same call again runs what failed alone, and returns all results; an exception has one note a branch."""
    ctx = FrozenContext({})
    error = ValueError("always the same")
    ran: list[int] = []

    def task(child: FrozenContext[Any], item: int) -> int:
        ran.append(item)
        if item in BAD:
            raise error
        return item

    expected = [0, error, 2, error, 4]
    assert expected == fan_out(ctx, task, range(5), executor=ThreadPoolExecutor(1), errors="collect", name="a")
    assert expected == fan_out(ctx, task, range(5), executor=ThreadPoolExecutor(1), errors="collect", name="a")
    assert ["in branch 'a-1', of item 1", "in branch 'a-3', of item 3"] == error.__notes__
    BAD.clear()
    assert [0, 1, 2, 3, 4] == fan_out(ctx, task, range(5), executor=ThreadPoolExecutor(1), errors="collect", name="a")
    assert [0, 1, 2, 3, 4, 1, 3, 1, 3] == ran
    with pytest.raises(BranchError, match="an earlier call has merged it"):
        fan_out(ctx, task, range(5), executor=ThreadPoolExecutor(1), errors="collect", name="a")


def half_done(child: FrozenContext[Any], item: int) -> int:
    """Do something of each kind; of some items, fail after that."""
    child.get("momentum")
    with child.step("fit") as fit:
        fit[f"half-done-{item}"] = child["lr"]
    child.record("m", item)
    child.artifacts.add(f"{item}.txt", b"")
    if item in BAD:
        raise ValueError(f"no {item}")
    return item


@pytest.mark.usefixtures("_bad")
@pytest.mark.parametrize("which", range(3), ids=["now", "late", "threads"])
@pytest.mark.parametrize("errors", ["raise", "collect"])
def test_a_branch_that_failed_is_on_record(which: int, errors: Any) -> None:
    """A branch that failed has a record at its place, with its error and what it read, and nothing of its work."""
    sink = MemorySink()
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    executor = executors()[which]
    with executor, suppress(ValueError), ctx.step("cv") as cv:
        fan_out(cv, half_done, range(5), executor=executor, errors=errors)
    records = {record.name: record for record in ctx.provenance.steps}
    names = [
        name for at in range(5) for name in ([] if at in BAD else [f"cv/half_done-{at}/fit"]) + [f"cv/half_done-{at}"]
    ]
    assert [*names, "cv"] == list(records)
    failed = records["cv/half_done-3"]
    assert ("ValueError: no 3", ("lr",), ("momentum",)) == (failed.error, failed.reads, failed.absent)
    assert ((), {}, ()) == (failed.writes, dict(failed.points), failed.artifacts)
    assert failed.started <= failed.ended
    assert not ctx.provenance.finished(failed.name)
    assert ["lr", "half-done-0", "half-done-2", "half-done-4"] == list(ctx)
    told = [event for event in sink.events if getattr(event, "branch", None) == failed.name]
    kinds = [BranchForked, StepStarted, StepFinished]
    assert kinds == [type(event) for event in told]
    assert [False, False, True] == [getattr(event, "is_of_failed_branch", False) for event in told]
    assert failed.as_event(failed.name) == told[2]
    again = travelled(ctx)
    assert seen(ctx) == seen(again)


@pytest.mark.usefixtures("_bad")
def test_the_record_of_a_failure_goes_when_the_branch_is_merged() -> None:
    """Of a branch that fails again and again the last failure is on record, and once it is merged none."""
    ctx = FrozenContext({"lr": 0.1})
    for _ in range(2):
        fan_out(ctx, half_done, range(5), executor=Now(), errors="collect")
        assert 2 == sum(step.error is not None for step in ctx.provenance.steps)
    assert f"Provenance({3 * 2 + 2} steps, 1 input)" == repr(ctx.provenance)
    BAD.clear()
    assert [0, 1, 2, 3, 4] == fan_out(ctx, half_done, range(5), executor=Now())
    whole = FrozenContext({"lr": 0.1})
    fan_out(whole, half_done, range(5), executor=Now())
    assert seen(whole) == seen(ctx)


@pytest.mark.usefixtures("_bad")
def test_a_merge_that_is_taken_back_leaves_the_record_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a merge does not come about, the branch is on record as it was: failed before."""
    ctx = FrozenContext({"lr": 0.1})
    fan_out(ctx, half_done, [1], executor=Now(), errors="collect", name=lambda item: f"a-{item}")
    BAD.clear()
    before = seen(ctx)
    child = fork(ctx, "a-1").open()
    half_done(child, 1)
    delta = child.delta()
    # So that it fails in the middle.
    monkeypatch.setattr(type(state_of(ctx).artifact_store), "insert", None)
    with pytest.raises(TypeError):
        merge(ctx, delta)
    monkeypatch.undo()
    assert before == seen(ctx)
    merge(ctx, delta)
    assert ["a-1/fit", "a-1"] == [step.name for step in ctx.provenance.steps if step.error is None]


@pytest.mark.usefixtures("_bad")
def test_a_failed_branch_within_a_branch() -> None:
    """A branch that failed within one that is merged is on record there, and told of."""

    def outer(child: FrozenContext[Any], item: int) -> int:
        fan_out(child, half_done, range(3), executor=Now(), errors="collect")
        return item

    sink = MemorySink()
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    fan_out(ctx, outer, [0], executor=Now())
    records = {record.name: record for record in ctx.provenance.steps}
    assert "ValueError: no 1" == records["outer-0/half_done-1"].error
    told = [type(event) for event in sink.events if getattr(event, "step", None) == "outer-0/half_done-1"]
    assert [StepStarted, StepFinished] == told


def test_the_error_of_a_failed_branch_shows_no_secret() -> None:
    """In the record of a branch that failed secrets are masked, as they are in that of a step."""

    def task(child: FrozenContext[Train], item: int) -> None:
        raise ValueError(f"{item} with {child.fields.token.get_secret_value()}")

    ctx = FrozenContext[Train]({"lr": 0.1})
    fan_out(ctx, task, [1], executor=ThreadPoolExecutor(1), errors="collect")
    assert "ValueError: 1 with **********" == ctx.provenance.steps[0].error


@pytest.mark.parametrize("outcome", ["raise", "collect"])
def test_a_secret_that_a_failed_branch_wrote_shows_nowhere(outcome: Any) -> None:
    """What a branch in a branch held is masked in the records of all that the exception comes through."""

    def inner(child: FrozenContext[Any], item: int) -> None:
        child["token"] = SecretStr("hunter2")
        raise ValueError("403 for hunter2")

    def outer(child: FrozenContext[Any], item: int) -> None:
        fan_out(child, inner, [0], executor=Now())

    ctx = FrozenContext()
    with suppress(ValueError), ctx.step("cv") as step:
        fan_out(step, outer, [0], executor=Now(), errors=outcome)
        raise ValueError("all of them, as hunter2 says")
    told = {record.name: str(record.error) for record in ctx.provenance.steps}
    assert {"cv/outer-0", "cv"} == {*told}
    assert "hunter2" not in "".join(told.values())
    assert "ValueError: 403 for **********" == told["cv/outer-0"]


def test_a_generator_is_not_sent() -> None:
    """Of what can be gone through once it is said what to send in its place."""
    ctx = FrozenContext[dict[str, Annotated[Any, Shared]]]({"rows": (row for row in range(3))})
    with pytest.raises(TravelError, match=r"key .rows. cannot be sent .* a generator does not pickle .*; make a list"):
        travelled(fork(ctx, "a")).open()["rows"]


def test_a_task_that_takes_its_delta() -> None:
    """A task that takes its delta itself is told that its result would be lost."""

    def task(child: BranchContext[Any], item: int) -> int:
        child.delta()
        return item

    with pytest.raises(BranchError, match="its task has taken the delta, which fan_out does"):
        fan_out(FrozenContext(), task, [1], executor=Now())


def test_a_branch_that_conflicts_is_on_record_with_what_it_read() -> None:
    """Of a branch whose task ended well and that could not be merged there is on record what it read."""

    def task(child: FrozenContext[Any], item: int) -> None:
        child["same"] = child["lr"]

    ctx = FrozenContext({"lr": 0.1})
    fan_out(ctx, task, range(2), executor=Now(), errors="collect")
    record = ctx.provenance.steps[1]
    assert ("task-1", ("lr",), (), {}) == (record.name, record.reads, record.writes, dict(record.points))
    assert str(record.error).startswith("MergeConflictError: ")


def test_a_branch_whose_worker_died_is_on_record() -> None:
    """Of a branch whose worker died there is on record why it is not merged."""
    ctx = FrozenContext({"lr": 0.1})
    fan_out(ctx, half_done, range(3), executor=Dying(1), errors="collect")
    told = {step.name: (step.error, step.reads) for step in ctx.provenance.steps if step.error}
    assert dict.fromkeys(("half_done-1", "half_done-2"), ("BrokenExecutor: a worker died", ())) == told


def test_a_sink_that_takes_no_failure() -> None:
    """What a sink raises when it is told of a failed branch is a note on why that failed."""
    BAD.add(1)
    ctx = FrozenContext({"lr": 0.1}, sinks=[Failing(StepFinished)])
    with pytest.raises(ValueError, match="no 1") as caught:
        fan_out(ctx, half_done, [1], executor=Now(), name=lambda item: f"a-{item}")
    BAD.clear()
    assert any(note.startswith("Besides, ") and "StepFinished" in note for note in caught.value.__notes__)
    assert ["ValueError: no 1"] == [step.error for step in ctx.provenance.steps]


def test_an_item_that_is_another_one_the_next_time() -> None:
    """A branch that is merged is not taken for that of another item; items without a digest are taken as they come."""
    ctx = FrozenContext({})
    BAD.add(1)
    with pytest.raises(ValueError, match="no 1"):
        fan_out(ctx, _flaky, [0, 1], executor=Now())
    BAD.clear()
    with pytest.raises(BranchError, match="it is merged, and was of another item than 2") as caught:
        fan_out(ctx, _flaky, [2, 1], executor=Now())
    assert "_flaky-0" == caught.value.branch
    assert [0, 1] == fan_out(ctx, _flaky, [0, 1], executor=Now())

    def named(child: FrozenContext[Any], item: Opaque) -> int:
        if item.value in BAD:
            raise ValueError("no")
        return item.value

    BAD.add(1)
    with pytest.raises(ValueError, match="no"):
        fan_out(ctx, named, [Opaque(0), Opaque(1)], executor=ThreadPoolExecutor(1))
    BAD.clear()
    assert [0, 1] == fan_out(ctx, named, [Opaque(0), Opaque(1)], executor=ThreadPoolExecutor(1))


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("lives", [0, 1, 3])
def test_workers_that_die(lives: int, refuses: bool) -> None:
    """Where an executor breaks, what ended is merged; the error names what did not, and a new executor runs that."""
    ctx = FrozenContext({})
    items = range(12)
    with pytest.raises(LostBranchesError, match="a worker died") as caught:
        fan_out(ctx, fold, items, executor=Dying(lives, refuses))
    error = caught.value
    assert (f"fold-{lives}", tuple(str(at) for at in range(lives, 12))) == (error.branch, error.items)
    assert f"broke before {12 - lives} of its branches had ended" in str(error)
    assert ("and 4 more" in str(error)) == (lives == 0)
    assert isinstance(error, BranchError)
    assert isinstance(error, BrokenExecutor)
    assert isinstance(error.__cause__, BrokenExecutor)
    assert (str(error), error.items) == (str(travelled(error)), travelled(error).items)
    assert [f"fold-{at}" for at in range(lives)] == list(ctx)
    assert [at * at for at in items] == fan_out(ctx, fold, items, executor=Now())
    assert [f"fold-{at}" for at in items] == list(ctx)


def test_lost_branches_are_collected() -> None:
    """Where failures are collected, one error stands in the places of all items whose branches were lost."""
    found: list[Any] = fan_out(FrozenContext({}), fold, range(3), executor=Dying(1), errors="collect")
    assert 0 == found[0]
    assert isinstance(found[1], LostBranchesError)
    assert found[1] is found[2]


@pytest.mark.parametrize(
    ("module", "name"), [("distributed.scheduler", "KilledWorker"), ("ray.exceptions", "WorkerCrashedError")]
)
def test_deaths_that_engines_tell_in_their_own_way(module: str, name: str) -> None:
    """What an engine raises when a worker died is told as lost branches."""
    killed: Any = type(name, (Exception,), {"__module__": module})

    class Engine(Now):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(type("Sub", (killed,), {})("gone"))
            return future

    with pytest.raises(LostBranchesError, match="gone"):
        fan_out(FrozenContext({}), fold, [1], executor=Engine())


def test_an_executor_that_cannot_send() -> None:
    """What an executor raises when a task is submitted is that item's failure."""

    class Picky(Now):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if args[2] == 1:
                raise RuntimeError("cannot schedule new futures after shutdown")
            return super().submit(fn, *args, **kwargs)

    ctx = FrozenContext({})
    with pytest.raises(RuntimeError, match="after shutdown") as caught:
        fan_out(ctx, fold, range(3), executor=Picky())
    assert ["in branch 'fold-1', of item 1"] == caught.value.__notes__
    assert ["fold-0", "fold-2"] == list(ctx)


def test_tasks_that_were_cancelled() -> None:
    """A task that somebody cancelled is a failure of its item, and the others are merged."""

    class Cancelling(Now):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if args[2] != 1:
                return super().submit(fn, *args, **kwargs)
            future: Future[Any] = Future()
            future.cancel()
            return future

    ctx = FrozenContext({})
    found = fan_out(ctx, fold, range(3), executor=Cancelling(), errors="collect")
    assert "CancelledError" == type(found[1]).__name__
    assert "fold-1" not in {step.name for step in ctx.provenance.steps}
    assert ["fold-0", "fold-2"] == list(ctx)


def test_an_executor_that_hands_back_something_else() -> None:
    """What is no delta is a failure of its item."""

    class Wrong(Now):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result("done")
            return future

    with pytest.raises(ForeignDeltaError, match="not a str"):
        fan_out(FrozenContext({}), fold, [1], executor=Wrong())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("in the worker")])
def test_a_task_that_would_end_the_process(error: BaseException) -> None:
    """What would end this process is a failure of its item in a worker, and the others are merged."""

    def task(child: FrozenContext[Any], item: int) -> int:
        if item == 0:
            raise error
        return fold(child, item)

    ctx = FrozenContext({})
    with pytest.raises(type(error)):
        fan_out(ctx, task, range(3), executor=Now())
    assert ["fold-1", "fold-2"] == list(ctx)


def test_conflicts_are_failures_of_an_item() -> None:
    """Of branches that write one key one is merged, and another is a failure; none is there in part."""

    def task(child: FrozenContext[Any], item: int) -> int:
        child[f"own-{item}"] = item
        child["same"] = item
        return item

    ctx = FrozenContext({})
    found: list[Any] = fan_out(ctx, task, range(3), executor=Late(1, 0, 2), errors="collect")
    assert 1 == found[1]
    assert [MergeConflictError] * 2 == [type(failure) for failure in (found[0], found[2])]
    assert ["own-1", "same"] == list(ctx)


def test_a_failing_sink_is_a_failure_of_the_item() -> None:
    """Where a sink fails, the branch is merged; the failure is raised once, and the same call again returns."""
    failing = Failing(ArtifactAdded)
    ctx = FrozenContext({}, sinks=[failing])
    with pytest.raises(SinkError):
        fan_out(ctx, fold, range(2), executor=Now())
    assert ["fold-0", "fold-1"] == list(ctx)
    assert [0, 1] == fan_out(ctx, fold, range(2), executor=Now())


def test_a_step_that_a_task_leaves_open() -> None:
    """A task that leaves a step open has failed."""

    opened = []

    def task(child: FrozenContext[Any], item: int) -> None:
        opened.append(child.step("fit"))
        opened[-1].__enter__()

    with pytest.raises(BranchError, match="has not ended"):
        fan_out(FrozenContext({}), task, [1], executor=Now())
    assert 1 == len(opened)


# What tasks raise and return elsewhere


class TwoArguments(Exception):
    """Pickles, and cannot be made again of what it pickles."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class HoldsALock(Exception):
    """Does not pickle."""

    def __reduce__(self) -> Any:
        raise TypeError("a lock does not pickle")


def _raising(ctx: FrozenContext[Any], item: int) -> None:
    raise TwoArguments("one", "other") if item == 0 else HoldsALock("locked")


@pytest.mark.parametrize(("item", "told"), [(0, "TwoArguments.*one and other"), (1, "HoldsALock.*locked")])
def test_exceptions_that_do_not_travel(item: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no other process could read is told as text with its traceback; in threads it is raised."""
    # Once it is imported, Dask pickles every exception in its own way.
    for kind in (TwoArguments, HoldsALock):
        monkeypatch.delitem(copyreg.dispatch_table, kind, raising=False)
    with pytest.raises(TravelError, match=rf"(?s)its task raised a tests\S*\.{told}.*in _raising|{told}"):
        fan_out(FrozenContext({}), _raising, [item], executor=Now(), name="a")
    with ThreadPoolExecutor(1) as executor, pytest.raises((TwoArguments, HoldsALock)):
        fan_out(FrozenContext({}), _raising, [item], executor=executor)


class ReadOnce(Exception):
    """Is read where it was raised, and not where it arrives."""

    def __reduce__(self) -> Any:
        return _once, ()


READ: list[int] = []


def _once() -> Exception:
    READ.append(1)
    if len(READ) > 1:
        raise RuntimeError("unknown here")
    return ReadOnce("far away")


def test_an_exception_that_cannot_be_read_where_it_arrives() -> None:
    """An exception that can be read by the worker alone is told as text."""

    def task(child: FrozenContext[Any], item: int) -> None:
        raise ReadOnce("far away")

    READ.clear()
    with pytest.raises(TravelError, match=r"(?s)ReadOnce, which cannot be sent \(unknown here\).*far away"):
        fan_out(FrozenContext({}), task, [1], executor=Now())


def test_where_an_exception_was_raised() -> None:
    """An exception that travelled is shown with where in a worker it was raised, unless it has a cause of its own."""

    def task(child: FrozenContext[Any], item: int) -> None:
        raise ValueError("far away")

    with pytest.raises(ValueError, match="far away") as caught:
        fan_out(FrozenContext({}), task, [1], executor=Now())
    cause = str(caught.value.__cause__)
    assert cause.startswith("in a worker:\nTraceback")
    assert "in task" in cause


def test_results_that_do_not_travel() -> None:
    """What a task returns or writes, and cannot be sent, is an error that names it."""

    def returning(child: FrozenContext[Any], item: Any) -> Any:
        return Unpicklable()

    def writing(child: FrozenContext[Any], item: Any) -> None:
        child["model"] = Unpicklable()

    with pytest.raises(TravelError, match="what its task returned cannot be sent"):
        fan_out(FrozenContext({}), returning, [1], executor=Now())
    with pytest.raises(TravelError, match="key 'model' cannot be sent"):
        fan_out(FrozenContext({}), writing, [1], executor=Now())


def test_a_result_that_differs() -> None:
    """Another result is another content."""
    ctx = FrozenContext({})
    deltas: list[Any] = []

    class Twice(Now):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            deltas.append(fn(*args, **kwargs))
            return super().submit(fn, *args, **kwargs)

    values = iter([1, 2])
    fan_out(ctx, lambda child, item: next(values), [1], executor=Twice())
    with pytest.raises(DivergentRetryError, match="differs in its result"):
        merge(ctx, deltas[0])


def test_fan_out_within_a_branch() -> None:
    """A task may fan out itself."""

    def inner(child: FrozenContext[Any], item: int) -> int:
        child.record("m", item)
        return item

    def outer(child: FrozenContext[Any], item: int) -> int:
        return sum(fan_out(child, inner, [item, item + 1], executor=Late(1, 0)))

    ctx = FrozenContext({})
    assert [21, 41] == fan_out(ctx, outer, [10, 20], executor=Now())
    assert (10, 11, 20, 21) == ctx.metrics["m"]
    assert ["outer-0/inner-0", "outer-0/inner-1", "outer-0"] == [step.name for step in ctx.provenance.steps[:3]]


# Executors


@pytest.mark.parametrize("executor", [None, "threads", ThreadPoolExecutor, map])
def test_what_is_no_executor(executor: Any) -> None:
    """Only a `concurrent.futures.Executor` is one."""
    with pytest.raises(BranchError, match=r"an executor is a concurrent\.futures\.Executor"):
        fan_out(FrozenContext({}), fold, [1], executor=executor)


def test_executors_of_dask() -> None:
    """Dask's client is none, and its executor only where it does equal tasks as often as they are submitted."""
    client: Any = type("Client", (), {"__module__": "distributed.client"})()
    with pytest.raises(BranchError, match=r"pass executor=client.get_executor\(pure=False\)"):
        fan_out(FrozenContext({}), fold, [1], executor=client)
    kind: Any = type("ClientExecutor", (Now,), {"__module__": "distributed.cfexecutor"})
    for options in (None, {}, {"pure": True}):
        executor = kind()
        if options is not None:
            executor._kwargs = options
        with pytest.raises(BranchError, match="Dask would run equal tasks once"):
            fan_out(FrozenContext({}), fold, [1], executor=executor)
    executor._kwargs = {"pure": False}
    assert [1] == fan_out(FrozenContext({}), fold, [1], executor=executor)


@pytest.mark.parametrize("package", ["loky.process_executor", "distributed.cfexecutor"])
def test_what_cannot_be_sent_is_said_before_anything_runs(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers are other processes, what every branch needs and cannot be sent is an error of the call."""
    _without(monkeypatch, "crystallize._branches.pickling", "cloudpickle")
    executor: Any = type("Sending", (Now,), {"__module__": package, "_kwargs": {"pure": False}})()
    ctx = FrozenContext({}, logging.Logger("unknown"))
    with pytest.raises(TravelError, match="the logger cannot be sent"):
        fan_out(ctx, fold, [1], executor=executor)
    assert () == ctx.provenance.steps


# Progress


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress is shown by tqdm, from what is merged already on."""
    ctx = FrozenContext({})
    BAD.add(1)
    with pytest.raises(ValueError, match="no 1"):
        fan_out(ctx, _flaky, range(3), executor=Now(), progress=True)
    BAD.clear()
    assert "3/3" in capsys.readouterr().err
    fan_out(ctx, _flaky, range(3), executor=Now(), progress=True)
    err = capsys.readouterr().err
    assert "2/3" in err
    assert "3/3" in err
    fan_out(ctx, fold, range(3), executor=Now())
    assert "" == capsys.readouterr().err


def test_progress_without_tqdm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where tqdm is not installed, a warning says how to install it, and all else goes on."""
    _without(monkeypatch, "crystallize._branches.progress", "tqdm")
    assert [0, 1] == fan_out(FrozenContext({}), fold, range(2), executor=Now(), progress=True)
    assert "pip install 'crystallize-context[progress]'" in caplog.text
    assert "" == capsys.readouterr().err
    caplog.clear()
    fan_out(FrozenContext({}), fold, range(2), executor=Now())
    assert "" == caplog.text


def test_progress_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What showing the progress raises is raised."""

    @contextmanager
    def bar(*args: Any) -> Iterator[Callable[[], object]]:
        def advance() -> None:
            raise OSError("terminal gone")

        yield advance

    monkeypatch.setattr("crystallize._branches.fan_out.progress_bar", bar)
    with pytest.raises(OSError, match="terminal gone"):
        fan_out(FrozenContext({}), fold, range(2), executor=Now())


# Ctrl-C


class Watched(ThreadPoolExecutor):
    """One thread; says when a task that had not started was cancelled."""

    def __init__(self, act: Callable[[int], object] = lambda at: None) -> None:
        super().__init__(1)
        self.cancelled = threading.Event()
        self.act = act
        self.count = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        self.act(self.count)
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda ended: self.cancelled.set() if ended.cancelled() else None)
        return future


def _waiting(executor: Watched, started: threading.Event) -> Callable[[FrozenContext[Any], int], int]:
    def task(child: FrozenContext[Any], item: int) -> int:
        child[f"key-{item}"] = item
        started.set()
        # Until somebody has cancelled what had not started.
        executor.cancelled.wait()
        return item

    return task


def test_ctrl_c_while_tasks_are_submitted() -> None:
    """Ctrl-C cancels what had not started and merges what had; the same call again runs the rest."""
    ctx = FrozenContext({})
    started = threading.Event()

    def press(at: int) -> None:
        if at == 4:
            started.wait()
            raise KeyboardInterrupt

    with Watched(press) as executor:
        with pytest.raises(KeyboardInterrupt):
            fan_out(ctx, _waiting(executor, started), range(5), executor=executor)
        assert ["key-0"] == list(ctx)
        assert [0, 1, 2, 3, 4] == fan_out(ctx, _waiting(executor, started), range(5), executor=executor)
    assert [f"key-{at}" for at in range(5)] == list(ctx)


def _press_while_waiting(is_over: threading.Event) -> None:
    """Send the signal of Ctrl-C to the main thread as soon as it waits for workers."""
    main = threading.main_thread().ident or 0
    while not _waits(sys._current_frames().get(main)):
        if is_over.is_set():
            return
    signal.pthread_kill(main, signal.SIGINT)


def _waits(frame: FrameType | None) -> bool:
    """Whether a thread waits within `fan_out`, and not just for a thread to start."""
    names = []
    while frame is not None:
        names.append((os.path.basename(frame.f_code.co_filename), frame.f_code.co_name))
        frame = frame.f_back
    called = {name for _, name in names}
    return names[:1] != [] and names[0][0] == "threading.py" and "fan_out" in called and "start" not in called


@pytest.fixture
def _handled() -> Iterator[None]:
    """Have SIGINT raise, also where the tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_handled")
def test_ctrl_c_while_waiting() -> None:
    """Ctrl-C while workers work cancels what had not started, merges what had, and is raised."""
    ctx = FrozenContext({})

    def task(child: FrozenContext[Any], item: int) -> int:
        child[f"key-{item}"] = item
        if not executor.cancelled.is_set():
            _press_while_waiting(executor.cancelled)
            executor.cancelled.wait()
        return item

    with Watched() as executor:
        with pytest.raises(KeyboardInterrupt):
            fan_out(ctx, task, range(5), executor=executor)
        assert ["key-0"] == list(ctx)
        assert [0, 1, 2, 3, 4] == fan_out(ctx, task, range(5), executor=executor)
    assert [f"key-{at}" for at in range(5)] == list(ctx)


@pytest.mark.usefixtures("_handled")
def test_ctrl_c_twice() -> None:
    """After Ctrl-C again nobody waits for what had started, and it is not merged later."""
    ctx = FrozenContext({})
    is_over = threading.Event()

    def task(child: FrozenContext[Any], item: int) -> int:
        child[f"key-{item}"] = item
        if not is_over.is_set():
            _press_while_waiting(is_over)
            executor.cancelled.wait()
            _press_while_waiting(is_over)
            is_over.wait()
        return item

    before = set(threading.enumerate())
    with Watched() as executor:
        try:
            with pytest.raises(KeyboardInterrupt):
                fan_out(ctx, task, range(5), executor=executor)
            # Whoever merged has given up before what had started ends.
            for thread in set(threading.enumerate()) - before - executor._threads:
                thread.join(60)
        finally:
            is_over.set()
    assert [] == list(ctx)
    with ThreadPoolExecutor(1) as other:
        assert [0, 1, 2, 3, 4] == fan_out(ctx, task, range(5), executor=other)


def test_ctrl_c_right_after_a_task_was_submitted() -> None:
    """Wherever Ctrl-C comes between two tasks that are submitted, the call ends, and what had ended is merged."""
    at = 0
    is_interrupted = True
    while is_interrupted:
        ctx = FrozenContext({})
        rest = at

        def is_time(frame: FrameType) -> bool:
            nonlocal rest
            is_ours = frame.f_code.co_filename.endswith(("fan_out.py", "submission_window.py"))
            rest -= is_ours and frame.f_code.co_name in ("_outcomes_in_order", "submit", "wait")
            return rest < 0

        is_interrupted = False
        try:
            with interrupted(is_time):
                fan_out(ctx, fold, range(3), executor=Now())
        except KeyboardInterrupt:
            is_interrupted = True
        assert [f"fold-{at}" for at in range(len(ctx))] == list(ctx)
        if is_interrupted:
            assert [0, 1, 4] == fan_out(ctx, fold, range(3), executor=Now())
        at += 1
    # About four of these moments are in `wait`, which is not called if the other thread has merged all branches before.
    assert at > 20


# Threads


@pytest.fixture
def _switching_fast() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_fast")
def test_others_write_while_branches_are_merged() -> None:
    """Threads that write, record and add while branches are merged lose nothing, and neither do the branches."""
    ctx = FrozenContext({})
    deltas = []
    for at in range(30):
        deltas.append((at, fork(ctx, f"b{at}")))
    start = threading.Barrier(4)

    def write(thread: int) -> None:
        start.wait()
        for at in range(200):
            ctx[f"own-{thread}-{at}"] = at
            ctx.record("m", (thread, at))
            if at % 10 == 0:
                ctx.artifacts.add(f"own-{thread}-{at}", b"")
                with ctx.step(f"own-{thread}") as step:
                    step.record("n", at)

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    start.wait()
    for at, branch in reversed(deltas):
        child = branch.open()
        child[f"b{at}"] = at
        child.record("m", (9, at))
        child.artifacts.add(f"b{at}", b"")
        merge(ctx, child.delta())
    for thread in threads:
        thread.join()
    keys = list(ctx)
    assert [f"b{at}" for at in range(30)] == keys[:30]
    assert 630 == len(keys) == len(set(keys)) == len(ctx)
    points = ctx.metrics["m"]
    assert [(9, at) for at in range(30)] == list(points[:30])
    for owner in range(3):
        assert list(range(200)) == [at for by, at in points if by == owner]
        assert [f"own-{owner}-{at}" for at in range(200)] == [key for key in keys if key.startswith(f"own-{owner}-")]
    assert 30 + 60 == len(ctx.artifacts) == len(list(ctx.artifacts))
    assert 30 + 60 == len(ctx.provenance.steps)


@pytest.mark.usefixtures("_switching_fast")
@pytest.mark.parametrize(
    "read",
    [
        lambda ctx: list(ctx.items()),
        lambda ctx: list(ctx.artifacts),
        lambda ctx: ctx.provenance.lineage,
        lambda ctx: ctx.provenance.inputs,
        lambda ctx: list(ctx.metrics.series("m")),
        lambda ctx: seen(copy.deepcopy(ctx)),
        lambda ctx: seen(travelled(ctx)),
    ],
    ids=["items", "artifacts", "lineage", "inputs", "points", "copy", "pickle"],
)
def test_others_read_while_branches_are_merged(read: Callable[[Any], Any]) -> None:
    """Whatever is read or copied while branches are merged holds together."""
    ctx = FrozenContext({"a": 1})
    branches = [fork(ctx, f"b{at}") for at in range(60)]
    deltas = []
    for branch in branches:
        child = branch.open()
        child[branch.name] = 1
        child.record("m", 1)
        child.artifacts.add(branch.name, b"")
        deltas.append(child.delta())
    is_over = threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not is_over.is_set():
                read(ctx)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for delta in reversed(deltas):
        merge(ctx, delta)
    is_over.set()
    for reader in readers:
        reader.join()
    assert [] == failures
    assert ["a", *(branch.name for branch in branches)] == list(ctx)


@pytest.mark.usefixtures("_switching_fast")
def test_many_threads_merge() -> None:
    """Any number of threads may merge into one context, each delta more than once."""
    ctx = FrozenContext({})
    branches = [fork(ctx, f"b{at}") for at in range(20)]
    start = threading.Barrier(4)

    def work(thread: int) -> None:
        start.wait()
        for branch in branches[thread::2] + branches[1 - thread :: 2]:
            child = branch.open()
            child[branch.name] = 1
            child.record("m", branch.name)
            merge(ctx, child.delta())

    threads = [threading.Thread(target=work, args=(at % 2,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [branch.name for branch in branches] == list(ctx) == list(ctx.metrics["m"])


def test_a_fork_that_is_interrupted_where_it_moves_a_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that is forked again, after the step around it was interrupted, moves as a whole or not at all."""
    ctx: FrozenContext[Any] = FrozenContext(sinks=[MemorySink()])
    child = fork(ctx, "fold").open()
    child["score"] = 1
    merge(ctx, child.delta())
    registry = registry_of(state_of(ctx))
    entry = registry.entries["fold"]
    entry.is_adrift = True  # as in a run that is resumed
    before = (entry.rank, entry.marks)
    real = OrderedLog.move
    moves = iter([None, KeyboardInterrupt()])

    def move(*given: Any) -> None:
        for interruption in islice(moves, 1):
            if interruption is not None:
                raise interruption
        real(*given)

    monkeypatch.setattr(OrderedLog, "move", move)
    with pytest.raises(KeyboardInterrupt):
        fork(ctx, "fold")
    assert (*before, True) == (entry.rank, entry.marks, entry.is_adrift)
    fork(ctx, "fold")
    assert not entry.is_adrift
    assert ["score"] == [*ctx]


def test_artifact_that_cannot_be_sent(tmp_path: Path) -> None:
    """If the private copy of an artifact is gone, the branch cannot be sent, and the error names the artifact."""
    child = fork(FrozenContext(), "fold-1").open()
    (tmp_path / "model").write_bytes(bytes(2_000_000))
    child.artifacts.add_file(tmp_path / "model")
    child.artifacts["model"].path.unlink()
    with pytest.raises(TravelError, match=r"artifact 'model' cannot be sent .*the object is missing"):
        pickle.dumps(child.delta())


def test_artifact_reads_of_a_branch() -> None:
    """What a branch read of its own artifacts is in the parent's lineage; those of the parent it does not have."""
    ctx: FrozenContext[Any] = FrozenContext()
    ctx.artifacts.add("a", b"1")
    child = fork(ctx, "fold-1").open()
    assert "a" not in child.artifacts
    child.artifacts.add("b", b"2")
    with child.step("fit") as fit:
        fit["size"] = fit.artifacts["b"].size
    merge(ctx, pickle.loads(pickle.dumps(child.delta())))
    assert [(), ("b",)] == [record.artifact_reads for record in ctx.provenance.steps[::-1]]
    assert ("a",) == ctx.provenance.steps[1].absent_artifacts
    assert {"artifact:b"} == ctx.provenance.lineage.sources("size")
