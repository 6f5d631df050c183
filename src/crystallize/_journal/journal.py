"""The journal: the sink by which a run outlives its process.

It encodes each event as a fact, which a `RunWriter` writes.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

from .._base.object_folder import ObjectFolder
from .._branches.merge import MergedWork
from .._core.async_sinks import Backlog
from .._core.codec import fingerprints
from .._core.context import FrozenContext, begin_context, blank_context, blank_state
from .._core.context_view import ContextView
from .._core.metrics import MetricSchema
from .._core.protocols import Sink
from ..errors import JournalError, ResumeError, SinkError
from ..events import Event
from .block_end import BlockEnd
from .console_output import ConsoleOutput, captured_output
from .database import LARGEST
from .environment import Findings, Origin, completed, program_arguments
from .event_bytes import JOIN, Encoder, declarations, joined
from .event_intake import EventIntake
from .failure import Failure, failure_of, means_failure
from .fast_handler import fast_handler
from .merge_archive import MergeArchive
from .read_run import RunData
from .resume import check_inputs, restore, warn_of_lost_objects, warn_of_lost_reads
from .reuse import EarlierRuns, RunToReuse, offer_steps, reopened_runs, runs_to_reuse
from .run_files import RunFiles, create_run, reopen_run
from .run_objects import objects_of
from .run_writer import RunWriter

_C = TypeVar("_C", bound=FrozenContext[Any])

_HAS_CONTEXT: Final = "a journal is of one context, and this one has it already"
_STAYS: Final = "a journal stays in the process that opened it; a copy of its context has no sinks"

_log = logging.getLogger("crystallize")


class Journal(BlockEnd):
    """A run in a file, which outlives its process; a sink of the context whose run it is.

    When `record` or a write has returned, the point or value survives the death of the process. When a step has ended,
    or `flush` or `close` has returned, it also survives a crash of the machine, if the disk writes when it is asked to.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})
        ...     with ctx.step("fit") as step:
        ...         step["accuracy"] = 0.9

    Attributes:
        largest: Maximum bytes of a value; a row of SQLite has at most a billion.
        takes_placed_values: Whether it takes the files of large values in place of the values.
        path: The file of the run, as an absolute path.
        name: The run's name with its number, as in "digits-0001".
        object_folder: The folder of contents that are larger than 1 MiB, which all runs of its folder share.
        backlog: The events that are not in the database yet.
        merge_archive: Returns the work of merged branches to the context, which need not keep it in memory.
    """

    largest: Final = LARGEST
    takes_placed_values: Final = True

    def __init__(self, files: RunFiles, earlier: EarlierRuns | None, output: ConsoleOutput | None) -> None:
        """Take over the open files, the runs to take steps over from, and the console output if it is captured."""
        data = files.data
        self.path: Path = files.opened.path
        self.name: str = self.path.stem
        self.object_folder: ObjectFolder = objects_of(self.path)
        self.merge_archive: MergeArchive = MergeArchive(self.path, data.identity, data.last.number)
        self._writer = RunWriter(files)
        self.backlog: Backlog = self._writer
        self._output = output
        self._origin = data.last.origin
        self._earlier = earlier
        self._resumed: RunData | None = data if len(data.sessions) > 1 else None
        self._view: ContextView | None = None
        self._events: EventIntake | None = None
        self._is_restoring = False  # True while the context of a resumed run is made

    @classmethod
    def start(
        cls, folder: str | os.PathLike[str], name: str, *, reuse: RunToReuse = None, capture_output: bool = False
    ) -> "Journal":
        """Start a run, in a file of its own.

        Args:
            folder: The folder of the file. It is created if it does not exist.
            name: The name of the run, which has to be valid in a file's name. Runs of one name are numbered.
            reuse: An earlier run, by name or path, from which `ctx.run` takes over each step that would be the same.
                True means the newest run of this name, and the older ones for the steps that did not finish in it.
            capture_output: Whether the texts that Python code of this process writes to `sys.stdout` and `sys.stderr`
                become the artifact "console.txt" when the run ends. Output of child processes is not captured.

        Returns:
            The journal of "<folder>/<name>-0001.db", or of the next number that is free.

        Raises:
            JournalError: The file cannot be made, the name cannot be a file's, or the earlier run cannot be read.
            RunNotFoundError: There is no such earlier run.
        """
        earlier = runs_to_reuse(folder, name, reuse)
        parent = None if earlier is None else earlier.parent
        return cls(create_run(folder, name, parent), earlier, captured_output(capture_output))

    @classmethod
    def resume(cls, path: str | os.PathLike[str], *, capture_output: bool = False) -> "Journal":
        """Go on with a run whose process has died, or ended.

        Args:
            path: The file of the run.
            capture_output: As for `start`; the artifact is "console-2.txt" if the run has a "console.txt".

        Returns:
            A journal, whose `context` has the finished work.

        Raises:
            RunNotFoundError: There is no such run.
            RunInUseError: Its process lives.
            DamagedRunError: Part of it cannot be read.
            JournalError: It cannot be opened or written, or is of a later version of crystallize.

        Example:
            >>> with Journal.start("runs", "digits") as journal:
            ...     with journal.context(FrozenContext, {"lr": 0.1}).step("load"):
            ...         pass
            >>> with Journal.resume("runs/digits-0001.db") as journal:
            ...     journal.context(FrozenContext).provenance.finished("load")
            True
        """
        files = reopen_run(path)
        return cls(files, reopened_runs(files.opened.path, files.data.parent), captured_output(capture_output))

    def context(
        self,
        kind: type[_C],
        initial: object = None,
        logger: logging.Logger | None = None,
        *,
        metrics: type[MetricSchema] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> _C:
        """Make the context of this run. The context of a resumed run has the finished work of the run.

        This is the values of the start, everything written outside any step, and the work of all finished steps. A step
        runs again from the start if it did not finish. It also runs again if it wrote a value that cannot be restored
        from the file, or if the file of one of its artifacts is lost. Its earlier results are discarded.

        Args:
            kind: The context's class: `FrozenContext[Train]`, or a subclass.
            initial: The values that it starts with, as for `FrozenContext`. A resumed run needs only the secrets,
                which are in no file; any other value that is given has to equal the value at the start.
            logger: The logger; by default the logger named "crystallize".
            metrics: The metrics that may be recorded; by default any.
            sinks: Other sinks, which receive the events from now on.

        Returns:
            The context, with this journal as its first sink.

        Raises:
            ResumeError: A secret, or another input that cannot be restored from a file, is not given again.
            JournalError: The run is not one of this schema and these metrics, or the journal is closed.
            SchemaError: `kind` is not the class of a context.
            InvalidInitialError: The initial values are not allowed, or not those that the run began with.
            SinkCheckError: Another sink's backend would reject something.
        """
        if self._writer.closed is not None:
            raise self._writer.refusal()
        made: _C = blank_context(kind)
        data = self._resumed
        if data is None:
            made.__init__(initial, logger, metrics=metrics, sinks=(self, *sinks))  # type: ignore[misc]  # as a call does
            return made
        data = data.without_lost_objects(whole=True)
        check_inputs(data, {} if initial is None else initial)
        state = blank_state(made, metrics, initial)
        baseline = restore(state, data, data.when_resumed)
        self._is_restoring = True
        try:
            begin_context(made, state, initial, logger, (self, *sinks), baseline)
        finally:
            self._is_restoring = False
        warn_of_lost_objects(data, self.name)
        warn_of_lost_reads(made, self.name)
        return made

    def attach(self, view: ContextView, /) -> None:
        """Begin the run of a context; see `AttachedSink`."""
        if self._view is not None:
            raise JournalError(str(self.path), _HAS_CONTEXT, "start another")
        if self._resumed is not None and not self._is_restoring:
            advice = "make its context with journal.context(...), which has what finished"
            raise ResumeError(str(self.path), "this run is resumed, and this context is new", advice)
        encoder = Encoder(view.schema, view.metrics.schema, self.object_folder, partial(_warn, self.name))
        events = EventIntake(self._writer, encoder)
        self._view, self._events = view, events
        offer_steps(view, encoder, self._earlier)
        self._writer.begin(lambda: vars(self).pop("handle", None))
        handle = type(self).handle.__get__(self)
        vars(self)["handle"] = fast_handler(handle, encoder.plain, self._writer, events.taken)
        self._writer.spool.append(_join_fact(view, self._origin, self._writer.probe.found))

    def handle(self, event: Event, /) -> None:
        """Take an event in. When this returns, it survives the process.

        Raises:
            JournalError: The journal is closed, or has failed before.
        """
        self._intake().take(event)

    def handle_batch(self, work: MergedWork, /) -> None:
        """Take the work of a merged branch in, as one fact, so that the file has all of it or nothing.

        Raises:
            JournalError: The journal is closed, or has failed before.
        """
        self._intake().take_batch(work)

    def make_durable(self) -> None:
        """Make all events so far survive a crash of the machine. A context calls this when a step has ended.

        Raises:
            JournalError: The disk does not take them. The journal takes nothing more.
        """
        self._intake().make_durable()

    def settle(self, event: Event, /) -> None:
        """Make sure that an event is in the file once, after `handle` was interrupted with it."""
        self._intake().settle(event)

    def settle_batch(self, work: MergedWork, /) -> None:
        """Make sure that the work of a branch is in the file once, after `handle_batch` was interrupted with it."""
        self._intake().settle_batch(work)

    def _intake(self) -> EventIntake:
        if self._events is None:
            raise self._writer.refusal()
        return self._events

    def flush(self) -> None:
        """Write all events so far into the database. When this returns, they survive the machine.

        Raises:
            JournalError: It cannot be written. The journal takes nothing more; the spool keeps its events, for
                `Journal.resume`.
        """
        if self._view is not None:
            self._view.deliver_waiting()
        self._writer.flush()

    def close(self) -> None:
        """End the run, as finished. Closing again does nothing.

        Raises:
            JournalError: The last events cannot be written; they stay in the spool, for `Journal.resume`.
        """
        self._end(None)

    def _end(self, failure: Failure | None) -> None:
        if self._view is not None:
            self._view.deliver_waiting()
        try:
            if self._output is not None:
                self._output.finish(self._view if self._writer.takes else None)
        finally:
            self._writer.close(failure, nullcontext() if self._view is None else self._view.lock)

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run: as failed if an exception comes through that means a failure. Its traceback is on record.

        `sys.exit()`, `sys.exit(0)`, and the end of a generator whose consumer needs no more, end it as finished.
        """
        if not means_failure(raised):
            return self.close()
        try:
            self._end(failure_of(raised, self._view))
        except (JournalError, SinkError) as error:
            # Raised in place of the user's own exception it would hide that.
            raised.add_note(f"Besides, its journal could not be ended: {error}")

    def __reduce__(self) -> NoReturn:
        """Refuse: a journal stays in its process."""
        raise JournalError(str(self.path), _STAYS)

    def __repr__(self) -> str:
        return f"Journal({self.name})"


def _join_fact(view: ContextView, origin: Origin, found: Findings | None) -> bytes:
    """Return the fact of the beginning of a context: the environment, and the fingerprints of its types."""
    # Only the context knows the secrets in the arguments.
    environment: Origin = {**origin, "arguments": [*map(view.mask, program_arguments())]}
    if found is not None:
        environment = completed(environment, found)
    known = fingerprints(view.schema, view.metrics.schema)
    return joined(JOIN, [environment, {**known, "declared": declarations(view.metrics.schema)}])


def flushed_path(journal: Journal) -> Path:
    """Return the file of a run, once it has all events that an open journal has taken."""
    if journal._writer.closed is None:
        journal.flush()
    return journal.path


def _warn(run: str, what: str, name: str, kind: str, why: str) -> None:
    """Warn of a value, or of the result of a step or branch, that the file of a run cannot give back."""
    if what in ("branch", "step"):
        text = (
            "%s: the task of %s %r returned a %s, which its return annotation does not restore: %s. "
            f"The {what} runs again when the run is resumed"
        )
    else:
        text = "%s: %s %r holds a %s, which a file cannot give back: %s"
    _log.warning(text, run, what, name, kind, why)
