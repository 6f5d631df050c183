"""A schema: a validator for each key of a context.

A context grows key by key. So each key has its own validator, made from its part of the shape's core schema, with the
definitions and the config of the whole shape.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache, cached_property, lru_cache, reduce
from operator import or_
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .._base.text import nearest
from .._base.type_hints import plain_type, unaliased
from ..errors import IncompleteContextError, InvalidSnapshotError, UnknownKeyError
from .dataclass_outputs import names_without_init
from .key import Key, plain_key, shape_name
from .pydantic_core_schema import CoreShape, make_model
from .secrets import masked, secrets_in
from .validation_problems import problems_of, raised_in


class Schema:
    """The declared keys of a context.

    Attributes:
        shape: The type that the schema was made from; for an alias, its target.
        plain: The same without aliases and metadata: a class, or a generic one with its arguments.
        name: The shape as it is written in code.
        keys: The declared keys, in the order of declaration.
        validators: The validator of each declared key; None if it depends on other keys.
        validate_other: The validator of all other keys; None if they are not allowed, or if it depends on other keys.
        others: The declaration of all other keys; None if they are not allowed.
        by_items: Whether `ctx.fields` has the keys as items, as in a dict, and not as attributes.
        frozen: Whether instances of the shape reject assignment.
    """

    def __init__(self, shape: Any) -> None:
        self.shape: Any = unaliased(shape)
        self.plain: Any = plain_type(shape)
        self.name: str = shape_name(shape)
        self._core = CoreShape.of(shape)
        self.by_items: bool = self._core.kind in ("typed-dict", "dict")
        self.frozen: bool = _is_frozen(self.cls)
        self.keys: dict[str, Key] = {name: self._core.key(name, field) for name, field in self._core.fields.items()}
        self.others: Key | None = (
            None if self._core.others is None else self._core.key("", {"schema": self._core.others})
        )
        self.validators: dict[str, Callable[[Any], Any] | None] = {
            name: key.validate if key.validate_among is None else None for name, key in self.keys.items()
        }
        self.validate_other: Callable[[Any], Any] | None = (
            self.others.validate if self.others is not None and self.others.validate_among is None else None
        )

    @classmethod
    def of(cls, shape: Any) -> "Schema":
        """Return the schema of a shape. The schema of a class is cached."""
        # Only of a class: equal generic types may differ, such as dict[str, int | str] and dict[str, str | int].
        return _schema_of_class(shape) if isinstance(shape, type) else cls(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Schema.untyped, ()) if self is Schema.untyped() else (_schema_of_parts, (self.parts,))

    @property
    def parts(self) -> Any:
        """The shape, taken apart into types that pickle finds by their names."""
        return _parts_of(self.shape)

    @property
    def cls(self) -> Any:
        """The class of the shape, without its arguments."""
        return get_origin(self.plain) or self.plain

    @staticmethod
    @cache
    def untyped() -> "Schema":
        """Return the schema of a context without a shape, which allows any key and any value."""
        return Schema(dict[str, Any])

    def key(self, name: object) -> Key:
        """Return the declaration of a key; raise InvalidKeyError or UnknownKeyError if it cannot be one."""
        plain = name if type(name) is str and name in self.keys else plain_key(name)
        known = self.keys.get(plain, self.others)
        if known is None:
            # Aliases are allowed in initial values only. Elsewhere the error suggests the key of the alias.
            meant = next((name for name, key in self.keys.items() if (plain,) in key.aliases), None)
            raise UnknownKeyError(plain, self.name, meant or nearest(plain, self.keys), tuple(self.keys))
        return known

    def find(self, name: str) -> Key | None:
        """Return the declaration of a key that some schema has allowed; None if this one does not declare it."""
        return self.keys.get(name, self.others)

    def snapshot(self, values: dict[str, Any]) -> Any:
        """Return an instance of the shape, made of copies of values that the schema has accepted.

        Only model-level validators run: a field validator may change a value again that it has already changed. Missing
        keys raise IncompleteContextError; a validator that rejects the values raises InvalidSnapshotError.
        """
        missing = tuple(name for name, key in self.keys.items() if key.required and name not in values)
        if missing:
            raise IncompleteContextError(self.name, missing)
        if self.by_items:
            return values
        written = {*values}
        for name, key in self.keys.items():
            if name not in values and key.default is not None:
                values[name] = key.make_default(lambda: values)
        try:
            return self._assemble((values, written))
        except ValidationError as error:
            problems = [problem._replace(type="", value=None) for problem in problems_of(error, ())]
            texts = [problem._replace(allowed=masked(problem.allowed, values)) for problem in problems]
            failure = InvalidSnapshotError(self.name, tuple(texts))
            cause = None if secrets_in(values) else raised_in(error)
        raise failure from cause

    @cached_property
    def _assemble(self) -> Callable[[Any], Any]:
        return self._core.assembler(self._instance)

    def _instance(self, parts: tuple[dict[str, Any], set[str]]) -> Any:
        """Return an instance of a model or dataclass without running its field validators."""
        values, written = parts
        cls = self.cls
        if not issubclass(cls, BaseModel):
            instance: Any = object.__new__(cls)
            for name, value in values.items():
                object.__setattr__(instance, name, value)
            if hasattr(instance, "__post_init__"):
                instance.__post_init__()
                for name in written.intersection(names_without_init(cls)):  # it may have set a value for the time being
                    object.__setattr__(instance, name, values[name])
            return instance
        return make_model(cls, values, written)


@lru_cache(maxsize=256)
def _schema_of_class(cls: type) -> Schema:
    return Schema(cls)


class _GenericType(NamedTuple):
    """A generic type with its arguments, for pickle: Pydantic's own class for `Box[int]` has no name to find it by."""

    origin: Any
    arguments: tuple[Any, ...]


def _parts_of(shape: Any) -> Any:
    """Return a type as the types that pickle finds by their names."""
    own = getattr(shape, "__pydantic_generic_metadata__", None) if isinstance(shape, type) else None
    origin, arguments = (own["origin"], own["args"]) if own else (get_origin(shape), get_args(shape))
    is_generic = isinstance(origin, type) or origin is Union
    return _GenericType(origin, tuple(map(_parts_of, arguments))) if is_generic else shape


def _type_of_parts(parts: Any) -> Any:
    if not isinstance(parts, _GenericType):
        return parts
    arguments = tuple(map(_type_of_parts, parts.arguments))
    return reduce(or_, arguments) if parts.origin is UnionType else parts.origin[arguments]


def _schema_of_parts(parts: Any) -> Schema:
    return Schema.of(_type_of_parts(parts))


def _is_frozen(cls: Any) -> bool:
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return bool(cls.model_config.get("frozen"))
    return is_dataclass(cls) and bool(getattr(cls, "__dataclass_params__").frozen)  # noqa: B009 - not in typeshed
