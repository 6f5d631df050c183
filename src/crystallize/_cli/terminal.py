"""A run on the terminal: the tables of what there is to say of it, and how a table is drawn."""

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .._base.table import Table, TableRow
from .._base.text import MASK, counted, moment, one_line, printable, short, took
from .._tables.export import Description, MetricSummary, RunProcess, StepAttempt, ValueRow

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["drawn", "facts_table", "made_by", "print_table", "shown_value", "tables_of"]


def tables_of(run: Description) -> Iterator[Table]:
    """Return all there is to say of a run, from top to bottom.

    Args:
        run: The run.
    """
    facts = {
        "status": run.status,
        "started": moment(run.started),
        "ended": moment(run.ended),
        "took": took(run.seconds),
        "error": run.error and one_line(run.error),
        "number": str(run.number),
        "file": run.path,
    }
    yield facts_table(run.name, facts)
    for session in run.sessions:
        yield facts_table(f"session {session.number}", _session_facts(session))
    yield Table("inputs", _VALUE, [*map(_value_row, run.inputs)])
    yield Table("values", _VALUE, [*map(_value_row, run.values)])
    resumed = len(run.sessions) > 1
    yield Table("steps", _STEP, [_step_row(one, resumed) for one in run.steps])
    yield Table("dead attempts", _STEP, [_step_row(one, resumed) for one in run.dead_attempts])
    summaries = [
        (*(one.metric, f"{one.count:,}", short(one.first), short(one.last)), *_ends(one), str(one.missing or ""))
        for one in run.metrics
    ]
    yield Table("metrics", ("metric", "points", "first", "last", "min", "max", "not restorable"), summaries)
    files = [(one.name, counted(one.size, "byte"), one.step) for one in run.artifacts]
    yield Table("artifacts", ("artifact", "size", "step"), files)


def facts_table(title: str, facts: Mapping[str, str | None]) -> Table:
    """Return a table of facts by their names.

    Args:
        title: What stands above.
        facts: The facts; what is None or empty is left out.
    """
    return Table(title, ("", ""), [(name, fact) for name, fact in facts.items() if fact])


def _session_facts(session: RunProcess) -> dict[str, str | None]:
    origin = session.origin
    changes = {None: "", False: "", True: ", and tracked files differed from it"}[origin["dirty"]]
    return {
        "outcome": session.outcome,
        "started": moment(session.started),
        "ended": moment(session.ended),
        "error": session.error and one_line(session.error),
        "commit": f"{origin['commit']}{changes}" if origin["commit"] else None,
        "arguments": shlex.join(origin["arguments"]),
        "folder": origin["folder"],
        "Python": origin["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in origin["packages"].items()),
        "system": origin["system"],
        "host": origin["host"],
        "process": str(origin["pid"]),
    }


_VALUE = ("key", "type", "step", "value")


def _value_row(row: ValueRow) -> TableRow:
    return row.key, row.type, row.step, shown_value(row)


def shown_value(row: ValueRow) -> str:
    """Return a value in short, or what stands in its place."""
    return {None: short(row.value), "secret": MASK, "not restorable": f"{row.type}, which is not in the file"}[
        row.missing
    ]


_STEP = ("step", "session", "outcome", "started", "took", "read", "not found", "wrote", "points", "artifacts", "error")


def _step_row(one: StepAttempt, resumed: bool) -> TableRow:
    session = str(one.session) if resumed else None
    facts = (one.name, session, one.outcome, f"{one.started:%H:%M:%S}", took(one.seconds))
    reads = _UNTOLD.get(one.outcome, ", ".join(one.reads))
    return *facts, reads, ", ".join(one.absent), *made_by(one), one.error and one_line(one.error)


_UNTOLD = {"running": "(told when it ends)", "died": "(not known)"}
"""What stands in place of what a step has read that has not ended."""


def made_by(one: StepAttempt) -> TableRow:
    """Return what a step wrote, recorded and added, as cells of a table."""
    points = ", ".join(f"{name}: {count:,}" for name, count in one.points.items())
    return ", ".join(one.writes), points, ", ".join(one.artifacts)


def _ends(metric: MetricSummary) -> tuple[str | None, ...]:
    return tuple(None if number is None else short(number) for number in (metric.min, metric.max))


def print_table(table: Table, *, cut: bool = False) -> None:
    """Print a table, without the columns that are empty; nothing where nothing is in it.

    Args:
        table: The table.
        cut: Whether on a terminal a row is one line, of which the last column is cut.
    """
    from rich.console import Console  # here, since the package does without it

    if not table.columns:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # What another program reads is neither wrapped nor cut.
        console.width = _UNCUT
    with console.capture() as captured:
        console.print(drawn(table, cut=cut))
    # Without what fills up the last column.
    print("\n".join(line.rstrip() for line in captured.get().split("\n")), end="")


_UNCUT = 1_000_000


def drawn(table: Table, *, cut: bool = False) -> "RenderableType":
    """Return a table as rich draws it.

    Args:
        table: The table.
        cut: Whether a row is one line, of which the last column is cut.
    """
    from rich.console import Group  # as above
    from rich.table import Table as Grid
    from rich.text import Text

    columns = table.columns
    grid = Grid(box=None, show_header=any(table.headings), pad_edge=False)
    for at in columns:
        grid.add_column(Text(printable(table.headings[at])), no_wrap=cut and at < columns[-1], overflow="fold")
    middle = len(table.rows) // 2 if table.left_out else None
    for place, row in enumerate(table.rows):
        if place == middle:
            grid.add_row(f"… and {table.left_out:,} more")
        # As Text, in which nothing is markup.
        cells = (Text(printable(row[at] or ""), no_wrap=cut, overflow="ellipsis" if cut else None) for at in columns)
        grid.add_row(*cells)
    return Group(Text(f"\n{printable(table.title)}", style="bold"), grid) if table.title else grid
