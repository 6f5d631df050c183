"""Take finished steps over from earlier runs."""

import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

from .._base.text import short
from .._branches.branch_registry import registry_of
from .._branches.merge import merge_earlier
from .._core.context_view import ContextView, extend
from .._core.state import State
from .._core.step_source import StepSource, TakenStep
from .._core.task import return_type
from .._core.task_call import TaskCall
from .._core.task_log import Claim
from ..errors import BranchError, ForeignMetricError, JournalError, MergeConflictError, RunNotFoundError
from ..events import TaskInputs
from .earlier_run import EarlierRun
from .earlier_work import result_of, work_of
from .event_bytes import Encoder
from .find import find_run, list_runs
from .parent_run import ParentRun
from .read_run import real
from .reuse_check import NotTaken, Present, StepCheck

RunToReuse: TypeAlias = str | os.PathLike[str] | bool | None
"""An earlier run, by name or path; True for the newest run of the same name."""

_log = logging.getLogger("crystallize")


class EarlierRuns:
    """The runs from which a run takes steps over: one, or one and the older ones of its name.

    Attributes:
        parent: The first one, as the file has it.
    """

    def __init__(self, parent: ParentRun, path: Path, first: EarlierRun | None) -> None:
        """Take the first run, and its path; None if it is lost."""
        self.parent = parent
        self._path = path
        self._runs: list[EarlierRun] = [] if first is None else [first]
        self._rest = _older(path) if parent.has_older else iter(())
        self._present: Present | None = None

    def __iter__(self) -> Iterator[EarlierRun]:
        """Return the runs, newest first. Each is read when it is first asked for."""
        yield from self._runs
        for path in self._rest:
            try:
                run = EarlierRun.read(path)
            except JournalError as error:
                _log.warning("no step is taken over from %s: %s", path.stem, error)
                continue
            self._runs.append(run)
            yield run

    def take(self, encoder: Encoder, state: State, claim: Claim, call: TaskCall, inputs: TaskInputs) -> TakenStep | str:
        """Take the step of a call over; or return why it has to run, in words."""
        if self._present is None or self._present.state is not state:
            self._present = Present(state, encoder)
        if inputs.unknown:
            return inputs.unknown[0]
        if state.registry.is_used(claim.step) and not registry_of(state).knows(claim.step):
            return "a step of this name has run"
        for run in self:
            tree = run.tree(claim.step)
            if tree is not None:
                check = StepCheck(run, tree, self._present, frozenset(call.options.ignore))
                return _taken(check, claim, call, inputs)
        name = self._path.stem
        if not self._runs:
            return f"the file of {name} is lost"
        if any(run.has_finished(claim.step) for run in self._runs):
            return f"part of its work in {name} cannot be restored"
        if self._runs[0].data.running and self._runs[0].name == name:
            older = ", nor in an older run" if self.parent.has_older else ""
            return f"it had not finished in {name}, which was still being written{older}"
        return f"it did not finish in {name}" + (" or an older run" if self.parent.has_older else "")


def _taken(check: StepCheck, claim: Claim, call: TaskCall, inputs: TaskInputs) -> TakenStep | str:
    difference = check.difference(call, inputs)
    if difference is not None:
        return difference
    state, returns = check.present.state, return_type(call.task)
    try:
        result, work = result_of(check, returns), work_of(check)
        if claim.number > 1:
            state.registry.reserve_numbers(claim.path, claim.number)
        if registry_of(state).knows(claim.step):  # it is of a `fan_out`, which takes the result from the receipt
            work = work._replace(result=result, item=claim.arguments or None)
        merge_earlier(state, work, returns)
    except NotTaken as reason:
        return str(reason)
    except (BranchError, ForeignMetricError, MergeConflictError) as error:  # another thread was faster
        return str(error)
    return TakenStep(result)


def _older(path: Path) -> Iterator[Path]:
    """Return the runs of the name of a run that are older than it, newest first."""
    name, _, number = path.stem.rpartition("-")
    for other in reversed(list_runs(path.parent)):
        other_name, _, other_number = other.stem.rpartition("-")
        if other_name == name and int(other_number) < int(number):
            yield other


def offer_steps(view: ContextView, encoder: Encoder, runs: EarlierRuns | None) -> None:
    """Let a context take steps over from earlier runs, if there are any."""
    if runs is not None:
        extend(view, StepSource(partial(runs.take, encoder)))


def runs_to_reuse(folder: str | os.PathLike[str], name: str, reuse: RunToReuse) -> EarlierRuns | None:
    """Read the run from which a new run takes steps over, before its file is made; None if there is none."""
    if reuse is None or reuse is False:
        return None
    if reuse is True:
        for path in reversed([path for path in list_runs(folder) if path.stem.rpartition("-")[0] == name]):
            try:
                return _runs_from(folder, path, has_older=True)
            except JournalError as error:
                _log.warning("no step is taken over from %s: %s", path.stem, error)
        return None
    text = os.fspath(reuse) if isinstance(reuse, (str, os.PathLike)) else None
    if not isinstance(text, str):
        reason = "reuse is the name or the path of a run, True for the newest run of the same name, or False"
        raise JournalError(short(reuse), reason)
    return _runs_from(folder, find_run(folder, text), has_older=False)


def _runs_from(folder: str | os.PathLike[str], path: Path, *, has_older: bool) -> EarlierRuns:
    path = real(path)
    run = EarlierRun.read(path)
    kept = path.name if path.parent == real(Path(folder)) else str(path)
    return EarlierRuns(ParentRun(kept, has_older), path, run)


def reopened_runs(run: Path, parent: ParentRun | None) -> EarlierRuns | None:
    """Read again the run from which a resumed run takes steps over; warn if its file is lost."""
    if parent is None:
        return None
    path = run.parent / parent.path
    try:
        return EarlierRuns(parent, path, EarlierRun.read(path))
    except (JournalError, RunNotFoundError) as error:
        _log.warning("%s: no more steps are taken over from %s: %s", run.stem, path.stem, error)
        return EarlierRuns(parent, path, None)
