"""Check the bytes of an Arrow stream before a library reads them: that they ask for no more memory than they have."""

from collections.abc import Iterator
from struct import unpack_from
from typing import Final

_CONTINUATION: Final = 0xFFFFFFFF
_RECORDS: Final = 3
_DICTIONARY: Final = 2
"""The types of the messages that have a body."""

_FREE_CELLS: Final = 1 << 20
_CELLS_PER_BYTE: Final = 8
"""A column of booleans has a bit in each row; a column of nulls has nothing at all."""


def check_stream(content: memoryview) -> None:
    """Raise ValueError if a stream is compressed, or has many more cells than bytes."""
    cells = 0
    for metadata in _messages(content):
        root = _int(metadata, 0)
        kind = metadata[_field(metadata, root, 1)]
        if kind not in (_RECORDS, _DICTIONARY):
            continue
        batch = _table(metadata, _field(metadata, root, 2))
        if kind == _DICTIONARY:
            batch = _table(metadata, _field(metadata, batch, 1))
        if _field(metadata, batch, 3):
            raise ValueError("it is compressed, and only streams that are not can be read")
        cells += _cells(metadata, batch)
    if cells > max(_FREE_CELLS, _CELLS_PER_BYTE * len(content)):
        raise ValueError(f"it claims {cells:,} cells, and has {len(content):,} bytes")


def _messages(content: memoryview) -> Iterator[memoryview]:
    """Return the metadata of each message, which is a FlatBuffer."""
    at = 0
    while at < len(content):
        mark, size = unpack_from("<II", content, at)
        if mark != _CONTINUATION:
            raise ValueError("a message does not begin as those of an Arrow stream")
        if size == 0:
            return
        metadata = content[at + 8 : at + 8 + size]
        body = _field(metadata, _int(metadata, 0), 3)
        length = unpack_from("<q", metadata, body)[0] if body else 0
        if length < 0 or at + 8 + size + length > len(content):
            raise ValueError("a message is longer than the stream")
        yield metadata
        at += 8 + size + length


def _cells(metadata: memoryview, batch: int) -> int:
    """Return the number of cells in a batch, those of nested columns included."""
    length = _field(metadata, batch, 0)
    rows = int(unpack_from("<q", metadata, length)[0]) if length else 0
    nodes = _field(metadata, batch, 1)
    if not nodes:
        return rows
    vector = nodes + _int(metadata, nodes)
    lengths = [int(unpack_from("<q", metadata, vector + 4 + 16 * at)[0]) for at in range(_int(metadata, vector))]
    return max(rows, sum(map(abs, lengths)))


def _field(metadata: memoryview, table: int, number: int) -> int:
    """Return where a field of a table is; 0 if the table lacks it."""
    entries = table - unpack_from("<i", metadata, table)[0]
    at = 4 + 2 * number
    if entries < 0 or at >= unpack_from("<H", metadata, entries)[0]:
        return 0
    offset = int(unpack_from("<H", metadata, entries + at)[0])
    return table + offset if offset else 0


def _table(metadata: memoryview, at: int) -> int:
    """Return where the table is to which a field refers."""
    return at + _int(metadata, at)


def _int(metadata: memoryview, at: int) -> int:
    return int(unpack_from("<I", metadata, at)[0])
