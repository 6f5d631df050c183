"""Tables of texts, for the command line and for notebooks."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

_T = TypeVar("_T")

TableRow: TypeAlias = Sequence[str | None]
"""The cells of a row; None for an empty cell."""

ENDS: Final = 20
"""Rows that a long table shows at its start and at its end. The rows between them are only counted."""


class Table(NamedTuple):
    """A table of texts."""

    title: str
    headings: Sequence[str]
    """The names of the columns; an empty text for a column of names."""
    rows: Sequence[TableRow]
    left_out: int = 0
    """The number of rows that are left out in the middle."""

    @classmethod
    def of(cls, title: str, headings: Sequence[str], items: Sequence[_T], row: Callable[[_T], TableRow]) -> "Table":
        """Return a table with a row for each item, or for the first and last `ENDS` items if there are many."""
        left_out = max(len(items) - 2 * ENDS, 0)
        shown = [*items[:ENDS], *items[-ENDS:]] if left_out else items
        return cls(title, headings, [row(item) for item in shown], left_out)

    def shortened(self, ends: int) -> "Table":
        """Return the table with at most `ends` rows at its start and as many at its end."""
        left_out = max(len(self.rows) - 2 * ends, 0)
        rows = [*self.rows[:ends], *self.rows[-ends:]] if left_out else self.rows
        return self._replace(rows=rows, left_out=self.left_out + left_out)

    @property
    def columns(self) -> list[int]:
        """The indices of the columns that are not empty."""
        return [column for column in range(len(self.headings)) if any(row[column] for row in self.rows)]


class TableDisplay:
    """A mixin for objects that notebooks show as tables."""

    __slots__ = ()

    @abstractmethod
    def __notebook_tables__(self) -> tuple[Table, ...]: ...

    def _repr_html_(self) -> str:
        """Return the tables of the object as HTML, for notebooks."""
        from .html import as_html  # only notebooks need it

        return as_html(*self.__notebook_tables__())
