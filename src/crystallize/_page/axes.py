"""Axes: the bounds of curves, and ticks at round numbers or times."""

from collections.abc import Iterable, Iterator
from math import ceil, floor, log10
from typing import Final, NamedTuple

from .._base.text import lasted
from .metric_curves import Curve


class Tick(NamedTuple):
    """A tick of an axis."""

    percent: float
    """Its position on the axis."""
    text: str


class Bounds(NamedTuple):
    """The smallest box that contains some curves."""

    left: float
    right: float
    low: float
    high: float


def bounds_of(curves: Iterable[Curve]) -> Bounds | None:
    """Return the bounds of curves; None if none of the curves has a number."""
    boxes = [
        (min(curve.x), max(curve.x), curve.minimum.y, curve.maximum.y)
        for curve in curves
        if curve.minimum and curve.maximum
    ]
    if not boxes:
        return None
    left, right, low, high = zip(*boxes, strict=True)
    return Bounds(min(left), max(right), min(low), max(high))


def fraction(value: float, low: float, high: float) -> float:
    """Return the position of a value between two bounds, from 0 to 1; the middle if the bounds are equal."""
    # By halves, as the whole width may be more than a float holds.
    width = high / 2 - low / 2
    return (value / 2 - low / 2) / width if width else 0.5


_MINUS: Final = "\N{MINUS SIGN}"
_MAX_INTERVALS: Final = 5
_LARGE: Final = 1e300
_SMALL: Final = 1e-300


def number_ticks(low: float, high: float) -> tuple[Tick, ...]:
    """Return ticks at round numbers; at both ends if no few digits tell round numbers apart."""
    width, largest = high - low, max(abs(low), abs(high))
    if not largest * 1e-7 < width < _LARGE or width < _SMALL:
        ends = (low, high) if low < high else (low,)
        return tuple(Tick(100 * fraction(end, low, high), f"{end:.6g}".replace("-", _MINUS)) for end in ends)
    power = floor(log10(width / _MAX_INTERVALS))
    steps = (factor * 10.0**power for factor in (1, 2, 5, 10))
    step = next(step for step in steps if step * _MAX_INTERVALS >= width * (1 - 1e-9))
    first, last = ceil(low / step - 1e-6), floor(high / step + 1e-6)
    decimals = -floor(log10(step) + 1e-9)
    values = [count * step for count in range(first, last + 1)]
    return tuple(Tick(100 * fraction(value, low, high), _tick_text(value, decimals, largest)) for value in values)


def _tick_text(value: float, decimals: int, largest: float) -> str:
    """Return a number with enough decimals to differ from its neighbours; `largest` decides on the notation of all."""
    if value == 0:
        return "0"
    if 1e-4 <= largest < 1e6:
        text = f"{value:,.{max(0, decimals)}f}"
    else:
        digits, power = f"{value:.{max(0, min(6, floor(log10(largest)) + decimals))}e}".split("e")
        text = f"{digits}e{int(power)}"
    return text.replace("-", _MINUS)


_DAY: Final = 86400
_TIME_STEPS: Final = (
    *(factor * 10.0**power for power in range(-6, 1) for factor in (1, 2, 5)),
    *(10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, _DAY),
)
"""Seconds between two ticks of a time axis."""


def time_ticks(seconds: float) -> Iterator[Tick]:
    """Return the ticks of a time axis that begins at 0."""
    whole_days = _DAY * ceil(seconds / _MAX_INTERVALS / _DAY)
    step = next((step for step in _TIME_STEPS if seconds / step <= _MAX_INTERVALS), whole_days)
    for count in range(int(seconds / step * (1 + 1e-9)) + 1):
        yield Tick(100 * count * step / seconds, lasted(count * step))
