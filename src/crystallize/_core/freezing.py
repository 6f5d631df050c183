"""Freezing: values are copied, so that neither writers nor readers can change the stored value.

`freeze` prepares a value for storage. A value that is immutable at any depth is stored and returned as it is. Of all
other values a private copy is stored, with a plan, made once, that makes a copy for each reader.
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
    """The base of the markers in a key's annotation, such as `Annotated[X, Shared]`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the marker to Pydantic's metadata, which also works in generics and forward references."""
        node = handler(source)
        metadata = node.setdefault("metadata", {})
        metadata["crystallize"] = (*metadata.get("crystallize", ()), cls.__name__)
        return node


class Shared(KeyMarker):
    """Marks a key whose value is shared and never copied: `model: Annotated[Model, Shared]`.

    It is meant for fitted models, tokenizers and connections. The writer must make sure that nobody changes the value.

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
    """Return the stored form of a value and the function that copies it; None if readers get the stored object.

    `subject` is the name of the value in errors: "'lr'" or "a value of metric 'loss'". If the value cannot be copied,
    or is nested too deeply, UncopyableValueError is raised.
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
    """Set how values of a type are copied, in place of a deep copy.

    A type can be given by its name, so that its library need not be imported.

    Args:
        kind: The type, or its full name as in an import: "torch.Tensor". Subclasses are included.
        freeze: A function of the written value. It returns the object to store, which shares no memory with the value.
        thaw: A function of the stored object. It returns the copy for a reader. If it is None, readers get the stored
            object itself, which must then be immutable.

    Raises:
        SchemaError: `kind` is neither a type nor a full name, or is a type of immutable values.

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
