"""A folder of objects: files that are named by the digest of their content, so that equal content is stored once."""

import os
import re
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeAlias

from ..errors import ObjectError
from .file_calls import POSIX
from .file_system import create_file, make_folder, open_for_reading, sync_folder
from .signal_handlers import is_raised_by_handler, reraise_from_handler
from .text import short

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

BLOCK: Final = 1 << 20
"""Bytes of a file that are read at a time."""
LEFT_AFTER: Final = 24 * 60 * 60
"""Seconds after which an unfinished file that nobody has written to is a dead process's."""

_PIECE: Final = 1 << 24
"""Bytes that are written at a time."""
_AHEAD: Final = 16
"""Pieces that may be written before the digest has them, which stay in memory so long."""
# SHA-256: the digest is the only name of the content, so it has to be safe against intended collisions. `sha256sum`
# computes it too, and most processors have instructions for it.
_DIGEST: Final = re.compile("[0-9a-f]{64}", re.ASCII)
UNFINISHED: Final = ".new"
"""The ending of a file that is no object yet."""
_ROOM: Final = "make room, or see to the permissions of the folder; nothing was added"
_BACK: Final = "put the file back from a copy; a run needs the folder of its objects, and `crystallize pack` packs both"

_checked: Final[set[tuple[object, ...]]] = set()
"""The objects whose digest this process has checked, each with the state of its file at that time."""

Buffer: TypeAlias = bytes | bytearray | memoryview


class ObjectName(NamedTuple):
    """The name of an object, which identifies its content."""

    digest: str
    """In hexadecimal."""
    size: int
    """In bytes."""


def checked_name(digest: object, size: object) -> ObjectName:
    """Return the name of an object that a file gives, or raise ValueError: its digest becomes part of a path."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"{short(digest)} is not the digest of an object")
    if type(size) is not int or size < 0:
        raise ValueError(f"{short(size)} is not the size of an object")
    return ObjectName(digest, size)


def name_of(chunks: Iterable[Buffer]) -> ObjectName:
    """Return the name that an object of this content has."""
    content, size = sha256(), 0
    for chunk in chunks:
        content.update(chunk)
        size += memoryview(chunk).nbytes
    return ObjectName(content.hexdigest(), size)


def blocks_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file in blocks."""
    while block := file.read(BLOCK):
        yield block


class ObjectFolder:
    """A folder of objects. Many processes may use it at the same time; an object never changes.

    Attributes:
        path: The folder. It is made with the first object.
        is_durable: Whether an object survives a crash of the machine. An object in a temporary folder need not.
    """

    def __init__(self, path: Path, *, is_durable: bool = True) -> None:
        self.path = path
        self.is_durable = is_durable
        self._durable: set[Path] = set()
        """The folders whose names survive a crash of the machine."""

    def put(self, chunks: Iterable[Buffer]) -> ObjectName:
        """Store content, and return its name. When this returns, the object survives a crash of the machine.

        A chunk must not change before this returns. On any error there is no object, and no unfinished file; an error
        of the disk is raised as ObjectError, one that `chunks` raises as it is.
        """
        return self._stored(_Source(chunks), _write)

    def put_mapped(self, chunks: Iterable[Buffer], size: int) -> tuple[ObjectName, memoryview] | None:
        """Store content of this size as `put` does, and map its file; return None if a file cannot be mapped here.

        The content may change meanwhile: the file stores the bytes of the mapped memory. That is read-only, and stays
        as it is if the file is deleted.
        """
        made: list[memoryview] = []
        try:
            name = self._stored(_Source(chunks), partial(_write_mapped, size, made))
        except _CannotMap:
            return None
        return name, made[0]

    def _stored(self, source: "_Source", write: "_Writer") -> ObjectName:
        # Each writer has its own file, since two may store the same content at the same time.
        unfinished = self.path / f"{os.urandom(8).hex()}{UNFINISHED}"
        try:
            try:
                self._make_durable(self.path)
                descriptor = create_file(unfinished)
                try:
                    if POSIX:  # Windows replaces and deletes no file that is read-only
                        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o444)
                    name = write(descriptor, source, self.is_durable)
                finally:
                    os.close(descriptor)
                self._give_name(unfinished, name)
                _checked.add(_state_of(name, os.lstat(self.path_of(name.digest))))
            except BaseException:
                with suppress(OSError):  # the error that comes out says more
                    unfinished.unlink()
                raise
        except OSError as error:
            if error is source.error or is_raised_by_handler(error):
                raise
            is_in_the_way = isinstance(error, (FileExistsError, NotADirectoryError))
            advice = f"move {error.filename!r} away, which is no folder; nothing was added" if is_in_the_way else _ROOM
            raise ObjectError(str(self.path), f"the object cannot be stored ({error})", advice) from error
        return name

    def _make_durable(self, folder: Path) -> None:
        if not self.is_durable:
            folder.mkdir(parents=True, exist_ok=True)
            return
        if folder in self._durable and folder.exists():
            return
        make_folder(folder)
        # Another process may have made it, and not have got to this.
        sync_folder(folder.parent)
        if folder == self.path:
            self._remove_unfinished()
        self._durable.add(folder)

    def _remove_unfinished(self) -> None:
        """Remove the unfinished files of processes that died, which are older than any that is being written."""
        for path in self.path.glob(f"*{UNFINISHED}"):
            with suppress(OSError):  # another process has removed it, or may alone
                if time.time() - path.lstat().st_mtime > LEFT_AFTER:
                    path.unlink()

    def _give_name(self, unfinished: Path, name: ObjectName) -> None:
        path = self.path_of(name.digest)
        self._make_durable(path.parent)
        try:
            # Over an equal file, if there is one: that may have been damaged since.
            os.replace(unfinished, path)
        except PermissionError:
            # Windows replaces no file that is open.
            if self.problem_of(name) is not None:
                raise
            unfinished.unlink()
        if self.is_durable:
            sync_folder(path.parent)

    def path_of(self, digest: str) -> Path:
        """Return the path of an object, whether it exists or not."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{short(digest)} is not the digest of an object")
        return self.path / digest[:2] / digest[2:]

    def open(self, name: ObjectName) -> BinaryIO:
        """Open an object for reading; if it is missing or has another size, raise ObjectError."""
        path = self.path_of(name.digest)
        try:
            file = open_for_reading(path)
        except FileNotFoundError as error:
            raise ObjectError(str(path), "the object is missing", _BACK) from error
        except OSError as error:
            reraise_from_handler(error)
            raise ObjectError(str(path), f"the object cannot be read ({error})", _BACK) from error
        size = os.fstat(file.fileno()).st_size
        if size != name.size:
            file.close()
            raise ObjectError(str(path), f"the object was changed: it has {size:,} bytes, not {name.size:,}", _BACK)
        return file

    def open_checked(self, name: ObjectName) -> BinaryIO:
        """Open an object for reading; if it is missing or changed, raise ObjectError.

        The first time in a process this reads all of the file, unless the process wrote it. It does so again if the
        state of the file is another one than then.
        """
        file = self.open(name)
        try:
            state = _state_of(name, os.fstat(file.fileno()))
            if state not in _checked:
                self._check_content(name, file)
                file.seek(0)
                _checked.add(state)
        except BaseException:
            file.close()
            raise
        return file

    def read(self, name: ObjectName) -> bytes:
        """Return the content of an object; if it is missing or changed, raise ObjectError."""
        with closing(self.open(name)) as file:
            try:
                content = file.read()
            except OSError as error:
                reraise_from_handler(error)
                raise self._unreadable(name, error) from error
        self._check(name, name_of((content,)))
        return content

    def check(self, name: ObjectName, *, whole: bool = True) -> None:
        """Raise ObjectError if an object is missing or changed. `whole`: all of it is read, not only its size."""
        with closing(self.open(name)) as file:
            if whole:
                self._check_content(name, file)

    def problem_of(self, name: ObjectName) -> str | None:
        """Return the reason why an object is not as its name says, or None; this reads all of it."""
        try:
            self.check(name)
        except ObjectError as error:
            return error.reason
        return None

    def _check_content(self, name: ObjectName, file: BinaryIO) -> None:
        try:
            found = name_of(blocks_of(file))
        except OSError as error:
            reraise_from_handler(error)
            raise self._unreadable(name, error) from error
        self._check(name, found)

    def _unreadable(self, name: ObjectName, error: OSError) -> ObjectError:
        return ObjectError(str(self.path_of(name.digest)), f"the object cannot be read ({error})", _BACK)

    def _check(self, name: ObjectName, found: ObjectName) -> None:
        if found != name:
            reason = "the object was changed: its content has another digest"
            raise ObjectError(str(self.path_of(name.digest)), reason, _BACK)


def _state_of(name: ObjectName, found: os.stat_result) -> tuple[object, ...]:
    """Return an object with the state of its file, which differs after a write to the file."""
    return name.digest, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _Source:
    """Chunks, and the error that ended them, which is not one of the disk that they are written to."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = chunks
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[memoryview]:
        try:
            for chunk in self._chunks:
                whole = memoryview(chunk).cast("B")
                yield from (whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def _write(descriptor: int, pieces: Iterable[memoryview], is_durable: bool) -> ObjectName:
    """Write pieces to a file, sync a durable one, and return the name of its content."""
    size = 0
    with closing(_Digester()) as digester:
        for piece in pieces:
            size += len(piece)
            digester.update(piece)
            _write_all(descriptor, piece)
        if is_durable:
            # Before the digest is waited for: its thread goes on meanwhile.
            os.fsync(descriptor)
        return ObjectName(digester.digest(), size)


def _write_mapped(
    size: int, made: list[memoryview], descriptor: int, pieces: Iterable[memoryview], is_durable: bool
) -> ObjectName:
    """Do the same with a file of this size, which is mapped into memory that is put into `made`."""
    import mmap  # here, as few processes need it

    os.truncate(descriptor, size)
    try:
        memory = memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    except OSError as error:
        raise _CannotMap from error
    made.append(memory)
    at = 0
    with closing(_Digester()) as digester:
        for piece in pieces:
            _write_all(descriptor, piece)
            # The digest is computed from the file, since the piece may have changed.
            digester.update(memory[at : at + len(piece)])
            at += len(piece)
        if is_durable:
            os.fsync(descriptor)
        return ObjectName(digester.digest(), at)


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


class _CannotMap(Exception):
    """A file cannot be mapped, for example since a process may have only so many maps."""


_Writer: TypeAlias = Callable[[int, Iterable[memoryview], bool], ObjectName]
"""Writes pieces to a file, and syncs a durable one."""


class _Digester:
    """Computes a digest in a thread, if one can start: the digest of a piece takes about as long as writing it."""

    def __init__(self) -> None:
        self._content = sha256()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def update(self, piece: memoryview) -> None:
        """Add a piece, which must not change before the digest is asked for."""
        # A thread for less costs more than it saves.
        if len(piece) >= BLOCK and self._submit(piece):
            self._wait(_AHEAD)
        else:
            self._wait()
            self._content.update(piece)

    def _submit(self, piece: memoryview) -> bool:
        try:
            if self._pool is None:
                # Only now, as the import takes long.
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(1, "crystallize-digest")
            self._pending.append(self._pool.submit(self._content.update, piece))
        except RuntimeError:  # the process is ending, or has as many threads as it may have
            return False
        return True

    def _wait(self, left: int = 0) -> None:
        """Wait until no more pieces than these are missing."""
        while len(self._pending) > left:
            self._pending.popleft().result()

    def digest(self) -> str:
        """Return the digest of all pieces, in hexadecimal."""
        self._wait()
        return self._content.hexdigest()

    def close(self) -> None:
        """End the thread, without the rest if there was an error."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
