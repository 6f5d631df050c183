# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Provenance: which step read, missed and wrote what, and what follows from that."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias
from .events import StepFinished
from .parts import Parts
from .schema import Schema
from .values import Thaw

__all__ = ["Cell", "EarlyRead", "Lineage", "Provenance", "StepRecord"]
Cell: TypeAlias = tuple[Any, Thaw | None, str | None, bool]
"""A key's value as it is kept; what makes a copy of it for a reader, if anything; the step that wrote it, if a step
did; and whether it was there when the context was made. A plain tuple, since each write makes one.
"""

class StepRecord(NamedTuple):
    """What one step did, without what its inner steps did.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> record = ctx.provenance.steps[0]
        >>> record.name, record.reads, record.writes, record.error
        ('fit', ('lr',), ('accuracy',), None)
    """

    name: str
    reads: tuple[str, ...]
    """The keys that it read, in the order of first reading."""

    absent: tuple[str, ...]
    """The keys that it looked for and did not find."""

    writes: tuple[str, ...]
    """The keys that it wrote, in order."""

    points: Mapping[str, int]
    """How many points it recorded, by metric."""

    artifacts: tuple[str, ...]
    started: datetime
    """When it began, in UTC."""

    ended: datetime
    """When it ended, in UTC, by the time that passed since `started`, whatever was done to the clock."""

    error: str | None
    """The type and text of the exception that ended it, if one did."""

    def __reduce__(self) -> tuple[Any, ...]: ...
    def as_event(self, branch: str | None = None) -> StepFinished:
        """Return what sinks are told of the end of the step.

        Args:
            branch: The branch that brought it, if one did.
        """

    @property
    def duration(self) -> timedelta:
        """How long it took."""

class EarlyRead(NamedTuple):
    """A key that a step looked for before it was written.

    Example:
        >>> ctx = FrozenContext()
        >>> with ctx.step("fit") as step:
        ...     rate = step.get("lr", 0.1)
        >>> ctx["lr"] = 0.2
        >>> ctx.provenance.early_reads
        (EarlyRead(key='lr', reader='fit', writer=None),)
    """

    key: str
    reader: str
    writer: str | None
    """The step that wrote it afterwards; None if it was written outside any step."""

@dataclass(frozen=True, slots=True)
class Lineage:
    """Which key went into which step, and which came out: a graph key → step → key.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> ctx.provenance.lineage.sources("accuracy"), ctx.provenance.lineage.results("lr")
        (frozenset({'lr'}), frozenset({'accuracy'}))
    """

    reads: tuple[tuple[str, str], ...]
    """Edges from a key to a step that read it."""

    writes: tuple[tuple[str, str], ...]
    """Edges from a step to a key that it wrote."""

    def sources(self, key: str) -> frozenset[str]:
        """Return the keys that a key was made from, over any number of steps.

        A step may use what the steps within it and around it have read.
        """

    def results(self, key: str) -> frozenset[str]:
        """Return the keys that were made from a key, over any number of steps."""

class Provenance:
    """Who read, missed and wrote what in one context, by the steps that have ended.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1, "seed": 7})
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> ctx.provenance.finished("fit"), ctx.provenance.writer("accuracy"), ctx.provenance.unread_inputs
        (True, 'fit', ('seed',))
    """

    __slots__ = ("_cells", "_finished", "_keys", "_parts", "_schema", "_steps")

    def __init__(self, schema: Schema, cells: Mapping[str, Cell], keys: Parts[tuple[str, ...]]) -> None: ...
    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """The records of all steps, in the order in which they ended, those of branches where these were forked."""

    def finished(self, name: str) -> bool:
        """Whether a step of this name has ended, and not by an exception."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys that were there when the context was made."""

    @property
    def unread_inputs(self) -> tuple[str, ...]:
        """The inputs that no step has read."""

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The keys that are declared and not written."""

    @property
    def early_reads(self) -> tuple[EarlyRead, ...]:
        """The keys that a step looked for before another one, or nobody's step, wrote them."""

    @property
    def lineage(self) -> Lineage:
        """The graph of what was made from what."""

    def writer(self, key: str) -> str | None:
        """Return the step that wrote a key; None if it is not written, or was written outside any step.

        Raises:
            UnknownKeyError: The schema does not declare it.
        """

    def digest(self, key: str) -> str | None:
        """Return a digest of a key's value, the same in every process.

        BLAKE2b, 128 bits, in hexadecimal: of the value's JSON by its schema, with sorted keys; of dtype, shape
        and bytes for an array.

        Returns:
            The digest; None if the key is not written, holds a secret, or has no JSON.

        Raises:
            UnknownKeyError: The schema does not declare it.
        """

    def __repr__(self) -> str: ...
