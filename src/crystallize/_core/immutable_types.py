"""Types of immutable values, and the parts of other objects."""

import re
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import (
    BuiltinFunctionType,
    EllipsisType,
    FunctionType,
    ModuleType,
    NoneType,
    NotImplementedType,
)
from typing import Any
from uuid import UUID

ATOMIC: frozenset[type] = frozenset(
    {
        *(int, float, complex, bool, str, bytes, NoneType, EllipsisType, NotImplementedType, range, type),
        *(date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID, re.Pattern),
        *(PurePosixPath, PureWindowsPath, PosixPath, WindowsPath),
        *(FunctionType, BuiltinFunctionType),
    }
)
"""Types whose instances are immutable. Their subclasses are not included."""

PLAIN: frozenset[type] = frozenset({float, int, str, bool, NoneType})
"""The types of most values and tags of points: immutable, and never secret."""


def parts_of(item: Any) -> list[Any]:
    """Return the objects that an object contains: attributes, slots, items and keys."""
    if isinstance(item, (type, ModuleType)):
        return []
    inner: list[Any] = [*getattr(item, "__dict__", {}).values()]
    if isinstance(item, dict):
        inner += [*item.keys(), *item.values()]
    elif isinstance(item, (list, tuple, set, frozenset, deque)):
        inner += item
    slots = [vars(base).get("__slots__", ()) for base in type(item).__mro__]
    names = [name for own in slots for name in ([own] if isinstance(own, str) else own) if name != "__dict__"]
    return inner + [getattr(item, name) for name in names if hasattr(item, name)]
