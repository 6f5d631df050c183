"""The points of a run in a file: one reader of their rows, for resuming, loading, frames and `--watch`."""

from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias

from .._base.signal_handlers import reraise_from_handler
from .._base.text import short
from .._core.codec import NotRestorable, json_view
from .._core.metric_log import MetricLog
from .._core.metric_store import MetricStore
from .._core.metrics import MetricSchema
from .._core.packed_columns import Block
from .._core.point_log import PointLog, store
from .._core.point_sections import Piece
from .._core.value_codecs import RegisteredFailed
from ..errors import DamagedRunError, JournalError, MetricError
from .event_bytes import decoded_point
from .packed_points import points_of
from .read_run import RunData
from .rows import PackedRow
from .untrusted_file import VERIFY

BATCH: Final = 1 << 18
"""Points in a batch, or a few more."""

_WRITTEN_SCHEMA = "use the metrics that the run was written with"


class PointSource:
    """The source of points: one step of one process, and the metric that it recorded."""

    __slots__ = ("branch", "extend", "is_changed", "metric", "number", "step")

    extend: Callable[[tuple[Any, ...]], None]
    """Adds points to the log into which `PointStream.collect` puts them."""

    def __init__(self, metric: MetricLog, step: str | None, number: int, branch: str | None) -> None:
        self.metric = metric
        self.step = step
        self.number = number
        """The number of the step in stored points."""
        self.branch = branch
        """The branch that brought the points; None for the run itself."""
        self.is_changed = False
        """Whether the metric was declared differently when the points were recorded."""


class PointStream:
    """The points of a run, in the order in which they were recorded, as the metrics of a context take them.

    Attributes:
        steps: The steps by their numbers in stored points, after None for no step.
        counts: The number of points collected so far, by branch and metric; None is the run itself.
        forks: The number of the run's own points when a branch was forked, by branch and metric.
    """

    def __init__(self, data: RunData, store: MetricStore, dropped: Collection[tuple[int, str | None]]) -> None:
        """Prepare to read a run, without the points of the dropped attempts."""
        self._data = data
        self._path = data.path
        self._store = store
        self._dropped = dropped
        self._known = {session.number: session.fingerprints.get("metrics", {}) for session in data.sessions}
        self._opened = {(attempt.session, attempt.step) for attempt in data.attempts}
        done = [attempt.step for attempt in data.attempts if (attempt.session, attempt.step) not in dropped]
        self.steps: list[str | None] = [None, *dict.fromkeys(done)]
        self._numbers = {step: number for number, step in enumerate(self.steps)}
        self._branches: dict[tuple[int, str | None], str | None] = {}
        self.counts: dict[str | None, Counter[str]] = defaultdict(Counter)
        self.forks: dict[str, dict[str, int]] = {}

    def points(
        self, row: PackedRow, opened: Callable[[PointSource], object] | None = None
    ) -> Iterator[tuple[PointSource, Any, dict[str, Any], int]]:
        """Return the points in a row: source, value and tags in their stored form, and position.

        `opened` is called with each source before its first point. If the metrics are not those of the run, this raises
        JournalError; if the row makes no sense, DamagedRunError.
        """
        sources: dict[tuple[str, str | None], PointSource | None] = {}
        for position, point in enumerate(points_of(self._path, row), row.position):
            has_note = len(point) > 4
            name, value, tags, step = point[:4] if has_note else point
            try:
                source = sources[name, step]
            except KeyError:
                source = sources[name, step] = self._source(name, row.process, step)
                if source is not None and opened is not None:
                    opened(source)
            if source is None:
                continue
            if has_note or source.is_changed:
                value, tags = self._kept(source, point)
            yield source, value, tags, position

    def collect(
        self, rows: Iterable[PackedRow], log_of: Callable[[MetricLog, str | None], PointLog]
    ) -> Iterator[PackedRow]:
        """Put the points of rows into the logs of their metrics and branches, and return each row once that is done."""
        forks = deque(self._data.forks)
        for row in rows:
            # Between the points of a row nothing is forked.
            while forks and forks[0][1] < row.position:
                self.forks[forks.popleft()[0]] = dict(self.counts[None])
            self._collect(row, log_of)
            yield row
        self.forks.update((branch, dict(self.counts[None])) for branch, _ in forks)

    def _collect(self, row: PackedRow, log_of: Callable[[MetricLog, str | None], PointLog]) -> None:
        logs: dict[tuple[str, str | None], tuple[PointLog, int]] = {}

        def open_log(source: PointSource) -> None:
            log = log_of(source.metric, source.branch)
            logs.setdefault((source.metric.name, source.branch), (log, log.length()))
            source.extend = log.extend

        for source, value, tags, _ in self.points(row, open_log):
            source.extend((value, tags, source.number))
        for (name, branch), (log, before) in logs.items():
            self.counts[branch][name] += log.length() - before
            while len(log.tail) >= log.full:
                log.seal()

    def _source(self, name: str, process: int, step: str | None) -> PointSource | None:
        """Return the source of points; None if they are dropped."""
        if type(name) is not str or type(step) not in (str, NoneType):
            raise TypeError(f"a point was recorded by step {short(step)} for metric {short(name)}")
        if (process, step) in self._dropped:
            return None
        if step is not None and (process, step) not in self._opened:
            raise DamagedRunError(str(self._path), f"points were recorded by step {step!r}, which is not there")
        if (process, step) not in self._branches:
            self._branches[process, step] = self._data.branch_of(process, step)
        source = PointSource(self._log(name), step, self._numbers[step], self._branches[process, step])
        metric = source.metric.metric
        source.is_changed = metric is not None and self._known.get(process, {}).get(name) != metric.checks.fingerprint
        return source

    def _log(self, name: str) -> MetricLog:
        """Return the log of a metric; raise JournalError if the schema does not declare it."""
        try:
            return self._store.open(name)
        except MetricError as error:
            reason = f"the run has metrics that the schema does not declare: {error}"
            raise JournalError(str(self._path), reason, _WRITTEN_SCHEMA) from error

    def _kept(self, source: PointSource, point: list[Any]) -> tuple[Any, dict[str, Any]]:
        """Return the value and the tags of a parsed point, in their stored form."""
        metric = source.metric
        checks = None if metric.metric is None or source.is_changed else metric.metric.checks
        value, tags = _restored(self._path, point, checks) if len(point) > 4 else point[1:3]
        # If nothing is left of a value, it stays lost.
        if not source.is_changed or any(map(_is_lost, (value, *tags.values()))):
            kept_tags = {tag: store(tags[tag], f"a tag of {metric.name!r}") for tag in tags}
            return store(value, f"a value of {metric.name!r}"), kept_tags
        try:
            return metric.prepare(json_view(value), {tag: json_view(tags[tag]) for tag in tags})
        except MetricError as error:
            reason = f"metric {metric.name!r} was declared otherwise when the run measured it: {error}"
            raise JournalError(str(self._path), reason, _WRITTEN_SCHEMA) from error


def _restored(path: Path, point: list[Any], checks: Any) -> tuple[Any, dict[str, Any]]:
    """Return the value and tags of a point that needs more than its JSON; `checks` is None if they are not known."""
    try:
        return decoded_point(point, checks)
    except ImportError as error:
        reason = f"metric {point[0]!r} holds an array, and {error.name} is not installed"
        raise JournalError(str(path), reason) from error
    except RegisteredFailed as error:
        reason = f"a point of metric {point[0]!r} is not damaged, but {error}"
        raise JournalError(str(path), reason, error.advice) from error
    except Exception as error:  # whatever a user's validator raises
        reraise_from_handler(error)
        reason = f"a point of metric {point[0]!r} cannot be restored ({type(error).__name__}: {error})"
        raise DamagedRunError(str(path), reason, VERIFY) from error


def _is_lost(value: Any) -> bool:
    return type(value) is NotRestorable and value.json == "null"


_Pieces: TypeAlias = dict[str, list[Piece]]
"""Points by their metric."""
_FIRST = attrgetter("first")


class StoredPoints:
    """The points of a run that are too many for memory, a batch at a time, as often as they are asked for.

    They come in the order in which they were written, and not one series after the other.

    Attributes:
        steps: The steps by their numbers in stored points, after None for no step.
    """

    def __init__(
        self,
        data: RunData,
        rows: Callable[[], Iterator[PackedRow]],
        metrics: type[MetricSchema] | None = None,
        dropped: Collection[tuple[int, str | None]] | None = None,
    ) -> None:
        """Take an open run and the function that reads its rows; without metrics, points are of JSON's types.

        The points of the dropped attempts are left out, by default of those that were done again.
        """
        self._data = data
        self._dropped = data.superseded if dropped is None else dropped
        self._rows = rows
        self._metrics = MetricStore(metrics)
        self.steps = self._stream().steps
        self._spans: dict[str, _Spans] = {}

    def _stream(self) -> PointStream:
        return PointStream(self._data, self._metrics, self._dropped)

    def first_look(self) -> Iterator[_Pieces]:
        """Return all points a batch at a time; their indices in the series are known only after the last batch."""
        stream = self._stream()
        for logs in self._batches(stream):
            series: _Pieces = defaultdict(list)
            for (name, branch), log in logs.items():
                series[name] += (piece._replace(source=branch) for piece in log.pieces())
            yield series
        counts, forks = stream.counts, stream.forks
        for name in {name for branch in counts.values() for name in branch}:
            found = [(branch, forks[branch].get(name, 0), counts[branch][name]) for branch, _ in self._data.forks]
            self._spans[name] = _Spans([_Brought(*brought) for brought in found if brought[2]])

    def batches(self) -> Iterator[_Pieces]:
        """Return all points a batch at a time, after a first look, each with its index in its series."""
        done: Counter[tuple[str, str | None]] = Counter()
        for logs in self._batches(self._stream()):
            series: _Pieces = defaultdict(list)
            for (name, branch), log in logs.items():
                for piece in log.pieces():
                    series[name] += self._spans[name].located(piece.block, branch, done[name, branch] + piece.first)
                done[name, branch] += len(log)
            yield {name: sorted(pieces, key=_FIRST) for name, pieces in series.items()}

    def _batches(self, stream: PointStream) -> Iterator[dict[tuple[str, str | None], PointLog]]:
        """Read the points, by metric and branch."""
        logs: dict[tuple[str, str | None], PointLog] = defaultdict(PointLog)
        held = 0
        for row in stream.collect(self._rows(), lambda metric, branch: logs[metric.name, branch]):
            held += row.size
            if held >= BATCH:
                yield logs
                logs.clear()
                held = 0
        yield logs


class _Brought(NamedTuple):
    """The points that a branch brought into a series."""

    branch: str
    start: int
    """How many points the run itself had recorded at the fork."""
    size: int


class _Spans:
    """The indices of the points of branches in a series."""

    def __init__(self, brought: list[_Brought]) -> None:
        """Take the points of branches, in the order in which these were forked."""
        self._starts = [points.start for points in brought]
        self._sums = [*accumulate((points.size for points in brought), initial=0)]
        self._first = {
            points.branch: points.start + before for points, before in zip(brought, self._sums, strict=False)
        }

    def located(self, block: Block, branch: str | None, at: int) -> Iterator[Piece]:
        """Return points with their index in the series.

        `at` is the index of the first point among those of the branch, or of the run itself if that is None.
        """
        if branch is not None:
            yield Piece(block, 0, branch, self._first[branch] + at)
            return
        begin, end = at, at + block.size
        while begin < end:
            before = bisect_right(self._starts, begin)
            until = min([end, *self._starts[before : before + 1]])
            yield Piece(block.cut(begin - at, until - at), 0, None, begin + self._sums[before])
            begin = until
