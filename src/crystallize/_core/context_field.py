"""Contexts as fields of Pydantic models."""

from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from pydantic import PydanticInvalidForJsonSchema
from pydantic_core import PydanticCustomError

from .._base.type_hints import plain_type
from .key import shape_name
from .schema import Schema

NO_SHAPE: Final[Any] = object()
"""The shape of a context class that declares none."""


def shape_in(cls: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the shape of a context class with these type arguments."""
    own = cls.__default_shape__
    # For a subclass over part of a shape, such as FrozenContext[dict[str, V]], the rest is filled in.
    return own[arguments] if getattr(own, "__parameters__", ()) else arguments[0]


class FieldType:
    """A mixin for contexts that makes their classes types of a model's fields."""

    __slots__ = ()
    __default_shape__: ClassVar[Any]

    @abstractmethod
    def __context_schema__(self) -> Schema: ...

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Return the core schema of a field: a context of this class with the schema of `source`.

        The keys of the shape are not read, since the shape may be the model that has the field.
        """
        arguments = getattr(source, "__args__", ())
        shape = shape_in(cls, arguments) if arguments else cls.__default_shape__
        name = cls.__name__ if _is_open(shape) else f"{cls.__name__}[{shape_name(shape)}]"
        return {
            "type": "function-plain",
            "function": {"type": "no-info", "function": partial(_checked, cls, shape, name)},
            "serialization": {"type": "function-plain", "function": partial(_refuse_json, name), "when_used": "json"},
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> NoReturn:
        """Raise PydanticInvalidForJsonSchema: a context has no JSON."""
        advice = "annotate the field with SkipJsonSchema, or declare the shape itself"
        raise PydanticInvalidForJsonSchema(f"a {cls.__name__} has no JSON schema; {advice}")


def _is_open(shape: Any) -> bool:
    """Whether a context of any schema has this shape: a type variable, or a type with one."""
    if shape is NO_SHAPE or shape is Any or isinstance(shape, TypeVar):
        return True
    return not isinstance(shape, type) and bool(getattr(shape, "__parameters__", ()))


def _checked(cls: type[FieldType], shape: Any, name: str, value: Any) -> Any:
    """Return a value if it is a context of this class and shape."""
    if not isinstance(value, cls):
        given = {"name": name, "given": type(value).__name__}
        raise PydanticCustomError("context_type", "should be a {name}, got {given}; a context is not converted", given)
    schema, wanted = value.__context_schema__(), plain_type(shape)
    # As for type checkers, a context of a subclass of the shape fits.
    if _is_open(shape) or schema.plain == wanted or wanted in schema.cls.__mro__[1:]:
        return value
    given = {"name": name, "given": f"{type(value).__name__}[{schema.name}]"}
    raise PydanticCustomError("context_schema", "should be a {name}, got a {given}", given)


def _refuse_json(name: str, value: Any) -> NoReturn:
    raise ValueError(f"a {name} has no JSON; declare the field with exclude=True, or dump ctx.snapshot()")
