# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Delivery: brings what a sink takes in to a backend that may be slow, or down, while the run goes on."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from .undelivered import Undelivered

__all__ = ["Delivery", "told_of"]
_I = TypeVar("_I")
DELAY: float
"""Seconds that an item waits for others to go along with, at the most."""

FIRST_PAUSE: float
"""Seconds until a backend that has failed is tried again; each time it fails anew they double."""

LONGEST_PAUSE: float
"""Seconds between two trials, at the most."""

LAST_PAUSE: float
"""The same, once the sink is being closed and somebody waits."""

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

    name: str
    undelivered: Undelivered

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[_I]], int],
        kind: Callable[[_I], str],
        *,
        bound: int = 100000,
        batch: int = 1000,
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

    def put(self, item: _I) -> None:
        """Take an item in, if there is room; either way, at once.

        Raises:
            SinkClosedError: The delivery is closed, or belongs to another process.
        """

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was put in before is delivered, or noted as undelivered.

        Args:
            timeout: Seconds to wait, at the most; None: as long as it takes.

        Returns:
            Whether it is.
        """

    def close(self, *last: _I) -> None:
        """Deliver the rest, as long as the backend takes it in, and say what was not delivered. Again, it does nothing.

        Args:
            *last: What is to be delivered last, whether there is room or not.

        Warns:
            UndeliveredWarning: Not all was delivered.
        """

def told_of(error: Exception) -> str:
    """Return an exception as text on one line, without passwords in addresses, and not too long."""
