"""The bounds and the ticks of axes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import FrozenMetrics
from crystallize._page.axes import Bounds, bounds_of, number_ticks
from crystallize._page.metric_curves import series_columns, split_series
from crystallize._page.timeline import timeline_layout

from .descriptions import run


@pytest.mark.parametrize(
    ("expected", "low", "high"),
    [
        ("0 0.2 0.4 0.6 0.8 1.0", 0, 1),
        ("0.5 1.0", 0.004, 1.29),
        ("0 10,000 20,000 30,000 40,000", 0, 49999),
        ("-4 -2 0 2 4", -5, 5),
        ("0 5e-7", -3e-7, 9e-7),
        ("1.0e-9 1.5e-9 2.0e-9 2.5e-9 3.0e-9", 1e-9, 3e-9),
        ("0 5.0e7 1.0e8 1.5e8 2.0e8 2.5e8", 0, 2.5e8),
        ("3", 3, 3),
        ("0", 0, 0),
        ("-1e+308 1e+308", -1e308, 1e308),
        ("4.94066e-324 9.88131e-324", 5e-324, 1e-323),
        ("1e+16 1e+16", 1e16, 1e16 + 2),
    ],
)
def test_marks_of_an_axis(expected: str, low: float, high: float) -> None:
    """An axis has marks at round numbers, or, where these would be too long, at its ends."""
    found = number_ticks(low, high)

    assert expected == " ".join(tick.text.replace("\N{MINUS SIGN}", "-") for tick in found)
    assert all(0 <= tick.percent <= 100 + 1e-6 for tick in found)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_any_axis_has_marks(left: float, right: float) -> None:
    """Whatever an axis reaches over, it has up to six marks, within it."""
    found = number_ticks(min(left, right), max(left, right))

    assert 1 <= len(found) <= 6
    assert all(-1e-4 <= tick.percent <= 100 + 1e-4 for tick in found)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        (["0", "1 µs"], 0),
        (["0", "100 ms", "200 ms", "300 ms", "400 ms", "500 ms"], 0.5),
        (["0", "5 s", "10 s", "15 s", "20 s"], 23),
        (["0", "20 s", "40 s", "1 min", "1 min 20 s", "1 min 40 s"], 100),
        (["0", "1 h", "2 h", "3 h"], 3.9 * 3600),
        (["0", "12 h", "1 d", "1 d 12 h", "2 d"], 2 * 86400),
        (["0", "20 d", "40 d", "60 d", "80 d", "100 d"], 100 * 86400),
    ],
)
def test_marks_of_the_time_axis(expected: list[str], seconds: float) -> None:
    """The time axis has at most five marks after the first, at round times."""
    found = timeline_layout(run(spans=[(0, seconds)])).ticks

    assert expected == [tick.text for tick in found]
    assert all(0 <= tick.percent <= 100 + 1e-6 for tick in found)


def test_what_curves_lie_within() -> None:
    """Curves lie within the least and the most of all, those without a number aside; without any there is nothing."""
    series = FrozenMetrics().series("loss")
    for epoch, (train, val) in enumerate([(3.0, math.nan), (1.0, math.nan), (2.0, math.nan)]):
        series.add(train, {"epoch": epoch + 5, "split": "train"})
        series.add(val, {"epoch": epoch, "split": "val"})
    train_, val_ = split_series(series_columns(series)).curves

    assert Bounds(5, 7, 1.0, 3.0) == bounds_of([train_, val_])
    assert bounds_of([val_]) is None
