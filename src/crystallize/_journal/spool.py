"""The spool: the mapped file through which a fact survives the death of its process at once.

What is stored in a mapped file belongs to the kernel from then on, which writes it out whatever becomes of the
process. The file stands beside the database of a run while the run has a writer, and a lock on it says that it has.
"""

import fcntl
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

__all__ = ["CAPACITY", "Spool", "is_locked", "spooled"]

CAPACITY = 16 * 1024 * 1024
"""Bytes of a spool. They are allocated when it is made, as a full disk is an error then, and a crash later on."""

_MAGIC = b"CRYSPOOL"
_VERSION = 1
_HEADER = Struct("8sII16sQ")
"""Magic, version, session, the run's identity, the sequence of the last fact that was acknowledged."""
_LAST_AT = _HEADER.size - 8
_START = _HEADER.size
"""Where the frames begin."""
_32_BITS = 0xFFFFFFFF
_FRAME = Struct("QQIII")
"""Generation, sequence of the last fact in it, how many are in it, CRC-32 and length, before the payload. All frames
since the last rewind are one generation."""


class Spool:
    """A spool that is being written. It keeps a lock, which nobody else gets while its process lives.

    Attributes:
        path: Where it is.
        append: Takes a fact in, or many that are gathered in one, with how many; and returns True; when it has, that
            survives the process. Returns False where there is no room left, and does nothing. Another function after
            each `begin` and `rewind`.
        pending: The facts that it took and nobody has brought elsewhere.
    """

    append: Callable[..., bool]

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over a file that `claim` or `open` has locked."""
        self.path = path
        self.pending: list[bytes] = []
        self._descriptor = descriptor
        self._mapped, self._acknowledged = _mapped(descriptor)
        self._generation = int.from_bytes(os.urandom(7), "little")

    @classmethod
    def claim(cls, path: Path, run: bytes, session: int = 0, last: int = 0) -> "Spool | None":
        """Make a spool where there is none. It is there as a whole or not at all.

        Args:
            path: Where to make it.
            run: The identity of its run, 16 bytes.
            session: The number of the last session of the run.
            last: The sequence of the last fact of the run.

        Returns:
            The spool; None where there is one, or somebody else is making one.

        Raises:
            JournalError: There is no room for it, or it cannot be written.
        """
        unfinished = path.with_suffix(".spool.new")
        try:
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise JournalError(str(path), f"its spool cannot be made ({error})") from error
        if not _lock(descriptor, fcntl.LOCK_EX) or not _same_file(descriptor, unfinished):
            os.close(descriptor)
            return None
        try:
            _allocated(path, descriptor)
            os.pwrite(descriptor, _header(run, session, last), 0)
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
    def open(cls, path: Path, run: bytes, session: int, last: int) -> "Spool":
        """Take over the spool of a run that nobody writes any more, or make it anew. It takes what `claim` takes.

        Raises:
            RunInUseError: Another process, or another journal of this one, has it.
            JournalError: There is no room for it, or it cannot be written.
        """
        for _ in range(_TRIES):
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                if (spool := cls.claim(path, run, session, last)) is not None:
                    return spool
            except OSError as error:
                raise JournalError(str(path), f"its spool cannot be opened ({error})") from error
            else:
                # If it is another one by now, whoever had it has just finished, and taken it away.
                if _lock(descriptor, fcntl.LOCK_EX) and _same_file(descriptor, path):
                    _allocated(path, descriptor)
                    return cls(path, descriptor)
                os.close(descriptor)
            # Readers hold it for an instant.
            sleep(0.01)
        raise RunInUseError(str(path.with_suffix(".db")))

    def begin(self, run: bytes, session: int, last: int) -> None:
        """Empty it.

        Args:
            run: The identity of its run, 16 bytes.
            session: The number of the session that writes it.
            last: The sequence of the last fact before the first one that it is to take.
        """
        header = _header(run, session, last)
        self._mapped[0 : len(header)] = header
        self.rewind()

    def skip(self, count: int) -> None:
        """Leave the sequences of some facts out, which are elsewhere already."""
        self._acknowledged[0] += count
        self.rewind()

    def let_go(self) -> None:
        """Let go of the lock in a process that was forked from the one that has it."""
        self.close()

    def rewind(self) -> None:
        """Begin anew at the start; for when all that it holds is elsewhere."""
        self._generation += 1
        self.append = _appender(self._mapped, self._acknowledged, self.pending, self._generation)

    def is_there(self) -> bool:
        """Whether the file is still the one at its path."""
        return _same_file(self._descriptor, self.path)

    def close(self, *, delete: bool = False) -> None:
        """Give the file and the lock back."""
        if isinstance(self._acknowledged, memoryview):
            self._acknowledged.release()
        self._mapped.close()
        if delete and self.is_there():
            self.path.unlink()
        os.close(self._descriptor)


def _appender(mapped: Any, acknowledged: Any, pending: list[bytes], generation: int) -> Callable[..., bool]:
    """Return what appends facts from the start of a spool on: a closure, since it is called for every point."""
    pack, room, head = _FRAME.pack, CAPACITY, _FRAME.size
    salt, at, sequence = generation & _32_BITS, _START, acknowledged[0]

    def append(payload: bytes, count: int = 1) -> bool:
        nonlocal at, sequence
        next_, size = sequence + count, len(payload)
        end = at + head + size
        if end > room:
            return False
        mapped[at:end] = pack(generation, next_, count, crc32(payload, salt ^ next_ ^ count), size) + payload
        # Last, so that of a fact that this tells of every byte is there.
        acknowledged[0] = next_
        at, sequence = end, next_
        # From the writing to here there is no call, so that no signal's handler runs in between.
        pending.append(payload)
        return True

    return append


def _header(run: bytes, session: int, last: int) -> bytes:
    """Return how a spool begins, with an empty frame, at which a reader stops."""
    return _HEADER.pack(_MAGIC, _VERSION, session, run, last) + _FRAME.pack(0, 0, 0, 0, 0)


def spooled(path: Path, run: bytes, session: int, drained: int) -> Iterator[bytes]:
    """Read the facts that a spool holds and its writer has not drained.

    Args:
        path: Where it is. There may be none.
        run: The identity of the run that it should belong to.
        session: The number of the last session that the database knows.
        drained: The sequence of the last fact that is in the database.

    Raises:
        DamagedRunError: What had been acknowledged cannot all be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError(str(path), f"the spool of this run cannot be read ({error})") from error
    magic, version, writer, owner, last = _HEADER.unpack_from(content.ljust(_HEADER.size, b"\0"))
    # Of an earlier session is what was drained when the last one began.
    if (magic, version, owner) != (_MAGIC, _VERSION, run) or writer > session:
        raise DamagedRunError(str(path), "its header is not that of this run's spool", _ADVICE)
    found = drained
    for sequence, count, payload in _frames(content):
        if sequence - count == found:
            found = sequence
            yield payload
    # There may be more than was acknowledged: its process may have died before it could tell, or the machine may have
    # written out the header earlier than what came after it.
    if found < last:
        raise DamagedRunError(str(path), f"facts {found + 1} to {last} were acknowledged and cannot be read", _ADVICE)


_ADVICE = "to go on with what the database holds, move the spool away"


def _frames(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = _START
    first = None
    while at + _FRAME.size <= len(content):
        generation, sequence, count, check, size = _FRAME.unpack_from(content, at)
        first = generation if first is None else first
        payload = content[at + _FRAME.size : at + _FRAME.size + size]
        whole = len(payload) == size and crc32(payload, (generation & _32_BITS) ^ sequence ^ count) == check
        if generation != first or not whole or not generation:
            return
        yield sequence, count, payload
        at += _FRAME.size + size


class _Unmapped:
    """In place of a mapped file where a file system cannot map: plain writes, which survive the process as well."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __setitem__(self, place: slice | int, data: Any) -> None:
        if isinstance(place, slice):
            os.pwrite(self._descriptor, data, place.start)
        else:
            os.pwrite(self._descriptor, data.to_bytes(8, sys.byteorder), _LAST_AT)

    def __getitem__(self, place: int) -> int:
        return int.from_bytes(os.pread(self._descriptor, 8, _LAST_AT), sys.byteorder)

    def close(self) -> None:
        """Do nothing: the descriptor is whoever's made this."""


def _mapped(descriptor: int) -> tuple[Any, Any]:
    """Return what takes bytes by their place, and what takes, as its item 0, the last sequence acknowledged."""
    try:
        mapped = mmap.mmap(descriptor, CAPACITY)
    except (OSError, ValueError):
        unmapped = _Unmapped(descriptor)
        return unmapped, unmapped
    return mapped, memoryview(mapped)[_LAST_AT : _LAST_AT + 8].cast("Q")


def _allocated(path: Path, descriptor: int) -> None:
    """Give a file its size and its place on the disk; if that cannot be, close it.

    Raises:
        JournalError: There is no room.
    """
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


def _lock(descriptor: int, kind: int) -> bool:
    """Lock a file until its descriptor is closed, which the death of the process does too."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Whether a spool has a living writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise JournalError(str(path), f"the spool of this run cannot be read ({error})") from error
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
