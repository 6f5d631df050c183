"""`crystallize import`: runs that another tool has recorded become runs of the folder."""

import sys
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from .._base.text import counted, one_line
from .._journal.imported_run import write_imported_run
from .._journal.run_index import summaries_of
from ..errors import CrystallizeError
from .chosen_run import DEFAULT_FOLDER, RunsFolder
from .mlflow_store import MLflowStore, StoredRun, id_tag

_INCOMPLETE = 1


class Tool(StrEnum):
    """The tools whose runs can be imported."""

    MLFLOW = "mlflow"


def import_(
    tool: Annotated[Tool, typer.Argument(help="The tool that recorded the runs.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="The tracking URI: a server, a database or a folder.")],
    experiments: Annotated[
        list[str] | None, typer.Option("--experiment", "-e", help="An experiment, by name; all without this option.")
    ] = None,
    folder: RunsFolder = DEFAULT_FOLDER,
) -> int:
    """Import the runs of an MLflow store that are not in the folder yet."""
    store = MLflowStore(uri)
    known = {tag for run in summaries_of(folder) for tag in run.tags}
    imported = skipped = problems = 0
    for run in store.runs(experiments):
        if id_tag(run.id) in known:
            skipped += 1
            continue
        try:
            found = _imported(store, run, folder)
        except CrystallizeError as error:
            found = [str(error)]
        else:
            imported += 1
        for problem in found:
            print(one_line(f"crystallize: run {run.id} of MLflow: {problem}"), file=sys.stderr)
        problems += len(found)
    print(f"imported {counted(imported, 'run')}" + (f"; {skipped} were there already" if skipped else ""))
    return _INCOMPLETE if problems else 0


def _imported(store: MLflowStore, run: StoredRun, folder: Path) -> list[str]:
    """Import a run; return sentences on the parts that could not be imported."""
    with TemporaryDirectory() as scratch:
        made, problems = store.read(run, Path(scratch))
        path = write_imported_run(folder, made)
    print(one_line(f"imported {run.id} as {path.stem}"))
    return problems
