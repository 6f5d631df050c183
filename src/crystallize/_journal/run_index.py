"""The runs of a folder in short, with an index file so that only runs that have changed are read.

The index is never needed: if it is missing, damaged, of another version or cannot be written, the runs are read. Of a
run it has the summary, and the status of the files that the summary was made of. If that has changed, or if they
changed so shortly before they were read that another change might not show, the run is read again.
"""

import os
import stat
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias
from zlib import crc32

from pydantic_core import from_json, to_json

from .find import run_names
from .spool_format import has_writer
from .summary_row import RunSummary

INDEX: Final = ".crystallize-index"
"""The name of the file, in the folder of the runs."""
_VERSION: Final = b"crystallize index 1"
_BESIDE: Final = (".db-wal", ".db-journal", ".spool")
_UNSETTLED: Final = 2 * 10**9
"""Nanoseconds after a change in which another one may leave the same times: file systems have times this coarse."""

_Files: TypeAlias = list[list[int] | None]
"""The status of the database of a run, its logs and its spool; None for a file that is not there, or is empty."""
_Index: TypeAlias = dict[str, tuple[_Files, RunSummary]]
"""By the name of the run: the status of its files, and its summary."""


def summaries_of(folder: Path, *, save: bool = True) -> list[RunSummary]:
    """Return the runs of a folder in short, by name and number. Runs that have not changed are not read.

    `save`: whether the index is written if it has changed.
    """
    names = run_names(folder)
    index = _load(folder)
    known: _Index = {}
    found: list[RunSummary] = []
    beside = {name for name in os.listdir(folder) if not name.endswith(".db")} if names else set()
    is_new = len(index) != len(names)
    for name in names:
        files = _files_of(folder, name, beside)
        entry = index.get(name)
        if entry is not None and entry[0] == files:
            summary = entry[1]
        else:
            entry, summary = None, _read(folder, name, files)
        found.append(summary)
        if entry is None and _is_settled(folder, name, files, summary):
            entry, is_new = (files, summary), True
        if entry is not None:
            known[name] = entry
    if is_new and save:
        _save(folder, known)
    return found


def _read(folder: Path, name: str, files: _Files) -> RunSummary:
    """Return a run in short, given the status of its files."""
    # Here, as a fresh index needs neither these nor all that they import.
    from .ended_run import summary_of_ended

    path = folder / f"{name}.db"
    if files[1:] == [None] * len(files[1:]):
        found = summary_of_ended(path)
        # Nobody has begun to write it meanwhile: a writer makes a spool before it changes the file.
        is_same = _status(str(path)) == files[0] and not os.path.lexists(f"{folder}{os.sep}{name}.spool")
        if found is not None and is_same:
            return found
    from .run_summary import summary_of  # as above

    return summary_of(path)


def _files_of(folder: Path, name: str, beside: set[str]) -> _Files:
    """Return the status of the files of a run; `beside` has the names of all other files."""
    files = [f"{name}.db", *(f"{name}{ending}" for ending in _BESIDE if f"{name}{ending}" in beside)]
    found = {file: _status(f"{folder}{os.sep}{file}") for file in files}
    return [found.get(f"{name}{ending}") for ending in (".db", *_BESIDE)]


def _status(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:  # it was moved away, or nobody may look; reading the run says which
        return None
    # A reader may make an empty log.
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns] if found.st_size else None


def _is_settled(folder: Path, name: str, files: _Files, summary: RunSummary) -> bool:
    """Return whether a summary stays true as long as the status of the files, taken before it was read, is the same."""
    if summary.status in ("running", "unreadable") or files[0] is None:
        return False
    newest = max(status[-1] for status in files if status is not None)
    # If a spool was made since, the next look sees it.
    return time.time_ns() - newest > _UNSETTLED and (files[-1] is None or not has_writer(folder / f"{name}.spool"))


def _load(folder: Path) -> _Index:
    """Return the index of a folder; an empty one if there is none, or if it is damaged."""
    try:
        path = folder / INDEX
        if not stat.S_ISREG(path.lstat().st_mode):
            return {}
        version, check, content = path.read_bytes().split(b"\n", 2)
        if (version, int(check)) != (_VERSION, crc32(content)):
            return {}
        rows: dict[str, tuple[_Files, list[Any]]] = from_json(content)
        return {name: (files, _summary_in(row)) for name, (files, row) in rows.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _summary_in(row: list[Any]) -> RunSummary:
    """Return the summary in a row of the index."""
    run, status, scalars, started, ended, took, steps, finished, tags, *others = row
    begun, over = (None if time is None else datetime.fromisoformat(time) for time in (started, ended))
    return RunSummary(run, status, scalars, begun, over, took, steps, finished, tuple(tags), *others)


def _save(folder: Path, index: _Index) -> None:
    """Write the index of a folder, whole or not at all."""
    content = to_json(index)
    unfinished = folder / f"{INDEX}.{os.getpid()}.new"
    # The folder may be read-only, and the disk full: then the runs are read again the next time.
    with suppress(OSError):
        try:
            unfinished.write_bytes(b"\n".join((_VERSION, b"%d" % crc32(content), content)))
            unfinished.replace(folder / INDEX)
        finally:
            unfinished.unlink(missing_ok=True)
