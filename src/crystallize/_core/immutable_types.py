"""Types of immutable values, and the parts of other objects."""

import re
import sys
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import (
    BuiltinFunctionType,
    EllipsisType,
    FunctionType,
    MappingProxyType,
    ModuleType,
    NoneType,
    NotImplementedType,
)
from typing import Any, Final
from uuid import UUID

from .._base.type_registry import TypeRegistry

ATOMIC: frozenset[type] = frozenset(
    {
        *(int, float, complex, bool, str, bytes, NoneType, EllipsisType, NotImplementedType, range, type),
        *(date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID, re.Pattern),
        *(PurePosixPath, PureWindowsPath, PosixPath, WindowsPath),
        *(FunctionType, BuiltinFunctionType),
    }
)
"""Types whose instances are immutable. Their subclasses are not included."""

IMMUTABLE: Final[TypeRegistry[bool]] = TypeRegistry({"shapely.geometry.base.BaseGeometry": True})
"""Types of other libraries whose instances are immutable, with their subclasses."""

PLAIN: frozenset[type] = frozenset({float, int, str, bool, NoneType})
"""The types of most values and tags of points: immutable, and never secret."""


def parts_of(item: Any) -> list[Any]:
    """Return the objects that an object contains: attributes, slots, items and keys."""
    cls = type(item)  # not `__class__`, about which a mock or a proxy lies
    if issubclass(cls, (type, ModuleType)):
        return []
    inner: list[Any] = [*getattr(item, "__dict__", {}).values()]
    numpy = sys.modules.get("numpy")
    if issubclass(cls, (dict, MappingProxyType)):
        inner += [*item.keys(), *item.values()]
    elif numpy is not None and issubclass(cls, numpy.ndarray) and item.dtype.hasobject:
        inner += item.ravel().tolist()
    elif issubclass(cls, (list, tuple, set, frozenset, deque)):
        inner.extend(item)  # a list of pandas refuses to be added
    slots = [vars(base).get("__slots__", ()) for base in cls.__mro__]
    names = [name for own in slots for name in ([own] if isinstance(own, str) else own) if name != "__dict__"]
    return inner + [getattr(item, name) for name in names if hasattr(item, name)]
