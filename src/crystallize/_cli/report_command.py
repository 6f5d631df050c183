"""`crystallize report`: a run as one HTML page, beside others to compare it with."""

from pathlib import Path
from typing import Annotated

import typer

from .._base.text import one_line
from .._page.html_page import write_report
from .chosen_run import DEFAULT_FOLDER, RunsFolder, find_all, load, reporting_damage
from .output import AsJson, print_json


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="The run, and others to compare it with.")],
    folder: RunsFolder = DEFAULT_FOLDER,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; by default, NAME.html.")] = None,
    in_json: AsJson = False,
) -> int:
    """Write a run as one HTML page, beside others to compare it with."""
    loaded = [*map(load, find_all(folder, runs))]
    page = output if output is not None else Path(f"{loaded[0].name}.html")
    with reporting_damage(loaded[0].path):
        write_report(loaded[0], page, beside=loaded[1:])
    if in_json:
        print_json({"page": str(page), "runs": [run.name for run in loaded]})
    else:
        print(f"wrote {one_line(str(page))}")
    return 0
