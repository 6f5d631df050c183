"""Whether a step of an earlier run would be the same in this one, or the first thing that differs, in words."""

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from .._base.signal_handlers import reraise_from_handler
from .._base.text import short
from .._core.codec import Stored, decode, decode_untyped, encode, fingerprints
from .._core.file_names import folded
from .._core.key import Key
from .._core.provenance import MetricRead
from .._core.secrets import secrets_in
from .._core.state import State
from .._core.task_call import NOT_REUSED, TaskCall, argument_in_words
from ..events import MetricRecorded, TaskInputs
from .earlier_run import EarlierRun, FinishedTree, PointsBefore
from .event_bytes import Encoder, declarations
from .rows import MISSING, Attempt, Entry

_ARTIFACT: Final = "artifact:"
_UNKNOWN: Final = "the earlier run has no digests of it"


class NotTaken(Exception):
    """A step cannot be taken over, for this reason."""


class Present:
    """The content of the context that takes steps over, in the form in which a file would have it."""

    def __init__(self, state: State, encoder: Encoder) -> None:
        """Take a context, and the encoder of its journal."""
        self.state = state
        self._encoder = encoder
        self._stored: dict[str, Stored] = {}
        self._points: dict[str, list[bytes]] = {}
        self.fingerprints: dict[str, Any] = fingerprints(state.schema, state.metric_store.schema)
        self.declared: dict[str, dict[str, str | None]] = declarations(state.metric_store.schema)

    def stored(self, name: str, key: Key) -> Stored | None:
        """Return a key's value as a file would have it; None if it would not."""
        if name not in self._stored:
            value = self.state.read(name)
            if key.secret or key.shared or secrets_in(value):
                return None
            self._stored[name] = encode(key, value)
        stored = self._stored[name]
        return None if stored.how in MISSING else stored

    def points(self, metric: str) -> list[bytes]:
        """Return the points of a metric as JSON. They are kept until there are more."""
        if metric not in self.state.metric_store.logs:
            return []
        kept = self._points.get(metric, [])
        if len(kept) == self.count(metric):
            return kept
        series = self.state.metrics.series(metric)
        events = (MetricRecorded(metric, it.value, it.tags or {}, it.step, 0) for it in series)
        found = self._points[metric] = [to_json(from_json(self._encoder.fact(event))) for event in events]
        return found

    def count(self, metric: str) -> int:
        """Return the number of points of a metric."""
        log = self.state.metric_store.logs.get(metric)
        return 0 if log is None else len(log.points)


class StepCheck(NamedTuple):
    """Compares a step of an earlier run with a call."""

    run: EarlierRun
    tree: FinishedTree
    present: Present
    ignored: Collection[str]

    def difference(self, call: TaskCall, inputs: TaskInputs) -> str | None:
        """Return the first difference, in words; None if the step would be the same."""
        root = self.tree.root
        known = self.run.tasks[root.session, root.step].inputs
        found = None if known is None else difference_of_inputs(known, inputs, getattr(call.task, "__module__", ""))
        return found or (_UNKNOWN if known is None else None) or next(filter(None, self._differences()), None)

    def _differences(self) -> Iterator[str | None]:
        if self.tree.lost is not None:
            yield f"its inner step {self.tree.lost} failed in {self.run.name}"
        if len(self.tree.attempts) > 1:
            tasks = (self.run.tasks.get(step) for step in self.tree.steps)
            inputs = (task.inputs for task in tasks if task is not None and task.inputs is not None)
            yield NOT_REUSED if any(NOT_REUSED in found.unknown for found in inputs) else None
        for part in (self._blind, self._keys, self._artifacts, self._metrics):
            for attempt in self.tree.attempts:
                yield from part(attempt)

    def _blind(self, attempt: Attempt) -> Iterable[str | None]:
        assert attempt.record is not None  # it has ended
        return [
            seen if seen.startswith(("it ", "its ")) else f"it looked at {seen}, which has no digest"
            for seen in attempt.record.blind
        ]

    def _keys(self, attempt: Attempt) -> Iterator[str | None]:
        record = attempt.record
        assert record is not None  # as above
        state = self.present.state
        for name in record.reads:
            entry = self.run.entry(name, attempt)
            if name not in self.ignored and (entry is None or not self.tree.has(entry)):
                yield self._key(name, entry, attempt.session)
        if not (record.absent or record.present):  # as of most
            return
        for name in filter(self._counts, record.absent):
            yield f"{name} was missing, and is {state.short_value(name)}" if name in state.values else None
            yield None if state.schema.find(name) is not None else _undeclared(name)
        for name in filter(self._counts, record.present):
            entry = self.run.entry(name, attempt)
            is_own = entry is not None and self.tree.has(entry)
            yield f"{name} was there, and is missing" if name not in state.values and not is_own else None

    def _counts(self, name: str) -> bool:
        """Return whether a name denotes a key that is not ignored."""
        return name not in self.ignored and not name.startswith(_ARTIFACT)

    def _key(self, name: str, entry: Entry | None, reader: int) -> str | None:
        """Return the difference of a key that was read in a process."""
        state = self.present.state
        key = state.schema.find(name)
        if key is None:
            return _undeclared(name)
        if entry is None:
            return f"the file of {self.run.name} does not have {name}"
        if entry.missing == "secret":
            return f"it read {name}, a secret"
        if entry.missing:
            return f"the file of {self.run.name} does not have {name}: {entry.why}"
        if name not in state.values:
            return f"{name} was {_shown(entry.stored)}, and is missing"
        if not self.has_same_type(entry.session, name, key):
            return f"the type of {name} changed"
        if not self.has_same_code(reader, name):
            return f"the code of the type of {name} changed"
        stored = self.present.stored(name, key)
        if stored is None:
            return f"{name} has no digest"
        if is_same(stored, entry.stored):
            return None
        before, now = _shown(entry.stored), _shown(stored)
        return f"{name} was {before}, is {now}" if before != now else f"{name} changed"

    def has_same_type(self, process: int, name: str, key: Key) -> bool:
        """Return whether a key has the type that it had in a process of the earlier run."""
        known = self.run.data.fingerprints[process]
        before = known["keys"][name] if name in known.get("keys", ()) else known.get("others")
        return bool(before == key.fingerprint())

    def has_same_code(self, process: int, key: str) -> bool:
        """Return whether the classes, validators and the like of a key are those of a process of the earlier run."""
        return self._has_same("code", process, key)

    def has_same_metric(self, process: int, metric: str) -> bool:
        """Return whether a metric has the type, its code, the unit and the goal of a process of the earlier run."""
        if not (self._has_same("metrics", process, metric) and self._has_same("metrics_code", process, metric)):
            return False
        before = self.run.data.fingerprints[process].get("declared", {}).get(metric, {})
        now = self.present.declared.get(metric, {})
        return all(before.get(part) == now.get(part) for part in ("unit", "goal"))

    def _has_same(self, part: str, process: int, name: str) -> bool:
        known = self.run.data.fingerprints[process].get(part, {})
        return bool(known.get(name) == self.present.fingerprints[part].get(name))

    def _artifacts(self, attempt: Attempt) -> Iterator[str | None]:
        record, store = attempt.record, self.present.state.artifact_store
        assert record is not None  # as above
        if not (record.artifact_reads or record.present or record.absent_artifacts):
            return
        looked_up = [name.removeprefix(_ARTIFACT) for name in record.present if name.startswith(_ARTIFACT)]
        for name in dict.fromkeys((*record.artifact_reads, *looked_up)):
            before, now = self.run.artifact(name, attempt), store.found.get(folded(name))
            if before is not None and (before.process, before.artifact.step) in self.tree.steps:
                continue
            if now is None:
                yield f"the artifact {name} was there, and is missing"
            elif name in record.artifact_reads and (before is None or before.artifact.digest != now.digest):
                yield f"the artifact {name} changed"
            elif name in record.artifact_reads and before is not None and before.artifact.step != now.step:
                yield f"the artifact {name} was of step {before.artifact.step}, is of {now.step}"
        there = (name for name in record.absent_artifacts if folded(name) in store.found)
        yield from (f"the artifact {name} was missing, and exists now" for name in there)

    def _metrics(self, attempt: Attempt) -> Iterable[str | None]:
        assert attempt.record is not None  # as above
        reads = attempt.record.metric_reads
        return map(partial(self._metric, attempt), reads) if reads else ()

    def _metric(self, attempt: Attempt, read: MetricRead) -> str | None:
        """Return the difference of a metric whose points were read."""
        if not self.has_same_metric(attempt.session, read.metric):
            return f"the declaration of {read.metric} changed"
        before = self.run.points_before(self.tree, attempt, read)
        if not isinstance(before, PointsBefore):
            return before
        if len(before.points) != (count := self.present.count(read.metric)):
            return f"{read.metric} had {len(before.points)} points, has {count}"
        is_same = list(map(self.run.json_of, before.points)) == self.present.points(read.metric)
        return None if is_same else f"the points of {read.metric} changed"


def is_same(one: Stored, other: Stored) -> bool:
    """Return whether two stored values have one type and one content."""
    if one.type != other.type:
        return False
    # Digests of large parts are known, and their contents may be on a disk.
    return one.digest == other.digest if one.parts or other.parts else one.json == other.json


def _undeclared(name: str) -> str:
    return f"the schema does not declare {name}"


def _shown(stored: Stored) -> str:
    """Return a short text of a value of an earlier run."""
    try:
        return short(decode_untyped(stored))
    except Exception as error:  # the codec of the user may raise anything
        reraise_from_handler(error)
        return f"a {stored.type}"


def difference_of_inputs(before: TaskInputs, now: TaskInputs, module: str) -> str | None:
    """Return the first difference between the code, version and arguments of two calls, in words."""
    if before.unknown:
        return before.unknown[0]
    if before.version != now.version:
        return f"version was {before.version!r}, is {now.version!r}"
    if before.code != now.code:
        changed = [name for name in now.code if before.code.get(name) != now.code[name]]
        gone = [name for name in before.code if name not in now.code]
        name = [*changed, *gone][0]
        return f"the source of {name.removeprefix(f'{module}.')} changed"
    if before.arguments == now.arguments:
        return None
    names = dict.fromkeys((*now.arguments, *before.arguments))
    differing = (name for name in names if before.arguments.get(name) != now.arguments.get(name))
    return next((f"{argument_in_words(name)} changed" for name in differing), None)


def read_value(subject: str, stored: Stored, key: Key) -> Any:
    """Return a decoded value; raise NotTaken if it cannot be restored."""
    if stored.how in MISSING:
        raise NotTaken(f"{subject} cannot be restored")
    try:
        return decode(stored, key)
    except Exception as error:  # a user's validator may raise anything
        reraise_from_handler(error)
        raise lost(subject, error) from error


def lost(subject: str, error: Exception) -> NotTaken:
    """Return the reason that something cannot be restored."""
    return NotTaken(f"{subject} cannot be restored ({type(error).__name__}: {error})")
