"""The events of a context. A sink receives each of them, in the order in which they took effect."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Self, TypeAlias

from ._base.file_content import ContentAccess, FileContent

__all__ = [
    "ArtifactAdded",
    "BranchForked",
    "BranchMerged",
    "Event",
    "KeyWritten",
    "MetricRecorded",
    "StepFinished",
    "StepStarted",
    "TaskInputs",
    "TaskReturn",
]

# The `branch` of an event is the full name of the branch that it comes from, or None if the context itself caused it.
# The events of a branch are emitted when the branch is merged or has failed.


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
    """The value as a reader gets it, or the mask if it may contain a secret."""
    step: str | None
    """The step that wrote the key; None outside any step."""
    is_input: bool = False
    """Whether the context was made with this value."""
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
    """The step that recorded the point; None outside any step."""
    position: int
    """The index of the point among the points of its metric that the context itself, or the branch, recorded."""
    branch: str | None = None


class _ArtifactAddedFields(NamedTuple):
    name: str
    content: FileContent
    step: str | None
    """The step that added the artifact; None outside any step."""
    branch: str | None


class ArtifactAdded(_ArtifactAddedFields, ContentAccess):
    """An artifact was added. A large one is not in memory, so a sink sends it by `path` or `open()`.

    Example:
        >>> event = ArtifactAdded("curve.svg", b"<svg/>", step="fit")
        >>> event.name, event.size, event.data
        ('curve.svg', 6, b'<svg/>')
    """

    __slots__ = ()

    def __new__(cls, name: str, data: bytes | FileContent, step: str | None, branch: str | None = None) -> Self:
        """Make an event; contexts do."""
        return super().__new__(cls, name, FileContent(data) if isinstance(data, bytes) else data, step, branch)


class TaskInputs(NamedTuple):
    """Digests of the code and the arguments of a call of `ctx.run`, by which two calls can be compared.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> def fit(ctx, size: int) -> float:
        ...     return 1 / size
        >>> FrozenContext(sinks=[sink := MemorySink()]).run(fit, 2)
        0.5
        >>> list(sink.events[0].inputs.arguments), sink.events[0].inputs.unknown
        (['size'], ())
    """

    code: Mapping[str, str]
    """The digest of each function, class and global that the task uses, by its qualified name; the task comes first."""
    arguments: Mapping[str, str]
    """The digest of each argument and default by its parameter, and of each variable of a closure as "closure.x"."""
    unknown: tuple[str, ...] = ()
    """The reasons why parts have no digest, as sentences."""
    version: str | int | None = None
    """The version that `@step` has set."""


class StepStarted(NamedTuple):
    """A step was opened.

    Example:
        >>> from datetime import UTC, datetime
        >>> StepStarted("fit", datetime.now(UTC)).step
        'fit'
    """

    step: str
    started: datetime
    """The time of the start, in UTC."""
    branch: str | None = None
    arguments: str | None = None
    """A digest of the arguments of its task, if `ctx.run` runs it; None for a step of `with ctx.step(...)`."""
    inputs: TaskInputs | None = None
    """Digests of the code and the arguments of its task, if `ctx.run` runs it; None as above."""
    reason: str | None = None
    """Why the step was not taken over from an earlier run; None if the run has no earlier one."""


class TaskReturn(NamedTuple):
    """The result of a task that `ctx.run` has run as a step.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> def fit(ctx, size: int) -> float:
        ...     return 1 / size
        >>> FrozenContext(sinks=[sink := MemorySink()]).run(fit, 2)
        0.5
        >>> sink.events[-1].returned.result, sink.events[-1].returned.type
        (0.5, <class 'float'>)
    """

    result: Any
    """The return value, or the mask if it may contain a secret."""
    type: Any
    """The return annotation of the task; `Any` if it has none."""


class StepFinished(NamedTuple):
    """A step ended. The event lists the keys and artifacts that the step read and made; each point has its own event.

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
    """The number of points that the step recorded, by metric."""
    artifacts: tuple[str, ...]
    started: datetime
    ended: datetime
    error: str | None
    """The exception that ended the step, as text; None if it ended without one."""
    artifact_reads: tuple[str, ...] = ()
    absent_artifacts: tuple[str, ...] = ()
    """The artifacts that the step looked for and did not find."""
    metric_reads: tuple[tuple[str, int, int], ...] = ()
    """The metrics that the step read, each with the number of its points at the first and at the last read."""
    present: tuple[str, ...] = ()
    """The keys and artifacts that the step looked up and found, without reading them."""
    blind: tuple[str, ...] = ()
    """The things without a digest that the step looked at, in words."""
    reused_from: str | None = None
    """The run in which the step ran, if this run has taken it over; None if it ran in this one."""
    branch: str | None = None
    returned: TaskReturn | None = None
    """The result of its task, if `ctx.run` has run it; None for a step of `with ctx.step(...)`."""

    @property
    def is_of_failed_branch(self) -> bool:
        """Whether the step is a whole branch that failed. Nothing of such a branch is in the context."""
        return self.error is not None and self.step == self.branch


class BranchForked(NamedTuple):
    """A branch was forked. After the merge, its work is read as if it had been done at this point.

    Example:
        >>> BranchForked("tune/fold-3").branch
        'tune/fold-3'
    """

    branch: str
    """The full name, such as "tune/fold-3" if the branch was forked from the step "tune"."""
    first: str | None = None
    """The first branch of the same `fan_out`, which may be this one; None for a branch that `fork` made. The work of
    the branches of a `fan_out` is read as if it had been done one after another when the first was forked."""
    item: Mapping[str, str | int | float | bool | None] | None = None
    """The scalars of the item of a `fan_out`, by the names of its fields, with dots; a scalar itself has an empty name.
    None for a branch that `fork` made."""


class BranchMerged(NamedTuple):
    """A branch was merged. This event follows the events of all of its work.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> ctx = FrozenContext(sinks=[sink := MemorySink()])
        >>> merge(ctx, fork(ctx, "fold-3").open().delta())
        >>> [type(event).__name__ for event in sink.events]
        ['BranchForked', 'StepStarted', 'StepFinished', 'BranchMerged']
    """

    branch: str
    digest: str
    """The digest of the branch's work, without times."""
    result: Any
    """The return value of the task, or the mask if it may contain a secret."""
    type: Any
    """The return annotation of the task."""
    item: str | None
    """The digest of the task's item; None if it has no item, or if the item has no digest."""


Event: TypeAlias = (
    KeyWritten | MetricRecorded | ArtifactAdded | StepStarted | StepFinished | BranchForked | BranchMerged
)
"""Any event that a sink receives."""
