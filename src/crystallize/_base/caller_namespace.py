"""The names that are known where the package was called, for annotations that refer to types within a function."""

import sys
from typing import Any, Final

_BETWEEN: Final = frozenset({"crystallize", "contextlib", "functools", "pydantic", "typing", "typing_extensions"})
"""Packages whose frames may lie between the caller and the package."""


def caller_namespace() -> dict[str, Any]:
    """Return the names that are known in the innermost code outside of the package."""
    frame = sys._getframe()
    while str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN and frame.f_back is not None:
        frame = frame.f_back
    return {**frame.f_globals, **frame.f_locals}
