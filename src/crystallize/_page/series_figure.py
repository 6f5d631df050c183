"""A series as a plotly figure, for a notebook."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._base.optional import OptionalModule
from .._base.text import nearest, printable, short, type_name
from .._core.series import Series, store_of
from ..errors import FrameError, NoAxisError
from .curve_styles import COLOURS, DASHES, curve_style
from .metric_curves import SeriesColumns, SplitSeries, are_numbers, isolated, plot_notes, series_columns, split_series

if TYPE_CHECKING:
    import plotly.graph_objects
else:
    plotly = OptionalModule("plotly", "report")

FONT: Final = 'Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif'


def plot(series: Series[Any, Any], *, x: str | None = None, log: bool = False) -> "plotly.graph_objects.Figure":
    """Return a plotly figure of a series, with a curve for each combination of its tags' values.

    Long series are downsampled. The minimum and maximum of each pixel column are kept. The plot says when it was
    downsampled. A value that is not a finite number, or too large for a float, is a gap.

    Args:
        series: A series, or a part of one by `where`.
        x: The axis: a tag that is a number, or "position", the index of a point in the series. By default the tag
            that changes most.
        log: Whether the vertical axis is logarithmic.

    Returns:
        A figure, which a notebook shows.

    Raises:
        FrameError: `series` is not a series, or its metric is neither declared nor recorded.
        NoAxisError: The series has no such axis.
        MissingExtraError: plotly is not installed.

    Example:
        >>> loss = FrozenContext().metrics.series("loss")
        >>> for epoch in range(3):
        ...     loss.add(1 / (epoch + 1), {"epoch": epoch})
        >>> figure = plot(loss, x="epoch", log=True)
        >>> len(figure.data)
        1
    """
    if not isinstance(series, Series):
        raise FrameError(type_name(type(series)), "plot a series, such as metrics.series(name)")
    columns = series_columns(series)
    if not columns.values:
        _check_known(series)
    elif x is not None and x not in columns.axes:
        raise NoAxisError(series.name, x, nearest(x, columns.axes), columns.axes, _no_axis_reason(columns, x))
    split = split_series(columns, x)
    unit = series.metric.unit if series.metric is not None else None
    return plotly.graph_objects.Figure(list(_traces(split)), _layout(series.name, unit, split, log=log))


_MAX_NAMED: Final = 8


def _check_known(series: Series[Any, Any]) -> None:
    """Raise `FrameError` if the metric of a series without points is neither declared nor recorded."""
    names = tuple(store_of(series).logs)
    if series.metric is None and series.name not in names:
        near = nearest(series.name, names)
        recorded = ", ".join(map(repr, names[:_MAX_NAMED])) + (", ..." if len(names) > _MAX_NAMED else "")
        advice = f"did you mean {near!r}?" if near else f"recorded are {recorded or 'no metrics at all'}"
        raise FrameError(repr(series.name), f"no metric of this name is declared or recorded; {advice}")


def _no_axis_reason(columns: SeriesColumns, tag: str) -> str:
    if tag not in columns.tags:
        return "which is no tag of it"
    values = columns.tags[tag]
    if are_numbers(values):
        return f"which is {short(values[0])} in all of its points"
    return "which is no number in all of its points"


_MAX_IN_ONE_LABEL: Final = 8
"""Curves whose values one hover label shows together."""


def _traces(split: SplitSeries) -> Iterator[dict[str, Any]]:
    for index, curve in enumerate(split.curves):
        style = curve_style(0, index, 1, len(split.curves))
        colour = COLOURS[style.colour]
        yield {
            "type": "scatter",
            "x": curve.x,
            "y": curve.y,
            "name": plotly_text(", ".join(curve.label)),
            "mode": line_mode(curve.y),
            "line": {"color": colour, "width": 1.75, "dash": DASHES[style.dash]},
            "marker": {"size": 4},
            "hovertemplate": "%{y:.6~g}" if len(split.curves) <= _MAX_IN_ONE_LABEL else "%{x}: %{y:.6~g}",
        }
        if points := isolated(curve.y):
            yield {
                "type": "scatter",
                "x": [curve.x[point] for point in points],
                "y": [curve.y[point] for point in points],
                "mode": "markers",
                "marker": {"size": 4, "color": colour},
                "hoverinfo": "skip",
                "showlegend": False,
            }


_TEXT_FONT: Final = {"family": FONT, "size": 13, "color": "#24292f"}
_LINES: Final = {"gridcolor": "#e7e9ec", "linecolor": "#8c959f", "showline": True, "zeroline": False}
_AXIS: Final = {**_LINES, "ticks": "outside", "tickcolor": "#8c959f", "ticklen": 4, "automargin": True}
_NO_POINTS: Final = {"text": "No points", "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}


def _layout(name: str, unit: str | None, split: SplitSeries, *, log: bool) -> dict[str, Any]:
    notes = plot_notes(split.curves, split.left_out)
    axis_name = plotly_text(split.axis)
    title = plotly_text(name) + (f" ({plotly_text(unit)})" if unit else "")
    title += "".join(f"<br><sup>{note}</sup>" for note in notes)
    return {
        "annotations": [] if split.curves else [_NO_POINTS],
        "title": {"text": title, "font": {"size": 15}, "x": 0, "xref": "paper", "xanchor": "left"},
        "font": _TEXT_FONT,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "x unified" if len(split.curves) <= _MAX_IN_ONE_LABEL else "closest",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": "#8c959f", "font": _TEXT_FONT},
        "legend": {"title": {"text": plotly_text(", ".join(split.split_by))}},
        "showlegend": bool(split.split_by),
        "margin": {"l": 56, "r": 16, "t": 56 + 18 * len(notes), "b": 48},
        "xaxis": {
            **_AXIS,
            "title": {"text": axis_name},
            "exponentformat": "none",
            "separatethousands": True,
            "unifiedhovertitle": {"text": f"{axis_name} %{{x}}"},
        },
        "yaxis": {**_AXIS, "type": "log" if log else "linear", "exponentformat": "power"},
    }


_MAX_MARKED: Final = 60


def line_mode(y: Sequence[float | None]) -> str:
    """Return plotly's mode for a curve: with a marker at each point if these are few."""
    return "lines+markers" if len(y) <= _MAX_MARKED else "lines"


def plotly_text(text: str) -> str:
    """Return text escaped for plotly, which reads markup, templates and formulas in it."""
    # An ampersand first, or it would be escaped twice.
    for sign in "&<>{}$":
        text = text.replace(sign, f"&#{ord(sign)};") if sign != "&" else text.replace("&", "&amp;")
    return printable(text)
