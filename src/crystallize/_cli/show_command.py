"""`crystallize show`: all there is to say of a run, once or again and again."""

from typing import Annotated

import typer

from .._journal.loaded_run import load_run
from .._tables.run_description import describe
from .chosen_run import DEFAULT_FOLDER, RunName, RunsFolder, find, reporting_damage
from .output import AsJson, print_json, print_table
from .show_tables import tables_of
from .watch import watch


def show(
    run: RunName,
    folder: RunsFolder = DEFAULT_FOLDER,
    watched: Annotated[bool, typer.Option("--watch", help="Follow it until it ends; Ctrl-C leaves it alone.")] = False,
    with_packages: Annotated[bool, typer.Option("--origin", help="List the packages with their versions.")] = False,
    in_json: AsJson = False,
) -> int:
    """Show the inputs, steps, values and metrics of a run, or follow a run that is running."""
    if watched and in_json:
        raise typer.BadParameter("--json is one document, and --watch is none")
    if watched:
        try:
            path = find(folder, run)
            with reporting_damage(path):
                watch(path, with_packages=with_packages)
        except KeyboardInterrupt:
            return 130  # as of a command that Ctrl-C has killed, so that `&&` does not go on as if the run were over
        return 0
    path = find(folder, run)
    with reporting_damage(path):
        description = describe(load_run(path), in_short=not in_json)
        if in_json:
            print_json(description)
        else:
            for table in tables_of(description, with_packages=with_packages):
                print_table(table)
    return 0
