"""Runs with a write-ahead log in a folder in which SQLite cannot use it: they are read through a copy, and resumed."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal, JournalError, load_run
from crystallize._base import file_system
from crystallize._journal import database_connection
from crystallize._journal.database import connect
from crystallize._journal.untrusted_file import RunConnection
from crystallize.runs import verify_run


def killed(folder: Path) -> Path:
    """Return a run whose process was killed: all its files are there."""
    with Journal.start(folder.with_name("writing"), "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        journal.flush()
        shutil.copytree(journal.path.parent, folder)
    return folder / journal.path.name


@pytest.fixture(name="temporary")
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(name="moved")
def _moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was killed on a local disk, in a folder that counts as that of a network file system from now on."""
    path = killed(tmp_path / "runs")
    monkeypatch.setattr(file_system, "file_system_of", lambda path: "fuse.sshfs")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_reading_a_moved_run(moved: Path, temporary: Path) -> None:
    """Readers find everything in the log, change nothing in the folder, and leave no copy."""
    before = contents(moved.parent)
    assert moved.with_name("run-0001.db-wal").stat().st_size > 0

    assert {"lr": 0.1} == load_run(moved).values
    assert () == verify_run(moved)
    assert before == contents(moved.parent)
    assert [] == [*temporary.iterdir()]


def test_resuming_a_moved_run(moved: Path) -> None:
    """A resumed run has no log any more, and others can read it while it is written."""
    with Journal.resume(moved) as journal:
        ctx = journal.context(FrozenContext)
        ctx["new"] = 2
        journal.flush()
        assert not moved.with_name("run-0001.db-wal").exists()
        assert {"lr": 0.1, "new": 2} == load_run(moved).values
    assert "finished" == load_run(moved).status
    assert [moved.name] == [file.name for file in moved.parent.iterdir()]


def test_resuming_without_shared_memory(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite makes no file of shared memory where it would be unsafe, not even to get rid of the log."""
    shared = moved.with_name("run-0001.db-shm")
    shared.unlink()
    seen: list[bool] = []
    monkeypatch.setattr(
        database_connection, "set_up_journal", watching(database_connection.set_up_journal, shared, seen)
    )
    monkeypatch.setattr("crystallize._journal.database.set_up_journal", database_connection.set_up_journal)
    Journal.resume(moved).close()

    assert [False, False] == seen


def watching(real: Callable[..., None], file: Path, seen: list[bool]) -> Callable[..., None]:
    """Return a function that first notes whether a file exists."""

    def function(*given: Any) -> None:
        seen.append(file.exists())
        real(*given)

    return function


class Unmapped(RunConnection):
    """A connection in a folder in which no file can be mapped, which SQLite finds when it opens the log."""

    refused = "runs"
    """The name of the folder."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Fail as SQLite does."""
        cursor = super().execute(sql, parameters)
        if sql == "PRAGMA application_id" and self._folder().name == self.refused:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_SHMMAP"
            raise error
        return cursor

    def _folder(self) -> Path:
        return Path(super().execute("PRAGMA database_list").fetchone()[2]).parent


def test_a_folder_that_is_not_known_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell the file system, its error does; and the writer says what to do."""
    path = killed(tmp_path / "runs")
    monkeypatch.setattr(database_connection, "RunConnection", Unmapped)

    assert {"lr": 0.1} == load_run(path).values
    with pytest.raises(JournalError, match="no memory that SQLite can share: move the files of the run to a local"):
        Journal.resume(path)


def copying(act: Callable[[Path], object]) -> Callable[[Path, Path], object]:
    """Return a function that copies a file and then does something to it."""
    real = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        real(source, target)
        act(source)

    return copy


def test_a_run_that_changes_meanwhile(moved: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that change while they are copied are copied again; if they never stop changing, an error says so."""

    def grow(file: Path) -> None:
        if times:
            times.pop()
            with file.open("ab") as opened:
                opened.write(bytes(100))

    log = moved.with_name("run-0001.db-wal")
    monkeypatch.setattr(shutil, "copyfile", copying(lambda file: grow(log)))
    times = [*range(3)]
    assert {"lr": 0.1} == load_run(moved).values
    times = [*range(1000)]
    with pytest.raises(JournalError, match="changes while it is copied to be read; read it on the machine that"):
        load_run(moved)
    assert [] == [*temporary.iterdir()]


def test_a_log_that_vanishes_meanwhile(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the run is resumed while it is copied, the copy is made again, without the log."""
    resumed: list[Path] = []

    def resume(file: Path) -> None:
        if not resumed:
            resumed.append(file)
            Journal.resume(moved).close()

    monkeypatch.setattr(shutil, "copyfile", copying(resume))
    with closing(connect(moved)) as connection:
        assert [(1,), (2,)] == connection.execute("SELECT session FROM sessions").fetchall()


def test_no_room_for_the_copy(moved: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is no room for a copy, the error names the folder that lacks it."""

    def fail(file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copying(fail))
    with pytest.raises(JournalError, match=r"cannot be copied to be read.*; make room in '.*temporary'"):
        load_run(moved)
    assert [] == [*temporary.iterdir()]
