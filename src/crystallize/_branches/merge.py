"""Merge the work of branches into their parent: all of it, or nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property, partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from .._base.text import MASK, short, type_name
from .._core.context import FrozenContext, state_of, token_of
from .._core.metric_log import MetricLog, fetched
from .._core.packed_columns import Block
from .._core.point_log import fetch
from .._core.point_sections import PointSection
from .._core.protocols import Sink
from .._core.provenance import StepRecord
from .._core.secrets import secrets_in
from .._core.size_limit import check_artifact_size, check_value_size
from .._core.state import State
from .._core.stored_value import RawValue, StoredValue
from ..errors import BranchError, DivergentRetryError, ForeignDeltaError, ForeignMetricError, MergeConflictError
from ..events import ArtifactAdded, BranchForked, BranchMerged, Event, KeyWritten, MetricRecorded, StepStarted
from .branch import checked
from .branch_registry import BranchEntry, BranchRegistry, MergeReceipt, registry_of
from .delta import DIGEST_PARTS, Delta, digest_of, discard, parent_of, work_of
from .fork_base import fingerprint_of, schema_label
from .merged_packs import note_merge
from .packed_work import CalledTask, Work


class MergedWork:
    """The work of a merged branch, as a sink with `handle_batch` receives it; see `BatchSink`.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Whole(MemorySink):
        ...     def handle_batch(self, work, /):
        ...         print(work.branch, [type(event).__name__ for event in work.events()])
        >>> ctx = FrozenContext(sinks=[Whole()])
        >>> merge(ctx, fork(ctx, "fold-3").open().delta())
        fold-3 ['StepStarted', 'StepFinished', 'BranchMerged']

    Attributes:
        branch: The full name of the branch.
        last: The last event.
        forked: The event of the fork, if the sinks have not received it yet.
        step_names: The branch, its steps, then the steps of inner branches, in the order of opening. Points refer to
            them by number, from 1.
        steps: The records in the order in which the steps ended. The last is the record of the branch.
        blocks: The points by metric, packed. `rows()` of a block returns the value, the tags and the number of the step
            for each point.
        tasks: The call of the task of a `fan_out`, by the branch, and the calls of `ctx.run` that were taken over.
    """

    def __init__(self, state: State, work: Work, last: BranchMerged, *, is_known: bool) -> None:
        self.branch: str = last.branch
        self.last = last
        self.forked: BranchForked | None = None if is_known else BranchForked(last.branch)
        self.step_names: Sequence[str] = tuple(work.names)
        self.steps: tuple[StepRecord, ...] = work.steps
        self.blocks: Mapping[str, tuple[Block, ...]] = MappingProxyType(work.points)
        self.tasks: Mapping[str, CalledTask] = work.tasks
        self._state = state
        self._work = work

    @cached_property
    def keys(self) -> tuple[KeyWritten, ...]:
        """The events of the keys, with secrets masked."""
        return tuple(self._state.key_event(key, self.branch) for key in self._work.values)

    @cached_property
    def artifacts(self) -> tuple[ArtifactAdded, ...]:
        """The events of the artifacts."""
        return tuple(ArtifactAdded(*artifact, self.branch) for artifact in self._work.artifacts)

    def start_of(self, step: str, started: datetime) -> StepStarted:
        """Return the event of the start of a step, as if it had run in the context itself."""
        task = self.tasks.get(step)
        if task is None:
            return StepStarted(step, started)
        return StepStarted(step, started, None, task.arguments, task.inputs, task.reason)

    def events(self) -> Iterator[Event]:
        """Return the events that other sinks receive, in order. They are made lazily, since there may be many."""
        if self.forked is not None:
            yield self.forked
        starts = {record.name: record.started for record in self.steps}
        # An inner branch that failed has a record, but it opened no step.
        for name in dict.fromkeys((*self.step_names, *starts)):
            yield self.start_of(name, starts[name])._replace(branch=self.branch)
        yield from self.keys
        for name, blocks in self.blocks.items():
            rows = chain.from_iterable(block.rows() for block in blocks)
            for position, (value, tags, number) in enumerate(rows):
                step = self.step_names[int(number) - 1]
                yield MetricRecorded(name, fetch(value), fetched(tags), step, position, self.branch)
        yield from self.artifacts
        for record in self.steps:
            yield record.as_event(self.branch)
        yield self.last


@runtime_checkable
class BatchSink(Sink, Protocol):
    """A sink that receives all work of a merged branch in one call, and not event by event. A journal is one.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Counting(MemorySink):
        ...     def handle_batch(self, work, /):
        ...         print(f"{work.branch}: {len(work.keys)} key, {len(work.steps)} step")
        >>> ctx = FrozenContext(sinks=[Counting()])
        >>> child = fork(ctx, "fold-3").open()
        >>> child["score"] = 0.9
        >>> merge(ctx, child.delta())
        fold-3: 1 key, 1 step
    """

    def handle_batch(self, work: MergedWork, /) -> None:
        """Handle the work of a branch; an error that it raises reaches the caller of `merge` as a `SinkError`.

        Args:
            work: The work. Its `events()` are the events that other sinks receive.
        """
        ...


def merge(ctx: FrozenContext[Any], delta: Delta) -> None:
    """Merge the work of a branch into its parent: all of it, or nothing.

    The values are not validated again. The work has the position of the fork, in whichever order deltas are merged.
    Merging the same delta again does nothing.

    Args:
        ctx: The context from which the branch was forked, or a step of it.
        delta: The work of the branch.

    Raises:
        ForeignDeltaError: The delta has another schema, or its branch was forked from another context.
        DivergentRetryError: The branch was merged before, with other content.
        MergeConflictError: The branch wrote a key, or added an artifact, that the parent already has.
        BranchError: A step has the branch's name.
        StepClosedError: `ctx` is a step or a child context that has ended.
        ForeignMetricError: The branch used the name of a metric for another metric than the parent.
        TravelError: The delta cannot be unpickled in this process.
        ObjectError: The content of an artifact cannot be stored beside the file of the run, or is missing there.
        SinkError: The work is merged, but a sink failed.

    Example:
        >>> ctx = FrozenContext()
        >>> child = fork(ctx, "fold-3").open()
        >>> child.record("score", 0.9)
        >>> merge(ctx, child.delta())
        >>> ctx.metrics["score"], ctx.provenance.finished("fold-3")
        ((0.9,), True)
    """
    merge_result(ctx, delta, Any)


def merge_result(ctx: FrozenContext[Any], delta: Delta, returns: Any, task: CalledTask | None = None) -> None:
    """Merge the work of a branch as `merge` does; `returns` is the return annotation of the branch's task."""
    if not isinstance(delta, Delta):
        raise ForeignDeltaError(short(delta), f"a delta is what child.delta() returns, not a {type_name(type(delta))}")
        # If the delta of a child was already taken, work merged into the child would be lost.
    token_of(checked(ctx)).check_open()
    state = state_of(ctx)
    state.dispatcher.lock.run(partial(_merge_checked, state, registry_of(state), delta, returns, task))
    discard(delta)


def merge_earlier(state: State, work: Work, returns: Any = Any) -> None:
    """Merge work that was done in an earlier run; raise as `merge` does.

    It is the work of a branch with the name of its first step, which is forked at this moment if it was not before.
    """
    digest = digest_of(state.schema, work)
    state.dispatcher.lock.run(partial(_merge_earlier, state, work, digest, returns))


def _merge_earlier(state: State, work: Work, digest: str, returns: Any) -> None:
    registry, branch = registry_of(state), work.names[0]
    receipt = registry.receipt(branch)
    if receipt is None:
        _merge_work(state, registry, work, digest, returns)
    else:
        _check_same(receipt, branch, digest)


def _merge_checked(state: State, registry: BranchRegistry, delta: Delta, returns: Any, task: CalledTask | None) -> None:
    _check_own(state, registry, delta)
    receipt = registry.receipt(delta.branch)
    if receipt is not None:
        _check_same(receipt, delta.branch, delta.digest)
        return
    work = work_of(delta)
    if task is not None:
        work = work._replace(tasks={delta.branch: task})
    _merge_work(state, registry, work, delta.digest, returns)


def _merge_work(state: State, registry: BranchRegistry, work: Work, digest: str, returns: Any) -> None:
    """Merge the work of a branch that is not merged yet."""
    branch = work.names[0]
    _check_free(state, registry, work)
    if not work.is_frozen:
        work = work._replace(values=_frozen(state, work.values))
    if state.dispatcher.sinks:
        _check_sizes(state, work)
    if work.artifacts:  # before the fact that names them
        work = work._replace(artifacts=tuple(map(state.artifact_store.kept, work.artifacts)))
    known = registry.entries.get(branch)
    entry = known or BranchEntry(registry.next_rank(), state.marks())
    receipt = MergeReceipt(digest, work.result, work.item, False)
    effect = partial(_apply, state, registry, entry, work, receipt)
    try:
        if state.dispatcher.sinks:
            shown = MASK if secrets_in(work.result) else work.result
            last = BranchMerged(branch, digest, shown, returns, work.item)
            merged = MergedWork(state, work, last, is_known=known is not None)
            state.dispatcher.commit(effect, lambda: entry.receipt is receipt, lambda: (merged,))
        else:
            effect()
    finally:
        # Also if a sink has failed.
        if entry.receipt is receipt:
            note_merge(state, registry, branch)


def _check_sizes(state: State, work: Work) -> None:
    """Raise TooLargeError if a value or an artifact of a branch is too large for a sink."""
    sinks = state.dispatcher.sinks
    for name, raw in work.values.items():
        check_value_size(sinks, name, state.schema.key(name), StoredValue._make(raw).read())
    for artifact in work.artifacts:
        check_artifact_size(sinks, artifact.name, artifact.size)


def _check_own(state: State, registry: BranchRegistry, delta: Delta) -> None:
    """Check that a delta belongs to a branch of this context."""
    within, fingerprint = parent_of(delta)
    if within != registry.within:
        owner = "the context itself" if within is None else f"the child of branch {within!r}"
        own = "the context itself" if registry.within is None else f"the child of branch {registry.within!r}"
        raise ForeignDeltaError(delta.branch, f"it was forked from {owner}, and this is {own}; merge it there")
    metrics = state.metric_store.schema
    if fingerprint != fingerprint_of(state.schema, metrics):
        label = schema_label(state.schema, metrics)
        reason = f"its work was accepted by another schema or other metrics than {label} here; nothing of it was merged"
        raise ForeignDeltaError(delta.branch, f"{reason}. Did the code change between fork and merge?")


def _check_same(receipt: MergeReceipt, branch: str, digest: str) -> None:
    """Check that a branch that is already merged has the same work again."""
    pairs = zip(DIGEST_PARTS, receipt.digest.split("-"), digest.split("-"), strict=True)
    different = [part for part, before, now in pairs if before != now]
    if different:
        raise DivergentRetryError(branch, " and ".join(different))


def _check_free(state: State, registry: BranchRegistry, work: Work) -> None:
    """Check that the context has no key, artifact, step or metric that conflicts with the work of a branch."""
    branch, store = work.names[0], state.metric_store
    for key, raw in work.values.items():
        if key in state.values:
            _raise_conflict(branch, key, state.stored(key), StoredValue._make(raw))
    for artifact in work.artifacts:
        other = state.artifact_store.clash(artifact)
        if other is not None:
            writers = (_writer(other.step), _writer(artifact.step))
            raise MergeConflictError(branch, "artifact", artifact.name, writers)
    if branch not in registry.entries and store.registry.is_used(branch):
        raise BranchError(branch, "there is a step of that name in this context")
    for name, metric in work.undeclared.items():
        log = store.logs.get(name)
        if log is None:
            continue
        if metric is not None:
            store.find(metric)
        elif log.metric is not None:
            reason = f"metric {name!r} was first recorded as {log.metric!r}, and in branch {branch!r} undeclared"
            raise ForeignMetricError(name, None, None, reason)


def _raise_conflict(branch: str, key: str, held: StoredValue, brought: StoredValue) -> None:
    raise MergeConflictError(branch, "key", key, (_writer(held.step), _writer(brought.step)))


def _writer(step: str | None) -> str:
    return "the parent outside any step" if step is None else f"step {step!r}"


def _frozen(state: State, values: dict[str, RawValue]) -> dict[str, RawValue]:
    """Freeze values that came from another process."""
    made: dict[str, RawValue] = {}
    for key, (value, _, step, is_input) in values.items():
        kept, thaw = state.freeze(state.schema.key(key), key, value, is_owned=True)
        made[key] = (kept, thaw, step, is_input)
    return made


def _apply(state: State, registry: BranchRegistry, entry: BranchEntry, work: Work, receipt: MergeReceipt) -> None:
    """Insert the work of a branch into a state: all of it, or nothing.

    Each effect registers its undo before it takes place, so that an error or Ctrl-C at any moment leaves no trace.
    """
    branch, rank, marks, store = work.names[0], entry.rank, entry.marks, state.metric_store
    is_known = branch in registry.entries

    def forget() -> None:
        entry.receipt = None
        if not is_known:
            registry.entries.pop(branch, None)
            store.registry.release(branch)

    with ExitStack() as undo:
        undo.callback(forget)
        _claim(state, branch, work.values, undo)
        state.keys.insert(rank, marks.keys, tuple(work.values), undo)
        for name, blocks in work.points.items():
            if name not in store.logs:
                undo.callback(_drop_empty, store.logs, name)
            log = store.open(work.undeclared.get(name) or name)
            log.points.insert(rank, marks.points.get(name, 0), PointSection(blocks, work.names, branch), undo)
        state.artifact_store.insert(rank, marks.artifacts, work.artifacts, undo)
        state.step_log.insert(rank, marks.steps, work.steps, undo)
        if not is_known:
            store.registry.reserve(branch)
        entry.receipt = receipt
        registry.entries[branch] = entry
        undo.pop_all()


def _claim(state: State, branch: str, values: Mapping[str, RawValue], undo: ExitStack) -> None:
    if not values:
        return
    undo.callback(state.release, values)
    for key, raw in values.items():
        if state.values.setdefault(key, raw) is not raw:
            # Another thread has just written it.
            _raise_conflict(branch, key, state.stored(key), StoredValue._make(raw))
    state.unsearched += values
    state.shared.update({key: raw[0] for key, raw in values.items() if raw[1] is None})


def _drop_empty(logs: dict[str, MetricLog], name: str) -> None:
    if name in logs and not len(logs[name].points):
        del logs[name]


def file_failure(ctx: FrozenContext[Any], record: StepRecord) -> None:
    """Add the record of a failed attempt; it is replaced when the branch fails again or is merged."""
    state = state_of(ctx)
    state.dispatcher.lock.run(partial(_file_failure, state, record))


def _file_failure(state: State, record: StepRecord) -> None:
    registry = registry_of(state)
    if registry.receipt(record.name) is not None:
        return
    entry = registry.entries[record.name]
    records = (record,)

    def effect() -> None:
        with ExitStack() as undo:
            state.step_log.insert(entry.rank, entry.marks.steps, records, undo)
            undo.pop_all()

    if state.dispatcher.sinks:
        events = (StepStarted(record.name, record.started, record.name), record.as_event(record.name))
        state.dispatcher.commit(effect, lambda: state.step_log.section(entry.rank) is records, lambda: events)
    else:
        effect()
