"""The summary of a run: a row in the table of runs, and in the index of a folder.

This file imports nothing that reads runs, so that a folder whose index is fresh is listed at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from math import isnan
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic_core import to_json

Scalar: TypeAlias = str | int | float | bool | None

LONGEST: Final = 1 << 12
"""The bytes of JSON above which a value is not read."""
SMALL_FILE: Final = 1 << 20
"""The bytes of a database up to which its values are read at once, and not looked at one by one."""
_LONGEST_LIST: Final = 200
"""The bytes of JSON above which a list is left out."""
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_NUMBERS: Final = frozenset({int, float, bool})


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
    """The error that ended the run, or else the error of the last failed step in the last process.

    For a file that cannot be read, it is the reason.
    """


def scalars_in(name: str, parsed: Any) -> Iterator[tuple[str, Scalar]]:
    """Return the scalars in parsed JSON, with the names of their columns. A short list is its text."""
    if isinstance(parsed, dict):
        for field, item in parsed.items():
            yield from scalars_in(f"{name}.{field}", item)
    elif type(parsed) in _SCALARS:
        yield name, parsed
    elif len(text := to_json(parsed)) <= _LONGEST_LIST:
        yield name, text.decode()


def best_of(goals: Mapping[str, str], points: Iterable[tuple[str, Any]]) -> dict[str, Scalar]:
    """Return the best number of each metric with a goal, as `Series.best` has it, with the names of their columns."""
    best: dict[str, Any] = {}
    for metric, value in points:
        if metric in goals and type(value) in _NUMBERS:
            known = best.get(metric)
            if known is None or isnan(known) or (value < known if goals[metric] == "minimize" else value > known):
                best[metric] = value
    return {f"best.{name}": value for name, value in best.items()}
