"""A private folder by which a process and its workers on the same machine exchange large values.

Nobody else can read it. The process holds a lock on a file in it, and removes it at the end. If the process is killed,
its lock is free, and the next process that makes such a folder beside it, or starts a run there, removes it. A process
looks for such folders at most once a minute, since there may be very many files beside them.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .file_calls import delete_and_close
from .file_lock import lock
from .file_system import create_file, open_file
from .forked_process import call_in_forked_processes
from .object_folder import LEFT_AFTER

_PREFIX: Final = "crystallize-branches-"
_OWNER: Final = "owner"
"""The name of the locked file."""

_PAUSE: Final = 60.0
"""Seconds from one search for leftovers in a folder to the next."""
_searched: dict[Path, float] = {}
"""The times of the last searches, by `time.monotonic`."""

_locked: dict[Path, int] = {}
"""The folders of this process, with the descriptors of their locked files."""


@contextmanager
def exchange_folder(parent: Path) -> Iterator[Path]:
    """Make a folder that is removed at the end; raise OSError if that is not possible."""
    if time.monotonic() >= _searched.get(parent, -_PAUSE) + _PAUSE:
        remove_leftovers(parent)
    path = _made(parent)
    try:
        yield path
    finally:
        # In a process that was forked meanwhile, the folder is left to its owner.
        if path in _locked:
            _discard(path)


def _made(parent: Path) -> Path:
    """Make a folder with a locked file."""
    while True:
        path = parent / f"{_PREFIX}{os.urandom(8).hex()}"
        path.mkdir(0o700)
        try:
            descriptor = create_file(path / _OWNER)
            _locked[path] = descriptor
            if lock(descriptor) and (path / _OWNER).exists():
                return path
        except BaseException:
            _discard(path)
            raise
        # Another process has found the file before it was locked, and removes it.
        _discard(path)


def _discard(path: Path) -> None:
    _remove(path, _locked.pop(path, None))


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of processes that died. Those of living ones, and of other users, stay."""
    _searched[parent] = time.monotonic()
    with suppress(OSError):
        for path in [parent / name for name in os.listdir(parent) if name.startswith(_PREFIX)]:
            with suppress(OSError):  # another process has removed it, or may alone
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    found = path.lstat()
    # Somebody else could have made a link to a folder of this user, which this process may change.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != getattr(os, "geteuid", lambda: found.st_uid)():
        return
    try:
        descriptor = open_file(path / _OWNER)
    except FileNotFoundError:
        # Its process was killed before it made the file; or is about to make it.
        if time.time() - found.st_mtime > LEFT_AFTER:
            _remove(path, None)
        return
    if lock(descriptor):
        _remove(path, descriptor)
    else:
        os.close(descriptor)


def _remove(path: Path, owner: int | None) -> None:
    """Remove a folder and the files in it, as far as possible, and close the locked file.

    Windows removes no file that is mapped; the next process that removes leftovers does.
    """
    is_empty = False
    with suppress(OSError):
        for name in os.listdir(path):
            if name != _OWNER:
                (path / name).unlink(missing_ok=True)
        is_empty = True
    if owner is not None:
        # Last, and only then: as long as the locked file exists, another process can finish this.
        with suppress(OSError):
            delete_and_close(owner, path / _OWNER) if is_empty else os.close(owner)
    with suppress(OSError):
        path.rmdir()


def _leave() -> None:
    """Leave the folders to the process from which this one was forked: the lock ends with the last copy of it."""
    for descriptor in _locked.values():
        os.close(descriptor)
    _locked.clear()


call_in_forked_processes(_leave)
