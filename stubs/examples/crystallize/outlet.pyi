# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The sinks of one context, and the one lock over effect and event."""

import threading
from collections.abc import Iterable
from typing import Protocol
from .events import Event

__all__ = ["Outlet"]

class _Handler(Protocol):
    def handle(self, event: Event, /) -> object: ...

class Outlet:
    """Where a context tells its sinks what took effect.

    Whoever changes the context holds `lock` over the change and over `tell`, so that the order of events is
    the order of effects. With no sink there is nothing to tell: `if outlet.sinks` comes before all of it.
    """

    sinks: tuple[_Handler, ...]
    lock: threading.RLock
    __slots__ = ("_pending", "_telling", "lock", "sinks")

    def __init__(self, sinks: Iterable[_Handler] = ()) -> None: ...
    def tell(self, event: Event, *more: Event) -> None:
        """Tell every sink of what happened.

        What a sink itself causes while it is told waits until all the others have been told, so that every
        sink meets events in one order.

        Args:
            event: What took effect.
            *more: What took effect after it, in that order.

        Raises:
            SinkError: One sink or more raised. All of them have been told all the same.
        """

    def tell_all(self, events: Iterable[Event]) -> None:
        """Tell every sink of many events, in order, also after one of them failed.

        Args:
            events: What took effect; made one by one, since there may be many.

        Raises:
            SinkError: One sink or more raised: the first time of all, with the first time of each other sink as a note.
        """
