"""An index of names that takes little memory if many names have the same beginning and end in consecutive numbers."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

_T = TypeVar("_T")
_S = TypeVar("_S")

_SPAN: Final = 1024
"""How many numbers have one mask."""
_FEWEST: Final = 8
"""The minimum number of names for which a mask takes less memory than the names."""


class NameIndex(Generic[_T]):
    """The owners of names. Each name is added once. A group of names is added together, with one owner.

    Names such as "fold-0" to "fold-1023" are stored as their beginning and one bit each.
    """

    __slots__ = ("_masks", "_others")

    def __init__(self) -> None:
        # Shared, since most contexts have several indices and no names in them.
        self._masks: dict[tuple[str, int], tuple[tuple[int, _T], ...]] = _NOTHING
        """By the beginning of names and their number divided by the span: a mask with a bit for each name, and its
        owner; the newest first."""
        self._others: dict[str, _T] = _NOTHING

    def add(self, names: Iterable[str], owner: _T) -> None:
        """Add names. If it has an owner already, either owner may be found."""
        masks, others = _grouped(tuple(names))
        # No signal handler runs within a line, which could add names as well.
        self._masks = {} if self._masks is _NOTHING else self._masks
        self._others = {} if self._others is _NOTHING else self._others
        for place, mask in masks.items():
            self._put(place, mask, owner)
        self._others.update(dict.fromkeys(others, owner))

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
        if self._masks:
            beginning, number = _split(name)
            for mask, owner in self._masks.get((beginning, number // _SPAN), ()):
                if mask >> number % _SPAN & 1:
                    return owner
        return None

    def mapped(self, owner_of: Callable[[_T], _S]) -> "NameIndex[_S]":
        """Return an index of the same names with other owners: a function returns the new owner for each owner here."""
        made: NameIndex[_S] = NameIndex()
        made._masks = {
            place: tuple((mask, owner_of(owner)) for mask, owner in masks) for place, masks in self._masks.items()
        }
        made._others = {name: owner_of(owner) for name, owner in self._others.items()}
        return made


_NOTHING: Final[dict[Any, Any]] = {}
"""The contents of all indices to which no name was added."""


@lru_cache(maxsize=1)
def _grouped(names: tuple[str, ...]) -> tuple[dict[tuple[str, int], int], list[str]]:
    """Return the masks of names, and the names that are too few for a mask. Several indices have the same names."""
    groups: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for name in names:
        beginning, number = _split(name)
        groups.setdefault((beginning, number // _SPAN), []).append((number % _SPAN, name))
    masks = {
        place: sum(1 << bit for bit in {bit for bit, _ in members})
        for place, members in groups.items()
        if len(members) >= _FEWEST and place[1] >= 0
    }
    return masks, [name for place, members in groups.items() if place not in masks for _, name in members]


@lru_cache(maxsize=4)
def _split(name: str) -> tuple[str, int]:
    """Return the beginning of a name and the number that it ends in, whose text has no leading zero; -1 for none.

    The results are cached, since a name is looked up in several indices.
    """
    beginning = name.rstrip("0123456789")
    digits = name[len(beginning) :].lstrip("0")
    # With more digits, `int` may raise.
    return (name[: len(name) - len(digits)], int(digits)) if 0 < len(digits) < 16 else (name, -1)
