# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Series drawn with plotly: one figure, for a notebook."""

from collections.abc import Sequence
from typing import Any
from .metrics import Series
import plotly.graph_objects

__all__ = ["COLOURS", "DASHES", "FONT", "escaped", "mode", "plot"]
COLOURS: tuple[str, ...]
"""In this order, which those who see colours otherwise can tell apart; each stands out from white."""

DASHES: tuple[str, ...]

def plot(series: Series[Any, Any], *, x: str | None = None, log: bool = False) -> plotly.graph_objects.Figure:
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

FONT: str

def mode(y: Sequence[float | None]) -> str:
    """Return how plotly is to draw a curve: with a mark at each point where these are few."""

def escaped(text: str) -> str:
    """Return text that plotly shows as it is: it has a markup, and templates, of its own."""
