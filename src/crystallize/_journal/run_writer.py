"""The writer of a run: takes facts into its spool at once, and from there into its database in batches.

One thread of the writer, the drainer, does all work on the database. Whoever needs that work done puts a request into a
queue and waits for the answer. So a signal's handler can flush or close the journal, even if it interrupts a function
that does the same: nobody waits for a lock that the interrupted function holds.
"""

import atexit
import logging
import os
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, Final, Literal, NamedTuple

from ..errors import JournalError
from .database import ROW, apply, transaction
from .event_bytes import END, joined, span
from .lock import has_name
from .run_files import OpenFiles, RunFiles
from .spool import Spool

BATCH: Final = ROW
"""Maximum number of facts that wait for the database before they are drained."""
DELAY: Final = 0.1
"""Seconds that they wait, at the most."""
TOGETHER: Final = 16 * BATCH
"""Maximum number of facts in one transaction. If facts come fast, one commit per batch would take too long."""
_PATIENCE: Final = 0.1
"""Seconds between two looks at whether the drainer can still answer."""

_log = logging.getLogger("crystallize")


class _Request(NamedTuple):
    """Work for the drainer: to drain all facts, and then perhaps to end the run."""

    kind: Literal["flush", "end"]
    answer: "SimpleQueue[BaseException | None]"
    """Gets the error, or None."""


class RunWriter:
    """Writes the facts of a run. After its first failure it takes nothing more, so that a run never has a hole.

    Attributes:
        path: The file of the run.
        spool: Takes the facts. Its `pending` ones are drained into the database by a thread of the writer.
        batch: The number of pending facts at which to call `wake`.
        takes: Whether it takes facts: it has a context, and has neither failed nor ended.
        closed: Why it is closed; None while it is open.
    """

    def __init__(self, files: RunFiles) -> None:
        """Take over the files of a run."""
        data, opened = files.data, files.opened
        self.path: Path = opened.path
        self.spool: Spool = opened.spool
        self._files = opened
        self._clock = files.clock
        self._status = self.path.stat()
        self._drained = data.drained
        self._process = data.last.number
        self._started = data.last.started
        self.batch: int = BATCH
        self.takes = False
        self.closed: str | None = None
        self._end: bytes | None = None
        self._failure: Exception | None = None
        self._on_refusal: Callable[[], object] | None = None
        # Its methods may be interrupted by a handler that calls them again, unlike those of threading.Event.
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._drainer = threading.Thread(target=_drain_on, args=(weakref.ref(self), self._requests), daemon=True)
        self._drainer.start()
        self._finalizer = weakref.finalize(self, _abandon, opened, self._requests)
        # The files are given back by the end of the process; until then, other handlers at exit may close the journal.
        self._finalizer.atexit = False
        _open_here.add(self)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.stem

    def begin(self, on_refusal: Callable[[], object]) -> None:
        """Take facts from now on, of a context; call `on_refusal` when that ends."""
        self._on_refusal = on_refusal
        self.takes = self.closed is None

    def wake(self) -> None:
        """Let the drainer drain now."""
        self._requests.put(None)

    def append(self, fact: bytes) -> None:
        """Take a fact in. When this returns, it survives the process."""
        spool, count = self.spool, span(fact)
        try:
            while not spool.append(fact, count):
                if not spool.could_take(fact):
                    # Only the database has room for it.
                    spool.set_aside(fact, count)
                    self.flush()
                    spool.rewind()
                    return
                self.flush()
                spool.rewind()
        except OSError as error:
            if self.closed is not None:
                raise self.refusal() from error
            reason = f"its spool cannot be written ({error})"
            raise JournalError(str(self.path), reason, "make room, then go on with Journal.resume") from error

    def sync(self) -> None:
        """Make all facts so far survive a crash of the machine."""
        try:
            self.spool.sync()
        except OSError as error:
            if self.closed is not None and self._failure is None:
                return  # a signal's handler has closed the journal meanwhile, which has drained all facts
            reason = f"its spool cannot be made durable ({error})"
            failure = JournalError(str(self.path), reason, "see to the disk, then go on with Journal.resume")
            self.fail(failure)
            raise failure from error

    def flush(self) -> None:
        """Drain all facts so far into the database. When this returns, they survive the machine."""
        self._ask("flush")

    def _ask(self, kind: Literal["flush", "end"]) -> None:
        """Let the drainer do work, and wait until it is done."""
        if self.closed is not None or (self._failure is not None and kind == "flush"):
            # Also in a forked process, which has no drainer.
            raise self.refusal()
        if threading.get_ident() == self._drainer.ident:
            # The garbage collector runs destructors in any thread.
            raise JournalError(str(self.path), "the thread that writes the journal cannot wait for itself")
        if sys.is_finalizing():
            # The drainer, as every other thread, was stopped.
            if self._files.connection.in_transaction:
                self._files.connection.rollback()
            self._do(kind)
            return
        answer: SimpleQueue[BaseException | None] = SimpleQueue()
        self._requests.put(_Request(kind, answer))
        while True:
            try:
                error = answer.get(timeout=_PATIENCE)
            except Empty:
                # The drainer may have ended, or failed, before it could see the request.
                if kind == "flush" and (self.closed is not None or self._failure is not None):
                    raise self.refusal() from None
                if self.closed is not None:
                    return
                continue
            if error is not None:
                raise error
            return

    def serve(self, request: _Request | None) -> bool:
        """Do the work of a request, or drain if there is none; return whether the run goes on. Only the drainer calls.

        If nobody waits for the answer, a failure is logged.
        """
        if self.closed is not None:
            return False
        kind = "flush" if request is None else request.kind
        failed_before = self._failure is not None
        error: BaseException | None = None
        try:
            self._do(kind)
        except BaseException as raised:  # whoever waits for the answer raises it
            error = raised
        if request is not None:
            request.answer.put(error)
        elif error is not None and not failed_before:
            # The next event meets the error as well, but there may be none.
            _log.error("%s: the journal has failed and takes nothing more: %s", self.name, error)
        return self.closed is None and kind != "end"

    def _do(self, kind: Literal["flush", "end"]) -> None:
        if kind == "end":
            self._finish()
        else:
            self._drain_all()

    def _drain_all(self) -> None:
        """Drain the facts that are pending now."""
        left = len(self.spool.pending)
        while left > 0:
            if self._failure is not None:
                raise self.refusal()
            left -= self._drain()

    def _drain(self) -> int:
        """Drain a batch of facts; return their number."""
        pending = self.spool.pending
        facts = pending[:TOGETHER]
        try:
            self._check_files()
            with transaction(self.path, self._files.connection, write=True):
                apply(self._files.connection, self._process, self._drained + 1, facts)
        except BaseException as error:
            self.fail(error)
            raise
        self._drained += sum(map(span, facts))
        del pending[: len(facts)]
        return len(facts)

    def _check_files(self) -> None:
        """Raise JournalError if a file is gone: writing to a file without a name succeeds, and nobody can read it."""
        guard, moved = self._files.guard, "moved or deleted"
        losses = {
            self.spool.path: self.spool.loss(),
            self.path: None if has_name(self._status, self.path) else moved,
        }
        if guard is not None:
            losses[guard.log] = None if guard.log_is_there() else moved
        for path, loss in losses.items():
            if loss is not None:
                reason = f"the file was {loss} while the run was writing it"
                raise JournalError(str(path), reason, "put it back, then go on with Journal.resume")

    def fail(self, error: BaseException) -> None:
        """Take nothing more, because of the first error that came."""
        if not isinstance(error, Exception):
            error = JournalError(str(self.path), "it was interrupted while it wrote")
        self._failure = self._failure or error
        self.refuse()

    def refuse(self) -> None:
        """Take no more facts of the context."""
        self.takes = False
        if self._on_refusal is not None:
            self._on_refusal()

    def refusal(self) -> JournalError:
        """Return the error for a fact that is refused."""
        if self.closed is not None:
            return JournalError(str(self.path), self.closed)
        failure = self._failure
        if failure is None and self._on_refusal is not None:
            return JournalError(str(self.path), "the journal is closed")
        if failure is None:
            advice = "pass the journal in sinks=, or use its context()"
            return JournalError(str(self.path), "it has no context yet", advice)
        reason = failure.reason if isinstance(failure, JournalError) else f"{type(failure).__name__}: {failure}"
        advice = getattr(failure, "advice", "") or "what was taken before is there for Journal.resume"
        error = JournalError(str(self.path), f"the journal has failed and takes nothing more: {reason}", advice)
        error.__cause__ = failure
        return error

    def close(self, outcome: str, error: str | None, effects: AbstractContextManager[Any]) -> None:
        """End the run, holding the lock over the context's effects while its last fact is written."""
        if self.closed is not None:
            return
        if threading.get_ident() == self._drainer.ident:
            # A destructor that the garbage collector runs in the drainer, which cannot wait for itself.
            threading.Thread(target=self.close, args=(outcome, error, effects)).start()
            return
        ended = self._started + timedelta(seconds=perf_counter() - self._clock)
        fact = joined(END, {"ended": ended.isoformat(), "outcome": outcome, "error": error})
        try:
            # Acts of other threads come before the end, and are drained, or after it, and are refused.
            with effects:
                self.refuse()
                if self._failure is None and not self._has_end():
                    self._end = fact
                    self.append(fact)
            self._ask("end")
        except BaseException as raised:
            if self.closed is not None and self._failure is None and isinstance(raised, JournalError):
                return  # a signal's handler has closed it meanwhile
            if isinstance(raised, Exception):
                self.fail(raised)
            if self.closed is None:
                with suppress(JournalError):  # it is the one that is raised here
                    self._ask("end")
            raise

    def _has_end(self) -> bool:
        return self._end is not None and self.spool.newest() is self._end

    def _finish(self) -> None:
        """Drain the last facts and give the files back."""
        is_drained = False
        try:
            self._drain_all()
            is_drained = self._has_end() and self._failure is None
            if self._failure is not None:
                raise self.refusal()
            if self._files.guard is not None:
                self._files.guard.release()
            # One file, for whoever copies it or reads it where nobody can write. Beside a reader it keeps its
            # write-ahead log, which does as well.
            with suppress(sqlite3.OperationalError):
                self._files.connection.execute("PRAGMA busy_timeout=0")
                self._files.connection.execute("PRAGMA journal_mode=DELETE")
        finally:
            self._finalizer.detach()
            self.closed = "the journal is closed"
            self.refuse()
            self._files.close(delete=is_drained)
            _open_here.discard(self)

    def leave(self) -> None:
        """Leave the run to the parent process, from which this process was forked."""
        self.closed = "it belongs to the process that opened it; a forked process has no part in it"
        self.refuse()
        self._finalizer.detach()
        self._files.let_go()


def _drain_on(reference: "weakref.ref[RunWriter]", requests: "SimpleQueue[_Request | None]") -> None:
    """Drain a run until it ends. Not a method: its thread must not keep a writer alive that nobody has any more."""
    goes_on = True
    while goes_on:
        try:
            request = requests.get(timeout=DELAY)
        except Empty:
            request = None
        writer = reference()
        goes_on = writer is not None and writer.serve(request)
        del writer


def _abandon(files: OpenFiles, requests: "SimpleQueue[_Request | None]") -> None:
    """Let go of a run that nobody closed: it counts as died, and its spool keeps its facts."""
    files.close()
    requests.put(None)


_open_here: "weakref.WeakSet[RunWriter]" = weakref.WeakSet()


def _at_exit() -> None:
    """Warn of the runs that nobody has closed."""
    for writer in list(_open_here):
        _log.warning("%s: its journal was not closed, so the run is as if it had died; use with, or close", writer.name)


def _after_fork() -> None:
    """Leave all runs to the parent process, which has the lock on them."""
    for writer in list(_open_here):
        writer.leave()
    _open_here.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
