"""`crystallize diff`: two runs compared."""

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from .._base.table import Table
from .._base.text import one_line
from .._journal.diff import compared
from .chosen_run import DEFAULT_FOLDER, RunName, RunsFolder, find, load, reporting_damage
from .output import AsJson, print_json, print_table


def diff(
    run: RunName,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The run to compare it with.")],
    folder: RunsFolder = DEFAULT_FOLDER,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A name to leave out, as seed, metric.loss or 'values.*'; may be repeated.")
    ] = None,
    in_json: AsJson = False,
) -> int:
    """Compare two runs, except for times. The exit status is 1 if they differ."""
    path, other_path = find(folder, run), find(folder, other)
    first, second = load(path), load(other_path)
    with reporting_damage(path):
        found, unknown = compared(first, second)
    found = tuple(difference for difference in found if not _is_ignored(difference[:2], ignore or ()))
    unknown = tuple(part for part in unknown if not _is_ignored(part, ignore or ()))
    if in_json:
        names = {"one": first.name, "other": second.name}
        left_out = [{"what": kind, "name": name} for kind, name in unknown]
        differences = [difference._asdict() for difference in found]
        print_json({**names, "differences": differences, "not_compared": left_out})
    elif found:
        headings = first.name, second.name
        if first.name == second.name:
            headings = str(first.path), str(second.path)
        rows = [(*row[:2], row.one or "-", row.other or "-") for row in found]
        print_table(Table("", ("what", "name", *headings), rows))
    else:
        print("no difference")
    if unknown and not in_json:
        listed = ", ".join(f"{kind} {one_line(name)}" for kind, name in unknown)
        print(f"not compared, as the files do not give it back: {listed}")
    return 1 if found else 0


def _is_ignored(part: tuple[str, str], patterns: Collection[str]) -> bool:
    """Return whether a pattern matches the name of a part of a run, or its kind and name."""
    kind, name = part
    return any(
        fnmatchcase(text, pattern) for pattern in patterns for text in (name, f"{kind}.{name}", f"{kind}s.{name}")
    )
