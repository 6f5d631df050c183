"""Deliver the items of a sink to a backend that may be slow or down, without holding up the run."""

import atexit
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, Generic, TypeVar

from .._base.forked_process import call_in_forked_processes
from .._base.locks import make_lock
from .._base.text import error_line
from ..errors import SinkClosedError
from .undelivered import Undelivered

__all__ = ["Delivery"]

_I = TypeVar("_I")

DELAY: Final = 0.5
"""The maximum seconds that an item waits for others to be sent with it."""
FIRST_PAUSE: Final = 0.5
"""Seconds until a failed backend is tried again. They double with each further failure."""
LONGEST_PAUSE: Final = 30.0
"""The maximum seconds between two attempts."""
LAST_PAUSE: Final = 1.0
"""The same while `close` waits."""

_log = logging.getLogger("crystallize")


class Delivery(Generic[_I]):
    """A bounded queue, and a thread that sends its items to a backend.

    `put` never waits. Items that cannot be sent are retried in order, with growing pauses. Items that arrive while the
    queue is full are dropped and counted; `close` reports them.

    Example:
        >>> sent = []
        >>> def send(items):
        ...     sent.extend(items)
        ...     return len(items)
        >>> delivery = Delivery("Sent", send, lambda item: "number")
        >>> delivery.put(1)
        >>> delivery.close()
        >>> sent
        [1]
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[_I]], int],
        kind: Callable[[_I], str],
        *,
        bound: int = 100_000,
        batch: int = 1_000,
        patience: float = 30.0,
    ) -> None:
        """Start the thread.

        Args:
            name: The sink's name, for log messages and warnings.
            send: Sends the first of the given items, as many as fit into one request, and returns their number. If it
                raises, the backend counts as down, and `send` is called with the same items later. Items that the
                backend will never accept are noted in `undelivered` and count as sent.
            kind: Returns a noun for an item, such as "point".
            bound: The maximum number of items in the queue.
            batch: The maximum number of items that `send` is called with.
            patience: The maximum seconds that `close` waits while no item is sent.
        """
        self.name = name
        self.undelivered: Undelivered = Undelivered(name)
        """The items that the backend will never get."""
        self._send, self._kind = send, kind
        self._bound, self._batch, self._patience = bound, batch, patience
        self._full = f"{bound:,} others were waiting already"
        self._queue: list[_I] = []
        self._done = 0
        """The number of items that have left the queue."""
        self._closed: str | None = None
        """Why no item is accepted any more; None while items are accepted."""
        self._is_over = False
        """Whether no item is sent any more."""
        self._failure: Exception | None = None
        """Why the backend is down; None while it is up."""
        self._wake = threading.Event()
        # Guards the queue. The thread does not hold it while it sends.
        self._lock = make_lock()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._deliver, name=f"{name} delivery", daemon=True)
        _living.add(self)
        self._thread.start()

    def put(self, item: _I) -> None:
        """Add an item to the queue, or drop and count it if the queue is full.

        Raises:
            SinkClosedError: The delivery is closed, or belongs to another process.
        """
        self._check_open()  # before the lock too, which a forked process may have inherited locked
        with self._lock:
            self._check_open()
            count = len(self._queue)
            if count < self._bound:
                self._queue.append(item)
        if count >= self._bound:
            self.undelivered.note(self._kind(item), self._full)
        elif count + 1 == self._batch:
            self._wake.set()

    def _check_open(self) -> None:
        if self._closed is not None:
            raise SinkClosedError(self.name, self._closed)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all items so far are delivered, or noted as undelivered. Return False if the timeout ends first.

        Args:
            timeout: The maximum seconds to wait; None waits as long as it takes.
        """
        if self._is_over:  # as in `put`
            return not self._queue
        with self._changed:
            goal = self._done + len(self._queue)
            self._wake.set()
            self._changed.wait_for(lambda: self._done >= goal or self._is_over, timeout)
            return self._done >= goal

    def close(self, *last: _I) -> None:
        """Deliver the remaining items while the backend accepts them. Closing again does nothing.

        Args:
            *last: Items to be delivered last, even if the queue is full.

        Warns:
            UndeliveredWarning: Not all items were delivered.
        """
        if self._closed is not None:
            return
        with self._lock:
            self._closed = "it is closed"
            self._queue += last
        before = -1
        try:
            while self._queue and self._done > before:
                before = self._done
                self.flush(self._patience)
        finally:  # also after Ctrl-C
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            left = self._queue
            self._queue = []
        _living.discard(self)
        self._wake.set()
        failure = self._failure
        why = f"nothing was taken in for {self._patience:g} seconds" if failure is None else error_line(failure)
        self.undelivered.warn({(kind, why): count for kind, count in Counter(map(self._kind, left)).items()})

    def _deliver(self) -> None:
        """Deliver until the delivery is closed and its queue is empty. The thread runs this."""
        pause = FIRST_PAUSE
        while self._closed is None or (self._queue and not self._is_over):
            self._wake.wait(DELAY)
            self._wake.clear()
            try:
                self._send_all()
            except Exception as error:  # of any kind: the run goes on, and the items stay in the queue
                self._failed(error, pause)
                # While `close` waits, the pauses are short.
                self._wake.wait(pause if self._closed is None else min(pause, LAST_PAUSE))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE

    def _send_all(self) -> None:
        """Send the items that are in the queue now. Later ones wait, so that they are sent together."""
        goal = self._done + len(self._queue)
        while self._done < goal and not self._is_over:
            count = self._send(self._queue[: self._batch])
            if self._failure is not None:
                self._failure = None
                _log.warning("%s delivers again", self.name)
            with self._changed:
                del self._queue[:count]
                self._done += count
                self._changed.notify_all()

    def _failed(self, error: Exception, pause: float) -> None:
        if self._failure is None:
            _log.warning("%s: %s; it is tried again from %g seconds on", self.name, error_line(error), pause)
        self._failure = error


_living: set[Delivery[Any]] = set()


def _at_exit() -> None:
    """Close the open deliveries while their threads still run."""
    with ExitStack() as stack:  # closes all of them, even if warnings are errors
        for delivery in list(_living):
            stack.callback(delivery.close)


def _after_fork() -> None:
    """End all deliveries in a forked process, since the queue and the thread are its parent's."""
    for delivery in _living:
        delivery._closed = "it belongs to the process that opened it; a forked process has no part in it"
        delivery._is_over = True
    _living.clear()


atexit.register(_at_exit)
call_in_forked_processes(_after_fork)
