"""A guard for the database of a running run: no other program deletes its write-ahead log.

SQLite's own locks are POSIX locks, and a process loses its locks on a file as soon as it closes any descriptor of the
file. That happens, for example, when the program copies or hashes its own run. The next program that opens the run and
closes it then takes itself for the last user of the database, and deletes the write-ahead log below the running run.
The locks of the guard are of the same bytes. They belong to an open file description, so that only the guard gives them
back.
"""

import os
import struct
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

_fcntl: Any = import_module("fcntl") if find_spec("fcntl") is not None else None
"""Windows has none: its locks are of a handle."""
_HAS_LOCKS = hasattr(_fcntl, "F_OFD_SETLK")  # on Linux

_SHARED_BYTES: Final = 0x40000002, 510
"""The bytes of a database that every user of it has a shared lock on. An exclusive lock on them is needed to delete the
write-ahead log. See "Database File Locking" in SQLite's os.h."""
_DEAD_MAN: Final = 128, 1
"""The byte of the shared-memory file that every user of it has a shared lock on. If nobody has, the next user truncates
the file. See UNIX_SHM_DMS in SQLite's os_unix.c."""


class DatabaseGuard:
    """Shared locks on a database that has a write-ahead log, and the check that the log exists."""

    def __init__(self, path: Path) -> None:
        """Take the locks, where the system has such locks."""
        self._descriptors: list[int] = []
        self.log: Path = path.with_name(f"{path.name}-wal")
        self._status = self.log.stat()
        if _HAS_LOCKS:
            for file, (start, length) in ((path, _SHARED_BYTES), (path.with_name(f"{path.name}-shm"), _DEAD_MAN)):
                descriptor = os.open(file, os.O_RDONLY)
                self._descriptors.append(descriptor)
                _fcntl.fcntl(descriptor, _fcntl.F_OFD_SETLK, _lock(_fcntl.F_RDLCK, start, length))

    def loss(self) -> str | None:
        """Return the problem of the write-ahead log; None if there is none."""
        try:
            status = self.log.stat()
        except FileNotFoundError:
            return "moved or deleted"
        if not os.path.samestat(self._status, status):
            return "moved or deleted"
        # SQLite writes it from the beginning again, and never makes it shorter while it is open.
        before, self._status = self._status, status
        return "truncated" if status.st_size < before.st_size else None

    def release(self) -> None:
        """Give the locks back. Releasing again does nothing."""
        while self._descriptors:
            descriptor = self._descriptors.pop()
            # A forked process may have a copy of the descriptor, which would keep the locks.
            _fcntl.fcntl(descriptor, _fcntl.F_OFD_SETLK, _lock(_fcntl.F_UNLCK, 0, 0))
            os.close(descriptor)

    def let_go(self) -> None:
        """Close the descriptors in a forked process, without giving back the locks, which belong to its parent."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _lock(kind: int, start: int, length: int) -> bytes:
    """Return a `struct flock`."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
