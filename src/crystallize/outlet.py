"""The sinks of one context, and the one lock over effect and event."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from .errors import SinkError
from .events import Event
from .text import short

__all__ = ["Outlet"]


class _Handler(Protocol):
    def handle(self, event: Event, /) -> object: ...


class Outlet:
    """Where a context tells its sinks what took effect.

    Whoever changes the context holds `lock` over the change and over `tell`, so that the order of events is
    the order of effects. With no sink there is nothing to tell: `if outlet.sinks` comes before all of it.
    """

    __slots__ = ("_pending", "_telling", "lock", "sinks")

    def __init__(self, sinks: Iterable[_Handler] = ()) -> None:
        self.sinks = tuple(sinks)
        # Reentrant: a sink may write to the context that it listens to.
        self.lock = threading.RLock()
        self._pending: deque[Event] = deque()
        self._telling = False

    def tell(self, *events: Event) -> None:
        """Tell every sink of what happened.

        What a sink itself causes while it is told waits until all the others have been told, so that every
        sink meets events in one order.

        Args:
            *events: What took effect, in that order.

        Raises:
            SinkError: One sink or more raised. All of them have been told all the same.
        """
        self._pending.extend(events)
        if self._telling:
            return
        failures: list[tuple[_Handler, Event, Exception]] = []
        self._telling = True
        try:
            while self._pending:
                told = self._pending.popleft()
                failures += [(sink, told, error) for sink in self.sinks if (error := _hand(sink, told)) is not None]
        finally:
            self._telling = False
        if failures:
            named = tuple((type(sink).__name__, f"{type(error).__name__}: {error}") for sink, _, error in failures)
            causes = ExceptionGroup("sinks that failed", [error for _, _, error in failures])
            first = failures[0][1]
            raise SinkError(f"{type(first).__name__} {short(first[0])}", named) from causes


def _hand(sink: _Handler, event: Event) -> Exception | None:
    """Hand an event to a sink; return what it raised, since the other sinks come first."""
    try:
        sink.handle(event)
    except Exception as error:
        return error
    return None
