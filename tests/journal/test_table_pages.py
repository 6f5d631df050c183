"""The rows of a database, read from its pages."""

import sqlite3
from contextlib import closing
from io import BytesIO
from typing import Any

import pytest

from crystallize._journal.table_pages import TablePages

NUMBERS = [0, 1, -1, 127, -128, 30_000, -40_000, 8_000_000, -9_000_000, 2**31 - 1, 2**40, -(2**47), 2**62, -(2**63)]


def database(rows: int = 0, **settings: int) -> bytearray:
    with closing(sqlite3.connect(":memory:")) as connection:
        for name, value in settings.items():
            connection.execute(f"PRAGMA {name} = {value}")
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT, c BLOB)")
        for number in NUMBERS:
            connection.execute("INSERT INTO t VALUES (?, NULL, ?)", (number, bytes(3)))
        for length in (0, 1, 400, 3000, 4060, 4061, 4100, 8200, 20_000, 40_000)[:rows]:
            connection.execute("INSERT INTO t VALUES (?, ?, ?)", (length, "é" * length, b"x" * length))
        connection.executemany("INSERT INTO t VALUES (1, 'text', x'00')", [()] * rows * 10)
        connection.commit()
        return bytearray(connection.serialize())


def pages_of(content: bytes | bytearray) -> TablePages:
    file: Any = BytesIO(content)
    return TablePages(file)


@pytest.mark.parametrize("size", [512, 4096, 32_768])
def test_equals_sqlite(size: int) -> None:
    """Rows are the same as SQLite reads them: numbers of all sizes, texts, bytes, also over several pages."""
    content = database(10, page_size=size, user_version=7, application_id=9)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(bytes(content))
        expected = connection.execute("SELECT rowid, a, b, c FROM t").fetchall()
    pages = pages_of(content)

    assert (7, 9, len(content)) == (pages.version, pages.application, pages.length)
    assert expected == [(number, *row) for number, row in pages.rows(2)]
    assert pages.schema() == pages_of(content).schema()


@pytest.mark.parametrize(
    ("at", "new", "reason"),
    [
        (0, b"x", "this is no database in UTF-8"),
        (56, b"\0\0\0\2", "this is no database in UTF-8"),
        (16, b"\0\1", "unusual size"),
        (20, b"\x20", "unusual size"),
        (4096, b"\x0a", "no page of a table"),
    ],
)
def test_refuses(at: int, new: bytes, reason: str) -> None:
    """Anything unusual is refused."""
    content = database()
    content[at : at + len(new)] = new

    with pytest.raises(ValueError, match=reason):
        [*pages_of(content).rows(2)]


def test_refuses_circles() -> None:
    """Pages that refer to each other in circles end in an error."""
    content = database()
    content[4096:4108] = b"\x05\0\0\0\0\0\0\0\0\0\0\2"
    with pytest.raises(ValueError, match="circles"):
        [*pages_of(content).rows(2)]
    content += bytes(4096 * 20)
    with pytest.raises(ValueError, match="no page of a table"):
        [*pages_of(content).rows(2)]


def test_refuses_what_is_cut_short() -> None:
    """A page, a row or a number that is cut short ends in an error."""
    content = database()
    (first,) = (int.from_bytes(content[4104:4106], "big"),)
    cell = 4096 + first
    with pytest.raises(ValueError, match="page 2 is cut short"):
        [*pages_of(content[:5000] + bytes(0)).rows(2)]
    with pytest.raises(ValueError, match="nine bytes"):
        [*pages_of(content[:cell] + b"\xff" * 9 + content[cell + 9 :]).rows(2)]
    changed = content.copy()
    changed[cell + 5] = 127  # the length of the blob
    changed[4104:4106] = b"\x0f\xf0"
    changed[4096 + 0xFF0 : 8192] = b"\x0e\1\2\x7f" + bytes(12)
    with pytest.raises(ValueError, match="a row is cut short"):
        [*pages_of(changed).rows(2)]
