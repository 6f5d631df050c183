"""The objects that no run names are removed."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crystallize import DamagedRunError, FrozenContext, Journal, JournalError, RunInUseError, load_run
from crystallize._journal.garbage import Removed
from crystallize.runs import remove_run, remove_unused_objects, verify_run

from .journal_runs import copied

SIZE = 2_000_000


def made(folder: Path, *contents: int) -> Path:
    """Make a run with an artifact and a value, of these bytes each."""
    with Journal.start(folder, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for content in contents:
            ctx.artifacts.add(f"model-{content}", bytes([content]) * SIZE)
    return journal.path


def test_unused_objects(tmp_path: Path) -> None:
    """An object stays as long as a run names it."""
    first, second = made(tmp_path, 1, 2), made(tmp_path, 2, 3)
    assert Removed(0, 0) == remove_unused_objects(tmp_path)
    remove_run(first)
    assert Removed(1, SIZE) == remove_unused_objects(tmp_path)
    assert () == verify_run(second)
    remove_run(second)

    assert Removed(2, 2 * SIZE) == remove_unused_objects(tmp_path)
    assert Removed(0, 0) == remove_unused_objects(tmp_path / "none")


def test_run_that_died(tmp_path: Path) -> None:
    """The objects that only a spool names stay, and the run is sealed."""
    journal = Journal.start(tmp_path / "living", "digits")
    ctx = journal.context(FrozenContext)
    journal.flush()
    ctx.artifacts.add("model", bytes(SIZE))
    shutil.copytree(tmp_path / "living" / "objects", tmp_path / "died" / "objects")
    path = copied(journal, tmp_path / "died")
    journal.close()
    assert Removed(0, 0) == remove_unused_objects(tmp_path / "died")

    assert SIZE == load_run(path).artifacts["model"].size
    assert not path.with_suffix(".spool").exists()


def test_run_that_is_written(tmp_path: Path) -> None:
    """While a run is being written, nothing is removed, since it may name any object."""
    remove_run(made(tmp_path, 1))
    with Journal.start(tmp_path, "digits"), pytest.raises(RunInUseError):
        remove_unused_objects(tmp_path)

    assert Removed(1, SIZE) == remove_unused_objects(tmp_path)


def test_damaged_run(tmp_path: Path) -> None:
    """If a run cannot be read, nothing is removed, since its objects are unknown."""
    remove_run(made(tmp_path, 1))
    path = made(tmp_path, 2)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM files")
    with pytest.raises(DamagedRunError):
        remove_unused_objects(tmp_path)
    remove_run(path)

    assert Removed(2, 2 * SIZE) == remove_unused_objects(tmp_path)


def test_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of other names are left, and new objects; an object that cannot be deleted is an error."""
    remove_run(made(tmp_path, 1))
    folder = tmp_path / "objects" / "ab"
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").touch()
    (tmp_path / "objects" / "cd").mkdir(exist_ok=True)
    (unused,) = (path for path in (tmp_path / "objects").glob("*/*") if path.stat().st_size == SIZE)
    changed = unused.stat().st_mtime
    os.utime(unused, (changed + 60, changed + 60))
    assert Removed(0, 0) == remove_unused_objects(tmp_path)
    os.utime(unused, (changed - 60, changed - 60))
    with monkeypatch.context() as patched:

        def refuse(self: Path, missing_ok: bool = False) -> None:
            raise OSError("not now")

        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(JournalError, match="an object cannot be deleted"):
            remove_unused_objects(tmp_path)
    assert Removed(1, SIZE) == remove_unused_objects(tmp_path)

    assert ["notes.txt"] == os.listdir(folder)
