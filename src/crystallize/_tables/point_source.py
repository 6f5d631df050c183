"""The points of whatever a user passes to a function of `crystallize.frames`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .._base.text import type_name
from .._core.context import FrozenContext
from .._core.metrics import MetricSchema
from .._core.point_sections import Piece
from .._core.series import FrozenMetrics, Series, log_of, store_of
from .._journal.journal import Journal, flushed_path
from .._journal.loaded_run import Run, items_of_branches, load_run
from ..errors import FrameError
from .arrow_table import PointOrigin, SourcePoints

if TYPE_CHECKING:
    import pyarrow as pa

Measured: TypeAlias = """(
    FrozenMetrics | Series[Any, Any] | FrozenContext[Any] | Run[Any] | Journal | str | os.PathLike[str]
    | pa.Table | pa.RecordBatchReader
)"""
"""A source of points, in memory or in a file; or an Arrow table or reader of points."""


def points_in(
    measured: Any,
    metrics: type[MetricSchema] | None,
    inputs: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> SourcePoints:
    """Return the points of a source that is not an Arrow table or reader, loaded into memory if it is a file."""
    name = None
    if isinstance(measured, (str, os.PathLike, Journal)):
        measured = run_from(run_file(measured), metrics)
    else:
        check_untyped(measured, metrics)
    declared: Mapping[str, Any] = {}
    items: Mapping[str, Any] = {}
    if isinstance(measured, Run):
        items = items_of_branches(measured)
        name, declared, measured = measured.path.stem, measured.declared, measured.metrics
    if isinstance(measured, FrozenContext):
        measured = measured.metrics
    if not isinstance(measured, (FrozenMetrics, Series)):
        reason = "there is no table of it; give metrics, a series, a context, a run, a journal, or the file of a run"
        raise FrameError(type_name(type(measured)), reason)
    store = store_of(measured)
    journals = [sink.path.stem for sink in store.dispatcher.sinks if isinstance(sink, Journal)]
    logs = store.logs.copy()
    if isinstance(measured, Series):
        # Looked up as a reader of the series would, since it may belong to another schema.
        found = log_of(measured) or store.new(measured.name)
        logs = {found.name: found}
    series = {name: [*log.points.pieces()] for name, log in logs.items()}
    metric_types = {name: log.metric for name, log in logs.items()}
    # Read after the points, so that the steps of points recorded meanwhile are included.
    steps = [*store.registry.names]
    series = {name: [*_numbered(pieces, steps)] for name, pieces in series.items()}
    run = name if name is not None else next(iter(journals), None)
    return SourcePoints(PointOrigin(run, steps, metric_types, inputs or {}, declared, items, results or {}), series)


def _numbered(pieces: Iterable[Piece], steps: list[str | None]) -> Iterator[Piece]:
    """Return pieces whose steps are numbered by a list of steps, to which the steps of inserted points are added."""
    offsets: dict[int, int] = {}
    for piece in pieces:
        if piece.names is None:
            yield piece
            continue
        offset = offsets.get(id(piece.names))
        if offset is None:
            # The pieces keep the names alive, so that no identity is used again.
            offset = offsets[id(piece.names)] = len(steps) - 1
            steps += piece.names
        yield piece._replace(offset=offset)


def check_untyped(measured: Any, metrics: type[MetricSchema] | None) -> None:
    """Raise FrameError if a metric schema is given for a source that has its own."""
    if metrics is not None:
        reason = "it has its own metrics; metrics=... is for a run in a file"
        raise FrameError(type_name(type(measured)), reason)


def run_file(source: str | os.PathLike[str] | Journal) -> Path:
    """Return the file of a run, after all events of its journal are written to it."""
    return flushed_path(source) if isinstance(source, Journal) else Path(source)


def run_from(path: str | os.PathLike[str], metrics: type[MetricSchema] | None) -> Run[Any]:
    """Load a run, with any context."""
    run: Run[Any] = load_run(path, metrics=metrics)
    return run
