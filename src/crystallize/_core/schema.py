"""From a schema to one validator a key, and from a metric's types to its validators.

This file alone knows what pydantic-core makes of a type. A context is not one document but grows key by key,
so each key's validator is taken out of the schema's own, with its definitions and its model's config.
"""

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property, lru_cache, partial
from itertools import chain, takewhile
from math import isfinite
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import (
    PydanticKnownError,
    PydanticSerializationError,
    SchemaSerializer,
    SchemaValidator,
    to_jsonable_python,
)
from typing_extensions import is_typeddict

from .._base.text import nearest, short
from ..errors import (
    AbsentKeyError,
    CrystallizeError,
    IncompleteContextError,
    InvalidKeyError,
    InvalidMetricError,
    InvalidSnapshotError,
    InvalidTagError,
    InvalidValueError,
    MissingTagError,
    Problem,
    SchemaError,
    UnknownKeyError,
)
from .freezing import PLAIN, Mark, Shared, is_secret, masked, secrets_in

__all__ = ["Key", "MetricChecks", "Outcome", "Output", "Schema", "digest", "plain_key", "problems_of", "shape_name"]

_Node: TypeAlias = dict[str, Any]
"""A core schema, or a part of one."""

_Layout: TypeAlias = tuple[type | None, dict[str, type | None]]
"""What is known of every point of a metric: the type of the values, and the names and types of the tags."""


class Output(Mark):
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
    """Return a key as the plain `str` that it holds.

    Raises:
        InvalidKeyError: It is not a `str` of 1 to 255 printable characters.
    """
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


class Outcome(NamedTuple):
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
    default: _Node | None
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
    outcome: Outcome | None
    """What its values can be; None where that is not known."""

    @property
    def is_input(self) -> bool:
        """Whether it is fixed when the context is made, by its default if nothing else."""
        return self.default is not None and not self.output

    def check(self, name: str, value: Any, held: Callable[[], dict[str, Any]]) -> Any:
        """Validate a value.

        Args:
            name: The key.
            value: What is to be written.
            held: Returns what the context holds so far, for validators that look at it.

        Returns:
            What the validators made of it.

        Raises:
            InvalidValueError: It is not allowed.
            AbsentKeyError: A validator needs a key that is not written yet.
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
        """Return its default, made anew.

        Raises:
            InvalidValueError: It is to be validated, and is not allowed.
            AbsentKeyError: Its factory needs a key that is not written yet.
        """
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
            return _json(_ordered(value) if _needs_order(value) else self.dump(value, None)).encode()
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
        return None if self.secret else _raised_in(error)


def digest(content: bytes) -> str:
    """Return the BLAKE2b of some bytes, 128 bits, in hexadecimal."""
    from hashlib import blake2b  # here, since importing the package is to cost little

    return blake2b(content, digest_size=16).hexdigest()


def _stable(node: Any) -> Any:
    """Return a core schema without what differs from process to process, and without what has no say in validation."""
    if isinstance(node, dict):
        return sorted((str(name), _stable(part)) for name, part in node.items() if name not in _SILENT)
    if isinstance(node, (list, tuple, set, frozenset)):
        return [_stable(part) for part in node]
    if isinstance(node, str):
        # What recursive types are referred to by ends in the address of a class.
        return re.sub(r":\d+", "", _as_main(node))
    if callable(node):
        return _as_main(f"{getattr(node, '__module__', '')}.{getattr(node, '__qualname__', type(node).__qualname__)}")
    return re.sub(r" at 0x[0-9a-f]+", "", repr(node))


def _as_main(text: str) -> str:
    """Return a name as it is in the main process: those that multiprocessing starts call `__main__` otherwise."""
    return text.replace("__mp_main__", "__main__")


_SILENT = frozenset({"metadata", "serialization", "default", "default_factory"})


def _json(value: Any) -> str:
    import json  # as above

    return json.dumps(value, sort_keys=True)


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "tobytes") and not value.dtype.hasobject


def _inner(value: Any) -> Any:
    """Return what JSON would show of a value that holds others; None of one that holds none."""
    if isinstance(value, BaseModel):
        return value.__dict__
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value if isinstance(value, (dict, list, tuple, set, frozenset, deque)) else None


def _needs_order(value: Any) -> bool:
    """Whether JSON is not enough: an array has none, a set has any order, and NaN would be the same as None."""
    if isinstance(value, float):
        return not isfinite(value)
    inner = _inner(value)
    if inner is None:
        return _is_array(value)
    parts = [*inner.keys(), *inner.values()] if isinstance(inner, dict) else inner
    return isinstance(inner, (set, frozenset)) or any(map(_needs_order, parts))


def _ordered(value: Any) -> Any:
    """Make JSON of what needs more than the schema's own."""
    inner = _inner(value)
    if isinstance(inner, (set, frozenset)):
        return sorted(_json(_ordered(item)) for item in inner)
    if isinstance(inner, dict):
        return {_json(_ordered(key)): _ordered(item) for key, item in inner.items()}
    if inner is not None:
        return [_ordered(item) for item in inner]
    if _is_array(value):
        return [str(value.dtype.descr), value.shape, digest(value.tobytes())]
    return to_jsonable_python(value)


def _raised_in(error: ValidationError) -> BaseException | None:
    """Return what a user's own validator raised, for its traceback."""
    cause = error.errors(include_url=False)[0].get("ctx", {}).get("error")
    # Of dates, UUIDs and the like it is a text of Pydantic's.
    return cause if isinstance(cause, BaseException) else None


def _fixed_message(kind: Any) -> str:
    """Return Pydantic's own message for a kind of error if nothing that was given can be in it."""
    try:
        return PydanticKnownError(kind).message()
    except (KeyError, TypeError):  # not Pydantic's, or one with a place for what was given
        return f"is not allowed ({kind})"


def problems_of(
    error: ValidationError,
    at: tuple[str, ...],
    given: tuple[str, ...] = (),
    harmless: Collection[str] | None = None,
) -> Iterator[Problem]:
    """Turn a validation error into problems.

    Args:
        error: What Pydantic raised.
        at: The key or tag that was validated.
        given: How the error itself begins each location, if it names the key.
        harmless: The names that may be shown of a location, where a secret may be in the input. Then nothing is shown
            that comes from there: no value, no key of a dict, no user's message. None: it may all be shown.
    """
    for detail in error.errors(include_url=False):
        missing = detail["type"] in ("missing", "missing_argument")
        value = detail["input"]
        kind = "" if missing else type(value).__name__
        within = detail["loc"][len(given) :]
        if harmless is not None:
            shown = tuple(takewhile(lambda part: part in harmless, within))
            message = _MISSING if missing else _fixed_message(detail["type"]).removeprefix("Input ")
            yield Problem((*at, *shown), message if shown == within else f"something within it {message}", kind, None)
            continue
        message = _MISSING if missing else detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        text = None if missing or detail["type"] == "extra_forbidden" else short(value)
        yield Problem((*at, *within), message, kind, text)


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
        self._core = _Core.of(shape)
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
        """Return the schema of a shape, made once for a class.

        Raises:
            SchemaError: The shape has no keys, or Pydantic cannot work with it.
        """
        # By class alone: of generic types equal ones may differ, as dict[str, int | str] and dict[str, str | int].
        return _schema_of_class(shape) if isinstance(shape, type) else cls(shape)

    @staticmethod
    @cache
    def untyped() -> "Schema":
        """Return the schema of a context without a shape: anything goes. Made when first asked for."""
        return Schema(dict[str, Any])

    def key(self, name: object) -> Key:
        """Return what it says of a key.

        Raises:
            InvalidKeyError: `name` cannot be a key.
            UnknownKeyError: It is not declared, and only declared keys are allowed.
        """
        plain = name if type(name) is str and name in self.keys else plain_key(name)
        known = self.keys.get(plain, self.others)
        if known is None:
            # An alias counts in initial values alone; elsewhere the key is meant that it stands for.
            meant = next((name for name, key in self.keys.items() if (plain,) in key.aliases), None)
            raise UnknownKeyError(plain, self.name, meant or nearest(plain, self.keys), tuple(self.keys))
        return known

    def snapshot(self, values: dict[str, Any]) -> Any:
        """Make an instance of the shape out of values that it has accepted already.

        Only the model-level validators run, since a field's need not give the same again.

        Args:
            values: Copies that are the instance's own from now on.

        Raises:
            IncompleteContextError: Required keys are missing.
            InvalidSnapshotError: A model-level validator refuses.
            AbsentKeyError: A default's factory needs a key that is not written.
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
            return self._assemble.validate_python((values, written))
        except ValidationError as error:
            problems = [problem._replace(type="", value=None) for problem in problems_of(error, ())]
            texts = [problem._replace(allowed=masked(problem.allowed, values)) for problem in problems]
            failure = InvalidSnapshotError(self.name, tuple(texts))
            cause = None if secrets_in(values) else _raised_in(error)
        raise failure from cause

    @cached_property
    def _assemble(self) -> SchemaValidator:
        """Makes an instance of values, then runs the model-level validators over it."""
        make = {"type": "function-plain", "function": {"type": "no-info", "function": self._instance}}
        node: Any = make
        for outer in reversed(self._core.around):
            node = {**{name: part for name, part in outer.items() if name != "ref"}, "schema": node}
        return SchemaValidator(self._core.defined(node), self._core.config)

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
        return _model(cls, values, written)


def _model(cls: Any, values: dict[str, Any], written: set[str]) -> Any:
    """Make an instance of a model without its validators."""
    own = {name: values[name] for name in values if name in cls.__pydantic_fields__}
    extra = {name: values[name] for name in values if name not in own}
    instance = cls.__new__(cls)
    object.__setattr__(instance, "__dict__", own)
    object.__setattr__(instance, "__pydantic_fields_set__", written)
    object.__setattr__(instance, "__pydantic_extra__", extra if cls.model_config.get("extra") == "allow" else None)
    object.__setattr__(instance, "__pydantic_private__", None)
    if cls.__pydantic_post_init__:
        instance.model_post_init(None)
    return instance


@lru_cache(maxsize=256)
def _schema_of_class(cls: type) -> Schema:
    return Schema(cls)


def _is_frozen(cls: Any) -> bool:
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return bool(cls.model_config.get("frozen"))
    return is_dataclass(cls) and bool(getattr(cls, "__dataclass_params__").frozen)  # noqa: B009 - not in typeshed


class MetricChecks:
    """What a metric allows: the validators of its values and of its tags.

    Attributes:
        tag_names: The tags that it declares.
        layout: What is known of every point that validates: the type of the values where that is a number's, and the
            names of the tags, if each point has the same, with the types of those that are numbers or text.
        split: Returns tags that are plainly right by name, or raises; None where the metric's types, or a tag's,
            are such that what validates may be other than a number, a bool or a text.
        tag_count: How many tags there have to be, where `split` does not look for undeclared ones; else None.
        tag_keys: What the schema of the tags says of each.
        tag_model: The model that its tags are instances of; None where they are dicts, or where there are none.
        type: The type of its values.
        validate: Validates a value.
        validate_tags: Validates tags, given as a mapping; None where it takes none.
    """

    __slots__ = (
        *("__dict__", "_open", "layout", "split", "tag_count", "tag_keys", "tag_model", "tag_names", "type"),
        *("validate", "validate_tags"),
    )

    def __init__(self, metric: str, type: Any, tags: Any) -> None:
        node = _core_schema(type, f"metric {metric!r}")
        self.type = type
        self.validate: Callable[[Any], Any] = self._validator(metric, node, None)
        self.split: Callable[[Any], dict[str, Any]] | None = _no_tags if node["type"] in _NUMBERS else None
        self.tag_count: int | None = None
        self.validate_tags: Callable[[Any], Any] | None = None
        self.tag_model: Any = None
        self.tag_keys: dict[str, Key] = {}
        self._open = False
        self.layout: _Layout = (_EXACT.get(node["type"]), {})
        if tags is not None:
            self._take_tags(metric, tags)
        self.tag_names: tuple[str, ...] = tuple(self.tag_keys)

    @property
    def is_plain(self) -> bool:
        """Whether every value and tag that validates is a number, a bool or a text, and nothing else."""
        kind, kinds = self.layout
        return kind is not None and len(kinds) == len(self.tag_keys) and None not in kinds.values()

    @cached_property
    def value_key(self) -> Key:
        """What a context says of a key of the type of the values."""
        others = Schema(dict[str, self.type]).others  # type: ignore[name-defined]  # a type that only runtime knows
        assert others is not None
        return others

    @property
    def fingerprint(self) -> str:
        """What is the same in every process for the same types of values and tags."""
        keys = [self.value_key, *(self.tag_keys[name] for name in sorted(self.tag_keys))]
        return digest(",".join([*sorted(self.tag_keys), *(key.fingerprint() for key in keys)]).encode())

    def _take_tags(self, metric: str, tags: Any) -> None:
        if not is_typeddict(get_origin(tags) or tags) and not _is_model(get_origin(tags) or tags):
            raise SchemaError(f"metric {metric!r}", f"its tags are a TypedDict or a model, not {shape_name(tags)}")
        core = _Core.of(tags)
        self.tag_keys = {name: core.key(name, field) for name, field in core.fields.items()}
        self._open = core.others is not None
        node = _core_schema(tags, shape_name(tags))
        if _is_model(get_origin(tags) or tags):
            self.tag_model = get_origin(tags) or tags
        self.validate_tags = self._validator(metric, node, core.config)
        if self.split is not None:
            self.split = self._splitter(metric, node, core)

    def _splitter(self, metric: str, node: _Node, core: "_Core") -> Callable[[Any], dict[str, Any]] | None:
        plain = all(_unwrapped(field["schema"])["type"] in _PLAIN_NODES for field in core.fields.values())
        if self._open or not plain or node["type"] not in ("typed-dict", "model"):
            return None
        if self.tag_model is not None:
            return _model_splitter(self.tag_model)
        if not all(key.required for key in self.tag_keys.values()):
            return self.validate_tags
        self.layout = (self.layout[0], {name: _exact(field["schema"]) for name, field in core.fields.items()})
        self.tag_count = len(self.tag_keys)
        # To count is cheaper than to look for what is undeclared: as many tags as there have to be leave no place.
        return self._validator(metric, node, core.config, undeclared="ignore")

    @staticmethod
    def _validator(metric: str, node: Any, config: Any, *, undeclared: str = "forbid") -> Callable[[Any], Any]:
        definitions = {one["ref"]: one for one in node.get("definitions", ())}
        if any(_is_secret(part) for part in _parts(node, definitions)):
            raise SchemaError(f"metric {metric!r}", "a secret is not to be recorded; its type holds one")
        closed = node["type"] == "typed-dict" and not _allows_more(node)
        own: Any = {**node, "extra_behavior": undeclared} if closed else node
        validate = SchemaValidator(own, config).validate_python
        if any("validation_alias" in part for part in _parts(node, definitions)):
            # Elsewhere tags go by their names, so here they may too.
            return partial(validate, by_alias=True, by_name=True)
        return validate

    def check(self, metric: str, value: Any) -> Any:
        """Validate a value.

        Raises:
            InvalidMetricError: The metric does not allow it.
        """
        try:
            return self.validate(value)
        except ValidationError as error:
            problems = problems_of(error, ())
            failure = InvalidMetricError(metric, tuple(problems))
            cause = _raised_in(error)
        raise failure from cause

    def check_tags(self, metric: str, tags: Any) -> dict[str, Any]:
        """Validate tags, given as a mapping or as an instance of their model, which is not validated again.

        Returns:
            The tags by name, in a dict of their own.

        Raises:
            InvalidTagError: The metric does not allow them.
            MissingTagError: A tag is missing.
        """
        if self.validate_tags is None:
            if tags is None or tags == {}:
                return {}
            raise InvalidTagError(metric, (Problem((), "takes no tags", type(tags).__name__, short(tags)),))
        if self.tag_model is not None and isinstance(tags, BaseModel):
            return self._of_model(metric, tags)
        given: Any = {} if tags is None else tags
        problems = self._unknown(given)
        valid: Any = None
        cause = None
        try:
            valid = self.validate_tags(given)
        except ValidationError as error:
            # What is unknown at the top is named already, with the nearest name.
            named = {problem.location for problem in problems}
            problems += [one for one in problems_of(error, ()) if one.location not in named]
            cause = _raised_in(error)
        if problems:
            missing = any(problem.allowed == _MISSING for problem in problems)
            raise (MissingTagError if missing else InvalidTagError)(metric, tuple(problems)) from cause
        return self._of_model(metric, valid) if self.tag_model is not None else dict(valid)

    def _of_model(self, metric: str, tags: BaseModel) -> dict[str, Any]:
        """Return the tags in an instance of their model."""
        if not isinstance(tags, self.tag_model):
            should = f"should be an instance of {shape_name(self.tag_model)} or a mapping"
            raise InvalidTagError(metric, (Problem((), should, type(tags).__name__, short(tags)),))
        found = {**tags.__dict__, **(tags.__pydantic_extra__ or {})}
        unknown = [name for name in found if name in type(tags).__pydantic_fields__ and name not in self.tag_keys]
        if unknown and not self._open:
            raise InvalidTagError(metric, tuple(map(self.unknown, unknown)))
        declared = {*self.tag_keys, *unknown, *(tags.__pydantic_extra__ or {})}
        return {name: tag for name, tag in found.items() if name in declared}

    def make_tags(self, tags: dict[str, Any]) -> Any:
        """Make what a reader gets of tags by name: an instance of their model, or the dict itself."""
        return tags if self.tag_model is None else _model(self.tag_model, tags, {*tags})

    def _unknown(self, tags: Any) -> list[Problem]:
        """Undeclared tags, which a model would ignore."""
        if self._open or not isinstance(tags, Mapping):
            return []
        known = {*self.tag_keys, *(way[0] for key in self.tag_keys.values() for way in key.aliases)}
        return [self.unknown(str(name)) for name in tags if name not in known]

    def unknown(self, tag: str) -> Problem:
        """Return what to say of a tag that is not declared."""
        near = nearest(tag, self.tag_names)
        declared = f"declared are {', '.join(self.tag_names)}" if self.tag_names else "it has none"
        hint = f"did you mean {near!r}?" if near else declared
        return Problem((tag,), f"is not a tag of this metric; {hint}", "", "")

    def check_tag(self, metric: str, tag: str, value: Any) -> Any:
        """Validate the value of one tag, to look points up by.

        Raises:
            InvalidTagError: The metric has no such tag, or does not allow the value.
        """
        if tag in self.tag_keys and self.tag_keys[tag].validate_among is None:
            try:
                return self.tag_keys[tag].validate(value)
            except ValidationError as error:
                failure = InvalidTagError(metric, tuple(problems_of(error, (tag,))))
        elif tag in self.tag_keys or self._open:
            return value
        else:
            failure = InvalidTagError(metric, (self.unknown(tag),))
        raise failure


_NUMBERS = ("float", "int", "bool")
_EXACT = {"float": float, "int": int, "bool": bool, "str": str}
"""The types of what validates by a core schema, and of nothing else, subclasses included."""


def _exact(node: _Node) -> type | None:
    """Return the type of all that validates by a core schema, where it is one."""
    is_text = node["type"] == "literal" and all(type(choice) is str for choice in node["expected"])
    return str if is_text else _EXACT.get(node["type"])


_PLAIN_NODES = (*_NUMBERS, "str", "literal")


def _outcome(node: _Node, definitions: Mapping[str, _Node]) -> Outcome | None:
    """Return what all that validates by a core schema can be, where that says so without a function of somebody's."""
    kind = node["type"]
    if kind == "definition-ref":
        # An enum is referred to where it is used twice; all else that is may hold itself.
        node = definitions.get(node["schema_ref"], node)
        kind = node["type"]
    if kind in ("literal", "enum"):
        choices = tuple(choice for choice in node["expected" if kind == "literal" else "members"] if choice is not None)
        return Outcome(frozenset(map(type, choices)), choices)
    if kind in _EXACT:
        return Outcome(frozenset({_EXACT[kind]}), None)
    if kind == "union":
        parts = [_outcome(part[0] if isinstance(part, tuple) else part, definitions) for part in node["choices"]]
        known = [part for part in parts if part is not None]
        types = frozenset(chain.from_iterable(part.types for part in known))
        listed = [part.choices for part in known if part.choices is not None]
        choices = tuple(chain.from_iterable(listed))
        return Outcome(types, choices if len(listed) == len(parts) else None) if len(known) == len(parts) else None
    return _outcome(node["schema"], definitions) if kind in ("nullable", "default", "function-before") else None


def _unwrapped(node: _Node) -> _Node:
    """A node without what allows None or gives a default."""
    return _unwrapped(node["schema"]) if node["type"] in ("nullable", "default") else node


def _no_tags(tags: None) -> dict[str, Any]:
    if tags is not None:
        raise TypeError("takes no tags")
    return {}


def _model_splitter(model: type[BaseModel]) -> Callable[[Any], dict[str, Any]]:
    count, plain = len(model.__pydantic_fields__), PLAIN

    def split(tags: Any) -> dict[str, Any]:
        found: dict[str, Any] = tags.__dict__.copy()
        if type(tags) is not model or len(found) != count:
            raise TypeError("not plainly tags of this model")
        for tag in found.values():
            if type(tag) not in plain:
                raise TypeError("not plainly tags of this model")
        return found

    return split


_MISSING = "is missing"


class _Core:
    """What pydantic-core makes of a shape, taken apart.

    Attributes:
        kind: "model", "dataclass", "typed-dict" or "dict".
        config: The config under which the shape's own validators run.
        definitions: What recursive types refer to.
        around: The model-level validators that run after the whole is made, outermost first.
        fields: The node of each field.
        others: The node of the values of undeclared keys; None where there may be none.
    """

    def __init__(self, kind: str, definitions: list[_Node]) -> None:
        self.kind = kind
        self.definitions = definitions
        self.config: Any = None
        self.around: list[_Node] = []
        self.fields: dict[str, _Node] = {}
        self.others: _Node | None = None

    @classmethod
    def of(cls, shape: Any) -> "_Core":
        """Take the core schema of a shape apart.

        Raises:
            SchemaError: The shape has no keys, or Pydantic cannot work with it.
        """
        kind = _kind(shape)
        plain: Any = dict
        own = get_args(shape)
        is_mapping = Mapping in (shape, get_origin(shape))
        node = _core_schema((plain[own] if own else plain) if is_mapping else shape, shape_name(shape))
        core = cls(kind, [])
        while True:
            if node["type"] == "definitions":
                core.definitions = node["definitions"]
                node = node["schema"]
            elif node["type"] == "definition-ref":
                node = next(one for one in core.definitions if one["ref"] == node["schema_ref"])
            elif node["type"] in ("model", "dataclass"):
                core.config = node.get("config")
                core.others = {"type": "any"} if (core.config or {}).get("extra_fields_behavior") == "allow" else None
                node = node["schema"]
            elif node["type"] in ("function-after", "function-wrap"):
                core.around.append(node)
                node = node["schema"]
            elif node["type"] == "function-before":
                node = node["schema"]
            else:
                core._take_fields(node, shape)
                return core

    def _take_fields(self, node: _Node, shape: Any) -> None:
        if node["type"] == "dict":
            if node.get("keys_schema", {"type": "any"}) not in ({"type": "str"}, {"type": "any"}):
                raise SchemaError(shape_name(shape), "a context's keys are any str; write dict[str, ...]")
            self.others = node.get("values_schema", {"type": "any"})
            return
        if node["type"] not in ("model-fields", "dataclass-args", "typed-dict"):
            raise SchemaError(shape_name(shape), f"it has its own way to be validated ({node['type']}), and so no keys")
        fields = node["fields"]
        self.fields = fields if isinstance(fields, dict) else {field["name"]: field for field in fields}
        if any(field.get("init_only") for field in self.fields.values()):
            raise SchemaError(shape_name(shape), "an InitVar is no key, as nothing holds it; declare a field instead")
        if node["type"] == "typed-dict":
            self.config = node.get("config")
        if _allows_more(node) or self.others is not None:
            self.others = node.get("extras_schema", {"type": "any"})

    def defined(self, node: Any) -> Any:
        """Return a node with the definitions that it may refer to."""
        return {"type": "definitions", "schema": node, "definitions": self.definitions} if self.definitions else node

    def key(self, name: str, field: _Node) -> Key:
        """Return what a field's node says of its key."""
        node = field["schema"]
        own = self.defined(node)
        definitions = {one["ref"]: one for one in self.definitions}
        parts, top = list(_parts(node, definitions)), list(_top(node, definitions))
        marks = {mark for part in top for mark in part.get("metadata", {}).get("crystallize", ())}
        if any(Shared.__name__ in part.get("metadata", {}).get("crystallize", ()) for part in parts if part not in top):
            raise SchemaError(name, "Shared marks a whole key; within its value it would have no effect")
        default = next((part for part in top if part["type"] == "default"), None)
        validates_default = (default or {}).get("validate_default")
        among = None
        if any(part.get("type") == "with-info" for part in parts):
            fields = {"type": "model-fields", "fields": {name: {"type": "model-field", "schema": node}}}
            among = SchemaValidator(self.defined(fields), self.config).validate_assignment
        optional = default is not None or field.get("required") is False
        holds_secret = any(_is_secret(part) for part in parts)
        validator = SchemaValidator(own, self.config)
        # Without that NaN and the infinities within what is typed `Any` would be null.
        config: Any = {**(self.config or {}), "ser_json_inf_nan": "constants"}
        serializer = SchemaSerializer(own, config)
        return Key(
            name=name,
            validate=validator.validate_python,
            validate_among=among,
            validate_json=validator.validate_json,
            dump=lambda value, help: serializer.to_python(value, mode="json", fallback=help, warnings=False),
            aliases=_ways(field.get("validation_alias")),
            default=default,
            validates_default=bool(
                (self.config or {}).get("validate_default") if validates_default is None else validates_default
            ),
            shared=Shared.__name__ in marks,
            output=Output.__name__ in marks,
            excluded=bool(field.get("serialization_exclude")),
            secret=holds_secret,
            inner=frozenset(chain.from_iterable(map(_names_in, parts))) if holds_secret else frozenset(),
            required=not optional,
            beside=self.fields.keys() if self.others is None else None,
            fingerprint=lambda: digest(repr(_stable(own)).encode()),
            outcome=_outcome(node, definitions),
        )


def _kind(shape: Any) -> str:
    """Say which kind of shape a type is.

    Raises:
        SchemaError: It has no keys.
    """
    cls = get_origin(shape) or shape
    if cls in (dict, Mapping):
        return "dict"
    if is_typeddict(cls):
        return "typed-dict"
    if is_dataclass(cls) and isinstance(cls, type):
        return "dataclass"
    if _is_model(cls):
        return "model"
    name = shape_name(shape)
    if isinstance(shape, str):
        raise SchemaError(name, "a context is made over a type, not over the name of one; write it without quotes")
    if isinstance(shape, TypeVar):
        raise SchemaError(
            shape.__name__, f"a type variable says nothing yet; write a type in place of {shape.__name__}"
        )
    if getattr(cls, "_is_protocol", False):
        raise SchemaError(
            name,
            f"a protocol says what a step needs, as in Context[{name}]; make the context over a model that has it",
        )
    reason = "it declares no keys; a context is made over a Pydantic model, a TypedDict, a dataclass or dict[str, V]"
    if isinstance(cls, type):
        reason += f". For keys of your own choice that all hold this type write FrozenContext[dict[str, {name}]]"
    raise SchemaError(name, reason)


def _is_model(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, BaseModel) and not cls.__pydantic_root_model__


def _core_schema(shape: Any, name: str) -> _Node:
    try:
        adapter = TypeAdapter[Any](shape)
        if not isinstance(adapter.core_schema, dict):
            # Put off by `defer_build` until it is needed, which is now.
            adapter.rebuild(force=True)
    except PydanticUndefinedAnnotation as error:
        raise SchemaError(name, f"it refers to {error.name!r}, which is not defined") from error
    except PydanticUserError as error:
        raise SchemaError(name, _reason(error)) from error
    node: Any = adapter.core_schema
    return dict(node)


def _reason(error: PydanticUserError) -> str:
    if error.code == "typed-dict-version":
        return "before Python 3.12 Pydantic needs its TypedDict to be the one of typing_extensions; import that one"
    message, advice, _ = (error.message or str(error)).partition("\n")[0].partition(". Set `arbitrary_types_allowed")
    # Pydantic's advice is for those who write a model, which this may not be.
    return f"{message}; use a model with arbitrary_types_allowed=True" if advice else message


def _top(node: _Node, definitions: dict[str, _Node]) -> Iterator[_Node]:
    """The nodes around one value: down to what it is, not into what it holds."""
    yield node
    inner = definitions.get(node["schema_ref"]) if node["type"] == "definition-ref" else node.get("schema")
    if isinstance(inner, dict) and inner["type"] not in ("model", "dataclass") and node["type"] not in _HOLDERS:
        yield from _top(inner, definitions)
    for choice in node.get("choices", ()) if node["type"] == "union" else ():
        yield from _top(choice[0] if isinstance(choice, tuple) else choice, definitions)


_HOLDERS = ("model", "dataclass")


def _parts(node: Any, definitions: dict[str, _Node]) -> Iterator[_Node]:
    """Every node in a node, and in the definitions that it refers to."""
    met: set[str] = set()
    rest = [node]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            yield item
            rest += [part for name, part in item.items() if name not in ("metadata", "config")]
            ref = item.get("schema_ref")
            if isinstance(ref, str) and ref in definitions and ref not in met:
                met.add(ref)
                rest.append(definitions[ref])
        elif isinstance(item, list | tuple):
            rest += item


def _names_in(part: _Node) -> Iterator[str]:
    """The names of the fields of a node, and those that they go by in the input."""
    fields = part.get("fields") or {}
    if part.get("type") == "dataclass-args":
        fields = {field["name"]: field for field in fields}
    # A dataclass itself has a list of names, which are those of its arguments.
    for name, field in fields.items() if isinstance(fields, dict) else ():
        yield name
        yield from (step for way in _ways(field.get("validation_alias")) for step in way if isinstance(step, str))


def _allows_more(node: _Node) -> bool:
    """Whether a TypedDict allows undeclared keys. The oldest versions of Pydantic say so in the config alone."""
    behavior = node.get("extra_behavior", (node.get("config") or {}).get("extra_fields_behavior"))
    return behavior == "allow" or "extras_schema" in node


def _is_secret(part: _Node) -> bool:
    """Whether a node makes or shows one of Pydantic's secrets."""
    function = part.get("function")
    if isinstance(function, type):
        return is_secret(function)
    name = getattr(function, "__qualname__", "")
    return getattr(function, "__module__", "") == "pydantic.types" and "secret" in name.lower()


def _ways(alias: Any) -> tuple[tuple[str | int, ...], ...]:
    """Read an alias: a name, a way down, or a choice of ways."""
    if alias is None:
        return ()
    if isinstance(alias, str):
        return ((alias,),)
    return tuple(map(tuple, alias)) if isinstance(alias[0], list) else (tuple(alias),)
