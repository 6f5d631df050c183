"""Branches: one context over many workers, each with a child of its own, which is merged into it once.

A branch is read as a step that was done elsewhere: what it brought stands in the parent where it was forked, whoever
finished first and however often a worker died.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from itertools import chain
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar
from weakref import ref

from pydantic_core import to_json

from .._base.text import MASK, short, type_name
from .._core.codec import fingerprints
from .._core.context import FrozenContext, State, T_co
from .._core.freezing import secrets_in
from .._core.logging_context import LoggingContext, Opening, closed, step_path, told_of
from .._core.metrics import Metric, MetricSchema, as_number, fetched
from .._core.ordered_log import Fork, Merged, Place
from .._core.point_log import StepRegistry, StepToken, fetch
from .._core.provenance import StepRecord, StoredValue
from .._core.schema import Schema, digest
from ..errors import (
    BranchError,
    DivergentRetryError,
    ForeignDeltaError,
    ForeignMetricError,
    MergeConflictError,
    SchemaError,
)
from ..events import (
    ArtifactAdded,
    BranchForked,
    BranchMerged,
    Event,
    MetricRecorded,
    StepStarted,
)
from .delta import PARTS, Delta, Work, digest_of, dumped, loaded

__all__ = [
    "Branch",
    "BranchContext",
    "checked",
    "failed_record",
    "file_failure",
    "fork",
    "forked",
    "merge",
    "merge_result",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Base:
    """What a context held when branches were forked from it; one for all that were forked together."""

    schema: Schema
    cells: dict[str, StoredValue]
    metrics: type[MetricSchema] | None
    undeclared: dict[str, Metric[Any, Any] | None]
    """The metrics that are held to what they were first used as, where there is no schema of them."""
    logger: Any
    fingerprint: str

    @classmethod
    def of(cls, ctx: FrozenContext[Any]) -> "_Base":
        """Return what a context holds; whoever calls has the lock over effect and event."""
        state = ctx._state
        last = None if state.forked is None else state.forked()
        if isinstance(last, cls) and last._is_of(ctx):
            return last
        base = cls._taken(ctx)
        # As long as a branch has it; it may be large.
        state.forked = ref(base)
        return base

    def _is_of(self, ctx: FrozenContext[Any]) -> bool:
        """Whether a context holds no more by now: what is written stays."""
        state, channels = ctx._state, ctx._state.metrics._store.channels
        is_same = self.cells.keys() == state.cells.keys() and self.logger is ctx.logger
        return is_same and (self.metrics is not None or self.undeclared.keys() == channels.keys())

    @classmethod
    def _taken(cls, ctx: FrozenContext[Any]) -> "_Base":
        state = ctx._state
        metrics = state.metrics
        used = {name: channel.metric for name, channel in metrics._store.channels.copy().items()}
        undeclared = used if metrics.schema is None else {}
        cells = {key: state.cells[key] for key in state.ordered()}
        own = _fingerprint(state.schema, metrics.schema)
        return cls(state.schema, cells, metrics.schema, undeclared, ctx.logger, own)

    @property
    def label(self) -> str:
        """What to call the schema."""
        return _label(self.schema, self.metrics)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The values that need no copying."""
        return {key: cell[0] for key, cell in self.cells.items() if cell[1] is None}

    def packed(self, branch: str) -> tuple[str, bytes] | None:
        """Return it as bytes, after a digest of them; None where whoever sends it has to say how.

        Args:
            branch: The branch that is sent; those that are sent with the same base after it need not pack it again.

        Raises:
            TravelError: Something in it cannot be sent.
        """
        if "_packed" not in vars(self):
            vars(self)["_packed"] = self._pack(branch)
        packed: tuple[str, bytes] | None = vars(self)["_packed"]
        return packed

    def _pack(self, branch: str) -> tuple[str, bytes] | None:
        content = dumped(self, branch, self._parts)
        # What the main module defines is found by its name in the workers of some engines, and others send it along.
        by_name = b"cloudpickle" not in content and (b"__main__" in content or b"__mp_main__" in content)
        return None if by_name else (digest(content), content)

    def _parts(self) -> Iterator[tuple[str, Any]]:
        yield "the schema", self.schema.shape
        yield "the metrics", self.metrics
        yield "the logger", self.logger
        for key, (kept, thaw, _, _) in self.cells.items():
            yield f"key {key!r}", kept if thaw is None else thaw()

    def __reduce__(self) -> tuple[Any, ...]:
        values = {key: (kept if thaw is None else thaw(), *who) for key, (kept, thaw, *who) in self.cells.items()}
        shape = () if self.schema is Schema.untyped() else (self.schema.shape,)
        return _unpacked_base, (shape, values, self.metrics, self.undeclared, self.logger)


def _unpacked_base(
    shape: tuple[Any, ...], values: dict[str, Any], metrics: Any, undeclared: dict[str, Any], logger: Any
) -> _Base:
    state = State(Schema.of(*shape) if shape else Schema.untyped())
    for key, (value, step, is_input) in values.items():
        state.write(key, value, StepToken(step), is_input=is_input, trusted=True)
    return _Base(state.schema, state.cells, metrics, undeclared, logger, _fingerprint(state.schema, metrics))


def _label(schema: Schema, metrics: type[MetricSchema] | None) -> str:
    return schema.name if metrics is None else f"{schema.name} with {metrics.__qualname__}"


def _fingerprint(schema: Schema, metrics: type[MetricSchema] | None) -> str:
    """Return what tells one schema with its metrics from another, in every process."""
    return _fingerprint_of((schema, metrics))


@lru_cache(maxsize=64)
def _fingerprint_of(kinds: tuple[Schema, type[MetricSchema] | None]) -> str:
    return digest(to_json(fingerprints(*kinds)))


class Branch(Generic[T_co]):
    """What a worker needs to do its part: what the parent held when the branch was forked. It pickles.

    Got from `fork`. A pickle holds secrets in clear; it is for engines that one trusts.

    Example:
        >>> branch = fork(FrozenContext({"lr": 0.1}), "fold-3")
        >>> branch.name, branch.open()["lr"]
        ('fold-3', 0.1)

    Attributes:
        name: Its full name, after the step that it was forked from: "tune/fold-3".
    """

    __slots__ = ("_base", "_fingerprint", "_packed", "_within", "name")

    name: str
    _base: _Base | None
    _packed: tuple[str, bytes] | None
    """The base as it came from another process, after its digest."""
    _fingerprint: str
    """Of the parent's schema and metrics."""
    _within: str | None
    """The branch whose child the parent is; None if it is no branch's."""

    def __init__(
        self, name: str, within: str | None, fingerprint: str, base: _Base | None, packed: tuple[str, bytes] | None
    ) -> None:
        """Take over what `fork` has found."""
        for attribute, value in zip(Branch.__slots__, (base, fingerprint, packed, within, name), strict=True):
            object.__setattr__(self, attribute, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a branch stays what was forked."""
        raise AttributeError(f"{name!r} of a branch cannot be set: it stays what was forked")

    def open(self) -> "BranchContext[T_co]":
        """Return a fresh child: a context of its own that holds the keys that the parent held.

        What is read and written through it becomes the record of a step with the branch's name.

        Raises:
            TravelError: What the parent held cannot be read in this process.
            ForeignDeltaError: The schema or the metrics are others in this process.
        """
        base = self._base if self._packed is None else _arrived(self.name, *self._packed)
        assert base is not None
        if base.fingerprint != self._fingerprint:
            reason = f"{base.label} is another in this process than where it was forked; does a worker have older code?"
            raise ForeignDeltaError(self.name, reason)
        return BranchContext._of(self, base)

    def __reduce__(self) -> tuple[Any, ...]:
        packed = self._packed or (self._base and self._base.packed(self.name))
        return Branch, (self.name, self._within, self._fingerprint, None if packed else self._base, packed)

    def __repr__(self) -> str:
        return f"Branch({self.name!r})"


_last_arrived: tuple[str, _Base] | None = None
"""What came last, as most often the next branch comes with the same. One, since it may be large."""


def _arrived(branch: str, which: str, content: bytes) -> _Base:
    """Return what the parent held, out of bytes; it was unpacked before if the last branch came with the same."""
    global _last_arrived
    last = _last_arrived
    if last is None or last[0] != which:
        last = which, loaded(content, branch, "what its parent held")
        _last_arrived = last
    return last[1]


class BranchContext(LoggingContext[T_co]):
    """The child of a branch: a context of its own, whose work `delta` takes to the parent.

    It holds the keys that the parent held at the fork. Metrics, artifacts and steps are those of the branch alone.
    A key that the parent holds is not written again here. Got from `Branch.open`.

    Example:
        >>> child = fork(FrozenContext({"lr": 0.1}), "fold-3").open()
        >>> child["score"] = child["lr"] * 2
        >>> child.delta()
        Delta('fold-3')
    """

    __slots__ = {
        "_held": "How many keys came from the parent.",
        "_made": "The delta, once it was taken.",
        "_parent": "What the branch is one of, and the schema as a fingerprint.",
        "_since": "When it was opened.",
    }

    if TYPE_CHECKING:
        _held: int
        _made: Delta | None
        _parent: tuple[str | None, str]
        _since: Opening

    @classmethod
    def _of(cls, branch: Branch[Any], base: _Base) -> "BranchContext[Any]":
        state = State(base.schema, base.metrics)
        state.branch = branch.name
        state.cells.update(base.cells)
        state.shared.update(base.shared)
        store = state.metrics._store
        for name, metric in base.undeclared.items():
            store.channels[name] = store.new(name if metric is None else metric)
        store.scopes = StepRegistry([None, branch.name])
        child: BranchContext[Any] = object.__new__(cls)
        child._open(state, StepToken(branch.name, 1), base.logger)
        for attribute, value in {
            "_held": len(base.cells),
            "_made": None,
            "_parent": (branch._within, base.fingerprint),
            "_since": Opening(datetime.now(UTC), perf_counter(), 1, {}),
        }.items():
            object.__setattr__(child, attribute, value)
        return child

    def delta(self) -> Delta:
        """End the branch and return all that was done in it, for `merge` in the parent. It pickles.

        Returns:
            The delta; when called again, the same one.

        Raises:
            BranchError: A step in it has not ended.
        """
        return self._delta()

    def _delta(self, result: Any = None, item: str | None = None) -> Delta:
        if self._made is None:
            with self._state.dispatcher.lock:
                work = self._work(result, item)
            digest = digest_of(self._state.schema, work)
            made = Delta(str(self._scope.step), digest, *self._parent, work, None)
            object.__setattr__(self, "_made", made)
        assert self._made is not None
        return self._made

    def _failure(self, raised: BaseException) -> StepRecord:
        """End the branch as one that failed.

        Args:
            raised: What its task raised.

        Returns:
            Its record.
        """
        error = told_of(raised, self._state.secrets())
        with self._state.dispatcher.lock:
            record = closed(self, self._since, error)
        return failed_record(record)

    def _secrets(self) -> list[str | bytes]:
        """Return the secrets, in clear, that what it raises may tell, and that the parent does not hold."""
        state = self._state
        written = [state.read(key) for key in state.ordered()[self._held :]]
        return [*secrets_in(written), *state.lost_secrets]

    def _work(self, result: Any, item: str | None) -> Work:
        state, store = self._state, self._state.metrics._store
        ended = {record.name for record in state.provenance.steps}
        opened = [name for name in store.scopes.names[2:] if name not in ended]
        if opened:
            reason = f"step {opened[0]!r} has not ended; end it before the delta is taken"
            raise BranchError(str(self._scope.step), reason)
        record = closed(self, self._since, None)
        channels = store.channels.copy()
        return Work(
            cells={key: state.cells[key] for key in state.ordered()[self._held :]},
            points={name: channel.log.packed() for name, channel in channels.items() if len(channel.log)},
            undeclared={name: channel.metric for name, channel in channels.items()} if store.schema is None else {},
            names=[str(name) for name in store.scopes.names[1:]],
            steps=(*state.provenance.steps, record),
            artifacts=tuple(state.artifacts),
            result=as_number(result),
            item=item,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is a copy of the context, and no child: a branch has one child that brings its delta.
        restored, (_, *arguments) = super().__reduce__()
        return restored, (LoggingContext, *arguments)


def fork(ctx: FrozenContext[T_co], name: str) -> Branch[T_co]:
    """Fork a branch: an immutable spec of what a worker needs, which pickles, to be opened for each attempt.

    What the branch brings, when it is merged, stands where it was forked first. Forking again what has not been merged
    gives the same branch, with what the context holds by now.

    Args:
        ctx: The parent; or a step of it, which the branch is named after: "tune/fold-3".
        name: What to call it: printable characters other than `/` and `#`; the same for each attempt. Best the item.

    Returns:
        The branch. `Branch.open` gives a child to work with, whose `delta` is for `merge`.

    Raises:
        InvalidStepError: The name cannot be a step's.
        BranchError: There is a step of that name.
        StepClosedError: `ctx` is a step that has ended.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> child = fork(ctx, "fold-3").open()  # on any worker
        >>> child["score"] = child["lr"] * 2
        >>> merge(ctx, child.delta())
        >>> ctx["score"]
        0.2
    """
    (branch,) = forked(ctx, [step_path(ctx, name)])
    return branch


def _move(state: State, fork: Fork, place: Place) -> None:
    """Have a branch stand where it is forked anew, with what it brought."""
    number, to = fork.number, state.next_number()
    fork.number, fork.place, fork.is_adrift = to, place, False
    state.brought.move(number, to, place.keys)
    state.provenance._parts.move(number, to, place.steps)
    state.artifacts._parts.move(number, to, place.artifacts)
    for name, channel in state.metrics._store.channels.copy().items():
        channel.log.move(number, to, place.points.get(name, 0))


def forked(ctx: FrozenContext[_T], paths: list[str]) -> list[Branch[_T]]:
    """Fork branches, all at the same moment.

    Args:
        ctx: The parent, or a step of it.
        paths: The full names of the branches.

    Raises:
        BranchError: There is a step of one of these names.
        StepClosedError: `ctx` is a step that has ended.
    """
    checked(ctx)._scope.check_open()
    state = ctx._state
    scopes = state.metrics._store.scopes
    with state.dispatcher.lock:
        new = [path for path in paths if path not in state.forks]
        for path in new:
            if scopes.is_used(path):
                raise BranchError(path, "there is a step of that name; give the branch another one")
        # One base and one place for all, which may be many.
        base, place = _Base.of(ctx), state.place()
        placed = [path for path in paths if path not in state.forks or state.forks[path].is_adrift]
        for path in placed:
            fork = state.forks.get(path)
            if fork is None:
                scopes.reserve(path)
                state.forks[path] = Fork(state.next_number(), place)
            else:
                _move(state, fork, place)
        if state.dispatcher.sinks and placed:
            state.dispatcher.emit_all(map(BranchForked, placed))
    return [Branch(path, state.branch, base.fingerprint, base, None) for path in paths]


def merge(ctx: FrozenContext[Any], delta: Delta) -> None:
    """Merge what a branch did into its parent: all of it, once, or nothing.

    It is trusted: the same schema has accepted it. It stands where the branch was forked, in whichever order deltas
    come. The same delta again does nothing.

    Args:
        ctx: The context from which the branch was forked, or a step of it.
        delta: What the branch did.

    Raises:
        ForeignDeltaError: It is of another schema, or of a branch of another context.
        DivergentRetryError: The branch was merged before, with other content.
        MergeConflictError: It wrote a key, or added an artifact, that is there by now.
        BranchError: There is a step of the branch's name.
        StepClosedError: `ctx` is a step, or a child, that has ended.
        ForeignMetricError: It recorded a metric under a name that stands for another one by now.
        TravelError: It cannot be read in this process.
        SinkError: It is merged, and a sink failed to take note.

    Example:
        >>> ctx = FrozenContext()
        >>> child = fork(ctx, "fold-3").open()
        >>> child.record("score", 0.9)
        >>> merge(ctx, child.delta())
        >>> ctx.metrics["score"], ctx.provenance.finished("fold-3")
        ((0.9,), True)
    """
    merge_result(ctx, delta, Any)


def merge_result(ctx: FrozenContext[Any], delta: Delta, returns: Any) -> None:
    """Merge what a branch did, as `merge` does.

    Args:
        ctx: The context from which the branch was forked, or a step of it.
        delta: What the branch did.
        returns: What its task says that it returns, for a journal to give that back.
    """
    if not isinstance(delta, Delta):
        raise ForeignDeltaError(short(delta), f"a delta is what child.delta() returns, not a {type_name(type(delta))}")
    # Of a child whose delta was taken nobody would notice.
    checked(ctx)._scope.check_open()
    state = ctx._state
    with state.dispatcher.lock:
        _check_own(state, delta)
        fork = state.forks.get(delta.branch)
        if fork is not None and fork.merged is not None:
            _check_same(fork.merged, delta)
            return
        work = delta._unpacked()
        _check_free(state, delta.branch, work)
        cells = work.cells if work.is_frozen else _frozen(state, work.cells)
        is_known = fork is not None
        if fork is None:
            fork = Fork(state.next_number(), state.place())
        _apply(state, fork, work, cells, Merged(delta.digest, work.result, work.item, False))
        if state.dispatcher.sinks:
            forked = () if is_known else (BranchForked(delta.branch),)
            shown = MASK if secrets_in(work.result) else work.result
            merged = BranchMerged(delta.branch, delta.digest, shown, returns, work.item)
            # There may be many points, and a journal reads them where they are by now.
            is_enough = all(getattr(sink, "takes_merges", False) for sink in state.dispatcher.sinks)
            events = () if is_enough else _events(state, delta.branch, work)
            state.dispatcher.emit_all(chain(forked, events, (merged,)))


def _check_own(state: State, delta: Delta) -> None:
    """Check that a delta is one of this context.

    Raises:
        ForeignDeltaError: It is not.
    """
    if delta._within != state.branch:
        owner = "the context itself" if delta._within is None else f"the child of branch {delta._within!r}"
        own = "the context itself" if state.branch is None else f"the child of branch {state.branch!r}"
        raise ForeignDeltaError(delta.branch, f"it was forked from {owner}, and this is {own}; merge it there")
    if delta._fingerprint != _fingerprint(state.schema, state.metrics.schema):
        label = _label(state.schema, state.metrics.schema)
        reason = f"its work was accepted by another schema or other metrics than {label} here; nothing of it was merged"
        raise ForeignDeltaError(delta.branch, f"{reason}. Did the code change between fork and merge?")


def _check_same(merged: Merged, delta: Delta) -> None:
    """Check that a branch that was merged comes with the same work.

    Raises:
        DivergentRetryError: It comes with other work.
    """
    pairs = zip(PARTS, merged.digest.split("-"), delta.digest.split("-"), strict=True)
    different = [what for what, before, now in pairs if before != now]
    if different:
        raise DivergentRetryError(delta.branch, " and ".join(different))


def _check_free(state: State, branch: str, work: Work) -> None:
    """Check that what a branch brings has a place.

    Raises:
        MergeConflictError: A key or artifact is there, by somebody else.
        ForeignMetricError: A metric's name stands for another one.
        BranchError: There is a step of the branch's name.
    """
    for key, (_, _, step, _) in work.cells.items():
        held = state.cells.get(key)
        if held is not None:
            raise MergeConflictError(branch, "key", key, (_writer(held[2]), _writer(step)))
    for artifact in work.artifacts:
        other = state.artifacts._clash(artifact)
        if other is not None:
            raise MergeConflictError(branch, "artifact", artifact.name, (_writer(other.step), _writer(artifact.step)))
    if branch not in state.forks and state.metrics._store.scopes.is_used(branch):
        raise BranchError(branch, "there is a step of that name in this context")
    for name, metric in work.undeclared.items():
        channel = state.metrics._store.channels.get(name)
        if channel is None:
            continue
        if metric is not None:
            state.metrics._store.find(metric)
        elif channel.metric is not None:
            reason = f"metric {name!r} was first recorded as {channel.metric!r}, and in branch {branch!r} undeclared"
            raise ForeignMetricError(name, None, None, reason)


def _writer(step: str | None) -> str:
    return "the parent outside any step" if step is None else f"step {step!r}"


def _frozen(state: State, cells: dict[str, StoredValue]) -> dict[str, StoredValue]:
    """Freeze values that came from another process."""
    made: dict[str, StoredValue] = {}
    for key, (value, _, step, is_input) in cells.items():
        kept, thaw = state.frozen(state.schema.key(key), key, value)
        made[key] = (kept, thaw, step, is_input)
    return made


def _apply(state: State, fork: Fork, work: Work, cells: dict[str, StoredValue], merged: Merged) -> None:
    """Put what a branch did into a state: all of it, or nothing."""
    number, place, store, branch = fork.number, fork.place, state.metrics._store, work.names[0]
    is_known, offset = branch in state.forks, len(store.scopes.names) - 1
    failed = state.provenance._parts.of(number) or ()
    new = [name for name in work.points if name not in store.channels]
    try:
        for key, cell in cells.items():
            if state.cells.setdefault(key, cell) is not cell:
                # Another thread wrote it just now.
                raise MergeConflictError(branch, "key", key, (_writer(state.cells[key][2]), _writer(cell[2])))
        state.brought.add(number, place.keys, tuple(cells), len(cells))
        store.scopes.names += work.names
        for name, blocks in work.points.items():
            metric = work.undeclared.get(name)
            log = store.open(name if metric is None else metric).log
            log.bring(number, place.points.get(name, 0), blocks, offset, branch)
        state.artifacts._bring(number, place.artifacts, work.artifacts)
        state.provenance._bring(number, place.steps, work.steps)
        state.shared.update({key: cell[0] for key, cell in cells.items() if cell[1] is None})
        if not is_known:
            store.scopes.reserve(branch)
        # No call from here on: Ctrl-C comes before, and all is taken back, or after, and all is there.
        fork.merged = merged
        state.forks[branch] = fork
    except BaseException:  # also Ctrl-C
        _take_back(state, fork, work, cells, new, offset, failed)
        if not is_known:
            store.scopes.release(branch)
        raise


def _take_back(
    state: State,
    fork: Fork,
    work: Work,
    cells: dict[str, StoredValue],
    new: list[str],
    offset: int,
    failed: tuple[StepRecord, ...],
) -> None:
    """Undo what `_apply` has done so far.

    Args:
        state: The state.
        fork: The branch.
        work: What it did.
        cells: What it would have written.
        new: The metrics that nobody had recorded before.
        offset: Where the names of its steps begin, less one.
        failed: The record of an attempt at it that failed before, if one did.
    """
    number = fork.number
    for key, cell in cells.items():
        if state.cells.get(key) is cell:
            state.shared.pop(key, None)
            del state.cells[key]
    state.brought.drop(number)
    channels = state.metrics._store.channels
    for name in work.points:
        if name in channels:
            channels[name].log.give_back(number)
    for name in new:
        if name in channels and not len(channels[name].log):
            del channels[name]
    state.artifacts._give_back(number, work.artifacts)
    state.provenance._give_back(number, fork.place.steps, work.steps, failed)
    del state.metrics._store.scopes.names[offset + 1 :]


def _events(state: State, branch: str, work: Work) -> Iterator[Event]:
    """Return what sinks are told of all that a branch brought, one by one: there may be much."""
    names = work.names
    starts = {record.name: record.started for record in work.steps}
    # A branch of this one that failed has a record, and opened no step.
    for name in dict.fromkeys((*names, *starts)):
        yield StepStarted(name, starts[name], branch)
    for key in work.cells:
        yield state.written(key, branch)
    for name, blocks in work.points.items():
        rows = chain.from_iterable(block.rows() for block in blocks)
        for position, (value, tags, number) in enumerate(rows):
            yield MetricRecorded(name, fetch(value), fetched(tags), names[number - 1], position, branch)
    for artifact in work.artifacts:
        yield ArtifactAdded(*artifact, branch)
    for record in work.steps:
        yield record.as_event(branch)


def failed_record(record: StepRecord) -> StepRecord:
    """Return the record of a branch that failed: nothing of its work is in the parent, so none is named."""
    return record._replace(writes=(), points=MappingProxyType({}), artifacts=())


def file_failure(ctx: FrozenContext[Any], record: StepRecord) -> None:
    """File that an attempt at a branch has failed, until the branch is merged or fails again.

    Args:
        ctx: The context from which the branch was forked, or a step of it.
        record: The record of the attempt, under the name of the branch.

    Raises:
        SinkError: It is filed, and a sink failed to take note.
    """
    state, branch = ctx._state, record.name
    with state.dispatcher.lock:
        fork = state.forks[branch]
        if fork.merged is not None:
            return
        state.provenance._bring(fork.number, fork.place.steps, (record,))
        if state.dispatcher.sinks:
            state.dispatcher.emit(StepStarted(branch, record.started, branch), record.as_event(branch))


def checked(ctx: Any) -> FrozenContext[Any]:
    """Return a context, if it is one.

    Raises:
        SchemaError: It is something else.
    """
    if isinstance(ctx, FrozenContext):
        return ctx
    raise SchemaError("branch", f"what is forked is a FrozenContext, or a step of one, not {short(ctx)}")
