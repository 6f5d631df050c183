"""The drainer: the thread that brings the facts of a spool into the database of the run, in batches.

It does all work on the database. Whoever needs that work done puts a request into a queue and waits for the answer. So
a signal's handler can flush or close a journal, even if it interrupts a function that does the same: nobody waits for a
lock that the interrupted function holds.
"""

import logging
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from ..errors import JournalError
from .database import transaction, translate_sqlite_errors
from .environment import EnvironmentProbe, Findings
from .event_bytes import JOIN, span
from .event_rows import apply, complete_origin
from .lock import has_name
from .packed_points import ROW
from .run_files import OpenFiles

BATCH: Final = ROW
"""Maximum number of facts that wait for the database before they are drained."""
DELAY: Final = 0.1
"""Maximum seconds that they wait."""
TOGETHER: Final = 16 * BATCH
"""Maximum number of facts in one transaction. If facts come fast, one commit per batch would take too long."""
_PATIENCE: Final = 0.1
"""Seconds between two looks at whether the drainer can still answer."""

_log = logging.getLogger("crystallize")


class _Question(NamedTuple):
    """Work that somebody waits for."""

    is_last: bool
    """Whether to close the files after draining."""
    answer: "SimpleQueue[BaseException | None]"
    """Gets the error, or None."""


@dataclass
class Progress:
    """The part of a process in the database."""

    process: int
    """The number of the process."""
    drained: int
    """The position of the last fact."""
    probe: EnvironmentProbe
    noted: Findings | None = None
    """The facts of the probe that are already on record."""

    def lacks_origin(self) -> bool:
        """Return whether the probe has found something that is not on record."""
        return self.probe.found is not self.noted


class Drainer:
    """Drains the facts of a run, until it is asked to end, or fails.

    Attributes:
        failure: The first error; then nothing is drained any more.
        is_closed: Whether the files are closed.
        has_ended: Whether its thread answers no more questions. It has put all its answers into their queues.
    """

    def __init__(self, files: OpenFiles, progress: Progress, on_failure: Callable[[Exception], object]) -> None:
        """Drain the facts of a process; call `on_failure` with the first error."""
        self._files = files
        self._progress = progress
        self._on_failure = on_failure
        self._status = files.path.stat()
        self._has_end = False
        self.failure: Exception | None = None
        self.is_closed = False
        self.has_ended = False
        # Its methods may be interrupted by a handler that calls them again, unlike those of threading.Event.
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._thread = threading.Thread(target=_serve, args=(weakref.ref(self), self._questions), daemon=True)
        self._thread.start()

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is in the thread of the drainer, where the garbage collector runs destructors, too."""
        return threading.get_ident() == self._thread.ident

    def wake(self) -> None:
        """Let it drain now."""
        self._questions.put(None)

    def drain(self) -> None:
        """Drain all facts so far, and wait until they are in the database; raise the error if that fails."""
        self._ask(is_last=False)

    def end(self, *, has_end: bool) -> None:
        """Drain all facts, close the files, and wait for that. `has_end`: the last fact is the end of the run."""
        self._has_end = has_end
        self._ask(is_last=True)

    def _ask(self, *, is_last: bool) -> None:
        if self.is_this_thread:
            raise JournalError(str(self._files.path), "the thread that writes the journal cannot wait for itself")
        if sys.is_finalizing():
            # The thread, as every other one, was stopped.
            if self._files.connection.in_transaction:
                self._files.connection.rollback()
            self.work(is_last=is_last)
            return
        answer: SimpleQueue[BaseException | None] = SimpleQueue()
        self._questions.put(_Question(is_last, answer))
        error: BaseException | None = None
        is_answered = has_ended = False
        while not is_answered and not has_ended:
            # Before the look at the answer: the thread may put it there and end after an earlier look.
            has_ended = self.has_ended
            with suppress(Empty):
                error = answer.get(timeout=0 if has_ended else _PATIENCE)
                is_answered = True
        # The answer may have gone to a caller that an exception has interrupted meanwhile.
        error = self.failure if error is None and is_last else error
        if error is not None:
            raise error

    def serve(self, question: _Question | None) -> bool:
        """Answer a question, or drain if nobody asks; return whether to go on. Its thread calls this.

        If nobody waits for the answer, a failure is logged.
        """
        if self.is_closed:
            return False
        is_last = question is not None and question.is_last
        failed_before = self.failure is not None
        error: BaseException | None = None
        try:
            self.work(is_last=is_last)
        except BaseException as raised:  # whoever waits for the answer raises it
            error = raised
        if question is not None:
            question.answer.put(error)
        elif error is not None and not failed_before:
            # The next event meets the error as well, but there may be none.
            _log_failure(self._files.path.stem, error)
        return not is_last

    def work(self, *, is_last: bool) -> None:
        """Drain the facts that are pending now, and close the files if this is the last task."""
        try:
            left = len(self._files.spool.pending)
            if left == 0 and self.failure is None and not self.is_closed and self._files.spool.is_truncated():
                # There is nothing to drain, which would detect it.
                self.fail(_loss_of(self._files.spool.path, "truncated"))
            while (left > 0 or self._progress.lacks_origin()) and self.failure is None:
                left -= self._drain()
            if self.failure is not None:
                raise self.failure
        finally:
            if is_last:
                self._close()

    def _drain(self) -> int:
        """Drain a batch of facts; return their number."""
        files, progress, pending = self._files, self._progress, self._files.spool.pending
        facts, found = pending[:TOGETHER], progress.probe.found
        # The fact of a context may have been made before the probe was ready.
        lacks_origin = progress.lacks_origin() or facts[0][:1] == JOIN
        try:
            self._check_files()
            with transaction(files.path, files.connection, write=True):
                apply(files.connection, progress.process, progress.drained + 1, facts)
                if found is not None and lacks_origin:
                    complete_origin(files.connection, progress.process, found)
        except BaseException as error:
            self.fail(error)
            raise
        progress.noted = found
        progress.drained += sum(map(span, facts))
        del pending[: len(facts)]
        return len(facts)

    def _check_files(self) -> None:
        """Raise JournalError if a file is gone: writing to a file without a name succeeds, and nobody can read it."""
        path, spool, guard = self._files.path, self._files.spool, self._files.guard
        losses = {spool.path: spool.loss(), path: self._database_loss()}
        if guard is not None:
            losses[guard.log] = guard.loss()
        for file, loss in losses.items():
            if loss is not None:
                raise _loss_of(file, loss)

    def _database_loss(self) -> str | None:
        path = self._files.path
        if not has_name(self._status, path):
            return "moved or deleted"
        before, self._status = self._status, path.stat()
        return "truncated" if self._status.st_size < before.st_size else None

    def fail(self, error: BaseException) -> None:
        """Drain nothing more, because of an error."""
        if not isinstance(error, Exception):
            error = JournalError(str(self._files.path), "it was interrupted while it wrote")
        if self.failure is None:
            self.failure = error
            self._on_failure(error)

    def _close(self) -> None:
        files = self._files
        is_whole = False
        try:
            if self._has_end and self.failure is None:
                self._check_files()
                if files.guard is not None:
                    files.guard.release()
                # One file, for whoever copies it or reads it where nobody can write. Beside a reader it keeps its
                # write-ahead log, which does as well.
                with translate_sqlite_errors(files.path), suppress(sqlite3.OperationalError):
                    files.connection.execute("PRAGMA busy_timeout=0")
                    files.connection.execute("PRAGMA journal_mode=DELETE")
                is_whole = True
        except Exception as error:
            self.fail(error)
            raise
        finally:
            try:
                files.close(delete=is_whole)
            finally:
                # Not before: then the lock is free, and nobody takes the run for one that is still written.
                self.is_closed = True


def _log_failure(name: str, error: BaseException) -> None:
    """Log a failure in a thread of its own, as the drainer has questions to answer.

    Whoever asks may hold the lock of a logging handler, for which this thread waits; and a handler may raise.
    """
    arguments = ("%s: the journal has failed and takes nothing more: %s", name, error)
    try:
        threading.Thread(target=_log.error, args=arguments, daemon=True).start()
    except RuntimeError:  # the process is ending, or has as many threads as it may have
        _log.error(*arguments)


def _loss_of(file: Path, loss: str) -> JournalError:
    """Return the error for a file that is not as it should be."""
    reason = f"the file was {loss} while the run was writing it"
    return JournalError(str(file), reason, "put it back, then go on with Journal.resume")


def _serve(reference: "weakref.ref[Drainer]", questions: "SimpleQueue[_Question | None]") -> None:
    """Serve a drainer until it ends. The thread must not keep a drainer alive that nobody has any more."""
    goes_on = True
    while goes_on:
        try:
            question = questions.get(timeout=DELAY)
        except Empty:
            question = None
        drainer = reference()
        goes_on = drainer is not None and drainer.serve(question)
        if drainer is not None and not goes_on:
            drainer.has_ended = True
        del drainer
