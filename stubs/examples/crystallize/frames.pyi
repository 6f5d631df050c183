# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What was measured as a table: Arrow, polars, pandas, Parquet. One row is a point.

The columns are built out of the blocks in which points are packed, and not point by point.
"""

import os
from collections.abc import Collection, Iterable
from typing import IO, Any, Literal, TypeAlias
from .context import FrozenContext
from .journal import Journal
from .metrics import FrozenMetrics, MetricSchema, Series
from .runs import Run
import pandas as pd
import polars as pl
import pyarrow as pa

__all__ = ["Measured", "runs_frame", "to_arrow", "to_pandas", "to_polars", "to_reader", "write_arrow", "write_parquet"]
Measured: TypeAlias = (
    FrozenMetrics
    | Series[Any, Any]
    | FrozenContext[Any]
    | Run[Any]
    | Journal
    | str
    | os.PathLike[str]
    | pa.Table
    | pa.RecordBatchReader
)
"""What there is a table of, in memory or in a file; and a table itself, or a reader of one."""

def to_arrow(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> pa.Table:
    """Return what was measured as an Arrow table, one series after the other.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: What a run in a file measures; without it, columns are typed by what was recorded.

    Returns:
        A row for each point, with the columns run, step, branch, sequence, metric and value, then one for each tag.

    Raises:
        FrameError: There is no table of what was given.
        JournalError: The run cannot be read, or its metrics are not those that were given.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> to_arrow(ctx).column_names
        ['run', 'step', 'branch', 'sequence', 'metric', 'value', 'epoch']
    """

def to_polars(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> pl.DataFrame:
    """Return what was measured as a polars frame; see `to_arrow`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: What a run in a file measures; without it, columns are typed by what was recorded.

    Returns:
        A row for each point. Few texts, as names of metrics and choices, are Categorical.

    Raises:
        FrameError: There is no table of what was given.
        JournalError: The run cannot be read, or its metrics are not those that were given.
        MissingExtraError: pyarrow or polars is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> to_polars(ctx)["value"].to_list()
        [0.5]
    """

def to_pandas(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> pd.DataFrame:
    """Return what was measured as a pandas frame; see `to_arrow`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: What a run in a file measures; without it, columns are typed by what was recorded.

    Returns:
        A row for each point. Few texts, as names of metrics and choices, are categories. Where something is absent,
        ints are Int64, bools are boolean and floats are double[pyarrow], in which NaN is not what is absent.

    Raises:
        FrameError: There is no table of what was given.
        JournalError: The run cannot be read, or its metrics are not those that were given.
        MissingExtraError: pyarrow or pandas is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5, {"epoch": 1})
        >>> to_pandas(ctx)[["value", "epoch"]].iloc[0].tolist()
        [0.5, 1.0]
    """

def to_reader(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> pa.RecordBatchReader:
    """Return what was measured a batch at a time.

    The points of a journal, or of the file of a run, are never all in memory: the file is read twice, first to see
    which columns there are. They come in the order in which they were written, each batch by metric. While it is read,
    the run stays as it was when this was called.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        metrics: What a run in a file measures; without it, columns are typed by what was recorded.

    Returns:
        A reader of batches with the columns that `to_arrow` has.

    Raises:
        FrameError: There is no table of what was given.
        JournalError: The run cannot be read, or its metrics are not those that were given.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5)
        >>> [batch.num_rows for batch in to_reader(ctx)]
        [1]
    """

def runs_frame(
    runs: str | os.PathLike[str] | Iterable[Run[Any] | str | os.PathLike[str]],
    *,
    metrics: type[MetricSchema] | None = None,
    inputs: Collection[str] | None = None,
    errors: Literal["raise", "skip"] = "raise",
) -> pa.Table:
    """Return the points of many runs as one Arrow table, with what each began with beside each of its points.

    `to_pandas`, `to_polars` and `write_parquet` take it on.

    Args:
        runs: A folder of runs, or runs, or their files.
        metrics: What runs in files measure; without it, columns are typed by what was recorded.
        inputs: The inputs that are to be columns; None: all, but for secrets and what a file cannot give back.
        errors: What becomes of a run that cannot be read, or not with these metrics: "raise" tells which it is, "skip"
            leaves it out, with a warning that names it.

    Returns:
        The columns that `to_arrow` has, then one for each input.

    Raises:
        FrameError: There is no such folder, something given is no run, or no run began with an input.
        JournalError: A run cannot be read, or its metrics are not those that were given.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> for lr in (0.1, 0.2):
        ...     with Journal.start("runs", "digits") as journal:
        ...         journal.context(FrozenContext, {"lr": lr}).record("loss", 1 - lr)
        >>> runs_frame("runs").select(["run", "value", "lr"]).to_pylist()
        [{'run': 'digits-0001', 'value': 0.9, 'lr': 0.1}, {'run': 'digits-0002', 'value': 0.8, 'lr': 0.2}]
    """

def write_parquet(
    measured: Measured,
    where: str | os.PathLike[str] | IO[bytes],
    *,
    metrics: type[MetricSchema] | None = None,
) -> None:
    """Write what was measured to a Parquet file, whole or not at all.

    A journal, and the file of a run, are never all in memory; see `to_reader`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        where: A path, a URL that fsspec knows ("s3://bucket/run.parquet"), or a binary file that is open.
        metrics: What a run in a file measures; without it, columns are typed by what was recorded.

    Raises:
        FrameError: There is no table of what was given, or no way to write there.
        JournalError: The run cannot be read, or its metrics are not those that were given.
        MissingExtraError: pyarrow, or fsspec for a URL, is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5)
        >>> write_parquet(ctx, "loss.parquet")
    """

def write_arrow(
    measured: Measured,
    where: str | os.PathLike[str] | IO[bytes],
    *,
    metrics: type[MetricSchema] | None = None,
) -> None:
    """Write what was measured to an Arrow IPC file, also known as Feather; else as `write_parquet`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        where: A path, a URL that fsspec knows, or a binary file that is open.
        metrics: What a run in a file measures; without it, columns are typed by what was recorded.

    Raises:
        FrameError: There is no table of what was given, or no way to write there.
        JournalError: The run cannot be read, or its metrics are not those that were given.
        MissingExtraError: pyarrow, or fsspec for a URL, is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5)
        >>> write_arrow(ctx, "loss.arrow")
    """
