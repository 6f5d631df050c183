"""Restore a run into the state of a new context, to resume it or to look at it.

This is the only file that puts the content of a file into the core.
"""

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .._core.artifacts import Artifact
from .._core.codec import decode, decode_untyped, revalidate
from .._core.context import FrozenContext
from .._core.ordered_log import Fork, Merged, Parts, Place
from .._core.point_log import PointLog
from .._core.provenance import StepRecord
from .._core.recording import MetricLog
from .._core.schema import Schema
from .._core.state import State
from .._core.steps import StepRegistry, StepToken
from ..errors import JournalError, KeyLookupError, ResumeError
from .point_stream import PointStream
from .read_run import RunData
from .rows import Entry, MergedBranch

__all__ = ["check_inputs", "restore", "restore_failures", "warn_of_lost_reads"]

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


def restore(state: State, data: RunData, dropped: Collection[tuple[int, str | None]]) -> None:
    """Put the content of a run into the state of a new context, without the work of the dropped attempts.

    If the schema or the metrics are not those of the run, this raises JournalError.
    """
    done = [attempt for attempt in data.attempts if (attempt.session, attempt.step) not in dropped]
    finished = {attempt.step for attempt in done if attempt.finished}
    stream = PointStream(data, state.metrics, dropped)
    state.metrics._store.scopes = StepRegistry(stream.steps, finished)
    entries = [entry for entry in data.values if (entry.session, entry.step) not in dropped and not entry.missing]
    for entry in entries:
        _restore_key(state, data, entry)
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
    )
    state.provenance._restore(map(itemgetter(1), work.records[None]), Parts())
    state.artifacts._restore(map(itemgetter(1), work.artifacts[None]))
    merged = {found.branch: found for found in data.merges if (found.session, found.branch) not in dropped}
    for branch, position in data.forks:
        around = branch.rpartition("/")[0]
        fork = _restore_fork(state, branch, position, work, is_adrift=around != "" and around not in finished)
        if branch in merged:
            _restore_merge(state, fork, merged[branch], work)
        else:
            state.metrics._store.scopes.reserve(branch)


def _by_branch(of: Iterable[tuple[str | None, int, Any]]) -> _ByBranch[Any]:
    """Group work, in order, by the branch that brought it."""
    parts: _ByBranch[Any] = defaultdict(list)
    for branch, position, item in of:
        parts[branch].append((position, item))
    return parts


def _restore_key(state: State, data: RunData, entry: Entry) -> None:
    try:
        key = state.schema.key(entry.key)
    except KeyLookupError as error:
        reason = f"the run holds what {state.schema.name} does not declare: {error}"
        raise JournalError(str(data.path), reason, "use the schema that the run was written with") from error
    try:
        # Without a schema there are only JSON's types.
        if state.schema is Schema.untyped():
            value = decode_untyped(entry.stored)
        elif _written_fingerprint(data, entry) == key.fingerprint():
            value = decode(entry.stored, key)
        else:
            value = revalidate(entry.stored, key)
    except ImportError as error:
        reason = f"key {entry.key!r} holds an array, and {error.name} is not installed"
        raise JournalError(str(data.path), reason) from error
    except Exception as error:  # whatever a user's validator raises
        reason = (
            f"key {entry.key!r} was written as {entry.stored.type}, and {state.schema.name} does not take that back"
        )
        raise JournalError(str(data.path), reason, "use the schema that the run was written with") from error
    state.write(entry.key, value, StepToken(entry.step), is_input=entry.is_input, trusted=True)


def _written_fingerprint(data: RunData, entry: Entry) -> str | None:
    """Return the fingerprint of a key's type when the key was written."""
    (known,) = (session.fingerprints for session in data.sessions if session.number == entry.session)
    found: str | None = known.get("keys", {}).get(entry.key, known.get("others"))
    return found


def _restore_points(stream: PointStream, data: RunData) -> dict[str, dict[str, PointLog]]:
    """Put the run's own points into the series, and return those of branches, by branch and metric."""
    brought: dict[str, dict[str, PointLog]] = defaultdict(dict)

    def log_of(metric: MetricLog, branch: str | None) -> PointLog:
        return metric.log if branch is None else brought[branch].setdefault(metric.name, metric.log.empty())

    for _ in stream.collect(data.points, log_of):
        pass
    return brought


def _restore_fork(state: State, branch: str, position: int, work: _Work, *, is_adrift: bool) -> Fork:
    before = Place(
        _count_before(position, work.keys[None]),
        _count_before(position, work.records[None]),
        _count_before(position, work.artifacts[None]),
        work.own_points[branch],
    )
    fork = state.forks[branch] = Fork(state.next_number(), before, is_adrift=is_adrift)
    return fork


def _count_before(position: int, own: Sequence[tuple[int, Any]]) -> int:
    return bisect_left(own, position, key=itemgetter(0))


def _restore_merge(state: State, fork: Fork, merged: MergedBranch, work: _Work) -> None:
    number, before, branch = fork.number, fork.place, merged.branch
    fork.merged = Merged(merged.digest, merged.result, merged.item, False)
    keys = tuple(key for _, key in work.keys[branch])
    state.brought.add(number, before.keys, keys, len(keys))
    state.provenance._bring(number, before.steps, tuple(record for _, record in work.records[branch]))
    state.artifacts._bring(number, before.artifacts, tuple(artifact for _, artifact in work.artifacts[branch]))
    for name, log in work.points[branch].items():
        own = state.metrics._store.open(name).log
        own.bring(number, before.points.get(name, 0), log.packed(), 0, branch)


def restore_failures(state: State, data: RunData) -> None:
    """Put the failures of branches on record that nothing came after."""
    for failure in data.standing_failures:
        assert failure.record is not None  # as it has ended
        fork = state.forks[failure.step]
        state.provenance._bring(fork.number, fork.place.steps, (failure.record,))


def check_inputs(data: RunData, given: Any) -> None:
    """Raise ResumeError if an input that the file lacks is not given again, as an attribute or an item."""
    is_given = given.__contains__ if hasattr(given, "keys") else partial(hasattr, given)
    lost = {entry.key: entry for entry in data.values if entry.is_input and entry.missing}
    missing = [f"{key!r} ({entry.missing})" for key, entry in lost.items() if not is_given(key)]
    if missing:
        example = ", ".join(f"{key!r}: ..." for key in lost)
        reason = f"the file does not have all that the run began with: give again {', '.join(missing)}"
        raise ResumeError(str(data.path), reason, f"journal.context(..., {{{example}}})")


def warn_of_lost_reads(context: FrozenContext[Any], run: str) -> None:
    """Warn of each finished step that had read a key that has to be written again."""
    held: Mapping[str, Any] = context._state.cells
    for record in context.provenance.steps:
        if record.error is None and (gone := [key for key in record.reads if key not in held]):
            text = "%s: step %r finished, and had read %s, which is to be written anew; its own results stay"
            _log.warning(text, run, record.name, ", ".join(map(repr, gone)))
