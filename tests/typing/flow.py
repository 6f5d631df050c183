"""What a type checker has to say of functions that are run as steps; see `acceptance.py`."""

# pyright: strict
import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, assert_type

from pydantic import BaseModel, PositiveFloat
from typing_extensions import TypedDict

from crystallize import (
    BranchContext,
    Context,
    FrozenContext,
    FrozenMetrics,
    Journal,
    LoggingContext,
    Metric,
    MetricSchema,
    Run,
    Series,
    load_run,
    register,
    step,
)


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


def written_attributes(ctx: FrozenContext[Model], loss: Metric[float, None]) -> None:
    assert_type(loss.goal, Literal["minimize", "maximize"] | None)
    ctx.rate = 0.1  # E
    ctx.logger = logging.getLogger("other")  # E
    loss.goal = "maximize"  # E
    loss.gaol = "maximize"  # E
    assert_type((loss.name, loss.unit), tuple[str, str | None])


class Split(TypedDict):
    split: Literal["train", "val"]


class Epoch(BaseModel):
    epoch: int


class FlowMetrics(MetricSchema):
    score = Metric(float, tags=Split)
    loss = Metric(float, tags=Epoch)
    seen = Metric(int)


def filters(metrics: FrozenMetrics) -> None:
    score, loss = metrics.series(FlowMetrics.score), metrics.series(FlowMetrics.loss)
    assert_type(score.where(lambda tags: tags["split"] == "train"), Series[float, Split])
    assert_type(loss.where(lambda tags: tags.epoch > 3), Series[float, Epoch])
    assert_type(metrics.series("free").where(lambda tags: tags["a"] == 1, b=2).values, tuple[Any, ...])
    score.where(lambda tags: tags["splt"] == "train")  # E
    loss.where(lambda tags: tags.epch > 3)  # E
    loss.where("train")  # E


def tags_of_metrics(metrics: FrozenMetrics) -> None:
    assert_type(metrics.get_tags(FlowMetrics.score), tuple[Split, ...])
    assert_type(metrics.get_tags(FlowMetrics.loss), tuple[dict[str, Any], ...])
    assert_type(metrics.get_tags(FlowMetrics.seen), tuple[dict[str, Any], ...])
    assert_type(metrics.get_tags("anything"), tuple[dict[str, Any], ...])


class Grid:
    def copy(self) -> "Grid":
        return self


def text_of_model(model: Model) -> str:
    return model.model_dump_json()


def registers() -> None:
    register(Grid, freeze=lambda grid: grid.copy(), thaw=lambda kept: kept)
    register(Grid, dump=lambda grid: repr(grid.copy()).encode(), load=lambda data: Grid(), equal=lambda a, b: a is b)
    register(Grid, live=True)
    register("torch.Tensor", freeze=lambda tensor: tensor.clone())
    register(Grid, freeze=text_of_model)  # E
    register(Grid, dump=lambda grid: "text", load=lambda data: Grid())  # E


class OwnContext(FrozenContext[Model]):
    def rate(self) -> float:
        return self.fields.rate


def journals(journal: Journal, model: Model) -> None:
    assert_type(journal.context(OwnContext), OwnContext)
    assert_type(journal.context(OwnContext, {"rate": 0.1}).rate(), float)
    assert_type(journal.context(FrozenContext[Model], {"rate": 0.1}), FrozenContext[Model])
    assert_type(journal.context(FrozenContext[Model], model), FrozenContext[Model])
    assert_type(journal.context(FrozenContext, {"rate": 0.1})["rate"], Any)
    journal.context(Model)  # E


def loads(path: str) -> None:
    assert_type(load_run(path, Model), Run[Model])
    assert_type(load_run(path, FrozenContext[Model]), Run[Model])
    assert_type(load_run(path, OwnContext), Run[Model])
    assert_type(load_run(path).values["rate"], Any)
    load_run(path, FrozenContext[Model]).snapshot().rte  # E


def opens(ctx: FrozenContext[Model]) -> None:
    assert_type(ctx.step("fit"), AbstractContextManager[LoggingContext[Model]])
    with ctx.step("fit") as step:
        rate = step.fields.rate
    assert_type(rate, float)


class Start(TypedDict, total=False):
    """The initial values of a model."""

    rate: float


def starts(config: dict[str, Any]) -> None:
    assert_type(FrozenContext[Model](Start(rate=0.1)), FrozenContext[Model])
    FrozenContext[Model](Start(rte=0.1))  # E
    FrozenContext[Model](Start(rate="high"))  # E
    # A checker cannot tell a literal from a mapping that a program has read: both are values of one type.
    FrozenContext[Model]({"rte": 0.1})
    FrozenContext[Model](config)
