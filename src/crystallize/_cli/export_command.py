"""`crystallize export`: the values and points of a run, for other programs."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeAlias

import typer

from .._journal.find import writable
from .._journal.loaded_run import Run
from .._tables.export import (
    PointRow,
    ValueRow,
    csv_of_points,
    csv_of_values,
    json_document,
    json_lines,
    point_rows,
    value_rows,
)
from .._tables.parquet_writer import write_arrow, write_parquet
from ..errors import FrameError
from .chosen_run import DEFAULT_FOLDER, RunName, RunsFolder, find, load, reporting_damage
from .output import AsJson, print_bytes

_Format: TypeAlias = Literal["jsonl", "csv", "parquet", "arrow"]
_Part: TypeAlias = Literal["values", "points"]

_TABLE_WRITERS: Final = {"parquet": write_parquet, "arrow": write_arrow}


def export(
    run: RunName,
    folder: RunsFolder = DEFAULT_FOLDER,
    format: Annotated[_Format, typer.Option(help="jsonl: an object a line; parquet, arrow: columns.")] = "jsonl",
    what: Annotated[_Part | None, typer.Option(help="By default the points; in jsonl both.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A file, in place of stdout; of columns, a URL too.")
    ] = None,
    in_json: AsJson = False,
) -> int:
    """Write out the values and points of a run, for other programs."""
    if in_json and format != "jsonl":
        raise typer.BadParameter(f"--json is one document, and --format {format} is none")
    if what == "values" and format in _TABLE_WRITERS:
        raise typer.BadParameter(f"--format {format} is a table of the points; values are no points")
    path = find(folder, run)
    file = None if output is None else writable(output)
    if format in _TABLE_WRITERS:
        if output is None and sys.stdout.isatty():
            raise FrameError(f"--format {format}", "this is nothing for a terminal; --output names a file for it")
        with reporting_damage(path):
            # The text and not `file`, since it may be a URL.
            _TABLE_WRITERS[format](path, sys.stdout.buffer if output is None else output)
        return 0
    loaded = load(path)
    with reporting_damage(path):
        chunks = _chunks(loaded, "json" if in_json else format, what)
        if file is None:
            print_bytes(chunks)
        else:
            with file.open("wb") as opened:
                opened.writelines(chunks)
    return 0


def _chunks(run: Run[Any], format: Literal["json"] | _Format, what: _Part | None) -> Iterator[bytes]:
    if format == "csv":
        return csv_of_values(run) if what == "values" else csv_of_points(run)
    rows: dict[str, Iterator[ValueRow] | Iterator[PointRow]] = {"values": value_rows(run), "points": point_rows(run)}
    lists = {part: rows[part] for part in rows if what in (None, part)}
    return json_document(lists) if format == "json" else json_lines(row for part in lists.values() for row in part)
