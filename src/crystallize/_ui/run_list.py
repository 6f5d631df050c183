"""The table of runs as the application shows it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from .._base.text import counted, printable
from .._tables.run_rows import RunRows, cell, flat

_MAX_COLUMNS: Final = 40


class ListedColumn(NamedTuple):
    """A column of the table."""

    name: str
    heading: str
    is_number: bool
    sort: str
    """The text that sorts by this column if its heading is pressed."""
    direction: str
    """The value of `aria-sort`."""
    texts: tuple[str | None, ...]
    """The text of each run."""


@dataclass(frozen=True)
class ListedRuns:
    """The runs to show, in order, with the ones that are ticked."""

    table: RunRows
    sort: str
    """A column by which they are sorted, as "lr:desc"; empty for the newest first."""
    ticked: frozenset[str]

    @cached_property
    def rows(self) -> RunRows:
        """The runs in the order of the page: the newest first, unless they are sorted."""
        return self.table if self.sort else self.table._replace(rows=self.table.rows[::-1])

    @property
    def names(self) -> list[str]:
        """The names of the runs."""
        return [str(row["run"]) for row in self.rows.rows]

    @property
    def count(self) -> str:
        """The number of runs, as text."""
        return counted(len(self.table.rows), "run")

    @cached_property
    def columns(self) -> list[ListedColumn]:
        """The columns that are not empty, with the name of the run first."""
        found = (self._column(name) for name in self.table.default_columns())
        return [column for column in found if any(column.texts)][:_MAX_COLUMNS]

    def _column(self, name: str) -> ListedColumn:
        values = [flat(row.get(name)) for row in self.rows.rows]
        present = [value for value in values if value is not None]
        is_number = bool(present) and all(type(value) in (int, float) for value in present)
        column, _, direction = self.sort.partition(":")
        is_sorted = bool(column) and "," not in self.sort and self.table.names.resolve(column, "sort") == name
        is_ascending = is_sorted and direction != "desc"
        return ListedColumn(
            name,
            printable("started (UTC)" if name == "started" else self.table.names.shortest(name)),
            is_number,
            f"{name}:desc" if is_ascending else name,
            ("ascending" if is_ascending else "descending") if is_sorted else "none",
            tuple(cell(name, value) for value in values),
        )
