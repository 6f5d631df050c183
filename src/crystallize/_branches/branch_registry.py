"""The registry of the branches that were forked from a context: an extension of its state."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from .._core.state import LogMarks, State


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


@dataclass
class BranchRegistry:
    """The branches that were forked from a context, by their full names."""

    within: str | None = None
    """The branch whose context this is; None if it is not a child context."""
    entries: dict[str, BranchEntry] = field(default_factory=dict)
    last_rank: int = -1
    groups: dict[str, ForkGroup] = field(default_factory=dict)
    """The groups by their first branches."""
    last_base: Callable[[], object] | None = None
    """A weak reference to the base of the last fork."""

    def next_rank(self, *, is_group: bool = False) -> int:
        """Return the next rank, or the first of those for a group. The caller holds the dispatcher's lock."""
        rank = self.last_rank + 1
        self.last_rank += GROUP if is_group else 1
        return rank

    def knows(self, branch: str) -> bool:
        """Whether a branch of this name was forked."""
        return branch in self.entries

    def is_adrift(self, branch: str) -> bool:
        """Whether the step that forked a branch runs again; see `BranchEntry`."""
        return branch in self.entries and self.entries[branch].is_adrift

    def receipt(self, branch: str) -> MergeReceipt | None:
        """Return the receipt of a branch; None if it is not merged."""
        entry = self.entries.get(branch)
        return None if entry is None else entry.receipt

    def take_result(self, branch: str) -> None:
        """Mark the result of a merged branch as returned."""
        self.entries[branch].receipt = _taken(self.entries[branch].receipt)

    def copied(self) -> "BranchRegistry":
        """Return the registry for a copy of the context, without the results of tasks."""
        entries = {name: replace(entry, receipt=_taken(entry.receipt)) for name, entry in self.entries.items()}
        groups = {first: replace(group) for first, group in self.groups.items()}
        return BranchRegistry(self.within, entries, self.last_rank, groups)


def _taken(receipt: MergeReceipt | None) -> MergeReceipt | None:
    return receipt and receipt._replace(result=None, is_taken=True)


def registry_of(state: State) -> BranchRegistry:
    """Return the registry of branches in a state."""
    found = state.extensions.get(BranchRegistry) or state.extensions.setdefault(BranchRegistry, BranchRegistry())
    assert isinstance(found, BranchRegistry)
    return found
