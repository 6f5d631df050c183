"""Run a task for one item in a branch, and send its exception back."""

import os
import pickle
from inspect import isawaitable
from traceback import format_exception
from typing import Any

from .._base.text import type_name
from .._core.codec import digest_of
from .._core.provenance import StepRecord
from ..errors import BranchError, TravelError
from .branch import Branch, BranchContext, failed_branch, finished_delta, has_delta, opened_with
from .delta import Delta, sent
from .fork_base import ANY_BRANCH
from .pickling import dumped


def run_task(branch: Branch[Any], task: Any, item: Any, home: object, bring: Any = None) -> Delta:
    """Run a task for an item in a branch. `home` is the calling process: within it, the delta is not pickled.

    `bring` is the packed base, or a function that returns it, if the executor has brought it to the worker.
    """
    child = opened_with(branch, bring)
    try:
        delta = _delta_of(child, branch.name, task(child, item), item)
        # As bytes, so that pickling fails here: some executors hang, and others break, if pickling fails in them.
        return delta if home == this_process() else sent(delta)
    except BaseException as error:  # SystemExit too, which would end the worker
        if isinstance(error, TravelError) and error.branch == ANY_BRANCH:
            error.branch, error.args = branch.name, (branch.name, *error.args[1:])
        failed = failed_branch(child, error)
        raised = TaskFailure.here(error, *failed) if home == this_process() else TaskFailure.of(error, *failed)
    # Outside of `except`, because some executors also send the context of an exception.
    try:
        raise raised
    finally:
        del raised  # it refers to this frame


async def await_task(branch: Branch[Any], task: Any, item: Any) -> "Delta | TaskFailure":
    """Run a task that is awaited for an item in a branch, in this process; return its failure if it fails."""
    child = opened_with(branch, None)
    try:
        made = task(child, item)
        if not isawaitable(made):
            reason = f"the call of its task gave a {type_name(type(made))}, which cannot be awaited; call fan_out"
            raise BranchError(branch.name, reason)
        return _delta_of(child, branch.name, await made, item)
    except BaseException as error:  # CancelledError too, which goes on record
        return TaskFailure.here(error, *failed_branch(child, error))


def _delta_of(child: BranchContext[Any], branch: str, result: Any, item: Any) -> Delta:
    if has_delta(child):
        raise BranchError(branch, "its task has taken the delta, which fan_out does when the task has returned")
    return finished_delta(child, result, digest_of(item))


class TaskFailure(Exception):
    """The exception of a task on its way back, with the record of its branch and the secrets in its text."""

    @classmethod
    def here(cls, error: BaseException, record: StepRecord, secrets: list[str | bytes]) -> "TaskFailure":
        """Wrap an exception that stays in this process."""
        return cls("", record, secrets, "", error, "")

    @classmethod
    def of(cls, error: BaseException, record: StepRecord, secrets: list[str | bytes]) -> "TaskFailure":
        """Wrap a pickled exception: an exception that cannot be unpickled would break or hang some executors."""
        branch = record.name
        try:
            content, reason = dumped(error, branch, lambda: [("its exception", error)]), ""
            pickle.loads(content)
        except Exception as failure:  # an exception's own pickling may raise anything
            content, reason = b"", str(failure)
        # The text is for the executor's log, and for the error if the exception cannot be unpickled.
        told = "".join(format_exception(error)).rstrip()
        return cls(told, record, secrets, type_name(type(error)), content, reason)

    @property
    def record(self) -> StepRecord:
        """The record of the failed branch."""
        record: StepRecord = self.args[1]
        return record

    @property
    def secrets(self) -> list[str | bytes]:
        """The secrets of the branch, in clear text."""
        secrets: list[str | bytes] = self.args[2]
        return secrets

    def error(self) -> BaseException:
        """Return the exception of the task, or a TravelError with its text if it cannot be unpickled."""
        told, record, _, name, content, reason = self.args  # as `here` or `of` gave them
        if isinstance(content, BaseException):
            return content
        if content:
            try:
                error: BaseException = pickle.loads(content)
            except Exception as failure:  # as above
                reason = str(failure)
            else:
                error.__cause__ = error.__cause__ or _FarTraceback(told)
                return error
        return TravelError(
            record.name, f"its task raised a {name}, which cannot be sent ({reason}); its traceback:\n{told}"
        )


class _FarTraceback(Exception):
    """The traceback of a task in its worker, shown as the cause of the exception."""

    def __str__(self) -> str:
        return f"in a worker:\n{self.args[0]}"


_TOKEN = os.urandom(8)


def this_process() -> tuple[int, bytes]:
    """Return an identity of this process that differs from all others, including its forks."""
    return os.getpid(), _TOKEN
