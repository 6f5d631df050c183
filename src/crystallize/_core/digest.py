"""Digests of values and of core schemas, the same in every process."""

import re
from collections import deque
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def digest(content: bytes) -> str:
    """Return the BLAKE2b digest of bytes, 128 bits, in hexadecimal."""
    return blake2b(content, digest_size=16).hexdigest()


def stable_form(node: Any) -> Any:
    """Return a core schema without the parts that differ between processes or do not affect validation."""
    if isinstance(node, dict):
        return sorted((str(name), stable_form(part)) for name, part in node.items() if name not in _SILENT)
    if isinstance(node, (list, tuple, set, frozenset)):
        return [stable_form(part) for part in node]
    if isinstance(node, str):
        # References to recursive types end in the address of a class.
        return re.sub(r":\d+", "", as_main(node))
    if callable(node):
        return as_main(f"{getattr(node, '__module__', '')}.{getattr(node, '__qualname__', type(node).__qualname__)}")
    return re.sub(r" at 0x[0-9a-f]+", "", repr(node))


def as_main(text: str) -> str:
    """Return a name as in the main process; processes that multiprocessing starts use `__mp_main__` for it."""
    return text.replace("__mp_main__", "__main__")


_SILENT = frozenset({"metadata", "serialization", "default", "default_factory"})


def _json(value: Any) -> str:
    import json  # here, to keep the import of the package fast

    return json.dumps(value, sort_keys=True)


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "tobytes") and not value.dtype.hasobject


def pandas_time(value: Any) -> str | None:
    """Return a pandas time as text, with the nanoseconds that its JSON lacks; None for all other values."""
    is_time = type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "isoformat")
    return str(value.isoformat()) if is_time else None


def _inner(value: Any) -> Any:
    """Return the JSON-like content of a container, model or dataclass; None for other values."""
    if isinstance(value, BaseModel):
        return value.__dict__
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value if isinstance(value, (dict, list, tuple, set, frozenset, deque)) else None


def _needs_order(value: Any) -> bool:
    """Whether plain JSON is ambiguous: arrays have none, sets have no order, NaN would be None, nanoseconds 0."""
    if isinstance(value, float):
        return not isfinite(value)
    inner = _inner(value)
    if inner is None:
        return _is_array(value) or pandas_time(value) is not None
    parts = [*inner.keys(), *inner.values()] if isinstance(inner, dict) else inner
    return isinstance(inner, (set, frozenset)) or any(map(_needs_order, parts))


def _ordered_form(value: Any) -> Any:
    """Return an unambiguous JSON form of a value that needs more than the schema's own JSON."""
    inner = _inner(value)
    if isinstance(inner, (set, frozenset)):
        return sorted(_json(_ordered_form(item)) for item in inner)
    if isinstance(inner, dict):
        return {_json(_ordered_form(key)): _ordered_form(item) for key, item in inner.items()}
    if inner is not None:
        return [_ordered_form(item) for item in inner]
    if _is_array(value):
        return [str(value.dtype.descr), value.shape, digest(value.tobytes())]
    return pandas_time(value) or to_jsonable_python(value)


def content_json(value: Any, dump: Any) -> str:
    """Return JSON that is the same for equal values; `dump` is the serializer of the value's schema."""
    return _json(_ordered_form(value) if _needs_order(value) else dump(value, None))
