"""Delivery: brings what a sink takes in to a backend that may be slow, or down, while the run goes on."""

import atexit
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, Generic, TypeVar

from .._base.text import MASK, legible
from ..errors import SinkClosedError
from .undelivered import Undelivered

__all__ = ["Delivery", "told_of"]

_I = TypeVar("_I")

DELAY: Final = 0.5
"""Seconds that an item waits for others to go along with, at the most."""
FIRST_PAUSE: Final = 0.5
"""Seconds until a backend that has failed is tried again; each time it fails anew they double."""
LONGEST_PAUSE: Final = 30.0
"""Seconds between two trials, at the most."""
LAST_PAUSE: Final = 1.0
"""The same, once the sink is being closed and somebody waits."""

_log = logging.getLogger("crystallize")


class Delivery(Generic[_I]):
    """A queue with a bound, and a thread that empties it into a backend.

    Whoever puts an item in never waits. What the backend does not take is tried again, later and later, in its order.
    What comes while the queue is full is not taken in; `close` says how much that was.

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

    Attributes:
        name: The sink's name, for what is said of it.
        undelivered: What the backend did not get, and will not.
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
            name: The sink's name, for what is said of it.
            send: Sends the first of some items, as many as go at once, and returns how many that were. What it raises
                stands for a backend that is down: the same items come again. What the backend will never take it
                notes in `undelivered`, and counts as sent.
            kind: Says what an item is, in one word, as "point".
            bound: How many items may wait, at the most.
            batch: How many items `send` is given, at the most.
            patience: Seconds that `close` waits, at the most, while the backend takes nothing in.
        """
        self.name = name
        self.undelivered = Undelivered(name)
        self._send, self._kind = send, kind
        self._bound, self._batch, self._patience = bound, batch, patience
        self._full = f"{bound:,} others were waiting already"
        self._queue: list[_I] = []
        self._done = 0
        """How many items have left the queue."""
        self._closed: str | None = None
        self._is_over = False
        """Whether nothing is sent any more."""
        self._failure: Exception | None = None
        """Why the backend is down; None while it is not."""
        self._wake = threading.Event()
        # Over the queue. The thread does not hold it while it sends.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._deliver, name=f"{name} delivery", daemon=True)
        _living.add(self)
        self._thread.start()

    def put(self, item: _I) -> None:
        """Take an item in, if there is room; either way, at once.

        Raises:
            SinkClosedError: The delivery is closed, or belongs to another process.
        """
        self._check_open()  # also before the lock, which in a forked process nobody gives back
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
        """Wait until all that was put in before is delivered, or noted as undelivered.

        Args:
            timeout: Seconds to wait, at the most; None: as long as it takes.

        Returns:
            Whether it is.
        """
        if self._is_over:  # as in `put`
            return not self._queue
        with self._changed:
            goal = self._done + len(self._queue)
            self._wake.set()
            self._changed.wait_for(lambda: self._done >= goal or self._is_over, timeout)
            return self._done >= goal

    def close(self, *last: _I) -> None:
        """Deliver the rest, as long as the backend takes it in, and say what was not delivered. Again, it does nothing.

        Args:
            *last: What is to be delivered last, whether there is room or not.

        Warns:
            UndeliveredWarning: Not all was delivered.
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
        why = (
            f"nothing was taken in for {self._patience:g} seconds" if self._failure is None else told_of(self._failure)
        )
        self.undelivered.warn({(kind, why): count for kind, count in Counter(map(self._kind, left)).items()})

    def _deliver(self) -> None:
        """Deliver until there is nothing left to do; what the thread runs."""
        pause = FIRST_PAUSE
        while self._closed is None or (self._queue and not self._is_over):
            self._wake.wait(DELAY)
            self._wake.clear()
            try:
                self._send_all()
            except Exception as error:  # whatever it is: the run goes on, and the items stay
                self._failed(error, pause)
                # While somebody waits for the end, they do not wait long.
                self._wake.wait(pause if self._closed is None else min(pause, LAST_PAUSE))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE

    def _send_all(self) -> None:
        """Send what is there by now. What comes meanwhile goes together with more."""
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
            _log.warning("%s: %s; it is tried again from %g seconds on", self.name, told_of(error), pause)
        self._failure = error


_PASSWORD = re.compile(r"://[^/\s@]*@")
"""Where one stands in an address."""


def told_of(error: Exception) -> str:
    """Return an exception as text on one line, without passwords in addresses, and not too long."""
    text = " ".join(legible(f"{type(error).__name__}: {error}").split())
    line = _PASSWORD.sub(f"://{MASK}@", text)
    return line if len(line) <= 300 else f"{line[:297]}..."


_living: set[Delivery[Any]] = set()


def _at_exit() -> None:
    """Close what nobody has closed, while its thread still runs."""
    with ExitStack() as stack:  # all of them, also where warnings are errors
        for delivery in list(_living):
            stack.callback(delivery.close)


def _after_fork() -> None:
    """In a forked process: its parent has the queue, and the thread."""
    for delivery in _living:
        delivery._closed = "it belongs to the process that opened it; a forked process has no part in it"
        delivery._is_over = True
    _living.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
