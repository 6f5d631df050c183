"""A run as one HTML page."""

from ._page.html_page import (
    write_report,
)

__all__ = [
    "write_report",
]
