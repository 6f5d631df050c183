"""The writer of a run: takes facts into its spool at once, and from there into its database in batches."""

import atexit
import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from ..errors import JournalError
from .database import ROW, apply, complete_origin, transaction
from .environment import EnvironmentProbe, Findings
from .event_bytes import END, JOIN, joined, span
from .lock import has_name
from .run_files import RunFiles
from .spool import Spool

BATCH: Final = ROW
"""Maximum number of facts that wait for the database before they are drained."""
DELAY: Final = 0.1
"""Seconds that they wait, at the most."""
TOGETHER: Final = 16 * BATCH
"""Maximum number of facts in one transaction. If facts come fast, one commit per batch would take too long."""
PATIENCE: Final = 5.0
"""Maximum seconds that the end of a run waits for its environment, so that short runs have it on record too."""

_log = logging.getLogger("crystallize")


class RunWriter:
    """Writes the facts of a run. After its first failure it takes nothing more, so that a run never has a hole.

    Attributes:
        path: The file of the run.
        spool: Takes the facts. Its `pending` ones are drained into the database by a thread of the writer.
        batch: The number of pending facts at which to wake that thread.
        wake: Wakes it.
        takes: Whether it takes facts: it has a context, and has neither failed nor ended.
        closed: Why it is closed; None while it is open.
        probe: Reads the environment of the process. It is put on record as soon as it is read.
    """

    def __init__(self, files: RunFiles) -> None:
        """Take over the files of a run."""
        data = files.data
        self.path: Path = files.path
        self.spool: Spool = files.spool
        self._connection, self._clock = files.connection, files.clock
        self._file = self.path.stat()
        self._drained = data.drained
        self._process = data.last.number
        self._started = data.last.started
        self.probe: EnvironmentProbe = EnvironmentProbe.of(data.last.origin)
        self._noted_origin: Findings | None = None
        """What the probe had found when it was last put on record."""
        self.batch: int = BATCH
        self.takes = False
        self.closed: str | None = None
        self._failure: Exception | None = None
        self._on_refusal: Callable[[], object] | None = None
        self._lock = threading.Lock()
        self.wake = threading.Event()
        self._ends = threading.Event()
        self._drainer = threading.Thread(target=_drain_on, args=(weakref.ref(self), self.wake, self._ends), daemon=True)
        self._drainer.start()
        self._finalizer = weakref.finalize(self, _abandon, self._lock, self._ends, self._connection, self.spool)
        _open_here.add(self)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.stem

    def begin(self, on_refusal: Callable[[], object]) -> None:
        """Take facts from now on, of a context; call `on_refusal` when that ends."""
        self._on_refusal = on_refusal
        self.takes = self.closed is None

    def append(self, fact: bytes) -> None:
        """Take a fact in. When this returns, it survives the process."""
        if self.spool.append(fact, span(fact)):
            return
        self.flush()
        self.spool.rewind()
        if not self.spool.append(fact, span(fact)):
            # Larger than the spool: it goes into the database at once.
            with self._lock:
                self._drained = self._apply([fact])
            self.spool.skip(span(fact))

    def flush(self) -> None:
        """Drain all pending facts into the database. When this returns, they survive the machine."""
        while self._drain():
            pass

    def _drain(self) -> bool:
        """Drain a batch of facts; return whether there were any."""
        if self.closed is not None:
            # Also in a forked process, where nobody gives the lock back.
            raise self.refusal()
        with self._lock:
            if self._failure is not None or self.closed is not None:
                raise self.refusal()
            pending = self.spool.pending
            facts = pending[:TOGETHER]
            drained = self._apply(facts)
            count = len(facts)
            # After a Ctrl-C before this line they are applied again, which does nothing. Between the two lines no
            # signal's handler runs.
            del pending[:count]
            self._drained = drained
            return count > 0

    def _apply(self, facts: list[bytes]) -> int:
        """Put the next facts into the database; return the position of the last one. The caller has the lock."""
        found = self.probe.found
        # The fact of a context may have been made before the probe was ready.
        lacks_origin = found is not None and (
            found is not self._noted_origin or (facts[:1] != [] and facts[0][:1] == JOIN)
        )
        if facts or lacks_origin:
            try:
                self._check_files()
                with transaction(self.path, self._connection, write=True):
                    apply(self._connection, self._process, self._drained + 1, facts)
                    if found is not None and lacks_origin:
                        complete_origin(self._connection, self._process, found)
                self._noted_origin = found
            except Exception as error:
                self.fail(error)
                raise
        return self._drained + sum(map(span, facts))

    def _check_files(self) -> None:
        """Raise JournalError if a file is gone: writing to a file without a name succeeds, and nobody can read it."""
        for path, is_there in ((self.spool.path, self.spool.is_there()), (self.path, has_name(self._file, self.path))):
            if not is_there:
                raise JournalError(str(path), "the file was moved or deleted while the run was writing it")

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
        is_drained = False
        self.probe.wait(PATIENCE)
        try:
            ended = self._started + timedelta(seconds=perf_counter() - self._clock)
            fact = joined(END, {"ended": ended.isoformat(), "outcome": outcome, "error": error})
            # Acts of other threads come before the end, and are drained, or after it, and are refused.
            with effects:
                if self._failure is None:
                    self.append(fact)
                self.refuse()
            self.flush()
            is_drained = True
            # One file, for whoever copies it or reads it where nobody can write. Beside a reader it keeps its
            # write-ahead log, which does as well.
            with self._lock, suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA busy_timeout=0")
                self._connection.execute("PRAGMA journal_mode=DELETE")
        except Exception as raised:
            self.fail(raised)
            raise
        finally:
            self._release("the journal is closed", delete=is_drained)

    def _release(self, reason: str, *, delete: bool) -> None:
        self.closed = reason
        self.refuse()
        self._finalizer.detach()
        self._ends.set()
        self.wake.set()
        with self._lock:
            self._connection.close()
            self.spool.close(delete=delete)
        _open_here.discard(self)

    def leave(self) -> None:
        """Leave the run to the parent process, from which this process was forked."""
        self.closed = "it belongs to the process that opened it; a forked process has no part in it"
        self.refuse()
        self._finalizer.detach()
        self.spool.let_go()


def _drain_on(reference: "weakref.ref[RunWriter]", wake: threading.Event, ends: threading.Event) -> None:
    """Drain a run until it ends. Not a method: its thread must not keep a writer alive that nobody has any more."""
    while not ends.is_set():
        wake.wait(DELAY)
        wake.clear()
        writer = reference()
        if writer is None:
            return
        try:
            writer.flush()
        except Exception as error:
            # The next event meets the error as well, but there may be none.
            if not ends.is_set():
                _log.error("%s: the journal has failed and takes nothing more: %s", writer.name, error)
            return
        del writer


def _abandon(lock: threading.Lock, ends: threading.Event, connection: sqlite3.Connection, spool: Spool) -> None:
    """Let go of a run that nobody closed: it counts as died, and its spool keeps its facts."""
    ends.set()
    # A connection must not be closed while another thread uses it.
    with lock:
        connection.close()
        spool.close()


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
os.register_at_fork(after_in_child=_after_fork)
