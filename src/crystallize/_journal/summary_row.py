"""The summary of a run: a row in the table of runs, and in the index of a folder.

This file imports nothing that reads runs, so that a folder whose index is fresh is listed at once.
"""

from datetime import datetime
from typing import NamedTuple, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None


class RunSummary(NamedTuple):
    """A run in short."""

    run: str
    """The name of the file without its suffix, by which `find_run` finds it."""
    status: str
    """The `Run.status`, or "damaged" or "unreadable"."""
    scalars: dict[str, Scalar]
    """The inputs as "inputs.lr", the other values as "values.accuracy", the best of metrics as "best.loss". The fields
    of dicts and models have names with dots."""
    started: datetime | None = None
    """In UTC, as `ended` is."""
    ended: datetime | None = None
    took: float | None = None
    """Seconds of work, without the time between two processes; None if the run died, or cannot be read."""
    steps: int | None = None
    """The number of steps that were opened."""
    steps_finished: int | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None
    parent: str | None = None
    """The run from which it takes steps over."""
    error: str | None = None
    """The error that ended the run, else that of the last step that failed in the last process; or the reason why the
    file cannot be read."""
