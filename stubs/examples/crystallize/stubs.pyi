# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Stubs of this package that know the keys of a project's schemas, so that `ctx["lr"]` has its type."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from .listings import Refused

__all__ = ["Changed", "Stubs", "make_stubs"]

class Changed(NamedTuple):
    """A file that is not as it would be written.

    Example:
        >>> from pathlib import Path
        >>> from crystallize.stubs import make_stubs
        >>> make_stubs(["pipeline.schemas"]).changed(Path("stubs"))[0].how
        'missing'
    """

    path: Path
    how: Literal["missing", "stale", "left over"]

class Stubs(NamedTuple):
    """The stubs of this package for some schemas.

    Example:
        >>> from pathlib import Path
        >>> from crystallize.stubs import make_stubs
        >>> stubs = make_stubs(["pipeline.schemas"])
        >>> len(stubs.write(Path("stubs"))) == len(stubs.files)
        True
        >>> stubs.changed(Path("stubs"))
        []
    """

    files: Mapping[str, str]
    """The text of each file, by its path within a folder of stubs."""

    schemas: tuple[str, ...]
    """The schemas whose keys have their types in it."""

    metrics: tuple[str, ...]
    """The names of the metrics that have theirs."""

    refused: tuple[Refused, ...]
    """The schemas that no stub can be written of. Their contexts stay as they are without stubs."""

    def changed(self, folder: Path) -> list[Changed]:
        """Return the files in a folder that are not as these are, in the order of their names.

        Args:
            folder: A folder of stubs, with those of other packages beside these.
        """

    def write(self, folder: Path) -> list[Changed]:
        """Write what has changed, and delete what was written once and is no more part of it.

        Args:
            folder: A folder of stubs. What this command has not written stays as it is.

        Returns:
            The files that were not as they are now.

        Raises:
            StubsError: Something else stands in the place of a file or folder, and nothing is written.
        """

def make_stubs(modules: Sequence[str]) -> Stubs:
    """Make stubs of this package in which the keys of some schemas, and the names of their metrics, have types.

    Args:
        modules: The names of the modules that declare them. They are imported.

    Returns:
        The stubs, to be written to a folder on the search path of type checkers.

    Raises:
        StubsError: A module cannot be imported, or declares no schema that a stub can be written of.

    Example:
        >>> made = make_stubs(["pipeline.schemas"])
        >>> made.metrics
        ('accuracy', 'loss', 'rows')
    """
