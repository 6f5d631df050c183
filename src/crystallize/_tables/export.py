"""A run as data for other programs: documents of what it was, and rows of its values and points.

Made for `crystallize.cli`, and of use without it: each document and each row is a dataclass, and its fields are the
keys of the JSON that `as_json` makes of it.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Literal, TypeAlias

from pydantic_core import to_json

from .._core.artifacts import Artifact
from .._core.codec import NotRestorable, json_view
from .._core.series import Series
from .._journal.environment import Origin
from .._journal.loaded_run import Run, Status
from .._journal.rows import Attempt, Entry, Session, SoFar, final_process
from ..errors import DamagedRunError, JournalError

__all__ = [
    *("Description", "MadeArtifact", "MetricSummary", "Overview", "PointRow", "RunProcess", "StepAttempt", "ValueRow"),
    *("as_json", "csv_of_points", "csv_of_values", "describe", "document", "is_finite", "json_lines", "outline"),
    *("overview", "point_rows", "unreadable", "value_row", "value_rows"),
]

Outcome: TypeAlias = Literal["running", "finished", "failed", "died", "done again"]


@dataclass(frozen=True, slots=True)
class Overview:
    """A run in a line."""

    name: str
    """The name by which `find_run` finds the file: the file's own."""
    path: str
    status: Status | Literal["damaged", "unreadable"]
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    """How long it took, or has been running; None if it died."""
    steps: int | None
    """How many steps were opened."""
    steps_finished: int | None
    error: str | None
    """What ended it, or the last step that failed in its last process; or why the file cannot be read."""


@dataclass(frozen=True, slots=True)
class RunProcess:
    """A process that wrote a run."""

    number: int
    started: datetime
    ended: datetime | None
    outcome: Outcome
    error: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class StepAttempt:
    """One opening of a step."""

    name: str
    session: int
    outcome: Outcome
    started: datetime
    ended: datetime | None
    seconds: float | None
    reads: tuple[str, ...]
    """Of one that has not ended these are not known, nor is what it looked for; the rest is what it had done so far."""
    absent: tuple[str, ...]
    writes: tuple[str, ...]
    points: dict[str, int]
    artifacts: tuple[str, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A series in a line."""

    metric: str
    count: int
    first: Any
    last: Any
    min: float | None
    """The least of its finite numbers; None where it has none."""
    max: float | None
    missing: int = 0
    """Of how many points the file cannot give all back."""


@dataclass(frozen=True, slots=True)
class MadeArtifact:
    """An artifact without its content."""

    name: str
    size: int
    """In bytes."""
    step: str | None


@dataclass(frozen=True, slots=True)
class ValueRow:
    """A key and its value."""

    key: str
    type: str
    """The full name of the type that the value had; empty for a secret."""
    input: bool
    """Whether it was there when the run began."""
    step: str | None
    """The step that wrote it; None outside any step."""
    missing: Literal["secret", "not restorable"] | None
    """Why the file does not have the value; None where it has."""
    value: Any


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point of a series."""

    metric: str
    sequence: int
    """Its place in the series, from 0."""
    step: str | None
    """The step that recorded it; None outside any step."""
    missing: str | None
    """What the file cannot give back as it was recorded, "value" or a tag as "tag.epoch", with ", " between them. In
    its place stands what JSON makes of it."""
    value: Any
    tags: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Description:
    """All there is to say of a run, without its points and the content of its artifacts."""

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
    """The keys written later."""
    steps: tuple[StepAttempt, ...]
    dead_attempts: tuple[StepAttempt, ...]
    metrics: tuple[MetricSummary, ...]
    artifacts: tuple[MadeArtifact, ...]


def overview(run: Run[Any]) -> Overview:
    """Return a run in a line. Its values and points are not looked at.

    Args:
        run: The run.
    """
    last = final_process(run.sessions).number
    failed = [one.record.error for one in run.attempts if one.session == last and one.record and one.record.error]
    return Overview(
        name=run.path.stem,
        path=str(run.path),
        status=run.status,
        started=run.started,
        ended=run.ended,
        seconds=_run_seconds(run),
        steps=len({one.step for one in run.attempts}),
        steps_finished=sum(one.finished for one in _living(run)),
        error=run.error or next(reversed(failed), None),
    )


def unreadable(name: str, error: JournalError) -> Overview:
    """Return what there is to say of a run that cannot be read.

    Args:
        name: The name of its file, without the ending.
        error: Why not.
    """
    status: Literal["damaged", "unreadable"] = "damaged" if isinstance(error, DamagedRunError) else "unreadable"
    return Overview(name, error.path, status, None, None, None, None, None, error.reason)


def describe(run: Run[Any]) -> Description:
    """Return all there is to say of a run.

    Args:
        run: The run, loaded without a schema: values are as JSON has them.
    """
    lacking = run.unrestorable_points
    return outline(
        run,
        tuple(value_rows(run)),
        tuple(_summary(run.metrics.series(name), lacking.get(name, 0)) for name in run.metrics),
        tuple(_made(one) for one in run.artifacts),
        run.so_far,
    )


def outline(
    run: Run[Any],
    rows: Iterable[ValueRow],
    metrics: tuple[MetricSummary, ...],
    artifacts: tuple[MadeArtifact, ...],
    so_far: Mapping[tuple[int, str], SoFar],
) -> Description:
    """Return all there is to say of a run whose values, points and artifacts are not looked at.

    Args:
        run: The run.
        rows: Its keys and values.
        metrics: Its series.
        artifacts: Its artifacts.
        so_far: What the attempts at steps that have not ended had done, by session and step.
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
        steps=tuple(_attempt(one, so_far, dead=False) for one in _living(run)),
        dead_attempts=tuple(_attempt(one, so_far, dead=True) for one in run.dead_attempts),
        metrics=metrics,
        artifacts=artifacts,
    )


def value_rows(run: Run[Any]) -> Iterator[ValueRow]:
    """Return the keys that were written, in order, those too whose values the file does not have.

    Args:
        run: The run.
    """
    values = run.values
    for key, one in run.entries.items():
        yield value_row(one, None if one.missing else values[key])


def value_row(entry: Entry, value: Any) -> ValueRow:
    """Return a key and its value.

    Args:
        entry: What the file has of it.
        value: The value; None where the file does not have it.
    """
    return ValueRow(entry.key, entry.stored.type, entry.is_input, entry.step, entry.missing, value)


def point_rows(run: Run[Any]) -> Iterator[PointRow]:
    """Return all points, one series after the other, each in order.

    Args:
        run: The run.
    """
    for name in run.metrics:
        for sequence, point in enumerate(run.metrics.series(name)):
            yield _point_row(name, sequence, *point)


def _point_row(name: str, sequence: int, value: Any, tags: Any, step: str | None) -> PointRow:
    held = dict(tags or ())
    if NotRestorable not in (type(value), *map(type, held.values())):
        return PointRow(name, sequence, step, None, value, held)
    parts = {"value": value, **{f"tag.{tag}": item for tag, item in held.items()}}
    missing = ", ".join(part for part, item in parts.items() if type(item) is NotRestorable)
    return PointRow(name, sequence, step, missing, json_view(value), {tag: json_view(held[tag]) for tag in held})


def as_json(value: object) -> bytes:
    """Return JSON, on one line: numbers that are not finite as "NaN", "Infinity", "-Infinity", arrays as lists.

    Args:
        value: A document, a row, or what JSON has.
    """
    return to_json(value, inf_nan_mode="strings", bytes_mode="base64", fallback=_simpler)


def json_lines(rows: Iterable[ValueRow | PointRow]) -> Iterator[bytes]:
    """Return rows as JSON, one a line.

    Args:
        rows: The rows.
    """
    for row in rows:
        yield as_json(row) + b"\n"


def document(parts: Mapping[str, Iterable[ValueRow | PointRow]]) -> Iterator[bytes]:
    """Return rows as one JSON document, a piece at a time.

    Args:
        parts: Rows by the key that the list of them is to have.
    """
    yield b"{"
    for at, (name, rows) in enumerate(parts.items()):
        yield (b"," if at else b"") + as_json(name) + b":["
        for place, row in enumerate(rows):
            yield (b"," if place else b"") + as_json(row)
        yield b"]"
    yield b"}\n"


def csv_of_values(run: Run[Any]) -> Iterator[bytes]:
    """Return the keys and values of a run as CSV: a column for each field of `ValueRow`.

    Args:
        run: The run.
    """
    rows = ((row.key, row.type, row.input, row.step, row.missing, row.value) for row in value_rows(run))
    return _csv(("key", "type", "input", "step", "missing", "value"), rows)


def csv_of_points(run: Run[Any]) -> Iterator[bytes]:
    """Return the points of a run as CSV: the fields of `PointRow`, with a column for each tag, as "tag.epoch".

    Args:
        run: The run.
    """
    # By a prefix, as a tag may be called "step" or "value" too.
    tags = tuple(dict.fromkeys(tag for row in point_rows(run) for tag in row.tags))
    rows = (
        (row.metric, row.sequence, row.step, row.missing, row.value, *map(row.tags.get, tags))
        for row in point_rows(run)
    )
    return _csv(("metric", "sequence", "step", "missing", "value", *(f"tag.{tag}" for tag in tags)), rows)


def _csv(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
    # Its lines end in CR LF, as RFC 4180 has it: the older versions of `csv` quote only what is in the line's end.
    writer = csv.writer(_Line())
    yield writer.writerow(header)
    for row in rows:
        yield writer.writerow(map(_cell, row))


class _Line:
    """In place of a file for `csv`: hands a line on."""

    def write(self, line: str) -> bytes:
        return line.encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # A spreadsheet would take it for a formula.
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    text = as_json(value).decode()
    return text.strip('"') if isinstance(value, float) else text


def _simpler(value: Any) -> Any:
    """Return an array, or what is in one, as something that JSON has."""
    simpler = value.tolist() if hasattr(value, "tolist") else value
    return str(value) if type(simpler) is type(value) else simpler


def _living(run: Run[Any]) -> list[Attempt]:
    # By their places, as a branch that failed and was merged later has two attempts of one name.
    dead = {one.sequence for one in run.dead_attempts}
    return [one for one in run.attempts if one.sequence not in dead]


def _run_seconds(run: Run[Any]) -> float | None:
    ended = datetime.now(UTC) if run.status == "running" else run.ended
    return None if ended is None else (ended - run.started).total_seconds()


def _process(run: Run[Any], session: Session) -> RunProcess:
    is_running = run.status == "running" and session is run.sessions[-1]
    outcome = session.outcome or ("running" if is_running else "died")
    return RunProcess(session.number, session.started, session.ended, outcome, session.error, session.origin)


def _attempt(one: Attempt, so_far: Mapping[tuple[int, str], SoFar], *, dead: bool) -> StepAttempt:
    record = one.record
    if record is None:
        outcome: Outcome = "died" if dead else "running"
        writes, points, artifacts = so_far[one.session, one.step]
        done = (tuple(writes), points, tuple(artifacts))
        return StepAttempt(one.step, one.session, outcome, one.started, None, None, (), (), *done, None)
    return StepAttempt(
        name=one.step,
        session=one.session,
        outcome="failed" if record.error is not None else "done again" if dead else "finished",
        started=one.started,
        ended=record.ended,
        seconds=record.duration.total_seconds(),
        reads=record.reads,
        absent=record.absent,
        writes=record.writes,
        points=dict(record.points),
        artifacts=record.artifacts,
        error=record.error,
    )


def is_finite(value: Any) -> bool:
    """Whether a value is a number that is neither NaN nor infinite. A bool is none here."""
    # An int may be too large for `isfinite`.
    return type(value) is int or (type(value) is float and isfinite(value))


def _summary(series: Series[Any, Any], lacking: int) -> MetricSummary:
    values = [*map(json_view, series.values)] if lacking else series.values
    numbers = [value for value in values if is_finite(value)]
    least, most = min(numbers, default=None), max(numbers, default=None)
    return MetricSummary(series.name, len(values), values[0], values[-1], least, most, lacking)


def _made(artifact: Artifact) -> MadeArtifact:
    return MadeArtifact(artifact.name, len(artifact.data), artifact.step)
