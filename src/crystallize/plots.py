"""Series as plotly figures."""

from ._page.series_figure import (
    plot,
)

__all__ = [
    "plot",
]
