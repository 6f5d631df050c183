"""Whether two values are the same, and which field or attribute of a model or dataclass differs."""

from collections import deque
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, time
from typing import Any

from pydantic import BaseModel

from .._base.text import type_name
from .copy_plans import declared_fields
from .immutable_types import parts_of
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


def lost_part(restored: Any, value: Any) -> tuple[str, str] | None:
    """Return the field or attribute that a restored value lacks, at any depth, and a remedy.

    None if there is none, or if a part of the value came back as another type.
    """
    cls = type(value)
    if type(restored) is not cls:
        return None
    if isinstance(value, BaseModel) or is_dataclass(value):
        return _lost_field(restored, value) or _lost_attribute(restored, value)
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs += [(restored[key], value[key]) for key in value if key in restored]
    if isinstance(value, (list, tuple, deque)):
        pairs += zip(restored, value, strict=False)
    found = [lost for pair in pairs if (lost := lost_part(*pair))]
    return found[0] if found else None


def _lost_field(restored: Any, value: Any) -> tuple[str, str] | None:
    cls = type(value)
    not_given = () if isinstance(value, BaseModel) else {field.name for field in fields(value) if not field.init}
    for name in declared_fields(cls):
        left, right = getattr(restored, name, None), getattr(value, name, None)
        if same(left, right):
            continue
        why = f"the field {name!r} of a {type_name(cls)} does not come back equal"
        if name in not_given:
            return f"{why}, because it has init=False", "leave init=False out"
        if (inner := lost_part(left, right)) is not None:
            return inner
        return why, "let the schema declare its type in full, with a validator and a serializer that are inverse"
    return None


def _lost_attribute(restored: Any, value: Any) -> tuple[str, str] | None:
    left, right = (getattr(model, "__pydantic_private__", None) or {} for model in (restored, value))
    for name in {**right, **left}:
        if name not in left or name not in right or not same(left[name], right[name]):
            why = f"the private attribute {name!r} of a {type_name(type(value))} does not come back equal"
            return why, "make it a field, or compute it in model_post_init"
    return None


def lost_argument(value: Any) -> tuple[str, str] | None:
    """Return an argument that a dataclass in a value requires and does not keep, and a remedy."""
    met: dict[int, Any] = {}
    rest = [value]
    while rest:
        part = rest.pop()
        if id(part) in met:
            continue
        met[id(part)] = part
        rest.extend(parts_of(part))
        for field in vars(type(part)).get("__dataclass_fields__", {}).values():
            if "InitVar" in str(field.type) and field.default is MISSING:
                return f"a {type_name(type(part))} does not keep its InitVar {field.name!r}", "make it a field"
    return None
