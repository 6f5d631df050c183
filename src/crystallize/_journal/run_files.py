"""The files of a run, opened by its writer: created for a new run, or taken over from a process that has ended."""

import os
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from pydantic_core import to_json

from .._base.exchange_folder import remove_leftovers
from .._base.file_system import above_stdio, check_path, make_folder
from .._base.text import short
from .._core.file_names import unfit_name
from ..errors import JournalError
from .database import connect, create, files_beside, has_log, insert, state_of, transaction
from .database_guard import DatabaseGuard
from .environment import current_environment
from .event_rows import apply
from .parent_run import ParentRun
from .read_run import RunData, data_of, lacks_spool, real, spooled_facts, warn_if_incomplete
from .spool import Spool

_LONGEST_ENDING: Final = "-0001.db-journal"
"""The longest ending of a file of a run."""


class OpenFiles(NamedTuple):
    """The open files of a run."""

    path: Path
    connection: sqlite3.Connection
    spool: Spool
    guard: DatabaseGuard | None
    """None where the database has no write-ahead log."""

    def close(self, *, delete: bool = False) -> None:
        """Close the files, and delete the spool if its facts are in the database."""
        if self.guard is not None:
            self.guard.release()
        self.connection.close()
        self.spool.close(delete=delete)

    def let_go(self) -> None:
        """Let go of the locks in a process that was forked from the writer. The connection stays as it is.

        SQLite's connections must not be used in a forked process, not even to close them.
        """
        if self.guard is not None:
            self.guard.let_go()
        self.spool.close()


class RunFiles(NamedTuple):
    """The open files of a run, with its content."""

    opened: OpenFiles
    data: RunData
    clock: float
    """When the process began, by `perf_counter`: the clock of `data` may be set back."""


@above_stdio()
def create_run(folder: str | os.PathLike[str], name: str, parent: ParentRun | None = None) -> RunFiles:
    """Create the files of a new run, under the next free number of its name; `parent` is in its file."""
    check_name(name)
    folder = real(Path(folder))
    check_path(folder / f"{name}-0001.db")
    try:
        make_folder(folder)
    except OSError as error:
        raise JournalError(str(folder), f"the folder cannot be made ({error})") from error
    remove_leftovers(folder)
    identity = os.urandom(16)
    path, number, spool = claim_name(folder, name, identity)
    try:
        row, clock = _process_row(), perf_counter()
        create(path, (identity, name, number), row, parent and (parent.path, int(parent.has_older)))
        return _opened(path, spool, identity, 1, clock)
    except BaseException:
        # A start that failed leaves nothing behind.
        for file in (path, *files_beside(path)):
            file.unlink(missing_ok=True)
        spool.close(delete=True)
        raise


class ClaimedName(NamedTuple):
    """A name and number that no other run has."""

    path: Path
    number: int
    spool: Spool
    """No other process can take the name while this file exists."""


def claim_name(folder: Path, name: str, run: bytes, process: int = 0, last: int = 0) -> ClaimedName:
    """Claim the next free number of a name; the other arguments are as for `Spool.claim`."""
    check_name(name)
    number = _next_number(folder, name)
    while True:
        path = folder / f"{name}-{number:04d}.db"
        spool = Spool.claim(path.with_suffix(".spool"), run, process, last)
        if spool is not None and not any(map(os.path.lexists, (path, *files_beside(path)))):
            return ClaimedName(path, number, spool)
        if spool is not None:
            spool.close(delete=True)
        number += 1


def check_name(name: str) -> None:
    """Raise JournalError if a run cannot have a name."""
    text = name if isinstance(name, str) else ""
    if reason := unfit_name(text) or unfit_name(f"{text}{_LONGEST_ENDING}"):
        raise JournalError(short(name), f"cannot name a run so: {reason}")


@above_stdio()
def reopen_run(path: str | os.PathLike[str]) -> RunFiles:
    """Take over the files of a run whose process has ended, with the facts that its spool still has."""
    path = real(Path(path))
    remove_leftovers(path.parent)
    row, clock = _process_row(), perf_counter()
    had_spool = os.path.exists(path.with_suffix(".spool"))
    with closing(connect(path)) as connection, transaction(path, connection):
        # First, as it raises if there is no run.
        identity, drained, process = state_of(path, connection)
        is_incomplete = lacks_spool(connection, was_there=had_spool)
    spool = Spool.open(path.with_suffix(".spool"), identity, process, drained)
    try:
        with closing(connect(path, write=True)) as connection, transaction(path, connection, write=True):
            # Since then another process may have resumed and ended it.
            identity, drained, process = state_of(path, connection)
            left = spooled_facts(path, connection, identity, process, drained)
            apply(connection, process, drained + 1, left)
            insert(connection, "sessions", process + 1, *row)
            # A run that cannot be read is rolled back to its earlier state.
            data = data_of(path, connection, running=True)
        warn_if_incomplete(replace(data, lacks_spool=is_incomplete), "The run is resumed without them")
        return _opened(path, spool, identity, process + 1, clock)
    except BaseException:
        # Its facts may not be in the database yet.
        spool.close()
        raise


def _opened(path: Path, spool: Spool, identity: bytes, process: int, clock: float) -> RunFiles:
    connection = connect(path, write=True)
    guard = None
    try:
        with transaction(path, connection):
            data = data_of(path, connection, running=True)
        if has_log(connection):
            guard = _guard_of(path)
        spool.begin(identity, process, data.drained)
        return RunFiles(OpenFiles(path, connection, spool, guard), data, clock)
    except BaseException:
        if guard is not None:
            guard.release()
        connection.close()
        raise


def _guard_of(path: Path) -> DatabaseGuard:
    try:
        return DatabaseGuard(path)
    except OSError as error:
        raise JournalError(
            str(path),
            f"it cannot be locked ({error})",
            "check the permissions of the folder, and whether its file system supports locks",
        ) from error


def _process_row() -> tuple[str | None, ...]:
    """Return the row of this process, but for its number."""
    environment = current_environment()
    return datetime.now(UTC).isoformat(), to_json(environment).decode(), *[None] * 6


def _next_number(folder: Path, name: str) -> int:
    """Return the number after the last one, of a run or of one that is being made."""
    pattern = re.compile(rf"{re.escape(name)}-(\d{{4,}})\.(db|db-wal|db-shm|db-journal|spool)")
    return max((int(found[1]) for path in folder.iterdir() if (found := pattern.fullmatch(path.name))), default=0) + 1
