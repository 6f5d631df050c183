"""Runs in files: reading one, finding them, comparing two."""

import os
import re
import sqlite3
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from itertools import islice
from math import inf
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias

from pydantic_core import from_json, to_json
from typing_extensions import TypeVar

from .._base.table import Table, TableRow
from .._base.text import MASK, counted, moment, nearest, one_line, short, took
from .._core.artifacts import Artifact, ArtifactLog
from .._core.codec import NotRestorable, Stored, decode, decode_untyped, json_view, revalidate
from .._core.context import FrozenContext, State, blank_context
from .._core.freezing import same
from .._core.metrics import FrozenMetrics, MetricLog, MetricSchema
from .._core.ordered_log import Fork, Merged, Parts, Place
from .._core.point_log import FULL, PointLog, StepRegistry, StepToken, store
from .._core.provenance import Provenance, StepRecord
from .._core.schema import Schema, digest
from ..errors import DamagedRunError, JournalError, KeyLookupError, MetricError, RunNotFoundError
from .database import ROW, apply, connect, missing_in, points_of, problems_in, rows, state_of, transaction
from .environment import Origin
from .event_bytes import decoded_point, parted
from .spool import is_locked, spooled

__all__ = [
    *(
        "Attempt",
        "RunData",
        "Declared",
        "Difference",
        "Entry",
        "MergedBranch",
        "PointReader",
        "Run",
        "Session",
        "SoFar",
        "compared",
        "content_of",
        "diff_runs",
        "done_so_far",
        "fill",
        "find_run",
        "given_back",
        "list_runs",
        "not_compared",
    ),
    *("load_run", "open_streaming", "read", "real", "verify_run"),
]

T_co = TypeVar("T_co", covariant=True, default=dict[str, Any])

Status: TypeAlias = Literal["running", "finished", "failed", "died"]


class Session(NamedTuple):
    """One process that wrote a run: the one that started it, or one that resumed it.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> session = load_run("runs/digits-0001.db").sessions[0]
        >>> session.number, session.outcome, session.error
        (1, 'finished', None)
    """

    number: int
    started: datetime
    ended: datetime | None
    """When it ended; None while it runs, and if it died."""
    outcome: Literal["finished", "failed"] | None
    error: str | None
    """What ended it, if an exception did."""
    origin: Origin
    """What is needed to repeat it."""
    fingerprints: dict[str, Any]
    """Of the types that its schema and its metrics had, with what was declared of the metrics besides."""


class Attempt(NamedTuple):
    """One opening of a step.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     with journal.context(FrozenContext, {"lr": 0.1}).step("fit"):
        ...         pass
        >>> [(one.step, one.finished) for one in load_run("runs/digits-0001.db").attempts]
        [('fit', True)]
    """

    step: str
    session: int
    started: datetime
    record: StepRecord | None
    """What it did; None if it never ended."""
    ended: int = 0
    """The place of its end among the facts of the run; 0 if it never ended."""
    sequence: int = 0
    """The place of its opening among the facts of the run."""

    @property
    def finished(self) -> bool:
        """Whether it ended, and not by an exception."""
        return self.record is not None and self.record.error is None


class SoFar(NamedTuple):
    """What a step had done that has not ended, as far as a file has it. What it read is told when it ends.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})
        ...     with ctx.step("fit") as fit:
        ...         fit["weight"] = 3.5
        ...         journal.flush()
        ...         load_run(journal.path).so_far[1, "fit"].writes
        ['weight']
    """

    writes: list[str]
    """The keys that it wrote, in order."""
    points: dict[str, int]
    """How many points it recorded, by metric."""
    artifacts: list[str]


class Entry(NamedTuple):
    """A key that was written, and what the file has of its value.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> entry = load_run("runs/digits-0001.db").entries["lr"]
        >>> entry.key, entry.is_input, entry.step, entry.missing
        ('lr', True, None, None)
    """

    key: str
    session: int
    step: str | None
    """The step that wrote it; None outside any step."""
    is_input: bool
    """Whether it was there when the run began."""
    stored: Stored
    sequence: int = 0
    """Its place among the facts of the run."""

    @property
    def missing(self) -> Literal["secret", "not restorable"] | None:
        """Why the file cannot give the value back; None where it can."""
        return _MISSING.get(self.stored.how)


def done_so_far(
    attempts: Iterable[Attempt],
    entries: Iterable[Entry],
    artifacts: Iterable[tuple[int, str | None, str]],
    points: Iterable[tuple[int, str | None, str, int]],
) -> dict[tuple[int, str], SoFar]:
    """Return what the attempts at steps that have not ended had done, by session and step.

    Args:
        attempts: All that there were.
        entries: The keys that were written.
        artifacts: The session and the step of each artifact, and its name.
        points: Of points the session, the step and the metric, and how many they are.
    """
    found = {(one.session, one.step): SoFar([], {}, []) for one in attempts if one.record is None}
    for entry in entries:
        if done := found.get((entry.session, entry.step or "")):
            done.writes.append(entry.key)
    for session, step, name in artifacts:
        if done := found.get((session, step or "")):
            done.artifacts.append(name)
    for session, step, metric, count in points:
        if done := found.get((session, step or "")):
            done.points[metric] = done.points.get(metric, 0) + count
    return found


class Placed(Protocol):
    """What has a place in a run."""

    @property
    def session(self) -> int:
        """The session that brought it."""
        ...

    @property
    def step(self) -> str | None:
        """The step that it is of; None outside any step."""
        ...

    @property
    def sequence(self) -> int:
        """Its place among the facts of the run."""
        ...


class Declared(NamedTuple):
    """What was declared of a metric, besides its types.

    Example:
        >>> class TrainMetrics(MetricSchema):
        ...     loss = Metric(float, unit="nats", goal="minimize")
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        >>> load_run("runs/digits-0001.db").declared["loss"]
        Declared(unit='nats', goal='minimize', description=None)
    """

    unit: str | None = None
    goal: Literal["minimize", "maximize"] | None = None
    description: str | None = None


class MergedBranch(NamedTuple):
    """A branch that was merged, as a file has it."""

    branch: str
    session: int
    digest: str
    """Of all that it brought, times aside."""
    item: str | None
    """A digest of the item that its task was given, where there is one."""
    result: Stored
    """What its task returned."""


_MISSING: dict[str, Literal["secret", "not restorable"]] = {"secret": "secret", "none": "not restorable"}


@dataclass(frozen=True)
class RunData:
    """All that a file holds of a run, as it was at one moment; no schema is needed to read it."""

    path: Path
    identity: bytes
    name: str
    number: int
    drained: int
    running: bool
    sessions: tuple[Session, ...]
    attempts: tuple[Attempt, ...]
    values: tuple[Entry, ...]
    points: tuple[tuple[int, int, bytes], ...]
    """The sequence of the first point of each row, its session, and the row."""
    artifacts: tuple[tuple[int, int, Artifact], ...]
    """The sequence of each artifact, its session, and the artifact."""
    forks: tuple[tuple[str, int], ...]
    """The branches in the order in which they were forked, each with the sequence of that."""
    merges: tuple[MergedBranch, ...]
    """The branches in the order in which they were merged."""
    failures: tuple[Attempt, ...]
    """The attempts at branches that failed, in that order. They are none of `attempts`: nothing of their work is here,
    and the same branch may be merged later."""

    @property
    def declared(self) -> dict[str, Declared]:
        """What was declared of each metric, as the run was written last."""
        known = [one.fingerprints.get("declared", {}) for one in self.sessions]
        return {name: Declared(**facts) for one in known for name, facts in one.items()}

    @property
    def last(self) -> Session:
        """The newest of the processes that wrote it."""
        return self.sessions[-1]

    @property
    def final(self) -> Session:
        """The process that says what became of it: the newest that made a context, as others have done nothing."""
        return next((one for one in reversed(self.sessions) if one.fingerprints), self.sessions[0])

    @cached_property
    def _branches(self) -> frozenset[tuple[int, str]]:
        return frozenset((one.session, one.branch) for one in self.merges)

    def branch_of(self, session: int, step: str | None) -> str | None:
        """Return the branch that brought what a step did; None if none did."""
        parts = step.split("/") if step is not None else []
        names = ("/".join(parts[:at]) for at in range(1, len(parts) + 1))
        return next((name for name in names if (session, name) in self._branches), None)

    @cached_property
    def _forked(self) -> dict[str, int]:
        return dict(self.forks)

    def place(self, one: "Placed") -> tuple[int, int]:
        """Return by what the steps and keys of a run are ordered: those of a branch stand where it was forked."""
        branch = self.branch_of(one.session, one.step)
        if branch is None and one.step in self._forked:
            branch = one.step  # it has failed
        return (one.sequence if branch is None else self._forked[branch], one.sequence)

    @property
    def standing(self) -> tuple[Attempt, ...]:
        """The failures of branches that nothing has come after: neither a merge, nor another failure, nor a process."""
        last = self.last.number
        newest = {one.step: one for one in self.failures if one.session == last}
        # What an earlier process has merged was done again where a file could not give all of it back.
        merged = {one.branch for one in self.merges if one.session == last}
        return tuple(one for one in newest.values() if one.step not in merged)

    @property
    def superseded(self) -> frozenset[tuple[int, str | None]]:
        """The attempts, by session and step, that a later session did again, or that had not finished when it began."""
        again = {attempt.step: attempt.session for attempt in self.attempts}
        failed = {failure.step: failure.session for failure in self.failures}
        last = self.last.number

        def is_superseded(one: Attempt) -> bool:
            # A branch is one piece, whatever became of the steps in it.
            branch = self.branch_of(one.session, one.step)
            if branch is not None:
                return max(again[branch], failed.get(branch, 0)) > one.session
            return again[one.step] > one.session or (not one.finished and one.session < last)

        return frozenset((one.session, one.step) for one in self.attempts if is_superseded(one))

    @property
    def steps_to_redo(self) -> frozenset[tuple[int, str | None]]:
        """What has to be done again: what did not finish, or wrote or returned what cannot be given back."""
        lost = {(value.session, value.step) for value in self.values if value.missing}
        lost |= {(one.session, one.branch) for one in self.merges if one.result.how in _MISSING}
        inner = {(session, self.branch_of(session, step) or step) for session, step in lost if step is not None}
        return frozenset(
            {*self.superseded, *((one.session, one.step) for one in self.attempts if self._is_undone(one, inner))}
        )

    def _is_undone(self, one: Attempt, lost: Collection[tuple[int, str]]) -> bool:
        """Whether an attempt has to be made again, given the steps and branches, by session, that lost something."""
        branch = self.branch_of(one.session, one.step)
        if branch is not None:
            return (one.session, branch) in lost
        around = any(session == one.session and step.startswith(f"{one.step}/") for session, step in lost)
        return around or not one.finished or (one.session, one.step) in lost


def read(path: Path) -> RunData:
    """Read a run, and what its spool still holds if its process died.

    Raises:
        RunNotFoundError: There is none.
        DamagedRunError: It cannot all be read.
        JournalError: It cannot be opened.
    """
    path = real(path)
    with _held(path) as (whole, running):
        return content_of(path, whole, running=running)


def real(path: Path) -> Path:
    """Return the file itself where a path is a link to it: what stands beside a run is named as its file is."""
    return path.resolve() if path.is_symlink() else path


def writable(path: str | os.PathLike[str]) -> Path:
    """Return a path that may be written to.

    Raises:
        JournalError: It is the file of a run.
    """
    found = Path(path)
    if found.suffix in (".db", ".spool") and found.exists():
        raise JournalError(str(path), "this is the file of a run, and would be overwritten")
    return found


@contextmanager
def open_streaming(path: Path) -> Iterator[tuple[RunData, Callable[[], Iterator[tuple[Any, ...]]]]]:
    """Open a run of which not all is to be in memory at once.

    Returns:
        What it holds without its values, points and artifacts, and what reads the rows of its points, as often as it
        is called while the run is open.

    Raises:
        RunNotFoundError: There is none.
        DamagedRunError: It cannot all be read.
        JournalError: It cannot be opened.
    """
    path = real(path)
    with _held(path) as (whole, running):
        yield outline_of(path, whole, running=running), lambda: rows(path, whole, "points")


@contextmanager
def _held(path: Path) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Open a transaction in which there is all that a run holds, also what its spool still has.

    Returns:
        The database, and whether the run has a living writer.
    """
    spool = path.with_suffix(".spool")
    while True:
        running, was_there = is_locked(spool), spool.exists()
        is_given = False
        try:
            # No ExitStack: what it raises is in a cycle, and keeps what is open here open.
            with (
                closing(connect(path)) as connection,
                transaction(path, connection),
                nullcontext(connection) if running else _with_spool(path, spool, connection) as whole,
            ):
                if running or (not is_locked(spool) and spool.exists() == was_there):
                    is_given = True
                    yield whole, running
                    return
        except DamagedRunError:
            # It may have been resumed just now, which empties the spool.
            if is_given or running or not is_locked(spool):
                raise


@contextmanager
def _with_spool(path: Path, spool: Path, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Open a database that has what a spool still holds, too: the one that is given if that is nothing, else a copy."""
    identity, drained, session = state_of(path, connection)
    left = [*spooled(spool, identity, session, drained)]
    if not left:
        yield connection
        return
    # A reader writes nothing: the facts are put into a copy, which is in a file if it is large.
    with closing(sqlite3.connect("", isolation_level=None)) as copied:
        connection.backup(copied)
        with transaction(path, copied):
            apply(copied, session, drained + 1, left)
            yield copied


def content_of(path: Path, connection: sqlite3.Connection, *, running: bool, since: int = 0) -> RunData:
    """Read all that a database holds, in a transaction of whoever calls.

    Args:
        path: The file of the run.
        connection: The database in it.
        running: Whether the run has a living writer.
        since: The sequence of the last fact that is known; what was there by then is left out.

    Raises:
        DamagedRunError: It cannot all be read.
    """
    outline = outline_of(path, connection, running=running, since=since)
    arrays: dict[int, list[bytes]] = {}
    for sequence, _, npy in rows(path, connection, "arrays", since):
        arrays.setdefault(sequence, []).append(npy)
    contents = dict(rows(path, connection, "contents", since))
    return replace(
        outline,
        values=tuple(_value(row, arrays) for row in rows(path, connection, "entries", since)),
        points=tuple(
            (sequence, session, content) for sequence, session, _, content in rows(path, connection, "points", since)
        ),
        artifacts=tuple(
            (sequence, session, Artifact(name, contents[sha256], step))
            for sequence, session, step, name, sha256 in rows(path, connection, "artifacts", since)
        ),
    )


def outline_of(path: Path, connection: sqlite3.Connection, *, running: bool, since: int = 0) -> RunData:
    """Read what a database holds besides values, points and artifacts, in a transaction of whoever calls.

    Args:
        path: The file of the run.
        connection: The database in it.
        running: Whether the run has a living writer.
        since: The sequence of the last fact that is known; what was there by then is left out.

    Raises:
        DamagedRunError: It cannot all be read.
    """
    # What was looked at before had no holes, and nothing is ever taken away.
    for problem in () if since else missing_in(connection):
        raise DamagedRunError(str(path), problem, "`crystallize verify` says what else is wrong with it")
    ((_, identity, name, number, drained),) = rows(path, connection, "run")
    forks = _forks(rows(path, connection, "forks"))
    known = {branch for branch, _ in forks}
    return RunData(
        path=path,
        identity=identity,
        name=name,
        number=number,
        drained=drained,
        running=running,
        sessions=tuple(map(_session, rows(path, connection, "sessions"))),
        attempts=tuple(map(_attempt, rows(path, connection, "steps", since))),
        values=(),
        points=(),
        artifacts=(),
        forks=forks,
        merges=tuple(_merge(row, known) for row in rows(path, connection, "merges", since)),
        failures=tuple(_failure(row, known) for row in rows(path, connection, "failures", since)),
    )


def _forks(of: Iterable[tuple[Any, ...]]) -> tuple[tuple[str, int], ...]:
    """Return the branches with where they were forked last: a step that is done again forks them anew."""
    last = {branch: sequence for branch, sequence, _ in of}
    return tuple(sorted(last.items(), key=itemgetter(1)))


def _session(row: tuple[Any, ...]) -> Session:
    number, started, origin, fingerprints, _, ended, outcome, error, _ = row
    known = {} if fingerprints is None else from_json(fingerprints)
    return Session(number, _time(started), ended and _time(ended), outcome, error, from_json(origin), known)


def _attempt(row: tuple[Any, ...]) -> Attempt:
    session, name, sequence, started, ended, text = row
    record = None if text is None else _record(from_json(text))
    return Attempt(name, session, _time(started), record, ended or 0, sequence)


def _record(facts: dict[str, Any]) -> StepRecord:
    return StepRecord(
        name=facts["step"],
        reads=tuple(facts["reads"]),
        absent=tuple(facts["absent"]),
        writes=tuple(facts["writes"]),
        points=MappingProxyType(facts["points"]),
        artifacts=tuple(facts["artifacts"]),
        started=_time(facts["started"]),
        ended=_time(facts["ended"]),
        error=facts["error"],
    )


def _value(row: tuple[Any, ...], arrays: Mapping[int, list[bytes]]) -> Entry:
    sequence, session, step, key, is_input, how, type_, json, digest = row
    stored = Stored(how, type_, json.encode(), tuple(arrays.get(sequence, ())))
    if stored.digest != digest:
        raise ValueError(f"the value of key {key!r} has another digest than when it was written")
    return Entry(key, session, step, bool(is_input), stored, sequence)


def _merge(row: tuple[Any, ...], forks: Collection[str]) -> MergedBranch:
    session, branch, _, digest, item, how, result = row
    if branch not in forks:
        raise ValueError(f"branch {branch!r} was merged, and was never forked")
    (type_, result_digest, returns), (json, *arrays) = parted(result)
    stored = Stored(how, type_, json, tuple(arrays), returns)
    if stored.digest != result_digest:
        raise ValueError(f"what the task of branch {branch!r} returned has another digest than when it was merged")
    return MergedBranch(branch, session, digest, item, stored)


def _failure(row: tuple[Any, ...], forks: Collection[str]) -> Attempt:
    sequence, session, branch, text = row
    if branch not in forks:
        raise ValueError(f"branch {branch!r} failed, and was never forked")
    record = _record(from_json(text))
    return Attempt(branch, session, record.started, record, sequence, sequence)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def fill(state: State, content: RunData, dropped: frozenset[tuple[int, str | None]]) -> None:
    """Put what a run holds into the state of a new context, that of a resumed run or of one to look at.

    Args:
        state: The state.
        content: The run.
        dropped: The attempts of steps that are not to be in it, by session and step.

    Raises:
        JournalError: The schema or the metrics are not those of the run.
    """
    done = [one for one in content.attempts if (one.session, one.step) not in dropped]
    names = [None, *dict.fromkeys(one.step for one in done)]
    kept_steps = {one.step for one in done if one.finished}
    numbers = {name: number for number, name in enumerate(names)}
    state.metrics._store.scopes = StepRegistry(names, kept_steps)
    kept = [one for one in content.values if (one.session, one.step) not in dropped and not one.missing]
    for value in kept:
        _restore_key(state, content, value)
    ended = sorted(done, key=lambda one: one.ended)
    files = [one for one in content.artifacts if (one[1], one[2].step) not in dropped]
    keys = _parted((content.branch_of(one.session, one.step), one.sequence, one.key) for one in kept)
    records = _parted(
        (content.branch_of(one.session, one.step), one.ended, one.record) for one in ended if one.record is not None
    )
    artifacts = _parted((content.branch_of(session, one.step), sequence, one) for sequence, session, one in files)
    points = _fill_metrics(state.metrics, content, dropped, numbers)
    state.provenance._restore(map(itemgetter(1), records[None]), Parts())
    state.artifacts._restore(map(itemgetter(1), artifacts[None]))
    merged = {one.branch: one for one in content.merges if (one.session, one.branch) not in dropped}
    for branch, forked in content.forks:
        number = state.next_number()
        place = Place(
            _before(forked, keys[None]),
            _before(forked, records[None]),
            _before(forked, artifacts[None]),
            points.lengths[branch],
        )
        around = branch.rpartition("/")[0]
        fork = state.forks[branch] = Fork(number, place, is_adrift=around != "" and around not in kept_steps)
        if (one := merged.get(branch)) is None:
            state.metrics._store.scopes.reserve(branch)
            continue
        fork.merged = Merged(one.digest, one.result, one.item, False)
        brought = tuple(key for _, key in keys[branch])
        state.brought.add(number, place.keys, brought, len(brought))
        state.provenance._bring(number, place.steps, tuple(record for _, record in records[branch]))
        state.artifacts._bring(number, place.artifacts, tuple(artifact for _, artifact in artifacts[branch]))
        for name, log in points.brought[branch].items():
            own = state.metrics._store.open(name).log
            own.bring(number, place.points.get(name, 0), log.packed(), 0, branch)


_P = TypeVar("_P")


def _parted(of: Iterable[tuple[str | None, int, _P]]) -> dict[str | None, list[tuple[int, _P]]]:
    """Part what a run did, in order, by the branch that brought it; None for what it did itself."""
    parts: dict[str | None, list[tuple[int, _P]]] = defaultdict(list)
    for branch, sequence, one in of:
        parts[branch].append((sequence, one))
    return parts


def _restore_key(state: State, content: RunData, value: Entry) -> None:
    try:
        key = state.schema.key(value.key)
    except KeyLookupError as error:
        reason = f"the run holds what {state.schema.name} does not declare: {error}"
        raise JournalError(str(content.path), reason, "use the schema that the run was written with") from error
    try:
        # Without a schema JSON is all that there is to give.
        if state.schema is Schema.untyped():
            given = decode_untyped(value.stored)
        elif _key_fingerprint(content, value) == key.fingerprint():
            given = decode(value.stored, key)
        else:
            given = revalidate(value.stored, key)
    except ImportError as error:
        reason = f"key {value.key!r} holds an array, and {error.name} is not installed"
        raise JournalError(str(content.path), reason) from error
    except Exception as error:  # whatever a user's validator raises
        reason = (
            f"key {value.key!r} was written as {value.stored.type}, and {state.schema.name} does not take that back"
        )
        raise JournalError(str(content.path), reason, "use the schema that the run was written with") from error
    state.write(value.key, given, StepToken(value.step), is_input=value.is_input, trusted=True)


def _before(sequence: int, own: Sequence[tuple[int, Any]]) -> int:
    """Count what comes before a fact."""
    return bisect_left(own, sequence, key=itemgetter(0))


class _Points(NamedTuple):
    """What was found of points, besides those that are in the series."""

    brought: dict[str, dict[str, PointLog]]
    """What branches brought, by branch and metric."""
    lengths: dict[str, dict[str, int]]
    """How many points there were when a branch was forked, by branch and metric."""


def given_back(path: Path, point: list[Any], checks: Any) -> tuple[Any, dict[str, Any]]:
    """Return the value and tags of a point in a file that needs more than its JSON.

    Args:
        path: The file.
        point: The point as it was parsed.
        checks: What the metric allows; None where that is not known.

    Raises:
        JournalError: It holds an array, and numpy is not installed.
    """
    try:
        return decoded_point(point, checks)
    except ImportError as error:
        reason = f"metric {point[0]!r} holds an array, and {error.name} is not installed"
        raise JournalError(str(path), reason) from error


def _kept(metric: str, value: Any, tags: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Freeze what was read of a point."""
    return store(value, f"a value of {metric!r}"), {tag: store(tags[tag], f"a tag of {metric!r}") for tag in tags}


class PointReader:
    """Gives the points of a run back, by what a schema says of their metrics."""

    def __init__(self, content: RunData, metrics: FrozenMetrics) -> None:
        """Take a run.

        Args:
            content: What it holds, also without its points.
            metrics: What they are measured by.
        """
        self._path = content.path
        self._store = metrics._store
        self._known = {one.number: one.fingerprints.get("metrics", {}) for one in content.sessions}

    def channel(self, name: str) -> MetricLog:
        """Return what is said of a metric.

        Raises:
            JournalError: The schema does not declare it.
        """
        try:
            return self._store.open(name)
        except MetricError as error:
            reason = f"the run measured what the schema does not declare: {error}"
            raise JournalError(str(self._path), reason, "use the metrics that the run was written with") from error

    def is_changed(self, session: int, channel: MetricLog) -> bool:
        """Whether a metric was declared otherwise when a session recorded it."""
        metric = channel.metric
        return metric is not None and self._known.get(session, {}).get(channel.name) != metric.checks.fingerprint

    def read(self, channel: MetricLog, point: list[Any], *, is_changed: bool) -> tuple[Any, dict[str, Any]]:
        """Return the value and the tags of a point, as they are to be kept.

        Args:
            channel: What is said of its metric.
            point: The point as it was parsed.
            is_changed: Whether that was declared otherwise when it was recorded.

        Raises:
            JournalError: The metric does not allow it, or it holds an array, and numpy is not installed.
        """
        checks = None if channel.metric is None or is_changed else channel.metric.checks
        value, tags = given_back(self._path, point, checks) if len(point) > 4 else point[1:3]
        return self._validated(channel, value, tags) if is_changed else _kept(channel.name, value, tags)

    def _validated(self, channel: MetricLog, value: Any, tags: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Validate a point anew, of what was lost what JSON makes of it; where that is nothing it stays lost."""
        if any(type(one) is NotRestorable and one.json == "null" for one in (value, *tags.values())):
            return _kept(channel.name, value, tags)
        try:
            return channel.prepare(json_view(value), {tag: json_view(tags[tag]) for tag in tags})
        except MetricError as error:
            reason = f"metric {channel.name!r} was declared otherwise when the run measured it: {error}"
            raise JournalError(str(self._path), reason, "use the metrics that the run was written with") from error


def _fill_metrics(
    metrics: FrozenMetrics,
    content: RunData,
    dropped: frozenset[tuple[int, str | None]],
    numbers: Mapping[str | None, int],
) -> _Points:
    reader = PointReader(content, metrics)
    found = _Points(defaultdict(dict), {})
    forks = deque(content.forks)
    for sequence, session, packed in content.points:
        while forks and forks[0][1] < sequence:
            found.lengths[forks.popleft()[0]] = metrics._lengths()
        channels: dict[str, tuple[MetricLog, bool]] = {}
        logs: dict[tuple[str | None, str], PointLog] = {}
        branches: dict[str | None, str | None] = {}
        for point in points_of(content.path, packed):
            name, value, tags, step, *more = point
            if (session, step) in dropped:
                continue
            if step not in numbers:
                raise DamagedRunError(str(content.path), f"points were recorded by step {step!r}, which is not there")
            if name not in channels:
                channel = reader.channel(name)
                channels[name] = channel, reader.is_changed(session, channel)
            channel, is_changed = channels[name]
            if more or is_changed:
                value, tags = reader.read(channel, point, is_changed=is_changed)
            if step not in branches:
                branches[step] = content.branch_of(session, step)
            branch = branches[step]
            if (branch, name) not in logs:
                own = channel.log if branch is None else found.brought[branch].setdefault(name, channel.log.empty())
                logs[branch, name] = own
            logs[branch, name].extend((value, tags, numbers[step]))
        for log in logs.values():
            while len(log.tail) >= FULL:
                log.seal()
    found.lengths.update((branch, metrics._lengths()) for branch, _ in forks)
    return found


def _key_fingerprint(content: RunData, value: Entry) -> str | None:
    """Return what tells of which type a key was when it was written."""
    (known,) = (one.fingerprints for one in content.sessions if one.number == value.session)
    found: str | None = known.get("keys", {}).get(value.key, known.get("others"))
    return found


@dataclass(frozen=True, eq=False)
class Run(Generic[T_co]):
    """A run as its file had it when it was loaded. Nothing that is done with it changes the file.

    Got from `load_run`.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     journal.context(FrozenContext, {"lr": 0.1}).record("loss", 0.5)
        >>> run = load_run("runs/digits-0001.db")
        >>> run.name, run.status, run.inputs["lr"], run.metrics["loss"]
        ('digits-0001', 'finished', 0.1, (0.5,))
    """

    _content: RunData = field(repr=False)
    _kind: Any = field(repr=False)
    _metrics: type[MetricSchema] | None = field(repr=False)

    @property
    def path(self) -> Path:
        """The file."""
        return self._content.path

    @property
    def name(self) -> str:
        """The name and number, as in "digits-0001"."""
        return f"{self._content.name}-{self._content.number:04d}"

    @property
    def number(self) -> int:
        """The number among the runs of its name in its folder, from 1."""
        return self._content.number

    @property
    def status(self) -> Status:
        """Whether it is running, finished, failed by an exception, or died with its process."""
        if self._content.running:
            return "running"
        return self._content.final.outcome or "died"

    @property
    def started(self) -> datetime:
        """When it started, in UTC."""
        return self.sessions[0].started

    @property
    def ended(self) -> datetime | None:
        """When it ended, in UTC; None if it is running, or died."""
        return None if self._content.running else self._content.final.ended

    @property
    def error(self) -> str | None:
        """What ended it, if an exception did."""
        return None if self._content.running else self._content.final.error

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The processes that wrote it, in order."""
        return self._content.sessions

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every opening of a step, in order, those too that never ended, and every branch that was merged or failed."""
        return tuple(sorted((*self._content.attempts, *self._content.failures), key=self._content.place))

    @property
    def dead_attempts(self) -> tuple[Attempt, ...]:
        """The openings of steps that never ended, or ended by an exception, or were done again."""
        dropped = self._content.superseded
        living = self.status == "running"
        last = self.sessions[-1].number
        return tuple(
            one
            for one in self.attempts
            if (one.session, one.step) in dropped
            or (not one.finished and not (living and one.record is None and one.session == last))
        )

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What the file has of each key that was written, also where that is not its value."""
        dropped = self._content.superseded
        values = sorted(self._content.values, key=self._content.place)
        return {value.key: value for value in values if (value.session, value.step) not in dropped}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that hold a secret, which is not in the file."""
        return tuple(key for key, entry in self.entries.items() if entry.missing == "secret")

    @property
    def unrestorable(self) -> Mapping[str, str]:
        """The keys whose values the file cannot give back, with the type of each."""
        return {key: one.stored.type for key, one in self.entries.items() if one.missing == "not restorable"}

    @property
    def unrestorable_points(self) -> Mapping[str, int]:
        """The metrics of which the file cannot give all back, with how many points; see `NotRestorable`."""
        counts = {name: channel.log.lacking() for name, channel in self.metrics._store.channels.items()}
        return {name: count for name, count in counts.items() if count}

    @property
    def context(self) -> FrozenContext[T_co]:
        """A context of its own with all that the run holds, for reading as one reads any other.

        Raises:
            JournalError: The schema or the metrics are not those of the run.
        """
        return self._context

    @cached_property
    def _context(self) -> FrozenContext[Any]:
        made: FrozenContext[Any] = blank_context(self._kind)
        made._make(None, None, self._metrics, (), self._fill, takes_inputs=False)
        return made

    def _fill(self, state: State) -> None:
        fill(state, self._content, self._content.superseded)
        for failure in self._content.standing:
            assert failure.record is not None  # as it has ended
            fork = state.forks[failure.step]
            state.provenance._bring(fork.number, fork.place.steps, (failure.record,))

    @property
    def values(self) -> Mapping[str, Any]:
        """All values by their keys; without a schema, of JSON's types."""
        return self.context.as_dict()

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The values that the run began with."""
        return {key: self.context[key] for key in self.provenance.inputs}

    @property
    def metrics(self) -> FrozenMetrics:
        """What was measured."""
        return self.context.metrics

    @property
    def declared(self) -> Mapping[str, Declared]:
        """What was declared of each metric, as the run was written last; of undeclared metrics nothing is here."""
        return self._content.declared

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The keys that were declared, as the run was written last, and not written."""
        known = [one.fingerprints["keys"] for one in self.sessions if one.fingerprints]
        entries = self.entries
        return tuple(key for key in (known[-1] if known else ()) if key not in entries)

    @property
    def artifacts(self) -> ArtifactLog:
        """The files that it made."""
        return self.context.artifacts

    @property
    def provenance(self) -> Provenance:
        """Who read, missed and wrote what."""
        return self.context.provenance

    @cached_property
    def so_far(self) -> Mapping[tuple[int, str], SoFar]:
        """What each attempt at a step that has not ended had done, by session and step."""
        content = self._content
        first = min((one.sequence for one in content.attempts if one.record is None), default=inf)
        # What is in rows that end before is of other steps.
        rows = [(session, packed) for sequence, session, packed in content.points if sequence + ROW > first]
        points = (
            (session, step, metric, 1)
            for session, packed in rows
            for metric, _, _, step, *_ in points_of(content.path, packed)
        )
        artifacts = ((session, one.step, one.name) for _, session, one in content.artifacts)
        return done_so_far(content.attempts, content.values, artifacts, points)

    def __repr__(self) -> str:
        return f"Run({self.name}, {self.status})"

    def _repr_html_(self) -> str:
        """Return tables of what it was, did and made, for notebooks."""
        from .._base.html import as_html  # only notebooks need it

        seconds = None if self.ended is None else (self.ended - self.started).total_seconds()
        facts = {
            "status": self.status,
            "started (UTC)": moment(self.started),
            "took": took(seconds),
            "error": self.error and one_line(self.error),
            "file": str(self.path),
        }
        try:
            tables = self._tables()
        except JournalError as error:
            # That it cannot be read so is worth knowing, and what it was is known all the same.
            facts, tables = facts | {"not shown": one_line(str(error))}, ()
        return as_html(Table(self.name, ("", ""), [fact for fact in facts.items() if fact[1]]), *tables)

    def _tables(self) -> tuple[Table, ...]:
        steps, findings = self.provenance._tables()
        superseded = self._content.superseded
        standing = {one.sequence for one in self._content.standing}
        lost = {one.sequence for one in self._content.failures} - standing
        unfinished = [
            one
            for one in self.attempts
            if one.record is None or one.sequence in lost or (one.session, one.step) in superseded
        ]

        def key_row(one: Entry) -> TableRow:
            shown = self.context._shown(one.key) if one.missing is None else _IN_PLACE[one.missing]
            return one.key, shown, one.stored.type, "(at the start)" if one.is_input else one.step

        def attempt_row(one: Attempt) -> TableRow:
            is_running = one.record is None and one.session == self.sessions[-1].number and self.status == "running"
            became = "running" if is_running else "died" if one.record is None else one.record.error or "done again"
            done = self.so_far[one.session, one.step] if one.record is None else one.record
            points = ", ".join(f"{name}: {count:,}" for name, count in done.points.items())
            cells = (", ".join(done.writes), points, ", ".join(done.artifacts))
            return one.step, str(one.session), moment(one.started), one_line(became), *cells

        return (
            Table.of("Keys", ("key", "value", "type", "written by"), [*self.entries.values()], key_row),
            steps._replace(title="Steps"),
            Table.of("Not finished", _UNFINISHED, unfinished, attempt_row),
            findings,
            self.metrics._table()._replace(title="Metrics"),
            self.artifacts._table()._replace(title="Artifacts"),
        )


def load_run(
    path: str | os.PathLike[str],
    shape: type[T_co] | None = None,
    *,
    metrics: type[MetricSchema] | None = None,
) -> Run[T_co]:
    """Load a run from its file, also one that is running, or died.

    Args:
        path: The file.
        shape: What it holds, as in `FrozenContext[shape]`; without it, values are of JSON's types.
        metrics: What it measures; without it, values and tags are of JSON's types.

    Returns:
        The run, as it is at this moment.

    Raises:
        RunNotFoundError: There is no such file.
        DamagedRunError: It cannot all be read, or is no run.
        JournalError: It cannot be opened, or is of a later version of crystallize.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> run = load_run("runs/digits-0001.db")
        >>> run.status, run.values["lr"]
        ('finished', 0.1)
    """
    untyped: Any = FrozenContext
    return Run(read(Path(path)), untyped if shape is None else untyped[shape], metrics)


_UNFINISHED = ("step", "process", "started (UTC)", "outcome", "wrote", "points", "artifacts")
_IN_PLACE = {"secret": MASK, "not restorable": "not in the file"}
"""What is shown of a value that the file does not have."""

_FILE = re.compile(r"(.+)-(\d{4,})\.db")


def list_runs(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files of the runs in a folder, by name and number.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> [path.name for path in list_runs("runs")]
        ['digits-0001.db']
    """
    found = [(path, _FILE.fullmatch(path.name)) for path in Path(folder).glob("*.db")]
    keyed = [((match[1], int(match[2])), path) for path, match in found if match is not None]
    return tuple(path for _, path in sorted(keyed))


def find_run(folder: str | os.PathLike[str], name: str) -> Path:
    """Find the file of a run.

    Args:
        folder: Where to look.
        name: A path; or a name with its number, "digits-0001"; or a number or the beginning of one, "1"; or a name
            alone, which means its newest run.

    Raises:
        RunNotFoundError: There is none, or there are several.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> find_run("runs", "digits").name, find_run("runs", "1").name
        ('digits-0001.db', 'digits-0001.db')
    """
    path = Path(name)
    if path.suffix == ".db" and path.exists():
        # Also a folder, of which whoever reads it says what it is.
        return path
    runs = list_runs(folder)
    parts = {run: (run.stem.rpartition("-")[0], run.stem.rpartition("-")[2]) for run in runs}
    own = [run for run in runs if run.stem == name] or [run for run in runs if parts[run][0] == name][-1:]
    number = (name.lstrip("0") if name.isdecimal() else "") or "none"
    numbered = [run for run in runs if parts[run][1].lstrip("0") == number]
    found = own or numbered or [run for run in runs if parts[run][1].lstrip("0").startswith(number)]
    if len(found) > 1:
        raise RunNotFoundError(
            name, f"several runs are meant: {', '.join(run.stem for run in found)}", "write the name"
        )
    if not found:
        near = nearest(name, [run.stem for run in runs])
        advice = f"did you mean {near!r}?" if near else f"`crystallize runs --dir {folder}` lists what there is"
        raise RunNotFoundError(name, f"there is no such run in {folder}", advice)
    return found[0]


def verify_run(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Check a file: SQLite's own checks, the check of every row, the digests, and that no fact is missing.

    Returns:
        What is wrong, a sentence each; nothing where all is well.

    Raises:
        RunNotFoundError: There is no such file.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> verify_run("runs/digits-0001.db")
        ()
    """
    path = real(Path(path))
    problems: list[str] = []
    try:
        problems.extend(_problems(path))
    except RunNotFoundError:
        raise
    except JournalError as error:
        problems.append(str(error))
    return tuple(dict.fromkeys(problems))


def _problems(path: Path) -> Iterator[str]:
    with closing(connect(path)) as connection:
        yield from problems_in(path, connection)
    content = read(path)
    if not content.running and content.last.ended is None and not path.with_suffix(".spool").exists():
        yield "the run did not end, and its spool is not beside it: what it had not drained is missing"
    opened = {(one.session, one.step) for one in content.attempts}
    recorded = {(session, point[3]) for _, session, packed in content.points for point in points_of(path, packed)}
    for _, step in recorded - opened:
        if step is not None:
            yield f"points were recorded by step {step!r}, which is not there"


What: TypeAlias = Literal["input", "value", "metric", "step", "artifact"]


class Difference(NamedTuple):
    """What two runs differ in.

    Example:
        >>> Difference("input", "lr", one="0.1", other="0.2").what
        'input'
    """

    what: What
    name: str
    one: str | None
    """What the first run has, in short; None where it has nothing."""
    other: str | None
    """What the second one has."""


def diff_runs(one: Run[Any], other: Run[Any]) -> tuple[Difference, ...]:
    """Compare two runs: what they began with and what came out, times aside.

    Returns:
        The differences, first those of inputs, then of values, metrics, steps and artifacts.

    Example:
        >>> for lr in (0.1, 0.2):
        ...     with Journal.start("runs", "digits") as journal:
        ...         ctx = journal.context(FrozenContext, {"lr": lr})

        >>> diff_runs(*map(load_run, ["runs/digits-0001.db", "runs/digits-0002.db"]))
        (Difference(what='input', name='lr', one='0.1', other='0.2'),)
    """
    found = []
    for what, left, right in zip(_PARTS, _facts(one), _facts(other), strict=True):
        for name in dict.fromkeys((*left, *right)):
            (fact, shown), (other_fact, other_shown) = left.get(name, _NONE), right.get(name, _NONE)
            if not same(fact, other_fact):
                found.append(Difference(what, name, shown, other_shown))
    return tuple(found)


def not_compared(one: Run[Any], other: Run[Any]) -> tuple[tuple[What, str], ...]:
    """Return what two runs both have and may differ in, as their files cannot give it back: values, and series.

    Returns:
        Of each what it is and its name; inputs first, then values and metrics. Where it is known that they differ,
        `diff_runs` tells.

    Example:
        >>> for lr in (0.1, 0.2):
        ...     with Journal.start("runs", "digits") as journal:
        ...         ctx = journal.context(FrozenContext, {"lr": lr, "span": (1, 2)})

        >>> not_compared(load_run("runs/digits-0001.db"), load_run("runs/digits-0002.db"))
        (('input', 'span'),)
    """
    return compared(one, other)[1]


def compared(one: Run[Any], other: Run[Any]) -> tuple[tuple[Difference, ...], tuple[tuple[What, str], ...]]:
    """Return what `diff_runs` and `not_compared` return: each series, which may be long, is gone through once."""
    found: set[tuple[What, str]] = set()
    entries = one.entries, other.entries
    for own, others in (entries, entries[::-1]):
        missing = [entry for key, entry in own.items() if entry.missing is not None and key in others]
        found.update(("input" if entry.is_input else "value", entry.key) for entry in missing)
    for run, beside in ((one, other), (other, one)):
        found.update(("metric", name) for name in run.unrestorable_points if name in beside.metrics)
    differences = diff_runs(one, other)
    unknown = found - {(difference.what, difference.name) for difference in differences}
    return differences, tuple(sorted(unknown, key=lambda part: (_PARTS.index(part[0]), part[1])))


_PARTS: tuple[What, ...] = ("input", "value", "metric", "step", "artifact")
_NONE: tuple[None, None] = (None, None)
_Facts: TypeAlias = dict[str, tuple[Any, str]]
"""By name, what two runs are compared by, and how it is shown."""


def _facts(run: Run[Any]) -> tuple[_Facts, ...]:
    inputs: _Facts = {}
    values: _Facts = {}
    held = run.values
    for key, entry in run.entries.items():
        shown = short(held[key]) if key in held else f"a {entry.stored.type or 'secret'}"
        (inputs if entry.is_input else values)[key] = (entry.stored.digest or shown, shown)
    points: _Facts = {name: (_digest_of(run, name), _summary(run, name)) for name in run.metrics}
    attempts = {one.step: "finished" if one.finished else "did not finish" for one in run.attempts}
    steps = {name: (outcome, outcome) for name, outcome in attempts.items()}
    artifacts = {one.name: (one.data, counted(len(one.data), "byte")) for one in run.artifacts}
    return inputs, values, points, steps, artifacts


def _digest_of(run: Run[Any], name: str) -> str:
    """Return a digest of a series, a piece at a time: it may be long."""
    points = ((point.value, point.tags) for point in run.metrics.series(name))
    content = sha256()
    while piece := to_json([*islice(points, 4096)], fallback=_told).removeprefix(b"[]"):
        content.update(piece)
    return content.hexdigest()


def _told(value: Any) -> Any:
    """Return what tells a value that JSON has not from others: of an array all of it, else its repr."""
    is_array = hasattr(value, "dtype") and hasattr(value, "tobytes")
    return [str(value.dtype), value.shape, digest(value.tobytes())] if is_array else repr(value)


def _summary(run: Run[Any], name: str) -> str:
    series = run.metrics.series(name)
    return f"{counted(len(series), 'point')}, the last {short(series.last)}"
