"""Bounds for the file of a run, which somebody else may have written."""

import gc
import os
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from crystallize import (
    DamagedRunError,
    FrozenContext,
    InvalidKeyError,
    Journal,
    JournalError,
    RunNotFoundError,
    UncopyableValueError,
    fork,
    load_run,
    merge,
)
from crystallize._core.codec import Stored
from crystallize._journal import database, untrusted_file
from crystallize._journal.database import insert, transaction, update
from crystallize._journal.event_bytes import MERGED, joined
from crystallize._journal.untrusted_file import RunConnection, bounded, damage_in
from crystallize.runs import verify_run

from .forged_runs import add_foreign, circle
from .journal_runs import older

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT max(x) FROM c"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a run that ended, with 50 keys."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, {f"k{at}": at for at in range(50)})
        ctx.artifacts.add("a.txt", b"hello")
        ctx.record("loss", 0.5)
    return journal.path


def change(path: Path, table: str, where: str, **changes: object) -> None:
    """Change a row of a run's file, and set its check right."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        update(connection, table, where, **changes)


def open_files(path: Path) -> list[str]:
    """Return the open files of this process that belong to a run."""
    links = [f"/proc/self/fd/{descriptor}" for descriptor in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.lexists(link) and path.stem in os.readlink(link)]


@pytest.mark.parametrize("act", [load_run, Journal.resume])
def test_a_kept_error_does_not_keep_the_file(path: Path, act: Callable[[Path], object]) -> None:
    """Whoever keeps the error of a damaged run keeps neither its files open nor a lock on them."""
    change(path, "entries", "key = 'k0'", digest="x")
    gc.disable()
    try:
        with pytest.raises(DamagedRunError) as kept:
            act(path)
        if Path("/proc/self/fd").exists():
            assert [] == open_files(path)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("UPDATE run SET drained = drained")
            connection.execute("PRAGMA journal_mode=DELETE")
    finally:
        gc.enable()
    assert "another digest" in str(kept.value)


def test_an_endless_read_is_interrupted(path: Path) -> None:
    """A read that takes more steps than the size of a file explains ends as damage."""
    with closing(database.connect(path)) as connection:
        with (
            pytest.raises(DamagedRunError, match="more steps than a file of its size can need"),
            transaction(path, connection),
            bounded(connection),
        ):
            connection.execute(ENDLESS).fetchone()
        assert (50,) == connection.execute("SELECT count(*) FROM entries").fetchone()


MEASURED = """
import resource, sys
from crystallize import DamagedRunError, load_run
from crystallize.runs import verify_run

def mebibytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

before = mebibytes()
try:
    load_run(sys.argv[1]).context
except DamagedRunError as error:
    print(mebibytes() - before, bool(verify_run(sys.argv[1])))
"""
"""Prints by how many MiB a process grows that loads and verifies a damaged run, and whether it does not verify."""


def make_a_bomb(path: Path) -> None:
    """Make a row of points that unpacks to a quarter of a GiB."""
    packing = zlib.compressobj(9)
    parts = [b'[["loss",0.5,{},null]', *[b" " * (1 << 20)] * 256, b"]"]
    content = b"".join([*map(packing.compress, parts), packing.flush()])
    change(path, "points", "count = 1", content=content)


def make_many_lists(path: Path) -> None:
    """Make a row of points that is parsed to more than a million lists."""
    change(path, "points", "count = 1", content=zlib.compress(b"[" + b"[]," * 1_300_000 + b"[]]"))


def add_an_endless_view(path: Path) -> None:
    add_foreign(path, "an endless view")


@pytest.mark.slow
@pytest.mark.parametrize("forge", [make_a_bomb, make_many_lists, add_an_endless_view, circle])
def test_a_small_file_takes_little_memory(path: Path, forge: Callable[[Path], None]) -> None:
    """A file of a few hundred KiB takes less than 200 MiB to be refused, whatever is in it."""
    forge(path)
    command = [sys.executable, "-c", MEASURED, str(path)]
    grown, is_damaged = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()

    assert path.stat().st_size < 1 << 19
    assert int(grown) < 200
    assert "True" == is_damaged


def test_a_read_that_is_not_read_to_its_end(path: Path) -> None:
    """Rows that nobody reads to their end keep nothing of a connection that is closed."""
    connection = database.connect(path)
    rows = database.rows(path, connection, "entries")
    next(rows)
    connection.close()
    del rows

    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")


def test_cursors_are_closed_with_their_connection() -> None:
    """A cursor that is left in the middle of its rows is closed with its connection."""
    connection = sqlite3.connect(":memory:", factory=RunConnection)
    cursor = connection.execute("SELECT 1 UNION ALL SELECT 2")
    connection.close()

    with pytest.raises(sqlite3.ProgrammingError):
        cursor.fetchone()


def pipe(file: Path) -> None:
    os.mkfifo(file)


def endless_device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def other_file(file: Path) -> None:
    file.with_suffix(".target").write_bytes(b"precious")
    file.symlink_to(file.with_suffix(".target"))


@pytest.mark.parametrize("ending", [".spool", ".db-wal", ".db-shm", ".db-journal"])
@pytest.mark.parametrize("make", [pipe, endless_device, other_file, Path.mkdir])
def test_no_file_beside_a_run(path: Path, ending: str, make: Callable[[Path], None]) -> None:
    """A pipe, a device, a link or a folder beside a run is refused before anything is read of it."""
    beside = path.with_suffix(ending)
    make(beside)
    for act in (load_run, Journal.resume):
        with pytest.raises(JournalError, match=f"'{beside.name}' beside it is not a regular file; move it away"):
            act(path)
    assert f"{path}: '{beside.name}' beside it is not a regular file; move it away" in verify_run(path)


@pytest.mark.parametrize("make", [pipe, endless_device, Path.mkdir])
def test_no_file_in_place_of_a_run(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe, a device or a folder is no run, and nobody waits for it."""
    make(tmp_path / "run-0001.db")
    for act in (load_run, Journal.resume, verify_run):
        with pytest.raises(RunNotFoundError):
            act(tmp_path / "run-0001.db")


def test_links_in_a_circle(tmp_path: Path) -> None:
    """A path whose links lead to one another is no run."""
    (tmp_path / "a.db").symlink_to(tmp_path / "b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    for act in (load_run, Journal.resume, verify_run):
        with pytest.raises(RunNotFoundError, match=r"a\.db"):
            act(tmp_path / "a.db")


def test_a_spool_of_any_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool that is larger than any is not read."""
    monkeypatch.setattr(untrusted_file, "_LARGEST_SPOOL", 1000)
    path.with_suffix(".spool").write_bytes(bytes(1001))

    with pytest.raises(DamagedRunError, match="its spool has 1,001 bytes"):
        load_run(path)


def test_a_column_of_another_type(path: Path) -> None:
    """A column whose values are of another type than its table says is damage."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        definition = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'artifacts'").fetchone()[0]
        schema = "UPDATE sqlite_schema SET sql = ? WHERE name = 'artifacts'"
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(schema, (definition.replace("STRICT", ""),))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        update(connection, "artifacts", "name = 'a.txt'", name=b"a.txt")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(schema, (definition,))

    with pytest.raises(DamagedRunError, match="a column has another type"):
        load_run(path)
    assert "a column has another type" in str(verify_run(path))


def test_rows_out_of_order(path: Path) -> None:
    """A row that does not come after the one before is damage."""
    shape = untrusted_file.row_shape("forks")
    shape.check(("a", 1, 1, 0))
    shape.check(("b", 2, 1, 0))
    with pytest.raises(ValueError, match="row 2 does not come after row 2"):
        shape.check(("c", 2, 1, 0))


FORGED: dict[str, tuple[str, str, dict[str, object]]] = {
    "is wrong: run 1 of '../run'": ("run", "id = 1", {"name": "../run"}),
    "is wrong: run 0 of 'run'": ("run", "id = 1", {"number": 0}),
    "is wrong: run 1 of 'run'": ("run", "id = 1", {"id": -1}),
    "its processes have the numbers [2]": ("sessions", "session = 1", {"session": 2}),
    "process 1 ended as 'won'": ("sessions", "session = 1", {"outcome": "won"}),
    "an artifact is called '../../.bashrc'": ("artifacts", "name = 'a.txt'", {"name": "../../.bashrc"}),
    "a value is stored in an unknown way, 'pickle'": ("entries", "key = 'k0'", {"how": "pickle"}),
    "a row of points cannot be read": ("points", "count = 1", {"content": b"none"}),
}


@pytest.mark.parametrize("reason", FORGED)
def test_forged_rows(path: Path, reason: str) -> None:
    """Rows that make no sense, and whose checks are right, are damage."""
    table, where, changes = FORGED[reason]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
    change(path, table, where, **changes)

    with pytest.raises(DamagedRunError) as raised:
        load_run(path).context  # the points are read when it is made
    assert reason in str(raised.value)
    assert reason in "\n".join(verify_run(path))


DEEP = "[" * 150 + "]" * 150


@pytest.mark.parametrize(
    ("json", "reason"),
    [
        ("[1,2", "the value of key 'k0' cannot be restored (ValueError: EOF while parsing a list"),
        ("[" * 300, "the value of key 'k0' cannot be restored (ValueError: recursion limit exceeded"),
        ("1" * 5000, "the value of key 'k0' cannot be restored (ValueError"),
        ('"\\ud800"', "the value of key 'k0' cannot be restored (ValueError"),
        (DEEP, "it is nested more than 100 levels deep"),
    ],
    ids=["cut short", "endless", "a large number", "a surrogate", "deep"],
)
def test_forged_values(path: Path, json: str, reason: str) -> None:
    """A value whose JSON is none, or none that a context would take, is damage, and `verify` says so."""
    change(path, "entries", "key = 'k0'", json=json, digest=Stored("json", "int", json.encode()).digest)
    run = load_run(path)
    with pytest.raises(DamagedRunError) as raised:
        run.context  # its values are restored when it is made
    assert reason in str(raised.value)
    assert reason in str(verify_run(path))
    with Journal.resume(path) as journal, pytest.raises(DamagedRunError):
        journal.context(FrozenContext)


@pytest.mark.parametrize("note", ['["json","tuple","bm9uZQ=="]', '"unknown"', '["json"]', "5"])
def test_forged_notes_of_points(path: Path, note: str) -> None:
    """A point whose note does not say how to restore it is damage."""
    content = zlib.compress(b'[["loss",{"crystallize.npy":0},{},null,[%s,{}]]]' % note.encode())
    change(path, "points", "count = 1", content=content)

    with pytest.raises(DamagedRunError, match="a point of metric 'loss' cannot be restored"):
        load_run(path).context  # as above
    assert "a point of metric 'loss' cannot be restored" in str(verify_run(path))


@pytest.mark.parametrize(
    "point",
    [
        *(b"[1,0.5,{},null]", b'["a",0.5,{},5]', b"[[],0.5,{},null]", b'["a",0.5,{},{}]'),
        *(b'["",0.5,{},null]', b'["a\\u0000b",0.5,{},null]', b'["\\ud800",0.5,{},null]'),
    ],
)
def test_forged_sources_of_points(path: Path, point: bytes) -> None:
    """A point whose metric or step is no text, or whose metric has a name that no context takes, is damage."""
    change(path, "points", "count = 1", content=zlib.compress(b"[%s]" % point))

    with pytest.raises(DamagedRunError):
        load_run(path).context  # as above
    assert () != verify_run(path)


def test_forged_values_of_an_attempt_that_was_done_again(tmp_path: Path) -> None:
    """A value of a step that was done again is verified too, as a watcher of the run reads it."""
    first = Journal.start(tmp_path, "run")
    with suppress(OSError), first, first.context(FrozenContext).step("fit") as step:
        step["rows"] = 5
        raise OSError("disk")
    with Journal.resume(first.path) as journal, journal.context(FrozenContext).step("fit") as step:
        step["rows"] = 6
    digest = Stored("json", "int", b"[1").digest
    change(first.path, "entries", "session = 1", json="[1", digest=digest)

    assert 6 == load_run(first.path).values["rows"]
    (problem,) = verify_run(first.path)
    assert problem.startswith("the value of key 'rows' cannot be restored (ValueError: EOF")


def test_a_forged_type_of_a_result(tmp_path: Path) -> None:
    """A task that returned something whose type is no name is damage."""
    with Journal.start(tmp_path, "run") as journal:
        child = fork(ctx := journal.context(FrozenContext), "branch").open()
        merge(ctx, child.delta())
    result = joined(MERGED, [5, Stored("json", "", b"1").digest, None], b"1")
    change(journal.path, "merges", "branch = 'branch'", result=result, how="json")

    with pytest.raises(DamagedRunError, match="the type that the task of branch 'branch' returned is not a name"):
        load_run(journal.path)


def test_a_name_that_is_not_unicode(path: Path) -> None:
    """Bytes in the tables' definitions that are no text are damage."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE steps", b"CREATE TABLE \xff\xbceps"))

    assert () != verify_run(path)
    with pytest.raises(DamagedRunError):
        load_run(path)


def test_work_of_a_process_that_is_not_there(tmp_path: Path) -> None:
    """A step of a process that is not there is damage."""
    with Journal.start(tmp_path, "run") as journal, journal.context(FrozenContext).step("fit"):
        pass
    change(journal.path, "steps", "name = 'fit'", session=7)

    with pytest.raises(DamagedRunError, match="process 7 did work, but is not in the file"):
        load_run(journal.path)


def test_an_end_without_a_record(tmp_path: Path) -> None:
    """A step that has an end and no record is damage."""
    with Journal.start(tmp_path, "run") as journal, journal.context(FrozenContext).step("fit"):
        pass
    change(journal.path, "steps", "name = 'fit'", record=None)

    with pytest.raises(DamagedRunError, match="step 'fit' has a record without an end, or an end without a record"):
        load_run(journal.path)


def test_a_table_that_is_gone(path: Path) -> None:
    """A file that lacks a table says which."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE failures")

    with pytest.raises(DamagedRunError, match="its tables are not those of a run: it lacks failures"):
        load_run(path)


def test_a_file_of_the_first_version(path: Path) -> None:
    """A file of an older version, which lacks a table of the newest, is read, and migrated when it is resumed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(older(1))

    assert () == verify_run(path)
    assert 50 == len(load_run(path).values)
    Journal.resume(path).close()
    assert () == verify_run(path)


def test_more_problems_than_one_can_read(path: Path) -> None:
    """Of a file that is wrong in each row only so many problems are named."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # one transaction, as each takes the disk a while
        for at in range(1100):
            insert(connection, "contents", f"{at}", b"")
        connection.execute("COMMIT")

    assert 1000 == len(verify_run(path))


def test_an_error_of_ours_is_no_damage(path: Path) -> None:
    """An error of ours is raised as it is where content that makes no sense is damage, though it is a LookupError."""
    missing = RunNotFoundError(str(path), "there is no such run")
    with pytest.raises(RunNotFoundError) as raised, damage_in(path):
        raise missing
    assert missing is raised.value

    with pytest.raises(DamagedRunError, match="KeyError: 'k'"), damage_in(path):
        raise KeyError("k")
    refused = (UncopyableValueError("'k'", "list", "nested too deeply"), InvalidKeyError("'a b'", "has no end"))
    for error in refused:
        # No context has taken such a value, or such a name.
        with pytest.raises(DamagedRunError, match=type(error).__name__), damage_in(path):
            raise error
