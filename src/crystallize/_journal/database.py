"""The database of a run: connections, transactions, and rows with their checks.

Every row carries a CRC-32 of its run and all its columns, and the facts have the positions 1, 2, 3, ... without a gap.
So a reader gets exactly the written data, or an error.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final
from zlib import crc32

from pydantic_core import to_json

from .._base.file_system import create_file, sync_folder, write_all
from .._base.text import printable, short
from ..errors import DamagedRunError, JournalError, RunNotFoundError
from .database_connection import open_for_reading, open_for_writing, set_up_journal
from .migrations import LATER, MIGRATIONS, NEWER, ORDERS
from .untrusted_file import VERIFY, bounded, check_files, check_tables, damage_in, file_status, row_shape

LARGEST: Final = 999_000_000
"""Maximum bytes of a value or an artifact: a row of SQLite takes at most a billion."""

_APPLICATION: Final = 0x63727973
"""The application id in SQLite's header: "crys"."""


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open the database of a run, and migrate it before it is written.

    This raises RunNotFoundError if there is no file, DamagedRunError if it is not a run, and JournalError if it is of
    a later version or cannot be opened.
    """
    status = file_status(path)
    if status is None or not S_ISREG(status.st_mode) or path.suffix == ".spool":
        raise RunNotFoundError(str(path), "this is a folder" if path.is_dir() else "there is no such run", _meant(path))
    check_files(path)
    with translate_sqlite_errors(path), damage_in(path):
        connection = open_for_writing(path) if write else open_for_reading(path)
        try:
            application = _pragma(connection, "application_id")
            version = _pragma(connection, "user_version")
            if application != _APPLICATION:
                raise DamagedRunError(str(path), "this is not a run of crystallize")
            if version < 1:
                raise DamagedRunError(str(path), f"its format is {version}, which there never was")
            if version > len(MIGRATIONS):
                raise JournalError(str(path), f"it was written by a later version of crystallize (format {version})")
            check_tables(path, connection, version)
            if write:
                set_up_journal(path, connection)
                _migrate(connection, version)
        except BaseException:
            connection.close()
            raise
    return connection


def files_beside(path: Path) -> list[Path]:
    """Return the files that SQLite may make beside the database of a run."""
    return [path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm", "-journal")]


def is_run_file(path: Path) -> bool:
    """Return whether a file is the database of a run by its header, also if the rest of it is damaged."""
    status = file_status(path)
    if status is None or not S_ISREG(status.st_mode) or path.suffix != ".db":
        return False
    with path.open("rb") as file:
        return file.read(72)[68:] == _APPLICATION.to_bytes(4, "big")


def _meant(path: Path) -> str:
    """Return advice on a path at which there is no file."""
    if path.is_dir():
        return "name the file of a run in it, which ends in .db"
    beside = path.with_name(f"{path.name}.db") if path.suffix != ".spool" else path.with_suffix(".db")
    if beside.is_file():
        return f"did you mean {beside.name!r}?"
    return "" if path.suffix else f"a run is given by its file; find_run(folder, {path.name!r}) finds that by its name"


def create(path: Path, run: tuple[Any, ...], session: tuple[Any, ...], parent: tuple[Any, ...] | None) -> None:
    """Make the database of a new run, whole or not at all, with its identity, name and number, and its first process.

    `parent` is the earlier run from which it takes steps over, as a row.
    """
    with translate_sqlite_errors(path), closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        _migrate(connection, 0)
        insert(connection, "run", 1, *run, 0)
        insert(connection, "sessions", 1, *session)
        if parent is not None:
            insert(connection, "parents", 1, *parent)
        content = connection.serialize()
    unfinished = path.with_suffix(".new")
    # It may be left of a process that died just here.
    unfinished.unlink(missing_ok=True)
    try:
        descriptor = create_file(unfinished)
        try:
            write_all(descriptor, content, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.rename(path)
        # The name of the file has to survive the machine as its content does.
        sync_folder(path.parent)
    except OSError as error:
        raise JournalError(str(path), f"it cannot be made ({error})", "make room, or take another folder") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables up to date, each version in one transaction."""
    for at in range(version, len(MIGRATIONS)):
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[at]}; PRAGMA user_version={at + 1}; COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def translate_sqlite_errors(path: Path) -> Iterator[None]:
    """Translate sqlite3 errors into JournalError, and into DamagedRunError if the file is damaged."""
    try:
        yield
    except sqlite3.Error as error:
        # The text may contain names from the file.
        code, text = getattr(error, "sqlite_errorname", ""), printable(str(error))
        if code.startswith(_DAMAGED) or not code.startswith("SQLITE_"):
            raise DamagedRunError(str(path), f"it is damaged, or no run at all ({text})", VERIFY) from error
        if code.startswith("SQLITE_INTERRUPT"):
            reason = "a search in it takes more steps than a file of its size can need"
            raise DamagedRunError(str(path), reason, VERIFY) from error
        raise JournalError(str(path), f"it cannot be used ({text})", _advice(code)) from error


_DAMAGED = tuple(f"SQLITE_{code}" for code in ("CORRUPT", "NOTADB", "CONSTRAINT", "MISMATCH", "ERROR", "TOOBIG"))
_ADVICE: Final = {
    "IOERR_SHM": "its folder has no memory that SQLite can share: move the files of the run to a local disk",
    "FULL": "the disk is full: make room, then go on with Journal.resume",
    "READONLY": "the file or its folder cannot be written",
    "CANTOPEN": "check that it is still there, and the permissions of its folder, of it and of the files beside it",
    "IOERR": "the disk does not take it, or it is full: make room, then go on with Journal.resume",
    "TOOBIG": f"a row of SQLite takes a billion bytes; values and artifacts may have {LARGEST:,}",
    "BUSY": "another program holds it: close that one, then go on with Journal.resume",
}
"""By the beginning of the name of an error, after "SQLITE_"."""


def _advice(code: str) -> str:
    return next((advice for kind, advice in _ADVICE.items() if code.startswith(f"SQLITE_{kind}")), "")


@contextmanager
def transaction(path: Path, connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
    """Run the block as one transaction, in which reads are of one moment; roll it back on any exception.

    An error that comes from content that makes no sense becomes a DamagedRunError.
    """
    with translate_sqlite_errors(path), damage_in(path):
        try:
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def has_log(connection: sqlite3.Connection) -> bool:
    """Return whether a database has a write-ahead log."""
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


def state_of(path: Path, connection: sqlite3.Connection) -> tuple[bytes, int, int]:
    """Return the identity of a run, the position of its last fact and the number of its last process."""
    ((_, identity, _, _, drained),) = rows(path, connection, "run")
    processes = [row[0] for row in rows(path, connection, "sessions")]
    return identity, drained, processes[-1]


def check_of(columns: Iterable[Any], salt: int = 0) -> int:
    """Return the CRC-32 of the columns of a row, seeded with the salt of its table."""
    return crc32(to_json([crc32(column) if isinstance(column, bytes) else column for column in columns]), salt)


def salt_of(connection: sqlite3.Connection, table: str) -> int:
    """Return the seed of the checks in a table, by which a row of another run is detected."""
    identity = None if table == "run" else connection.execute("SELECT identity FROM run").fetchone()
    return 0 if identity is None else crc32(identity[0])


def insert(connection: sqlite3.Connection, table: str, *columns: Any) -> None:
    """Add a row, with its check."""
    marks = ", ".join("?" * (len(columns) + 1))
    check = check_of(columns, salt_of(connection, table))
    connection.execute(f'INSERT INTO "{table}" VALUES ({marks})', (*columns, check))


def update(connection: sqlite3.Connection, table: str, where: str, *of: Any, **changes: Any) -> None:
    """Change a row, and its check."""
    cursor = connection.execute(f'SELECT * FROM "{table}" WHERE {where}', of)
    names = [column[0] for column in cursor.description]
    row = dict(zip(names, cursor.fetchone(), strict=True)) | changes
    row["check"] = check_of(list(row.values())[:-1], salt_of(connection, table))
    assigned = ", ".join(f'"{name}" = ?' for name in row)
    connection.execute(f'UPDATE "{table}" SET {assigned} WHERE {where}', (*row.values(), *of))


def rows(
    path: Path, connection: sqlite3.Connection, table: str, since: int = 0, last: int | None = None
) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a table in order, without their checks; a changed row raises DamagedRunError.

    `since` leaves out the rows of facts up to that position, except for those of `run`, `sessions` and `forks`. `last`
    leaves out all rows that do not begin between the two positions.
    """
    if not has_table(connection, table):
        return
    salt = salt_of(connection, table)
    where = f"WHERE {NEWER.get(table, 'sequence > :since')}" if since else ""
    where = where if last is None else "WHERE sequence > :since AND sequence <= :last"
    shape = row_shape(table)
    with bounded(connection):
        query = f'SELECT * FROM "{table}" {where} ORDER BY {ORDERS[table]}'
        for row in connection.execute(query, {"since": since, "last": last}):
            if check_of(row[:-1], salt) != row[-1]:
                raise DamagedRunError(str(path), f"a row of {table} was changed: {short(row[0])}", VERIFY)
            shape.check(row)
            yield row[:-1]


def has_table(connection: sqlite3.Connection, table: str) -> bool:
    """Return whether the file has a table, which files of older versions may lack."""
    return _pragma(connection, "user_version") >= LATER.get(table, 1)


def missing_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Return which facts are missing or duplicated, a sentence each."""
    (drained,) = connection.execute("SELECT drained FROM run").fetchone()
    later = [table for table in ("failures", "files") if has_table(connection, table)]
    others = " ".join(f"UNION ALL SELECT sequence, 1 FROM {table}" for table in later)
    with bounded(connection):
        spans = connection.execute(
            f"""
            SELECT sequence, 1 FROM steps UNION ALL SELECT finished, 1 FROM steps WHERE finished IS NOT NULL
            UNION ALL SELECT joined, 1 FROM sessions WHERE joined IS NOT NULL
            UNION ALL SELECT finished, 1 FROM sessions WHERE finished IS NOT NULL
            UNION ALL SELECT sequence, 1 FROM entries UNION ALL SELECT sequence, 1 FROM artifacts
            UNION ALL SELECT sequence, 1 FROM forks UNION ALL SELECT sequence, 1 FROM merges
            {others} UNION ALL SELECT sequence, count FROM points ORDER BY 1
            """
        )
        next_ = 1
        for first, count in spans:
            if first != next_:
                yield f"facts {next_} to {first - 1} are missing" if first > next_ else f"fact {first} occurs twice"
            next_ = first + count
    if next_ != drained + 1:
        yield f"facts {next_} to {drained} are missing"
