"""What was measured as a table: Arrow, polars, pandas, Parquet. One row is a point.

The columns are built out of the blocks in which points are packed, and not point by point.
"""

import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from .._base.optional import Extra
from .._base.text import nearest, short, type_name
from .._core.context import FrozenContext
from .._core.metrics import FrozenMetrics, MetricSchema, Series
from .._core.point_log import Piece
from .._journal.find import list_runs
from .._journal.journal import Journal, flushed_path
from .._journal.loaded_run import Run, load_run
from .._journal.point_stream import StoredPoints
from .._journal.read_run import open_streaming, real
from ..errors import FrameError, JournalError, MetricError
from .arrow_table import Layout, Source

if TYPE_CHECKING:
    import fsspec
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    fsspec = Extra("fsspec", "arrow")
    pa, pq = Extra("pyarrow", "arrow"), Extra("pyarrow.parquet", "arrow")
    pd, pl = Extra("pandas", "pandas"), Extra("polars", "polars")

__all__ = ["Measured", "runs_frame", "to_arrow", "to_pandas", "to_polars", "to_reader", "write_arrow", "write_parquet"]

Measured: TypeAlias = """(
    FrozenMetrics | Series[Any, Any] | FrozenContext[Any] | Run[Any] | Journal | str | os.PathLike[str]
    | pa.Table | pa.RecordBatchReader
)"""
"""What there is a table of, in memory or in a file; and a table itself, or a reader of one."""

_Filled: TypeAlias = tuple[Source, dict[str, list[Piece]]]
"""Points by their metric, and whose they are."""


def to_arrow(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pa.Table":
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
    if isinstance(measured, (pa.Table, pa.RecordBatchReader)):
        _check_own(measured, metrics)
        return measured if isinstance(measured, pa.Table) else measured.read_all()
    filled = _filled(measured, metrics)
    table = _table([filled])
    if not isinstance(measured, Series) or not measured._where:
        return table
    rows = (tags for pieces in filled[1].values() for piece in pieces for _, tags, _ in piece.block.rows())
    return table.filter(pa.array(map(measured._matches, rows), pa.bool_()))


def to_polars(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pl.DataFrame":
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
    frame = pl.from_arrow(to_arrow(measured, metrics=metrics))
    assert isinstance(frame, pl.DataFrame)
    return frame


def to_pandas(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pd.DataFrame":
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
    table = to_arrow(measured, metrics=metrics)
    names, columns = table.column_names, table.columns
    columns.reverse()
    del table
    # One by one, so that what is copied is not there twice for longer than it has to be.
    return pd.DataFrame({name: _in_pandas(columns.pop()) for name in names}, copy=False)


def _in_pandas(column: "pa.ChunkedArray[Any]") -> "pd.Series[Any]":
    nullable: dict[Any, Any] = {
        pa.int64(): pd.Int64Dtype,
        pa.bool_(): pd.BooleanDtype,
        pa.float64(): lambda: pd.ArrowDtype(pa.float64()),
    }
    dtype = nullable.get(column.type) if column.null_count else None
    series: pd.Series[Any] = column.to_pandas(types_mapper=None if dtype is None else lambda _: dtype())
    return series


def to_reader(measured: Measured, *, metrics: type[MetricSchema] | None = None) -> "pa.RecordBatchReader":
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
    if isinstance(measured, pa.RecordBatchReader):
        _check_own(measured, metrics)
        return measured
    if isinstance(measured, (str, os.PathLike, Journal)):
        batches = _stored(_file(measured), metrics)
        return pa.RecordBatchReader.from_batches(next(batches), batches)
    if isinstance(measured, (pa.Table, Series)):
        return to_arrow(measured, metrics=metrics).to_reader()
    return _reader([_filled(measured, metrics)])


def runs_frame(
    runs: str | os.PathLike[str] | Iterable["Run[Any] | str | os.PathLike[str]"],
    *,
    metrics: type[MetricSchema] | None = None,
    inputs: Collection[str] | None = None,
    errors: Literal["raise", "skip"] = "raise",
) -> "pa.Table":
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
    if isinstance(inputs, str):
        raise FrameError(f"inputs={inputs!r}", f"write inputs=[{inputs!r}]")
    if errors not in ("raise", "skip"):
        raise FrameError(f"errors={errors!r}", 'it is "raise" or "skip"')
    if isinstance(runs, (str, os.PathLike)):
        if not Path(runs).is_dir():
            raise FrameError(str(runs), "this is no folder of runs; `to_arrow` takes a single run")
        runs = list_runs(runs)
    found = []
    entries: dict[str, bool] = {}
    for one in runs:
        try:
            run = one if isinstance(one, Run) else _loaded(one, metrics)
            held = {key: value for key, value in run.inputs.items() if inputs is None or key in inputs}
        except JournalError as error:
            if errors == "raise":
                raise _with_ways_out(error) from error
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        # What is an input of one run may be a value that a step of another one wrote.
        entries |= {key: entry.is_input or entries.get(key, False) for key, entry in run.entries.items()}
        found.append(_filled(run, None, held))
    if found:
        _check_inputs(inputs or (), entries)
    return _table(found)


def _with_ways_out(error: JournalError) -> JournalError:
    """Return an error of one of many runs, with what to do about it."""
    ways = ['errors="skip" leaves it out']
    if isinstance(error.__cause__, MetricError):
        ways.insert(0, "without metrics=... all can be read, as they were recorded")
    elif error.advice:
        ways.insert(0, error.advice)
    return type(error)(error.path, error.reason, "; ".join(ways))


def _check_inputs(asked: Iterable[str], entries: Mapping[str, bool]) -> None:
    """Check that there are inputs of these names.

    Args:
        asked: The names.
        entries: The keys of all runs, each with whether a run began with it.

    Raises:
        FrameError: There is none of such a name.
    """
    inputs = [key for key, is_input in entries.items() if is_input]
    for key in asked:
        if key not in entries:
            near = nearest(key, inputs)
            known = ", ".join(map(repr, inputs)) or "nothing"
            hint = f"did you mean {near!r}?" if near else f"they began with {known}"
            raise FrameError(f"inputs={short([*asked])}", f"no run began with {key!r}; {hint}")
        if not entries[key]:
            reason = f"no run began with {key!r}, which was written later; inputs are what a run began with"
            raise FrameError(f"inputs={short([*asked])}", reason)


def write_parquet(
    measured: Measured, where: str | os.PathLike[str] | IO[bytes], *, metrics: type[MetricSchema] | None = None
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

    def writer(file: Any, schema: "pa.Schema") -> Any:
        # Few texts are packed as such, places follow on one another, and larger steps take less time.
        few = [one.name for one in schema if pa.types.is_dictionary(one.type)]
        places = {"sequence": "DELTA_BINARY_PACKED"} if "sequence" in schema.names else None
        how: dict[str, Any] = {"use_dictionary": few or False, "column_encoding": places, "write_batch_size": 1 << 14}
        return pq.ParquetWriter(file, schema, **how)

    _write(to_reader(measured, metrics=metrics), where, writer)


def write_arrow(
    measured: Measured, where: str | os.PathLike[str] | IO[bytes], *, metrics: type[MetricSchema] | None = None
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
    _write(to_reader(measured, metrics=metrics), where, pa.ipc.new_file)


def _write(reader: "pa.RecordBatchReader", where: str | os.PathLike[str] | IO[bytes], writer: Any) -> None:
    with _written(where) as file, writer(file, reader.schema) as opened:
        for batch in reader:
            opened.write_batch(batch)


def _check_own(measured: Any, metrics: type[MetricSchema] | None) -> None:
    """Check that nobody says what was measured of what knows it by itself.

    Raises:
        FrameError: Somebody does.
    """
    if metrics is not None:
        reason = "it has its own metrics; metrics=... says what is measured by a run in a file"
        raise FrameError(type_name(type(measured)), reason)


def _filled(measured: Any, metrics: type[MetricSchema] | None, inputs: dict[str, Any] | None = None) -> _Filled:
    """Return what there is in memory of what was measured."""
    name = None
    if isinstance(measured, (str, os.PathLike, Journal)):
        measured = _loaded(_file(measured), metrics)
    else:
        _check_own(measured, metrics)
    facts: Mapping[str, Any] = {}
    if isinstance(measured, Run):
        name, facts, measured = measured.path.stem, measured.declared, measured.metrics
    if isinstance(measured, FrozenContext):
        measured = measured.metrics
    if not isinstance(measured, (FrozenMetrics, Series)):
        reason = "there is no table of it; give metrics, a series, a context, a run, a journal, or the file of a run"
        raise FrameError(type_name(type(measured)), reason)
    store = measured._store
    journals = [sink.path.stem for sink in store.dispatcher.sinks if isinstance(sink, Journal)]
    channels = store.channels.copy()
    if isinstance(measured, Series):
        # It is looked up as whoever reads it would, and may be of another schema.
        found = store.find(measured._metric) or store.new(measured._metric)
        channels = {found.name: found}
    series = {name: [*channel.log.pieces()] for name, channel in channels.items()}
    declared = {name: channel.metric for name, channel in channels.items()}
    # After the points, which others may record meanwhile: the steps that they have been recorded in are among them.
    run = name if name is not None else next(iter(journals), None)
    return Source(run, [*store.scopes.names], declared, inputs or {}, facts), series


def _file(of: str | os.PathLike[str] | Journal) -> Path:
    """Return the file of a run, with all that its journal was told so far."""
    return flushed_path(of) if isinstance(of, Journal) else Path(of)


def _loaded(path: str | os.PathLike[str], metrics: type[MetricSchema] | None) -> Run[Any]:
    run: Run[Any] = load_run(path, metrics=metrics)
    return run


def _table(found: list[_Filled]) -> "pa.Table":
    return _reader(found).read_all()


def _reader(found: list[_Filled]) -> "pa.RecordBatchReader":
    layout = Layout()
    for source, series in found:
        layout.declare(source)
        for name, pieces in series.items():
            layout.see(name, pieces)
    batches = (
        batch
        for source, series in found
        for name, pieces in series.items()
        for batch in layout.batches(source, name, pieces)
    )
    return pa.RecordBatchReader.from_batches(layout.schema, batches)


def _stored(path: Path, metrics: type[MetricSchema] | None) -> Iterator[Any]:
    """Return the schema of a run in a file, and then its points, a batch at a time."""
    declared = metrics.metrics if metrics is not None else {}
    with open_streaming(path) as (content, rows):
        points, layout = StoredPoints(content, rows, metrics), Layout()
        source = Source(real(path).stem, points.steps, dict(declared), {}, content.declared)
        layout.declare(source)
        for series in points.first_look():
            for name, pieces in series.items():
                layout.see(name, pieces)
        yield layout.schema
        for series in points.batches():
            for name, pieces in series.items():
                yield from layout.batches(source, name, pieces)


@contextmanager
def _written(where: str | os.PathLike[str] | IO[bytes]) -> Iterator[Any]:
    """Open what is to be written. Where it is not written to its end, what was there before stays.

    Raises:
        FrameError: It cannot be written there.
    """
    if not isinstance(where, (str, os.PathLike)):
        if not hasattr(where, "write"):
            raise FrameError(type_name(type(where)), "a table is written to a path, a URL, or an open binary file")
        yield where
        return
    address = os.fspath(where)
    with _at_url(address) if "://" in address else _at_path(real(Path(address))) as file:
        yield file


@contextmanager
def _at_path(path: Path) -> Iterator[Any]:
    if path.suffix in (".db", ".spool") and path.exists():
        raise FrameError(str(path), "this is the file of a run, and would be overwritten")
    if path.exists() and not path.is_file():
        # As /dev/stdout. Of a folder Python says that it is one.
        with path.open("wb") as file:
            yield file
        return
    if not path.parent.is_dir():
        raise FrameError(str(path), f"there is no folder {str(path.parent)!r}; make it first")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _at_url(address: str) -> Iterator[Any]:
    find = fsspec.url_to_fs
    with ExitStack() as stack:
        try:
            # One of its own, since its transaction is of all that is written by it.
            system, path = find(address, skip_instance_cache=True)
            stack.enter_context(system.transaction)
            file = stack.enter_context(system.open(path, "wb"))
        except (ImportError, NotImplementedError, ValueError) as error:
            # Without what follows: there may be a password in it.
            raise FrameError(f"{address.partition('://')[0]}://", f"fsspec cannot write there ({error})") from error
        yield file
