"""Series as curves: what parts them, and what is left of them when they are thinned."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import FrozenMetrics
from crystallize._page.metric_curves import MOST, POSITION, At, Curves, alone, curves, notes, points_of, thin

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.none() | NUMBERS


def recorded(*points: tuple[Any, dict[str, Any]]) -> Any:
    """Return a series of these values and tags."""
    series = FrozenMetrics().series("loss")
    for value, tags in points:
        series.add(value, tags)
    return series


def curves_over(axis: str | None, *points: tuple[Any, dict[str, Any]]) -> Curves:
    return curves(points_of(recorded(*points)), axis)


def by_label(found: Curves) -> dict[tuple[str, ...], list[tuple[float, float | None]]]:
    return {one.label: list(zip(one.x, one.y, strict=True)) for one in found.shown}


@given(st.lists(st.tuples(NUMBERS, VALUES), min_size=1), st.integers(1, 4))
def test_thinned_keeps_the_outermost(points: list[tuple[float, float | None]], columns: int) -> None:
    """What is kept are places in order; the first, last, least and most are among them, and a gap if there is one."""
    x, y = [one for one, _ in points], [value for _, value in points]
    kept = thin(x, y, columns)
    values = [value for value in y if value is not None]
    shown = [y[at] for at in kept]

    assert sorted(set(kept)) == kept
    assert {min(x), max(x)} <= {x[at] for at in kept}
    assert {*([min(values), max(values)] if values else [])} <= set(shown)
    assert (None in y) == (None in shown)


@given(st.lists(st.tuples(NUMBERS, VALUES), min_size=1), st.integers(1, 4))
def test_thinned_is_short(points: list[tuple[float, float | None]], columns: int) -> None:
    """At most five points are kept of a column, and as many of one of a logarithmic axis; of few points all are."""
    x, y = [one for one, _ in points], [value for _, value in points]
    kept = thin(x, y, columns)

    assert len(kept) <= 10 * columns
    assert len(kept) == len(x) or len(x) > 4 * columns


@given(st.lists(st.integers(0, 99) | st.none(), min_size=17, max_size=40))
def test_thinned_keeps_each_column(values: list[float | None]) -> None:
    """Each column of pixels keeps its least and its most."""
    x = [float(at) for at in range(len(values))]
    kept = thin(x, values, 4)
    edges = [(len(x) - 1) * column / 4 for column in range(4)]

    for left, right in pairwise([*edges, math.inf]):
        column = [value for at, value in enumerate(values) if left <= at < right and value is not None]
        shown = [value for at in kept if left <= at < right and (value := values[at]) is not None]
        assert {*([min(column), max(column)] if column else [])} <= set(shown)


def test_thinned_on_a_logarithmic_axis() -> None:
    """Where all of the axis is positive, the columns of a logarithmic one keep what is outermost in them, too."""
    x = [float(at) for at in range(1, 10_001)]
    y = [float(at % 2) for at in range(10_000)]

    assert {1.0, 2.0, 3.0, 4.0} <= {x[at] for at in thin(x, y, 10)}
    assert 4.0 not in {one - 1 for one in (x[at] for at in thin([one - 1 for one in x], y, 10))}


def test_thinned_in_clusters() -> None:
    """Columns in which no point stands take nothing."""
    x = [0.0] * 50 + [100.0] * 50

    assert [0, 49, 50, 99] == thin(x, [float(at) for at in range(100)], 10)


def test_thinned_out_of_order() -> None:
    """Points that do not stand in the order of the axis are thinned as others are, and stay in their order."""
    x = [float(at % 100) for at in range(1000)]
    y = [0.0] * 1000
    y[555] = 9.0

    assert 555 in (kept := thin(x, y, 10))
    assert sorted(kept) == kept
    assert len(kept) < 100


def test_parted_by_text() -> None:
    """A tag that is text parts a series; the number that changes most is what it is plotted over."""
    points = [(epoch / 10, {"epoch": epoch, "split": split}) for epoch in range(3) for split in ("train", "val")]
    found = curves_over(None, *points)

    assert ("epoch", ("split",)) == (found.axis, found.by)
    expected = [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert {("train",): expected, ("val",): expected} == by_label(found)


def test_parted_by_small_numbers() -> None:
    """A number that takes few values parts a series, unless that is the axis."""
    points = [(fold + epoch, {"fold": fold, "epoch": epoch}) for fold in range(2) for epoch in range(3)]

    assert ("fold",) == curves_over("epoch", *points).by
    assert {("0",): [(0, 0), (1, 1), (2, 2)], ("1",): [(0, 1), (1, 2), (2, 3)]} == by_label(curves_over(None, *points))
    assert ("epoch",) == curves_over("fold", *points).by
    assert ("fold",) == curves_over(POSITION, *points).by
    assert ("epoch", "fold", POSITION) == points_of(recorded(*points)).axes


def test_many_numbers_do_not_part() -> None:
    """A number that takes many values goes on along a curve, whatever the axis is."""
    points = [(0.0, {"epoch": n % 3, "batch": n}) for n in range(MOST + 1)]

    assert () == curves_over("epoch", *points).by
    assert ("epoch",) == curves_over("batch", *points).by


@pytest.mark.parametrize("tag", [True, "x", None, math.nan, 10**400, [1]])
def test_what_is_no_axis(tag: Any) -> None:
    """A tag that is not a finite number in each point is no axis."""
    found = points_of(recorded((0.0, {"tag": tag}), (0.0, {"tag": 2})))

    assert (POSITION,) == found.axes
    assert [0, 1] == found.along(POSITION)


def test_numbers_and_bools_are_told_apart() -> None:
    """1, True and "1" are three values of a tag, and so are two lists."""
    values = [1, True, "1", [1], [2]]

    assert {("1",), ("True",), ("[1]",), ("[2]",)} == {
        one.label for one in curves_over(POSITION, *((0.0, {"tag": tag}) for tag in values)).shown
    }
    assert 5 == len(curves_over(POSITION, *((0.0, {"tag": tag}) for tag in values)).shown)


def test_tag_of_the_name_of_the_position() -> None:
    """A tag may be called "position": as a number it is that axis, and as text it parts the series."""
    assert (POSITION,) == points_of(recorded((0.0, {POSITION: 5}), (0.0, {POSITION: 7}))).axes
    assert [5, 7] == points_of(recorded((0.0, {POSITION: 5}), (0.0, {POSITION: 7}))).along(POSITION)
    found = curves_over(None, (0.5, {POSITION: "left"}), (0.6, {POSITION: "right"}))
    assert {("left",): [(0, 0.5)], ("right",): [(1, 0.6)]} == by_label(found)


def test_tags_that_some_points_lack() -> None:
    """A point without a tag that others have is in a curve of its own."""
    found = curves_over(None, (0.1, {"split": "train"}), (0.2, {}))

    assert {("train",): [(0, 0.1)], ("None",): [(1, 0.2)]} == by_label(found)


def test_too_many_curves() -> None:
    """Of many curves the first are shown, and how many are not is known."""
    found = curves_over(None, *((0.0, {"layer": f"layer {n}"}) for n in range(MOST + 3)))

    assert (MOST, 3) == (len(found.shown), found.left_out)
    assert ("Left out: 3 more curves.",) == notes(found.shown, found.left_out)
    assert ("Left out: 1 more curve.",) == notes(found.shown, 1)


def test_gaps() -> None:
    """What is no finite number is a gap: not a number, infinite, too large, no number at all."""
    (curve,) = curves_over(
        None, *((value, {}) for value in (1, math.nan, 3.5, math.inf, 10**400, None, "x", True))
    ).shown

    assert [1.0, None, 3.5, None, None, None, None, None] == curve.y
    assert (8, 6, At(0, 1.0), At(2, 3.5), None) == (curve.count, curve.gaps, curve.least, curve.most, curve.last)
    assert ("6 of 8 points are no number that can be drawn, and a gap.",) == notes([curve], 0)
    assert [0, 2] == alone(curve.y)


def test_without_numbers() -> None:
    """A series of no numbers has no least, no most and no best."""
    (curve,) = curves_over(None, ("a", {}), ("b", {})).shown

    assert (None, None) == (curve.least, curve.most)
    assert [None] * 3 == [curve.best(goal) for goal in ("minimize", "maximize", None)]


def test_best() -> None:
    """The best is the least or the most, by the goal, the first of equals; without a goal there is none."""
    (curve,) = curves_over(None, *((value, {}) for value in (2.0, 1.0, 1.0, 3.0))).shown

    assert [At(1, 1.0), At(3, 3.0), None] == [curve.best(goal) for goal in ("minimize", "maximize", None)]


def test_says_what_is_drawn() -> None:
    """Of what is thinned a sentence says how much is drawn."""
    points = [(float(n % 7), {"n": n}) for n in range(100)]
    found = curves(points_of(recorded(*points, (math.nan, {"n": 100}))), columns=5)
    drawn = len(found.shown[0].x)

    assert drawn < 50
    assert (
        f"Drawn are {drawn} of 101 points: first, last, least and most of each column of pixels.",
        "1 of 101 points is no number that can be drawn, and a gap.",
    ) == notes(found.shown, 0)


def test_nothing() -> None:
    """A series of no points has no curves."""
    assert ((), 0) == ((found := curves_over(None)).shown, found.left_out)
    assert () == notes((), 0)
