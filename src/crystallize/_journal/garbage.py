"""Remove the objects that no run of their folder names."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryFile
from typing import Final, NamedTuple

from .._base.object_folder import ObjectName
from ..errors import JournalError, RunInUseError
from .curation import seal_run
from .find import list_runs
from .read_run import read, real
from .run_objects import objects_of
from .spool_format import has_writer

_DIGEST: Final = re.compile("[0-9a-f]{64}", re.ASCII)


class Removed(NamedTuple):
    """The objects that were removed.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import remove_unused_objects
        >>> remove_unused_objects("runs")
        Removed(objects=0, size=0)
    """

    objects: int
    """Their number."""
    size: int
    """Their bytes together."""


def remove_unused_objects(folder: str | os.PathLike[str]) -> Removed:
    """Remove the files in the folder `objects` that no run of a folder names, as those of runs that were removed.

    Runs whose process died are sealed first; see `seal_run`. If any run cannot be read, nothing is removed, since its
    objects are not known.

    Args:
        folder: The folder of the runs.

    Returns:
        How many objects were removed, and their size.

    Raises:
        RunInUseError: A run of the folder is being written.
        JournalError: A run cannot be read, or an object cannot be deleted.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     journal.context(FrozenContext, {"lr": 0.1}).artifacts.add("model", bytes(2_000_000))

        >>> from crystallize.runs import remove_run, remove_unused_objects
        >>> remove_run("runs/digits-0001.db")
        >>> remove_unused_objects("runs")
        Removed(objects=1, size=2000000)
    """
    folder = real(Path(folder))
    # Only the folder of this path counts.
    objects = objects_of(folder / "any.db").path
    try:
        now = _time_in(objects) if objects.is_dir() else 0
        runs = list_runs(folder)
        _check_unwritten(runs)
        named = {name.digest for path in runs for name in _objects_in(path)}
        unused = [(path, size) for digest, path, size in _stored(objects, now) if digest not in named]
        # A run that has begun meanwhile may name an object that it found there.
        _check_unwritten(list_runs(folder))
        for path, _ in unused:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise JournalError(str(folder), f"an object cannot be deleted ({error})", "see to its permissions") from error
    return Removed(len(unused), sum(size for _, size in unused))


def _time_in(folder: Path) -> int:
    """Return the time by the clock of the file system, which may be on another machine."""
    with TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _check_unwritten(runs: tuple[Path, ...]) -> None:
    for path in runs:
        if has_writer(path.with_suffix(".spool")):
            raise RunInUseError(str(path))


def _objects_in(path: Path) -> Iterator[ObjectName]:
    seal_run(path)
    return (name for _, name in read(path).objects())


def _stored(objects: Path, before: int) -> Iterator[tuple[str, Path, int]]:
    """Return the digest, path and size of each object that was written before a time."""
    for path in objects.glob("??/*"):
        digest = f"{path.parent.name}{path.name}"
        status = path.lstat()
        if _DIGEST.fullmatch(digest) and S_ISREG(status.st_mode) and status.st_mtime_ns < before:
            yield digest, path, status.st_size
