"""Keep merged work in little memory: the work of many branches as one pack in each log.

A merged branch does not change any more. So the sections of branches that were forked one after the other become one
section with the same items. Once many branches are packed, their packs are no longer kept in memory. They are read from
a sink that has stored their work, such as a journal, or else from a temporary file. The results of all reads stay the
same.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from math import inf
from typing import Final, NamedTuple, Protocol, runtime_checkable

from .._base.spill_file import SpillFile
from .._core import ordered_log
from .._core.packed_texts import packed_texts, texts_in
from .._core.point_log import LARGE
from .._core.point_sections import PackContent, PointPack
from .._core.provenance import StepRecord
from .._core.state import State
from .._core.step_log import PackedRecords
from .branch_registry import (
    BranchEntry,
    BranchRegistry,
    PackedReceipts,
    ReceiptFacts,
    registry_of,
)

_log = logging.getLogger("crystallize")

MOST: Final = 1024
"""Maximum number of branches in a pack, and the number of merged branches at which to pack them."""
MOST_IN_LOOP: Final = 64
"""The same while `afan_out` runs. These packs stay in memory, since an event loop waits while a file is written."""
POINTS: Final = 1 << 16
"""Number of points in a pack that is not exceeded by the points of more than one branch."""
IN_MEMORY: Final = 8 * MOST
"""Number of branches whose packs stay in memory in any case, so that small runs read nothing from a file."""


class StoredWork(Protocol):
    """The work of merged branches where a sink has stored it.

    Attributes:
        branches: The names of the branches, as packed texts.
    """

    branches: bytes

    def only(self, branches: Sequence[str]) -> "StoredWork":
        """Return the work of some of the branches."""
        ...

    def receipts(self) -> list[ReceiptFacts]:
        """Return the name, the digest and the item of each branch."""
        ...

    def records(self) -> Sequence[Sequence[StepRecord]]:
        """Return the records of each branch."""
        ...

    def points(self, metric: str, count: int) -> PackContent:
        """Return the points of a metric, which are this many; all are plain, see `Block.is_plain`."""
        ...


class WorkArchive(Protocol):
    """Returns the work that a sink has stored."""

    def stored(self, branches: Sequence[str]) -> StoredWork | None:
        """Return the stored work of branches; None if not all of it is stored yet, or it cannot be read."""
        ...


@runtime_checkable
class ArchivingSink(Protocol):
    """A sink from which the work of merged branches can be read, so that the context need not keep it.

    Attributes:
        merge_archive: Returns the work.
    """

    merge_archive: WorkArchive


class _Waiting(NamedTuple):
    """The packs of branches whose work may not be stored yet."""

    branches: bytes
    records: list[PackedRecords]
    points: list[tuple[str, PointPack]]
    """Each with its metric."""
    receipts: PackedReceipts


def note_merge(state: State, registry: BranchRegistry, branch: str) -> None:
    """Note that a branch was merged, and pack the branches that were merged before if they are many.

    The caller holds the dispatcher's lock. If this is interrupted, the same is read as before.
    """
    registry.unpacked.append(branch)
    _pack_if_many(state, registry)


def pack_restored(state: State) -> None:
    """Pack the branches that were restored from a file if they are many; their work stays in memory."""
    registry = registry_of(state)
    registry.unpacked = [name for name, entry in registry.entries.items() if entry.receipt is not None]
    registry.restored = max((entry.rank for entry in registry.entries.values()), default=-1)
    _pack_if_many(state, registry)


def _pack_if_many(state: State, registry: BranchRegistry) -> None:
    if len(registry.unpacked) >= max(registry.pack_at, _most(registry)):
        pack_merged(state, registry)


def _most(registry: BranchRegistry) -> int:
    return MOST_IN_LOOP if registry.async_calls else MOST


def pack_merged(state: State, registry: BranchRegistry) -> None:
    """Pack the branches that were merged."""
    merged = {name: entry for name in registry.unpacked if (entry := registry.entries.get(name)) is not None}
    sinks = () if registry.async_calls else state.dispatcher.sinks
    archives = [sink.merge_archive for sink in sinks if isinstance(sink, ArchivingSink)]
    for run in _runs(state, dict(sorted(merged.items(), key=lambda item: item[1].rank)), _most(registry)):
        if len(run) >= ordered_log.FEWEST:
            is_new = next(iter(run.values())).rank > registry.restored
            can_leave = is_new if archives else registry.spills and not registry.async_calls
            _pack(state, registry, run, is_stored=can_leave and registry.packed_count >= IN_MEMORY)
    if archives:
        _leave(registry, archives[0])
    elif not registry.async_calls:
        _spill(registry)
    registry.unpacked = [name for name in registry.unpacked if name in registry.entries]
    # So that looking at those that cannot be packed takes no more than a share of the time.
    registry.pack_at = 2 * len(registry.unpacked)


def _runs(state: State, entries: dict[str, BranchEntry], most: int) -> Iterator[dict[str, BranchEntry]]:
    """Divide branches by rank into those between which no branch is left that may be merged later."""
    run: dict[str, BranchEntry] = {}
    last, points = -1, 0
    for name, entry in entries.items():
        count = sum(sum(record.points.values()) for record in state.step_log.section(entry.rank) or ())
        points += count
        if entry.is_adrift or entry.rank != last + 1 or len(run) == most or points > POINTS:
            yield run
            run = dict[str, BranchEntry]()
            points = count
        if not entry.is_adrift:
            run[name] = entry
        last = entry.rank
    yield run


def _pack(state: State, registry: BranchRegistry, branches: dict[str, BranchEntry], *, is_stored: bool) -> None:
    """Pack branches. Each statement leaves the results of all reads as they were."""
    ranks = [entry.rank for entry in branches.values()]
    # Packs that are read from a file may have any size.
    large = inf if is_stored else LARGE
    records = state.step_log.pack_records(ranks)
    points = [
        (name, pack) for name, log in state.metric_store.logs.copy().items() for pack in log.points.pack(ranks, large)
    ]
    state.keys.pack(ranks, ordered_log.KeyPack)
    state.artifact_store.order.pack(ranks, ordered_log.KeyPack)
    receipts = registry.pack(branches)
    state.registry.condense(branches)
    if is_stored:
        registry.waiting.append(_Waiting(packed_texts(branches), records, points, receipts))


def _leave(registry: BranchRegistry, archive: WorkArchive) -> None:
    """Leave packs to a sink that has stored their work. Each statement leaves the results of all reads as they were."""
    while registry.waiting:
        waiting: _Waiting = registry.waiting[0]
        work = archive.stored(texts_in(waiting.branches))
        if work is None:
            return
        for records in waiting.records:
            records.leave(work.only(records.sources).records)
        for metric, points in waiting.points:
            if points.is_plain:
                points.leave(partial(work.only(points.sources).points, metric, len(points)))
        waiting.receipts.leave(work.receipts)
        if registry.waiting and registry.waiting[0] is waiting:
            registry.waiting.pop(0)


def _spill(registry: BranchRegistry) -> None:
    """Move packs to a temporary file. Each statement leaves the results of all reads as they were."""
    while registry.waiting:
        waiting: _Waiting = registry.waiting[0]
        try:
            if registry.spill_file is None or not registry.spill_file.is_own:
                registry.spill_file = SpillFile()
            _move(waiting, registry.spill_file)
        except OSError as error:
            registry.spills = False
            _log.warning("the work of merged branches stays in memory: no temporary file can be written (%s)", error)
            registry.waiting.clear()
            return
        # A signal handler may have moved it meanwhile.
        registry.waiting = [other for other in registry.waiting if other is not waiting]


def _move(waiting: _Waiting, file: SpillFile) -> None:
    for records in waiting.records:
        records.leave(file.stored(records.read))
    for _, points in waiting.points:
        if points.is_plain:
            points.leave(file.stored(points.read))
    waiting.receipts.leave(file.stored(waiting.receipts.read))
