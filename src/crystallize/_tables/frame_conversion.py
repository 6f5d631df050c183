"""Points as Arrow tables and readers, and as polars and pandas frames. One row is a point.

The columns are built from the packed blocks of points, not point by point.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._base.optional import OptionalModule
from .._core.metrics import MetricSchema
from .._core.series import Series, is_part, matcher
from .._journal.journal import Journal
from .._journal.point_stream import StoredPoints
from .._journal.read_run import open_streaming, real
from .arrow_table import PointOrigin, TableLayout, reader_of
from .point_source import Measured, check_untyped, points_in, run_file

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
else:
    pa, pd, pl = (
        OptionalModule("pyarrow", "arrow"),
        OptionalModule("pandas", "pandas"),
        OptionalModule("polars", "polars"),
    )


def to_arrow(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pa.Table":
    """Return points as an Arrow table, one series after the other.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: The metric schema of a run in a file. Without it, columns have the types of the recorded values.

    Returns:
        A row for each point, with the columns run, step, branch, sequence, metric and value, then one for each tag.

    Raises:
        FrameError: `measured` is not a source of points.
        JournalError: The run cannot be read, or its metrics are not those of the schema.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> to_arrow(ctx).column_names
        ['run', 'step', 'branch', 'sequence', 'metric', 'value', 'epoch']
    """
    if isinstance(measured, (pa.Table, pa.RecordBatchReader)):
        check_untyped(measured, metrics)
        return measured if isinstance(measured, pa.Table) else measured.read_all()
    points = points_in(measured, metrics)
    table = reader_of([points]).read_all()
    if not isinstance(measured, Series) or not is_part(measured):
        return table
    rows = (tags for pieces in points.series.values() for piece in pieces for _, tags, _ in piece.block.rows())
    return table.filter(pa.array(map(matcher(measured), rows), pa.bool_()))


def to_polars(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pl.DataFrame":
    """Return points as a polars frame; see `to_arrow`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: The metric schema of a run in a file. Without it, columns have the types of the recorded values.

    Returns:
        A row for each point. Columns of few different texts, as names of metrics and choices, are Categorical.

    Raises:
        FrameError: `measured` is not a source of points.
        JournalError: The run cannot be read, or its metrics are not those of the schema.
        MissingExtraError: pyarrow or polars is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> to_polars(ctx)["value"].to_list()
        [0.5]
    """
    frame = pl.from_arrow(to_arrow(measured, metrics=metrics))
    assert isinstance(frame, pl.DataFrame)
    return frame


def to_pandas(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pd.DataFrame":
    """Return points as a pandas frame; see `to_arrow`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: The metric schema of a run in a file. Without it, columns have the types of the recorded values.

    Returns:
        A row for each point. Columns of few different texts, as names of metrics and choices, are categories. In a
        column with nulls, ints are Int64, bools are boolean, and floats are double[pyarrow], in which NaN is not null.

    Raises:
        FrameError: `measured` is not a source of points.
        JournalError: The run cannot be read, or its metrics are not those of the schema.
        MissingExtraError: pyarrow or pandas is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> to_pandas(ctx)[["value", "epoch"]].iloc[0].tolist()
        [0.5, 1.0]
    """
    table = to_arrow(measured, metrics=metrics)
    names, columns = table.column_names, table.columns
    columns.reverse()
    del table
    # Column by column, so that at most one is in memory twice.
    return pd.DataFrame({name: _pandas_series(columns.pop()) for name in names}, copy=False)


def _pandas_series(column: "pa.ChunkedArray[Any]") -> "pd.Series[Any]":
    nullable: dict[Any, Any] = {
        pa.int64(): pd.Int64Dtype,
        pa.bool_(): pd.BooleanDtype,
        pa.float64(): lambda: pd.ArrowDtype(pa.float64()),
    }
    dtype = nullable.get(column.type) if column.null_count else None
    series: pd.Series[Any] = column.to_pandas(types_mapper=None if dtype is None else lambda _: dtype())
    return series


def to_reader(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pa.RecordBatchReader":
    """Return points in batches.

    The points of a journal, or of a run's file, are never all in memory: the file is read twice, first to find the
    columns. The points come in the order in which they were written, each batch by metric. The reader sees the run as
    it was at the call, also if the run goes on.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: The metric schema of a run in a file. Without it, columns have the types of the recorded values.

    Returns:
        A reader of batches with the columns of `to_arrow`.

    Raises:
        FrameError: `measured` is not a source of points.
        JournalError: The run cannot be read, or its metrics are not those of the schema.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5)
        >>> [batch.num_rows for batch in to_reader(ctx)]
        [1]
    """
    if isinstance(measured, pa.RecordBatchReader):
        check_untyped(measured, metrics)
        return measured
    if isinstance(measured, (str, os.PathLike, Journal)):
        batches = _stored_batches(run_file(measured), metrics)
        return pa.RecordBatchReader.from_batches(next(batches), batches)
    if isinstance(measured, (pa.Table, Series)):
        return to_arrow(measured, metrics=metrics).to_reader()
    return reader_of([points_in(measured, metrics)])


def _stored_batches(path: Path, metrics: type[MetricSchema] | None) -> Iterator[Any]:
    """Return the schema of the points in a file, and then the points in batches."""
    declared = metrics.metrics if metrics is not None else {}
    with open_streaming(path) as (content, rows):
        points, layout = StoredPoints(content, rows, metrics), TableLayout()
        origin = PointOrigin(real(path).stem, points.steps, dict(declared), {}, content.declared, content.items)
        layout.declare(origin)
        for series in points.first_look():
            for name, pieces in series.items():
                layout.observe(name, pieces)
        yield layout.schema
        for series in points.batches():
            for name, pieces in series.items():
                yield from layout.batches(origin, name, pieces)
