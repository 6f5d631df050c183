"""The records of the steps of a context that have ended."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from pickle import dumps, loads
from typing import Any, Final
from zlib import compress, decompress

from .name_index import NameIndex
from .ordered_log import OrderedLog, Section
from .packed_texts import packed_texts, texts_in
from .provenance import StepRecord, restored_record


class PackedRecords:
    """The records of many sections, in less memory than the sections take, or read from elsewhere.

    The last record of a section is the record of the work as a whole, which has finished.
    """

    __slots__ = ("_size", "_sources", "read")

    def __init__(self, size: int, sources: bytes, read: Callable[[], Sequence[Sequence[StepRecord]]]) -> None:
        """Take the number of records, the packed names of the last records of all sections, and their reader."""
        self._size = size
        self._sources = sources
        self.read: Callable[[], Sequence[Sequence[StepRecord]]] = read
        """Return the records of each section."""

    @classmethod
    def of(cls, sections: Sequence[Sequence[StepRecord]]) -> "PackedRecords":
        """Return a pack that holds its records in memory."""
        # By columns, which makes fewer objects.
        columns = [*zip(*chain.from_iterable(sections), strict=True)]
        columns[_POINTS] = tuple(map(dict, columns[_POINTS]))
        sizes = [*map(len, sections)]
        sources = packed_texts(records[-1].name for records in sections)
        return cls(sum(sizes), sources, partial(_unpacked, compress(dumps((columns, sizes)), 1)))

    def leave(self, read: Callable[[], Sequence[Sequence[StepRecord]]]) -> None:
        """Drop the records, and read the same records by a function from now on."""
        self.read = read

    @property
    def sources(self) -> list[str]:
        """The names of the last records of all sections."""
        return texts_in(self._sources)

    def parts(self) -> Sequence[Sequence[StepRecord]]:
        """Return the records of each section."""
        return self.read()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[StepRecord]:
        return chain.from_iterable(self.read())

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedRecords.of, ([*self.parts()],)


def _unpacked(packed: bytes) -> list[tuple[StepRecord, ...]]:
    """Return records from their packed form, which never left this process or the pickle of a context."""
    columns, sizes = loads(decompress(packed))
    records = map(restored_record, zip(*columns, strict=True))
    return [tuple(islice(records, size)) for size in sizes]


_POINTS: Final = StepRecord._fields.index("points")


class EarlierRecords:
    """The records that a log has at one moment, without a copy of them."""

    __slots__ = ("_count", "_own", "_sections", "_size", "has_finished")

    def __init__(self, log: "StepLog") -> None:
        # Records are only ever added to this list.
        self._own, self._count = log.own, len(log.own)
        self._sections = log.copy_sections()
        self._size = self._count + log.inserted
        self.has_finished: Callable[[str], bool] = log.has_finished
        """Whether a step of a name has finished, also since then."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[StepRecord]:
        return OrderedLog[StepRecord](sections=self._sections).splice(islice(self._own, self._count))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, ([*self],)


class StepLog(OrderedLog[StepRecord]):
    """The records of the steps that have ended.

    Attributes:
        has_warned: Whether a warning was emitted of a step that nobody used.
    """

    __slots__ = ("_earlier", "_finished", "_noted", "_packed", "has_warned")

    def __init__(self, own: Iterable[StepRecord] = (), sections: Mapping[int, Section] | None = None) -> None:
        super().__init__(own, sections)
        self.has_warned: bool = False
        self._finished: set[str] = set()
        """The names of the steps that have finished, of sections that are not packed and of the first own records."""
        self._noted = 0
        """The number of own records whose names are there; the others are added when somebody asks."""
        self._earlier: EarlierRecords | None = None
        self._packed: NameIndex[PackedRecords] = NameIndex()
        """The packs of sections by the names of their last records."""
        for section in self.sections():
            if isinstance(section.items, PackedRecords):
                self._packed.add(section.items.sources, section.items)
            else:
                self._finished |= _finished(section.items)

    def has_finished(self, name: str) -> bool:
        """Whether a step of this name has ended without an exception."""
        self._note_finished()
        if name in self._finished or (self._earlier is not None and self._earlier.has_finished(name)):
            return True
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            records = self._packed.find("/".join(parts[:depth]))
            if records is not None:
                return depth == len(parts) or name in _finished(records)
        return False

    def _note_finished(self) -> None:
        """Note the names of the own records that were added since the last call."""
        count = len(self.own)
        self._finished |= _finished(self.own[self._noted : count])
        # Last, so that all names before are noted. If two threads do the same, names are noted twice.
        self._noted = count

    def supersede(self, name: str, error: str) -> None:
        """Put an error on the own records of a step that finished and runs again."""
        for at, record in enumerate(self.own):
            if record.name == name:
                self.own[at] = record._replace(error=error)
        self._finished.discard(name)

    def insert(self, rank: int, mark: int, items: Any, undo: ExitStack | None = None) -> None:
        """Insert records; see `OrderedLog.insert`."""
        super().insert(rank, mark, items, undo)
        self._finished |= _finished(items)

    def insert_earlier(self, rank: int, earlier: EarlierRecords, undo: ExitStack) -> None:
        """Insert the records of another log before all others, until `undo` is closed. They are not gone through."""
        undo.callback(setattr, self, "_earlier", None)
        self._earlier = earlier
        super().insert(rank, 0, earlier, undo)

    def restore_section(self, rank: int, before: Section | None) -> None:
        """Undo an insertion; see `OrderedLog.insert`."""
        section = self.section(rank) or ()
        undone = set[str]() if section is self._earlier else _finished(section)
        super().restore_section(rank, before)
        self._finished -= undone - _finished(before.items if before is not None else ())

    def pack_records(self, ranks: Collection[int]) -> list[PackedRecords]:
        """Pack sections; see `OrderedLog.pack`."""
        found = [records for rank in ranks if (records := self.section(rank)) is not None]
        finished = {records[-1].name: records for records in found if not isinstance(records, PackedRecords)}
        packs = self.pack(ranks, PackedRecords.of)
        for pack in packs:
            # The index first: in between, the names are in both.
            self._packed.add(pack.sources, pack)
            packed = chain.from_iterable(map(finished.__getitem__, pack.sources))
            self._finished.difference_update([record.name for record in packed])
        return packs


def _finished(records: Iterable[StepRecord]) -> set[str]:
    return {record.name for record in records if record.error is None}
