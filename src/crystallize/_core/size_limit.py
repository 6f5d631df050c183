"""The limit on the size of values and artifacts, which a sink may set."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from pydantic import BaseModel

from .._base.object_folder import ObjectFolder
from ..errors import TooLargeError
from .codec import encode
from .key import Key

_PER_ITEM: Final = 32
"""Bytes for a number, a date, or the marks around an item."""
_PER_CHARACTER: Final = 6
"""Bytes of a character that JSON escapes, as in "\\u0000"."""


def check_value_size(sinks: Iterable[object], name: str, key: Key, value: Any) -> None:
    """Raise TooLargeError if the value of a key is too large for a sink."""
    for sink, limit, takes_files in _limits(sinks):
        if size_bound(value, limit) > limit:
            stored = encode(key, value)
            parts = [part for part in stored.parts if isinstance(part, bytes) or not takes_files]
            size = max(len(stored.json), *(len(part) if isinstance(part, bytes) else part.size for part in parts), 0)
            if size > limit:
                advice = "write it to a file and keep the path, or write several keys"
                raise TooLargeError(repr(name), size, limit, sink, advice)


def check_artifact_size(sinks: Iterable[object], name: str, size: int) -> None:
    """Raise TooLargeError if an artifact is too large for a sink."""
    for sink, limit, takes_files in _limits(sinks):
        if size > limit and not takes_files:
            advice = "write it to a file and keep the path, or add it in parts"
            raise TooLargeError(f"artifact {name!r}", size, limit, sink, advice)


def _limits(sinks: Iterable[object]) -> Iterator[tuple[str, int, bool]]:
    """Return the class and the limit of each sink that has one, and whether it takes large contents as files."""
    for sink in sinks:
        limit = getattr(sink, "largest", None)
        if isinstance(limit, int):
            yield type(sink).__name__, limit, isinstance(getattr(sink, "object_folder", None), ObjectFolder)


def size_bound(value: Any, enough: int) -> int:
    """Return an upper bound on the bytes of a value as JSON, or any number above `enough`.

    This is cheap beside making the JSON.
    """
    total = 0
    left: list[Any] = [value]
    while left and total <= enough:
        part = left.pop()
        total += _PER_ITEM + _own_size(part)
        left += _parts_of(part)
    return total


def _own_size(value: Any) -> int:
    """Return a bound on the bytes of a value without its parts."""
    if isinstance(value, (str, bytes, bytearray)):
        return _PER_CHARACTER * len(value)
    if isinstance(value, int):
        return value.bit_length() // 3
    return int(getattr(value, "nbytes", 0))


def _parts_of(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    if isinstance(value, BaseModel):
        return chain(vars(value).values(), (value.model_extra or {}).values())
    return vars(value).values() if hasattr(value, "__dict__") else ()
