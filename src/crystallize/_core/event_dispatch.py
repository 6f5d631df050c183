"""Emit the events of a context to its sinks, under the lock that covers each change and its event."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Protocol, TypeAlias, runtime_checkable

from .._base.text import short
from ..errors import SinkError
from ..events import Event


class _Handler(Protocol):
    def handle(self, event: Event, /) -> object: ...


@runtime_checkable
class Batch(Protocol):
    """Work that was done elsewhere and took effect as a whole.

    A sink with a method `handle_batch` receives the batch itself; all other sinks receive its events one by one.
    """

    @property
    def last(self) -> Event:
        """The last event."""
        ...

    def events(self) -> Iterator[Event]:
        """Return the events in order. They are made lazily, since there may be many."""
        ...


_Failure: TypeAlias = tuple[_Handler, Event, Exception]
_Failures: TypeAlias = tuple[_Failure, ...]


class EventDispatcher:
    """Emits the events of a context to its sinks.

    A caller that changes the context holds `lock` over the change and over `emit`, so that events have the order of the
    changes. Without sinks nothing is emitted: callers check `dispatcher.sinks` first.

    A sink may cause an event while it handles another event. The new event waits until all sinks have received the
    other event, so that every sink receives the events in the same order.
    """

    __slots__ = ("_is_emitting", "_pending", "lock", "sinks")

    def __init__(self, sinks: Iterable[_Handler] = ()) -> None:
        self.sinks: tuple[_Handler, ...] = tuple(sinks)
        # Reentrant: a sink may write to the context that it listens to.
        self.lock = threading.RLock()
        self._pending: deque[Event | Batch] = deque()
        self._is_emitting = False

    def emit(self, event: Event, *more: Event) -> None:
        """Emit events in order.

        Raises:
            SinkError: At least one sink raised. All sinks have still received the events.
        """
        if self._is_emitting or self._pending or more:
            # An exception that is not caught here, such as KeyboardInterrupt, may have left events pending. They come
            # first.
            self._pending += (event, *more)
            failures = () if self._is_emitting else self._deliver_pending()
        else:
            failures = self._deliver(event)
            if self._pending:
                failures += self._deliver_pending()
        if failures:
            raise _sink_error(failures)

    def _deliver(self, event: Event) -> _Failures:
        failures: _Failures = ()
        self._is_emitting = True
        try:
            for sink in self.sinks:
                try:
                    sink.handle(event)
                except Exception as error:  # a sink may raise anything; the others still receive the event
                    failures += ((sink, event, error),)
        finally:
            self._is_emitting = False
        return failures

    def _deliver_pending(self) -> _Failures:
        failures: _Failures = ()
        while self._pending:
            item = self._pending.popleft()
            if isinstance(item, Batch):
                failures += tuple(chain.from_iterable(self._deliver_batch(item)))
            else:
                failures += self._deliver(item)
        return failures

    def emit_all(self, events: Iterable[Event]) -> None:
        """Emit many events in order, even if a sink fails. They may be made lazily.

        Raises:
            SinkError: The first failure, with the first failure of each other sink as a note.
        """
        errors = []
        for event in events:
            try:
                self.emit(event)
            except SinkError as error:
                errors.append(error)
        _raise_first(errors)

    def emit_batch(self, batch: Batch) -> None:
        """Emit events that took effect together. A sink that fails still receives the rest of them.

        Raises:
            SinkError: The first failure, with the first failure of each other sink as a note.
        """
        if self._is_emitting:
            self._pending.append(batch)
            return
        errors = [_sink_error(failures) for failures in self._deliver_batch(batch)]
        if failures := self._deliver_pending():
            errors.append(_sink_error(failures))
        _raise_first(errors)

    def _deliver_batch(self, batch: Batch) -> list[_Failures]:
        """Deliver a batch; return the failures of each event that had failures."""
        hooks = [(sink, getattr(sink, "handle_batch", None)) for sink in self.sinks]
        single = [sink for sink, hook in hooks if hook is None]
        whole = [(sink, batch.last, partial(hook, batch)) for sink, hook in hooks if hook is not None]
        found: list[_Failures] = []
        self._is_emitting = True
        try:
            for event in batch.events() if single else ():
                found.append(tuple(_failures_of((sink, event, partial(sink.handle, event)) for sink in single)))
            found += ((failure,) for failure in _failures_of(whole))
        finally:
            self._is_emitting = False
        return [failures for failures in found if failures]


def _failures_of(calls: Iterable[tuple[_Handler, Event, Callable[[], object]]]) -> Iterator[_Failure]:
    for sink, event, call in calls:
        try:
            call()
        except Exception as error:  # as above
            yield sink, event, error


def _raise_first(errors: list[SinkError]) -> None:
    """Raise the first error, with the first error of each other sink as a note."""
    first_of: dict[str, SinkError] = {}
    for error in errors:
        for name, _ in error.failures:
            first_of.setdefault(name, error)
    first, *others = dict.fromkeys(first_of.values()) or (None,)
    if first is not None:
        for other in others:
            first.add_note(str(other))
        raise first


def _sink_error(failures: _Failures) -> SinkError:
    first = failures[0][1]
    named = tuple((type(sink).__name__, f"{type(error).__name__}: {error}") for sink, _, error in failures)
    error = SinkError(f"{type(first).__name__} {short(first[0])}", named)
    error.__cause__ = ExceptionGroup("sinks that failed", [error for _, _, error in failures])
    return error
