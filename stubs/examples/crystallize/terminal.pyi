# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""A run on the terminal: the tables of what there is to say of it, and how a table is drawn."""

from collections.abc import Iterator, Mapping
from .export import Description, StepAttempt, ValueRow
from .tables import Row, Table
from rich.console import RenderableType

__all__ = ["drawn", "facts_table", "made_by", "print_table", "shown_value", "tables_of"]

def tables_of(run: Description) -> Iterator[Table]:
    """Return all there is to say of a run, from top to bottom.

    Args:
        run: The run.
    """

def facts_table(title: str, facts: Mapping[str, str | None]) -> Table:
    """Return a table of facts by their names.

    Args:
        title: What stands above.
        facts: The facts; what is None or empty is left out.
    """

def shown_value(row: ValueRow) -> str:
    """Return a value in short, or what stands in its place."""

def made_by(one: StepAttempt) -> Row:
    """Return what a step wrote, recorded and added, as cells of a table."""

def print_table(table: Table, *, cut: bool = False) -> None:
    """Print a table, without the columns that are empty; nothing where nothing is in it.

    Args:
        table: The table.
        cut: Whether on a terminal a row is one line, of which the last column is cut.
    """

def drawn(table: Table, *, cut: bool = False) -> RenderableType:
    """Return a table as rich draws it.

    Args:
        table: The table.
        cut: Whether a row is one line, of which the last column is cut.
    """
