"""Follow a run that is being written: each look reads only the new facts.

No look makes the writer wait: the file is opened, read in one short transaction, and closed.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from .._core.codec import NotRestorable, decode_untyped, json_view
from .._core.context import FrozenContext
from .._core.metric_store import MetricStore
from .._core.point_log import fetch
from .._journal.database import connect, transaction
from .._journal.loaded_run import Run, load_run
from .._journal.point_stream import PointStream
from .._journal.read_run import RunData, data_of, real
from .._journal.rows import Attempt, Entry, MergedBranch, PackedRow, SoFar, Task, done_so_far
from .._journal.spool_format import has_writer
from .._journal.untrusted_file import check_files, damage_in
from .._tables.export import ValueRow, row_to_show
from .._tables.run_description import Description, MadeArtifact, MetricSummary, describe, is_finite, outline, seen_again


class Look(NamedTuple):
    """A run as it was at one moment."""

    run: Description
    """The run, as the file has it."""
    came: dict[str, float]
    """When the newest point of each metric came, by `monotonic`; without points that came before the first look."""
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
    """The points of one metric that one attempt at a step, or no step, has recorded, in numbers."""

    metric: str
    session: int
    step: str | None
    sequence: int
    """The position of the first point among the facts of the run."""
    first: Any = None
    last: Any = None
    last_sequence: int = 0
    count: int = 0
    minimum: float | None = None
    maximum: float | None = None
    lacking: int = 0

    def add(self, position: int, value: Any, tags: Iterable[Any]) -> None:
        """Count a point, whose value and tags are as a context keeps them."""
        self.lacking += NotRestorable in map(type, (value, *tags))
        value = json_view(fetch(value))
        self.first = value if self.count == 0 else self.first
        self.count += 1
        self.last, self.last_sequence = value, position
        if is_finite(value):
            self.minimum = value if self.minimum is None else min(self.minimum, value)
            self.maximum = value if self.maximum is None else max(self.maximum, value)


class Follower:
    """Follows one run.

    While the run has a writer, a look reads the facts since the last look. Once it has ended or died, a look loads it
    as `load_run` does.
    """

    def __init__(self, path: Path) -> None:
        """Begin to follow the run in a file."""
        self._path = real(path)
        self._seen: int | None = None
        self._attempts: dict[tuple[int, str], Attempt] = {}
        self._values: list[Entry] = []
        self._rows: dict[int, ValueRow] = {}
        self._tallies: dict[tuple[int, str | None, str], _Tally] = {}
        self._artifacts: list[_Made] = []
        self._merges: list[MergedBranch] = []
        self._failures: list[Attempt] = []
        self._tasks: list[Task] = []
        self._run: Description | None = None
        self._came: dict[str, float] = {}
        self._began = monotonic()

    def look(self) -> Look:
        """Return the run as it is now; this raises the errors of `load_run`."""
        check_files(self._path)
        if has_writer(self._path.with_suffix(".spool")):
            with closing(connect(self._path)) as connection, transaction(self._path, connection):
                new = data_of(self._path, connection, running=True, since=self._seen or 0)
            with damage_in(self._path):
                run = self._run = self._described(new)
        else:
            run = describe(load_run(self._path), in_short=True)
        return Look(run, self._came.copy(), self._began)

    def _described(self, new: RunData) -> Description:
        """Take the new facts in, and describe the whole run."""
        known = self._run
        if known is not None and new.drained == self._seen and len(new.sessions) == len(known.sessions):
            return seen_again(known)
        self._take(new)
        data = replace(
            new,
            attempts=tuple(self._attempts.values()),
            values=tuple(self._values),
            points=(),
            artifacts=(),
            merges=tuple(self._merges),
            failures=tuple(self._failures),
            tasks=tuple(self._tasks),
            returns=(),
        )
        self._take_points(data, new.points)
        self._seen = new.drained
        # Its context, which would need all values and points, is never made.
        run: Run[Any] = Run(data, FrozenContext, None)
        dropped = data.superseded
        rows = (self._rows[entry.sequence] for entry in run.entries.values())
        artifacts = [found for found in self._artifacts if (found.session, found.step) not in dropped]
        return outline(
            run,
            rows,
            tuple(self._summaries(data, dropped)),
            tuple(found.made for found in sorted(artifacts, key=data.position)),
            self._so_far(),
        )

    def _so_far(self) -> dict[tuple[int, str], SoFar]:
        artifacts = ((found.session, found.step, found.made.name) for found in self._artifacts)
        points = ((tally.session, tally.step, tally.metric, tally.count) for tally in self._tallies.values())
        return done_so_far(self._attempts.values(), self._values, artifacts, points)

    def _take(self, new: RunData) -> None:
        for attempt in new.attempts:
            self._attempts[attempt.session, attempt.step] = attempt
        for entry in new.as_read_here().values:
            self._rows[entry.sequence] = row_to_show(entry, partial(decode_untyped, entry.stored))
            # No value is kept twice: the row has it.
            self._values.append(entry._replace(stored=entry.stored._replace(json=b"null", parts=())))
        for position, process, artifact in new.artifacts:
            made = MadeArtifact(artifact.name, artifact.size, artifact.step)
            self._artifacts.append(_Made(process, artifact.step, position, made))
        self._merges += new.merges
        self._failures += new.failures
        # Without their digests, which are not shown.
        self._tasks += [task._replace(inputs=None) for task in new.tasks]

    def _take_points(self, data: RunData, rows: Iterable[PackedRow]) -> None:
        stream, now = PointStream(data, MetricStore(None), ()), monotonic()
        for row in rows:
            for source, value, tags, position in stream.points(row):
                metric, key = source.metric.name, (row.process, source.step, source.metric.name)
                tally = self._tallies.get(key)
                if tally is None:
                    tally = self._tallies[key] = _Tally(metric, row.process, source.step, position)
                tally.add(position, value, tags.values())
                if self._seen is not None:
                    self._came[metric] = now

    def _summaries(self, data: RunData, dropped: Collection[tuple[int, str | None]]) -> Iterator[MetricSummary]:
        by_metric: dict[str, list[_Tally]] = {}
        for tally in sorted(self._tallies.values(), key=attrgetter("sequence")):
            if (tally.session, tally.step) not in dropped:
                by_metric.setdefault(tally.metric, []).append(tally)
        for metric, tallies in by_metric.items():
            # The work of a branch comes where it was forked, and all points of a tally are of one branch, or of none.
            ends = [(data.position(tally), tally.first) for tally in tallies]
            ends += [(data.position(replace(tally, sequence=tally.last_sequence)), tally.last) for tally in tallies]
            ends.sort(key=itemgetter(0))
            minimum = min((tally.minimum for tally in tallies if tally.minimum is not None), default=None)
            maximum = max((tally.maximum for tally in tallies if tally.maximum is not None), default=None)
            count = sum(tally.count for tally in tallies)
            lacking = sum(tally.lacking for tally in tallies)
            yield MetricSummary(metric, count, ends[0][1], ends[-1][1], minimum, maximum, lacking)
