"""A sink that keeps what it is told, for tests."""

from ..events import Event

__all__ = ["MemorySink"]


class MemorySink:
    """Keeps every event in memory.

    Example:
        >>> sink = MemorySink()
        >>> ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
        >>> [event.key for event in sink.events]
        ['lr']

    Attributes:
        events: What happened, in the order in which it took effect.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False

    def handle(self, event: Event, /) -> None:
        """Keep an event."""
        self.events.append(event)

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True
