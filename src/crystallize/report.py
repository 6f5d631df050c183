"""A run as one HTML page."""

from ._page.report import (
    write_report,
)

__all__ = [
    "write_report",
]
