"""An index of names that takes little memory if many names have the same beginning and end in consecutive numbers."""

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")
_S = TypeVar("_S")

_SPAN: Final = 1024
"""How many numbers have one mask."""
_FEWEST: Final = 8
"""The minimum number of names for which a mask takes less memory than the names."""


class NameIndex(Generic[_T]):
    """The owners of names. A group of names is added together, with one owner.

    Names such as "fold-0" to "fold-1023" are stored as their beginning and one bit each.
    """

    __slots__ = ("_masks", "_others")

    def __init__(self) -> None:
        self._masks: dict[tuple[str, int], tuple[tuple[int, _T], ...]] = {}
        """By the beginning of names and their number divided by the span: a mask with a bit for each name, and its
        owner; the newest first."""
        self._others: dict[str, _T] = {}

    def add(self, names: Iterable[str], owner: _T) -> None:
        """Add names; a name that is there already gets this owner."""
        groups: dict[tuple[str, int], list[tuple[int, str]]] = {}
        for name in names:
            beginning, number = _split(name)
            groups.setdefault((beginning, number // _SPAN), []).append((number % _SPAN, name))
        for place, members in groups.items():
            if len(members) < _FEWEST:
                self._others.update((name, owner) for _, name in members)
                continue
            mask = 0
            for bit, _ in members:
                mask |= 1 << bit
            self._put(place, mask, owner)
            for _, name in members:
                self._others.pop(name, None)

    def _put(self, place: tuple[str, int], mask: int, owner: _T) -> None:
        while True:
            before = self._masks.setdefault(place, ())
            masks = ((mask, owner), *before)
            # A signal handler may have added names since. No handler runs between the next lines.
            if self._masks[place] is before:
                self._masks[place] = masks
                return

    def find(self, name: str) -> _T | None:
        """Return the owner of a name; None if the name is not there."""
        if name in self._others:
            return self._others[name]
        beginning, number = _split(name)
        bit = 1 << number % _SPAN
        masks = self._masks.get((beginning, number // _SPAN), ())
        return next((owner for mask, owner in masks if mask & bit), None)

    def mapped(self, owner_of: Callable[[_T], _S]) -> "NameIndex[_S]":
        """Return an index of the same names with other owners, each of which a function returns for an owner here."""
        made: NameIndex[_S] = NameIndex()
        made._masks = {
            place: tuple((mask, owner_of(owner)) for mask, owner in masks) for place, masks in self._masks.items()
        }
        made._others = {name: owner_of(owner) for name, owner in self._others.items()}
        return made


def _split(name: str) -> tuple[str, int]:
    """Return the beginning of a name and the number that it ends in, whose text has no leading zero; -1 for none."""
    beginning = name.rstrip("0123456789")
    digits = name[len(beginning) :].lstrip("0")
    # With more digits, `int` may raise.
    return (name[: len(name) - len(digits)], int(digits)) if 0 < len(digits) < 16 else (name, -1)
