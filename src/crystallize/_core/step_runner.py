"""Open and end steps, and run tasks as steps."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from .._base.async_waiting import in_thread
from .._base.text import MASK, one_line
from ..errors import InvalidStepError, SinkError
from ..events import StepFinished, StepStarted, TaskInputs, TaskReturn
from .async_sinks import catch_up, make_durable
from .provenance import StepRecord
from .secrets import secrets_in
from .state import State
from .step_source import TakenStep, source_of
from .steps import AGAIN, StepNotes, StepOpening, StepToken, close_step, error_text, log_end, log_start, step_path
from .task import return_type
from .task_call import NOT_REUSED, TaskCall
from .task_log import Claim, note_failure, task_log_of
from .unused_step import WorkMark, warn_if_unused, work_mark

_log: Final = logging.getLogger("crystallize")

MakeHandle: TypeAlias = Callable[[State, StepToken, logging.Logger, StepNotes], Any]
"""Returns the handle of a step on a state."""


class OpenStep:
    """A step that has started.

    Attributes:
        handle: The handle through which the code of the step reads and writes.
        token: Its token.
        notes: Its notes.
        opening: When it was opened.
        before: The mark of the work before it.
    """

    # Every step makes one. Reading an attribute of a named tuple takes several times as long. For the same reason
    # `TaskCall`, `Claim` and `StepOpening` are no named tuples.
    __slots__ = ("before", "handle", "notes", "opening", "token")

    def __init__(self, handle: Any, token: StepToken, notes: StepNotes, opening: StepOpening, before: WorkMark) -> None:
        self.handle = handle
        self.token = token
        self.notes = notes
        self.opening = opening
        self.before = before


class StartOfTask(NamedTuple):
    """The facts of a step's start about the call of its task."""

    arguments: str | None
    """The digest of the arguments; None if the step has no task."""
    inputs: TaskInputs | None
    reason: str | None = None
    """Why the step was not taken over; None if it has no task, or there is no earlier run."""


NO_TASK: Final = StartOfTask(None, None)


class StepRunner:
    """Opens and ends the steps of a handle on a context.

    Attributes:
        state: The state of the context.
        token: The step that the handle itself is for.
        logger: The logger of the handle.
        make_handle: Returns the handle of a step.
        end_handle: Lets the handle of a step take the slow path, which refuses it once the step has ended.
    """

    __slots__ = ("_run", "end_handle", "logger", "make_handle", "state", "token")

    def __init__(
        self,
        state: State,
        token: StepToken,
        logger: logging.Logger,
        make_handle: MakeHandle,
        end_handle: Callable[[Any], None],
    ) -> None:
        self.state = state
        self.token = token
        self.logger = logger
        self.make_handle = make_handle
        self.end_handle = end_handle
        self._run = state.dispatcher.lock.run

    def claim(self, call: TaskCall) -> Claim:
        """Claim the step of a call."""
        return self._run(self._claiming(call))

    def _claiming(self, call: TaskCall, *, starts: bool = False) -> Callable[[], Claim]:
        """Return the function that claims the step of a call, under the dispatcher's lock.

        `starts`: the step starts under the same lock.
        """
        self.token.check_open()
        call.check_ignored(self.state.schema)
        log = task_log_of(self.state)
        # It is compared in another process, which only a sink reaches, and with calls that failed.
        is_compared = bool(self.state.dispatcher.sinks or log.failed)
        path = step_path(self.token, call.step)
        if log.is_edited(path, call.task) and self._has_written(path):
            reason = f"it has run in this context before, and its function was defined again since. {AGAIN}"
            raise InvalidStepError(repr(path), reason)
        # The digest is not made under the lock, and not at all if an earlier run has the step.
        is_needed = starts or not log.is_new(path)
        arguments = "" if not is_compared else call.digest() if is_needed else call.digest
        return partial(log.claim, path, arguments, call.task)

    def _has_written(self, path: str) -> bool:
        """Return whether a step of a name, with any number, or one within it has finished and left something."""
        starts = (f"{path}/", f"{path}#")
        own = [record for record in self.state.provenance.steps if f"{record.name}/".startswith(starts)]
        return any(record.error is None and (record.writes or record.points or record.artifacts) for record in own)

    def claim_and_start(self, call: TaskCall, opened: list[OpenStep]) -> Claim:
        """Claim the step of a call, and open it if its task has to run."""
        claiming = self._claiming(call, starts=True)
        inputs = self._inputs_of(call)
        return self._run(partial(self._claim_and_start, claiming, inputs, opened))

    def _inputs_of(self, call: TaskCall) -> TaskInputs | None:
        """Return the digests of a call for the sinks; None if there is no sink, as they take time.

        They are taken before the task is called, as it may change its arguments, and without the lock.
        """
        return call.inputs() if self.state.dispatcher.sinks else None

    def _claim_and_start(
        self, claiming: Callable[[], Claim], inputs: TaskInputs | None, opened: list[OpenStep]
    ) -> Claim:
        claim = claiming()
        if claim.finished is None:
            token = self.state.registry.open_task(claim.path, claim.number)
            self._start(token, opened, NO_TASK if inputs is None else StartOfTask(claim.arguments, inputs))
        return claim

    def start(self, open_token: Callable[[], StepToken], opened: list[OpenStep], task: StartOfTask = NO_TASK) -> None:
        """Open a step and emit its event. From the moment when it is in `opened`, it has started."""
        self._run(lambda: self._start(open_token(), opened, task))

    def _start(self, token: StepToken, opened: list[OpenStep], task: StartOfTask) -> None:
        state, dispatcher, notes = self.state, self.state.dispatcher, StepNotes()
        handle = self.make_handle(state, token, self.logger, notes)
        step = OpenStep(handle, token, notes, StepOpening(token.number), work_mark(state))
        if dispatcher.sinks:
            start = partial(opened.append, step)
            event = StepStarted(str(token.step), step.opening.started, None, *task)
            dispatcher.commit(start, lambda: bool(opened), lambda: (event,))
        else:
            opened.append(step)

    def start_task(self, claim: Claim, call: TaskCall, opened: list[OpenStep], task: StartOfTask | None = None) -> None:
        """Open the step of a call that was claimed, with the facts that `take_over` has returned, if there are any."""
        facts = task or StartOfTask(claim.arguments, self._inputs_of(call))
        self.start(partial(self.state.registry.open_task, claim.path, claim.number), opened, facts)

    def finished_result(self, claim: Claim, call: TaskCall, opened: list[OpenStep]) -> tuple[Any] | None:
        """Return the result of a task that finished in an earlier process; None if it has to run, in an open step.

        If it cannot be restored, the task runs again, unless work of its step stays.
        """
        if claim.finished is None:
            return None
        try:
            return (claim.finished.restored(claim.step, return_type(call.task)),)
        except InvalidStepError as error:
            if not task_log_of(self.state).has_no_work(claim.step, self.state.provenance.steps):
                raise
            reason = f"its result cannot be restored, so it runs again: {one_line(str(error.__cause__))}"
        _log.warning("step %r finished in an earlier process, but %s", claim.step, reason)
        facts = StartOfTask(claim.arguments, self._inputs_of(call))

        def reopen() -> StepToken:
            self.state.step_log.supersede(claim.step, reason)
            return self.state.registry.reopen(claim.step)

        self.start(reopen, opened, facts)
        return None

    def take_over(self, claim: Claim, call: TaskCall) -> TakenStep | StartOfTask:
        """Take the step of a call over from an earlier run; if that is not possible, return the facts of its start."""
        take, inputs = source_of(self.state), call.inputs()
        assert take is not None  # the caller has asked
        found = take(self.state, claim, call, inputs)
        return StartOfTask(claim.arguments, inputs, found) if isinstance(found, str) else found

    def taken_from_earlier(self, call: TaskCall, opened: list[OpenStep]) -> tuple[Claim, TakenStep | None]:
        """Claim the step of a call, and take it over if it has not finished; if that is not possible, open it."""
        claim = self.claim(call)
        if claim.finished is not None:
            return claim, None
        found = self.take_over(claim, call)
        if isinstance(found, StartOfTask):
            self.start_task(claim, call, opened, found)
            return claim, None
        # It is not made durable: the earlier run has its work, and it would be taken over again.
        return claim, found

    def end(
        self, step: OpenStep, error: str | None, returned: Callable[[], TaskReturn] | None = None
    ) -> StepFinished | None:
        """End a step and emit its event, which is returned; it is not durable yet.

        Do nothing, and return None, if its record exists because only the return from here was interrupted.
        """
        record, event = self._run(partial(self._end, step, error, returned))
        # A handler of the logger may wait, so it is not called under the lock.
        if record is not None and self.state.logs_steps:
            log_end(step.handle.logger, record)
        return event

    def _end(
        self, step: OpenStep, error: str | None, returned: Callable[[], TaskReturn] | None
    ) -> tuple[StepRecord | None, StepFinished | None]:
        log, dispatcher = self.state.step_log, self.state.dispatcher
        if not step.token.is_open and any(record.name == step.token.step for record in log.own):
            return None, None
        self.end_handle(step.handle)
        record = close_step(self.state, step.token, step.notes, step.opening, error)
        if not dispatcher.sinks:
            log.append(record)
            return record, None
        event = record.as_event(returned=None if returned is None else returned())
        dispatcher.commit(partial(log.append, record), lambda: any(own is record for own in log.own), lambda: (event,))
        return record, event

    def log_start(self, opened: list[OpenStep]) -> None:
        """Log that a step has started, unless the context is one of many that do not."""
        if self.state.logs_steps:
            log_start(opened[0].handle.logger, opened[0].token.step)

    def finish(self, step: OpenStep, returned: Callable[[], TaskReturn] | None = None) -> None:
        """End a step that raised nothing; when this returns, it is durable."""
        if (event := self.end(step, None, returned)) is not None:
            self.state.dispatcher.make_durable(event)
        if step.notes.is_empty:
            warn_if_unused(self.state, self.token, step.token, step.before, is_task=returned is not None)

    def fail(self, opened: list[OpenStep], raised: BaseException) -> None:
        """End a step by an exception, also if its start or its end was interrupted, or a sink failed there."""
        try:
            for event in self.end_failed(opened, raised):
                self.state.dispatcher.make_durable(event)
        except SinkError as failure:  # in place of the program's own exception it would hide that
            raised.add_note(f"Besides: {failure}")

    def end_failed(self, opened: list[OpenStep], raised: BaseException) -> list[StepFinished]:
        """End a step as `fail` does, and return its event if that is not durable yet."""
        events = (self.end(step, error_text(raised, self.state.secrets())) for step in opened)
        return [event for event in events if event is not None]


@contextmanager
def opened_step(runner: StepRunner, name: str) -> Generator[Any]:
    """Open a step for a `with` block."""
    runner.token.check_open()
    opened = list[OpenStep]()
    path = step_path(runner.token, name)
    try:
        runner.start(partial(runner.state.registry.open, path), opened)
        runner.log_start(opened)
        yield opened[0].handle
        runner.finish(opened[0])
    except BaseException as raised:
        runner.fail(opened, raised)
        raise


def run_task(runner: StepRunner, call: TaskCall) -> Any:
    """Run a task as a step, or return its result if it finished in an earlier process."""
    opened: list[OpenStep] = []
    claim: Claim | None = None
    try:
        if source_of(runner.state) is None:
            claim = runner.claim_and_start(call, opened)
        else:
            claim, taken = runner.taken_from_earlier(call, opened)
            if taken is not None:
                return taken.result
        if (known := runner.finished_result(claim, call, opened)) is not None:
            return known[0]
        runner.log_start(opened)
        _note_options(call, opened[0])
        result = _result_of(call, opened[0].handle)
        _note_changes(call, opened[0])
        runner.finish(opened[0], partial(_return_of, call, result))
    except BaseException as raised:
        runner.fail(opened, raised)
        if claim is not None:
            note_failure(runner.state, claim, call.digest)
        raise
    return result


async def run_coroutine(runner: StepRunner, call: TaskCall) -> Any:
    """Run a task that is a coroutine: the same as `run_task`, but that a disk is waited for in a thread."""
    claim, opened, dispatcher = runner.claim(call), list[OpenStep](), runner.state.dispatcher
    try:
        if (known := await _known_result(runner, claim, call, opened)) is not None:
            return known[0]
        runner.log_start(opened)
        _note_options(call, opened[0])
        result = await _awaited_result_of(call, opened[0].handle)
        _note_changes(call, opened[0])
        event = runner.end(opened[0], None, partial(_return_of, call, result))
    except GeneratorExit as raised:  # the coroutine is closed, and may wait for nothing
        runner.fail(opened, raised)
        note_failure(runner.state, claim, call.digest)
        raise
    except BaseException as raised:
        try:
            for failed in runner.end_failed(opened, raised):
                await make_durable(dispatcher, failed)
        except SinkError as failure:  # as in `fail`
            raised.add_note(f"Besides: {failure}")
        finally:  # also if this is cancelled while it waits
            note_failure(runner.state, claim, call.digest)
        raise
    if event is not None:
        await make_durable(dispatcher, event)
    return result


async def _known_result(runner: StepRunner, claim: Claim, call: TaskCall, opened: list[OpenStep]) -> tuple[Any] | None:
    """Return the result of a task that has run before; None if it has to run, in an open step."""
    if claim.finished is not None:
        return runner.finished_result(claim, call, opened)
    dispatcher, start = runner.state.dispatcher, None
    await catch_up(dispatcher)
    if source_of(runner.state) is not None:
        found = await in_thread(partial(runner.take_over, claim, call))
        if isinstance(found, TakenStep):
            return (found.result,)
        start = found
    runner.start_task(claim, call, opened, start)
    return None


def _note_options(call: TaskCall, step: OpenStep) -> None:
    """Note in the step, and so in the steps around it, that it is never taken over, if its task says so."""
    if not call.options.reuse:
        step.notes.blind[NOT_REUSED] = None


def _note_changes(call: TaskCall, step: OpenStep) -> None:
    """Note in the step that its task has changed things that no record has."""
    step.notes.blind.update(dict.fromkeys(call.changes()))


def _return_of(call: TaskCall, result: Any) -> TaskReturn:
    return TaskReturn(MASK if secrets_in(result) else result, return_type(call.task))


class CallAttempts(Protocol):
    """Calls a task that may be called again if it fails."""

    def run(self) -> Any:
        """Return the result of the first attempt that succeeds; raise the exception of the last one."""
        ...

    async def arun(self) -> Any:
        """Return the same for a coroutine."""
        ...


_attempts: Callable[[Any, TaskCall], CallAttempts] | None = None


def set_attempts(make: Callable[[Any, TaskCall], CallAttempts]) -> None:
    """Set how a task with retries is called, given its step. The face of the package does."""
    global _attempts
    _attempts = make


def _result_of(call: TaskCall, handle: Any) -> Any:
    if call.options.retries:
        assert _attempts is not None  # the face of the package has set it
        return _attempts(handle, call).run()
    return call.called(handle)


async def _awaited_result_of(call: TaskCall, handle: Any) -> Any:
    if call.options.retries:
        assert _attempts is not None  # as above
        return await _attempts(handle, call).arun()
    return await call.awaitable(handle)
