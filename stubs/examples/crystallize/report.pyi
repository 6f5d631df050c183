# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""A run as one HTML page, which opens offline and needs nothing beside it.

What a run holds is data on it, never markup or script: texts are escaped where they stand, the curves are JSON, and a
Content-Security-Policy allows the two scripts of the page by their digests, and nothing from elsewhere.
"""

import os
from collections.abc import Sequence
from typing import Any
from .runs import Run

__all__ = ["write_report"]

def write_report(run: Run[Any], path: str | os.PathLike[str], *, beside: Run[Any] | Sequence[Run[Any]] = ()) -> None:
    """Write a run as one HTML page.

    Args:
        run: The run, as `load_run` gives it.
        path: The file to write; one that is there is written over.
        beside: Another run, or others, to compare it with.

    Raises:
        FrameError: What was given is no run, or a run was given twice.
        JournalError: It would be written over the file of a run.
        MissingExtraError: Jinja2 or plotly is not installed.
        OSError: The file cannot be written.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> write_report(load_run("runs/digits-0001.db"), "digits.html")
    """
