"""The series, artifacts and steps of a parent, in a child that has to see these as well as the parent's keys.

They are sections before the child's own work, at rank `_FIRST`, and are removed before that is packed: nothing of them
travels. A child that is sent to another process has none of them.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from .._core.artifacts import Artifact
from .._core.packed_columns import Block, StoredPoint
from .._core.point_log import PointLog
from .._core.point_sections import Piece, PointSection
from .._core.state import State
from .._core.step_log import EarlierRecords

_FIRST: Final = -1
"""The rank of these sections. Branches have ranks from 0 on."""


@dataclass(slots=True)
class PastPoints(PointSection):
    """The points of a parent, unpacked only as they are read."""

    log: PointLog
    """A copy of the parent's log; `names` are the parent's steps, after None for no step."""

    def __len__(self) -> int:
        return len(self.log)

    def _named(self, row: StoredPoint) -> StoredPoint:
        value, tags, step = row
        # In each context 0 means no step.
        return value, tags, step if type(step) is str else self.names[step] or 0

    def rows(self) -> Iterator[StoredPoint]:
        """Return the points, oldest first."""
        return map(self._named, self.log.rows())

    def values(self) -> Iterator[object]:
        """Return the values, oldest first."""
        return self.log.values()

    def last(self) -> StoredPoint:
        """Return the newest point."""
        newest = self.log.last()
        assert newest is not None  # an empty section is not inserted
        return self._named(newest)

    def pieces(self) -> Iterator[Piece]:
        """Return the points as pieces, whose indices count from the first of these points."""
        for piece in self.log.pieces():
            if piece.names is None:
                # Names are counted from 1, and here the first is None.
                steps = [number + 1 for number, count in piece.block.number_runs() for _ in range(count)]
                yield piece._replace(block=Block.joined([piece.block], steps), names=self.names)
            else:
                yield piece


class PastWork(NamedTuple):
    """The series, artifacts and steps of a context at one moment."""

    points: dict[str, PointLog]
    names: list[Any]
    """The names of the steps, after None for no step."""
    artifacts: list[Artifact]
    steps: EarlierRecords

    @classmethod
    def of(cls, state: State) -> "PastWork":
        """Return the work of a context at this moment."""
        return state.dispatcher.lock.run(partial(cls._taken, state))

    @classmethod
    def _taken(cls, state: State) -> "PastWork":
        logs = state.metric_store.logs.copy().items()
        points = {name: log.points.copy() for name, log in logs if len(log.points)}
        # Names are only ever added to this list.
        return cls(points, state.registry.names, state.artifact_store.in_order(), EarlierRecords(state.step_log))

    def show(self, child: State, source: str) -> ExitStack:
        """Put this work before the work of a child, and return the stack that removes it again."""
        undo = ExitStack()
        for name, log in self.points.items():
            section = PastPoints((), self.names, source, log)
            child.metric_store.open(name).points.insert(_FIRST, 0, section, undo)
        child.artifact_store.insert(_FIRST, 0, self.artifacts, undo)
        child.step_log.insert_earlier(_FIRST, self.steps, undo)
        return undo
