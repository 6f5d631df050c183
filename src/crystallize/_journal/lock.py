"""The lock on the spool of a run: whoever holds it is the writer of the run, for as long as its process lives."""

import os
from pathlib import Path

from .._base.file_lock import lock
from ..errors import JournalError


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
