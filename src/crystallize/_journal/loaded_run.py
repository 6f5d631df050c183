"""A run, loaded from its file."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, overload

from typing_extensions import TypeVar

from .._base.table import Table, TableDisplay, TableRow
from .._base.text import MASK, moment, one_line, short_type, took
from .._core.artifacts import ArtifactLog
from .._core.context import FrozenContext, attach_context, blank_context, blank_state, context_class, state_of
from .._core.metrics import MetricSchema
from .._core.notebook import artifacts_table, metrics_table, provenance_tables
from .._core.provenance import Provenance
from .._core.series import FrozenMetrics, store_of
from .._core.state import State
from ..errors import JournalError
from .packed_points import ROW, points_of
from .read_run import RunData, read, warn_if_incomplete
from .resume import restore
from .rows import Attempt, Declared, Entry, Session, SoFar, done_so_far
from .working_time import working_time

T_co = TypeVar("T_co", covariant=True, default=dict[str, Any])

Status: TypeAlias = Literal["running", "finished", "failed", "died"]

_UNFINISHED = ("step", "process", "started (UTC)", "outcome", "wrote", "points", "artifacts")
_PLACEHOLDERS = {"secret": MASK, "not restorable": "not in the file"}
"""The cell of a value that the file does not have."""


@dataclass(frozen=True, eq=False)
class Run(TableDisplay, Generic[T_co]):
    """A run as its file had it when it was loaded, by `load_run`. Nothing done with it changes the file.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     journal.context(FrozenContext, {"lr": 0.1}).record("loss", 0.5)
        >>> run = load_run("runs/digits-0001.db")
        >>> run.name, run.status, run.inputs["lr"], run.metrics["loss"]
        ('digits-0001', 'finished', 0.1, (0.5,))
    """

    _data: RunData = field(repr=False)
    _kind: Any = field(repr=False)
    _metrics: type[MetricSchema] | None = field(repr=False)

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._data.path

    @property
    def name(self) -> str:
        """The name and number, as in "digits-0001"."""
        return f"{self._data.name}-{self._data.number:04d}"

    @property
    def number(self) -> int:
        """The number among the runs of its name in its folder, from 1."""
        return self._data.number

    @property
    def status(self) -> Status:
        """Whether it is running, finished, failed by an exception, or died with its process."""
        if self._data.running:
            return "running"
        return self._data.final.outcome or "died"

    @property
    def started(self) -> datetime:
        """When it started, in UTC."""
        return self.sessions[0].started

    @property
    def ended(self) -> datetime | None:
        """When it ended, in UTC; None if it is running, or died."""
        return None if self._data.running else self._data.final.ended

    @property
    def took(self) -> timedelta | None:
        """How long its processes have worked, without the time between two of them; None if the run died.

        An earlier process that died counts until its last step started or ended.
        """
        known = working_time(self.sessions, self.attempts, running=self._data.running)
        return None if self.status == "died" else known

    @property
    def error(self) -> str | None:
        """The exception that ended it, as text; None if none did."""
        return None if self._data.running else self._data.final.error

    @property
    def traceback(self) -> str | None:
        """The traceback of the exception that ended it, with secrets masked; None if none did."""
        return None if self._data.running else self._data.final.traceback

    @property
    def note(self) -> str | None:
        """The note that `note_run` has set; None if there is none."""
        return self._data.note

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that `tag_run` has added, sorted."""
        return self._data.tags

    @property
    def incomplete(self) -> str | None:
        """Why the file may lack facts of the run, as a sentence; None if it has all.

        A run whose process died has facts in its spool, `digits-0001.spool`. If that is not beside the file, `load_run`
        and `Journal.resume` log this as a warning, and go on with the facts that the file has.
        """
        return self._data.incomplete

    @property
    def parent(self) -> str | None:
        """The name of the run from which it takes steps over; None if there is none."""
        return None if self._data.parent is None else self._data.parent.name

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The processes that wrote it, in order."""
        return self._data.sessions

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every opening of a step, in order, also if it never ended, and every branch that was merged or failed."""
        reasons = {(task.session, task.step): task.reason for task in self._data.tasks if task.reason is not None}
        attempts = sorted((*self._data.attempts, *self._data.failures), key=self._data.position)
        if not reasons:
            return tuple(attempts)
        return tuple(attempt._replace(reason=reasons.get((attempt.session, attempt.step))) for attempt in attempts)

    @property
    def dead_attempts(self) -> tuple[Attempt, ...]:
        """The attempts that never ended, or ended by an exception, or were repeated."""
        dropped = self._data.superseded
        living = self.status == "running"
        last = self.sessions[-1].number
        return tuple(
            attempt
            for attempt in self.attempts
            if (attempt.session, attempt.step) in dropped
            or (not attempt.finished and not (living and attempt.record is None and attempt.session == last))
        )

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entry of each key that was written, also if the file does not have its value."""
        dropped = self._data.superseded
        entries = sorted(self._data.values, key=self._data.position)
        return {entry.key: entry for entry in entries if (entry.session, entry.step) not in dropped}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys whose values are secrets, which are not in the file."""
        return tuple(key for key, entry in self.entries.items() if entry.missing == "secret")

    @property
    def unrestorable(self) -> Mapping[str, str]:
        """The keys whose values cannot be restored from the file, with the type of each."""
        return {key: entry.stored.type for key, entry in self.entries.items() if entry.missing == "not restorable"}

    @property
    def unrestorable_points(self) -> Mapping[str, int]:
        """The metrics with points that cannot be restored from the file, with their number; see `NotRestorable`."""
        counts = {name: log.points.unrestorable() for name, log in store_of(self.metrics).logs.items()}
        return {name: count for name, count in counts.items() if count}

    @property
    def context(self) -> FrozenContext[T_co]:
        """A context of its own with the content of the run, to be read as any other context.

        Raises:
            JournalError: The schema or the metrics are not those of the run.
        """
        return self._context

    @cached_property
    def _context(self) -> FrozenContext[Any]:
        made: FrozenContext[Any] = blank_context(self._kind)
        state = blank_state(made, self._metrics)
        restore(state, self._data, self._data.at_present)
        attach_context(made, state)
        return made

    @property
    def values(self) -> Mapping[str, Any]:
        """All values by their keys.

        Without a schema, a value that only a schema restores, such as a model, is of JSON's types. A key whose value
        cannot be restored is missing, and asking for it raises LostKeyError, or ObjectError if a file in the folder
        `objects` is missing. A value of more than 1 MiB is read when it is asked for; `dict(run.values)` reads all.
        """
        state = state_of(self.context)
        return _ValuesOfRun(state, state.keys.in_order())

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The values that the run began with."""
        return _ValuesOfRun(state_of(self.context), self.provenance.inputs)

    @property
    def metrics(self) -> FrozenMetrics:
        """The points of all metrics."""
        return self.context.metrics

    @property
    def declared(self) -> Mapping[str, Declared]:
        """The declaration of each declared metric, by the last process that declared it."""
        return self._data.declared

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The keys that the last process declared and nobody wrote."""
        known = [session.fingerprints["keys"] for session in self.sessions if session.fingerprints]
        entries = self.entries
        return tuple(key for key in (known[-1] if known else ()) if key not in entries)

    @property
    def items(self) -> Mapping[str, Any]:
        """The items of the branches of `fan_out`, by the names of the branches.

        A text, number, bool or None is as it was. Of a dict, model, dataclass or named tuple there is a dict of the
        fields that are such scalars, in which inner fields have names with dots. Other items, and those with secrets,
        are not in the file. If a branch that failed runs again for another item in the same process, the first item is
        kept.
        """
        return {branch: item[""] if [*item] == [""] else item for branch, item in self._data.items.items()}

    @property
    def artifacts(self) -> ArtifactLog:
        """The artifacts of the run."""
        return self.context.artifacts

    @property
    def provenance(self) -> Provenance:
        """The records of the steps, with their reads, misses and writes."""
        return self.context.provenance

    @cached_property
    def so_far(self) -> Mapping[tuple[int, str], SoFar]:
        """The work so far of each attempt that has not ended, by process and step."""
        data = self._data
        first = min((attempt.sequence for attempt in data.attempts if attempt.record is None), default=inf)
        # The rows that end before are of other steps.
        rows = [row for row in data.points if row.position + ROW > first]
        points = (
            (row.process, step, metric, 1) for row in rows for metric, _, _, step, *_ in points_of(data.path, row)
        )
        artifacts = ((found.process, found.artifact.step, found.artifact.name) for found in data.artifacts)
        return done_so_far(data.attempts, data.values, artifacts, points)

    def __repr__(self) -> str:
        return f"Run({self.name}, {self.status})"

    def __notebook_tables__(self) -> tuple[Table, ...]:
        """Return tables of its facts, steps and results."""
        worked = None if self.status == "running" else self.took
        facts = {
            "status": self.status,
            "started (UTC)": moment(self.started),
            "took": took(None if worked is None else worked.total_seconds()),
            "error": self.error and one_line(self.error),
            "file": str(self.path),
        }
        try:
            tables = _result_tables(self)
        except JournalError as error:
            # The error is worth showing, and the facts are known nevertheless.
            facts, tables = facts | {"not shown": one_line(str(error))}, ()
        return Table(self.name, ("", ""), [fact for fact in facts.items() if fact[1]]), *tables


def _result_tables(run: Run[Any]) -> tuple[Table, ...]:
    steps, findings = provenance_tables(run.provenance)
    superseded = run._data.superseded
    standing = {failure.sequence for failure in run._data.standing_failures}
    lost = {failure.sequence for failure in run._data.failures} - standing
    unfinished = [
        attempt
        for attempt in run.attempts
        if attempt.record is None or attempt.sequence in lost or (attempt.session, attempt.step) in superseded
    ]
    return (
        Table.of("Keys", ("key", "value", "type", "written by"), [*run.entries.values()], partial(_key_row, run)),
        steps._replace(title="Steps"),
        Table.of("Not finished", _UNFINISHED, unfinished, partial(_attempt_row, run)),
        findings,
        metrics_table(run.metrics)._replace(title="Metrics"),
        artifacts_table([*run.artifacts])._replace(title="Artifacts"),
    )


def _key_row(run: Run[Any], entry: Entry) -> TableRow:
    shown = state_of(run.context).short_value(entry.key) if entry.missing is None else _PLACEHOLDERS[entry.missing]
    return entry.key, shown, short_type(entry.stored.type), "(at the start)" if entry.is_input else entry.step


def _attempt_row(run: Run[Any], attempt: Attempt) -> TableRow:
    record, last = attempt.record, run.sessions[-1].number
    if record is None:
        outcome = "running" if attempt.session == last and run.status == "running" else "died"
    else:
        outcome = record.error or "done again"
    done = run.so_far[attempt.session, attempt.step] if record is None else record
    points = ", ".join(f"{name}: {count:,}" for name, count in done.points.items())
    cells = (", ".join(done.writes), points, ", ".join(done.artifacts))
    return attempt.step, str(attempt.session), moment(attempt.started), one_line(outcome), *cells


class _ValuesOfRun(Mapping[str, Any]):
    """Values by their keys, each read when it is asked for. A key that is missing is explained, as in a context."""

    def __init__(self, state: State, keys: Iterable[str]) -> None:
        self._state = state
        self._keys = dict.fromkeys(keys)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise self._state.missing_error(key)
        return self._state.read(key)

    def get(self, key: object, default: Any = None, /) -> Any:
        """Return the value of a key, or a default if the run does not have it."""
        return self._state.read(key) if isinstance(key, str) and key in self._keys else default

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def value_once(run: Run[Any], key: str) -> Any:
    """Return a value of a run; a large one is not kept."""
    return state_of(run.context).peek(key)


def items_of_branches(run: Run[Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the scalars of the items of branches, by the names of their fields; a scalar itself has an empty name."""
    return run._data.items


@overload
def load_run(
    path: str | os.PathLike[str], shape: type[FrozenContext[T_co]], *, metrics: type[MetricSchema] | None = None
) -> Run[T_co]: ...
@overload
def load_run(
    path: str | os.PathLike[str], shape: type[T_co] | None = None, *, metrics: type[MetricSchema] | None = None
) -> Run[T_co]: ...
def load_run(
    path: str | os.PathLike[str], shape: type[Any] | None = None, *, metrics: type[MetricSchema] | None = None
) -> Run[Any]:
    """Load a run from its file, also one that is running, or died.

    Args:
        path: The file.
        shape: The schema `Train`, or the context's class `FrozenContext[Train]`; by default values are of JSON's types.
        metrics: The metrics; without them, values and tags of points are of JSON's types.

    Returns:
        The run, as it is at this moment.

    Raises:
        RunNotFoundError: There is no such file.
        DamagedRunError: Part of it cannot be read, or it is not a run.
        JournalError: It cannot be opened, or is of a later version of crystallize.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> run = load_run("runs/digits-0001.db")
        >>> run.status, run.values["lr"]
        ('finished', 0.1)
    """
    data = read(Path(path))
    warn_if_incomplete(data, "If you have that file, put it into the folder of the run, and load the run again")
    return Run(data.as_read_here(), context_class(shape), metrics)
