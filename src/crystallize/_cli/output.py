"""Tables and JSON on stdout."""

import os
import sys
from collections.abc import Iterable
from itertools import chain
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from .._base.table import Table
from .._base.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

AsCsv: TypeAlias = Annotated[bool, typer.Option("--csv", help="Print a line of CSV for each run.")]

_UNLIMITED: Final = 1_000_000
"""Characters in a line of a pipe."""
_NARROWEST: Final = 8
"""Characters to which a column may be cut."""


def print_json(document: object) -> None:
    """Print a document as JSON on one line."""
    from .._tables.export import json_pieces  # here, as it imports all that reads runs

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


def print_lines(table: Table) -> None:
    """Print a table without its empty columns, each row on one line.

    Much faster than `print_table` for thousands of rows. On a terminal the columns that do not fit are left out: the
    first of these is cut if enough of it fits, and a line below names the others.
    """
    columns = table.columns
    texts = [[printable(row[column] or "") for row in (table.headings, *table.rows)] for column in columns]
    widths = [max(map(len if all(map(str.isascii, column)) else _width, column)) for column in texts]
    is_terminal = sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))
    fitting = len(columns)
    if is_terminal:
        fitting, widths = _fitted(widths, get_terminal_size().columns)
    padded = [
        [text.ljust(width) if text.isascii() and len(text) <= width else _padded(text, width) for text in column]
        for column, width in zip(texts[:fitting], widths[:fitting], strict=True)
    ]
    heading, *lines = ("  ".join(cells).rstrip() for cells in zip(*padded, strict=True))
    print(f"\x1b[1m{heading}\x1b[0m" if is_terminal and os.environ.get("TERM") != "dumb" else heading)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if fitting < len(columns):
        left_out = ", ".join(texts[at][0] for at in range(fitting, len(columns)))
        print(f"not shown: {left_out}")


def _width(text: str) -> int:
    """Return the number of columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # as above

    return cell_len(text)


def _fitted(widths: list[int], most: int) -> tuple[int, list[int]]:
    """Return how many columns fit beside each other, and their widths; the last of them may be cut."""
    used = 0
    for at, width in enumerate(widths):
        start = used + (2 if at else 0)
        if start + width > most:
            left = most - start
            return (at + 1, [*widths[:at], left]) if left >= _NARROWEST or not at else (at, widths)
        used = start + width
    return len(widths), widths


def _padded(text: str, width: int) -> str:
    """Return a text of this width: with spaces after it, or cut, with an ellipsis at its end."""
    found = _width(text)
    if found > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text, found = f"{text}…", _width(text) + 1
    return text + " " * (width - found)


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
