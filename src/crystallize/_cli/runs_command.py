"""`crystallize runs`: a line for each run of a folder."""

from typing import Annotated, Final, TypeAlias

import typer

from .._base.collector import collector_paused
from .._base.table import Table
from .._base.text import one_line
from .._tables.run_rows import RunRows, cells, chosen_runs, flat, read_runs
from ..errors import RunNotFoundError
from .chosen_run import DEFAULT_FOLDER, RunsFolder
from .output import AsCsv, AsJson, print_bytes, print_json, print_lines

_Text: TypeAlias = str | None
_HEADINGS: Final = {"started": "started (UTC)", "ended": "ended (UTC)", "parent": "takes steps from"}


def runs(
    folder: RunsFolder = DEFAULT_FOLDER,
    where: Annotated[_Text, typer.Option(help="A condition: \"lr < 0.1 and status == 'finished'\".")] = None,
    sort: Annotated[_Text, typer.Option(help="A column, or several: lr,accuracy:desc.")] = None,
    columns: Annotated[_Text, typer.Option(help="The columns beside the name: lr,accuracy.")] = None,
    last: Annotated[int | None, typer.Option(min=0, help="Only so many, the newest.")] = None,
    in_json: AsJson = False,
    in_csv: AsCsv = False,
) -> int:
    """List the runs of a folder, one a line, the newest last."""
    if in_json and in_csv:
        raise typer.BadParameter("--json is one document, and --csv is another")
    if not folder.is_dir():
        raise RunNotFoundError(str(folder), "there is no such folder", "--dir or CRYSTALLIZE_RUNS says where runs are")
    table = chosen_runs(read_runs(folder), where, sort, last)
    chosen = table.names.full if columns is None or not table.rows else table.columns(columns.split(","))
    if in_json:
        print_json([{name: row.get(name) for name in chosen} for row in table.rows])
    elif in_csv:
        from .._tables.export import csv_lines  # as for JSON

        print_bytes(csv_lines(chosen, ([flat(row.get(name)) for name in chosen] for row in table.rows)))
    elif table.rows:
        print_runs(table, table.default_columns() if columns is None else chosen)
    else:
        print(f"no runs in {one_line(str(folder))}" if where is None else "no run fulfils the condition")
    return 0


@collector_paused()
def print_runs(table: RunRows, columns: list[str]) -> None:
    """Print a table of runs, with the shortest names of the columns."""
    headings = [_HEADINGS.get(name, table.names.shortest(name)) for name in columns]
    print_lines(Table("", headings, cells(table.rows, columns)))
