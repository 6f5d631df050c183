"""The names that are known where the package was called, for annotations that refer to types within a function."""

import sys
from inspect import CO_OPTIMIZED
from typing import Any, Final

_BETWEEN: Final = frozenset({"crystallize", "contextlib", "functools", "pydantic", "typing", "typing_extensions"})
"""Packages whose frames may lie between the caller and the package."""


def caller_namespace() -> dict[str, Any]:
    """Return the names that are known in the innermost code outside of the package.

    A class body also knows the names of the function around it.
    """
    frame = sys._getframe()
    while str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN and frame.f_back is not None:
        frame = frame.f_back
    found = {**frame.f_locals}
    while not frame.f_code.co_flags & CO_OPTIMIZED and frame.f_locals is not frame.f_globals and frame.f_back:
        frame = frame.f_back
        found = {**frame.f_locals, **found}
    return {**frame.f_globals, **found}
