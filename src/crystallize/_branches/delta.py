"""The work of a branch, in a form that can be sent to its parent."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import groupby
from typing import Any, Final, NoReturn

from .._base.text import type_name
from .._core.codec import any_key, content_for_digest, plain_json
from .._core.digest import digest
from .._core.immutable_types import PLAIN
from .._core.key import Key
from .._core.point_log import fetch
from .._core.provenance import nodes_missed, nodes_read
from .._core.schema import Schema
from .._core.stored_value import StoredValue
from .base_file import ExchangePlace
from .packed_work import PackedWork, Work, pack_work


class Delta:
    """The work of a branch, for `merge` in the parent. It is immutable and can be pickled.

    `BranchContext.delta` returns it. The pickle contains secrets in clear text, so send it only to processes that you
    trust.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> first, second = (fork(ctx, "fold-3").open().delta() for _ in range(2))
        >>> first.branch, first.digest == second.digest
        ('fold-3', True)

    Attributes:
        branch: The full name of the branch.
        digest: The digest of the work without its times. Attempts that did the same work have the same digest.
    """

    __slots__ = ("_fingerprint", "_place", "_within", "_work", "branch", "digest")

    branch: str
    digest: str
    _within: str | None
    """The branch whose child the parent is; None if the parent is not a child."""
    _fingerprint: str
    """The fingerprint of the schema and the metrics."""
    _work: Work | PackedWork
    """The work, packed if it came from another process."""
    _place: ExchangePlace | None
    """The folder for large values, which the branch shares with its parent; None if there is none."""

    def __init__(
        self,
        branch: str,
        digest: str,
        within: str | None,
        fingerprint: str,
        work: Work | PackedWork,
        place: ExchangePlace | None = None,
    ) -> None:
        """Make a delta; `BranchContext.delta` does."""
        put = object.__setattr__
        put(self, "branch", branch)
        put(self, "digest", digest)
        put(self, "_within", within)
        put(self, "_fingerprint", fingerprint)
        put(self, "_work", work)
        put(self, "_place", place)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Raise AttributeError: a delta is immutable."""
        raise AttributeError(f"{name!r} of a delta cannot be set: a delta does not change")

    def __reduce__(self) -> tuple[Any, ...]:
        delta = sent(self)
        # As a tuple, since pickle looks up the class of a named tuple each time.
        return _arrived, (delta.branch, delta.digest, delta._within, delta._fingerprint, tuple(delta._work))

    def __repr__(self) -> str:
        return f"Delta({self.branch!r})"


def _arrived(branch: str, digest: str, within: str | None, fingerprint: str, packed: tuple[Any, ...]) -> Delta:
    return Delta(branch, digest, within, fingerprint, PackedWork._make(packed))


def work_of(delta: Delta) -> Work:
    """Return the work of a branch; raise TravelError if it cannot be unpickled in this process."""
    return delta._work if isinstance(delta._work, Work) else delta._work.unpacked(delta.branch)


def sent(delta: Delta) -> Delta:
    """Return a delta with its work as bytes, so that unpickling the delta itself cannot fail in the receiver."""
    work = delta._work
    if isinstance(work, PackedWork):
        return delta
    folder = None if delta._place is None else delta._place.folder
    packed = pack_work(work, delta.branch, folder)
    return Delta(delta.branch, delta.digest, delta._within, delta._fingerprint, packed)


def discard(delta: Delta) -> None:
    """Remove the file with the large values of a delta, if it has one."""
    if isinstance(delta._work, PackedWork):
        delta._work.discard()


def parent_of(delta: Delta) -> tuple[str | None, str]:
    """Return the branch to merge a delta within, None for no branch, and the fingerprint of the schema."""
    return delta._within, delta._fingerprint


DIGEST_PARTS = (
    "the keys that it wrote",
    "the points that it recorded",
    "its artifacts",
    "its steps",
    "its result",
)
"""The names of the parts of a delta's digest, in order."""


def digest_of(schema: Schema, work: Work) -> str:
    """Return a digest that is equal for equal work. It has parts, so that an error can name the parts that differ."""
    keys = sorted(
        [name, str(raw[2]), _value_digest(schema.find(name) or any_key(), StoredValue._make(raw).read())]
        for name, raw in work.values.items()
    )
    artifacts = sorted([file.name, str(file.step), file.digest] for file in work.artifacts)
    steps = sorted(
        [step.name, sorted(nodes_read(step)), sorted(nodes_missed(step)), str(step.error)] for step in work.steps
    )
    # Most branches of a large number lack some of the parts, whose digests are known.
    parts = (
        _hashed_json(keys) if keys else _NONE,
        _hashed(_points_in_pieces(work)) if work.points else _NO_POINTS,
        _hashed_json(artifacts) if artifacts else _NONE,
        _hashed_json(steps),
        _NO_RESULT if work.result is None else _hashed_result(work.result),
    )
    return "-".join(parts)


def _hashed_json(value: Any) -> str:
    return blake2b(plain_json(value), digest_size=8).hexdigest()


def _hashed(pieces: Iterable[bytes]) -> str:
    made = blake2b(digest_size=8)
    for piece in pieces:
        made.update(piece)
    return made.hexdigest()


def _hashed_result(result: Any) -> str:
    return _hashed([_value_digest(any_key(), result).encode()])


def _points_in_pieces(work: Work) -> Iterator[bytes]:
    """Return the points of a delta as bytes, a piece at a time, since there may be many."""
    for name in sorted(work.points):
        yield plain_json(name)
        for block in work.points[name]:
            values, numbers, *tags = block.columns
            # Names, because the numbers of steps depend on the order in which inner branches were merged.
            steps = [(work.names[number - 1], len(list(run))) for number, run in groupby(numbers)]
            yield plain_json([steps, block.names])
            for column in (values, *tags):
                told = (item if type(item) in PLAIN else _value_digest(any_key(), fetch(item)) for item in column)
                yield plain_json(list(told))


def _value_digest(key: Key, value: Any) -> str:
    """Return the digest of a value, or the name of its type if it has none: retries then count as the same work."""
    content = None if key.secret or key.shared else content_for_digest(key, value)
    return type_name(type(value)) if content is None else digest(content)


_NONE: Final = _hashed_json([])
_NO_POINTS: Final = _hashed([])
_NO_RESULT: Final = _hashed_result(None)
