"""The merged work of a run in its file, which the context of the run reads from there and need not keep in memory."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from .._branches.branch_registry import ReceiptFacts
from .._core.packed_texts import numbers_in, packed_numbers, packed_texts, texts_in
from .._core.point_sections import PackContent
from .._core.provenance import StepRecord
from ..errors import DamagedRunError, JournalError
from .database import connect, rows, state_of, transaction
from .packed_points import points_of
from .rows import PackedRow, attempt_of
from .untrusted_file import VERIFY

_GAP: Final = 256
"""Maximum number of facts of others that are read rather than searched around."""


class _Span(NamedTuple):
    """The positions of the facts of a branch."""

    before: int
    """The position before the first."""
    last: int


class MergeArchive:
    """Returns the work that one process has merged, once it is in the database of the run."""

    def __init__(self, path: Path, identity: bytes, process: int) -> None:
        """Read the file of a run, for its process of this number."""
        self._path = path
        self._identity = identity
        self._process = process

    def stored(self, branches: Sequence[str]) -> "StoredMerges | None":
        """Return the stored work of branches; None if the database does not have all of it yet, or cannot be read."""
        try:
            with closing(connect(self._path)) as connection, transaction(self._path, connection):
                spans = [self._span(connection, branch) for branch in branches]
        except JournalError:
            # Then the context keeps the work. The thread that writes the file meets the error too, and reports it.
            return None
        if None in spans:
            return None
        return StoredMerges(self._path, self._identity, branches, [span for span in spans if span is not None])

    def _span(self, connection: sqlite3.Connection, branch: str) -> _Span | None:
        """Return the positions of the work of a branch: its steps are opened first, and the merge is the last fact."""
        merged = connection.execute(_MERGED, (self._process, branch)).fetchone()
        if merged is None:
            return None
        # "0" is the character after "/".
        (first,) = connection.execute(_OPENED, (self._process, branch, f"{branch}/", f"{branch}0")).fetchone()
        return _Span(first - 1, merged[0])


_MERGED: Final = "SELECT sequence FROM merges WHERE session = ? AND branch = ?"
_OPENED: Final = """
    SELECT min(sequence) FROM (
        SELECT sequence FROM steps WHERE session = ?1 AND name = ?2
        UNION ALL SELECT sequence FROM steps WHERE session = ?1 AND name > ?3 AND name < ?4
    )
"""


class StoredMerges:
    """The work of merged branches in the file of a run, which is opened whenever something of it is read.

    Attributes:
        branches: The names of the branches, as packed texts.
    """

    def __init__(self, path: Path, identity: bytes, branches: Sequence[str], spans: Sequence[_Span]) -> None:
        """Take the positions of the work of branches."""
        self._path = path
        self._identity = identity
        self.branches: bytes = packed_texts(branches)
        self._ends = packed_numbers(chain.from_iterable(spans))

    def only(self, branches: Sequence[str]) -> "StoredMerges":
        """Return the work of some of the branches."""
        names = texts_in(self.branches)
        if names == branches:
            return self
        spans = dict(zip(names, self._spans(), strict=True))
        return StoredMerges(self._path, self._identity, branches, [spans[branch] for branch in branches])

    def receipts(self) -> list[ReceiptFacts]:
        """Return the name, the digest and the item of each branch."""
        merges = self._by_branch(_BRANCH, "merges")
        return [(branch, digest, item) for rows in merges.values() for _, branch, _, digest, item, *_ in rows]

    def records(self) -> list[tuple[StepRecord, ...]]:
        """Return the records of each branch."""
        found = self._by_branch(_BRANCH, "steps").values()
        ended = (list(map(attempt_of, sorted(steps, key=_END))) for steps in found)
        return [tuple(attempt.record for attempt in attempts if attempt.record is not None) for attempts in ended]

    def points(self, metric: str, count: int) -> PackContent:
        """Return the points of a metric, which are this many."""
        found = self._by_branch(_STEP, "points", lambda row: self._points_in(row, metric))
        parts = [(branch, len(points)) for branch, points in found.items() if points]
        if sum(size for _, size in parts) != count:
            raise DamagedRunError(str(self._path), f"points of metric {metric!r} are missing", VERIFY)
        recorded = chain.from_iterable(found.values())
        return PackContent.of(((value, tags, step) for _, value, tags, step, *_ in recorded), parts)

    def _points_in(self, row: tuple[Any, ...], metric: str) -> Iterator[list[Any]]:
        return (point for point in points_of(self._path, PackedRow._make(row)) if point[0] == metric)

    def _by_branch(
        self,
        step_of: Callable[[Any], Any],
        table: str,
        parts_of: Callable[[tuple[Any, ...]], Iterable[Any]] = lambda row: (row,),
    ) -> dict[str, list[Any]]:
        """Return the parts of the rows of each branch, in order, given the step that a part is of."""
        found: dict[str, list[Any]] = {branch: [] for branch in texts_in(self.branches)}
        owners: dict[Any, list[Any] | None] = {**found}
        try:
            for part in chain.from_iterable(map(parts_of, self._rows(table))):
                step = step_of(part)
                if step not in owners:
                    owners[step] = _owner(found, step)
                if (owner := owners[step]) is not None:
                    owner.append(part)
        except JournalError as error:
            reason = f"branches that were merged are in this file alone, and it cannot be read: {error.reason}"
            raise type(error)(error.path, reason, error.advice) from error
        if table != "points" and not all(found.values()):
            raise DamagedRunError(str(self._path), f"branches that were merged are missing in {table}", VERIFY)
        return found

    def _rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Return the rows of a table at the positions of the branches, and a few others between."""
        with closing(connect(self._path)) as connection, transaction(self._path, connection):
            if state_of(self._path, connection)[0] != self._identity:
                raise DamagedRunError(str(self._path), "it is the file of another run", "put the file of the run back")
            for span in self._joined_spans():
                yield from rows(self._path, connection, table, *span)

    def _spans(self) -> Iterator[_Span]:
        """Return the positions of each branch."""
        ends = [*numbers_in(self._ends)]
        return map(_Span._make, zip(ends[::2], ends[1::2], strict=True))

    def _joined_spans(self) -> list[_Span]:
        """Return the positions of all branches in order, with those joined that are close to each other."""
        joined: list[_Span] = []
        for span in sorted(self._spans()):
            if joined and span.before - joined[-1].last <= _GAP:
                joined[-1] = _Span(joined[-1].before, span.last)
            else:
                joined.append(span)
        return joined


_BRANCH = itemgetter(1)
"""Returns the branch or step in a row of `merges` or `steps`."""
_END: Callable[[Any], Any] = itemgetter(4)
"""Returns the position of the end in a row of `steps`."""
_STEP = itemgetter(3)
"""Returns the step of a point."""


def _owner(found: dict[str, list[Any]], step: Any) -> list[Any] | None:
    """Return the list of the branch that a step is of; None if it is of no branch here."""
    parts = step.split("/") if isinstance(step, str) else []
    names = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return next((found[name] for name in names if name in found), None)
