"""A short text that changes whenever a folder of runs, or one of its runs, changes on disk."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from .._core.digest import digest
from .._journal.spool_format import has_writer

_ENDINGS: Final = (".db", ".db-wal", ".db-journal", ".spool")


def folder_version(folder: Path, runs: Collection[str] | None = None) -> str:
    """Return the version of a folder, or of only some of its runs.

    Raises:
        OSError: The folder cannot be read.
    """
    facts: list[object] = []
    for file in sorted(os.listdir(folder)):
        name, ending = next(((file.removesuffix(end), end) for end in _ENDINGS if file.endswith(end)), ("", ""))
        if not ending or (runs is not None and name not in runs):
            continue
        path = folder / file
        try:
            found = path.stat()
        except FileNotFoundError:  # it was just removed
            continue
        # The death of a process changes no file.
        is_written = ending == ".spool" and has_writer(path)
        facts.append((file, found.st_ino, found.st_size, found.st_mtime_ns, is_written))
    return digest(os.fsencode(repr(facts)))[:16]
