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
from .export import ValueRow, row_to_show, value_row, value_rows

OutcomeName: TypeAlias = Literal["running", "finished", "failed", "died", "done again"]


@dataclass(frozen=True, slots=True)
class RunProcess:
    """A process that wrote a run."""

    number: int
    started: datetime
    ended: datetime | None
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
    return Description(
        name=run.name,
        number=run.number,
        path=str(run.path),
        status=run.status,
        started=run.started,
        ended=run.ended,
        seconds=_run_seconds(run),
        error=run.error,
        sessions=tuple(_process(run, session) for session in run.sessions),
        inputs=tuple(row for row in values if row.input),
        values=tuple(row for row in values if not row.input),
        steps=_with_items(run, (_attempt(attempt, so_far, is_dead=False) for attempt in _valid_attempts(run))),
        dead_attempts=_with_items(run, (_attempt(attempt, so_far, is_dead=True) for attempt in run.dead_attempts)),
        metrics=metrics,
        artifacts=artifacts,
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


def _run_seconds(run: Run[Any]) -> float | None:
    ended = datetime.now(UTC) if run.status == "running" else run.ended
    return None if ended is None else (ended - run.started).total_seconds()


def _process(run: Run[Any], session: Session) -> RunProcess:
    is_running = run.status == "running" and session is run.sessions[-1]
    outcome = session.outcome or ("running" if is_running else "died")
    return RunProcess(session.number, session.started, session.ended, outcome, session.error, session.origin)


def _attempt(attempt: Attempt, so_far: Mapping[tuple[int, str], SoFar], *, is_dead: bool) -> StepAttempt:
    record = attempt.record
    if record is None:
        outcome: OutcomeName = "died" if is_dead else "running"
        writes, points, artifacts = so_far[attempt.session, attempt.step]
        work = (tuple(writes), points, tuple(artifacts))
        return StepAttempt(attempt.step, attempt.session, outcome, attempt.started, None, None, (), (), *work, None)
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
