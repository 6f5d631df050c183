"""Items in the order in which they were appended, with sections inserted at earlier marks.

Keys, points, artifacts and step records each have such a log. A mark is the number of items that were appended so far.
A section that is inserted at a mark is read as if its items had been appended then, even if it is inserted later.
"""

from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from itertools import chain, groupby, islice, repeat
from operator import attrgetter, call, itemgetter
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from .packed_texts import numbers_in, packed_numbers

_call: Any = call
"""Its type is not known to every checker."""

_I = TypeVar("_I")
_S = TypeVar("_S")


class Section(NamedTuple):
    """Items that were inserted together."""

    mark: int
    """The number of appended items before them."""
    items: Any
    """A sized collection; an argument of `OrderedLog.splice` reads the items in it."""
    ranks: bytes = b""
    """The ranks of the sections in a pack, as packed numbers; empty if this is no pack."""
    last: int = -1
    """The last of these ranks."""


class SectionPack(Sized, Protocol):
    """The items of many sections."""

    def parts(self) -> Iterable[Any]:
        """Return the items of each section."""
        ...


_P = TypeVar("_P", bound=SectionPack)

FEWEST: Final = 16
"""The minimum number of sections in a pack: fewer take as much memory in a pack as without one."""


class OrderedLog(Generic[_I]):
    """Items in order. A caller that changes it holds the dispatcher's lock.

    Attributes:
        own: The appended items.
        inserted: The number of items in all sections.
    """

    __slots__ = ("_changes", "_last_packed", "_sections", "inserted", "own")

    def __init__(self, own: Iterable[_I] = (), sections: Mapping[int, Section] | None = None) -> None:
        self.own: list[_I] = [*own]
        self._sections: dict[int, Section] = {}
        self._changes = 0
        """The number of times that packs were made or unpacked."""
        self._last_packed = -1
        """The maximum rank in any pack."""
        self.inserted: int = 0
        if sections:
            self._sections |= sections
            self._last_packed = max(section.last for section in sections.values())
            self._count()

    def copy(self) -> "OrderedLog[_I]":
        """Return an independent log with the same items. The sections are not gone through one by one."""
        copied = OrderedLog(self.own)
        copied._sections, copied._last_packed = self._sections.copy(), self._last_packed
        copied.inserted = self.inserted
        return copied

    def _count(self) -> None:
        self.inserted = sum(len(section.items) for section in self._sections.values())

    def append(self, item: _I, /) -> None:
        """Add an item at the end."""
        self.own.append(item)

    def mark(self) -> int:
        """Return the current mark: the number of appended items."""
        return len(self.own)

    def insert(self, rank: int, mark: int, items: Sized, undo: ExitStack | None = None) -> None:
        """Insert a section, or replace the section of this rank; an empty section is not inserted.

        `rank` is the order among sections at the same mark. `undo` gets a callback that restores the earlier state. It
        is registered before the change, so that an interruption at any moment, such as Ctrl-C, can be undone.
        """
        if not len(items):
            return
        self._unpack(rank)
        before = self._sections.get(rank)
        if undo is not None:
            undo.callback(self.restore_section, rank, before)
        added = len(items) - (len(before.items) if before is not None else 0)
        self._sections[rank] = Section(mark, items)
        # Without a call, in which a signal handler could insert another section.
        self.inserted += added

    def restore_section(self, rank: int, before: Section | None) -> None:
        """Restore the section that a rank had before an insertion; remove the section if `before` is None."""
        if before is None:
            self._sections.pop(rank, None)
        else:
            self._sections[rank] = before
        self._count()

    def move(self, rank: int, new_rank: int, mark: int) -> None:
        """Move the section of a rank, if there is one, to another rank and mark."""
        found = self._sections.get(rank)
        if found is not None:
            self._unpack(new_rank)
            # Both or neither: there is no bytecode between the two calls, at which an exception could come.
            add = partial(self._sections.__setitem__, new_rank, found._replace(mark=mark))
            deque(map(_call, (partial(self._sections.__delitem__, rank), add)), 0)

    def pack(self, ranks: Collection[int], make: Callable[[list[Any]], _P]) -> list[_P]:
        """Replace sections by packs of them, and return the packs: nothing else is read than before.

        `make` returns the pack of sections, given their items. Sections at the same mark without another section
        between them are packed together. A section that comes between them later unpacks them.
        """
        count, sections = self._changes, self._sections.copy()
        wanted = {rank for rank in ranks if rank in sections and not sections[rank].ranks}
        runs = groupby(sorted(sections), lambda rank: (rank in wanted, sections[rank].mark))
        packs: list[_P] = []
        for run in [[*run] for (is_wanted, _), run in runs if is_wanted]:
            if len(run) >= FEWEST:
                pack = make([sections[rank].items for rank in run])
                packed = Section(sections[run[0]].mark, pack, packed_numbers(run), run[-1])
                if not self._replace(count + len(packs), run, {run[0]: packed}):
                    break
                packs.append(pack)
        return packs

    def _unpack(self, rank: int) -> None:
        """Unpack the sections between which a section is about to be inserted."""
        while rank <= self._last_packed:
            count = self._changes
            around = (found for first, found in self._sections.copy().items() if first < rank <= found.last)
            section = next(around, None)
            if section is None:
                return
            parts = zip(numbers_in(section.ranks), section.items.parts(), strict=True)
            self._replace(count, (), {rank: Section(section.mark, items) for rank, items in parts})

    def _replace(self, count: int, old: Iterable[int], new: Mapping[int, Section]) -> bool:
        """Replace sections, unless a signal handler has done so since there were `count` changes."""
        put, last = partial(self._sections.update, new), max(new.values(), key=_last).last
        # All or nothing: there is no bytecode between the calls, at which an exception could come.
        drop = map(self._sections.pop, old, repeat(None))
        changes = chain(drop, map(_call, (put, partial(setattr, self, "_changes", count + 1))))
        self._last_packed = max(self._last_packed, last)
        # No handler runs between the next lines.
        if self._changes != count:
            return False
        deque(changes, 0)
        return True

    def section(self, rank: int) -> Any:
        """Return the items of a section; None if there is no section of this rank."""
        found = self._sections.get(rank)
        return None if found is None else found.items

    def sections(self) -> list[Section]:
        """Return the sections by rank."""
        # They are usually inserted nearly in order, which makes sorting fast.
        return [section for _, section in sorted(self._sections.copy().items(), key=itemgetter(0))]

    def splice(self, own: Iterable[_S], items: Callable[[Any], Iterable[_S]] = iter) -> Iterator[_S]:
        """Return the appended items with all sections inserted at their marks.

        `own` may be derived from the appended items, one by one; `items` then derives the same from a section.
        """
        rest, at = iter(own), 0
        for mark, section, _, _ in self.sections():
            # Items appended before the mark may have been deleted since, such as artifacts.
            yield from islice(rest, max(mark - at, 0))
            at = max(mark, at)
            yield from items(section)
        yield from rest

    def clear(self) -> None:
        """Delete all sections."""
        self._sections.clear()
        self.inserted = 0

    def __iter__(self) -> Iterator[_I]:
        own = [*self.own]
        return self.splice(own) if self._sections else iter(own)

    def __len__(self) -> int:
        return len(self.own) + self.inserted

    def copy_sections(self) -> dict[int, Section]:
        """Return a copy of the sections by rank, for another log."""
        return self._sections.copy()


_last: Callable[[Section], int] = attrgetter("last")


class KeyPack:
    """The keys of many sections."""

    __slots__ = ("_keys", "_sizes")

    def __init__(self, sections: Sequence[Sequence[str]]) -> None:
        self._keys = [key for keys in sections for key in keys]
        self._sizes = array("I", map(len, sections))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def parts(self) -> Iterator[tuple[str, ...]]:
        """Return the keys of each section."""
        keys = iter(self._keys)
        return (tuple(islice(keys, size)) for size in self._sizes)


class OrderedKeys(OrderedLog[str]):
    """The order of the keys of a dict. Others add keys to the dict, including the keys of sections."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, object], sections: Mapping[int, Section] | None = None) -> None:
        super().__init__((), sections)
        self._held = held

    def mark(self) -> int:
        """Return the current mark: the number of keys that were added outside of sections."""
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
