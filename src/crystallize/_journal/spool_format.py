"""The format of a spool: a header, and frames with facts.

The header has two positions. Facts up to `acknowledged` survive the death of the process, and facts up to `synced` also
survive a crash of the machine. After a crash, any part of the file that was not synced may have its old bytes.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from time import sleep
from typing import Final, NamedTuple
from zlib import crc32

from .._base.file_calls import POSIX
from .._base.file_system import boot_identity, process_namespace
from ..errors import DamagedRunError, JournalError
from .lock import is_locked

MAGIC: Final = b"CRYSPOOL"
_VERSION: Final = 2
_HEADER: Final = Struct("=8sII16sQQ16sQI")
POSITIONS: Final = 32
"""Where the two positions are in the header. It fits into one sector, so that it is written out as a whole."""
START: Final = _HEADER.size
"""Where the frames begin."""
LOW_32_BITS: Final = 0xFFFFFFFF
FRAME: Final = Struct("=QQIII")
"""Generation, position of the last fact in it, number of facts in it, CRC-32 and length, before the payload. All frames
since the last rewind are one generation."""


class SpoolHeader(NamedTuple):
    magic: bytes
    version: int
    process: int
    run: bytes
    acknowledged: int
    synced: int
    boot: bytes
    """The identity of the time since the machine started: if it differs, the machine has crashed or restarted."""
    namespace: int
    """The namespace of the writer's process number, in which a container has its own numbers."""
    writer: int
    """The number of the process that writes, which the system gave it."""

    @classmethod
    def read(cls, content: bytes) -> "SpoolHeader":
        """Return the header of the content of a spool; all zeros if the content is too short."""
        return cls(*_HEADER.unpack_from(content if len(content) >= _HEADER.size else bytes(_HEADER.size)))

    def pack(self) -> bytes:
        """Return its bytes."""
        return _HEADER.pack(*self)

    @property
    def certain(self) -> int:
        """The position up to which the facts have to be in the file, or in the database."""
        is_same_boot = self.boot == boot_identity() and any(self.boot)
        return self.acknowledged if is_same_boot else self.synced

    def is_orphan(self) -> bool:
        """Return whether the writer is known to be dead. Whether a process of another namespace lives is unknown."""
        is_comparable = self.boot == boot_identity() and self.namespace == process_namespace() != 0
        if not (POSIX and is_comparable):
            return False
        try:
            with suppress(PermissionError):  # it lives, and belongs to another user
                os.kill(self.writer, 0)
        except ProcessLookupError:
            return True
        return False


def new_header(run: bytes, process: int, last: int) -> bytes:
    """Return the beginning of a spool, with an empty frame, at which a reader stops."""
    header = SpoolHeader(MAGIC, _VERSION, process, run, last, last, boot_identity(), process_namespace(), os.getpid())
    return header.pack() + FRAME.pack(0, 0, 0, 0, 0)


def check_header(path: Path, header: SpoolHeader, run: bytes, process: int) -> None:
    """Raise DamagedRunError if a header is not one of a run."""
    if header.magic == MAGIC and header.version != _VERSION:
        reason = f"its format is {header.version}, and this version of crystallize reads {_VERSION}"
        raise DamagedRunError(str(path), reason, _ADVICE)
    # The facts of an earlier process were drained when the last one began.
    if (header.magic, header.run) != (MAGIC, run) or header.process > process:
        raise DamagedRunError(str(path), "its header does not belong to this run's spool", _ADVICE)


def has_writer(path: Path) -> bool:
    """Return whether a spool has a living writer.

    A process that the writer starts holds the lock, too, until its program begins. If the writer is killed just then,
    the lock stays for an instant, which this waits for.
    """
    for _ in range(_TRIES):
        if not is_locked(path):
            return False
        try:
            with path.open("rb") as file:
                header = SpoolHeader.read(file.read(START))
        except FileNotFoundError:
            return False
        if not header.is_orphan():
            return True
        sleep(_PAUSE)
    return True


def spooled(path: Path, run: bytes, process: int, drained: int) -> Iterator[bytes]:
    """Return the facts in a spool after position `drained`; none if there is no spool.

    `run` and `process` are the identity of the run and its last process, as the database has them. If facts that have
    to be there cannot be read, this raises DamagedRunError. After a crash of the machine these are the synced ones.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError(str(path), f"the spool of this run cannot be read ({error})") from error
    header = SpoolHeader.read(content)
    check_header(path, header, run, process)
    found = drained
    for position, count, payload in _frames(content):
        if position - count == found:
            found = position
            yield payload
    # More facts than were acknowledged are fine: the process may have died before it could acknowledge them.
    if found < header.certain:
        reason = f"facts {found + 1} to {header.certain} were acknowledged and cannot be read"
        raise DamagedRunError(str(path), reason, _ADVICE)


_TRIES: Final = 50
_PAUSE: Final = 0.01
"""Seconds between two looks."""
_ADVICE = "to continue with the facts in the database, move the spool away"


def _frames(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = START
    first = None
    while at + FRAME.size <= len(content):
        generation, position, count, check, size = FRAME.unpack_from(content, at)
        first = generation if first is None else first
        payload = content[at + FRAME.size : at + FRAME.size + size]
        whole = len(payload) == size and crc32(payload, (generation & LOW_32_BITS) ^ position ^ count) == check
        if generation != first or not whole or not generation:
            return
        yield position, count, payload
        at += FRAME.size + size
