"""Read annotations: the types of keys and tags, and the classes and choices that a type allows."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WrapValidator
from typing_extensions import TypeAliasType, get_type_hints, is_typeddict

_VALIDATORS = (AfterValidator, BeforeValidator, PlainValidator, WrapValidator)
"""Metadata that can turn a value into one of another type than its annotation."""


def key_types(shape: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the declared types of keys, or of a metric's tags, without constraints; `Any` for unknown types.

    The shape is a model, a TypedDict, a dataclass, a dict, or None for no tags. An undeclared key of a dict has the
    type of its values.
    """
    cls, arguments = get_origin(shape) or shape or dict, get_args(shape)
    others = arguments[1] if len(arguments) == 2 and issubclass(cls, Mapping) and not is_typeddict(cls) else Any
    fields = getattr(cls, "__pydantic_fields__", None)
    hints: dict[str, Any] = {}
    if fields is not None:
        hints = {name: field.annotation for name, field in fields.items()}
    else:
        # Only Pydantic resolves a quoted name that is local to a function.
        with suppress(NameError):
            hints = get_type_hints(cls)
    filled: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
    found = {name: hints.get(name, others) for name in names}
    return {name: filled.get(hint, Any) if isinstance(hint, TypeVar) else hint for name, hint in found.items()}


def unchecked_class(shape: Any) -> tuple[str, type] | None:
    """Return a class in a shape that `isinstance` rejects, such as a Protocol, after its key; None if there is none.

    The key is empty if no single key has the class in its type.
    """
    known = plain_type(shape)
    keys = _hints_of(get_origin(known) or known)
    found = ((key, cls) for key, hint in (keys or {"": known}).items() for cls in _unchecked_in(hint, set()))
    return next(found, None)


def _unchecked_in(annotation: Any, met: set[int]) -> Iterator[type]:
    known = unaliased(annotation)
    if id(known) in met:
        return
    met.add(id(known))
    hints = _hints_of(known)
    if isinstance(known, type) and known is not Any and not get_args(known) and not is_typeddict(known):
        try:
            isinstance(None, known)
        except TypeError:
            yield known
    for part in (*get_args(known), *hints.values()):
        yield from _unchecked_in(part, met)


def _hints_of(cls: Any) -> dict[str, Any]:
    """Return the annotations of a class whose fields Pydantic validates; none if they cannot be resolved."""
    is_holder = is_typeddict(cls) or is_dataclass(cls) or hasattr(cls, "__pydantic_fields__") or hasattr(cls, "_fields")
    try:
        return get_type_hints(cls) if is_holder else {}
    except (NameError, TypeError):
        return {}


def unaliased(shape: Any) -> Any:
    """Return the type that an alias or a `NewType` names."""
    origin = get_origin(shape)
    if isinstance(shape, TypeAliasType):
        return unaliased(shape.__value__)
    if isinstance(origin, TypeAliasType):
        return unaliased(origin.__value__[get_args(shape)])
    return unaliased(shape.__supertype__) if isinstance(shape, NewType) else shape


def plain_type(shape: Any) -> Any:
    """Return a type without aliases and metadata."""
    shape = unaliased(shape)
    return plain_type(get_args(shape)[0]) if get_origin(shape) is Annotated else shape


def classes_of(annotation: Any) -> frozenset[type] | None:
    """Return the classes that the values of a type can have; None if they are unknown."""
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
    """Return all values of a type; None if they cannot be listed."""
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
    """Return the members of a union, or the type itself, without aliases and metadata."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return [Any] if any(isinstance(item, _VALIDATORS) for item in metadata) else _parts(inner)
    if get_origin(annotation) in (Union, UnionType):
        return [part for member in get_args(annotation) for part in _parts(member)]
    if (known := unaliased(annotation)) is not annotation:
        return _parts(known)
    return [type(None)] if annotation is None else [annotation]
