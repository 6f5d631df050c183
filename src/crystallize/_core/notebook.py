"""The tables that a notebook shows for a context and its parts. It is imported only when a notebook needs it."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from .._base.signal_handlers import reraise_from_handler
from .._base.table import Table, TableRow
from .._base.text import counted, moment, one_line, short, took, type_name
from .artifacts import Artifact
from .context import ContextHandle, context_kind, notes_of, state_of, token_of
from .packed_columns import StoredPoint
from .point_log import fetch
from .provenance import Provenance, StepRecord, nodes_missed, nodes_read
from .series import FrozenMetrics, Series, filter_text, is_part, log_of, store_of, stored_points

_ENDS = 5
"""The number of points that are shown at either end of a series."""


def context_table(ctx: ContextHandle) -> Table:
    """Return the table of the keys, including declared keys that are not written."""
    state, notes = state_of(ctx), notes_of(ctx)
    missed = [key for key in list(notes.absent) if key not in state.values] if notes is not None else []
    keys = [*state.keys, *dict.fromkeys((*state.provenance.unwritten, *missed))]

    def accesses(key: str) -> str | None:
        if notes is None:
            return None
        found = {"read": notes.reads, "not found": notes.absent, "written": notes.writes}
        return ", ".join(name for name, noted in found.items() if key in noted)

    def row(key: str) -> TableRow:
        if key not in state.values:
            return key, "not written yet", None, None, accesses(key)
        stored = state.stored(key)
        writer = "(at the start)" if stored.is_input else stored.step
        return key, state.short_value(key), type_name(type(stored.read())), writer, accesses(key)

    token = token_of(ctx)
    step = "" if token.step is None else f" of step {token.step!r}"
    title = f"{context_kind(ctx)}{step}: {counted(len(state.values), 'key')}"
    return Table.of(title, ("key", "value", "type", "written by", "here"), keys, row)


def series_table(series: Series[Any, Any]) -> Table:
    """Return the table of the first and the last points of a series."""
    count, shown = _ends(series)
    tags = tuple(dict.fromkeys(chain.from_iterable(tags for _, tags, _ in shown.values())))
    names = store_of(series).registry.names
    rows = [
        (
            *(f"{at:,}", _short(value), step if type(step) is str else names[step]),
            *(_short(kept[tag]) if tag in kept else None for tag in tags),
        )
        for at, (value, kept, step) in shown.items()
    ]
    metric, best = series.metric, _best(series)
    unit = f" in {metric.unit}" if metric is not None and metric.unit else ""
    title = f"{series.name}{unit}{filter_text(series)}: {counted(count, 'point')}"
    if best is not None:
        title += f", the best {best}"
    return Table(title, ("point", "value", "step", *tags), rows, count - len(shown))


def _ends(series: Series[Any, Any]) -> tuple[int, dict[int, StoredPoint]]:
    """Return the number of points, and the first and the last points by their positions."""
    log = log_of(series)
    if log is None:
        return 0, {}
    if is_part(series):
        rows = [*stored_points(series)]
        count, oldest, newest = len(rows), rows[:_ENDS], rows[-_ENDS:]
    else:
        count, oldest, newest = log.points.ends(_ENDS)
    return count, dict(enumerate(oldest)) | dict(enumerate(newest, count - len(newest)))


def _short(kept: Any) -> str:
    return short(fetch(kept))


def _best(series: Series[Any, Any]) -> str | None:
    """Return the best value as a short text; None if there is no best value."""
    if series.metric is None or series.metric.goal is None or not len(series):
        return None
    try:
        return short(series.best)
    except Exception as error:  # comparing values of a user's type may raise anything
        reraise_from_handler(error)
        return f"<{type(error).__name__}>"


def metrics_table(metrics: FrozenMetrics) -> Table:
    """Return the table of the metrics that are declared or were recorded."""

    def row(name: str) -> TableRow:
        series: Series[Any, Any] = metrics.series(name)
        metric, count = series.metric, len(series)
        declared = (metric.unit, metric.goal, metric.description) if metric is not None else (None, None, None)
        unit, goal, description = declared
        last = short(series.last) if count else None
        return name, unit, goal, f"{count:,}", last, _best(series), description

    headings = ("metric", "unit", "goal", "points", "last", "best", "description")
    schema = metrics.schema
    title = f"{schema.__qualname__ if schema is not None else 'Metrics'}: {counted(len(metrics), 'metric')}"
    return Table.of(title, headings, [*store_of(metrics).logs.copy()], row)


def artifacts_table(artifacts: Sequence[Artifact]) -> Table:
    """Return the table of the artifacts, without their content."""

    def row(artifact: Artifact) -> TableRow:
        return artifact.name, counted(artifact.size, "byte"), artifact.step

    return Table.of(f"Artifacts: {counted(len(artifacts), 'file')}", ("artifact", "size", "step"), artifacts, row)


def provenance_tables(provenance: Provenance) -> tuple[Table, Table]:
    """Return the table of the steps, and the table of possible mistakes."""
    steps = provenance.steps
    findings: dict[str, Iterable[str]] = {
        "inputs that no step read": provenance.unread_inputs,
        "declared and not written": provenance.unwritten,
        "looked for before it was written": [f"{read.key} by {read.reader}" for read in provenance.early_reads],
    }
    rows = [(finding, ", ".join(keys)) for finding, keys in findings.items() if keys]
    title = f"Provenance: {counted(len(steps), 'step')}"
    return Table.of(title, _STEP_HEADINGS, steps, _step_row), Table("Worth a look", ("", ""), rows)


_STEP_HEADINGS = (
    *("step", "outcome", "started (UTC)", "took", "read", "not found", "wrote", "points", "artifacts", "error"),
)


def _step_row(step: StepRecord) -> TableRow:
    return (
        step.name,
        "finished" if step.error is None else "failed",
        moment(step.started),
        took(step.duration.total_seconds()),
        *(", ".join(nodes) for nodes in (nodes_read(step), nodes_missed(step), step.writes)),
        ", ".join(f"{name}: {count:,}" for name, count in step.points.items()),
        ", ".join(step.artifacts),
        None if step.error is None else one_line(step.error),
    )
