"""The calls of `ctx.run`: which have run in this process, and which finished in an earlier one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .._base.signal_handlers import reraise_from_handler
from .._base.text import one_line
from ..errors import InvalidStepError
from .call_arguments import PARTIAL
from .codec import Stored, restored_as
from .provenance import StepRecord
from .state import State
from .steps import numbered, unnumbered
from .task import function_of, is_lambda

_NAME_IT: Final = 'give it a name that tells the calls apart, as @step("fit-{size}") does, or start a new run'


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
                f"the return annotation of the task as it is now ({type(error).__name__}: {one_line(str(error))}). It "
                "cannot run again, as its keys, points and artifacts stay; restore that annotation, or start a new run"
            )
            raise InvalidStepError(repr(step), reason) from error


class Claim:
    """The step of a call of `ctx.run`, and its result if it has one.

    Attributes:
        path: The full name of its step, without the number of a repeated name.
        number: How many calls there were of its name, with this one.
        step: The full name of its step.
        finished: The result of its task in an earlier process; None if it has to run.
    """

    __slots__ = ("_digest", "finished", "number", "path", "step")

    def __init__(
        self, path: str, digest: str | Callable[[], str], number: int, step: str, finished: FinishedTask | None
    ) -> None:
        """Take the digest of the arguments, or the function that returns it."""
        self._digest = digest
        self.path: str = path
        self.number: int = number
        self.step: str = step
        self.finished: FinishedTask | None = finished

    @property
    def arguments(self) -> str:
        """The digest of its arguments, which is made when it is first asked for: most steps taken over need none."""
        if not isinstance(self._digest, str):
            self._digest = self._digest()
        return self._digest


@dataclass
class TaskLog:
    """The calls of `ctx.run` by the full name of their step, without the number of a repeated name."""

    finished: dict[str, dict[str, FinishedTask]] = field(default_factory=dict)
    """The tasks that returned in an earlier process and were not asked for yet, by name and by numbered name."""
    started: dict[str, dict[str, str]] = field(default_factory=dict)
    """The digests of the arguments of the calls that started in an earlier process and have to run again."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """The numbered names that finished in an earlier process, or were given to a call since."""
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

    def restore(self, finished: Mapping[str, FinishedTask], started: Mapping[str, str]) -> None:
        """Set the calls of an earlier process by the numbered names of their steps.

        `started` has the digests of the arguments of those that have to run again.
        """
        for name, task in finished.items():
            self.finished.setdefault(unnumbered(name)[0], {})[name] = task
        for name, arguments in started.items():
            self.started.setdefault(unnumbered(name)[0], {})[name] = arguments
        for name in finished:
            self.names.setdefault(unnumbered(name)[0], set()).add(name)

    def is_new(self, path: str) -> bool:
        """Return whether the digest of the arguments of a call does not matter: nothing is known of earlier calls."""
        return not self.failed and path not in self.finished and path not in self.started

    def claim(self, path: str, digest: str | Callable[[], str], task: Any) -> Claim:
        """Return the subject of a call, given the digest of its arguments or the function that returns it.

        The caller holds the dispatcher's lock. Raise InvalidStepError if the step failed or had other arguments.
        """
        if not self.is_new(path):
            digest = digest if isinstance(digest, str) else digest()
            self._check_failed(path, digest)
        self.calls[path] = number = self.calls.get(path, 0) + 1
        if isinstance(digest, str) and (path in self.finished or path in self.started):
            return self._claim_again(path, digest, number, task)
        return Claim(path, digest, number, numbered(path, number), None)

    def _check_failed(self, path: str, arguments: str) -> None:
        if (error := self.failed.get((path, arguments))) is not None:
            reason = (
                f"it was called before, failed ({error}), and its keys, points and artifacts stay. Make a new context; "
                "with @step(retries=1), a failed attempt leaves nothing"
            )
            raise InvalidStepError(repr(path), reason)

    def _claim_again(self, path: str, arguments: str, number: int, task: Any) -> Claim:
        """Return the subject of a call whose name was called in an earlier process."""
        left, started = self.finished.get(path, {}), self.started.get(path, {})
        names, own = self.names.setdefault(path, set()), numbered(path, number)
        if own in left and is_lambda(task):
            reason = (
                "it finished in an earlier process, and a lambda has no name that tells it from another; define "
                'the function by def, or name it by step("...")(lambda ctx: ...)'
            )
            raise InvalidStepError(repr(own), reason)
        # Steps that run at the same time may start in another order than before. Digests that leave out a value are not
        # enough to tell them apart.
        known = (own,) if arguments.startswith(PARTIAL) else (own, *left)
        same = [name for name in known if name in left and left[name].arguments == arguments]
        if same:
            return Claim(path, arguments, number, same[0], left.pop(same[0]))
        again = [name for name, digest in started.items() if digest == arguments]
        if not again and left:
            # It may be the call of one of these, with arguments that have changed.
            finished = own if own in left else next(iter(left))
            raise InvalidStepError(
                repr(finished), f"it finished in an earlier process, with other arguments; {_NAME_IT}"
            )
        while not again and numbered(path, number) in names:
            number += 1
        own = again[0] if again else numbered(path, number)
        names.add(own)
        started.pop(own, None)
        return Claim(path, arguments, unnumbered(own)[1], own, None)

    def has_no_work(self, step: str, records: Iterable[StepRecord]) -> bool:
        """Return whether a step that finished in an earlier process can run again, given all records of steps.

        It can if it left nothing but its result, and the results and work of inner calls, which are not called again.
        """
        done = {name for left in self.finished.values() for name in left if name.startswith(f"{step}/")}
        for record in records:
            if record.name == step and (record.writes or record.points or record.artifacts):
                return False
            if record.name.startswith(f"{step}/") and not any(
                f"{record.name}/".startswith(f"{name}/") for name in done
            ):
                return False
        return True

    def copied(self) -> "TaskLog":
        """Return the log for a copy of the context."""
        finished = {path: dict(left) for path, left in self.finished.items()}
        started = {path: dict(left) for path, left in self.started.items()}
        names = {path: set(known) for path, known in self.names.items()}
        return TaskLog(finished, started, names, dict(self.calls), dict(self.failed))


def task_log_of(state: State) -> TaskLog:
    """Return the log of the calls in a state."""
    found = state.extensions.get(TaskLog) or state.extensions.setdefault(TaskLog, TaskLog())
    assert isinstance(found, TaskLog)
    return found


def note_failure(state: State, claim: Claim, digest: Callable[[], str]) -> None:
    """Note that a call has failed, if work of its step stays; `digest` returns the digest of its arguments."""
    own = [record for record in state.step_log.own if f"{record.name}/".startswith(f"{claim.step}/")]
    if any(record.writes or record.points or record.artifacts for record in own):
        errors = [record.error for record in own if record.name == claim.step and record.error is not None]
        task_log_of(state).failed.update({(claim.path, digest()): error for error in errors})
