"""The commands that change runs: `note`, `tag`, `rename`, `rm`, `seal` and `gc`."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from .._base.text import counted, one_line
from .._journal.child_runs import children_of
from .._journal.curation import note_run, remove_run, rename_run, seal_run, tag_run
from .._journal.garbage import remove_unused_objects
from .._journal.loaded_run import load_run
from ..errors import JournalError, RunNotFoundError
from .chosen_run import DEFAULT_FOLDER, RunName, RunsFolder, find, find_all, reporting_damage

_DECLINED: Final = 1


def note(
    run: RunName,
    text: Annotated[str | None, typer.Argument(help="The note; an empty text removes it.")] = None,
    folder: RunsFolder = DEFAULT_FOLDER,
) -> int:
    """Set the note of a run, or of all runs that match a pattern; print it if no text is given."""
    paths = find_all(folder, [run])
    for path in paths:
        with reporting_damage(path):
            if text is not None:
                note_run(path, text)
            else:
                print(_heading(path, paths), end="")
                print(*map(one_line, (load_run(path).note or "").splitlines()), sep="\n")
    return 0


def tag(
    run: RunName,
    tags: Annotated[list[str] | None, typer.Argument(help="The tags to add.")] = None,
    removed: Annotated[list[str] | None, typer.Option("--remove", "-r", help="A tag to remove.")] = None,
    folder: RunsFolder = DEFAULT_FOLDER,
) -> int:
    """Add tags to a run, or to all runs that match a pattern, remove others, and print the tags that it has."""
    paths = find_all(folder, [run])
    for path in paths:
        with reporting_damage(path):
            is_change = bool(tags or removed)
            found = tag_run(path, *(tags or ()), remove=removed or ()) if is_change else load_run(path).tags
        print(f"{_heading(path, paths)}{one_line(', '.join(found))}")
    return 0


def _heading(path: Path, paths: list[Path]) -> str:
    """Return the name of one of several runs, to be printed before its words; nothing if it is the only run."""
    return f"{one_line(path.stem)}: " if len(paths) > 1 else ""


def rename(
    run: RunName,
    name: Annotated[str, typer.Argument(help="The new name, without a number.")],
    folder: RunsFolder = DEFAULT_FOLDER,
) -> int:
    """Give a run another name, and the next number of that name."""
    path = find(folder, run)
    with reporting_damage(path):
        renamed = rename_run(path, name)
    print(one_line(f"renamed {path.stem} to {renamed.stem}"))
    return 0


def rm(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, also as 'grid-*'.")],
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    is_forced: Annotated[bool, typer.Option("--force", "-f", help="Delete runs that others reuse, too.")] = False,
    folder: RunsFolder = DEFAULT_FOLDER,
) -> int:
    """Delete runs, after asking. Their large artifacts stay until `gc`."""
    paths = list(dict.fromkeys(find_all(folder, runs)))
    if not is_forced:
        _check_unused(paths)
    if not is_sure:
        names = one_line(", ".join(path.stem for path in paths))
        if not _can_ask():
            raise JournalError(names, "nobody can be asked whether to delete this", "say --yes")
        if not typer.confirm(f"Delete {names}?"):
            print("nothing was deleted")
            return _DECLINED
    for path in paths:
        remove_run(path)
        print(one_line(f"deleted {path.stem}"))
    return 0


def _check_unused(paths: list[Path]) -> None:
    """Raise JournalError if a run that is not to be deleted takes steps over from one that is."""
    for path in paths:
        if children := [child.stem for child in children_of(path) if child not in paths]:
            verb = "takes" if len(children) == 1 else "take"
            reason = f"{', '.join(children)} {verb} steps over from this run, and would take no more when resumed"
            raise JournalError(str(path), reason, "delete those runs too, or say --force")


def _can_ask() -> bool:
    """Return whether a user can answer a question."""
    return sys.stdin.isatty()


def seal(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, also as 'grid-*'.")],
    folder: RunsFolder = DEFAULT_FOLDER,
) -> int:
    """Bring the spools of runs whose process died into their files, and delete the spools, of 16 MiB each."""
    for path in dict.fromkeys(find_all(folder, runs)):
        with reporting_damage(path):
            was_sealed = seal_run(path)
        print(one_line(f"sealed {path.stem}" if was_sealed else f"{path.stem} has no spool"))
    return 0


def gc(folder: RunsFolder = DEFAULT_FOLDER) -> int:
    """Remove the large artifacts and parts of values that no run of the folder names."""
    if not folder.is_dir():
        raise RunNotFoundError(str(folder), "there is no such folder", "--dir or CRYSTALLIZE_RUNS says where runs are")
    with reporting_damage(folder):
        removed = remove_unused_objects(folder)
    print(f"removed {counted(removed.objects, 'object')}, {counted(removed.size, 'byte')}")
    return 0
