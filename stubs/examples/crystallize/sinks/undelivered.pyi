# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What a sink's backend did not get: told at once, counted, and told again at the end."""

from collections import Counter
from collections.abc import Mapping

__all__ = ["Undelivered"]
REASONS: int
"""Reasons that are kept apart, at the most; there may be one a point."""

class Undelivered:
    """Counts what is not delivered.

    Example:
        >>> undelivered = Undelivered("Printer")
        >>> undelivered.note("point", "the paper is out")
        >>> undelivered.counts
        Counter({('point', 'the paper is out'): 1})

    Attributes:
        sink: The sink's name.
        counts: How many, by what they are and why.
    """

    sink: str
    counts: Counter[tuple[str, str]]

    def __init__(self, sink: str) -> None: ...
    def note(self, kind: str, reason: str, count: int = 1) -> None:
        """Note that something is not delivered, and say so in the log, for each reason once.

        Args:
            kind: What it is, in one word, as "point".
            reason: Why it is not, in one line.
            count: How many there are.
        """

    def warn(self, last: Mapping[tuple[str, str], int] = ...) -> None:
        """Say at the end how much there is.

        Args:
            last: What was found undelivered just now, counted in the same way.

        Warns:
            UndeliveredWarning: There is something.
        """
