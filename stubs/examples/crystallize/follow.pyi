# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""A run that is being written, looked at again and again: each look reads only what is new.

No look holds anything that its writer waits for: the file is opened, read in one short transaction, and closed.
"""

from pathlib import Path
from typing import NamedTuple
from .export import Description

__all__ = ["Follower", "Look"]

class Look(NamedTuple):
    """A run as it was at one moment."""

    run: Description
    """What it was, did and made, as the file has it."""

    came: dict[str, float]
    """When the newest point of each metric came, by `monotonic`, of those that came since the first look."""

    began: float
    """When the first look was, by the same clock."""

class Follower:
    """Follows one run.

    While it has a writer, a look costs what came since the last one. What the run was in the end, or what there is of
    it after its process died, is read as anybody else reads it.
    """

    def __init__(self, path: Path) -> None:
        """Begin to follow a run.

        Args:
            path: The file of the run.
        """

    def look(self) -> Look:
        """Return the run as it is now.

        Raises:
            RunNotFoundError: There is none, or none any more.
            DamagedRunError: It cannot all be read.
            JournalError: It cannot be opened.
        """
