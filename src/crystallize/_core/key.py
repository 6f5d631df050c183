"""A key of a schema: its validator, its default, and whether it is an input, an output, shared or secret."""

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from .._base.text import short
from ..errors import AbsentKeyError, CrystallizeError, InvalidKeyError, InvalidValueError, Problem
from .digest import content_json
from .freezing import KeyMarker
from .secrets import masked, secrets_in
from .validation_problems import problems_of, raised_in


class Output(KeyMarker):
    """Marks a key that a step writes: `best: Annotated[int | None, Output] = None`.

    Its default, if it has one, is not an input; it serves a snapshot in which the key was not written.

    Example:
        >>> from typing import Annotated
        >>> from pydantic import BaseModel
        >>> class Train(BaseModel):
        ...     best: Annotated[int | None, Output] = None
        >>> "best" in FrozenContext[Train]()  # a step writes it
        False
    """


def plain_key(key: object) -> str:
    """Return a key as a plain `str`; raise InvalidKeyError if it is not a `str` of 1 to 255 printable characters."""
    if not isinstance(key, str):
        raise InvalidKeyError(short(key), f"is of type {type(key).__name__}")
    # A subclass may have its own idea of equality, and a dict would go by it.
    plain = str.__str__(key)
    if not plain:
        raise InvalidKeyError("''", "is empty")
    if len(plain) > 255:
        raise InvalidKeyError(short(plain), f"has {len(plain)} characters")
    if not plain.isprintable():
        raise InvalidKeyError(short(plain), "has unprintable ones")
    return plain


def shape_name(shape: Any) -> str:
    """Return how a type is written in code, without its modules."""
    if isinstance(shape, UnionType):
        return str(shape)
    if get_origin(shape) is None:
        return str(getattr(shape, "__qualname__", repr(shape))).rpartition("<locals>.")[2]
    return f"{shape_name(get_origin(shape))}[{', '.join(map(shape_name, get_args(shape)))}]"


class ValueDomain(NamedTuple):
    """What validates by a type can be."""

    types: frozenset[type]
    """The types of it, and no others, besides that of None."""
    choices: tuple[Any, ...] | None
    """All that it can be, besides None, where that is a choice, as of a `Literal` or an enum."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a schema says of one key, or of all that it does not declare."""

    name: str
    """Empty where it speaks of undeclared keys."""
    validate: Callable[[Any], Any]
    """Validates a value by itself."""
    validate_among: Callable[[dict[str, Any], str, Any], Any] | None
    """Validates a value that needs to see the others; None where none of its validators asks to."""
    validate_json: Callable[[bytes], Any]
    """Validates a value that comes as JSON."""
    dump: Callable[[Any, Callable[[Any], Any] | None], Any]
    """Turns a value into what JSON can hold; a function may help with what JSON has not."""
    aliases: tuple[tuple[str | int, ...], ...]
    """Where else an initial mapping may have it, each a way down."""
    default: dict[str, Any] | None
    """The core schema of its default."""
    validates_default: bool
    shared: bool
    output: bool
    excluded: bool
    """Whether it is to be left out wherever values are written out."""
    secret: bool
    """Whether its type holds a secret anywhere."""
    inner: frozenset[str]
    """If it does, the names of the fields within its type."""
    required: bool
    """Whether a snapshot needs it to be written."""
    beside: Collection[str] | None
    """The keys that its validators may look at; None where that is any key."""
    fingerprint: Callable[[], str]
    """Returns what is the same in every process for the same type, and another for any other."""
    domain: ValueDomain | None
    """What its values can be; None where that is not known."""

    @property
    def is_input(self) -> bool:
        """Whether it is fixed when the context is made, by its default if nothing else."""
        return self.default is not None and not self.output

    def check(self, name: str, value: Any, held: Callable[[], dict[str, Any]]) -> Any:
        """Return the validated value of the key `name`; `held` returns all values, for validators that look at them.

        A value that is not allowed raises InvalidValueError; a validator that needs a key that is not written raises
        AbsentKeyError.
        """
        failure: CrystallizeError
        try:
            if self.validate_among is None:
                return self.validate(value)
            return self.validate_among(held(), self.name, value)[0][self.name]
        except ValidationError as error:
            problems, cause = self.problems(name, error), self._cause(error)
            others = held()
            if secrets_in(others):
                # A validator may look at a secret under another key, and tell it.
                problems = tuple(one._replace(allowed=masked(one.allowed, others)) for one in problems)
                cause = None
            failure = InvalidValueError(name, problems)
        except KeyError as error:
            absent = None if self.validate_among is None else self._absent(name, error, held())
            if absent is None and not self.secret:
                raise
            failure, cause = absent or self._hidden(name, error), None
        except Exception as error:
            if not self.secret:
                raise
            failure, cause = self._hidden(name, error), None
        # Outside of the handlers: Pydantic's own error shows its input, and would come along as context.
        raise failure from cause

    def make_default(self, held: Callable[[], dict[str, Any]]) -> Any:
        """Return the default, made anew; an error is raised as by `check`."""
        node = self.default or {}
        if "default_factory" not in node:
            value = deepcopy(node["default"])
        elif not node.get("default_factory_takes_data"):
            value = node["default_factory"]()
        else:
            data = held()
            try:
                value = node["default_factory"](data)
            except KeyError as error:
                if (absent := self._absent(self.name, error, data)) is None:
                    raise
                raise absent from error
        return self.check(self.name, value, held) if self.validates_default else value

    def problems(self, name: str, error: ValidationError) -> tuple[Problem, ...]:
        """Return what a validation error says, with no input where there may be a secret in it."""
        # Among others, Pydantic says itself which key it speaks of.
        given = () if self.validate_among is None else (self.name,)
        return tuple(problems_of(error, (name,), given, self.inner if self.secret else None))

    def content(self, value: Any) -> bytes | None:
        """Return bytes that are the same for equal values in every process; None where that is not known."""
        try:
            return content_json(value, self.dump).encode()
        except (PydanticSerializationError, TypeError, ValueError, RecursionError):
            return None

    def _hidden(self, name: str, error: Exception) -> InvalidValueError:
        """Return what is to be said of a validator that raised, where its text may hold a secret."""
        problem = Problem((name,), f"is not allowed: a validator raised {type(error).__name__}", "", None)
        return InvalidValueError(name, (problem,))

    def _absent(self, name: str, error: KeyError, held: Mapping[str, Any]) -> AbsentKeyError | None:
        """Return what is to be said if the error is of a key that is not written yet."""
        asked = error.args[0] if error.args else None
        if isinstance(error, AbsentKeyError) or not isinstance(asked, str) or asked in held:
            return None
        return AbsentKeyError(asked, needed_by=name) if self.beside is None or asked in self.beside else None

    def _cause(self, error: ValidationError) -> BaseException | None:
        """What a user's own validator raised, for its traceback."""
        return None if self.secret else raised_in(error)
