"""A run that is watched: on a terminal drawn anew as it goes on, elsewhere told in lines."""

import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from .._base.table import Table, TableRow
from .._base.text import counted, moment, one_line, short, took
from .._tables.export import Description, StepAttempt
from .follow import Follower, Look
from .terminal import drawn, facts_table, made_by, print_table, shown_value, tables_of

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["watch"]

INTERVAL: Final = 0.5
"""Seconds between two looks, at the least."""
_REST: Final = 9
"""How many times as long as a look took nobody looks again: a watcher leaves the machine to the run."""
_QUIET: Final = 5.0
"""Seconds between two lines about one metric, at the least."""
_ENDS: Final = 5
"""Rows that are drawn at either end of what grows."""


def watch(path: Path) -> None:
    """Show a run until it ends, or has died.

    Args:
        path: The file of the run.

    Raises:
        JournalError: It cannot be read, or not any more.
    """
    from rich.console import Console  # here, since the package does without it

    console = Console(highlight=False)
    # Not `is_terminal`, which may be meant for the colours alone.
    if sys.stdout.isatty() and not console.is_dumb_terminal:
        _draw(_looks(path), console)
    else:
        _tell(_looks(path))


def _looks(path: Path) -> Iterator[Look]:
    """Look at a run again and again; the last look is at a run that has no writer."""
    follower = Follower(path)
    while True:
        began = monotonic()
        look = follower.look()
        yield look
        if look.run.status != "running":
            return
        sleep(max(INTERVAL, _REST * (monotonic() - began)))


def _draw(looks: Iterator[Look], console: "Console") -> None:
    """Draw each look in place of the one before; print the last one as it is without being watched."""
    from rich.console import Group  # as above
    from rich.live import Live

    # While it draws there is no cursor, which a terminal is to have again.
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            look = next(looks)
            while look.run.status == "running":
                tables = [drawn(table, cut=True) for table in _moving(look) if table.columns]
                live.update(Group(*tables), refresh=True)
                look = next(looks)
            # For those who stop to watch before, the last look stays.
            live.update(Group())
    finally:
        signal.signal(signal.SIGTERM, before)
    for table in tables_of(look.run):
        print_table(table)


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _moving(look: Look) -> Iterator[Table]:
    """Return the tables of a run that goes on: first what moves, and of what grows only its ends."""
    run, now = look.run, datetime.now(UTC)
    running = [one for one in run.steps if one.outcome == "running"]
    ended = replace(run, steps=tuple(one for one in run.steps if one.outcome != "running"))
    _, *rest = tables_of(ended)
    tables = {table.title: table for table in rest}
    metrics = tables.pop("metrics")

    def step_row(one: StepAttempt) -> TableRow:
        return one.name, f"{one.started:%H:%M:%S}", _elapsed((now - one.started).total_seconds()), *made_by(one)

    yield facts_table(
        run.name, {"status": run.status, "started": moment(run.started), "took": _elapsed(run.seconds or 0)}
    )
    headings = ("step", "started", "for", "wrote", "points", "artifacts")
    yield Table("running", headings, [*map(step_row, running)]).shortened(_ENDS)
    rows = [(*row, _ago(look, one.metric)) for row, one in zip(metrics.rows, run.metrics, strict=True)]
    yield Table("metrics", (*metrics.headings, "newest"), rows)
    for title in ("steps", "dead attempts", "values", "artifacts", "inputs"):
        yield tables.pop(title).shortened(_ENDS)
    yield from tables.values()


def _ago(look: Look, metric: str) -> str:
    """Say how long ago the newest point of a metric came: a file does not have that, so as far as it was seen."""
    came = look.came.get(metric)
    since = _elapsed(monotonic() - (look.began if came is None else came))
    return f"{since} ago" if came is not None else f"over {since} ago"


def _elapsed(seconds: float) -> str:
    """Return how long something has been going on; the clocks of two machines may differ a little."""
    whole = max(int(seconds), 0)
    return f"{whole} s" if whole < 60 else str(timedelta(seconds=whole))


_Key: TypeAlias = tuple[str, str, int]
"""What a line is about: its kind, its name, and the session that it is of, where that matters."""


def _tell(looks: Iterable[Look]) -> None:
    """Print a line for each thing that is new or not as it was."""
    told: dict[_Key, str] = {}
    until: dict[_Key, float] = {}
    for look in looks:
        now = monotonic()
        for key, line in _lines(look.run):
            waits = key[0] == "metric" and look.run.status == "running" and now < until.get(key, now)
            if told.get(key) != line and not waits:
                told[key], until[key] = line, now + _QUIET
                print(one_line(line), flush=True)


def _lines(run: Description) -> Iterator[tuple[_Key, str]]:
    """Return what there is to tell of a run, each with what it is about; the end of the run comes last."""
    error = f": {run.error}" if run.error else ""
    whole = ("run", run.name, 0), f"run {run.name}: {run.status}"
    if run.status == "running":
        yield whole[0], f"{whole[1]}, since {moment(run.started)}"
    for session in run.sessions[1:]:
        yield ("session", "", session.number), f"session {session.number}: since {moment(session.started)}"
    for row in (*run.inputs, *run.values):
        what = "input" if row.input else "value"
        yield (what, row.key, 0), f"{what} {row.key}: {shown_value(row)}"
    for one in sorted((*run.steps, *run.dead_attempts), key=lambda one: one.started):
        # A branch may fail again and again under one name.
        yield ("step", f"{one.name} {one.started}", one.session), _step_line(one)
    for metric in run.metrics:
        points = f"{counted(metric.count, 'point')}, the last {short(metric.last)}"
        yield ("metric", metric.metric, 0), f"metric {metric.metric}: {points}"
    for file in run.artifacts:
        yield ("artifact", file.name, 0), f"artifact {file.name}: {counted(file.size, 'byte')}"
    if run.status != "running":
        lasted = f", took {took(run.seconds)}" if run.seconds is not None else ""
        yield whole[0], f"{whole[1]}{lasted}{error}"


def _step_line(one: StepAttempt) -> str:
    name = f"step {one.name}" if one.session == 1 else f"step {one.name} of session {one.session}"
    if one.outcome in ("running", "died"):
        return f"{name}: {one.outcome}, since {one.started:%H:%M:%S}"
    return f"{name}: {one.outcome}, took {took(one.seconds)}{f': {one.error}' if one.error else ''}"
