"""Branches: a context is forked for workers, each with a child context of its own.

A branch is read as a step that was done elsewhere. In the parent its work has the position of the fork, in whichever
order the workers finish, and however often a worker dies.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from .._base.text import short
from .._core.context import (
    FrozenContext,
    LoggingContext,
    T_co,
    end_fast_reads,
    logging_handle,
    notes_of,
    state_of,
    token_of,
)
from .._core.event_delivery import Failure, sink_error
from .._core.metric_log import as_number
from .._core.provenance import StepRecord
from .._core.secrets import secrets_in
from .._core.state import LogMarks, State
from .._core.steps import StepOpening, StepRegistry, StepToken, close_step, error_text, step_path
from ..errors import BranchError, ForeignDeltaError, SchemaError
from ..events import BranchForked
from .base_file import ExchangePlace, OpenedBase, opened_base, whole_address
from .branch_registry import BranchEntry, BranchRegistry, ForkGroup, registry_of
from .delta import Delta, digest_of
from .fork_base import ForkBase
from .item_view import ItemView, item_view
from .packed_base import Parcel
from .packed_work import Work
from .shared_base import SharedBase, address_in_shared, check_shared

_T = TypeVar("_T")


class Branch(Generic[T_co]):
    """A copy of a context for a worker, with the parent's values at the moment of the fork. It can be pickled.

    `fork` returns it. The pickle contains secrets in clear text, so send it only to workers that you trust.

    Example:
        >>> branch = fork(FrozenContext({"lr": 0.1}), "fold-3")
        >>> branch.name, branch.open()["lr"]
        ('fold-3', 0.1)

    Attributes:
        name: The full name, with the step that the branch was forked from: "tune/fold-3".
    """

    __slots__ = ("_fingerprint", "_source", "_within", "name")

    name: str
    _source: ForkBase | bytes
    """The contents of the parent, or their address, if the branch is sent."""
    _fingerprint: str
    """The fingerprint of the parent's schema and metrics."""
    _within: str | None
    """The branch whose child the parent is; None if the parent is not a child."""

    def __init__(self, name: str, within: str | None, fingerprint: str, source: ForkBase | bytes) -> None:
        """Make a branch; `fork` does."""
        put = object.__setattr__
        put(self, "name", name)
        put(self, "_within", within)
        put(self, "_fingerprint", fingerprint)
        put(self, "_source", source)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Raise AttributeError: a branch is immutable."""
        raise AttributeError(f"{name!r} of a branch cannot be set: a branch does not change")

    def open(self) -> "BranchContext[T_co]":
        """Return a new child context with the values that the parent had at the fork.

        The reads and writes of the child become the record of a step with the branch's name.

        Raises:
            TravelError: The parent's values cannot be unpickled in this process, or the file of a shared base is gone.
            ForeignDeltaError: This process has another version of the schema or the metrics.
        """
        return opened_with(self, None)

    def __reduce__(self) -> tuple[Any, ...]:
        source = self._source
        if isinstance(source, ForkBase):
            source = whole_address(source, self.name) or source
        return Branch, (self.name, self._within, self._fingerprint, source)

    def __repr__(self) -> str:
        return f"Branch({self.name!r})"


def base_of(branch: Branch[Any]) -> ForkBase | None:
    """Return the base of a branch that was forked in this process; None for any other."""
    return branch._source if isinstance(branch._source, ForkBase) else None


def redirected(branch: Branch[T_co], address: bytes) -> Branch[T_co]:
    """Return a branch that finds the contents of its parent at an address."""
    return Branch(branch.name, branch._within, branch._fingerprint, address)


def opened_with(branch: Branch[T_co], bring: Parcel | Callable[[], Parcel] | None) -> "BranchContext[T_co]":
    """Return what `Branch.open` does; `bring` is as in `opened_base`."""
    source = branch._source
    opened = OpenedBase(source, None) if isinstance(source, ForkBase) else opened_base(source, branch.name, bring)
    base = opened.base
    if base.fingerprint != branch._fingerprint:
        reason = f"{base.label} is another in this process than where it was forked; does a worker have older code?"
        raise ForeignDeltaError(branch.name, reason)
    return _child(branch, base, opened.place)


class BranchContext(LoggingContext[T_co]):
    """The child context of a branch; `delta` returns its work for the parent. `Branch.open` returns it.

    It has the values that the parent had at the fork, and cannot write these keys again. Its metrics, artifacts and
    steps are those of the branch only.

    Example:
        >>> child = fork(FrozenContext({"lr": 0.1}), "fold-3").open()
        >>> child["score"] = child["lr"] * 2
        >>> child.delta()
        Delta('fold-3')
    """

    __slots__ = {
        "_held": "How many keys came from the parent.",
        "_made": "The delta, once it was taken.",
        "_opening": "When it was opened.",
        "_parent": "The branch within which the parent is, if any, and the fingerprint of the schema.",
        "_place": "The folder for large values, which it shares with the parent; None if there is none.",
    }

    if TYPE_CHECKING:
        _held: int
        _made: Delta | None
        _opening: StepOpening
        _parent: tuple[str | None, str]
        _place: ExchangePlace | None

    def delta(self) -> Delta:
        """End the branch and return its work, for `merge` in the parent. The delta can be pickled.

        Returns:
            The delta; the same object on every call.

        Raises:
            BranchError: A step of the branch is still open.
        """
        return finished_delta(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is a plain context: a branch has only one child that makes its delta.
        restored, (_, *arguments) = super().__reduce__()
        return restored, (LoggingContext, *arguments)


def _child(branch: Branch[T_co], base: ForkBase, place: ExchangePlace | None) -> BranchContext[T_co]:
    state = State(base.schema, base.metrics, StepRegistry([None, branch.name]))
    registry_of(state).within = branch.name
    # A `fan_out` may have a hundred thousand.
    state.logs_steps = False
    state.values.update(base.values)
    state.shared.update(base.shared)
    state.unsearched += base.keys
    state.artifact_store.objects = base.objects or (None if place is None else place.objects())
    store = state.metric_store
    for name, metric in base.undeclared.items():
        store.logs[name] = store.new(name if metric is None else metric)
    child: BranchContext[Any] = logging_handle(BranchContext, state, StepToken(branch.name, 1), base.logger)
    for attribute, value in {
        "_held": len(base.values),
        "_made": None,
        "_parent": (branch._within, base.fingerprint),
        "_place": place,
        "_opening": StepOpening(1),
    }.items():
        object.__setattr__(child, attribute, value)
    return child


def has_delta(child: BranchContext[Any]) -> bool:
    """Whether the delta of a child was taken."""
    return child._made is not None


def finished_delta(child: BranchContext[Any], result: Any = None, item: str | None = None) -> Delta:
    """End a branch and return its delta, with the result of its task and the digest of its item."""
    if child._made is None:
        state = state_of(child)
        work = state.dispatcher.lock.run(partial(_work, child, result, item))
        digest = digest_of(state.schema, work)
        made = Delta(work.names[0], digest, *child._parent, work, child._place)
        object.__setattr__(child, "_made", made)
    assert child._made is not None
    return child._made


def failed_branch(child: BranchContext[Any], raised: BaseException) -> tuple[StepRecord, list[str | bytes]]:
    """End a branch whose task raised; return its record, and in clear text the secrets that the parent lacks."""
    state = state_of(child)
    error = error_text(raised, state.secrets())
    record = state.dispatcher.lock.run(partial(_closed, child, error))
    written = [state.read(key) for key in state.keys.in_order()[child._held :]]
    return failed_record(record), [*secrets_in(written), *state.foreign_secrets]


def failed_record(record: StepRecord) -> StepRecord:
    """Return the record of a failed branch without its work, since the parent contains none of it."""
    return record._replace(writes=(), points=MappingProxyType({}), artifacts=())


def _closed(child: BranchContext[Any], error: str | None) -> StepRecord:
    notes = notes_of(child)
    assert notes is not None
    end_fast_reads(child)
    return close_step(state_of(child), token_of(child), notes, child._opening, error)


def _work(child: BranchContext[Any], result: Any, item: str | None) -> Work:
    state, store = state_of(child), state_of(child).metric_store
    records = tuple(state.step_log)
    ended = dict.fromkeys(record.name for record in sorted(records, key=attrgetter("started")))
    opened = [name for name in store.registry.names[2:] if name not in ended]
    if opened:
        reason = f"step {opened[0]!r} has not ended; end it before the delta is taken"
        raise BranchError(str(token_of(child).step), reason)
    record = _closed(child, None)
    logs = store.logs.copy()
    # Where many keys came from the parent, listing them takes longer than the rest.
    written = state.keys.in_order()[child._held :] if len(state.values) > child._held else []
    # Steps of inner branches were not opened here, and are known by their records.
    names = dict.fromkeys((*map(str, store.registry.names[1:]), *ended))
    numbers = {name: number for number, name in enumerate(names, 1)}
    return Work(
        values={key: state.values[key] for key in written},
        points={name: log.points.packed(numbers.__getitem__) for name, log in logs.items() if len(log.points)},
        undeclared={name: log.metric for name, log in logs.items()} if store.schema is None else {},
        names=[*numbers],
        steps=(*records, record),
        artifacts=tuple(state.artifacts),
        result=as_number(result),
        item=item,
    )


def fork(ctx: FrozenContext[T_co], name: str, *, base: SharedBase[T_co] | None = None) -> Branch[T_co]:
    """Fork a branch from a context: an immutable copy that can be pickled and opened on any worker.

    After the merge, the work of the branch has the position of this fork in the parent. Forking the same name again
    before the merge returns the same branch with the current values.

    Args:
        ctx: The parent context, or a step of it. A step's name becomes part of the branch's name: "tune/fold-3".
        name: The name of the branch, which is the same for each attempt, such as the name of the item. It contains
            printable characters other than `/` and `#`.
        base: The values of the context in a file, which `shared_base` has written for workers on this machine. By
            default the branch takes all values along when it is pickled.

    Returns:
        The branch. `Branch.open` returns a child context, whose `delta` is passed to `merge`.

    Raises:
        InvalidStepError: The name is not allowed.
        BranchError: A step has that name, or `base` is not of this context as it is now.
        StepClosedError: `ctx` is a step that has ended.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> child = fork(ctx, "fold-3").open()  # on any worker
        >>> child["score"] = child["lr"] * 2
        >>> merge(ctx, child.delta())
        >>> ctx["score"]
        0.2
    """
    path = step_path(token := token_of(checked(ctx)), name)
    token.note_blind("a branch that it forked")  # one that is read without a merge leaves no record
    if base is not None:
        check_shared(base, path, ctx)
    (branch,) = Forking(ctx, is_group=False).fork([path])
    return branch if base is None else redirected(branch, address_in_shared(base))


def check_unused(state: State, path: str) -> None:
    """Raise BranchError if a step has the full name of a branch that was never forked."""
    if state.registry.is_used(path):
        raise BranchError(path, "there is a step of that name; give the branch another one")


class Forking(Generic[_T]):
    """The forks of one call, at the same time or later: all branches have the parent's values at the first one.

    The branches of a group have its position, too. If the first branch was the first of an earlier call, such as one
    that was interrupted, that one's group is continued.
    """

    def __init__(self, ctx: FrozenContext[_T], *, is_group: bool = True) -> None:
        self._ctx, self._state, self._is_group = ctx, state_of(ctx), is_group
        self._registry = registry_of(self._state)
        self._base: ForkBase | None = None
        self._first: str | None = None

    def fork(self, paths: Sequence[str], items: Sequence[Any] = ()) -> list[Branch[_T]]:
        """Fork branches with these full names, for these items; raise BranchError if a step has such a name."""
        token_of(self._ctx).check_open()
        found: list[Failure] = []
        views = dict(zip(paths, map(item_view, items), strict=False)) if self._state.dispatcher.sinks else {}
        # All at once, since another thread may hold the lock again and again, to merge.
        base = self._state.dispatcher.lock.run(partial(self._fork_all, paths, views, found))
        if found:
            raise sink_error(found)
        within = self._registry.within
        return [Branch(path, within, base.fingerprint, base) for path in paths]

    def _fork_all(self, paths: Sequence[str], views: Mapping[str, ItemView], found: list[Failure]) -> ForkBase:
        registry, base = self._registry, self._base or ForkBase.of(self._ctx)
        self._base = base
        for path in paths:
            if not registry.knows(path):
                check_unused(self._state, path)
                self._fork(path, views.get(path), found)
            elif registry.is_adrift(path) or registry.is_of_other(path, views.get(path)):
                self._fork(path, views.get(path), found)
            elif self._first is None and path in registry.groups:
                self._first = path
        return base

    def _fork(self, path: str, view: ItemView | None, found: list[Failure]) -> None:
        state, registry, dispatcher = self._state, self._registry, self._state.dispatcher
        if self._first is None:
            entry = BranchEntry(registry.next_rank(is_group=self._is_group), state.marks(), item=view)
            self._first = path if self._is_group else None
        else:
            group = registry.groups[self._first]
            entry = BranchEntry(group.next_rank, group.marks, item=view)
        enter = partial(_enter, state, registry, path, entry, self._first)
        if dispatcher.sinks:
            event = BranchForked(path, self._first, view)
            dispatcher.commit(enter, partial(_is_entered, registry, path, entry), partial(tuple, (event,)), found)
        else:
            enter()


def _enter(state: State, registry: BranchRegistry, path: str, new: BranchEntry, first: str | None) -> None:
    """Register a branch, or move a branch that is registered; `first` is the first one of its group."""
    # Before the branch: a rank that is not used does no harm, and one that is used twice would.
    if first == path:
        registry.groups[path] = ForkGroup(new.marks, new.rank + 1)
    elif first is not None:
        registry.groups[first].next_rank = new.rank + 1
    else:
        registry.groups.pop(path, None)
    entry = registry.entries.get(path)
    if entry is None:
        state.registry.reserve(path)
        registry.entries[path] = new
    else:
        _move(state, entry, new.rank, new.marks)


def _is_entered(registry: BranchRegistry, path: str, new: BranchEntry) -> bool:
    entry = registry.entries.get(path)
    return entry is not None and entry.rank == new.rank


def _move(state: State, entry: BranchEntry, rank: int, marks: LogMarks) -> None:
    """Move a branch, with its merged work, to the position of its new fork."""
    before = (entry.rank, entry.marks, entry.is_adrift)
    try:
        _move_work(state, entry.rank, rank, marks)
        entry.rank, entry.marks, entry.is_adrift = rank, marks, False
    except BaseException:
        _move_work(state, rank, before[0], before[1])
        entry.rank, entry.marks, entry.is_adrift = before
        raise


def _move_work(state: State, before: int, rank: int, marks: LogMarks) -> None:
    state.keys.move(before, rank, marks.keys)
    state.step_log.move(before, rank, marks.steps)
    state.artifact_store.order.move(before, rank, marks.artifacts)
    for name, log in state.metric_store.logs.copy().items():
        log.points.move(before, rank, marks.points.get(name, 0))


def checked(ctx: Any) -> FrozenContext[Any]:
    """Return a context; raise SchemaError if it is something else."""
    if isinstance(ctx, FrozenContext):
        return ctx
    raise SchemaError("branch", f"the parent of a branch is a FrozenContext or one of its steps, not {short(ctx)}")
