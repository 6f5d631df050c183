"""Tables of what is there to be looked at, and as HTML what a notebook shows in place of a repr.

No colours, so that they are read in any theme; a caption, and headings with their scope, so that they are heard as
well as seen; all that they are given is text, and never markup.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from .text import cut, printable

__all__ = ["ENDS", "Table", "TableRow", "as_html"]

_T = TypeVar("_T")

TableRow: TypeAlias = Sequence[str | None]
"""The cells of a row; None where there is nothing to say."""

ENDS: Final = 20
"""Rows at either end of a long table: what lies between is counted, not shown."""


class Table(NamedTuple):
    """A table of texts."""

    title: str
    headings: Sequence[str]
    """The names of the columns; empty where the first one is of names itself."""
    rows: Sequence[TableRow]
    left_out: int = 0
    """How many rows are left out in the middle."""

    @classmethod
    def of(cls, title: str, headings: Sequence[str], items: Sequence[_T], row: Callable[[_T], TableRow]) -> "Table":
        """Return a table with a row for each item; of many, for the first and the last ones.

        Args:
            title: What stands above.
            headings: The names of the columns.
            items: What the table is of.
            row: Makes a row of an item.
        """
        left_out = max(len(items) - 2 * ENDS, 0)
        shown = [*items[:ENDS], *items[-ENDS:]] if left_out else items
        return cls(title, headings, [row(item) for item in shown], left_out)

    def shortened(self, ends: int) -> "Table":
        """Return the table with its first and its last rows alone.

        Args:
            ends: How many rows it has at either end, at the most.
        """
        left_out = max(len(self.rows) - 2 * ends, 0)
        rows = [*self.rows[:ends], *self.rows[-ends:]] if left_out else self.rows
        return self._replace(rows=rows, left_out=self.left_out + left_out)

    @property
    def columns(self) -> list[int]:
        """The places of the columns that are not empty."""
        return [at for at in range(len(self.headings)) if any(row[at] for row in self.rows)]


def as_html(first: Table, *others: Table) -> str:
    """Return tables as HTML, without the columns that are empty.

    Args:
        first: The table on top. If nothing is in it, it is its title alone.
        *others: Those below it. If nothing is in them, they are left out.
    """
    return "\n".join("\n".join(_lines(table)) for table in (first, *(table for table in others if table.columns)))


_CELL = 'style="text-align: left"'
"""Notebooks align cells to the right, where text is hard to read."""
_SHORT_CELL = 'style="text-align: left; white-space: nowrap"'
_CAPTION = 'style="text-align: left; white-space: nowrap; font-weight: bold"'
_SHORT = 40
"""Characters of a text that stays on one line, however many columns there are."""


def _lines(table: Table) -> Iterator[str]:
    columns = table.columns
    yield f"<table>\n<caption {_CAPTION}>{_text(table.title)}</caption>"
    if any(table.headings) and columns:
        headings = (_cell("th", table.headings[at], 'scope="col" ') for at in columns)
        yield f"<thead><tr>{''.join(headings)}</tr></thead>"
    yield "<tbody>"
    middle = len(table.rows) // 2 if table.left_out else None
    for place, row in enumerate(table.rows if columns else ()):
        if place == middle:
            yield f'<tr><td colspan="{len(columns)}" {_CELL}>… and {table.left_out:,} more</td></tr>'
        first, *rest = (row[at] or "" for at in columns)
        cells = (_cell("th", first, 'scope="row" '), *(_cell("td", text) for text in rest))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table>"


def _cell(tag: str, text: str, scope: str = "") -> str:
    return f"<{tag} {scope}{_SHORT_CELL if len(text) <= _SHORT else _CELL}>{_text(text)}</{tag}>"


def _text(text: str) -> str:
    from html import escape  # here, since importing the package is to cost little

    return escape(cut(printable(text)))


class TableDisplay:
    """Shows an object in a notebook as tables."""

    __slots__ = ()

    def _notebook_tables(self) -> "Sequence[Table]":
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """Return the tables as HTML, for notebooks."""
        return as_html(*self._notebook_tables())
