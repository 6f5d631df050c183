"""The stored form of a key's value."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from ..errors import ObjectError
from .copy_by_type import Frozen, Thaw


class StoredValue(NamedTuple):
    """The stored form of a key's value, with the step that wrote it."""

    kept: Any
    thaw: Thaw | None
    """Makes a reader's copy; None if readers get the kept object itself."""
    step: str | None
    """The step that wrote the value; None outside any step."""
    is_input: bool
    """Whether the value was written when the context was made."""

    def read(self) -> Any:
        """Return the reader's copy."""
        return self.kept if self.thaw is None else self.thaw()


class LostValue(NamedTuple):
    """A value that was written elsewhere, and that could not be restored."""

    type: str
    """The full name of its type; empty for a secret."""
    step: str | None
    """The step that wrote it; None outside any step."""
    why: str
    """Why it could not be restored, and a remedy."""
    cause: ObjectError | None = None
    """The error of its object that is missing or changed, which reading the key raises; None if that is not why."""


class Unread(NamedTuple):
    """A value that was written elsewhere, and is read when it is first asked for."""

    read: Callable[[], Any]
    """Reads the value, which the schema accepts; it may raise an error each time."""
    is_owned: bool = False
    """Whether nobody else has what `read` returns, and its buffers are immutable."""


class Deferred:
    """The `Thaw` of an unread value: the first call reads the value, and keeps it unless that raises an error."""

    __slots__ = ("_freeze", "_frozen", "_read")

    def __init__(self, read: Callable[[], Any], freeze: Callable[[Any], Frozen]) -> None:
        self._read = read
        self._freeze = freeze
        self._frozen: Frozen | None = None

    @property
    def is_read(self) -> bool:
        """Whether the value is in memory."""
        return self._frozen is not None

    def __call__(self) -> Any:
        # Without a lock: two threads that read it at the same time read equal values.
        if self._frozen is None:
            self._frozen = self._freeze(self._read())
        return self.peek()

    def peek(self) -> Any:
        """Return a reader's copy, without keeping the value if it was not read before."""
        if self._frozen is None:
            return self._read()
        kept, thaw = self._frozen
        return kept if thaw is None else thaw()


RawValue: TypeAlias = tuple[Any, Thaw | None, str | None, bool]
"""A `StoredValue` as a plain tuple, which the fast write makes in a fifth of the time of a named tuple."""
