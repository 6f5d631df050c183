"""Curves as SVG paths, for a sparkline or the preview of a chart."""

from collections.abc import Iterable
from typing import NamedTuple

from .axes import Bounds, fraction
from .metric_curves import Curve, downsample


class Size(NamedTuple):
    """The size of the box that a curve is drawn in, in pixels."""

    width: int
    height: int


def curve_path(curve: Curve, bounds: Bounds, size: Size) -> str:
    """Return the path of a curve, downsampled to the width of its box."""
    parts = []
    is_open = False
    for index in downsample(curve.x, curve.y, size.width):
        position = _position(curve, index, bounds, size)
        if position is not None:
            parts.append(f"{'L' if is_open else 'M'}{position}")
        is_open = position is not None
    return "".join(parts)


def points_path(curve: Curve, indices: Iterable[int], bounds: Bounds, size: Size) -> str:
    """Return a path that draws a dot, as wide as the stroke, at some points of a curve."""
    positions = (_position(curve, index, bounds, size) for index in indices)
    return "".join(f"M{position}h0" for position in positions if position is not None)


def _position(curve: Curve, index: int, bounds: Bounds, size: Size) -> str | None:
    """Return the coordinates of a point in the box; None for a gap."""
    x, y = curve.x[index], curve.y[index]
    if y is None:
        return None
    across = fraction(x, bounds.left, bounds.right) * size.width
    return f"{across:.1f} {size.height - fraction(y, bounds.low, bounds.high) * size.height:.1f}"
