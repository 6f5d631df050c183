"""The temporary folder of objects that a process has for itself, which is removed when the process ends."""

import atexit
import os
from pathlib import Path

from .forked_process import call_in_forked_processes
from .object_folder import ObjectFolder

_PREFIX = "crystallize-"

_folder: ObjectFolder | None = None


def scratch_folder() -> ObjectFolder:
    """Return the temporary folder of this process, which is made when it is first asked for."""
    global _folder
    if _folder is None or not _folder.path.exists():
        # Only now, as the import takes long.
        from tempfile import mkdtemp

        path = Path(mkdtemp(prefix=_PREFIX))
        atexit.register(_remove, path, os.getpid())
        _folder = ObjectFolder(path, is_durable=False)
    return _folder


def is_scratch(folder: ObjectFolder) -> bool:
    """Return whether a folder is a temporary one, of this process or of the one from which it was forked."""
    return not folder.is_durable and not isinstance(folder, LentFolder)


class LentFolder(ObjectFolder):
    """The temporary folder of the process that waits for the objects: an object need only be named to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, is_durable=False)


def folder_at(path: Path) -> ObjectFolder:
    """Return the folder of objects at a path, which may be the temporary folder of this process."""
    return _folder if _folder is not None and _folder.path == path else ObjectFolder(path)


def _remove(path: Path, process: int) -> None:
    # A forked process runs the functions of its parent at its own exit.
    if os.getpid() == process:
        from shutil import rmtree  # as above

        rmtree(path, ignore_errors=True)


def _leave() -> None:
    """Leave the folder to the process from which this one was forked. This one may still read it."""
    global _folder
    _folder = None


call_in_forked_processes(_leave)
