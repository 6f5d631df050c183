# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Freezing: how a value is kept apart from whoever wrote it and whoever reads it.

`freeze` takes a value in. What is immutable all the way down is kept as it is and handed out as it is. Of all
else a private copy is kept, with a plan, built once, that makes a fresh copy for each reader.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

__all__ = [
    "ATOMIC",
    "PLAIN",
    "Mark",
    "Shared",
    "Thaw",
    "freeze",
    "is_secret",
    "masked",
    "register",
    "same",
    "secrets_in",
]
Thaw: TypeAlias = Callable[[], Any]
"""Makes a fresh copy of a value that is kept."""

_Frozen: TypeAlias = tuple[Any, Thaw | None]
ATOMIC: frozenset[type]
"""Types whose instances, of exactly this type, nobody can change."""

PLAIN: frozenset[type]
"""The types of most of what is measured and tagged: immutable, and no secrets."""

class Mark:
    """The base of what marks a key in its annotation: `Annotated[X, Shared]`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Leave the mark where Pydantic keeps it, also inside of generics and forward references."""

class Shared(Mark):
    """Marks a key whose value is handed over as it is, uncopied: `model: Annotated[Model, Shared]`.

    Whoever writes it vouches that nobody changes it: a fitted model, a tokenizer, a connection.

    Example:
        >>> from typing import Annotated, Any
        >>> from typing_extensions import TypedDict
        >>> class Tools(TypedDict):
        ...     tokenizer: Annotated[Any, Shared]
        >>> tokenizer = object()
        >>> FrozenContext[Tools]({"tokenizer": tokenizer})["tokenizer"] is tokenizer
        True
    """

def register(kind: type | str, *, freeze: Callable[[Any], Any], thaw: Callable[[Any], Any] | None = None) -> None:
    """Say how values of a type are copied, in place of a deep copy.

    A name stands for a type that may never be imported: nothing is, until such a value comes.

    Args:
        kind: The type, or its full name as one would import it: "torch.Tensor". Subclasses are meant too.
        freeze: Takes a written value and returns what to keep, apart from the writer's.
        thaw: Takes what is kept and returns what a reader gets; None hands out what is kept, which then must
            not be changeable.

    Raises:
        SchemaError: `kind` is neither a type nor a full name, or its values cannot change anyway.

    Example:
        >>> register("torch.Tensor", freeze=lambda t: t.detach().clone(), thaw=lambda t: t.clone())
    """

def freeze(value: Any, subject: str) -> _Frozen:
    """Take a value in.

    Args:
        value: Any value, already validated.
        subject: What holds it, for an error: "'lr'" or "a value of metric 'loss'".

    Returns:
        What to keep, and what makes a fresh copy of it for each reader; None in place of the latter when the
        kept object itself may be handed out.

    Raises:
        UncopyableValueError: The value refuses to be copied, or is nested too deeply.
    """

def is_secret(cls: type) -> bool:
    """Whether instances of a type hide what they hold: `SecretStr` and its kin."""

def secrets_in(value: object) -> list[str | bytes]:
    """Return the cleartext of every secret in a value, at any depth that can be looked into."""

def masked(text: str, value: object) -> str:
    """Return a text with a mask in place of every secret that a value holds."""

def without(text: str, secrets: Iterable[str | bytes]) -> str:
    """Return a text with a mask in place of each of some secrets, given in clear."""

def same(one: Any, other: Any) -> bool:
    """Whether two values cannot be told apart: of one type all the way down, NaN the same as NaN."""
