"""Tables of texts, for the command line and for notebooks."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

_T = TypeVar("_T")

TableRow: TypeAlias = Sequence[str | None]
"""The cells of a row; None for an empty cell."""

ENDS: Final = 20
"""Rows that a long table shows at its start and at its end. The rows between them are only counted."""


_GAP: Final = 2
"""Spaces between two columns."""
_LONGEST: Final = 60
"""Maximum characters of a text in a column that several were made of."""


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class Table(NamedTuple):
    """A table of texts."""

    title: str
    headings: Sequence[str]
    """The names of the columns; an empty text for a column of names."""
    rows: Sequence[TableRow]
    left_out: int = 0
    """The number of rows that are left out in the middle."""
    kept: int = 0
    """The number of first columns that stay as they are where the table is too wide; 0 if all are alike."""

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

    def fitted(self, width: int) -> "Table":
        """Return the table with the other columns as one, in which texts are shortened, if it is wider than this.

        The last column of them, which is for an error, is not shortened.
        """
        columns = self.columns
        widths = [max(map(len, (self.headings[at], *(row[at] or "" for row in self.rows)))) for at in columns]
        others = [at for at in columns if at >= self.kept]
        if not self.kept or len(others) < 2 or sum(widths) + _GAP * (len(widths) - 1) <= width:
            return self

        def merged(row: TableRow) -> str:
            texts = ((self.headings[at], row[at] or "", at == len(self.headings) - 1) for at in others)
            return "; ".join(f"{name} {text if whole else _shortened(text)}" for name, text, whole in texts if text)

        first = [at for at in columns if at < self.kept]
        rows = [(*(row[at] for at in first), merged(row)) for row in self.rows]
        return self._replace(headings=(*(self.headings[at] for at in first), ""), rows=rows, kept=len(first))

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
