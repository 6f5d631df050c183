"""The table of runs: a row for each run, with its facts, inputs, scalar values and best metrics as columns."""

import math
import os
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from .._base.collector import collector_paused
from .._base.text import cut, lasted, moment, one_line
from .._journal.run_index import summaries_of
from .._journal.summary_row import RunSummary, Scalar
from ..errors import FrameError
from .column_names import KINDS, ColumnNames
from .run_filter import condition

RunRow: TypeAlias = dict[str, Scalar | datetime | tuple[str, ...]]
"""The cells of a run, by the names of the columns. A column that a run does not have is not in it."""

_FIRST: Final = ("run", "status", "started", "took")
_LAST: Final = ("steps", "steps_finished", "ended", "tags", "note", "parent", "error")
_LEFT_OUT: Final = ("steps", "steps_finished", "ended")
"""Columns that are shown only if they are named."""


class RunRows(NamedTuple):
    """A table of runs."""

    names: ColumnNames
    """The columns that any run of the folder has."""
    rows: list[RunRow]

    def where(self, text: str) -> "RunRows":
        """Return the runs that fulfil a condition; see `condition`."""
        is_fulfilled = condition(text, self.names)
        return self._replace(rows=[row for row in self.rows if is_fulfilled(row)])

    def last(self, count: int) -> "RunRows":
        """Return the newest runs."""
        if count < 0:
            raise FrameError(f"last={count}", "it is the number of runs, from 0")
        return self._replace(rows=self.rows[len(self.rows) - min(count, len(self.rows)) :])

    def sorted(self, text: str) -> "RunRows":
        """Return the runs sorted by a column, as "lr", or by several, as "lr,accuracy:desc".

        Texts are greater than numbers. Runs without a value come last in both directions.
        """
        rows = [*self.rows]
        for part in reversed(text.split(",")):
            name, _, direction = part.strip().partition(":")
            if direction not in ("", "asc", "desc"):
                raise FrameError(f"sort={text!r}", f"{direction!r} is no direction; write {name}:desc, or {name}")
            column = self.names.resolve(name, f"sort={text!r}")
            has = [row for row in rows if not _is_missing(row.get(column))]
            lacks = [row for row in rows if _is_missing(row.get(column))]
            has.sort(key=lambda row: _rank(row[column]), reverse=direction == "desc")
            rows = [*has, *lacks]
        return self._replace(rows=rows)

    def columns(self, texts: Iterable[str]) -> list[str]:
        """Return the full names of columns, which may be given by short names, with `run` before them."""
        subject = f"columns={','.join(texts := [*texts])!r}"
        return [*dict.fromkeys(["run", *(self.names.resolve(text.strip(), subject) for text in texts)])]

    def default_columns(self) -> list[str]:
        """Return the columns that are shown if none are named: no inputs that are the same in all runs."""
        shared = {*self.shared("inputs")}
        return [name for name in self.names.full if name not in (*_LEFT_OUT, *shared)]

    def shared(self, *kinds: str) -> list[str]:
        """Return the columns of some kinds in which all runs that could be read have the same."""
        rows = [row for row in self.rows if row["started"] is not None]
        columns = [name for name in self.names.full if name.partition(".")[0] in kinds]
        return [name for name in columns if len({_identity(row.get(name)) for row in rows}) <= 1]


@collector_paused()
def read_runs(folder: str | os.PathLike[str], names: Collection[str] | None = None) -> RunRows:
    """Return the table of the runs in a folder, or of those with these names; the newest is the last."""
    found = [run for run in summaries_of(Path(folder)) if names is None or run.run in names]
    # A run that cannot be read comes where its name is.
    newest = _EARLIEST
    keyed = []
    for place, run in enumerate(found):
        newest = run.started or newest
        keyed.append((newest, place, run))
    keyed.sort(key=lambda key: key[:2])
    return table_of(run for *_, run in keyed)


def table_of(runs: Iterable[RunSummary]) -> RunRows:
    """Return the table of some runs."""
    rows: list[RunRow] = []
    seen = set[str]()
    own: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    for run in runs:
        row: dict[str, Any] = dict(zip(RunSummary._fields, run, strict=True))
        scalars = row.pop("scalars")
        rows.append(row | scalars)
        # Mostly they are those of the run before.
        if not seen >= scalars.keys():
            seen |= scalars.keys()
            for name in scalars:
                own[name.partition(".")[0]][name] = None
    return RunRows(ColumnNames([*_FIRST, *(name for kind in KINDS for name in own[kind]), *_LAST]), rows)


def chosen_runs(table: RunRows, where: str | None, sort: str | None, last: int | None) -> RunRows:
    """Return the newest runs that fulfil a condition, sorted. An argument that is None changes nothing."""
    if not table.rows:
        return table
    table = table if where is None else table.where(where)
    table = table if last is None else table.last(last)
    return table if sort is None else table.sorted(sort)


_EARLIEST: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _is_missing(value: Any) -> bool:
    return value is None or value == () or (isinstance(value, float) and math.isnan(value))


def _rank(value: Any) -> tuple[bool, Any]:
    value = ", ".join(value) if isinstance(value, tuple) else value
    is_text = isinstance(value, str)
    return (is_text, value.timestamp() if isinstance(value, datetime) else value)


def _identity(value: Any) -> Any:
    """Return an object by which values are compared: 1 and True differ, and NaN equals itself."""
    return str(value) if isinstance(value, bool) or value != value else (value,)


@lru_cache(maxsize=1 << 12, typed=True)
def cell(column: str, value: Any) -> str | None:
    """Return the text of a cell; None if there is nothing to show. Floats have six significant digits."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return one_line(", ".join(value))
    if column == "took":
        return lasted(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return cut(one_line(str(value))) if column == "note" else one_line(str(value))


def flat(value: Any) -> Any:
    """Return a cell for a file in which each cell is one value: tags are one text."""
    return (", ".join(value) or None) if isinstance(value, tuple) else value


def cells(rows: Sequence[RunRow], columns: Sequence[str]) -> list[list[str | None]]:
    """Return the texts of a table."""
    return [[cell(column, row.get(column)) for column in columns] for row in rows]
