"""The run that a user names on the command line: the arguments for it, and how it is found and loaded."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from .._journal.find import find_run, find_runs
from ..errors import CrystallizeError, DamagedRunError

if TYPE_CHECKING:
    from .._journal.loaded_run import Run

RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="digits-0001, digits (its newest), 1, or a file.")
]
RunsFolder: TypeAlias = Annotated[Path, typer.Option("--dir", envvar="CRYSTALLIZE_RUNS", help="The runs' folder.")]
DEFAULT_FOLDER: Final = Path("runs")


def find(folder: Path, name: str) -> Path:
    """Return the file of a run."""
    with reporting_damage(name):
        return find_run(folder, name)


def find_all(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of the runs that some names and patterns mean; a run that a pattern adds again is left out."""
    found: list[Path] = []
    for name in names:
        with reporting_damage(name):
            paths = find_runs(folder, name)
        found += [path for path in paths if len(paths) == 1 or path not in found]
    return found


def load(path: Path) -> "Run[Any]":
    """Load a run with all its values and points."""
    from .._journal.loaded_run import load_run  # here, as a list of runs does without it

    with reporting_damage(path):
        run: Run[Any] = load_run(path)
        run.context  # noqa: B018  # made when it is first read
        return run


@contextmanager
def reporting_damage(name: object) -> Iterator[None]:
    """Raise DamagedRunError in place of any unexpected error in reading a run, as a traceback would not help a user."""
    try:
        yield
    except (CrystallizeError, OSError):
        raise
    except Exception as error:
        raise DamagedRunError(str(name), f"it cannot be read ({type(error).__name__}: {error})") from error
