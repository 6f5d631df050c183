"""What a type checker has to say of code that uses crystallize. Read by checkers, never run.

A line that ends in an E comment is a mistake, and mypy --strict, pyright, pyrefly (its strict preset) and ty
must each report it, without a plugin. They must report no other line. `check.py` holds them to that.
"""

# pyright: strict
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Generator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from typing import Annotated, Any, Literal, Protocol, assert_type

from pydantic import BaseModel, Field, FiniteFloat, PositiveFloat
from typing_extensions import TypedDict

from crystallize import (
    BranchContext,
    Context,
    FrozenContext,
    InputsModel,
    Journal,
    LoggingContext,
    Metric,
    MetricSchema,
    Output,
    Shared,
    afan_out,
    fan_out,
    fan_out_iter,
    fork,
    inputs_of,
    merge,
)


class Model:
    def predict(self, x: float) -> float:
        return x


class Train(BaseModel, arbitrary_types_allowed=True):
    lr: PositiveFloat
    epochs: int = 3
    accuracy: Annotated[float, Field(ge=0, le=1)]
    model: Annotated[Model, Shared]
    best_epoch: Annotated[int | None, Output] = None


class Names(TypedDict):
    first: str
    count: int


class EpochTags(BaseModel):
    epoch: int
    split: Literal["train", "val"]


class FoldTags(TypedDict):
    fold: int


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, unit="nats", goal="minimize")
    wrong = Metric(float, goal="less")  # E
    fold_accuracy = Metric(Annotated[float, Field(ge=0, le=1)], tags=FoldTags)
    seen = Metric(int)


class NeedsLr(Protocol):
    @property
    def lr(self) -> float: ...


class Evaluates(Protocol):
    """A step that reads the model and writes the accuracy."""

    @property
    def model(self) -> Model: ...

    accuracy: float


class FitNeeds(Protocol):
    """Plain attributes, for keys of exactly these types."""

    lr: float
    epochs: int
    accuracy: float


class WiderNeeds(Protocol):
    """A plain attribute may be written, so it takes no key of a narrower type."""

    accuracy: float | None


class NeedsBatch(Protocol):
    @property
    def batch(self) -> int: ...


def fit(ctx: Context[NeedsLr]) -> None:
    assert_type(ctx.fields.lr, float)
    ctx.record(TrainMetrics.loss, 0.5, EpochTags(epoch=1, split="train"))


def evaluate(ctx: Context[Evaluates]) -> None:
    ctx.fields.accuracy = ctx.fields.model.predict(0.5)
    ctx.fields.accuracy = None  # E
    ctx.artifacts.add("curve.svg", b"<svg/>")
    ctx.logger.info("evaluated")
    if "lr" in ctx:
        assert_type(ctx.get("lr"), Any)


def fit_by_attributes(ctx: Context[FitNeeds], size: int) -> float:
    assert_type(ctx.fields.lr, float)
    assert_type(ctx.fields.epochs, int)
    ctx.fields.accuracy = 0.5
    ctx.fields.accuracy = "high"  # E
    return ctx.run(record_alone, size)


def record_alone(ctx: Context[object], size: int) -> float:
    ctx.record(TrainMetrics.seen, size)
    return 0.5


def wider(ctx: Context[WiderNeeds]) -> None: ...


def run_steps(ctx: FrozenContext[Train], names: FrozenContext[Names]) -> None:
    assert_type(ctx.run(fit_by_attributes, 3), float)
    assert_type(names.run(record_alone, 3), float)
    names.run(fit_by_attributes, 3)  # E
    ctx.run(wider)  # E
    ctx.run(evaluate)


def needs_batch(ctx: Context[NeedsBatch]) -> None: ...


def fold(ctx: FrozenContext[Train], i: int) -> str:
    return f"{ctx.fields.lr}-{i}"


def narrow(ctx: Context[NeedsLr], i: int) -> float:
    return ctx.fields.lr * i


async def ask(ctx: Context[NeedsLr], question: str) -> int:
    return len(question)


async def ask_batch(ctx: Context[NeedsBatch], question: str) -> int:
    return ctx.fields.batch


async def asked_in_branch(ctx: BranchContext[Train], question: str) -> float:
    return len(await ctx.arun(answer, question)) * ctx.fields.lr


def asked_later(ctx: FrozenContext[Train], question: str) -> Awaitable[str]:
    return ctx.arun(answer, question)


async def answer(ctx: LoggingContext[Train], question: str) -> str:
    return question


async def questions() -> AsyncIterator[str]:
    yield "why?"


async def asynchronous(ctx: FrozenContext[Train], name: str) -> None:
    assert_type(await afan_out(ctx, ask, ["why?", "who?"]), list[int])
    assert_type(await afan_out(ctx, asked_in_branch, questions(), limit=16, progress=True), list[float])
    assert_type(await afan_out(ctx, asked_later, iter(["why?"]), name="asked"), list[str])
    assert_type(await afan_out(ctx, ask, ["why?"], errors="collect"), list[int | BaseException])
    with ctx.step("ask") as step:
        assert_type(await afan_out(step, ask, ["why?"], name=lambda question: question[0]), list[int])
    await afan_out(ctx, ask, [1, 2])  # E
    await afan_out(ctx, ask_batch, ["why?"])  # E
    await afan_out(ctx, narrow, range(3))  # E
    await afan_out(ctx, ask, questions(), limit="16")  # E
    async with Journal.start("runs", name) as journal:
        assert_type(journal, Journal)


def narrow_batch(ctx: Context[NeedsBatch], i: int) -> int:
    return ctx.fields.batch * i


def shapes(names: FrozenContext[Names], ints: FrozenContext[dict[str, int]], anything: FrozenContext) -> None:
    assert_type(names.fields["first"], str)
    names.fields["count"] = 3
    names.fields["count"] = "three"  # E
    names.fields["cuont"]  # E
    assert_type(ints["a"], int)
    assert_type(anything["a"], Any)


def inputs() -> None:
    model = inputs_of(Train)
    assert_type(model, type[InputsModel[Train]])
    given = model.model_validate({"lr": 0.1})
    assert_type(FrozenContext[Train](given), FrozenContext[Train])
    FrozenContext[Train](inputs_of(Train)(lr=0.1))
    FrozenContext[Train](inputs_of(EpochTags)(epoch=1))  # E
    assert_type(inputs_of(Names), type[InputsModel[Names]])
    FrozenContext[Train](Namespace(lr=0.1))
    FrozenContext[Train](0.1)  # E
    tags = FrozenContext(EpochTags(epoch=1, split="train"))
    assert_type(tags, FrozenContext[EpochTags])
    assert_type(tags.fields.epoch, int)
    assert_type(FrozenContext({"lr": 0.1}), FrozenContext[dict[str, Any]])


def main() -> None:
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics)
    assert_type(ctx, FrozenContext[Train])
    assert_type(ctx.fields.lr, float)
    ctx.fields.accuracy = 0.5
    ctx.fields.accuracy = "high"  # E
    ctx.fields.lrr  # E
    assert_type(ctx.snapshot(), Train)
    assert_type(ctx.fields.best_epoch, int | None)
    FrozenContext[Train](ctx.snapshot())
    fit(ctx)
    evaluate(ctx)
    needs_batch(ctx)  # E
    with ctx.step("fit") as step:
        assert_type(step, LoggingContext[Train])
        fit(step)
    ctx.record(TrainMetrics.seen, 3)
    ctx.record(TrainMetrics.seen, "x")  # E
    ctx.record(TrainMetrics.loss, 0.1)  # E
    ctx.record("loss", 0.1, tags={"epoch": 1, "split": "train"})
    ctx.metrics.series(TrainMetrics.fold_accuracy).add(0.5, {"fold": 1})
    ctx.metrics.series(TrainMetrics.fold_accuracy).add(0.5, {"fld": 1})  # E
    losses = ctx.metrics.series(TrainMetrics.loss)
    assert_type(losses.where(split="val").best, float)
    note = losses.bind(EpochTags(epoch=1, split="val"))
    note(0.5)
    note("low")  # E
    for point in losses:
        assert_type(point.value, float)
        assert_type(point.tags, EpochTags)
    assert_type(ctx.metrics[TrainMetrics.loss], tuple[float, ...])
    assert_type(ctx.metrics.series(TrainMetrics.loss).tags, tuple[EpochTags, ...])
    with ProcessPoolExecutor() as pool:
        assert_type(fan_out(ctx, fold, range(3), executor=pool), list[str])
        fan_out(ctx, fold, ["a"], executor=pool)  # E
        assert_type(fan_out(ctx, narrow, range(3), executor=pool, errors="collect"), list[float | BaseException])
        fan_out(ctx, narrow_batch, range(3), executor=pool)  # E
        assert_type(fan_out_iter(ctx, fold, iter(range(3)), executor=pool), Generator[str, None, None])
        fan_out_iter(ctx, fold, ["a"], executor=pool)  # E
        for found in fan_out_iter(ctx, narrow, count(), executor=pool, errors="collect", window=8):
            assert_type(found, float | BaseException)
        with ctx.step("cross validate") as step:
            assert_type(fan_out(step, fold, range(3), executor=pool, name="fold"), list[str])
    branch = fork(ctx, "fold-3")
    assert_type(branch.open(), BranchContext[Train])
    assert_type(branch.open().fields.lr, float)
    merge(ctx, branch.open().delta())
    merge(ctx, branch)  # E
    plain = FrozenContext({"a": 1})
    assert_type(plain, FrozenContext[dict[str, Any]])
