"""Which steps have to run again because of the tasks that `ctx.run` has run."""

from collections.abc import Collection, Iterator
from typing import Protocol

from .rows import MISSING, Attempt, Returned, Task


class RunOfTasks(Protocol):
    """A run, as far as its tasks go."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts at steps."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The steps that `ctx.run` has run."""
        ...

    @property
    def returns(self) -> tuple[Returned, ...]:
        """The results of their tasks."""
        ...

    def branch_of(self, process: int, step: str | None) -> str | None:
        """Return the branch that brought the work of a step; None if it ran in the context itself."""
        ...


def steps_undone_by_tasks(run: RunOfTasks, undone: Collection[tuple[int, str | None]]) -> set[tuple[int, str | None]]:
    """Return further attempts to repeat, by process and step, given those that have to be repeated anyway.

    A task whose result cannot be restored runs again, unless it was a part of one that need not run again. With a task,
    the steps of `with ctx.step(...)` within it run again, since it opens them again; the tasks and the merged branches
    within it do not.
    """
    tasks = {(task.session, task.step) for task in run.tasks}
    lost = {(returned.session, returned.step) for returned in run.returns if returned.result.how in MISSING}
    newest = {attempt.step: (attempt.session, attempt.step) for attempt in run.attempts}
    found: set[tuple[int, str | None]] = set()
    # A step comes after the steps around it.
    for step in sorted(newest, key=lambda step: step.count("/")):
        attempt = newest[step]
        around = [newest[name] for name in _around(step) if newest.get(name) in tasks]
        is_done = [outer not in undone and outer not in found for outer in around]
        if attempt in tasks:
            if attempt in lost and not any(is_done):
                found.add(attempt)
        elif is_done and not is_done[0] and run.branch_of(*attempt) is None:
            found.add(attempt)
    return found


def _around(step: str) -> Iterator[str]:
    """Return the names of the steps around a step, the nearest first."""
    while "/" in step:
        step = step.rpartition("/")[0]
        yield step
