"""A sink that stores its events, for tests."""

from ..events import Event

__all__ = ["MemorySink"]


class MemorySink:
    """Stores every event in memory.

    Example:
        >>> sink = MemorySink()
        >>> ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
        >>> [event.key for event in sink.events]
        ['lr']
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        """The events, in the order in which they took effect."""
        self.closed: bool = False
        """Whether the sink was closed."""

    def handle(self, event: Event, /) -> None:
        """Store an event."""
        self.events.append(event)

    def settle(self, event: Event, /) -> None:
        """Store an event unless it is stored. The context calls this if Ctrl-C interrupted `handle`."""
        if type(self).handle is MemorySink.handle and (not self.events or self.events[-1] is not event):
            self.events.append(event)

    def close(self) -> None:
        """Set `closed`."""
        self.closed = True
