"""Check the file of a run."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from ..errors import JournalError, RunNotFoundError
from .database import check_of, connect, has_table, missing_in, points_of, salt_of, transaction
from .migrations import ORDERS
from .read_run import read, real


def verify_run(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Check a file: SQLite's own checks, the check of every row, the digests, and that no fact is missing.

    Returns:
        The problems, a sentence each; empty if there are none.

    Raises:
        RunNotFoundError: There is no such file.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> verify_run("runs/digits-0001.db")
        ()
    """
    path = real(Path(path))
    problems: list[str] = []
    try:
        problems.extend(_problems(path))
    except RunNotFoundError:
        raise
    except JournalError as error:
        problems.append(str(error))
    return tuple(dict.fromkeys(problems))


def _problems(path: Path) -> Iterator[str]:
    with closing(connect(path)) as connection, transaction(path, connection):
        yield from _problems_in(connection)
    data = read(path)
    if not data.running and data.last.ended is None and not path.with_suffix(".spool").exists():
        yield "the run did not end, and its spool is not beside it: what it had not drained is missing"
    opened = {(attempt.session, attempt.step) for attempt in data.attempts}
    recorded = {(row.process, point[3]) for row in data.points for point in points_of(path, row.packed)}
    for _, step in recorded - opened:
        if step is not None:
            yield f"points were recorded by step {step!r}, which is not there"


def _problems_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Return the problems of a database: by SQLite's own checks, then of every row, then missing facts."""
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    yield from () if found == ["ok"] else found
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} refers to what {parent} has not"
    for table in filter(partial(has_table, connection), ORDERS):
        salt = salt_of(connection, table)
        for row in connection.execute(f'SELECT * FROM "{table}"'):
            if check_of(row[:-1], salt) != row[-1]:
                yield f"a row of {table} was changed: {row[0]!r}"
    for sha256, data in connection.execute("SELECT sha256, data FROM contents"):
        if hashlib.sha256(data).hexdigest() != sha256:
            yield f"an artifact has another digest than when it was added: {sha256}"
    yield from missing_in(connection)
