"""The limit on the size of values and artifacts, which a sink may set."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from ..errors import TooLargeError
from .codec import encode
from .key import Key

_PER_ITEM: Final = 32
"""Bytes for a number, a date, or the marks around an item."""
_PER_CHARACTER: Final = 6
"""Bytes of a character that JSON escapes, as in "\\u0000"."""


def check_value_size(sinks: Iterable[object], name: str, key: Key, value: Any) -> None:
    """Raise TooLargeError if the value of a key is too large for a sink."""
    for sink, limit in _limits(sinks):
        if size_bound(value, limit) > limit:
            stored = encode(key, value)
            size = max(len(stored.json), *map(len, stored.arrays), 0)
            if size > limit:
                advice = "write it to a file and keep the path, or write several keys"
                raise TooLargeError(repr(name), size, limit, sink, advice)


def check_artifact_size(sinks: Iterable[object], name: str, size: int) -> None:
    """Raise TooLargeError if an artifact is too large for a sink."""
    for sink, limit in _limits(sinks):
        if size > limit:
            advice = "write it to a file and keep the path, or add it in parts"
            raise TooLargeError(f"artifact {name!r}", size, limit, sink, advice)


def _limits(sinks: Iterable[object]) -> Iterator[tuple[str, int]]:
    """Return the class and the limit of each sink that has one; see `LimitedSink`."""
    for sink in sinks:
        limit = getattr(sink, "largest", None)
        if isinstance(limit, int):
            yield type(sink).__name__, limit


def size_bound(value: Any, enough: int) -> int:
    """Return an upper bound on the bytes of a value as JSON, or any number above `enough`.

    This is cheap beside making the JSON.
    """
    total = 0
    left: list[Any] = [value]
    while left and total <= enough:
        part = left.pop()
        total += _PER_ITEM
        if isinstance(part, (str, bytes, bytearray)):
            total += _PER_CHARACTER * len(part)
        elif isinstance(part, int):
            total += part.bit_length() // 3
        elif isinstance(part, Mapping):
            left += part.keys()
            left += part.values()
        elif isinstance(part, (list, tuple, set, frozenset)):
            left += part
        elif isinstance(part, BaseModel):
            left += vars(part).values()
            left += part.model_extra.values() if part.model_extra else ()
        elif hasattr(part, "__dict__"):
            left += vars(part).values()
            total += getattr(part, "nbytes", 0)
        else:
            total += getattr(part, "nbytes", 0)
    return total
