"""A disk that remembers each write and each flush, in order, and what programs say meanwhile.

The file system has two files. `disk` is the disk, for a loop device. Lines that are written to `said` go into the same
log: what a program says there, it says after all writes and flushes before it in the log.
"""

import errno
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from . import fuse
from .faults import Faults

_ENTRY = Struct("<cQI")
"""What happened, offset and number of bytes, before the bytes."""
WRITE: Final = b"W"
FLUSH: Final = b"F"
SAID: Final = b"S"
_DISK, _SAID = 2, 3
_NODES: Final = {"disk": _DISK, "said": _SAID}


class LoggedDisk(fuse.FileSystem):
    """The file system of the disk."""

    def __init__(self, size: int, log: Path | None = None, faults: Faults | None = None) -> None:
        """Make a disk of zeros, which logs to a file, and fails as the faults say."""
        self._content = bytearray(size)
        self._log: BinaryIO | None = None if log is None else log.open("wb", buffering=1 << 20)
        self._faults = Faults() if faults is None else faults

    def _note(self, kind: bytes, offset: int = 0, data: bytes = b"") -> None:
        if self._log is not None:
            self._log.write(_ENTRY.pack(kind, offset, len(data)) + data)

    def _attributes(self, node: int) -> bytes:
        sizes = {1: None, _DISK: len(self._content), _SAID: 0}
        return fuse.simple_attributes(node, sizes[node])

    def lookup(self, node: int, body: bytes) -> bytes:
        """Return the entry of one of the two files."""
        found = _NODES.get(fuse.text(body))
        if found is None:
            raise OSError(errno.ENOENT, "no such file")
        return fuse.entry_answer(found, self._attributes(found))

    def getattr(self, node: int, body: bytes) -> bytes:
        """Return the attributes of a file."""
        return fuse.attributes_answer(self._attributes(node))

    def setattr(self, node: int, body: bytes) -> bytes:
        """Change nothing."""
        return fuse.attributes_answer(self._attributes(node))

    def open(self, node: int, body: bytes) -> bytes:
        """Open a file past the page cache, so that the log has the writes of the loop device in their order."""
        return fuse.open_answer(0, fuse.DIRECT)

    def read(self, node: int, body: bytes) -> bytes:
        """Return bytes of the disk."""
        _, offset, size = fuse.read_range(body)
        return bytes(self._content[offset : offset + size]) if node == _DISK else b""

    def write(self, node: int, body: bytes) -> bytes:
        """Write to the disk, or say something."""
        _, offset, data = fuse.written(body)
        if node == _SAID:
            self._note(SAID, 0, data)
        else:
            self._faults.check("write")
            self._content[offset : offset + len(data)] = data
            self._note(WRITE, offset, data)
        return fuse.write_answer(len(data))

    def fsync(self, node: int, body: bytes) -> bytes:
        """Flush the disk's cache."""
        self._faults.check("sync")
        self._note(FLUSH)
        return b""

    def release(self, node: int, body: bytes) -> bytes:
        """Close a file."""
        return b""

    def destroy(self, node: int, body: bytes) -> bytes:
        """Write out the log."""
        if self._log is not None:
            self._log.close()
        return b""

    def serve(self, device: int) -> None:
        """Answer requests until the disk is unmounted."""
        super().serve(device)
        if self._log is not None:
            self._log.close()


class Entry(NamedTuple):
    """An entry of the log."""

    kind: bytes
    offset: int
    data: bytes


def entries(log: bytes) -> Iterator[Entry]:
    """Return the entries of a log."""
    at = 0
    while at + _ENTRY.size <= len(log):
        kind, offset, size = _ENTRY.unpack_from(log, at)
        at += _ENTRY.size
        yield Entry(kind, offset, log[at : at + size])
        at += size
