"""Emit the events of a context to its sinks, under the lock that covers each change and its event."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeAlias, runtime_checkable

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
            self.emit_pending()
        else:
            # The same as `_deliver`, without a call, which would be 3 % of a point with a sink.
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
            if self._pending:
                failures += tuple(chain.from_iterable(self._deliver_pending()))
            if failures:
                raise _sink_error(failures)

    def emit_pending(self) -> None:
        """Emit the events that wait, unless events are being emitted or postponed.

        Raises:
            SinkError: At least one sink raised. All sinks have still received the events.
        """
        failures = () if self._is_emitting else tuple(chain.from_iterable(self._deliver_pending()))
        if failures:
            raise _sink_error(failures)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Let events wait that are emitted in a `with` block; if the block raises, drop them."""
        self._is_emitting = True
        try:
            yield
        except BaseException:
            self._pending.clear()
            raise
        finally:
            self._is_emitting = False

    def _deliver(self, event: Event) -> _Failures:
        self._is_emitting = True
        try:
            return self._offer(event, self.sinks)
        finally:
            self._is_emitting = False

    @staticmethod
    def _offer(event: Event, sinks: Iterable[_Handler]) -> _Failures:
        """Let sinks handle an event; return their failures."""
        return tuple(_failures_of((sink, event, partial(sink.handle, event)) for sink in sinks))

    def _deliver_pending(self) -> list[_Failures]:
        """Deliver what waits; return the failures of each event that had failures."""
        found: list[_Failures] = []
        while self._pending:
            item = self._pending.popleft()
            found += self._deliver_batch(item) if isinstance(item, Batch) else [self._deliver(item)]
        return [failures for failures in found if failures]

    def emit_all(self, events: Iterable[Event]) -> None:
        """Emit many events in order, even if a sink fails. They may be made lazily.

        Raises:
            SinkError: The first failure, with the first failure of each other sink as a note.
        """
        found: list[_Failures] = []
        for event in events:
            self._pending.append(event)
            if not self._is_emitting:
                found += self._deliver_pending()
        _raise_first(found)

    def emit_batch(self, batch: Batch) -> None:
        """Emit events that took effect together. A sink that fails still receives the rest of them.

        Raises:
            SinkError: The first failure, with the first failure of each other sink as a note.
        """
        if self._is_emitting:
            self._pending.append(batch)
            return
        _raise_first([*self._deliver_batch(batch), *self._deliver_pending()])

    def _deliver_batch(self, batch: Batch) -> list[_Failures]:
        """Deliver a batch; return the failures of each event that had failures."""
        hooked = [(sink, _has_hook(sink)) for sink in self.sinks]
        single = [sink for sink, has_hook in hooked if not has_hook]
        whole = [(sink, batch.last, partial(_handle_batch, sink, batch)) for sink, has_hook in hooked if has_hook]
        found: list[_Failures] = []
        self._is_emitting = True
        try:
            for event in batch.events() if single else ():
                found.append(self._offer(event, single))
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


def _has_hook(sink: _Handler) -> bool:
    try:
        return getattr(sink, "handle_batch", None) is not None
    except Exception:  # a property may raise: it raises again when the hook is called, and that is reported
        return True


def _handle_batch(sink: Any, batch: Batch) -> None:
    sink.handle_batch(batch)


def _raise_first(found: list[_Failures]) -> None:
    """Raise the first failure, with the first failure of each other sink as a note."""
    first_of: dict[int, _Failures] = {}
    for failures in found:
        for sink, _, _ in failures:
            first_of.setdefault(id(sink), failures)
    errors = [_sink_error(failures) for failures in {id(failures): failures for failures in first_of.values()}.values()]
    if errors:
        for other in errors[1:]:
            errors[0].add_note(str(other))
        raise errors[0]


def _sink_error(failures: _Failures) -> SinkError:
    first = failures[0][1]
    named = tuple((type(sink).__name__, f"{type(error).__name__}: {error}") for sink, _, error in failures)
    error = SinkError(f"{type(first).__name__} {short(first[0])}", named)
    error.__cause__ = ExceptionGroup("sinks that failed", [error for _, _, error in failures])
    return error
