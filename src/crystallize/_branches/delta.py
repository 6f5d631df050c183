"""What a branch brings to its parent: all that was done in it, in a form that travels."""

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b, sha256
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from types import FunctionType
from typing import Any, NamedTuple, NoReturn

from pydantic_core import PydanticSerializationError, to_json

from .._base.text import type_name
from .._core.artifacts import Artifact
from .._core.codec import any_key
from .._core.freezing import PLAIN, secrets_in
from .._core.metrics import Metric
from .._core.point_log import Block, fetch
from .._core.provenance import StepRecord, StoredValue
from .._core.schema import Key, Schema, digest
from ..errors import TravelError

__all__ = ["PARTS", "Delta", "Work", "bytes_of", "digest_of", "dumped", "loaded"]


class Work(NamedTuple):
    """All that was done in a branch."""

    cells: dict[str, StoredValue]
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
        for key, (kept, thaw, _, _) in self.cells.items():
            yield f"key {key!r}", kept if thaw is None else thaw()
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

    def _unpacked(self) -> Work:
        """Return the work.

        Raises:
            TravelError: It cannot be read in this process.
        """
        if self._work is not None:
            return self._work
        work: Work = loaded(self._packed or b"", self.branch, "what it brings")
        return work

    def _sent(self) -> "Delta":
        """Return it as it travels: in bytes, so that reading it where it arrives runs nothing that could fail."""
        work = self._work
        if work is None:
            return self
        cells: dict[str, StoredValue] = {
            key: (kept if thaw is None else thaw(), None, step, is_input)
            for key, (kept, thaw, step, is_input) in work.cells.items()
        }
        packed = dumped(work._replace(cells=cells, is_frozen=False), self.branch, work.parts)
        return Delta(self.branch, self.digest, self._within, self._fingerprint, None, packed)

    def __reduce__(self) -> tuple[Any, ...]:
        sent = self._sent()
        return Delta, (sent.branch, sent.digest, sent._within, sent._fingerprint, None, sent._packed)

    def __repr__(self) -> str:
        return f"Delta({self.branch!r})"


PARTS = ("the keys that it wrote", "the points that it recorded", "its artifacts", "its steps", "what it returned")
"""What the parts of a delta's digest are of, in order."""


def digest_of(schema: Schema, work: Work) -> str:
    """Return what is the same for two attempts that did the same: part by part, so that it can be told what differs."""
    keys = sorted(
        [key, str(step), _value_digest(schema.key(key), kept if thaw is None else thaw())]
        for key, (kept, thaw, step, _) in work.cells.items()
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
    content = None if key.secret or key.shared else bytes_of(key, value)
    return type_name(type(value)) if content is None else digest(content)


def bytes_of(key: Key, value: Any) -> bytes | None:
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


def dumped(whole: Any, branch: str, parts: Callable[[], Iterable[tuple[str, Any]]]) -> bytes:
    """Pickle something; by cloudpickle, where that is installed, what pickle itself cannot.

    Args:
        whole: What to pickle.
        branch: Whose it is, for the error.
        parts: Returns what it is made of, each with what to call it, to say which cannot be pickled.

    Raises:
        TravelError: It cannot be pickled.
    """
    try:
        return _pickled(whole)
    except Exception as error:  # whatever a type's own way to be pickled raises
        failure = error
    for name, part in parts():
        try:
            _pickled(part)
        except Exception as error:  # as above
            what = f"a {type_name(type(part))} does not pickle ({error})"
            is_declared = isinstance(part, type | FunctionType)
            if is_declared and "<locals>" in part.__qualname__:
                what = f"{part.__qualname__} is declared in a function; declare it at the top of a module"
            elif isinstance(part, Iterator):
                what += "; make a list of it"
            raise TravelError(branch, f"{name} cannot be sent to another process: {what}") from failure
    raise TravelError(branch, f"it cannot be sent to another process ({failure})") from failure


def _pickled(value: Any) -> bytes:
    # Many engines use cloudpickle themselves. Ray has a copy of it, which alone knows the classes that Ray has sent.
    name = "ray.cloudpickle" if "ray" in sys.modules else "cloudpickle"
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # as above
        if find_spec(name) is None:
            raise
    content: bytes = import_module(name).dumps(value)
    return content


def loaded(content: bytes, branch: str, what: str) -> Any:
    """Return what was pickled.

    Raises:
        TravelError: It cannot be read in this process.
    """
    try:
        return pickle.loads(content)
    except Exception as error:  # whatever a type's own way to be unpickled raises
        reason = f"{what} cannot be read in this process ({type(error).__name__}: {error})"
        raise TravelError(branch, reason) from error
