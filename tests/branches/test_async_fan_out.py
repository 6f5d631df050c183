"""`afan_out`: a coroutine for each item; all is as if they had been awaited one after the other."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import (
    BranchContext,
    BranchError,
    FrozenContext,
    InvalidStepError,
    Journal,
    LoggingContext,
    MergeConflictError,
    SchemaError,
    afan_out,
    load_run,
)
from crystallize._branches import async_fan_out, merged_packs
from crystallize._branches.branch_registry import registry_of
from crystallize._core.context import state_of
from crystallize._journal import run_files
from crystallize.sinks.memory import MemorySink

from ..journal.journal_runs import no_environment
from .engine_tasks import view

Child = BranchContext[Any]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    return tmp_path / "runs"


@pytest.fixture
def ctx() -> FrozenContext[Any]:
    return FrozenContext({"lr": 0.5})


async def ask(ctx: Child, item: int) -> float:
    await asyncio.sleep(0)
    ctx.record("asked", item)
    rate: float = ctx["lr"]
    return rate * item


async def brittle(ctx: Child, item: int) -> int:
    ctx.record("tried", item)
    await asyncio.sleep(0)
    if item % 2:
        raise ValueError(f"item {item}")
    return item


class Waiting:
    """A task that waits until it is let go, and counts how many do."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.go = asyncio.Event()

    async def __call__(self, ctx: Child, item: int) -> int:
        self.started.append(item)
        ctx[f"began-{item}"] = True
        ctx.record("began", item)
        await self.go.wait()
        return item

    async def until(self, count: int) -> None:
        while len(self.started) < count:
            await asyncio.sleep(0)


def records(ctx: FrozenContext[Any]) -> list[tuple[str, str | None]]:
    return [(step.name, step.error) for step in ctx.provenance.steps]


class TestResults:
    def test_are_in_the_order_of_the_items(self, ctx: FrozenContext[Any]) -> None:
        async def slow_first(ctx: Child, item: int) -> int:
            for _ in range(10 - item):
                await asyncio.sleep(0)
            ctx.record("loss", item)
            return item

        assert list(range(10)) == asyncio.run(afan_out(ctx, slow_first, range(10)))
        assert tuple(range(10)) == ctx.metrics["loss"]
        assert [(f"slow_first-{item}", None) for item in range(10)] == records(ctx)

    @given(st.integers(0, 2**32), st.integers(1, 9), st.integers(0, 20))
    def test_are_those_of_one_coroutine_after_the_other(self, seed: int, limit: int, count: int) -> None:
        async def work(ctx: Child, item: int) -> int:
            random = Random(f"{seed}-{item}")
            for at in range(random.randrange(4)):
                await asyncio.sleep(0)
                with ctx.step(f"part-{at}") as step:
                    step[f"{item}-{at}"] = random.random()
                    step.record("loss", random.random(), {"item": item})
                await asyncio.sleep(0)
            return random.randrange(100)

        async def one_by_one(ctx: FrozenContext[Any]) -> list[int]:
            return [(await afan_out(ctx, work, [item], name=f"at-{item}"))[0] for item in range(count)]

        single, together = FrozenContext(), FrozenContext()
        found = asyncio.run(afan_out(together, work, range(count), limit=limit, name=lambda item: f"at-{item}-0"))
        assert asyncio.run(one_by_one(single)) == found
        assert view(single) == view(together)

    def test_of_no_items(self, ctx: FrozenContext[Any]) -> None:
        assert asyncio.run(afan_out(ctx, ask, [])) == []

    @pytest.mark.parametrize("kind", [list, iter, tuple])
    def test_of_any_iterable(self, ctx: FrozenContext[Any], kind: Any) -> None:
        assert asyncio.run(afan_out(ctx, ask, kind(range(50)))) == [item / 2 for item in range(50)]

    def test_of_an_asynchronous_iterable(self, ctx: FrozenContext[Any]) -> None:
        async def questions() -> AsyncIterator[int]:
            for item in range(50):
                await asyncio.sleep(0)
                yield item

        assert asyncio.run(afan_out(ctx, ask, questions(), limit=3)) == [item / 2 for item in range(50)]
        assert [f"ask-{item}" for item in range(50)] == [name for name, _ in records(ctx)]

    def test_of_tasks_that_are_no_async_def(self, ctx: FrozenContext[Any]) -> None:
        def decorated(ctx: Child, item: int) -> Awaitable[float]:
            return ask(ctx, item)

        async def scaled(factor: int, ctx: Child, item: int) -> int:
            return factor * item

        assert asyncio.run(afan_out(ctx, decorated, [4])) == [2.0]
        assert asyncio.run(afan_out(ctx, partial(scaled, 3), [4])) == [12]

    def test_within_a_step_and_within_a_branch(self, ctx: FrozenContext[Any]) -> None:
        async def inner(ctx: Child, item: int) -> list[float]:
            return await afan_out(ctx, ask, range(item))

        async def outer(step: LoggingContext[Any]) -> list[list[float]]:
            return await afan_out(step, inner, [1, 2])

        assert asyncio.run(ctx.arun(outer)) == [[0.0], [0.0, 0.5]]
        assert "outer/inner-1/ask-1" in dict(records(ctx))

    def test_each_coroutine_has_its_own_context_variables(self, ctx: FrozenContext[Any]) -> None:
        current: ContextVar[int] = ContextVar("current", default=-1)

        async def work(ctx: Child, item: int) -> tuple[int, int]:
            before = current.get()
            current.set(item)
            await asyncio.sleep(0)
            return before, current.get()

        assert asyncio.run(afan_out(ctx, work, range(5))) == [(-1, item) for item in range(5)]
        assert current.get() == -1

    def test_several_calls_at_the_same_time(self, ctx: FrozenContext[Any]) -> None:
        async def main() -> list[list[float]]:
            return await asyncio.gather(*(afan_out(ctx, ask, range(20), name=name) for name in "abc"))

        assert [[item / 2 for item in range(20)]] * 3 == asyncio.run(main())


class TestLimit:
    @pytest.mark.parametrize("limit", [1, 7, 100])
    def test_is_the_most_coroutines_that_run(self, ctx: FrozenContext[Any], limit: int) -> None:
        running = most = taken = ahead = 0
        done: list[int] = []

        async def work(ctx: Child, item: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(9):
                await asyncio.sleep(0)
            running -= 1
            done.append(item)

        def items() -> Iterator[int]:
            nonlocal taken, ahead
            for taken in range(300):
                ahead = max(ahead, taken - len(done))
                yield taken

        asyncio.run(afan_out(ctx, work, items(), limit=limit))
        assert limit == most
        assert ahead <= limit

    @pytest.mark.parametrize("limit", [0, -1, True, 2.0, None])
    def test_is_a_whole_number(self, ctx: FrozenContext[Any], limit: Any) -> None:
        with pytest.raises(ValueError, match="limit is a whole number from 1 on"):
            asyncio.run(afan_out(ctx, ask, [1], limit=limit))

    @pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
    def test_bounds_what_many_items_hold(self, runs: Path, count: int) -> None:
        """No more contexts of branches exist than there may be coroutines; all is in the file."""
        tasks = children = 0

        async def work(ctx: Child, item: int) -> int:
            nonlocal tasks, children
            ctx.record("loss", item)
            await asyncio.sleep(0)
            if item % 150 == 149:
                gc.collect()
                tasks = max(tasks, len(asyncio.all_tasks()))
                children = max(children, sum(type(found) is BranchContext for found in gc.get_objects()))
            return item

        with Journal.start(runs, "many") as journal:
            ctx = journal.context(FrozenContext)
            assert list(range(count)) == asyncio.run(afan_out(ctx, work, range(count), limit=100))
        assert 1 < tasks <= 101  # one is the call
        assert 1 < children <= 100
        assert tuple(range(count)) == tuple(load_run(journal.path).metrics["loss"])

    def test_packs_are_small_so_that_none_takes_long(
        self, ctx: FrozenContext[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []
        pack = merged_packs._pack

        def measured(state: Any, registry: Any, branches: dict[str, Any], **options: Any) -> None:
            sizes.append(len(branches))
            pack(state, registry, branches, **options)

        monkeypatch.setattr(merged_packs, "_pack", measured)
        assert [item / 2 for item in range(300)] == asyncio.run(afan_out(ctx, ask, range(300)))
        assert sizes
        assert max(sizes) <= merged_packs.MOST_IN_LOOP
        assert registry_of(state_of(ctx)).async_calls == 0
        assert tuple(range(300)) == ctx.metrics["asked"]


class TestFailures:
    def test_the_first_is_raised_when_the_others_are_merged(self, ctx: FrozenContext[Any]) -> None:
        with pytest.raises(ValueError, match="item 1") as caught:
            asyncio.run(afan_out(ctx, brittle, range(6)))
        assert ["in branch 'brittle-1', of item 1", "2 more failed, the next with ValueError: item 3"] == (
            caught.value.__notes__
        )
        assert (0, 2, 4) == ctx.metrics["tried"]
        assert ("brittle-3", "ValueError: item 3") in records(ctx)

    def test_are_collected(self, ctx: FrozenContext[Any]) -> None:
        found = asyncio.run(afan_out(ctx, brittle, range(4), errors="collect"))
        assert found[::2] == [0, 2]
        assert [str(error) for error in found[1::2]] == ["item 1", "item 3"]

    def test_alone_are_run_again_by_the_same_call(self, ctx: FrozenContext[Any]) -> None:
        called: list[int] = []

        async def work(ctx: Child, item: int) -> int:
            called.append(item)
            if len(called) == 2:
                raise OSError("once")
            return item

        with pytest.raises(OSError, match="once"):
            asyncio.run(afan_out(ctx, work, range(4)))
        assert list(range(4)) == asyncio.run(afan_out(ctx, work, range(4)))
        assert [0, 1, 2, 3, 1] == called
        with pytest.raises(BranchError, match="earlier call has merged it"):
            asyncio.run(afan_out(ctx, work, range(4)))

    def test_a_branch_that_cancels_itself_has_failed(self, ctx: FrozenContext[Any]) -> None:
        async def work(ctx: Child, item: int) -> int:
            if item == 1:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            await asyncio.sleep(0)
            return item

        found = asyncio.run(afan_out(ctx, work, range(3), errors="collect"))
        assert [0, 2] == found[::2]
        assert isinstance(found[1], asyncio.CancelledError)

    def test_an_exception_of_the_items_comes_when_those_that_run_are_merged(self, ctx: FrozenContext[Any]) -> None:
        def items() -> Iterator[int]:
            yield from range(3)
            raise LookupError("no more")

        with pytest.raises(LookupError, match="no more"):
            asyncio.run(afan_out(ctx, ask, items()))
        assert (0, 1, 2) == ctx.metrics["asked"]

    def test_a_merge_that_conflicts(self, ctx: FrozenContext[Any]) -> None:
        async def work(ctx: Child, item: int) -> None:
            ctx["same"] = item

        found = asyncio.run(afan_out(ctx, work, range(2), errors="collect"))
        assert found[0] is None
        assert isinstance(found[1], MergeConflictError)
        assert ctx["same"] == 0

    def test_a_task_that_takes_its_delta(self, ctx: FrozenContext[Any]) -> None:
        async def work(ctx: Child, item: int) -> None:
            ctx.delta()

        with pytest.raises(BranchError, match="taken the delta"):
            asyncio.run(afan_out(ctx, work, [1]))

    def test_ctrl_c_within_a_coroutine_ends_the_call(self, ctx: FrozenContext[Any]) -> None:
        async def work(ctx: Child, item: int) -> None:
            if item == 1:
                raise KeyboardInterrupt
            await asyncio.sleep(60)

        async def main() -> None:
            with pytest.raises(KeyboardInterrupt):
                await afan_out(ctx, work, range(2), errors="collect")

        with pytest.raises(KeyboardInterrupt):  # an event loop raises it at once, and then again
            asyncio.run(main())
        assert ("work-1", "KeyboardInterrupt") in records(ctx)


class TestRefused:
    @pytest.mark.parametrize("task", [3, "ask", None])
    def test_what_is_no_function(self, ctx: FrozenContext[Any], task: Any) -> None:
        with pytest.raises(BranchError, match="a task is a function"):
            asyncio.run(afan_out(ctx, task, [1]))

    def test_a_generator(self, ctx: FrozenContext[Any]) -> None:
        async def stream(ctx: Child, item: int) -> AsyncIterator[int]:
            yield item

        with pytest.raises(BranchError, match="let it return a list"):
            asyncio.run(afan_out(ctx, stream, [1]))  # type: ignore[arg-type]  # on purpose

    def test_a_plain_function(self, ctx: FrozenContext[Any]) -> None:
        def plain(ctx: Child, item: int) -> int:
            return item

        with pytest.raises(BranchError, match="gave a int, which cannot be awaited; call fan_out"):
            asyncio.run(afan_out(ctx, plain, [1]))  # type: ignore[arg-type]  # on purpose

    def test_another_word_for_errors(self, ctx: FrozenContext[Any]) -> None:
        with pytest.raises(ValueError, match='errors is "raise" or "collect"'):
            asyncio.run(afan_out(ctx, ask, [1], errors="ignore"))  # type: ignore[call-overload]  # on purpose

    def test_no_context(self) -> None:
        with pytest.raises(SchemaError, match="parent of a branch"):
            asyncio.run(afan_out({}, ask, [1]))  # type: ignore[call-overload]  # on purpose

    def test_two_items_of_one_name_before_anything_runs(self, ctx: FrozenContext[Any]) -> None:
        with pytest.raises(BranchError, match="two items have this name"):
            asyncio.run(afan_out(ctx, ask, list(range(100)), name=lambda item: f"at-{item % 99}"))
        assert [] == records(ctx)

    def test_a_name_that_no_branch_can_have(self, ctx: FrozenContext[Any]) -> None:
        with pytest.raises(InvalidStepError):
            asyncio.run(afan_out(ctx, ask, [1], name="a/b"))


class TestCancelled:
    def test_branches_that_run_are_on_record_and_nothing_of_them_is_merged(self, ctx: FrozenContext[Any]) -> None:
        async def main() -> None:
            work = Waiting()
            call = asyncio.create_task(afan_out(ctx, work, range(9), limit=3, name="at"))
            await work.until(3)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert call.cancelled()

        asyncio.run(main())
        assert [(f"at-{item}", "CancelledError") for item in range(3)] == records(ctx)
        assert {"lr": 0.5} == dict(ctx)
        assert [] == list(ctx.metrics)
        assert asyncio.run(afan_out(ctx, ask, range(9), name="at")) == [item / 2 for item in range(9)]

    def test_branches_that_ended_before_are_merged(self, ctx: FrozenContext[Any]) -> None:
        async def main() -> None:
            work = Waiting()

            async def even(ctx: Child, item: int) -> int:
                if item % 2:
                    return await work(ctx, item)
                ctx.record("even", item)
                return item

            async def limited(call: Coroutine[Any, Any, object]) -> None:
                async with asyncio.timeout(None) as limit:
                    running = asyncio.ensure_future(call)
                    await work.until(2)
                    limit.reschedule(asyncio.get_running_loop().time())
                    await running

            with pytest.raises(TimeoutError):
                await limited(afan_out(ctx, even, range(4)))

        asyncio.run(main())
        assert (0, 2) == ctx.metrics["even"]
        assert [("even-0", None), ("even-1", "CancelledError"), ("even-2", None), ("even-3", "CancelledError")] == (
            records(ctx)
        )

    def test_by_a_task_group_whose_other_task_fails(self, ctx: FrozenContext[Any]) -> None:
        async def main() -> None:
            work = Waiting()

            async def fail() -> None:
                await work.until(2)
                raise OSError("other")

            async with asyncio.TaskGroup() as group:
                group.create_task(afan_out(ctx, work, range(2), name="at"))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup, match="errors in a TaskGroup"):
            asyncio.run(main())
        assert [("at-0", "CancelledError"), ("at-1", "CancelledError")] == records(ctx)

    def test_a_coroutine_that_cleans_up_is_waited_for(self, ctx: FrozenContext[Any]) -> None:
        cleaned: list[int] = []

        async def main() -> None:
            work = Waiting()

            async def tidy(ctx: Child, item: int) -> None:
                try:
                    await work(ctx, item)
                finally:
                    await asyncio.sleep(0)
                    cleaned.append(item)

            call = asyncio.create_task(afan_out(ctx, tidy, range(2)))
            await work.until(2)
            call.cancel()
            await asyncio.sleep(0)
            call.cancel()  # once more, while it waits for them
            with pytest.raises(asyncio.CancelledError):
                await call
            assert [0, 1] == sorted(cleaned)

        asyncio.run(main())

    def test_one_that_goes_on_to_its_end_is_merged(self, ctx: FrozenContext[Any]) -> None:
        async def main() -> None:
            work = Waiting()

            async def stubborn(ctx: Child, item: int) -> int:
                try:
                    return await work(ctx, item)
                except asyncio.CancelledError:
                    return -1

            call = asyncio.create_task(afan_out(ctx, stubborn, [0], name="at"))
            await work.until(1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        asyncio.run(main())
        assert [("at-0", None)] == records(ctx)
        assert ctx["began-0"]

    def test_while_results_are_returned_they_are_for_the_same_call(
        self, ctx: FrozenContext[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also those of branches that are packed."""
        monkeypatch.setattr(async_fan_out, "_CHUNK", 16)
        monkeypatch.setattr(merged_packs, "MOST_IN_LOOP", 20)

        def is_taken(name: str) -> bool:
            receipt = registry_of(state_of(ctx)).receipt(name)
            return receipt is not None and receipt.is_taken

        async def main() -> None:
            call = asyncio.create_task(afan_out(ctx, ask, range(50)))
            while not is_taken("ask-40"):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert not is_taken("ask-0")
            assert not is_taken("ask-40")

        asyncio.run(main())
        assert asyncio.run(afan_out(ctx, ask, range(50))) == [item / 2 for item in range(50)]


class TestResumed:
    def test_merged_branches_are_taken_from_the_file(self, runs: Path) -> None:
        called: list[int] = []

        async def work(ctx: Child, item: int) -> int:
            called.append(item)
            if item == 2 and called.count(2) == 1:
                raise OSError("died")
            ctx.record("loss", item)
            return item * 2

        with pytest.raises(OSError, match="died"), Journal.start(runs, "ask") as journal:
            asyncio.run(afan_out(journal.context(FrozenContext), work, range(4)))
        with Journal.resume(journal.path) as again:
            ctx = again.context(FrozenContext)
            assert asyncio.run(afan_out(ctx, work, range(4))) == [0, 2, 4, 6]
        assert [0, 1, 2, 3, 2] == called
        assert (0, 1, 2, 3) == tuple(load_run(journal.path).metrics["loss"])

    def test_a_branch_that_was_cancelled_is_in_the_file(self, runs: Path) -> None:
        async def main(ctx: FrozenContext[Any]) -> None:
            work = Waiting()
            call = asyncio.create_task(afan_out(ctx, work, range(2), name="at"))
            await work.until(2)
            call.cancel()
            await call

        with pytest.raises(asyncio.CancelledError), Journal.start(runs, "ask") as journal:
            asyncio.run(main(journal.context(FrozenContext)))
        steps = load_run(journal.path).provenance.steps
        assert [("at-0", "CancelledError"), ("at-1", "CancelledError")] == [(step.name, step.error) for step in steps]


def test_progress_counts_all_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that an earlier call has merged."""
    shown: list[int | None] = []

    class Bar:
        def __init__(self, total: int | None, initial: int, unit: str) -> None:
            shown.append(total)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *raised: object) -> None: ...

        def update(self) -> None:
            shown.append(1)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    ctx = FrozenContext()
    asyncio.run(afan_out(ctx, brittle, range(2), errors="collect", progress=True))
    assert [2, 1, 1] == shown
    asyncio.run(afan_out(ctx, brittle, range(2), errors="collect", progress=True))
    assert [2, 1, 1] * 2 == shown


def test_sinks_receive_what_they_receive_of_fan_out(ctx: FrozenContext[Any]) -> None:
    sink = MemorySink()
    ctx = FrozenContext({"lr": 0.5}, sinks=[sink])
    asyncio.run(afan_out(ctx, ask, range(2)))
    assert ["BranchForked", "BranchForked", "StepStarted", "MetricRecorded", "StepFinished", "BranchMerged"] == [
        type(event).__name__ for event in sink.events[-10:-4]
    ]
