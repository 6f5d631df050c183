# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Branches: one context over many workers, each with a child of its own, which is merged into it once.

A branch is read as a step that was done elsewhere: what it brought stands in the parent where it was forked, whoever
finished first and however often a worker died.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NoReturn, TypeVar
from .context import FrozenContext, T_co
from .deltas import Delta
from .logging_context import LoggingContext
from .metrics import Metric, MetricSchema
from .provenance import Cell, StepRecord
from .schema import Schema

__all__ = [
    "Branch",
    "BranchContext",
    "checked",
    "failed_record",
    "file_failure",
    "fork",
    "forked",
    "merge",
    "merge_result",
]
_T = TypeVar("_T")

@dataclass(frozen=True)
class _Base:
    schema: Schema
    cells: dict[str, Cell]
    metrics: type[MetricSchema] | None
    undeclared: dict[str, Metric[Any, Any] | None]
    """The metrics that are held to what they were first used as, where there is no schema of them."""

    logger: Any
    fingerprint: str

    @classmethod
    def of(cls, ctx: FrozenContext[Any]) -> _Base:
        """Return what a context holds; whoever calls has the lock over effect and event."""

    @property
    def label(self) -> str:
        """What to call the schema."""

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The values that need no copying."""

    def packed(self, branch: str) -> tuple[str, bytes] | None:
        """Return it as bytes, after a digest of them; None where whoever sends it has to say how.

        Args:
            branch: The branch that is sent; those that are sent with the same base after it need not pack it again.

        Raises:
            TravelError: Something in it cannot be sent.
        """

    def __reduce__(self) -> tuple[Any, ...]: ...

class Branch(Generic[T_co]):
    """What a worker needs to do its part: what the parent held when the branch was forked. It pickles.

    Got from `fork`. A pickle holds secrets in clear; it is for engines that one trusts.

    Example:
        >>> branch = fork(FrozenContext({"lr": 0.1}), "fold-3")
        >>> branch.name, branch.open()["lr"]
        ('fold-3', 0.1)

    Attributes:
        name: Its full name, after the step that it was forked from: "tune/fold-3".
    """

    __slots__ = ("_base", "_fingerprint", "_packed", "_within", "name")
    name: str

    def __init__(
        self,
        name: str,
        within: str | None,
        fingerprint: str,
        base: _Base | None,
        packed: tuple[str, bytes] | None,
    ) -> None:
        """Take over what `fork` has found."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a branch stays what was forked."""

    def open(self) -> BranchContext[T_co]:
        """Return a fresh child: a context of its own that holds the keys that the parent held.

        What is read and written through it becomes the record of a step with the branch's name.

        Raises:
            TravelError: What the parent held cannot be read in this process.
            ForeignDeltaError: The schema or the metrics are others in this process.
        """

    def __reduce__(self) -> tuple[Any, ...]: ...
    def __repr__(self) -> str: ...

class BranchContext(LoggingContext[T_co]):
    """The child of a branch: a context of its own, whose work `delta` takes to the parent.

    It holds the keys that the parent held at the fork. Metrics, artifacts and steps are those of the branch alone.
    A key that the parent holds is not written again here. Got from `Branch.open`.

    Example:
        >>> child = fork(FrozenContext({"lr": 0.1}), "fold-3").open()
        >>> child["score"] = child["lr"] * 2
        >>> child.delta()
        Delta('fold-3')
    """

    __slots__ = {
        "_held": "How many keys came from the parent.",
        "_made": "The delta, once it was taken.",
        "_parent": "What the branch is one of, and the schema as a fingerprint.",
        "_since": "When it was opened.",
    }

    def delta(self) -> Delta:
        """End the branch and return all that was done in it, for `merge` in the parent. It pickles.

        Returns:
            The delta; when called again, the same one.

        Raises:
            BranchError: A step in it has not ended.
        """

    def __reduce__(self) -> tuple[Any, ...]: ...

def fork(ctx: FrozenContext[T_co], name: str) -> Branch[T_co]:
    """Fork a branch: an immutable spec of what a worker needs, which pickles, to be opened for each attempt.

    What the branch brings, when it is merged, stands where it was forked first. Forking again what has not been merged
    gives the same branch, with what the context holds by now.

    Args:
        ctx: The parent; or a step of it, which the branch is named after: "tune/fold-3".
        name: What to call it: printable characters other than `/` and `#`; the same for each attempt. Best the item.

    Returns:
        The branch. `Branch.open` gives a child to work with, whose `delta` is for `merge`.

    Raises:
        InvalidStepError: The name cannot be a step's.
        BranchError: There is a step of that name.
        StepClosedError: `ctx` is a step that has ended.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> child = fork(ctx, "fold-3").open()  # on any worker
        >>> child["score"] = child["lr"] * 2
        >>> merge(ctx, child.delta())
        >>> ctx["score"]
        0.2
    """

def forked(ctx: FrozenContext[_T], paths: list[str]) -> list[Branch[_T]]:
    """Fork branches, all at the same moment.

    Args:
        ctx: The parent, or a step of it.
        paths: The full names of the branches.

    Raises:
        BranchError: There is a step of one of these names.
        StepClosedError: `ctx` is a step that has ended.
    """

def merge(ctx: FrozenContext[Any], delta: Delta) -> None:
    """Merge what a branch did into its parent: all of it, once, or nothing.

    It is trusted: the same schema has accepted it. It stands where the branch was forked, in whichever order deltas
    come. The same delta again does nothing.

    Args:
        ctx: The context from which the branch was forked, or a step of it.
        delta: What the branch did.

    Raises:
        ForeignDeltaError: It is of another schema, or of a branch of another context.
        DivergentRetryError: The branch was merged before, with other content.
        MergeConflictError: It wrote a key, or added an artifact, that is there by now.
        BranchError: There is a step of the branch's name.
        StepClosedError: `ctx` is a step, or a child, that has ended.
        ForeignMetricError: It recorded a metric under a name that stands for another one by now.
        TravelError: It cannot be read in this process.
        SinkError: It is merged, and a sink failed to take note.

    Example:
        >>> ctx = FrozenContext()
        >>> child = fork(ctx, "fold-3").open()
        >>> child.record("score", 0.9)
        >>> merge(ctx, child.delta())
        >>> ctx.metrics["score"], ctx.provenance.finished("fold-3")
        ((0.9,), True)
    """

def merge_result(ctx: FrozenContext[Any], delta: Delta, returns: Any) -> None:
    """Merge what a branch did, as `merge` does.

    Args:
        ctx: The context from which the branch was forked, or a step of it.
        delta: What the branch did.
        returns: What its task says that it returns, for a journal to give that back.
    """

def failed_record(record: StepRecord) -> StepRecord:
    """Return the record of a branch that failed: nothing of its work is in the parent, so none is named."""

def file_failure(ctx: FrozenContext[Any], record: StepRecord) -> None:
    """File that an attempt at a branch has failed, until the branch is merged or fails again.

    Args:
        ctx: The context from which the branch was forked, or a step of it.
        record: The record of the attempt, under the name of the branch.

    Raises:
        SinkError: It is filed, and a sink failed to take note.
    """

def checked(ctx: Any) -> FrozenContext[Any]:
    """Return a context, if it is one.

    Raises:
        SchemaError: It is something else.
    """
