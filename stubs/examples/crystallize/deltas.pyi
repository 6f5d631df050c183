# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What a branch brings to its parent: all that was done in it, in a form that travels."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, NoReturn
from .artifacts import Artifact
from .metrics import Metric
from .points import Block
from .provenance import Cell, StepRecord
from .schema import Key, Schema, digest

__all__ = ["PARTS", "Delta", "Work", "bytes_of", "digest_of", "dumped", "loaded"]

class Work(NamedTuple):
    """All that was done in a branch."""

    cells: dict[str, Cell]
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

    def __init__(
        self,
        branch: str,
        digest: str,
        within: str | None,
        fingerprint: str,
        work: Work | None,
        packed: bytes | None,
    ) -> None:
        """Take over what `BranchContext.delta` has found."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a delta stays what was done."""

    def __reduce__(self) -> tuple[Any, ...]: ...
    def __repr__(self) -> str: ...

PARTS: tuple[str, ...]
"""What the parts of a delta's digest are of, in order."""

def digest_of(schema: Schema, work: Work) -> str:
    """Return what is the same for two attempts that did the same: part by part, so that it can be told what differs."""

def bytes_of(key: Key, value: Any) -> bytes | None:
    """Return bytes that are the same for equal values; None where that is not known, or the value may be a secret."""

def dumped(whole: Any, branch: str, parts: Callable[[], Iterable[tuple[str, Any]]]) -> bytes:
    """Pickle something; by cloudpickle, where that is installed, what pickle itself cannot.

    Args:
        whole: What to pickle.
        branch: Whose it is, for the error.
        parts: Returns what it is made of, each with what to call it, to say which cannot be pickled.

    Raises:
        TravelError: It cannot be pickled.
    """

def loaded(content: bytes, branch: str, what: str) -> Any:
    """Return what was pickled.

    Raises:
        TravelError: It cannot be read in this process.
    """
