# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""From a schema to one validator a key, and from a metric's types to its validators.

This file alone knows what pydantic-core makes of a type. A context is not one document but grows key by key,
so each key's validator is taken out of the schema's own, with its definitions and its model's config.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias
from pydantic import ValidationError
from .errors import Problem
from .values import Mark

__all__ = ["Key", "MetricChecks", "Outcome", "Output", "Schema", "digest", "plain_key", "problems_of", "shape_name"]
_Node: TypeAlias = dict[str, Any]
_Layout: TypeAlias = tuple[type | None, dict[str, type | None]]

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

def shape_name(shape: Any) -> str:
    """Return how a type is written in code, without its modules."""

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

    def make_default(self, held: Callable[[], dict[str, Any]]) -> Any:
        """Return its default, made anew.

        Raises:
            InvalidValueError: It is to be validated, and is not allowed.
            AbsentKeyError: Its factory needs a key that is not written yet.
        """

    def problems(self, name: str, error: ValidationError) -> tuple[Problem, ...]:
        """Return what a validation error says, with no input where there may be a secret in it."""

    def content(self, value: Any) -> bytes | None:
        """Return bytes that are the same for equal values in every process; None where that is not known."""

def digest(content: bytes) -> str:
    """Return the BLAKE2b of some bytes, 128 bits, in hexadecimal."""

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

    shape: Any
    name: str
    by_items: bool
    frozen: bool
    keys: dict[str, Key]
    others: Key | None
    validators: dict[str, Callable[[Any], Any]]

    def __init__(self, shape: Any) -> None: ...
    @classmethod
    def of(cls, shape: Any) -> Schema:
        """Return the schema of a shape, made once for a class.

        Raises:
            SchemaError: The shape has no keys, or Pydantic cannot work with it.
        """

    @staticmethod
    def untyped() -> Schema:
        """Return the schema of a context without a shape: anything goes. Made when first asked for."""

    def key(self, name: object) -> Key:
        """Return what it says of a key.

        Raises:
            InvalidKeyError: `name` cannot be a key.
            UnknownKeyError: It is not declared, and only declared keys are allowed.
        """

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

    type: Any
    validate: Callable[[Any], Any]
    split: Callable[[Any], dict[str, Any]] | None
    tag_count: int | None
    validate_tags: Callable[[Any], Any] | None
    tag_model: Any
    tag_keys: dict[str, Key]
    layout: _Layout
    tag_names: tuple[str, ...]
    __slots__ = (
        "__dict__",
        "_open",
        "layout",
        "split",
        "tag_count",
        "tag_keys",
        "tag_model",
        "tag_names",
        "type",
        "validate",
        "validate_tags",
    )

    def __init__(self, metric: str, type: Any, tags: Any) -> None: ...
    @property
    def is_plain(self) -> bool:
        """Whether every value and tag that validates is a number, a bool or a text, and nothing else."""

    @cached_property
    def value_key(self) -> Key:
        """What a context says of a key of the type of the values."""

    @property
    def fingerprint(self) -> str:
        """What is the same in every process for the same types of values and tags."""

    def check(self, metric: str, value: Any) -> Any:
        """Validate a value.

        Raises:
            InvalidMetricError: The metric does not allow it.
        """

    def check_tags(self, metric: str, tags: Any) -> dict[str, Any]:
        """Validate tags, given as a mapping or as an instance of their model, which is not validated again.

        Returns:
            The tags by name, in a dict of their own.

        Raises:
            InvalidTagError: The metric does not allow them.
            MissingTagError: A tag is missing.
        """

    def make_tags(self, tags: dict[str, Any]) -> Any:
        """Make what a reader gets of tags by name: an instance of their model, or the dict itself."""

    def unknown(self, tag: str) -> Problem:
        """Return what to say of a tag that is not declared."""

    def check_tag(self, metric: str, tag: str, value: Any) -> Any:
        """Validate the value of one tag, to look points up by.

        Raises:
            InvalidTagError: The metric has no such tag, or does not allow the value.
        """
