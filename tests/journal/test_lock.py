"""The lock on a spool, with `flock` and in the form for Windows."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crystallize._base.file_lock import RANGE_LENGTH, RANGE_START, lock
from crystallize._journal.frame_writer import CAPACITY
from crystallize._journal.lock import is_locked
from tests.windows_like import msvcrt_like


@pytest.fixture(params=["flock", "msvcrt"])
def spool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a file to lock, where `fcntl` is installed or where `msvcrt` stands in for it."""
    if request.param == "msvcrt":
        monkeypatch.setitem(sys.modules, "fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", msvcrt_like())
    path = tmp_path / "run-0001.spool"
    path.write_bytes(b"facts")
    return path


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[int, list[range]]]:
    """Yield a descriptor of a file, and the ranges of bytes that `msvcrt` is asked to lock."""
    ranges: list[range] = []
    module: Any = msvcrt_like()

    def locking(descriptor: int, mode: int, length: int) -> None:
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        ranges.append(range(start, start + length))

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    monkeypatch.setattr(module, "locking", locking)
    descriptor = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    yield descriptor, ranges
    os.close(descriptor)


def test_one_writer(spool: Path) -> None:
    """A file is locked once, until its descriptor is closed."""
    first, second = os.open(spool, os.O_RDWR), os.open(spool, os.O_RDWR)

    assert lock(first)
    assert not lock(second)
    os.close(first)
    assert lock(second)
    os.close(second)
    assert not is_locked(spool)


def test_readers_see_the_writer(spool: Path) -> None:
    """A reader sees that a writer lives, and takes no other reader for a writer."""
    writer, reader = os.open(spool, os.O_RDWR), os.open(spool, os.O_RDONLY)

    assert lock(reader, shared=True)
    assert not is_locked(spool)
    assert not lock(writer)
    os.close(reader)
    assert lock(writer)
    assert is_locked(spool)
    assert b"facts" == spool.read_bytes()
    os.close(writer)


def test_no_file(tmp_path: Path) -> None:
    """A file that is missing is not locked."""
    assert not is_locked(tmp_path / "run-0001.spool")


def test_locks_nothing_of_the_content(locked: tuple[int, list[range]]) -> None:
    """On Windows nobody else can read locked bytes, so they are behind the content, and below 2 GiB."""
    descriptor, ranges = locked
    os.write(descriptor, b"facts")

    assert lock(descriptor)
    assert [range(RANGE_START, RANGE_START + RANGE_LENGTH)] == ranges
    assert RANGE_START >= CAPACITY
    assert RANGE_START + RANGE_LENGTH < 1 << 31
    assert 5 == os.lseek(descriptor, 0, os.SEEK_CUR)


def test_readers_lock_different_bytes(locked: tuple[int, list[range]]) -> None:
    """On Windows, where no lock is shared, each reader locks another byte, all of them in the range of the writer."""
    descriptor, ranges = locked
    for _ in range(20):
        assert lock(descriptor, shared=True)

    assert {1} == {len(found) for found in ranges}
    assert {found.start for found in ranges} <= {*range(RANGE_START, RANGE_START + RANGE_LENGTH)}
    assert len({found.start for found in ranges}) > 15


def test_descriptor_that_cannot_be_locked(spool: Path) -> None:
    """What is not a lock of somebody else is an error."""
    descriptor = os.open(spool, os.O_RDWR)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        lock(descriptor)
