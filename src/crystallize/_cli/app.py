"""The `crystallize` command: a thin face over the runs in a folder."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, ParamSpec, TypeAlias

from .._base.table import Table
from .._base.text import counted, moment, one_line, took
from .._journal.loaded_run import Run, compared, find_run, list_runs, load_run, verify_run, writable
from .._page.html_page import write_report
from .._stubs.stubs import make_stubs
from .._tables.export import (
    Overview,
    PointRow,
    ValueRow,
    as_json,
    csv_of_points,
    csv_of_values,
    describe,
    document,
    json_lines,
    overview,
    point_rows,
    unreadable,
    value_rows,
)
from .._tables.frames import write_arrow, write_parquet
from ..errors import CrystallizeError, DamagedRunError, FrameError, JournalError, MissingExtraError, RunNotFoundError
from .terminal import print_table, tables_of
from .watch import watch

if TYPE_CHECKING:
    import typer

__all__ = ["commands", "main"]

_P = ParamSpec("_P")
_Format: TypeAlias = Literal["jsonl", "csv", "parquet", "arrow"]
_What: TypeAlias = Literal["values", "points"]
_FOLDER = Path("runs")
_PAGE = "docs/command.md"
_STUBS = Path("stubs")

# What is met on the way is told by the exit status, too.
_DIFFERS = 1
_REFUSED = 2
_INTERRUPTED = 130
"""As of a command that Ctrl-C has killed: whoever waits for the end of a run is told that this is not it."""


def main() -> None:
    """Run the command, with the arguments that the process was given.

    Raises:
        SystemExit: Always: 0; 1 where runs differ, one does not verify or stubs are stale; 2 where it cannot be done;
            130 where Ctrl-C ended it.
    """
    try:
        command = commands()
    except ModuleNotFoundError as missing:
        raise SystemExit(_refused(MissingExtraError(str(missing.name), "cli"))) from None
    # As other commands do when `head` has seen enough.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, TextIOWrapper):
        # Not all that a run holds may be in the terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    command(prog_name="crystallize")


def commands() -> "typer.Typer":
    """Return the command with its subcommands.

    Raises:
        ModuleNotFoundError: typer or rich is not installed.
    """
    # Here, since the package does without them, and this file is to say so where they are missing.
    import rich  # noqa: F401
    import typer

    name = typer.Argument(metavar="RUN", help="digits-0001, digits (its newest), 1, or a file.")
    against = typer.Argument(metavar="OTHER", help="The run to compare it with.")
    folder = typer.Option("--dir", envvar="CRYSTALLIZE_RUNS", help="The runs' folder.")
    json = typer.Option("--json", help="Print one JSON document.")
    app = typer.Typer(
        help="Look at the runs that journals keep in files: list, show, watch, compare, export and check them; no file "
        "of a run is changed by that. And write stubs.",
        epilog=_examples("runs", "show digits", "show --watch digits", "diff 1 2", "report digits"),
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Plain, since what a user gave as an argument is no markup.
        rich_markup_mode=None,
    )

    @app.command("runs", epilog=_examples("runs", "runs --dir sweeps --json"))
    def list_all(dir: Annotated[Path, folder] = _FOLDER, in_json: Annotated[bool, json] = False) -> None:
        """List the runs of a folder, one a line."""
        _end(_runs, dir, in_json)

    @app.command(epilog=_examples("show digits", "show 1 --json", "show --watch digits"))
    def show(
        run: Annotated[str, name],
        dir: Annotated[Path, folder] = _FOLDER,
        watched: Annotated[
            bool, typer.Option("--watch", help="Follow it until it ends; Ctrl-C leaves it alone.")
        ] = False,
        in_json: Annotated[bool, json] = False,
    ) -> None:
        """Show what a run was, did and made, or follow one that is running."""
        if watched and in_json:
            raise typer.BadParameter("--json is one document, and --watch is none")
        if watched:
            _end(_watch, dir, run)
        _end(_show, dir, run, in_json)

    @app.command(epilog=_examples("diff 1 2", "diff digits-0001 backup/digits-0001.db --json"))
    def diff(
        one: Annotated[str, name],
        other: Annotated[str, against],
        dir: Annotated[Path, folder] = _FOLDER,
        in_json: Annotated[bool, json] = False,
    ) -> None:
        """Compare two runs, times aside. The exit status is 1 if they differ."""
        _end(_diff, dir, one, other, in_json)

    @app.command(
        epilog=_examples("export 1", "export 1 --format csv --what values", "export 1 --format parquet -o 1.parquet")
    )
    def export(
        run: Annotated[str, name],
        dir: Annotated[Path, folder] = _FOLDER,
        format: Annotated[_Format, typer.Option(help="jsonl: an object a line; parquet, arrow: columns.")] = "jsonl",
        what: Annotated[_What | None, typer.Option(help="By default the points; in jsonl both.")] = None,
        output: Annotated[
            str | None, typer.Option("--output", "-o", help="A file, in place of stdout; of columns, a URL too.")
        ] = None,
        in_json: Annotated[bool, json] = False,
    ) -> None:
        """Write out the values and points of a run, for other programs."""
        if in_json and format != "jsonl":
            raise typer.BadParameter(f"--json is one document, and --format {format} is none")
        if what == "values" and format in _TABLES:
            raise typer.BadParameter(f"--format {format} is a table of the points; values are no points")
        _end(_export, dir, run, "json" if in_json else format, what, output)

    @app.command(epilog=_examples("report digits", "report 1 2 -o both.html"))
    def report(
        runs: Annotated[list[str], typer.Argument(metavar="RUN", help="The run, and others to compare it with.")],
        dir: Annotated[Path, folder] = _FOLDER,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; by default, NAME.html.")] = None,
        in_json: Annotated[bool, json] = False,
    ) -> None:
        """Write a run as one HTML page, beside others to compare it with."""
        _end(_report, dir, runs, output, in_json)

    @app.command(epilog=_examples("verify digits", "verify runs/digits-0001.db"))
    def verify(
        run: Annotated[str, name], dir: Annotated[Path, folder] = _FOLDER, in_json: Annotated[bool, json] = False
    ) -> None:
        """Check the file of a run. The exit status is 1 if something is wrong with it."""
        _end(_verify, dir, run, in_json)

    @app.command(epilog=_examples("stubs pipeline.schemas", "stubs pipeline.schemas -o stubs --check"))
    def stubs(
        modules: Annotated[list[str], typer.Argument(metavar="MODULE", help="Where the schemas are declared.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="A folder of stubs.")] = _STUBS,
        check: Annotated[
            bool, typer.Option("--check", help="Write nothing; the exit status is 1 if any is stale.")
        ] = False,
        in_json: Annotated[bool, json] = False,
    ) -> None:
        """Write stubs by which type checkers and editors know each key."""
        _end(_stubs, modules, output, check, in_json)

    return app


def _examples(*arguments: str) -> str:
    """Return what stands below a help text."""
    calls = "\n".join(f"  crystallize {one}" for one in arguments)
    # What follows the mark is not wrapped.
    return f"\b\nExamples:\n{calls}\n\nMore in {_PAGE}."


def _end(command: Callable[_P, int], *args: _P.args, **kwargs: _P.kwargs) -> NoReturn:
    """Run a subcommand and exit; what stands in its way is told in a line, and where it is explained in another."""
    try:
        status = command(*args, **kwargs)
    except (CrystallizeError, OSError) as error:
        status = _refused(error)
    raise SystemExit(status)


def _refused(error: CrystallizeError | OSError) -> int:
    """Say why something cannot be done, and on which page that is explained, and return the exit status."""
    for line in (f"crystallize: {error}", *getattr(error, "__notes__", ())):
        print(one_line(line), file=sys.stderr)
    return _REFUSED


def _runs(folder: Path, in_json: bool) -> int:
    if not folder.is_dir():
        raise RunNotFoundError(str(folder), "there is no such folder", "--dir or CRYSTALLIZE_RUNS says where runs are")
    found = [_overview(path) for path in list_runs(folder)]
    if in_json:
        _put([as_json(found), b"\n"])
    elif found:
        headings = ("run", "status", "started (UTC)", "took", "steps finished", "error")
        print_table(Table("", headings, [*map(_overview_cells, found)]), cut=True)
    else:
        print(f"no runs in {one_line(str(folder))}")
    return 0


def _overview(path: Path) -> Overview:
    try:
        with _reading(path):
            return overview(load_run(path))
    except JournalError as error:
        return unreadable(path.stem, error)
    except OSError as error:
        return unreadable(path.stem, JournalError(str(path), f"it cannot be read ({error})"))


def _overview_cells(run: Overview) -> tuple[str | None, ...]:
    steps = f"{run.steps_finished} of {run.steps}" if run.steps else None
    return run.name, run.status, moment(run.started), took(run.seconds), steps, run.error and one_line(run.error)


def _show(folder: Path, name: str, in_json: bool) -> int:
    path = _find(folder, name)
    with _reading(path):
        run = describe(load_run(path))
        if in_json:
            _put([as_json(run), b"\n"])
        else:
            for table in tables_of(run):
                print_table(table)
    return 0


def _watch(folder: Path, name: str) -> int:
    try:
        path = _find(folder, name)
        with _reading(path):
            watch(path)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _diff(folder: Path, name: str, other_name: str, in_json: bool) -> int:
    path, other_path = _find(folder, name), _find(folder, other_name)
    one, other = _load(path), _load(other_path)
    with _reading(path):
        found, unknown = compared(one, other)
    if in_json:
        facts = {"one": one.name, "other": other.name, "differences": [one._asdict() for one in found]}
        left = [{"what": what, "name": name} for what, name in unknown]
        _put([as_json({**facts, "not_compared": left}), b"\n"])
    elif found:
        headings = (one.name, other.name) if one.name != other.name else (str(one.path), str(other.path))
        rows = [(*row[:2], row.one or "-", row.other or "-") for row in found]
        print_table(Table("", ("what", "name", *headings), rows))
    else:
        print("no difference")
    if unknown and not in_json:
        names = ", ".join(f"{what} {one_line(name)}" for what, name in unknown)
        print(f"not compared, as the files do not give it back: {names}")
    return _DIFFERS if found else 0


_TABLES = {"parquet": write_parquet, "arrow": write_arrow}


def _export(folder: Path, name: str, format: Literal["json"] | _Format, what: _What | None, output: str | None) -> int:
    path = _find(folder, name)
    file = None if output is None else writable(output)
    if format in _TABLES:
        if output is None and sys.stdout.isatty():
            raise FrameError(f"--format {format}", "this is nothing for a terminal; --output names a file for it")
        with _reading(path):
            # As text, since it may be a URL.
            _TABLES[format](path, sys.stdout.buffer if output is None else output)
        return 0
    run = _load(path)
    with _reading(path):
        chunks = _chunks(run, format, what)
        if file is None:
            _put(chunks)
        else:
            with file.open("wb") as opened:
                opened.writelines(chunks)
    return 0


def _report(folder: Path, names: Sequence[str], output: Path | None, in_json: bool) -> int:
    runs = [_load(_find(folder, name)) for name in names]
    where = output if output is not None else Path(f"{runs[0].name}.html")
    write_report(runs[0], where, beside=runs[1:])
    if in_json:
        _put([as_json({"page": str(where), "runs": [run.name for run in runs]}), b"\n"])
    else:
        print(f"wrote {one_line(str(where))}")
    return 0


def _chunks(run: Run[Any], format: Literal["json"] | _Format, what: _What | None) -> Iterator[bytes]:
    if format == "csv":
        return csv_of_values(run) if what == "values" else csv_of_points(run)
    rows: dict[str, Iterator[ValueRow] | Iterator[PointRow]] = {"values": value_rows(run), "points": point_rows(run)}
    parts = {part: rows[part] for part in rows if what in (None, part)}
    return document(parts) if format == "json" else json_lines(row for part in parts.values() for row in part)


def _verify(folder: Path, name: str, in_json: bool) -> int:
    path = _find(folder, name)
    problems = verify_run(path)
    if in_json:
        _put([as_json({"run": path.stem, "path": str(path), "problems": problems}), b"\n"])
    else:
        print("\n".join(map(one_line, problems)) or "verified")
    return _DIFFERS if problems else 0


def _stubs(modules: Sequence[str], folder: Path, check: bool, in_json: bool) -> int:
    # As `python -m` has it: the modules of the project that one is in.
    sys.path.insert(0, str(Path.cwd()))
    made = make_stubs(modules)
    changed = made.changed(folder) if check else made.write(folder)
    for schema, reason in made.refused:
        print(f"crystallize: {schema} is left out: {one_line(reason)}", file=sys.stderr)
    if in_json:
        files = [{"path": str(path), "how": how} for path, how in changed]
        refused = [one._asdict() for one in made.refused]
        facts = {"folder": str(folder), "schemas": made.schemas, "metrics": made.metrics, "changed": files}
        _put([as_json({**facts, "refused": refused}), b"\n"])
    elif check:
        print("\n".join(f"{how}: {one_line(str(path))}" for path, how in changed) or "up to date")
    else:
        known = f"{counted(len(made.schemas), 'schema')} and {counted(len(made.metrics), 'metric')}"
        print(f"{len(changed)} of {len(made.files)} files written in {one_line(str(folder))}, which know {known}")
    return _DIFFERS if check and changed else 0


def _find(folder: Path, name: str) -> Path:
    with _reading(name):
        return find_run(folder, name)


def _load(path: Path) -> Run[Any]:
    """Load a run and all that it holds."""
    with _reading(path):
        run: Run[Any] = load_run(path)
        run.context  # noqa: B018  # made when it is first asked for
        return run


@contextmanager
def _reading(name: object) -> Iterator[None]:
    """Tell of whatever a file makes its readers raise as damage: no traceback of ours helps against that.

    Raises:
        DamagedRunError: Something was raised that does not say by itself what is wrong with the file.
    """
    try:
        yield
    except (CrystallizeError, OSError):
        raise
    except Exception as error:
        raise DamagedRunError(str(name), f"it cannot be read ({type(error).__name__}: {error})") from error


def _put(chunks: Iterable[bytes]) -> None:
    sys.stdout.buffer.writelines(chunks)
    sys.stdout.buffer.flush()
