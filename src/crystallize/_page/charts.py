"""The metrics of one run, or of several in the same plots: their curves, and the drawing of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from .._base.text import counted, printable, short
from .._core.codec import json_view
from .._journal.loaded_run import Run
from .._journal.rows import Declared
from .axes import Tick, bounds_of, number_ticks
from .curve_styles import CurveStyle, curve_style
from .metric_curves import (
    PIXEL_COLUMNS,
    Curve,
    SeriesColumns,
    isolated,
    plot_notes,
    series_columns,
    split_series,
    splitting_tags,
)
from .series_figure import line_mode, plotly_text
from .svg_path import Size, curve_path, points_path

_PREVIEW: Final = Size(600, 200)
_SHARED_COLUMNS: Final = 200
"""Columns of pixels of a curve of one of several runs, as the page contains the curves of all."""
_MAX_TOGETHER: Final = 12
"""The curves of several parts of several runs that are legible in one view."""
_MAX_PARTS: Final = 8
"""The parts of a metric. Each has a view of its own."""
_DENSE: Final = 100
"""The points from which a curve can be smoothed."""


class RunCurve(NamedTuple):
    """A curve of one of the runs."""

    run: int
    name: str
    """The name of the run, if there are several, with the label of the curve."""
    curve: Curve
    style: CurveStyle


@dataclass(frozen=True)
class ChartView:
    """A metric of all runs over one axis, or one part of it."""

    axis: str
    split_by: tuple[str, ...]
    """The tags that split it into curves."""
    curves: tuple[RunCurve, ...]
    """At most `MAX_CURVES`. No two of them have the same style."""
    notes: tuple[str, ...]
    """Sentences about the points that the view leaves out."""
    part: tuple[str, ...] | None = None
    """The label that all curves have, if other views show those with other labels."""

    @property
    def title(self) -> str:
        """The axis, with the part."""
        part = (f"{tag} {value}" for tag, value in zip(self.split_by, self.part or (), strict=False))
        return ": ".join((self.axis, ", ".join(part))) if self.part else self.axis

    @property
    def is_dense(self) -> bool:
        """Whether smoothing shows more of it."""
        return any(len(run_curve.curve.x) >= _DENSE for run_curve in self.curves)


class PreviewPath(NamedTuple):
    """A curve as SVG paths."""

    line: str
    points: str
    """Dots at its points, if these are few or isolated."""
    style: CurveStyle


class ChartPreview(NamedTuple):
    """The drawing that is shown until plotly draws the chart, and without scripts."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    paths: tuple[PreviewPath, ...]


@dataclass(frozen=True)
class Chart:
    """A metric of one run, or of several."""

    name: str
    declared: Declared
    views: tuple[ChartView, ...]
    """The likeliest first; empty if no value can be drawn."""
    counts: tuple[int, ...]
    """The number of points of each run."""
    unrestorable: tuple[int, ...]
    """The number of these that the run's file cannot restore."""
    last_text: str
    """The last value of the first run that has one, as short text."""

    @property
    def is_dense(self) -> bool:
        """Whether any of its views can be smoothed."""
        return any(view.is_dense for view in self.views)

    @cached_property
    def preview(self) -> ChartPreview:
        """The drawing of the first view."""
        view = self.views[0]
        bounds = bounds_of(run_curve.curve for run_curve in view.curves)
        assert bounds is not None  # since some value is a number
        paths = []
        for run_curve in view.curves:
            curve = run_curve.curve
            # As plotly draws it.
            dotted = range(len(curve.y)) if line_mode(curve.y) == "lines+markers" else isolated(curve.y)
            drawn = curve_path(curve, bounds, _PREVIEW), points_path(curve, dotted, bounds, _PREVIEW)
            paths.append(PreviewPath(*drawn, run_curve.style))
        x_ticks, y_ticks = number_ticks(bounds.left, bounds.right), number_ticks(bounds.low, bounds.high)
        return ChartPreview(x_ticks, y_ticks, tuple(paths))

    def as_data(self) -> dict[str, Any]:
        """Return the data from which the page's script draws the chart."""
        return {"name": printable(self.name), "axes": [self._view_data(view) for view in self.views]}

    def _view_data(self, view: ChartView) -> dict[str, Any]:
        lines = []
        for run_curve in view.curves:
            curve, text = run_curve.curve, run_curve.name or printable(self.name)
            facts = {"name": text, "escaped": plotly_text(text), **run_curve.style._asdict()}
            drawn = {"x": curve.x, "y": curve.y, "mode": line_mode(curve.y), "alone": isolated(curve.y)}
            lines.append({**facts, **drawn, "means": curve.means})
        tags = map(printable, () if view.part is not None else view.split_by)
        split_by = [*(["run"] if len(self.counts) > 1 else []), *tags]
        title = {"title": plotly_text(view.axis), "by": ", ".join(split_by)}
        return {**title, "notes": view.notes, "dense": view.is_dense, "lines": lines}


def charts(runs: Sequence[Run[Any]], names: Sequence[str] = ("",)) -> Iterator[Chart]:
    """Return a chart for each metric of the runs, in the order in which they were first recorded.

    `names`: the names of the runs in the charts, if there are several.
    """
    unrestorable = [run.unrestorable_points for run in runs]
    for name in dict.fromkeys(name for run in runs for name in run.metrics):
        all_series = [run.metrics.series(name) for run in runs]
        all_columns = [series_columns(series) for series in all_series]
        yield Chart(
            name,
            next((run.declared[name] for run in runs if name in run.declared), Declared()),
            tuple(view for axis in _axis_names(all_columns) for view in _views(axis, all_columns, names)),
            tuple(map(len, all_series)),
            tuple(counts.get(name, 0) for counts in unrestorable),
            next((short(json_view(series.last)) for series in all_series if len(series)), ""),
        )


def _axis_names(all_columns: Sequence[SeriesColumns]) -> list[str]:
    """Return the axes of a metric in any run, each once; none if no value can be drawn."""
    if all(value is None for columns in all_columns for value in columns.values):
        return []
    return list(dict.fromkeys(axis for columns in all_columns if columns.values for axis in columns.axes))


def _views(axis: str, all_columns: Sequence[SeriesColumns], names: Sequence[str]) -> Iterator[ChartView]:
    by_run = {run: columns for run, columns in enumerate(all_columns) if columns.values and axis in columns.axes}
    # A tag that splits the series of one run splits all, so that the same curves have the same label.
    split_by = tuple(dict.fromkeys(tag for columns in by_run.values() for tag in splitting_tags(columns, axis)))
    pixels = PIXEL_COLUMNS if len(all_columns) == 1 else _SHARED_COLUMNS
    splits = {
        run: split_series(columns, axis, split_by=split_by, pixel_columns=pixels) for run, columns in by_run.items()
    }
    left_out = sum(split.left_out for split in splits.values())
    found = {run: {curve.label: curve for curve in split.curves} for run, split in splits.items()}
    labels = list(dict.fromkeys(label for curves in found.values() for label in curves))
    together = len(all_columns) == 1 or len(labels) == 1 or len(all_columns) * len(labels) <= _MAX_TOGETHER
    # The last part comes first, as points of validation are mostly recorded after those of training.
    parts = [labels] if together else [[label] for label in labels[: -_MAX_PARTS - 1 : -1]]
    hidden = 0 if together else len(labels) - len(parts)
    more = (f"Left out: {counted(hidden, 'more part')}.",) if hidden else ()
    for part in parts:
        curves = tuple(_run_curves(found, part, names))
        if any(run_curve.curve.minimum for run_curve in curves):
            notes = (*plot_notes([run_curve.curve for run_curve in curves], left_out), *more)
            yield ChartView(axis, split_by, curves, notes, None if together else part[0])


def _run_curves(
    found: dict[int, dict[tuple[str, ...], Curve]], labels: Sequence[tuple[str, ...]], names: Sequence[str]
) -> Iterator[RunCurve]:
    for run, curves in found.items():
        for index, label in enumerate(labels):
            if label in curves:
                named = (*filter(None, [names[run]]), *(label if len(labels) > 1 or len(names) == 1 else ()))
                style = curve_style(run, index, len(names), len(labels))
                yield RunCurve(run, ", ".join(named), curves[label], style)
