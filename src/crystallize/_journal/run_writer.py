"""The writer of a run: takes facts into its spool at once, from where a drainer brings them into its database."""

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from .._base.forked_process import call_in_forked_processes
from .._base.moments import after
from .._base.signal_handlers import is_raised_by_handler, reraise_from_handler
from .._base.weak_objects import WeakObjects
from ..errors import JournalError
from . import drainer
from .environment import EnvironmentProbe
from .event_bytes import END, joined, span
from .failure import Failure
from .run_files import OpenFiles, RunFiles
from .spool import Spool

PATIENCE: Final = 5.0
"""Maximum seconds that the end of a run waits for its environment, so that short runs have it on record, too."""

_TRIES: Final = 3

_log = logging.getLogger("crystallize")


class RunWriter:
    """Writes the facts of a run. After its first failure it takes nothing more, so that a run never has a hole.

    Attributes:
        path: The file of the run.
        spool: Takes the facts.
        batch: The number of pending facts at which to call `wake`.
        takes: Whether it takes facts: it has a context, and has neither failed nor ended.
        closed: Why it is closed; None while it is open.
        probe: Reads the environment of the process, which is put on record as soon as it is read.
    """

    def __init__(self, files: RunFiles) -> None:
        """Take over the files of a run."""
        data, opened = files.data, files.opened
        self.path: Path = opened.path
        self.spool: Spool = opened.spool
        self._files = opened
        self._clock = files.clock
        self._started = data.last.started
        self.batch: int = drainer.BATCH
        self.takes = False
        self.closed: str | None = None
        self._end: bytes | None = None
        self._on_refusal: Callable[[], object] | None = None
        self.probe: EnvironmentProbe = EnvironmentProbe.of(data.last.origin)
        progress = drainer.Progress(data.last.number, data.drained, self.probe)
        self._drainer = drainer.Drainer(opened, progress, self.refuse)
        self.wake: Callable[[], None] = self._drainer.wake
        self._finalizer = weakref.finalize(self, _abandon, opened)
        # At exit the files are given back by the end of the process; other handlers may still close the journal then.
        self._finalizer.atexit = False  # pyrefly: ignore[missing-attribute]  # a property
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
        frames, count = self.spool.frames, span(fact)
        try:
            while not frames.append(fact, count):
                if not frames.could_take(fact):
                    # Only the database has room for it.
                    frames.set_aside(fact, count)
                    self.flush()
                    frames.rewind()
                    return
                self.flush()
                frames.rewind()
        except OSError as error:
            reraise_from_handler(error)
            if self.closed is not None:
                raise self.refusal() from error
            reason = f"its spool cannot be written ({error})"
            raise JournalError(str(self.path), reason, "make room, then go on with Journal.resume") from error

    def sync(self) -> None:
        """Make all facts so far survive a crash of the machine."""
        try:
            self.spool.sync()
        except OSError as error:
            reraise_from_handler(error)
            if self.closed is not None and self._drainer.failure is None:
                return  # a signal's handler has closed the journal meanwhile, which has drained all facts
            reason = f"its spool cannot be made durable ({error})"
            failure = JournalError(str(self.path), reason, "see to the disk, then go on with Journal.resume")
            self.fail(failure)
            raise failure from error

    @property
    def is_behind(self) -> bool:
        """Whether it takes facts, and more than half of its spool is full."""
        return self.takes and self.spool.frames.is_half_full

    def catch_up(self, effects: AbstractContextManager[Any], /) -> None:
        """Drain all facts, and empty the spool, holding the lock over the context's effects only for that.

        If other threads append meanwhile, it tries again a few times. If draining fails, `append` raises that.
        """
        for _ in range(_TRIES):
            with suppress(JournalError, OSError):
                self.flush()
            with effects:
                if self.takes:
                    self.spool.frames.rewind()
            if not self.is_behind:
                return

    def flush(self) -> None:
        """Drain all facts so far into the database. When this returns, they survive the machine."""
        if self.closed is not None or self._drainer.failure is not None:
            # Also in a forked process, which has no drainer.
            raise self.refusal()
        self._drainer.drain()
        if self._drainer.failure is not None or self.closed is not None:
            raise self.refusal()

    def fail(self, error: BaseException) -> None:
        """Take nothing more, because of the first error that came."""
        self._drainer.fail(error)

    def refuse(self, error: Exception | None = None) -> None:
        """Take no more facts of the context."""
        self.takes = False
        if self._on_refusal is not None:
            self._on_refusal()

    def refusal(self) -> JournalError:
        """Return the error for a fact that is refused."""
        if self.closed is not None:
            return JournalError(str(self.path), self.closed)
        failure = self._drainer.failure
        if failure is None and self._on_refusal is not None:
            return JournalError(str(self.path), "the journal is closed")
        if failure is None:
            advice = "pass the journal in sinks=, or use its context()"
            return JournalError(str(self.path), "it has no context yet", advice)
        reason = failure.reason if isinstance(failure, JournalError) else f"{type(failure).__name__}: {failure}"
        advice = getattr(failure, "advice", "") or "earlier facts are kept for Journal.resume"
        error = JournalError(str(self.path), f"the journal has failed and takes nothing more: {reason}", advice)
        error.__cause__ = failure
        return error

    def close(self, failure: Failure | None, effects: AbstractContextManager[Any]) -> None:
        """End the run, holding the lock over the context's effects while its last fact is written.

        It ends as finished if there is no failure.
        """
        if self.closed is not None:
            return
        if self._drainer.is_this_thread:
            # A destructor that the garbage collector runs in that thread, which cannot wait for itself.
            threading.Thread(target=self.close, args=(failure, effects)).start()
            return
        ended = after(self._started, perf_counter() - self._clock)
        texts: dict[str, str | None] = {"error": None} if failure is None else failure._asdict()
        outcome = "finished" if failure is None else "failed"
        fact = joined(END, {"ended": ended.isoformat(), "outcome": outcome, **texts})
        try:
            self.probe.wait(PATIENCE)
            self._finish(fact, effects)
        except BaseException as raised:
            if self.closed is not None and self._drainer.failure is None and isinstance(raised, JournalError):
                return  # a signal's handler has closed it meanwhile
            if isinstance(raised, Exception) and not is_raised_by_handler(raised):
                self.fail(raised)
            if self.closed is None:
                # An interrupted end is ended all the same.
                with suppress(JournalError):  # it is the one that is raised here
                    self._finish(fact, effects)
            raise

    def _finish(self, fact: bytes, effects: AbstractContextManager[Any]) -> None:
        # Acts of other threads come before the end, and are drained, or after it, and are refused.
        with effects:
            self.refuse()
            if self._drainer.failure is None and not self._has_end():
                self._end = fact
                self.append(fact)
        self._release()

    def _has_end(self) -> bool:
        return self._end is not None and self.spool.frames.newest is self._end

    def _release(self) -> None:
        earlier = self.refusal() if self._drainer.failure is not None else None
        try:
            self._drainer.end(has_end=self._has_end())
        except Exception:
            if earlier is not None:
                raise earlier from earlier.__cause__
            raise
        finally:
            if self._drainer.is_closed:
                self.closed = "the journal is closed"
                self._finalizer.detach()
                _open_here.discard(self)

    def leave(self) -> None:
        """Leave the run to the parent process, from which this process was forked."""
        self.closed = (
            "it belongs to the process that opened it, and this is a forked one; do the work in a branch, by fan_out "
            "or fork, which sends it back"
        )
        self.refuse()
        self._finalizer.detach()
        self._files.let_go()


def _abandon(files: OpenFiles) -> None:
    """Let go of a run that nobody closed."""
    files.close()


_open_here: WeakObjects[RunWriter] = WeakObjects()


def _at_exit() -> None:
    """Warn of the runs that nobody has closed."""
    for writer in _open_here:
        text = "%s: its journal is open at the end of the program; unless that closes it now, the run counts as died"
        _log.warning(text, writer.name)


def _after_fork() -> None:
    """Leave all runs to the parent process, which has the lock on them."""
    for writer in _open_here:
        writer.leave()
    _open_here.clear()


atexit.register(_at_exit)
call_in_forked_processes(_after_fork)
