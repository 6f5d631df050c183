"""`crystallize runs`: a line for each run of a folder."""

from pathlib import Path

from .._base.table import Table
from .._base.text import moment, one_line, took
from .._journal.find import list_runs
from .._journal.loaded_run import load_run
from .._tables.run_description import Overview, overview, unreadable
from ..errors import JournalError, RunNotFoundError
from .chosen_run import DEFAULT_FOLDER, RunsFolder, reporting_damage
from .output import AsJson, print_json, print_table


def runs(folder: RunsFolder = DEFAULT_FOLDER, in_json: AsJson = False) -> int:
    """List the runs of a folder, one a line."""
    if not folder.is_dir():
        raise RunNotFoundError(str(folder), "there is no such folder", "--dir or CRYSTALLIZE_RUNS says where runs are")
    found = [_overview(path) for path in list_runs(folder)]
    if in_json:
        print_json(found)
    elif found:
        headings = ("run", "status", "started (UTC)", "took", "steps finished", "takes steps from", "error")
        print_table(Table("", headings, [*map(_cells, found)]), cut=True)
    else:
        print(f"no runs in {one_line(str(folder))}")
    return 0


def _overview(path: Path) -> Overview:
    try:
        with reporting_damage(path):
            return overview(load_run(path))
    except JournalError as error:
        return unreadable(path.stem, error)
    except OSError as error:
        return unreadable(path.stem, JournalError(str(path), f"it cannot be read ({error})"))


def _cells(run: Overview) -> tuple[str | None, ...]:
    steps = f"{run.steps_finished} of {run.steps}" if run.steps else None
    error = run.error and one_line(run.error)
    return run.name, run.status, moment(run.started), took(run.seconds), steps, run.parent, error
