"""Where what branches bring is read: at the place of their forks, in whichever order they come.

A context's own keys, points, artifacts and steps are in the order in which they came. What a branch brings stands
where the branch was forked, as if it had been done there and then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from types import MappingProxyType
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

    __slots__ = ("_found", "count")

    def __init__(self, found: Mapping[int, tuple[int, _P, int]] = MappingProxyType({})) -> None:
        self._found = dict(found)
        self.count = self._counted()

    def _counted(self) -> int:
        return sum(count for _, _, count in self._found.values())

    # Whoever changes it has the lock over effect and event.

    def add(self, number: int, place: int, part: _P, count: int) -> None:
        """Take a part in, in place of what the branch had before.

        Args:
            number: The number of its branch.
            place: How much of the context's own comes before it.
            part: The part.
            count: How much it has; of nothing, nothing is kept.
        """
        if count:
            before = self._found.get(number)
            self._found[number] = place, part, count
            self.count += count - (before[2] if before is not None else 0)

    def drop(self, number: int) -> None:
        """Give the part of a branch back, if it was taken in, also if that was interrupted."""
        self._found.pop(number, None)
        self.count = self._counted()

    def move(self, number: int, to: int, place: int) -> None:
        """Give the part of a branch another place. Whoever calls has the lock over effect and event.

        Args:
            number: The number of the branch.
            to: The number that it gets.
            place: How much of the context's own comes before it.
        """
        if number in self._found:
            self._found[to] = (place, *self._found.pop(number)[1:])

    def clear(self) -> None:
        """Forget all parts."""
        self._found.clear()
        self.count = 0

    def copy(self) -> "Parts[_P]":
        """Return parts of their own with the same content."""
        return Parts(self._found.copy())

    def of(self, number: int) -> _P | None:
        """Return the part of a branch; None if it brought nothing."""
        found = self._found.get(number)
        return None if found is None else found[1]

    def ordered(self) -> list[tuple[int, int, _P]]:
        """Return the parts by the numbers of their branches, each after that number and its place."""
        # Most often they come nearly in order, which sorting makes use of.
        found = sorted(self._found.copy().items(), key=itemgetter(0))
        return [(number, place, part) for number, (place, part, _) in found]

    def spliced(self, own: Iterable[_I], items: Callable[[_P], Iterable[_I]]) -> Iterator[_I]:
        """Return a sequence with all parts at their places.

        Args:
            own: What the context did itself, in order.
            items: Returns what a part has.
        """
        rest, at = iter(own), 0
        for _, place, part in self.ordered():
            # What came before the fork may have been forgotten since, as artifacts can be.
            yield from islice(rest, max(place - at, 0))
            at = max(place, at)
            yield from items(part)
        yield from rest

    def __bool__(self) -> bool:
        return bool(self._found)

    def __reduce__(self) -> tuple[Any, ...]:
        return Parts, (self._found.copy(),)


def ordered_keys(held: Iterable[str], parts: Parts[tuple[str, ...]]) -> list[str]:
    """Return the keys of a context in order.

    Args:
        held: Its keys in the order in which they came.
        parts: Those among them that branches brought.
    """
    keys = list(held)
    if not parts:
        return keys
    # Other threads may bring more meanwhile.
    known, parts = {*keys}, parts.copy()
    brought = {key for _, _, part in parts.ordered() for key in part}
    own = [key for key in keys if key not in brought]
    return [*parts.spliced(own, lambda part: (key for key in part if key in known))]
