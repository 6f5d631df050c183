"""What the annotations of a shape, a metric or a tag say, for those who look at types before there are values."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WrapValidator
from typing_extensions import TypeAliasType, get_type_hints, is_typeddict

__all__ = ["choices_of", "classes_of", "key_types"]

_VALIDATORS = (AfterValidator, BeforeValidator, PlainValidator, WrapValidator)
"""What may make something of a value that its annotation does not say."""


def key_types(shape: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the types that the keys of a shape are declared with, or the tags of a metric, without constraints.

    Args:
        shape: A model, TypedDict or dataclass, or a dict; None where there are no tags.
        names: The keys, declared or not; the type of one that is not is that of all others.

    Returns:
        The type of each, in their order; `Any` where none is known.
    """
    cls, arguments = get_origin(shape) or shape or dict, get_args(shape)
    others = arguments[1] if len(arguments) == 2 and issubclass(cls, Mapping) and not is_typeddict(cls) else Any
    fields = getattr(cls, "__pydantic_fields__", None)
    hints: dict[str, Any] = {}
    if fields is not None:
        hints = {name: field.annotation for name, field in fields.items()}
    else:
        # What stands as text for something in a function only Pydantic finds.
        with suppress(NameError):
            hints = get_type_hints(cls)
    filled: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
    found = {name: hints.get(name, others) for name in names}
    return {name: filled.get(hint, Any) if isinstance(hint, TypeVar) else hint for name, hint in found.items()}


def classes_of(annotation: Any) -> frozenset[type] | None:
    """Return the classes of which values of a type may be; None where that is not known."""
    found: set[type] = set()
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            found |= {type(choice) for choice in get_args(part)}
        elif part is not Any and isinstance(cls := get_origin(part) or part, type):  # Any is a class too
            found.add(cls)
        else:
            return None
    return frozenset(found)


def choices_of(annotation: Any) -> tuple[Any, ...] | None:
    """Return all values that a type has; None where they cannot be listed."""
    found: list[Any] = []
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            found += get_args(part)
        elif isinstance(part, type) and issubclass(part, Enum):
            found += part
        else:
            return None
    return tuple(found)


def _parts(annotation: Any) -> list[Any]:
    """Return the types that a type is one of, without what is around them."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return [Any] if any(isinstance(one, _VALIDATORS) for one in metadata) else _parts(inner)
    if get_origin(annotation) in (Union, UnionType):
        return [part for one in get_args(annotation) for part in _parts(one)]
    if isinstance(annotation, NewType):
        return _parts(annotation.__supertype__)
    if isinstance(annotation, TypeAliasType):
        return _parts(annotation.__value__)
    return [type(None)] if annotation is None else [annotation]
