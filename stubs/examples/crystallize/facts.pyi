# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What a journal keeps of each event, as bytes; and what it makes of them when a run is loaded.

Everything is JSON, with NaN and the infinities by their names, and arrays as `.npy` beside it. Nothing is pickled,
and nothing that is read runs code. What JSON does not give back as it was is named as not restorable.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias
from .events import Event
from .metrics import MetricSchema
from .points import Part
from .schema import Key, Schema

__all__ = [
    "ARTIFACT",
    "END",
    "FAILED",
    "FINISH",
    "FORK",
    "JOIN",
    "KEY",
    "LONGEST",
    "MERGED",
    "PIECE",
    "POINT",
    "POINTS",
    "START",
    "Encoder",
    "How",
    "Stored",
    "any_key",
    "declarations",
    "decoded_point",
    "fingerprints",
    "gathered",
    "joined",
    "key_of",
    "look_at",
    "members",
    "parted",
    "points_in",
    "restore",
    "span",
]
POINT: bytes
KEY: bytes
ARTIFACT: bytes
START: bytes
FINISH: bytes
FAILED: bytes
JOIN: bytes
END: bytes
FORK: bytes
MERGED: bytes
MERGE: bytes
POINTS: bytes
"""How each kind of fact begins. A point is a JSON array and nothing else; a merge is all the facts of one branch, which
are kept together or not at all; points are many in one.
"""

How: TypeAlias = Literal["json", "schema", "python", "secret", "none"]
"""What gives a value back: its JSON alone; its schema, from JSON; its schema, from what JSON was parsed to; only the
user, since it is secret; nothing.
"""

PIECE: int
"""Points in one, at the most."""

LONGEST: int
"""Bytes of a fact that may hold an int which Python refuses to read back."""

class Stored(NamedTuple):
    """A value as a journal keeps it.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> stored = load_run("runs/digits-0001.db").entries["lr"].stored
        >>> stored.type, stored.json
        ('float', b'0.1')
    """

    how: How
    type: str
    """The full name of the value's type."""

    json: bytes
    """Its JSON; `null` where it has none."""

    arrays: tuple[bytes, ...] = ()
    """The arrays in it, as `.npy`."""

    fingerprint: str | None = None
    """Of the type that a task said that it returns."""

    @property
    def digest(self) -> str | None:
        """BLAKE2b of all that is kept, 128 bits; None where the value cannot be given back."""

def joined(kind: bytes, head: Any, *blobs: bytes) -> bytes:
    """Return a fact as bytes: its kind, a head, and any number of blobs."""

def parted(payload: bytes) -> tuple[Any, list[bytes]]:
    """Return the head and the blobs of a fact."""

def gathered(facts: Sequence[bytes]) -> bytes:
    """Return many facts as one."""

def span(fact: bytes) -> int:
    """Return how many facts are in one."""

def members(fact: bytes) -> Iterator[bytes]:
    """Return the facts that were gathered in one; points that are many in one stay so."""

def points_in(fact: bytes) -> bytes:
    """Return the points that are many in one, as a JSON array of them."""

def fingerprints(schema: Schema, metrics: type[MetricSchema] | None) -> dict[str, Any]:
    """Return what tells whether values and points of a run are of the types that a schema has."""

def declarations(metrics: type[MetricSchema] | None) -> dict[str, dict[str, str | None]]:
    """Return what a reader without the schema is told of each metric."""

class Encoder:
    """Makes facts of the events of one context.

    Attributes:
        plain: The metrics of which every point is JSON and nothing else.
        unrestorable: The keys and metrics whose values, and the branches whose results, cannot be given back, with
            the type of each.
    """

    plain: frozenset[str]
    unrestorable: dict[tuple[str, str], str]

    def __init__(
        self,
        schema: Schema,
        metrics: type[MetricSchema] | None,
        warn: Callable[[str, str, str], None],
    ) -> None:
        """Prepare for a context.

        Args:
            schema: What it holds.
            metrics: What it measures.
            warn: Told once of each key, metric or branch that is not restorable: which of these, its name, the type.
        """

    def fact(self, event: Event) -> bytes:
        """Return an event as bytes."""

    def points(self, name: str, part: Part, steps: Sequence[str | None], branch: str) -> Iterator[bytes]:
        """Return the points that a branch brought as facts: many in one where they are plain.

        Args:
            name: The metric.
            part: The points.
            steps: The steps of the context, by the numbers of their scopes.
            branch: The branch.
        """

def any_key() -> Key:
    """Return what an untyped context says of a key."""

def key_of(type: Any) -> Key:
    """Return what a context whose keys all hold a type says of a key; of a type that none can hold, as of any."""

def store(key: Key, value: Any) -> Stored:
    """Turn a value into what can be kept, and read it back to see what gives it back."""

def restore(stored: Stored, key: Key) -> Any:
    """Return a value as it was written."""

def look_at(stored: Stored) -> Any:
    """Return a value as JSON has it, with its arrays in place; it needs no schema."""

def decoded_point(row: list[Any], checks: Any) -> tuple[Any, dict[str, Any]]:
    """Return the value and tags of a point that needs more than its JSON.

    Args:
        row: The point as it was parsed: metric, value, tags, step, and what gives back the value and each tag.
        checks: What the metric allows; None where that is not known, and JSON has to do.

    Returns:
        Each as it was, or a `NotRestorable` in its place.
    """
