"""A run in short: its facts, its scalar values, and the best of each metric that has a goal.

Nothing else of its file is read: no array, no large value, no artifact, and no points if no metric has a goal.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from .._core.tagged_json import may_have_marks, without_marks
from ..errors import CrystallizeError, DamagedRunError, JournalError
from .database import rows
from .loaded_run import Run
from .packed_points import points_of
from .read_run import RunData, open_outline
from .rows import MISSING, PackedRow
from .summary_row import LONGEST, SMALL_FILE, RunSummary, Scalar, best_of, scalars_in


def summary_of(path: Path) -> RunSummary:
    """Return a run in short, also if its file cannot be read."""
    try:
        return _read(path)
    except DamagedRunError as error:
        return _unreadable(path, "damaged", error.reason)
    except JournalError as error:
        return _unreadable(path, "unreadable", error.reason)
    except (CrystallizeError, OSError) as error:
        return _unreadable(path, "unreadable", f"it cannot be read ({error})")


def _unreadable(path: Path, status: str, reason: str) -> RunSummary:
    return RunSummary(path.stem, status, {}, error=reason)


def _read(path: Path) -> RunSummary:
    with open_outline(path) as (data, connection):
        scalars = {**_values_in(data, connection), **_best_in(data, connection)}
    run: Run[Any] = Run(data, None, None)
    attempts = run.attempts
    # By position, as a branch that failed and was merged later has two attempts of the same name.
    dead = {attempt.sequence for attempt in run.dead_attempts}
    last = data.final.number
    records = [attempt.record for attempt in attempts if attempt.session == last and attempt.record]
    failures = [record.error for record in records if record.error]
    return RunSummary(
        run=path.stem,
        status=run.status,
        started=run.started,
        ended=run.ended,
        took=None if run.took is None else run.took.total_seconds(),
        steps=len({attempt.step for attempt in attempts}),
        steps_finished=sum(attempt.finished for attempt in attempts if attempt.sequence not in dead),
        tags=run.tags,
        note=run.note,
        parent=run.parent,
        error=run.error or next(reversed(failures), None),
        scalars=scalars,
    )


def _values_in(data: RunData, connection: sqlite3.Connection) -> dict[str, Scalar]:
    """Return the scalar inputs and values, in the order in which they were written."""
    dropped = data.superseded
    found: dict[str, Scalar] = {}
    for position, process, step, key, is_input, how, _, json, _ in _small_rows(data.path, connection):
        if how not in MISSING and (process, step) not in dropped:
            parsed = from_json(json)
            if may_have_marks(json.encode()):
                parsed = _without_marks(data.path, connection, position, parsed)
            found.update(scalars_in(f"{'inputs' if is_input else 'values'}.{key}", parsed))
    return found


def _small_rows(path: Path, connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Return the rows of the values with little JSON."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * size <= SMALL_FILE:
        yield from (row for row in rows(path, connection, "entries") if len(row[7]) <= LONGEST)
        return
    positions = connection.execute("SELECT sequence FROM entries ORDER BY sequence").fetchall()
    for (position,) in positions:
        # Unlike SQL, this does not read the text.
        with connection.blobopen("entries", "json", position, readonly=True) as text:
            is_small = len(text) <= LONGEST
        if is_small:
            yield from rows(path, connection, "entries", position - 1, position)


def _without_marks(path: Path, connection: sqlite3.Connection, position: int, parsed: Any) -> Any:
    """Return the parsed JSON of a value with simple values in place of its marks."""
    query = "SELECT total(length(npy)) FROM arrays WHERE sequence = ?"
    (size,) = connection.execute(query, (position,)).fetchone()
    parts = [row[2] for row in rows(path, connection, "arrays", position - 1, position)] if size <= LONGEST else []
    return simple_json(parsed, parts)


def simple_json(parsed: Any, parts: Sequence[bytes]) -> Any:
    """Return the parsed JSON of a value with simple values in place of its marks, as far as they can be read here."""
    try:
        return without_marks(parsed, parts)
    except ImportError:  # NumPy is not installed, and its numbers are left out
        return without_marks(parsed)


def _best_in(data: RunData, connection: sqlite3.Connection) -> dict[str, Scalar]:
    """Return the best number of each metric with a goal."""
    goals = {name: declared.goal for name, declared in data.declared.items() if declared.goal}
    if not goals:
        return {}
    dropped = data.superseded
    packed = map(PackedRow._make, rows(data.path, connection, "points"))
    points = ((row.process, point) for row in packed for point in points_of(data.path, row))
    return best_of(goals, (point[:2] for process, point in points if (process, point[3]) not in dropped))
