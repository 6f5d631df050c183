# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The metrics of one run or more, beside one another: their curves, and what came out against the goal of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from .curves import At, Curve, notes
from .drawings import Tick, dots
from .runs import Declared, Run

__all__ = ["Axis", "Cell", "Chart", "Line", "Outcome", "Path", "Preview", "charts"]

class Line(NamedTuple):
    """A curve of one of the runs."""

    run: int
    curve: Curve

class Axis(NamedTuple):
    """A metric of all runs over one axis."""

    name: str
    by: tuple[str, ...]
    """The tags by which it is parted."""

    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    """What is to be said of what is drawn, in sentences."""

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The values of the tags that curves have, each once."""

class Path(NamedTuple):
    """A curve as the path of an SVG."""

    line: str
    dots: str
    """Its points, where they are few or alone."""

    colour: int
    dash: int
    """The numbers of its colour and of its dash."""

class Preview(NamedTuple):
    """What stands in place of a plot until plotly has drawn it, and where there are no scripts."""

    across: tuple[Tick, ...]
    """The marks of its horizontal axis."""

    up: tuple[Tick, ...]
    paths: tuple[Path, ...]

class Cell(NamedTuple):
    """What came out of one curve."""

    best: At | None
    """By the goal of the metric; None where it has none."""

    last: float | None
    newest: str
    """In short the last value that is no number that can be drawn; empty if it is one."""

    path: str
    """How it went, as the path of an SVG."""

    is_best: bool
    """Whether no other run did better."""

class Outcome(NamedTuple):
    """What came out of a metric for some of its tags: a cell for each run, None where a run has no such curve."""

    label: tuple[str, ...]
    cells: tuple[Cell | None, ...]

@dataclass(frozen=True)
class Chart:
    """A metric of all runs."""

    name: str
    declared: Declared
    axes: tuple[Axis, ...]
    """Over each of its axes, the likeliest first; none where no value is a number that can be drawn."""

    counts: tuple[int, ...]
    """How many points each run has."""

    lacking: tuple[int, ...]
    """Of how many of these its file cannot give all back."""

    newest: str
    """The last value of the first run that has one, in short."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What came out, for as many of its curves as a table has room for."""

    @property
    def left_out(self) -> int:
        """How many of its curves are not among the outcomes."""

    @property
    def preview(self) -> Preview:
        """What it looks like over its first axis."""

    def as_data(self, runs: Sequence[str]) -> dict[str, Any]:
        """Return what the script of the page draws it from.

        Args:
            runs: The names of the runs.
        """

def charts(runs: Sequence[Run[Any]]) -> Iterator[Chart]:
    """Return the metrics of runs, each once, in the order in which they were first recorded.

    Args:
        runs: The runs.
    """
