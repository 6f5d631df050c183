"""The work of a worker: a task for one item, in a branch; and the exception that the task raises, on its way home."""

import os
import pickle
from traceback import format_exception
from typing import Any

from .._base.text import type_name
from .._core.provenance import StepRecord
from ..errors import BranchError, TravelError
from .branch import Branch, failed_branch, finished_delta, has_delta
from .delta import Delta, sent
from .pickling import dumped
from .task import item_digest


def run_task(branch: Branch[Any], task: Any, item: Any, home: object) -> Delta:
    """Do a task for an item in a branch.

    `home` is the process that asked for it, if it runs in threads: there a delta need not be sent.
    """
    child = branch.open()
    try:
        result = task(child, item)
        if has_delta(child):
            reason = "its task has taken the delta, which fan_out does when the task has returned"
            raise BranchError(branch.name, reason)
        delta = finished_delta(child, result, item_digest(item))
        # In bytes, since an object that cannot be sent has to be an error here: some engines would hang, others break.
        return delta if home == this_process() else sent(delta)
    except BaseException as error:  # also what would end the worker
        failed = failed_branch(child, error)
        raised = TaskFailure.here(error, *failed) if home == this_process() else TaskFailure.of(error, *failed)
    # Not within `except`, since some engines send what an exception was raised in as well.
    try:
        raise raised
    finally:
        del raised  # which holds on to this frame


class TaskFailure(Exception):
    """What a task raised, on its way, with the record of its branch, and the secrets that its text may have."""

    @classmethod
    def here(cls, error: BaseException, record: StepRecord, secrets: list[str | bytes]) -> "TaskFailure":
        """Take an exception along that stays in this process."""
        return cls("", record, secrets, "", error, "")

    @classmethod
    def of(cls, error: BaseException, record: StepRecord, secrets: list[str | bytes]) -> "TaskFailure":
        """Take an exception along in bytes, as one that cannot be read breaks one engine, and hangs another."""
        branch = record.name
        try:
            content, reason = dumped(error, branch, lambda: [("its exception", error)]), ""
            pickle.loads(content)
        except Exception as failure:  # whatever its own way to be pickled raises
            content, reason = b"", str(failure)
        # Its text is for the log of an engine, and for where it cannot be read.
        told = "".join(format_exception(error)).rstrip()
        return cls(told, record, secrets, type_name(type(error)), content, reason)

    @property
    def record(self) -> StepRecord:
        """The record of the branch, as one that failed."""
        record: StepRecord = self.args[1]
        return record

    @property
    def secrets(self) -> list[str | bytes]:
        """The secrets of the branch, in clear."""
        secrets: list[str | bytes] = self.args[2]
        return secrets

    def error(self) -> BaseException:
        """Return what the task raised; where that cannot be read, what tells of it."""
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
    """Where in a worker it was raised, to be shown with it."""

    def __str__(self) -> str:
        return f"in a worker:\n{self.args[0]}"


_TOKEN = os.urandom(8)


def this_process() -> tuple[int, bytes]:
    """Return what tells this process from all others, its forks too."""
    return os.getpid(), _TOKEN
