"""The database of a run: its tables, and how what is in them is checked.

Every row carries a CRC-32 of its run and all its columns, and every fact its sequence, from 1 on without a hole. So
whatever is read is what was written, or an error.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import accumulate, chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from zlib import compress, crc32, decompress
from zlib import error as ZlibError

from pydantic_core import from_json, to_json

from ..errors import CrystallizeError, DamagedRunError, JournalError, RunNotFoundError
from .event_bytes import (
    ARTIFACT,
    END,
    FAILED,
    FORK,
    JOIN,
    KEY,
    MERGED,
    PIECE,
    POINT,
    POINTS,
    START,
    joined,
    members,
    parted,
    points_in,
    span,
)

__all__ = [
    *("ROW", "apply", "check_of", "connect", "create", "insert", "missing_in", "points_of", "problems_in", "rows"),
    *("salt_of", "state_of", "transaction", "update"),
]

ROW: Final = PIECE
"""Points in a row, at the most."""

_LARGE: Final = 1 << 26
"""Bytes in a row of points, as JSON: SQLite takes no more than a billion. Arrays may be large."""

_APPLICATION: Final = 0x63727973
"""SQLite's mark of whose file it is: "crys"."""

_MIGRATIONS: Final = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        identity BLOB NOT NULL CHECK (length(identity) = 16),
        name TEXT NOT NULL,
        number INTEGER NOT NULL CHECK (number > 0),
        drained INTEGER NOT NULL CHECK (drained >= 0),
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE sessions (
        session INTEGER PRIMARY KEY,
        started TEXT NOT NULL,
        origin TEXT NOT NULL,
        fingerprints TEXT,
        joined INTEGER UNIQUE,
        ended TEXT,
        outcome TEXT CHECK (outcome IN ('finished', 'failed')),
        error TEXT,
        finished INTEGER UNIQUE,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE steps (
        session INTEGER NOT NULL REFERENCES sessions,
        name TEXT NOT NULL,
        sequence INTEGER NOT NULL UNIQUE,
        started TEXT NOT NULL,
        finished INTEGER UNIQUE,
        record TEXT,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (session, name)
    ) STRICT;
    CREATE TABLE entries (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        step TEXT,
        key TEXT NOT NULL,
        is_input INTEGER NOT NULL CHECK (is_input IN (0, 1)),
        how TEXT NOT NULL CHECK (how IN ('json', 'schema', 'python', 'secret', 'none')),
        type TEXT NOT NULL,
        json TEXT NOT NULL,
        digest TEXT,
        "check" INTEGER NOT NULL,
        FOREIGN KEY (session, step) REFERENCES steps (session, name)
    ) STRICT;
    CREATE TABLE arrays (
        sequence INTEGER NOT NULL REFERENCES entries,
        place INTEGER NOT NULL,
        npy BLOB NOT NULL,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (sequence, place)
    ) STRICT;
    CREATE TABLE points (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        count INTEGER NOT NULL CHECK (count > 0),
        content BLOB NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE contents (
        sha256 TEXT PRIMARY KEY,
        data BLOB NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE artifacts (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        step TEXT,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL REFERENCES contents,
        "check" INTEGER NOT NULL,
        FOREIGN KEY (session, step) REFERENCES steps (session, name)
    ) STRICT;
    CREATE TABLE forks (
        branch TEXT NOT NULL,
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        "check" INTEGER NOT NULL,
        UNIQUE (session, branch)
    ) STRICT;
    CREATE TABLE merges (
        session INTEGER NOT NULL,
        branch TEXT NOT NULL,
        sequence INTEGER NOT NULL UNIQUE,
        digest TEXT NOT NULL,
        item TEXT,
        how TEXT NOT NULL CHECK (how IN ('json', 'schema', 'python', 'secret', 'none')),
        result BLOB NOT NULL,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (session, branch),
        FOREIGN KEY (session, branch) REFERENCES steps (session, name)
    ) STRICT;
    """,
    """
    CREATE TABLE failures (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        branch TEXT NOT NULL,
        record TEXT NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    """,
)
"""What makes the tables, and what brings those of each older version to the next; `user_version` counts them.

Points are packed, up to a thousand in a row that begins at `sequence`: zlib over a JSON array of
[metric, value, tags, step] each, with a fifth item where JSON alone does not give value and tags back: of each of them
what does, with its type and with its arrays, as `.npy` in base64, where there are any.

What a branch brought is of its steps, whose names begin with its own; the last of the facts of a merge makes its row
in `merges`. A branch that failed makes a row in `failures`, each time, and none in `steps`, since it may be run again
and merged.
"""

_ORDERS: Final = {
    "run": "id",
    "sessions": "session",
    "steps": "sequence",
    "entries": "sequence",
    "arrays": "sequence, place",
    "points": "sequence",
    "contents": "sha256",
    "artifacts": "sequence",
    "forks": "sequence",
    "merges": "sequence",
    "failures": "sequence",
}
"""The tables, and what their rows are ordered by."""

_LATER: Final = {"failures": 2}
"""The tables that the files of older versions do not have, each with the version that brought it."""

_NEWER: Final = {
    "run": "TRUE",
    "sessions": "TRUE",
    "forks": "TRUE",
    # Two searches, where an OR would make it look at every step.
    "steps": """sequence IN (
        SELECT sequence FROM steps WHERE sequence > :since UNION SELECT sequence FROM steps WHERE finished > :since
    )""",
    "contents": "sha256 IN (SELECT sha256 FROM artifacts WHERE sequence > :since)",
}
"""Which rows of a table are new since some fact, where that is more than those that begin later."""


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open a database.

    Args:
        path: Where it is.
        write: Whether it is to be written, too.

    Raises:
        RunNotFoundError: There is none.
        DamagedRunError: It is no run, or a damaged one.
        JournalError: It is of a later version of crystallize, or cannot be opened.
    """
    if not path.is_file() or path.suffix == ".spool":
        raise RunNotFoundError(str(path), "this is a folder" if path.is_dir() else "there is no such run", _meant(path))
    with told(path):
        connection = _connection(path, "mode=rw") if write else _for_reading(path)
        try:
            application = _pragma(connection, "application_id")
            version = _pragma(connection, "user_version")
            if application != _APPLICATION:
                raise DamagedRunError(str(path), "this is not a run of crystallize")
            if version < 1:
                raise DamagedRunError(str(path), f"its format is {version}, which there never was")
            if version > len(_MIGRATIONS):
                raise JournalError(str(path), f"it was written by a later version of crystallize (format {version})")
            if write:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                _migrate(connection, version)
        except BaseException:
            connection.close()
            raise
    return connection


def _meant(path: Path) -> str:
    """Say what was probably meant by a path at which there is no file."""
    if path.is_dir():
        return "name the file of a run in it, which ends in .db"
    beside = path.with_name(f"{path.name}.db") if path.suffix != ".spool" else path.with_suffix(".db")
    if beside.is_file():
        return f"did you mean {beside.name!r}?"
    return "" if path.suffix else f"a run is given by its file; find_run(folder, {path.name!r}) finds that by its name"


def _for_reading(path: Path) -> sqlite3.Connection:
    """Open a database so that nothing in it changes."""
    connection = _connection(path, "mode=ro")
    try:
        _pragma(connection, "application_id")
    except sqlite3.DatabaseError as error:
        connection.close()
        code = getattr(error, "sqlite_errorname", "")
        if code in ("SQLITE_READONLY_DIRECTORY", "SQLITE_CANTOPEN") and not path.with_name(f"{path.name}-wal").exists():
            # Where nobody can write there can be no log; without one the file is all that there is.
            return _connection(path, "mode=ro&immutable=1")
        if code.startswith("SQLITE_READONLY"):
            # Its process died in the middle of a transaction, which has to be undone before it can be read.
            return _connection(path, "mode=rw")
        raise
    return connection


def _connection(path: Path, how: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(address, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
    for setting in ("busy_timeout=5000", "foreign_keys=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def create(path: Path, identity: bytes, name: str, number: int, *session: Any) -> None:
    """Make the database of a new run. It is there with all its tables or not at all.

    Args:
        path: Where to make it.
        identity: What tells this run from any other, 16 bytes.
        name: The run's name.
        number: The run's number.
        *session: The row of its first session.

    Raises:
        JournalError: It cannot be made.
    """
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with told(path), closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        _migrate(connection, 0)
        insert(connection, "run", 1, identity, name, number, 0)
        insert(connection, "sessions", 1, *session)
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # The name of the file is to survive the machine as its content does.
        os.fsync(folder)
    finally:
        os.close(folder)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables up to date, each version in one transaction."""
    for at in range(version, len(_MIGRATIONS)):
        connection.executescript(f"BEGIN IMMEDIATE; {_MIGRATIONS[at]}; PRAGMA user_version={at + 1}; COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell of what SQLite meets in our words.

    Raises:
        DamagedRunError: The file is damaged.
        JournalError: Something else is in the way.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or not code.startswith("SQLITE_"):
            raise DamagedRunError(str(path), f"it is damaged, or no run at all ({error})", _VERIFY) from error
        if code.startswith("SQLITE_ERROR"):
            raise DamagedRunError(str(path), f"its tables are not those of a run ({error})", _VERIFY) from error
        raise JournalError(str(path), f"it cannot be used ({error})", _ADVICE.get(code.split("_")[1], "")) from error


_VERIFY = "`crystallize verify` says what is wrong with it"
_ADVICE = {
    "FULL": "the disk is full: make room, then go on with Journal.resume",
    "READONLY": "the file or its folder cannot be written",
    "CANTOPEN": "the file or its folder cannot be read, or it is gone",
    "IOERR": "the disk does not take it, or it is full: make room, then go on with Journal.resume",
    "BUSY": "another program holds it: close that one, then go on with Journal.resume",
}


@contextmanager
def transaction(path: Path, connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
    """Do all that is done inside as one transaction; what is read is of one moment.

    Raises:
        DamagedRunError: What was read makes no sense.
        JournalError: Something else is in the way. Nothing was written.
    """
    with told(path):
        try:
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, (LookupError, TypeError, ValueError)) and not isinstance(error, CrystallizeError):
                reason = f"it cannot be read ({type(error).__name__}: {error})"
                raise DamagedRunError(str(path), reason, _VERIFY) from error
            raise


def state_of(path: Path, connection: sqlite3.Connection) -> tuple[bytes, int, int]:
    """Return the identity of a run, the sequence of its last fact and the number of its last session."""
    ((_, identity, _, _, drained),) = rows(path, connection, "run")
    sessions = [row[0] for row in rows(path, connection, "sessions")]
    return identity, drained, sessions[-1]


def check_of(columns: Iterable[Any], salt: int = 0) -> int:
    """Return the CRC-32 of the columns of a row, begun with that of its run."""
    return crc32(to_json([crc32(column) if isinstance(column, bytes) else column for column in columns]), salt)


def salt_of(connection: sqlite3.Connection, table: str) -> int:
    """Return what the checks of a table begin with: a row of one run is none of another."""
    identity = None if table == "run" else connection.execute("SELECT identity FROM run").fetchone()
    return 0 if identity is None else crc32(identity[0])


def insert(connection: sqlite3.Connection, table: str, *columns: Any) -> None:
    """Add a row, with its check."""
    places = ", ".join("?" * (len(columns) + 1))
    check = check_of(columns, salt_of(connection, table))
    connection.execute(f'INSERT INTO "{table}" VALUES ({places})', (*columns, check))


def update(connection: sqlite3.Connection, table: str, where: str, *of: Any, **changes: Any) -> None:
    """Change a row, and its check."""
    cursor = connection.execute(f'SELECT * FROM "{table}" WHERE {where}', of)
    names = [column[0] for column in cursor.description]
    row = dict(zip(names, cursor.fetchone(), strict=True)) | changes
    row["check"] = check_of(list(row.values())[:-1], salt_of(connection, table))
    placed = ", ".join(f'"{name}" = ?' for name in row)
    connection.execute(f'UPDATE "{table}" SET {placed} WHERE {where}', (*row.values(), *of))


def rows(path: Path, connection: sqlite3.Connection, table: str, since: int = 0) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a table in order, without their checks.

    Args:
        path: The file of the run.
        connection: The database in it.
        table: The table.
        since: The sequence of the last fact that is known. Rows that only older ones have made are left out, but for
            those of `run`, `sessions` and `forks`.

    Raises:
        DamagedRunError: A row is not what was written.
    """
    if not _has(connection, table):
        return
    salt = salt_of(connection, table)
    where = f"WHERE {_NEWER.get(table, 'sequence > :since')}" if since else ""
    found = connection.execute(f'SELECT * FROM "{table}" {where} ORDER BY {_ORDERS[table]}', {"since": since})
    for row in found:
        if check_of(row[:-1], salt) != row[-1]:
            raise DamagedRunError(str(path), f"a row of {table} was changed: {row[0]!r}", _VERIFY)
        yield row[:-1]


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return _pragma(connection, "user_version") >= _LATER.get(table, 1)


def points_of(path: Path, content: bytes) -> list[Any]:
    """Return the points in a row, each as a list.

    Raises:
        DamagedRunError: They cannot be read.
    """
    try:
        points: list[Any] = from_json(decompress(content))
    except (ZlibError, ValueError) as error:
        raise DamagedRunError(str(path), f"a row of points cannot be read ({error})", _VERIFY) from error
    return points


def apply(connection: sqlite3.Connection, session: int, first: int, facts: list[bytes]) -> None:
    """Put facts into the tables; whoever calls makes it one transaction. Those that are there already do nothing.

    Args:
        connection: The database.
        session: The session that they are of.
        first: The sequence of the first one.
        facts: The facts, in order; some may have many in them.
    """
    (drained,) = connection.execute("SELECT drained FROM run").fetchone()
    ends = accumulate(map(span, facts), initial=first - 1)
    new = [fact for end, fact in zip(islice(ends, 1, None), facts, strict=True) if end > drained]
    sequence = max(first, drained + 1)
    for kind, group in groupby(chain.from_iterable(map(members, new)), itemgetter(0)):
        same = list(group)
        if kind == POINTS[0]:
            for fact in same:
                insert(connection, "points", sequence, session, span(fact), compress(points_in(fact), 1))
                sequence += span(fact)
            continue
        if kind == POINT[0]:
            for part in chain.from_iterable(_narrow(same[at : at + ROW]) for at in range(0, len(same), ROW)):
                content = compress(b"[" + b",".join(part) + b"]", 1)
                insert(connection, "points", sequence, session, len(part), content)
                sequence += len(part)
            continue
        for fact in same:
            _apply_one(connection, session, sequence, fact)
            sequence += 1
    update(connection, "run", "id = 1", drained=sequence - 1)


def _narrow(points: list[bytes]) -> Iterator[list[bytes]]:
    """Part points so that no row is larger than it should be, if it has not one large point alone."""
    half = len(points) // 2
    if not half or sum(map(len, points)) <= _LARGE:
        yield points
        return
    yield from _narrow(points[:half])
    yield from _narrow(points[half:])


def _apply_one(connection: sqlite3.Connection, session: int, sequence: int, fact: bytes) -> None:
    head, blobs = parted(fact)
    kind = fact[:1]
    if kind == KEY:
        key, step, is_input, how, type_, digest = head
        text, *arrays = blobs
        row = (key, int(is_input), how, type_, text.decode(), digest)
        insert(connection, "entries", sequence, session, step, *row)
        for place, npy in enumerate(arrays):
            insert(connection, "arrays", sequence, place, npy)
    elif kind == ARTIFACT:
        name, step, sha256 = head
        if connection.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).fetchone() is None:
            insert(connection, "contents", sha256, blobs[0])
        insert(connection, "artifacts", sequence, session, step, name, sha256)
    elif kind == START:
        name, started = head
        insert(connection, "steps", session, name, sequence, started, None, None)
    elif kind == FORK:
        insert(connection, "forks", head[0], sequence, session)
    elif kind == MERGED:
        branch, digest, item, how, type_, result, returns = head
        kept = joined(MERGED, [type_, result, returns], *blobs)
        insert(connection, "merges", session, branch, sequence, digest, item, how, kept)
    elif kind == JOIN:
        came_from, fingerprints = (to_json(part).decode() for part in head)
        update(
            connection, "sessions", "session = ?", session, origin=came_from, fingerprints=fingerprints, joined=sequence
        )
    elif kind == FAILED:
        insert(connection, "failures", sequence, session, head["step"], to_json(head).decode())
    elif kind == END:
        update(connection, "sessions", "session = ?", session, **head, finished=sequence)
    elif (
        connection.execute("SELECT 1 FROM steps WHERE (session, name) = (?, ?)", (session, head["step"])).fetchone()
        is None
    ):
        # Ctrl-C came between the opening of the step and its fact.
        insert(connection, "steps", session, head["step"], sequence, head["started"], None, None)
    else:
        record = to_json(head).decode()
        update(connection, "steps", "session = ? AND name = ?", session, head["step"], finished=sequence, record=record)


def problems_in(path: Path, connection: sqlite3.Connection) -> Iterator[str]:
    """Return what is wrong with a database: SQLite's own checks, then every row's, then what is missing."""
    with transaction(path, connection):
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        yield from () if found == ["ok"] else found
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
            yield f"row {row} of {table} refers to what {parent} has not"
        for table in filter(partial(_has, connection), _ORDERS):
            salt = salt_of(connection, table)
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                if check_of(row[:-1], salt) != row[-1]:
                    yield f"a row of {table} was changed: {row[0]!r}"
        for sha256, data in connection.execute("SELECT sha256, data FROM contents"):
            if hashlib.sha256(data).hexdigest() != sha256:
                yield f"an artifact has another digest than when it was added: {sha256}"
        yield from missing_in(connection)


def missing_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Return which facts are missing, or there twice."""
    (drained,) = connection.execute("SELECT drained FROM run").fetchone()
    failures = "UNION ALL SELECT sequence, 1 FROM failures" if _has(connection, "failures") else ""
    spans = connection.execute(
        f"""
        SELECT sequence, 1 FROM steps UNION ALL SELECT finished, 1 FROM steps WHERE finished IS NOT NULL
        UNION ALL SELECT joined, 1 FROM sessions WHERE joined IS NOT NULL
        UNION ALL SELECT finished, 1 FROM sessions WHERE finished IS NOT NULL
        UNION ALL SELECT sequence, 1 FROM entries UNION ALL SELECT sequence, 1 FROM artifacts
        UNION ALL SELECT sequence, 1 FROM forks UNION ALL SELECT sequence, 1 FROM merges
        {failures} UNION ALL SELECT sequence, count FROM points ORDER BY 1
        """
    )
    next_ = 1
    for first, count in spans:
        if first != next_:
            yield f"facts {next_} to {first - 1} are missing" if first > next_ else f"fact {first} is there twice"
        next_ = first + count
    if next_ != drained + 1:
        yield f"facts {next_} to {drained} are missing"
