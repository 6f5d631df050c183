"""Runs that are written in an event loop: no call there waits for a disk."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crystallize import (
    BranchContext,
    FrozenContext,
    InvalidStepError,
    Journal,
    JournalError,
    LoggingContext,
    SinkError,
    afan_out,
    load_run,
)
from crystallize._core import async_sinks
from crystallize._core.context import state_of
from crystallize._journal import drainer, event_rows, frame_writer
from crystallize.runs import verify_run
from crystallize.sinks.memory import MemorySink

pytestmark = pytest.mark.usefixtures("without_environment")

Step = LoggingContext[Any]


class Disk:
    """A disk that is as slow as a test wants it."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        """The threads that have waited for it."""
        self.is_fast = threading.Event()
        self.is_fast.set()
        self.is_asked = threading.Event()
        self.error: OSError | None = None

    def wait(self) -> None:
        self.threads.append(threading.get_ident())
        self.is_asked.set()
        assert self.is_fast.wait(60)
        if self.error is not None:
            raise self.error

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*args: Any, **kwargs: Any) -> Any:
            self.wait()
            return call(*args, **kwargs)

        return slowly


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Let each fsync, and each transaction of the database, wait for a disk."""
    disk = Disk()
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, disk.before(getattr(os, name)), raising=False)
    monkeypatch.setattr(drainer, "apply", disk.before(event_rows.apply))
    yield disk
    disk.is_fast.set()


async def is_asked(disk: Disk) -> None:
    """Wait until somebody waits for the disk."""
    while not disk.is_asked.is_set():
        await asyncio.sleep(0.001)


async def ask(ctx: Step, question: int) -> int:
    ctx[f"asked-{question}"] = True
    ctx.record("length", question)
    await asyncio.sleep(0)
    ctx.artifacts.add(f"answer-{question}", b"yes")
    return question


async def fail(ctx: Step) -> None:
    raise LookupError("nothing")


async def branch(ctx: BranchContext[Any], item: int) -> int:
    return await ctx.arun(ask, item)


async def started(runs: Path) -> Journal:
    return await asyncio.to_thread(Journal.start, runs, "ask")


def run(main: Awaitable[Any]) -> Any:
    async def whole() -> Any:
        return await main

    return asyncio.run(whole())


def records(path: Path) -> list[tuple[str, str | None]]:
    return [(step.name, step.error) for step in load_run(path).provenance.steps]


def test_the_thread_of_the_event_loop_never_waits_for_a_disk(runs: Path, disk: Disk) -> None:
    async def main() -> Path:
        async with await started(runs) as journal:
            ctx = journal.context(FrozenContext, {"lr": 0.1})
            assert await asyncio.gather(*(ctx.arun(ask, number) for number in range(5))) == [*range(5)]
            assert await afan_out(ctx, branch, range(100, 120)) == [*range(100, 120)]
            with pytest.raises(LookupError):
                await ctx.arun(fail)
            waiting = asyncio.create_task(ctx.arun(lambda ctx: asyncio.sleep(60)))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        return journal.path

    path = run(main())
    assert disk.threads
    assert threading.get_ident() not in disk.threads
    assert () == verify_run(path)
    assert ("fail", "LookupError: nothing") in records(path)


def test_the_loop_goes_on_while_others_wait_for_the_disk(runs: Path, disk: Disk) -> None:
    """Nobody who waits for it holds a lock: all that a coroutine does without `await` returns at once."""

    async def main() -> None:
        async with await started(runs) as journal:
            ctx = journal.context(FrozenContext)
            disk.is_asked.clear()
            disk.is_fast.clear()
            step = asyncio.create_task(ctx.arun(ask, 1))
            await is_asked(disk)
            ctx["key"] = 1
            ctx.record("loss", 0.5)
            ctx.artifacts.add("small", b"content")
            assert await afan_out(ctx, branch, range(100, 110)) == [*range(100, 110)]
            other = asyncio.create_task(ctx.arun(ask, 2))
            while not ctx.provenance.finished("ask-2"):
                await asyncio.sleep(0)
            assert not step.done()
            assert not other.done()
            disk.is_fast.set()
            assert [*await asyncio.gather(step, other)] == [1, 2]

    run(main())


def test_steps_that_end_together_are_made_durable_together(runs: Path, disk: Disk) -> None:
    async def main() -> int:
        async with await started(runs) as journal:
            ctx = journal.context(FrozenContext)
            await ctx.arun(ask, 1_000)
            syncs = 0
            make_durable = journal.make_durable

            def counted() -> None:
                nonlocal syncs
                syncs += 1
                make_durable()

            journal.make_durable = counted  # type: ignore[method-assign]  # to count its calls
            disk.is_asked.clear()
            disk.is_fast.clear()
            steps = [asyncio.create_task(ctx.arun(ask, number)) for number in range(100)]
            while not all(ctx.provenance.finished(f"ask-{number}") for number in range(100)):
                await asyncio.sleep(0)
            disk.is_fast.set()
            await asyncio.gather(*steps)
        return syncs

    assert run(main()) in (1, 2)


def test_a_step_that_is_cancelled_is_on_record_and_durable(runs: Path, disk: Disk) -> None:
    async def waiting(ctx: Step) -> None:
        ctx["began"] = True
        await asyncio.sleep(60)

    async def main() -> Path:
        journal = await started(runs)
        ctx = journal.context(FrozenContext)
        step = asyncio.create_task(ctx.arun(waiting))
        await asyncio.sleep(0)
        disk.is_asked.clear()
        disk.is_fast.clear()
        step.cancel()
        await is_asked(disk)
        assert not step.done()
        disk.is_fast.set()
        with pytest.raises(asyncio.CancelledError):
            await step
        await asyncio.to_thread(journal.close)
        return journal.path

    path = run(main())
    assert [("waiting", "CancelledError")] == records(path)
    assert load_run(path).values["began"]


def test_a_cancellation_does_not_cut_the_end_of_a_step_short(runs: Path, disk: Disk) -> None:
    """The step has finished, and a resumed run returns its result."""

    async def main() -> Path:
        async with await started(runs) as journal:
            ctx = journal.context(FrozenContext)
            disk.is_asked.clear()
            disk.is_fast.clear()
            step = asyncio.create_task(ctx.arun(ask, 3))
            await is_asked(disk)
            while not ctx.provenance.finished("ask-3"):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.sleep(0)
            step.cancel()
            await asyncio.sleep(0)
            assert not step.done()
            disk.is_fast.set()
            with pytest.raises(asyncio.CancelledError):
                await step
        return journal.path

    path = run(main())
    assert [("ask-3", None)] == records(path)
    with Journal.resume(path) as journal:
        assert asyncio.run(journal.context(FrozenContext).arun(ask, 3)) == 3


def test_a_cancellation_while_a_failure_is_made_durable(runs: Path, disk: Disk) -> None:
    """The step has failed, and left work: it is not called again."""

    async def failing(ctx: Step) -> None:
        ctx["began"] = True
        raise LookupError("nothing")

    async def main() -> None:
        async with await started(runs) as journal:
            ctx = journal.context(FrozenContext)
            disk.is_asked.clear()
            disk.is_fast.clear()
            step = asyncio.create_task(ctx.arun(failing))
            await is_asked(disk)
            step.cancel()
            await asyncio.sleep(0)
            disk.is_fast.set()
            with pytest.raises(asyncio.CancelledError):
                await step
            with pytest.raises(InvalidStepError, match="retries="):
                await ctx.arun(failing)

    run(main())


def test_a_timeout_within_a_task_group(runs: Path) -> None:
    async def endless(ctx: Step, name: str) -> None:
        ctx.record("started", 1)
        await asyncio.sleep(60)

    async def limited(ctx: FrozenContext[Any], name: str) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ctx.arun(endless, name), 0.01)

    async def main() -> Path:
        async with await started(runs) as journal:
            ctx = journal.context(FrozenContext)
            async with asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(limited(ctx, name))
            return journal.path

    assert {(f"endless-{name}", "CancelledError") for name in "abc"} == set(records(run(main())))


def test_each_step_has_its_own_reads_though_they_take_turns(runs: Path) -> None:
    async def step(ctx: Step, name: str) -> None:
        for at in range(3):
            assert ctx[f"{name}{at}"] == at
            await asyncio.sleep(0)
            ctx[f"out-{name}{at}"] = at

    async def main() -> FrozenContext[Any]:
        async with await started(runs) as journal:
            ctx = journal.context(FrozenContext, {f"{name}{at}": at for name in "abc" for at in range(3)})
            await asyncio.gather(*(ctx.arun(step, name) for name in "abc"))
            return ctx

    for record in run(main()).provenance.steps:
        name = record.name[-1]
        assert [f"{name}{at}" for at in range(3)] == [*record.reads]
        assert [f"out-{name}{at}" for at in range(3)] == [*record.writes]


def test_a_disk_that_fails(runs: Path, disk: Disk) -> None:
    """The step has ended, and its caller is told."""

    async def main() -> None:
        journal = await started(runs)
        ctx = journal.context(FrozenContext)
        disk.error = OSError("broken")
        with pytest.raises(SinkError, match="cannot be made durable"):
            await ctx.arun(ask, 1)
        with pytest.raises(JournalError):
            await asyncio.to_thread(journal.close)

    run(main())


def test_a_failure_whose_record_cannot_be_made_durable_has_a_note(runs: Path, disk: Disk) -> None:
    async def main() -> None:
        journal = await started(runs)
        ctx = journal.context(FrozenContext)
        disk.error = OSError("broken")
        with pytest.raises(LookupError) as caught:
            await ctx.arun(fail)
        assert "Besides: " in caught.value.__notes__[0]
        assert "broken" in caught.value.__notes__[0]
        with pytest.raises(JournalError):
            await asyncio.to_thread(journal.close)

    run(main())


def test_a_coroutine_that_is_closed(runs: Path) -> None:
    """It may wait for nothing, so its record is made durable at once."""

    async def waiting(ctx: Step) -> None:
        await asyncio.sleep(60)

    async def main() -> Path:
        async with await started(runs) as journal:
            step = journal.context(FrozenContext).arun(waiting)
            step.send(None)
            step.close()
        return journal.path

    assert [("waiting", "GeneratorExit")] == records(run(main()))


def test_async_with_ends_the_run_as_with_does(runs: Path) -> None:
    async def main() -> Path:
        journal = await started(runs)

        async def failing() -> None:
            async with journal:
                await journal.context(FrozenContext).arun(fail)

        with pytest.raises(LookupError):
            await failing()
        return journal.path

    found = load_run(run(main()))
    assert (found.status, found.error) == ("failed", "LookupError: nothing")


class TestFullSpool:
    """A spool of which more than half is full is emptied in a thread before the loop has to wait for that."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frame_writer, "CAPACITY", 1 << 16)

    def test_by_branches(self, runs: Path, disk: Disk) -> None:
        async def work(ctx: BranchContext[Any], item: int) -> None:
            ctx[f"key-{item}"] = "x" * 2_000

        async def main() -> Path:
            async with await started(runs) as journal:
                await afan_out(journal.context(FrozenContext), work, range(200), limit=4)
            return journal.path

        path = run(main())
        assert threading.get_ident() not in disk.threads
        assert len(load_run(path).values) == 200

    def test_by_steps(self, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        flushed: list[int] = []

        async def work(ctx: Step, item: int) -> None:
            ctx[f"key-{item}"] = "x" * 5_000

        async def main() -> Path:
            async with await started(runs) as journal:
                ctx = journal.context(FrozenContext)
                drain = journal._writer._drainer.drain

                def noted() -> None:
                    flushed.append(threading.get_ident())
                    drain()

                monkeypatch.setattr(journal._writer._drainer, "drain", noted)
                for item in range(50):
                    await ctx.arun(work, item)
            return journal.path

        assert len(load_run(run(main())).values) == 50
        assert flushed
        assert threading.get_ident() not in flushed

    def test_that_others_fill_again_is_tried_a_few_times(self, runs: Path) -> None:
        with Journal.start(runs, "ask") as journal:
            ctx = journal.context(FrozenContext)
            writer, lock = journal._writer, state_lock(ctx)
            ctx["first"] = "x" * 40_000
            assert journal.backlog.is_behind
            flush, count = writer.flush, 0

            def refilled() -> None:
                nonlocal count
                flush()
                count += 1
                ctx[f"key-{count}"] = 1

            writer.flush = refilled  # type: ignore[method-assign]  # as if another thread wrote meanwhile
            journal.backlog.catch_up(lock)
            assert count == 3
            assert journal.backlog.is_behind
            writer.flush = flush  # type: ignore[method-assign]  # as above
            journal.backlog.catch_up(lock)
            assert not journal.backlog.is_behind

    def test_that_cannot_be_emptied(self, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next event raises the reason."""

        def broken(*args: object) -> None:
            raise OSError("broken")

        journal = Journal.start(runs, "ask")
        ctx = journal.context(FrozenContext)
        ctx["first"] = "x" * 40_000
        monkeypatch.setattr(drainer, "apply", broken)
        with pytest.raises(SinkError, match="broken"):
            asyncio.run(ctx.arun(ask, 1))
        with pytest.raises(JournalError):
            journal.close()


def state_lock(ctx: FrozenContext[Any]) -> Any:
    return state_of(ctx).dispatcher.lock


def test_sinks_that_wait_for_nothing_take_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(async_sinks, "in_thread")
    ctx = FrozenContext(sinks=[MemorySink()])
    assert asyncio.run(ctx.arun(ask, 1)) == 1
