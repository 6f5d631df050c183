"""Ten times as many keys, steps, metrics or artifacts are at most eleven times the work."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from crystallize import FrozenContext, LoggingContext, step
from crystallize.sinks.memory import MemorySink

from ..work import growth

Context = FrozenContext[dict[str, Any]]
Fill = Callable[[Context, int], object]


def keys(ctx: Context, number: int) -> None:
    for at in range(number):
        ctx[f"key-{at}"] = at


def chain(ctx: Context, number: int) -> None:
    ctx["key-0"] = 0
    for at in range(number):
        with ctx.step(f"step-{at}") as step:
            step[f"key-{at + 1}"] = step[f"key-{at}"]


def inner_steps(ctx: Context, number: int) -> None:
    with ctx.step("outer") as outer:
        for at in range(number):
            with outer.step("inner") as step:
                step[f"key-{at}"] = outer.get(f"key-{at - 1}", 0)


def artifacts(ctx: Context, number: int) -> None:
    for at in range(number):
        with ctx.step("draw") as step:
            step.artifacts.add(f"artifact-{at}", b"x")


def metrics(ctx: Context, number: int) -> None:
    for at in range(number):
        with ctx.step("measure") as step:
            step.record(f"metric-{at}", at)


def points(ctx: Context, number: int) -> None:
    for at in range(number):
        with ctx.step("measure") as step:
            step.record("loss", at, {"epoch": at})


def open_steps(ctx: Context, number: int) -> None:
    """Steps that are all open at the same time, as those of coroutines are."""
    opened = [ctx.step("ask") for _ in range(number)]
    handles: list[LoggingContext[Any]] = [step_of.__enter__() for step_of in opened]
    for at, handle in enumerate(handles):
        handle.record("loss", at)
        handle.artifacts.add(f"answer-{at}", b"x")
    for step_of in opened:
        step_of.__exit__(None, None, None)


@step(retries=1)
def tried(ctx: Context, number: int) -> None:
    """Be a step that could be repeated."""
    ctx.record("loss", number)


def attempts(ctx: Context, number: int) -> None:
    for at in range(number):
        ctx.run(tried, at)


FILLS: list[Fill] = [keys, chain, inner_steps, artifacts, metrics, points, open_steps, attempts]


@pytest.mark.parametrize("has_sink", [False, True])
@pytest.mark.parametrize("fill", FILLS)
def test_filling_a_context(fill: Fill, has_sink: bool) -> None:
    """The work of a key, a step, a point and an artifact does not grow with what the context holds."""

    def prepared(number: int) -> Callable[[], object]:
        ctx = Context(sinks=[MemorySink()] if has_sink else [])
        return lambda: fill(ctx, number)

    assert growth(prepared) < 11


def read_provenance(ctx: Context) -> object:
    provenance = ctx.provenance
    return provenance.steps, provenance.inputs, provenance.unread_inputs, provenance.early_reads


def read_lineage(ctx: Context) -> object:
    lineage = ctx.provenance.lineage
    return lineage.sources(f"key-{len(ctx) - 1}"), lineage.results("key-0")


def show(ctx: Context) -> object:
    return [(repr(shown), shown._repr_html_()) for shown in (ctx, ctx.metrics, ctx.artifacts, ctx.provenance)]


def read_all(ctx: Context) -> object:
    return dict(ctx), ctx.metrics.as_dict(), [*ctx.artifacts]


READS: list[Callable[[Context], object]] = [read_provenance, read_lineage, show, read_all, copy.copy, pickle.dumps]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("fill", FILLS)
def test_reading_a_context(fill: Fill, read: Callable[[Context], object]) -> None:
    """All that is asked of a context is asked of each key, step and metric once."""

    def prepared(number: int) -> Callable[[], object]:
        ctx = Context()
        fill(ctx, number)
        return lambda: read(ctx)

    assert growth(prepared) < 11
