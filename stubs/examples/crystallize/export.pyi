# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""A run as data for other programs: documents of what it was, and rows of its values and points.

Made for `crystallize.cli`, and of use without it: each document and each row is a dataclass, and its fields are the
keys of the JSON that `as_json` makes of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from .errors import JournalError
from .origin import Origin
from .runs import Entry, Run, SoFar, Status

__all__ = [
    "Description",
    "MadeArtifact",
    "MetricSummary",
    "Overview",
    "PointRow",
    "RunProcess",
    "StepAttempt",
    "ValueRow",
    "as_json",
    "csv_of_points",
    "csv_of_values",
    "describe",
    "document",
    "is_finite",
    "json_lines",
    "outline",
    "overview",
    "point_rows",
    "unreadable",
    "value_row",
    "value_rows",
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
    its place stands what JSON makes of it.
    """

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

def unreadable(name: str, error: JournalError) -> Overview:
    """Return what there is to say of a run that cannot be read.

    Args:
        name: The name of its file, without the ending.
        error: Why not.
    """

def describe(run: Run[Any]) -> Description:
    """Return all there is to say of a run.

    Args:
        run: The run, loaded without a schema: values are as JSON has them.
    """

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

def value_rows(run: Run[Any]) -> Iterator[ValueRow]:
    """Return the keys that were written, in order, those too whose values the file does not have.

    Args:
        run: The run.
    """

def value_row(entry: Entry, value: Any) -> ValueRow:
    """Return a key and its value.

    Args:
        entry: What the file has of it.
        value: The value; None where the file does not have it.
    """

def point_rows(run: Run[Any]) -> Iterator[PointRow]:
    """Return all points, one series after the other, each in order.

    Args:
        run: The run.
    """

def as_json(value: object) -> bytes:
    """Return JSON, on one line: numbers that are not finite as "NaN", "Infinity", "-Infinity", arrays as lists.

    Args:
        value: A document, a row, or what JSON has.
    """

def json_lines(rows: Iterable[ValueRow | PointRow]) -> Iterator[bytes]:
    """Return rows as JSON, one a line.

    Args:
        rows: The rows.
    """

def document(parts: Mapping[str, Iterable[ValueRow | PointRow]]) -> Iterator[bytes]:
    """Return rows as one JSON document, a piece at a time.

    Args:
        parts: Rows by the key that the list of them is to have.
    """

def csv_of_values(run: Run[Any]) -> Iterator[bytes]:
    """Return the keys and values of a run as CSV: a column for each field of `ValueRow`.

    Args:
        run: The run.
    """

def csv_of_points(run: Run[Any]) -> Iterator[bytes]:
    """Return the points of a run as CSV: the fields of `PointRow`, with a column for each tag, as "tag.epoch".

    Args:
        run: The run.
    """

def is_finite(value: Any) -> bool:
    """Whether a value is a number that is neither NaN nor infinite. A bool is none here."""
