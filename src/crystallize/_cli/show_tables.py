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
    *("step", "session", "outcome", "started", "took", "item", "taken over from", "ran because"),
    *("read", "not found", "wrote", "points", "artifacts", "error"),
)
_METRIC: Final = ("metric", "points", "first", "last", "min", "max", "not restorable")
_KEPT: Final = 5
"""The first columns of steps: the name, the process, the outcome and the times."""
_UNKNOWN_READS: Final = {"running": "(recorded when it ends)", "died": "(not known)"}
"""The text in place of the reads of a step that has not ended."""


def tables_of(run: Description, *, with_packages: bool = False) -> Iterator[Table]:
    """Return the tables of a run, from top to bottom; `with_packages`: with the versions of all packages."""
    yield facts_table(
        run.name,
        {
            "status": run.status,
            "started": moment(run.started),
            "ended": moment(run.ended),
            "took": took(run.seconds),
            "error": run.error and one_line(run.error),
            "note": run.note and one_line(run.note),
            "tags": ", ".join(run.tags),
            "number": str(run.number),
            "takes steps from": run.parent,
            "file": run.path,
        },
    )
    yield Table("traceback", ("",), [(line,) for line in (run.traceback or "").splitlines()])
    for process in run.sessions:
        yield facts_table(f"session {process.number}", _process_facts(process, with_packages))
    yield Table("inputs", _VALUE, [*map(_value_row, run.inputs)])
    yield Table("values", _VALUE, [*map(_value_row, run.values)])
    is_resumed = len(run.sessions) > 1
    yield Table("steps", _STEP, [_step_row(attempt, is_resumed) for attempt in run.steps], kept=_KEPT)
    yield Table("dead attempts", _STEP, [_step_row(attempt, is_resumed) for attempt in run.dead_attempts], kept=_KEPT)
    yield Table("metrics", _METRIC, [*map(_metric_row, run.metrics)], kept=2)
    artifacts = [(artifact.name, counted(artifact.size, "byte"), artifact.step) for artifact in run.artifacts]
    yield Table("artifacts", ("artifact", "size", "step"), artifacts)


def facts_table(title: str, facts: Mapping[str, str | None]) -> Table:
    """Return a table of named facts, without those that are None or empty."""
    return Table(title, ("", ""), [(name, fact) for name, fact in facts.items() if fact])


def _process_facts(process: RunProcess, with_packages: bool) -> dict[str, str | None]:
    origin = process.origin
    changes = {None: "", False: "", True: ", and tracked files differed from it"}[origin["dirty"]]
    versions = [f"{name} {version}" for name, version in origin["packages"].items()]
    is_listed = with_packages or not versions
    return {
        "outcome": process.outcome,
        "started": moment(process.started),
        "ended": moment(process.ended),
        "took": f"{'at least ' if process.outcome == 'died' else ''}{took(process.seconds)}",
        "error": process.error and one_line(process.error),
        "commit": f"{origin['commit']}{changes}" if origin["commit"] else None,
        "arguments": shlex.join(origin["arguments"]),
        "folder": origin["folder"],
        "Python": origin["python"],
        "packages": ", ".join(versions) if is_listed else f"{len(versions):,}, which --origin lists",
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
    return rounded(short(row.value)) if row.missing is None else replacements[row.missing]


def _step_row(attempt: StepAttempt, is_resumed: bool) -> TableRow:
    process = str(attempt.session) if is_resumed else None
    # The time was not taken by this run.
    times = ("", "") if attempt.reused_from else (f"{attempt.started:%H:%M:%S}", took(attempt.seconds))
    origin = attempt.reused_from, attempt.reason and one_line(attempt.reason)
    reads = _UNKNOWN_READS.get(attempt.outcome, ", ".join(nodes_read(attempt))), ", ".join(nodes_missed(attempt))
    error = attempt.error and one_line(attempt.error)
    item = item_text(attempt.item)
    return attempt.name, process, attempt.outcome, *times, item, *origin, *reads, *work_cells(attempt), error


def work_cells(attempt: StepAttempt) -> TableRow:
    """Return the keys, points and artifacts of a step, as cells of a table."""
    points = ", ".join(f"{name}: {count:,}" for name, count in attempt.points.items())
    return ", ".join(attempt.writes), points, ", ".join(attempt.artifacts)


def _metric_row(metric: MetricSummary) -> TableRow:
    limits = (None if number is None else rounded(short(number)) for number in (metric.min, metric.max))
    ends = rounded(short(metric.first)), rounded(short(metric.last))
    return metric.metric, f"{metric.count:,}", *ends, *limits, str(metric.missing or "")
