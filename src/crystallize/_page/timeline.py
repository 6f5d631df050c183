"""The steps of a run on a time axis."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from .._tables.run_description import Description, RunProcess, StepAttempt
from .axes import Tick, time_ticks


class StepBar(NamedTuple):
    """An attempt at a step, as a bar on the time axis."""

    attempt: StepAttempt
    is_dead: bool
    """Whether its work is not in the run."""
    depth: int
    """The number of steps that are shown around it."""
    label: str
    """Its name, without the names of the steps around it."""
    left: float
    """Its begin, in percent."""
    width: float
    """In percent."""


class ProcessSpan(NamedTuple):
    """A process that wrote the run, with its steps."""

    number: int
    left: float
    """Its begin, in percent."""
    bars: tuple[StepBar, ...]


class Timeline(NamedTuple):
    """The steps of a run on a time axis. The time between two processes is left out."""

    spans: tuple[ProcessSpan, ...]
    ticks: tuple[Tick, ...]
    left_out: int
    """The number of steps that are not shown."""
    unfinished_left_out: int
    """The number of these that did not finish, or were done again."""


_MAX_BARS: Final = 400
"""Steps that are shown whether they finished or not."""
_MAX_UNFINISHED: Final = 50
"""Of the other steps, the number of unfinished ones that are shown from the start, and again from the end."""


def timeline_layout(run: Description) -> Timeline:
    """Lay out the steps of a run on a time axis."""
    attempts = [_attempts_of(process, run) for process in run.sessions]
    lengths = [process.seconds for process in run.sessions]
    whole = max(sum(lengths), 1e-6)
    spans = list(pairwise([0.0, *accumulate(lengths)]))
    bars: list[StepBar] = []
    for process, own, span in zip(run.sessions, attempts, spans, strict=True):
        bars += [StepBar(*nested, *_extent(nested[0], process, span, whole)) for nested in _nested(own)]
    kept = _kept(bars)
    process_spans = [
        ProcessSpan(
            process.number, 100 * begin / whole, tuple(bar for bar in kept if bar.attempt.session == process.number)
        )
        for process, (begin, _) in zip(run.sessions, spans, strict=True)
    ]
    left_out = len(bars) - len(kept)
    return Timeline(tuple(process_spans), tuple(time_ticks(whole)), left_out, _unfinished(bars) - _unfinished(kept))


def _attempts_of(process: RunProcess, run: Description) -> list[tuple[StepAttempt, bool]]:
    """Return the attempts of a process, each with whether it is dead, without steps that ran in an earlier run."""
    attempts = [(step, False) for step in run.steps] + [(step, True) for step in run.dead_attempts]
    own = [(step, is_dead) for step, is_dead in attempts if step.session == process.number]
    return [(step, is_dead) for step, is_dead in own if step.reused_from is None]


def _nested(attempts: Sequence[tuple[StepAttempt, bool]]) -> Iterator[tuple[StepAttempt, bool, int, str]]:
    """Return the attempts of a process, each followed by its inner ones, as the first four fields of their bars."""
    names = {step.name for step, _ in attempts}
    inner_of: dict[str, list[tuple[StepAttempt, bool]]] = {}
    ordered = sorted(attempts, key=lambda attempt: attempt[0].started)
    # A branch that failed may have been merged later: its inner steps belong to the last attempt.
    last = {step.name: index for index, (step, _) in enumerate(ordered)}
    for attempt in ordered:
        around = attempt[0].name.rpartition("/")[0]
        inner_of.setdefault(around if around in names else "", []).append(attempt)
    stack = [(attempt, 0) for attempt in reversed(inner_of.get("", []))]
    while stack:
        attempt, depth = stack.pop()
        step, is_dead = attempt
        yield step, is_dead, depth, step.name.rpartition("/")[2] if depth else step.name
        if attempt is ordered[last[step.name]]:
            stack += [(inner, depth + 1) for inner in reversed(inner_of.get(step.name, []))]


def _extent(step: StepAttempt, process: RunProcess, span: tuple[float, float], whole: float) -> tuple[float, float]:
    """Return the begin and the width of a bar in percent, within the span of its process in seconds."""
    begin, end = span
    # Clipped, as the clock may have been turned back.
    left = min(max(begin + (step.started - process.started).total_seconds(), begin), end)
    right = end if step.seconds is None else min(left + step.seconds, end)
    return 100 * left / whole, 100 * (right - left) / whole


def _kept(bars: list[StepBar]) -> list[StepBar]:
    """Return the bars that are shown: the first ones, and of the others the first and last unfinished ones."""
    unfinished = [bar for bar in bars[_MAX_BARS:] if bar.attempt.outcome != "finished"]
    return [*bars[:_MAX_BARS], *unfinished[:_MAX_UNFINISHED], *unfinished[_MAX_UNFINISHED:][-_MAX_UNFINISHED:]]


def _unfinished(bars: list[StepBar]) -> int:
    return sum(bar.attempt.outcome != "finished" for bar in bars)
