# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Tables of points: which columns there are, of which types, and how they are filled."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from .metrics import Metric
from .points import Piece
from .runs import Declared
import pyarrow as pa

__all__ = ["Layout", "Source"]

@dataclass(frozen=True)
class Source:
    """Whose points they are."""

    run: str | None = None
    steps: Sequence[str | None] = ...
    """The steps by the numbers of their scopes."""

    metrics: Mapping[str, Metric[Any, Any] | None] = field(default_factory=dict)
    """By name; None where it was not declared."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The values that the run began with, where they are to be columns."""

    declared: Mapping[str, Declared] = field(default_factory=dict)
    """What the file of a run says of its metrics besides their types."""

class Layout:
    """The columns of a table, made for what was declared and what was seen."""

    def __init__(self) -> None: ...
    def declare(self, source: Source) -> None:
        """Make columns for what is known of a run without its points."""

    def see(self, name: str, pieces: Iterable[Piece]) -> None:
        """Make columns for points.

        Args:
            name: Their metric.
            pieces: The points.
        """

    @cached_property
    def schema(self) -> pa.Schema:
        """The names and types of the columns; its metadata says what is known of the metrics."""

    def batches(self, source: Source, name: str, pieces: Iterable[Piece]) -> Iterator[pa.RecordBatch]:
        """Return points as batches, which are large unless the points are few.

        Args:
            source: Whose they are.
            name: Their metric.
            pieces: The points.
        """
