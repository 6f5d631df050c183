"""Values as plain lists and dicts, level by level, and values with too many levels."""

from collections import deque
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel

from .value_codecs import CannotStore


def plain_form(value: Any) -> Any:
    """Return a value from which Pydantic creates a model, dataclass, named tuple or enum again; others as they are."""
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return _fields_of(value)
    if isinstance(value, Enum):
        return value.value
    return [*value] if isinstance(value, tuple) and hasattr(value, "_fields") else value


def _fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a model or dataclass by the names by which it takes them."""
    if not isinstance(value, BaseModel):
        return {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    found = {}
    for name, field in type(value).model_fields.items():
        if field.exclude:
            advice = "leave exclude=True out, or write that field to a key of its own"
            raise CannotStore(f"its field {name!r} has exclude=True", advice)
        alias = field.validation_alias
        found[alias if isinstance(alias, str) else name] = getattr(value, name)
    return found | (value.__pydantic_extra__ or {})


def too_deep(value: Any) -> CannotStore:
    """Return the reason why a value with too many levels cannot be stored."""
    if _contains_itself(value):
        return CannotStore("it contains itself", "leave out the reference to itself")
    return CannotStore("it has too many levels of values within values", "write it with fewer levels")


def _contains_itself(value: Any) -> bool:
    seen, path = {id(value)}, {id(value): _parts_of(value)}
    while path:
        identity, parts = next(reversed(path.items()))
        part = next((part for part in parts if id(part) in path or id(part) not in seen), path)
        if part is path:
            del path[identity]
        elif id(part) in path:
            return True
        else:
            seen.add(id(part))
            path[id(part)] = _parts_of(part)
    return False


def _parts_of(value: Any) -> Iterator[Any]:
    """Return the values in a value that may have parts themselves."""
    plain = plain_form(value)
    parts = plain.values() if isinstance(plain, dict) else plain if isinstance(plain, (list, tuple, deque)) else ()
    return (part for part in parts if plain_form(part) is not part or isinstance(part, (dict, list, tuple, deque)))
