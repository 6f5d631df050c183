"""A schema: a validator for each key of a context.

A context is not one document but grows key by key, so each key's validator is taken out of the validator of the whole
shape, with its definitions and the config of its model.
"""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from .._base.text import nearest
from ..errors import IncompleteContextError, InvalidSnapshotError, UnknownKeyError
from .key import Key, plain_key, shape_name
from .pydantic_core_schema import CoreShape, make_model
from .secrets import masked, secrets_in
from .validation_problems import problems_of, raised_in


class _Validators(dict[str, Callable[[Any], Any]]):
    """The validators of keys by themselves, where there is one for all that are not declared."""

    __slots__ = ("_declared", "_others")

    def __init__(self, alone: dict[str, Callable[[Any], Any]], declared: Mapping[str, Key], others: Key) -> None:
        super().__init__(alone)
        self._declared = declared
        self._others = others

    def __missing__(self, key: str) -> Callable[[Any], Any]:
        if key in self._declared or self._others.validate_among is not None:
            raise KeyError(key)
        plain_key(key)
        return self._others.validate


class Schema:
    """What a context holds, key by key.

    Attributes:
        shape: The type that it was made of.
        name: How that is written in code.
        keys: What it says of each key that it declares, in its order.
        validators: The validators of the keys whose values are validated by themselves, undeclared ones too.
        others: What it says of all other keys; None where there may be none.
        by_items: Whether its keys are items, as in a dict, and not attributes.
        frozen: Whether instances of the shape refuse assignment.
    """

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        self.name: str = shape_name(shape)
        self._core = CoreShape.of(shape)
        self.by_items: bool = self._core.kind in ("typed-dict", "dict")
        self.frozen: bool = _is_frozen(get_origin(shape) or shape)
        self.keys: dict[str, Key] = {name: self._core.key(name, field) for name, field in self._core.fields.items()}
        self.others: Key | None = (
            None if self._core.others is None else self._core.key("", {"schema": self._core.others})
        )
        alone = {name: key.validate for name, key in self.keys.items() if key.validate_among is None}
        self.validators: dict[str, Callable[[Any], Any]] = (
            alone if self.others is None else _Validators(alone, self.keys, self.others)
        )

    @classmethod
    def of(cls, shape: Any) -> "Schema":
        """Return the schema of a shape, made once for a class."""
        # By class alone: of generic types equal ones may differ, as dict[str, int | str] and dict[str, str | int].
        return _schema_of_class(shape) if isinstance(shape, type) else cls(shape)

    @staticmethod
    @cache
    def untyped() -> "Schema":
        """Return the schema of a context without a shape: anything goes. Made when first asked for."""
        return Schema(dict[str, Any])

    def key(self, name: object) -> Key:
        """Return the declaration of a key; raise InvalidKeyError or UnknownKeyError if it cannot be one."""
        plain = name if type(name) is str and name in self.keys else plain_key(name)
        known = self.keys.get(plain, self.others)
        if known is None:
            # An alias counts in initial values alone; elsewhere the key is meant that it stands for.
            meant = next((name for name, key in self.keys.items() if (plain,) in key.aliases), None)
            raise UnknownKeyError(plain, self.name, meant or nearest(plain, self.keys), tuple(self.keys))
        return known

    def snapshot(self, values: dict[str, Any]) -> Any:
        """Return an instance of the shape, made of copies of values that it has accepted already.

        Only the model-level validators run, since those of fields need not return the same value again. Missing keys
        raise IncompleteContextError; a validator that refuses raises InvalidSnapshotError.
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
        """Make an instance of a model or dataclass, without its field validators."""
        values, written = parts
        cls = get_origin(self.shape) or self.shape
        if not issubclass(cls, BaseModel):
            instance: Any = object.__new__(cls)
            for name, value in values.items():
                object.__setattr__(instance, name, value)
            if hasattr(instance, "__post_init__"):
                instance.__post_init__()
            return instance
        return make_model(cls, values, written)


@lru_cache(maxsize=256)
def _schema_of_class(cls: type) -> Schema:
    return Schema(cls)


def _is_frozen(cls: Any) -> bool:
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return bool(cls.model_config.get("frozen"))
    return is_dataclass(cls) and bool(getattr(cls, "__dataclass_params__").frozen)  # noqa: B009 - not in typeshed
