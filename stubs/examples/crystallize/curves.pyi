# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Series as curves: parted by their tags, and thinned to what a plot can show."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple
from .metrics import Series

__all__ = [
    "COLUMNS",
    "MOST",
    "POSITION",
    "At",
    "Curve",
    "Curves",
    "Points",
    "alone",
    "are_numbers",
    "curves",
    "notes",
    "parted_by",
    "points_of",
    "thin",
]
COLUMNS: int
"""Columns of pixels that the widest plot has."""

MOST: int
"""Curves that one plot shows, at the most, and numbers by which a tag parts a series into curves."""

POSITION: str
"""The axis that every series has: the place of a point in it, from 0."""

@dataclass(frozen=True)
class Points:
    """A series by columns."""

    values: list[float | None]
    """The values; None where one is no number that can be drawn."""

    stored: list[Any]
    """The values as the series holds them."""

    tags: dict[str, list[Any]]
    """Each tag, with None where a point does not have it."""

    @cached_property
    def changing(self) -> tuple[str, ...]:
        """The tags that are numbers and not always the same one; the one of most numbers first."""

    @property
    def axes(self) -> tuple[str, ...]:
        """What it can be plotted over, the likeliest first."""

    def along(self, axis: str) -> list[float]:
        """Return where its points stand on an axis."""

class At(NamedTuple):
    """A value, and where on the axis it is."""

    x: float
    y: float

@dataclass(frozen=True, slots=True)
class Curve:
    """The points of a series that have some tags in common, as a plot shows them."""

    label: tuple[str, ...]
    """The values of those tags, as text."""

    x: list[float]
    y: list[float | None]
    """The values that are shown, with None for a gap."""

    count: int
    """How many points there are."""

    gaps: int
    """How many of these are no number that can be drawn: one that is finite, and that a float can hold."""

    least: At | None
    """The least of its values, the first of equals; None where none can be drawn."""

    most: At | None
    last: float | None
    """The newest value; None if it cannot be drawn."""

    newest: str = ""
    """In short the newest value that cannot be drawn; empty if it can."""

    def best(self, goal: Literal["minimize", "maximize"] | None) -> At | None:
        """Return the best value by a goal; None where there is none."""

@dataclass(frozen=True, slots=True)
class Curves:
    """A series over one axis."""

    axis: str
    by: tuple[str, ...]
    """The tags by which it is parted."""

    shown: tuple[Curve, ...]
    left_out: int
    """How many more there are."""

def notes(shown: Sequence[Curve], left_out: int) -> tuple[str, ...]:
    """Say in sentences what a plot does not show.

    Args:
        shown: Its curves.
        left_out: How many more there are.
    """

def points_of(series: Series[Any, Any]) -> Points:
    """Return a series by columns.

    Args:
        series: The series, or a part of one.
    """

def parted_by(points: Points, axis: str) -> tuple[str, ...]:
    """Return the tags that part a series into curves over an axis.

    A tag does unless it is the axis, or has more than `MOST` numbers as values. Over the position, the tag that changes
    most does neither: it is what goes on along a curve.

    Args:
        points: The series.
        axis: One of its axes.
    """

def curves(points: Points, axis: str | None = None, *, by: tuple[str, ...] | None = None, columns: int = ...) -> Curves:
    """Part a series by its tags, and thin each part.

    Args:
        points: The series.
        axis: What to plot it over, one of its axes; None: the first of them.
        by: The tags that part it; None: as `parted_by` has it.
        columns: How many columns of pixels there are.
    """

def are_numbers(column: list[Any]) -> bool:
    """Whether all of a column are finite numbers."""

def thin(x: Sequence[float], y: Sequence[float | None], columns: int = ...) -> list[int]:
    """Return the places of the points that are to be drawn, so that a plot of them looks as one of all points does.

    Of each column of pixels these are the first, the last, the least and the most, and a gap if there is one; with a
    logarithmic axis also of each column there. Up to four points a column, all are drawn.

    Args:
        x: Where the points stand, finite.
        y: Their values; None is a gap.
        columns: How many columns of pixels there are.

    Returns:
        Places, in order.
    """

def alone(y: Sequence[float | None]) -> list[int]:
    """Return the places of the values that are alone between gaps, through which no line goes."""
