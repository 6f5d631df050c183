"""Find the files of runs."""

import os
import re
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from stat import S_ISDIR

from .._base.text import nearest
from ..errors import JournalError, RunNotFoundError
from .untrusted_file import file_status

_FILE = re.compile(r"(.+)-(\d{4,})\.db")
_LISTED = 20
"""Maximum number of names in an error."""


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
    return tuple(folder / f"{name}.db" for name in run_names(folder))


def run_names(folder: Path) -> list[str]:
    """Return the names of the runs in a folder, by name and number; none if there is no such folder."""
    status = file_status(folder)
    if status is None or not S_ISDIR(status.st_mode):
        return []
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise JournalError(str(folder), f"the folder cannot be read ({error})", "check its permissions") from error
    matches = filter(None, map(_FILE.fullmatch, names))
    return [f"{name}-{digits}" for name, _, digits in sorted((match[1], int(match[2]), match[2]) for match in matches)]


def find_run(folder: str | os.PathLike[str], name: str) -> Path:
    """Find the file of a run.

    Args:
        folder: The folder of the runs.
        name: A path; a name with its number, "digits-0001"; a number or its beginning, "1"; a name, which means its
            newest run; or a pattern that one run matches, `"digits-*7"`.

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
    if not found and has_magic(name):
        found = [*find_runs(folder, name)]
    if not found:
        near = nearest(name, [run.stem for run in runs])
        advice = f"did you mean {near!r}?" if near else f"`crystallize runs --dir {folder}` lists the runs"
        raise RunNotFoundError(name, f"there is no such run in {folder}", advice)
    return _only(name, found)


def _only(name: str, found: list[Path]) -> Path:
    """Return the only run that a name means; raise RunNotFoundError if it means several."""
    if len(found) > 1:
        listed = ", ".join(run.stem for run in found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
        raise RunNotFoundError(name, f"several runs are meant: {listed}", "write the name")
    return found[0]


def find_runs(folder: str | os.PathLike[str], name: str) -> tuple[Path, ...]:
    """Return the files of the runs that a name means: of several if it is a pattern, as "grid-*", else of one.

    Raises:
        RunNotFoundError: No run matches, or several do though the name is no pattern.
    """
    names = run_names(Path(folder))
    is_name = name in names or any(run.rpartition("-")[0] == name for run in names)
    if is_name or not has_magic(name) or file_status(Path(name)) is not None:
        return (find_run(folder, name),)
    if os.sep in name or name.endswith(".db"):
        found = [path for path in map(Path, sorted(glob(name))) if path.suffix == ".db"]
    else:
        found = [Path(folder, f"{run}.db") for run in names if fnmatchcase(run, name)]
    if not found:
        raise RunNotFoundError(name, f"no run in {folder} matches", f"`crystallize runs --dir {folder}` lists the runs")
    return tuple(found)


def writable(path: str | os.PathLike[str]) -> Path:
    """Return a path to write to; raise JournalError if it is the file of a run."""
    found = Path(path)
    if found.suffix in (".db", ".spool") and file_status(found) is not None:
        raise JournalError(str(path), "this is the file of a run, and would be overwritten")
    return found
