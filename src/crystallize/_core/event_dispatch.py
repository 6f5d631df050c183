"""Change a context and emit the events to its sinks, under the lock that covers each change and its event.

An exception such as KeyboardInterrupt can come between any two bytecodes, and a signal handler that runs there can
itself change the context. `EventDispatcher.commit` makes a change and its event inseparable all the same: if the change
took effect, every sink receives the event, and only then does the exception go on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from .._base.locks import make_owned_lock, renewed_in_children
from .._base.signal_handlers import is_raised_by_handler
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


Failure: TypeAlias = tuple[_Handler, Event, Exception]
"""A sink, the event that it was given, and the exception that it raised."""


class _Call(NamedTuple):
    """A call of a sink."""

    sink: _Handler
    event: Event
    """The event in messages."""
    method: str
    item: Event | Batch


class EventDispatcher:
    """Changes a context and emits the events to its sinks. Without sinks nothing is emitted: callers check `sinks`.

    A sink may cause an event while it handles another event, and so may a signal handler. The new event waits until all
    sinks have received the other event, so that every sink receives the events in the order of the changes.

    Attributes:
        sinks: The sinks.
        lock: Covers each change and its event.
        pending: The events that wait.
        is_emitting: Whether new events have to wait, because other events are being emitted or postponed.
        is_postponed: Whether they are postponed.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_call",
        "_depth_of",
        "_item",
        "_settled",
        "is_emitting",
        "is_postponed",
        "lock",
        "pending",
        "sinks",
    )

    def __init__(self, sinks: Iterable[_Handler] = ()) -> None:
        self.sinks: tuple[_Handler, ...] = tuple(sinks)
        self.lock = make_owned_lock()
        self._depth_of = self.lock.depth_reader()
        self.pending: deque[Event | Batch] = deque()
        self.is_emitting = False
        self.is_postponed = False
        # The progress of the delivery of `pending[0]`, if that is `_item`.
        self._item: Event | Batch | None = None
        self._begun = 0
        """The number of calls of sinks that have begun, unless the item is a batch."""
        self._call: tuple[int, _Call | None] = (0, None)
        """The last call for a batch and its number. The call itself, since a batch makes its events anew each time."""
        self._settled = 0
        """The number of calls that had begun when the last interrupted call was settled."""
        renewed_in_children(self)

    def renew(self) -> None:
        """Free the lock in a child process, and drop the events of a thread that does not exist there."""
        if self.lock.renew():
            self.pending.clear()
            self.is_emitting = False

    def commit(
        self,
        effect: Callable[[], object],
        is_done: Callable[[], bool],
        make: Callable[[], Sequence[Event | Batch]],
        found: list[Failure] | None = None,
    ) -> None:
        """Make a change and emit its events: both or neither, whatever exception comes.

        Args:
            effect: Makes the change.
            is_done: Returns whether the change took effect.
            make: Returns the events. It is called before the change, again if a signal handler changed the context.
            found: Receives the failures of sinks in place of a SinkError.

        Raises:
            SinkError: At least one sink raised. All sinks have still received the events.
        """
        failures: list[Failure] = [] if found is None else found
        lock, depth = self.lock, self._depth_of()
        try:
            lock.acquire()
            self._commit(effect, is_done, make, failures)
            lock.release()
        except BaseException:
            lock.restore(depth)
            raise
        if failures and found is None:
            raise sink_error(failures)

    def _commit(
        self,
        effect: Callable[[], object],
        is_done: Callable[[], bool],
        make: Callable[[], Sequence[Event | Batch]],
        found: list[Failure],
    ) -> None:
        is_nested, is_ready, pending = self.is_emitting, False, self.pending
        items: Iterator[Event | Batch] = iter(())
        # An iterator returns each item once, so adding the items again adds only those that are not added yet.
        add = pending.extend if is_nested else pending.extendleft
        try:
            self.is_emitting = True
            while not is_ready:
                while pending and not is_nested:
                    self._deliver(found)
                made = make()
                items = iter(made if is_nested else made[::-1])
                # If events wait now, a signal handler has changed the context since. From here to the effect there is
                # no call, so that no handler runs.
                is_ready = is_nested or not pending
            effect()
            add(items)
            if not is_nested:
                while pending:
                    self._deliver(found)
                self.is_emitting = False
        except BaseException as raised:
            if is_ready and is_done():
                add(items)
            if not is_nested:
                self.complete(raised, found)
            raise

    def emit(self, *items: Event | Batch) -> None:
        """Emit events in order, after those that wait.

        Raises:
            SinkError: At least one sink raised. All sinks have still received the events.
        """
        self.commit(lambda: None, lambda: True, lambda: items)

    def deliver_waiting(self) -> None:
        """Deliver the events that wait because a signal handler interrupted the delivery of another event.

        The interrupted event comes after them then, for the sinks that have not received it. If another thread is
        emitting, or events are postponed, this does nothing.

        Raises:
            SinkError: At least one sink raised. All sinks have still received the events.
        """
        if self.is_postponed or not self.pending or self._depth_of() == 0:
            return
        found: list[Failure] = []
        first = 1 if self.pending[0] is self._item else 0
        waiting = [self.pending.pop() for _ in range(len(self.pending) - first)]
        for item in reversed(waiting):
            for call in self._calls(item):
                try:
                    getattr(call.sink, call.method)(call.item)
                except Exception as error:  # as above
                    if is_raised_by_handler(error):
                        raise
                    found.append((call.sink, call.event, error))
        if found:
            raise sink_error(found)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Let events wait that are emitted in a `with` block; if the block raises, drop them."""
        self.is_emitting = self.is_postponed = True
        try:
            yield
        except BaseException:
            self.pending.clear()
            raise
        finally:
            self.is_emitting = self.is_postponed = False

    def deliver_pending(self, found: list[Failure]) -> list[Failure]:
        """Deliver the events that wait, add the failures of sinks to a list, and return it.

        The caller holds the lock and has set `is_emitting`.
        """
        while self.pending:
            self._deliver(found)
        return found

    def complete(self, raised: BaseException, found: list[Failure]) -> None:
        """Complete the delivery that an exception has interrupted; note the failures of sinks on the exception."""
        try:
            while self.pending:
                try:
                    self._deliver(found)
                except BaseException as other:  # the first exception comes out
                    raised.add_note(f"Another exception came while it was handled: {type(other).__name__}")
        finally:
            self.is_emitting = False
        if found:
            raised.add_note(f"Besides: {sink_error(found)}")

    def complete_event(
        self, raised: BaseException, event: Event | None, begun: int, depth: int, is_own: bool
    ) -> BaseException:
        """Complete the delivery of an event by a fast recorder, which did not put it into `pending`; free the lock.

        Args:
            raised: The exception that interrupted the delivery.
            event: The event; None if it took no effect, or if its delivery is complete.
            begun: The number of sinks that were called with it.
            depth: How often the thread held the lock before.
            is_own: Whether the recorder has set `is_emitting`.

        Returns:
            The exception to raise: a SinkError if the sink that was called last has failed.
        """
        found: list[Failure] = []
        try:
            if not is_own:
                return raised
            if event is not None:
                if isinstance(raised, Exception) and begun > 0 and not is_raised_by_handler(raised):
                    found.append((self.sinks[begun - 1], event, raised))
                self._begun, self._settled, self._call = begun, begun if found else 0, (0, None)
                self._item = event
                self.pending.appendleft(event)
            if not found:
                self.complete(raised, found)
                return raised
            self.deliver_pending(found)
            self.is_emitting = False
            return sink_error(found)
        except BaseException as other:
            self.complete(other, found)
            return other
        finally:
            self.lock.restore(depth)

    def _deliver(self, found: list[Failure]) -> None:
        """Deliver the first event that waits, from the sink at which its delivery was interrupted."""
        item = self.pending[0]
        if item is self._item:
            self._deliver_rest(item, found)
        else:
            self._begun, self._settled, self._call = 0, 0, (0, None)
            self._item = item
            if isinstance(item, tuple):
                for sink in self.sinks:
                    self._begun += 1
                    try:
                        sink.handle(item)
                    except Exception as error:  # a sink may raise anything; the others still receive the event
                        if is_raised_by_handler(error):
                            raise
                        found.append((sink, item, error))
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
                    if is_raised_by_handler(error):
                        raise
                    found.append((call.sink, call.event, error))

    def _calls(self, item: Event | Batch) -> Iterator[_Call]:
        """Return the calls that deliver an item: the same for each call of this method."""
        if isinstance(item, tuple):
            yield from (_Call(sink, item, "handle", item) for sink in self.sinks)
            return
        hooked = [(sink, _has_hook(sink)) for sink in self.sinks]
        single = [sink for sink, has_hook in hooked if not has_hook]
        for event in item.events() if single else ():
            yield from (_Call(sink, event, "handle", event) for sink in single)
        yield from (_Call(sink, item.last, "handle_batch", item) for sink, has_hook in hooked if has_hook)


def _settle(call: _Call, found: list[Failure]) -> None:
    """Let a sink that was interrupted make sure that it has the item once. Sinks without this hook are not called."""
    try:
        settle = getattr(call.sink, call.method.replace("handle", "settle"), None)
        if settle is not None:
            settle(call.item)
    except Exception as error:  # as above
        if is_raised_by_handler(error):
            raise
        found.append((call.sink, call.event, error))


def _has_hook(sink: _Handler) -> bool:
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
