"""Open the database of a run with SQLite, also in a folder where its write-ahead log cannot be used.

All users of a database with such a log change a file that they map into memory. On a network file system, files cannot
be mapped, or other machines do not see the changes. A run that was killed on a local disk still has its log when it is
moved there.
"""

import os
import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

from .._base.file_system import has_safe_log, is_network
from ..errors import JournalError
from .untrusted_file import RunConnection, secure

_TRIES: Final = 10
"""How often the files are copied until they do not change meanwhile."""


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a database for reading alone."""
    log = _beside(path, "-wal")
    if log.exists() and is_network(path):
        return _open_copy(path)
    connection = _open(path, "mode=ro")
    try:
        connection.execute("PRAGMA application_id")
    except sqlite3.DatabaseError as error:
        connection.close()
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith("SQLITE_IOERR_SHM"):
            return _open_copy(path)
        if code in ("SQLITE_READONLY_DIRECTORY", "SQLITE_CANTOPEN") and not log.exists():
            # Where nobody can write there is no write-ahead log, and the file is complete without one.
            return _open(path, "mode=ro&immutable=1")
        if code.startswith("SQLITE_READONLY"):
            # Its process died within a transaction, which SQLite has to roll back before it can be read.
            return _open(path, "mode=rw")
        raise
    return connection


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a database for reading and writing. Call `set_up_journal` when it has been read and found to be a run."""
    connection = _open(path, "mode=rw")
    if not has_safe_log(path):
        # Before the first read, so that SQLite has the index of a log in its own memory, and not in a mapped file.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    return connection


def set_up_journal(path: Path, connection: sqlite3.Connection) -> None:
    """Choose between a write-ahead log and a rollback journal, by the file system of a database."""
    # Without a write-ahead log, readers hold the writer up.
    is_logged = has_safe_log(path)
    connection.execute(f"PRAGMA journal_mode={'WAL' if is_logged else 'DELETE'}")
    connection.execute(f"PRAGMA busy_timeout={5_000 if is_logged else 60_000}")
    # With a rollback journal a commit is the deletion of that journal, whose folder FULL does not sync.
    connection.execute(f"PRAGMA synchronous={'FULL' if is_logged else 'EXTRA'}")
    if not is_logged:
        # It may have come with a log from another machine. SQLite deletes the log alone.
        _beside(path, "-shm").unlink(missing_ok=True)
    # The locks are given back at the next read.
    connection.execute("PRAGMA locking_mode=NORMAL")
    connection.execute("PRAGMA user_version").fetchone()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}{ending}")


def _open(path: Path, mode: str) -> RunConnection:
    address = f"{path.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(
        address, uri=True, timeout=5, isolation_level=None, check_same_thread=False, factory=RunConnection
    )
    secure(connection)
    for setting in ("busy_timeout=5000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _open_copy(path: Path) -> sqlite3.Connection:
    """Open a copy of a database and its log, in a folder for temporary files, for as long as the connection is open.

    A reader must not turn the log into a part of the database, as the writer does who resumes the run. And it must not
    change the memory that it would share with a writer on another machine.
    """
    folder = TemporaryDirectory(prefix="crystallize-")
    try:
        copied = Path(folder.name, path.name)
        _copy(path, copied)
        connection = _open(copied, "mode=ro")
    except BaseException:
        folder.cleanup()
        raise
    connection.folder = folder
    return connection


def _copy(path: Path, copied: Path) -> None:
    """Copy a database and its log, as they were at one moment."""
    pairs = [(path, copied), (_beside(path, "-wal"), _beside(copied, "-wal"))]
    try:
        for _ in range(_TRIES):
            before = [_state_of(file) for file, _ in pairs]
            for file, target in pairs:
                target.unlink(missing_ok=True)
                if file.exists():
                    shutil.copyfile(file, target)
            if before == [_state_of(file) for file, _ in pairs]:
                return
    except OSError as error:
        reason = f"its folder has no memory that SQLite can share, and it cannot be copied to be read ({error})"
        raise JournalError(str(path), reason, f"make room in {str(copied.parent.parent)!r}, or set TMPDIR") from error
    reason = "its folder has no memory that SQLite can share, and it changes while it is copied to be read"
    raise JournalError(str(path), reason, "read it on the machine that writes it, or when the run has ended")


_State: TypeAlias = tuple[int, int, int] | None


def _state_of(file: Path) -> _State:
    """Return what changes with the content of a file; None if there is no file."""
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
