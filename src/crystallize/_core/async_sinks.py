"""Let coroutines wait for the sinks of a context in threads, all of them together that wait at the same time."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

from .._base.async_waiting import ended, in_thread
from ..events import Event
from .event_dispatch import EventDispatcher

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task


class Backlog(Protocol):
    """The events that a sink has taken and has not finished with; its attribute `backlog`, if it has one."""

    @property
    def is_behind(self) -> bool:
        """Whether they are so many that the next event may have to wait."""
        ...

    def catch_up(self, lock: AbstractContextManager[Any], /) -> None:
        """Finish with them. Hold the lock over the effects of the context for no longer than a moment."""
        ...


class SharedCalls:
    """Calls functions that do the same in a thread, one of them for all coroutines that wait at the same time."""

    def __init__(self) -> None:
        self._running: Task[None] | None = None
        self._next: Task[None] | None = None

    async def wait(self, call: Callable[[], object]) -> None:
        """Return when a call has returned that has begun after this; raise the exception that the call raises.

        If this is cancelled, it raises CancelledError when the call has returned.
        """
        from asyncio import create_task  # here, to keep the import of the package fast

        if self._next is None:
            self._next = create_task(self._call_after(self._running, call))
        await ended(self._next)

    async def _call_after(self, earlier: "Task[None] | None", call: Callable[[], object]) -> None:
        from asyncio import wait  # as above

        try:
            if earlier is not None:
                await wait([earlier])
        finally:
            # Who comes from here on waits for the call after this one.
            self._running, self._next = self._next, None
        await in_thread(call)


async def make_durable(dispatcher: EventDispatcher, event: Event) -> None:
    """Make durable all that the sinks have taken, up to an event; see `EventDispatcher.make_durable`."""
    if any(hasattr(sink, "make_durable") for sink in dispatcher.sinks):
        await _calls(dispatcher, "durable").wait(partial(dispatcher.make_durable, event))


async def catch_up(dispatcher: EventDispatcher) -> None:
    """Let the sinks catch up that are behind, so that the next event does not have to wait until they have."""
    for sink in dispatcher.sinks:
        backlog: Backlog | None = getattr(sink, "backlog", None)
        if backlog is not None and backlog.is_behind:
            await _calls(dispatcher, "caught up").wait(partial(backlog.catch_up, dispatcher.lock))


def _calls(dispatcher: EventDispatcher, purpose: str) -> SharedCalls:
    """Return the calls for the sinks of a context in the running event loop."""
    from asyncio import get_running_loop  # as above

    by_dispatcher = _by_loop.setdefault(get_running_loop(), WeakKeyDictionary())
    return by_dispatcher.setdefault(dispatcher, {}).setdefault(purpose, SharedCalls())


_by_loop: Final[WeakKeyDictionary["AbstractEventLoop", WeakKeyDictionary[EventDispatcher, dict[str, SharedCalls]]]] = (
    WeakKeyDictionary()
)
