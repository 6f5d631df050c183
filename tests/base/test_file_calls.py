"""Calls on open files, as on POSIX and as on Windows."""

import os
from pathlib import Path

import pytest

from crystallize._base import file_calls
from crystallize._base.file_calls import delete_and_close, read_at, write_at


@pytest.fixture(params=["POSIX", "Windows"] if file_calls.POSIX else ["Windows"])
def file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(file_calls, "POSIX", request.param == "POSIX")
    return tmp_path / "a"


def test_reads_and_writes_at_a_position(file: Path) -> None:
    """Bytes are written and read at any position."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)

    assert 3 == write_at(descriptor, b"abc", 0)
    assert 2 == write_at(descriptor, memoryview(b"de"), 1)
    assert b"de" == read_at(descriptor, 5, 1)
    assert b"a" == read_at(descriptor, 1, 0)
    os.close(descriptor)


def test_deletes_and_closes(file: Path) -> None:
    """The file is gone, and its descriptor is closed."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
    delete_and_close(descriptor, file)

    assert not file.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_file_that_another_process_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a file stays that another process opens before it is deleted."""

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError

    monkeypatch.setattr(file_calls, "POSIX", False)
    monkeypatch.setattr(Path, "unlink", refuse)
    file = tmp_path / "a"
    delete_and_close(os.open(file, os.O_RDWR | os.O_CREAT), file)

    assert file.exists()
