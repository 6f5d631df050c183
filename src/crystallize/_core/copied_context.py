"""Warn of work on a copy of a context in a child process, which no other process gets.

A context that was pickled into a child process gets a handler of events that warns, and so does a context without sinks
that a child process inherits. Then everything emits events, as with sinks. Only handles that the child inherits still
write immutable values and record points the fast way, which emits nothing.
"""

import os
import sys
import warnings
from typing import Any, Final

from .._base.caller_namespace import levels_to_caller
from ..errors import CopiedContextWarning
from ..events import ArtifactAdded, Event, KeyWritten, MetricRecorded, StepFinished, StepStarted

_KINDS: Final[dict[type, str]] = {
    KeyWritten: "key",
    MetricRecorded: "metric",
    ArtifactAdded: "artifact",
    StepStarted: "step",
    StepFinished: "step",
}
"""Not the events that lead to work elsewhere: it may be returned to the other process."""


class CopyWatch:
    """A handler of events that warns once, if this process was started by another one, which has the context."""

    __slots__ = ("_is_told", "_owner")

    def __init__(self, owner: int) -> None:
        """Take the process that has the context."""
        self._owner = owner
        self._is_told = False

    def handle(self, event: Event, /) -> None:
        """Warn if this process was started by the owner of the context."""
        kind = _KINDS.get(type(event))
        if self._is_told or kind is None or not _is_child_of(self._owner):
            return
        self._is_told = True
        warnings.warn(CopiedContextWarning(f"{kind} {event[0]!r}", self._owner), stacklevel=levels_to_caller())


def watches_copy_of(process: int) -> list[CopyWatch]:
    """Return the handlers for a context that a process has pickled and that this one restores."""
    module: Any = sys.modules.get("multiprocessing.process")
    if module is None or process == os.getpid():
        return []
    # `multiprocessing` says who the parent is once it has restored the arguments of a child's task.
    is_starting = getattr(module.current_process(), "_inheriting", False)
    return [CopyWatch(process)] if is_starting or _is_child_of(process) else []


def _is_child_of(process: int) -> bool:
    """Return whether `multiprocessing` has started this process in another one."""
    module: Any = sys.modules.get("multiprocessing.process")
    parent = None if module is None else module.parent_process()
    return parent is not None and parent.pid == process
