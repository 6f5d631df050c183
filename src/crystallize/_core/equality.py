"""Whether two values are the same."""

from collections import deque
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel

from .copy_plans import declared_fields


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
    return bool(left == right)
