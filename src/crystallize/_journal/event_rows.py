"""The rows that each event makes in the tables of a run."""

import sqlite3
from collections.abc import Callable
from itertools import accumulate, chain, groupby, islice
from operator import itemgetter
from typing import Final, TypeAlias

from pydantic_core import from_json, to_json

from .database import insert, update
from .environment import Findings, completed
from .event_bytes import (
    ARTIFACT,
    END,
    FAILED,
    FILE,
    FINISH,
    FORK,
    JOIN,
    KEY,
    MERGED,
    POINT,
    POINTS,
    START,
    joined,
    members,
    parted,
    points_in,
    span,
)
from .packed_points import packed, packed_rows
from .value_facts import names_in


def apply(connection: sqlite3.Connection, process: int, first: int, facts: list[bytes]) -> None:
    """Put facts of a process into the tables, within a transaction of the caller.

    `first` is the position of the first fact. Facts that are in the tables already are skipped.
    """
    (drained,) = connection.execute("SELECT drained FROM run").fetchone()
    ends = accumulate(map(span, facts), initial=first - 1)
    new = [fact for end, fact in zip(islice(ends, 1, None), facts, strict=True) if end > drained]
    position = max(first, drained + 1)
    for kind, group in groupby(chain.from_iterable(map(members, new)), itemgetter(0)):
        if kind == POINT[0]:
            for count, content in packed_rows(list(group)):
                insert(connection, "points", position, process, count, content)
                position += count
            continue
        for fact in group:
            _APPLIED[fact[:1]](connection, process, position, fact)
            position += span(fact)
    update(connection, "run", "id = 1", drained=position - 1)


_Apply: TypeAlias = Callable[[sqlite3.Connection, int, int, bytes], None]
"""Puts a fact into the tables, given the number of its process and its position."""


def _apply_points(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    insert(connection, "points", position, process, span(fact), packed(points_in(fact)))


def _apply_key(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    (key, step, is_input, how, type_, digest, *more), (text, *parts) = parted(fact)
    row = (key, int(is_input), how, type_, text.decode(), digest)
    insert(connection, "entries", position, process, step, *row)
    names, why = names_in(more, parts)
    for place, part in enumerate(parts):
        if place in names:
            insert(connection, "value_objects", position, place, *names[place])
        else:
            insert(connection, "arrays", position, place, part)
    if why:
        insert(connection, "reasons", position, why)


def _apply_artifact(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    (name, step, sha256), (data,) = parted(fact)
    if connection.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).fetchone() is None:
        insert(connection, "contents", sha256, data)
    insert(connection, "artifacts", position, process, step, name, sha256)


def _apply_file(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    (name, step, digest, size), _ = parted(fact)
    insert(connection, "files", position, process, step, name, digest, size)


def _apply_start(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    (name, started, *task), _ = parted(fact)
    insert(connection, "steps", process, name, position, started, None, None)
    if task:
        arguments, inputs, *reason = task
        text = to_json(inputs).decode()
        insert(connection, "tasks", process, name, position, arguments, text, reason[0] if reason else None)


def _apply_finish(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    head, blobs = parted(fact)
    returned = head.pop("returned", None)
    step = process, head["step"]
    if connection.execute("SELECT 1 FROM steps WHERE (session, name) = (?, ?)", step).fetchone() is None:
        # Ctrl-C came between the opening of the step and its fact.
        insert(connection, "steps", *step, position, head["started"], None, None)
        return
    record = to_json(head).decode()
    update(connection, "steps", "session = ? AND name = ?", *step, finished=position, record=record)
    if returned is not None:
        how, *facts = returned
        insert(connection, "returns", *step, position, how, joined(FINISH, facts, *blobs))


def _apply_failed(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    head, _ = parted(fact)
    insert(connection, "failures", position, process, head["step"], to_json(head).decode())


def _apply_fork(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    (branch, *more), _ = parted(fact)
    insert(connection, "forks", branch, position, process)
    for first in filter(None, more[:1]):
        # The newest fork counts. A cross join, or SQLite may go over all forks: the index has branches by process.
        newest = "SELECT max(sequence) FROM sessions CROSS JOIN forks USING (session) WHERE branch = ?"
        (start,) = (position,) if first == branch else connection.execute(newest, (first,)).fetchone()
        insert(connection, "fork_groups", position, start)
    for item in more[1:]:
        insert(connection, "items", position, to_json(item).decode())


def _apply_merged(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    (branch, digest, item, how, *facts), blobs = parted(fact)
    insert(connection, "merges", process, branch, position, digest, item, how, joined(MERGED, facts, *blobs))


def _apply_join(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    environment, fingerprints = (to_json(part).decode() for part in parted(fact)[0])
    changes = {"origin": environment, "fingerprints": fingerprints, "joined": position}
    update(connection, "sessions", "session = ?", process, **changes)


def complete_origin(connection: sqlite3.Connection, process: int, found: Findings) -> None:
    """Put the facts of an `EnvironmentProbe` into the row of a process, within a transaction of the caller."""
    (origin,) = connection.execute("SELECT origin FROM sessions WHERE session = ?", (process,)).fetchone()
    whole = completed(from_json(origin), found)
    update(connection, "sessions", "session = ?", process, origin=to_json(whole).decode())


def _apply_end(connection: sqlite3.Connection, process: int, position: int, fact: bytes) -> None:
    head, _ = parted(fact)
    traceback = head.pop("traceback", None)
    update(connection, "sessions", "session = ?", process, **head, finished=position)
    if traceback is not None:
        insert(connection, "tracebacks", process, traceback)


_APPLIED: Final[dict[bytes, _Apply]] = {
    ARTIFACT: _apply_artifact,
    END: _apply_end,
    FAILED: _apply_failed,
    FILE: _apply_file,
    FINISH: _apply_finish,
    FORK: _apply_fork,
    JOIN: _apply_join,
    KEY: _apply_key,
    MERGED: _apply_merged,
    POINTS: _apply_points,
    START: _apply_start,
}
"""How a fact of each kind is put into the tables; points that come one by one are gathered into rows before."""
