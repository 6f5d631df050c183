"""Where things stand in the drawings of a page: steps on a time axis, a lineage, a curve in a line of text."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate, groupby
from math import ceil, floor, log10
from typing import Final, NamedTuple

from .._base.text import lasted
from .._core.provenance import Lineage
from .._tables.run_description import Description, StepAttempt
from .metric_curves import Curve, thin

__all__ = [
    "Bar",
    "Bounds",
    "Column",
    "Life",
    "Span",
    "Tick",
    "Timeline",
    "Weave",
    "bounds",
    "dots",
    "marks",
    "spark",
    "timeline",
    "weave",
]


class Tick(NamedTuple):
    """A mark of the time axis."""

    left: float
    """Its place, in percent."""
    text: str


class Bar(NamedTuple):
    """An opening of a step, as the time axis shows it."""

    attempt: StepAttempt
    depth: int
    """How many steps are shown around it."""
    label: str
    """Its name, without those of the steps around it."""
    is_dead: bool
    """Whether what it did is not in the run."""
    left: float
    """Where it begins, in percent."""
    width: float


class Span(NamedTuple):
    """A process that wrote the run, as the time axis shows it."""

    number: int
    left: float
    """Where it begins, in percent."""
    bars: tuple[Bar, ...]


class Timeline(NamedTuple):
    """The steps of a run on a time axis. Between two processes no time passes on it."""

    spans: tuple[Span, ...]
    ticks: tuple[Tick, ...]
    left_out: int
    """How many steps are not shown."""
    unfinished_left_out: int
    """How many of these did not finish, or were done again."""


_ROWS: Final = 400
"""Steps that a page shows whatever came of them, at the most."""
_UNFINISHED: Final = 50
"""Steps beyond those that did not finish, at either end, of which it shows no more."""


def timeline(run: Description) -> Timeline:
    """Lay the steps of a run out on a time axis.

    Args:
        run: The run.
    """
    attempts = [(one, False) for one in run.steps] + [(one, True) for one in run.dead_attempts]
    lengths = []
    for session in run.sessions:
        ends = [one.ended or one.started for one, _ in attempts if one.session == session.number]
        if session.outcome == "running" and run.seconds is not None:
            # Until it was looked at.
            ends.append(run.started + timedelta(seconds=run.seconds))
        lengths.append((max([session.ended or session.started, *ends]) - session.started).total_seconds())
    whole = max(sum(lengths), 1e-6)
    starts = [0.0, *accumulate(lengths)]
    rows: _Rows = []
    for number, (session, begin, end) in enumerate(zip(run.sessions, starts, starts[1:], strict=False)):
        own = [one for one in attempts if one[0].session == session.number]
        rows += [(number, _bar(*one, session.started, begin, end, whole)) for one in _nested(own)]
    kept = _kept(rows)
    spans = [
        Span(session.number, 100 * begin / whole, tuple(bar for at, bar in kept if at == number))
        for number, (session, begin) in enumerate(zip(run.sessions, starts, strict=False))
    ]
    left_out = len(rows) - len(kept)
    return Timeline(tuple(spans), tuple(_ticks(whole)), left_out, _unfinished(rows) - _unfinished(kept))


_Rows = list[tuple[int, Bar]]
"""Bars, each with the number of its process, from 0."""


def _kept(rows: _Rows) -> _Rows:
    """Return the rows that are shown: the first ones, and beyond these, at either end, what did not finish."""
    wrong = [row for row in rows[_ROWS:] if row[1].attempt.outcome != "finished"]
    return [*rows[:_ROWS], *wrong[:_UNFINISHED], *wrong[_UNFINISHED:][-_UNFINISHED:]]


def _unfinished(rows: _Rows) -> int:
    return sum(bar.attempt.outcome != "finished" for _, bar in rows)


_Attempt = tuple[StepAttempt, bool]


def _nested(attempts: Sequence[_Attempt]) -> Iterator[tuple[StepAttempt, bool, int, str]]:
    """Return the attempts of a process, each followed by those within it, with how deep each is and its own name."""
    names = {one.name for one, _ in attempts}
    within: dict[str, list[_Attempt]] = {}
    ordered = sorted(attempts, key=lambda one: one[0].started)
    # A branch that failed may have been merged later; what is within it is of that attempt.
    last = {one.name: at for at, (one, _) in enumerate(ordered)}
    for attempt in ordered:
        around = attempt[0].name.rpartition("/")[0]
        within.setdefault(around if around in names else "", []).append(attempt)
    rest = [(one, 0) for one in reversed(within.get("", []))]
    while rest:
        attempt, depth = rest.pop()
        one, is_dead = attempt
        yield one, is_dead, depth, one.name.rpartition("/")[2] if depth else one.name
        if attempt is ordered[last[one.name]]:
            rest += [(inner, depth + 1) for inner in reversed(within.get(one.name, []))]


def _bar(
    one: StepAttempt,
    is_dead: bool,
    depth: int,
    label: str,
    session_started: datetime,
    begin: float,
    end: float,
    whole: float,
) -> Bar:
    # By the clock, which may have been turned back.
    left = min(max(begin + (one.started - session_started).total_seconds(), begin), end)
    right = end if one.seconds is None else min(left + one.seconds, end)
    return Bar(one, depth, label, is_dead, 100 * left / whole, 100 * (right - left) / whole)


_STEPS: Final = (
    *(factor * 10.0**power for power in range(-6, 1) for factor in (1, 2, 5)),
    *(10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400),
)
"""Seconds between two marks."""


def _ticks(whole: float) -> Iterator[Tick]:
    step = next((step for step in _STEPS if whole / step <= 5), 86400 * ceil(whole / 5 / 86400))
    for count in range(int(whole / step * (1 + 1e-9)) + 1):
        yield Tick(100 * count * step / whole, lasted(count * step))


class Column(NamedTuple):
    """A step in a lineage, or several that did alike."""

    label: str
    first: int
    """The first of the keys that it read or wrote, as a row."""
    last: int


class Life(NamedTuple):
    """A key in a lineage: a row, from where it was written to where it was read last."""

    key: str
    writer: int | None
    """The column of the step that wrote it; None where no step did."""
    readers: tuple[int, ...]
    """The columns of the steps that read it."""
    passed: tuple[int, ...]
    """The columns of steps that may use it, as a step within or around them has read it."""
    kin: tuple[int, ...]
    """The rows of the keys that it was made from, and that were made from it."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The columns of all steps that had to do with it."""
        return (*(() if self.writer is None else (self.writer,)), *self.readers, *self.passed)


class Weave(NamedTuple):
    """Which key went into which step, and which came out: a row a key, a column a step, in the order of time."""

    columns: tuple[Column, ...]
    lives: tuple[Life, ...]
    left_out: int
    """How many keys and steps are not shown."""


_LIVES: Final = 120
_COLUMNS: Final = 60


def weave(run: Description) -> Weave:
    """Lay the lineage of a run out.

    Args:
        run: The run.
    """
    steps = [one for one in _with_writes(run) if one.reads or one.writes]
    # By their end: a step around others writes what came of them.
    steps.sort(key=lambda one: (one.ended is None, one.ended or one.started))
    groups = [tuple(group) for _, group in groupby(steps, key=_alike)]
    keys = [row.key for row in (*run.inputs, *run.values)]
    shown, columns = keys[:_LIVES], groups[:_COLUMNS]
    writers = {key: at for at, group in enumerate(columns) for one in group for key in one.writes}
    reads = [{key for one in group for key in one.reads} for group in columns]
    passed = [_passed(group, steps) - reads[at] for at, group in enumerate(columns)]
    lives = [
        Life(
            key,
            writers.get(key),
            tuple(at for at, column in enumerate(reads) if key in column),
            tuple(at for at, column in enumerate(passed) if key in column),
            kin,
        )
        for key, kin in zip(shown, _kin(shown, steps), strict=True)
    ]
    rows = [[row for row, life in enumerate(lives) if at in life.steps] or [0] for at in range(len(columns))]
    drawn = [Column(_label(group), min(row), max(row)) for group, row in zip(columns, rows, strict=True)]
    return Weave(tuple(drawn), tuple(lives), len(groups) - len(columns) + len(keys) - len(shown))


def _with_writes(run: Description) -> Iterator[StepAttempt]:
    """Return the steps whose work is in the run, also where they failed or died, each with the keys that it wrote."""
    names = {one.name for one in run.steps}
    failed = (one for one in run.dead_attempts if one.session == run.sessions[-1].number and one.name not in names)
    written: dict[str | None, list[str]] = {}
    for row in run.values:
        written.setdefault(row.step, []).append(row.key)
    for one in (*run.steps, *failed):
        yield replace(one, writes=tuple(dict.fromkeys((*one.writes, *written.get(one.name, ())))))


def _kin(keys: Sequence[str], steps: Sequence[StepAttempt]) -> Iterator[tuple[int, ...]]:
    graph = Lineage(
        tuple((key, one.name) for one in steps for key in one.reads),
        tuple((one.name, key) for one in steps for key in one.writes),
    )
    for key in keys:
        kin = graph.sources(key) | graph.results(key)
        yield tuple(row for row, other in enumerate(keys) if other in kin)


def _alike(one: StepAttempt) -> tuple[str, frozenset[str], tuple[str, ...]]:
    """Return what steps have in common that are shown as one: all but a number, and the order of reading."""
    return _unnumbered(one.name), frozenset(one.reads), one.writes


def _label(group: Sequence[StepAttempt]) -> str:
    first, last = group[0].name, group[-1].name
    return first if first == last else f"{first}…{last.removeprefix(_unnumbered(first))}"


def _unnumbered(name: str) -> str:
    return re.sub(r"\d+$", "", name)


def _passed(own: Sequence[StepAttempt], steps: Sequence[StepAttempt]) -> set[str]:
    """Return what the steps within and around some have read, where those write."""
    writers = [one for one in own if one.writes]
    wrote = {key for one in writers for key in one.writes}
    near = [other for other in steps if any(_is_within(other.name, one.name) for one in writers)]
    return {key for other in near for key in other.reads} - wrote


def _is_within(one: str, other: str) -> bool:
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")


class Bounds(NamedTuple):
    """What curves lie within."""

    left: float
    right: float
    low: float
    high: float


def bounds(curves: Iterable[Curve]) -> Bounds | None:
    """Return what curves lie within; None where none of them has a number."""
    found = [(min(one.x), max(one.x), one.least.y, one.most.y) for one in curves if one.least and one.most]
    if not found:
        return None
    left, right, low, high = zip(*found, strict=True)
    return Bounds(min(left), max(right), min(low), max(high))


def marks(low: float, high: float) -> tuple[Tick, ...]:
    """Return the marks of an axis: at round numbers, or, where there are none that differ in a few digits, at its ends.

    Args:
        low: Where the axis begins.
        high: Where it ends.
    """
    width, largest = high - low, max(abs(low), abs(high))
    if not largest * 1e-7 < width < _LARGE or width < _SMALL:
        ends = (low, high) if low < high else (low,)
        return tuple(Tick(100 * _share(one, low, high), f"{one:.6g}".replace("-", _MINUS)) for one in ends)
    power = floor(log10(width / _MARKS))
    step = next(step for factor in (1, 2, 5, 10) if (step := factor * 10.0**power) * _MARKS >= width * (1 - 1e-9))
    first, last = ceil(low / step - 1e-6), floor(high / step + 1e-6)
    decimals = -floor(log10(step) + 1e-9)
    values = [at * step for at in range(first, last + 1)]
    return tuple(Tick(100 * _share(one, low, high), _marked(one, decimals, largest)) for one in values)


_MINUS: Final = "\N{MINUS SIGN}"
_MARKS: Final = 5
"""How many steps an axis has, at the most."""
_LARGE: Final = 1e300
_SMALL: Final = 1e-300


def _marked(value: float, decimals: int, largest: float) -> str:
    """Return a number as a mark of an axis has it.

    Args:
        value: The number.
        decimals: How many decimals tell it from its neighbours.
        largest: The largest number on the axis, by which all are written in the same way.
    """
    if value == 0:
        return "0"
    if 1e-4 <= largest < 1e6:
        text = f"{value:,.{max(0, decimals)}f}"
    else:
        digits, power = f"{value:.{max(0, min(6, floor(log10(largest)) + decimals))}e}".split("e")
        text = f"{digits}e{int(power)}"
    return text.replace("-", _MINUS)


def spark(curve: Curve, within: Bounds, width: int, height: int) -> str:
    """Return a curve as the path of an SVG, thinned to the columns of a box.

    Args:
        curve: The curve.
        within: What the box stands for, from left to right and from bottom to top.
        width: Of the box.
        height: Of the box.
    """
    parts = []
    is_open = False
    for at in thin(curve.x, curve.y, width):
        found = _place(curve, at, within, width, height)
        if found is not None:
            parts.append(f"{'L' if is_open else 'M'}{found}")
        is_open = found is not None
    return "".join(parts)


def dots(curve: Curve, places: Iterable[int], within: Bounds, width: int, height: int) -> str:
    """Return points of a curve as the path of an SVG, of which each part is as large as the stroke.

    Args:
        curve: The curve.
        places: Which of its points.
        within: What the box stands for, from left to right and from bottom to top.
        width: Of the box.
        height: Of the box.
    """
    found = (_place(curve, at, within, width, height) for at in places)
    return "".join(f"M{one}h0" for one in found if one is not None)


def _place(curve: Curve, at: int, within: Bounds, width: int, height: int) -> str | None:
    """Return where in a box a point stands; None for a gap."""
    x, y = curve.x[at], curve.y[at]
    if y is None:
        return None
    across = _share(x, within.left, within.right) * width
    return f"{across:.1f} {height - _share(y, within.low, within.high) * height:.1f}"


def _share(value: float, low: float, high: float) -> float:
    # By halves, as the whole may be more than a float holds.
    width = high / 2 - low / 2
    return (value / 2 - low / 2) / width if width else 0.5
