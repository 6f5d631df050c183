"""The errors that type checkers must report for string keys with stubs. Read by checkers, never run.

As in `acceptance.py`, each checker must report an error on every line that ends in an E comment, and on no other line.
The schemas are those of the examples of the docs. `make typing` writes their stubs.
"""

# pyright: strict
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, assert_type

from digits import Digits, DigitsMetrics
from pipeline import tuning
from pipeline.schemas import (
    Address,
    Batch,
    EpochTags,
    FineTune,
    FoldTags,
    Loose,
    Node,
    Nothing,
    Scores,
    Service,
    Sizes,
    Tokenizer,
    Train,
    TrainMetrics,
)
from pydantic import BaseModel
from typing_extensions import TypedDict

from crystallize import BranchContext, Context, FrozenContext, LoggingContext, Series, fan_out, fork, merge

T = TypeVar("T")


class Unlisted(BaseModel):
    """A schema that there are no stubs of."""

    lr: float


class UnlistedItems(TypedDict):
    size: int


class NeedsLr(Protocol):
    @property
    def lr(self) -> float: ...


def fit(ctx: Context[NeedsLr]) -> None:
    assert_type(ctx["lr"], Any)
    assert_type(ctx.get("batch", 32), Any)
    assert_type(ctx.fields.lr, float)


def reads(ctx: FrozenContext[Train], step: LoggingContext[Train], needs: Context[Train]) -> None:
    assert_type(ctx["lr"], float)
    assert_type(step["lr"], float)
    assert_type(needs["lr"], float)
    assert_type(ctx["epochs"], int)
    assert_type(ctx["folder"], Path)
    assert_type(ctx["tokenizer"], Tokenizer)
    assert_type(ctx["best_epoch"], int | None)
    assert_type(ctx["sizes"], dict[Literal["train", "val"], list[int]])
    assert_type(ctx["tree"], Node)
    assert_type(ctx["tree"].children, list[Node])
    assert_type(FrozenContext[Node]()["above"], Node | None)
    ctx["lrr"]  # E
    step["lrr"]  # E
    needs["lrr"]  # E
    ctx["lr"].upper()  # E
    for key in ctx:
        ctx[key]  # E
    assert_type(ctx.as_dict()["lr"], Any)


def gets(ctx: FrozenContext[Train], needs: Context[Train], otherwise: str) -> None:
    assert_type(ctx.get("lr"), float | None)
    assert_type(ctx.get("lr", None), float | None)
    assert_type(ctx.get("lr", otherwise), float | str)
    assert_type(ctx.get("best_epoch"), int | None)
    assert_type(needs.get(key="epochs", default=otherwise), int | str)
    ctx.get("lrr")  # E
    needs.get("lrr", 0.1)  # E


def writes(ctx: FrozenContext[Train], step: LoggingContext[Train], needs: Context[Train]) -> None:
    ctx["lr"] = 0.1
    ctx["lr"] = 1
    step["best_epoch"] = None
    needs["folder"] = Path("data")
    ctx.add("lr", 0.1)
    needs.add(key="lr", value=0.1)
    ctx["lr"] = "x"  # E
    step["lr"] = "x"  # E
    needs["lr"] = "x"  # E
    ctx["lrr"] = 0.1  # E
    ctx.add("lr", "x")  # E
    step.add("lrr", 0.1)  # E
    needs.add("epochs", 0.5)  # E


def shapes(
    service: FrozenContext[Service],
    scores: FrozenContext[Scores],
    numbers: FrozenContext[Batch[int]],
    texts: LoggingContext[Batch[str]],
    loose: FrozenContext[Loose],
    fine: FrozenContext[FineTune],
) -> None:
    assert_type(service["address"], Address)
    assert_type(service["address"]["port"], int)
    assert_type(service["mirrors"], list[Address])
    service["address"] = Address(host="localhost", port=80)
    service.add("address", {"host": "localhost", "port": 80})
    service.add("address", {"host": "localhost"})  # E
    service["adress"]  # E
    assert_type(scores["mean"], float)
    assert_type(scores["parts"], Sizes)
    scores["means"]  # E
    assert_type(numbers["first"], int)
    assert_type(texts["rest"], list[str])
    assert_type(numbers["next"], Batch[int] | None)
    numbers["first"] = "x"  # E
    numbers["last"]  # E
    assert_type(loose["seed"], int)
    assert_type(loose["whatever"], Any)
    loose["whatever"] = 3
    assert_type(fine["lr"], float)
    assert_type(fine["base"], Literal["small", "large"])
    fine["bass"]  # E


def no_keys(ctx: FrozenContext[Nothing], step: LoggingContext[Nothing], needs: Context[Nothing]) -> None:
    ctx["lr"]  # E
    step["lr"]  # E
    ctx["lr"] = 0.1  # E
    needs.add("lr", 0.1)  # E
    ctx.get("lr")  # E
    needs.get("lr", 0.1)  # E


def same_name(one: FrozenContext[Train], other: FrozenContext[tuning.Train]) -> None:
    assert_type(one["lr"], float)
    assert_type(other["lr"], tuple[float, float])
    assert_type(other["trials"], int)
    one["trials"]  # E
    other["epochs"]  # E


def as_before(
    ints: FrozenContext[dict[str, int]],
    anything: FrozenContext,
    unknown: FrozenContext[Any],
    unlisted: FrozenContext[Unlisted],
    items: LoggingContext[UnlistedItems],
    needs: Context[dict[str, int]],
) -> None:
    assert_type(ints["a"], int)
    assert_type(anything["a"], Any)
    assert_type(unknown["a"], Any)
    assert_type(unlisted["a"], Any)
    assert_type(unlisted.get("a", 3), Any)
    assert_type(unlisted.fields.lr, float)
    assert_type(items["size"], Any)
    assert_type(needs["a"], Any)
    ints["a"] = 3
    anything.add("a", 3)
    unlisted["a"] = 3
    items["size"] = 3


def any_schema(ctx: FrozenContext[T], needs: Context[T]) -> T:
    assert_type(ctx["a"], Any)
    assert_type(needs.get("a"), Any)
    needs["a"] = 3
    return ctx.snapshot()


class Mine(FrozenContext[Train]):
    """A context of a class of one's own."""


class Double(Context[Train]):
    """What stands in for a context in a test."""


def metrics(ctx: FrozenContext[Digits], train: Context[Train]) -> None:
    ctx.record("score", 0.5, {"fold": 1, "epoch": 1})
    ctx.record("anything", "goes")
    train.record("accuracy", 0.5, FoldTags(fold=1))
    train.record("rows", 3)
    assert_type(train.metrics["accuracy"], tuple[float, ...])
    assert_type(train.metrics["rows"], tuple[int, ...])
    assert_type(train.metrics["anything"], tuple[Any, ...])
    assert_type(train.metrics[TrainMetrics.loss], tuple[float, ...])
    assert_type(train.metrics.get_tags("rows"), tuple[dict[str, Any], ...])
    assert_type(ctx.metrics.get_tags("anything"), tuple[dict[str, Any], ...])
    assert_type(train.metrics.series("rows"), Series[int, None])
    train.metrics.series("rows").add("x")  # E
    train.metrics.add("rows", 3)
    ctx.metrics["score"].upper()  # E
    assert_type(ctx.metrics.series(DigitsMetrics.loss).best, float)


def whole(ctx: FrozenContext[Train], mine: Mine, double: Double, executor: Executor) -> None:
    assert_type(FrozenContext[Train]({"lr": 0.1})["lr"], float)
    assert_type(mine["lr"], float)
    mine["lrr"]  # E
    fit(ctx)
    fit(mine)
    fit(double)
    with ctx.step("fit") as step:
        assert_type(step["lr"], float)
        step["lr"] = "x"  # E
        fit(step)
    branch = fork(ctx, "fold-3")
    assert_type(branch.open(), BranchContext[Train])
    assert_type(branch.open()["lr"], float)
    branch.open()["lrr"]  # E
    merge(ctx, branch.open().delta())
    assert_type(fan_out(ctx, fold, range(3), executor=executor), list[float])
    assert_type(ctx.metrics.series(TrainMetrics.loss).tags, tuple[EpochTags, ...])


def fold(ctx: Context[Train], k: int) -> float:
    return ctx["lr"] * k
