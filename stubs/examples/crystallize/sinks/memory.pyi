# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
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

    events: list[Event]
    closed: bool

    def __init__(self) -> None: ...
    def handle(self, event: Event, /) -> None:
        """Keep an event."""

    def close(self) -> None:
        """Note that it was closed."""
