"""Parallel coordinates: an axis for each input that differs and for a result, and a line for each run."""

from collections.abc import Callable, Sequence
from math import log10
from typing import Final, NamedTuple, TypeAlias

from .axes import Tick, fraction, number_ticks
from .comparison import Comparison, RunColumn

WIDTH: Final = 1000
HEIGHT: Final = 300
"""The size of the box that the lines are drawn in."""
_MIN_RUNS: Final = 3
_MAX_INPUTS: Final = 8
_MAX_TICKS: Final = 6
_LOGARITHMIC: Final = 50
"""The ratio of the largest to the smallest number from which an axis is logarithmic."""
_Scale: TypeAlias = Callable[[str | float], float]
"""Returns the height of a number or text on an axis, from 0 to 1."""


class PlotAxis(NamedTuple):
    """An axis of the plot."""

    column: RunColumn
    percent: float
    ticks: tuple[Tick, ...]
    heights: tuple[float | None, ...]
    """The height of each run, from 0 to 1; None if it has no value."""


class RunLine(NamedTuple):
    """The line of a run."""

    run: int
    path: str
    """An SVG path."""
    share: int | None
    """How good its result is, in percent; None if it has none."""
    is_best: bool


class ParallelPlot(NamedTuple):
    """The plot of a result."""

    result: RunColumn
    axes: tuple[PlotAxis, ...]
    lines: tuple[RunLine, ...]
    """The best one last, so that it is drawn over the others."""
    left_out: int
    """The number of inputs without an axis."""


def parallel_plots(compared: Comparison) -> list[ParallelPlot]:
    """Return a plot for each result; none of a few runs, or if no input differs."""
    inputs = compared.differing[:_MAX_INPUTS] if len(compared.names) >= _MIN_RUNS else []
    left_out = len(compared.differing) - len(inputs)
    return [_plot(inputs, result, left_out) for result in compared.results if inputs]


def _plot(inputs: Sequence[RunColumn], result: RunColumn, left_out: int) -> ParallelPlot:
    columns = [*inputs, result]
    axes = tuple(_axis(column, 100 * index / len(inputs)) for index, column in enumerate(columns))
    heights = axes[-1].heights
    shares = [None if height is None else 1 - height if result.goal == "minimize" else height for height in heights]
    best = max((share for share in shares if share is not None), default=None) if result.goal else None
    lines = [
        RunLine(
            run, _path(axes, run), None if share is None else round(100 * share), best is not None and share == best
        )
        for run, share in enumerate(shares)
    ]
    lines.sort(key=lambda line: (line.is_best, line.share is not None, line.share or 0))
    return ParallelPlot(result, axes, tuple(lines), left_out)


def _path(axes: Sequence[PlotAxis], run: int) -> str:
    """Return the line of a run through its heights, with gaps where it has none."""
    parts = []
    is_open = False
    for axis in axes:
        height = axis.heights[run]
        if height is not None:
            across, down = axis.percent / 100 * WIDTH, (1 - height) * HEIGHT
            parts.append(f"{'L' if is_open else 'M'}{across:.1f} {down:.1f}")
        is_open = height is not None
    return "".join(parts)


def _axis(column: RunColumn, percent: float) -> PlotAxis:
    scale, ticks = _numbers(column) if column.is_number else _texts(column)
    heights = tuple(None if entry.rank is None else scale(entry.rank) for entry in column.cells)
    return PlotAxis(column, percent, ticks, heights)


def _numbers(column: RunColumn) -> tuple[_Scale, tuple[Tick, ...]]:
    """Return the scale and the ticks of numbers: at each if they are few, else at round ones."""
    texts = {entry.rank: entry.text or "" for entry in column.cells if isinstance(entry.rank, float)}
    low, high = min(texts), max(texts)
    # Results stay linear, or the best of them would take most of the axis.
    is_logarithmic = column.name.startswith("inputs.") and low > 0 and high / low >= _LOGARITHMIC

    def scale(number: str | float) -> float:
        if is_logarithmic:
            return fraction(log10(float(number)), log10(low), log10(high))
        return fraction(float(number), low, high)

    if len(texts) <= _MAX_TICKS or is_logarithmic:
        return scale, _apart([Tick(100 * scale(number), texts[number]) for number in sorted(texts)])
    return scale, number_ticks(low, high)


def _texts(column: RunColumn) -> tuple[_Scale, tuple[Tick, ...]]:
    """Return the scale and the ticks of texts, which are in the order of the runs, from the top."""
    texts = list(dict.fromkeys(str(entry.rank) for entry in column.cells if entry.rank is not None))
    heights = {text: 1 - fraction(index, 0, len(texts) - 1) for index, text in enumerate(texts)}
    shown = {str(entry.rank): entry.text or "" for entry in column.cells}
    ticks = [Tick(100 * heights[text], shown[text]) for text in reversed(texts)]
    return lambda text: heights[str(text)], _apart(ticks)


_APART: Final = 7
"""Percent between two ticks, so that their texts do not overlap."""


def _apart(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Return the ticks that leave room for their texts, always the last."""
    kept: list[Tick] = []
    for tick in reversed(ticks):
        if not kept or kept[-1].percent - tick.percent >= _APART:
            kept.append(tick)
    return tuple(reversed(kept))
