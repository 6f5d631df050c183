"""The items of a `fan_out` as they are put on record: their scalars, by the names of the fields they are in."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from .._base.text import legible
from .._core.plain_forms import plain_form
from .._core.secrets import secrets_in
from .._core.value_codecs import CannotStore

ItemView: TypeAlias = Mapping[str, str | int | float | bool | None]

_MOST: Final = 100
"""Fields of an item; one with more has none on record."""
_DEEPEST: Final = 8
_LONGEST: Final = 200
"""Characters of a text, and bytes of the JSON of a list."""
_SCALARS: Final = frozenset({int, float, bool, type(None)})
_PARTS: Final = _SCALARS | {str}
_AS_TEXTS: Final = (date, time, timedelta, Decimal, Fraction, PurePath, UUID)


def item_view(item: Any) -> ItemView:
    """Return the scalars of an item: those of a dict, model, dataclass or named tuple by the names of the fields.

    A scalar itself has an empty name. Fields within fields have names with dots. An item with a secret has none.
    """
    try:
        if secrets_in(item):
            return {}
        found = dict(_scalars_in("", item, 0))
    except (CannotStore, AttributeError, RecursionError):  # a part that nobody can read is not shown
        return {}
    return found if len(found) <= _MOST else {}


def _scalars_in(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()
    fields = _fields_of(value)
    if fields is not None:
        if len(fields) <= _MOST and depth < _DEEPEST:
            for field, part in fields.items():
                yield from _scalars_in(f"{name}.{field}" if name else str(field), part, depth + 1)
        return
    value = plain_form(value)
    if type(value) in _SCALARS:
        yield name, value
    elif isinstance(value, (str, *_AS_TEXTS)):
        yield name, legible(str(value))[:_LONGEST]
    elif isinstance(value, (list, tuple)) and len(value) <= _MOST and _PARTS.issuperset(map(type, value)):
        parts = [legible(part) if isinstance(part, str) else part for part in value]
        if len(text := to_json(parts)) <= _LONGEST:
            yield name, text.decode()


def _fields_of(value: Any) -> dict[Any, Any] | None:
    """Return the fields of a value by their names; None if it has none."""
    if isinstance(value, dict):
        return value
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)) is not None:
        return dict(zip(names, value, strict=True))
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        found: dict[Any, Any] = plain_form(value)
        return found
    return None
