"""The delivery of events to sinks, which an exception may interrupt at any bytecode, and which is completed then."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from .._base.signal_handlers import reraise_from_handler
from .._base.text import short
from ..errors import SinkError
from ..events import Event


class Handler(Protocol):
    """A sink, as far as delivery needs it."""

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


Failure: TypeAlias = tuple[Handler, Event, Exception]
"""A sink, the event that it was given, and the exception that it raised."""


class _Call(NamedTuple):
    """A call of a sink."""

    sink: Handler
    event: Event
    """The event in messages."""
    method: str
    item: Event | Batch


class EventDelivery:
    """Delivers the events that wait to all sinks, in order, each to every sink once.

    Attributes:
        pending: The events that wait.
    """

    __slots__ = ("_begun", "_call", "_item", "_settled", "pending", "sinks")

    def __init__(self, sinks: Iterable[Handler]) -> None:
        """Deliver to sinks."""
        self.sinks: tuple[Handler, ...] = tuple(sinks)
        self.pending: deque[Event | Batch] = deque()
        # The progress of the delivery of `pending[0]`, if that is `_item`.
        self._item: Event | Batch | None = None
        self._begun = 0
        """The number of calls of sinks that have begun, unless the item is a batch."""
        self._call: tuple[int, _Call | None] = (0, None)
        """The last call for a batch and its number.

        The call itself, since a batch creates its events again each time.
        """
        self._settled = 0
        """The number of calls that had begun when the last interrupted call was settled."""

    def deliver_all(self, found: list[Failure]) -> list[Failure]:
        """Deliver the events that wait, add the failures of sinks to a list, and return it."""
        while self.pending:
            self.deliver(found)
        return found

    def take_over(self, event: Event, begun: int, settled: int) -> None:
        """Put an event first whose delivery was interrupted elsewhere.

        Args:
            event: The event, which is in no queue.
            begun: The number of sinks that were called with it.
            settled: `begun` if the last of them has failed, and is not called again; else 0.
        """
        self._begun, self._settled, self._call = begun, settled, (0, None)
        self._item = event
        self.pending.appendleft(event)

    def deliver_waiting(self, found: list[Failure]) -> None:
        """Deliver the events behind the one whose delivery is interrupted."""
        first = 1 if self.pending and self.pending[0] is self._item else 0
        waiting = [self.pending.pop() for _ in range(len(self.pending) - first)]
        for item in reversed(waiting):
            for call in self._calls(item):
                try:
                    getattr(call.sink, call.method)(call.item)
                except Exception as error:  # a sink may raise anything; the others still receive the event
                    reraise_from_handler(error)
                    found.append((call.sink, call.event, error))

    def deliver(self, found: list[Failure]) -> None:
        """Deliver the first event that waits, from the sink at which its delivery was interrupted."""
        if not self.pending:
            return  # a signal handler has delivered it since the caller looked; no handler runs between these lines
        item = self.pending[0]
        if item is self._item:
            self._deliver_rest(item, found)
        else:
            self._begun, self._settled, self._call = 0, 0, (0, None)
            self._item = item
            event: Any = item
            is_event = isinstance(item, tuple)
            if is_event:
                for sink in self.sinks:
                    self._begun += 1
                    try:
                        sink.handle(event)
                    except Exception as error:  # a sink may raise anything; the others still receive the event
                        reraise_from_handler(error)
                        found.append((sink, event, error))
            else:
                self._deliver_rest(item, found)
        self.pending.popleft()

    def _deliver_rest(self, item: Event | Batch, found: list[Failure]) -> None:
        begun, (number, last) = max(self._begun, self._call[0]), self._call
        calls = islice(enumerate(self._calls(item), 1), max(begun - 1, 0), None)
        if self._settled < begun:
            self._settled = begun
            _, again = next(calls)
            _settle(last if last is not None and number == begun else again, found)
        for number, call in calls:
            if number > begun:
                try:
                    handle = getattr(call.sink, call.method)
                    self._call = number, call
                    handle(call.item)
                except Exception as error:  # as above
                    reraise_from_handler(error)
                    found.append((call.sink, call.event, error))

    def _calls(self, item: Event | Batch) -> Iterator[_Call]:
        """Return the calls that deliver an item: the same for each call of this method."""
        whole: Any = item
        is_event = isinstance(item, tuple)
        if is_event:
            yield from (_Call(sink, whole, "handle", whole) for sink in self.sinks)
            return
        hooked = [(sink, _has_hook(sink)) for sink in self.sinks]
        single = [sink for sink, has_hook in hooked if not has_hook]
        for event in whole.events() if single else ():
            yield from (_Call(sink, event, "handle", event) for sink in single)
        yield from (_Call(sink, whole.last, "handle_batch", whole) for sink, has_hook in hooked if has_hook)


def _settle(call: _Call, found: list[Failure]) -> None:
    """Let a sink that was interrupted make sure that it has the item once. Sinks without this hook are not called."""
    try:
        settle = getattr(call.sink, call.method.replace("handle", "settle"), None)
        if settle is not None:
            settle(call.item)
    except Exception as error:  # as above
        reraise_from_handler(error)
        found.append((call.sink, call.event, error))


def _has_hook(sink: Handler) -> bool:
    try:
        return getattr(sink, "handle_batch", None) is not None
    except Exception:  # a property may raise: it raises again when the hook is called, and that is reported
        return True


def sink_error(found: Sequence[Failure]) -> SinkError:
    """Return the error of the first event that had failures, with the first failure of each other sink as a note."""
    by_event: dict[int, list[Failure]] = {}
    first_of: dict[int, int] = {}
    for failure in found:
        by_event.setdefault(id(failure[1]), []).append(failure)
        first_of.setdefault(id(failure[0]), id(failure[1]))
    first, *rest = (_error_of(by_event[event]) for event in dict.fromkeys(first_of.values()))
    for other in rest:
        first.add_note(str(other))
    return first


def _error_of(failures: Sequence[Failure]) -> SinkError:
    event = failures[0][1]
    named = tuple((type(sink).__name__, f"{type(error).__name__}: {error}") for sink, _, error in failures)
    error = SinkError(f"{type(event).__name__} {short(event[0])}", named)
    error.__cause__ = ExceptionGroup("sinks that failed", [error for _, _, error in failures])
    return error
