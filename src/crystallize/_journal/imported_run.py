"""A run that another tool has recorded, written as the file of a run."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic_core import to_json

from .._base.file_system import make_folder
from .._base.object_folder import BLOCK
from .._core.artifacts import ArtifactLog
from .._core.context import FrozenContext
from .curation import move_run, note_run, tag_run
from .database import connect, transaction, update
from .environment import Origin
from .journal import Journal
from .read_run import real
from .run_objects import objects_of


@dataclass(frozen=True)
class ImportedRun:
    """A run as another tool has it.

    Attributes:
        name: The name of the run, without a number.
        inputs: Its inputs.
        points: Its points: metric, value, tags.
        add_artifacts: Adds the artifacts to those of the context.
        started: When it started, in UTC.
        ended: When it ended, in UTC.
        error: Why it failed; None if it finished.
        arguments: How its program was called.
        commit: The git commit of its program, if it is known.
        tags: Its tags. Texts that cannot be tags are left out.
        note: Its note, if any.
    """

    name: str
    inputs: Mapping[str, Any]
    points: Iterable[tuple[str, Any, Mapping[str, Any]]]
    add_artifacts: Callable[[ArtifactLog], object]
    started: datetime
    ended: datetime
    error: str | None = None
    arguments: list[str] = field(default_factory=list)
    commit: str | None = None
    tags: tuple[str, ...] = ()
    note: str = ""


def write_imported_run(folder: str | os.PathLike[str], run: ImportedRun) -> Path:
    """Write a run into a folder of runs, under the next number of its name.

    The file of the run comes last, so if this is interrupted, the run is not in the folder.

    Returns:
        The file of the run.
    """
    folder = real(Path(folder))
    make_folder(folder)
    with TemporaryDirectory(prefix=".imported-", dir=folder) as scratch:
        with Journal.start(scratch, run.name) as journal:
            ctx = journal.context(FrozenContext, dict(run.inputs))
            for metric, value, tags in run.points:
                ctx.record(metric, value, tags)
            run.add_artifacts(ctx.artifacts)
        _describe(journal.path, run)
        _copy_objects(journal.path, folder)
        return move_run(journal.path, folder, run.name)


def _describe(path: Path, run: ImportedRun) -> None:
    """Replace the times, the outcome and the origin of this process by those of the run."""
    origin: Origin = {
        "arguments": run.arguments,
        "folder": "",
        "commit": run.commit,
        "dirty": None,
        "python": "",
        "system": "",
        "host": "",
        "pid": 0,
        "packages": {},
        "unread": {},
    }
    with closing(connect(path, write=True)) as connection, transaction(path, connection, write=True):
        update(
            connection,
            "sessions",
            "session = 1",
            started=run.started.astimezone(UTC).isoformat(),
            ended=max(run.started, run.ended).astimezone(UTC).isoformat(),
            origin=to_json(origin).decode(),
            outcome="finished" if run.error is None else "failed",
            error=run.error,
        )
    tag_run(path, *run.tags)
    note_run(path, run.note)


def _copy_objects(path: Path, folder: Path) -> None:
    """Put the objects of a run into the folder of objects of another folder."""
    objects = objects_of(folder / path.name)
    for file in objects_of(path).path.glob("??/*"):
        with file.open("rb") as source:
            objects.put(iter(partial(source.read, BLOCK), b""))
