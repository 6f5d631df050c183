"""The rows of a run's database as objects."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from types import MappingProxyType, NoneType
from typing import Any, Final, Literal, NamedTuple, Protocol

from .._base.file_content import FileContent
from .._base.object_folder import ObjectFolder, checked_name
from .._base.text import short
from .._core.artifacts import Artifact
from .._core.codec import WAYS, How, Stored
from .._core.file_names import unfit_name
from .._core.provenance import MetricRead, StepRecord
from .._core.value_parts import Part
from ..events import TaskInputs
from .environment import Origin
from .event_bytes import parted
from .stored_facts import fingerprints_in, inputs_in, origin_in, record_in, time_in
from .value_facts import ObjectPart, names_in


class Session(NamedTuple):
    """One process that wrote a run: the process that started it, or one that resumed it.

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
    """None while it runs, and if it died."""
    outcome: Literal["finished", "failed"] | None
    error: str | None
    """The exception that ended it, as text."""
    origin: Origin
    """Its code, packages and machine."""
    fingerprints: dict[str, Any]
    """The fingerprints of the types in its schema and its metrics, with the declarations of the metrics."""
    traceback: str | None = None
    """The traceback of the exception that ended it, with secrets masked. Runs of earlier versions lack it."""


class Attempt(NamedTuple):
    """One opening of a step.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     with journal.context(FrozenContext, {"lr": 0.1}).step("fit"):
        ...         pass
        >>> [(attempt.step, attempt.finished) for attempt in load_run("runs/digits-0001.db").attempts]
        [('fit', True)]
    """

    step: str
    session: int
    started: datetime
    record: StepRecord | None
    """None if it never ended."""
    ended: int = 0
    """The position of its end among the facts of the run; 0 if it never ended."""
    sequence: int = 0
    """The position of its opening among the facts of the run."""
    reason: str | None = None
    """Why the step was not taken over from an earlier run; None if it was, or if it has no earlier run or no task."""

    @property
    def finished(self) -> bool:
        """Whether it ended, and not by an exception."""
        return self.record is not None and self.record.error is None


class SoFar(NamedTuple):
    """The work of a step that has not ended, as far as the file has it. Its reads are on record only when it ends.

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
    """A key that was written, and its value as the file stores it.

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
    """Its position among the facts of the run."""

    @property
    def missing(self) -> Literal["secret", "not restorable"] | None:
        """Why the value cannot be restored from the file; None if it can."""
        return MISSING.get(self.stored.how)

    @property
    def why(self) -> str:
        """Why the value cannot be restored, and a remedy; empty if it can."""
        if self.missing is None:
            return ""
        return "it is a secret, which is in no file" if self.missing == "secret" else self.stored.why or _UNKNOWN


class Declared(NamedTuple):
    """The declaration of a metric, except for its types.

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
    """A branch that was merged."""

    branch: str
    session: int
    digest: str
    """Of all that it brought, except for times."""
    item: str | None
    """A digest of the item that its task was given, if there was one."""
    result: Stored
    """The return value of its task."""


class Task(NamedTuple):
    """A step that `ctx.run` has run."""

    step: str
    session: int
    arguments: str
    """A digest of the arguments of its task."""
    inputs: TaskInputs | None
    """Digests of its code and of each argument; None if its event had none."""
    reason: str | None = None
    """Why it was not taken over from an earlier run; None if it was, or if there is no earlier run."""


class Returned(NamedTuple):
    """The result of the task of a step that `ctx.run` has run."""

    step: str
    session: int
    result: Stored


class PackedRow(NamedTuple):
    """A row of points."""

    position: int
    """The position of the first point among the facts of the run."""
    process: int
    size: int
    """The number of points."""
    packed: bytes


class StoredArtifact(NamedTuple):
    """An artifact, with its position among the facts of the run."""

    position: int
    process: int
    artifact: Artifact


class Positioned(Protocol):
    """Something that a process did at a position among the facts of a run."""

    @property
    def session(self) -> int:
        """The number of the process."""
        ...

    @property
    def step(self) -> str | None:
        """The step that did it; None outside any step."""
        ...

    @property
    def sequence(self) -> int:
        """Its position among the facts of the run."""
        ...


_UNKNOWN: Final = "the version of crystallize that wrote it kept no reason"

MISSING: dict[str, Literal["secret", "not restorable"]] = {"secret": "secret", "none": "not restorable"}
"""Why a value cannot be restored, by how it is stored."""


def done_so_far(
    attempts: Iterable[Attempt],
    entries: Iterable[Entry],
    artifacts: Iterable[tuple[int, str | None, str]],
    points: Iterable[tuple[int, str | None, str, int]],
) -> dict[tuple[int, str], SoFar]:
    """Return the work of attempts that have not ended, by process and step.

    Each artifact is given by process, step and name; points are by process, step and metric, with their number.
    """
    found = {(attempt.session, attempt.step): SoFar([], {}, []) for attempt in attempts if attempt.record is None}
    for entry in entries:
        if done := found.get((entry.session, entry.step or "")):
            done.writes.append(entry.key)
    for process, step, name in artifacts:
        if done := found.get((process, step or "")):
            done.artifacts.append(name)
    for process, step, metric, count in points:
        if done := found.get((process, step or "")):
            done.points[metric] = done.points.get(metric, 0) + count
    return found


def final_process(sessions: tuple[Session, ...]) -> Session:
    """Return the process that decides a run's outcome: the newest that made a context, as others have done nothing."""
    return next((session for session in reversed(sessions) if session.fingerprints), sessions[0])


def forks_of(
    rows: Iterable[tuple[Any, ...]], groups: Iterable[tuple[Any, ...]]
) -> tuple[tuple[tuple[str, int], ...], frozenset[str]]:
    """Return the branches in order with the position of their last fork: a step that runs again forks them again.

    The second item has the branches that were the first ones of a `fan_out`; `groups` are the rows of `fork_groups`.
    """
    starts = dict(groups)
    last = {branch: (starts.get(position, position), position) for branch, position, _ in rows}
    ordered = sorted(last.items(), key=itemgetter(1))
    firsts = (branch for branch, (start, position) in ordered if start == position and position in starts)
    return tuple((branch, start) for branch, (start, _) in ordered), frozenset(firsts)


def session_of(row: tuple[Any, ...], tracebacks: Mapping[int, str]) -> Session:
    """Return the process of a row of `sessions`, given the tracebacks of the processes that failed, by number."""
    number, started, origin, fingerprints, _, ended, outcome, error, _ = row
    if outcome not in (None, "finished", "failed"):
        raise ValueError(f"process {number} ended as {short(outcome)}")
    known = {} if fingerprints is None else fingerprints_in(fingerprints)
    times = time_in(started), ended and time_in(ended)
    return Session(number, *times, outcome, error, origin_in(origin), known, tracebacks.get(number))


def attempt_of(row: tuple[Any, ...]) -> Attempt:
    """Return the attempt of a row of `steps`."""
    process, name, position, started, ended, text = row
    if (ended is None) != (text is None):
        raise ValueError(f"step {short(name)} has a record without an end, or an end without a record")
    record = None if text is None else _record(name, text)
    return Attempt(name, process, time_in(started), record, ended or 0, position)


def _record(name: str, text: str) -> StepRecord:
    facts = record_in(text, name)
    return StepRecord(
        name=name,
        reads=tuple(facts["reads"]),
        absent=tuple(facts["absent"]),
        writes=tuple(facts["writes"]),
        points=MappingProxyType(facts["points"]),
        artifacts=tuple(facts["artifacts"]),
        started=time_in(facts["started"]),
        ended=time_in(facts["ended"]),
        error=facts["error"],
        artifact_reads=tuple(facts.get("artifact_reads", ())),
        absent_artifacts=tuple(facts.get("absent_artifacts", ())),
        metric_reads=tuple(MetricRead(*read) for read in facts.get("metric_reads", ())),
        present=tuple(facts.get("present", ())),
        blind=tuple(facts.get("blind", ())),
        reused_from=facts.get("reused_from"),
    )


def entry_of(row: tuple[Any, ...], parts: Mapping[int, Mapping[int, Part]], reasons: Mapping[int, str]) -> Entry:
    """Return the entry of a row of `entries`, given parts and reasons by the positions of their entries."""
    position, process, step, key, is_input, how, type_, json, digest = row
    found = parts.get(position, {})
    if [*found] != [*range(len(found))]:
        raise ValueError(f"the value of key {key!r} lacks a part, or has one twice")
    why = reasons.get(position, "")
    stored = Stored(_way(how), type_, json.encode(), tuple(found.values()), why=why)
    if stored.digest != digest:
        raise ValueError(f"the value of key {key!r} has another digest than when it was written")
    return Entry(key, process, step, bool(is_input), stored, position)


def artifact_of(row: tuple[Any, ...], contents: Mapping[str, bytes]) -> StoredArtifact:
    """Return the artifact of a row of `artifacts`, given the contents by their digests."""
    position, process, step, name, sha256 = row
    return StoredArtifact(position, process, Artifact(_checked_name(name), contents[sha256], step))


def file_of(row: tuple[Any, ...], objects: ObjectFolder) -> StoredArtifact:
    """Return the artifact of a row of `files`, whose content is in this folder."""
    position, process, step, name, digest, size = row
    content = FileContent.of_object(objects, checked_name(digest, size))
    return StoredArtifact(position, process, Artifact(_checked_name(name), content, step))


def _checked_name(name: str) -> str:
    if reason := unfit_name(name):
        raise ValueError(f"an artifact is called {short(name)}; {reason}")
    return name


def merged_branch_of(row: tuple[Any, ...], forks: Collection[str], objects: ObjectFolder) -> MergedBranch:
    """Return the branch of a row of `merges`, given the branches that were forked, and the folder of objects."""
    process, branch, _, digest, item, how, result = row
    if branch not in forks:
        raise ValueError(f"branch {branch!r} was merged, and was never forked")
    return MergedBranch(branch, process, digest, item, _result_of(f"branch {branch!r}", how, result, objects))


def returned_of(row: tuple[Any, ...], objects: ObjectFolder) -> Returned:
    """Return the content of a row of `returns`, given the folder of objects."""
    process, step, _, how, result = row
    return Returned(step, process, _result_of(f"step {step!r}", how, result, objects))


def task_of(row: tuple[Any, ...]) -> Task:
    """Return the task of a row of `tasks`."""
    process, step, _, arguments, text, reason = row
    facts = inputs_in(text, step)
    if facts is None:
        return Task(step, process, arguments, None, reason)
    inputs = TaskInputs(facts["code"], facts["arguments"], tuple(facts["unknown"]), facts["version"])
    return Task(step, process, arguments, inputs, reason)


def _result_of(of: str, how: str, packed: bytes, objects: ObjectFolder) -> Stored:
    """Return the result of the task of a step or branch."""
    (type_, digest, returns, *more), (json, *blobs) = parted(packed)
    if not isinstance(type_, str) or not isinstance(returns, (str, NoneType)):
        raise TypeError(f"the type that the task of {of} returned is not a name")
    names, why = names_in(more, blobs)
    parts = (ObjectPart(objects, names[at]) if at in names else blob for at, blob in enumerate(blobs))
    stored = Stored(_way(how), type_, json, tuple(parts), returns, why)
    if stored.digest != digest:
        raise ValueError(f"the result of the task of {of} has another digest than when it was written")
    return stored


def failure_of(row: tuple[Any, ...], forks: Collection[str]) -> Attempt:
    """Return the failed attempt of a row of `failures`, given the branches that were forked."""
    position, process, branch, text = row
    if branch not in forks:
        raise ValueError(f"branch {branch!r} failed, and was never forked")
    record = _record(branch, text)
    return Attempt(branch, process, record.started, record, position, position)


def _way(how: str) -> How:
    if how not in WAYS:
        raise ValueError(f"a value is stored in an unknown way, {short(how)}")
    way: Any = how
    known: How = way
    return known
