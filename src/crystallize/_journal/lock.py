"""The lock on the spool of a run: whoever holds it is the writer of the run, for as long as its process lives."""

import os
from importlib import import_module
from pathlib import Path
from random import randrange
from typing import Any, Final

from ..errors import JournalError

RANGE_START: Final = 1 << 30
"""Where the locked bytes of a file begin on Windows, which lets nobody else read them: far behind its content."""
RANGE_LENGTH: Final = 1 << 20
"""The number of bytes that a writer locks on Windows."""


def lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock a file until its descriptor is closed, which the death of the process does too; say if it was free."""
    try:
        # Here and not at the top, since Windows has none, and only a writer and `is_locked` need it.
        import fcntl
    except ImportError:
        return _lock_range(descriptor, shared=shared)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_range(descriptor: int, *, shared: bool) -> bool:
    """Do the same on Windows, where a lock covers a range of bytes and no lock is shared.

    A writer locks the whole range. A reader locks one byte of it, chosen at random, so that readers at the same moment
    do not take each other for a writer.
    """
    # Not known to type checkers on other systems.
    msvcrt: Any = import_module("msvcrt")
    start, length = (RANGE_START + randrange(RANGE_LENGTH), 1) if shared else (RANGE_START, RANGE_LENGTH)
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        # The range begins at the position of the descriptor.
        os.lseek(descriptor, start, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, length)
    except PermissionError:
        return False
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)
    return True


def has_name(file: os.stat_result, path: Path) -> bool:
    """Return whether a file still is the file at a path."""
    try:
        return os.path.samestat(file, path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Return whether a spool has a living writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise JournalError(str(path), f"the spool of this run cannot be read ({error})") from error
    try:
        return not lock(descriptor, shared=True)
    finally:
        os.close(descriptor)
