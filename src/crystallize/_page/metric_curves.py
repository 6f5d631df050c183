"""Series as curves: parted by their tags, and thinned to what a plot can show."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from math import isfinite
from operator import le
from typing import Any, Final, Literal, NamedTuple

from .._base.text import counted, printable, short
from .._core.codec import json_view
from .._core.object_parts import PLAIN
from .._core.point_log import fetch
from .._core.series import Series

__all__ = [
    *("COLUMNS", "MOST", "POSITION", "At", "Curve", "Curves", "Points"),
    *("alone", "are_numbers", "curves", "notes", "parted_by", "points_of", "thin"),
]

COLUMNS: Final = 1000
"""Columns of pixels that the widest plot has."""

MOST: Final = 24
"""Curves that one plot shows, at the most, and numbers by which a tag parts a series into curves."""

POSITION: Final = "position"
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
        counts = {tag: len(set(column)) for tag, column in self.tags.items() if are_numbers(column)}
        return tuple(sorted((tag for tag in counts if counts[tag] > 1), key=lambda tag: -counts[tag]))

    @property
    def axes(self) -> tuple[str, ...]:
        """What it can be plotted over, the likeliest first."""
        return self.changing if POSITION in self.changing else (*self.changing, POSITION)

    def along(self, axis: str) -> list[float]:
        """Return where its points stand on an axis."""
        return list(self.tags[axis] if axis in self.changing else range(len(self.values)))


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
        return {"minimize": self.least, "maximize": self.most, None: None}[goal]


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
    count, gaps = sum(one.count for one in shown), sum(one.gaps for one in shown)
    drawn = sum(len(one.x) for one in shown)
    found = []
    if drawn < count:
        found.append(f"Drawn are {drawn:,} of {count:,} points: first, last, least and most of each column of pixels.")
    if gaps:
        are = "is" if gaps == 1 else "are"
        found.append(f"{gaps:,} of {counted(count, 'point')} {are} no number that can be drawn, and a gap.")
    if left_out:
        found.append(f"Left out: {counted(left_out, 'more curve')}.")
    return tuple(found)


def points_of(series: Series[Any, Any]) -> Points:
    """Return a series by columns.

    Args:
        series: The series, or a part of one.
    """
    rows = list(series._rows())
    tags = [tags for _, tags, _ in rows]
    return Points(
        [
            value if type(value) is float and isfinite(value) else _finite(json_view(fetch(value)))
            for value, _, _ in rows
        ],
        [value for value, _, _ in rows],
        {name: [json_view(fetch(one.get(name))) for one in tags] for name in dict.fromkeys(chain.from_iterable(tags))},
    )


def parted_by(points: Points, axis: str) -> tuple[str, ...]:
    """Return the tags that part a series into curves over an axis.

    A tag does unless it is the axis, or has more than `MOST` numbers as values. Over the position, the tag that changes
    most does neither: it is what goes on along a curve.

    Args:
        points: The series.
        axis: One of its axes.
    """
    along = (axis, *(points.changing[:1] if axis == POSITION else ()))
    tags = (tag for tag in points.tags if tag not in along or tag not in points.changing)
    return tuple(tag for tag in tags if _parts(points.tags[tag]))


def curves(
    points: Points, axis: str | None = None, *, by: tuple[str, ...] | None = None, columns: int = COLUMNS
) -> Curves:
    """Part a series by its tags, and thin each part.

    Args:
        points: The series.
        axis: What to plot it over, one of its axes; None: the first of them.
        by: The tags that part it; None: as `parted_by` has it.
        columns: How many columns of pixels there are.
    """
    axis = axis or points.axes[0]
    by = parted_by(points, axis) if by is None else by
    nothing = [None] * len(points.values)
    keyed = [_keyed(points.tags.get(tag, nothing)) for tag in by]
    places: defaultdict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    for at, key in enumerate(zip(*keyed, strict=True) if by else [()] * len(points.values)):
        places[key].append(at)
    x = points.along(axis)
    parts = list(places.values())
    labels = [tuple(_shown(points.tags.get(tag, nothing)[part[0]]) for tag in by) for part in parts[:MOST]]
    made = [_curve(label, part, x, points, columns) for label, part in zip(labels, parts, strict=False)]
    return Curves(axis, by, tuple(made), len(parts) - len(made))


def _parts(column: list[Any]) -> bool:
    count = len(set(_keyed(column)))
    return count > 1 and (count <= MOST or _NUMBERS.isdisjoint(map(type, column)))


def _keyed(column: list[Any]) -> Sequence[Hashable]:
    """Return by what the values of a tag are told apart; 1 and True are two."""
    types = set(map(type, column))
    if not types <= PLAIN:
        return [short(value) for value in column]
    return column if len(types) == 1 else list(zip(map(type, column), column, strict=True))


def are_numbers(column: list[Any]) -> bool:
    """Whether all of a column are finite numbers."""
    try:
        return set(map(type, column)) <= _NUMBERS and all(map(isfinite, column))
    except OverflowError:
        return False


_NUMBERS = {float, int}
"""A bool is no number here."""


def _finite(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    return float(value) if are_numbers([value]) else None


def _curve(label: tuple[str, ...], part: list[int], all_x: list[float], points: Points, columns: int) -> Curve:
    x, y = [all_x[at] for at in part], [points.values[at] for at in part]
    numbers = [value for value in y if value is not None]
    kept = thin(x, y, columns)
    return Curve(
        label=label,
        x=[x[at] for at in kept],
        y=[y[at] for at in kept],
        count=len(part),
        gaps=len(part) - len(numbers),
        least=_at(x, y, min(numbers)) if numbers else None,
        most=_at(x, y, max(numbers)) if numbers else None,
        last=y[-1],
        newest=short(json_view(fetch(points.stored[part[-1]]))) if y[-1] is None else "",
    )


def _at(x: list[float], y: list[float | None], value: float) -> At:
    return At(x[y.index(value)], value)


def thin(x: Sequence[float], y: Sequence[float | None], columns: int = COLUMNS) -> list[int]:
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
    if len(x) <= 4 * columns:
        return list(range(len(x)))
    order = range(len(x)) if all(map(le, x, x[1:])) else sorted(range(len(x)), key=x.__getitem__)
    along, values = [x[at] for at in order], [y[at] for at in order]
    left, right = along[0], along[-1]
    shares = [column / columns for column in range(columns)]
    # Not by the width, which may be more than a float holds.
    edges = [left * (1 - share) + right * share for share in shares]
    kept = _outermost(along, values, edges)
    if left > 0:
        kept |= _outermost(along, values, [left ** (1 - share) * right**share for share in shares])
    return sorted(order[at] for at in kept)


def _outermost(x: list[float], y: list[float | None], edges: list[float]) -> set[int]:
    """Return the places of what is to be seen in each column, of points that are sorted."""
    kept: set[int] = set()
    for start, end in pairwise([*(bisect_left(x, edge) for edge in edges), len(x)]):
        column = y[start:end]
        if not column:
            continue
        kept.update((start, end - 1))
        if None in column:
            kept.add(start + column.index(None))
        if numbers := [value for value in column if value is not None]:
            kept.update((start + column.index(min(numbers)), start + column.index(max(numbers))))
    return kept


def alone(y: Sequence[float | None]) -> list[int]:
    """Return the places of the values that are alone between gaps, through which no line goes."""
    around = [None, *y, None]
    return [at for at, one in enumerate(y) if one is not None and around[at] is None and around[at + 2] is None]


def _shown(value: Any) -> str:
    """Return a tag's value as text: a text as it is."""
    return printable(value) if isinstance(value, str) else short(value)
