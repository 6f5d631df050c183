"""Curves as SVG paths."""

import math

import pytest

from crystallize import FrozenMetrics
from crystallize._page.axes import Bounds, bounds_of
from crystallize._page.metric_curves import Curve, CurvePoint, series_columns, split_series
from crystallize._page.svg_path import Size, curve_path, points_path


def test_points_as_dots() -> None:
    """Points stand where their curve does; a gap has none."""
    curve = Curve((), [0, 1, 2], [0, None, 1], 3, 1, CurvePoint(0, 0), CurvePoint(2, 1), 1)

    assert "M0.0 10.0h0M30.0 0.0h0" == points_path(curve, range(3), Bounds(0, 2, 0, 1), Size(30, 10))


def path(*values: float) -> str:
    series = FrozenMetrics().series("loss")
    for value in values:
        series.add(value)
    (curve,) = split_series(series_columns(series)).curves
    bounds = bounds_of([curve])
    assert bounds is not None
    return curve_path(curve, bounds, Size(100, 20))


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ("M0.0 20.0L50.0 0.0L100.0 10.0", (0, 2, 1)),
        ("M0.0 20.0M100.0 0.0", (0, math.nan, 1)),
        ("M50.0 10.0", (5,)),
        ("M0.0 10.0L100.0 10.0", (5, 5)),
        ("M0.0 20.0L100.0 0.0", (-1.7e308, 1.7e308)),
    ],
)
def test_curve_in_a_line(expected: str, values: tuple[float, ...]) -> None:
    """A curve goes from left to right and from bottom to top of its box, with gaps."""
    assert expected == path(*values)
