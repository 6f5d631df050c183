"""Codecs for the tables and columns of pyarrow and polars, as uncompressed Arrow streams."""

from importlib.util import find_spec
from io import BytesIO
from typing import Any, Final

from .._base.type_registry import TypeRegistry
from .arrow_stream import check_stream
from .polars_arrow import as_arrow, as_polars
from .value_codecs import CannotStore, ValueCodec, library
from .value_parts import Blob, PartContent


def stream_of(table: Any) -> Blob:
    """Return a table or a record batch of pyarrow as a stream."""
    pa = library("pyarrow")
    size = pa.MockOutputStream()
    with pa.ipc.new_stream(size, table.schema) as writer:
        writer.write(table)
    # As large as it has to be at once: a stream that grows is copied several times.
    content = pa.allocate_buffer(size.size())
    with pa.FixedSizeBufferWriter(content) as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return Blob(memoryview(content))


def table_in(content: PartContent) -> Any:
    """Return the table in a stream, all of whose cells are within its bytes."""
    pa = library("pyarrow")
    check_stream(content.buffer)
    with pa.ipc.open_stream(pa.py_buffer(content.buffer)) as reader:
        table = reader.read_all()
    # Offsets that point beyond a buffer would be followed.
    table.validate(full=True)
    return table


def _load_batch(content: PartContent) -> Any:
    pa = library("pyarrow")
    table = table_in(content)
    (batch,) = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    return batch


def _dump_column(column: Any) -> Blob:
    pa = library("pyarrow")
    return stream_of(pa.table({"": column}))


def _load_chunks(content: PartContent) -> Any:
    return table_in(content).column(0)


def _load_column(content: PartContent) -> Any:
    pa = library("pyarrow")
    found = table_in(content).column(0)
    return found.chunk(0) if found.num_chunks == 1 else pa.concat_arrays([*found.chunks, pa.nulls(0, found.type)])


def _same_table(left: Any, right: Any) -> bool:
    # By their bytes if they are not equal: NaN equals no NaN.
    is_same = type(left) is type(right) and left.schema.equals(right.schema, check_metadata=True)
    return is_same and bool(left.equals(right) or stream_of(left).chunks == stream_of(right).chunks)


def _same_column(left: Any, right: Any) -> bool:
    pa = library("pyarrow")
    is_same = type(left) is type(right) and left.type == right.type
    return is_same and _same_table(*(pa.table({"": column}) for column in (left, right)))


def _dump_frame(frame: Any) -> Blob:
    table = as_arrow(frame)
    if table is not None:
        return stream_of(table)
    stream = BytesIO()
    frame.write_ipc_stream(stream, compression="uncompressed")
    return Blob(stream.getvalue())


def _load_frame(content: PartContent) -> Any:
    pl = library("polars")
    if find_spec("pyarrow") is not None:
        try:
            return as_polars(table_in(content))
        except library("pyarrow").ArrowException:  # pyarrow lacks a type of polars; or polars raises the better error
            pass
    check_stream(content.buffer)
    return pl.read_ipc_stream(content.as_bytes())


def _dump_series(series: Any) -> list[Any]:
    return [series.name, _dump_frame(series.rename("").to_frame())]


def _load_series(dumped: Any) -> Any:
    name, content = dumped
    return _load_frame(content).to_series(0).rename(name)


def _same_frame(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left.schema == right.schema and bool(left.equals(right))


def _same_series(left: Any, right: Any) -> bool:
    is_like = type(left) is type(right) and left.dtype == right.dtype and left.name == right.name
    return is_like and bool(left.equals(right))


def _refuse_lazy(frame: Any) -> Any:
    raise CannotStore("a polars.LazyFrame is a query without a result", "write frame.collect()")


def _load_nothing(dumped: Any) -> Any:
    raise ValueError("no file has a lazy frame")


VALUE_CODECS: Final = TypeRegistry(
    {
        codec.name: codec
        for codec in (
            ValueCodec("pyarrow.Table", stream_of, table_in, _same_table),
            ValueCodec("pyarrow.RecordBatch", stream_of, _load_batch, _same_table),
            ValueCodec("pyarrow.ChunkedArray", _dump_column, _load_chunks, _same_column),
            ValueCodec("pyarrow.Array", _dump_column, _load_column, _same_column),
            ValueCodec("polars.DataFrame", _dump_frame, _load_frame, _same_frame),
            ValueCodec("polars.Series", _dump_series, _load_series, _same_series),
            ValueCodec("polars.LazyFrame", _refuse_lazy, _load_nothing, _same_frame),
        )
    }
)
