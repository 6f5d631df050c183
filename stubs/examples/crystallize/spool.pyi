# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The spool: the mapped file through which a fact survives the death of its process at once.

What is stored in a mapped file belongs to the kernel from then on, which writes it out whatever becomes of the
process. The file stands beside the database of a run while the run has a writer, and a lock on it says that it has.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["CAPACITY", "Spool", "is_locked", "spooled"]
CAPACITY: int
"""Bytes of a spool. They are allocated when it is made, as a full disk is an error then, and a crash later on."""

class Spool:
    """A spool that is being written. It keeps a lock, which nobody else gets while its process lives.

    Attributes:
        path: Where it is.
        append: Takes a fact in, or many that are gathered in one, with how many; and returns True; when it has, that
            survives the process. Returns False where there is no room left, and does nothing. Another function after
            each `begin` and `rewind`.
        pending: The facts that it took and nobody has brought elsewhere.
    """

    path: Path
    pending: list[bytes]
    append: Callable[..., bool]

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over a file that `claim` or `open` has locked."""

    @classmethod
    def claim(cls, path: Path, run: bytes, session: int = 0, last: int = 0) -> Spool | None:
        """Make a spool where there is none. It is there as a whole or not at all.

        Args:
            path: Where to make it.
            run: The identity of its run, 16 bytes.
            session: The number of the last session of the run.
            last: The sequence of the last fact of the run.

        Returns:
            The spool; None where there is one, or somebody else is making one.

        Raises:
            JournalError: There is no room for it, or it cannot be written.
        """

    @classmethod
    def open(cls, path: Path, run: bytes, session: int, last: int) -> Spool:
        """Take over the spool of a run that nobody writes any more, or make it anew. It takes what `claim` takes.

        Raises:
            RunInUseError: Another process, or another journal of this one, has it.
            JournalError: There is no room for it, or it cannot be written.
        """

    def begin(self, run: bytes, session: int, last: int) -> None:
        """Empty it.

        Args:
            run: The identity of its run, 16 bytes.
            session: The number of the session that writes it.
            last: The sequence of the last fact before the first one that it is to take.
        """

    def skip(self, count: int) -> None:
        """Leave the sequences of some facts out, which are elsewhere already."""

    def let_go(self) -> None:
        """Let go of the lock in a process that was forked from the one that has it."""

    def rewind(self) -> None:
        """Begin anew at the start; for when all that it holds is elsewhere."""

    def is_there(self) -> bool:
        """Whether the file is still the one at its path."""

    def close(self, *, delete: bool = False) -> None:
        """Give the file and the lock back."""

def spooled(path: Path, run: bytes, session: int, drained: int) -> Iterator[bytes]:
    """Read the facts that a spool holds and its writer has not drained.

    Args:
        path: Where it is. There may be none.
        run: The identity of the run that it should belong to.
        session: The number of the last session that the database knows.
        drained: The sequence of the last fact that is in the database.

    Raises:
        DamagedRunError: What had been acknowledged cannot all be read.
    """

def is_locked(path: Path) -> bool:
    """Whether a spool has a living writer."""
