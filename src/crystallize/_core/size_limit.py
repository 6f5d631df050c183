"""The limit on the size of values and artifacts, which a sink may set."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from operator import index
from types import GetSetDescriptorType, MappingProxyType, MemberDescriptorType, ModuleType
from typing import Any, Final, NamedTuple

from .._base.object_folder import ObjectFolder
from .._base.signal_handlers import reraise_from_handler
from ..errors import TooLargeError
from .codec import encode
from .immutable_types import ATOMIC, PLAIN
from .key import Key

_PER_ITEM: Final = 32
"""Bytes for a number, or for the brackets and quotes of an item."""
_PER_MARK: Final = 160
"""Bytes for the mark of a value that JSON lacks, such as a date with a time zone."""
_PER_CHARACTER: Final = 6
"""Bytes of a character that JSON escapes, as in "\\u0000"."""
_HAVE_NBYTES: Final = frozenset({"numpy", "pandas", "polars", "pyarrow", "torch"})
"""Packages in which `nbytes` is the size of an array or a column."""


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

    This is cheap beside making the JSON. Any object may be in the value, so no code of its class is run.
    """
    total = 0
    left: list[Any] = [value]
    around: set[int] = set()
    while left and total <= enough:
        part = left.pop()
        if type(part) is _End:
            around.discard(part.id)
            continue
        total += (_PER_ITEM if type(part) in PLAIN else _PER_MARK) + _own_size(part)
        if (parts := _parts_of(part)) and id(part) not in around:  # an object within itself has no JSON
            around.add(id(part))
            left.append(_End(id(part)))
            left.extend(parts)
    return total


class _End(NamedTuple):
    """The place in the list of parts where the parts of an object end."""

    id: int


class _Layout(NamedTuple):
    """Where the values of a type have their contents."""

    length: Callable[[Any], int] | None
    """Returns the length of a text, or of bytes."""
    items: tuple[Callable[[Any], Iterable[Any]], ...]
    members: tuple[MemberDescriptorType, ...]
    """The slots."""
    attributes: GetSetDescriptorType | None
    has_nbytes: bool


@lru_cache(maxsize=256)
def _layout_of(cls: type) -> _Layout:
    bases: tuple[type, ...] = cls.__mro__
    lengths = [kind.__len__ for kind in (str, bytes, bytearray) if issubclass(cls, kind)]
    owns: list[Any] = [vars(base) for base in cls.__mro__]
    members = [member for own in owns if "__slots__" in own for member in own.values()]
    attributes = [own["__dict__"] for own in owns if isinstance(own.get("__dict__"), GetSetDescriptorType)]
    return _Layout(
        length=lengths[0] if lengths else None,
        items=tuple(items for kind, *found in _ITEMS if issubclass(cls, kind) for items in found),
        members=tuple(member for member in members if isinstance(member, MemberDescriptorType)),
        attributes=attributes[0] if attributes and not issubclass(cls, (type, ModuleType)) else None,
        has_nbytes=not _HAVE_NBYTES.isdisjoint(str(base.__module__).partition(".")[0] for base in bases),
    )


_ITEMS: Final[tuple[tuple[Any, ...], ...]] = (
    *((kind, kind.__iter__) for kind in (list, tuple, set, frozenset, deque)),
    (dict, dict.keys, dict.values),
    (MappingProxyType, MappingProxyType.keys, MappingProxyType.values),
)
"""Types of containers, each with the functions that return its contents."""


def _own_size(value: Any) -> int:
    """Return a bound on the bytes of a value without its parts."""
    cls: Any = type(value)
    if issubclass(cls, int):
        return int.bit_length(value) // 3
    layout = _layout_of(cls)
    if layout.length is not None:
        return _PER_CHARACTER * layout.length(value)
    if not layout.has_nbytes:
        return 0
    try:
        return index(value.nbytes)
    except Exception as error:  # a frame has no such number, and a sparse tensor raises an error
        reraise_from_handler(error)
        return 0


def _parts_of(value: Any) -> list[Any]:
    """Return the items, keys, slots and attributes of a value."""
    cls: Any = type(value)
    if cls in ATOMIC:
        return []
    layout = _layout_of(cls)
    parts = [*chain.from_iterable(items(value) for items in layout.items)]
    for member in layout.members:
        with suppress(AttributeError):  # nothing is in the slot
            parts.append(member.__get__(value))
    if layout.attributes is not None:
        parts.extend(dict.values(layout.attributes.__get__(value) or {}))
    return parts
