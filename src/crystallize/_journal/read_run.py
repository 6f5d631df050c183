"""Read a run from its files."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from .._base.object_folder import ObjectName, checked_name
from .._base.text import printable, short
from .._core.codec import Stored, as_read_here
from .._core.file_names import unfit_name
from .._core.value_parts import Part
from ..errors import DamagedRunError, JournalError, ObjectError, RunNotFoundError
from .database import connect, has_log, has_table, missing_in, rows, state_of, transaction
from .event_rows import apply
from .kept_steps import KeptSteps
from .parent_run import ParentRun, parent_of
from .rows import (
    MISSING,
    Attempt,
    Declared,
    Entry,
    MergedBranch,
    PackedRow,
    Positioned,
    Returned,
    Session,
    StoredArtifact,
    Task,
    artifact_of,
    attempt_of,
    entry_of,
    failure_of,
    file_of,
    final_process,
    forks_of,
    merged_branch_of,
    returned_of,
    session_of,
    task_of,
)
from .run_objects import objects_of
from .spool_format import has_writer, spooled
from .stored_facts import items_of
from .untrusted_file import RunConnection, check_files
from .value_facts import ObjectPart, without_lost_object

_log = logging.getLogger("crystallize")


@dataclass(frozen=True)
class RunData:
    """The content of a run's file at one moment; no schema is needed to read it."""

    path: Path
    identity: bytes
    name: str
    number: int
    drained: int
    running: bool
    sessions: tuple[Session, ...]
    attempts: tuple[Attempt, ...]
    values: tuple[Entry, ...]
    points: tuple[PackedRow, ...]
    artifacts: tuple[StoredArtifact, ...]
    forks: tuple[tuple[str, int], ...]
    """The branches in the order of their work, each with the position of its fork, or of the first of its `fan_out`."""
    firsts: frozenset[str]
    """The branches that were the first ones of a `fan_out`."""
    merges: tuple[MergedBranch, ...]
    """The branches in the order in which they were merged."""
    failures: tuple[Attempt, ...]
    """The attempts at branches that failed, in that order. They are not among `attempts`: nothing of their work is in
    the file, and the same branch may be merged later."""
    tasks: tuple[Task, ...]
    """The steps that `ctx.run` has run."""
    returns: tuple[Returned, ...]
    parent: ParentRun | None
    """The earlier run from which it takes steps over."""
    items: Mapping[str, Mapping[str, Any]]
    """The scalars of the items of branches, by the names of the fields they are in."""
    note: str | None
    tags: tuple[str, ...]
    lacks_spool: bool = False
    """Whether it has no writer and did not end, and its spool is not beside it."""
    is_to_look_at: bool = False
    """Whether a value that this program cannot read is an error only when it is asked for."""

    @property
    def incomplete(self) -> str | None:
        """Why the file may lack facts; None if it has all."""
        if not self.lacks_spool:
            return None
        spool = self.path.with_suffix(".spool").name
        return f"the run was not closed, and {spool!r}, which may contain its last values and points, is missing"

    def as_read_here(self) -> "RunData":
        """Return the run to look at, with the values as lost whose codec or object this program does not have."""
        data = self.without_lost_objects(whole=False)
        values = (entry._replace(stored=as_read_here(entry.stored)) for entry in data.values)
        return replace(data, values=tuple(values), is_to_look_at=True)

    def without_lost_objects(self, *, whole: bool) -> "RunData":
        """Return the run with the values and results as lost whose objects are missing, or of another size.

        `whole`: all objects are read, and also those with another content count as lost.
        """
        values = (entry._replace(stored=without_lost_object(entry.stored, whole=whole)) for entry in self.values)
        merges = (merged._replace(result=without_lost_object(merged.result, whole=whole)) for merged in self.merges)
        returns = (found._replace(result=without_lost_object(found.result, whole=whole)) for found in self.returns)
        return replace(self, values=tuple(values), merges=tuple(merges), returns=tuple(returns))

    @cached_property
    def lost_artifacts(self) -> tuple[tuple[StoredArtifact, ObjectError], ...]:
        """The artifacts whose objects are missing, or of another size, each with the error.

        No object is read, as a run may have many large ones.
        """
        found = []
        for stored in self.artifacts:
            try:
                stored.artifact.content.check()
            except ObjectError as error:
                found.append((stored, error))
        return tuple(found)

    @property
    def declared(self) -> dict[str, Declared]:
        """The declaration of each metric, by the last process that declared it."""
        known = [session.fingerprints.get("declared", {}) for session in self.sessions]
        return {name: Declared(**facts) for declared in known for name, facts in declared.items()}

    def objects(self) -> Iterator[tuple[str, ObjectName]]:
        """Return the objects that the run names, each with its use for error messages."""
        stored = [(f"the value of key {entry.key!r}", entry.stored) for entry in self.values]
        stored += self.results
        for what, value in stored:
            yield from ((what, part.name) for part in value.parts if isinstance(part, ObjectPart))
        for found in self.artifacts:
            if found.artifact.content.is_in(objects_of(self.path)):
                yield f"artifact {found.artifact.name!r}", found.artifact.content.name

    @property
    def results(self) -> list[tuple[str, Stored]]:
        """The results of the tasks of branches and steps, each with its use for error messages."""
        found = [(f"what branch {merged.branch!r} returned", merged.result) for merged in self.merges]
        return [*found, *((f"what step {returned.step!r} returned", returned.result) for returned in self.returns)]

    @property
    def last(self) -> Session:
        """The newest process."""
        return self.sessions[-1]

    @property
    def final(self) -> Session:
        """The process that decides the outcome of the run."""
        return final_process(self.sessions)

    @cached_property
    def fingerprints(self) -> dict[int, dict[str, Any]]:
        """The fingerprints of the types in the schema of each process."""
        return {session.number: session.fingerprints for session in self.sessions}

    @cached_property
    def _branches(self) -> frozenset[tuple[int, str]]:
        return frozenset((merged.session, merged.branch) for merged in self.merges)

    def branch_of(self, process: int, step: str | None) -> str | None:
        """Return the branch that brought the work of a step; None if none did."""
        parts = step.split("/") if step is not None else []
        names = ("/".join(parts[:at]) for at in range(1, len(parts) + 1))
        return next((name for name in names if (process, name) in self._branches), None)

    @cached_property
    def _forked(self) -> dict[str, tuple[int, int]]:
        return {branch: (position, number) for number, (branch, position) in enumerate(self.forks)}

    def position(self, of: Positioned) -> tuple[tuple[int, int], int]:
        """Return the key that orders the work of a run: the work of a branch comes where the branch was forked."""
        branch = self.branch_of(of.session, of.step)
        if branch is None and of.step in self._forked:
            branch = of.step  # it has failed
        return ((of.sequence, 0) if branch is None else self._forked[branch], of.sequence)

    @cached_property
    def at_present(self) -> KeptSteps:
        """The work that the last process found and did.

        An attempt that failed within a step that finished is a part of the work of that step.
        """
        return KeptSteps.of(self, self.last.number)

    @cached_property
    def when_resumed(self) -> KeptSteps:
        """The work that the next process finds."""
        unreturned = {found.step for found in self.returns if found.result.how in MISSING}
        return KeptSteps.of(self, self.last.number + 1, self._lost_steps(), unreturned)

    @property
    def standing_failures(self) -> tuple[Attempt, ...]:
        """The failures of branches after which came neither a merge, nor another failure, nor another process.

        Those within a step that finished stand also after another process.
        """
        return self.at_present.failures

    @property
    def superseded(self) -> frozenset[tuple[int, str | None]]:
        """The attempts, by process and step, that a later process did again, or that had not finished when it began."""
        return self.at_present.dropped

    @property
    def steps_to_redo(self) -> frozenset[tuple[int, str | None]]:
        """The attempts to repeat: those that did not finish, or lost a value, an artifact or their result.

        A value is lost if it cannot be restored, an artifact if its object is missing or of another size.
        """
        return self.when_resumed.dropped

    def _lost_steps(self) -> set[str]:
        """Return the names of the steps and branches that lost a part of their work, and of the steps around them."""
        lost = {(entry.session, entry.step) for entry in self.values if entry.missing}
        lost |= {(found.process, found.artifact.step) for found, _ in self.lost_artifacts}
        lost |= {(merged.session, merged.branch) for merged in self.merges if merged.result.how in MISSING}
        lost -= self.superseded
        parts = ((self.branch_of(process, step) or step).split("/") for process, step in lost if step)
        return {"/".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)}


def read(path: Path) -> RunData:
    """Read a run, with the facts in its spool if its process died.

    This raises RunNotFoundError if there is no such run, DamagedRunError if not all of it can be read, and JournalError
    if it cannot be opened.
    """
    path = real(path)
    with _opened(path) as (connection, state):
        return replace(data_of(path, connection, running=state.running), lacks_spool=state.lacks_spool)


def warn_if_incomplete(data: RunData, advice: str) -> None:
    """Log a warning if a file may lack facts of its run; the advice ends it."""
    if data.incomplete:
        _log.warning("%s: %s. %s", printable(str(data.path)), data.incomplete, advice)


def lacks_spool(connection: sqlite3.Connection, *, was_there: bool) -> bool:
    """Return whether the last process of a run did not end, given whether its spool was there before the transaction.

    A process deletes its spool once its end is in the database. If there was no spool before, no process is at work.
    """
    process, ended = connection.execute("SELECT session, ended FROM sessions ORDER BY session DESC LIMIT 1").fetchone()
    if ended is not None or was_there:
        return False
    sealed = "SELECT 1 FROM seals WHERE session = ?"
    return not (has_table(connection, "seals") and connection.execute(sealed, (process,)).fetchone())


def real(path: Path) -> Path:
    """Return the absolute path of a file, or of the target of a link: a run's other files are named as its own file is.

    Absolute, since the program may change its working directory while the path is in use.
    """
    try:
        return path.resolve() if os.path.islink(path) else path.absolute()
    except FileNotFoundError as error:
        raise JournalError(str(path), "the working directory was deleted", "give an absolute path") from error
    except RuntimeError as error:  # links in a circle, until Python 3.12
        raise RunNotFoundError(str(path), f"this path cannot be followed ({error})") from error


@contextmanager
def open_streaming(path: Path) -> Iterator[tuple[RunData, Callable[[], Iterator[PackedRow]]]]:
    """Open a run whose points are too many for memory; this raises the errors of `read`.

    The block gets the run without its values, points and artifacts, and a function that reads the rows of its points.
    The function may be called several times while the run is open.
    """
    with open_outline(path) as (outline, connection):
        yield outline, lambda: map(PackedRow._make, rows(outline.path, connection, "points"))


@contextmanager
def open_outline(path: Path) -> Iterator[tuple[RunData, sqlite3.Connection]]:
    """Open a run without its values, points and artifacts; this raises the errors of `read`.

    The block gets the run, and a connection from which it may read more.
    """
    path = real(path)
    with _opened(path) as (connection, state):
        yield _outline_of(path, connection, running=state.running), connection


class _FileState(NamedTuple):
    """The state of the files of a run when they were opened."""

    running: bool
    """Whether the run has a living writer."""
    lacks_spool: bool
    """Whether it has none and did not end, and its spool is not beside it."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[sqlite3.Connection, _FileState]]:
    """Open a transaction on all facts of a run."""
    spool = path.with_suffix(".spool")
    # Before anything is opened, as a pipe would wait for its writer.
    check_files(path)
    while True:
        running, was_there = has_writer(spool), spool.exists()
        is_given = False
        try:
            # No ExitStack: its exceptions are in a cycle, and would keep the files open.
            with (
                closing(connect(path)) as connection,
                transaction(path, connection),
                nullcontext(connection) if running else _with_spool(path, connection) as whole,
            ):
                if running or (not has_writer(spool) and spool.exists() == was_there):
                    is_given = True
                    yield whole, _FileState(running, not running and lacks_spool(whole, was_there=was_there))
                    return
        except DamagedRunError:
            # The run may have been resumed just now, which empties the spool.
            if is_given or running or not has_writer(spool):
                raise


@contextmanager
def _with_spool(path: Path, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Open a database that has the facts of the spool, too: the given one if there are none, else a copy."""
    identity, drained, process = state_of(path, connection)
    left = spooled_facts(path, connection, identity, process, drained)
    if not left:
        yield connection
        return
    # A reader writes nothing: the facts go into a copy, which SQLite keeps in a file if it is large.
    with closing(sqlite3.connect("", isolation_level=None, factory=RunConnection)) as copied:
        connection.backup(copied)
        # As where a run is resumed: a fact that refers to another one that is not there is damage.
        copied.execute("PRAGMA foreign_keys=ON")
        with transaction(path, copied):
            apply(copied, process, drained + 1, left)
            yield copied


def spooled_facts(
    path: Path, connection: sqlite3.Connection, identity: bytes, process: int, drained: int
) -> list[bytes]:
    """Return the facts in the spool of a run that its database lacks, given the facts of the database about the run."""
    try:
        return [*spooled(path.with_suffix(".spool"), identity, process, drained)]
    except DamagedRunError as error:
        log = path.with_name(f"{path.name}-wal")
        # SQLite has just made an empty log if there was none.
        if not has_log(connection) or (log.exists() and log.stat().st_size):
            raise
        reason = f"{error.reason}; {log.name!r}, which a run has until it ends, is missing"
        advice = f"if you have that file, put it into the folder of the run; else, {error.advice}"
        raise DamagedRunError(error.path, reason, advice) from error


def data_of(path: Path, connection: sqlite3.Connection, *, running: bool, since: int = 0) -> RunData:
    """Read the content of a database after position `since`, within a transaction of the caller."""
    outline = _outline_of(path, connection, running=running, since=since)
    parts = _parts_of(path, connection, since)
    reasons = dict(rows(path, connection, "reasons", since))
    return replace(
        outline,
        values=tuple(entry_of(row, parts, reasons) for row in rows(path, connection, "entries", since)),
        points=tuple(map(PackedRow._make, rows(path, connection, "points", since))),
        artifacts=_artifacts_of(path, connection, since),
    )


def _parts_of(path: Path, connection: sqlite3.Connection, since: int) -> dict[int, dict[int, Part]]:
    """Return the parts of values, by the positions of the values and their own places."""
    found: dict[int, dict[int, Part]] = {}
    for position, place, content in rows(path, connection, "arrays", since):
        found.setdefault(position, {})[place] = content
    objects = objects_of(path)
    for position, place, digest, size in rows(path, connection, "value_objects", since):
        found.setdefault(position, {})[place] = ObjectPart(objects, checked_name(digest, size))
    return {position: dict(sorted(parts.items())) for position, parts in found.items()}


def _artifacts_of(path: Path, connection: sqlite3.Connection, since: int) -> tuple[StoredArtifact, ...]:
    contents, objects = dict(rows(path, connection, "contents", since)), objects_of(path)
    found = [artifact_of(row, contents) for row in rows(path, connection, "artifacts", since)]
    found += [file_of(row, objects) for row in rows(path, connection, "files", since)]
    return tuple(sorted(found, key=attrgetter("position")))


def _outline_of(path: Path, connection: sqlite3.Connection, *, running: bool, since: int = 0) -> RunData:
    """Read the content of a database without values, points and artifacts, within a transaction of the caller."""
    # The facts up to `since` were checked before, and none is ever deleted.
    for problem in () if since else missing_in(connection):
        raise DamagedRunError(str(path), problem, "`crystallize verify` lists its other problems")
    ((row, identity, name, number, drained),) = rows(path, connection, "run")
    forked = [*rows(path, connection, "forks")]
    forks, firsts = forks_of(forked, rows(path, connection, "fork_groups"))
    known = {branch for branch, _ in forks}
    if row != 1 or len(identity) != 16 or number < 1 or drained < 0 or unfit_name(name):
        raise ValueError(f"its name, number or identity is wrong: run {number} of {short(name)}")
    data = RunData(
        path=path,
        identity=identity,
        name=name,
        number=number,
        drained=drained,
        running=running,
        sessions=_processes_of(path, connection),
        attempts=tuple(map(attempt_of, rows(path, connection, "steps", since))),
        values=(),
        points=(),
        artifacts=(),
        forks=forks,
        firsts=firsts,
        merges=tuple(merged_branch_of(row, known, objects_of(path)) for row in rows(path, connection, "merges", since)),
        failures=tuple(failure_of(row, known) for row in rows(path, connection, "failures", since)),
        tasks=tuple(map(task_of, rows(path, connection, "tasks", since))),
        returns=tuple(returned_of(row, objects_of(path)) for row in rows(path, connection, "returns", since)),
        parent=parent_of(rows(path, connection, "parents")),
        items=items_of(forked, rows(path, connection, "items")),
        note=next((text for _, text in rows(path, connection, "notes")), None),
        tags=tuple(tag for (tag,) in rows(path, connection, "tags")),
    )
    _check_processes(data)
    return data


def _processes_of(path: Path, connection: sqlite3.Connection) -> tuple[Session, ...]:
    tracebacks = dict(rows(path, connection, "tracebacks"))
    return tuple(session_of(row, tracebacks) for row in rows(path, connection, "sessions"))


def _check_processes(data: RunData) -> None:
    """Raise ValueError unless the processes have the numbers 1, 2, 3, ..., and all work belongs to one of them."""
    numbers = [process.number for process in data.sessions]
    if not numbers or numbers != [*range(1, len(numbers) + 1)]:
        raise ValueError(f"its processes have the numbers {short(numbers)}")
    working = {attempt.session for attempt in (*data.attempts, *data.failures)}
    working |= {merged.session for merged in data.merges}
    if strange := working.difference(numbers):
        raise ValueError(f"process {min(strange)} did work, but is not in the file")
