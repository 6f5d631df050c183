# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Runs in files: reading one, finding them, comparing two."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias
from typing_extensions import TypeVar
from .artifacts import Artifact, ArtifactLog
from .context import FrozenContext, State
from .facts import Stored
from .metrics import Channel, FrozenMetrics, MetricSchema
from .origin import Origin
from .provenance import Provenance, StepRecord
from .schema import digest

__all__ = [
    "Attempt",
    "Content",
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
    "load_run",
    "opened",
    "read",
    "real",
    "verify_run",
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

class Placed(Protocol):
    """What has a place in a run."""

    @property
    def session(self) -> int:
        """The session that brought it."""

    @property
    def step(self) -> str | None:
        """The step that it is of; None outside any step."""

    @property
    def sequence(self) -> int:
        """Its place among the facts of the run."""

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

@dataclass(frozen=True)
class Content:
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
    and the same branch may be merged later.
    """

    @property
    def declared(self) -> dict[str, Declared]:
        """What was declared of each metric, as the run was written last."""

    @property
    def last(self) -> Session:
        """The newest of the processes that wrote it."""

    @property
    def final(self) -> Session:
        """The process that says what became of it: the newest that made a context, as others have done nothing."""

    def branch_of(self, session: int, step: str | None) -> str | None:
        """Return the branch that brought what a step did; None if none did."""

    def place(self, one: Placed) -> tuple[int, int]:
        """Return by what the steps and keys of a run are ordered: those of a branch stand where it was forked."""

    @property
    def standing(self) -> tuple[Attempt, ...]:
        """The failures of branches that nothing has come after: neither a merge, nor another failure, nor a process."""

    @property
    def superseded(self) -> frozenset[tuple[int, str | None]]:
        """The attempts, by session and step, that a later session did again, or that had not finished when it began."""

    @property
    def undone(self) -> frozenset[tuple[int, str | None]]:
        """What has to be done again: what did not finish, or wrote or returned what cannot be given back."""

def read(path: Path) -> Content:
    """Read a run, and what its spool still holds if its process died.

    Raises:
        RunNotFoundError: There is none.
        DamagedRunError: It cannot all be read.
        JournalError: It cannot be opened.
    """

def real(path: Path) -> Path:
    """Return the file itself where a path is a link to it: what stands beside a run is named as its file is."""

def writable(path: str | os.PathLike[str]) -> Path:
    """Return a path that may be written to.

    Raises:
        JournalError: It is the file of a run.
    """

@contextmanager
def opened(path: Path) -> Iterator[tuple[Content, Callable[[], Iterator[tuple[Any, ...]]]]]:
    """Open a run of which not all is to be in memory at once.

    Returns:
        What it holds without its values, points and artifacts, and what reads the rows of its points, as often as it
        is called while the run is open.

    Raises:
        RunNotFoundError: There is none.
        DamagedRunError: It cannot all be read.
        JournalError: It cannot be opened.
    """

def content_of(path: Path, connection: sqlite3.Connection, *, running: bool, since: int = 0) -> Content:
    """Read all that a database holds, in a transaction of whoever calls.

    Args:
        path: The file of the run.
        connection: The database in it.
        running: Whether the run has a living writer.
        since: The sequence of the last fact that is known; what was there by then is left out.

    Raises:
        DamagedRunError: It cannot all be read.
    """

def outline_of(path: Path, connection: sqlite3.Connection, *, running: bool, since: int = 0) -> Content:
    """Read what a database holds besides values, points and artifacts, in a transaction of whoever calls.

    Args:
        path: The file of the run.
        connection: The database in it.
        running: Whether the run has a living writer.
        since: The sequence of the last fact that is known; what was there by then is left out.

    Raises:
        DamagedRunError: It cannot all be read.
    """

def fill(state: State, content: Content, dropped: frozenset[tuple[int, str | None]]) -> None:
    """Put what a run holds into the state of a new context, that of a resumed run or of one to look at.

    Args:
        state: The state.
        content: The run.
        dropped: The attempts of steps that are not to be in it, by session and step.

    Raises:
        JournalError: The schema or the metrics are not those of the run.
    """

def given_back(path: Path, point: list[Any], checks: Any) -> tuple[Any, dict[str, Any]]:
    """Return the value and tags of a point in a file that needs more than its JSON.

    Args:
        path: The file.
        point: The point as it was parsed.
        checks: What the metric allows; None where that is not known.

    Raises:
        JournalError: It holds an array, and numpy is not installed.
    """

class PointReader:
    """Gives the points of a run back, by what a schema says of their metrics."""

    def __init__(self, content: Content, metrics: FrozenMetrics) -> None:
        """Take a run.

        Args:
            content: What it holds, also without its points.
            metrics: What they are measured by.
        """

    def channel(self, name: str) -> Channel:
        """Return what is said of a metric.

        Raises:
            JournalError: The schema does not declare it.
        """

    def is_changed(self, session: int, channel: Channel) -> bool:
        """Whether a metric was declared otherwise when a session recorded it."""

    def read(self, channel: Channel, point: list[Any], *, is_changed: bool) -> tuple[Any, dict[str, Any]]:
        """Return the value and the tags of a point, as they are to be kept.

        Args:
            channel: What is said of its metric.
            point: The point as it was parsed.
            is_changed: Whether that was declared otherwise when it was recorded.

        Raises:
            JournalError: The metric does not allow it, or it holds an array, and numpy is not installed.
        """

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

    _content: Content = field(repr=False)
    _kind: Any = field(repr=False)
    _metrics: type[MetricSchema] | None = field(repr=False)

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def name(self) -> str:
        """The name and number, as in "digits-0001"."""

    @property
    def number(self) -> int:
        """The number among the runs of its name in its folder, from 1."""

    @property
    def status(self) -> Status:
        """Whether it is running, finished, failed by an exception, or died with its process."""

    @property
    def started(self) -> datetime:
        """When it started, in UTC."""

    @property
    def ended(self) -> datetime | None:
        """When it ended, in UTC; None if it is running, or died."""

    @property
    def error(self) -> str | None:
        """What ended it, if an exception did."""

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The processes that wrote it, in order."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every opening of a step, in order, those too that never ended, and every branch that was merged or failed."""

    @property
    def dead_attempts(self) -> tuple[Attempt, ...]:
        """The openings of steps that never ended, or ended by an exception, or were done again."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What the file has of each key that was written, also where that is not its value."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that hold a secret, which is not in the file."""

    @property
    def unrestorable(self) -> Mapping[str, str]:
        """The keys whose values the file cannot give back, with the type of each."""

    @property
    def unrestorable_points(self) -> Mapping[str, int]:
        """The metrics of which the file cannot give all back, with how many points; see `NotRestorable`."""

    @property
    def context(self) -> FrozenContext[T_co]:
        """A context of its own with all that the run holds, for reading as one reads any other.

        Raises:
            JournalError: The schema or the metrics are not those of the run.
        """

    @property
    def values(self) -> Mapping[str, Any]:
        """All values by their keys; without a schema, of JSON's types."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The values that the run began with."""

    @property
    def metrics(self) -> FrozenMetrics:
        """What was measured."""

    @property
    def declared(self) -> Mapping[str, Declared]:
        """What was declared of each metric, as the run was written last; of undeclared metrics nothing is here."""

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The keys that were declared, as the run was written last, and not written."""

    @property
    def artifacts(self) -> ArtifactLog:
        """The files that it made."""

    @property
    def provenance(self) -> Provenance:
        """Who read, missed and wrote what."""

    @cached_property
    def so_far(self) -> Mapping[tuple[int, str], SoFar]:
        """What each attempt at a step that has not ended had done, by session and step."""

    def __repr__(self) -> str: ...

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

def list_runs(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files of the runs in a folder, by name and number.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> [path.name for path in list_runs("runs")]
        ['digits-0001.db']
    """

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

def compared(one: Run[Any], other: Run[Any]) -> tuple[tuple[Difference, ...], tuple[tuple[What, str], ...]]:
    """Return what `diff_runs` and `not_compared` return: each series, which may be long, is gone through once."""
