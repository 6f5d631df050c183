"""The branches of a context, as the context itself knows them: an extension of its state."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .._core.state import LogMarks, State


class MergeReceipt(NamedTuple):
    """A merge that took place."""

    digest: str
    """Of the merged work, without its times."""
    result: Any
    """The result of the branch's task, or what a file has of it, until it is handed out."""
    item: str | None
    """A digest of the item of the branch's task, if it has one."""
    is_taken: bool
    """Whether the result was handed out."""


@dataclass(slots=True)
class BranchEntry:
    """A branch, as the context from which it was forked knows it."""

    rank: int
    """The order among the branches, by which the logs order their work."""
    marks: LogMarks
    """The marks at the moment of the fork."""
    receipt: MergeReceipt | None = None
    is_adrift: bool = False
    """Whether the step that it was forked in runs again: the branch then moves to where that step forks it."""


@dataclass
class BranchRegistry:
    """The branches that were forked from a context, by their full names."""

    within: str | None = None
    """The branch whose context this is; None if it is no branch's."""
    entries: dict[str, BranchEntry] = field(default_factory=dict)
    last_rank: int = -1
    last_base: Callable[[], object] | None = None
    """A weak reference to the base of the last fork."""

    def next_rank(self) -> int:
        """Return a rank for a branch. Whoever calls holds the lock over effect and event."""
        self.last_rank += 1
        return self.last_rank

    def receipt(self, branch: str) -> MergeReceipt | None:
        """Return the receipt of a branch; None if it is not merged."""
        entry = self.entries.get(branch)
        return None if entry is None else entry.receipt

    def take_result(self, branch: str) -> None:
        """Note that the result of a merged branch was handed out."""
        self.entries[branch].receipt = _taken(self.entries[branch].receipt)

    def copied(self) -> "BranchRegistry":
        """Return the registry for a copy of the context, which does not get the results of tasks."""
        entries = {name: replace(entry, receipt=_taken(entry.receipt)) for name, entry in self.entries.items()}
        return BranchRegistry(self.within, entries, self.last_rank)


def _taken(receipt: MergeReceipt | None) -> MergeReceipt | None:
    return receipt and receipt._replace(result=None, is_taken=True)


def registry_of(state: State) -> BranchRegistry:
    """Return the registry of branches in a state."""
    found = state.extensions.get(BranchRegistry) or state.extensions.setdefault(BranchRegistry, BranchRegistry())
    assert isinstance(found, BranchRegistry)
    return found
