"""The write-ahead log of a running run stays, whatever else opens the run."""

import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, JournalError, SinkError, load_run
from crystallize._journal import database_guard, drainer
from crystallize.runs import verify_run

from .train_runs import abandon

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM run").fetchall()
connection.close()
"""


def open_in_another_process(path: Path) -> None:
    subprocess.run([sys.executable, "-c", READER, str(path)], check=True)


def test_a_program_that_copies_its_own_run(tmp_path: Path) -> None:
    """After the program has copied its run, which drops SQLite's locks, another program cannot delete its log."""
    journal = Journal.start(tmp_path / "runs", "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    journal.flush()
    for at in range(2):
        shutil.copytree(tmp_path / "runs", tmp_path / f"copy-{at}")
        open_in_another_process(journal.path)
        assert journal.path.with_name("run-0001.db-wal").exists()
        ctx.record("loss", at)
        journal.flush()
    abandon(journal)
    run = load_run(journal.path)
    assert ({"a": 1}, (0, 1)) == (run.values, run.metrics["loss"])
    with Journal.resume(journal.path) as journal:
        journal.context(FrozenContext)
    assert () == verify_run(journal.path)


def test_a_log_that_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without such locks, a journal whose log was deleted fails loudly, and the spool keeps its facts."""
    monkeypatch.setattr(database_guard, "_HAS_LOCKS", False)
    monkeypatch.setattr(drainer, "DELAY", 1000)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    with ctx.step("fit") as fit:
        fit["a"] = 1
    with open(journal.path, "rb"):
        pass  # the program reads its own run
    open_in_another_process(journal.path)
    # Newer versions of SQLite keep their locks, and so the log.
    journal.path.with_name("run-0001.db-wal").unlink(missing_ok=True)
    ctx.record("loss", 1)
    with pytest.raises(JournalError, match=r"run-0001\.db-wal: the file was moved or deleted"):
        journal.flush()
    with pytest.raises(SinkError, match="takes nothing more"):
        ctx.record("loss", 2)
    with pytest.raises(JournalError):
        journal.close()
    run = load_run(journal.path)
    assert ({"a": 1}, (1,)) == (run.values, run.metrics["loss"])


@pytest.mark.parametrize("suffix", [".db", ".db-wal"])
def test_file_that_is_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """A journal whose database or log another program truncates fails loudly, and keeps its spool."""
    monkeypatch.setattr(drainer, "DELAY", 1000)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    with ctx.step("fit") as fit:
        fit["a"] = 1
    journal.flush()
    ctx.record("loss", 1)
    journal.flush()
    os.truncate(journal.path.with_suffix(suffix), 10)
    ctx.record("loss", 2)
    with pytest.raises(JournalError, match="the file was truncated while the run was writing it"):
        journal.flush()
    with pytest.raises(JournalError):
        journal.close()
    assert journal.path.with_suffix(".spool").exists()


def test_database_that_is_damaged_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database cannot be closed as a whole, the spool is kept, and the error is one of ours."""
    journal = Journal.start(tmp_path, "run")
    journal.context(FrozenContext)["a"] = 1
    real = drainer.Drainer.work

    def work(found: drainer.Drainer, *, is_last: bool) -> None:
        if is_last:
            real(found, is_last=False)
            for path in (journal.path, journal.path.with_suffix(".db-wal")):
                os.truncate(path, 0)
        real(found, is_last=is_last)

    monkeypatch.setattr(drainer.Drainer, "work", work)
    with pytest.raises(JournalError, match=r"run-0001\.db"):
        journal.close()
    assert journal.path.with_suffix(".spool").exists()


def test_releases_once(tmp_path: Path) -> None:
    """The locks are given back at the end, so that others may delete the log."""
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE run (a)")
    guard = database_guard.DatabaseGuard(path)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        connection.execute("PRAGMA journal_mode=DELETE")
    guard.release()
    guard.release()
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    assert "moved or deleted" == guard.loss()
    guard.let_go()


def test_system_without_fcntl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no fcntl, the guard takes no locks."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)
        importlib.reload(database_guard)
        assert not database_guard._HAS_LOCKS
    importlib.reload(database_guard)
    assert database_guard._HAS_LOCKS


def test_log_that_is_replaced(tmp_path: Path) -> None:
    """A log that another program has put in the place of the right one is noticed."""
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE run (a)")
    guard = database_guard.DatabaseGuard(path)
    assert guard.loss() is None
    copy = tmp_path / "copy"
    shutil.copy(guard.log, copy)
    copy.rename(guard.log)
    assert "moved or deleted" == guard.loss()
    guard.release()
    connection.close()
