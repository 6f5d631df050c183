"""Find the files of runs."""

import os
import re
from pathlib import Path
from stat import S_ISDIR

from .._base.text import nearest
from ..errors import JournalError, RunNotFoundError
from .untrusted_file import file_status

_FILE = re.compile(r"(.+)-(\d{4,})\.db")


def list_runs(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files of the runs in a folder, by name and number; none if there is no such folder.

    Raises:
        JournalError: The folder cannot be read.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> [path.name for path in list_runs("runs")]
        ['digits-0001.db']
    """
    folder = Path(folder)
    status = file_status(folder)
    if status is None or not S_ISDIR(status.st_mode):
        return ()
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise JournalError(str(folder), f"the folder cannot be read ({error})", "check its permissions") from error
    matches = filter(None, map(_FILE.fullmatch, names))
    keyed = [((match[1], int(match[2])), folder / match[0]) for match in matches]
    return tuple(path for _, path in sorted(keyed))


def find_run(folder: str | os.PathLike[str], name: str) -> Path:
    """Find the file of a run.

    Args:
        folder: The folder of the runs.
        name: A path; or a name with its number, "digits-0001"; or a number or the beginning of one, "1"; or a name
            alone, which means its newest run.

    Raises:
        RunNotFoundError: No run matches, or several do.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> find_run("runs", "digits").name, find_run("runs", "1").name
        ('digits-0001.db', 'digits-0001.db')
    """
    path = Path(name)
    if path.suffix == ".db" and file_status(path) is not None:
        # It may be a folder; the error of reading it says so.
        return path
    runs = list_runs(folder)
    names = {run: run.stem.rpartition("-")[0] for run in runs}
    numbers = {run: run.stem.rpartition("-")[2].lstrip("0") for run in runs}
    own = [run for run in runs if run.stem == name] or [run for run in runs if names[run] == name][-1:]
    number = (name.lstrip("0") if name.isdecimal() else "") or "none"
    numbered = [run for run in runs if numbers[run] == number]
    found = own or numbered or [run for run in runs if numbers[run].startswith(number)]
    if len(found) > 1:
        raise RunNotFoundError(
            name, f"several runs are meant: {', '.join(run.stem for run in found)}", "write the name"
        )
    if not found:
        near = nearest(name, [run.stem for run in runs])
        advice = f"did you mean {near!r}?" if near else f"`crystallize runs --dir {folder}` lists what there is"
        raise RunNotFoundError(name, f"there is no such run in {folder}", advice)
    return found[0]


def writable(path: str | os.PathLike[str]) -> Path:
    """Return a path to write to; raise JournalError if it is the file of a run."""
    found = Path(path)
    if found.suffix in (".db", ".spool") and file_status(found) is not None:
        raise JournalError(str(path), "this is the file of a run, and would be overwritten")
    return found
