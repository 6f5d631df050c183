"""The `crystallize` command, made of its subcommands."""

import signal
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module
from io import TextIOWrapper
from keyword import iskeyword
from typing import TYPE_CHECKING, Final, NoReturn, ParamSpec

from .._base.text import one_line
from ..errors import CrystallizeError, MissingExtraError

if TYPE_CHECKING:
    import typer

_P = ParamSpec("_P")
_PAGE = "docs/command.md"
_REFUSED = 2


def main() -> None:
    """Run the command with the arguments of the process, and exit.

    The status is 0; 1 if runs differ, one does not verify or stubs are stale; 2 if the command cannot be carried out;
    130 if Ctrl-C ended it.
    """
    # Here and in `commands`, since the package works without them, and this file has to say that they are missing.
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as missing:
        if sys.argv[1:2] == ["explain"] and sys.argv[2:]:
            # Each traceback names this call, so it has to work without the extra.
            raise SystemExit(_explained(sys.argv[2])) from None
        raise SystemExit(_refused(MissingExtraError(str(missing.name), "cli"))) from None
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        # End silently when the reader of a pipe ends, like other commands in front of `head`.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, TextIOWrapper):
        # A run may contain characters that the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    chosen = sys.argv[1:2]
    commands(chosen if {*chosen} & {*SUBCOMMANDS} else None)(prog_name="crystallize")


def commands(names: Iterable[str] | None = None) -> "typer.Typer":
    """Return the command with these subcommands, by default with all. typer and rich have to be installed."""
    import typer

    app = typer.Typer(
        help="Look at the runs that journals keep in files: list, show, watch, compare, export, check, pack and curate "
        "them. Only note, tag, rename, rm, seal and gc change runs. Import runs of MLflow. And write stubs.",
        epilog=_examples("runs", "show digits", "show --watch digits", "diff 1 2", "report digits"),
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Arguments of a user may contain brackets, which are not markup.
        rich_markup_mode=None,
    )
    # With a callback, an app of one subcommand asks for its name too.
    app.callback()(lambda: None)
    for name in SUBCOMMANDS if names is None else names:
        module, *calls = SUBCOMMANDS[name]
        # A function cannot be named as a keyword is.
        subcommand = getattr(import_module(f".{module}", __package__), f"{name}_" if iskeyword(name) else name)
        app.command(name, epilog=_examples(*calls))(_exiting(subcommand))
    return app


SUBCOMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "runs": (
        "runs_command",
        *("runs", "runs --sort accuracy:desc", "runs --where 'lr < 0.1' --columns lr,accuracy --csv"),
    ),
    "show": ("show_command", "show digits", "show 1 --json", "show --watch digits"),
    "compare": ("compare_command", "compare 1 2 3", "compare 'grid-*' --csv"),
    "diff": ("diff_command", "diff 1 2", "diff digits-0001 backup/digits-0001.db --json"),
    "export": (
        "export_command",
        *("export 1", "export 1 --format csv --what values", "export 1 --format parquet -o 1.parquet"),
    ),
    "report": ("report_command", "report digits", "report 1 2 -o both.html"),
    "ui": ("ui_command", "ui", "ui --dir runs --port 8080 --no-browser"),
    "explain": ("explain_command", "explain UnknownKeyError"),
    "verify": ("verify_command", "verify digits", "verify runs/digits-0001.db"),
    "pack": ("pack_command", "pack digits", "pack 1 -o digits.tar"),
    "unpack": ("unpack_command", "unpack digits-0001.tar"),
    "import": ("import_command", "import mlflow sqlite:///mlflow.db", "import mlflow http://localhost:5000 -e digits"),
    "note": ("curating_commands", 'note digits "the baseline"', "note digits"),
    "tag": ("curating_commands", "tag digits paper baseline", "tag digits -r paper"),
    "rename": ("curating_commands", "rename 3 baseline"),
    "rm": ("curating_commands", "rm 1 2", "rm digits-0001 --yes"),
    "seal": ("curating_commands", "seal 1"),
    "gc": ("curating_commands", "gc"),
    "stubs": ("stubs_command", "stubs pipeline.schemas", "stubs pipeline.schemas -o stubs --check"),
}
"""The subcommands: the file of each, which is imported when it is needed, and calls for its help text."""


def _explained(name: str) -> int:
    from .explanation import explanation_of  # here, as most calls do without it

    try:
        print(explanation_of(name))
    except CrystallizeError as error:
        return _refused(error)
    return 0


def _examples(*arguments: str) -> str:
    """Return the text below a help text."""
    calls = "\n".join(f"  crystallize {call}" for call in arguments)
    # click does not wrap the paragraph after \b.
    return f"\b\nExamples:\n{calls}\n\nMore in {_PAGE}."


def _exiting(subcommand: Callable[_P, int]) -> Callable[_P, NoReturn]:
    """Return a function that runs a subcommand and exits with its status, or with a line that says why it failed."""

    @wraps(subcommand)
    def run_and_exit(*args: _P.args, **kwargs: _P.kwargs) -> NoReturn:
        try:
            status = subcommand(*args, **kwargs)
        except (CrystallizeError, OSError) as error:
            status = _refused(error)
        raise SystemExit(status)

    return run_and_exit


def _refused(error: CrystallizeError | OSError) -> int:
    """Print an error, and the page that explains it, each on a line of stderr, and return the exit status."""
    for line in (f"crystallize: {error}", *getattr(error, "__notes__", ())):
        print(one_line(line), file=sys.stderr)
    return _REFUSED
