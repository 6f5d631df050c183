"""A run that is being written, looked at again and again: each look reads only what is new.

No look holds anything that its writer waits for: the file is opened, read in one short transaction, and closed.
"""

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter, itemgetter
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from .._core.codec import NotRestorable, decode_untyped, json_view
from .._core.context import FrozenContext
from .._journal.database import connect, points_of, transaction
from .._journal.loaded_run import (
    Attempt,
    Entry,
    MergedBranch,
    Run,
    RunData,
    SoFar,
    content_of,
    done_so_far,
    given_back,
    load_run,
    real,
)
from .._journal.spool import is_locked
from .._tables.export import ValueRow, value_row
from .._tables.run_description import Description, MadeArtifact, MetricSummary, describe, is_finite, outline

__all__ = ["Follower", "Look"]


class Look(NamedTuple):
    """A run as it was at one moment."""

    run: Description
    """What it was, did and made, as the file has it."""
    came: dict[str, float]
    """When the newest point of each metric came, by `monotonic`, of those that came since the first look."""
    began: float
    """When the first look was, by the same clock."""


class _Made(NamedTuple):
    """An artifact without its content."""

    session: int
    step: str | None
    sequence: int
    made: MadeArtifact


@dataclass(slots=True)
class _Tally:
    """What is known of the points of one metric that one attempt at a step, or nobody's step, has recorded."""

    metric: str
    session: int
    step: str | None
    sequence: int
    """The place of the first one among the facts of the run."""
    first: Any = None
    last: Any = None
    last_sequence: int = 0
    count: int = 0
    least: float | None = None
    most: float | None = None
    lacking: int = 0

    def add(self, sequence: int, value: Any, tags: list[Any]) -> None:
        """Take a point in."""
        self.lacking += NotRestorable in map(type, (value, *tags))
        value = json_view(value)
        self.first = value if self.count == 0 else self.first
        self.count += 1
        self.last, self.last_sequence = value, sequence
        if is_finite(value):
            self.least = value if self.least is None else min(self.least, value)
            self.most = value if self.most is None else max(self.most, value)


class Follower:
    """Follows one run.

    While it has a writer, a look costs what came since the last one. What the run was in the end, or what there is of
    it after its process died, is read as anybody else reads it.
    """

    def __init__(self, path: Path) -> None:
        """Begin to follow a run.

        Args:
            path: The file of the run.
        """
        self._path = real(path)
        self._seen: int | None = None
        self._attempts: dict[tuple[int, str], Attempt] = {}
        self._values: list[Entry] = []
        self._rows: dict[int, ValueRow] = {}
        self._tallies: dict[tuple[int, str | None, str], _Tally] = {}
        self._artifacts: list[_Made] = []
        self._merges: list[MergedBranch] = []
        self._failures: list[Attempt] = []
        self._run: Description | None = None
        self._came: dict[str, float] = {}
        self._began = monotonic()

    def look(self) -> Look:
        """Return the run as it is now.

        Raises:
            RunNotFoundError: There is none, or none any more.
            DamagedRunError: It cannot all be read.
            JournalError: It cannot be opened.
        """
        if is_locked(self._path.with_suffix(".spool")):
            with closing(connect(self._path)) as connection, transaction(self._path, connection):
                new = content_of(self._path, connection, running=True, since=self._seen or 0)
            run = self._run = self._described(new)
        else:
            run = describe(load_run(self._path))
        return Look(run, self._came.copy(), self._began)

    def _described(self, new: RunData) -> Description:
        """Take in what is new, and describe the whole."""
        known = self._run
        if known is not None and new.drained == self._seen and len(new.sessions) == len(known.sessions):
            return replace(known, seconds=(datetime.now(UTC) - known.started).total_seconds())
        self._take(new)
        content = replace(
            new,
            attempts=tuple(self._attempts.values()),
            values=tuple(self._values),
            points=(),
            artifacts=(),
            merges=tuple(self._merges),
            failures=tuple(self._failures),
        )
        # Its context, which would be made of all values and points, is not asked for.
        run: Run[Any] = Run(content, FrozenContext, None)
        dropped = content.superseded
        rows = (self._rows[entry.sequence] for entry in run.entries.values())
        made = [one for one in self._artifacts if (one.session, one.step) not in dropped]
        return outline(
            run,
            rows,
            tuple(self._summaries(content, dropped)),
            tuple(one.made for one in sorted(made, key=content.place)),
            self._so_far(),
        )

    def _so_far(self) -> dict[tuple[int, str], SoFar]:
        artifacts = ((one.session, one.step, one.made.name) for one in self._artifacts)
        points = ((one.session, one.step, one.metric, one.count) for one in self._tallies.values())
        return done_so_far(self._attempts.values(), self._values, artifacts, points)

    def _take(self, new: RunData) -> None:
        for attempt in new.attempts:
            self._attempts[attempt.session, attempt.step] = attempt
        for entry in new.values:
            self._rows[entry.sequence] = value_row(entry, None if entry.missing else decode_untyped(entry.stored))
            # What is large is in the row, if anywhere.
            self._values.append(entry._replace(stored=entry.stored._replace(json=b"null", arrays=())))
        for sequence, session, artifact in new.artifacts:
            made = MadeArtifact(artifact.name, len(artifact.data), artifact.step)
            self._artifacts.append(_Made(session, artifact.step, sequence, made))
        self._merges += new.merges
        self._failures += new.failures
        for sequence, session, packed in new.points:
            self._take_points(sequence, session, points_of(self._path, packed))
        self._seen = new.drained

    def _take_points(self, first: int, session: int, points: list[Any]) -> None:
        now = monotonic()
        for sequence, point in enumerate(points, first):
            metric, value, tags, step = point[:4]
            if len(point) > 4:
                value, tags = given_back(self._path, point, None)
            tally = self._tallies.get((session, step, metric))
            if tally is None:
                tally = self._tallies[session, step, metric] = _Tally(metric, session, step, sequence)
            tally.add(sequence, value, [*tags.values()])
            if self._seen is not None:
                self._came[metric] = now

    def _summaries(self, content: RunData, dropped: Collection[tuple[int, str | None]]) -> Iterator[MetricSummary]:
        by_metric: dict[str, list[_Tally]] = {}
        for tally in sorted(self._tallies.values(), key=attrgetter("sequence")):
            if (tally.session, tally.step) not in dropped:
                by_metric.setdefault(tally.metric, []).append(tally)
        for metric, tallies in by_metric.items():
            # A branch stands where it was forked, and all the points of one tally are of one branch, or of none.
            ends = [(content.place(one), one.first) for one in tallies]
            ends += [(content.place(replace(one, sequence=one.last_sequence)), one.last) for one in tallies]
            ends.sort(key=itemgetter(0))
            least = min((one.least for one in tallies if one.least is not None), default=None)
            most = max((one.most for one in tallies if one.most is not None), default=None)
            count = sum(one.count for one in tallies)
            lacking = sum(one.lacking for one in tallies)
            yield MetricSummary(metric, count, ends[0][1], ends[-1][1], least, most, lacking)
