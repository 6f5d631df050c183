"""Whether two values are the same."""

from collections import deque
from dataclasses import is_dataclass
from datetime import datetime, time
from typing import Any

from pydantic import BaseModel

from .copy_plans import declared_fields
from .standard_codecs import fixed_offset
from .value_codecs import codec_of


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of equal types, at any depth. NaN equals NaN."""
    cls = type(left)
    if left is right or cls is not type(right):
        return left is right
    if cls is float:
        return bool(left == right or (left != left and right != right))
    if hasattr(left, "dtype") and hasattr(left, "tobytes"):
        return bool((left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes()))
    if isinstance(left, BaseModel) or is_dataclass(left):
        # As Pydantic's own comparison, but without the set of fields that were given, which JSON does not contain.
        beside = ("__pydantic_extra__", "__pydantic_private__")
        return all(
            same(getattr(left, name, None), getattr(right, name, None)) for name in (*declared_fields(cls), *beside)
        )
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, (list, tuple, deque)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, (set, frozenset)):
        return {(type(item), item) for item in left} == {(type(item), item) for item in right}
    if cls in (datetime, time):
        return bool(left == right and left.fold == right.fold) and _same_zone(left.tzinfo, right.tzinfo)
    codec = codec_of(cls)
    return bool(left == right) if codec is None else codec.equal(left, right)


def _same_zone(left: Any, right: Any) -> bool:
    """Whether two time zones have the same rules: a named zone is not the offset that it has at one moment."""
    if left is None or right is None:
        return left is right
    offsets = fixed_offset(left), fixed_offset(right)
    if offsets != (None, None):
        return offsets[0] == offsets[1]
    return type(left) is type(right) and getattr(left, "key", left) == getattr(right, "key", right)
