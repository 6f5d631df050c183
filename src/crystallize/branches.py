"""Branches: one context over many workers, each on a child of its own, merged into it once.

A branch is read as a step that was done elsewhere: what it brought stands in the parent where it was forked, whoever
finished first and however often a worker died.
"""

import logging
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from hashlib import blake2b, sha256
from importlib.util import find_spec
from itertools import chain
from queue import SimpleQueue
from time import perf_counter
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar, get_type_hints, overload

from pydantic_core import PydanticSerializationError, to_json

from .artifacts import Artifact
from .context import FrozenContext, State, T_co
from .errors import (
    BranchError,
    DivergentRetryError,
    ForeignDeltaError,
    ForeignMetricError,
    MergeConflictError,
    SchemaError,
    TravelError,
)
from .events import (
    ArtifactAdded,
    BranchForked,
    BranchMerged,
    Event,
    KeyWritten,
    MetricRecorded,
    StepFinished,
    StepStarted,
)
from .facts import Stored, any_key, fingerprints, key_of, restore
from .logging_context import LoggingContext, Opening, closed, step_path
from .metrics import Metric, MetricSchema, fetched
from .parts import Fork, Merged
from .points import Block, Scope, Scopes, fetch
from .provenance import Cell, StepRecord
from .schema import Key, Schema, digest
from .text import MASK, short, type_name
from .values import PLAIN, secrets_in

__all__ = ["Branch", "BranchContext", "Delta", "LostBranchesError", "fan_out", "fork", "merge"]

_T = TypeVar("_T")
_I = TypeVar("_I")
_R = TypeVar("_R")

_log = logging.getLogger("crystallize")


class LostBranchesError(BranchError, BrokenExecutor):
    """Workers died before all branches had ended. What the others did is merged; the same call runs the rest.

    Attributes:
        branch: The first of the branches that did not end.
        reason: Which did not, and what to do about it.
        items: The items whose branches did not end, in short.
    """

    # Here and not beside the others: its base takes too long to import for those who have no branches.

    def __init__(self, branch: str, items: tuple[str, ...], cause: str) -> None:
        named = ", ".join(items[:8]) + (f", and {len(items) - 8} more" if len(items) > 8 else "")
        super().__init__(
            branch,
            f"the executor broke before {len(items)} of its branches had ended, of the items {named} ({cause}); the "
            "others are merged, and the same fan_out with a new executor runs these alone",
        )
        self.args = (branch, items, cause)
        self.items = items


# What a branch takes along.


@dataclass(frozen=True)
class _Base:
    """What a context held when branches were forked from it; one for all that were forked together."""

    schema: Schema
    cells: dict[str, Cell]
    metrics: type[MetricSchema] | None
    undeclared: dict[str, Metric[Any, Any] | None]
    """The metrics that are held to what they were first used as, where there is no schema of them."""
    logger: Any
    fingerprint: str

    @classmethod
    def of(cls, ctx: FrozenContext[Any]) -> "_Base":
        """Take what a context holds; whoever calls has the lock over effect and event."""
        state = ctx._state
        metrics = state.metrics
        first = {name: channel.metric for name, channel in metrics._store.channels.copy().items()}
        undeclared = first if metrics.schema is None else {}
        cells = {key: state.cells[key] for key in state.ordered()}
        print_ = _fingerprint(state.schema, metrics.schema)
        return cls(state.schema, cells, metrics.schema, undeclared, ctx.logger, print_)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The values that need no copying."""
        return {key: cell[0] for key, cell in self.cells.items() if cell[1] is None}

    @cached_property
    def packed(self) -> tuple[str, bytes] | None:
        """It as bytes, with a digest of them; None where whoever sends it has to say how.

        Raises:
            TravelError: Something in it cannot be sent.
        """
        content = _dumped(self, "its parent", self._parts)
        # What the main module defines is found by its name in some engines' workers, and in others is sent along.
        return None if b"__main__" in content or b"__mp_main__" in content else (digest(content), content)

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
        state.write(key, value, Scope(step), is_input=is_input, trusted=True)
    return _Base(state.schema, state.cells, metrics, undeclared, logger, _fingerprint(state.schema, metrics))


def _fingerprint(schema: Schema, metrics: type[MetricSchema] | None) -> str:
    """Return what tells one schema with its metrics from another, in every process."""
    return _fingerprint_of((schema, metrics))


@lru_cache(maxsize=64)
def _fingerprint_of(kinds: tuple[Schema, type[MetricSchema] | None]) -> str:
    return digest(to_json(fingerprints(*kinds)))


def _dumped(whole: Any, branch: str, parts: Callable[[], Iterable[tuple[str, Any]]]) -> bytes:
    """Pickle something; by cloudpickle, where that is installed, what pickle itself cannot.

    Args:
        whole: What to pickle.
        branch: Whose it is, for the error.
        parts: Returns what it is made of, each with what to call it, to say which cannot be pickled.

    Raises:
        TravelError: It cannot be pickled.
    """
    ways: list[Callable[..., bytes]] = [pickle.dumps]
    if find_spec("cloudpickle") is not None:
        from cloudpickle import dumps  # an engine's own

        ways.append(dumps)
    first: Exception | None = None
    for dump in ways:
        try:
            return dump(whole, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever a type's own way to be pickled raises
            first = first or error
    for name, part in parts():
        for dump in ways:
            try:
                dump(part)
                break
            except Exception as error:  # as above
                reason = (
                    f"{name} cannot be sent to another process: a {type_name(type(part))} does not pickle ({error})"
                )
        else:
            raise TravelError(branch, reason) from first
    raise TravelError(branch, f"it cannot be sent to another process ({first})") from first


def _loaded(content: bytes, branch: str, what: str) -> Any:
    try:
        return pickle.loads(content)
    except Exception as error:  # whatever a type's own way to be unpickled raises
        reason = f"{what} cannot be read in this process ({type(error).__name__}: {error})"
        raise TravelError(branch, reason) from error


class Branch(Generic[T_co]):
    """What a worker needs to do its part: what the parent held when the branch was forked. It pickles.

    Got from `fork`. A pickle holds secrets in clear; it is for engines that one trusts.

    Attributes:
        name: Its full name, after the step that it was forked from: "tune/fold-3".
    """

    __slots__ = ("_base", "_packed", "_within", "name")

    name: str
    _base: _Base | None
    _packed: tuple[str, bytes] | None
    _within: str | None

    def __init__(self, name: str, within: str | None, base: _Base | None, packed: tuple[str, bytes] | None) -> None:
        for attribute, value in zip(Branch.__slots__, (base, packed, within, name), strict=True):
            object.__setattr__(self, attribute, value)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a branch stays what was forked."""
        raise AttributeError(f"{name!r} of a branch cannot be set: it stays what was forked")

    def open(self) -> "BranchContext[T_co]":
        """Return a fresh child: a context of its own that holds the keys that the parent held.

        What is read and written through it becomes the record of a step with the branch's name.

        Raises:
            TravelError: What the parent held cannot be read in this process.
        """
        base = self._base if self._packed is None else _arrived(self.name, *self._packed)
        assert base is not None
        return BranchContext._of(self, base)

    def __reduce__(self) -> tuple[Any, ...]:
        packed = self._packed or (self._base and self._base.packed)
        return Branch, (self.name, self._within, None if packed else self._base, packed)

    def __repr__(self) -> str:
        return f"Branch({self.name!r})"


_last_arrived: tuple[str, _Base] | None = None
"""What came last, as most often the next branch comes with the same. One, since it may be large."""


def _arrived(branch: str, which: str, content: bytes) -> _Base:
    """Return what the parent held, out of bytes; it was unpacked before if the last branch came with the same."""
    global _last_arrived
    last = _last_arrived
    if last is None or last[0] != which:
        last = which, _loaded(content, branch, "what its parent held")
        _last_arrived = last
    return last[1]


class BranchContext(LoggingContext[T_co]):
    """The child of a branch: a context of its own, whose work `delta` takes to the parent.

    It holds the keys that the parent held at the fork. Metrics, artifacts and steps are those of the branch alone.
    A key that the parent holds is not written again here. Got from `Branch.open`.
    """

    __slots__ = {
        "_held": "How many keys came from the parent.",
        "_made": "The delta, once it was taken.",
        "_parent": "What the branch is one of, and the schema as a fingerprint.",
        "_since": "When it was opened.",
    }

    if TYPE_CHECKING:
        _held: int
        _made: "Delta | None"
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
        store.scopes = Scopes([None, branch.name])
        child: BranchContext[Any] = object.__new__(cls)
        child._open(state, Scope(branch.name, 1), base.logger)
        for attribute, value in {
            "_held": len(base.cells),
            "_made": None,
            "_parent": (branch._within, base.fingerprint),
            "_since": Opening(datetime.now(UTC), perf_counter()),
        }.items():
            object.__setattr__(child, attribute, value)
        return child

    def delta(self) -> "Delta":
        """End the branch and return all that was done in it, for `merge` in the parent. It pickles.

        Returns:
            The delta; when called again, the same one.

        Raises:
            BranchError: A step in it has not ended.
        """
        return self._delta()

    def _delta(self, result: Any = None, item: str | None = None) -> "Delta":
        if self._made is None:
            with self._state.outlet.lock:
                content = self._content(result, item)
            made = Delta(str(self._scope.step), *self._parent, _digest(self._state.schema, content), content)
            object.__setattr__(self, "_made", made)
        made_before = self._made
        assert made_before is not None
        return made_before

    def _content(self, result: Any, item: str | None) -> "_Content":
        state, store = self._state, self._state.metrics._store
        ended = {record.name for record in state.provenance.steps}
        opened = [name for name in store.scopes.names[2:] if name not in ended]
        if opened:
            raise BranchError(
                str(self._scope.step), f"step {opened[0]!r} has not ended; end it before its delta is taken"
            )
        record = closed(self, self._since, {}, None)
        channels = store.channels.copy()
        return _Content(
            cells={key: state.cells[key] for key in state.ordered()[self._held :]},
            points={name: channel.log.packed() for name, channel in channels.items() if len(channel.log)},
            undeclared={name: channel.metric for name, channel in channels.items()} if store.schema is None else {},
            names=[str(name) for name in store.scopes.names[1:]],
            steps=(*state.provenance.steps, record),
            artifacts=tuple(state.artifacts),
            result=result,
            item=item,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is a copy of the context, and no child: a branch has one child that brings its delta.
        restored, (_, *arguments) = super().__reduce__()
        return restored, (LoggingContext, *arguments)


# What a branch brings.


class _Content(NamedTuple):
    """All that was done in a branch."""

    cells: dict[str, Cell]
    points: dict[str, tuple[Block, ...]]
    """By metric."""
    undeclared: dict[str, Metric[Any, Any] | None]
    """The metrics that were used, where there is no schema of them."""
    names: list[str]
    """The branch, then its steps, in the order in which they were opened; the scopes of points count them from 1."""
    steps: tuple[StepRecord, ...]
    """Their records in the order in which they ended, that of the branch last."""
    artifacts: tuple[Artifact, ...]
    result: Any
    """What its task returned."""
    item: str | None
    """A digest of the item that its task was given, where there is one."""
    is_frozen: bool = True
    """Whether the values are frozen; in another process they are not."""

    def parts(self) -> Iterator[tuple[str, Any]]:
        """What it is made of, each with what to call it."""
        yield "what its task returned", self.result
        for key, (kept, thaw, _, _) in self.cells.items():
            yield f"key {key!r}", kept if thaw is None else thaw()
        for name, blocks in self.points.items():
            yield f"metric {name!r}", blocks


class Delta:
    """What a branch did, for `merge` in the parent. It pickles, and does not change.

    Attributes:
        branch: The full name of the branch.
        digest: Of all that it brings, times aside: two attempts that did the same have the same.
    """

    __slots__ = ("_content", "_fingerprint", "_packed", "_within", "branch", "digest")

    branch: str
    digest: str
    _content: _Content | None
    _fingerprint: str
    _packed: bytes | None
    _within: str | None

    def __init__(
        self,
        branch: str,
        within: str | None,
        fingerprint: str,
        digest: str,
        content: _Content | None,
        packed: bytes | None = None,
    ) -> None:
        values = {"_content": content, "_fingerprint": fingerprint, "_packed": packed, "_within": within}
        for attribute, value in {**values, "branch": branch, "digest": digest}.items():
            object.__setattr__(self, attribute, value)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a delta stays what was done."""
        raise AttributeError(f"{name!r} of a delta cannot be set: it stays what was done")

    def _content_here(self) -> _Content:
        if self._content is not None:
            return self._content
        content: _Content = _loaded(self._packed or b"", self.branch, "what it brings")
        return content

    def _sent(self) -> "Delta":
        """Return it as it travels: in bytes, which unpack without running anything that could fail."""
        content = self._content
        if content is None:
            return self
        cells = {
            key: (kept if thaw is None else thaw(), None, *who) for key, (kept, thaw, *who) in content.cells.items()
        }
        packed = _dumped(content._replace(cells=cells, is_frozen=False), self.branch, content.parts)
        return Delta(self.branch, self._within, self._fingerprint, self.digest, None, packed)

    def __reduce__(self) -> tuple[Any, ...]:
        sent = self._sent()
        return Delta, (sent.branch, sent._within, sent._fingerprint, sent.digest, None, sent._packed)

    def __repr__(self) -> str:
        return f"Delta({self.branch!r})"


_PARTS = ("the keys that it wrote", "the points that it recorded", "its artifacts", "its steps", "what it returned")
"""What the parts of a delta's digest are of, in order."""


def _digest(schema: Schema, content: _Content) -> str:
    """Return what is the same for two attempts that did the same: part by part, so that it can be told what differs."""
    keys = sorted(
        [key, str(step), _value_digest(schema.key(key), kept if thaw is None else thaw())]
        for key, (kept, thaw, step, _) in content.cells.items()
    )
    artifacts = sorted([one.name, str(one.step), sha256(one.data).hexdigest()] for one in content.artifacts)
    steps = sorted([one.name, sorted(one.reads), sorted(one.absent), str(one.error)] for one in content.steps)
    parts: tuple[Iterable[bytes], ...] = (
        [_json(keys)],
        _points_in_pieces(content),
        [_json(artifacts)],
        [_json(steps)],
        [_value_digest(any_key(), content.result).encode()],
    )
    digests = []
    for part in parts:
        made = blake2b(digest_size=8)
        for piece in part:
            made.update(piece)
        digests.append(made.hexdigest())
    return "-".join(digests)


def _points_in_pieces(content: _Content) -> Iterator[bytes]:
    """Return the points of a delta as bytes, a piece at a time, as there may be many."""
    for name in sorted(content.points):
        yield _json([name, content.names])
        for block in content.points[name]:
            yield _json(block.names)
            for column in block.columns:
                yield _json(
                    [item if type(item) in PLAIN else _value_digest(any_key(), fetch(item)) for item in column]
                )


def _value_digest(key: Key, value: Any) -> str:
    """Return a digest of a value; of one that has none, its type alone, so that the first to be merged is taken."""
    content = None if key.secret or key.shared else _bytes_of(key, value)
    return type_name(type(value)) if content is None else digest(content)


def _bytes_of(key: Key, value: Any) -> bytes | None:
    """Return bytes that are the same for equal values; None where that is not known, or the value may be a secret."""
    if type(value) in PLAIN:
        return _json(value)
    return None if secrets_in(value) else key.content(value)


def _json(value: Any) -> bytes:
    """Return something as JSON, also a text that is not Unicode."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return repr(value).encode(errors="backslashreplace")


# In the parent.


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
    """
    (branch,) = _forked(ctx, [step_path(ctx, name)])
    return branch


def _forked(ctx: FrozenContext[_T], paths: list[str]) -> list[Branch[_T]]:
    """Fork branches, all from the same moment."""
    _checked(ctx)._scope.check_open()
    state = ctx._state
    scopes = state.metrics._store.scopes
    with state.outlet.lock:
        new = [path for path in paths if path not in state.forks]
        for path in new:
            if scopes.is_used(path):
                raise BranchError(path, "there is a step of that name; give the branch another one")
        base, place = _Base.of(ctx), state.place()
        for path in new:
            scopes.reserve(path)
            state.forks[path] = Fork(len(state.forks), place)
        if state.outlet.sinks and new:
            state.outlet.tell_all(BranchForked(path) for path in new)
    return [Branch(path, state.branch, base, None) for path in paths]


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
        ForeignMetricError: It recorded a metric under a name that stands for another one by now.
        TravelError: It cannot be read in this process.
        SinkError: It is merged, and a sink failed to take note.
    """
    _merge(ctx, delta, Any)


def _merge(ctx: FrozenContext[Any], delta: Delta, returns: Any) -> None:
    if not isinstance(delta, Delta):
        raise ForeignDeltaError(short(delta), f"a delta is what child.delta() returns, not a {type_name(type(delta))}")
    state = _checked(ctx)._state
    with state.outlet.lock:
        _check_own(state, delta)
        fork = state.forks.get(delta.branch)
        if fork is not None and fork.merged is not None:
            _check_same(fork.merged, delta)
            return
        content = delta._content_here()
        _check_free(state, delta.branch, content)
        cells = content.cells if content.is_frozen else _frozen(state, content.cells)
        is_known = fork is not None
        if fork is None:
            fork = Fork(len(state.forks), state.place())
        offset = len(state.metrics._store.scopes.names) - 1
        _apply(state, fork, content, cells, offset)
        fork.merged = Merged(delta.digest, content.result, content.item, False)
        if not is_known:
            state.metrics._store.scopes.reserve(delta.branch)
            state.forks[delta.branch] = fork
        if state.outlet.sinks:
            forked = () if is_known else (BranchForked(delta.branch),)
            state.outlet.tell_all(chain(forked, _events(state, delta, content, returns)))


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
        measured = f" with {state.metrics.schema.__qualname__}" if state.metrics.schema is not None else ""
        raise ForeignDeltaError(
            delta.branch,
            f"its schema or metrics were other than {state.schema.name}{measured} is here; nothing of it was merged. "
            "Did the code change between fork and merge, or is a worker's older?",
        )


def _check_same(merged: Merged, delta: Delta) -> None:
    """Check that a branch that was merged comes with the same content.

    Raises:
        DivergentRetryError: It comes with other content.
    """
    pairs = zip(_PARTS, merged.digest.split("-"), delta.digest.split("-"), strict=True)
    different = [what for what, before, now in pairs if before != now]
    if different:
        raise DivergentRetryError(delta.branch, " and ".join(different))


def _check_free(state: State, branch: str, content: _Content) -> None:
    """Check that what a branch brings has a place.

    Raises:
        MergeConflictError: A key or artifact is there, by somebody else.
        ForeignMetricError: A metric's name stands for another one.
        BranchError: There is a step of the branch's name.
    """
    for key, (_, _, step, _) in content.cells.items():
        held = state.cells.get(key)
        if held is not None:
            raise MergeConflictError(branch, "key", key, (_writer(held[2]), _writer(step)))
    for artifact in content.artifacts:
        other = state.artifacts._clash(artifact)
        if other is not None:
            raise MergeConflictError(branch, "artifact", artifact.name, (_writer(other.step), _writer(artifact.step)))
    if branch not in state.forks and state.metrics._store.scopes.is_used(branch):
        raise BranchError(branch, "there is a step of that name in this context")
    for name, metric in content.undeclared.items():
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


def _frozen(state: State, cells: dict[str, Cell]) -> dict[str, Cell]:
    """Freeze values that came from another process."""
    made: dict[str, Cell] = {}
    for key, (value, _, step, is_input) in cells.items():
        kept, thaw = state.frozen(state.schema.key(key), key, value)
        made[key] = (kept, thaw, step, is_input)
    return made


def _apply(state: State, fork: Fork, content: _Content, cells: dict[str, Cell], offset: int) -> None:
    """Put what a branch did into a state: all of it, or nothing."""
    number, place, store = fork.number, fork.place, state.metrics._store
    claimed: list[str] = []
    try:
        for key, cell in cells.items():
            if state.cells.setdefault(key, cell) is not cell:
                # Another thread wrote it just now.
                raise MergeConflictError(
                    str(content.names[0]), "key", key, (_writer(state.cells[key][2]), _writer(cell[2]))
                )
            claimed.append(key)
        state.brought.add(number, place.keys, tuple(cells), len(cells))
        store.scopes.names += content.names
        for name, blocks in content.points.items():
            metric = content.undeclared.get(name)
            log = store.open(name if metric is None else metric).log
            log.bring(number, place.points.get(name, 0), blocks, offset)
        state.artifacts._bring(number, place.artifacts, content.artifacts)
        state.provenance._bring(number, place.steps, content.steps)
        state.shared.update({key: cell[0] for key, cell in cells.items() if cell[1] is None})
    except BaseException:  # also Ctrl-C
        _take_back(state, number, content, claimed, offset)
        raise


def _take_back(state: State, number: int, content: _Content, claimed: list[str], offset: int) -> None:
    """Undo what `_apply` has done so far."""
    for key in claimed:
        state.shared.pop(key, None)
        del state.cells[key]
    state.brought.drop(number, len(content.cells))
    for name in content.points:
        channel = state.metrics._store.channels.get(name)
        if channel is not None:
            channel.log.give_back(number, sum(block.size for block in content.points[name]))
    state.artifacts._give_back(number, content.artifacts)
    state.provenance._give_back(number, content.steps)
    del state.metrics._store.scopes.names[offset + 1 :]


def _events(state: State, delta: Delta, content: _Content, returns: Any) -> Iterator[Event]:
    """Return what sinks are told of a merged branch, one by one: there may be many points."""
    branch, names = delta.branch, content.names
    starts = {record.name: record.started for record in content.steps}
    for name in names:
        yield StepStarted(name, starts[name], branch)
    for key, (_, _, step, _) in content.cells.items():
        yield KeyWritten(key, state.told(state.schema.key(key), key), step, False, branch)
    for name, blocks in content.points.items():
        rows = chain.from_iterable(block.rows() for block in blocks)
        for position, (value, tags, number) in enumerate(rows):
            yield MetricRecorded(name, fetch(value), fetched(tags), names[number - 1], position, branch)
    for artifact in content.artifacts:
        yield ArtifactAdded(*artifact, branch)
    for record in content.steps:
        yield StepFinished(*record._replace(points=dict(record.points)), branch)
    shown = MASK if secrets_in(content.result) else content.result
    yield BranchMerged(branch, delta.digest, shown, returns, content.item)


# Many at once.


@overload
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[FrozenContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["raise"] = "raise",
    progress: bool = False,
) -> list[_R]: ...
@overload
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[FrozenContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["collect"],
    progress: bool = False,
) -> list[_R | BaseException]: ...
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[FrozenContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["raise", "collect"] = "raise",
    progress: bool = False,
) -> Any:
    """Run a task for each item on workers, each in a branch of its own, and merge what they did.

    The context is then as if the task had been run here for one item after another. Each branch is merged as soon as
    it ends. If not all can be, the same call again runs only the others; so it is in a run that is resumed.

    Args:
        ctx: The parent; or a step of it, which the branches are named after.
        task: Takes the child context of its branch, and the item. What it returns is to be restorable from JSON by
            its return annotation, or it is run again when a run is resumed.
        items: What to run it for.
        executor: Where: threads, processes, loky, Dask's `client.get_executor(pure=False)`, any `Executor`.
        name: What to call the branches: the beginning, to which the item's place is added, or a function of the item.
            By default the beginning is the task's name: "fold-3".
        errors: "raise": the first failure in the order of the items is raised, after all others were merged.
            "collect": each failure stands in its item's place in the list.
        progress: Show how far it is, by tqdm, where that is installed.

    Returns:
        What the task returned, in the order of the items.

    Raises:
        BranchError: A name is there twice, or was used before; or the executor is one that cannot be used.
        TravelError: Something that the context holds cannot be sent.
        LostBranchesError: Workers died before all branches had ended.
        KeyboardInterrupt: Ctrl-C: what had not started was cancelled, what had was merged.
    """
    if errors not in ("raise", "collect"):
        raise ValueError(f'errors is "raise" or "collect", not {short(errors)}')
    return _FanOut(ctx, task, list(items), executor, name).run(errors, progress)


_Done: TypeAlias = "SimpleQueue[tuple[int, Future[Delta] | None]]"
"""What has ended: the place of an item, and its future. Without one: so many were submitted, and no more will be."""


class _FanOut:
    """One call of `fan_out`: what came of each item, by its place."""

    def __init__(self, ctx: FrozenContext[Any], task: Any, items: list[Any], executor: Any, name: Any) -> None:
        self._ctx, self._task, self._items = _checked(ctx), task, items
        self._executor = _usable(executor)
        self._paths = [step_path(ctx, one) for one in _names(task, items, name)]
        self._returns = _return_type(task)
        self._results: dict[int, Any] = {}
        self._failures: dict[int, BaseException] = {}
        self._lost: dict[int, BaseException] = {}
        self._futures: dict[int, Future[Delta]] = {}
        """Of those that have not ended. One that has is dropped, as Dask would do its task again if a worker dies."""
        self._is_abandoned = False
        self._fault: BaseException | None = None

    def run(self, errors: str, progress: bool) -> list[Any]:
        self._check_names()
        self._take_merged()
        rest = [at for at in range(len(self._items)) if at not in self._results]
        branches = _forked(self._ctx, [self._paths[at] for at in rest])
        home = _here() if isinstance(self._executor, ThreadPoolExecutor) else None
        if branches and _is_sending(self._executor):
            # What cannot be sent says so now and by its key; an engine would say it in its own way, or hang.
            pickle.dumps(branches[0])
        with _bar(progress, len(self._items), len(self._results)) as advance:
            self._work(zip(rest, branches, strict=True), home, advance)
        return self._outcome(errors)

    def _merged(self, at: int) -> Merged | None:
        fork = self._ctx._state.forks.get(self._paths[at])
        return None if fork is None else fork.merged

    def _check_names(self) -> None:
        """Check that each branch has a name of its own.

        Raises:
            BranchError: A name is there twice, or was used before.
        """
        met: dict[str, int] = {}
        for at, path in enumerate(self._paths):
            other = met.setdefault(path, at)
            if other != at:
                both = f"{short(self._items[other])} and {short(self._items[at])}"
                raise BranchError(path, f"two items have this name, {both}; pass a name= that tells them apart")
            if (merged := self._merged(at)) is not None and merged.is_taken:
                raise BranchError(path, "an earlier call has merged it; give the branches of this one another name=")

    def _take_merged(self) -> None:
        """Take the results of what is merged already: by a call that could not merge all, or before a resumption.

        Raises:
            BranchError: It was of another item, or its result cannot be read as what the task returns now.
        """
        for at, path in enumerate(self._paths):
            merged = self._merged(at)
            if merged is None:
                continue
            digest_now = _item_digest(self._items[at])
            if None not in (digest_now, merged.item) and digest_now != merged.item:
                reason = f"it is merged, and was of another item than {short(self._items[at])}"
                raise BranchError(path, f"{reason}; pass the same items in the same order, or name them by name=")
            self._results[at] = _result_of(path, merged.result, self._returns)

    def _work(self, branches: Iterable[tuple[int, Branch[Any]]], home: object, advance: Callable[[], object]) -> None:
        done: _Done = SimpleQueue()
        # A thread of its own, since Ctrl-C reaches the main one alone: no merge is cut short.
        collector = threading.Thread(target=self._collect, args=(done, advance), daemon=True)
        submitted = 0
        try:
            for at, branch in branches:
                submitted += self._submit(at, branch, home, done)
                if submitted and not collector.ident:
                    # Not before the first was submitted, when some executors fork their workers.
                    collector.start()
            done.put((submitted, None))
            _join(collector)
        except BaseException:  # Ctrl-C
            for future in [*self._futures.values()]:
                future.cancel()
            done.put((submitted, None))
            try:
                _join(collector)
            finally:
                self._is_abandoned = True
            raise
        if self._fault is not None:
            raise self._fault

    def _submit(self, at: int, branch: Branch[Any], home: object, done: _Done) -> bool:
        try:
            future = self._executor.submit(_run, branch, self._task, self._items[at], home)
        except BrokenExecutor as error:
            self._lost[at] = error
        except Exception as error:  # whatever an engine raises where something cannot be sent
            self._failures[at] = error
        else:
            self._futures[at] = future
            future.add_done_callback(lambda ended: done.put((at, ended)))
            return True
        return False

    def _collect(self, done: _Done, advance: Callable[[], object]) -> None:
        """Merge what has ended, until all has."""
        ended, submitted = 0, None
        try:
            while ended != submitted and not self._is_abandoned:
                at, future = done.get()
                if future is None:
                    submitted = at
                else:
                    ended += 1
                    del self._futures[at]
                    self._take(at, future)
                    advance()
        except BaseException as error:  # to be raised by whoever waits
            self._fault = error

    def _take(self, at: int, future: "Future[Delta]") -> None:
        try:
            delta = future.result()
            _merge(self._ctx, delta, self._returns)
        except (CancelledError, Exception) as error:  # whatever a task raises is its item's
            (self._lost if _tells_of_death(error) else self._failures)[at] = error
        if (merged := self._merged(at)) is not None:
            self._results[at] = merged.result

    def _outcome(self, errors: str) -> list[Any]:
        failures = self._failures
        for at, error in failures.items():
            error.add_note(f"in branch {self._paths[at]!r}, of item {short(self._items[at])}")
        if self._lost:
            places = sorted(self._lost)
            cause = self._lost[places[0]]
            items = tuple(short(self._items[at]) for at in places)
            lost = LostBranchesError(self._paths[places[0]], items, f"{type(cause).__name__}: {cause}")
            lost.__cause__ = cause
            failures |= dict.fromkeys(places, lost)
        if failures and errors == "raise":
            first = failures[min(failures)]
            others = {id(error): error for _, error in sorted(failures.items()) if error is not first}
            if others:
                first.add_note(f"{len(others)} more failed, among them: {short(next(iter(others.values())))}")
            raise first
        for at in self._results:
            fork = self._ctx._state.forks[self._paths[at]]
            if fork.merged is not None:
                fork.merged = fork.merged._replace(result=None, is_taken=True)
        return [failures[at] if at in failures else self._results[at] for at in range(len(self._items))]


def _run(branch: Branch[Any], task: Any, item: Any, home: object) -> Delta:
    """What a worker does for one item.

    Args:
        branch: Its branch.
        task: What to do.
        item: For what.
        home: The process that asked for it, if it runs in threads: there a delta need not be sent.
    """
    child = branch.open()
    try:
        result = task(child, item)
    except Exception as error:
        if home != _here():
            _check_portable(branch.name, error)
        raise
    delta = child._delta(result, _item_digest(item))
    # Bytes, since what cannot be sent has to be an error here: some engines would hang, others break.
    return delta if home == _here() else delta._sent()


def _check_portable(branch: str, error: Exception) -> None:
    """Check that an exception can be sent: one that cannot be read again breaks a pool of processes.

    Raises:
        TravelError: It cannot; it has its text and traceback.
    """
    try:
        pickle.loads(_dumped(error, branch, lambda: [("its exception", error)]))
    except Exception as failure:
        told = "".join(format_exception(error)).rstrip()
        name = type_name(type(error))
        reason = f"its task raised a {name}, which cannot be sent ({failure}); what it said:\n{told}"
        raise TravelError(branch, reason) from None


_TOKEN = os.urandom(8)


def _here() -> tuple[int, bytes]:
    """Return what tells this process from all others, its forks too."""
    return os.getpid(), _TOKEN


def _join(thread: threading.Thread) -> None:
    if thread.ident is not None:
        thread.join()


def _tells_of_death(error: BaseException) -> bool:
    """Whether an executor says by this that a worker died, and not that the task failed."""
    return isinstance(error, BrokenExecutor) or any(
        (cls.__module__.partition(".")[0], cls.__name__) in _DEATHS for cls in type(error).__mro__
    )


_DEATHS = {("distributed", "KilledWorker"), ("ray", "WorkerCrashedError")}
"""What engines raise that know no `BrokenExecutor`."""


def _is_sending(executor: Executor) -> bool:
    """Whether what is submitted goes to another process."""
    packages = {cls.__module__.partition(".")[0] for cls in type(executor).__mro__}
    return isinstance(executor, ProcessPoolExecutor) or not packages.isdisjoint(("loky", "distributed"))


def _usable(executor: Any) -> Executor:
    """Return an executor if it does each task once.

    Raises:
        BranchError: It is none, or takes equal tasks for one.
    """
    package = type(executor).__module__.partition(".")[0]
    advice = "pass executor=client.get_executor(pure=False)"
    if not isinstance(executor, Executor):
        hint = f"; {advice}" if package == "distributed" else ""
        raise BranchError("fan_out", f"an executor is a concurrent.futures.Executor, not {short(executor)}{hint}")
    if package == "distributed" and getattr(executor, "_kwargs", {}).get("pure", True) is not False:
        raise BranchError("fan_out", f"Dask would run equal tasks once, as this executor takes them for pure; {advice}")
    return executor


def _names(task: Any, items: list[Any], name: Any) -> list[str]:
    if callable(name):
        return [name(item) for item in items]
    beginning = name or _name_of(task)
    return [f"{beginning}-{at}" for at in range(len(items))]


def _function_of(task: Any) -> Any:
    while isinstance(task, partial):
        task = task.func
    return task


def _name_of(task: Any) -> str:
    function = _function_of(task)
    name = getattr(function, "__name__", type(function).__name__)
    return "branch" if name == "<lambda>" else str(name)


def _return_type(task: Any) -> Any:
    """Return what a task says that it returns."""
    function = _function_of(task)
    for one in (function, getattr(function, "__call__", None)):  # noqa: B004 - the method is wanted, for its annotations
        try:
            found = get_type_hints(one).get("return", _NOTHING)
        except Exception:  # a name that is not defined where it runs, or no function: then nothing is known
            continue
        if found is not _NOTHING:
            return found
    return Any


_NOTHING = object()


def _item_digest(item: Any) -> str | None:
    content = _bytes_of(any_key(), item)
    return None if content is None else digest(content)


def _result_of(branch: str, result: Any, returns: Any) -> Any:
    """Return what a task returned, also out of a file.

    Raises:
        BranchError: The task returns something else now.
    """
    if not isinstance(result, Stored):
        return result
    try:
        return restore(result, key_of(returns))
    except Exception as error:  # whatever a user's validator raises
        reason = f"its result is in the file as {result.type}, and the task's return type does not take that back"
        raise BranchError(branch, f"{reason} ({error})") from error


def _checked(ctx: Any) -> FrozenContext[Any]:
    if isinstance(ctx, FrozenContext):
        return ctx
    raise SchemaError("branch", f"what is forked is a FrozenContext, or a step of one, not {short(ctx)}")


@contextmanager
def _bar(progress: bool, total: int, done: int) -> Iterator[Callable[[], object]]:
    """Show how many items have ended."""
    if progress and find_spec("tqdm") is None:
        _log.warning("progress is shown by tqdm, which is not installed: pip install 'crystallize-context[progress]'")
    if not progress or find_spec("tqdm") is None:
        yield int
        return
    from tqdm.auto import tqdm  # an extra, imported only when it is used

    with tqdm(total=total, initial=done, unit="branch") as bar:
        yield bar.update
