"""A value as a file stores it; also in `crystallize.runs`."""

from ._core.codec import Stored

__all__ = ["Stored"]
