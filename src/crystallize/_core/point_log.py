"""The points of one metric: the newest in a list, the older ones packed into columns.

A point is recorded completely or not at all, also with several threads: one atomic call appends it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice, starmap
from operator import call, methodcaller
from typing import Any, Final

from .._base.locks import make_lock
from .copy_by_type import Thaw
from .freezing import freeze
from .live_types import refuse_live, warn_of_live
from .ordered_log import OrderedLog, Section
from .packed_columns import ANY_TAGS, Block, PointLayout, StoredPoint, unrestorable_parts
from .point_sections import Piece, PointPack, PointSection

_call: Any = call
"""Its type is not known to every checker."""

BLOCK: Final = 4096
"""The number of points in a sealed block."""

LARGE: Final = 512
"""The number of points from which on a section takes no less memory if it is packed with others."""


class Copied:
    """A placeholder for a mutable value: `thaw` makes a copy of the value."""

    __slots__ = ("thaw",)

    def __init__(self, thaw: Thaw) -> None:
        self.thaw = thaw

    def __reduce__(self) -> tuple[Any, ...]:
        return store, (self.thaw(), "a copy of a recorded value")


def store(value: Any, subject: str, *, is_declared: bool = False) -> Any:
    """Freeze a value or a tag of a point for storage; raise UncopyableValueError if it cannot be copied."""
    meet = partial(refuse_live, subject, value) if is_declared else partial(warn_of_live, subject)
    kept, thaw = freeze(value, subject, meet)
    return kept if thaw is None else Copied(thaw)


def fetch(kept: Any) -> Any:
    """Return a reader's copy of a value or a tag that `store` returned."""
    return kept.thaw() if type(kept) is Copied else kept


_rows: Callable[[Any], Iterator[StoredPoint]] = methodcaller("rows")
_values: Callable[[Any], Iterable[Any]] = methodcaller("values")


class PointLog:
    """The points of one series in order, with inserted sections.

    Attributes:
        layout: The layout of the tail.
        width: The number of items of a point in the tail.
        full: The number of items at which the tail is sealed.
        blocks: The packed points that were recorded here.
        tail: The newest points that were recorded here.
        extend: Appends the items of a point to the tail in one atomic call.
    """

    __slots__ = ("_counts", "_lock", "_sections", "blocks", "extend", "full", "layout", "tail", "width")

    def __init__(self, layout: PointLayout = ANY_TAGS) -> None:
        self._lock = make_lock()
        self.layout: PointLayout = layout
        self.width: int = layout.width
        self.full: int = BLOCK * self.width
        self._sections: OrderedLog[StoredPoint] = OrderedLog()
        self._counts: dict[int, int] = {}
        """The number of points that were packed here, by the number of their step."""
        self.blocks: list[Block] = []
        self.tail: list[Any] = []
        self.extend: Callable[[Iterable[Any]], None] = self.tail.extend

    def __len__(self) -> int:
        return self._lock.run(lambda: self.length() + self._sections.inserted)

    def length(self) -> int:
        """Return the number of points that were recorded here, without taking the lock."""
        return len(self.blocks) * BLOCK + len(self.tail) // self.width

    def mark(self) -> int:
        """Return the current mark: the number of points that were recorded here."""
        return self._lock.run(self.length)

    def append(self, value: Any, tags: dict[str, Any], number: int) -> None:
        """Append a point in one atomic call."""
        self.extend(self.layout.items(value, tags, number))
        if len(self.tail) >= self.full:
            self.seal()

    def seal(self) -> None:
        """Pack the oldest points of the tail if it is full. Other threads can append meanwhile; readers wait."""
        if len(self.tail) >= self.full:
            self._lock.run(self._seal)

    def _seal(self) -> None:
        count, items = len(self.blocks), self.tail[: self.full]
        if len(items) < self.full:
            return  # another thread has sealed them since
        block = Block.of(items, self.layout)
        counts = {number: self._counts.get(number, 0) + added for number, added in block.counts().items()}
        # All or nothing: there is no bytecode between the calls, at which an exception could come.
        count_them = partial(self._counts.update, counts)
        all_of_it = (partial(self.blocks.append, block), count_them, partial(self.tail.__delitem__, slice(self.full)))
        changes = map(_call, all_of_it)
        # A signal handler may have sealed them since. No handler runs between the next lines.
        if not self.blocks[count:]:
            deque(changes, 0)

    def insert(self, rank: int, mark: int, section: PointSection, undo: ExitStack | None = None) -> None:
        """Insert a section, which then belongs to this log; see `OrderedLog.insert`."""
        section.blocks = tuple([block.shared() for block in section.blocks])
        self._lock.run(partial(self._sections.insert, rank, mark, section, undo))

    def move(self, rank: int, new_rank: int, mark: int) -> None:
        """Move a section; see `OrderedLog.move`."""
        self._lock.run(partial(self._sections.move, rank, new_rank, mark))

    def pack(self, ranks: Collection[int], large: float = LARGE) -> list[PointPack]:
        """Pack sections; see `OrderedLog.pack`. Sections with at least `large` points stay as they are."""
        return self._lock.run(partial(self._pack, ranks, large))

    def _pack(self, ranks: Collection[int], large: float) -> list[PointPack]:
        small = [rank for rank in ranks if len(self._sections.section(rank) or ()) < large]
        return self._sections.pack(small, PointPack.of)

    def _snapshot(self) -> tuple[list[Block], list[Any], dict[int, Section]]:
        return self._lock.run(lambda: (self.blocks[:], self.tail[:], self._sections.copy_sections()))

    def rows(self) -> Iterator[StoredPoint]:
        """Return the current points, oldest first."""
        blocks, tail, sections = self._snapshot()
        packed = chain.from_iterable(block.rows() for block in blocks)
        own = chain(packed, self.layout.points(tail))
        return OrderedLog[StoredPoint](sections=sections).splice(own, _rows) if sections else own

    def last(self) -> StoredPoint | None:
        """Return the newest point; None if there are no points."""
        blocks, tail, sections = self._snapshot()
        if sections:
            mark, section, _, _ = sections[max(sections)]
            if mark == len(blocks) * BLOCK + len(tail) // self.width:
                newest: StoredPoint = section.last()
                return newest
        if tail:
            return next(self.layout.points(tail[-self.width :]))
        return blocks[-1].row(BLOCK - 1) if blocks else None

    def ends(self, count: int) -> tuple[int, list[StoredPoint], list[StoredPoint]]:
        """Return the number of points, and at most `count` points of either end; `count` is at most `BLOCK`."""
        blocks, tail, sections = self._snapshot()
        newest = [*self.layout.points(tail)]
        own = chain(chain.from_iterable(block.rows() for block in blocks), newest)
        if sections:
            rows = [*OrderedLog[StoredPoint](sections=sections).splice(own, _rows)]
            return len(rows), rows[:count], rows[-count:]
        # The points between the ends are not unpacked.
        last = chain(blocks[-1].rows() if blocks else (), newest)
        return len(blocks) * BLOCK + len(newest), [*islice(own, count)], [*deque(last, maxlen=count)]

    def unrestorable(self) -> int:
        """Return the number of points with a value or a tag that cannot be restored from a file."""
        return sum(sum(map(bool, unrestorable_parts(piece.block))) for piece in self.pieces())

    def values(self) -> Iterator[Any]:
        """Return the values, oldest first."""
        blocks, tail, sections = self._snapshot()
        own = chain(chain.from_iterable(block.values for block in blocks), tail[:: self.width])
        return OrderedLog[Any](sections=sections).splice(own, _values) if sections else own

    def count(self, number: int, mark: int) -> int:
        """Return the number of points that a step has recorded here, given a mark before its first point."""
        return self._lock.run(partial(self._count, number, mark))

    def _count(self, number: int, mark: int) -> int:
        start = max(mark - len(self.blocks) * BLOCK, 0)
        return self._counts.get(number, 0) + self.tail[(start + 1) * self.width - 1 :: self.width].count(number)

    def count_since(self, number: int, mark: int) -> int:
        """Return the number of points that a step has recorded here after a mark."""
        return self._lock.run(partial(self._count_since, number, mark))

    def _count_since(self, number: int, mark: int) -> int:
        first = mark // BLOCK
        start = max(mark - len(self.blocks) * BLOCK, 0)
        newest: int = self.tail[(start + 1) * self.width - 1 :: self.width].count(number)
        cuts = [(block, max(mark - at * BLOCK, 0)) for at, block in enumerate(self.blocks[first:], first)]
        return newest + sum(block.cut(begin, BLOCK).counts().get(number, 0) for block, begin in cuts)

    def packed(self, number_of: Callable[[str], int]) -> tuple[Block, ...]:
        """Return all points as blocks, for another log. `number_of` returns the number of a step of a section."""
        blocks, tail, sections = self._snapshot()
        if not sections:
            return (*blocks, *self._packed(tail))
        numbered = ((value, tags, number_of(step) if type(step) is str else step) for value, tags, step in self.rows())
        return PointLog.restored(([], [*chain.from_iterable(numbered)], {}), ANY_TAGS).packed(number_of)

    def _packed(self, items: list[Any]) -> Iterator[Block]:
        return (Block.of(items[at : at + self.full], self.layout) for at in range(0, len(items), self.full))

    def pieces(self) -> Iterator[Piece]:
        """Return all points as pieces, oldest first; all points of a piece have the same source."""
        blocks, tail, sections = self._snapshot()
        own = [*blocks, *self._packed(tail)]
        count = sum(block.size for block in own)
        at = first = 0
        for mark, section, _, _ in [*OrderedLog[StoredPoint](sections=sections).sections(), Section(count, None)]:
            while at < mark:
                # All blocks but the last have the same size.
                begin = at % BLOCK
                piece = own[at // BLOCK].cut(begin, begin + mark - at)
                yield Piece(piece, 0, None, first)
                at, first = at + piece.size, first + piece.size
            if section is not None:
                yield from (piece._replace(first=first + piece.first) for piece in section.pieces())
                first += len(section)

    def copy(self) -> "PointLog":
        """Return an independent log with the same points."""
        return self._lock.run(self._copy)

    def _copy(self) -> "PointLog":
        copied = PointLog.restored((self.blocks, self.tail, {}), self.layout)
        copied._sections = self._sections.copy()
        return copied

    def with_layout(self, layout: PointLayout) -> "PointLog":
        """Return a log with the same points and another layout; if a point does not have its tags, for any tags."""
        blocks, tail, sections = self._snapshot()
        points = [*self.layout.points(tail)]
        fits = layout.tags is None or all(tags.keys() == layout.tags.keys() for _, tags, _ in points)
        chosen = layout if fits else ANY_TAGS
        return PointLog.restored((blocks, [*chain.from_iterable(starmap(chosen.items, points))], sections), chosen)

    @classmethod
    def restored(cls, snapshot: tuple[list[Block], list[Any], dict[int, Section]], layout: PointLayout) -> "PointLog":
        """Return a log with these contents, for unpickling and copies."""
        log = cls(layout)
        log.blocks.extend(snapshot[0])
        log.tail.extend(snapshot[1])
        log._sections = OrderedLog(sections=snapshot[2])
        return log

    def __reduce__(self) -> tuple[Any, ...]:
        return PointLog.restored, (self._snapshot(), self.layout)
