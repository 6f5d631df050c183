"""Freezing: how a value is kept apart from whoever wrote it and whoever reads it.

`freeze` takes a value in. What is immutable all the way down is kept as it is and handed out as it is. Of all
else a private copy is kept, with a plan, built once, that makes a fresh copy for each reader.
"""

from collections.abc import Callable
from typing import Any

from .._base.text import short, type_name
from ..errors import SchemaError, UncopyableValueError
from .copy_by_type import CopyKind, Frozen, NoPlan, NotCopyable, add_kind
from .copy_plans import CopyPlanner, forget_copiers
from .deepcopy_fallback import deep_copied
from .immutable_types import ATOMIC


class KeyMarker:
    """The base of what marks a key in its annotation: `Annotated[X, Shared]`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Leave the mark where Pydantic keeps it, also inside of generics and forward references."""
        node = handler(source)
        metadata = node.setdefault("metadata", {})
        metadata["crystallize"] = (*metadata.get("crystallize", ()), cls.__name__)
        return node


class Shared(KeyMarker):
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


def freeze(value: Any, subject: str) -> Frozen:
    """Return a value as it is kept, and the function that makes a reader's copy; None: the kept object is handed out.

    `subject` names the value in errors: "'lr'" or "a value of metric 'loss'". A value that cannot be copied, or is
    nested too deeply, raises UncopyableValueError.
    """
    if type(value) in ATOMIC:
        return value, None
    try:
        return CopyPlanner().take(value)
    except NoPlan:
        pass
    except RecursionError:
        reason = "it is nested too deeply for what is left of the stack"
        raise UncopyableValueError(subject, type_name(type(value)), reason) from None
    except NotCopyable as refused:
        raise UncopyableValueError(subject, type_name(refused.type), refused.reason) from refused.__cause__
    return deep_copied(value, subject)


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
    if not isinstance(kind, type) and not (isinstance(kind, str) and "." in kind):
        raise SchemaError("register", f'it takes a type or its full name, as in "torch.Tensor", not {short(kind)}')
    if not callable(freeze) or not (thaw is None or callable(thaw)):
        raise SchemaError(
            "register", "freeze is a function of the value, and thaw one of what freeze returned, or None"
        )
    if kind in ATOMIC:
        raise SchemaError("register", f"a {short(kind)} cannot change and is never copied")
    add_kind(kind, CopyKind(freeze, thaw))
    forget_copiers()
