"""Large values that are written to a file first, and kept there.

A run stores a large array, table or dict of tensors in a file in the folder of objects anyway. So the context does not
copy such a value first. It keeps the mapped file, and the first reader gets the value from there. A write then takes
half of the time, and no memory besides the mapping.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from .._base.file_calls import POSIX
from .._base.file_system import is_network
from .._base.object_folder import ObjectFolder
from ..errors import ObjectError
from .codec import Stored, decode, encode
from .key import Key
from .secrets import secrets_in
from .value_parts import MappedPart, Part, PartInMemory

LARGE: Final = 1 << 25
"""Bytes from which a value is placed: a smaller one is copied faster than a file is mapped."""
_MOST_ITEMS: Final = 10_000
"""Items of containers that are looked at: of more, the whole value costs more than its arrays do."""


class PlacedValue:
    """A value that is in files, which are mapped. Sinks that take it get it in place of the value.

    Attributes:
        stored: The value as a file stores it.
        is_owned: Whether what `read` returns lies in the mapped files.
    """

    def __init__(self, key: Key, stored: Stored, *, is_owned: bool) -> None:
        self._key = key
        self.stored = stored
        self.is_owned = is_owned

    def read(self) -> Any:
        """Return the value."""
        return decode(self.stored, self._key)


def place(key: Key, name: str, value: Any, folder: ObjectFolder | None, sinks: Sequence[object]) -> PlacedValue | None:
    """Write a large value to files of a folder; return None for a value that has to be copied.

    Sinks that do not take files need the value itself. If the disk does not take the files, this raises ObjectError.
    """
    if folder is None or not sinks or not all(getattr(sink, "takes_placed_values", False) for sink in sinks):
        return None
    if not _is_large(value) or key.shared or key.secret or key.excluded or secrets_in(value):
        return None
    if not (POSIX and folder.is_durable and not is_network(folder.path)):
        return None
    stored = encode(key, value)
    parts: list[Part] = []
    for part in stored.parts if stored.how != "none" else ():
        placed = _placed(part, folder, name)
        if placed is None:
            return None
        parts.append(placed)
    if not any(isinstance(part, MappedPart) for part in parts):
        return None
    return PlacedValue(key, stored._replace(parts=tuple(parts)), is_owned=_short_name(type(value)) in _OVER_BYTES)


def _placed(part: Part, folder: ObjectFolder, name: str) -> Part | None:
    if not isinstance(part, PartInMemory):
        return part
    try:
        found = folder.put_mapped(part.chunks, part.size)
    except ObjectError as error:
        raise ObjectError(error.path, f"{error.reason}, which has the value of key {name!r}", error.advice) from error
    return None if found is None else MappedPart(folder, *found)


def _is_large(value: Any) -> bool:
    """Whether the arrays, tensors and tables in a value, or in containers of them, are large in all."""
    total = looked = 0
    storages: set[int] = set()
    rest = [value]
    while rest and looked < _MOST_ITEMS:
        item = rest.pop()
        looked += 1
        cls = type(item)
        if cls in _CONTAINERS:
            rest.extend(islice(item.values() if issubclass(cls, dict) else item, _MOST_ITEMS))
        elif (size_of := _SIZES.get(_short_name(cls))) is not None:
            total += (size := size_of(item))
            # Only a dense tensor has one storage.
            if size and _short_name(cls)[0] == "torch":
                storage = item.untyped_storage().data_ptr()
                if storage in storages:
                    return False  # a file would have two tensors where the value has two names of one
                storages.add(storage)
    return total >= LARGE


_CONTAINERS: Final = (dict, OrderedDict, list, tuple)


def _short_name(cls: type) -> tuple[str, str]:
    """Return the library of a class and its name there."""
    return cls.__module__.partition(".")[0], cls.__name__


def _size_of_array(array: Any) -> int:
    return 0 if array.dtype.hasobject else int(array.nbytes)


def _size_of_tensor(tensor: Any) -> int:
    return int(tensor.element_size() * tensor.nelement()) if tensor.layout == sys.modules["torch"].strided else 0


_SIZES: Final[dict[tuple[str, str], Callable[[Any], int]]] = {
    ("numpy", "ndarray"): _size_of_array,
    ("pandas", "DataFrame"): lambda frame: int(frame.size) * 8,
    ("polars", "DataFrame"): lambda frame: int(frame.estimated_size()),
    ("pyarrow", "Table"): lambda table: int(table.nbytes),
    ("torch", "Tensor"): _size_of_tensor,
    ("torch", "Parameter"): _size_of_tensor,
}
"""The bytes of values, about, by the types that are placed."""
_OVER_BYTES: Final = frozenset({("numpy", "ndarray"), ("polars", "DataFrame"), ("pyarrow", "Table")})
"""The types whose values lie in the bytes that they are read from."""
