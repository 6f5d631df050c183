"""An upper bound on the size of a value as JSON, which is cheap beside the JSON itself."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

_PER_ITEM: Final = 32
"""Bytes that hold a number, a date, or the marks around an item."""
_PER_CHARACTER: Final = 6
"""Bytes of a character that JSON escapes, as in "\\u0000"."""


def size_bound(value: Any, enough: int) -> int:
    """Return an upper bound on the bytes of a value as a file stores it, or any number above `enough`."""
    total = 0
    left = [value]
    while left and total <= enough:
        part = left.pop()
        total += _PER_ITEM
        if isinstance(part, (str, bytes, bytearray)):
            total += _PER_CHARACTER * len(part)
        elif isinstance(part, Mapping):
            left += part.keys()
            left += part.values()
        elif isinstance(part, (list, tuple, set, frozenset)):
            left += part
        elif isinstance(part, BaseModel):
            left += vars(part).values()
            left += part.model_extra.values() if part.model_extra else ()
        else:
            total += getattr(part, "nbytes", 0)
    return total
