"""`ctx.run` and `ctx.arun` in runs that are resumed: what finished is not called again, and returns the same."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from random import Random
from threading import Event, Lock, Semaphore
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from crystallize import (
    FinishedStepError,
    FrozenContext,
    InvalidStepError,
    Journal,
    StepStarted,
    TaskInputs,
    fan_out,
    load_run,
    step,
)
from crystallize._journal.read_run import read
from crystallize._journal.verify import verify_run

pytestmark = pytest.mark.usefixtures("without_environment")


class Died(BaseException):
    """The process dies here, as far as the run is concerned."""


class Calls(list[str]):
    """The functions that were called."""


class Score(BaseModel):
    accuracy: float


class Odd:
    """A value that no file gives back."""


def die(runs: Path, main: Callable[[FrozenContext[Any]], object]) -> Path:
    """Run a program that ends by an exception; return the file of its run."""
    with pytest.raises(Died), Journal.start(runs, "run") as journal:
        main(journal.context(FrozenContext, {"lr": 0.1}))
    return journal.path


def go_on(path: Path, main: Callable[[FrozenContext[Any]], Any]) -> Any:
    """Resume a run, and return what the program returns."""
    with Journal.resume(path) as journal:
        return main(journal.context(FrozenContext))


def test_what_finished_is_not_called_again(runs: Path) -> None:
    calls = Calls()

    def load(ctx: FrozenContext[Any]) -> list[int]:
        calls.append("load")
        ctx["rows"] = 3
        return [1, 2, 3]

    def fit(ctx: FrozenContext[Any], epoch: int) -> float:
        calls.append(f"fit-{epoch}")
        if calls.count("fit-2") == 1:
            raise Died
        return epoch / 2

    def main(ctx: FrozenContext[Any]) -> Any:
        return ctx.run(load), [ctx.run(fit, epoch) for epoch in range(4)]

    path = die(runs, main)
    assert ([1, 2, 3], [0, 0.5, 1, 1.5]) == go_on(path, main)
    assert ["load", "fit-0", "fit-1", "fit-2", "fit-2", "fit-3"] == calls
    assert ([1, 2, 3], [0, 0.5, 1, 1.5]) == go_on(path, main)
    assert 6 == len(calls)
    assert [] == list(verify_run(path))


@pytest.mark.parametrize(
    ("result", "returns"),
    [
        (None, None),
        (Score(accuracy=0.5), Score),
        ((1, "a"), tuple[int, str]),
        ({"a": [1.5, float("inf")]}, dict[str, list[float]]),
        (np.arange(6).reshape(2, 3), np.ndarray),
        (np.arange(200_000), np.ndarray),
    ],
)
def test_results_come_back_as_they_were(runs: Path, result: Any, returns: Any) -> None:
    def make(ctx: FrozenContext[Any]) -> Any:
        assert not ctx.get("is_made")
        ctx["is_made"] = True
        return result

    make.__annotations__["return"] = returns

    def main(ctx: FrozenContext[Any]) -> Any:
        return ctx.run(make)

    path = die(runs, lambda ctx: (main(ctx), _die()))
    found = go_on(path, main)
    assert type(found) is type(result)
    assert np.array_equal(found, result) if isinstance(result, np.ndarray) else found == result


def _die() -> object:
    raise Died


def test_a_result_that_cannot_be_restored(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its step alone is done again, with a warning when it was written."""
    calls = Calls()

    def odd(ctx: FrozenContext[Any]) -> Odd:
        calls.append("odd")
        ctx.run(inner)
        with ctx.step("block") as block:
            block["written"] = True
        return Odd()

    def inner(ctx: FrozenContext[Any]) -> int:
        calls.append("inner")
        return 1

    def main(ctx: FrozenContext[Any]) -> Any:
        return ctx.run(odd)

    with caplog.at_level(logging.WARNING):
        path = die(runs, lambda ctx: (main(ctx), _die()))
    assert "the task of step 'odd' returned a tests.journal.test_tasks.Odd" in caplog.text
    assert "The step runs again when the run is resumed" in caplog.text
    assert isinstance(go_on(path, main), Odd)
    assert ["odd", "inner", "odd"] == calls


def test_a_lost_result_within_what_finished_is_not_needed(runs: Path) -> None:
    calls = Calls()

    def inner(ctx: FrozenContext[Any]) -> Odd:
        calls.append("inner")
        return Odd()

    def outer(ctx: FrozenContext[Any]) -> int:
        return 3 if ctx.run(inner) is not None else 0

    def main(ctx: FrozenContext[Any]) -> int:
        return ctx.run(outer)

    path = die(runs, lambda ctx: (main(ctx), _die()))
    assert go_on(path, main) == 3
    assert ["inner"] == calls


def test_steps_of_with_blocks_are_done_again_with_their_task(runs: Path) -> None:
    calls = Calls()

    def inner(ctx: FrozenContext[Any]) -> int:
        with ctx.step("deep") as deep:
            deep["deep"] = 1
        return 1

    def outer(ctx: FrozenContext[Any]) -> int:
        ctx.run(inner)
        with ctx.step("block") as block:
            block["block"] = 1
            calls.append("block")
        if len(calls) == 1:
            raise Died
        return 2

    def main(ctx: FrozenContext[Any]) -> int:
        return ctx.run(outer)

    path = die(runs, main)
    assert go_on(path, main) == 2
    assert ["block", "block"] == calls
    assert {"lr", "deep", "block"} == {*load_run(path).context}


def test_branches_of_a_task_that_died_stay(runs: Path) -> None:
    """A branch that was merged is not run again with the task around it, nor are the steps in it."""
    calls = Calls()

    def fold(ctx: FrozenContext[Any], k: int) -> int:
        calls.append(f"fold-{k}")
        with ctx.step("fit") as fit:
            fit.record("score", k)
        return ctx.run(square, k)

    def square(ctx: FrozenContext[Any], k: int) -> int:
        return k * k

    def validate(ctx: FrozenContext[Any]) -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            scores = fan_out(ctx, fold, range(3), executor=pool)
        if calls.count("fold-2") == 1 and "died" not in calls:
            calls.append("died")
            raise Died
        return scores

    path = die(runs, lambda ctx: ctx.run(validate))
    assert [0, 1, 4] == go_on(path, lambda ctx: ctx.run(validate))
    assert ["fold-0", "fold-1", "fold-2", "died"] == calls
    run = load_run(path)
    assert ["validate"] == [attempt.step for attempt in run.dead_attempts]
    assert (0, 1, 2) == run.metrics["score"]
    assert [] == list(verify_run(path))


def test_arguments_without_a_digest(runs: Path) -> None:
    """An argument without a digest, such as an executor, may be of another type when the run is resumed."""

    def fit(ctx: FrozenContext[Any], executor: object) -> int:
        return 1

    def first(ctx: FrozenContext[Any]) -> None:
        ctx.run(fit, Event())
        ctx.run(fit, executor=Semaphore())
        raise Died

    path = die(runs, first)
    assert 2 == go_on(path, lambda ctx: ctx.run(fit, Semaphore()) + ctx.run(fit, executor=Event()))


def test_steps_of_one_name_in_another_order(runs: Path) -> None:
    """Steps that run at the same time may start in another order: what has the same arguments counts as the same."""

    def work(ctx: FrozenContext[Any], item: dict[str, int]) -> int:
        return item["n"]

    def first(ctx: FrozenContext[Any]) -> None:
        ctx.run(work, {"n": 1})
        ctx.run(work, {"n": 2})
        raise Died

    path = die(runs, first)
    assert (2, 1, 3) == go_on(path, lambda ctx: tuple(ctx.run(work, {"n": n}) for n in (2, 1, 3)))


def test_steps_of_one_name_in_another_order_and_one_with_other_arguments(runs: Path) -> None:
    def work(ctx: FrozenContext[Any], item: dict[str, int]) -> int:
        return item["n"]

    path = die(runs, lambda ctx: (ctx.run(work, {"n": 1}), ctx.run(work, {"n": 2}), _die()))
    with pytest.raises(InvalidStepError, match="'work': it finished in an earlier process, with other arguments"):
        go_on(path, lambda ctx: (ctx.run(work, {"n": 2}), ctx.run(work, {"n": 3})))


def test_one_that_failed_among_steps_of_one_name(runs: Path) -> None:
    """A step that has to run again keeps its number, whenever it is called."""

    def work(ctx: FrozenContext[Any], item: float) -> float:
        if item == 2.0 and not ctx.provenance.finished("died"):
            raise ValueError
        return item

    def first(ctx: FrozenContext[Any]) -> None:
        for item in (1.0, 2.0, 3.0):
            with suppress(ValueError):
                ctx.run(work, item)
        with ctx.step("died"):
            pass
        raise Died

    def second(ctx: FrozenContext[Any]) -> tuple[float, ...]:
        found = tuple(ctx.run(work, item) for item in (1.0, 3.0, 4.0, 2.0))
        ended = {step.name for step in ctx.provenance.steps if not step.error}
        assert {"work", "work#2", "work#3", "work#4", "died"} == ended
        return found

    path = die(runs, first)
    assert (1.0, 3.0, 4.0, 2.0) == go_on(path, second)


def test_frames_and_objects_tell_calls_apart(runs: Path) -> None:
    """Arguments that JSON cannot hold, and the object of a method, belong to a call."""

    def total(ctx: FrozenContext[Any], frame: pd.DataFrame) -> int:
        return int(frame["x"].sum())

    one, other = pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"x": [10]})
    path = die(runs, lambda ctx: (ctx.run(total, one), ctx.run(total, other), ctx.run(Scaled(3).fit), _die()))
    assert (10, 3) == go_on(path, lambda ctx: (ctx.run(total, other), ctx.run(total, one)))
    with pytest.raises(InvalidStepError, match="with other arguments"):
        go_on(path, lambda ctx: ctx.run(Scaled(5).fit))


@dataclass(frozen=True)
class Scaled:
    factor: int

    def fit(self, ctx: FrozenContext[Any]) -> int:
        return self.factor * 10


def test_other_arguments_than_before(runs: Path) -> None:
    def work(ctx: FrozenContext[Any], size: float) -> float:
        return size

    path = die(runs, lambda ctx: (ctx.run(work, 0.1), _die()))
    with pytest.raises(InvalidStepError, match="'work': it finished in an earlier process, with other arguments"):
        go_on(path, lambda ctx: ctx.run(work, 0.2))


def test_a_lambda_says_that_it_has_no_name(runs: Path) -> None:
    path = die(runs, lambda ctx: (ctx.run(lambda ctx: 1), _die()))
    with pytest.raises(InvalidStepError, match="a lambda has no name"):
        go_on(path, lambda ctx: ctx.run(lambda ctx: 1))
    # One that had not run before is no trouble.
    path = die(runs, lambda ctx: _die())
    assert go_on(path, lambda ctx: ctx.run(lambda ctx: 1)) == 1


def test_a_step_of_a_with_block_that_finished_before(runs: Path) -> None:
    def fit(ctx: FrozenContext[Any]) -> int:
        return 1

    def first(ctx: FrozenContext[Any]) -> None:
        with ctx.step("fit"):
            pass
        raise Died

    path = die(runs, first)
    with pytest.raises(FinishedStepError):
        go_on(path, lambda ctx: ctx.run(fit))


def test_another_return_annotation_than_before(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the stored result does not fit it, the step runs again alone, unless work of the step stays."""
    calls = Calls()

    def one(ctx: FrozenContext[Any]) -> str:
        calls.append("one")
        ctx.run(inner)
        return "x"

    def inner(ctx: FrozenContext[Any]) -> None:
        calls.append("inner")
        with ctx.step("block") as block:
            block["made"] = 1

    async def same(ctx: FrozenContext[Any]) -> str:
        calls.append("same")
        return "x"

    def main(ctx: FrozenContext[Any]) -> Any:
        return ctx.run(one), asyncio.run(ctx.arun(same))

    path = die(runs, lambda ctx: (main(ctx), _die()))
    one.__annotations__["return"] = same.__annotations__["return"] = int
    assert ("x", "x") == go_on(path, main)
    assert ["one", "inner", "same", "one", "same"] == calls
    assert "'one' finished in an earlier process, but its result cannot be restored, so it runs again" in caplog.text
    one.__annotations__["return"] = same.__annotations__["return"] = str
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        assert ("x", "x") == main(ctx)
        assert [None] * 4 == [record.error for record in ctx.provenance.steps]
    assert 5 == len(calls)
    assert [] == list(verify_run(path))


def test_a_step_that_runs_again_for_its_result_and_fails(runs: Path) -> None:
    calls = Calls()

    def one(ctx: FrozenContext[Any]) -> str:
        calls.append("one")
        if len(calls) == 2:
            raise Died
        return "x"

    path = die(runs, lambda ctx: (ctx.run(one), _die()))
    one.__annotations__["return"] = int
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        with pytest.raises(Died):
            ctx.run(one)
        assert not ctx.provenance.finished("one")
        first, second = ctx.provenance.steps
        assert "so it runs again" in str(first.error)
        assert second.error == "Died"
    assert not load_run(path).context.provenance.finished("one")


@pytest.mark.parametrize("part", ["key", "point", "artifact", "block", "attempt"])
def test_another_return_annotation_of_a_step_whose_work_stays(runs: Path, part: str) -> None:
    def one(ctx: FrozenContext[Any]) -> str:
        if part == "key":
            ctx["made"] = 1
        elif part == "point":
            ctx.record("loss", 1)
        elif part == "artifact":
            ctx.artifacts.add("made.txt", b"x")
        elif part == "block":
            with ctx.step("block"):
                pass
        return "x"

    made = step(retries=int(part == "attempt"))(one)
    path = die(runs, lambda ctx: (ctx.run(made), _die()))
    one.__annotations__["return"] = int
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        with pytest.raises(InvalidStepError, match=r"cannot be restored by the return annotation.*keys, points"):
            ctx.run(made)


@dataclass(eq=False)
class Fitted:
    weights: np.ndarray
    rounds: int = 1


class Fitting(BaseModel, arbitrary_types_allowed=True):
    weights: np.ndarray


class Best(NamedTuple):
    round: int
    path: Path
    weights: np.ndarray


class Outcome(Enum):
    GOOD = 1


class Unchecked(Protocol):
    """Pydantic cannot check that a value is of this type."""

    def bit_length(self) -> int: ...


WEIGHTS = np.arange(3.0)


@pytest.mark.parametrize(
    ("result", "returns"),
    [
        (Fitted(WEIGHTS), Fitted),
        ([Fitted(WEIGHTS), Fitted(WEIGHTS, 2)], list[Fitted]),
        ({"a": (Fitted(WEIGHTS), 1)}, dict[str, tuple[Fitted, int]]),
        (Fitting(weights=WEIGHTS), Fitting),
        (Best(1, Path("best.bin"), WEIGHTS), Best),
        ((1, "a"), Any),
        ([1, (2, {3})], Any),
        (Outcome.GOOD, Outcome),
        (1, Unchecked),
        (Path("x"), Path),
        (date(2026, 1, 1), date),
        (timedelta(1), timedelta),
        ({"a": WEIGHTS, "b": {1: 2}}, dict),
    ],
)
def test_results_of_many_types(runs: Path, result: Any, returns: Any) -> None:
    """They come back as the same types with equal parts, so the step does not run again."""
    calls = Calls()

    def make(ctx: FrozenContext[Any]) -> Any:
        calls.append("make")
        return result

    make.__annotations__["return"] = returns
    path = die(runs, lambda ctx: (ctx.run(make), _die()))
    found = go_on(path, lambda ctx: ctx.run(make))
    assert type(result) is type(found)
    assert repr(result) == repr(found)
    assert 1 == len(calls)


def test_a_result_whose_object_is_lost(runs: Path) -> None:
    calls = Calls()

    def make(ctx: FrozenContext[Any]) -> np.ndarray:
        calls.append("make")
        return np.arange(1_000_000)

    path = die(runs, lambda ctx: (ctx.run(make), _die()))
    for file in (runs / "objects").rglob("*"):
        if file.is_file():
            file.unlink()
    assert any("what step 'make' returned" in problem for problem in verify_run(path))
    assert go_on(path, lambda ctx: len(ctx.run(make))) == 1_000_000
    assert ["make", "make"] == calls


def test_coroutines(runs: Path) -> None:
    calls: list[int] = []

    async def ask(ctx: FrozenContext[Any], number: int) -> int:
        await asyncio.sleep(0)
        calls.append(number)
        return number * 2

    async def answers(ctx: FrozenContext[Any], count: int) -> list[int]:
        return await asyncio.gather(*(ctx.arun(ask, number) for number in range(count)))

    def first(ctx: FrozenContext[Any]) -> None:
        asyncio.run(answers(ctx, 10))
        raise Died

    path = die(runs, first)
    assert [number * 2 for number in range(20)] == go_on(path, lambda ctx: asyncio.run(answers(ctx, 20)))
    assert [*range(20)] == calls


@dataclass
class Program:
    """A random program of tasks within tasks, which dies at a random call and then goes on."""

    seed: int
    deadly: int
    called: int = 0

    def run(self, ctx: FrozenContext[Any]) -> Any:
        """Run it, up to the deadly call."""

        @step("task-{depth}")
        def task(ctx: FrozenContext[Any], seed: int, depth: int) -> list[Any]:
            random, results = Random(seed), list[Any]()
            for number in range(random.randint(0, 3) if depth else 0):
                self.called += 1
                if self.called == self.deadly:
                    raise Died
                if random.random() < 0.3:
                    with ctx.step("block") as block:
                        block[f"{depth}-{seed}-{random.random()}"] = number
                else:
                    # So large that no two calls write the same key.
                    results.append(ctx.run(task, random.randrange(1 << 40), depth - 1))
            return [seed, results]

        return ctx.run(task, self.seed, 3)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 20), max_size=3))
def test_a_run_that_died_ends_as_one_that_did_not(runs: Path, seed: int, deaths: list[int]) -> None:
    with Journal.start(runs, "whole") as journal:
        whole = journal.context(FrozenContext)
        expected = Program(seed, 0).run(whole)
    with Journal.start(runs, "run") as journal:
        path = journal.path
        made, found = dict[str, Any](), None
        try:
            found = Program(seed, deaths[0] if deaths else 0).run(ctx := journal.context(FrozenContext))
            made = dict(ctx)
        except Died:
            pass
    for deadly in [*deaths[1:], 0]:
        with Journal.resume(path) as journal:
            ctx = journal.context(FrozenContext)
            try:
                found = Program(seed, deadly).run(ctx)
                made = dict(ctx)
            except Died:
                pass
    assert (expected, dict(whole)) == (found, made)
    assert {record.name for record in whole.provenance.steps} == {record.name for record in ctx.provenance.steps}


def test_branches_within_a_task_that_runs_again_are_kept(runs: Path) -> None:
    calls = Calls()

    def item(ctx: FrozenContext[Any], number: int) -> int:
        calls.append(f"item {number}")
        ctx[f"item {number}"] = number
        return number

    def outer(ctx: FrozenContext[Any]) -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            found = fan_out(ctx, item, range(3), executor=pool)
        calls.append("outer")
        if calls.count("outer") == 1:
            raise Died
        return found

    def main(ctx: FrozenContext[Any]) -> list[int]:
        return ctx.run(outer)

    path = die(runs, main)
    assert [0, 1, 2] == go_on(path, main)
    assert ["item 0", "item 1", "item 2", "outer", "outer"] == calls
    assert {"lr", "item 0", "item 1", "item 2"} == {*load_run(path).context}


def inputs_of_step(runs: Path, main: Callable[[FrozenContext[Any]], object]) -> dict[str, TaskInputs | None]:
    """Return the digests that the file of a program's run has, by step."""
    with Journal.start(runs, "run") as journal:
        main(journal.context(FrozenContext))
    return {task.step: task.inputs for task in read(journal.path).tasks}


def plus_one(value: int) -> int:
    return value + 1


def counted(ctx: FrozenContext[Any], size: int, *, deep: bool = False) -> int:
    return plus_one(size)


def test_the_file_has_digests_of_the_code_and_of_each_argument(runs: Path) -> None:
    def main(ctx: FrozenContext[Any]) -> None:
        ctx.run(counted, 1)
        ctx.run(counted, 2)
        ctx.run(step("again")(lambda ctx: 1))

    found = inputs_of_step(runs, main)
    first, second, lambdas = found["counted-1"], found["counted-2"], found["again"]
    assert first is not None
    assert second is not None
    assert lambdas is not None
    assert [f"{__name__}.counted", f"{__name__}.plus_one"] == [*first.code]
    assert first.code == second.code
    assert {"size", "deep"} == {*first.arguments}
    assert ["size"] == [name for name in first.arguments if first.arguments[name] != second.arguments[name]]
    assert ((), None) == (first.unknown, first.version)


def test_the_digests_are_those_before_the_call(runs: Path) -> None:
    """A task may change its arguments."""

    def fill(ctx: FrozenContext[Any], rows: list[int]) -> None:
        rows.append(1)

    rows: list[int] = []
    filled = inputs_of_step(runs, lambda ctx: ctx.run(fill, rows))
    assert filled == inputs_of_step(runs, lambda ctx: ctx.run(fill, []))
    assert filled != inputs_of_step(runs, lambda ctx: ctx.run(fill, rows))


def test_the_version_is_in_the_file_and_parts_without_a_digest_are_named(runs: Path) -> None:
    @step(version="2")
    def fit(ctx: FrozenContext[Any], model: object) -> None:
        pass

    found = inputs_of_step(runs, lambda ctx: ctx.run(fit, Lock()))["fit"]
    assert found is not None
    assert "2" == found.version
    assert "model" in found.unknown[0]
    assert "model" not in found.arguments


def test_a_task_that_is_not_to_be_reused_has_no_digests(runs: Path) -> None:
    @step(reuse=False, version=3)
    def fit(ctx: FrozenContext[Any]) -> None:
        pass

    expected = TaskInputs({}, {}, ("its task has @step(reuse=False)",), 3)
    assert {"fit": expected} == inputs_of_step(runs, lambda ctx: ctx.run(fit))


def test_a_start_without_digests_is_stored_without_them(runs: Path) -> None:
    """Another program may send such an event."""
    with Journal.start(runs, "run") as journal:
        journal.context(FrozenContext)
        journal.handle(StepStarted("fit", datetime.now(UTC), arguments="0"))
    assert [None] == [task.inputs for task in read(journal.path).tasks]
