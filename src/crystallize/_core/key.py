"""A key of a schema: its validator, its default, and whether it is an input, an output, shared or secret."""

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from .._base.signal_handlers import reraise_from_handler
from .._base.text import short
from ..errors import AbsentKeyError, CrystallizeError, InvalidKeyError, InvalidValueError, Problem
from .digest import content_json
from .freezing import KeyMarker
from .secrets import masked, secrets_in
from .validation_problems import problems_of, raised_in


class Output(KeyMarker):
    """Marks a key that a step writes: `best: Annotated[int | None, Output] = None`.

    A default of such a key is not an input; a snapshot uses it if the key was not written. `inputs_of` leaves the key
    out.

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
    # A subclass may define its own equality, and a dict would use it.
    plain = str.__str__(key)
    if not plain:
        raise InvalidKeyError("''", "is empty")
    if len(plain) > 255:
        raise InvalidKeyError(short(plain), f"has {len(plain)} characters")
    if not plain.isprintable():
        raise InvalidKeyError(short(plain), "has unprintable ones")
    return plain


def shape_name(shape: Any) -> str:
    """Return a type as it is written in code, without its modules."""
    if get_origin(shape) in (Union, UnionType):
        return " | ".join(map(shape_name, get_args(shape)))
    if shape is NoneType or shape is ...:
        return "None" if shape is NoneType else "..."
    if get_origin(shape) is Annotated:
        return shape_name(get_args(shape)[0])
    if get_origin(shape) is None:
        name = getattr(shape, "__qualname__", None) or getattr(shape, "__name__", None)
        return str(name or repr(shape)).rpartition("<locals>.")[2]
    return f"{shape_name(get_origin(shape))}[{', '.join(map(shape_name, get_args(shape)))}]"


class ValueDomain(NamedTuple):
    """The possible values of a type, besides None.

    `types` are all their types. `choices` are all values, if they can be listed, as for a `Literal` or an enum.
    """

    types: frozenset[type]
    choices: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class Key:
    """The declaration of a key, or of all undeclared keys."""

    name: str
    """The name; empty for undeclared keys."""
    validate: Callable[[Any], Any]
    """Validates a value without other values."""
    validate_among: Callable[[dict[str, Any], str, Any], Any] | None
    """Validates a value whose validators use other values; None if no validator does."""
    validate_json: Callable[[bytes], Any]
    """Validates a value in JSON."""
    dump: Callable[[Any, Callable[[Any], Any] | None], Any]
    """Converts a value to JSON's types; the function converts parts that have no JSON."""
    aliases: tuple[tuple[str | int, ...], ...]
    """The paths by which an initial mapping may contain it as well."""
    default: dict[str, Any] | None
    """The core schema of the default; None if there is no default."""
    validates_default: bool
    shared: bool
    output: bool
    excluded: bool
    """Whether it is left out of exported values."""
    secret: bool
    """Whether a value of its type may contain a secret."""
    inner: frozenset[str]
    """The names of the fields within its type, if it is secret."""
    required: bool
    """Whether a snapshot raises if it is not written."""
    beside: Collection[str] | None
    """The keys that its validators may use; None if they may use any key."""
    core: Any
    """The core schema of its type."""
    fingerprint: Callable[[], str]
    """Returns a text that is the same for the same type in every process, and differs for other types."""
    domain: ValueDomain | None
    """The possible values; None if they are not known."""

    @property
    def is_input(self) -> bool:
        """Whether it is written when the context is made, if only by its default."""
        return self.default is not None and not self.output

    def check(self, name: str, value: Any, held: Callable[[], dict[str, Any]]) -> Any:
        """Return the validated value of the key `name`; `held` returns all values, for validators that use them.

        A value that is not allowed raises InvalidValueError. A validator that uses a key that is not written raises
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
                # A validator may put the secret of another key into its message.
                problems = tuple(problem._replace(allowed=masked(problem.allowed, others)) for problem in problems)
                cause = None
            failure = InvalidValueError(name, problems)
        except KeyError as error:
            absent = None if self.validate_among is None else self._absent(name, error, held())
            if absent is None and not self.secret:
                raise
            failure, cause = absent or self._hidden(name, error), None
        except Exception as error:
            reraise_from_handler(error)
            if not self.secret:
                raise
            failure, cause = self._hidden(name, error), None
        # Outside of the handlers, because Pydantic's error shows its input and would become the context.
        raise failure from cause

    def make_default(self, held: Callable[[], dict[str, Any]]) -> Any:
        """Return a new default; errors are raised as by `check`."""
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
        """Return the problems in a validation error, without input if it may contain a secret."""
        # In `validate_among`, Pydantic's locations begin with the key itself.
        given = () if self.validate_among is None else (self.name,)
        return tuple(problems_of(error, (name,), given, self.inner if self.secret else None))

    def content(self, value: Any) -> bytes | None:
        """Return bytes that are the same for equal values in every process; None if there are no such bytes."""
        try:
            return content_json(value, self.dump).encode()
        except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
            reraise_from_handler(error)
            return None

    def _hidden(self, name: str, error: Exception) -> InvalidValueError:
        """Return the error for a validator that raised, without the text, which may contain a secret."""
        problem = Problem((name,), f"is not allowed: a validator raised {type(error).__name__}", "", None)
        return InvalidValueError(name, (problem,))

    def _absent(self, name: str, error: KeyError, held: Mapping[str, Any]) -> AbsentKeyError | None:
        """Return the error for a validator that used a key that is not written; None if `error` has another cause."""
        asked = error.args[0] if error.args else None
        if isinstance(error, AbsentKeyError) or not isinstance(asked, str) or asked in held:
            return None
        return AbsentKeyError(asked, needed_by=name) if self.beside is None or asked in self.beside else None

    def _cause(self, error: ValidationError) -> BaseException | None:
        """Return the exception of a user's own validator, for its traceback."""
        return None if self.secret else raised_in(error)
