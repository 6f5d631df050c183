"""How values of registered types become bytes, and values again."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .._base.type_registry import TypeRegistry


class RegisteredCodec(NamedTuple):
    """The functions that `register` was given for a type."""

    dump: Callable[[Any], bytes]
    """Returns the bytes of a value."""
    load: Callable[[bytes], Any]
    """Returns the value of such bytes."""
    equal: Callable[[Any, Any], bool] | None
    """Says whether a value is the same as the one it was made from; None if `==` says it."""


CODECS: Final[TypeRegistry[RegisteredCodec]] = TypeRegistry({})
