"""Restore a run into the state of a new context, to resume it or to look at it.

This is the only file that puts the content of a file into the core.
"""

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .._base.signal_handlers import reraise_from_handler
from .._branches.branch_registry import BranchEntry, ForkGroup, MergeReceipt, registry_of
from .._branches.merged_packs import pack_restored
from .._core.artifacts import Artifact
from .._core.codec import as_read_here, decode, decode_untyped, revalidate
from .._core.context import FrozenContext
from .._core.initial_values import Baseline, is_given_in
from .._core.key import Key
from .._core.metric_log import MetricLog
from .._core.point_log import PointLog
from .._core.point_sections import PointSection
from .._core.provenance import StepRecord
from .._core.schema import Schema
from .._core.state import LogMarks, State
from .._core.stored_value import LostValue, Unread
from .._core.task_log import FinishedTask, task_log_of
from .._core.value_codecs import NotRegistered, RegisteredFailed
from ..errors import DamagedRunError, JournalError, KeyLookupError, ObjectError, ResumeError
from .kept_steps import KeptSteps
from .point_stream import PointStream
from .read_run import RunData
from .rows import Attempt, Entry, MergedBranch
from .untrusted_file import VERIFY, damage_in
from .value_facts import lost_object

_T = TypeVar("_T")
_ByBranch: TypeAlias = dict[str | None, list[tuple[int, _T]]]
"""Work by the branch that brought it, None for the run's own; each item after its position among the facts."""

_log = logging.getLogger("crystallize")


class _Work(NamedTuple):
    """The work of a run, by the branches that brought it."""

    keys: _ByBranch[str]
    records: _ByBranch[StepRecord]
    artifacts: _ByBranch[Artifact]
    points: dict[str, dict[str, PointLog]]
    """By branch and metric, without the run's own."""
    own_points: dict[str, dict[str, int]]
    """The number of the run's own points when a branch was forked, by branch and metric."""
    steps: list[Any]
    """The names of all steps; the numbers in points count them from 1."""

    def marks(self, branch: str, position: int) -> LogMarks:
        """Return the marks of the fork of a branch, which has this position among the facts."""
        return LogMarks(
            _count_before(position, self.keys[None]),
            _count_before(position, self.records[None]),
            _count_before(position, self.artifacts[None]),
            self.own_points[branch],
        )


def restore(state: State, data: RunData, kept: KeptSteps) -> Baseline:
    """Put the content of a run into a blank state, as far as it is kept, and return its baseline.

    If the schema or the metrics are not those of the run, this raises JournalError.
    """
    with damage_in(data.path):
        baseline = _restore(state, data, kept.dropped)
    pack_restored(state)
    _restore_failures(state, kept.failures)
    return baseline


def _restore(state: State, data: RunData, dropped: Collection[tuple[int, str | None]]) -> Baseline:
    done = [attempt for attempt in data.attempts if (attempt.session, attempt.step) not in dropped]
    finished = {attempt.step for attempt in done if attempt.finished}
    stream = PointStream(data, state.metric_store, dropped)
    entries = [entry for entry in data.values if (entry.session, entry.step) not in dropped and not entry.missing]
    values = {entry.key: (_value_of(state.schema, data, entry), entry.step, entry.is_input) for entry in entries}
    superseded = data.superseded
    lost = (entry for entry in data.values if entry.missing and (entry.session, entry.step) not in superseded)
    state.lost.update((entry.key, _lost_value(entry)) for entry in lost)
    baseline = Baseline(values, stream.steps, finished, "the run that is resumed")
    baseline.apply(state)
    _restore_tasks(state, data, dropped)
    branch_of = data.branch_of
    ended = sorted((attempt for attempt in done if attempt.record is not None), key=attrgetter("ended"))
    added = [(found, found.artifact) for found in data.artifacts if (found.process, found.artifact.step) not in dropped]
    points = _restore_points(stream, data)
    work = _Work(
        _by_branch((branch_of(entry.session, entry.step), entry.sequence, entry.key) for entry in entries),
        _by_branch((branch_of(attempt.session, attempt.step), attempt.ended, attempt.record) for attempt in ended),
        _by_branch((branch_of(found.process, made.step), found.position, made) for found, made in added),
        points,
        stream.forks,
        stream.steps[1:],
    )
    for _, record in work.records[None]:
        state.step_log.append(record)
    for _, artifact in work.artifacts[None]:
        state.artifact_store.add(artifact)
    merged = {found.branch: found for found in data.merges if (found.session, found.branch) not in dropped}
    for _, together in groupby(data.forks, itemgetter(1)):
        group = _restore_forks(state, [*together], work, finished, data)
        first = next(iter(group))
        if first in data.firsts:
            registry_of(state).groups[first] = ForkGroup(group[first].marks, group[first].rank + len(group))
        for branch, entry in group.items():
            if branch in merged:
                _restore_merge(state, entry, merged[branch], work)
            else:
                state.registry.reserve(branch)
    return baseline


def _restore_forks(
    state: State,
    forks: Sequence[tuple[str, int]],
    work: _Work,
    finished: Collection[str | None],
    data: RunData,
) -> dict[str, BranchEntry]:
    """Restore the branches of these forks, which have one position, and return their entries."""
    registry, entries = registry_of(state), dict[str, BranchEntry]()
    marks = work.marks(*forks[0])
    # Those of a group that was moved may have no first one.
    is_group = len(forks) > 1 or forks[0][0] in data.firsts
    for rank, (branch, _) in enumerate(forks, registry.next_rank(is_group=is_group)):
        around = branch.rpartition("/")[0]
        is_adrift = around != "" and around not in finished
        entries[branch] = BranchEntry(rank, marks, None, is_adrift, data.items.get(branch))
    registry.entries |= entries
    return entries


def _restore_tasks(state: State, data: RunData, dropped: Collection[tuple[int, str | None]]) -> None:
    finished = dict(_finished_tasks(data, dropped))
    started = {task.step: task.arguments for task in data.tasks if task.step not in finished}
    task_log_of(state).restore(finished, started)


def _finished_tasks(data: RunData, dropped: Collection[tuple[int, str | None]]) -> Iterator[tuple[str, FinishedTask]]:
    arguments = {(task.session, task.step): task.arguments for task in data.tasks}
    for found in data.returns:
        attempt = (found.session, found.step)
        if attempt not in dropped:
            yield found.step, FinishedTask(arguments[attempt], found.result)


def _by_branch(of: Iterable[tuple[str | None, int, Any]]) -> _ByBranch[Any]:
    """Group work, in order, by the branch that brought it."""
    parts: _ByBranch[Any] = defaultdict(list)
    for branch, position, item in of:
        parts[branch].append((position, item))
    return parts


def _lost_value(entry: Entry) -> LostValue:
    cause = lost_object(entry.stored, whole=True)
    return LostValue(entry.stored.type, entry.step, entry.why, None if cause is None else _of_key(cause, entry))


def _of_key(error: ObjectError, entry: Entry) -> ObjectError:
    return ObjectError(error.path, f"{error.reason}; it has the value of key {entry.key!r}", error.advice)


def _value_of(schema: Schema, data: RunData, entry: Entry) -> Any:
    """Return a value as the schema accepts it, or raise JournalError.

    It is `Unread` if a part of it is large. In a run to look at, so is a value that this program cannot read: reading
    the key raises the error.
    """
    try:
        key = schema.key(entry.key)
    except KeyLookupError as error:
        reason = f"the run holds what {schema.name} does not declare: {error}"
        raise JournalError(str(data.path), reason, "use the schema that the run was written with") from error
    if not _is_read_later(schema, key, data, entry):
        try:
            return _restored_value(schema, key, data, entry)
        except ObjectError:
            pass  # reading the key says so
        except JournalError as error:
            if not (data.is_to_look_at and isinstance(error.__cause__, (ImportError, RegisteredFailed))):
                raise
    return Unread(partial(_read_later, schema, key, data, entry))


def _is_read_later(schema: Schema, key: Key, data: RunData, entry: Entry) -> bool:
    if all(isinstance(part, bytes) for part in entry.stored.parts) or as_read_here(entry.stored) is not entry.stored:
        return False
    # If the schema does not take the value, that is an error before the work goes on.
    return schema is Schema.untyped() or _written_fingerprint(data, entry) == key.fingerprint()


def _read_later(schema: Schema, key: Key, data: RunData, entry: Entry) -> Any:
    with damage_in(data.path):
        return _restored_value(schema, key, data, entry)


def _restored_value(schema: Schema, key: Key, data: RunData, entry: Entry) -> Any:
    try:
        # Without a schema there are only JSON's types.
        if schema is Schema.untyped():
            return decode_untyped(entry.stored)
        if _written_fingerprint(data, entry) == key.fingerprint():
            return decode(entry.stored, key)
        return revalidate(entry.stored, key)
    except ImportError as error:
        reason = f"key {entry.key!r} holds a {entry.stored.type}, and {error.name} is not installed"
        raise JournalError(str(data.path), reason, f"pip install {error.name}") from error
    except NotRegistered as error:
        reason = f"key {entry.key!r} holds a {entry.stored.type}, and {error}"
        raise JournalError(str(data.path), reason, error.advice) from error
    except RegisteredFailed as error:
        reason = f"the value of key {entry.key!r} is not damaged, but {error}"
        raise JournalError(str(data.path), reason, error.advice) from error
    except ObjectError as error:
        raise _of_key(error, entry) from error
    except Exception as error:  # whatever a user's validator raises
        reraise_from_handler(error)
        if schema is Schema.untyped():
            reason = f"the value of key {entry.key!r} cannot be restored ({type(error).__name__}: {error})"
            raise DamagedRunError(str(data.path), reason, VERIFY) from error
        reason = f"key {entry.key!r} was written as {entry.stored.type}, and {schema.name} does not take that back"
        raise JournalError(str(data.path), reason, "use the schema that the run was written with") from error


def _written_fingerprint(data: RunData, entry: Entry) -> str | None:
    """Return the fingerprint of a key's type when the key was written."""
    known = data.fingerprints[entry.session]
    found: str | None = known.get("keys", {}).get(entry.key, known.get("others"))
    return found


def _restore_points(stream: PointStream, data: RunData) -> dict[str, dict[str, PointLog]]:
    """Put the run's own points into the series, and return those of branches, by branch and metric."""
    brought: dict[str, dict[str, PointLog]] = defaultdict(dict)

    own: dict[str, tuple[MetricLog, PointLog]] = {}

    def log_of(metric: MetricLog, branch: str | None) -> PointLog:
        if branch is not None:
            return brought[branch].setdefault(metric.name, PointLog())
        return own.setdefault(metric.name, (metric, PointLog()))[1]

    for _ in stream.collect(data.points, log_of):
        pass
    for metric, points in own.values():
        metric.points = points.with_layout(metric.points.layout)
    return brought


def _count_before(position: int, own: Sequence[tuple[int, Any]]) -> int:
    return bisect_left(own, position, key=itemgetter(0))


def _restore_merge(state: State, entry: BranchEntry, merged: MergedBranch, work: _Work) -> None:
    rank, marks, branch = entry.rank, entry.marks, merged.branch
    entry.receipt = MergeReceipt(merged.digest, merged.result, merged.item, False)
    state.keys.insert(rank, marks.keys, tuple(key for _, key in work.keys[branch]))
    state.step_log.insert(rank, marks.steps, tuple(record for _, record in work.records[branch]))
    state.artifact_store.insert(rank, marks.artifacts, tuple(artifact for _, artifact in work.artifacts[branch]))
    for name, log in work.points[branch].items():
        section = PointSection(log.packed(work.steps.index), work.steps, branch)
        state.metric_store.open(name).points.insert(rank, marks.points.get(name, 0), section)


def _restore_failures(state: State, failures: Iterable[Attempt]) -> None:
    """Put failures of branches on record."""
    for failure in failures:
        assert failure.record is not None  # as it has ended
        entry = registry_of(state).entries[failure.step]
        state.step_log.insert(entry.rank, entry.marks.steps, (failure.record,))


def check_inputs(data: RunData, given: Any) -> None:
    """Raise ResumeError if an input that the file lacks is not given again, as an attribute or an item."""
    is_given = is_given_in(given)
    lost = {entry.key: entry for entry in data.values if entry.is_input and entry.missing}
    missing = [f"{key!r} ({_why_missing(entry)})" for key, entry in lost.items() if not is_given(key)]
    if missing:
        example = ", ".join(f"{key!r}: ..." for key in lost)
        reason = f"the file does not have all that the run began with: give again {', '.join(missing)}"
        raise ResumeError(str(data.path), reason, f"journal.context(..., {{{example}}})")


def _why_missing(entry: Entry) -> str:
    # A file can be put back; of the others the advice was a warning when they were written.
    return f"{entry.missing}: {entry.why}" if entry.stored.parts else str(entry.missing)


def warn_of_lost_objects(data: RunData, run: str) -> None:
    """Warn of each step that finished, and runs again because an object of its values or artifacts is lost."""
    superseded = data.superseded
    for process, step, what, error in _lost_objects(data):
        if step is not None and (process, step) not in superseded:
            text = "%s: step %r finished, and runs again, as the file of %s is lost: %s"
            _log.warning(text, run, step, what, error)


def _lost_objects(data: RunData) -> Iterator[tuple[int, str | None, str, ObjectError]]:
    """Return each value, result and artifact whose object is lost: its process, step and name, and the error."""
    stored = [(entry.session, entry.step, f"key {entry.key!r}", entry.stored) for entry in data.values]
    stored += [
        (merged.session, merged.branch, f"what branch {merged.branch!r} returned", merged.result)
        for merged in data.merges
    ]
    for process, step, what, value in stored:
        # Others have no lost object, and looking for one would read all of them again.
        if value.how == "none" and (error := lost_object(value, whole=True)) is not None:
            yield process, step, what, error
    for found, error in data.lost_artifacts:
        yield found.process, found.artifact.step, f"artifact {found.artifact.name!r}", error


def warn_of_lost_reads(context: FrozenContext[Any], run: str) -> None:
    """Warn of each finished step that had read a key that has to be written again."""
    for record in context.provenance.steps:
        if record.error is None and (gone := [key for key in record.reads if key not in context]):
            text = "%s: step %r finished, and had read %s, which must be written again; its own results are kept"
            _log.warning(text, run, record.name, ", ".join(map(repr, gone)))
