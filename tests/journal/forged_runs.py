"""Files of runs that somebody else wrote: small runs of each kind, and ways to forge them with all checks set right."""

import json
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from crystallize import FrozenContext, Journal, Metric, MetricSchema, fan_out
from crystallize._core.codec import Stored
from crystallize._journal.database import check_of, insert, salt_of
from crystallize._journal.event_bytes import MERGED, joined, parted
from crystallize._journal.migrations import ORDERS

from .journal_runs import copied

ESCAPE = "\x1b[31mred\x07"


class LossMetrics(MetricSchema):
    """A metric whose declaration is in the file."""

    loss = Metric(float, unit="nats", goal="minimize", description="of the batch")


def task(ctx: FrozenContext[Any], item: int) -> dict[str, Any]:
    """Do a little of each kind in a branch, or fail."""
    if item < 0:
        raise ValueError(f"{item} is negative")
    ctx.record("loss", item / 2)
    ctx.artifacts.add(f"of {item}", b"branch")
    ctx[f"key{item}"] = item
    return {"item": item, "found": np.arange(3)}


def make_runs(folder: Path) -> dict[str, Path]:
    """Make a run that was resumed and finished, and one whose spool has what its database has not."""
    journal = Journal.start(folder / "made", "run")
    ctx = journal.context(FrozenContext, {"lr": 0.1, "text": "=1+1", "array": np.arange(5)}, metrics=LossMetrics)
    with ctx.step("load") as step:
        step["rows"] = [1, {"a": None}, "b"]
        step.get("absent")
        step.artifacts.add("a.txt", b"hello")
        step.artifacts.add("large.bin", bytes((1 << 20) + 1))
        for at in range(5):
            step.record("loss", at / 2)
    ctx.record("loss", 0.25)
    with ThreadPoolExecutor(1) as executor, suppress(Exception):
        fan_out(ctx, task, [1, -1], executor=executor)
    journal.flush()
    vars(journal)["flush"] = lambda: None
    with ctx.step("fit") as step:
        step["accuracy"] = step["lr"] + 0.8 + ("b.txt" in step.artifacts) + step.artifacts["a.txt"].size
        step.record("loss", 3.5)
        died = copied(journal, folder / "died")
        shutil.copytree(journal.object_folder.path, died.parent / "objects")
    del vars(journal)["flush"]
    journal.close()
    with Journal.resume(copied_file(died, folder / "resumed")) as resumed:
        again = resumed.context(FrozenContext)
        with again.step("fit") as step:
            step["accuracy"] = step["lr"] + 0.8
            step.record("noise", np.full(2, 0.5), {"epoch": 1, "at": (1, 2)})
            step.record("seen", 5, {"epoch": 1, "name": "x"})
    return {"died": died, "finished": resumed.path}


def copied_file(path: Path, folder: Path) -> Path:
    """Copy a run whose process has ended."""
    shutil.copytree(path.parent, folder, dirs_exist_ok=True)
    return folder / path.name


WORDS: Sequence[str] = (
    *("", "x", ESCAPE, "a\0b", "../../x", "=1+1", "a" * 5000, "load", "run-1", "\u202e", "\ud7ff", "é" * 100, "null"),
    *("2026-01-01", "9999-12-31T23:59:59+23:59", "2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00"),
    *("json", "schema", "python", "secret", "none", "finished", "failed", "fit", "task-0", "loss", "NaN", "\n\r\t"),
)
NUMBERS: Sequence[int] = (0, 1, 2, 3, 7, -1, -(2**63), 2**63 - 1, 2**62, 1000, 10**6)
JSONS: Sequence[str] = (
    *(
        "",
        "[",
        "{}",
        "[]",
        "null",
        "5",
        "NaN",
        "Infinity",
        '"\\ud800"',
        '"\\u001b[31m"',
        "1" * 5000,
        "1" * 4200,
        "1e999",
    ),
    *(
        "[" * 300 + "]" * 300,
        '{"a":' * 150 + "1" + "}" * 150,
        '{"a":1,"a":2}',
        "[1,2",
        "\x00",
        "-0",
        "1e999",
        "[[[]],{}]",
    ),
    *('{"crystallize.npy":0}', '{"crystallize.npy":99}', '{"crystallize.scalar":0}', '{"crystallize.npy":"a"}', "true"),
)


def odd(random: Random) -> Any:
    """Draw a value of JSON that may not belong where it is put."""
    return random.choice(
        (None, True, 5, -1, 2**70, 10**400, 0.5, float("nan"), float("inf"), [], {}, [[]], {"a": [1]}, *WORDS)
    )


def changed(random: Random, value: Any) -> Any:
    """Change a value of JSON somewhere."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice([*value])
        how = random.random()
        if how < 0.15:
            return {key: item for key, item in value.items() if key != name}
        if how < 0.3:
            return value | {random.choice(("later", *WORDS)): odd(random)}
        return value | {name: changed(random, value[name])}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        how = random.random()
        if how < 0.1:
            return value[:at] + value[at + 1 :]
        if how < 0.2:
            return [*value, odd(random)]
        return [*value[:at], changed(random, value[at]), *value[at + 1 :]]
    return odd(random)


def changed_json(random: Random, text: str | bytes) -> str:
    """Change JSON as text."""
    if random.random() < 0.3:
        return random.choice(JSONS)
    return json.dumps(changed(random, json.loads(text)))


def changed_points(random: Random, content: bytes) -> bytes:
    """Change a row of points."""
    text = changed_json(random, zlib.decompress(content)).encode()
    if random.random() < 0.1:
        return zlib.compress(b"[" + b" " * (50 << 20) + text[1:])
    packed = zlib.compress(text)
    return random.choice((packed, packed, packed, packed, packed[:-3], packed + b"more", text))


def changed_npy(random: Random, content: bytes) -> bytes:
    """Change an array, above all its header."""
    shapes = (b"(5,), }", b"(-1,),}", b"(9**9,)", b"(999,),", b"(), }  ", b"(1e9,),", b"(0,)*99")
    types = (b"<i8", b"|O8", b"|V0", b"<U0", b"<M8", b"<f2", b"|b1")
    return random.choice(
        (
            content.replace(b"(5,), }", random.choice(shapes)),
            content.replace(b"<i8", random.choice(types)),
            content.replace(b"<i8", b"|V0").replace(b"(5,), }", b"(9**9,)"),
            content[: random.randrange(len(content))],
            b"",
        )
    )


def changed_result(random: Random, content: bytes) -> bytes:
    """Change what the task of a branch returned, and set its digest right."""
    (kind, _, returns), (text, *arrays) = parted(content)
    text = changed_json(random, text).encode()
    head = [odd(random) if random.random() < 0.2 else kind, Stored("json", "", text, tuple(arrays)).digest, returns]
    return joined(MERGED, head, text, *arrays)


_CONTENTS: dict[tuple[str, str], Callable[[Random, Any], Any]] = {
    ("points", "content"): changed_points,
    ("arrays", "npy"): changed_npy,
    ("merges", "result"): changed_result,
    ("entries", "json"): changed_json,
    ("steps", "record"): changed_json,
    ("failures", "record"): changed_json,
    ("sessions", "origin"): changed_json,
    ("sessions", "fingerprints"): changed_json,
}


def _forged_value(random: Random, table: str, column: str, value: Any) -> Any:
    how = random.random()
    if (table, column) in _CONTENTS and value is not None and how < 0.8:
        return _CONTENTS[table, column](random, value)
    if how < 0.1:
        return random.choice((None, 0.5, b"\xff\x00", 5, "text"))
    if isinstance(value, int):
        return random.choice((*NUMBERS, value + 1, value - 1))
    return random.choice(WORDS) if isinstance(value, str) or value is None else random.randbytes(9)


def _change_row(random: Random, connection: sqlite3.Connection) -> None:
    columns = [name for name in _CONTENTS if random.random() < 0.5]
    table = random.choice(columns)[0] if columns and random.random() < 0.6 else random.choice([*ORDERS])
    cursor = connection.execute(f'SELECT rowid, * FROM "{table}"')
    names = [column[0] for column in cursor.description][1:-1]
    found = cursor.fetchall()
    if not found:
        return
    rowid, *row = random.choice(found)
    likely = [name for name in names if (table, name) in _CONTENTS]
    name = random.choice(likely) if likely and random.random() < 0.7 else random.choice(names)
    at = names.index(name)
    before = row[at]
    row[at] = _forged_value(random, table, name, before)
    if random.random() < 0.05:
        connection.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (rowid,))
        return
    if table == "entries" and "digest" in names:
        arrays = [npy for (npy,) in connection.execute("SELECT npy FROM arrays WHERE sequence = ?", (row[0],))]
        with suppress(TypeError, AttributeError):
            row[names.index("digest")] = Stored(row[5], "", row[7].encode(), tuple(arrays)).digest
    if table == "arrays":
        _set_digest(connection, row[0], row[2])
    if random.random() < 0.02:
        insert(connection, table, *row[:-1])
        return
    marks = ", ".join(f'"{name}" = ?' for name in (*names, "check"))
    check = check_of(row[:-1], salt_of(connection, table))
    connection.execute(f'UPDATE "{table}" SET {marks} WHERE rowid = ?', (*row[:-1], check, rowid))


def _set_digest(connection: sqlite3.Connection, position: Any, npy: Any) -> None:
    """Set the digest of the entry right whose array was changed."""
    found = connection.execute("SELECT rowid, * FROM entries WHERE sequence = ?", (position,)).fetchone()
    if found is None or not isinstance(npy, bytes):
        return
    rowid, *row = found
    row[8] = Stored(row[5], row[6], row[7].encode(), (npy,)).digest
    check = check_of(row[:-1], salt_of(connection, "entries"))
    connection.execute('UPDATE entries SET digest = ?, "check" = ? WHERE rowid = ?', (row[8], check, rowid))


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c)"

FOREIGN: dict[str, str] = {
    "an endless view": f"ALTER TABLE points RENAME TO p; CREATE VIEW points AS {ENDLESS} SELECT x AS sequence, 1 AS "
    "session, 1 AS count, x'' AS content, 0 AS 'check' FROM c",
    "a view of zeros": "ALTER TABLE entries RENAME TO e; CREATE VIEW entries AS SELECT sequence, session, step, key, "
    "is_input, how, type, CAST(zeroblob(900000000) AS TEXT) AS json, digest, 'check' FROM e",
    "a view beside": f"CREATE VIEW more AS {ENDLESS} SELECT x FROM c",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON sessions BEGIN DELETE FROM points; END",
    "an escape in a trigger": f"CREATE TRIGGER t BEFORE INSERT ON sessions BEGIN SELECT RAISE(ABORT, '{ESCAPE}'); END",
    "an escape in a name": f'CREATE TABLE "{ESCAPE}" (a UNIQUE)',
    "an index": "CREATE INDEX i ON points (count)",
    "an index with an expression": "CREATE INDEX i ON entries (hex(json))",
    "a virtual table": "CREATE VIRTUAL TABLE f USING fts5(x)",
    "a column": "ALTER TABLE points ADD COLUMN more TEXT",
    "a generated column": "ALTER TABLE points ADD COLUMN more BLOB AS (zeroblob(900000000))",
    "a column that has another name": "ALTER TABLE run RENAME COLUMN number TO numbers",
    "a table that is gone": "DROP TABLE failures",
    "a schema that is none": f"PRAGMA writable_schema=ON; INSERT INTO sqlite_schema VALUES ('table', 'q{ESCAPE}', "
    f"'q{ESCAPE}', 0, 'CREATE TABLE {ESCAPE} broken ((')",
    "a definition of a megabyte": "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = sql || "
    "replace(hex(zeroblob(500000)), '0', ' ') WHERE name = 'points'",
    "a type that is none": "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET type = 5 WHERE name = 'points'",
    "tables in one place": "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM "
    "sqlite_schema WHERE name = 'points') WHERE name = 'entries'",
    "statistics": "ANALYZE",
}
"""Statements that add foreign things to a run's file, or take its own away."""


def add_foreign(path: Path, what: str) -> None:
    """Add something foreign to the file of a run."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(FOREIGN[what])


def circle(path: Path) -> None:
    """Make the first page of the points an inner one whose children are all itself or one other: rows without end."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'points'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    pages, start = len(content) // size, (root - 1) * size
    leaf = bytes(content[start : start + size])

    def inner(child: int) -> bytes:
        cells, cell = 300, struct.pack(">I", child) + b"\x01"
        at = size - cells * len(cell)
        header = struct.pack(">BHHHBI", 5, 0, cells, at, 0, child)
        pointers = b"".join(struct.pack(">H", at + number * len(cell)) for number in range(cells))
        return (header + pointers).ljust(at, b"\0") + cell * cells

    chain = [inner(pages + 2 + level) for level in range(10)]
    content[start : start + size] = inner(pages + 1)
    for page in (*chain, leaf):
        content += page
    content[28:32] = struct.pack(">I", len(content) // size)
    path.write_bytes(content)


def forge(random: Random, path: Path) -> str:
    """Forge the file of a run in one to three places, with the checks of its rows set right; say how."""
    how = random.random()
    if how < 0.06:
        what = random.choice([*FOREIGN])
        add_foreign(path, what)
        return what
    if how < 0.08:
        circle(path)
        return "a circle of pages"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute("PRAGMA foreign_keys=OFF")
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            # SQLite refuses some types, and a second change may meet what the first has left.
            with suppress(sqlite3.Error, zlib.error, struct.error, ArithmeticError, LookupError, TypeError, ValueError):
                _change_row(random, connection)
    return "rows"
