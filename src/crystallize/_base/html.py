"""HTML tables for notebooks.

They have no colours, so that they are readable in any theme. They have a caption, and headings with a scope, so that
screen readers can read them out. All titles and cells are text: markup in them is escaped.
"""

from collections.abc import Iterator
from html import escape
from typing import Final

from .table import Table
from .text import cut, printable

_CELL: Final = 'style="text-align: left"'
"""Notebooks align cells to the right, which makes text hard to read."""
_SHORT_CELL: Final = 'style="text-align: left; white-space: nowrap"'
_CAPTION: Final = 'style="text-align: left; white-space: nowrap; font-weight: bold"'
_SHORT: Final = 40
"""Characters of the longest text that is never wrapped, however many columns there are."""


def as_html(first: Table, *others: Table) -> str:
    """Return tables as HTML, without empty columns. If `first` is empty, its title is shown; empty others are not."""
    return "\n".join("\n".join(_lines(table)) for table in (first, *(table for table in others if table.columns)))


def _lines(table: Table) -> Iterator[str]:
    columns = table.columns
    yield f"<table>\n<caption {_CAPTION}>{_text(table.title)}</caption>"
    if any(table.headings) and columns:
        headings = (_cell("th", table.headings[column], 'scope="col" ') for column in columns)
        yield f"<thead><tr>{''.join(headings)}</tr></thead>"
    yield "<tbody>"
    middle = len(table.rows) // 2 if table.left_out else None
    for number, row in enumerate(table.rows if columns else ()):
        if number == middle:
            yield f'<tr><td colspan="{len(columns)}" {_CELL}>… and {table.left_out:,} more</td></tr>'
        first, *rest = (row[column] or "" for column in columns)
        cells = (_cell("th", first, 'scope="row" '), *(_cell("td", text) for text in rest))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table>"


def _cell(tag: str, text: str, scope: str = "") -> str:
    return f"<{tag} {scope}{_SHORT_CELL if len(text) <= _SHORT else _CELL}>{_text(text)}</{tag}>"


def _text(text: str) -> str:
    return escape(cut(printable(text)))
