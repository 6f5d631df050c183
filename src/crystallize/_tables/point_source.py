"""The points of whatever a user passes to a function of `crystallize.frames`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .._base.text import type_name
from .._core.context import FrozenContext
from .._core.metrics import FrozenMetrics, MetricSchema, Series
from .._journal.journal import Journal
from .._journal.loaded_run import Run, load_run
from ..errors import FrameError
from .arrow_table import PointOrigin, SourcePoints

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Measured", "check_untyped", "points_in", "run_file", "run_from"]

Measured: TypeAlias = """(
    FrozenMetrics | Series[Any, Any] | FrozenContext[Any] | Run[Any] | Journal | str | os.PathLike[str]
    | pa.Table | pa.RecordBatchReader
)"""
"""A source of points, in memory or in a file; or an Arrow table or reader of points."""


def points_in(
    measured: Any, metrics: type[MetricSchema] | None, inputs: Mapping[str, Any] | None = None
) -> SourcePoints:
    """Return the points of a source that is not an Arrow table or reader, loaded into memory if it is a file."""
    name = None
    if isinstance(measured, (str, os.PathLike, Journal)):
        measured = run_from(run_file(measured), metrics)
    else:
        check_untyped(measured, metrics)
    declared: Mapping[str, Any] = {}
    if isinstance(measured, Run):
        name, declared, measured = measured.path.stem, measured.declared, measured.metrics
    if isinstance(measured, FrozenContext):
        measured = measured.metrics
    if not isinstance(measured, (FrozenMetrics, Series)):
        reason = "there is no table of it; give metrics, a series, a context, a run, a journal, or the file of a run"
        raise FrameError(type_name(type(measured)), reason)
    store = measured._store
    journals = [sink.path.stem for sink in store.dispatcher.sinks if isinstance(sink, Journal)]
    channels = store.channels.copy()
    if isinstance(measured, Series):
        # Looked up as a reader of the series would, since it may belong to another schema.
        found = store.find(measured._metric) or store.new(measured._metric)
        channels = {found.name: found}
    series = {name: [*channel.log.pieces()] for name, channel in channels.items()}
    metric_types = {name: channel.metric for name, channel in channels.items()}
    # Read after the points, so that the steps of points recorded meanwhile are included.
    steps = [*store.scopes.names]
    run = name if name is not None else next(iter(journals), None)
    return SourcePoints(PointOrigin(run, steps, metric_types, inputs or {}, declared), series)


def check_untyped(measured: Any, metrics: type[MetricSchema] | None) -> None:
    """Raise FrameError if a metric schema is given for a source that has its own."""
    if metrics is not None:
        reason = "it has its own metrics; metrics=... says what is measured by a run in a file"
        raise FrameError(type_name(type(measured)), reason)


def run_file(source: str | os.PathLike[str] | Journal) -> Path:
    """Return the file of a run, after all events of its journal are written to it."""
    if not isinstance(source, Journal):
        return Path(source)
    if source._closed is None:
        source.flush()
    return source.path


def run_from(path: str | os.PathLike[str], metrics: type[MetricSchema] | None) -> Run[Any]:
    """Load a run, with any context."""
    run: Run[Any] = load_run(path, metrics=metrics)
    return run
