"""Times of pandas as text, where their JSON would lack nanoseconds, or where they have none, as NaT."""

import sys
from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any, Final

from .._core.digest import pandas_time
from .._core.immutable_types import ATOMIC

_LISTS: Final = (list, tuple, set, frozenset, deque)


def with_legible_times(value: Any) -> Any:
    """Return a value, or a copy with texts in place of the times of pandas that JSON cannot express."""
    return value if "pandas" not in sys.modules else _legible(value)


def _legible(value: Any) -> Any:
    cls = type(value)
    if cls in ATOMIC:
        return value
    if cls in _LISTS:
        # As a whole, since it may have millions of numbers.
        return value if ATOMIC.issuperset(map(type, value)) else [*map(_legible, value)]
    if isinstance(value, dict):
        return {name: _legible(part) for name, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _legible(getattr(value, field.name)) for field in fields(value)}
    text = pandas_time(value)
    return value if text is None or not _is_fine(value) else text


def _is_fine(time: Any) -> bool:
    """Whether a time of pandas is NaT, or has nanoseconds that are no microseconds."""
    return bool(time != time or getattr(time, "nanosecond", 0) or getattr(time, "nanoseconds", 0))
