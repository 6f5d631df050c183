"""The fields of a dataclass that its constructor does not accept, `field(init=False)`: a step may set them."""

from collections.abc import Collection
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

from typing_extensions import TypedDict, get_type_hints

from .._base.caller_namespace import caller_namespace
from ..errors import SchemaError
from .key import Output


def names_without_init(cls: Any) -> list[str]:
    """Return the names of these fields; none for other classes than dataclasses."""
    return [field.name for field in fields(cls) if not field.init] if is_dataclass(cls) else []


def outputs_beside(known: Collection[str], shape: Any, label: str) -> Any:
    """Return a TypedDict of these fields of a shape, except for `known` ones; None if there are no others.

    Pydantic leaves those without a default out of the schema of a dataclass.
    """
    cls = get_origin(shape) or shape
    names = [name for name in names_without_init(cls) if name not in known]
    if not names:
        return None
    try:
        hints = get_type_hints(cls, localns=caller_namespace(), include_extras=True)
    except NameError as error:
        raise SchemaError(label, f"it refers to {error.name!r}, which is not defined") from error
    filled = dict(zip(getattr(cls, "__parameters__", ()), get_args(shape), strict=False))
    typed_dict: Any = TypedDict
    # A `__post_init__` sets the others in a snapshot, if no step has written them.
    is_total = not hasattr(cls, "__post_init__")
    marked: Any = Annotated
    types = {name: marked[filled_type(hints[name], filled), Output] for name in names}
    made = typed_dict(label, types, total=is_total)  # pyrefly: ignore[invalid-argument]  # known at run time only
    made.__pydantic_config__ = getattr(cls, "__pydantic_config__", {})
    return made


def filled_type(hint: Any, arguments: dict[Any, Any]) -> Any:
    """Return a type with the arguments of a generic dataclass in place of its type variables."""
    if isinstance(hint, TypeVar):
        return arguments.get(hint, hint)
    variables = getattr(hint, "__parameters__", ())
    return hint[tuple(arguments.get(variable, variable) for variable in variables)] if variables else hint


def initial_outputs(instance: Any) -> dict[str, Any]:
    """Return the values that these fields of an instance have when it is made."""
    cls = type(instance)
    if not (names := names_without_init(cls)):
        return {}
    fresh = object.__new__(cls)
    for field in fields(cls):
        if field.init and hasattr(instance, field.name):
            value = getattr(instance, field.name)
            # A `__post_init__` may change it in place.
            object.__setattr__(fresh, field.name, copy(value) if type(value) in (list, dict, set) else value)
        elif field.default_factory is not MISSING:
            object.__setattr__(fresh, field.name, field.default_factory())
    if hasattr(fresh, "__post_init__"):
        fresh.__post_init__()
    return {name: getattr(fresh, name) for name in names if hasattr(fresh, name)}
