"""The results of one run: the best of each metric by its goal, its other metrics, and the scalar values."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from .._tables.export import ValueRow
from .._tables.run_rows import cell
from .axes import bounds_of
from .charts import Chart
from .metric_curves import Curve, CurvePoint
from .svg_path import Size, curve_path

_MAX_RESULTS: Final = 8
"""Curves of one metric in the table of results."""
_MAX_TILES: Final = 24
_LONGEST_TILE: Final = 24
"""Characters of a value among the results."""
_SPARKLINE: Final = Size(160, 20)


class CurveResult(NamedTuple):
    """The result of one curve."""

    label: tuple[str, ...]
    curve: Curve
    best: CurvePoint | None
    """The best point by the goal of the metric; None without a goal, or without a number."""
    sparkline: str
    """The curve as an SVG path."""


class MetricResult(NamedTuple):
    """The results of a metric."""

    chart: Chart
    rows: tuple[CurveResult, ...]
    """Those of as many curves as the table shows; none if no value can be drawn."""
    left_out: int
    """The number of curves without a row."""


class Results(NamedTuple):
    """The results of a run."""

    goals: tuple[MetricResult, ...]
    """The metrics that have a goal."""
    others: tuple[MetricResult, ...]


def results_of(charts: Iterable[Chart]) -> Results:
    """Return the results of the metrics of a run."""
    found = [*map(_metric_result, charts)]
    has_goal = [result.chart.declared.goal is not None and bool(result.rows) for result in found]
    goals, others = (
        tuple(result for result, has in zip(found, has_goal, strict=True) if has is wanted) for wanted in (True, False)
    )
    return Results(goals, others)


def value_tiles(rows: Iterable[ValueRow]) -> list[tuple[str, str]]:
    """Return the names and texts of the scalars in the values that a run has written, without long texts."""
    scalars = chain.from_iterable(_scalars(row.key, row.value) for row in rows if not row.missing)
    shown = ((name, value) for name, value in scalars if not isinstance(value, str) or 0 < len(value) <= _LONGEST_TILE)
    return [(name, cell(name, value) or "") for name, value in islice(shown, _MAX_TILES)]


def _scalars(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Return the scalars in a value, with dots in the names of those in dicts and models."""
    if isinstance(value, dict | BaseModel):
        for field, item in value.items() if isinstance(value, dict) else value:
            yield from _scalars(f"{name}.{field}", item)
    elif isinstance(value, str | int | float):
        yield name, value


def _metric_result(chart: Chart) -> MetricResult:
    curves = [run_curve.curve for view in chart.views[:1] for run_curve in view.curves]
    rows = tuple(_curve_result(curve, chart) for curve in curves[:_MAX_RESULTS])
    return MetricResult(chart, rows, len(curves) - len(rows))


def _curve_result(curve: Curve, chart: Chart) -> CurveResult:
    bounds = bounds_of([curve])
    sparkline = curve_path(curve, bounds, _SPARKLINE) if bounds else ""
    return CurveResult(curve.label, curve, curve.best(chart.declared.goal), sparkline)
