"""The spool: the file through which a fact survives the death of its process at once.

The spool is beside the database of a run while the run has a writer, and the writer holds a lock on it. Facts are
stored through a mapping of the file into memory: bytes stored there belong to the kernel, which writes them out
whatever becomes of the process. Some file systems may need new room for that, and kill a process for which they find
none. There the bytes are written by system calls instead.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from time import sleep

from .._base.file_calls import POSIX, delete_and_close, read_at
from .._base.file_lock import lock
from .._base.file_system import (
    create_file,
    open_file,
    sync_data,
    sync_folder,
    write_all,
)
from ..errors import JournalError, RunInUseError
from . import frame_writer
from .lock import has_name
from .spool_format import MAGIC, START, SpoolHeader, check_header, new_header

_log = logging.getLogger("crystallize")


class Spool:
    """A spool that is being written. It holds a lock, which nobody else gets while its process lives.

    Attributes:
        path: The file.
        frames: The facts in it.
        append: The same method of `frames`.
        pending: The facts that it took and that are not in the database yet.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over a file that `claim` or `open` has locked."""
        self.path = path
        self.frames: frame_writer.FrameWriter = frame_writer.open_frames(path, descriptor)
        self.append: Callable[..., bool] = self.frames.append
        self.pending: list[bytes] = self.frames.pending
        self._descriptor = descriptor
        self._is_closed = False

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
            named = _rename_locked(descriptor, unfinished, path)
            if named is None:
                return None
            descriptor = named
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
            check_header(path, SpoolHeader.read(read_at(descriptor, START, 0)), run, process)
        except BaseException:
            os.close(descriptor)
            raise
        _allocate(path, descriptor)
        return cls(path, descriptor)

    def begin(self, run: bytes, process: int, last: int) -> None:
        """Empty it for a process of a run, whose first fact follows on position `last`."""
        self.frames.restart(new_header(run, process, last), last)

    def sync(self) -> None:
        """Make all facts so far durable: they then survive a crash of the machine."""
        position = self.frames.last
        sync_data(self._descriptor)
        # Only now: before, the number could be written out earlier than the facts.
        self.frames.mark_synced(position)

    def let_go(self) -> None:
        """Let go of the lock in a process that was forked from the writer."""
        self.close()

    def loss(self) -> str | None:
        """Return the problem of the file; None if there is none."""
        status = os.fstat(self._descriptor)
        if not has_name(status, self.path):
            return "moved or deleted"
        return "truncated" if self.is_truncated() else None

    def is_truncated(self) -> bool:
        """Return whether another program has truncated the file: to store into its mapping would kill the process."""
        return os.fstat(self._descriptor).st_size < frame_writer.CAPACITY

    def close(self, *, delete: bool = False) -> None:
        """Give the file and the lock back. Closing again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self.frames.close()
        if not (delete and has_name(os.fstat(self._descriptor), self.path)):
            os.close(self._descriptor)
            return
        try:
            delete_and_close(self._descriptor, self.path)
        except OSError as error:  # the folder was made read-only meanwhile, for example
            text = "%s: its spool is not needed any more, and cannot be deleted (%s); delete it"
            _log.warning(text, self.path.stem, error)


def _create_locked(path: Path) -> int | None:
    """Create a file, locked; return None if somebody else is making it.

    A file that a process left that died while making it is deleted.
    """
    while True:
        try:
            descriptor = create_file(path)
        except FileExistsError:
            try:
                descriptor = open_file(path)
            except FileNotFoundError:  # somebody else has just renamed it, or deleted it
                continue
            is_left = lock(descriptor) and has_name(os.fstat(descriptor), path)
            is_left = is_left and read_at(descriptor, 8, 0) in (b"", MAGIC, bytes(8))
            if not is_left:
                os.close(descriptor)
                return None
            delete_and_close(descriptor, path)
        else:
            if lock(descriptor) and has_name(os.fstat(descriptor), path):
                return descriptor
            os.close(descriptor)


def _rename_locked(descriptor: int, path: Path, new: Path) -> int | None:
    """Rename a locked file, and return its descriptor.

    Windows renames no open file, so it is closed, and then opened and locked again. If another process is faster, the
    result is None.
    """
    if POSIX:
        path.rename(new)
        return descriptor
    os.close(descriptor)
    try:
        path.rename(new)
        descriptor = open_file(new)
    except (FileExistsError, FileNotFoundError, PermissionError):
        return None
    except OSError as error:  # not as it is, since the caller would close the descriptor again
        raise JournalError(str(new), f"its spool cannot be made ({error})") from error
    if lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _allocate(path: Path, descriptor: int) -> None:
    """Allocate the bytes of a file on the disk; if there is no room, close it and raise JournalError."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, frame_writer.CAPACITY)
        else:
            for at in range(os.fstat(descriptor).st_size, frame_writer.CAPACITY, 1 << 16):
                write_all(descriptor, bytes(min(1 << 16, frame_writer.CAPACITY - at)), at)
    except OSError as error:
        os.close(descriptor)
        reason = f"there is no room for its spool of {frame_writer.CAPACITY >> 20} MiB ({error})"
        raise JournalError(str(path), reason, "make room, or take another folder") from error


_TRIES = 20
