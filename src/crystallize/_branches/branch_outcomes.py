"""The outcomes of the branches of a `fan_out`: each is merged when it ends, or its failure is put on record."""

from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .._base.text import short
from .._core.codec import Stored, restored_as
from .._core.context import FrozenContext, state_of
from .._core.provenance import StepRecord
from .._core.steps import error_text
from .._core.task import return_type
from ..errors import BranchError, SinkError, TravelError
from .branch import failed_record
from .branch_items import BranchItem
from .branch_registry import registry_of
from .delta import Delta, work_of
from .earlier_branches import EarlierBranches
from .engines import is_cancelled, is_sending, pickle_as, tells_of_death
from .merge import file_failure, merge_result
from .worker import TaskFailure


class LostBranch(NamedTuple):
    """A branch that did not end, since its worker died."""

    path: str
    item: str
    """Its item, as a short text."""
    cause: BaseException


FAILED: Final[object] = object()
"""The outcome of a branch that failed, in place of a result."""


class BranchOutcomes:
    """The outcomes of the branches of one call, by the indices of their items.

    Attributes:
        known: The results that were not returned yet.
        failures: The exceptions of the branches that failed.
        lost: The branches that did not end.
    """

    def __init__(self, ctx: FrozenContext[Any], executor: Executor | None, task: Any) -> None:
        self._ctx, self._executor, self._returns = ctx, executor, return_type(task)
        self._earlier = EarlierBranches(state_of(ctx), task)
        self._state = state_of(ctx)
        self._registry = registry_of(self._state)
        self.known: dict[int, Any] = {}
        self.failures: dict[int, BaseException] = {}
        self.lost: dict[int, LostBranch] = {}

    @property
    def is_locked_here(self) -> bool:
        """Whether this thread holds the lock that merging needs."""
        return self._state.dispatcher.lock.depth() > 0

    def recall(self, branch: BranchItem) -> bool:
        """Take the result of a branch that an earlier call or an earlier run has, if one has; return whether one has.

        A branch of an earlier call was merged, in this process or in an earlier one; a branch of an earlier run is
        merged.
        """
        receipt = self._registry.receipt(branch.path)
        if receipt is None and self._earlier.take(branch):
            receipt = self._registry.receipt(branch.path)
        if receipt is None:
            return False
        self.known[branch.at] = _restored(branch.path, receipt.result, self._returns)
        return True

    def take(self, branch: BranchItem, submitted: datetime, future: "Future[Delta]") -> None:
        """Merge a branch that has ended, or take note of its failure."""
        try:
            delta = future.result()
        except TaskFailure as caught:
            # Ray wraps it in an exception whose class is also derived from TaskFailure.
            self.take_failure(branch, getattr(caught, "cause", caught))
        except BaseException as error:  # every exception counts for the item, also SystemExit and the like
            self.take_error(branch, submitted, error)
        else:
            self.merge(branch, submitted, delta)

    def take_failure(self, branch: BranchItem, failure: TaskFailure) -> None:
        """Take note that the task of a branch raised."""
        self._state.foreign_secrets += failure.secrets
        self._fail(branch, failure.error(), failure.record)

    def take_error(self, branch: BranchItem, submitted: datetime, raised: BaseException) -> None:
        """Take note of an exception that the executor raised, and not the branch's task."""
        error = self._explained(branch, raised)
        record = None if is_cancelled(error) else self._record_of(branch, submitted, error)
        self._fail(branch, error, record, is_lost=tells_of_death(error))

    def merge(self, branch: BranchItem, submitted: datetime, delta: Delta) -> None:
        """Merge the work of a branch; that it cannot be merged is its failure."""
        try:
            merge_result(self._ctx, delta, self._returns, self._earlier.called.pop(branch.at, None))
        except BaseException as error:  # as above
            record = self._record_in(delta, error) or self._record_of(branch, submitted, error)
            self._fail(branch, error, record)
            return
        receipt = self._registry.receipt(branch.path)
        assert receipt is not None
        self.known[branch.at] = receipt.result

    def _record_in(self, delta: Delta, error: BaseException) -> StepRecord | None:
        """Return the record of a branch that could not be merged; None if its work cannot be unpickled."""
        with suppress(TravelError):
            if isinstance(delta, Delta):  # an executor may return something else
                told = error_text(error, self._state.secrets())
                return failed_record(work_of(delta).steps[-1]._replace(error=told))
        return None

    def _fail(
        self, branch: BranchItem, error: BaseException, record: StepRecord | None, *, is_lost: bool = False
    ) -> None:
        """Take note that a branch failed, and put it on record."""
        at, item = branch.at, short(branch.item)
        self._earlier.called.pop(at, None)
        try:
            if record is not None:
                file_failure(self._ctx, record)
        except SinkError as untold:
            # As a note, because raising it would hide why the branch failed.
            error.add_note(f"Besides, {untold}")
        if is_lost:
            self.lost[at] = LostBranch(branch.path, item, error)
        else:
            note = f"in branch {branch.path!r}, of item {item}"
            # A task may raise the same exception object several times.
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            self.failures[at] = error
        self.known[at] = FAILED

    def _record_of(self, branch: BranchItem, submitted: datetime, error: BaseException) -> StepRecord:
        """Return the record of a branch whose submission time and error are known, and nothing else."""
        told = error_text(error, self._state.secrets())
        nothing = MappingProxyType[str, int]({})
        return StepRecord(branch.path, (), (), (), nothing, (), submitted, datetime.now(UTC), told)

    def _explained(self, branch: BranchItem, error: BaseException) -> BaseException:
        """Return an executor's exception; a TravelError in its place if the item cannot be sent."""
        if isinstance(error, BranchError) or self._executor is None or not is_sending(self._executor):
            return error
        try:
            pickle_as(self._executor, branch.item)
        except Exception as failure:  # an item's own pickling may raise anything
            reason = f"its item {short(branch.item)} cannot be sent to another process ({failure})"
            explained = TravelError(branch.path, reason)
            explained.__cause__ = error
            return explained
        return error


def _restored(branch: str, result: Any, returns: Any) -> Any:
    """Return the result of a task, decoded if it comes from a file."""
    if not isinstance(result, Stored):
        return result
    try:
        return restored_as(result, returns)
    except Exception as error:  # a user's validator may raise anything
        reason = f"its result is in the file as {result.type}, and the task's return type does not take that back"
        raise BranchError(branch, f"{reason} ({error})") from error


def first_failure(failures: dict[int, BaseException]) -> BaseException:
    """Return the first failure in the order of the items, with a note on the others."""
    first = failures[min(failures)]
    others = {id(error): error for _, error in sorted(failures.items()) if error is not first}
    if others:
        next_one = next(iter(others.values()))
        first.add_note(f"{len(others)} more failed, the next with {type(next_one).__name__}: {next_one}")
    return first


def is_collecting(errors: str) -> bool:
    """Return whether failures are collected in place of results, as the argument `errors` says."""
    if errors not in ("raise", "collect"):
        raise ValueError(f'errors is "raise" or "collect", not {short(errors)}')
    return errors == "collect"
