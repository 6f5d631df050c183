"""Finished steps of an earlier run, which `ctx.run` takes over in place of running them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from ..events import TaskInputs
from .state import State
from .task_call import TaskCall
from .task_log import Claim


class TakenStep(NamedTuple):
    """A step whose work is in the context, without a call of its task."""

    result: Any
    """The return value of its task."""


TakeStep: TypeAlias = Callable[[State, Claim, TaskCall, TaskInputs], TakenStep | str]
"""Takes over the step of a call, given the digests of the call; or returns the reason why the step has to run."""


@dataclass
class StepSource:
    """Where a context takes steps over from.

    Extension point: a folder above the core sets it by `extend`.
    """

    take: TakeStep | None = None
    """None in a copy of a context, which takes nothing over."""

    def copied(self) -> "StepSource":
        """Return the source for a copy of the context."""
        return StepSource()


_NOWHERE: Final = StepSource()


def source_of(state: State) -> TakeStep | None:
    """Return how a context takes steps over; None if it does not."""
    found = state.extensions.get(StepSource, _NOWHERE)
    assert isinstance(found, StepSource)
    return found.take
