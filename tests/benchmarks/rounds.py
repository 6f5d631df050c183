"""Rounds of timings in which all contestants take turns, so that what the machine does besides hits all alike."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from timeit import Timer
from typing import Any

__all__ = ["Contestant", "Timing", "play"]


@dataclass(frozen=True)
class Contestant:
    """What is timed: a statement after a setup, which is run anew for each round."""

    name: str
    statement: str
    setup: str = "pass"
    per: int = 1
    """How many operations the statement is."""


@dataclass(frozen=True)
class Timing:
    """What came of one contestant, in seconds for one operation."""

    rounds: tuple[float, ...]

    @property
    def least(self) -> float:
        """The fastest round: what it takes when nothing else is in the way."""
        return min(self.rounds)

    @property
    def middle(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)


def play(
    contestants: list[Contestant],
    names: Mapping[str, Any],
    *,
    number: int,
    rounds: int = 15,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Timing]:
    """Time contestants in turn.

    Args:
        contestants: Whom to time.
        names: What their statements and setups may use.
        number: How many operations a round has.
        rounds: How many rounds count, after one to warm up.
        clock: By which clock; that of the processor, if rounds are so long that no round has the processor alone.

    Returns:
        The timings by the contestants' names.
    """
    timers: dict[str, Callable[[], float]] = {
        contestant.name: _timer(contestant, dict(names), number, clock) for contestant in contestants
    }
    found: dict[str, list[float]] = {name: [] for name in timers}
    for counts in range(rounds + 1):
        for name, timed in timers.items():
            gc.collect()
            seconds = timed()
            if counts:
                found[name].append(seconds)
    return {name: Timing(tuple(seconds)) for name, seconds in found.items()}


def _timer(
    contestant: Contestant, names: dict[str, Any], number: int, clock: Callable[[], float]
) -> Callable[[], float]:
    # `timeit` turns the garbage collector off; what a recorder leaves to it is part of its price.
    timer = Timer(contestant.statement, f"import gc; gc.enable(); {contestant.setup}", clock, globals=names)
    times = max(1, number // contestant.per)
    return lambda: timer.timeit(times) / times / contestant.per
