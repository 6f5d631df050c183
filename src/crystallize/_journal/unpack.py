"""Unpack an archive of a run into a folder of runs."""

import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final, NamedTuple

from .._base.file_system import make_folder, sync_folder
from .._base.object_folder import BLOCK, ObjectFolder
from .._base.signal_handlers import reraise_from_handler
from .._base.text import short
from ..errors import JournalError, ObjectError
from .curation import seal_run
from .database import connect, files_beside, state_of, transaction
from .read_run import real
from .run_objects import objects_of
from .spool import Spool

_RUN: Final = re.compile(r"[^/\\]+-\d{4,}\.(db|spool)")
_OBJECT: Final = re.compile("objects/([0-9a-f]{2})/([0-9a-f]{62})", re.ASCII)


class _Member(NamedTuple):
    info: tarfile.TarInfo
    file: IO[bytes]


def unpack_run(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Unpack an archive that `pack_run` has written into a folder of runs.

    Each object is checked against its digest. The file of the run comes last, so if this is interrupted, the run is not
    in the folder.

    Args:
        archive: The path of the archive.
        folder: The folder of runs. It is created if it does not exist.

    Returns:
        The file of the run.

    Raises:
        JournalError: The archive is not the archive of a run, or cannot be read; or the folder has a run of that name,
            or cannot be written.
        ObjectError: An object in the archive is not as its name says.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import pack_run, unpack_run
        >>> packed = pack_run("runs/digits-0001.db")
        >>> unpack_run(packed.archive, "elsewhere").name
        'digits-0001.db'
    """
    archive, folder = real(Path(archive)), real(Path(folder))
    try:
        make_folder(folder)
        with (
            tarfile.open(archive, "r:") as tar,
            TemporaryDirectory(prefix=".unpacked-", dir=folder) as scratch,
        ):
            made = _unpacked(archive, tar, Path(scratch), objects_of(folder / "any.db"))
            # A process that died has left facts in its spool. Afterwards the run is one file.
            seal_run(made)
            return _moved(made, folder)
    except tarfile.TarError as error:
        raise JournalError(str(archive), f"it is not an archive of a run ({error})") from error
    except OSError as error:
        reraise_from_handler(error)
        raise JournalError(str(archive), f"it cannot be unpacked ({error})") from error


def _unpacked(archive: Path, tar: tarfile.TarFile, scratch: Path, objects: ObjectFolder) -> Path:
    """Put the objects of an archive into a folder of objects, and the run into another folder; return its file."""
    found: dict[str, Path] = {}
    for info, file in _members(archive, tar):
        if match := _OBJECT.fullmatch(info.name):
            name = objects.put(iter(partial(file.read, BLOCK), b""))
            if name.digest != match[1] + match[2]:
                raise ObjectError(f"{archive}:{info.name}", "the object was changed: its content has another digest")
        elif (match := _RUN.fullmatch(info.name)) and match[1] not in found:
            path = found[match[1]] = scratch / info.name
            with path.open("xb") as target:
                while block := file.read(BLOCK):
                    target.write(block)
        else:
            raise JournalError(str(archive), f"it is not an archive of a run: it contains {short(info.name)}")
    if "db" not in found or found.get("spool", found["db"]).stem != found["db"].stem:
        raise JournalError(str(archive), "it is not an archive of a run: it does not contain one run")
    return found["db"]


def _members(archive: Path, tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        file = tar.extractfile(info) if info.isreg() else None
        if file is None:
            raise JournalError(str(archive), f"it is not an archive of a run: {short(info.name)} is not a file")
        yield _Member(info, file)


def _moved(made: Path, folder: Path) -> Path:
    """Move the file of a run into a folder of runs; refuse if there is a run of that name."""
    path = folder / made.name
    with closing(connect(made)) as connection, transaction(made, connection):
        identity, drained, process = state_of(made, connection)
    spool = Spool.claim(path.with_suffix(".spool"), identity, process, drained)
    taken = JournalError(str(path), "there is such a run already", "unpack the archive into another folder")
    if spool is None:
        raise taken
    try:
        if any(map(os.path.lexists, (path, *files_beside(path)))):
            raise taken
        with made.open("rb") as file:
            os.fsync(file.fileno())
        os.rename(made, path)
        sync_folder(folder)
    finally:
        spool.close(delete=True)
    return path
