"""The sinks of one context, and the one lock over effect and event."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from .._base.text import short
from ..errors import SinkError
from ..events import Event

__all__ = ["EventDispatcher"]


class _Handler(Protocol):
    def handle(self, event: Event, /) -> object: ...


class EventDispatcher:
    """Where a context tells its sinks what took effect.

    Whoever changes the context holds `lock` over the change and over `tell`, so that the order of events is
    the order of effects. With no sink there is nothing to tell: `if dispatcher.sinks` comes before all of it.
    """

    __slots__ = ("_pending", "_telling", "lock", "sinks")

    def __init__(self, sinks: Iterable[_Handler] = ()) -> None:
        self.sinks: tuple[_Handler, ...] = tuple(sinks)
        # Reentrant: a sink may write to the context that it listens to.
        self.lock = threading.RLock()
        self._pending: deque[Event] = deque()
        self._telling = False

    def emit(self, event: Event, *more: Event) -> None:
        """Tell every sink of what happened.

        What a sink itself causes while it is told waits until all the others have been told, so that every
        sink meets events in one order.

        Args:
            event: What took effect.
            *more: What took effect after it, in that order.

        Raises:
            SinkError: One sink or more raised. All of them have been told all the same.
        """
        pending, sinks = self._pending, self.sinks
        if self._telling:
            pending += (event, *more)
            return
        if pending:  # left from when what no sink may catch came through, as Ctrl-C
            pending += (event, *more)
            event = pending.popleft()
        elif more:
            pending += more
        failures: tuple[tuple[_Handler, Event, Exception], ...] = ()
        self._telling = True
        try:
            while True:
                for sink in sinks:
                    try:
                        sink.handle(event)
                    except Exception as error:  # whatever one sink raises, the others are told first
                        failures += ((sink, event, error),)
                if not pending:
                    break
                event = pending.popleft()
        finally:
            self._telling = False
        if failures:
            raise _failed(failures)

    def emit_all(self, events: Iterable[Event]) -> None:
        """Tell every sink of many events, in order, also after one of them failed.

        Args:
            events: What took effect; made one by one, since there may be many.

        Raises:
            SinkError: One sink or more raised: the first time of all, with the first time of each other sink as a note.
        """
        failed: dict[str, SinkError] = {}
        for event in events:
            try:
                self.emit(event)
            except SinkError as error:
                for name, _ in error.failures:
                    failed.setdefault(name, error)
        first, *others = dict.fromkeys(failed.values()) or (None,)
        if first is not None:
            for other in others:
                first.add_note(str(other))
            raise first


def _failed(failures: tuple[tuple[_Handler, Event, Exception], ...]) -> SinkError:
    first = failures[0][1]
    named = tuple((type(sink).__name__, f"{type(error).__name__}: {error}") for sink, _, error in failures)
    error = SinkError(f"{type(first).__name__} {short(first[0])}", named)
    error.__cause__ = ExceptionGroup("sinks that failed", [error for _, _, error in failures])
    return error
