"""The earlier run that a run names as the one from which it takes steps over."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class ParentRun(NamedTuple):
    """The earlier run from which a run takes steps over."""

    path: str
    """The path of its file; only the name of the file if that is in the folder of this run."""
    has_older: bool
    """Whether steps may also come from the older runs of the same name."""

    @property
    def name(self) -> str:
        """The name of the run, as `find_run` takes it."""
        return Path(self.path).stem


def parent_of(rows: Iterable[Sequence[Any]]) -> ParentRun | None:
    """Return the earlier run in the rows of `parents`; None if there is none."""
    return next((ParentRun(path, bool(has_older)) for _, path, has_older in rows), None)
