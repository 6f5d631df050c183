"""The metrics of one run or more, beside one another: their curves, and what came out against the goal of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._base.text import printable, short
from .._core.codec import json_view
from .._journal.loaded_run import Run
from .._journal.rows import Declared
from .drawings import Tick, bounds, dots, marks, spark
from .metric_curves import At, Curve, Points, alone, curves, notes, parted_by, points_of
from .plots import escaped, mode

__all__ = ["Axis", "Cell", "Chart", "Line", "Outcome", "Path", "Preview", "charts"]

_OUTCOMES: Final = 8
"""Curves of one metric in the table of outcomes, at the most."""
_SPARK: Final = (96, 20)
"""Width and height of a curve in a line of text."""
_PREVIEW: Final = (600, 200)
"""Width and height of the box in which curves stand until plotly draws them."""


class Line(NamedTuple):
    """A curve of one of the runs."""

    run: int
    curve: Curve


class Axis(NamedTuple):
    """A metric of all runs over one axis."""

    name: str
    by: tuple[str, ...]
    """The tags by which it is parted."""
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    """What is to be said of what is drawn, in sentences."""

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The values of the tags that curves have, each once."""
        return tuple(dict.fromkeys(line.curve.label for line in self.lines))


class Path(NamedTuple):
    """A curve as the path of an SVG."""

    line: str
    dots: str
    """Its points, where they are few or alone."""
    colour: int
    dash: int
    """The numbers of its colour and of its dash."""


class Preview(NamedTuple):
    """What stands in place of a plot until plotly has drawn it, and where there are no scripts."""

    across: tuple[Tick, ...]
    """The marks of its horizontal axis."""
    up: tuple[Tick, ...]
    paths: tuple[Path, ...]


class Cell(NamedTuple):
    """What came out of one curve."""

    best: At | None
    """By the goal of the metric; None where it has none."""
    last: float | None
    newest: str
    """In short the last value that is no number that can be drawn; empty if it is one."""
    path: str
    """How it went, as the path of an SVG."""
    is_best: bool
    """Whether no other run did better."""


class Outcome(NamedTuple):
    """What came out of a metric for some of its tags: a cell for each run, None where a run has no such curve."""

    label: tuple[str, ...]
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Chart:
    """A metric of all runs."""

    name: str
    declared: Declared
    axes: tuple[Axis, ...]
    """Over each of its axes, the likeliest first; none where no value is a number that can be drawn."""
    counts: tuple[int, ...]
    """How many points each run has."""
    lacking: tuple[int, ...]
    """Of how many of these its file cannot give all back."""
    newest: str
    """The last value of the first run that has one, in short."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What came out, for as many of its curves as a table has room for."""
        if not self.axes:
            return ()
        first = self.axes[0]
        return tuple(self._outcome(label, first) for label in first.labels[:_OUTCOMES])

    @property
    def left_out(self) -> int:
        """How many of its curves are not among the outcomes."""
        return max(0, len(self.axes[0].labels) - _OUTCOMES) if self.axes else 0

    def _outcome(self, label: tuple[str, ...], axis: Axis) -> Outcome:
        found = {line.run: line.curve for line in axis.lines if line.curve.label == label}
        bests = [at.y for curve in found.values() if (at := curve.best(self.declared.goal)) is not None]
        best = (min if self.declared.goal == "minimize" else max)(bests, default=None)
        cells: list[Cell | None] = []
        for run in range(len(self.counts)):
            curve = found.get(run)
            if curve is None:
                cells.append(None)
                continue
            own = curve.best(self.declared.goal)
            is_best = own is not None and own.y == best and len(bests) > 1
            within = bounds([curve])
            path = spark(curve, within, *_SPARK) if within else ""
            cells.append(Cell(own, curve.last, curve.newest, path, is_best))
        return Outcome(label, tuple(cells))

    @property
    def preview(self) -> Preview:
        """What it looks like over its first axis."""
        axis = self.axes[0]
        within = bounds(line.curve for line in axis.lines)
        assert within is not None  # since some value is a number
        paths = []
        for line in axis.lines:
            curve = line.curve
            # As plotly draws it.
            marked = range(len(curve.y)) if mode(curve.y) == "lines+markers" else alone(curve.y)
            drawn = spark(curve, within, *_PREVIEW), dots(curve, marked, within, *_PREVIEW)
            paths.append(Path(*drawn, *self._look(axis, line)))
        return Preview(marks(within.left, within.right), marks(within.low, within.high), tuple(paths))

    def _look(self, axis: Axis, line: Line) -> tuple[int, int]:
        """Return the number of the colour and of the dash of a line: what there is more of gets the colours."""
        label = axis.labels.index(line.curve.label)
        return (line.run, label) if len(axis.labels) < len(self.counts) else (label, line.run)

    def as_data(self, runs: Sequence[str]) -> dict[str, Any]:
        """Return what the script of the page draws it from.

        Args:
            runs: The names of the runs.
        """
        return {"name": printable(self.name), "axes": [self._axis_data(axis, runs) for axis in self.axes]}

    def _axis_data(self, axis: Axis, runs: Sequence[str]) -> dict[str, Any]:
        lines = []
        for line in axis.lines:
            run, curve = line
            colour, dash = self._look(axis, line)
            text = ", ".join([*([runs[run]] if len(runs) > 1 else []), *curve.label]) or printable(self.name)
            facts = {"name": text, "escaped": escaped(text), "colour": colour, "dash": dash}
            lines.append({**facts, "x": curve.x, "y": curve.y, "mode": mode(curve.y), "alone": alone(curve.y)})
        by = [*(["run"] if len(runs) > 1 else []), *map(printable, axis.by)]
        return {"title": escaped(axis.name), "by": ", ".join(by), "notes": axis.notes, "lines": lines}


def charts(runs: Sequence[Run[Any]]) -> Iterator[Chart]:
    """Return the metrics of runs, each once, in the order in which they were first recorded.

    Args:
        runs: The runs.
    """
    unrestorable = [run.unrestorable_points for run in runs]
    for name in dict.fromkeys(name for run in runs for name in run.metrics):
        series = [run.metrics.series(name) for run in runs]
        declared = next((run.declared[name] for run in runs if name in run.declared), Declared())
        points = [points_of(one) for one in series]
        has_numbers = any(value is not None for one in points for value in one.values)
        # Of runs that are tagged alike all have the same.
        names = dict.fromkeys(axis for one in points if one.values for axis in one.axes) if has_numbers else {}
        axes = [_axis(axis, points) for axis in names]
        newest = next((short(json_view(one.last)) for one in series if len(one)), "")
        lacking = tuple(one.get(name, 0) for one in unrestorable)
        yield Chart(name, declared, tuple(axes), tuple(map(len, series)), lacking, newest)


def _axis(name: str, points: Sequence[Points]) -> Axis:
    found = [one if one.values and name in one.axes else None for one in points]
    # Whatever parts it in one of the runs does in all, so that the same have the same label.
    by = tuple(dict.fromkeys(tag for one in found if one is not None for tag in parted_by(one, name)))
    parts = [None if one is None else curves(one, name, by=by) for one in found]
    lines = tuple(Line(run, curve) for run, part in enumerate(parts) if part is not None for curve in part.shown)
    left_out = sum(part.left_out for part in parts if part is not None)
    return Axis(name, by, lines, notes([line.curve for line in lines], left_out))
