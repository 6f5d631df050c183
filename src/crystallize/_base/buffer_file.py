"""A file of buffers, written once and opened read-only by other processes, which only load the parts that they use.

It begins with a header. Each buffer begins at a multiple of 64 bytes, as arrays and Arrow prefer it.
"""

import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from .file_system import open_for_reading

_MAGIC: Final = b"crystbuf"
_VERSION: Final = 1
_HEADER: Final = Struct("<8sI4x16sQ")
"""The magic bytes, the version, the token of the file, its size."""
ALIGNMENT: Final = 64
"""The bytes whose multiples buffers begin at."""
_FLAGS: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)  # Windows has no O_CLOEXEC
_LARGEST_WRITE: Final = 1 << 30
"""Linux writes at most 2 GiB at a time, macOS less."""
_PENDING: Final = 1 << 16
"""Maximum number of bytes that are collected before they are written: many small buffers take few calls."""


class BufferFile(NamedTuple):
    """The address of a file of buffers."""

    path: str
    token: bytes
    """Random bytes, which are in the file too: another file of the same path is not taken for it."""
    size: int

    def opened(self) -> memoryview:
        """Map the file; raise OSError, or ValueError if it is not the file of this address."""
        with open_for_reading(Path(self.path)) as file:
            size = os.fstat(file.fileno()).st_size
            if size != self.size:
                raise ValueError(f"it has {size:,} bytes, not {self.size:,}: it was truncated or replaced")
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, version, token, _ = _HEADER.unpack_from(whole)
        if magic != _MAGIC or token != self.token:
            raise ValueError("it is a file of another call")
        if version != _VERSION:
            raise ValueError(f"it is of version {version}, and this process knows version {_VERSION}")
        return whole


class BufferWriter:
    """Writes a file of buffers, which nobody but its owner can read."""

    def __init__(self, path: Path) -> None:
        """Create the file, which must not exist yet."""
        self._path = path
        self._token = os.urandom(16)
        self._descriptor = os.open(path, _FLAGS, 0o600)
        self._pending = bytearray(_HEADER.size)
        self._size = _HEADER.size

    def add(self, chunks: Iterable[bytes | memoryview]) -> slice:
        """Add a buffer, given in chunks; return its place in the file."""
        self._write(bytes(-self._size % ALIGNMENT))
        start = self._size
        for chunk in chunks:
            self._write(chunk)
        return slice(start, self._size)

    def _write(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk).cast("B")
        self._size += view.nbytes
        if len(self._pending) + view.nbytes > _PENDING:
            pending, self._pending = self._pending, bytearray()
            self._put(memoryview(pending))
        if view.nbytes > _PENDING:
            self._put(view)
        else:
            self._pending += view

    def _put(self, rest: memoryview) -> None:
        while rest:
            rest = rest[os.write(self._descriptor, rest[:_LARGEST_WRITE]) :]

    def finished(self) -> BufferFile:
        """Write the header, and return the address of the file."""
        self._put(memoryview(self._pending))
        header = _HEADER.pack(_MAGIC, _VERSION, self._token, self._size)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, header)
        self._close()
        return BufferFile(os.fspath(self._path), self._token, self._size)

    def abandon(self) -> None:
        """Close the file and remove it."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        # Once: the next file that is opened may get the same number.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def write_buffers(path: Path, buffers: Iterable[bytes | memoryview]) -> tuple[BufferFile, Sequence[slice]]:
    """Write a file of these buffers; return its address, and their places. On an error there is no file."""
    writer = BufferWriter(path)
    try:
        places = [writer.add((buffer,)) for buffer in buffers]
        return writer.finished(), places
    except BaseException:
        writer.abandon()
        raise
