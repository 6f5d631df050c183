"""Reentrant locks: an exception never leaves one held, and a child process has them free.

Signal handlers run in the main thread, also while it holds a lock, and may use the context. So every lock is reentrant.
A handler may raise, such as KeyboardInterrupt. From Python 3.14 on, it may raise after `__enter__` of `with lock:` has
returned and before the block begins; then nothing would release the lock.
"""

import sys
from _thread import RLock
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from weakref import ref

from .forked_process import call_in_forked_processes

_R = TypeVar("_R")
_T = TypeVar("_T", bound="Renewable")

_COUNT = "_recursion_count" if hasattr(RLock, "_recursion_count") else "_is_owned"
"""The method that returns how often the current thread holds a lock; Python 3.11.0 only knows whether it does."""
_depth: Callable[[Any], int] = getattr(RLock, _COUNT)
_renew: Callable[[Any], object] = getattr(RLock, "_at_fork_reinit")  # noqa: B009 - type checkers do not know it


class Renewable(Protocol):
    """An object with a lock that another thread may hold when the process forks."""

    def renew(self) -> object:
        """Free the lock in a child process, unless the forking thread itself holds it."""


_renewed: dict[ref[Any], None] = {}
"""Not a `WeakSet`: its callbacks are written in Python, as `dict.pop` is not, and Python ignores Ctrl-C that comes in
one."""


def renewed_in_children(found: _T) -> _T:
    """Return the argument, whose `renew` is called in each child process that is forked."""
    _renewed[ref(found, _renewed.pop)] = None
    return found


class ReentrantLock(RLock):  # type: ignore[misc]  # ty: ignore[subclass-of-final-class]  # not final: Python's own test suite derives from it
    """A lock that one thread can acquire several times."""

    __slots__ = ()

    def run(self, work: Callable[[], _R]) -> _R:
        """Return the result of a function that runs while the lock is held.

        Unlike a `with` block, this releases the lock even if an exception comes between two bytecodes.
        """
        before = _depth(self)
        try:
            self.acquire()
            result = work()
            self.release()
        except BaseException:
            self.restore(before)
            raise
        return result

    def depth_reader(self) -> Callable[[], int]:
        """Return a fast function that returns how often the current thread holds the lock."""
        read: Callable[[], int] = getattr(self, _COUNT)
        return read

    def depth(self) -> int:
        """Return how often the current thread holds the lock."""
        return _depth(self)

    def restore(self, depth: int) -> None:
        """Release the lock until the current thread holds it as often as before."""
        while _depth(self) > depth:
            self.release()

    def renew(self) -> bool:
        """See `Renewable`. Return whether the lock was renewed."""
        if _depth(self):
            return False
        _renew(self)
        return True


class EnteredLock(ReentrantLock):  # type: ignore[misc]  # as above
    """A lock that is safe in `with` blocks on every version of Python.

    No signal handler runs between the return from a method that is written in Python and the beginning of the block.
    `__exit__` is not written in Python: a handler could raise before its first line.
    """

    __slots__ = ()

    def __enter__(self) -> bool:  # type: ignore[override]  # ty: ignore[incompatible-method-override]  # a `with` statement passes no arguments
        """Acquire the lock."""
        before = _depth(self)
        try:
            return self.acquire()
        except BaseException:
            self.restore(before)
            raise


_Lock = EnteredLock if sys.version_info >= (3, 14) else ReentrantLock


def make_lock() -> ReentrantLock:
    """Return a lock."""
    return renewed_in_children(_Lock())


def make_owned_lock() -> ReentrantLock:
    """Return a lock whose owner renews it in child processes."""
    return _Lock()


def renew_all() -> None:
    """Renew everything in a child process."""
    for found in [reference() for reference in list(_renewed)]:
        if found is not None:
            found.renew()


call_in_forked_processes(renew_all)
