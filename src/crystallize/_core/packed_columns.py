"""Points as typed columns, which store each value and tag in a few bytes and restore it exactly."""

import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from itertools import chain, groupby, repeat
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias

from .codec import NotRestorable
from .immutable_types import PLAIN

StoredPoint: TypeAlias = tuple[Any, dict[str, Any], Any]
"""A point in its stored form: value, tags by name, and the step that recorded it.

The step is the number of a step of the context, or the name of a step if the point was recorded elsewhere.
"""


class PointLayout(NamedTuple):
    """The order of the items of each point in a list of points: its value, its tags, and the number of its step.

    If all points have the same tags, each tag is an item. Otherwise, the tags are one item, a dict.
    """

    kind: type | None = None
    """The type of all values, if it is the same and known."""
    tags: dict[str, type | None] | None = None
    """The tags that each point has, with the type of each; None if points may have different tags."""

    @property
    def width(self) -> int:
        """The number of items of a point."""
        return 3 if self.tags is None else 2 + len(self.tags)

    def items(self, value: Any, tags: dict[str, Any], number: int) -> tuple[Any, ...]:
        """Return the items of a point."""
        return (value, *self.tag_items(tags), number)

    def tag_items(self, tags: dict[str, Any]) -> tuple[Any, ...]:
        """Return the items for the tags of a point."""
        return (tags,) if self.tags is None else tuple([tags[name] for name in self.tags])

    def points(self, items: list[Any]) -> Iterator[StoredPoint]:
        """Return the points in a list."""
        values, *columns, numbers = self.columns(items)
        return zip(
            values, *columns if self.tags is None else [_dicts(tuple(self.tags), columns)], numbers, strict=False
        )

    def columns(self, items: list[Any]) -> list[list[Any]]:
        """Return the columns of a list of points: the values, the items of the tags, and the numbers of the steps."""
        return [items[at :: self.width] for at in range(self.width)]


ANY_TAGS: Final = PointLayout()
"""The layout of points whose tags may differ."""


def _dicts(names: tuple[str, ...], columns: Iterable[Iterable[Any]]) -> Iterable[dict[str, Any]]:
    """Return the tags of each point, given a column for each tag."""
    return map(dict, map(zip, repeat(names), zip(*columns, strict=True))) if names else repeat({})


_WIDEST: Final = 32
"""The maximum number of tag names in a block with columns. With more names, columns would be mostly empty."""


class CodedColumn(NamedTuple):
    """A column with few distinct values: a table of the values, and an index into the table for each point."""

    codes: bytes
    table: tuple[Any, ...]


PackedColumn: TypeAlias = Sequence[Any] | CodedColumn


def _constant(size: int, value: Any) -> CodedColumn:
    """Return a column that repeats one value; short columns of common types are cached."""
    if type(value) not in _SHARED or (type(value) is str and len(value) > _LONG):
        return CodedColumn(bytes(size), (value,))
    # The type is part of the key, since 1 == True.
    return _constant_of((size, type(value), value))


_SHARED = (str, int, bool, NoneType)
_LONG = 100
"""The maximum length of a cached text, in characters."""


@lru_cache(maxsize=1024)
def _constant_of(what: tuple[int, Any, Any]) -> CodedColumn:
    size, _, value = what
    return CodedColumn(bytes(size), (value,))


@lru_cache(maxsize=1024)
def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same tuple object for the same names of tags."""
    return names


def _items(column: PackedColumn) -> Iterable[Any]:
    return map(column.table.__getitem__, column.codes) if isinstance(column, CodedColumn) else column


def _item(column: PackedColumn, at: int) -> Any:
    return column.table[column.codes[at]] if isinstance(column, CodedColumn) else column[at]


def _pack(items: Sequence[Any], kind: type | None = None) -> PackedColumn:
    """Pack values, all of type `kind` if it is given, in as few bytes as possible without loss."""
    if kind is None:
        return _packed(items, set(map(type, items)))
    try:
        return _packed(items, {kind})
    except (TypeError, struct.error):  # a placeholder for a value that could not be restored from a file
        return _pack(items)


def _packed(items: Sequence[Any], types: set[type]) -> PackedColumn:
    """Pack values of these types."""
    if types == {float}:
        # Packed first, since `array` takes twice as long for a list.
        return array("d", struct.pack(f"{len(items)}d", *items))
    if not types <= {str, bool, NoneType, int, _Absent}:
        return tuple(items)
    # Most tags are the same in all points of a block.
    if len(types) == 1 and items[0] == items[-1] and items.count(items[0]) == len(items):
        return _constant(len(items), items[0])
    if types == {int}:
        return _pack_ints(items)
    # The type is part of the key, since 1 == True.
    keys = items if len(types) == 1 else list(zip(map(type, items), items, strict=True))
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    if len(places) > 256:
        return tuple(items)
    table = tuple(places) if len(types) == 1 else tuple(item for _, item in places)
    return CodedColumn(bytes(map(places.__getitem__, keys)), table)


def _pack_ints(items: Sequence[int]) -> PackedColumn:
    for code in "bhiq":
        try:
            return array(code, items)
        except OverflowError:
            continue
    return tuple(items)


class _Absent(Enum):
    """The placeholder for a tag that a point does not have."""

    ABSENT = 0


ABSENT = _Absent.ABSENT


def _columns(tags: list[dict[str, Any]]) -> tuple[tuple[str, ...] | None, tuple[PackedColumn, ...]]:
    """Return the names of tags, and a column for each; with too many names, None and one column of dicts."""
    first = tags[0]
    # A bound recorder uses the same dict for all its points.
    if first is tags[-1] and len(set(map(id, tags))) == 1:
        return tuple(first), tuple(CodedColumn(bytes(len(tags)), (tag,)) for tag in first.values())
    names = tuple(first)
    # Usually all points have the same tags.
    if set(map(len, tags)) == {len(names)}:
        try:
            return names, tuple(_pack([tag[name] for tag in tags]) for name in names)
        except KeyError:
            pass
    names = tuple(dict.fromkeys(chain.from_iterable(tags)))
    if len(names) > _WIDEST:
        return None, (tags,)
    return names, tuple(_pack([tag.get(name, ABSENT) for tag in tags]) for name in names)


def _cut(column: PackedColumn, start: int, stop: int) -> PackedColumn:
    return (
        CodedColumn(column.codes[start:stop], column.table) if isinstance(column, CodedColumn) else column[start:stop]
    )


def _is_plain(column: PackedColumn) -> bool:
    if not isinstance(column, CodedColumn):
        return isinstance(column, array)
    return all(item is ABSENT or (type(item) in PLAIN and not _is_long(item)) for item in column.table)


def _shared(column: PackedColumn) -> PackedColumn:
    if isinstance(column, CodedColumn) and len(column.table) == 1:
        return _constant(len(column.codes), column.table[0])
    return column


def _is_long(item: Any) -> bool:
    return type(item) is int and item.bit_length() > 63


class Block(NamedTuple):
    """A block of points, by columns."""

    packed: PackedColumn
    step_numbers: PackedColumn
    names: tuple[str, ...] | None
    """The names of the tags; None if there are too many, so that the only column contains dicts."""
    tags: tuple[PackedColumn, ...]

    @classmethod
    def of(cls, items: list[Any], layout: PointLayout) -> "Block":
        """Pack points."""
        values, *columns, numbers = layout.columns(items)
        packed = _pack(values, layout.kind), _pack(numbers, int)
        if layout.tags is None:
            return cls(*packed, *_columns(*columns))
        return cls(*packed, tuple(layout.tags), tuple(map(_pack, columns, layout.tags.values())))

    @classmethod
    def joined(cls, blocks: Sequence["Block"], numbers: list[int]) -> "Block":
        """Return the points of several blocks as one, with these step numbers."""
        names = {block.names for block in blocks}
        if len(names) > 1 or None in names:
            rows = zip(chain.from_iterable(block.rows() for block in blocks), numbers, strict=True)
            return cls.of([item for (value, tags, _), number in rows for item in (value, tags, number)], ANY_TAGS)
        columns = zip(*((block.packed, *block.tags) for block in blocks), strict=True)
        packed, *tags = (_pack([*chain.from_iterable(map(_items, column))]) for column in columns)
        return cls(packed, _pack(numbers, int), names.pop(), tuple(tags))

    @property
    def size(self) -> int:
        """The number of points."""
        return len(self.packed.codes if isinstance(self.packed, CodedColumn) else self.packed)

    @property
    def values(self) -> Iterable[Any]:
        """The values, oldest first."""
        return _items(self.packed)

    @property
    def numbers(self) -> Iterable[int]:
        """The step numbers, oldest first."""
        return _items(self.step_numbers)

    def counts(self) -> dict[int, int]:
        """Return the number of points by step number."""
        column = self.step_numbers
        if isinstance(column, CodedColumn) and len(column.table) == 1:
            return {column.table[0]: self.size}
        return Counter(self.numbers)

    def number_runs(self) -> Iterable[tuple[int, int]]:
        """Return the step numbers, oldest first, each with the number of points in a row that have it."""
        column = self.step_numbers
        if isinstance(column, CodedColumn) and len(column.table) == 1:
            return ((column.table[0], len(column.codes)),)
        return ((number, len([*run])) for number, run in groupby(_items(column)))

    def cut(self, start: int, stop: int) -> "Block":
        """Return the points from the index `start` to before the index `stop`."""
        if start == 0 and stop >= self.size:
            return self
        tags = tuple(_cut(column, start, stop) for column in self.tags)
        return Block(_cut(self.packed, start, stop), _cut(self.step_numbers, start, stop), self.names, tags)

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The names of all tags of the points."""
        if self.names is not None:
            return self.names
        names: Iterator[str] = chain.from_iterable(_items(self.tags[0]))
        return tuple(dict.fromkeys(names))

    def tag(self, name: str) -> PackedColumn:
        """Return the column of a tag, with `ABSENT` for points that do not have it."""
        if self.names is None:
            return tuple(tags.get(name, ABSENT) for tags in _items(self.tags[0]))
        return self.tags[self.names.index(name)] if name in self.names else _constant(self.size, ABSENT)

    def shared(self) -> "Block":
        """Return the same points, using cached objects for parts that other blocks have too."""
        names = None if self.names is None else _known(self.names)
        return Block(_shared(self.packed), _shared(self.step_numbers), names, tuple(map(_shared, self.tags)))

    @property
    def is_plain(self) -> bool:
        """Whether the columns show that all values and tags are texts, bools or numbers of at most 64 bits."""
        return self.names is not None and all(map(_is_plain, (self.packed, *self.tags)))

    @property
    def columns(self) -> Iterator[list[Any]]:
        """All columns: values, step numbers, then each tag, with () for points that do not have it."""
        yield list(self.values)
        yield list(self.numbers)
        for column in self.tags:
            yield [() if item is ABSENT else item for item in _items(column)]

    def rows(self) -> Iterator[StoredPoint]:
        """Return the points, oldest first."""
        return zip(self.values, self._dicts(), self.numbers, strict=False)

    def _dicts(self) -> Iterable[dict[str, Any]]:
        if self.names is None:
            return _items(self.tags[0])
        columns = map(_items, self.tags)
        if all(
            isinstance(column, array) or (isinstance(column, CodedColumn) and ABSENT not in column.table)
            for column in self.tags
        ):
            return _dicts(self.names, columns)
        rows = zip(*columns, strict=True)
        return ({name: tag for name, tag in zip(self.names, row, strict=True) if tag is not ABSENT} for row in rows)

    def row(self, at: int) -> StoredPoint:
        """Return one point."""
        if self.names is None:
            tags = _item(self.tags[0], at)
        else:
            found = ((name, _item(column, at)) for name, column in zip(self.names, self.tags, strict=True))
            tags = {name: tag for name, tag in found if tag is not ABSENT}
        return _item(self.packed, at), tags, _item(self.step_numbers, at)


def unrestorable_parts(block: Block) -> Iterator[tuple[str | None, ...]]:
    """Return the lost parts of each point, which a file could not restore: None for the value, names for tags."""
    columns = [(None, block.packed), *((name, block.tag(name)) for name in block.tag_names)]
    held = [(name, [*_items(column)]) for name, column in columns if _may_lack(column)]
    if not held:
        # Nearly all blocks end here.
        yield from repeat((), block.size)
        return
    for at in range(block.size):
        yield tuple(name for name, items in held if type(items[at]) is NotRestorable)


def _may_lack(column: PackedColumn) -> bool:
    items = column.table if isinstance(column, CodedColumn) else column
    return not isinstance(items, array) and NotRestorable in set(map(type, items))
