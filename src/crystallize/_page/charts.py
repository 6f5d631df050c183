"""The metrics of one run, or of several compared: their curves, and their best and last values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._base.text import printable, short
from .._core.codec import json_view
from .._journal.loaded_run import Run
from .._journal.rows import Declared
from .axes import Tick, bounds_of, number_ticks
from .metric_curves import (
    Curve,
    CurvePoint,
    SeriesColumns,
    isolated,
    plot_notes,
    series_columns,
    split_series,
    splitting_tags,
)
from .series_figure import line_mode, plotly_text
from .svg_path import Size, curve_path, points_path

_MAX_RESULTS: Final = 8
"""Curves of one metric in the table of results."""
_SPARKLINE: Final = Size(96, 20)
_PREVIEW: Final = Size(600, 200)


class RunCurve(NamedTuple):
    """A curve of one of the runs."""

    run: int
    curve: Curve


class ChartAxis(NamedTuple):
    """A metric of all runs over one axis."""

    name: str
    split_by: tuple[str, ...]
    """The tags that split it into curves."""
    curves: tuple[RunCurve, ...]
    notes: tuple[str, ...]
    """Sentences that say what the chart does not show."""

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The labels of the curves, each once."""
        return tuple(dict.fromkeys(run_curve.curve.label for run_curve in self.curves))


class PreviewPath(NamedTuple):
    """A curve as SVG paths."""

    line: str
    points: str
    """Dots at its points, if these are few or isolated."""
    colour: int
    """The index of its colour."""
    dash: int
    """The index of its dash pattern."""


class ChartPreview(NamedTuple):
    """The drawing that is shown until plotly draws the chart, and without scripts."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    paths: tuple[PreviewPath, ...]


class CurveResult(NamedTuple):
    """The result of one curve."""

    curve: Curve
    best: CurvePoint | None
    """The best point by the goal of the metric; None without a goal."""
    sparkline: str
    """The curve as an SVG path."""
    is_best: bool
    """Whether no other run did better."""


class ResultRow(NamedTuple):
    """The results of the curves with one label: one for each run, None for a run without such a curve."""

    label: tuple[str, ...]
    results: tuple[CurveResult | None, ...]


@dataclass(frozen=True)
class Chart:
    """A metric of all runs."""

    name: str
    declared: Declared
    axes: tuple[ChartAxis, ...]
    """The likeliest first; empty if no value can be drawn."""
    counts: tuple[int, ...]
    """The number of points of each run."""
    unrestorable: tuple[int, ...]
    """The number of these that the run's file cannot restore."""
    last_text: str
    """The last value of the first run that has one, as short text."""

    @property
    def result_rows(self) -> tuple[ResultRow, ...]:
        """The results, of as many curves as the table shows."""
        return tuple(self._result_row(label, axis) for axis in self.axes[:1] for label in axis.labels[:_MAX_RESULTS])

    @property
    def results_left_out(self) -> int:
        """The number of curves without a row of results."""
        return max(0, len(self.axes[0].labels) - _MAX_RESULTS) if self.axes else 0

    def _result_row(self, label: tuple[str, ...], axis: ChartAxis) -> ResultRow:
        curves = {run_curve.run: run_curve.curve for run_curve in axis.curves if run_curve.curve.label == label}
        bests = [best.y for curve in curves.values() if (best := curve.best(self.declared.goal)) is not None]
        winner = (min if self.declared.goal == "minimize" else max)(bests) if len(bests) > 1 else None
        runs = range(len(self.counts))
        return ResultRow(label, tuple(self._result(curves[run], winner) if run in curves else None for run in runs))

    def _result(self, curve: Curve, winner: float | None) -> CurveResult:
        best, bounds = curve.best(self.declared.goal), bounds_of([curve])
        sparkline = curve_path(curve, bounds, _SPARKLINE) if bounds else ""
        return CurveResult(curve, best, sparkline, best is not None and best.y == winner)

    @property
    def preview(self) -> ChartPreview:
        """The drawing over the first axis."""
        axis = self.axes[0]
        bounds = bounds_of(run_curve.curve for run_curve in axis.curves)
        assert bounds is not None  # since some value is a number
        paths = []
        for run_curve in axis.curves:
            curve = run_curve.curve
            # As plotly draws it.
            dotted = range(len(curve.y)) if line_mode(curve.y) == "lines+markers" else isolated(curve.y)
            drawn = curve_path(curve, bounds, _PREVIEW), points_path(curve, dotted, bounds, _PREVIEW)
            paths.append(PreviewPath(*drawn, *self._look(axis, run_curve)))
        x_ticks, y_ticks = number_ticks(bounds.left, bounds.right), number_ticks(bounds.low, bounds.high)
        return ChartPreview(x_ticks, y_ticks, tuple(paths))

    def _look(self, axis: ChartAxis, run_curve: RunCurve) -> tuple[int, int]:
        """Return the colour and the dash pattern of a curve. Runs or labels, whichever are more, have the colours."""
        label = axis.labels.index(run_curve.curve.label)
        return (run_curve.run, label) if len(axis.labels) < len(self.counts) else (label, run_curve.run)

    def as_data(self, runs: Sequence[str]) -> dict[str, Any]:
        """Return the data from which the page's script draws the chart, for runs of these names."""
        return {"name": printable(self.name), "axes": [self._axis_data(axis, runs) for axis in self.axes]}

    def _axis_data(self, axis: ChartAxis, runs: Sequence[str]) -> dict[str, Any]:
        lines = []
        for run_curve in axis.curves:
            run, curve = run_curve
            colour, dash = self._look(axis, run_curve)
            text = ", ".join([*([runs[run]] if len(runs) > 1 else []), *curve.label]) or printable(self.name)
            facts = {"name": text, "escaped": plotly_text(text), "colour": colour, "dash": dash}
            drawn = {"x": curve.x, "y": curve.y, "mode": line_mode(curve.y), "alone": isolated(curve.y)}
            lines.append({**facts, **drawn})
        split_by = [*(["run"] if len(runs) > 1 else []), *map(printable, axis.split_by)]
        return {"title": plotly_text(axis.name), "by": ", ".join(split_by), "notes": axis.notes, "lines": lines}


def charts(runs: Sequence[Run[Any]]) -> Iterator[Chart]:
    """Return a chart for each metric of the runs, in the order in which they were first recorded."""
    unrestorable = [run.unrestorable_points for run in runs]
    for name in dict.fromkeys(name for run in runs for name in run.metrics):
        all_series = [run.metrics.series(name) for run in runs]
        all_columns = [series_columns(series) for series in all_series]
        yield Chart(
            name,
            next((run.declared[name] for run in runs if name in run.declared), Declared()),
            tuple(_axis(axis, all_columns) for axis in _axis_names(all_columns)),
            tuple(map(len, all_series)),
            tuple(counts.get(name, 0) for counts in unrestorable),
            next((short(json_view(series.last)) for series in all_series if len(series)), ""),
        )


def _axis_names(all_columns: Sequence[SeriesColumns]) -> list[str]:
    """Return the axes of a metric in any run, each once; none if no value can be drawn."""
    if all(value is None for columns in all_columns for value in columns.values):
        return []
    return list(dict.fromkeys(axis for columns in all_columns if columns.values for axis in columns.axes))


def _axis(name: str, all_columns: Sequence[SeriesColumns]) -> ChartAxis:
    by_run = {run: columns for run, columns in enumerate(all_columns) if columns.values and name in columns.axes}
    # A tag that splits the series of one run splits all, so that the same curves have the same label.
    split_by = tuple(dict.fromkeys(tag for columns in by_run.values() for tag in splitting_tags(columns, name)))
    splits = {run: split_series(columns, name, split_by=split_by) for run, columns in by_run.items()}
    curves = tuple(RunCurve(run, curve) for run, split in splits.items() for curve in split.curves)
    left_out = sum(split.left_out for split in splits.values())
    return ChartAxis(name, split_by, curves, plot_notes([run_curve.curve for run_curve in curves], left_out))
