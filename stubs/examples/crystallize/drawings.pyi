# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Where things stand in the drawings of a page: steps on a time axis, a lineage, a curve in a line of text."""

from collections.abc import Iterable
from typing import NamedTuple
from .curves import Curve
from .export import Description, StepAttempt

__all__ = [
    "Bar",
    "Bounds",
    "Column",
    "Life",
    "Span",
    "Tick",
    "Timeline",
    "Weave",
    "bounds",
    "dots",
    "marks",
    "spark",
    "timeline",
    "weave",
]

class Tick(NamedTuple):
    """A mark of the time axis."""

    left: float
    """Its place, in percent."""

    text: str

class Bar(NamedTuple):
    """An opening of a step, as the time axis shows it."""

    attempt: StepAttempt
    depth: int
    """How many steps are shown around it."""

    label: str
    """Its name, without those of the steps around it."""

    is_dead: bool
    """Whether what it did is not in the run."""

    left: float
    """Where it begins, in percent."""

    width: float

class Span(NamedTuple):
    """A process that wrote the run, as the time axis shows it."""

    number: int
    left: float
    """Where it begins, in percent."""

    bars: tuple[Bar, ...]

class Timeline(NamedTuple):
    """The steps of a run on a time axis. Between two processes no time passes on it."""

    spans: tuple[Span, ...]
    ticks: tuple[Tick, ...]
    left_out: int
    """How many steps are not shown."""

    unfinished_left_out: int
    """How many of these did not finish, or were done again."""

def timeline(run: Description) -> Timeline:
    """Lay the steps of a run out on a time axis.

    Args:
        run: The run.
    """

class Column(NamedTuple):
    """A step in a lineage, or several that did alike."""

    label: str
    first: int
    """The first of the keys that it read or wrote, as a row."""

    last: int

class Life(NamedTuple):
    """A key in a lineage: a row, from where it was written to where it was read last."""

    key: str
    writer: int | None
    """The column of the step that wrote it; None where no step did."""

    readers: tuple[int, ...]
    """The columns of the steps that read it."""

    passed: tuple[int, ...]
    """The columns of steps that may use it, as a step within or around them has read it."""

    kin: tuple[int, ...]
    """The rows of the keys that it was made from, and that were made from it."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The columns of all steps that had to do with it."""

class Weave(NamedTuple):
    """Which key went into which step, and which came out: a row a key, a column a step, in the order of time."""

    columns: tuple[Column, ...]
    lives: tuple[Life, ...]
    left_out: int
    """How many keys and steps are not shown."""

def weave(run: Description) -> Weave:
    """Lay the lineage of a run out.

    Args:
        run: The run.
    """

class Bounds(NamedTuple):
    """What curves lie within."""

    left: float
    right: float
    low: float
    high: float

def bounds(curves: Iterable[Curve]) -> Bounds | None:
    """Return what curves lie within; None where none of them has a number."""

def marks(low: float, high: float) -> tuple[Tick, ...]:
    """Return the marks of an axis: at round numbers, or, where there are none that differ in a few digits, at its ends.

    Args:
        low: Where the axis begins.
        high: Where it ends.
    """

def spark(curve: Curve, within: Bounds, width: int, height: int) -> str:
    """Return a curve as the path of an SVG, thinned to the columns of a box.

    Args:
        curve: The curve.
        within: What the box stands for, from left to right and from bottom to top.
        width: Of the box.
        height: Of the box.
    """

def dots(curve: Curve, places: Iterable[int], within: Bounds, width: int, height: int) -> str:
    """Return points of a curve as the path of an SVG, of which each part is as large as the stroke.

    Args:
        curve: The curve.
        places: Which of its points.
        within: What the box stands for, from left to right and from bottom to top.
        width: Of the box.
        height: Of the box.
    """
