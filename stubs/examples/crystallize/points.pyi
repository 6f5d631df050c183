# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""How points are kept: the newest as they come, the older ones packed into columns.

A point is whole or absent, whichever threads record at once: it enters by one call that nothing interrupts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeAlias
from .parts import Parts
from .values import Thaw

__all__ = [
    "ABSENT",
    "BLOCK",
    "FULL",
    "Block",
    "Coded",
    "Column",
    "Copied",
    "NotRestorable",
    "Part",
    "Piece",
    "PointLog",
    "Row",
    "Scope",
    "Scopes",
    "fetch",
    "lacking",
    "seen",
    "store",
]
Row: TypeAlias = tuple[Any, dict[str, Any], int]
"""A point as it is kept: value, tags by name, and the number of the scope that recorded it."""

BLOCK: int
"""Points in a sealed block."""

FULL = 3 * BLOCK
"""Places in a tail that is to be sealed. A point takes three."""

class Scope:
    """On whose behalf something is done: a step, or the context outside any step.

    Attributes:
        step: The step's name; None outside any step.
        number: Stands for it in stored points. Deleted on closing, so that what needs it fails from then on.
    """

    step: str | None
    number: int
    __slots__ = ("number", "step")

    def __init__(self, step: str | None = None, number: int = 0) -> None: ...
    @property
    def is_open(self) -> bool:
        """Whether it still takes reads and writes."""

    def check_open(self) -> None:
        """Raise if the step has ended.

        Raises:
            StepClosedError: It has.
        """

    def open_number(self) -> int:
        """Return the number.

        Raises:
            StepClosedError: The step has ended.
        """

    def close(self) -> None:
        """End it. Ending it again does nothing."""

class Scopes:
    """The scopes of one context, by number: no step, then each step that was opened."""

    names: list[str | None]
    __slots__ = ("_finished", "_lock", "_uses", "names")

    def __init__(self, names: Iterable[str | None] = ..., finished: Iterable[str] = ()) -> None:
        """Make the scopes.

        Args:
            names: The steps opened so far, after None for no step.
            finished: Those that ended before the run was resumed, and are not to be done again.
        """

    def open(self, path: str) -> Scope:
        """Open a step. A name used again counts up: "epoch", "epoch#2".

        Raises:
            FinishedStepError: It ended before the run was resumed.
        """

    def reserve(self, path: str) -> None:
        """Keep a name for a branch: a step of that name counts on."""

    def release(self, path: str) -> None:
        """Give a name back that nobody else has."""

    def is_used(self, path: str) -> bool:
        """Whether there is a step, or a branch, of this name."""

    def find(self, step: str | None) -> Scope:
        """Return a scope of a step that was opened before, for a copy of that step."""

class Copied:
    """In place of a mutable value: what makes a fresh copy of it."""

    thaw: Thaw
    __slots__ = ("thaw",)

    def __init__(self, thaw: Thaw) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def store(value: Any, subject: str) -> Any:
    """Return what to keep of a value, so that whoever gave it cannot change it.

    Raises:
        UncopyableValueError: It refuses to be copied.
    """

def fetch(kept: Any) -> Any:
    """Return what a reader gets of what `store` returned."""

@dataclass(frozen=True, slots=True)
class NotRestorable:
    """In place of a value or a tag of a point that a file cannot give back, in a run that is loaded or resumed.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     journal.context(FrozenContext).record("span", (1, 2))
        >>> load_run("runs/digits-0001.db").metrics.series("span").last.seen
        [1, 2]
    """

    type: str
    """The full name of the type that it had; empty where the file does not say."""

    json: str = "null"
    """What JSON makes of it; `null` where that is nothing."""

    @property
    def seen(self) -> Any:
        """What JSON makes of it, of JSON's types."""

def seen(value: Any) -> Any:
    """Return a value; of one that a file cannot give back, what JSON makes of it."""

Layout: TypeAlias = tuple[type | None, dict[str, type | None]]
"""What is known of all points of a series: the type of the values where that is float, int or str, and the names of
the tags, if each point has the same, with the same of each. What is known need not be found out in packing.
"""

class Part(NamedTuple):
    """The points that a branch brought into a series."""

    blocks: tuple[Block, ...]
    offset: int
    """What to add to the number of a scope in the branch to get its number here."""

    branch: str
    """The full name of the branch."""

    def rows(self) -> Iterator[Row]:
        """Return the points, oldest first."""

    def values(self) -> Iterable[Any]:
        """Return the values alone, oldest first."""

    def last(self) -> Row:
        """Return the newest point."""

class Piece(NamedTuple):
    """Points of a series that follow on one another."""

    block: Block
    offset: int
    """What to add to the numbers of their scopes to get those of the context."""

    branch: str | None
    """The branch that brought them; None for what the context recorded itself."""

    first: int
    """The place of the first one in the series, from 0."""

class PointLog:
    """The points of one series in the order in which they were recorded, those of branches where these were forked.

    Attributes:
        blocks: The points that are packed, without those of branches.
        tail: The newest points, each as three items.
        extend: Adds items to the tail, all or none, whatever other threads do.
    """

    blocks: list[Block]
    tail: list[Any]
    extend: Callable[[Iterable[Any]], None]
    __slots__ = ("_layout", "_lock", "_parts", "blocks", "extend", "tail")

    def __init__(self, layout: Layout = ...) -> None: ...
    def __len__(self) -> int: ...
    def length(self) -> int:
        """How many points there are without those of branches, for whoever makes sure that none is added meanwhile."""

    @property
    def own(self) -> int:
        """How many points there are without those of branches."""

    def append(self, value: Any, tags: dict[str, Any], number: int) -> None:
        """Add a point, by one call that no other thread can interrupt."""

    def seal(self) -> None:
        """Pack the oldest points of the tail. Others may append meanwhile; readers wait."""

    def bring(self, number: int, place: int, blocks: tuple[Block, ...], offset: int, branch: str) -> None:
        """Take in what a branch recorded.

        Args:
            number: The number of the branch.
            place: How many of the context's own points come before it.
            blocks: The points; at least one.
            offset: What to add to the numbers of their scopes.
            branch: The full name of the branch.
        """

    def brought(self, number: int) -> Part | None:
        """Return what a branch recorded; None if it recorded nothing."""

    def move(self, number: int, to: int, place: int) -> None:
        """Give what a branch recorded another place."""

    def give_back(self, number: int) -> None:
        """Undo what `bring` has done."""

    def rows(self) -> Iterator[Row]:
        """Return all points, oldest first, as they are now."""

    def last(self) -> Row | None:
        """Return the newest point, if there is one."""

    def ends(self, most: int) -> tuple[int, list[Row], list[Row]]:
        """Return how many points there are, the oldest of them and the newest, all at one moment.

        Args:
            most: How many at either end, at the most: no more than a block has.
        """

    def lacking(self) -> int:
        """Count the points of which a file cannot give all back."""

    def values(self) -> Iterator[Any]:
        """Return the values alone, oldest first."""

    def count(self, number: int, since: int) -> int:
        """Count the points of a scope of the context's own, from a place among the context's own on."""

    def packed(self) -> tuple[Block, ...]:
        """Return all points, packed for somebody else."""

    def pieces(self) -> Iterator[Piece]:
        """Return all points, packed, oldest first: what the context recorded itself, and what each branch brought."""

    def empty(self) -> PointLog:
        """Return a log for points of the same kind."""

    def copy(self) -> PointLog:
        """Return a log of its own with the same points."""

    @classmethod
    def restored(cls, state: tuple[list[Block], list[Any], Parts[Part]], layout: Layout) -> PointLog:
        """Return the log that was pickled."""

    def __reduce__(self) -> tuple[Any, ...]: ...

class Coded(NamedTuple):
    """A column of few different values: the place of each in a table."""

    codes: bytes
    table: tuple[Any, ...]

Column: TypeAlias = Sequence[Any] | Coded

class _Absent(Enum):
    ABSENT = 0

ABSENT = _Absent.ABSENT

class Block(NamedTuple):
    """A block of points, by columns: `BLOCK` of them, or fewer where a branch brought them."""

    packed: Column
    scopes: Column
    names: tuple[str, ...] | None
    """The tags; None where the points have too many different ones, and the one column holds dicts."""

    tags: tuple[Column, ...]

    @classmethod
    def of(cls, tail: list[Any], layout: Layout) -> Block:
        """Pack points."""

    @property
    def size(self) -> int:
        """How many points there are."""

    @property
    def values(self) -> Iterable[Any]:
        """The values, oldest first."""

    @property
    def numbers(self) -> Iterable[int]:
        """The numbers of the scopes, oldest first."""

    def cut(self, start: int, stop: int) -> Block:
        """Return the points from a place on, up to another or the end."""

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The names of all tags that a point has."""

    def tag(self, name: str) -> Column:
        """Return the column of a tag, with `ABSENT` where a point does not have it."""

    def shared(self) -> Block:
        """Return the same points with what other blocks have too only once."""

    @property
    def is_plain(self) -> bool:
        """Whether all values and tags are texts, bools and numbers of at most 64 bits, as packing shows it."""

    @property
    def columns(self) -> Iterator[list[Any]]:
        """All that is in it, by column: values, numbers, then each tag, with () where a point does not have it."""

    def rows(self) -> Iterator[Row]:
        """Return the points, oldest first."""

    def row(self, at: int) -> Row:
        """Return one point."""

def lacking(block: Block) -> Iterator[tuple[str | None, ...]]:
    """Return, for each point of a block, what of it a file cannot give back: None for the value, the names of tags."""
