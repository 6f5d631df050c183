"""The spool: the memory-mapped file through which a fact survives the death of its process at once.

Bytes stored in a mapped file belong to the kernel, which writes them out whatever becomes of the process. The spool is
beside the database of a run while the run has a writer, and the writer holds a lock on it.
"""

import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from time import sleep
from typing import Any
from zlib import crc32

from ..errors import DamagedRunError, JournalError, RunInUseError
from .lock import has_name, lock

CAPACITY = 16 * 1024 * 1024
"""Bytes of a spool. They are allocated when it is made: a full disk is an error then, and would be a crash later."""

_MAGIC = b"CRYSPOOL"
_VERSION = 1
_HEADER = Struct("8sII16sQ")
"""Magic, version, number of the process, the run's identity, position of the last fact that was acknowledged."""
_LAST_AT = _HEADER.size - 8
_START = _HEADER.size
"""Where the frames begin."""
_32_BITS = 0xFFFFFFFF
_FRAME = Struct("QQIII")
"""Generation, position of the last fact in it, number of facts in it, CRC-32 and length, before the payload. All frames
since the last rewind are one generation."""


class Spool:
    """A spool that is being written. It holds a lock, which nobody else gets while its process lives.

    Attributes:
        path: The file.
        append: Takes a fact, or many gathered in one with their number. Once it has returned True, the fact survives
            the process. Without enough room it changes nothing and returns False.
        rewind: Starts again at the beginning of the file; for when all its facts are in the database.
        pending: The facts that it took and that are not in the database yet.
    """

    append: Callable[..., bool]
    rewind: Callable[[], None]

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over a file that `claim` or `open` has locked."""
        self.path = path
        self.pending: list[bytes] = []
        self._descriptor = descriptor
        self._mapped, self._acknowledged = _mapped(descriptor)
        self.append, self.rewind = _appender(self._mapped, self._acknowledged, self.pending)

    @classmethod
    def claim(cls, path: Path, run: bytes, process: int = 0, last: int = 0) -> "Spool | None":
        """Make a spool, whole or not at all; return None if there is one, or somebody else is making one.

        `run` is the identity of the run, `process` its last process, `last` the position of its last fact. A spool
        that cannot be made raises JournalError.
        """
        unfinished = path.with_suffix(".spool.new")
        try:
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise JournalError(str(path), f"its spool cannot be made ({error})") from error
        if not lock(descriptor) or not has_name(os.fstat(descriptor), unfinished):
            os.close(descriptor)
            return None
        try:
            _allocate(path, descriptor)
            os.pwrite(descriptor, _header(run, process, last), 0)
            os.link(unfinished, path)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, FileExistsError):
                return None
            raise JournalError(str(path), f"its spool cannot be made ({error})") from error
        finally:
            unfinished.unlink(missing_ok=True)
        return cls(path, descriptor)

    @classmethod
    def open(cls, path: Path, run: bytes, process: int, last: int) -> "Spool":
        """Take over the spool of a run that nobody writes any more, or make a new one as `claim` does.

        If another process, or another journal of this process, holds it, this raises RunInUseError.
        """
        for _ in range(_TRIES):
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                if (spool := cls.claim(path, run, process, last)) is not None:
                    return spool
            except OSError as error:
                raise JournalError(str(path), f"its spool cannot be opened ({error})") from error
            else:
                # If the path has another file now, the last writer has just finished and deleted this one.
                if lock(descriptor) and has_name(os.fstat(descriptor), path):
                    _allocate(path, descriptor)
                    return cls(path, descriptor)
                os.close(descriptor)
            # Readers hold the lock for an instant.
            sleep(0.01)
        raise RunInUseError(str(path.with_suffix(".db")))

    def begin(self, run: bytes, process: int, last: int) -> None:
        """Empty it for a process of a run, whose first fact follows on position `last`."""
        header = _header(run, process, last)
        self._mapped[0 : len(header)] = header
        self.rewind()

    def skip(self, count: int) -> None:
        """Leave out the positions of facts that are in the database already."""
        self._acknowledged[0] += count
        self.rewind()

    def let_go(self) -> None:
        """Let go of the lock in a process that was forked from the writer."""
        self.close()

    def is_there(self) -> bool:
        """Return whether the file is still at its path."""
        return has_name(os.fstat(self._descriptor), self.path)

    def close(self, *, delete: bool = False) -> None:
        """Give the file and the lock back."""
        if isinstance(self._acknowledged, memoryview):
            self._acknowledged.release()
        self._mapped.close()
        if delete and self.is_there():
            self.path.unlink()
        os.close(self._descriptor)


def _appender(mapped: Any, acknowledged: Any, pending: list[bytes]) -> tuple[Callable[..., bool], Callable[[], None]]:
    """Return `append` and `rewind` of a spool: closures, since `append` is called for every point."""
    pack, room, head = _FRAME.pack, CAPACITY, _FRAME.size
    generation = int.from_bytes(os.urandom(7), "little")
    salt, at, position = generation & _32_BITS, _START, acknowledged[0]

    def append(payload: bytes, count: int = 1) -> bool:
        nonlocal at, position
        next_, size = position + count, len(payload)
        end = at + head + size
        if end > room:
            return False
        mapped[at:end] = pack(generation, next_, count, crc32(payload, salt ^ next_ ^ count), size) + payload
        # Last, so that every byte of an acknowledged fact is in the file.
        acknowledged[0] = next_
        at, position = end, next_
        # From the writing to here there is no call, so that no signal's handler runs in between.
        pending.append(payload)
        return True

    def rewind() -> None:
        nonlocal generation, salt, at, position
        generation += 1
        salt, at, position = generation & _32_BITS, _START, acknowledged[0]

    return append, rewind


def _header(run: bytes, process: int, last: int) -> bytes:
    """Return the beginning of a spool, with an empty frame, at which a reader stops."""
    return _HEADER.pack(_MAGIC, _VERSION, process, run, last) + _FRAME.pack(0, 0, 0, 0, 0)


def spooled(path: Path, run: bytes, process: int, drained: int) -> Iterator[bytes]:
    """Return the facts in a spool after position `drained`; none if there is no spool.

    `run` and `process` are the identity of the run and its last process, as the database has them. If facts that were
    acknowledged cannot be read, this raises DamagedRunError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError(str(path), f"the spool of this run cannot be read ({error})") from error
    magic, version, writer, owner, last = _HEADER.unpack_from(content.ljust(_HEADER.size, b"\0"))
    # The facts of an earlier process were drained when the last one began.
    if (magic, version, owner) != (_MAGIC, _VERSION, run) or writer > process:
        raise DamagedRunError(str(path), "its header is not that of this run's spool", _ADVICE)
    found = drained
    for position, count, payload in _frames(content):
        if position - count == found:
            found = position
            yield payload
    # More facts than were acknowledged are fine: the process may have died before it could acknowledge them, or the
    # machine may have written out the header earlier than the frames after it.
    if found < last:
        raise DamagedRunError(str(path), f"facts {found + 1} to {last} were acknowledged and cannot be read", _ADVICE)


_ADVICE = "to go on with what the database holds, move the spool away"


def _frames(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = _START
    first = None
    while at + _FRAME.size <= len(content):
        generation, position, count, check, size = _FRAME.unpack_from(content, at)
        first = generation if first is None else first
        payload = content[at + _FRAME.size : at + _FRAME.size + size]
        whole = len(payload) == size and crc32(payload, (generation & _32_BITS) ^ position ^ count) == check
        if generation != first or not whole or not generation:
            return
        yield position, count, payload
        at += _FRAME.size + size


class _Unmapped:
    """In place of a mapped file where a file system cannot map: plain writes, which survive the process as well."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __setitem__(self, index: slice | int, data: Any) -> None:
        if isinstance(index, slice):
            os.pwrite(self._descriptor, data, index.start)
        else:
            os.pwrite(self._descriptor, data.to_bytes(8, sys.byteorder), _LAST_AT)

    def __getitem__(self, index: int) -> int:
        return int.from_bytes(os.pread(self._descriptor, 8, _LAST_AT), sys.byteorder)

    def close(self) -> None:
        """Do nothing: the descriptor belongs to the spool."""


def _mapped(descriptor: int) -> tuple[Any, Any]:
    """Return the bytes of the file, and a view whose item 0 is the position of the last acknowledged fact."""
    try:
        mapped = mmap.mmap(descriptor, CAPACITY)
    except (OSError, ValueError):
        unmapped = _Unmapped(descriptor)
        return unmapped, unmapped
    return mapped, memoryview(mapped)[_LAST_AT : _LAST_AT + 8].cast("Q")


def _allocate(path: Path, descriptor: int) -> None:
    """Allocate the bytes of a file on the disk; if there is no room, close it and raise JournalError."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, CAPACITY)
        else:
            for at in range(os.fstat(descriptor).st_size, CAPACITY, 1 << 16):
                os.pwrite(descriptor, bytes(min(1 << 16, CAPACITY - at)), at)
    except OSError as error:
        os.close(descriptor)
        reason = f"there is no room for its spool of {CAPACITY >> 20} MiB ({error})"
        raise JournalError(str(path), reason, "make room, or take another folder") from error


_TRIES = 20
