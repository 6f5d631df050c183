"""The runs that name another run of their folder as the one from which they take steps over."""

from contextlib import closing
from pathlib import Path

from .database import connect, rows, transaction
from .parent_run import parent_of
from .run_index import summaries_of


def children_of(path: Path) -> list[Path]:
    """Return the runs of the folder of a run that name it in `Journal.start(reuse=)`. Damaged runs are left out."""
    # The index has the name without its folder, so the files of the found runs are read.
    named = [run.run for run in summaries_of(path.parent, save=False) if run.parent == path.stem]
    return [child for child in (path.with_name(f"{name}.db") for name in named) if _names(child, path)]


def _names(child: Path, path: Path) -> bool:
    with closing(connect(child)) as connection, transaction(child, connection):
        parent = parent_of(rows(child, connection, "parents"))
    return parent is not None and path.parent / parent.path == path
