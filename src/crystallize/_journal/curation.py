"""Change a run that nobody writes: note, tag, rename, seal and remove it.

Each change holds the lock on the spool of the run, as a writer does. It is one transaction of the database, in which
the facts that a process left in its spool when it died are put into the database too. Then the spool, which has
16 MiB, is deleted: the run is sealed.
"""

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from .._base.file_calls import delete_and_close
from .._base.file_lock import lock
from .._base.file_system import above_stdio, open_file, sync_folder
from .._base.text import legible, short
from ..errors import DamagedRunError, JournalError, RunInUseError
from .child_runs import children_of
from .database import connect, files_beside, insert, is_run_file, state_of, transaction, translate_sqlite_errors, update
from .event_rows import apply
from .read_run import data_of, lacks_spool, real, spooled_facts
from .run_files import claim_name
from .spool import Spool

_LONGEST_TAG: Final = 100
_LONGEST_NOTE: Final = 100_000


def seal_run(path: str | os.PathLike[str]) -> bool:
    """Put the facts that a process left in its spool when it died into the file of the run, and delete the spool.

    The run can be resumed as before. `note_run`, `tag_run` and `rename_run` seal the run, too.

    Args:
        path: The file of the run.

    Returns:
        Whether there was a spool.

    Raises:
        RunNotFoundError: There is no such run.
        RunInUseError: The run is being written.
        JournalError: It cannot be read or written.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import seal_run
        >>> seal_run("runs/digits-0001.db")
        False
    """
    path = real(Path(path))
    if not path.with_suffix(".spool").exists():
        connect(path).close()
        return False
    with _locked(path) as is_incomplete, _sealed(path, is_incomplete):
        return True


def note_run(path: str | os.PathLike[str], note: str) -> None:
    """Set the note of a run, a text in the words of its user. An empty text removes it.

    Args:
        path: The file of the run.
        note: At most 100,000 characters.

    Raises:
        RunNotFoundError: There is no such run.
        RunInUseError: The run is being written.
        JournalError: The note is too long, or the run cannot be read or written.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import note_run
        >>> note_run("runs/digits-0001.db", "the baseline")
        >>> load_run("runs/digits-0001.db").note
        'the baseline'
    """
    path = real(Path(path))
    if len(note) > _LONGEST_NOTE:
        raise JournalError(str(path), f"a note has at most {_LONGEST_NOTE:,} characters, and this has {len(note):,}")
    with _locked(path) as is_incomplete, _sealed(path, is_incomplete) as connection:
        connection.execute("DELETE FROM notes")
        if note:
            insert(connection, "notes", 1, legible(note))


def tag_run(path: str | os.PathLike[str], *tags: str, remove: Collection[str] = ()) -> tuple[str, ...]:
    """Add tags to a run, and remove others.

    Args:
        path: The file of the run.
        *tags: Texts of at most 100 printable characters, without a comma.
        remove: The tags to remove. Those that the run does not have are ignored.

    Returns:
        The tags that the run has now, sorted.

    Raises:
        RunNotFoundError: There is no such run.
        RunInUseError: The run is being written.
        JournalError: A tag is not allowed, or the run cannot be read or written.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import tag_run
        >>> tag_run("runs/digits-0001.db", "paper", "baseline")
        ('baseline', 'paper')
        >>> tag_run("runs/digits-0001.db", remove=["paper"])
        ('baseline',)
    """
    path = real(Path(path))
    for tag in tags:
        if not (0 < len(tag) <= _LONGEST_TAG and tag.isprintable() and "," not in tag and tag == tag.strip()):
            rule = f"a tag has 1 to {_LONGEST_TAG} printable characters, no comma, and no space at its ends"
            raise JournalError(str(path), f"{short(tag)} cannot be a tag: {rule}")
    with _locked(path) as is_incomplete, _sealed(path, is_incomplete) as connection:
        for tag in (*remove, *tags):
            connection.execute("DELETE FROM tags WHERE tag = ?", (legible(tag),))
        for tag in dict.fromkeys(tags):
            insert(connection, "tags", tag)
        return tuple(tag for (tag,) in connection.execute("SELECT tag FROM tags ORDER BY tag"))


def rename_run(path: str | os.PathLike[str], name: str) -> Path:
    """Give a run another name. It gets the next number of that name.

    Runs of the folder that take steps over from it, by `Journal.start(reuse=)`, name it by its new name afterwards.

    Args:
        path: The file of the run.
        name: The new name, without a number, as for `Journal.start`.

    Returns:
        The new path of its file.

    Raises:
        RunNotFoundError: There is no such run.
        RunInUseError: The run is being written.
        JournalError: The name cannot be a file's, the run cannot be read or written, or a run that takes steps over
            from it is being written.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import rename_run
        >>> rename_run("runs/digits-0001.db", "baseline").name
        'baseline-0001.db'
    """
    path = real(Path(path))
    with ExitStack() as stack:
        children = [(child, stack.enter_context(_locked_child(path, child))) for child in children_of(path)]
        moved = move_run(path, path.parent, name)
        for child, is_incomplete in children:
            with _sealed(child, is_incomplete) as connection:
                update(connection, "parents", "id = 1", path=moved.name)
    return moved


@contextmanager
def _locked_child(path: Path, child: Path) -> Iterator[bool]:
    """Do as `_locked` for a run that takes steps over from another run, which is renamed."""
    with ExitStack() as stack:
        try:
            is_incomplete = stack.enter_context(_locked(child))
        except RunInUseError as error:
            reason = f"{child.stem} takes steps over from this run and is being written"
            raise JournalError(str(path), reason, f"rename it when {child.stem} has ended") from error
        yield is_incomplete


def move_run(path: Path, folder: Path, name: str) -> Path:
    """Give a run the next number of a name in a folder, which has its objects and is in the same file system."""
    with _locked(path) as is_incomplete:
        with closing(connect(path)) as connection, transaction(path, connection):
            identity, drained, process = state_of(path, connection)
        claimed = claim_name(folder, name, identity, process, drained)
        try:
            with _sealed(path, is_incomplete) as connection:
                update(connection, "run", "id = 1", name=name, number=claimed.number)
            _make_one_file(path)
            os.rename(path, claimed.path)
            sync_folder(folder)
        except OSError as error:
            raise JournalError(str(path), f"it cannot be renamed ({error})", "call this again") from error
        finally:
            claimed.spool.close(delete=True)
    return claimed.path


def remove_run(path: str | os.PathLike[str]) -> None:
    """Delete the files of a run, also of a damaged one.

    Runs that have taken steps over from it are whole without it. If they are resumed, they take over no more.

    Its files in the folder `objects`, which other runs may share, stay until `remove_unused_objects` is called. If this
    is interrupted, call it again.

    Args:
        path: The file of the run.

    Raises:
        RunNotFoundError: There is no such run.
        RunInUseError: The run is being written.
        JournalError: The file is not the file of a run, or cannot be deleted.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> from crystallize.runs import list_runs, remove_run
        >>> remove_run("runs/digits-0001.db")
        >>> list_runs("runs")
        ()
    """
    path = real(Path(path))
    if not is_run_file(path):
        # It raises the error that fits.
        connect(path).close()
        raise JournalError(str(path), "this is not the file of a run, which ends in .db")
    try:
        with above_stdio():
            _remove(path)
    except OSError as error:
        raise JournalError(str(path), f"it cannot be deleted ({error})", "see to its permissions") from error


def _remove(path: Path) -> None:
    spool = path.with_suffix(".spool")
    descriptor = _locked_spool(path, spool)
    try:
        # The database goes last, so that the run is found again if this is interrupted.
        for file in (*files_beside(path), path):
            file.unlink(missing_ok=True)
    except BaseException:
        os.close(descriptor)
        raise
    delete_and_close(descriptor, spool)
    sync_folder(path.parent)


def _locked_spool(path: Path, spool: Path) -> int:
    """Return the descriptor of the spool of a run, locked. A run without one gets one."""
    try:
        descriptor = open_file(spool)
    except FileNotFoundError:
        try:
            with closing(connect(path)) as connection, transaction(path, connection):
                identity, drained, process = state_of(path, connection)
        except DamagedRunError:
            identity, drained, process = bytes(16), 0, 0
        made = Spool.claim(spool, identity, process, drained)
        if made is None:
            raise RunInUseError(str(path)) from None
        made.close()
        descriptor = open_file(spool)
    if not lock(descriptor):
        os.close(descriptor)
        raise RunInUseError(str(path))
    return descriptor


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock on a run; yield whether its file lacks facts. The spool is deleted if the block succeeds."""
    spool_path = path.with_suffix(".spool")
    had_spool, is_done = spool_path.exists(), False
    with above_stdio():
        with closing(connect(path)) as connection, transaction(path, connection):
            identity, drained, process = state_of(path, connection)
            is_incomplete = lacks_spool(connection, was_there=had_spool)
        spool = Spool.open(spool_path, identity, process, drained)
        try:
            yield is_incomplete
            is_done = True
        finally:
            spool.close(delete=is_done or not had_spool)


@contextmanager
def _sealed(path: Path, is_incomplete: bool) -> Iterator[sqlite3.Connection]:
    """Open a transaction on a run whose lock is held, with the facts of its spool. A run that lacks facts stays so."""
    with closing(connect(path, write=True)) as connection, transaction(path, connection, write=True):
        identity, drained, process = state_of(path, connection)
        apply(connection, process, drained + 1, spooled_facts(path, connection, identity, process, drained))
        (ended,) = connection.execute("SELECT ended FROM sessions WHERE session = ?", (process,)).fetchone()
        known = connection.execute("SELECT 1 FROM seals WHERE session = ?", (process,)).fetchone()
        if ended is None and known is None and not is_incomplete:
            insert(connection, "seals", process)
        # A run that cannot be read is rolled back.
        data_of(path, connection, running=False)
        yield connection


def _make_one_file(path: Path) -> None:
    """Make a database one file, without a write-ahead log, so that it can be renamed."""
    with closing(connect(path, write=True)) as connection, translate_sqlite_errors(path):
        connection.execute("PRAGMA journal_mode=DELETE")
