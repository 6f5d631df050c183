# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Where what branches bring is read: at the place of their forks, in whichever order they come.

A context's own keys, points, artifacts and steps are in the order in which they came. What a branch brings stands
where the branch was forked, as if it had been done there and then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = ["Fork", "Merged", "Parts", "Place", "ordered_keys"]
_P = TypeVar("_P")
_I = TypeVar("_I")

class Place(NamedTuple):
    """How much a context had of its own when a branch was forked."""

    keys: int
    steps: int
    artifacts: int
    points: Mapping[str, int]
    """By metric."""

class Merged(NamedTuple):
    """What is known of a branch that was merged."""

    digest: str
    """Of all that it brought, times aside."""

    result: Any
    """What its task returned, or what a file has of that, until somebody takes it."""

    item: str | None
    """A digest of the item that its task was given, where there is one."""

    is_taken: bool
    """Whether its result was handed out."""

@dataclass(slots=True)
class Fork:
    """A branch, as the context from which it was forked knows it."""

    number: int
    """Its place among the branches, by which what they bring is ordered."""

    place: Place
    merged: Merged | None = None
    is_adrift: bool = False
    """Whether the step that it was forked in is to be done again: it then stands where that forks it anew."""

class Parts(Generic[_P]):
    """What branches brought into one sequence, each part with the number of its branch and its place.

    Attributes:
        count: How much all parts have together.
    """

    count: int
    __slots__ = ("_found", "count")

    def __init__(self, found: Mapping[int, tuple[int, _P, int]] = ...) -> None: ...
    def add(self, number: int, place: int, part: _P, count: int) -> None:
        """Take a part in, in place of what the branch had before.

        Args:
            number: The number of its branch.
            place: How much of the context's own comes before it.
            part: The part.
            count: How much it has; of nothing, nothing is kept.
        """

    def drop(self, number: int) -> None:
        """Give the part of a branch back, if it was taken in, also if that was interrupted."""

    def move(self, number: int, to: int, place: int) -> None:
        """Give the part of a branch another place. Whoever calls has the lock over effect and event.

        Args:
            number: The number of the branch.
            to: The number that it gets.
            place: How much of the context's own comes before it.
        """

    def clear(self) -> None:
        """Forget all parts."""

    def copy(self) -> Parts[_P]:
        """Return parts of their own with the same content."""

    def of(self, number: int) -> _P | None:
        """Return the part of a branch; None if it brought nothing."""

    def ordered(self) -> list[tuple[int, int, _P]]:
        """Return the parts by the numbers of their branches, each after that number and its place."""

    def spliced(self, own: Iterable[_I], items: Callable[[_P], Iterable[_I]]) -> Iterator[_I]:
        """Return a sequence with all parts at their places.

        Args:
            own: What the context did itself, in order.
            items: Returns what a part has.
        """

    def __bool__(self) -> bool: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def ordered_keys(held: Iterable[str], parts: Parts[tuple[str, ...]]) -> list[str]:
    """Return the keys of a context in order.

    Args:
        held: Its keys in the order in which they came.
        parts: Those among them that branches brought.
    """
