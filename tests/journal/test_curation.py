"""Runs are noted, tagged, renamed, sealed and removed."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crystallize import DamagedRunError, FrozenContext, Journal, JournalError, RunInUseError, RunNotFoundError, load_run
from crystallize._journal.spool import Spool
from crystallize.runs import list_runs, note_run, remove_run, rename_run, seal_run, tag_run, verify_run

from .journal_runs import copied, older

CHANGES: dict[str, Callable[[Path], object]] = {
    "note": lambda path: note_run(path, "a note"),
    "tag": lambda path: tag_run(path, "a tag"),
    "rename": lambda path: rename_run(path, "other"),
    "remove": remove_run,
    "seal": seal_run,
}


def made(folder: Path) -> Path:
    with Journal.start(folder, "digits") as journal:
        journal.context(FrozenContext, {"lr": 0.1})["accuracy"] = 0.9
    return journal.path


def died(folder: Path) -> Path:
    """Make a run whose process died, with facts in its spool."""
    journal = Journal.start(folder / "living", "digits")
    ctx = journal.context(FrozenContext, {"lr": 0.1})
    journal.flush()
    ctx["accuracy"] = 0.9
    path = copied(journal, folder)
    journal.close()
    shutil.rmtree(folder / "living")
    return path


def test_note(tmp_path: Path) -> None:
    """A run has one note, which may be replaced and removed."""
    path = made(tmp_path)
    assert load_run(path).note is None
    for note in ("first\nline", "better \ud800"):
        note_run(path, note)
    assert "better \\ud800" == load_run(path).note
    note_run(path, "")

    assert load_run(path).note is None
    assert () == verify_run(path)
    with pytest.raises(JournalError, match="at most 100,000 characters, and this has 100,001"):
        note_run(path, "x" * 100_001)


def test_tags(tmp_path: Path) -> None:
    """A run has any number of tags, sorted."""
    path = made(tmp_path)
    assert ("b", "é") == tag_run(path, "é", "b", "b")
    assert ("a", "b") == tag_run(path, "a", "b", remove=["é", "unknown"])

    assert ("a", "b") == load_run(path).tags
    assert () == verify_run(path)
    for tag in ("", " a", "a,b", "a\nb", "x" * 101):
        with pytest.raises(JournalError, match="cannot be a tag: a tag has 1 to 100 printable characters, no comma"):
            tag_run(path, tag)


def test_rename(tmp_path: Path) -> None:
    """A run gets the next number of its new name, and keeps all that it has."""
    paths = [made(tmp_path) for _ in range(2)]
    renamed = [rename_run(path, "baseline") for path in paths]

    assert [tmp_path / "baseline-0001.db", tmp_path / "baseline-0002.db"] == renamed == [*list_runs(tmp_path)]
    assert sorted(renamed) == sorted(tmp_path.iterdir())
    run = load_run(renamed[1])
    assert ("baseline-0002", 2, {"lr": 0.1, "accuracy": 0.9}) == (run.name, run.number, dict(run.values))
    with Journal.resume(renamed[0]) as journal:
        assert 0.9 == journal.context(FrozenContext)["accuracy"]
    with pytest.raises(JournalError, match="cannot name a run so"):
        rename_run(renamed[0], "a/b")
    assert "baseline-0001" == load_run(renamed[0]).name
    assert sorted(renamed) == sorted(tmp_path.iterdir())


def test_rename_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file cannot be renamed, the run stays where it is, and the call may be repeated."""
    path = made(tmp_path)

    rename = os.rename

    def refuse(old: Path, new: Path) -> None:
        if Path(new).suffix == ".db":
            raise OSError("not now")
        rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        with pytest.raises(JournalError, match="it cannot be renamed \\(not now\\); call this again"):
            rename_run(path, "baseline")
    assert () == verify_run(path)

    assert "baseline-0001.db" == rename_run(path, "baseline").name


def test_remove(tmp_path: Path) -> None:
    """All files of a run are deleted, also if it died, or is damaged."""
    for make in (made, died):
        path = make(tmp_path)
        damaged = path.with_name("damaged-0001.db")
        shutil.copy(path, damaged)
        with damaged.open("r+b") as file:
            file.seek(4000)
            file.write(bytes(100_000))
        remove_run(path)
        remove_run(damaged)

        assert [] == [*tmp_path.iterdir()]


def test_removes_only_runs(tmp_path: Path) -> None:
    """A file that is not a run is left, and so is a run whose file may not be deleted."""
    foreign = tmp_path / "other-0001.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE a (b)")
    with pytest.raises(DamagedRunError, match="this is not a run of crystallize"):
        remove_run(foreign)
    with pytest.raises(RunNotFoundError):
        remove_run(tmp_path / "none-0001.db")
    with pytest.raises(RunNotFoundError):
        remove_run(tmp_path)
    renamed = shutil.copy(made(tmp_path), tmp_path / "copy.sqlite")
    with pytest.raises(JournalError, match=r"not the file of a run, which ends in \.db"):
        remove_run(renamed)

    assert foreign.exists()


def test_remove_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file cannot be deleted, that is an error, and the call may be repeated."""
    path = made(tmp_path)
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == path:
            raise OSError("not now")
        unlink(self, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(JournalError, match=r"it cannot be deleted \(not now\)"):
            remove_run(path)
    remove_run(path)

    assert [] == [*tmp_path.iterdir()]


def test_seal(tmp_path: Path) -> None:
    """The facts in the spool of a run that died come into its file; the run has died, lacks nothing, and is resumed."""
    path = died(tmp_path)
    assert path.with_suffix(".spool").exists()
    assert seal_run(path)

    assert [path] == [*tmp_path.iterdir()]
    assert () == verify_run(path)
    run = load_run(path)
    assert ("died", None, {"lr": 0.1, "accuracy": 0.9}) == (run.status, run.incomplete, dict(run.values))
    assert not seal_run(path)
    with Journal.resume(path) as journal:
        assert 0.9 == journal.context(FrozenContext)["accuracy"]
    assert "finished" == load_run(path).status


def test_spool_that_is_lost(tmp_path: Path) -> None:
    """A run whose spool is missing lacks facts, also after a note."""
    path = died(tmp_path)
    path.with_suffix(".spool").unlink()
    assert not seal_run(path)
    note_run(path, "a note")

    assert "is missing" in (load_run(path).incomplete or "")
    assert not path.with_suffix(".spool").exists()


def test_spool_that_was_left(tmp_path: Path) -> None:
    """A spool that is no longer needed is deleted; a process is sealed once."""
    path = died(tmp_path)
    spool = path.with_suffix(".spool").read_bytes()
    seal_run(path)
    path.with_suffix(".spool").write_bytes(spool)
    assert seal_run(path)

    assert [path] == [*tmp_path.iterdir()]
    assert 0.9 == load_run(path).values["accuracy"]


@pytest.mark.parametrize("change", ["note", "tag", "rename"])
def test_changes_seal(tmp_path: Path, change: str) -> None:
    """A run that died is sealed by whatever changes it."""
    CHANGES[change](died(tmp_path))

    (path,) = tmp_path.iterdir()
    assert ("died", None, 0.9) == (load_run(path).status, load_run(path).incomplete, load_run(path).values["accuracy"])


@pytest.mark.parametrize("change", CHANGES)
def test_run_that_is_written(tmp_path: Path, change: str) -> None:
    """A run that is being written is changed by nothing but its writer."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        with pytest.raises(RunInUseError):
            CHANGES[change](journal.path)
        ctx["after"] = 1

    assert {"after": 1} == dict(load_run(journal.path).values)


def test_remove_beside_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that another process begins to write just now is not removed."""
    path = made(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "claim", lambda *_: None)
        with pytest.raises(RunInUseError):
            remove_run(path)

    assert 0.9 == load_run(path).values["accuracy"]


@pytest.mark.parametrize("change", ["note", "tag", "rename", "seal"])
def test_damaged_run(tmp_path: Path, change: str) -> None:
    """A run that cannot be read is not changed."""
    path = made(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM entries WHERE key = 'accuracy'")
    path.with_suffix(".spool").touch()
    with pytest.raises(DamagedRunError):
        CHANGES[change](path)
    path.with_suffix(".spool").unlink()
    if change != "seal":
        with pytest.raises(DamagedRunError, match="are missing"):
            CHANGES[change](path)

    assert [path] == [*tmp_path.iterdir()]


def test_older_format(tmp_path: Path) -> None:
    """A run of an older version is migrated when it gets a note."""
    path = made(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(older(5))
    assert (None, ()) == (load_run(path).note, load_run(path).tags)
    note_run(path, "a note")

    assert "a note" == load_run(path).note


_KILLED = """
import os, shutil, sys
from pathlib import Path
from tests.journal.test_curation import CHANGES

base, folder, change = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
WATCHED = ("open", "os.rename", "os.remove", "sqlite3.connect", "sqlite3.connect/handle")
for n in range(1, 1000):
    copy = folder / str(n)
    shutil.copytree(base, copy)
    child = os.fork()
    if not child:
        count = 0
        def hook(event, arguments):
            global count
            if event in WATCHED:
                count += 1
                if count == n:
                    os._exit(9)
        sys.addaudithook(hook)
        CHANGES[change](copy / "digits-0001.db")
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.skipif(not hasattr(sys, "platlibdir") or sys.platform == "win32", reason="it forks")
def test_kills(tmp_path: Path, change: str) -> None:
    """Killed before any call that opens, renames or deletes a file, a change is made or not, and can be made again."""
    base, folder = tmp_path / "base", tmp_path / "killed"
    died(base)
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _KILLED, str(base), str(folder), change], cwd=root, check=True)

    copies = [*folder.iterdir()]
    assert 5 < len(copies)
    for copy in copies:
        runs = list_runs(copy)
        if change != "remove":
            (path,) = runs
            values: dict[str, Any] = dict(load_run(path).values)
            assert ((), {"lr": 0.1, "accuracy": 0.9}) == (verify_run(path), values)
        for path in runs:
            CHANGES[change](path)
        expected = [] if change == "remove" else [*list_runs(copy)]
        assert len(runs) >= len(expected)
        assert expected == [path for path in copy.iterdir() if path.suffix == ".db"]
