"""The spool: the file through which a fact survives the death of its process at once.

The spool is beside the database of a run while the run has a writer, and the writer holds a lock on it. Facts are
stored through a mapping of the file into memory: bytes stored there belong to the kernel, which writes them out
whatever becomes of the process. Some file systems may need new room for that, and kill a process for which they find
none. There the bytes are written by system calls instead.
"""

import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple
from zlib import crc32

from ..errors import JournalError, RunInUseError
from .file_system import (
    create_file,
    is_written_in_place,
    open_file,
    sync_data,
    sync_folder,
    write_all,
)
from .lock import has_name, lock
from .spool_format import FRAME, LOW_32_BITS, MAGIC, POSITIONS, START, SpoolHeader, check_header, new_header

CAPACITY = 16 * 1024 * 1024
"""Bytes of a spool. They are allocated when it is made: a full disk is an error then, and would be a crash later."""


class Spool:
    """A spool that is being written. It holds a lock, which nobody else gets while its process lives.

    Attributes:
        path: The file.
        append: Takes a fact, or many gathered in one with their number. Once it has returned True, the fact survives
            the process. Without enough room it changes nothing and returns False.
        set_aside: Takes a fact that is larger than the spool, which takes nothing more until it is rewound.
        rewind: Starts again at the beginning of the file, if all its facts are in the database.
        position: Returns the position of the last fact.
        newest: Returns the last fact.
        pending: The facts that it took and that are not in the database yet.
    """

    append: Callable[..., bool]
    set_aside: Callable[[bytes, int], None]
    rewind: Callable[[], None]
    position: Callable[[], int]
    newest: Callable[[], bytes]

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over a file that `claim` or `open` has locked."""
        self.path = path
        self.pending: list[bytes] = []
        self._descriptor = descriptor
        self._is_closed = False
        self._content, self._positions = _content_of(path, descriptor)
        operations = _operations(self._content, self._positions, self.pending)
        self.append, self.set_aside, self.rewind, self._stop, self.position, self.newest = operations

    @classmethod
    def claim(cls, path: Path, run: bytes, process: int = 0, last: int = 0) -> "Spool | None":
        """Make a spool, whole or not at all; return None if there is one, or somebody else is making one.

        `run` is the identity of the run, `process` its last process, `last` the position of its last fact. A spool
        that cannot be made raises JournalError.
        """
        unfinished = path.with_suffix(".spool.new")
        try:
            descriptor = _create_locked(unfinished)
        except OSError as error:
            raise JournalError(str(path), f"its spool cannot be made ({error})") from error
        if descriptor is None:
            return None
        try:
            if os.path.lexists(path):
                os.close(descriptor)
                return None
            _allocate(path, descriptor)
            write_all(descriptor, new_header(run, process, last), 0)
            # Before it has its name: a crash of the machine must not leave a file of this name without a header.
            os.fsync(descriptor)
            unfinished.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            os.close(descriptor)
            raise JournalError(str(path), f"its spool cannot be made ({error})") from error
        finally:
            unfinished.unlink(missing_ok=True)
        return cls(path, descriptor)

    @classmethod
    def open(cls, path: Path, run: bytes, process: int, last: int) -> "Spool":
        """Take over the spool of a run that nobody writes any more, or make a new one as `claim` does.

        If another process, or another journal of this process, holds it, this raises RunInUseError. A file that is not
        a spool of this run is left as it is, and raises DamagedRunError.
        """
        for _ in range(_TRIES):
            try:
                descriptor = open_file(path)
            except FileNotFoundError:
                if (spool := cls.claim(path, run, process, last)) is not None:
                    return spool
            except OSError as error:
                raise JournalError(str(path), f"its spool cannot be opened ({error})") from error
            else:
                # If the path has another file now, the last writer has just finished and deleted this one.
                if lock(descriptor) and has_name(os.fstat(descriptor), path):
                    return cls._taken_over(path, descriptor, run, process)
                os.close(descriptor)
            # Readers hold the lock for an instant.
            sleep(0.01)
        raise RunInUseError(str(path.with_suffix(".db")))

    @classmethod
    def _taken_over(cls, path: Path, descriptor: int, run: bytes, process: int) -> "Spool":
        try:
            check_header(path, SpoolHeader.read(os.pread(descriptor, START, 0)), run, process)
        except BaseException:
            os.close(descriptor)
            raise
        _allocate(path, descriptor)
        return cls(path, descriptor)

    def begin(self, run: bytes, process: int, last: int) -> None:
        """Empty it for a process of a run, whose first fact follows on position `last`."""
        header = new_header(run, process, last)
        self._content[0 : len(header)] = header
        self.rewind()

    @staticmethod
    def could_take(fact: bytes) -> bool:
        """Return whether an empty spool has room for a fact."""
        return START + FRAME.size + len(fact) <= CAPACITY

    def sync(self) -> None:
        """Make all facts so far durable: they then survive a crash of the machine."""
        position = self.position()
        sync_data(self._descriptor)
        # Only now: an earlier number could be written out before the facts. A later one is lost at worst, and the
        # facts are there. A signal's handler may have closed the spool meanwhile.
        if not self._is_closed:
            self._positions[1] = position

    def let_go(self) -> None:
        """Let go of the lock in a process that was forked from the writer."""
        self.close()

    def loss(self) -> str | None:
        """Return what happened to the file, if it is not as it should be; else None."""
        status = os.fstat(self._descriptor)
        if not has_name(status, self.path):
            return "moved or deleted"
        return "truncated" if status.st_size < CAPACITY else None

    def close(self, *, delete: bool = False) -> None:
        """Give the file and the lock back. Closing again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._stop()
        if isinstance(self._positions, memoryview):
            self._positions.release()
        self._content.close()
        if delete and has_name(os.fstat(self._descriptor), self.path):
            self.path.unlink()
        os.close(self._descriptor)


class _Operations(NamedTuple):
    """The functions of a spool that share its variables; see the attributes of `Spool`."""

    append: Callable[..., bool]
    set_aside: Callable[[bytes, int], None]
    rewind: Callable[[], None]
    stop: Callable[[], None]
    position: Callable[[], int]
    newest: Callable[[], bytes]


def _operations(content: Any, positions: Any, pending: list[bytes]) -> _Operations:
    """Return the functions of a spool: closures, since `append` is called for every point.

    They share their variables without a lock: callers hold the lock over the effects of a context. But a signal's
    handler may run in the middle of them, and append, close, or raise. Python runs handlers at calls, at jumps back and
    at the beginning of a function. So every change is a sequence of statements without a call. `append` compares before
    it changes anything, and begins again if a handler has appended meanwhile.
    """
    pack, head, room, newest = FRAME.pack, FRAME.size, CAPACITY, b""
    generation = int.from_bytes(os.urandom(7), "little")
    salt, at, last = generation & LOW_32_BITS, START, positions[0]

    def append(payload: bytes, count: int = 1) -> bool:
        nonlocal at, last, newest, pending
        size = len(payload)
        while True:
            begin, next_, of = at, last + count, generation
            end = begin + head + size
            if end > room:
                return False
            frame = pack(of, next_, count, crc32(payload, salt ^ next_ ^ count), size) + payload
            if begin == at and next_ == last + count and of == generation and end <= room:
                break
        try:
            content[begin:end] = frame
            # After the frame, so that every byte of an acknowledged fact is in the file.
            positions[0] = next_
            at, last, newest = end, next_, payload
            pending += (payload,)
        except BaseException:
            # Only a debugger can raise in there. The fact is taken then, too.
            content[begin:end] = frame
            positions[0] = next_
            at, last, newest = end, next_, payload
            pending += () if pending and pending[-1] is payload else (payload,)
            raise
        return True

    def write(payload: bytes, count: int = 1) -> bool:
        # As `append`, where a system call writes the frame: before the comparison, since it is a call.
        nonlocal at, last, newest, pending
        size = len(payload)
        while True:
            begin, next_, of = at, last + count, generation
            end = begin + head + size
            if end > room:
                return False
            frame = pack(of, next_, count, crc32(payload, salt ^ next_ ^ count), size) + payload
            if end <= room:
                content[begin:end] = frame
            if begin == at and next_ == last + count and of == generation and end <= room:
                break
        at, last, newest = end, next_, payload
        pending += (payload,)
        positions[0] = last
        return True

    def set_aside(payload: bytes, count: int) -> None:
        nonlocal room, last, newest, pending
        last, newest = last + count, payload
        room = min(room, 0)
        pending += (payload,)

    def rewind() -> None:
        nonlocal generation, salt, at, room
        if not pending and room >= 0:
            generation, at, room = generation + 1, START, CAPACITY
            salt = generation & LOW_32_BITS
            positions[0] = last

    def stop() -> None:
        nonlocal room
        room = -1

    is_mapped = isinstance(positions, memoryview)
    return _Operations(append if is_mapped else write, set_aside, rewind, stop, lambda: last, lambda: newest)


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

    def close(self) -> None:
        """Write no more: the descriptor is about to be closed."""
        self._descriptor = -1

    def __getitem__(self, index: int) -> int:
        return int.from_bytes(os.pread(self._descriptor, 8, POSITIONS + 8 * index), sys.byteorder)


def _content_of(path: Path, descriptor: int) -> tuple[Any, Any]:
    """Return the bytes of a spool, and its two positions; memory if the file can be mapped."""
    if is_written_in_place(path):
        try:
            mapped = mmap.mmap(descriptor, CAPACITY)
        except (OSError, ValueError):
            pass  # a file system that cannot map is one to write to
        else:
            return mapped, memoryview(mapped)[POSITIONS : POSITIONS + 16].cast("Q")
    written = _WrittenFile(descriptor)
    return written, written


def _create_locked(path: Path) -> int | None:
    """Create a file, locked; return None if somebody else is making it.

    A file that a process left that died while making it is deleted.
    """
    for _ in range(2):
        try:
            descriptor = create_file(path)
        except FileExistsError:
            descriptor = open_file(path)
            is_left = lock(descriptor) and has_name(os.fstat(descriptor), path)
            is_left = is_left and os.pread(descriptor, 8, 0) in (b"", MAGIC, bytes(8))
            if is_left:
                path.unlink()
            os.close(descriptor)
            if not is_left:
                return None
        else:
            if lock(descriptor) and has_name(os.fstat(descriptor), path):
                return descriptor
            os.close(descriptor)
            return None
    return None


def _allocate(path: Path, descriptor: int) -> None:
    """Allocate the bytes of a file on the disk; if there is no room, close it and raise JournalError."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, CAPACITY)
        else:
            for at in range(os.fstat(descriptor).st_size, CAPACITY, 1 << 16):
                write_all(descriptor, bytes(min(1 << 16, CAPACITY - at)), at)
    except OSError as error:
        os.close(descriptor)
        reason = f"there is no room for its spool of {CAPACITY >> 20} MiB ({error})"
        raise JournalError(str(path), reason, "make room, or take another folder") from error


_TRIES = 20
