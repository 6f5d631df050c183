# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The database of a run: its tables, and how what is in them is checked.

Every row carries a CRC-32 of its run and all its columns, and every fact its sequence, from 1 on without a hole. So
whatever is read is what was written, or an error.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from .facts import PIECE

__all__ = [
    "ROW",
    "apply",
    "check_of",
    "connect",
    "create",
    "insert",
    "missing_in",
    "points_of",
    "problems_in",
    "rows",
    "salt_of",
    "state_of",
    "transaction",
    "update",
]
ROW = PIECE
"""Points in a row, at the most."""

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

@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell of what SQLite meets in our words.

    Raises:
        DamagedRunError: The file is damaged.
        JournalError: Something else is in the way.
    """

@contextmanager
def transaction(path: Path, connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
    """Do all that is done inside as one transaction; what is read is of one moment.

    Raises:
        DamagedRunError: What was read makes no sense.
        JournalError: Something else is in the way. Nothing was written.
    """

def state_of(path: Path, connection: sqlite3.Connection) -> tuple[bytes, int, int]:
    """Return the identity of a run, the sequence of its last fact and the number of its last session."""

def check_of(columns: Iterable[Any], salt: int = 0) -> int:
    """Return the CRC-32 of the columns of a row, begun with that of its run."""

def salt_of(connection: sqlite3.Connection, table: str) -> int:
    """Return what the checks of a table begin with: a row of one run is none of another."""

def insert(connection: sqlite3.Connection, table: str, *columns: Any) -> None:
    """Add a row, with its check."""

def update(connection: sqlite3.Connection, table: str, where: str, *of: Any, **changes: Any) -> None:
    """Change a row, and its check."""

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

def points_of(path: Path, content: bytes) -> list[Any]:
    """Return the points in a row, each as a list.

    Raises:
        DamagedRunError: They cannot be read.
    """

def apply(connection: sqlite3.Connection, session: int, first: int, facts: list[bytes]) -> None:
    """Put facts into the tables; whoever calls makes it one transaction. Those that are there already do nothing.

    Args:
        connection: The database.
        session: The session that they are of.
        first: The sequence of the first one.
        facts: The facts, in order; some may have many in them.
    """

def problems_in(path: Path, connection: sqlite3.Connection) -> Iterator[str]:
    """Return what is wrong with a database: SQLite's own checks, then every row's, then what is missing."""

def missing_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Return which facts are missing, or there twice."""
