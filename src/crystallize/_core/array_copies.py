"""How numpy arrays and scalars are copied.

An array without objects is kept over immutable bytes, so that nobody can make its memory writeable. Each reader gets a
view of its own, since a reader can change the dtype, the shape and the strides of an array in place.
"""

import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any


def frozen_array(array: Any) -> Any:
    """Freeze an array; return NotImplemented for subclasses and arrays with objects, which are deep-copied."""
    if array.dtype.hasobject or not _is_numpy_array(array):
        return NotImplemented
    order = "F" if array.flags.fnc else "C"
    return _kept(type(array)(array.shape, array.dtype, array.tobytes(order), 0, None, order))


def _kept(base: Any) -> Any:
    """Return the frozen form of a private array over immutable memory."""
    # numpy makes `base` the base of all further views, so that readers can reach `base`, but not `kept`.
    dtype = base.dtype
    if not _is_mutable(dtype):
        return base, base.view().view
    own = own_dtype(dtype)
    base.dtype, kept = own_dtype(dtype), base.view(own)
    copied: Callable[[], Any] = partial(deepcopy, own) if _needs_deep_copy(own) else partial(own.newbyteorder, "|")
    return base, lambda: kept.view(copied())


def _is_numpy_array(value: Any) -> bool:
    """Whether a value is an array of numpy's own class, which need not be imported for that."""
    return (type(value).__module__, type(value).__qualname__) == ("numpy", "ndarray")


def adopted_array(array: Any) -> Any:
    """Freeze an array that nobody else has, without a copy if its memory is immutable."""
    is_plain = not array.dtype.hasobject and _is_numpy_array(array)
    if not (is_plain and array.flags.forc and _lies_over_immutable_memory(array)):
        return frozen_array(array)
    return _kept(array.view())


def _lies_over_immutable_memory(array: Any) -> bool:
    """Whether the memory of an array belongs to a read-only buffer, such as bytes or a part of a mapped file."""
    # numpy asks the owner itself before it makes an array writeable.
    owner = array
    while _is_numpy_array(owner):
        owner = owner.base
    return isinstance(owner, bytes | memoryview) and memoryview(owner).readonly


def deep_copied_array(array: Any, memo: dict[int, Any]) -> Any:
    """Deep-copy an array with its dtype and the attributes of a subclass, which numpy's own deep copy shares."""
    fresh = deepcopy(array, memo)
    attributes = getattr(array, "__dict__", {})
    for name, item in list(getattr(fresh, "__dict__", {}).items()):
        if item is attributes.get(name):
            setattr(fresh, name, deepcopy(item, memo))
    _take_own_dtype(fresh)
    return fresh


def _take_own_dtype(array: Any) -> None:
    """Give a private array, and those that it is made of, dtypes of their own."""
    # A masked array is a view of another, and has its mask in an attribute.
    rest = [array]
    while rest:
        part = rest.pop()
        if isinstance(part, sys.modules["numpy"].ndarray):
            if _is_mutable(part.dtype):
                part.dtype = own_dtype(part.dtype)
            rest += [part.base, *getattr(part, "__dict__", {}).values()]


def deep_copied_record(record: Any, memo: dict[int, Any]) -> Any:
    """Deep-copy a `numpy.void`, the only mutable scalar."""
    return deep_copied_array(sys.modules["numpy"].asarray(record), memo)[()]


def own_dtype(dtype: Any) -> Any:
    """Return an equal dtype that nobody else has; the dtype itself if it is immutable."""
    return deepcopy(dtype) if _is_mutable(dtype) else dtype


def _is_mutable(dtype: Any) -> bool:
    """Whether a dtype can be changed in place: the names of its fields, and the objects in its metadata."""
    return dtype.names is not None or dtype.metadata is not None


def _needs_deep_copy(dtype: Any) -> bool:
    """Whether `newbyteorder("|")`, which takes a hundredth of the time, would share or lose a part of the dtype."""
    fields = dtype.base.fields or {}
    has_titles = len(fields) != len(dtype.base.names or ())
    return dtype.metadata is not None or has_titles or any(_needs_deep_copy(part) for part, *_ in fields.values())
