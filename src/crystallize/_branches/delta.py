"""The work of a branch, in a form that travels to its parent."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b, sha256
from itertools import groupby
from typing import Any, NamedTuple, NoReturn

from pydantic_core import PydanticSerializationError, to_json

from .._base.text import type_name
from .._core.artifacts import Artifact
from .._core.codec import any_key
from .._core.digest import digest
from .._core.immutable_types import PLAIN
from .._core.key import Key
from .._core.metrics import Metric
from .._core.packed_columns import Block
from .._core.point_log import fetch
from .._core.provenance import StepRecord
from .._core.schema import Schema
from .._core.secrets import secrets_in
from .._core.stored_value import RawValue, StoredValue
from .pickling import dumped, loaded


class Work(NamedTuple):
    """All that was done in a branch."""

    values: dict[str, RawValue]
    points: dict[str, tuple[Block, ...]]
    """By metric."""
    undeclared: dict[str, Metric[Any, Any] | None]
    """The metrics that were used, where there is no schema of them."""
    names: list[str]
    """The branch, then its steps, in the order in which they were opened; the scopes of points count them from 1."""
    steps: tuple[StepRecord, ...]
    """Their records in the order in which they ended, that of the branch last."""
    artifacts: tuple[Artifact, ...]
    result: Any
    """What its task returned."""
    item: str | None
    """A digest of the item that its task was given, where there is one."""
    is_frozen: bool = True
    """Whether the values are frozen; in another process they are not."""

    def parts(self) -> Iterator[tuple[str, Any]]:
        """What it is made of, each with what to call it."""
        yield "what its task returned", self.result
        for key, raw in self.values.items():
            yield f"key {key!r}", StoredValue._make(raw).read()
        for name, blocks in self.points.items():
            yield f"metric {name!r}", blocks


class Delta:
    """What a branch did, for `merge` in the parent. It pickles, and does not change.

    Got from `BranchContext.delta`. A pickle holds secrets in clear; it is for engines that one trusts.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> first, second = (fork(ctx, "fold-3").open().delta() for _ in range(2))
        >>> first.branch, first.digest == second.digest
        ('fold-3', True)

    Attributes:
        branch: The full name of the branch.
        digest: Of all that it brings, times aside: two attempts that did the same have the same.
    """

    __slots__ = ("_fingerprint", "_packed", "_within", "_work", "branch", "digest")

    branch: str
    digest: str
    _within: str | None
    """The branch from whose child it was forked; None if that was no branch's."""
    _fingerprint: str
    """Of the schema and the metrics."""
    _work: Work | None
    _packed: bytes | None
    """The work as it came from another process."""

    def __init__(
        self, branch: str, digest: str, within: str | None, fingerprint: str, work: Work | None, packed: bytes | None
    ) -> None:
        """Take over what `BranchContext.delta` has found."""
        values = (fingerprint, packed, within, work, branch, digest)
        for attribute, value in zip(Delta.__slots__, values, strict=True):
            object.__setattr__(self, attribute, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a delta stays what was done."""
        raise AttributeError(f"{name!r} of a delta cannot be set: it stays what was done")

    def __reduce__(self) -> tuple[Any, ...]:
        delta = sent(self)
        return Delta, (delta.branch, delta.digest, delta._within, delta._fingerprint, None, delta._packed)

    def __repr__(self) -> str:
        return f"Delta({self.branch!r})"


def work_of(delta: Delta) -> Work:
    """Return the work of a branch; raise TravelError if it cannot be unpickled in this process."""
    if delta._work is not None:
        return delta._work
    work: Work = loaded(delta._packed or b"", delta.branch, "what it brings")
    return work


def sent(delta: Delta) -> Delta:
    """Return a delta as it travels: in bytes, so that unpickling it where it arrives runs nothing that could fail."""
    work = delta._work
    if work is None:
        return delta
    stored = {key: StoredValue._make(raw) for key, raw in work.values.items()}
    values: dict[str, RawValue] = {key: (one.read(), None, one.step, one.is_input) for key, one in stored.items()}
    packed = dumped(work._replace(values=values, is_frozen=False), delta.branch, work.parts)
    return Delta(delta.branch, delta.digest, delta._within, delta._fingerprint, None, packed)


def parent_of(delta: Delta) -> tuple[str | None, str]:
    """Return the branch that a delta is to be merged within, None outside any, and the fingerprint of the schema."""
    return delta._within, delta._fingerprint


DIGEST_PARTS = (
    "the keys that it wrote",
    "the points that it recorded",
    "its artifacts",
    "its steps",
    "what it returned",
)
"""What the parts of a delta's digest are of, in order."""


def digest_of(schema: Schema, work: Work) -> str:
    """Return what is the same for two attempts that did the same: part by part, so that it can be told what differs."""
    keys = sorted(
        [key, str(stored.step), _value_digest(schema.key(key), stored.read())]
        for key, stored in zip(work.values, map(StoredValue._make, work.values.values()), strict=True)
    )
    artifacts = sorted([one.name, str(one.step), sha256(one.data).hexdigest()] for one in work.artifacts)
    steps = sorted([one.name, sorted(one.reads), sorted(one.absent), str(one.error)] for one in work.steps)
    parts: tuple[Iterable[bytes], ...] = (
        [_json(keys)],
        _points_in_pieces(work),
        [_json(artifacts)],
        [_json(steps)],
        [_value_digest(any_key(), work.result).encode()],
    )
    digests = []
    for part in parts:
        made = blake2b(digest_size=8)
        for piece in part:
            made.update(piece)
        digests.append(made.hexdigest())
    return "-".join(digests)


def _points_in_pieces(work: Work) -> Iterator[bytes]:
    """Return the points of a delta as bytes, a piece at a time, as there may be many."""
    for name in sorted(work.points):
        yield _json(name)
        for block in work.points[name]:
            values, numbers, *tags = block.columns
            # Names, as the numbers of steps depend on which branch of this one was merged first.
            steps = [(work.names[number - 1], len(list(run))) for number, run in groupby(numbers)]
            yield _json([steps, block.names])
            for column in (values, *tags):
                told = (item if type(item) in PLAIN else _value_digest(any_key(), fetch(item)) for item in column)
                yield _json(list(told))


def _value_digest(key: Key, value: Any) -> str:
    """Return a digest of a value; of one that has none, its type alone, so that the first to be merged is taken."""
    content = None if key.secret or key.shared else content_of(key, value)
    return type_name(type(value)) if content is None else digest(content)


def content_of(key: Key, value: Any) -> bytes | None:
    """Return bytes that are the same for equal values; None where that is not known, or the value may be a secret."""
    if type(value) in PLAIN:
        return _json(value)
    return None if secrets_in(value) else key.content(value)


def _json(value: Any) -> bytes:
    """Return something as JSON, also a text that is not Unicode."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return repr(value).encode(errors="backslashreplace")
