"""An event as bytes, called a fact, and back.

All is JSON, with NaN and the infinities by their names, and the bytes of arrays, frames and tensors beside it. Nothing
is pickled, and nothing that is read runs code. A value that does not survive the round trip is recorded as not
restorable.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from operator import attrgetter
from struct import Struct
from typing import Any, Final, TypeAlias

from pydantic_core import PydanticSerializationError, from_json, to_json

from .._base.object_folder import Buffer, ObjectFolder
from .._base.text import MASK, legible, short, type_name
from .._branches.merge import MergedWork
from .._core.codec import (
    LONGEST,
    WAYS,
    NotRestorable,
    Stored,
    any_key,
    decode,
    decode_untyped,
    encode,
    has_marks,
    key_of,
    unrestorable,
)
from .._core.immutable_types import PLAIN
from .._core.key import Key
from .._core.metric_log import fetched
from .._core.metrics import MetricSchema
from .._core.packed_columns import Block
from .._core.placed_values import PlacedValue
from .._core.point_log import fetch
from .._core.schema import Schema
from .._core.tagged_json import has_mark
from .._core.value_codecs import NotRegistered
from .._core.value_parts import content_of
from ..errors import CrystallizeError
from ..events import (
    ArtifactAdded,
    BranchForked,
    BranchMerged,
    Event,
    KeyWritten,
    MetricRecorded,
    StepFinished,
    StepStarted,
    TaskReturn,
)
from .run_objects import LARGEST_ROW
from .value_facts import value_blobs, value_head, with_objects

POINT: Final = b"["
KEY: Final = b"K"
ARTIFACT: Final = b"A"
FILE: Final = b"O"
START: Final = b"S"
FINISH: Final = b"F"
FAILED: Final = b"X"
JOIN: Final = b"J"
END: Final = b"E"
FORK: Final = b"B"
MERGED: Final = b"D"
MERGE: Final = b"M"
POINTS: Final = b"P"
"""How a fact of each kind begins. A point is a JSON array and nothing else; a merge is all the facts of one branch,
written together or not at all; `POINTS` are many points in one fact."""

_SIZE = Struct("<I")

PIECE: Final = 1000
"""Maximum number of points in one fact."""


def joined(kind: bytes, head: Any, *blobs: Buffer) -> bytes:
    """Return a fact as bytes: its kind, a head, and any number of blobs."""
    # JSON contains no zero byte, so the first one ends it.
    return b"".join((kind, to_json([head, [len(blob) for blob in blobs]]), b"\0", *blobs))


def parted(payload: bytes) -> tuple[Any, list[bytes]]:
    """Return the head and the blobs of a fact."""
    text, _, rest = payload[1:].partition(b"\0")
    head, sizes = from_json(text)
    blobs = []
    for size in sizes:
        blobs.append(rest[:size])
        rest = rest[size:]
    return head, blobs


def gathered(facts: Sequence[bytes]) -> bytes:
    """Return many facts as one fact, a merge."""
    sized = (part for fact in facts for part in (_SIZE.pack(len(fact)), fact))
    return b"".join((MERGE, _SIZE.pack(sum(map(span, facts))), *sized))


def span(fact: bytes) -> int:
    """Return the number of facts in a fact."""
    return int(_SIZE.unpack_from(fact, 1)[0]) if fact[:1] in (MERGE, POINTS) else 1


def members(fact: bytes) -> Iterator[bytes]:
    """Return the facts of a merge, or the fact itself; `POINTS` stay one fact."""
    if fact[:1] != MERGE:
        yield fact
        return
    at = 1 + _SIZE.size
    while at < len(fact):
        (size,) = _SIZE.unpack_from(fact, at)
        at += _SIZE.size + size
        yield fact[at - size : at]


def points_in(fact: bytes) -> bytes:
    """Return the points of a `POINTS` fact as a JSON array."""
    return fact[1 + _SIZE.size :]


def declarations(metrics: type[MetricSchema] | None) -> dict[str, dict[str, str | None]]:
    """Return the declaration of each metric, for readers without the schema."""
    declared = metrics.metrics if metrics is not None else {}
    return {
        name: {"unit": _text(metric.unit), "goal": metric.goal, "description": _text(metric.description)}
        for name, metric in declared.items()
    }


def _text(text: str | None) -> str | None:
    return None if text is None else legible(str(text))


_STARTED = attrgetter("started")
_FINISHED: Final = StepFinished._fields[: StepFinished._fields.index("branch")]
"""The fields of the end of a step that are in its fact by their names; the others follow them."""


class Encoder:
    """Encodes the events of one context as facts.

    Attributes:
        plain: The metrics whose points are all JSON and nothing else.
        unrestorable: The keys and metrics whose values, and the branches whose results, cannot be restored, with the
            type of each.
    """

    def __init__(
        self,
        schema: Schema,
        metrics: type[MetricSchema] | None,
        objects: ObjectFolder,
        warn: Callable[[str, str, str, str], None],
    ) -> None:
        """Prepare for a context.

        `objects` is the folder of contents that are too large for a row. `warn` is called once for each key, metric or
        branch that is not restorable: with which of these it is, its name, the type, and the reason with advice.
        """
        self._schema = schema
        self._objects = objects
        self._metrics = metrics.metrics if metrics is not None else {}
        self.plain: frozenset[str] = frozenset(name for name, metric in self._metrics.items() if metric.checks.is_plain)
        self._warn = warn
        self.unrestorable: dict[tuple[str, str], str] = {}

    def fact(self, event: Event) -> bytes:
        """Return an event as bytes."""
        if type(event) is MetricRecorded:
            return self._point(event)
        if isinstance(event, KeyWritten):
            return self._key(event)
        if isinstance(event, ArtifactAdded):
            return self._artifact(event)
        if isinstance(event, StepStarted):
            inputs = None if event.inputs is None else event.inputs._asdict()
            task = [] if event.arguments is None else [event.arguments, inputs]
            task += [] if event.reason is None else [event.reason]
            return joined(START, [event.step, event.started.isoformat(), *task])
        if isinstance(event, StepFinished):
            return self._finished(event)
        if isinstance(event, BranchForked):
            more = [event.first, event.item] if event.item else [event.first] if event.first else []
            return joined(FORK, [event.branch, *more])
        if isinstance(event, BranchMerged):
            return self._merged(event)
        raise CrystallizeError(f"a journal takes the events of a context, not {type(event).__name__}")

    def _finished(self, event: StepFinished) -> bytes:
        kind = FAILED if event.is_of_failed_branch else FINISH
        facts: dict[str, Any] = dict(zip(_FINISHED, event, strict=False))
        # Not left to `to_json`, which cannot write times as the process ends.
        facts["started"], facts["ended"] = event.started.isoformat(), event.ended.isoformat()
        if event.returned is None:
            return joined(kind, facts)
        facts["returned"], blobs = self._result("step", event.step, *event.returned)
        return joined(kind, facts, *blobs)

    def _artifact(self, event: ArtifactAdded) -> bytes:
        if event.size <= LARGEST_ROW:
            data = event.data
            return joined(ARTIFACT, [event.name, event.step, sha256(data).hexdigest()], data)
        # Only now, that the object is durable, is it named.
        digest, size = event.content.moved_to(self._objects).name
        return joined(FILE, [event.name, event.step, digest, size])

    def _point(self, event: MetricRecorded) -> bytes:
        name, value, tags, step, _, _ = event
        if name in self.plain or (type(value) in PLAIN and PLAIN.issuperset(map(type, tags.values()))):
            try:
                fact = to_json((name, value, tags, step))
            except PydanticSerializationError:  # a text that is not Unicode
                pass
            else:
                if len(fact) < LONGEST:
                    return fact
        metric = self._metrics.get(name)
        key = metric.checks.value_key if metric is not None else any_key()
        tag_keys = metric.checks.tag_keys if metric is not None else {}
        stored = self._stored("metric", name, key, value)
        stored_tags = {
            tag: self._stored("metric", name, tag_keys.get(tag, any_key()), tags[tag])
            if legible(tag) == tag
            else self._refused("metric", name, tag, "the name of a tag is not Unicode; give it another name")
            for tag in tags
        }
        stored_tags = {legible(tag): part for tag, part in stored_tags.items()}
        notes = {tag: _note(part) for tag, part in stored_tags.items()}
        texts = b",".join(to_json(tag) + b":" + part.json for tag, part in stored_tags.items())
        parts = [to_json(name), stored.json, b"{" + texts + b"}", to_json(step), to_json([_note(stored), notes])]
        return b"[" + b",".join(parts) + b"]"

    def points(self, name: str, blocks: Sequence[Block], steps: Sequence[str], branch: str) -> Iterator[bytes]:
        """Return the points of a metric that a branch brought as facts, plain ones gathered.

        `steps` are the steps of the branch; stored points count them from 1.
        """
        for block in blocks:
            rows = ((name, value, tags, steps[int(number) - 1]) for value, tags, number in block.rows())
            if not block.is_plain:
                yield from (
                    self._point(MetricRecorded(name, fetch(value), fetched(tags), step, at, branch))
                    for at, (_, value, tags, step) in enumerate(rows)
                )
                continue
            while piece := tuple(islice(rows, PIECE)):
                try:
                    yield b"".join((POINTS, _SIZE.pack(len(piece)), to_json(piece)))
                except PydanticSerializationError:  # a text that is not Unicode
                    yield from (self._point(MetricRecorded(*point, at, branch)) for at, point in enumerate(piece))

    def merge(self, work: MergedWork) -> bytes:
        """Return the work of a merged branch as one fact."""
        facts = [] if work.forked is None else [self.fact(work.forked)]
        facts += [self.fact(work.start_of(step.name, step.started)) for step in sorted(work.steps, key=_STARTED)]
        facts += map(self.fact, work.keys)
        for name, blocks in work.blocks.items():
            facts += self.points(name, blocks, work.step_names, work.branch)
        facts += map(self.fact, work.artifacts)
        for step in work.steps:
            task = work.tasks.get(step.name)
            returned = None if task is None or task.result is None else TaskReturn(task.result, Any)
            facts.append(self.fact(step.as_event(returned=returned)))
        return gathered([*facts, self.fact(work.last)])

    def _key(self, event: KeyWritten) -> bytes:
        key = self._schema.key(event.key)
        # An untyped key may hold a secret too; then the event has the mask object itself, not just an equal text.
        if isinstance(event.value, PlacedValue):
            stored = with_objects(event.value.stored, self._objects)
        elif event.value is MASK or (key.secret and event.value is not None):
            stored = Stored("secret", "", b"null")
        elif key.excluded:
            stored = self._refused("key", event.key, event.value, _EXCLUDED)
        elif key.shared and event.is_input and type(event.value) not in PLAIN:
            # No warning: the program makes such an object at each start, and passes it.
            stored = Stored("none", type_name(type(event.value)), b"null", why=_SHARED)
        elif key.shared and type(event.value) not in PLAIN:
            stored = self._refused("key", event.key, event.value, _SHARED)
        else:
            stored = with_objects(self._stored("key", event.key, key, event.value), self._objects)
        head = [event.key, event.step, event.is_input, stored.how, stored.type, stored.digest, *value_head(stored)]
        return joined(KEY, head, *value_blobs(stored))

    def _merged(self, event: BranchMerged) -> bytes:
        head, blobs = self._result("branch", event.branch, event.result, event.type)
        return joined(MERGED, [event.branch, event.digest, event.item, *head], *blobs)

    def _result(self, what: str, name: str, result: Any, type_: Any) -> tuple[list[Any], list[Buffer]]:
        """Return the result of the task of a step or branch as the end of the head of a fact, and its blobs."""
        if isinstance(result, Stored):  # of an earlier run
            stored = with_objects(result, self._objects)
            head = [stored.how, stored.type, stored.digest, stored.fingerprint, *value_head(stored)]
            return head, value_blobs(stored)
        if result is MASK:
            stored = Stored("secret", "", b"null")
        else:
            stored = with_objects(self._stored(what, name, key_of(type_), result), self._objects)
        head = [stored.how, stored.type, stored.digest, key_of(type_).fingerprint(), *value_head(stored)]
        return head, value_blobs(stored)

    def _stored(self, what: str, name: str, key: Key, value: Any) -> Stored:
        stored = encode(key, value)
        return stored if stored.how != "none" else self._refused(what, name, value, stored.why, stored)

    def _refused(self, what: str, name: str, value: Any, why: str, stored: Stored | None = None) -> Stored:
        kind = type_name(type(value))
        if (what, name) not in self.unrestorable:
            self.unrestorable[what, name] = kind
            self._warn(what, name, kind, why)
        return Stored("none", kind, b"null", why=why) if stored is None else stored


_EXCLUDED: Final = "its field has exclude=True, which keeps it out of files; leave that out to have the value stored"
_SHARED: Final = "its key is Shared; write the data that restores it, such as its state_dict(), to another key"

_Note: TypeAlias = str | list[str]
"""How a part of a point is stored; with its type and its arrays, as `.npy` in base64, in a list if either matters."""


def _note(stored: Stored) -> _Note:
    how, kind = stored.how, stored.type
    if how != "none" and not has_marks(stored):
        return how
    return [how, kind, *(b64encode(content_of(part)).decode() for part in stored.parts)]


def decoded_point(row: list[Any], checks: Any) -> tuple[Any, dict[str, Any]]:
    """Return the value and tags of a parsed point that needs more than its JSON; `NotRestorable` for each that is lost.

    `checks` are those of the metric; None if they are not known, and JSON's types have to do.
    """
    _, value, tags, _, (note, notes) = row
    keys = {} if checks is None else {tag: checks.tag_keys.get(tag) or any_key() for tag in tags}
    restored = _restored(note, value, None if checks is None else checks.value_key)
    return restored, {tag: _restored(notes[tag], tags[tag], keys.get(tag)) for tag in tags}


def _restored(note: _Note, parsed: Any, key: Key | None) -> Any:
    """Return a part of a point; without a key, of JSON's types and with its arrays in place."""
    parts: list[Any] = [note, ""] if isinstance(note, str) else note
    how, kind, *encoded = parts
    if how not in WAYS:
        raise ValueError(f"it is stored in an unknown way, {short(how)}")
    arrays = tuple(map(b64decode, encoded))
    try:
        # Points of the first version have the numbers of their arrays, and not the arrays.
        if how == "none" or (isinstance(note, str) and has_mark(parsed)):
            return unrestorable(kind, parsed, arrays)
        stored = Stored(how, kind, to_json(parsed), arrays)
        return decode_untyped(stored) if key is None else decode(stored, key)
    except NotRegistered as error:
        return NotRestorable(kind, why=f"{error}; {error.advice}")
