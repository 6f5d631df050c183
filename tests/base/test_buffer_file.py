"""A file of buffers: what was written is read, and another file is not taken for it."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize._base.buffer_file import ALIGNMENT, BufferWriter, write_buffers


@given(st.lists(st.lists(st.binary(max_size=200), max_size=3), max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, buffers: list[list[bytes]]) -> None:
    """Each buffer is read as it was written, read-only, and begins at a multiple of 64 bytes."""
    path = tmp_path_factory.mktemp("buffers") / "file"
    writer = BufferWriter(path)
    places = [writer.add(chunks) for chunks in buffers]
    whole = writer.finished().opened()
    assert whole.readonly
    assert [b"".join(chunks) for chunks in buffers] == [whole[place] for place in places]
    assert all(place.start % ALIGNMENT == 0 for place in places)


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """The file is of mode 0600, and is never written over another one."""
    file, _ = write_buffers(tmp_path / "file", [b"secret"])
    assert 0o600 == stat.S_IMODE(os.stat(file.path).st_mode)
    with pytest.raises(FileExistsError):
        BufferWriter(tmp_path / "file")


def test_another_file(tmp_path: Path) -> None:
    """A file that is truncated, of another call, of another version, or gone, is refused."""
    path = tmp_path / "file"
    file, _ = write_buffers(path, [b"a" * 100])
    content = path.read_bytes()
    other, _ = write_buffers(tmp_path / "other", [b"a" * 100])
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="it has 163 bytes, not 164: it was truncated or replaced"):
        file.opened()
    for wrong in (Path(other.path).read_bytes(), bytes(len(content))):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="it is a file of another call"):
            file.opened()
    path.write_bytes(content[:8] + b"\x07" + content[9:])
    with pytest.raises(ValueError, match="it is of version 7, and this process knows version 1"):
        file.opened()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.opened()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, at whichever moment, the error of the system comes, and there is no file."""
    write = os.write
    for most in range(4):
        left = [most]

        def fill(descriptor: int, data: bytes, left: list[int] = left) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= 1
            return write(descriptor, data)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fill)
            with pytest.raises(OSError, match="No space left"):
                write_buffers(tmp_path / "file", [b"a" * 70_000, b"b" * 10])
        assert [] == list(tmp_path.iterdir())


def test_a_file_that_is_abandoned_late(tmp_path: Path) -> None:
    """A finished file can be removed, and a descriptor is closed once."""
    writer = BufferWriter(tmp_path / "file")
    writer.finished()
    writer.abandon()
    writer.abandon()
    assert [] == list(tmp_path.iterdir())


def test_parts_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system does not write at once is written in parts."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:64]))
    file, (place,) = write_buffers(tmp_path / "file", [bytes(range(200))])
    assert bytes(range(200)) == file.opened()[place]
