"""The frames of a spool that is being written: each has one fact, or many gathered in one."""

import mmap
import os
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

from .._base.file_calls import POSIX
from .._base.file_system import is_written_in_place
from ..errors import JournalError
from .spool_format import FRAME, LOW_32_BITS, POSITIONS, START

_pack, _HEAD = FRAME.pack, FRAME.size

CAPACITY = 16 * 1024 * 1024
"""Bytes of a spool. They are allocated when it is made: a full disk is an error then, and would be a crash later."""


class FrameWriter:
    """Writes frames one after the other, from the beginning of a spool to its end.

    Its methods take no lock: callers hold the lock over the effects of a context. But a signal's handler may run in the
    middle of a method, and append, close, or raise. Python runs handlers at calls, at jumps back and at the beginning
    of a function. So every change is a sequence of statements without a call. `append` compares before it changes
    anything, and begins again if a handler has appended meanwhile.

    Attributes:
        last: The position of the last fact.
        newest: The last fact.
        pending: The facts that are not in the database yet.
    """

    __slots__ = ("_at", "_content", "_generation", "_positions", "_room", "_salt", "last", "newest", "pending")

    def __init__(self, content: Any, positions: Any) -> None:
        """Write to bytes that can be assigned to, and to a pair of positions in their header."""
        self._content = content
        self._positions = positions
        self.last: int = positions[0]
        self.newest: bytes = b""
        self.pending: list[bytes] = []
        self._generation = int.from_bytes(os.urandom(7), "little")
        self._salt = self._generation & LOW_32_BITS
        self._at = START
        self._room = CAPACITY

    def append(self, payload: bytes, count: int = 1) -> bool:
        """Append a fact, or many gathered in one with their number.

        Once this has returned True, the fact survives the process. Without enough room it changes nothing and returns
        False.
        """
        size = len(payload)
        while True:
            begin, last, generation = self._at, self.last, self._generation
            end, next_ = begin + _HEAD + size, last + count
            if end > self._room:
                return False
            frame = _pack(generation, next_, count, crc32(payload, self._salt ^ next_ ^ count), size) + payload
            if begin == self._at and last == self.last and generation == self._generation and end <= self._room:
                break
        try:
            self._content[begin:end] = frame
            # After the frame, so that every byte of an acknowledged fact is in the file.
            self._positions[0] = self.last = next_
            self._at, self.newest = end, payload
            self.pending += (payload,)
        except BaseException:
            # Only a debugger can raise in there. The fact is taken then, too.
            self._content[begin:end] = frame
            self._take(payload, end, next_)
            raise
        return True

    def _take(self, payload: bytes, end: int, last: int) -> None:
        """Take a fact whose frame is written, if it is not taken yet."""
        self._positions[0] = self.last = last
        self._at, self.newest = end, payload
        self.pending += () if self.pending and self.pending[-1] is payload else (payload,)

    @property
    def is_half_full(self) -> bool:
        """Whether more than half of the spool is full."""
        return self._at > CAPACITY // 2

    @staticmethod
    def could_take(payload: bytes) -> bool:
        """Return whether an empty spool has room for a fact."""
        return START + _HEAD + len(payload) <= CAPACITY

    def set_aside(self, payload: bytes, count: int) -> None:
        """Take a fact that is larger than the spool, which takes nothing more until it is rewound."""
        self._room = min(self._room, 0)
        self.last, self.newest = self.last + count, payload
        self.pending += (payload,)

    def rewind(self) -> None:
        """Start again at the beginning of the file, if all its facts are in the database."""
        if not self.pending and self._room >= 0:
            self._generation += 1
            self._salt = self._generation & LOW_32_BITS
            self._at, self._room = START, CAPACITY
            self._positions[0] = self.last

    def restart(self, header: bytes, last: int) -> None:
        """Empty the spool, for facts that follow on a position."""
        self._content[0 : len(header)] = header
        self.last = last
        self.rewind()

    def mark_synced(self, position: int) -> None:
        """Write into the header up to which position the facts are durable, unless a handler has closed the spool."""
        if self._room >= 0:
            self._positions[1] = position

    def close(self) -> None:
        """Take nothing more. Closing again does nothing."""
        self._room = -1
        if isinstance(self._positions, memoryview):
            self._positions.release()
        self._content.close()


class _SystemCallWriter(FrameWriter):
    """Writes frames by system calls, for a file system on which storing into a mapped file may kill the process."""

    def append(self, payload: bytes, count: int = 1) -> bool:
        """Append a fact: as `FrameWriter.append`, but that the frame is written before the comparison, by a call."""
        size = len(payload)
        while True:
            begin, last, generation = self._at, self.last, self._generation
            end, next_ = begin + _HEAD + size, last + count
            frame = _pack(generation, next_, count, crc32(payload, self._salt ^ next_ ^ count), size) + payload
            if end > self._room:
                return False
            self._content[begin:end] = frame
            if begin == self._at and last == self.last and generation == self._generation and end <= self._room:
                break
        try:
            self._at, self.last, self.newest = end, next_, payload
            self.pending += (payload,)
            self._positions[0] = self.last
        except BaseException:
            # A debugger, as above; or the disk takes the frame and not the header, which may lag behind.
            if not self.pending or self.pending[-1] is not payload:
                self._take(payload, end, next_)
            raise
        return True


class _WrittenFile:
    """The bytes of a file, written by system calls. A number as index is one of the positions in the header."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __setitem__(self, index: slice | int, data: Any) -> None:
        if isinstance(index, slice):
            self._write(data, index.start)
        else:
            self._write(data.to_bytes(8, sys.byteorder), POSITIONS + 8 * index)

    def _write(self, data: bytes, at: int) -> None:
        rest = memoryview(data)
        while rest:
            # A handler may close the file before any call, and another file get its number. So it is read last.
            written = os.pwrite(self._descriptor, rest, at)
            rest, at = rest[written:], at + written

    def __getitem__(self, index: int) -> int:
        return int.from_bytes(os.pread(self._descriptor, 8, POSITIONS + 8 * index), sys.byteorder)

    def close(self) -> None:
        """Write no more: the descriptor is about to be closed."""
        self._descriptor = -1


def open_frames(path: Path, descriptor: int) -> FrameWriter:
    """Return a writer for a spool, which maps the file into memory where its file system allows that."""
    if is_written_in_place(path):
        try:
            mapped = mmap.mmap(descriptor, CAPACITY)
        except (OSError, ValueError) as error:  # a file that cannot be mapped can be written, except on Windows
            if not POSIX:
                os.close(descriptor)
                reason = f"its spool cannot be mapped into memory ({error})"
                raise JournalError(str(path), reason, "use a folder on a local disk") from error
        else:
            return FrameWriter(mapped, memoryview(mapped)[POSITIONS : POSITIONS + 16].cast("Q"))
    written = _WrittenFile(descriptor)
    return _SystemCallWriter(written, written)
