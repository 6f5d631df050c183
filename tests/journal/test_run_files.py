"""The files of a run, created and taken over: whatever fails in between, nothing is left behind."""

from pathlib import Path
from typing import Any

import pytest

from crystallize import (
    FrozenContext,
    Journal,
    JournalError,
)
from crystallize._journal import spool
from crystallize._journal.run_files import reopen_run
from crystallize.runs import list_runs

from .train_runs import died


@pytest.mark.parametrize("name", ["", "a/b", "..", "con", "a\nb", 5])
def test_name_that_no_file_can_have(tmp_path: Path, name: Any) -> None:
    """A run's name is a file's; what cannot be one is refused, and nothing is made."""
    with pytest.raises(JournalError, match="cannot name a run so"):
        Journal.start(tmp_path / "runs", name)
    assert not (tmp_path / "runs").exists()


def test_longest_name(tmp_path: Path) -> None:
    """A name is refused if one of the files that SQLite makes beside the run would have too long a name."""
    with Journal.start(tmp_path, "n" * 239) as journal:
        journal.context(FrozenContext)
    with pytest.raises(JournalError, match="cannot name a run so"):
        Journal.start(tmp_path, "n" * 240)
    with pytest.raises(JournalError, match="SQLite takes at most"):
        Journal.start("x" * 5000, "run")


def test_system_without_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system opens no more files, a start is an error of ours that leaves nothing."""

    def refuse(path: Path) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("crystallize._journal.run_files.DatabaseGuard", refuse)
    with pytest.raises(JournalError, match=r"it cannot be locked .*Too many open files"):
        Journal.start(tmp_path, "run")
    assert [] == [*tmp_path.iterdir()]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where a file stands in place of the folder, the error names it."""
    (tmp_path / "runs").touch()
    with pytest.raises(JournalError, match="runs: the folder cannot be made"):
        Journal.start(tmp_path / "runs", "a")


def test_numbers_count_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a name are numbered; a number that somebody has taken meanwhile is passed over."""
    for _ in range(2):
        Journal.start(tmp_path, "a").close()
    Journal.start(tmp_path, "b").close()
    (tmp_path / "a-0003.spool").touch()
    monkeypatch.setattr("crystallize._journal.run_files._next_number", lambda folder, name: 1)
    Journal.start(tmp_path, "a").close()

    assert ["a-0001", "a-0002", "a-0004", "b-0001"] == [run.stem for run in list_runs(tmp_path)]


@pytest.mark.parametrize("where", ["current_environment", "connect"])
def test_start_that_fails_leaves_no_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whatever fails in starting, the lock and the spool are given back."""

    def fail(*given: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"crystallize._journal.run_files.{where}", fail)
    with pytest.raises(MemoryError):
        Journal.start(tmp_path, "run")
    assert [] == list(tmp_path.glob("*.spool*"))


def test_opening_that_fails_gives_the_lock_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that fails at its end lets the next one in."""
    path = died(tmp_path, {"lr": 0.1})
    with monkeypatch.context() as patch:
        patch.setattr(spool.Spool, "begin", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Journal.resume(path)
    with Journal.resume(path) as journal:
        assert 0.1 == journal.context(FrozenContext)["lr"]


def test_database_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that the disk refuses at its database leaves nothing at all."""

    def refuse(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crystallize._journal.database.write_all", refuse)
    with pytest.raises(JournalError, match=r"run-0001\.db: it cannot be made .*; make room, or take another folder"):
        Journal.start(tmp_path, "run")
    assert [] == [*tmp_path.iterdir()]


def test_network_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database has no write-ahead log there is nothing to guard: when a resume fails, or the run is left."""
    monkeypatch.setattr("crystallize._base.file_system.file_system_of", lambda path: "nfs4")
    path = died(tmp_path, {"lr": 0.1})
    with monkeypatch.context() as patch:
        patch.setattr(spool.Spool, "begin", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Journal.resume(path)
    files = reopen_run(path).opened
    files.let_go()
    files.connection.close()
