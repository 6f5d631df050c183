"""A lock on a file, which is held for as long as the process lives that took it."""

import os
from importlib import import_module
from random import randrange
from typing import Any, Final

RANGE_START: Final = 1 << 30
"""Where the locked bytes of a file begin on Windows, which lets nobody else read them: far behind its content."""
RANGE_LENGTH: Final = 1 << 20
"""The number of bytes that a writer locks on Windows."""


def lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock a file until its descriptor is closed, which the death of the process does too; say if it was free."""
    try:
        # Here and not at the top, since Windows has none, and most processes lock no file.
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
