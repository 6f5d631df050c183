"""Check the file of a run."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from struct import error as StructError
from typing import Any, Final

from .._base.object_folder import ObjectName
from .._base.signal_handlers import reraise_from_handler
from .._base.text import printable, short
from .._core.codec import Stored, decode_untyped
from .._core.context import FrozenContext
from .._core.value_codecs import NotRegistered, RegisteredFailed
from ..errors import DamagedRunError, JournalError, ObjectError, RunNotFoundError
from .database import check_of, connect, has_table, missing_in, salt_of, transaction
from .loaded_run import Run
from .migrations import ORDERS
from .point_stream import StoredPoints
from .read_run import RunData, read, real
from .rows import MISSING
from .run_objects import objects_of
from .untrusted_file import bounded, damage_in

_MOST: Final = 1000
"""The maximum number of problems, as a file may have one in each row."""


def verify_run(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Check a file: that SQLite finds no fault, that every row is as it was written, and that it can be read.

    It reads all that the other functions and commands read. If there is no problem, they can read the file.

    Returns:
        The problems, a sentence each, up to 1,000; empty if there are none.

    Raises:
        RunNotFoundError: There is no such file.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> verify_run("runs/digits-0001.db")
        ()
    """
    path = real(Path(path))
    problems: list[str] = []
    try:
        problems.extend(islice(_problems(path), _MOST))
    except RunNotFoundError:
        raise
    except JournalError as error:
        problems.append(_sentence(path, error))
    return tuple(dict.fromkeys(problems))


def _sentence(path: Path, error: JournalError) -> str:
    """Return the error that ends the reading of a file.

    Damage is described without the path, and without the advice to verify the file. If the file could not even be
    opened, the sentence names it.
    """
    if error.path != str(path) or not isinstance(error, DamagedRunError):
        return str(error)
    advice = "" if error.advice.startswith("`crystallize verify`") else error.advice
    return printable("; ".join(filter(None, (error.reason, advice))))


def _problems(path: Path) -> Iterator[str]:
    with closing(connect(path)) as connection, transaction(path, connection):
        yield from _problems_in(connection)
    yield from _problems_of_content(path)


def _problems_of_content(path: Path) -> Iterator[str]:
    """Go through all that other readers make of a run: values, points, artifacts, steps and branches."""
    data = read(path)
    if data.incomplete:
        yield data.incomplete
    with damage_in(path):
        # All points, also of attempts that were done again; those of a long run need not be in memory at once.
        with _past_registered_loads():
            for _ in StoredPoints(data, lambda: iter(data.points), dropped=()).first_look():
                pass
        run: Run[Any] = Run(replace(data.as_read_here(), points=()), FrozenContext, None)
        _ = run.context
        derived: list[object] = [run.so_far, run.declared, run.unwritten, run.entries]
        derived += [run.status, run.attempts, run.dead_attempts, data.steps_to_redo]
        # Those of attempts that were done again are in no context.
        values = ((f"the value of key {entry.key!r}", entry.stored) for entry in data.values)
        for what, stored in (*values, *data.results):
            yield from _problem_of(what, stored)
    yield from _problems_of_objects(data)


@contextmanager
def _past_registered_loads() -> Iterator[None]:
    """Stop reading where a registered load raises an exception, which is no damage."""
    try:
        yield
    except JournalError as error:
        if not isinstance(error.__cause__, RegisteredFailed):
            raise


def _problems_of_objects(data: RunData) -> Iterator[str]:
    """Read all objects that a run names, each once."""
    objects = objects_of(data.path)
    uses: dict[ObjectName, list[str]] = {}
    for what, name in data.objects():
        uses.setdefault(name, []).append(what)
    for name, named in uses.items():
        if reason := objects.problem_of(name):
            yield from (printable(f"{what}: {objects.path_of(name.digest)}: {reason}") for what in named)


def _problem_of(what: str, stored: Stored) -> Iterator[str]:
    """Return the reason why a value cannot be restored, if there is one."""
    try:
        _ = stored.how in MISSING or decode_untyped(stored)
    except (NotRegistered, RegisteredFailed):
        return  # the program that wrote it can restore it
    except ObjectError:
        return  # `_problems_of_objects` names it
    except (ArithmeticError, ImportError, LookupError, StructError, TypeError, ValueError) as error:
        reraise_from_handler(error)
        yield printable(f"{what} cannot be restored ({type(error).__name__}: {error})")


def _problems_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Return the problems of a database: by SQLite's own checks, then of every row, then missing facts."""
    with bounded(connection):
        found = [line for (text,) in connection.execute("PRAGMA integrity_check") for line in text.splitlines()]
    yield from (printable(line) for line in found if line != "ok" and not line.startswith("***"))
    with bounded(connection):
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
            yield f"row {row} of {table} refers to what {parent} has not"
    for table in filter(partial(has_table, connection), ORDERS):
        salt = salt_of(connection, table)
        with bounded(connection):
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                if check_of(row[:-1], salt) != row[-1]:
                    yield f"a row of {table} was changed: {short(row[0])}"
    with bounded(connection):
        for sha256, data in connection.execute("SELECT sha256, data FROM contents"):
            if hashlib.sha256(data).hexdigest() != sha256:
                yield f"an artifact has another digest than when it was added: {short(sha256)}"
    yield from missing_in(connection)
