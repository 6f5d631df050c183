"""Pack a run with its objects into one archive, an ordinary tar file."""

import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryDirectory
from typing import BinaryIO, NamedTuple, Protocol

from .._base.file_system import create_file, sync_folder
from .._base.object_folder import ObjectFolder, ObjectName
from .._base.signal_handlers import reraise_from_handler
from ..errors import JournalError, ObjectError
from .database import connect, transaction
from .find import writable
from .read_run import read, real
from .run_objects import objects_of
from .spool_format import has_writer


class Packed(NamedTuple):
    """An archive of a run.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import pack_run
        >>> packed = pack_run("runs/digits-0001.db")
        >>> packed.archive.name, packed.objects
        ('digits-0001.tar', 0)
    """

    archive: Path
    objects: int
    """The number of files in `objects` that the run names."""
    size: int
    """The size of the archive in bytes."""


def pack_run(path: str | os.PathLike[str], archive: str | os.PathLike[str] | None = None) -> Packed:
    """Pack a run and the objects that it names into one archive, a part at a time.

    The archive is a tar file without compression. Unpacked into any folder, as by `tar -xf digits-0001.tar -C runs`, it
    is a run that can be loaded, verified and resumed.

    Args:
        path: The file of the run.
        archive: The archive to write, which must not exist; by default NAME.tar beside the file of the run.

    Returns:
        The path and size of the archive, and the number of objects in it.

    Raises:
        RunNotFoundError: There is no such run.
        JournalError: The run is being written, or cannot be read; or the archive exists, or cannot be written.
        ObjectError: An object that the run names is missing or changed.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> _ = pack_run("runs/digits-0001.db", "digits.tar")
        >>> import tarfile
        >>> with tarfile.open("digits.tar") as file:
        ...     file.extractall("elsewhere", filter="data")
        >>> load_run("elsewhere/digits-0001.db").values["lr"]
        0.1
    """
    path = real(Path(path))
    target = path.with_suffix(".tar") if archive is None else real(writable(archive))
    named = {name: what for what, name in read(path).objects()}
    try:
        with _new_file(target) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _add_run(tar, path, target.parent)
            for name in sorted(named):
                _add_object(tar, objects_of(path), name)
    except OSError as error:
        reraise_from_handler(error)
        advice = "make room, or name another file"
        raise JournalError(str(target), f"the archive cannot be written ({error})", advice) from error
    return Packed(target, len(named), target.stat().st_size)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file that has its name once it is complete and durable."""
    if os.path.lexists(path):
        raise JournalError(str(path), "there is such a file already", "name another one, or delete it")
    unfinished = path.with_name(f"{path.name}.new")
    # It may be left of a process that died.
    unfinished.unlink(missing_ok=True)
    descriptor = create_file(unfinished)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # the error that comes out says more
            unfinished.unlink()
        raise


def _add_run(tar: tarfile.TarFile, path: Path, room: Path) -> None:
    """Add the file of a run, and the spool of one that died, which has its last facts."""
    spool = path.with_suffix(".spool")
    with (
        TemporaryDirectory(prefix=f".{path.stem}-", dir=room) as folder,
        closing(connect(path)) as connection,
        transaction(path, connection),
    ):
        copied = Path(folder, path.name)
        with closing(sqlite3.connect(copied)) as target:
            connection.backup(target)
            # One file, which needs no log beside it.
            target.execute("PRAGMA journal_mode=DELETE")
        content = spool.read_bytes() if spool.exists() else None
        if has_writer(spool):
            raise JournalError(str(path), "the run is being written", "pack it when it has ended")
        with copied.open("rb") as file:
            _add(tar, path.name, file, copied.stat().st_size, path.stat())
    if content is not None:
        _add(tar, spool.name, BytesIO(content), len(content), path.stat())


def _add_object(tar: tarfile.TarFile, objects: ObjectFolder, name: ObjectName) -> None:
    path = objects.path_of(name.digest)
    with closing(objects.open(name)) as file:
        reader = _DigestReader(file)
        member = path.relative_to(objects.path.parent).as_posix()
        _add(tar, member, reader, name.size, os.fstat(file.fileno()))
    if reader.content.hexdigest() != name.digest:
        advice = "`crystallize verify` names all that is wrong with the run"
        raise ObjectError(str(path), "the object was changed: its content has another digest", advice)


class _Reader(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _DigestReader:
    """Reads a file, and computes the digest of the content."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.content = sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        block = self._file.read(size)
        self.content.update(block)
        return block


def _add(tar: tarfile.TarFile, name: str, file: _Reader, size: int, like: os.stat_result) -> None:
    """Add a file, with the time and the mode of another one. The names of users are nobody else's business."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, int(like.st_mtime), S_IMODE(like.st_mode)
    tar.addfile(member, file)
