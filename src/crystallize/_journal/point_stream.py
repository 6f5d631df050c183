"""The points of a run in a file, a batch at a time, where they are too many to be in memory at once."""

from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final, TypeAlias

from .._core.metrics import MetricSchema
from .._core.packed_columns import Block
from .._core.point_log import FULL, Piece, PointLog
from .._core.recording import MetricLog
from .._core.series import FrozenMetrics
from ..errors import DamagedRunError
from .database import points_of
from .loaded_run import PointReader, RunData

__all__ = ["BATCH", "Series", "StoredPoints"]

BATCH: Final = 1 << 18
"""Points in a batch, or a few more."""

_Logs: TypeAlias = dict[tuple[str, str | None], PointLog]
"""Points by their metric and the branch that brought them."""
_Way: TypeAlias = tuple[Callable[[tuple[Any, ...]], None], int, MetricLog, bool]
"""What takes points in, the number of their step, what is said of their metric, and whether that has changed since."""
Series: TypeAlias = dict[str, list[Piece]]
"""Points by their metric."""


_PLACE = attrgetter("first")


class StoredPoints:
    """The points of a run, as often as they are asked for.

    They come in the order in which they were written, and not one series after the other.

    Attributes:
        steps: The steps by the numbers of their scopes, after None for no step.
    """

    def __init__(
        self,
        content: RunData,
        rows: Callable[[], Iterator[tuple[Any, ...]]],
        metrics: type[MetricSchema] | None = None,
    ) -> None:
        """Take a run that is open.

        Args:
            content: What it holds besides its points.
            rows: Returns the rows of its points.
            metrics: What they are measured by; None: they are of JSON's types.
        """
        self._reader = PointReader(content, FrozenMetrics(metrics))
        self._content = content
        self._rows = rows
        self._dropped = content.superseded
        done = [one.step for one in content.attempts if (one.session, one.step) not in self._dropped]
        self.steps: list[str | None] = [None, *dict.fromkeys(done)]
        self._numbers = {step: number for number, step in enumerate(self.steps)}
        self._branches: dict[tuple[int, str | None], str | None] = {}
        self._spans: dict[str, _Spans] = {}

    def first_look(self) -> Iterator[Series]:
        """Return all points a batch at a time, to see what there is; their places are not known before its end."""
        counts: dict[str | None, Counter[str]] = defaultdict(Counter)
        places: dict[str, Counter[str]] = {}
        for logs in self._batches(counts, places):
            series: Series = defaultdict(list)
            for (name, branch), log in logs.items():
                series[name] += (piece._replace(branch=branch) for piece in log.pieces())
            yield series
        for name in {name for branch in counts.values() for name in branch}:
            found = [(branch, places[branch][name], counts[branch][name]) for branch, _ in self._content.forks]
            self._spans[name] = _Spans([one for one in found if one[2]])

    def batches(self) -> Iterator[Series]:
        """Return all points a batch at a time, after a first look, each with its place in its series."""
        done: Counter[tuple[str, str | None]] = Counter()
        for logs in self._batches(defaultdict(Counter), {}):
            series: Series = defaultdict(list)
            for (name, branch), log in logs.items():
                for piece in log.pieces():
                    series[name] += self._spans[name].placed(piece.block, branch, done[name, branch] + piece.first)
                done[name, branch] += len(log)
            yield {name: sorted(pieces, key=_PLACE) for name, pieces in series.items()}

    def _batches(self, counts: dict[str | None, Counter[str]], places: dict[str, Counter[str]]) -> Iterator[_Logs]:
        """Read the points, by metric and branch.

        Args:
            counts: Is given how many points each branch brought, by metric; None is the run itself.
            places: Is given how many points there were when a branch was forked, by metric.
        """
        forks = deque(self._content.forks)
        logs: _Logs = defaultdict(PointLog)
        held = 0
        for sequence, session, count, packed in self._rows():
            # Between the points of a row nothing is forked.
            while forks and forks[0][1] < sequence:
                places[forks.popleft()[0]] = counts[None].copy()
            for (name, branch), more in self._take(logs, session, packed).items():
                counts[branch][name] += more
            held += count
            if held >= BATCH:
                yield logs
                logs, held = defaultdict(PointLog), 0
        yield logs
        places.update((branch, counts[None].copy()) for branch, _ in forks)

    def _take(self, logs: _Logs, session: int, packed: bytes) -> Counter[tuple[str, str | None]]:
        """Put the points of a row where they belong; return how many there were for each."""
        before: dict[tuple[str, str | None], int] = {}
        ways: dict[tuple[str, str | None], _Way | None] = {}
        for point in points_of(self._content.path, packed):
            name, value, tags, step = point[:4]
            if (name, step) not in ways:
                ways[name, step] = None
                if (session, step) not in self._dropped:
                    where = name, self._branch(session, step)
                    before.setdefault(where, logs[where].length())
                    channel = self._reader.channel(name)
                    is_changed = self._reader.is_changed(session, channel)
                    ways[name, step] = logs[where].extend, self._numbers[step], channel, is_changed
            way = ways[name, step]
            if way is not None:
                extend, number, channel, is_changed = way
                if is_changed or len(point) > 4:
                    value, tags = self._reader.read(channel, point, is_changed=is_changed)
                extend((value, tags, number))
        found = Counter({where: logs[where].length() - count for where, count in before.items()})
        for where in found:
            while len(logs[where].tail) >= FULL:
                logs[where].seal()
        return found

    def _branch(self, session: int, step: str | None) -> str | None:
        """Return the branch that brought what a step recorded.

        Raises:
            DamagedRunError: There is no such step.
        """
        if step not in self._numbers:
            reason = f"points were recorded by step {step!r}, which is not there"
            raise DamagedRunError(str(self._content.path), reason)
        if (session, step) not in self._branches:
            self._branches[session, step] = self._content.branch_of(session, step)
        return self._branches[session, step]


class _Spans:
    """Where in a series there are the points of branches."""

    def __init__(self, brought: list[tuple[str, int, int]]) -> None:
        """Take note of what branches brought.

        Args:
            brought: The branches in the order in which they were forked, each with how many points the run itself had
                by then, and how many it brought.
        """
        self._places = [place for _, place, _ in brought]
        self._sums = [*accumulate((count for _, _, count in brought), initial=0)]
        self._starts = {branch: place + before for (branch, place, _), before in zip(brought, self._sums, strict=False)}

    def placed(self, block: Block, branch: str | None, at: int) -> Iterator[Piece]:
        """Return points with their place in the series.

        Args:
            block: The points.
            branch: The branch that brought them; None for the run itself.
            at: The place of the first one among those of the branch, or of the run itself.
        """
        if branch is not None:
            yield Piece(block, 0, branch, self._starts[branch] + at)
            return
        begin, end = at, at + block.size
        while begin < end:
            before = bisect_right(self._places, begin)
            until = min([end, *self._places[before : before + 1]])
            yield Piece(block.cut(begin - at, until - at), 0, None, begin + self._sums[before])
            begin = until
