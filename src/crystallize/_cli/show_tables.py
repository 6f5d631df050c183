"""The tables in which a run is shown."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Final

from .._base.table import Table, TableRow
from .._base.text import MASK, counted, moment, one_line, rounded, short, short_type, took
from .._core.provenance import nodes_missed, nodes_read
from .._tables.export import ValueRow
from .._tables.run_description import Description, MetricSummary, RunProcess, StepAttempt, item_text

_VALUE: Final = ("key", "type", "step", "value")
_STEP: Final = (
    *(
        "step",
        "item",
        "session",
        "outcome",
        "started",
        "took",
        "read",
        "not found",
        "wrote",
        "points",
        "artifacts",
        "error",
    ),
)
_METRIC: Final = ("metric", "points", "first", "last", "min", "max", "not restorable")
_UNKNOWN_READS: Final = {"running": "(told when it ends)", "died": "(not known)"}
"""The text in place of the reads of a step that has not ended."""


def tables_of(run: Description) -> Iterator[Table]:
    """Return the tables of a run, from top to bottom."""
    yield facts_table(
        run.name,
        {
            "status": run.status,
            "started": moment(run.started),
            "ended": moment(run.ended),
            "took": took(run.seconds),
            "error": run.error and one_line(run.error),
            "number": str(run.number),
            "file": run.path,
        },
    )
    for process in run.sessions:
        yield facts_table(f"session {process.number}", _process_facts(process))
    yield Table("inputs", _VALUE, [*map(_value_row, run.inputs)])
    yield Table("values", _VALUE, [*map(_value_row, run.values)])
    is_resumed = len(run.sessions) > 1
    yield Table("steps", _STEP, [_step_row(attempt, is_resumed) for attempt in run.steps])
    yield Table("dead attempts", _STEP, [_step_row(attempt, is_resumed) for attempt in run.dead_attempts])
    yield Table("metrics", _METRIC, [*map(_metric_row, run.metrics)])
    artifacts = [(artifact.name, counted(artifact.size, "byte"), artifact.step) for artifact in run.artifacts]
    yield Table("artifacts", ("artifact", "size", "step"), artifacts)


def facts_table(title: str, facts: Mapping[str, str | None]) -> Table:
    """Return a table of named facts, without those that are None or empty."""
    return Table(title, ("", ""), [(name, fact) for name, fact in facts.items() if fact])


def _process_facts(process: RunProcess) -> dict[str, str | None]:
    origin = process.origin
    changes = {None: "", False: "", True: ", and tracked files differed from it"}[origin["dirty"]]
    return {
        "outcome": process.outcome,
        "started": moment(process.started),
        "ended": moment(process.ended),
        "error": process.error and one_line(process.error),
        "commit": f"{origin['commit']}{changes}" if origin["commit"] else None,
        "arguments": shlex.join(origin["arguments"]),
        "folder": origin["folder"],
        "Python": origin["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in origin["packages"].items()),
        "system": origin["system"],
        "host": origin["host"],
        "process": str(origin["pid"]),
        "not read": one_line("; ".join(f"{field}: {reason}" for field, reason in origin.get("unread", {}).items())),
    }


def _value_row(row: ValueRow) -> TableRow:
    return row.key, short_type(row.type), row.step, shown_value(row)


def shown_value(row: ValueRow) -> str:
    """Return a value in short, or a text in its place if it cannot be restored."""
    replacements = {"secret": MASK, "not restorable": f"cannot be restored: {row.why}"}
    return short(row.value) if row.missing is None else replacements[row.missing]


def _step_row(attempt: StepAttempt, is_resumed: bool) -> TableRow:
    process = str(attempt.session) if is_resumed else None
    times = f"{attempt.started:%H:%M:%S}", took(attempt.seconds)
    reads = _UNKNOWN_READS.get(attempt.outcome, ", ".join(nodes_read(attempt))), ", ".join(nodes_missed(attempt))
    error = attempt.error and one_line(attempt.error)
    return attempt.name, item_text(attempt.item), process, attempt.outcome, *times, *reads, *work_cells(attempt), error


def work_cells(attempt: StepAttempt) -> TableRow:
    """Return the keys, points and artifacts of a step, as cells of a table."""
    points = ", ".join(f"{name}: {count:,}" for name, count in attempt.points.items())
    return ", ".join(attempt.writes), points, ", ".join(attempt.artifacts)


def _metric_row(metric: MetricSummary) -> TableRow:
    limits = (None if number is None else rounded(short(number)) for number in (metric.min, metric.max))
    ends = rounded(short(metric.first)), rounded(short(metric.last))
    return metric.metric, f"{metric.count:,}", *ends, *limits, str(metric.missing or "")
