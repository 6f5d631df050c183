"""The items of a `fan_out`, each with the name of its branch. They are taken one by one."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, starmap
from typing import Any, NamedTuple

from .._base.text import short
from .._core.codec import digest_of
from .._core.context import FrozenContext, state_of, token_of
from .._core.steps import step_path
from .._core.task import task_name
from ..errors import BranchError
from .branch import check_unused
from .branch_registry import registry_of


class BranchItem(NamedTuple):
    """An item, with its index and the full name of its branch."""

    at: int
    item: Any
    path: str


class BranchItems:
    """The items of one call."""

    def __init__(self, ctx: FrozenContext[Any], task: Any, items: Iterable[Any], name: Any) -> None:
        self._token, self._state = token_of(ctx), state_of(ctx)
        self._registry = registry_of(self._state)
        self._items = items
        self._name = task_name(task, of_lambda="branch") if name is None else _checked_name(name)
        self._named: dict[str, int] = {}
        """The names that a function gave, each with the index of its item. Names with an index are different anyway."""
        self._ahead: int | None = None
        """The number of items that were checked before the first one was taken."""
        self._start = ""
        self._allowed = 0
        """The index up to which names with an index are allowed; they begin with `_start`."""
        self._taken: Iterator[BranchItem] = self._in_order()

    @property
    def total(self) -> int | None:
        """The number of items; None if it is not known before the last one is taken."""
        try:
            items: Any = self._items
            return len(items)
        except TypeError:
            return None

    def check_ahead(self) -> Iterator[bool]:
        """Check the items before anything runs, if all are at hand; return of each whether its branch is merged."""
        if not isinstance(self._items, Sequence):
            return
        self._ahead = len(self._items)
        for at, item in enumerate(self._items):
            path = self._path(at, item)
            if self._registry.knows(path):
                yield self._is_merged(path, item)
            else:
                check_unused(self._state, path)
                yield False

    def first(self) -> BranchItem | None:
        """Return the first item, which is still to be taken; None if there is none."""
        found = next(self._taken, None)
        if found is not None:
            self._taken = chain([found], self._taken)
        return found

    def take(self, most: int) -> list[BranchItem]:
        """Take items, at most so many; none if there are no more. Items that may be slow to come are taken singly."""
        return [*islice(self._taken, most if self._ahead is not None else 1)]

    def _in_order(self) -> Iterator[BranchItem]:
        if self._ahead is None:
            yield from starmap(self.named, enumerate(self._items))
        else:
            yield from map(BranchItem, range(self._ahead), self._items, self.paths())

    def named(self, at: int, item: Any) -> BranchItem:
        """Return an item that was not checked before, with the name of its branch."""
        path = self._path(at, item)
        self._is_merged(path, item)
        return BranchItem(at, item, path)

    def paths(self, count: int | None = None) -> Iterator[str]:
        """Return the names of the branches of the first items, as far as these were taken or checked."""
        number = self._ahead if count is None else count
        if not isinstance(self._name, str):
            return islice(self._named, number)
        return map(self._numbered, range(number or 0))

    def _numbered(self, at: int) -> str:
        """Return the full name of a branch with an index."""
        if at >= self._allowed:
            # Checked once for all indices with as many digits: a name may be too long.
            digits = len(str(at))
            self._start = step_path(self._token, f"{self._name}-{at}")[:-digits]
            self._allowed = 10**digits
        return f"{self._start}{at}"

    def _path(self, at: int, item: Any) -> str:
        """Return the full name of an item's branch; raise BranchError if another item has the same name."""
        if isinstance(self._name, str):
            return self._numbered(at)
        try:
            found = self._name(item)
        except Exception as error:  # a user's function may raise anything
            error.add_note(f"in name=, of item {short(item)}")
            raise
        if not isinstance(found, str):
            raise BranchError("fan_out", f"name= gave {short(found)} for item {short(item)}; a branch's name is a str")
        path = step_path(self._token, found)
        other = self._named.setdefault(path, at)
        if other != at:
            # Items that were taken from an iterator are gone.
            first = short(self._items[other]) if isinstance(self._items, Sequence) else f"that at index {other}"
            both = f"{first} and {short(item)}"
            raise BranchError(path, f"two items have this name, {both}; pass a name= that tells them apart")
        return path

    def _is_merged(self, path: str, item: Any) -> bool:
        """Return whether an item's branch is merged; raise BranchError if it belongs to another call or item."""
        receipt = self._registry.receipt(path)
        if receipt is None:
            return False
        if receipt.is_taken:
            raise BranchError(path, "an earlier call has merged it; give the branches of this one another name=")
        digest_now = digest_of(item)
        if None not in (digest_now, receipt.item) and digest_now != receipt.item:
            reason = f"it is merged, and was of another item than {short(item)}"
            raise BranchError(path, f"{reason}; pass the same items in the same order, or name them by name=")
        return True


def _checked_name(name: Any) -> Any:
    """Return a prefix of names, or a function that gives them; raise BranchError if it is neither."""
    advice = "for names of the items give a function, as name=lambda item: f'fold-{item}'"
    if isinstance(name, str) and ("{" in name or "}" in name):
        raise BranchError("fan_out", f"name= is {short(name)}, and a prefix is no template; {advice}")
    if not isinstance(name, str) and not callable(name):
        raise BranchError("fan_out", f"name= is {short(name)}; give a prefix as a str; {advice}")
    return name
