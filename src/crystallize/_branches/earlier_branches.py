"""The branches of a `fan_out` that are taken over from an earlier run, and the calls of those that are not."""

from typing import Any, Final

from .._core.codec import digest_of
from .._core.state import State
from .._core.step_options import options_of
from .._core.step_source import source_of
from .._core.task_call import TaskCall
from .._core.task_log import Claim
from .branch_items import BranchItem
from .packed_work import CalledTask

_UNKNOWN: Final = ""
"""The digest of an item that has none."""


class EarlierBranches:
    """Takes over the branches of one call of `fan_out`.

    Attributes:
        called: The calls for the branches that have to run, by the indices of their items.
    """

    def __init__(self, state: State, task: Any) -> None:
        """Take the context and the task of the call."""
        self._state, self._task, self._options = state, task, options_of(task)
        self.called: dict[int, CalledTask] = {}

    def take(self, branch: BranchItem) -> bool:
        """Take over the branch of an item, and return whether that was possible; if not, take note of the call."""
        if not self._state.dispatcher.sinks:
            return False
        call = TaskCall(self._task, (branch.item,), {}, self._options)
        call.check_ignored(self._state.schema)
        # Before the task is called, as it may change its item.
        inputs, arguments, reason = call.inputs(), digest_of(branch.item) or _UNKNOWN, None
        if (take := source_of(self._state)) is not None:
            found = take(self._state, Claim(branch.path, arguments, 1, branch.path, None), call, inputs)
            if not isinstance(found, str):
                return True
            reason = found
        self.called[branch.at] = CalledTask(arguments, inputs, None, reason)
        return False
