"""A spool where open files are neither renamed nor deleted, and where only mapped files can be written by threads."""

import mmap
from pathlib import Path
from typing import Any, NoReturn

import pytest

from crystallize import JournalError
from crystallize._base import file_calls, file_system
from crystallize._journal import frame_writer, spool
from crystallize._journal.lock import is_locked
from crystallize._journal.spool import Spool
from crystallize._journal.spool_format import spooled

RUN = bytes(range(16))


@pytest.fixture(autouse=True)
def _on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (file_calls, file_system, frame_writer, spool):
        monkeypatch.setattr(module, "POSIX", False)
    monkeypatch.setattr(frame_writer, "CAPACITY", 4096)
    monkeypatch.setattr(spool, "_TRIES", 3)


def test_made_and_taken_over(tmp_path: Path) -> None:
    """A spool is made under its name, locked, and taken over with its facts by the next process."""
    path = tmp_path / "a.spool"
    first = Spool.claim(path, RUN)
    assert first is not None
    first.begin(RUN, 1, 0)
    assert first.append(b"[1]")
    assert Spool.claim(path, RUN) is None
    assert is_locked(path)
    first.close()

    assert [b"[1]"] == [*spooled(path, RUN, 1, 0)]
    second = Spool.open(path, RUN, 1, 1)
    assert is_locked(path)
    second.close(delete=True)
    assert [] == list(tmp_path.iterdir())


def test_file_left_by_a_process_that_died(tmp_path: Path) -> None:
    """A file that a process left while it made a spool is replaced."""
    (tmp_path / "a.spool.new").touch()
    made = Spool.claim(tmp_path / "a.spool", RUN)

    assert made is not None
    made.close(delete=True)


@pytest.mark.parametrize("error", [FileExistsError, FileNotFoundError, PermissionError])
def test_another_process_is_faster(error: type[OSError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose file cannot be renamed, since another process uses the file or the name, makes no spool."""

    def rename(path: Path, new: Path) -> NoReturn:
        raise error

    monkeypatch.setattr(Path, "rename", rename)
    assert Spool.claim(tmp_path / "a.spool", RUN) is None
    assert [] == list(tmp_path.iterdir())


def test_another_process_locks_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the closing and the opening, another process may take the new spool over."""
    answers = iter([True, False])
    monkeypatch.setattr(spool, "lock", lambda descriptor: next(answers))

    assert Spool.claim(tmp_path / "a.spool", RUN) is None
    assert [tmp_path / "a.spool"] == list(tmp_path.iterdir())


def test_name_that_cannot_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other error of renaming is one of the journal."""

    def rename(path: Path, new: Path) -> NoReturn:
        raise OSError("no such device")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(JournalError, match="its spool cannot be made"):
        Spool.claim(tmp_path / "a.spool", RUN)
    assert [] == list(tmp_path.iterdir())


def test_file_that_cannot_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be mapped into memory, there is no spool."""

    def refuse(*given: Any) -> NoReturn:
        raise OSError("no such device")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(JournalError, match=r"cannot be mapped into memory .* use a folder on a local disk"):
        Spool.claim(tmp_path / "a.spool", RUN)
