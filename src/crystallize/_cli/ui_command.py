"""`crystallize ui`: the runs of a folder in a browser."""

import webbrowser
from typing import Annotated

import typer

from .._base.text import one_line
from ..errors import RunNotFoundError
from .chosen_run import DEFAULT_FOLDER, RunsFolder


def ui(
    folder: RunsFolder = DEFAULT_FOLDER,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> int:
    """Show the runs of a folder in a browser, live, until Ctrl-C ends it."""
    if not folder.is_dir():
        raise RunNotFoundError(str(folder), "there is no such folder", "--dir or CRYSTALLIZE_RUNS says where runs are")
    from .._ui.server import serve  # here, as the other subcommands do without it

    def started(address: str) -> None:
        print(f"runs in {one_line(str(folder))} at {address}", flush=True)
        if not no_browser:
            webbrowser.open(address)

    try:
        serve(folder.absolute(), port, started)
    except KeyboardInterrupt:  # Ctrl-C is how it ends
        print()
    return 0
