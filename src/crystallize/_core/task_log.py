"""The calls of `ctx.run`: which have run in this process, and which finished in an earlier one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._base.signal_handlers import reraise_from_handler
from ..errors import InvalidStepError
from .codec import Stored, restored_as
from .state import State
from .steps import numbered, unnumbered
from .task import function_of, is_lambda


class FinishedTask(NamedTuple):
    """A task that returned in an earlier process."""

    arguments: str
    """The digest of its arguments."""
    result: Stored

    def restored(self, step: str, returns: Any) -> Any:
        """Return its result, given the return annotation of the task; raise InvalidStepError if that does not fit."""
        try:
            return restored_as(self.result, returns)
        except Exception as error:  # a user's validator may raise anything
            reraise_from_handler(error)
            reason = (
                f"it finished in an earlier process, and its result, a {self.result.type}, cannot be restored by "
                f"the return annotation of the task as it is now ({type(error).__name__}: {error}); restore that "
                "annotation, or start a new run"
            )
            raise InvalidStepError(repr(step), reason) from error


class Claim(NamedTuple):
    """What a call of `ctx.run` is about."""

    path: str
    """The full name of its step, without the number of a repeated name."""
    arguments: str
    """The digest of its arguments."""
    number: int
    """How many calls there were of its name, with this one."""
    step: str
    """The full name of its step."""
    finished: FinishedTask | None
    """What its task returned in an earlier process; None if it has to run."""


@dataclass
class TaskLog:
    """The calls of `ctx.run` by the full name of their step, without the number of a repeated name."""

    finished: dict[str, dict[str, FinishedTask]] = field(default_factory=dict)
    """The tasks that returned in an earlier process and were not asked for yet, by name and by numbered name."""
    calls: dict[str, int] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    """The errors of the calls that failed in this process and whose work stays, by name and digest of arguments."""
    functions: dict[str, tuple[Any, str]] = field(default_factory=dict)
    """The code of the function that was called last, and its module, by name."""

    def is_edited(self, path: str, task: Any) -> bool:
        """Return whether a function was defined again, with other code, since the last call; note it if not."""
        function = function_of(task)
        code, module = getattr(function, "__code__", None), getattr(function, "__module__", "")
        known, known_module = self.functions.setdefault(path, (code, module))
        if known is code or known == code:
            return False
        name = getattr(code, "co_qualname", "")
        if module == known_module and name == getattr(known, "co_qualname", "") and not is_lambda(task):
            return True
        self.functions[path] = code, module
        return False

    def restore(self, finished: Mapping[str, FinishedTask]) -> None:
        """Set the tasks that returned in an earlier process, by the numbered names of their steps."""
        for name, task in finished.items():
            self.finished.setdefault(unnumbered(name)[0], {})[name] = task

    def claim(self, path: str, arguments: str, task: Any) -> Claim:
        """Return what a call is about.

        The caller holds the dispatcher's lock. Raise InvalidStepError if the step failed or had other arguments.
        """
        if self.failed and (error := self.failed.get((path, arguments))) is not None:
            reason = (
                f"it was called before, failed ({error}), and its keys, points and artifacts stay; write "
                "@step(retries=1), which drops the work of a failed attempt and calls it again, or start a new run"
            )
            raise InvalidStepError(repr(path), reason)
        self.calls[path] = number = self.calls.get(path, 0) + 1
        own = numbered(path, number)
        left = self.finished.get(path)
        if not left:
            return Claim(path, arguments, number, own, None)
        if is_lambda(task) and own in left:
            reason = (
                "it finished in an earlier process, and a lambda has no name that tells it from another; define "
                'the function by def, or name it by step("...")(lambda ctx: ...)'
            )
            raise InvalidStepError(repr(own), reason)
        # Steps that run at the same time may start in another order than before.
        same = [name for name in (own, *left) if name in left and left[name].arguments == arguments]
        if same:
            return Claim(path, arguments, number, same[0], left.pop(same[0]))
        if own in left:
            reason = (
                "it finished in an earlier process, with other arguments; give it a name that tells the calls "
                'apart, as @step("fit-{size}") does, or start a new run'
            )
            raise InvalidStepError(repr(own), reason)
        return Claim(path, arguments, number, own, None)

    def copied(self) -> "TaskLog":
        """Return the log for a copy of the context."""
        finished = {path: dict(left) for path, left in self.finished.items()}
        return TaskLog(finished, dict(self.calls), dict(self.failed))


def task_log_of(state: State) -> TaskLog:
    """Return the log of the calls in a state."""
    found = state.extensions.get(TaskLog) or state.extensions.setdefault(TaskLog, TaskLog())
    assert isinstance(found, TaskLog)
    return found


def note_failure(state: State, claim: Claim, digest: Callable[[], str]) -> None:
    """Note that a call has failed, if work of its step stays; `digest` returns the digest of its arguments."""
    own = [record for record in state.step_log.own if f"{record.name}/".startswith(f"{claim.step}/")]
    if any(record.writes or record.points or record.artifacts for record in own):
        errors = [str(record.error) for record in own if record.name == claim.step]
        task_log_of(state).failed.update({(claim.path, digest()): error for error in errors})
