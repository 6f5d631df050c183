"""Series as curves: split by their tags, and downsampled to the pixels of a plot."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from math import ceil, isfinite
from operator import le
from typing import Any, Final, Literal, NamedTuple

from .._base.text import counted, printable, short
from .._core.codec import json_view
from .._core.immutable_types import PLAIN
from .._core.point_log import fetch
from .._core.series import Series, stored_points

PIXEL_COLUMNS: Final = 1000
"""Columns of pixels in the widest plot."""

MAX_CURVES: Final = 24
"""Curves in one plot, and numbers by which a tag splits a series."""

POSITION: Final = "position"
"""The axis that every series has: the position of a point in it, from 0."""


@dataclass(frozen=True)
class SeriesColumns:
    """A series as columns."""

    values: list[float | None]
    """The values; None if it is not a number that can be drawn: a finite one that a float can hold."""
    stored: list[Any]
    """The values as the series stores them."""
    tags: dict[str, list[Any]]
    """Each tag, with None for a point without it."""

    @cached_property
    def changing(self) -> tuple[str, ...]:
        """The tags that are numbers and change, the one with the most values first."""
        counts = {tag: len(set(column)) for tag, column in self.tags.items() if are_numbers(column)}
        return tuple(sorted((tag for tag in counts if counts[tag] > 1), key=lambda tag: -counts[tag]))

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes over which the series can be plotted, the likeliest first."""
        return self.changing if POSITION in self.changing else (*self.changing, POSITION)

    def along(self, axis: str) -> list[float]:
        """Return the coordinates of the points on an axis."""
        return list(self.tags[axis] if axis in self.changing else range(len(self.values)))


class CurvePoint(NamedTuple):
    """A point of a curve."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of a series that have the same values of some tags, as a plot shows them."""

    label: tuple[str, ...]
    """The values of those tags, as text."""
    x: list[float]
    y: list[float | None]
    """The values that are drawn, with None for a gap."""
    count: int
    """The number of points before downsampling."""
    gaps: int
    """The number of these that cannot be drawn."""
    minimum: CurvePoint | None
    """The first point with the minimum; None if no point can be drawn."""
    maximum: CurvePoint | None
    last: float | None
    """The last value; None if it cannot be drawn."""
    last_text: str = ""
    """The last value as short text if it cannot be drawn; empty if it can."""
    means: tuple[tuple[float, float], ...] = ()
    """The mean position and value of groups of neighbours, one for each column of pixels, if it was downsampled."""

    def best(self, goal: Literal["minimize", "maximize"] | None) -> CurvePoint | None:
        """Return the best point by a goal; None without a goal."""
        return {"minimize": self.minimum, "maximize": self.maximum, None: None}[goal]


@dataclass(frozen=True, slots=True)
class SplitSeries:
    """A series over one axis, split into curves."""

    axis: str
    split_by: tuple[str, ...]
    """The tags that split it."""
    curves: tuple[Curve, ...]
    left_out: int
    """The number of curves beyond `MAX_CURVES`."""


def plot_notes(curves: Sequence[Curve], left_out: int) -> tuple[str, ...]:
    """Return sentences about the points that a plot leaves out."""
    count, gaps = sum(curve.count for curve in curves), sum(curve.gaps for curve in curves)
    drawn = sum(len(curve.x) for curve in curves)
    notes = []
    if drawn < count:
        notes.append(f"Drawn are {drawn:,} of {count:,} points: first, last, least and most of each column of pixels.")
    if gaps:
        are = "is" if gaps == 1 else "are"
        notes.append(f"{gaps:,} of {counted(count, 'point')} {are} no number that can be drawn, and a gap.")
    if left_out:
        notes.append(f"Left out: {counted(left_out, 'more curve')}.")
    return tuple(notes)


def series_columns(series: Series[Any, Any]) -> SeriesColumns:
    """Return a series, or a part of one, as columns."""
    rows = list(stored_points(series))
    tags = [tags for _, tags, _ in rows]
    names = dict.fromkeys(chain.from_iterable(tags))
    return SeriesColumns(
        [
            value if type(value) is float and isfinite(value) else _drawable(json_view(fetch(value)))
            for value, _, _ in rows
        ],
        [value for value, _, _ in rows],
        {name: [json_view(fetch(point_tags.get(name))) for point_tags in tags] for name in names},
    )


def splitting_tags(columns: SeriesColumns, axis: str) -> tuple[str, ...]:
    """Return the tags that split a series into curves over an axis.

    These are all but the axis, numbers that grow along with it, as epochs do along steps, and tags with more than
    `MAX_CURVES` numbers. Over the position, the tag that changes most replaces the axis: it grows along a curve.
    """
    numbers = columns.changing
    along = axis if axis in numbers else (*numbers, axis)[0]
    grow = {tag for tag in numbers if tag == along or _grow_together(columns.tags, tag, along)}
    return tuple(tag for tag in columns.tags if tag not in grow and _splits(columns.tags[tag]))


def split_series(
    columns: SeriesColumns,
    axis: str | None = None,
    *,
    split_by: tuple[str, ...] | None = None,
    pixel_columns: int = PIXEL_COLUMNS,
) -> SplitSeries:
    """Split a series into curves by its tags, by default `splitting_tags`, over an axis, by default its first."""
    axis = axis or columns.axes[0]
    split_by = splitting_tags(columns, axis) if split_by is None else split_by
    untagged = [None] * len(columns.values)
    keys = [_hashable(columns.tags.get(tag, untagged)) for tag in split_by]
    groups: defaultdict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(*keys, strict=True) if split_by else [()] * len(columns.values)):
        groups[key].append(index)
    x = columns.along(axis)
    curves = []
    for group in list(groups.values())[:MAX_CURVES]:
        label = tuple(_tag_text(columns.tags.get(tag, untagged)[group[0]]) for tag in split_by)
        curves.append(_curve(label, group, x, columns, pixel_columns))
    return SplitSeries(axis, split_by, tuple(curves), len(groups) - len(curves))


def _splits(column: list[Any]) -> bool:
    count = len(set(_hashable(column)))
    return count > 1 and (count <= MAX_CURVES or _NUMBERS.isdisjoint(map(type, column)))


def _grow_together(tags: Mapping[str, list[Any]], one: str, other: str) -> bool:
    """Whether one of two numbers determines the other, and neither falls where the other rises."""
    pairs = sorted(set(zip(tags[one], tags[other], strict=True)))
    return len(pairs) == max(len(set(tags[one])), len(set(tags[other]))) and all(
        before[1] <= after[1] for before, after in pairwise(pairs)
    )


def _hashable(column: list[Any]) -> Sequence[Hashable]:
    """Return keys that distinguish the values of a tag; 1 and True are two values."""
    types = set(map(type, column))
    if not types <= PLAIN:
        return [short(value) for value in column]
    return column if len(types) == 1 else list(zip(map(type, column), column, strict=True))


_NUMBERS: Final = {float, int}
"""A bool is not a number here."""


def are_numbers(column: list[Any]) -> bool:
    """Whether all of a column are finite numbers."""
    try:
        return set(map(type, column)) <= _NUMBERS and all(map(isfinite, column))
    except OverflowError:
        return False


def _drawable(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    return float(value) if are_numbers([value]) else None


def _curve(
    label: tuple[str, ...], group: list[int], all_x: list[float], columns: SeriesColumns, pixel_columns: int
) -> Curve:
    x, y = [all_x[index] for index in group], [columns.values[index] for index in group]
    numbers = [value for value in y if value is not None]
    kept = downsample(x, y, pixel_columns)
    return Curve(
        label=label,
        x=[x[index] for index in kept],
        y=[y[index] for index in kept],
        count=len(group),
        gaps=len(group) - len(numbers),
        minimum=_first_with(min(numbers), x, y) if numbers else None,
        maximum=_first_with(max(numbers), x, y) if numbers else None,
        last=y[-1],
        last_text=short(json_view(fetch(columns.stored[group[-1]]))) if y[-1] is None else "",
        means=tuple(_group_means(x, y, pixel_columns)) if len(kept) < len(x) else (),
    )


def _first_with(value: float, x: list[float], y: list[float | None]) -> CurvePoint:
    return CurvePoint(x[y.index(value)], value)


def downsample(x: Sequence[float], y: Sequence[float | None], pixel_columns: int = PIXEL_COLUMNS) -> list[int]:
    """Return the indices, in order, of the points that a plot needs to look as if all were drawn.

    Of each column of pixels the first, the last, the minimum, the maximum and a gap are kept, on a linear and on a
    logarithmic axis. Up to four points a column, all are kept. `x` is finite; None in `y` is a gap.
    """
    if len(x) <= 4 * pixel_columns:
        return list(range(len(x)))
    order = range(len(x)) if all(map(le, x, x[1:])) else sorted(range(len(x)), key=x.__getitem__)
    sorted_x, sorted_y = [x[index] for index in order], [y[index] for index in order]
    left, right = sorted_x[0], sorted_x[-1]
    shares = [column / pixel_columns for column in range(pixel_columns)]
    # Not by the width, which may be more than a float holds.
    edges = [left * (1 - share) + right * share for share in shares]
    kept = _extremes(sorted_x, sorted_y, edges)
    if left > 0:
        kept |= _extremes(sorted_x, sorted_y, [left ** (1 - share) * right**share for share in shares])
    return sorted(order[index] for index in kept)


def _extremes(x: list[float], y: list[float | None], edges: list[float]) -> set[int]:
    """Return the indices of the points to keep of each column, of points that are sorted by `x`."""
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


def _group_means(x: list[float], y: list[float | None], groups: int) -> Iterator[tuple[float, float]]:
    """Return the mean position and value of groups of neighbours, as many points in each, from left to right."""
    points = sorted((position, value) for position, value in zip(x, y, strict=True) if value is not None)
    size = ceil(len(points) / groups)
    for start in range(0, len(points), max(size, 1)):
        group = points[start : start + size]
        # Divided first, as a sum may be more than a float holds.
        yield sum(position / len(group) for position, _ in group), sum(value / len(group) for _, value in group)


def isolated(y: Sequence[float | None]) -> list[int]:
    """Return the indices of the values between two gaps, through which no line goes."""
    gaps = [True, *(value is None for value in y), True]
    return [index for index in range(len(y)) if gaps[index : index + 3] == [True, False, True]]


def _tag_text(value: Any) -> str:
    """Return the value of a tag as text, without quotes."""
    return printable(value) if isinstance(value, str) else short(value)
