"""Items in the order in which they were appended, with sections inserted at earlier marks.

Keys, points, artifacts and step records each have such a log. A mark is the number of items that were appended so far.
A section that is inserted at a mark is read as if its items had been appended there and then, whenever it comes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import ExitStack
from itertools import islice
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

_I = TypeVar("_I")
_S = TypeVar("_S")


class Section(NamedTuple):
    """Items that were inserted together."""

    mark: int
    """The number of appended items before them."""
    items: Any
    """A sized collection; `OrderedLog.splice` gets at the items in it."""


class OrderedLog(Generic[_I]):
    """Items in order. Whoever changes it holds the lock over effect and event.

    Attributes:
        own: The appended items.
        inserted: The number of items in all sections.
    """

    __slots__ = ("_sections", "inserted", "own")

    def __init__(self, own: Iterable[_I] = (), sections: Mapping[int, Section] | None = None) -> None:
        self.own: list[_I] = [*own]
        self._sections: dict[int, Section] = {}
        self.inserted = 0
        if sections:
            self._sections |= sections
            self._count()

    def _count(self) -> None:
        self.inserted = sum(len(section.items) for section in self._sections.values())

    def append(self, item: _I, /) -> None:
        """Add an item at the end."""
        self.own.append(item)

    def mark(self) -> int:
        """Return the mark of this moment: the number of appended items."""
        return len(self.own)

    def insert(self, rank: int, mark: int, items: Sized, undo: ExitStack | None = None) -> None:
        """Insert a section, in place of the section that had this rank before.

        Args:
            rank: The order among sections at the same mark.
            mark: The number of appended items before the section.
            items: The items; an empty section is not kept.
            undo: Gets a callback that restores the earlier state. It is registered first, so that an interruption at
                any moment, as by Ctrl-C, can be undone.
        """
        if not len(items):
            return
        before = self._sections.get(rank)
        if undo is not None:
            undo.callback(self.restore_section, rank, before)
        self._sections[rank] = Section(mark, items)
        self.inserted += len(items) - (len(before.items) if before is not None else 0)

    def restore_section(self, rank: int, before: Section | None) -> None:
        """Restore the section that a rank had before an insertion; None: it had none."""
        if before is None:
            self._sections.pop(rank, None)
        else:
            self._sections[rank] = before
        self._count()

    def move(self, rank: int, new_rank: int, mark: int) -> None:
        """Move the section of a rank, if there is one, to another rank and mark."""
        if rank in self._sections:
            self._sections[new_rank] = self._sections.pop(rank)._replace(mark=mark)

    def section(self, rank: int) -> Any:
        """Return the items of a section; None if there is no section of this rank."""
        found = self._sections.get(rank)
        return None if found is None else found.items

    def sections(self) -> list[Section]:
        """Return the sections by rank."""
        # Most often they are inserted nearly in order, which sorting makes use of.
        return [section for _, section in sorted(self._sections.copy().items(), key=itemgetter(0))]

    def splice(self, own: Iterable[_S], items: Callable[[Any], Iterable[_S]] = iter) -> Iterator[_S]:
        """Return one sequence with all sections at their marks.

        Args:
            own: The appended items, or something made of each of them.
            items: Returns the same for the items of a section.
        """
        rest, at = iter(own), 0
        for mark, section in self.sections():
            # What was appended before the mark may have been deleted since, as artifacts can be.
            yield from islice(rest, max(mark - at, 0))
            at = max(mark, at)
            yield from items(section)
        yield from rest

    def clear(self) -> None:
        """Delete all sections."""
        self._sections.clear()
        self.inserted = 0

    def __iter__(self) -> Iterator[_I]:
        return self.splice([*self.own])

    def __len__(self) -> int:
        return len(self.own) + self.inserted

    def copy_sections(self) -> dict[int, Section]:
        """Return the sections by their ranks, for a log of its own with the same sections."""
        return self._sections.copy()


class OrderedKeys(OrderedLog[str]):
    """The order of the keys of a dict to which somebody else adds them, those of the sections too."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, object], sections: Mapping[int, Section] | None = None) -> None:
        super().__init__((), sections)
        self._held = held

    def mark(self) -> int:
        """Return the mark of this moment: the number of keys that were added outside of sections."""
        return len(self._held) - self.inserted

    def in_order(self) -> list[str]:
        """Return all keys in order."""
        # Other threads may add keys, and insert sections, meanwhile.
        keys = [*self._held]
        if not self._sections:
            return keys
        known, sections = {*keys}, OrderedLog[str](sections=self._sections.copy())
        inserted = {key for section in sections.sections() for key in section.items}
        own = [key for key in keys if key not in inserted]
        return [key for key in sections.splice(own) if key in known]

    def __iter__(self) -> Iterator[str]:
        return iter(self.in_order())

    def __len__(self) -> int:
        return len(self._held)
