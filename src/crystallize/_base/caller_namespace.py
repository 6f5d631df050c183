"""The code that called the package: the names that are known there, and where a warning points."""

import sys
from types import FrameType
from typing import Any, Final

_BETWEEN: Final = frozenset({"crystallize", "contextlib", "functools", "pydantic", "typing", "typing_extensions"})
"""Packages whose frames may lie between the caller and the package."""


def caller_namespace() -> dict[str, Any]:
    """Return the names that are known in the innermost code outside of the package."""
    frame, _ = _caller()
    return {**frame.f_globals, **frame.f_locals}


def levels_to_caller() -> int:
    """Return the `stacklevel` with which a warning that is emitted here points at that code."""
    # Not counted: this function and `_caller`.
    return _caller()[1] - 1


def _caller() -> tuple[FrameType, int]:
    """Return the innermost frame outside of the package, and the number of frames up to it."""
    frame, level = sys._getframe(), 0
    while str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return frame, level
