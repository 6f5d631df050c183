"""A step that has nothing on its record, while work was done outside of it, warns: `as step` was forgotten."""

import asyncio
import threading
import warnings
from typing import Any

import pytest

from crystallize import FrozenContext, LoggingContext, UnusedStepWarning
from crystallize._core.point_log import BLOCK


def forget(ctx: FrozenContext) -> None:
    """Write a key, a point and an artifact in a step whose handle nobody has."""
    with ctx.step("fit"):
        ctx["accuracy"] = [0.9]
        ctx.record("loss", 0.5)
        ctx.artifacts.add("plot.svg", b"")


def test_forgotten_as_step() -> None:
    """The warning names the work and the line to write, and points at the line that opened the step."""
    ctx = FrozenContext({"lr": 0.1})
    ctx.record("old", 1)
    with pytest.warns(UnusedStepWarning) as caught:
        forget(ctx)

    [warning] = caught
    told = warning.message
    assert isinstance(told, UnusedStepWarning)
    assert ("fit", None, ("key 'accuracy'", "metric 'loss'", "artifact 'plot.svg'")) == told.args[:3]
    assert 'with ctx.step("fit") as step:' == told.line
    assert __file__ == warning.filename
    assert ("fit",) == tuple(record.name for record in ctx.provenance.steps)


@pytest.mark.parametrize("before", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_only_later_points_count(before: int) -> None:
    """Points from before the step do not warn, and one of the step does, also if points were packed meanwhile."""
    ctx = FrozenContext()
    for value in range(before):
        ctx.record("loss", value)
    with ctx.step("wait"):
        pass
    with pytest.warns(UnusedStepWarning, match="metric 'loss'"):
        forget(ctx)


def test_once_for_each_context() -> None:
    """A loop of such steps warns once; another context warns as well."""
    for _ in range(2):
        ctx = FrozenContext()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for epoch in range(3):
                with ctx.step("epoch"):
                    ctx[f"loss-{epoch}"] = 0.5
        assert [UnusedStepWarning] == [warning.category for warning in caught]


def test_an_inner_step() -> None:
    """Work through the handle of the step around it counts, and that step is named."""
    ctx = FrozenContext()
    work = r"in step 'fit': key 'a'; write `with ctx.step\(\"fold\"\) as step:`"
    with pytest.warns(UnusedStepWarning, match=work), ctx.step("fit") as fit, fit.step("fold"):
        fit["a"] = 1


def test_a_task_that_uses_the_context_around_it() -> None:
    """A function that works through a global context is told of its first argument."""
    ctx = FrozenContext()

    def fit(step: LoggingContext[dict[str, Any]]) -> None:
        ctx["a"] = 1

    with pytest.warns(UnusedStepWarning, match="use the first argument of its function") as caught:
        ctx.run(fit)
    assert __file__ == caught[0].filename


def test_as_an_error() -> None:
    """Where warnings are errors, the step has ended all the same, and what was written is kept."""
    ctx = FrozenContext()
    with pytest.raises(UnusedStepWarning), ctx.step("fit"):
        ctx["a"] = 1
    assert (1, None) == (ctx["a"], ctx.provenance.steps[0].error)


def used(ctx: FrozenContext, use: str) -> None:
    """Open a step, use it in one way, and write outside of it."""
    with ctx.step("fit") as step:
        if use == "read":
            step["lr"]
        elif use == "missed":
            step.get("lrr")
        elif use == "key":
            step["b"] = 1
        elif use == "point":
            step.record("loss", 1)
        elif use == "artifact":
            step.artifacts.add("b", b"")
        elif use == "inner":
            with step.step("inner") as inner:
                inner["b"] = 1
        elif use == "other":
            with ctx.step("other") as other:
                other["b"] = 1
        ctx["a"] = 1
        ctx.record("seen", 1)


@pytest.mark.parametrize("use", ["read", "missed", "key", "point", "artifact", "inner", "other"])
def test_a_step_that_was_used(use: str) -> None:
    """A step with anything on its record does not warn, nor one beside others, whose work it may be."""
    used(FrozenContext({"lr": 0.1}), use)


def fail(ctx: FrozenContext) -> None:
    """Write a key in a step whose handle nobody has, and raise."""
    with ctx.step("fail"):
        ctx["b"] = 1
        raise ZeroDivisionError


def test_nothing_was_done() -> None:
    """A step in which nothing was written does not warn, nor one that failed."""
    ctx = FrozenContext({"lr": 0.1})
    ctx["a"] = 1
    ctx.record("loss", 1)
    ctx.artifacts.add("a", b"")
    with ctx.step("wait"):
        pass
    with pytest.raises(ZeroDivisionError):
        fail(ctx)
    with ctx.step("fit") as step:
        step["c"] = 1
        with step.step("wait"):
            ctx["d"] = 1
            ctx.record("loss", 1)
            ctx.artifacts.add("d", b"")


def test_other_threads_and_coroutines() -> None:
    """The work may be that of others: a step in a thread does not warn, nor does a coroutine."""
    ctx = FrozenContext()

    def wait() -> None:
        with ctx.step("thread"):
            ctx["a"] = 1

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()

    async def rest(step: LoggingContext[dict[str, Any]]) -> None:
        ctx["b"] = 1

    asyncio.run(ctx.arun(rest))
    assert ("thread", "rest") == tuple(record.name for record in ctx.provenance.steps)
    with pytest.warns(UnusedStepWarning), ctx.step("main"):
        ctx["c"] = 1


def test_many_metrics() -> None:
    """The first metrics are looked at, so that a step takes no longer in a context with many."""
    ctx = FrozenContext()
    for at in range(40):
        ctx.record(f"metric-{at}", 1)
    with ctx.step("last"):
        ctx.record("metric-39", 1)
    with pytest.warns(UnusedStepWarning), ctx.step("first"):
        ctx.record("metric-0", 1)
