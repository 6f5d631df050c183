"""A value as a file stores it; also in `crystallize.runs`."""

from ._journal.event_bytes import (
    Stored,
)

__all__ = [
    "Stored",
]
