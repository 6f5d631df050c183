# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The journal: the sink by which a run outlives its process.

Each fact goes through a spool, which survives the process at once, and from there in batches into a database, which
survives the machine. A journal that has failed once takes nothing more, so that it never has a hole.
"""

import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from .context import FrozenContext
from .database import ROW
from .events import Event
from .metrics import MetricSchema
from .protocols import Sink
from .runs import Content
from .spool import Spool

__all__ = ["Journal"]
_T = TypeVar("_T")
BATCH = ROW
"""Facts that wait for the database, at the most, before they are brought there."""

DELAY: float
"""Seconds that they wait, at the most."""

TOGETHER = 16 * BATCH
"""Facts in one transaction, at the most: while more come than it can take, a commit a batch would take too long."""

class Journal:
    """A run in a file, which outlives its process; a sink of the context whose run it is.

    When `record` or a write has returned, the fact survives the death of the process. When a step has ended, or
    `flush` or `close` has returned, it also survives that of the machine, if the disk does as it is told.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})
        ...     with ctx.step("fit") as step:
        ...         step["accuracy"] = 0.9

    Attributes:
        takes_merges: Of a branch that is merged it needs to be told the end alone.
        path: The file of the run.
        name: The run's name with its number, as in "digits-0001".
    """

    path: Path
    name: str
    takes_merges: bool

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        spool: Spool,
        content: Content,
        clock: float,
    ) -> None:
        """Take over what `start` or `resume` has opened."""

    @classmethod
    def start(cls, folder: str | os.PathLike[str], name: str) -> Journal:
        """Start a run, in a file of its own.

        Args:
            folder: Where to make the file; it is made if it is not there.
            name: What to call the run. It is a file's name; the runs of one name are numbered.

        Returns:
            The journal of "<folder>/<name>-0001.db", or of the next number that is free.

        Raises:
            JournalError: The file cannot be made, or the name cannot be a file's.
        """

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> Journal:
        """Go on with a run whose process has died, or ended.

        Args:
            path: The file of the run.

        Returns:
            A journal; its `context` holds what finished.

        Raises:
            RunNotFoundError: There is no such run.
            RunInUseError: Its process lives.
            DamagedRunError: It cannot all be read.
            JournalError: It cannot be opened or written, or is of a later version of crystallize.

        Example:
            >>> with Journal.start("runs", "digits") as journal:
            ...     with journal.context(FrozenContext, {"lr": 0.1}).step("load"):
            ...         pass
            >>> with Journal.resume("runs/digits-0001.db") as journal:
            ...     journal.context(FrozenContext).provenance.finished("load")
            True
        """

    def context(
        self,
        kind: type[FrozenContext[_T]],
        initial: Mapping[str, Any] | _T | None = None,
        logger: logging.Logger | None = None,
        *,
        metrics: type[MetricSchema] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> FrozenContext[_T]:
        """Make the context of this run: a new one, or, of a run that is resumed, one that holds what finished.

        A resumed context holds what was there at the start, what was written outside any step, and what the steps did
        that finished. A step that did not finish, or wrote what a file cannot give back, is to be done again, and
        none of its work is there.

        Args:
            kind: The context's class, as in `FrozenContext[Train]`.
            initial: The values that it starts with. Of a run that is resumed they may be left out, except for
                secrets, which are in no file; those given have to be the same as at the start.
            logger: Where to log; by default the logger named "crystallize".
            metrics: What may be measured; by default anything.
            sinks: Who else is told what happens from now on.

        Returns:
            The context, with this journal as its first sink.

        Raises:
            ResumeError: A secret, or another input that no file can hold, is not given again.
            JournalError: The run is not one of this schema and these metrics, or the journal is closed.
            SchemaError: `kind` is not the class of a context.
            InvalidInitialError: The initial values are not allowed, or not those that the run began with.
            SinkCheckError: Another sink's backend would refuse something.
        """

    def handle(self, event: Event, /) -> None:
        """Take an event in. When this returns, it survives the process.

        Raises:
            JournalError: The journal is closed, or has failed before.
        """

    def flush(self) -> None:
        """Bring all that was taken in into the database. When this returns, it survives the machine.

        Raises:
            JournalError: It cannot be written. The journal takes nothing more; what the spool holds stays there, for
                `Journal.resume`.
        """

    def close(self) -> None:
        """End the run, as finished. Closing again does nothing.

        Raises:
            JournalError: What was taken in last cannot be written; it stays in the spool, for `Journal.resume`.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the run: as finished, or as failed if an exception comes through."""

    def __reduce__(self) -> NoReturn:
        """Refuse: a journal stays in its process."""

    def __repr__(self) -> str: ...
