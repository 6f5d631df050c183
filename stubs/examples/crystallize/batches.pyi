# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The points of a run in a file, a batch at a time, where they are too many to be in memory at once."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from .metrics import MetricSchema
from .points import Piece
from .runs import Content

__all__ = ["BATCH", "Series", "StoredPoints"]
BATCH: int
"""Points in a batch, or a few more."""

Series: TypeAlias = dict[str, list[Piece]]
"""Points by their metric."""

class StoredPoints:
    """The points of a run, as often as they are asked for.

    They come in the order in which they were written, and not one series after the other.

    Attributes:
        steps: The steps by the numbers of their scopes, after None for no step.
    """

    steps: list[str | None]

    def __init__(
        self,
        content: Content,
        rows: Callable[[], Iterator[tuple[Any, ...]]],
        metrics: type[MetricSchema] | None = None,
    ) -> None:
        """Take a run that is open.

        Args:
            content: What it holds besides its points.
            rows: Returns the rows of its points.
            metrics: What they are measured by; None: they are of JSON's types.
        """

    def first_look(self) -> Iterator[Series]:
        """Return all points a batch at a time, to see what there is; their places are not known before its end."""

    def batches(self) -> Iterator[Series]:
        """Return all points a batch at a time, after a first look, each with its place in its series."""
