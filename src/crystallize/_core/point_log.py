"""How points are kept: the newest as they come, the older ones packed into columns.

A point is whole or absent, whichever threads record at once: it enters by one call that nothing interrupts.
"""

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from itertools import chain, islice, repeat
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias

from ..errors import FinishedStepError, StepClosedError
from .codec import NotRestorable
from .freezing import PLAIN, Thaw, freeze
from .ordered_log import Parts

__all__ = [
    *("ABSENT", "BLOCK", "FULL", "Block", "Coded", "Column", "Copied", "Part", "Piece", "PointLog"),
    *("Row", "StepToken", "StepRegistry", "fetch", "unrestorable_parts", "store"),
]

Row: TypeAlias = tuple[Any, dict[str, Any], int]
"""A point as it is kept: value, tags by name, and the number of the scope that recorded it."""

BLOCK: Final = 4096
"""Points in a sealed block."""

FULL: Final = 3 * BLOCK
"""Places in a tail that is to be sealed. A point takes three."""

_WIDEST: Final = 32
"""Tags of different names in one block, beyond which columns would be mostly empty."""


class StepToken:
    """On whose behalf something is done: a step, or the context outside any step.

    Attributes:
        step: The step's name; None outside any step.
        number: Stands for it in stored points. Deleted on closing, so that what needs it fails from then on.
    """

    __slots__ = ("number", "step")

    def __init__(self, step: str | None = None, number: int = 0) -> None:
        self.step = step
        self.number = number

    @property
    def is_open(self) -> bool:
        """Whether it still takes reads and writes."""
        return hasattr(self, "number")

    def check_open(self) -> None:
        """Raise if the step has ended.

        Raises:
            StepClosedError: It has.
        """
        if not self.is_open:
            raise StepClosedError(str(self.step))

    def open_number(self) -> int:
        """Return the number.

        Raises:
            StepClosedError: The step has ended.
        """
        try:
            return self.number
        except AttributeError:
            raise StepClosedError(str(self.step)) from None

    def close(self) -> None:
        """End it. Ending it again does nothing."""
        if self.is_open:
            del self.number


class StepRegistry:
    """The scopes of one context, by number: no step, then each step that was opened."""

    __slots__ = ("_finished", "_lock", "_uses", "names")

    def __init__(self, names: Iterable[str | None] = (None,), finished: Iterable[str] = ()) -> None:
        """Make the scopes.

        Args:
            names: The steps opened so far, after None for no step.
            finished: Those that ended before the run was resumed, and are not to be done again.
        """
        self.names: list[str | None] = list(names)
        self._finished = frozenset(finished)
        self._uses: dict[str, int] = {}
        self._lock = threading.Lock()
        for name in self.names:
            if name is not None:
                self.reserve(_uncounted(name))

    def open(self, path: str) -> StepToken:
        """Open a step. A name used again counts up: "epoch", "epoch#2".

        Raises:
            FinishedStepError: It ended before the run was resumed.
        """
        if path in self._finished:
            raise FinishedStepError(path)
        with self._lock:
            uses = self._uses[path] = self._uses.get(path, 0) + 1
            name = path if uses == 1 else f"{path}#{uses}"
            self.names.append(name)
            return StepToken(name, len(self.names) - 1)

    def reserve(self, path: str) -> None:
        """Keep a name for a branch: a step of that name counts on."""
        with self._lock:
            self._uses[path] = self._uses.get(path, 0) + 1

    def release(self, path: str) -> None:
        """Give a name back that nobody else has."""
        self._uses.pop(path, None)

    def is_used(self, path: str) -> bool:
        """Whether there is a step, or a branch, of this name."""
        return path in self._uses

    def find(self, step: str | None) -> StepToken:
        """Return a scope of a step that was opened before, for a copy of that step."""
        return StepToken(step, self.names.index(step))


def _uncounted(name: str) -> str:
    """Return the name of a step without the count of one that is used again."""
    path, _, count = name.rpartition("#")
    return path if count.isdecimal() else name


class Copied:
    """In place of a mutable value: what makes a fresh copy of it."""

    __slots__ = ("thaw",)

    def __init__(self, thaw: Thaw) -> None:
        self.thaw = thaw

    def __reduce__(self) -> tuple[Any, ...]:
        return store, (self.thaw(), "a copy of a recorded value")


def store(value: Any, subject: str) -> Any:
    """Return what to keep of a value, so that whoever gave it cannot change it.

    Raises:
        UncopyableValueError: It refuses to be copied.
    """
    kept, thaw = freeze(value, subject)
    return kept if thaw is None else Copied(thaw)


def fetch(kept: Any) -> Any:
    """Return what a reader gets of what `store` returned."""
    return kept.thaw() if type(kept) is Copied else kept


Layout: TypeAlias = tuple[type | None, dict[str, type | None]]
"""What is known of all points of a series: the type of the values where that is float, int or str, and the names of
the tags, if each point has the same, with the same of each. What is known need not be found out in packing."""

_UNKNOWN: Layout = (None, {})


class Part(NamedTuple):
    """The points that a branch brought into a series."""

    blocks: tuple["Block", ...]
    offset: int
    """What to add to the number of a scope in the branch to get its number here."""
    branch: str
    """The full name of the branch."""

    def rows(self) -> Iterator[Row]:
        """Return the points, oldest first."""
        for value, tags, number in chain.from_iterable(block.rows() for block in self.blocks):
            yield value, tags, number + self.offset

    def values(self) -> Iterable[Any]:
        """Return the values alone, oldest first."""
        return chain.from_iterable(block.values for block in self.blocks)

    def last(self) -> Row:
        """Return the newest point."""
        newest = self.blocks[-1]
        value, tags, number = newest.row(newest.size - 1)
        return value, tags, number + self.offset


class Piece(NamedTuple):
    """Points of a series that follow on one another."""

    block: "Block"
    offset: int
    """What to add to the numbers of their scopes to get those of the context."""
    branch: str | None
    """The branch that brought them; None for what the context recorded itself."""
    first: int
    """The place of the first one in the series, from 0."""


class PointLog:
    """The points of one series in the order in which they were recorded, those of branches where these were forked.

    Attributes:
        blocks: The points that are packed, without those of branches.
        tail: The newest points, each as three items.
        extend: Adds items to the tail, all or none, whatever other threads do.
    """

    __slots__ = ("_layout", "_lock", "_parts", "blocks", "extend", "tail")

    def __init__(self, layout: Layout = _UNKNOWN) -> None:
        self._lock = threading.Lock()
        self._layout = layout
        self._parts: Parts[Part] = Parts()
        self.blocks: list[Block] = []
        self.tail: list[Any] = []
        self.extend: Callable[[Iterable[Any]], None] = self.tail.extend

    def __len__(self) -> int:
        with self._lock:
            return self.length() + self._parts.count

    def length(self) -> int:
        """How many points there are without those of branches, for whoever makes sure that none is added meanwhile."""
        return len(self.blocks) * BLOCK + len(self.tail) // 3

    @property
    def own(self) -> int:
        """How many points there are without those of branches."""
        with self._lock:
            return self.length()

    def append(self, value: Any, tags: dict[str, Any], number: int) -> None:
        """Add a point, by one call that no other thread can interrupt."""
        self.extend((value, tags, number))
        if len(self.tail) >= FULL:
            self.seal()

    def seal(self) -> None:
        """Pack the oldest points of the tail. Others may append meanwhile; readers wait."""
        with self._lock:
            if len(self.tail) >= FULL:
                self.blocks.append(Block.of(self.tail[:FULL], self._layout))
                del self.tail[:FULL]

    def bring(self, number: int, place: int, blocks: "tuple[Block, ...]", offset: int, branch: str) -> None:
        """Take in what a branch recorded.

        Args:
            number: The number of the branch.
            place: How many of the context's own points come before it.
            blocks: The points; at least one.
            offset: What to add to the numbers of their scopes.
            branch: The full name of the branch.
        """
        part = Part(tuple(block.shared() for block in blocks), offset, branch)
        with self._lock:
            self._parts.add(number, place, part, sum(block.size for block in blocks))

    def brought(self, number: int) -> Part | None:
        """Return what a branch recorded; None if it recorded nothing."""
        return self._parts.of(number)

    def move(self, number: int, to: int, place: int) -> None:
        """Give what a branch recorded another place."""
        with self._lock:
            self._parts.move(number, to, place)

    def give_back(self, number: int) -> None:
        """Undo what `bring` has done."""
        with self._lock:
            self._parts.drop(number)

    def _snapshot(self) -> "tuple[list[Block], list[Any], Parts[Part]]":
        with self._lock:
            return self.blocks[:], self.tail[:], self._parts.copy() if self._parts else _NO_PARTS

    def rows(self) -> Iterator[Row]:
        """Return all points, oldest first, as they are now."""
        blocks, tail, parts = self._snapshot()
        packed = chain.from_iterable(block.rows() for block in blocks)
        own = chain(packed, zip(tail[0::3], tail[1::3], tail[2::3], strict=True))
        return parts.spliced(own, Part.rows) if parts else own

    def last(self) -> Row | None:
        """Return the newest point, if there is one."""
        blocks, tail, parts = self._snapshot()
        if parts:
            _, place, part = parts.ordered()[-1]
            if place == len(blocks) * BLOCK + len(tail) // 3:
                return part.last()
        if tail:
            return tail[-3], tail[-2], tail[-1]
        return blocks[-1].row(BLOCK - 1) if blocks else None

    def ends(self, most: int) -> tuple[int, list[Row], list[Row]]:
        """Return how many points there are, the oldest of them and the newest, all at one moment.

        Args:
            most: How many at either end, at the most: no more than a block has.
        """
        blocks, tail, parts = self._snapshot()
        newest = [*zip(tail[0::3], tail[1::3], tail[2::3], strict=True)]
        own = chain(chain.from_iterable(block.rows() for block in blocks), newest)
        if parts:
            rows = [*parts.spliced(own, Part.rows)]
            return len(rows), rows[:most], rows[-most:]
        # What lies between is not unpacked.
        last = chain(blocks[-1].rows() if blocks else (), newest)
        return len(blocks) * BLOCK + len(newest), [*islice(own, most)], [*deque(last, maxlen=most)]

    def lacking(self) -> int:
        """Count the points of which a file cannot give all back."""
        return sum(sum(map(bool, unrestorable_parts(piece.block))) for piece in self.pieces())

    def values(self) -> Iterator[Any]:
        """Return the values alone, oldest first."""
        blocks, tail, parts = self._snapshot()
        own = chain(chain.from_iterable(block.values for block in blocks), tail[0::3])
        return parts.spliced(own, Part.values) if parts else own

    def count(self, number: int, since: int) -> int:
        """Count the points of a scope of the context's own, from a place among the context's own on."""
        blocks, tail, _ = self._snapshot()
        first, offset = divmod(since, BLOCK)
        numbers = [list(block.numbers) for block in blocks[first:]] + [tail[2::3]]
        return sum(column[offset if at == 0 else 0 :].count(number) for at, column in enumerate(numbers))

    def packed(self) -> "tuple[Block, ...]":
        """Return all points, packed for somebody else."""
        blocks, tail, parts = self._snapshot()
        own, rest = (tuple(blocks), tail) if not parts else ((), [*chain.from_iterable(self.rows())])
        return (*own, *self._blocks_of(rest))

    def _blocks_of(self, tail: list[Any]) -> "Iterator[Block]":
        """Pack points, the newest too."""
        return (Block.of(tail[at : at + FULL], self._layout) for at in range(0, len(tail), FULL))

    def pieces(self) -> Iterator[Piece]:
        """Return all points, packed, oldest first: what the context recorded itself, and what each branch brought."""
        blocks, tail, parts = self._snapshot()
        own = [*blocks, *self._blocks_of(tail)]
        count = sum(block.size for block in own)
        at = first = 0
        for place, part in [*((place, part) for _, place, part in parts.ordered()), (count, None)]:
            while at < place:
                # All but the last are of one size.
                begin = at % BLOCK
                piece = own[at // BLOCK].cut(begin, begin + place - at)
                yield Piece(piece, 0, None, first)
                at, first = at + piece.size, first + piece.size
            if part is not None:
                for block in part.blocks:
                    yield Piece(block, part.offset, part.branch, first)
                    first += block.size

    def empty(self) -> "PointLog":
        """Return a log for points of the same kind."""
        return PointLog(self._layout)

    def copy(self) -> "PointLog":
        """Return a log of its own with the same points."""
        return PointLog.restored(self._snapshot(), self._layout)

    @classmethod
    def restored(cls, state: "tuple[list[Block], list[Any], Parts[Part]]", layout: Layout) -> "PointLog":
        """Return the log that was pickled."""
        log = cls(layout)
        log.blocks.extend(state[0])
        log.tail.extend(state[1])
        log._parts = state[2].copy()
        return log

    def __reduce__(self) -> tuple[Any, ...]:
        return PointLog.restored, (self._snapshot(), self._layout)


_NO_PARTS: Parts[Part] = Parts()


class Coded(NamedTuple):
    """A column of few different values: the place of each in a table."""

    codes: bytes
    table: tuple[Any, ...]


Column: TypeAlias = Sequence[Any] | Coded


def _constant(size: int, value: Any) -> Coded:
    """Return a column that has one value so many times; the same column again, as branches bring many small ones."""
    if type(value) not in _SHARED or (type(value) is str and len(value) > _LONG):
        return Coded(bytes(size), (value,))
    # By type too, since 1 and True are the same key.
    return _constant_of((size, type(value), value))


_SHARED = (str, int, bool, NoneType)
_LONG = 100
"""Characters of a text that is not worth keeping for others."""


@lru_cache(maxsize=1024)
def _constant_of(what: tuple[int, Any, Any]) -> Coded:
    size, _, value = what
    return Coded(bytes(size), (value,))


@lru_cache(maxsize=1024)
def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of tags; the same object again."""
    return names


def _items(column: Column) -> Iterable[Any]:
    return map(column.table.__getitem__, column.codes) if isinstance(column, Coded) else column


def _item(column: Column, at: int) -> Any:
    return column.table[column.codes[at]] if isinstance(column, Coded) else column[at]


def _pack(items: Sequence[Any], kind: type | None = None) -> Column:
    """Pack values into as few bytes as keep each exactly, with its type.

    Args:
        items: The values.
        kind: The type of all of them, where it is known to be float, int or str.
    """
    if kind is None:
        return _packed(items, set(map(type, items)))
    try:
        return _packed(items, {kind})
    except TypeError:  # in place of what a file could not give back stands something of another type
        return _pack(items)


def _packed(items: Sequence[Any], types: set[type]) -> Column:
    """Pack values of these types."""
    if types == {float}:
        return array("d", items)
    if not types <= {str, bool, NoneType, int, _Absent}:
        return tuple(items)
    # Most tags stay the same for as many points as a block has.
    if len(types) == 1 and items[0] == items[-1] and items.count(items[0]) == len(items):
        return _constant(len(items), items[0])
    if types == {int}:
        return _pack_ints(items)
    # Equal values of different types are different values: 1 and True.
    keys = items if len(types) == 1 else list(zip(map(type, items), items, strict=True))
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    if len(places) > 256:
        return tuple(items)
    table = tuple(places) if len(types) == 1 else tuple(item for _, item in places)
    return Coded(bytes(map(places.__getitem__, keys)), table)


def _pack_ints(items: Sequence[int]) -> Column:
    for code in "bhiq":
        try:
            return array(code, items)
        except OverflowError:
            continue
    return tuple(items)


class _Absent(Enum):
    """In place of a tag that a point does not have."""

    ABSENT = 0


ABSENT = _Absent.ABSENT


def _columns(
    tags: list[dict[str, Any]], kinds: dict[str, type | None]
) -> tuple[tuple[str, ...] | None, tuple[Column, ...]]:
    """Return the names of tags and a column for each; no names where there are too many different ones.

    Args:
        tags: The tags of each point.
        kinds: The names and types of all tags, where they are known.
    """
    first = tags[0]
    # As from a bound recorder, whose tags are one dict.
    if first is tags[-1] and len(set(map(id, tags))) == 1:
        return tuple(first), tuple(Coded(bytes(len(tags)), (tag,)) for tag in first.values())
    if kinds:
        return tuple(kinds), tuple(_pack([tag[name] for tag in tags], kind) for name, kind in kinds.items())
    names = tuple(first)
    # Most often all points have the same tags, and as many as the first one has.
    if set(map(len, tags)) == {len(names)}:
        try:
            return names, tuple(_pack([tag[name] for tag in tags]) for name in names)
        except KeyError:
            pass
    names = tuple(dict.fromkeys(chain.from_iterable(tags)))
    if len(names) > _WIDEST:
        return None, (tags,)
    return names, tuple(_pack([tag.get(name, ABSENT) for tag in tags]) for name in names)


def _cut(column: Column, start: int, stop: int) -> Column:
    return Coded(column.codes[start:stop], column.table) if isinstance(column, Coded) else column[start:stop]


def _is_plain(column: Column) -> bool:
    if not isinstance(column, Coded):
        return isinstance(column, array)
    return all(item is ABSENT or (type(item) in PLAIN and not _is_long(item)) for item in column.table)


def _shared(column: Column) -> Column:
    if isinstance(column, Coded) and len(column.table) == 1:
        return _constant(len(column.codes), column.table[0])
    return column


def _is_long(item: Any) -> bool:
    return type(item) is int and item.bit_length() > 63


class Block(NamedTuple):
    """A block of points, by columns: `BLOCK` of them, or fewer where a branch brought them."""

    packed: Column
    scopes: Column
    names: tuple[str, ...] | None
    """The tags; None where the points have too many different ones, and the one column holds dicts."""
    tags: tuple[Column, ...]

    @classmethod
    def of(cls, tail: list[Any], layout: Layout) -> "Block":
        """Pack points."""
        values, tags, numbers = tail[0::3], tail[1::3], _pack(tail[2::3], int)
        kind, kinds = layout
        return cls(_pack(values, kind), numbers, *_columns(tags, kinds))

    @property
    def size(self) -> int:
        """How many points there are."""
        return len(self.packed.codes if isinstance(self.packed, Coded) else self.packed)

    @property
    def values(self) -> Iterable[Any]:
        """The values, oldest first."""
        return _items(self.packed)

    @property
    def numbers(self) -> Iterable[int]:
        """The numbers of the scopes, oldest first."""
        return _items(self.scopes)

    def cut(self, start: int, stop: int) -> "Block":
        """Return the points from a place on, up to another or the end."""
        if start == 0 and stop >= self.size:
            return self
        tags = tuple(_cut(column, start, stop) for column in self.tags)
        return Block(_cut(self.packed, start, stop), _cut(self.scopes, start, stop), self.names, tags)

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The names of all tags that a point has."""
        if self.names is not None:
            return self.names
        names: Iterator[str] = chain.from_iterable(_items(self.tags[0]))
        return tuple(dict.fromkeys(names))

    def tag(self, name: str) -> Column:
        """Return the column of a tag, with `ABSENT` where a point does not have it."""
        if self.names is None:
            return tuple(tags.get(name, ABSENT) for tags in _items(self.tags[0]))
        return self.tags[self.names.index(name)] if name in self.names else _constant(self.size, ABSENT)

    def shared(self) -> "Block":
        """Return the same points with what other blocks have too only once."""
        names = None if self.names is None else _known(self.names)
        return Block(_shared(self.packed), _shared(self.scopes), names, tuple(map(_shared, self.tags)))

    @property
    def is_plain(self) -> bool:
        """Whether all values and tags are texts, bools and numbers of at most 64 bits, as packing shows it."""
        return self.names is not None and all(map(_is_plain, (self.packed, *self.tags)))

    @property
    def columns(self) -> Iterator[list[Any]]:
        """All that is in it, by column: values, numbers, then each tag, with () where a point does not have it."""
        yield list(self.values)
        yield list(self.numbers)
        for column in self.tags:
            yield [() if item is ABSENT else item for item in _items(column)]

    def rows(self) -> Iterator[Row]:
        """Return the points, oldest first."""
        return zip(self.values, self._dicts(), self.numbers, strict=False)

    def _dicts(self) -> Iterable[dict[str, Any]]:
        if self.names is None:
            return _items(self.tags[0])
        if not self.names:
            return repeat({})
        columns = zip(*map(_items, self.tags), strict=True)
        if all(
            isinstance(column, array) or (isinstance(column, Coded) and ABSENT not in column.table)
            for column in self.tags
        ):
            return map(dict, map(zip, repeat(self.names), columns))
        return ({name: tag for name, tag in zip(self.names, row, strict=True) if tag is not ABSENT} for row in columns)

    def row(self, at: int) -> Row:
        """Return one point."""
        if self.names is None:
            tags = _item(self.tags[0], at)
        else:
            found = ((name, _item(column, at)) for name, column in zip(self.names, self.tags, strict=True))
            tags = {name: tag for name, tag in found if tag is not ABSENT}
        return _item(self.packed, at), tags, _item(self.scopes, at)


def unrestorable_parts(block: Block) -> Iterator[tuple[str | None, ...]]:
    """Return, for each point of a block, what of it a file cannot give back: None for the value, the names of tags."""
    columns = [(None, block.packed), *((name, block.tag(name)) for name in block.tag_names)]
    held = [(name, [*_items(column)]) for name, column in columns if _may_lack(column)]
    if not held:
        # So it is of nearly all blocks.
        yield from repeat((), block.size)
        return
    for at in range(block.size):
        yield tuple(name for name, items in held if type(items[at]) is NotRestorable)


def _may_lack(column: Column) -> bool:
    items = column.table if isinstance(column, Coded) else column
    return not isinstance(items, array) and NotRestorable in set(map(type, items))
