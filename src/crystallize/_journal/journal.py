"""The journal: the sink by which a run outlives its process.

Each fact goes through a spool, which survives the process at once, and from there in batches into a database, which
survives the machine. A journal that has failed once takes nothing more, so that it never has a hole.
"""

import atexit
import logging
import os
import re
import sqlite3
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar

from pydantic_core import to_json

from .._base.text import legible, short
from .._core.artifacts import unfit_name
from .._core.codec import LONGEST, fingerprints
from .._core.context import FrozenContext, blank_context
from .._core.metrics import MetricSchema
from .._core.protocols import Sink
from .._core.secrets import masked
from .._core.state import State
from ..errors import JournalError, ResumeError
from ..events import ArtifactAdded, BranchForked, BranchMerged, Event, MetricRecorded, StepFinished, StepStarted
from ..sinks.delivery_queue import told_of
from .database import ROW, apply, connect, create, insert, state_of, transaction
from .environment import Origin, origin
from .event_bytes import END, JOIN, Encoder, declarations, gathered, joined, span
from .loaded_run import RunData, content_of, fill, real
from .spool import Spool, spooled

__all__ = ["Journal"]

_T = TypeVar("_T")

BATCH: Final = ROW
"""Facts that wait for the database, at the most, before they are brought there."""
DELAY: Final = 0.1
"""Seconds that they wait, at the most."""
TOGETHER: Final = 16 * BATCH
"""Facts in one transaction, at the most: while more come than it can take, a commit a batch would take too long."""

_LONGEST_ENDING: Final = "-0001.spool.new"
"""What the name of a run's file may end in."""

_log = logging.getLogger("crystallize")


class Journal:
    """A run in a file, which outlives its process; a sink of the context whose run it is.

    When `record` or a write has returned, the fact survives the death of the process. When a step has ended, or
    `flush` or `close` has returned, it also survives that of the machine, if the disk does as it is told.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})
        ...     with ctx.step("fit") as step:
        ...         step["accuracy"] = 0.9

    Attributes:
        takes_merges: Of a branch that is merged it needs to be told the end alone.
        path: The file of the run.
        name: The run's name with its number, as in "digits-0001".
    """

    takes_merges: Final = True

    def __init__(
        self, path: Path, connection: sqlite3.Connection, spool: Spool, content: RunData, clock: float
    ) -> None:
        """Take over what `start` or `resume` has opened."""
        self.path = path
        self.name: str = path.stem
        self._file = path.stat()
        self._drained = content.drained
        self._connection = connection
        self._spool = spool
        self._session = content.last.number
        self._origin = content.last.origin
        self._resumed: RunData | None = content if len(content.sessions) > 1 else None
        self._state: State | None = None
        self._restored: State | None = None
        """Of a run that is resumed, the state of the context that has what finished."""
        self._failure: Exception | None = None
        self._closed: str | None = None
        self._takes = False
        """Whether it takes events: it has a context, and neither failed nor ended."""
        self._started, self._clock = content.last.started, clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ends = threading.Event()
        self._drainer = threading.Thread(
            target=_drain_on, args=(weakref.ref(self), self._wake, self._ends), daemon=True
        )
        self._drainer.start()
        self._finalizer = weakref.finalize(self, _abandon, self._lock, self._ends, connection, spool)
        _open_here.add(self)

    @classmethod
    def start(cls, folder: str | os.PathLike[str], name: str) -> "Journal":
        """Start a run, in a file of its own.

        Args:
            folder: Where to make the file; it is made if it is not there.
            name: What to call the run. It is a file's name; the runs of one name are numbered.

        Returns:
            The journal of "<folder>/<name>-0001.db", or of the next number that is free.

        Raises:
            JournalError: The file cannot be made, or the name cannot be a file's.
        """
        text = name if isinstance(name, str) else ""
        if reason := unfit_name(text) or unfit_name(f"{text}{_LONGEST_ENDING}"):
            raise JournalError(short(name), f"cannot name a run so: {reason}")
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(str(folder), f"the folder cannot be made ({error})") from error
        number = _next_number(folder, name)
        identity = os.urandom(16)
        while True:
            path = folder / f"{name}-{number:04d}.db"
            spool = Spool.claim(path.with_suffix(".spool"), identity)
            if spool is not None and not path.exists():
                break
            if spool is not None:
                spool.close(delete=True)
            number += 1
        try:
            row, clock = _session_row(origin()), perf_counter()
            create(path, identity, name, number, *row)
            return cls._opened(path, spool, identity, 1, clock)
        except BaseException:
            spool.close(delete=True)
            raise

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> "Journal":
        """Go on with a run whose process has died, or ended.

        Args:
            path: The file of the run.

        Returns:
            A journal; its `context` holds what finished.

        Raises:
            RunNotFoundError: There is no such run.
            RunInUseError: Its process lives.
            DamagedRunError: It cannot all be read.
            JournalError: It cannot be opened or written, or is of a later version of crystallize.

        Example:
            >>> with Journal.start("runs", "digits") as journal:
            ...     with journal.context(FrozenContext, {"lr": 0.1}).step("load"):
            ...         pass
            >>> with Journal.resume("runs/digits-0001.db") as journal:
            ...     journal.context(FrozenContext).provenance.finished("load")
            True
        """
        path = real(Path(path))
        row, clock = _session_row(origin()), perf_counter()
        with closing(connect(path)) as connection, transaction(path, connection):
            # First, as it says whether there is a run at all.
            identity, drained, session = state_of(path, connection)
        spool = Spool.open(path.with_suffix(".spool"), identity, session, drained)
        try:
            with closing(connect(path, write=True)) as connection, transaction(path, connection, write=True):
                # Since then another process may have resumed and ended it.
                identity, drained, session = state_of(path, connection)
                left = [*spooled(spool.path, identity, session, drained)]
                apply(connection, session, drained + 1, left)
                insert(connection, "sessions", session + 1, *row)
                # Of a run that cannot be read nothing is changed.
                content_of(path, connection, running=True)
            return cls._opened(path, spool, identity, session + 1, clock)
        except BaseException:
            # What it holds may not be in the database yet.
            spool.close()
            raise

    @classmethod
    def _opened(cls, path: Path, spool: Spool, identity: bytes, session: int, clock: float) -> "Journal":
        connection = connect(path, write=True)
        try:
            with transaction(path, connection):
                content = content_of(path, connection, running=True)
            spool.begin(identity, session, content.drained)
            return cls(path, connection, spool, content, clock)
        except BaseException:
            connection.close()
            raise

    def context(
        self,
        kind: type[FrozenContext[_T]],
        initial: Mapping[str, Any] | _T | None = None,
        logger: logging.Logger | None = None,
        *,
        metrics: type[MetricSchema] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> FrozenContext[_T]:
        """Make the context of this run: a new one, or, of a run that is resumed, one that holds what finished.

        A resumed context holds what was there at the start, what was written outside any step, and what the steps did
        that finished. A step that did not finish, or wrote what a file cannot give back, is to be done again, and
        none of its work is there.

        Args:
            kind: The context's class, as in `FrozenContext[Train]`.
            initial: The values that it starts with. Of a run that is resumed they may be left out, except for
                secrets, which are in no file; those given have to be the same as at the start.
            logger: Where to log; by default the logger named "crystallize".
            metrics: What may be measured; by default anything.
            sinks: Who else is told what happens from now on.

        Returns:
            The context, with this journal as its first sink.

        Raises:
            ResumeError: A secret, or another input that no file can hold, is not given again.
            JournalError: The run is not one of this schema and these metrics, or the journal is closed.
            SchemaError: `kind` is not the class of a context.
            InvalidInitialError: The initial values are not allowed, or not those that the run began with.
            SinkCheckError: Another sink's backend would refuse something.
        """
        if self._closed is not None:
            raise self._refusal()
        made: FrozenContext[_T] = blank_context(kind)
        content = self._resumed
        if content is None:
            made.__init__(initial, logger, metrics=metrics, sinks=(self, *sinks))  # type: ignore[misc]  # as a call does
            return made
        given: Any = {} if initial is None else initial
        is_there = given.__contains__ if hasattr(given, "keys") else partial(hasattr, given)
        lost = {value.key: value for value in content.values if value.is_input and value.missing}
        missing = [f"{key!r} ({one.missing})" for key, one in lost.items() if not is_there(key)]
        if missing:
            example = ", ".join(f"{key!r}: ..." for key in lost)
            reason = f"the file does not have all that the run began with: give again {', '.join(missing)}"
            raise ResumeError(str(self.path), reason, f"journal.context(..., {{{example}}})")

        def restore(state: State) -> None:
            fill(state, content, content.steps_to_redo)
            self._restored = state

        made._make(initial, logger, metrics, (self, *sinks), restore)
        for record in made.provenance.steps:
            if record.error is None and (gone := [key for key in record.reads if key not in made._state.cells]):
                text = "%s: step %r finished, and had read %s, which is to be written anew; its own results stay"
                _log.warning(text, self.name, record.name, ", ".join(map(repr, gone)))
        return made

    def _join(self, state: State) -> None:
        """Learn whose journal this is; called by the context, before it tells anything."""
        if self._state is not None:
            raise JournalError(
                str(self.path), "a journal is of one context, and this one has it already", "start another"
            )
        if self._resumed is not None and self._restored is not state:
            advice = "make its context with journal.context(...), which has what finished"
            raise ResumeError(str(self.path), "this run is resumed, and this context is new", advice)
        self._encoder = Encoder(state.schema, state.metrics.schema, self._warn)
        self._state = state
        self._takes = self._closed is None
        self._shorten()
        # Not before now, since only the context knows what is secret in them.
        held = state.held()
        came_from: Origin = {**self._origin, "arguments": [masked(legible(one), held) for one in sys.orig_argv]}
        known = fingerprints(state.schema, state.metrics.schema)
        self._spool.append(joined(JOIN, [came_from, {**known, "declared": declarations(state.metrics.schema)}]))

    def _warn(self, what: str, name: str, kind: str) -> None:
        if what == "branch":
            text = (
                "%s: the task of branch %r returned a %s, which a file cannot give back as its return annotation "
                "stands; on resuming it is run again"
            )
            _log.warning(text, self.name, name, kind)
            return
        _log.warning(
            "%s: %s %r holds a %s, which a file cannot give back; it is noted by type", self.name, what, name, kind
        )

    def handle(self, event: Event, /) -> None:
        """Take an event in. When this returns, it survives the process.

        Raises:
            JournalError: The journal is closed, or has failed before.
        """
        if not self._takes:
            raise self._refusal()
        try:
            if _is_told_later(event):
                return
            fact = self._merge(event) if type(event) is BranchMerged else self._encoder.fact(event)
            if not self._spool.append(fact, span(fact)):
                self._make_room(fact)
        except BaseException as error:
            # Also Ctrl-C: what took effect and is not in the file would be a hole.
            self._fail(error)
            raise
        if len(self._spool.pending) == BATCH:
            self._wake.set()
        if type(event) is StepFinished and event.branch is None:
            self.flush()

    def _merge(self, event: BranchMerged) -> bytes:
        """Return all that a branch brought as one fact, so that it is kept as a whole."""
        state, encoder = self._state, self._encoder
        assert state is not None
        number, names = state.forks[event.branch].number, state.metrics._store.scopes.names
        records = state.provenance._parts.of(number) or ()
        facts = [encoder.fact(StepStarted(one.name, one.started)) for one in sorted(records, key=_started)]
        facts += [encoder.fact(state.written(key)) for key in state.brought.of(number) or ()]
        for name, channel in state.metrics._store.channels.copy().items():
            if (part := channel.log.brought(number)) is not None:
                facts += encoder.points(name, part, names, event.branch)
        facts += [encoder.fact(ArtifactAdded(*one)) for one in state.artifacts._brought(number)]
        facts += [encoder.fact(one.as_event()) for one in records]
        return gathered([*facts, encoder.fact(event)])

    def _shorten(self) -> None:
        """Put a shorter way in place of `handle` for as long as all goes well: it only succeeds, or calls `handle`."""
        handle, wake = type(self).handle.__get__(self), self._wake.set
        plain, append, pending = self._encoder.plain, self._spool.append, self._spool.pending
        batch, longest, fail = BATCH, LONGEST, self._fail

        def handle_shortly(event: Event, /) -> None:
            if type(event) is MetricRecorded and event[0] in plain:
                if event[5] is not None:
                    return  # as there
                try:
                    fact = to_json(event[:4])
                    done = len(fact) < longest and append(fact)
                except Exception:  # whatever it is, `handle` meets it too
                    done = False
                except BaseException as error:
                    fail(error)
                    raise
                if done:
                    if len(pending) == batch:
                        wake()
                    return
            handle(event)

        vars(self)["handle"] = handle_shortly

    def _make_room(self, fact: bytes) -> None:
        """Take in a fact for which the spool has no room left, or never has."""
        self.flush()
        self._spool.rewind()
        self._shorten()
        if not self._spool.append(fact, span(fact)):
            # Larger than the spool: it goes where all facts go, at once.
            with self._lock:
                self._drained = self._apply([fact])
            self._spool.skip(span(fact))
            self._shorten()

    def flush(self) -> None:
        """Bring all that was taken in into the database. When this returns, it survives the machine.

        Raises:
            JournalError: It cannot be written. The journal takes nothing more; what the spool holds stays there, for
                `Journal.resume`.
        """
        while self._drain():
            pass

    def _drain(self) -> bool:
        """Bring a batch of facts into the database; say whether there was one."""
        if self._closed is not None:
            # Also in a forked process, where nobody gives the lock back.
            raise self._refusal()
        with self._lock:
            if self._failure is not None or self._closed is not None:
                raise self._refusal()
            pending = self._spool.pending
            facts = pending[:TOGETHER]
            drained = self._apply(facts)
            count = len(facts)
            # If Ctrl-C came before this they are applied again, which does nothing. Between the two it cannot come.
            del pending[:count]
            self._drained = drained
            return count > 0

    def _apply(self, facts: list[bytes]) -> int:
        """Bring facts into the database that follow on those that are there; return the sequence of the last one."""
        if facts:
            try:
                self._check_files()
                with transaction(self.path, self._connection, write=True):
                    apply(self._connection, self._session, self._drained + 1, facts)
            except Exception as error:
                self._fail(error)
                raise
        return self._drained + sum(map(span, facts))

    def _check_files(self) -> None:
        """Check that the files are still there: a file without a name takes all that is written to it, for nobody."""
        for path, is_there in ((self._spool.path, self._spool.is_there()), (self.path, self._is_there())):
            if not is_there:
                raise JournalError(str(path), "the file was moved or deleted while the run was writing it")

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self._file, self.path.stat())
        except FileNotFoundError:
            return False

    def _fail(self, error: BaseException) -> None:
        """Take nothing more, because of the first error that came."""
        if not isinstance(error, Exception):
            error = JournalError(str(self.path), "it was interrupted while it wrote")
        self._failure = self._failure or error
        self._refuse()

    def _refuse(self) -> None:
        self._takes = False
        vars(self).pop("handle", None)

    def _refusal(self) -> JournalError:
        if self._closed is not None:
            return JournalError(str(self.path), self._closed)
        failure = self._failure
        if failure is None and self._state is not None:
            return JournalError(str(self.path), "the journal is closed")
        if failure is None:
            advice = "pass the journal in sinks=, or use its context()"
            return JournalError(str(self.path), "it has no context yet", advice)
        reason = failure.reason if isinstance(failure, JournalError) else f"{type(failure).__name__}: {failure}"
        advice = getattr(failure, "advice", "") or "what was taken before is there for Journal.resume"
        error = JournalError(str(self.path), f"the journal has failed and takes nothing more: {reason}", advice)
        error.__cause__ = failure
        return error

    def close(self) -> None:
        """End the run, as finished. Closing again does nothing.

        Raises:
            JournalError: What was taken in last cannot be written; it stays in the spool, for `Journal.resume`.
        """
        self._close("finished", None)

    def _close(self, outcome: str, error: str | None) -> None:
        if self._closed is not None:
            return
        is_drained = False
        try:
            ended = self._started + timedelta(seconds=perf_counter() - self._clock)
            fact = joined(END, {"ended": ended.isoformat(), "outcome": outcome, "error": error})
            # What other threads do meanwhile comes before the end, and is drained, or after it, and is refused.
            with nullcontext() if self._state is None else self._state.dispatcher.lock:
                if self._failure is None and not self._spool.append(fact):
                    self._make_room(fact)
                self._refuse()
            self.flush()
            is_drained = True
            # One file, for whoever copies it or reads it from where nobody can write. Beside a reader it stays as it
            # is, which does as well.
            with self._lock, suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA busy_timeout=0")
                self._connection.execute("PRAGMA journal_mode=DELETE")
        except Exception as raised:
            self._fail(raised)
            raise
        finally:
            self._release("the journal is closed", delete=is_drained)

    def _release(self, reason: str, *, delete: bool) -> None:
        self._closed = reason
        self._refuse()
        self._finalizer.detach()
        self._ends.set()
        self._wake.set()
        with self._lock:
            self._connection.close()
            self._spool.close(delete=delete)
        _open_here.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run: as finished, or as failed if an exception comes through."""
        if raised is None:
            self.close()
            return
        try:
            self._close("failed", told_of(raised, () if self._state is None else self._state.secrets()))
        except JournalError as error:
            # In place of what the user's own code raised it would hide that.
            raised.add_note(f"Besides, its journal could not be ended: {error}")

    def __reduce__(self) -> NoReturn:
        """Refuse: a journal stays in its process."""
        reason = "a journal stays in the process that opened it; a copy of its context has no sinks"
        raise JournalError(str(self.path), reason)

    def __repr__(self) -> str:
        return f"Journal({self.name})"


def _is_told_later(event: Event) -> bool:
    """Whether an event is of what a branch did: the last event of its merge, or of its failure, tells all of it."""
    if type(event) in (BranchForked, BranchMerged) or (type(event) is StepFinished and event.is_of_failed_branch):
        return False
    return getattr(event, "branch", None) is not None


_started = attrgetter("started")


def _drain_on(reference: "weakref.ref[Journal]", wake: threading.Event, ends: threading.Event) -> None:
    """Drain a journal until it ends. Not a method: a journal that nobody has any more is not kept by its thread."""
    while not ends.is_set():
        wake.wait(DELAY)
        wake.clear()
        journal = reference()
        if journal is None:
            return
        try:
            journal.flush()
        except Exception as error:
            # The next event meets it as well; a run that records nothing more would not.
            if not ends.is_set():
                _log.error("%s: the journal has failed and takes nothing more: %s", journal.name, error)
            return
        del journal


def _abandon(lock: threading.Lock, ends: threading.Event, connection: sqlite3.Connection, spool: Spool) -> None:
    """Let go of a run that nobody closed: it has died, and what its spool holds stays there."""
    ends.set()
    # A connection must not be closed while another thread uses it.
    with lock:
        connection.close()
        spool.close()


_open_here: "weakref.WeakSet[Journal]" = weakref.WeakSet()


def _at_exit() -> None:
    """Say which runs are left as if they had died, since nobody has closed them."""
    for journal in list(_open_here):
        _log.warning(
            "%s: its journal was not closed, so the run is as if it had died; use with, or close", journal.name
        )


def _after_fork() -> None:
    """In a forked process: its parent has the run, and the lock on it."""
    for journal in list(_open_here):
        journal._closed = "it belongs to the process that opened it; a forked process has no part in it"
        journal._refuse()
        journal._finalizer.detach()
        journal._spool.let_go()
    _open_here.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)


def _session_row(came_from: Origin) -> tuple[str | None, ...]:
    return datetime.now(UTC).isoformat(), to_json(came_from).decode(), *[None] * 6


def _next_number(folder: Path, name: str) -> int:
    """Return the number after the last one, of a run or of one that is being made."""
    pattern = re.compile(rf"{re.escape(name)}-(\d{{4,}})\.(db|spool)")
    return max((int(found[1]) for one in folder.iterdir() if (found := pattern.fullmatch(one.name))), default=0) + 1
