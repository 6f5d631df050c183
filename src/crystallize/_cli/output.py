"""Tables and JSON on stdout."""

import sys
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from .._base.table import Table
from .._base.text import printable
from .._tables.export import json_pieces

if TYPE_CHECKING:
    from rich.console import RenderableType

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_UNLIMITED: Final = 1_000_000
"""Characters in a line of a pipe."""


def print_json(document: object) -> None:
    """Print a document as JSON on one line."""
    print_bytes(chain(json_pieces(document), (b"\n",)))


def print_bytes(chunks: Iterable[bytes]) -> None:
    """Print encoded text, whatever the encoding of the terminal is; on a terminal, with control characters escaped."""
    sys.stdout.buffer.writelines(map(_for_terminal, chunks) if sys.stdout.isatty() else chunks)
    sys.stdout.buffer.flush()


def _for_terminal(chunk: bytes) -> bytes:
    lines = chunk.decode().replace("\r\n", "\n").split("\n")
    return "\n".join(map(printable, lines)).encode()


def print_table(table: Table, *, cut: bool = False) -> None:
    """Print a table without its empty columns; nothing if all are empty.

    With `cut`, each row is one line on a terminal, and its last column is cut to fit.
    """
    from rich.console import Console  # here, as importing it takes long, and not every subcommand prints tables

    if not table.columns:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # Other programs read it, so lines are neither wrapped nor cut.
        console.width = _UNLIMITED
    with console.capture() as captured:
        console.print(drawn(table, console.width, cut=cut))
    # Without the spaces that fill the last column.
    print("\n".join(line.rstrip() for line in captured.get().split("\n")), end="")


def drawn(table: Table, width: int, *, cut: bool = False) -> "RenderableType":
    """Return a table as rich draws it in this width; with `cut`, each row on one line, its last column cut to fit.

    Of a table with columns that are kept, only the first column, of names, is wrapped if it has to be.
    """
    from rich.console import Group  # as above
    from rich.table import Table as Grid
    from rich.text import Text

    table = table.fitted(width)
    columns = table.columns
    grid = Grid(box=None, show_header=any(table.headings), pad_edge=False)
    for column in columns:
        heading = Text(printable(table.headings[column]))
        is_fixed = 0 < column < table.kept or (cut and not table.kept and column < columns[-1])
        grid.add_column(heading, no_wrap=is_fixed, overflow="fold")
    middle = len(table.rows) // 2 if table.left_out else None
    for position, row in enumerate(table.rows):
        if position == middle:
            grid.add_row(f"… and {table.left_out:,} more")
        # In a Text nothing is markup.
        cells = ((printable(row[column] or ""), cut and not (table.kept and column == 0)) for column in columns)
        grid.add_row(*(Text(text, no_wrap=is_cut, overflow="ellipsis" if is_cut else None) for text, is_cut in cells))
    return Group(Text(f"\n{printable(table.title)}", style="bold"), grid) if table.title else grid
