"""What ten times as much costs: at most eleven times the time, whatever the work is.

The garbage collector is off: it goes over all that a context holds, whatever made it. Timed is the processor.
"""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

from crystallize import FrozenContext, Journal, load_run
from crystallize._cli.show_tables import tables_of
from crystallize._tables.run_description import describe

from .journal import folder
from .results import Result
from .rounds import Contestant, play

FEW = 1_000
MANY = 10 * FEW

Context = FrozenContext[dict[str, Any]]


def steps_with_artifacts(ctx: Context, number: int) -> None:
    for at in range(number):
        with ctx.step("draw") as step:
            step.artifacts.add(f"artifact-{at}", b"x")


def steps_with_metrics(ctx: Context, number: int) -> None:
    for at in range(number):
        with ctx.step("measure") as step:
            step.record(f"metric-{at}", 0.5)


def steps_that_fail(ctx: Context, number: int) -> None:
    for at in range(number):
        ctx[f"key-{at}"] = [at]
        try:
            with ctx.step("fail"):
                raise ValueError
        except ValueError:
            pass


def chain(ctx: Context, number: int) -> None:
    ctx["key-0"] = 0
    for at in range(number):
        with ctx.step("next") as step:
            step[f"key-{at + 1}"] = step[f"key-{at}"]


def keys(ctx: Context, number: int) -> None:
    for at in range(number):
        ctx[f"key-{at}"] = at


def filled(fill: Callable[[Context, int], object], number: int) -> Context:
    ctx = Context()
    fill(ctx, number)
    return ctx


def written(where: Path, fill: Callable[[Context, int], object], number: int) -> Path:
    with Journal.start(where, "bench") as journal:
        fill(journal.context(Context), number)
    return journal.path


def resume(path: Path) -> None:
    with Journal.resume(path) as journal:
        journal.context(Context)


def show(path: Path) -> None:
    """Do all of `crystallize show` but printing."""
    for table in tables_of(describe(load_run(path))):
        list(table.rows)


def _row(path: str, unit: str, names: dict[str, Any], contestants: list[Contestant], rounds: int) -> Result:
    """Time a tenth of the work beside all of it; the ratio is that of one item."""
    times = play(contestants, names, number=1, rounds=rounds, clock=process_time)
    few, many = (times[contestant.name] for contestant in contestants)
    ratio, middle = many.least / few.least, many.middle / few.middle
    shown = [f"{timing.least * 1e6:,.1f} µs a {unit}" for timing in (many, few)]
    return Result(path, shown[0], contestants[0].name, shown[1], ratio, middle, "≤ 1.1 x", ratio <= 1.1)


def time_growth(rounds: int) -> list[Result]:
    """Time work beside ten times as much of it."""
    results = []
    for path, fill in (
        ("steps with an artifact each", steps_with_artifacts),
        ("steps with a metric each", steps_with_metrics),
        ("steps that fail, each after a key", steps_that_fail),
    ):
        contestants = [
            Contestant(f"{number:,}", f"fill(ctx, {number})", "gc.disable(); ctx = Context()", number)
            for number in (FEW, MANY)
        ]
        names = {"fill": fill, "Context": Context}
        results.append(_row(f"{MANY:,} {path}", "step", names, contestants, rounds))
    lineages = {f"ctx_{number}": filled(chain, number) for number in (FEW, MANY)}
    contestants = [
        Contestant(f"{number:,}", f"ctx_{number}.provenance.lineage.sources('key-{number}')", "gc.disable()", number)
        for number in (FEW, MANY)
    ]
    results.append(_row(f"the sources of a key over {MANY:,} steps", "step", lineages, contestants, rounds))
    with folder() as where:
        for path, fill, read, few in (
            (f"resume {10 * MANY:,} keys", keys, resume, MANY),
            (f"show {MANY:,} metrics", steps_with_metrics, show, FEW),
        ):
            names = {"read": read, **{f"path_{number}": written(where, fill, number) for number in (few, 10 * few)}}
            contestants = [
                Contestant(f"{number:,}", f"read(path_{number})", "gc.disable()", number) for number in (few, 10 * few)
            ]
            results.append(_row(path, path.split()[-1][:-1], names, contestants, rounds))
    return results
