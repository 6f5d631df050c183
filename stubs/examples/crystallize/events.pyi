# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What can happen to a context. A sink is told each of these, in the order in which they took effect."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "ArtifactAdded",
    "BranchForked",
    "BranchMerged",
    "Event",
    "KeyWritten",
    "MetricRecorded",
    "StepFinished",
    "StepStarted",
]

class KeyWritten(NamedTuple):
    """A key was written.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> sink = MemorySink()
        >>> FrozenContext(sinks=[sink]).add("lr", 0.1)
        >>> sink.events
        [KeyWritten(key='lr', value=0.1, step=None, is_input=False, branch=None)]
    """

    key: str
    value: Any
    """As a reader would get it; where it may hold a secret, the mask."""

    step: str | None
    """The step that wrote it; None outside any step."""

    is_input: bool = False
    """Whether it was there when the context was made."""

    branch: str | None = None

class MetricRecorded(NamedTuple):
    """A point was recorded.

    Example:
        >>> event = MetricRecorded("loss", 0.5, {"epoch": 1}, step="fit", position=0)
        >>> event.metric, event.value, event.tags["epoch"]
        ('loss', 0.5, 1)
    """

    metric: str
    value: Any
    tags: Mapping[str, Any]
    step: str | None
    """The step that recorded it; None outside any step."""

    position: int
    """Its place among the points of its metric that the context itself recorded, or that branch, from 0."""

    branch: str | None = None

class ArtifactAdded(NamedTuple):
    """An artifact was added.

    Example:
        >>> ArtifactAdded("curve.svg", b"<svg/>", step="fit").name
        'curve.svg'
    """

    name: str
    data: bytes
    step: str | None
    """The step that made it; None outside any step."""

    branch: str | None = None

class StepStarted(NamedTuple):
    """A step was opened.

    Example:
        >>> from datetime import UTC, datetime
        >>> StepStarted("fit", datetime.now(UTC)).step
        'fit'
    """

    step: str
    started: datetime
    """When, in UTC."""

    branch: str | None = None

class StepFinished(NamedTuple):
    """A step was closed. What it read, wrote and recorded is here; its points were told one by one.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> sink = MemorySink()
        >>> with FrozenContext({"lr": 0.1}, sinks=[sink]).step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> sink.events[-1].step, sink.events[-1].reads, sink.events[-1].writes
        ('fit', ('lr',), ('accuracy',))
    """

    step: str
    reads: tuple[str, ...]
    absent: tuple[str, ...]
    writes: tuple[str, ...]
    points: Mapping[str, int]
    """How many points it recorded, by metric."""

    artifacts: tuple[str, ...]
    started: datetime
    ended: datetime
    error: str | None
    """What ended it, if an exception did."""

    branch: str | None = None

    @property
    def is_of_failed_branch(self) -> bool:
        """Whether a whole branch failed, of which nothing that was done is in the context."""

class BranchForked(NamedTuple):
    """A branch was forked: what it brings is read as if it had been done here, whenever it is merged.

    Example:
        >>> BranchForked("tune/fold-3").branch
        'tune/fold-3'
    """

    branch: str
    """Its full name, as "tune/fold-3" after the step that it was forked from."""

class BranchMerged(NamedTuple):
    """A branch was merged. All that it brought has been told one by one, and this comes last.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> ctx = FrozenContext(sinks=[sink := MemorySink()])
        >>> merge(ctx, fork(ctx, "fold-3").open().delta())
        >>> [type(event).__name__ for event in sink.events]
        ['BranchForked', 'StepStarted', 'StepFinished', 'BranchMerged']
    """

    branch: str
    digest: str
    """Of all that it brought, times aside."""

    result: Any
    """What its task returned; where that may hold a secret, the mask."""

    type: Any
    """What its task says that it returns."""

    item: str | None
    """A digest of the item that its task was given, where there is one."""

Event: TypeAlias = (
    KeyWritten | MetricRecorded | ArtifactAdded | StepStarted | StepFinished | BranchForked | BranchMerged
)
"""Anything that a sink may be told."""
