"""`crystallize show --watch`: a run redrawn on a terminal as it goes on, or reported in lines elsewhere."""

import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from .._base.table import Table, TableRow
from .._base.text import counted, moment, one_line, rounded, short, took
from .._tables.run_description import Description, StepAttempt
from .live_run import Follower, Look
from .output import drawn, print_table
from .show_tables import facts_table, shown_value, tables_of, work_cells

if TYPE_CHECKING:
    from rich.console import Console

INTERVAL: Final = 0.5
"""Minimum seconds between two looks."""
_REST: Final = 9
"""Minimum rest between two looks, in durations of a look: a watcher leaves the machine to the run."""
_QUIET: Final = 5.0
"""Minimum seconds between two lines about the same metric."""
_ENDS: Final = 5
"""Rows that are drawn at either end of a growing table."""


def watch(path: Path, *, with_packages: bool = False) -> None:
    """Show a run until it ends, or its process has died; in the end `with_packages`, if it is drawn."""
    from rich.console import Console  # here, as importing it takes long, and not every subcommand needs it

    console = Console(highlight=False)
    # Not `is_terminal`, which users also set to get colours in a pipe.
    if sys.stdout.isatty() and not console.is_dumb_terminal:
        for table in tables_of(_draw(_looks(path), console).run, with_packages=with_packages):
            print_table(table)
    else:
        _report(_looks(path))


def _looks(path: Path) -> Iterator[Look]:
    """Look at a run again and again; the last look is at a run that nobody writes."""
    follower = Follower(path)
    while True:
        began = monotonic()
        look = follower.look()
        yield look
        if look.run.status != "running":
            return
        sleep(max(INTERVAL, _REST * (monotonic() - began)))


def _draw(looks: Iterator[Look], console: "Console") -> Look:
    """Draw each look in place of the one before it, except for the last one, which is returned."""
    from rich.console import Group  # as above
    from rich.live import Live

    # rich hides the cursor, and restores it on the way out.
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            look = next(looks)
            while look.run.status == "running":
                tables = [drawn(table, console.width, cut=True) for table in _live_tables(look) if table.columns]
                live.update(Group(*tables), refresh=True)
                look = next(looks)
            # Only here, so that the last look stays if Ctrl-C ends the watching before.
            live.update(Group())
    finally:
        signal.signal(signal.SIGTERM, before)
    return look


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _live_tables(look: Look) -> Iterator[Table]:
    """Return the tables of a run that goes on: first those that change, and of growing ones only the ends."""
    run, now = look.run, datetime.now(UTC)
    running = [attempt for attempt in run.steps if attempt.outcome == "running"]
    ended = replace(run, steps=tuple(attempt for attempt in run.steps if attempt.outcome != "running"))
    _, *rest = tables_of(ended)
    tables = {table.title: table for table in rest}
    metrics = tables.pop("metrics")

    def step_row(attempt: StepAttempt) -> TableRow:
        elapsed = _elapsed((now - attempt.started).total_seconds())
        return attempt.name, f"{attempt.started:%H:%M:%S}", elapsed, *work_cells(attempt)

    facts = {"status": run.status, "started": moment(run.started), "took": _elapsed(run.seconds or 0)}
    yield facts_table(run.name, facts)
    headings = ("step", "started", "for", "wrote", "points", "artifacts")
    yield Table("running", headings, [*map(step_row, running)], kept=3).shortened(_ENDS)
    rows = [(*row, _age(look, metric.metric)) for row, metric in zip(metrics.rows, run.metrics, strict=True)]
    yield metrics._replace(headings=(*metrics.headings, "newest"), rows=rows)
    for title in ("steps", "dead attempts", "values", "artifacts", "inputs"):
        yield tables.pop(title).shortened(_ENDS)
    yield from tables.values()


def _age(look: Look, metric: str) -> str:
    """Return the age of a metric's newest point, or its minimum: a file does not contain the times of points."""
    came = look.came.get(metric)
    since = _elapsed(monotonic() - (look.began if came is None else came))
    return f"{since} ago" if came is not None else f"over {since} ago"


def _elapsed(seconds: float) -> str:
    """Return a duration that goes on, to the second; it may be negative if the clocks of two machines differ."""
    whole = max(int(seconds), 0)
    return f"{whole} s" if whole < 60 else str(timedelta(seconds=whole))


_Subject: TypeAlias = tuple[str, str, int]
"""The kind and the name of the thing that a line is about, and the number of its process if that matters."""


def _report(looks: Iterable[Look]) -> None:
    """Print a line for each thing that is new or has changed."""
    printed: dict[_Subject, str] = {}
    quiet_until: dict[_Subject, float] = {}
    for look in looks:
        now = monotonic()
        for subject, line in _lines(look.run):
            is_running_metric = subject[0] == "metric" and look.run.status == "running"
            waits = is_running_metric and now < quiet_until.get(subject, now)
            if printed.get(subject) != line and not waits:
                printed[subject], quiet_until[subject] = line, now + _QUIET
                print(one_line(line), flush=True)


def _lines(run: Description) -> Iterator[tuple[_Subject, str]]:
    """Return the lines about a run, each with its subject; the end of the run comes last."""
    whole, status = ("run", run.name, 0), f"run {run.name}: {run.status}"
    if run.status == "running":
        yield whole, f"{status}, since {moment(run.started)}"
    for process in run.sessions[1:]:
        yield ("session", "", process.number), f"session {process.number}: since {moment(process.started)}"
    for row in (*run.inputs, *run.values):
        kind = "input" if row.input else "value"
        yield (kind, row.key, 0), f"{kind} {row.key}: {shown_value(row)}"
    for attempt in sorted((*run.steps, *run.dead_attempts), key=lambda attempt: attempt.started):
        # The time is part of the name since a branch may fail again and again under the same name.
        yield ("step", f"{attempt.name} {attempt.started}", attempt.session), _step_line(attempt)
    for metric in run.metrics:
        points = f"{counted(metric.count, 'point')}, the last {rounded(short(metric.last))}"
        yield ("metric", metric.metric, 0), f"metric {metric.metric}: {points}"
    for file in run.artifacts:
        yield ("artifact", file.name, 0), f"artifact {file.name}: {counted(file.size, 'byte')}"
    if run.status != "running":
        lasted = f", took {took(run.seconds)}" if run.seconds is not None else ""
        yield whole, f"{status}{lasted}{f': {run.error}' if run.error else ''}"


def _step_line(attempt: StepAttempt) -> str:
    name = f"step {attempt.name}" if attempt.session == 1 else f"step {attempt.name} of session {attempt.session}"
    if attempt.outcome in ("running", "died"):
        return f"{name}: {attempt.outcome}, since {attempt.started:%H:%M:%S}"
    return f"{name}: {attempt.outcome}, took {took(attempt.seconds)}{f': {attempt.error}' if attempt.error else ''}"
