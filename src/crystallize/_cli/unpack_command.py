"""`crystallize unpack`: an archive of a run becomes a run again."""

from pathlib import Path
from typing import Annotated

import typer

from .._base.text import one_line
from .._journal.unpack import unpack_run
from .chosen_run import DEFAULT_FOLDER, RunsFolder, reporting_damage


def unpack(
    archive: Annotated[Path, typer.Argument(help="The archive, which `pack` has written.")],
    folder: RunsFolder = DEFAULT_FOLDER,
) -> int:
    """Unpack an archive of a run into the folder of runs."""
    with reporting_damage(archive):
        path = unpack_run(archive, folder)
    print(one_line(f"unpacked {path.stem} into {path.parent}"))
    return 0
