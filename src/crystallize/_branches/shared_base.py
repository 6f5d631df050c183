"""The contents of a parent that reach each worker once, for all branches from one moment."""

from functools import partial
from typing import Any, Generic

from .._base.text import type_name
from .._core.context import FrozenContext, T_co, state_of
from ..errors import BranchError
from .fork_base import ForkBase


class SharedBase(Generic[T_co]):
    """The values of a context in a file, for branches that are opened on the same machine. `shared_base` returns it.

    Example:
        >>> import pickle
        >>> ctx = FrozenContext({"rows": list(range(100_000))})
        >>> with shared_base(ctx) as base:
        ...     sent = pickle.dumps(fork(ctx, "fold-3", base=base))
        ...     child = pickle.loads(sent).open()  # in a worker
        ...     len(sent) < 1000, len(child["rows"])
        (True, 100000)
    """

    __slots__ = ("_address", "_base", "_is_closed")

    def __init__(self, base: ForkBase, address: bytes) -> None:
        """Make it; `shared_base` does."""
        self._base = base
        self._address = address
        self._is_closed = False

    def __repr__(self) -> str:
        return f"SharedBase({self._base.label})"


def check_shared(shared: Any, branch: str, ctx: FrozenContext[Any]) -> None:
    """Raise BranchError if a shared base is not of a context as it is now."""
    if not isinstance(shared, SharedBase):
        raise BranchError(branch, f"base= is what shared_base(ctx) returns, not a {type_name(type(shared))}")
    if shared._is_closed:
        raise BranchError(branch, "its shared base is closed; fork it inside of the `with` block of shared_base")
    if state_of(ctx).dispatcher.lock.run(partial(ForkBase.of, ctx)) is not shared._base:
        reason = "base= contains other keys than the context has now; create another one with shared_base(ctx)"
        raise BranchError(branch, reason)


def address_in_shared(shared: SharedBase[Any]) -> bytes:
    """Return the address by which workers find a shared base."""
    return shared._address


def close_shared(shared: SharedBase[Any]) -> None:
    """Note that the file of a shared base is removed."""
    shared._is_closed = True
