"""Wait for a thread in a coroutine: the event loop goes on, and a cancellation does not cut the wait short."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

_R = TypeVar("_R")


async def in_thread(call: Callable[[], _R]) -> _R:
    """Return the result of a function that runs in a thread of its own.

    If this is cancelled, it raises CancelledError when the function has returned. The threads of the event loop's
    executor would not do: a program may need them all for work that waits for this.
    """
    from asyncio import get_running_loop  # here, to keep the import of the package fast

    loop = get_running_loop()
    future: Future[_R] = loop.create_future()

    def run() -> None:
        try:
            tell = partial(future.set_result, call())
        except BaseException as error:  # the waiting coroutine raises it
            tell = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(tell)

    Thread(target=run, name="crystallize").start()
    return await ended(future)


async def ended(future: "Future[_R]") -> _R:
    """Return the result of a future. If this is cancelled, it raises CancelledError when the future is done."""
    from asyncio import CancelledError, wait  # as above

    cancelled: CancelledError | None = None
    while not future.done():
        try:
            await wait([future])
        except CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if not future.cancelled() and (failure := future.exception()) is not None:
        cancelled.add_note(f"Besides: {failure}")
    raise cancelled
