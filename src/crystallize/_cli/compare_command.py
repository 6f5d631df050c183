"""`crystallize compare`: several runs beside each other."""

from typing import Annotated, Final

import typer

from .._base.text import counted
from .._journal.run_summary import summary_of
from .._tables.export import csv_lines
from .._tables.run_rows import table_of
from ..errors import RunNotFoundError
from .chosen_run import DEFAULT_FOLDER, RunsFolder, find_all
from .output import AsCsv, AsJson, print_bytes, print_json
from .runs_command import print_runs

_COMPARED: Final = ("inputs", "values", "best")


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two runs or more, also as 'grid-*'.")],
    folder: RunsFolder = DEFAULT_FOLDER,
    in_json: AsJson = False,
    in_csv: AsCsv = False,
) -> int:
    """Compare runs: a row for each run, and a column for each input, scalar value and best metric that differs."""
    if in_json and in_csv:
        raise typer.BadParameter("--json is one document, and --csv is another")
    paths = find_all(folder, runs)
    if len(paths) < 2:
        raise RunNotFoundError(
            " ".join(runs), "this is one run, and a comparison takes two or more", "name another run"
        )
    # In the order in which they were named.
    table = table_of(map(summary_of, paths))
    same = table.shared("status", *_COMPARED)
    columns = [name for name in table.names.full if name.partition(".")[0] in _COMPARED or name == "status"]
    differing = ["run", *(name for name in columns if name not in same)]
    if in_json:
        rows = [{name: row.get(name) for name in differing} for row in table.rows]
        shared = {name: table.rows[0].get(name) for name in same}
        print_json({"runs": rows, "same": shared})
    elif in_csv:
        print_bytes(csv_lines(differing, ([row.get(name) for name in differing] for row in table.rows)))
    else:
        print_runs(table, differing)
        print(f"the same in all: {counted(len(same), 'column')}")
    return 0
