"""Keep what was merged in little memory: the work of many branches as one pack in each log.

A merged branch does not change any more. So the sections of branches that were forked one after the other, at one
moment of the parent, become one section with the same items. Nothing else is read than before.
"""

from collections.abc import Iterator
from typing import Final

from .._core import ordered_log
from .._core.state import State
from .._core.step_log import PackedRecords
from .branch_registry import BranchEntry, BranchRegistry, PackedReceipts

MOST: Final = 1024
"""Maximum number of branches in a pack, and the number of merged branches at which to pack them."""


def note_merge(state: State, registry: BranchRegistry, branch: str) -> None:
    """Note that a branch was merged, and pack the branches that were merged before if they are many.

    The caller holds the dispatcher's lock. If this is interrupted, the same is read as before.
    """
    registry.unpacked.append(branch)
    if len(registry.unpacked) >= max(registry.pack_at, MOST):
        pack_merged(state, registry)


def pack_merged(state: State, registry: BranchRegistry) -> None:
    """Pack the branches that were merged."""
    merged = {name: entry for name in registry.unpacked if (entry := registry.entries.get(name)) is not None}
    for run in _runs(dict(sorted(merged.items(), key=lambda item: item[1].rank))):
        if len(run) >= ordered_log.FEWEST:
            _pack(state, registry, run)
    registry.unpacked = [name for name in registry.unpacked if name in registry.entries]
    # So that looking at those that cannot be packed takes no more than a share of the time.
    registry.pack_at = 2 * len(registry.unpacked)


def _runs(entries: dict[str, BranchEntry]) -> Iterator[dict[str, BranchEntry]]:
    """Divide branches by rank into those between which no branch is left that may be merged later."""
    run: dict[str, BranchEntry] = {}
    last: BranchEntry | None = None
    for name, entry in entries.items():
        follows = last is not None and entry.rank == last.rank + 1
        if entry.is_adrift or not follows or len(run) == MOST:
            yield run
            run = {}
        if not entry.is_adrift:
            run[name] = entry
        last = entry
    yield run


def _pack(state: State, registry: BranchRegistry, branches: dict[str, BranchEntry]) -> None:
    """Pack branches. Each statement leaves what is read as it was."""
    ranks = [entry.rank for entry in branches.values()]
    state.keys.pack(ranks, ordered_log.KeyPack)
    state.artifact_store.order.pack(ranks, ordered_log.KeyPack)
    state.step_log.pack(ranks, PackedRecords.of)
    for log in state.metric_store.logs.copy().values():
        log.points.pack(ranks)
    registry.pack(branches, PackedReceipts.of)
    state.registry.condense(branches)
