"""Series as plotly figures."""

from ._page.plots import (
    plot,
)

__all__ = [
    "plot",
]
