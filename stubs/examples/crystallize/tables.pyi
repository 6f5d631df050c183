# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Tables of what is there to be looked at, and as HTML what a notebook shows in place of a repr.

No colours, so that they are read in any theme; a caption, and headings with their scope, so that they are heard as
well as seen; all that they are given is text, and never markup.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

__all__ = ["ENDS", "Row", "Table", "as_html"]
_T = TypeVar("_T")
Row: TypeAlias = Sequence[str | None]
"""The cells of a row; None where there is nothing to say."""

ENDS: int
"""Rows at either end of a long table: what lies between is counted, not shown."""

class Table(NamedTuple):
    """A table of texts."""

    title: str
    headings: Sequence[str]
    """The names of the columns; empty where the first one is of names itself."""

    rows: Sequence[Row]
    left_out: int = 0
    """How many rows are left out in the middle."""

    @classmethod
    def of(cls, title: str, headings: Sequence[str], items: Sequence[_T], row: Callable[[_T], Row]) -> Table:
        """Return a table with a row for each item; of many, for the first and the last ones.

        Args:
            title: What stands above.
            headings: The names of the columns.
            items: What the table is of.
            row: Makes a row of an item.
        """

    def shortened(self, ends: int) -> Table:
        """Return the table with its first and its last rows alone.

        Args:
            ends: How many rows it has at either end, at the most.
        """

    @property
    def columns(self) -> list[int]:
        """The places of the columns that are not empty."""

def as_html(first: Table, *others: Table) -> str:
    """Return tables as HTML, without the columns that are empty.

    Args:
        first: The table on top. If nothing is in it, it is its title alone.
        *others: Those below it. If nothing is in them, they are left out.
    """
