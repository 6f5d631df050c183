"""`crystallize pack`: a run with its objects as one archive."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from .._base.text import counted, one_line
from .._journal.pack import pack_run
from .chosen_run import DEFAULT_FOLDER, RunName, RunsFolder, find, reporting_damage
from .output import AsJson, print_json


def pack(
    run: RunName,
    folder: RunsFolder = DEFAULT_FOLDER,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file; by default, NAME.tar.")] = None,
    in_json: AsJson = False,
) -> int:
    """Write a run with its large artifacts as one archive, to be unpacked into any folder."""
    path = find(folder, run)
    with reporting_damage(path):
        packed = pack_run(path, Path(f"{path.stem}.tar") if output is None else output)
    if in_json:
        document = {"run": path.stem, "path": str(path), "archive": str(packed.archive)}
        print_json({**document, "objects": packed.objects, "size": packed.size})
    else:
        print(one_line(f"packed {path.stem} with {counted(packed.objects, 'object')} into {packed.archive.name}"))
        print(one_line(f"unpack it with: tar -xf {shlex.quote(packed.archive.name)} -C FOLDER"))
    return 0
