"""Bounds for reading the file of a run, which anybody may have written.

Before anything else is read, the file has exactly the tables of its version: no view, trigger, virtual table or column
of somebody else's, whose code SQLite would run. A read that takes more steps than the size of the file explains is
interrupted, as the pages of a file may refer to each other in circles.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from itertools import chain, repeat
from operator import itemgetter
from pathlib import Path
from struct import error as StructError
from tempfile import TemporaryDirectory
from types import NoneType
from typing import Any, Final

from .._base.files import status_of
from .._base.signal_handlers import reraise_from_handler
from .._base.text import short
from .._base.weak_objects import WeakObjects
from ..errors import (
    CrystallizeError,
    DamagedRunError,
    InvalidArtifactError,
    InvalidKeyError,
    InvalidStepError,
    JournalError,
    UncopyableValueError,
)
from .migrations import MIGRATIONS, ORDERS

VERIFY: Final = "`crystallize verify` lists its problems"
_FOREIGN: Final = "a run has its own tables and nothing else; take a copy of the file from before the change"

_LONGEST_SQL: Final = 1 << 16
"""Bytes in a statement, also in one that defines a table. The longest of a run has a thousand."""

_LARGEST_SPOOL: Final = 1 << 26
"""Bytes in a spool; it has 16 MiB."""

_INTERVAL: Final = 10_000
"""Steps of SQLite's virtual machine between two looks at how many there were."""

_FREE_STEPS: Final = 5_000_000
_STEPS_PER_BYTE: Final = 64
"""A row has 20 bytes and more, and takes fewer than 100 steps in each of the few searches for it."""


class RunConnection(sqlite3.Connection):
    """A connection that closes its cursors when it is closed.

    An exception that somebody keeps, as a notebook does, keeps the cursors of its traceback. SQLite would keep the
    database open and locked for as long.

    Attributes:
        folder: The folder of a copy that the connection reads, which is deleted when it is closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._cursors: WeakObjects[sqlite3.Cursor] = WeakObjects()
        self.folder: TemporaryDirectory[str] | None = None
        super().__init__(*args, **kwargs)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement with a new cursor."""
        cursor = self.cursor()
        self._cursors.add(cursor)
        return cursor.execute(sql, parameters)

    def close(self) -> None:
        """Close all cursors and the connection."""
        for cursor in self._cursors:
            cursor.close()
        super().close()
        if self.folder is not None:
            self.folder.cleanup()


def secure(connection: sqlite3.Connection) -> None:
    """Turn off all by which a database could make SQLite run code or use memory, before its tables are looked at."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_SQL)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for setting in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {setting}")


def file_status(path: Path) -> os.stat_result | None:
    """Return the status of a file or folder, or None if there is none; raise JournalError if nobody may know."""
    try:
        return status_of(path)
    except OSError as error:
        advice = "check the permissions of the folder in which it is"
        raise JournalError(str(path), f"it cannot be read ({error})", advice) from error


def check_files(path: Path) -> None:
    """Raise JournalError if a device, a pipe, a folder or a link is in the place of a file that belongs to a run."""
    spool = path.with_suffix(".spool")
    for file in (spool, *(path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm", "-journal"))):
        try:
            found = file.lstat()
        except OSError:
            # There is none, or nobody may look; then the error of opening it says so.
            continue
        if not stat.S_ISREG(found.st_mode):
            raise JournalError(str(path), f"{file.name!r} beside it is not a regular file", "move it away")
        if file == spool and found.st_size > _LARGEST_SPOOL:
            raise DamagedRunError(
                str(path), f"its spool has {found.st_size:,} bytes, more than any spool", "move it away"
            )


def check_tables(path: Path, connection: sqlite3.Connection, version: int) -> None:
    """Raise DamagedRunError unless a database has the tables of this version, and nothing else."""
    known = _definitions(version)
    found: set[str] = set()
    with bounded(connection):
        pages: set[int] = set()
        for kind, name, page, definition in connection.execute("SELECT type, name, rootpage, sql FROM sqlite_schema"):
            if name not in known:
                raise _foreign(path, f"it has the {_kind(kind)} {short(name)}")
            if known[name] != (kind, _words(definition)):
                raise _foreign(path, f"the {_kind(kind)} {short(name)} has another definition")
            if page in pages:
                raise _foreign(path, f"the {kind} {short(name)} is in the place of another")
            pages.add(page)
            found.add(name)
    for name in known:
        if name not in found:
            raise _foreign(path, f"it lacks {name}")


def _foreign(path: Path, reason: str) -> DamagedRunError:
    return DamagedRunError(str(path), f"its tables are not those of a run: {reason}", _FOREIGN)


def _kind(kind: Any) -> str:
    return kind if kind in ("table", "index", "trigger", "view") else "entry"


class RowShape:
    """The types of the columns of a table, and the columns that order its rows."""

    def __init__(self, columns: Sequence[tuple[str, tuple[type, ...]]], order: str) -> None:
        """Take the columns, each with the types of its values, and the names of those that order the rows."""
        self._types = [types for _, types in columns]
        self._fit: set[tuple[type, ...]] = set()
        names = [name for name, _ in columns]
        self._key = itemgetter(*(names.index(name) for name in order.split(", ")))
        self._last: Any = None

    def check(self, row: tuple[Any, ...]) -> None:
        """Raise TypeError or ValueError unless a row has these types, and comes after the one before."""
        found = tuple(map(type, row))
        if found not in self._fit:
            if not all(type in types for type, types in zip(found, self._types, strict=True)):
                raise TypeError(f"a column has another type: {short(row[:-1])}")
            self._fit.add(found)
        key = self._key(row)
        # A file whose pages refer to each other in circles has no end.
        if self._last is not None and not self._last < key:
            raise ValueError(f"row {key} does not come after row {self._last}")
        self._last = key


def row_shape(table: str) -> RowShape:
    """Return the shape of the rows of a table, for one reading of it."""
    return RowShape(_columns(table), ORDERS[table])


_TYPES: Final = {"INTEGER": int, "TEXT": str, "BLOB": bytes}


@lru_cache
def _columns(table: str) -> tuple[tuple[str, tuple[type, ...]], ...]:
    with closing(_blank(len(MIGRATIONS))) as connection:
        found = connection.execute('SELECT name, type, "notnull" OR pk FROM pragma_table_info(?)', (table,)).fetchall()
    return tuple(
        (name, (_TYPES[kind],) if is_required else (_TYPES[kind], NoneType)) for name, kind, is_required in found
    )


def _blank(version: int) -> sqlite3.Connection:
    """Return a database with the tables of a version."""
    connection = sqlite3.connect(":memory:")
    for migration in MIGRATIONS[:version]:
        connection.executescript(migration)
    return connection


@lru_cache
def _definitions(version: int) -> dict[str, tuple[str, str | None]]:
    """Return the kind and the definition of all tables and indices of a version, by their names."""
    with closing(_blank(version)) as connection:
        rows = connection.execute("SELECT name, type, sql FROM sqlite_schema").fetchall()
    return {name: (kind, _words(definition)) for name, kind, definition in rows}


def _words(definition: Any) -> str | None:
    """Return a definition without its line breaks and indents."""
    return " ".join(definition.split()) if isinstance(definition, str) else None


@contextmanager
def bounded(connection: sqlite3.Connection) -> Iterator[None]:
    """Interrupt the reads of the block when they take more steps than the size of the database explains."""
    size = _pragma(connection, "page_count") * _pragma(connection, "page_size")
    count = (_FREE_STEPS + _STEPS_PER_BYTE * size) // _INTERVAL
    # No function of Python's own: a signal's handler could run in it, and SQLite would swallow the handler's exception.
    connection.set_progress_handler(chain(repeat(0, count), repeat(1)).__next__, _INTERVAL)
    try:
        yield
    finally:
        # A generator that is never read to its end comes here after its connection is closed.
        with suppress(sqlite3.ProgrammingError):
            connection.set_progress_handler(None, 0)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


_REFUSED: Final = (InvalidArtifactError, InvalidKeyError, InvalidStepError, UncopyableValueError)
"""The errors of ours that are damage: a context would not have taken such a name, or a value nested so deeply."""


@contextmanager
def damage_in(path: Path) -> Iterator[None]:
    """Raise DamagedRunError in place of an error that comes from content that makes no sense."""
    try:
        yield
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, StructError) as error:
        reraise_from_handler(error)
        if isinstance(error, CrystallizeError) and not isinstance(error, _REFUSED):
            raise
        reason = f"it cannot be read ({type(error).__name__}: {error})"
        raise DamagedRunError(str(path), reason, VERIFY) from error
