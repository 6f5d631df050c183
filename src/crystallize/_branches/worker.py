"""Run a task for one item in a branch, and send its exception back."""

import os
import pickle
from traceback import format_exception
from typing import Any

from .._base.text import type_name
from .._core.provenance import StepRecord
from ..errors import BranchError, TravelError
from .branch import Branch, failed_branch, finished_delta, has_delta, opened_with
from .delta import Delta, sent
from .fork_base import ANY_BRANCH
from .pickling import dumped
from .task import item_digest


def run_task(branch: Branch[Any], task: Any, item: Any, home: object, bring: Any = None) -> Delta:
    """Run a task for an item in a branch. `home` is the calling process: within it, the delta is not pickled.

    `bring` is the packed base, or a function that returns it, if the executor has brought it to the worker.
    """
    child = opened_with(branch, bring)
    try:
        result = task(child, item)
        if has_delta(child):
            reason = "its task has taken the delta, which fan_out does when the task has returned"
            raise BranchError(branch.name, reason)
        delta = finished_delta(child, result, item_digest(item))
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
            record.name, f"its task raised a {name}, which cannot be sent ({reason}); what it said:\n{told}"
        )


class _FarTraceback(Exception):
    """The traceback of a task in its worker, shown as the cause of the exception."""

    def __str__(self) -> str:
        return f"in a worker:\n{self.args[0]}"


_TOKEN = os.urandom(8)


def this_process() -> tuple[int, bytes]:
    """Return an identity of this process that differs from all others, including its forks."""
    return os.getpid(), _TOKEN
