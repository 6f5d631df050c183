"""A run described without its points and the content of its artifacts: all that `show` prints.

The fields of each dataclass are the keys of its JSON object.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Literal, TypeAlias

from .._base.text import cut, rounded, short
from .._core.artifacts import Artifact
from .._core.codec import json_view
from .._core.series import Series
from .._journal.environment import Origin
from .._journal.loaded_run import Run, Status
from .._journal.rows import Attempt, Session, SoFar
from .._journal.working_time import seconds_of_processes
from .export import ValueRow, row_to_show, value_row, value_rows

OutcomeName: TypeAlias = Literal["running", "finished", "failed", "died", "done again"]


@dataclass(frozen=True, slots=True)
class RunProcess:
    """A process that wrote a run."""

    number: int
    started: datetime
    ended: datetime | None
    seconds: float
    """How long it worked: so far if it is running; if it died, until the last start or end of a step on record."""
    outcome: OutcomeName
    error: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class StepAttempt:
    """One opening of a step."""

    name: str
    session: int
    """The number of the process."""
    outcome: OutcomeName
    started: datetime
    ended: datetime | None
    seconds: float | None
    reads: tuple[str, ...]
    """Empty until the step ends, and so is `absent`. The other fields contain the work done so far."""
    absent: tuple[str, ...]
    writes: tuple[str, ...]
    points: dict[str, int]
    artifacts: tuple[str, ...]
    error: str | None
    artifact_reads: tuple[str, ...] = ()
    """Empty until the step ends, like `reads`."""
    absent_artifacts: tuple[str, ...] = ()
    metric_reads: tuple[str, ...] = ()
    """The metrics that it read; empty until the step ends, and so are the next two."""
    present: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    reused_from: str | None = None
    """The run in which it ran, if it was taken over from there."""
    reason: str | None = None
    """Why it was not taken over from an earlier run."""
    item: Any = None
    """The item of a branch of a `fan_out`; None for any other step."""


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A series in one line."""

    metric: str
    count: int
    first: Any
    last: Any
    min: float | None
    """The minimum of the finite numbers; None if there are none."""
    max: float | None
    missing: int = 0
    """The number of points that cannot be restored in full from the file."""


@dataclass(frozen=True, slots=True)
class MadeArtifact:
    """An artifact without its content."""

    name: str
    size: int
    """In bytes."""
    step: str | None


@dataclass(frozen=True, slots=True)
class Description:
    """A run without its points and the content of its artifacts."""

    name: str
    number: int
    path: str
    status: Status
    started: datetime
    ended: datetime | None
    seconds: float | None
    error: str | None
    sessions: tuple[RunProcess, ...]
    inputs: tuple[ValueRow, ...]
    values: tuple[ValueRow, ...]
    """The keys that were written after the start."""
    steps: tuple[StepAttempt, ...]
    dead_attempts: tuple[StepAttempt, ...]
    metrics: tuple[MetricSummary, ...]
    artifacts: tuple[MadeArtifact, ...]
    parent: str | None = None
    """The run from which it takes steps over."""
    traceback: str | None = None
    """The traceback of the exception that ended it."""
    note: str | None = None
    tags: tuple[str, ...] = ()


def describe(run: Run[Any], *, in_short: bool = False) -> Description:
    """Return the description of a run that was loaded without a schema, so that its values are as JSON has them.

    `in_short`: in place of each large value is the text that shows it, so that not all of them are in memory at once.
    """
    unrestorable = run.unrestorable_points
    return outline(
        run,
        tuple(value_rows(run, row_to_show if in_short else value_row)),
        tuple(_summary(run.metrics.series(name), unrestorable.get(name, 0)) for name in run.metrics),
        tuple(_without_content(artifact) for artifact in run.artifacts),
        run.so_far,
    )


def outline(
    run: Run[Any],
    rows: Iterable[ValueRow],
    metrics: tuple[MetricSummary, ...],
    artifacts: tuple[MadeArtifact, ...],
    so_far: Mapping[tuple[int, str], SoFar],
) -> Description:
    """Return the description of a run from its parts, without reading its values, points and artifacts.

    `so_far` contains the work of the attempts that have not ended, by process and step.
    """
    values = tuple(rows)
    seconds = seconds_of_processes(run.sessions, run.attempts, running=run.status == "running")
    return Description(
        name=run.name,
        number=run.number,
        path=str(run.path),
        status=run.status,
        started=run.started,
        ended=run.ended,
        seconds=None if run.status == "died" else sum(seconds.values()),
        error=run.error,
        sessions=tuple(_process(run, session, seconds[session.number]) for session in run.sessions),
        inputs=tuple(row for row in values if row.input),
        values=tuple(row for row in values if not row.input),
        steps=_with_items(run, (_attempt(attempt, so_far, is_dead=False) for attempt in _valid_attempts(run))),
        dead_attempts=_with_items(run, (_attempt(attempt, so_far, is_dead=True) for attempt in run.dead_attempts)),
        metrics=metrics,
        artifacts=artifacts,
        parent=run.parent,
        traceback=run.traceback,
        note=run.note,
        tags=run.tags,
    )


def _with_items(run: Run[Any], attempts: Iterable[StepAttempt]) -> tuple[StepAttempt, ...]:
    """Return the attempts, those at branches with their items."""
    items = run.items
    return tuple(replace(found, item=items[found.name]) if found.name in items else found for found in attempts)


def item_text(item: Any) -> str | None:
    """Return the item of a branch as a short text, "lr=0.1, depth=3"; None for None."""
    if not isinstance(item, dict):
        return None if item is None else rounded(short(item))
    return cut(", ".join(f"{name}={rounded(short(value))}" for name, value in item.items()))


def _valid_attempts(run: Run[Any]) -> list[Attempt]:
    # By position, as a branch that failed and was merged later has two attempts of the same name.
    dead = {attempt.sequence for attempt in run.dead_attempts}
    return [attempt for attempt in run.attempts if attempt.sequence not in dead]


def _process(run: Run[Any], session: Session, seconds: float) -> RunProcess:
    is_running = run.status == "running" and session is run.sessions[-1]
    outcome = session.outcome or ("running" if is_running else "died")
    return RunProcess(session.number, session.started, session.ended, seconds, outcome, session.error, session.origin)


def seen_again(run: Description) -> Description:
    """Return the description of a running run of which nothing is new, with the time that it has worked by now."""
    *earlier, last = run.sessions
    seconds = max((datetime.now(UTC) - last.started).total_seconds(), last.seconds)
    sessions = (*earlier, replace(last, seconds=seconds))
    return replace(run, sessions=sessions, seconds=sum(process.seconds for process in sessions))


def _attempt(attempt: Attempt, so_far: Mapping[tuple[int, str], SoFar], *, is_dead: bool) -> StepAttempt:
    record = attempt.record
    if record is None:
        outcome: OutcomeName = "died" if is_dead else "running"
        writes, points, artifacts = so_far[attempt.session, attempt.step]
        work = (tuple(writes), points, tuple(artifacts))
        begun = (attempt.step, attempt.session, outcome, attempt.started)
        return StepAttempt(*begun, None, None, (), (), *work, None, reason=attempt.reason)
    return StepAttempt(
        name=attempt.step,
        session=attempt.session,
        outcome="failed" if record.error is not None else "done again" if is_dead else "finished",
        started=attempt.started,
        ended=record.ended,
        seconds=record.duration.total_seconds(),
        reads=record.reads,
        absent=record.absent,
        writes=record.writes,
        points=dict(record.points),
        artifacts=record.artifacts,
        error=record.error,
        artifact_reads=record.artifact_reads,
        absent_artifacts=record.absent_artifacts,
        metric_reads=tuple(read.metric for read in record.metric_reads),
        present=record.present,
        blind=record.blind,
        reused_from=record.reused_from,
        reason=attempt.reason,
    )


def is_finite(value: Any) -> bool:
    """Return whether a value is a number that is neither NaN nor infinite. A bool is not a number here."""
    # An int may be too large for `isfinite`.
    return type(value) is int or (type(value) is float and isfinite(value))


def _summary(series: Series[Any, Any], unrestorable: int) -> MetricSummary:
    values = [*map(json_view, series.values)] if unrestorable else series.values
    numbers = [value for value in values if is_finite(value)]
    minimum, maximum = min(numbers, default=None), max(numbers, default=None)
    return MetricSummary(series.name, len(values), values[0], values[-1], minimum, maximum, unrestorable)


def _without_content(artifact: Artifact) -> MadeArtifact:
    return MadeArtifact(artifact.name, artifact.size, artifact.step)
