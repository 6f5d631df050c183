"""The registry of the branches that were forked from a context: an extension of its state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from .._base.spill_file import CAN_SPILL, SpillFile
from .._core.name_index import NameIndex
from .._core.packed_texts import packed_texts, texts_in
from .._core.state import LogMarks, State
from .item_view import ItemView

ReceiptFacts: TypeAlias = tuple[str, str, str | None]
"""The name, the digest and the item of a merged branch."""


class MergeReceipt(NamedTuple):
    """A merge that took place."""

    digest: str
    """The digest of the merged work, without its times."""
    result: Any
    """The result of the branch's task, or its stored form if it came from a file; None once it was returned."""
    item: str | None
    """The digest of the task's item, if it has one."""
    is_taken: bool
    """Whether `fan_out` has returned the result."""


GROUP: Final = 1 << 32
"""The number of ranks that are kept for the branches of one `fan_out`: more than it can have."""


@dataclass
class ForkGroup:
    """The branches of one `fan_out`, which have one position, in the order in which they were forked."""

    marks: LogMarks
    """The marks at the moment of the first fork."""
    next_rank: int


@dataclass(slots=True)
class BranchEntry:
    """One branch in the registry of its parent."""

    rank: int
    """The order among the branches, which is also the order of their work in the logs.

    Branches that are forked one after another, or by one `fan_out`, have successive ranks.
    """
    marks: LogMarks
    """The marks at the moment of the fork."""
    receipt: MergeReceipt | None = None
    is_adrift: bool = False
    """Whether the step that forked it runs again. The branch then moves to the position where that step forks it."""
    item: ItemView | None = None
    """The scalars of its item, as the sinks received them; None or empty if they received none."""


class PackedReceipts:
    """The receipts of many merged branches, in less memory than their entries take, or read from elsewhere."""

    def __init__(self, read: Callable[[], list[ReceiptFacts]], results: Mapping[int, Any], *, taken: int = 0) -> None:
        """Take a function that returns the name, digest and item of each branch, and the results by their indices.

        Results that are None may be left out. `taken` has a bit for each index whose result was returned.
        """
        self.read = read
        self._results = dict(results)
        self._taken = taken

    @classmethod
    def of(cls, receipts: Mapping[str, MergeReceipt]) -> "PackedReceipts":
        """Pack receipts by the names of their branches."""
        facts = [(branch, receipt.digest, receipt.item) for branch, receipt in receipts.items()]
        results, taken = _results_of(receipts.values())
        return cls(_HeldReceipts.of(facts).read, results, taken=taken)

    def leave(self, read: Callable[[], list[ReceiptFacts]]) -> None:
        """Drop names, digests and items, and read the same by a function from now on."""
        self.read = read

    def receipt(self, at: int, facts: ReceiptFacts) -> MergeReceipt:
        """Return the receipt of an index."""
        return MergeReceipt(facts[1], self._results.get(at), facts[2], bool(self._taken >> at & 1))

    def take(self, at: int) -> None:
        """Mark a result as returned."""
        self._results.pop(at, None)
        self._taken |= 1 << at

    def put_back(self, at: int, result: Any) -> None:
        """Mark a result as not returned, after all."""
        self._results[at] = result
        self._taken &= ~(1 << at)

    def copied(self) -> "PackedReceipts":
        """Return the same receipts without results."""
        return PackedReceipts(self.read, {}, taken=-1)

    def __reduce__(self) -> tuple[Any, ...]:
        made = partial(PackedReceipts, taken=self._taken)
        return made, (_HeldReceipts.of(self.read()).read, self._results)


class _HeldReceipts(NamedTuple):
    """The names, digests and items of branches, packed."""

    parts: tuple[bytes, ...]

    @classmethod
    def of(cls, facts: list[ReceiptFacts]) -> "_HeldReceipts":
        names, digests, items = zip(*facts, strict=True)
        return cls((packed_texts(names), packed_texts(digests), packed_texts(item or "" for item in items)))

    def read(self) -> list[ReceiptFacts]:
        names, digests, items = map(texts_in, self.parts)
        return [(name, digest, item or None) for name, digest, item in zip(names, digests, items, strict=True)]


def _results_of(receipts: Iterable[MergeReceipt]) -> tuple[dict[int, Any], int]:
    """Return the results of receipts by index, and a bit for each index whose result was returned."""
    numbered = [*enumerate(receipts)]
    results = {at: receipt.result for at, receipt in numbered if receipt.result is not None}
    return results, sum(1 << at for at, receipt in numbered if receipt.is_taken)


@dataclass
class BranchRegistry:
    """The branches that were forked from a context, by their full names."""

    within: str | None = None
    """The branch whose context this is; None if it is not a child context."""
    entries: dict[str, BranchEntry] = field(default_factory=dict)
    """The branches that are not packed."""
    last_rank: int = -1
    packed: NameIndex[PackedReceipts] = field(default_factory=NameIndex)
    groups: dict[str, ForkGroup] = field(default_factory=dict)
    """The groups by their first branches."""
    last_base: Callable[[], object] | None = None
    """A weak reference to the base of the last fork."""
    unpacked: list[str] = field(default_factory=list)
    """The merged branches that may be packed."""
    pack_at: int = 0
    """The number of these at which to pack them."""
    waiting: list[Any] = field(default_factory=list)
    """The packs to be dropped from memory, when the file of the run has their facts."""
    spills: bool = CAN_SPILL
    """Whether packs are moved to a temporary file, if there is no file of a run."""
    spill_file: SpillFile | None = None
    restored: int = -1
    """The last rank of a branch that was restored from a file; its work stays in memory."""
    packed_count: int = 0
    """The number of branches that were packed."""
    async_calls: int = 0
    """The number of calls of `afan_out` that run: packing must not take long, since an event loop waits for it."""
    _last: tuple[PackedReceipts, dict[str, int], list[ReceiptFacts]] | None = None
    """The pack that was read last, with the indices of its branches, and their facts."""

    def next_rank(self, *, is_group: bool = False) -> int:
        """Return the next rank, or the first of those for a group. The caller holds the dispatcher's lock."""
        rank = self.last_rank + 1
        self.last_rank += GROUP if is_group else 1
        return rank

    def knows(self, branch: str) -> bool:
        """Whether a branch of this name was forked."""
        return branch in self.entries or self.packed.find(branch) is not None

    def is_of_other(self, branch: str, item: ItemView | None) -> bool:
        """Return whether an earlier process forked a branch for another item, and nobody merged it."""
        entry = self.entries.get(branch)
        if entry is None or entry.rank > self.restored or entry.receipt is not None or not entry.item or item is None:
            return False
        return repr(entry.item) != repr(item)  # in which NaN equals itself

    def is_adrift(self, branch: str) -> bool:
        """Whether the step that forked a branch runs again; see `BranchEntry`."""
        return branch in self.entries and self.entries[branch].is_adrift

    def receipt(self, branch: str) -> MergeReceipt | None:
        """Return the receipt of a branch; None if it is not merged."""
        entry = self.entries.get(branch)
        if entry is not None:
            return entry.receipt
        pack = self.packed.find(branch)
        return None if pack is None else pack.receipt(*self._located(pack, branch))

    def take_result(self, branch: str) -> None:
        """Mark the result of a merged branch as returned."""
        # A branch that is just being packed is in both.
        pack = self.packed.find(branch)
        if pack is not None:
            pack.take(self._located(pack, branch)[0])
        entry = self.entries.get(branch)
        if entry is not None:
            entry.receipt = _taken(entry.receipt)

    def put_back(self, branch: str, result: Any) -> None:
        """Mark the result of a merged branch as not returned, after all."""
        pack = self.packed.find(branch)
        if pack is not None:
            pack.put_back(self._located(pack, branch)[0], result)
        if (entry := self.entries.get(branch)) is not None and entry.receipt is not None:
            entry.receipt = entry.receipt._replace(result=result, is_taken=False)

    def _located(self, pack: PackedReceipts, branch: str) -> tuple[int, ReceiptFacts]:
        """Return the index of a branch in its pack, and its facts."""
        last = self._last
        if last is None or last[0] is not pack:
            facts = pack.read()
            last = self._last = pack, {name: at for at, (name, _, _) in enumerate(facts)}, facts
        at = last[1][branch]
        return at, last[2][at]

    def pack(self, branches: Iterable[str]) -> PackedReceipts:
        """Keep only the receipts of merged branches, packed."""
        receipts = {name: receipt for name in branches if (receipt := self.receipt(name)) is not None}
        pack = PackedReceipts.of(receipts)
        # In between, the branches are in both.
        self.packed.add(receipts, pack)
        count = len(receipts)
        self.packed_count += count
        for name in receipts:
            self.entries.pop(name, None)
        return pack

    def copied(self) -> "BranchRegistry":
        """Return the registry for a copy of the context, without the results of tasks."""
        entries = {name: replace(entry, receipt=_taken(entry.receipt)) for name, entry in self.entries.items()}
        groups = {first: replace(group) for first, group in self.groups.items()}
        copies: dict[int, PackedReceipts] = {}
        packed = self.packed.mapped(lambda pack: copies.setdefault(id(pack), pack.copied()))
        unpacked = [name for name, entry in entries.items() if entry.receipt is not None]
        return BranchRegistry(self.within, entries, self.last_rank, packed, groups, unpacked=unpacked)


def _taken(receipt: MergeReceipt | None) -> MergeReceipt | None:
    return receipt and MergeReceipt(receipt.digest, None, receipt.item, True)


def registry_of(state: State) -> BranchRegistry:
    """Return the registry of branches in a state."""
    found = state.extensions.get(BranchRegistry) or state.extensions.setdefault(BranchRegistry, BranchRegistry())
    assert isinstance(found, BranchRegistry)
    return found
