"""Waiting for threads in coroutines."""

import asyncio
import threading
from typing import Any

import pytest

from crystallize._base.async_waiting import ended, in_thread


def test_in_thread_returns_the_result() -> None:
    assert asyncio.run(in_thread(threading.current_thread)) is not threading.current_thread()


def test_in_thread_raises_the_exception() -> None:
    def fail() -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        asyncio.run(in_thread(fail))


def test_in_thread_needs_no_thread_of_the_executor() -> None:
    """These may all be waiting for it."""

    async def main() -> str:
        loop = asyncio.get_running_loop()

        def waiting() -> str:
            return asyncio.run_coroutine_threadsafe(in_thread(lambda: "done"), loop).result()

        return (await asyncio.gather(*(asyncio.to_thread(waiting) for _ in range(50))))[0]

    assert asyncio.run(main()) == "done"


def test_a_cancellation_comes_when_the_thread_has_ended() -> None:
    async def main() -> None:
        go, is_done = threading.Event(), False

        def work() -> None:
            nonlocal is_done
            go.wait()
            is_done = True

        waiting = asyncio.create_task(in_thread(work))
        await asyncio.sleep(0)
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert is_done

    asyncio.run(main())


def test_a_cancellation_names_the_failure_that_it_hides() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(ended(future))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        future.set_exception(OSError("disk"))
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        assert ["Besides: disk"] == caught.value.__notes__

    asyncio.run(main())


def test_a_future_that_is_cancelled() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ended(future)

    asyncio.run(main())


def test_a_thread_that_ends_after_its_loop() -> None:
    """Nobody waits for it any more."""
    go = threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        go.wait()

    loop: Any = asyncio.new_event_loop()
    waiting = in_thread(work)
    loop.run_until_complete(_first_step(waiting))
    waiting.close()
    loop.close()
    go.set()
    threads[0].join()


async def _first_step(waiting: Any) -> None:
    waiting.send(None)
