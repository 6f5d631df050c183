"""A run that one process wrote and ended, read in short from the pages of its file.

This is the fast path of `summary_of`, for folders of thousands of runs. It only succeeds: for any other run, and at
anything unusual in the file, it returns None, and `summary_of` reads the file, or lists its problems. Every row
that it reads has its check, and all facts are counted.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from struct import error as StructError
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from pydantic_core import from_json

from .._core.tagged_json import may_have_marks, without_marks
from ..errors import CrystallizeError
from .database import check_of, connect
from .packed_points import points_of
from .parent_run import parent_of
from .rows import MISSING, PackedRow
from .stored_facts import time_in
from .summary_row import LONGEST, SMALL_FILE, RunSummary, Scalar, best_of, scalars_in
from .table_pages import TablePages

_Roots: TypeAlias = dict[str, int]
_known: dict[tuple[int, int, bytes], _Roots] = {}
"""The first pages of the tables, by all that defines the tables. Each was checked with one file."""
_MOST_KNOWN: Final = 16

_WITH_POSITIONS: Final = ("artifacts", "files")
_UNUSUAL: Final = ("forks", "merges", "failures")
"""Tables that have rows only if there were branches."""


def summary_of_ended(path: Path) -> RunSummary | None:
    """Return a run in short; None if another function has to read it."""
    try:
        with path.open("rb", buffering=0) as file:
            pages = TablePages(file)
            if pages.length > SMALL_FILE:
                return None
            key = pages.application, pages.version, pages.schema()
            roots = _known.get(key)
            if roots is None:
                roots = _roots_in(path)
                if len(_known) < _MOST_KNOWN:
                    _known[key] = roots
            return _read(path, _Rows(pages, roots))
    except (CrystallizeError, OSError, ArithmeticError, LookupError, TypeError, ValueError, StructError, sqlite3.Error):
        return None


def _roots_in(path: Path) -> _Roots:
    """Return the first pages of the tables in a file, which are checked to be those of a run."""
    with closing(connect(path)) as connection:
        return dict(connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'").fetchall())


class _Rows:
    """The rows of a file, with their checks."""

    def __init__(self, pages: TablePages, roots: _Roots) -> None:
        self._pages = pages
        self._roots = roots
        self._salt = 0

    def of(self, table: str) -> list[list[Any]]:
        """Return the rows of a table without their checks; a changed row raises ValueError.

        Files of older versions lack some tables, and their rows.
        """
        if table not in self._roots:
            return []
        found = []
        for number, row in self._pages.rows(self._roots[table]):
            if row[0] is None:
                row[0] = number  # the primary key
            if check_of(row[:-1], self._salt) != row.pop():
                raise ValueError(f"a row of {table} was changed")
            found.append(row)
        return found

    def salted(self, identity: bytes) -> None:
        """Take the identity of the run, which is in the checks of all tables except `run`."""
        self._salt = crc32(identity)


def _parts_of(rows: _Rows, position: int) -> list[bytes]:
    """Return the parts of a value, if they are small."""
    parts = [row[2] for row in rows.of("arrays") if row[0] == position]
    return parts if sum(map(len, parts)) <= LONGEST else []


def _read(path: Path, rows: _Rows) -> RunSummary | None:
    ((_, identity, _, _, drained),) = rows.of("run")
    rows.salted(identity)
    (process, *others) = rows.of("sessions")
    _, started, _, fingerprints, joined, ended, outcome, error, finished, *_ = process
    if others or ended is None or fingerprints is None or any(row for table in _UNUSUAL for row in rows.of(table)):
        return None
    spans = [(position, 1) for position in (joined, finished)]
    steps = _steps_in(rows, spans)
    scalars = _values_in(rows, spans)
    points = [PackedRow._make(row) for row in rows.of("points")]
    spans += ((row.position, row.size) for row in points)
    spans += ((row[0], 1) for table in _WITH_POSITIONS for row in rows.of(table))
    spans.sort()
    if [first for first, _ in spans] + [drained + 1] != [1, *(first + count for first, count in spans)]:
        return None
    declared = from_json(fingerprints).get("declared", {})
    if goals := {name: facts["goal"] for name, facts in declared.items() if facts.get("goal")}:
        scalars |= best_of(goals, (point[:2] for row in points for point in points_of(path, row)))
    begun, over = time_in(started), time_in(ended)
    parent = parent_of(rows.of("parents"))
    return RunSummary(
        run=path.stem,
        status=outcome,
        scalars=scalars,
        started=begun,
        ended=over,
        took=max((over - begun).total_seconds(), 0),
        steps=steps.opened,
        steps_finished=steps.finished,
        tags=tuple(sorted(tag for (tag,) in rows.of("tags"))),
        note=next((text for _, text in rows.of("notes")), None),
        parent=None if parent is None else parent.name,
        error=error or steps.error,
    )


class _Steps(NamedTuple):
    opened: int
    finished: int
    error: str | None
    """The error of the last step that failed."""


def _steps_in(rows: _Rows, spans: list[tuple[int, int]]) -> _Steps:
    """Count the steps, and add the positions of their facts."""
    count, finished, failure = 0, 0, (0, None)
    for _, _, opened, _, closed, record in rows.of("steps"):
        error = from_json(record)["error"]
        count += 1
        finished += error is None
        failure = max(failure, (opened, error)) if error is not None else failure
        spans += ((opened, 1), (closed, 1))
    return _Steps(count, finished, failure[1])


def _values_in(rows: _Rows, spans: list[tuple[int, int]]) -> dict[str, Scalar]:
    """Return the scalar inputs and values, and add the positions of their facts."""
    scalars: dict[str, Scalar] = {}
    for position, _, _, key, is_input, how, _, json, _ in rows.of("entries"):
        spans.append((position, 1))
        if how not in MISSING and len(json) <= LONGEST:
            parsed = from_json(json)
            if may_have_marks(json.encode()):
                parsed = without_marks(parsed, _parts_of(rows, position))
            scalars.update(scalars_in(f"{'inputs' if is_input else 'values'}.{key}", parsed))
    return scalars
