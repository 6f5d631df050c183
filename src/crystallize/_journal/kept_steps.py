"""Which attempts at steps a process finds done when it resumes a run, and which it has to repeat."""

from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from .rows import Attempt, MergedBranch, Task

_Step: TypeAlias = tuple[int, str]
"""An attempt at a step, by process and name."""


class RunOfSteps(Protocol):
    """A run, as far as its steps go."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts at steps."""
        ...

    @property
    def failures(self) -> tuple[Attempt, ...]:
        """The attempts at branches that failed."""
        ...

    @property
    def merges(self) -> tuple[MergedBranch, ...]:
        """The branches that were merged."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The steps that `ctx.run` has run."""
        ...

    def branch_of(self, process: int, step: str | None) -> str | None:
        """Return the branch that brought the work of a step; None if it ran in the context itself."""
        ...


class KeptSteps(NamedTuple):
    """The work that a process finds when it resumes a run, as far as it differs from the content of the file."""

    dropped: frozenset[tuple[int, str | None]]
    """The attempts whose work it does not find, by process and step."""
    failures: tuple[Attempt, ...]
    """The failed attempts at branches whose records it finds."""

    @classmethod
    def of(
        cls, run: RunOfSteps, process: int, lost: Collection[str] = (), unreturned: Collection[str] = ()
    ) -> "KeptSteps":
        """Return the work that a process finds at its start, and its own, also of steps that have not finished.

        `lost` has the names of the steps and branches that lost a part of their work, `unreturned` those of the steps
        whose result cannot be restored.
        """
        judge = _Judge(run, process, lost, unreturned)
        # A step comes after the steps around it.
        for attempt in sorted(run.attempts, key=lambda attempt: attempt.step.count("/")):
            judge.decide(attempt)
        return cls(frozenset(judge.dropped), tuple(judge.failures()))


class _Judge:
    """Decides which attempts a process finds."""

    def __init__(self, run: RunOfSteps, process: int, lost: Collection[str], unreturned: Collection[str]) -> None:
        self._run, self._process, self._lost, self._unreturned = run, process, lost, unreturned
        self._tasks = {(task.session, task.step) for task in run.tasks}
        self._newest = {attempt.step: attempt.session for attempt in run.attempts}
        self._failed = {failure.step: failure.session for failure in run.failures}
        self.dropped: set[_Step] = set()
        self._done: set[_Step] = set()
        """The attempts that are not to be repeated."""
        self._reopened: set[_Step] = set()
        """The attempts that have to be repeated, and with them the steps of `with ctx.step(...)` in them."""

    def decide(self, attempt: Attempt) -> None:
        """Decide about an attempt, after those around it."""
        step = attempt.session, attempt.step
        branch = self._run.branch_of(*step)
        is_repeated = self._is_repeated(attempt, branch)
        is_done = not is_repeated and (branch is not None or self._is_whole(attempt))
        if is_done:
            self._done.add(step)
        elif branch is None and (step in self._tasks or _around(step) in self._reopened):
            self._reopened.add(step)
        if is_repeated or not (is_done or attempt.session == self._process):
            self.dropped.add(step)

    def _is_repeated(self, attempt: Attempt, branch: str | None) -> bool:
        """Return whether a later process has repeated an attempt, or must repeat it, as a part of its work is lost."""
        if branch is not None:
            # A branch counts as a whole, whatever happened to the steps in it.
            newest = max(self._newest[branch], self._failed.get(branch, 0))
            return newest > attempt.session or branch in self._lost
        name = attempt.step
        return self._newest[name] > attempt.session or name in self._lost or self._is_asked_for_result(name)

    def _is_whole(self, attempt: Attempt) -> bool:
        """Return whether an attempt finished, or failed within one that finished, and so is a part of its work."""
        step = attempt.session, attempt.step
        around = _around(step)
        if around in self._done:
            return True
        return attempt.finished and (step in self._tasks or around not in self._reopened)

    def _is_asked_for_result(self, name: str) -> bool:
        """Return whether a step is called again, and its result cannot be restored."""
        if name not in self._unreturned:
            return False
        around = name.split("/")[:-1]
        names = ("/".join(around[:depth]) for depth in range(1, len(around) + 1))
        return not any((self._newest.get(outer, 0), outer) in self._done for outer in names)

    def failures(self) -> Iterator[Attempt]:
        """Return the newest failure of each branch that was not merged since, unless the branch is forked again."""
        merged = {found.branch: found.session for found in self._run.merges}
        for failure in {failure.step: failure for failure in self._run.failures}.values():
            step = failure.session, failure.step
            is_found = failure.session == self._process or _around(step) in self._done
            # A merge of an earlier process does not count: the branch ran again, as the file lacked part of its work.
            if is_found and merged.get(failure.step, 0) < failure.session:
                yield failure


def _around(step: _Step) -> _Step:
    """Return the attempt at the step around a step; one of no name if there is none."""
    process, name = step
    return process, name.rpartition("/")[0]
