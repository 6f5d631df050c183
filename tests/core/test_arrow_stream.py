"""The bytes of an Arrow stream are checked before a library reads them."""

from io import BytesIO
from struct import pack
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from crystallize._core.arrow_stream import check_stream

TABLE = pa.table(
    {
        "a": [1, 2, None],
        "b": ["x", "y", "z"],
        "c": pa.array(["u", "v", "u"]).dictionary_encode(),
        "n": pa.nulls(3),
        "l": pa.array([[1], [2], []]),
    }
)


def stream(table: Any, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def polars_stream(compression: Any) -> bytes:
    sink = BytesIO()
    pl.DataFrame({"a": [1, 2] * 100, "c": pl.Series(["u", "v"] * 100, dtype=pl.Categorical)}).write_ipc_stream(
        sink, compression=compression
    )
    return sink.getvalue()


@pytest.mark.parametrize(
    "content", [stream(TABLE), stream(TABLE)[:-8], polars_stream("uncompressed"), stream(pa.table({}))]
)
def test_streams_that_are_fine(content: bytes) -> None:
    """A stream as the libraries write it passes, with its end and without."""
    check_stream(memoryview(content))


@pytest.mark.parametrize("content", [stream(TABLE, compression="zstd"), polars_stream("lz4"), polars_stream("zstd")])
def test_a_stream_that_is_compressed(content: bytes) -> None:
    """A compressed stream is refused, since a few bytes of it may become any number."""
    with pytest.raises(ValueError, match="it is compressed"):
        check_stream(memoryview(content))


def test_a_stream_of_nothing() -> None:
    """A column of nulls, which has no bytes, may not claim any number of rows."""
    with pytest.raises(ValueError, match=r"it claims 10,000,000 cells, and has \d+ bytes"):
        check_stream(memoryview(stream(pa.table({"n": pa.nulls(10**7)}))))


def test_a_message_that_is_cut() -> None:
    """A message that is longer than the stream, or that begins otherwise, is refused."""
    content = stream(TABLE)
    with pytest.raises(ValueError, match="longer than the stream"):
        check_stream(memoryview(content[:-200]))
    with pytest.raises(ValueError, match="does not begin"):
        check_stream(memoryview(b"\0" + content))


def test_a_batch_without_columns() -> None:
    """A batch whose table lacks its columns counts its rows alone."""
    # A message of type 3, whose header is at byte 28; this has one field, the number of rows, and no others.
    metadata = pack("<I", 16) + pack("<HHHHHH", 10, 12, 0, 4, 8, 0) + pack("<iI I", 12, 3, 0)
    batch = pack("<HHH", 6, 12, 4) + b"\0\0"
    metadata = metadata[:24] + pack("<I", len(batch) + 4) + batch + pack("<iq", len(batch), 5)
    content = pack("<II", 0xFFFFFFFF, len(metadata)) + metadata
    check_stream(memoryview(content))
