"""Points as Parquet and Arrow files, at a path, at a URL, or into an open file."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .._base.optional import OptionalModule
from .._base.text import type_name
from .._core.metrics import MetricSchema
from .._journal.read_run import real
from ..errors import FrameError
from .frame_conversion import to_reader
from .point_source import Measured

if TYPE_CHECKING:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    fsspec = OptionalModule("fsspec", "arrow")
    pa, pq = OptionalModule("pyarrow", "arrow"), OptionalModule("pyarrow.parquet", "arrow")


def write_parquet(
    measured: Measured, where: str | os.PathLike[str] | IO[bytes], *, metrics: type[MetricSchema] | None = None
) -> None:
    """Write points to a Parquet file, whole or not at all.

    The points of a journal, or of a run's file, are read in batches and never all in memory; see `to_reader`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        where: A path, a URL that fsspec knows ("s3://bucket/run.parquet"), or an open binary file.
        metrics: The metric schema of a run in a file. Without it, columns have the types of the recorded values.

    Raises:
        FrameError: `measured` is not a source of points, or `where` cannot be written to.
        JournalError: The run cannot be read, or its metrics are not those of the schema.
        MissingExtraError: pyarrow, or fsspec for a URL, is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5)
        >>> write_parquet(ctx, "loss.parquet")
    """

    def writer(file: Any, schema: "pa.Schema") -> Any:
        # Dictionaries only help where texts repeat, positions differ by 1, and larger steps take less time.
        repeated = [column.name for column in schema if pa.types.is_dictionary(column.type)]
        positions = {"sequence": "DELTA_BINARY_PACKED"} if "sequence" in schema.names else None
        options: dict[str, Any] = {"use_dictionary": repeated or False, "column_encoding": positions}
        return pq.ParquetWriter(file, schema, write_batch_size=1 << 14, **options)

    _write(to_reader(measured, metrics=metrics), where, writer)


def write_arrow(
    measured: Measured, where: str | os.PathLike[str] | IO[bytes], *, metrics: type[MetricSchema] | None = None
) -> None:
    """Write points to an Arrow IPC file, also known as Feather; otherwise like `write_parquet`.

    Args:
        measured: Metrics, a series, a context, a run, a journal, the file of a run, or an Arrow table or reader.
        where: A path, a URL that fsspec knows, or an open binary file.
        metrics: The metric schema of a run in a file. Without it, columns have the types of the recorded values.

    Raises:
        FrameError: `measured` is not a source of points, or `where` cannot be written to.
        JournalError: The run cannot be read, or its metrics are not those of the schema.
        MissingExtraError: pyarrow, or fsspec for a URL, is not installed.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5)
        >>> write_arrow(ctx, "loss.arrow")
    """
    _write(to_reader(measured, metrics=metrics), where, pa.ipc.new_file)


def _write(reader: "pa.RecordBatchReader", where: str | os.PathLike[str] | IO[bytes], writer: Any) -> None:
    with _opened(where) as file, writer(file, reader.schema) as writing:
        for batch in reader:
            writing.write_batch(batch)


@contextmanager
def _opened(where: str | os.PathLike[str] | IO[bytes]) -> Iterator[Any]:
    """Open the file to write. If it is not written to its end, an earlier file stays unchanged."""
    if not isinstance(where, (str, os.PathLike)):
        if not hasattr(where, "write"):
            raise FrameError(type_name(type(where)), "a table is written to a path, a URL, or an open binary file")
        yield where
        return
    address = os.fspath(where)
    with _opened_url(address) if "://" in address else _opened_path(real(Path(address))) as file:
        yield file


@contextmanager
def _opened_path(path: Path) -> Iterator[Any]:
    if path.suffix in (".db", ".spool") and path.exists():
        raise FrameError(str(path), "this is the file of a run, and would be overwritten")
    if path.exists() and not path.is_file():
        # A device such as /dev/stdout. Python raises an error for a folder.
        with path.open("wb") as file:
            yield file
        return
    if not path.parent.is_dir():
        raise FrameError(str(path), f"there is no folder {str(path.parent)!r}; make it first")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _opened_url(address: str) -> Iterator[Any]:
    # Outside of the `try`, as a missing fsspec has an error of its own.
    url_to_fs = fsspec.url_to_fs
    with ExitStack() as stack:
        try:
            # An instance of its own, since its transaction covers everything that the instance writes.
            system, path = url_to_fs(address, skip_instance_cache=True)
            stack.enter_context(system.transaction)
            file = stack.enter_context(system.open(path, "wb"))
        except (ImportError, NotImplementedError, ValueError) as error:
            # Without the rest of the URL, which may contain a password.
            raise FrameError(f"{address.partition('://')[0]}://", f"fsspec cannot write there ({error})") from error
        yield file
