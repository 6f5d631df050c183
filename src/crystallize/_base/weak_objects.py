"""Weak references whose callbacks run no Python code.

A signal handler can run at the beginning of every Python function. Python calls the callbacks of weak references in the
middle of other work, such as garbage collection, and ignores their exceptions. So an exception of the handler, such as
KeyboardInterrupt, would be lost in a callback that is written in Python, as those of the module `weakref` are.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar
from weakref import ref

_T = TypeVar("_T")


class WeakObjects(Generic[_T]):
    """Those of the objects added that are still alive."""

    __slots__ = ("_references",)

    def __init__(self) -> None:
        """Begin with none."""
        self._references: set[ref[_T]] = set()

    def add(self, found: _T) -> None:
        """Add an object."""
        self._references.add(ref(found, self._references.discard))

    def discard(self, found: _T) -> None:
        """Remove an object, if it is among them."""
        self._references.discard(ref(found))

    def clear(self) -> None:
        """Remove all objects."""
        self._references.clear()

    def __iter__(self) -> Iterator[_T]:
        """Return the objects that are alive now."""
        # A list of the references, since the set changes when one of the objects dies.
        return iter([found for reference in list(self._references) if (found := reference()) is not None])
