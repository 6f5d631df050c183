"""An earlier run, looked up by its steps, keys, artifacts and points."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json

from .._core.codec import Stored
from .._core.file_names import folded
from .._core.provenance import MetricRead
from .packed_points import points_of
from .read_run import RunData, read
from .rows import Attempt, Entry, Returned, StoredArtifact, Task

_SEQUENCE = attrgetter("sequence")


class EarlierPoint(NamedTuple):
    """A point of an earlier run, in the form in which the file has it."""

    sequence: int
    """Its position among the facts of the run."""
    session: int
    step: str | None
    row: list[Any]
    """Metric, value, tags and step, and how to restore them if their JSON alone does not."""


class MadeBy(NamedTuple):
    """Something that a step has made, as far as its place in the order of the run goes."""

    sequence: int
    session: int
    step: str | None


class FinishedTree(NamedTuple):
    """A step of an earlier run that finished, with its inner steps."""

    root: Attempt
    attempts: tuple[Attempt, ...]
    """All of them, and the failures of branches, in the order of a context's records; the root is last."""
    steps: frozenset[tuple[int, str | None]]
    """The processes and names of all."""
    lost: str | None
    """The inner step that failed, or whose work a resumed run would not have; None if there is none."""

    def has(self, made: Any) -> bool:
        """Return whether something was made by one of these steps."""
        return (made.session, made.step) in self.steps


class PointsBefore(NamedTuple):
    """The points of a metric that a step read, as far as other steps had recorded them."""

    points: list[EarlierPoint]
    """In the order of the series."""


def _steps_around(attempts: Iterable[Attempt]) -> frozenset[str]:
    """Return the names of the steps around these, of any depth."""
    found = set[str]()
    for attempt in attempts:
        step = attempt.step
        while "/" in step:
            step = step.rpartition("/")[0]
            found.add(step)
    return frozenset(found)


class EarlierRun:
    """A run that is read to take steps over from it."""

    def __init__(self, data: RunData) -> None:
        """Take the content of a run."""
        self.data: RunData = data.without_lost_objects(whole=False)
        self.name: str = data.path.stem
        self._dropped = self.data.steps_to_redo
        self._json: dict[int, bytes] = {}
        self._positions: dict[int, Any] = {}

    @classmethod
    def read(cls, path: Path) -> "EarlierRun":
        """Read a run, which may be running."""
        return cls(read(path))

    @cached_property
    def _kept(self) -> dict[str, Attempt]:
        """The newest attempt at each step, unless a resumed run would repeat it."""
        attempts = self.data.attempts
        return {found.step: found for found in attempts if (found.session, found.step) not in self._dropped}

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self._kept)

    @cached_property
    def tasks(self) -> dict[tuple[int, str | None], Task]:
        """The calls of `ctx.run`, by process and step."""
        return {(task.session, task.step): task for task in self.data.tasks}

    @cached_property
    def returns(self) -> dict[tuple[int, str | None], Returned]:
        """The return values of these calls, by process and step."""
        return {(found.session, found.step): found for found in self.data.returns}

    @cached_property
    def _merges(self) -> dict[tuple[int, str], Stored]:
        return {(merged.session, merged.branch): merged.result for merged in self.data.merges}

    def result(self, root: Attempt) -> Stored | None:
        """Return the return value of the task of a step or branch; None if the file has none."""
        returned = self.returns.get((root.session, root.step))
        return self._merges.get((root.session, root.step)) if returned is None else returned.result

    def tree(self, step: str) -> FinishedTree | None:
        """Return a step that `ctx.run` has run and that finished; None if there is none of this name."""
        root = self._kept.get(step)
        if root is None or not root.finished or (root.session, step) not in self.tasks:
            return None
        if step not in self._around:  # as most
            return FinishedTree(root, (root,), frozenset([(root.session, step)]), None)
        # "0" is the character after "/".
        first, last = bisect_left(self._names, f"{step}/"), bisect_left(self._names, f"{step}0")
        inner = [self._kept[name] for name in self._names[first:last]]
        attempts = sorted([*inner, *self._failures_in(root)], key=self._order_of_end)
        steps = frozenset([(root.session, step), *((found.session, found.step) for found in inner)])
        lost = next((found.step for found in self._lost_in(root)), None)
        return FinishedTree(root, (*attempts, root), steps, lost)

    def has_finished(self, step: str) -> bool:
        """Return whether a step finished, though its work may be lost."""
        return any(found.step == step and found.finished for found in self.data.attempts)

    @cached_property
    def _around(self) -> frozenset[str]:
        """The steps that have inner steps or branches, also those whose work is lost or that failed."""
        return _steps_around([*self.data.attempts, *self.data.failures])

    def _lost_in(self, root: Attempt) -> Iterator[Attempt]:
        """Return the inner steps of a step that ended with it, and failed or are not kept."""
        start = f"{root.step}/"
        for found in self._by_start[start.partition("/")[0]]:
            is_within = found.session == root.session and root.sequence < found.sequence <= root.ended
            is_whole = found.finished and self._kept.get(found.step) is found
            if is_within and found.step.startswith(start) and not is_whole:
                yield found

    @cached_property
    def _by_start(self) -> dict[str, list[Attempt]]:
        """The attempts at inner steps, by the outermost step."""
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.data.attempts:
            if "/" in attempt.step:
                found[attempt.step.partition("/")[0]].append(attempt)
        return found

    def _failures_in(self, root: Attempt) -> list[Attempt]:
        """Return the failed branches of a step that did not run again."""
        found = {
            failure.step: failure
            for failure in self.data.failures
            if failure.session == root.session
            and failure.step.startswith(f"{root.step}/")
            and root.sequence < failure.sequence < root.ended
        }
        return [failure for name, failure in found.items() if name not in self._kept]

    def _order_of_end(self, attempt: Attempt) -> Any:
        return self.data.position(MadeBy(attempt.ended, attempt.session, attempt.step))

    def ordered(self, made: Iterable[Any]) -> list[Any]:
        """Return things in the order in which the run itself has them."""
        found = list(made)
        return found if len(found) < 2 else sorted(found, key=self._position_of)

    def _position_of(self, made: Any) -> Any:
        # All entries and points live as long as the run, so an identity belongs to one of them.
        found = self._positions.get(id(made))
        if found is None:
            found = self._positions[id(made)] = self.data.position(MadeBy(made.sequence, made.session, made.step))
        return found

    @cached_property
    def _entries(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.data.values:
            found[entry.key].append(entry)
        return found

    def entry(self, key: str, reader: Attempt) -> Entry | None:
        """Return the entry of a key that a step has read; None if the file has none."""
        found = self._entries.get(key, [])
        at = bisect_right(found, reader.ended, key=_SEQUENCE)
        return found[at - 1] if at else None

    @cached_property
    def _entries_by_step(self) -> dict[tuple[int, str | None], list[Entry]]:
        found: dict[tuple[int, str | None], list[Entry]] = defaultdict(list)
        for entry in self.data.values:
            found[entry.session, entry.step].append(entry)
        return found

    def entries_of(self, tree: FinishedTree) -> list[Entry]:
        """Return the entries of the keys that a step and its inner steps wrote, in order."""
        return self.ordered(entry for step in tree.steps for entry in self._entries_by_step.get(step, ()))

    @cached_property
    def _files(self) -> dict[str, list[StoredArtifact]]:
        found: dict[str, list[StoredArtifact]] = defaultdict(list)
        for stored in self.data.artifacts:
            found[folded(stored.artifact.name)].append(stored)
        return found

    def artifact(self, name: str, reader: Attempt) -> StoredArtifact | None:
        """Return an artifact that a step has read; None if the file has none."""
        found = [stored for stored in self._files.get(folded(name), ()) if stored.position <= reader.ended]
        return found[-1] if found else None

    @cached_property
    def _files_by_step(self) -> dict[tuple[int, str | None], list[StoredArtifact]]:
        found: dict[tuple[int, str | None], list[StoredArtifact]] = defaultdict(list)
        for stored in self.data.artifacts:
            found[stored.process, stored.artifact.step].append(stored)
        return found

    def artifacts_of(self, tree: FinishedTree) -> list[StoredArtifact]:
        """Return the artifacts that a step and its inner steps added, in order."""
        made = [stored for step in tree.steps for stored in self._files_by_step.get(step, ())]
        return sorted(made, key=lambda it: self.data.position(MadeBy(it.position, it.process, it.artifact.step)))

    @cached_property
    def _points(self) -> dict[str, list[EarlierPoint]]:
        """The points by metric, in the order in which they were recorded."""
        found: dict[str, list[EarlierPoint]] = defaultdict(list)
        for row in self.data.points:
            for position, point in enumerate(points_of(self.data.path, row), row.position):
                found[point[0]].append(EarlierPoint(position, row.process, point[3], point))
        return found

    @cached_property
    def _points_by_step(self) -> dict[tuple[int, str | None], list[EarlierPoint]]:
        found: dict[tuple[int, str | None], list[EarlierPoint]] = defaultdict(list)
        for points in self._points.values():
            for point in points:
                found[point.session, point.step].append(point)
        return found

    def points_of(self, tree: FinishedTree) -> dict[str, list[EarlierPoint]]:
        """Return the points that a step and its inner steps recorded, by metric, each series in order."""
        if not self._points:
            return {}
        found: dict[str, list[EarlierPoint]] = {
            name: [] for attempt in tree.attempts if attempt.record is not None for name in attempt.record.points
        }
        for point in self.ordered(point for step in tree.steps for point in self._points_by_step.get(step, ())):
            found.setdefault(point.row[0], []).append(point)
        return {name: points for name, points in found.items() if points}

    def json_of(self, point: EarlierPoint) -> bytes:
        """Return the row of a point as JSON, which is kept."""
        if id(point) not in self._json:
            self._json[id(point)] = to_json(point.row)
        return self._json[id(point)]

    def points_before(self, tree: FinishedTree, reader: Attempt, read: MetricRead) -> PointsBefore | str | None:
        """Return the points of other steps that a step has read of a metric; or why they are not known, in words.

        None if the step could see no points of others.
        """
        seen = self._points_seen(tree, reader, read.metric)
        if seen is None or isinstance(seen, str):
            return seen
        first, later = seen[: read.first], seen[read.first : read.last]
        if len(seen) < read.last or not all(map(tree.has, later)):
            return f"other steps recorded {read.metric} while it ran"
        return PointsBefore(self.ordered(point for point in first if not tree.has(point)))

    def _points_seen(self, tree: FinishedTree, reader: Attempt, metric: str) -> list[EarlierPoint] | str | None:
        """Return the points of a metric as a step could read them, in the order in which they came.

        None if they are all of the step and its inner steps; the reason if they are not known.
        """
        points = self._points.get(metric, [])
        before = self._points_in_process(points, reader.session)
        branch = self.data.branch_of(reader.session, reader.step)
        if branch is None or isinstance(before, str):
            return before
        fork = self._forks_with_past.get(branch)
        if fork is None:
            is_whole = (reader.session, branch) in tree.steps
            return None if is_whole else f"it ran in branch {branch}, and read {metric}"
        own = [point for point in points if self.data.branch_of(point.session, point.step) == branch]
        return [*(point for point in before if point.sequence < fork), *own]

    def _points_in_process(self, points: list[EarlierPoint], process: int) -> list[EarlierPoint] | str:
        """Return the points that a process had at its start, then those that came while it ran."""
        if process == 1:
            return [point for point in points if point.session == 1]
        earlier = [point for point in points if point.session < process]
        dropped = {(point.session, point.step) for point in earlier} & self._dropped
        if any(found.finished for found in self.data.attempts if (found.session, found.step) in dropped):
            return "it read points of a step that ran again later"
        kept = [point for point in earlier if (point.session, point.step) not in dropped]
        return [*kept, *(point for point in points if point.session == process)]

    @cached_property
    def _forks_with_past(self) -> dict[str, int]:
        """The positions of the forks of branches in which the points of the context were seen.

        They are the attempts at steps with retries, and steps that were taken over themselves.
        """
        # The tasks of a `fan_out` have no such results.
        tasks = {returned.step for returned in self.data.returns}
        found = {}
        for branch, position in self.data.forks:
            around, _, last = branch.rpartition("/")
            if branch in tasks or (around in tasks and last.startswith("attempt-")):
                found[branch] = position
        return found
