# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""LoggingContext: another handle on a context, which keeps a record of every read."""

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from .context import FrozenContext, T_co
from .provenance import StepRecord

__all__ = ["LoggingContext", "Opening", "closed", "opened_step", "step_path", "told_of"]
_T = TypeVar("_T")

class LoggingContext(FrozenContext[T_co]):
    """A proxy of a context that records every key read through it, and logs each read at DEBUG.

    It is a `FrozenContext` itself, with the same data, metrics and artifacts. `ctx.step(name)` makes one whose
    record is filed in `ctx.provenance`; made by hand, it is a way to watch a piece of code.

    Example:
        >>> log = LoggingContext(FrozenContext({"lr": 0.1}))
        >>> log["lr"], log.get("epochs", 3)
        (0.1, 3)
        >>> log.reads, log.absent
        ({'lr': 0.1}, {'epochs'})
    """

    __slots__ = {"_noted": "What was done through this handle.", "_reads": "The keys read; in `_noted` too."}

    def __init__(self, ctx: FrozenContext[T_co], logger: logging.Logger | None = None) -> None:
        """Watch a context.

        Args:
            ctx: The context; a `LoggingContext` is one too, and records what is read through this one as well.
            logger: Where to log; by default where `ctx` does.
        """

    @property
    def reads(self) -> dict[str, Any]:
        """Each key read with its value, in the order of first reading."""

    @property
    def absent(self) -> set[str]:
        """The keys looked for and not found, whether a default was used, an `in` answered no, or an error came."""

    def __contains__(self, key: object) -> bool:
        """Whether a key is written. If not, that is noted."""

    def __reduce__(self) -> tuple[Any, ...]: ...

@contextmanager
def opened_step(ctx: FrozenContext[_T], name: str) -> Generator[LoggingContext[_T]]:
    """Open a step on a context and file its record when it ends.

    Args:
        ctx: The context, or the step that this one is within.
        name: What to call it.

    Raises:
        InvalidStepError: The name cannot be a step's.
        FinishedStepError: It finished before the run was resumed.
        StepClosedError: `ctx` is a step that has ended.
    """

class Opening(NamedTuple):
    """When a step was opened."""

    started: datetime
    """In UTC."""

    clock: float
    """By `perf_counter`, which nobody sets."""

    number: int
    """That of its scope."""

    counted: Mapping[str, int]
    """How many points there were, by metric."""

def closed(step: LoggingContext[Any], since: Opening, error: str | None) -> StepRecord:
    """End a step; whoever calls has the lock over effect and event.

    Args:
        step: The handle that it was used through.
        since: When it was opened.
        error: What ended it, if an exception did.

    Returns:
        The record of what was done through it.
    """

def step_path(ctx: FrozenContext[Any], name: object) -> str:
    """Return the full name of a step within whatever a handle stands for: "fit/fold-3".

    Raises:
        InvalidStepError: The name cannot be a step's.
    """

def told_of(raised: BaseException, secrets: Iterable[str | bytes]) -> str:
    """Return an exception as text, without some secrets, given in clear."""
