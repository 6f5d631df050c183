"""Points that were recorded elsewhere, as sections in the log of a metric."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from .packed_columns import ANY_TAGS, Block, StoredPoint
from .packed_texts import numbers_in, packed_numbers, packed_texts, texts_in


class Piece(NamedTuple):
    """Consecutive points of a series."""

    block: Block
    offset: int
    """The difference between the numbers of their steps in a list of steps and in the block."""
    source: str | None
    """The name of the work that recorded the points, if they were inserted; None if they were recorded here."""
    first: int
    """The index of the first point in the series."""
    names: Sequence[str] | None = None
    """The names of the steps, counted from 1, if the points were recorded elsewhere."""


@dataclass(slots=True)
class PointSection:
    """The points of one source."""

    blocks: tuple[Block, ...]
    names: Sequence[str]
    """The names of the steps; the numbers in the blocks count them from 1."""
    source: str
    """The name of the work that recorded them; never empty."""

    def __len__(self) -> int:
        # Nearly always there is one.
        return self.blocks[0].size if len(self.blocks) == 1 else sum(block.size for block in self.blocks)

    def rows(self) -> Iterator[StoredPoint]:
        """Return the points, oldest first."""
        for value, tags, number in chain.from_iterable(block.rows() for block in self.blocks):
            yield value, tags, self.names[number - 1]

    def values(self) -> Iterable[Any]:
        """Return the values, oldest first."""
        return chain.from_iterable(block.values for block in self.blocks)

    def last(self) -> StoredPoint:
        """Return the newest point."""
        newest = self.blocks[-1]
        value, tags, number = newest.row(newest.size - 1)
        return value, tags, self.names[number - 1]

    def pieces(self) -> Iterator[Piece]:
        """Return the points as pieces, whose indices count from the first of these points."""
        first = 0
        for block in self.blocks:
            yield Piece(block, 0, self.source, first, self.names)
            first += block.size


class PackContent(NamedTuple):
    """The points of a pack."""

    block: Block
    names: Sequence[str]
    """The names of the steps; the numbers in the block count them from 1."""
    parts: Sequence[tuple[str, int]]
    """The sources in order, each with the number of its points."""

    @classmethod
    def joined(cls, sections: Sequence[PointSection]) -> "PackContent":
        """Pack the points of sections."""
        numbers: dict[str, int] = {}
        steps: list[int] = []
        for section in sections:
            for block in section.blocks:
                for number, count in block.number_runs():
                    steps += [numbers.setdefault(section.names[number - 1], len(numbers) + 1)] * count
        block = Block.joined([block for section in sections for block in section.blocks], steps)
        return cls(block.shared(), [*numbers], [(section.source, len(section)) for section in sections])

    @classmethod
    def of(cls, rows: Iterable[StoredPoint], parts: Sequence[tuple[str, int]]) -> "PackContent":
        """Pack points, whose steps are names."""
        numbers: dict[str, int] = {}
        items: list[Any] = []
        for value, tags, name in rows:
            items += (value, tags, numbers.setdefault(name, len(numbers) + 1))
        return cls(Block.of(items, ANY_TAGS).shared(), [*numbers], parts)


class PointPack:
    """The points of many sources, in less memory than a section for each takes, or read from elsewhere."""

    __slots__ = ("_newest", "_size", "is_plain", "read")

    def __init__(
        self, size: int, newest: StoredPoint, read: Callable[[], PackContent], *, is_plain: bool = False
    ) -> None:
        """Take the number of points, the newest point, and a function that returns all points."""
        self._size = size
        self._newest = newest
        self.read: Callable[[], PackContent] = read
        """Return all points."""
        self.is_plain = is_plain
        """Whether a file gives all points back exactly; see `Block.is_plain`."""

    def leave(self, read: Callable[[], PackContent]) -> None:
        """Drop the points, and read the same points by a function from now on."""
        self.read = read

    @property
    def sources(self) -> list[str]:
        """The sources of the points."""
        return [source for source, _ in self.read().parts]

    @classmethod
    def of(cls, sections: Sequence[PointSection]) -> "PointPack":
        """Return a pack of sections that holds their points in memory."""
        pack = cls.holding(PackContent.joined(sections))
        pack.is_plain = all(block.is_plain for section in sections for block in section.blocks)
        return pack

    @classmethod
    def holding(cls, content: PackContent) -> "PointPack":
        """Return a pack that holds its points in memory."""
        block, names, parts = content
        value, tags, number = block.row(block.size - 1)
        sources, sizes = packed_texts([source for source, _ in parts]), packed_numbers([size for _, size in parts])
        return cls(block.size, (value, tags, names[number - 1]), _Held(block, packed_texts(names), sources, sizes).read)

    def __len__(self) -> int:
        return self._size

    def rows(self) -> Iterator[StoredPoint]:
        """Return the points, oldest first."""
        block, names, _ = self.read()
        for value, tags, number in block.rows():
            yield value, tags, names[number - 1]

    def values(self) -> Iterator[Any]:
        """Return the values, oldest first. Nothing is read before the first value is asked for."""
        yield from self.read().block.values

    def last(self) -> StoredPoint:
        """Return the newest point."""
        return self._newest

    def pieces(self) -> Iterator[Piece]:
        """Return the points as pieces, whose indices count from the first of these points."""
        first = 0
        for section in self.parts():
            yield from (piece._replace(first=first) for piece in section.pieces())
            first += len(section)

    def parts(self) -> Iterator[PointSection]:
        """Return the points of each source."""
        block, names, parts = self.read()
        first = 0
        for source, size in parts:
            yield PointSection((block.cut(first, first + size),), names, source)
            first += size

    def __reduce__(self) -> tuple[Any, ...]:
        return PointPack.holding, (self.read(),)


class _Held(NamedTuple):
    """The points of a pack in memory, with packed texts."""

    block: Block
    names: bytes
    sources: bytes
    sizes: bytes

    def read(self) -> PackContent:
        parts = zip(texts_in(self.sources), numbers_in(self.sizes), strict=True)
        return PackContent(self.block, texts_in(self.names), [*parts])
