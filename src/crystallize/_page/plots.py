"""Series drawn with plotly: one figure, for a notebook."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._base.optional import OptionalModule
from .._base.text import nearest, printable, short, type_name
from .._core.series import Series
from ..errors import FrameError, NoAxisError
from .metric_curves import Curves, Points, alone, are_numbers, curves, notes, points_of

if TYPE_CHECKING:
    import plotly.graph_objects
else:
    plotly = OptionalModule("plotly", "report")

__all__ = ["COLOURS", "DASHES", "FONT", "escaped", "mode", "plot"]

COLOURS: Final = ("#0067a5", "#c8500a", "#00795b", "#a1468e", "#7a6400", "#3f3f9e")
"""In this order, which those who see colours otherwise can tell apart; each stands out from white."""

DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")


def plot(series: Series[Any, Any], *, x: str | None = None, log: bool = False) -> "plotly.graph_objects.Figure":
    """Draw a series with plotly, a curve for each of its tags' values.

    What is too long is thinned, without losing the least and the most of any column of pixels; the plot says so. What
    is no finite number, or too large for a float, is a gap.

    Args:
        series: What to draw: a series, or a part of one by `where`.
        x: What to draw it over: a tag that is a number, or "position", the place of a point in the series. By default
            the tag that changes most.
        log: Whether the values stand on a logarithmic scale.

    Returns:
        A figure, which a notebook shows.

    Raises:
        FrameError: What was given is no series, or one of a metric that is neither declared nor recorded.
        NoAxisError: There is no such axis.
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
        raise FrameError(type_name(type(series)), "what is drawn is a series, as metrics.series(name) gives it")
    points = points_of(series)
    if not points.values:
        _check_known(series)
    elif x is not None and x not in points.axes:
        raise NoAxisError(series.name, x, nearest(x, points.axes), points.axes, _no_axis(points, x))
    drawn = curves(points, x)
    metric = series.metric
    title, unit = (series.name, metric.unit) if metric is not None else (series.name, None)
    return plotly.graph_objects.Figure(list(_traces(drawn)), _layout(title, unit, drawn, log=log))


def _check_known(series: Series[Any, Any]) -> None:
    """Check that a series without points is of a metric that there is.

    Raises:
        FrameError: It is neither declared nor recorded.
    """
    names = tuple(series._store.channels)
    if series.metric is None and series.name not in names:
        near = nearest(series.name, names)
        recorded = ", ".join(map(repr, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")
        advice = f"did you mean {near!r}?" if near else f"recorded are {recorded or 'no metrics at all'}"
        raise FrameError(repr(series.name), f"no metric of this name is declared or recorded; {advice}")


_NAMED: Final = 8


def _no_axis(points: Points, tag: str) -> str:
    """Return why a series cannot be plotted over something."""
    if tag not in points.tags:
        return "which is no tag of it"
    values = points.tags[tag]
    if are_numbers(values):
        return f"which is {short(values[0])} in all of its points"
    return "which is no number in all of its points"


def _traces(drawn: Curves) -> Iterator[dict[str, Any]]:
    for at, curve in enumerate(drawn.shown):
        colour = COLOURS[at % len(COLOURS)]
        yield {
            "type": "scatter",
            "x": curve.x,
            "y": curve.y,
            "name": escaped(", ".join(curve.label)),
            "mode": mode(curve.y),
            "line": {"color": colour, "width": 1.75, "dash": DASHES[at // len(COLOURS) % len(DASHES)]},
            "marker": {"size": 4},
            "hovertemplate": "%{y:.6~g}" if len(drawn.shown) <= _TOGETHER else "%{x}: %{y:.6~g}",
        }
        if lone := alone(curve.y):
            yield {
                "type": "scatter",
                "x": [curve.x[place] for place in lone],
                "y": [curve.y[place] for place in lone],
                "mode": "markers",
                "marker": {"size": 4, "color": colour},
                "hoverinfo": "skip",
                "showlegend": False,
            }


def _layout(title: str, unit: str | None, drawn: Curves, *, log: bool) -> dict[str, Any]:
    font = {"family": FONT, "size": 13, "color": "#24292f"}
    axis = {
        "gridcolor": "#e7e9ec",
        "linecolor": "#8c959f",
        "showline": True,
        "ticks": "outside",
        "tickcolor": "#8c959f",
        "ticklen": 4,
        "zeroline": False,
        "automargin": True,
    }
    said = notes(drawn.shown, drawn.left_out)
    named = (
        escaped(title) + (f" ({escaped(unit)})" if unit else "") + "".join(f"<br><sup>{note}</sup>" for note in said)
    )
    return {
        "annotations": [] if drawn.shown else [_NOTHING],
        "title": {"text": named, "font": {"size": 15}, "x": 0, "xref": "paper", "xanchor": "left"},
        "font": font,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "x unified" if len(drawn.shown) <= _TOGETHER else "closest",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": "#8c959f", "font": font},
        "legend": {"title": {"text": escaped(", ".join(drawn.by))}},
        "showlegend": bool(drawn.by),
        "margin": {"l": 56, "r": 16, "t": 56 + 18 * len(said), "b": 48},
        "xaxis": {
            **axis,
            "title": {"text": escaped(drawn.axis)},
            "exponentformat": "none",
            "separatethousands": True,
            "unifiedhovertitle": {"text": f"{escaped(drawn.axis)} %{{x}}"},
        },
        "yaxis": {**axis, "type": "log" if log else "linear", "exponentformat": "power"},
    }


_NOTHING: Final = {"text": "No points", "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
"""What a figure says in which there is no curve."""

FONT: Final = 'Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif'

_TOGETHER = 8
"""Curves of which one label tells all at once."""


def mode(y: Sequence[float | None]) -> str:
    """Return how plotly is to draw a curve: with a mark at each point where these are few."""
    return "lines+markers" if len(y) <= _FEW else "lines"


_FEW = 60


def escaped(text: str) -> str:
    """Return text that plotly shows as it is: it has a markup, and templates, of its own."""
    # An ampersand first, or it would be escaped twice.
    for sign in "&<>{}$":
        text = text.replace(sign, f"&#{ord(sign)};") if sign != "&" else text.replace("&", "&amp;")
    return printable(text)
