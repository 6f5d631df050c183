"""The lock on the spool of a run: whoever holds it is the writer of the run, for as long as its process lives."""

import fcntl
import os
from pathlib import Path

from ..errors import JournalError


def lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock a file until its descriptor is closed, which the death of the process does too; say if it was free."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
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
