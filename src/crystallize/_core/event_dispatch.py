"""Change a context and emit the events to its sinks, under the lock that covers each change and its event.

An exception such as KeyboardInterrupt can come between any two bytecodes, and a signal handler that runs there can
itself change the context. `EventDispatcher.commit` makes a change and its event inseparable all the same: if the change
took effect, every sink receives the event, and only then does the exception go on.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from .._base.locks import ReentrantLock, make_owned_lock, renewed_in_children
from .._base.signal_handlers import is_raised_by_handler, reraise_from_handler
from ..events import Event
from .copied_context import CopyWatch
from .event_delivery import Batch, EventDelivery, Failure, Handler, sink_error


class EventDispatcher:
    """Changes a context and emits the events to its sinks. Without sinks nothing is emitted: callers check `sinks`.

    A sink may cause an event while it handles another event, and so may a signal handler. The new event waits until all
    sinks have received the other event, so that every sink receives the events in the order of the changes.

    Attributes:
        lock: Covers each change and its event.
        pending: The events that wait.
        is_emitting: Whether new events have to wait, because other events are being emitted or postponed.
        is_postponed: Whether they are postponed.
    """

    __slots__ = ("__weakref__", "_delivery", "_depth_of", "is_emitting", "is_postponed", "lock", "pending", "sinks")

    lock: ReentrantLock
    pending: deque[Event | Batch]
    sinks: tuple[Handler, ...]

    def __init__(self, sinks: Iterable[Handler] = ()) -> None:
        self.lock = make_owned_lock()
        self._depth_of = self.lock.depth_reader()
        self.is_emitting: bool = False
        self.is_postponed: bool = False
        self.attach(sinks)
        renewed_in_children(self)

    def attach(self, sinks: Iterable[Handler]) -> None:
        """Emit to these sinks from now on."""
        self._delivery = EventDelivery(sinks)
        self.sinks = self._delivery.sinks
        self.pending = self._delivery.pending

    def renew(self) -> None:
        """Free the lock in a child process, and drop the events of a thread that does not exist there."""
        if self.lock.renew():
            self.pending.clear()
            self.is_emitting = False
            if not self.sinks:
                self.attach([CopyWatch(os.getppid())])

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
                    self._delivery.deliver(found)
                made = make()
                items = iter(made if is_nested else made[::-1])
                # If events wait now, a signal handler has changed the context since. From here to the effect there is
                # no call, so that no handler runs.
                is_ready = is_nested or not pending
            effect()
            add(items)
            if not is_nested:
                while pending:
                    self._delivery.deliver(found)
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

    def make_durable(self, event: Event) -> None:
        """Let each sink that has a method `make_durable` make its events durable; `event` is the last, for errors.

        It may wait for a disk. So the caller does not hold the lock, and other threads go on meanwhile.

        Raises:
            SinkError: At least one sink raised.
        """
        found: list[Failure] = []
        for sink in self.sinks:
            try:
                make_durable = getattr(sink, "make_durable", None)
                if make_durable is not None:
                    make_durable()
            except Exception as error:  # whatever a sink raises
                reraise_from_handler(error)
                found.append((sink, event, error))
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
        return self._delivery.deliver_all(found)

    def deliver_waiting(self) -> None:
        """Deliver the events that wait because a signal handler interrupted the delivery of another event.

        The interrupted event comes after them then, for the sinks that have not received it. If another thread is
        emitting, or events are postponed, this does nothing.

        Raises:
            SinkError: At least one sink raised. All sinks have still received the events.
        """
        found: list[Failure] = []
        if not self.is_postponed and self._depth_of() > 0:
            self._delivery.deliver_waiting(found)
        if found:
            raise sink_error(found)

    def complete(self, raised: BaseException, found: list[Failure]) -> None:
        """Complete the delivery that an exception has interrupted; note the failures of sinks on the exception."""
        try:
            while self.pending:
                try:
                    self._delivery.deliver(found)
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
                self._delivery.take_over(event, begun, begun if found else 0)
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
