"""What a type checker has to say of functions that are run as steps; see `acceptance.py`."""

# pyright: strict
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, assert_type

from pydantic import BaseModel, PositiveFloat

from crystallize import BranchContext, Context, FrozenContext, LoggingContext, step


class Model(BaseModel):
    rate: PositiveFloat
    rows: list[float]
    score: float


class HasRate(Protocol):
    """A plain attribute does for a key that is read, where the types are the same."""

    rate: float
    rows: list[float]


class HasWeights(Protocol):
    weights: bytes


def load(ctx: Context[Model]) -> None:
    ctx.fields.rows = [1.0]


def train(ctx: Context[HasRate], epochs: int, *, resume: bool = False) -> float:
    return ctx.fields.rate * epochs


def nested(ctx: LoggingContext[Model]) -> list[str]:
    with ctx.step("inner") as inner:
        return [*inner]


def whole(ctx: FrozenContext[Model], label: str = "") -> str:
    return label


def weigh(fields: HasWeights) -> int:
    return len(fields.weights)


def needs_weights(ctx: Context[HasWeights]) -> None: ...


def any_context(ctx: Context[object]) -> int:
    return len(ctx.metrics)


async def ask(ctx: Context[HasRate], question: str, times: int = 1) -> str:
    return question * times


class Trainer:
    def fit(self, ctx: Context[HasRate]) -> int:
        return 1

    async def serve(self, ctx: Context[Model], port: int) -> bytes:
        return bytes(port)


@step("train-{epochs}", retries=2, wait=lambda failed: 2.0**failed, on=(TimeoutError, OSError), version="2")
def decorated(ctx: Context[HasRate], epochs: int) -> float:
    return train(ctx, epochs)


@step
def bare(ctx: Context[HasRate]) -> int:
    return 3


@step(reuse=False, ignore=["key"], retries=1, on=ValueError)
async def decorated_coroutine(ctx: Context[HasRate], question: str) -> str:
    return await ask(ctx, question)


def runs(ctx: FrozenContext[Model], free: FrozenContext) -> None:
    assert_type(ctx.run(load), None)
    assert_type(ctx.run(train, 3), float)
    assert_type(ctx.run(train, epochs=3, resume=True), float)
    assert_type(ctx.run(nested), list[str])
    assert_type(ctx.run(whole, "a"), str)
    assert_type(ctx.run(any_context), int)
    assert_type(ctx.run(Trainer().fit), int)
    assert_type(ctx.run(decorated, 3), float)
    assert_type(ctx.run(bare), int)
    assert_type(free.run(any_context), int)
    ctx.run(train)  # E
    ctx.run(train, "3")  # E
    ctx.run(train, 3, resume="yes")  # E
    ctx.run(train, 3, 4)  # E
    ctx.run(train, 3, repeat=True)  # E
    ctx.run(needs_weights)  # E
    ctx.run(decorated, "3")  # E
    with ctx.step("outer") as outer:
        assert_type(outer.run(train, 1), float)
        outer.run(needs_weights)  # E
    tasks: list[Callable[[LoggingContext[Model]], object]] = [load, nested]
    for task in tasks:
        ctx.run(task)


def calls_itself(ctx: FrozenContext[Model]) -> None:
    # The function is the same as without the decorator.
    assert_type(decorated(ctx, 3), float)
    decorated(ctx)  # E
    assert_type(bare(ctx), int)


def through_a_protocol(ctx: Context[Model], branch: BranchContext[Model]) -> None:
    assert_type(ctx.run(any_context), int)
    assert_type(branch.run(train, 3), float)


async def awaits(ctx: FrozenContext[Model]) -> None:
    assert_type(await ctx.arun(ask, "why"), str)
    assert_type(await ctx.arun(ask, "why", times=2), str)
    assert_type(await ctx.arun(Trainer().serve, 80), bytes)
    assert_type(await ctx.arun(decorated_coroutine, "why"), str)
    await ctx.arun(ask)  # E
    await ctx.arun(ask, 3)  # E
    await ctx.arun(train, 3)  # E
    answers = await asyncio.gather(*(ctx.arun(ask, question) for question in ("a", "b")))
    assert_type(answers, list[str])
    task: Callable[[Context[HasRate], str], Awaitable[str]] = ask
    assert_type(await ctx.arun(task, "why"), str)


def options() -> None:
    step(retries="2")  # E
    step(wait="1")  # E
    step(on=(KeyboardInterrupt,))  # E
    step(3)  # E
    step("fit", repeat=2)  # E


def assignments(ctx: FrozenContext[Model], log: LoggingContext[Model], numbers: FrozenContext[dict[str, int]]) -> None:
    needs: Context[HasRate] = ctx
    logs: FrozenContext[Model] = log
    needs_weights(ctx)  # E
    nested(ctx)  # E
    fields: HasRate = ctx.fields
    weigh(ctx.fields)  # E
    assert_type((needs.fields.rate, logs.fields.rate, fields.rate), tuple[float, float, float])
    ctx.rate = 0.1  # E
    assert_type(numbers.get("a"), int | None)
    assert_type(numbers.get("a", 0), int)
    assert_type(ctx.get("rate"), Any)
