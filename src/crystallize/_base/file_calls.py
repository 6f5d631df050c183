"""Calls on open files that Windows has in another form."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

POSIX: Final[bool] = hasattr(os, "pwrite")
"""Whether a file can be read and written at any position, and renamed and deleted while it is open: not on Windows."""


def write_at(descriptor: int, data: bytes | memoryview, at: int) -> int:
    """Write bytes at a position, and return how many were written. On Windows no other thread may use the file."""
    if POSIX:
        return os.pwrite(descriptor, data, at)
    os.lseek(descriptor, at, os.SEEK_SET)
    return os.write(descriptor, data)


def read_at(descriptor: int, size: int, at: int) -> bytes:
    """Read bytes at a position. On Windows no other thread may use the file."""
    if POSIX:
        return os.pread(descriptor, size, at)
    os.lseek(descriptor, at, os.SEEK_SET)
    return os.read(descriptor, size)


def delete_and_close(descriptor: int, path: Path) -> None:
    """Delete a file that is locked, and give the lock back.

    On Windows the file is closed first. If another process opens it at once, it stays.
    """
    try:
        if POSIX:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    if not POSIX:
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
