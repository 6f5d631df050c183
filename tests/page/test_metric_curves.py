"""Series as curves: what parts them, and what is left of them when they are thinned."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import FrozenMetrics
from crystallize._page.metric_curves import (
    MAX_CURVES,
    POSITION,
    CurvePoint,
    SplitSeries,
    downsample,
    isolated,
    plot_notes,
    series_columns,
    split_series,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.none() | NUMBERS


def recorded(*points: tuple[Any, dict[str, Any]]) -> Any:
    """Return a series of these values and tags."""
    series = FrozenMetrics().series("loss")
    for value, tags in points:
        series.add(value, tags)
    return series


def split_over(axis: str | None, *points: tuple[Any, dict[str, Any]]) -> SplitSeries:
    return split_series(series_columns(recorded(*points)), axis)


def by_label(found: SplitSeries) -> dict[tuple[str, ...], list[tuple[float, float | None]]]:
    return {curve.label: list(zip(curve.x, curve.y, strict=True)) for curve in found.curves}


@given(st.lists(st.tuples(NUMBERS, VALUES), min_size=1), st.integers(1, 4))
def test_thinned_keeps_the_outermost(points: list[tuple[float, float | None]], columns: int) -> None:
    """What is kept are places in order; the first, last, least and most are among them, and a gap if there is one."""
    x, y = [position for position, _ in points], [value for _, value in points]
    kept = downsample(x, y, columns)
    values = [value for value in y if value is not None]
    shown = [y[index] for index in kept]

    assert sorted(set(kept)) == kept
    assert {min(x), max(x)} <= {x[index] for index in kept}
    assert {*([min(values), max(values)] if values else [])} <= set(shown)
    assert (None in y) == (None in shown)


@given(st.lists(st.tuples(NUMBERS, VALUES), min_size=1), st.integers(1, 4))
def test_thinned_is_short(points: list[tuple[float, float | None]], columns: int) -> None:
    """At most five points are kept of a column, and as many of one of a logarithmic axis; of few points all are."""
    x, y = [position for position, _ in points], [value for _, value in points]
    kept = downsample(x, y, columns)

    assert len(kept) <= 10 * columns
    assert len(kept) == len(x) or len(x) > 4 * columns


@given(st.lists(st.integers(0, 99) | st.none(), min_size=17, max_size=40))
def test_thinned_keeps_each_column(values: list[float | None]) -> None:
    """Each column of pixels keeps its least and its most."""
    x = [float(index) for index in range(len(values))]
    kept = downsample(x, values, 4)
    edges = [(len(x) - 1) * column / 4 for column in range(4)]

    for left, right in pairwise([*edges, math.inf]):
        column = [value for index, value in enumerate(values) if left <= index < right and value is not None]
        shown = [value for index in kept if left <= index < right and (value := values[index]) is not None]
        assert {*([min(column), max(column)] if column else [])} <= set(shown)


def test_thinned_on_a_logarithmic_axis() -> None:
    """Where all of the axis is positive, the columns of a logarithmic one keep what is outermost in them, too."""
    x = [float(index) for index in range(1, 10_001)]
    y = [float(index % 2) for index in range(10_000)]

    assert {1.0, 2.0, 3.0, 4.0} <= {x[index] for index in downsample(x, y, 10)}
    assert 4.0 not in {x[index] - 1 for index in downsample([value - 1 for value in x], y, 10)}


def test_thinned_in_clusters() -> None:
    """Columns in which no point stands take nothing."""
    x = [0.0] * 50 + [100.0] * 50

    assert [0, 49, 50, 99] == downsample(x, [float(index) for index in range(100)], 10)


def test_thinned_out_of_order() -> None:
    """Points that do not stand in the order of the axis are thinned as others are, and stay in their order."""
    x = [float(index % 100) for index in range(1000)]
    y = [0.0] * 1000
    y[555] = 9.0

    assert 555 in (kept := downsample(x, y, 10))
    assert sorted(kept) == kept
    assert len(kept) < 100


def test_parted_by_text() -> None:
    """A tag that is text parts a series; the number that changes most is what it is plotted over."""
    points = [(epoch / 10, {"epoch": epoch, "split": split}) for epoch in range(3) for split in ("train", "val")]
    found = split_over(None, *points)

    assert ("epoch", ("split",)) == (found.axis, found.split_by)
    expected = [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert {("train",): expected, ("val",): expected} == by_label(found)


def test_parted_by_small_numbers() -> None:
    """A number that takes few values parts a series, unless that is the axis."""
    points = [(fold + epoch, {"fold": fold, "epoch": epoch}) for fold in range(2) for epoch in range(3)]

    assert ("fold",) == split_over("epoch", *points).split_by
    assert {("0",): [(0, 0), (1, 1), (2, 2)], ("1",): [(0, 1), (1, 2), (2, 3)]} == by_label(split_over(None, *points))
    assert ("epoch",) == split_over("fold", *points).split_by
    assert ("fold",) == split_over(POSITION, *points).split_by
    assert ("epoch", "fold", POSITION) == series_columns(recorded(*points)).axes


def test_numbers_that_grow_together() -> None:
    """A number that grows with the axis does not split a series: steps of epochs are one curve, over either of them."""
    points = [(n / 10, {"step": n, "epoch": n // 4, "split": split}) for n in range(12) for split in ("train", "val")]

    for axis in ("step", "epoch", POSITION):
        assert ("split",) == split_over(axis, *points).split_by
    ranks = [(n / 10, {"step": n, "rank": n % 4}) for n in range(12)]
    assert ("rank",) == split_over("step", *ranks).split_by


def test_means_of_a_thinned_curve() -> None:
    """A downsampled curve has the mean of groups of neighbours, without gaps; a whole one has none."""
    points = [(float(n % 2), {"n": n}) for n in range(100)]
    (thinned,) = split_series(series_columns(recorded(*points, (math.nan, {"n": 100}))), pixel_columns=10).curves
    (whole,) = split_over(None, *points).curves
    empty = split_series(series_columns(recorded(*[(math.nan, {})] * 50)), pixel_columns=5).curves

    assert (10, (4.5, 0.5)) == (len(thinned.means), thinned.means[0])
    assert ((), ()) == (whole.means, empty[0].means)


def test_many_numbers_do_not_part() -> None:
    """A number that takes many values goes on along a curve, whatever the axis is."""
    points = [(0.0, {"epoch": n % 3, "batch": n}) for n in range(MAX_CURVES + 1)]

    assert () == split_over("epoch", *points).split_by
    assert ("epoch",) == split_over("batch", *points).split_by


@pytest.mark.parametrize("tag", [True, "x", None, math.nan, 10**400, [1]])
def test_what_is_no_axis(tag: Any) -> None:
    """A tag that is not a finite number in each point is no axis."""
    found = series_columns(recorded((0.0, {"tag": tag}), (0.0, {"tag": 2})))

    assert (POSITION,) == found.axes
    assert [0, 1] == found.along(POSITION)


def test_numbers_and_bools_are_told_apart() -> None:
    """1, True and "1" are three values of a tag, and so are two lists."""
    values = [1, True, "1", [1], [2]]

    assert {("1",), ("True",), ("[1]",), ("[2]",)} == {
        curve.label for curve in split_over(POSITION, *((0.0, {"tag": tag}) for tag in values)).curves
    }
    assert 5 == len(split_over(POSITION, *((0.0, {"tag": tag}) for tag in values)).curves)


def test_tag_of_the_name_of_the_position() -> None:
    """A tag may be called "position": as a number it is that axis, and as text it parts the series."""
    assert (POSITION,) == series_columns(recorded((0.0, {POSITION: 5}), (0.0, {POSITION: 7}))).axes
    assert [5, 7] == series_columns(recorded((0.0, {POSITION: 5}), (0.0, {POSITION: 7}))).along(POSITION)
    found = split_over(None, (0.5, {POSITION: "left"}), (0.6, {POSITION: "right"}))
    assert {("left",): [(0, 0.5)], ("right",): [(1, 0.6)]} == by_label(found)


def test_tags_that_some_points_lack() -> None:
    """A point without a tag that others have is in a curve of its own."""
    found = split_over(None, (0.1, {"split": "train"}), (0.2, {}))

    assert {("train",): [(0, 0.1)], ("None",): [(1, 0.2)]} == by_label(found)


def test_too_many_curves() -> None:
    """Of many curves the first are shown, and how many are not is known."""
    found = split_over(None, *((0.0, {"layer": f"layer {n}"}) for n in range(MAX_CURVES + 3)))

    assert (MAX_CURVES, 3) == (len(found.curves), found.left_out)
    assert ("Left out: 3 more curves.",) == plot_notes(found.curves, found.left_out)
    assert ("Left out: 1 more curve.",) == plot_notes(found.curves, 1)


def test_gaps() -> None:
    """What is no finite number is a gap: not a number, infinite, too large, no number at all."""
    (curve,) = split_over(
        None, *((value, {}) for value in (1, math.nan, 3.5, math.inf, 10**400, None, "x", True))
    ).curves

    assert [1.0, None, 3.5, None, None, None, None, None] == curve.y
    assert (8, 6, CurvePoint(0, 1.0), CurvePoint(2, 3.5), None) == (
        curve.count,
        curve.gaps,
        curve.minimum,
        curve.maximum,
        curve.last,
    )
    assert ("6 of 8 points are no number that can be drawn, and a gap.",) == plot_notes([curve], 0)
    assert [0, 2] == isolated(curve.y)


def test_without_numbers() -> None:
    """A series of no numbers has no least, no most and no best."""
    (curve,) = split_over(None, ("a", {}), ("b", {})).curves

    assert (None, None) == (curve.minimum, curve.maximum)
    assert [None] * 3 == [curve.best(goal) for goal in ("minimize", "maximize", None)]


def test_best() -> None:
    """The best is the least or the most, by the goal, the first of equals; without a goal there is none."""
    (curve,) = split_over(None, *((value, {}) for value in (2.0, 1.0, 1.0, 3.0))).curves

    assert [CurvePoint(1, 1.0), CurvePoint(3, 3.0), None] == [
        curve.best(goal) for goal in ("minimize", "maximize", None)
    ]


def test_says_what_is_drawn() -> None:
    """Of what is thinned a sentence says how much is drawn."""
    points = [(float(n % 7), {"n": n}) for n in range(100)]
    found = split_series(series_columns(recorded(*points, (math.nan, {"n": 100}))), pixel_columns=5)
    drawn = len(found.curves[0].x)

    assert drawn < 50
    assert (
        f"Drawn are {drawn} of 101 points: first, last, least and most of each column of pixels.",
        "1 of 101 points is no number that can be drawn, and a gap.",
    ) == plot_notes(found.curves, 0)


def test_nothing() -> None:
    """A series of no points has no curves."""
    assert ((), 0) == ((found := split_over(None)).curves, found.left_out)
    assert () == plot_notes((), 0)
