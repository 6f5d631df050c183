"""The address of a folder of objects, by which another process finds out whether it can write to the same folder."""

import atexit
import os
from pathlib import Path
from typing import Final, NamedTuple

from .object_folder import UNFINISHED, ObjectFolder
from .scratch_folder import LentFolder

_TOKEN: Final = os.urandom(16).hex()
_marked: set[Path] = set()
"""The folders in which this process has put its mark."""


class FolderAddress(NamedTuple):
    """The address of a folder."""

    path: str
    mark: str
    """The name of an empty file in it. On another machine, another folder may have the same path, but not that file."""
    is_durable: bool = True

    def folder(self) -> ObjectFolder | None:
        """Return the folder if this process reaches it, or None."""
        path = Path(self.path)
        if not (path / self.mark).exists():
            return None
        return ObjectFolder(path) if self.is_durable else LentFolder(path)


def address_of(folder: ObjectFolder) -> FolderAddress | None:
    """Return the address of a folder for other processes; None if no file can be made in it."""
    mark = f"{_TOKEN}{UNFINISHED}"
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        # Each time, because a later start removes a folder whose mark is older than a day.
        (folder.path / mark).touch()
    except OSError:
        return None
    if folder.path not in _marked:
        _marked.add(folder.path)
        atexit.register(_remove, folder.path, mark, os.getpid())
    return FolderAddress(os.fspath(folder.path), mark, folder.is_durable)


def _remove(folder: Path, mark: str, process: int) -> None:
    # A forked process runs the functions of its parent at its own exit.
    if os.getpid() != process:
        return
    try:
        (folder / mark).unlink()
        folder.rmdir()
    except OSError:  # there are objects in it, as a rule; or it is gone
        return
