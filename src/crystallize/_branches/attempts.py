"""Attempts at a step that `@step(retries=...)` lets run again: each in a branch. The last one is merged.

The core opens the step, and calls `Attempts` by its hook for this. An attempt sees the series, artifacts and
steps of the context as it would without retries (`past_work.py`). In the file of a run it is a branch of its own, so a
resumed run does not repeat an attempt that was merged before the process died.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from .._core.async_sinks import catch_up
from .._core.codec import Stored
from .._core.context import FrozenContext, state_of, token_of
from .._core.task import return_type
from .._core.task_call import TaskCall
from .._core.task_log import FinishedTask
from ..errors import SinkError
from .branch import Branch, BranchContext, Forking, failed_branch, finished_delta
from .branch_registry import registry_of
from .merge import file_failure, merge_result
from .past_work import PastWork


class OpenAttempt(NamedTuple):
    """An attempt that is running."""

    child: BranchContext[Any]
    past: ExitStack
    """Removes the past of the parent from the child."""


class Attempts:
    """The attempts at the step of one call."""

    def __init__(self, ctx: FrozenContext[Any], call: TaskCall) -> None:
        """Take the step that the core has opened for a call."""
        self._ctx, self._call, self._options = ctx, call, call.options
        self._state, self._token = state_of(ctx), token_of(ctx)
        self._registry = registry_of(self._state)

    def run(self) -> Any:
        """Call the task until an attempt succeeds, and return its result; raise the exception of the last one."""
        if (merged := self._merged()) is not None:
            return merged[0]
        first, failed = len([*self._known()]) + 1, 0
        while True:
            attempt = self._open(first + failed)
            try:
                result = self._call.called(attempt.child)
                self._merge(attempt, result)
                return result
            except BaseException as raised:
                failed += 1
                if self._fail(attempt, raised) or not self._goes_on(failed, raised):
                    raise
            time.sleep(self._options.pause(failed))

    async def arun(self) -> Any:
        """Await the task until an attempt succeeds, as `run` does."""
        from asyncio import sleep  # here, to keep the import of the package fast

        if (merged := self._merged()) is not None:
            return merged[0]
        first, failed = len([*self._known()]) + 1, 0
        while True:
            attempt = self._open(first + failed)
            try:
                result = await self._call.awaitable(attempt.child)
                await catch_up(self._state.dispatcher)
                self._merge(attempt, result)
                return result
            except BaseException as raised:
                failed += 1
                if self._fail(attempt, raised) or not self._goes_on(failed, raised):
                    raise
            await sleep(self._options.pause(failed))

    def _path(self, number: int) -> str:
        return f"{self._token.step}/attempt-{number}"

    def _known(self) -> Iterator[str]:
        """Return the names of the attempts that were forked, also in an earlier process."""
        number = 1
        while self._registry.knows(path := self._path(number)):
            yield path
            number += 1

    def _merged(self) -> tuple[Any] | None:
        """Return the result of an attempt that was merged before the process died; None if there is none."""
        for path in self._known():
            if (receipt := self._registry.receipt(path)) is not None:
                self._fork(path)  # which moves it to where the step is now
                result = receipt.result
                kind = return_type(self._call.task)
                return (FinishedTask("", result).restored(path, kind) if isinstance(result, Stored) else result,)
        return None

    def _fork(self, path: str) -> Branch[Any]:
        (branch,) = Forking(self._ctx, is_group=False).fork([path])
        return branch

    def _open(self, number: int) -> OpenAttempt:
        child = self._fork(self._path(number)).open()
        past = PastWork.of(self._state).show(state_of(child), str(self._token.step))
        return OpenAttempt(child, past)

    def _merge(self, attempt: OpenAttempt, result: Any) -> None:
        attempt.past.close()
        delta = finished_delta(attempt.child, result)
        merge_result(self._ctx, delta, return_type(self._call.task))

    def _fail(self, attempt: OpenAttempt, raised: BaseException) -> bool:
        """Put the failure of an attempt on record, unless its work was merged; return whether it was."""
        if self._registry.receipt(str(token_of(attempt.child).step)) is not None:
            return True
        attempt.past.close()
        record, secrets = failed_branch(attempt.child, raised)
        self._state.foreign_secrets += secrets
        try:
            file_failure(self._ctx, record)
        except SinkError as failure:  # in place of the program's own exception it would hide that
            raised.add_note(f"Besides: {failure}")
        return False

    def _goes_on(self, failed: int, raised: BaseException) -> bool:
        return failed <= self._options.retries and isinstance(raised, self._options.on)
