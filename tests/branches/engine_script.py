"""A script that defines all that it uses itself; `test_engines.py` runs it with the name of an engine."""

import sys
from concurrent.futures import Executor
from typing import Annotated, Any

from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from crystallize import FrozenContext, Metric, MetricSchema, Output, fan_out
from crystallize._branches import base_file
from tests.branches.engine_tasks import in_a_loop, opened, view


class Settings(BaseModel):
    rate: float
    token: SecretStr = SecretStr("hush")


class Score(BaseModel):
    fold: int
    text: str


class Refusal(Exception):
    """What the script's own tasks raise."""


class Work(BaseModel):
    settings: Settings
    first: Annotated[Score | None, Output] = None
    second: Annotated[Score | None, Output] = None


class FoldTags(TypedDict):
    fold: int


class WorkMetrics(MetricSchema):
    loss = Metric(float, tags=FoldTags, goal="minimize")


class Plain(TypedDict):
    """A shape by items."""

    rate: float
    first: Score
    second: Score


def train(ctx: FrozenContext[Work], key: str) -> Score:
    with ctx.step("fit") as fit:
        assert type(fit.fields.settings) is Settings
        fit.record(WorkMetrics.loss, fit.fields.settings.rate, FoldTags(fold=len(key)))
        fit[key] = Score(fold=len(key), text=fit.fields.settings.token.get_secret_value())
    return Score(fold=len(key), text=key)


def train_plainly(ctx: FrozenContext[Any], key: str) -> list[Score]:
    """The same under other shapes, or none."""
    ctx.record(WorkMetrics.loss, 0.5, FoldTags(fold=len(key)))
    ctx.record(WorkMetrics.loss, 0.25, FoldTags(fold=len(key)))
    ctx[key] = Score(fold=len(key), text=key)
    return [ctx[key]]


def refuse(ctx: FrozenContext[Any], key: str) -> None:
    raise Refusal(key)


def stop(ctx: FrozenContext[Any], key: str) -> str:
    """Raise what a generator, or an engine in one, takes for its end."""
    return next(name for name in (key,) if name != "first")


def leave(ctx: FrozenContext[Any], key: str) -> str:
    """Raise what ends a process."""
    if key == "first":
        sys.exit(3)
    return key


def check(executor: Executor) -> None:
    alone, together = (FrozenContext[Work]({"settings": {"rate": 0.1}}, metrics=WorkMetrics) for _ in range(2))
    expected = in_a_loop(alone, train, ["first", "second"])
    results = fan_out(together, train, ["first", "second"], executor=executor)
    assert expected == results
    assert view(alone) == view(together)
    assert [Score, Score] == [type(result) for result in results]
    assert type(together.fields.first) is Score
    assert 0.1 == together.metrics.series(WorkMetrics.loss).best
    assert type(together.snapshot()) is Work

    before: dict[str, Any] = {"rate": 0.5}
    kinds: tuple[Any, ...] = (FrozenContext, FrozenContext[Plain], FrozenContext[dict[str, float | Score]])
    for kind in kinds:
        for metrics in (None, WorkMetrics):
            alone, together = (kind(before, metrics=metrics) for _ in range(2))
            in_a_loop(alone, train_plainly, ["first", "second"])
            for results in fan_out(together, train_plainly, ["first", "second"], executor=executor):
                assert [Score] == [type(result) for result in results]
            assert view(alone) == view(together)
            assert Score is type(together["second"])
            together.record(WorkMetrics.loss, 0.125, FoldTags(fold=0))
            assert (0.5, 0.25, 0.5, 0.25, 0.125) == together.metrics[WorkMetrics.loss]
    with_point = FrozenContext(before)
    with_point.record(WorkMetrics.loss, 1.0, FoldTags(fold=0))
    fan_out(with_point, train_plainly, ["first"], executor=executor)
    assert (1.0, 0.5, 0.25) == with_point.metrics["loss"]

    failures = fan_out(together, refuse, ["first", "second"], executor=executor, errors="collect")
    assert [(Refusal, "first"), (Refusal, "second")] == [(type(failure), str(failure)) for failure in failures]
    for task, kind in ((stop, StopIteration), (leave, SystemExit)):
        ended = fan_out(together, task, ["first", "second"], executor=executor, errors="collect")
        assert [kind, str] == [type(result) for result in ended]


def main(engine: str) -> None:
    with opened(engine) as executor:
        check(executor)
        base_file.SMALL = -1  # type: ignore[misc]  # what is small is sent once, too
        check(executor)
    print("as expected")


if __name__ == "__main__":
    main(*sys.argv[1:])
