"""The rows of a small database, read from its bytes, which takes a tenth of the time that SQLite takes to open it.

SQLite parses the definitions of all tables each time it opens a file, and a folder may have ten thousand. This reads
the pages of "Database File Format" in SQLite's documentation, as far as a run needs them. It only succeeds: anything
unusual raises an error, and then SQLite reads the file. `tests/journal/test_table_pages.py` compares the two.
"""

from io import SEEK_END, RawIOBase
from struct import Struct
from typing import Any, Final

_SHORT, _INT = Struct(">H"), Struct(">I")
_HEADER: Final = 100
"""The bytes before the first page's own content."""
_AT_ONCE: Final = 1 << 17
"""The bytes that are read when a file is opened: the first pages of all tables are there."""
_LEAF: Final = 13
_INNER: Final = 5
_MAGIC: Final = b"SQLite format 3\0"
_DEEPEST: Final = 8
"""Levels of a tree of pages in a small file."""
_SIZES: Final = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
"""The bytes of a number, by the kind of the number."""


class TablePages:
    """The pages of a database file, each read when it is needed."""

    def __init__(self, file: RawIOBase) -> None:
        """Take the file; raise ValueError if it is no such file."""
        self._file = file
        self._first = head = file.read(_AT_ONCE) or b""
        if len(head) < _HEADER or head[:16] != _MAGIC or _INT.unpack_from(head, 56)[0] != 1:
            raise ValueError("this is no database in UTF-8")
        self._size: int = _SHORT.unpack_from(head, 16)[0]
        if self._size < 512 or head[20]:
            raise ValueError("its pages are of an unusual size")
        self.version: int = _INT.unpack_from(head, 60)[0]
        self.application: int = _INT.unpack_from(head, 68)[0]
        self.length: int = file.seek(0, SEEK_END)
        self._left = self.length // self._size
        """The number of pages that may still be read: a damaged file may refer to pages in circles."""

    def schema(self) -> bytes:
        """Return the pages that define the tables. If they are those of another file, so are the tables' places."""
        return b"".join(page for page, _ in self._leaves(1))

    def rows(self, root: int) -> list[tuple[int, list[Any]]]:
        """Return the rows of a table whose first page this is, each with its row id."""
        found = []
        for page, header in self._leaves(root):
            (count,) = _SHORT.unpack_from(page, header + 3)
            for at in range(header + 8, header + 8 + 2 * count, 2):
                found.append(self._row(page, _SHORT.unpack_from(page, at)[0]))
        return found

    def _page(self, number: int) -> bytes:
        self._left -= 1
        if number < 1 or self._left < 0:
            raise ValueError("its pages refer to each other in circles")
        start = (number - 1) * self._size
        page: bytes | None = self._first[start : start + self._size]
        if not page:
            self._file.seek(start)
            page = self._file.read(self._size)
        if page is None or len(page) != self._size:
            raise ValueError(f"page {number} is cut short")
        return page

    def _leaves(self, number: int, depth: int = 0) -> list[tuple[bytes, int]]:
        """Return each page with rows, and where its header is in it."""
        page = self._page(number)
        header = _HEADER if number == 1 else 0
        kind = page[header]
        if kind == _LEAF:
            return [(page, header)]
        if kind != _INNER or depth > _DEEPEST:
            raise ValueError(f"page {number} is no page of a table")
        (count,) = _SHORT.unpack_from(page, header + 3)
        cells = (_SHORT.unpack_from(page, at)[0] for at in range(header + 12, header + 12 + 2 * count, 2))
        numbers = [*(_INT.unpack_from(page, cell)[0] for cell in cells), _INT.unpack_from(page, header + 8)[0]]
        return [leaf for inner in numbers for leaf in self._leaves(inner, depth + 1)]

    def _row(self, page: bytes, at: int) -> tuple[int, list[Any]]:
        size, at = _varint(page, at)
        number, at = _varint(page, at)
        most = self._size - 35
        if size <= most:
            return number, _columns(page, at)
        least = (self._size - 12) * 32 // 255 - 23
        inside = least + (size - least) % (self._size - 4)
        inside = inside if inside <= most else least
        pieces = [page[at : at + inside]]
        (following,) = _INT.unpack_from(page, at + inside)
        left = size - inside
        while left > 0:
            overflow = self._page(following)
            pieces.append(overflow[4 : 4 + left])
            left -= self._size - 4
            (following,) = _INT.unpack_from(overflow)
        return number, _columns(b"".join(pieces), 0)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to nine bytes, and where the bytes after it are."""
    first = content[at]
    if first < 128:
        return first, at + 1
    found = first & 127
    for place in range(at + 1, at + 8):
        byte = content[place]
        found = found << 7 | byte & 127
        if byte < 128:
            return found, place + 1
    raise ValueError("a number has nine bytes")


def _columns(content: bytes, start: int) -> list[Any]:
    """Return the columns of a row."""
    size, at = _varint(content, start)
    end = place = start + size
    found: list[Any] = []
    while at < end:
        kind = content[at]
        if kind < 128:
            at += 1
        else:
            kind, at = _varint(content, at)
        if kind >= 12:
            length = (kind - 12) >> 1
            data = content[place : place + length]
            if len(data) != length:
                raise ValueError("a row is cut short")
            found.append(data.decode() if kind & 1 else data)
        else:
            # No table of a run has floats, which are kind 7.
            length = _SIZES[kind]
            data = content[place : place + length]
            found.append(None if kind == 0 else kind - 8 if length == 0 else int.from_bytes(data, "big", signed=True))
        place += length
    return found
