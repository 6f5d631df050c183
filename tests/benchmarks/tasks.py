"""A function that is run as a step, reading one key and writing one: in memory, and durable on disk."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from crystallize import FrozenContext, Journal, fork, merge, step

from .results import Result

STEPS = 200
"""How many steps a round has."""


def task(ctx: FrozenContext[Any], key: str) -> None:
    """Read a key and write another one."""
    ctx[key] = ctx["lr"] + 1


@step("tried-{key}", retries=1)
def tried(ctx: FrozenContext[Any], key: str) -> None:
    """Do the same, in an attempt that could be repeated."""
    task(ctx, key)


def in_memory() -> float:
    """Return the seconds of a step in memory, in a new context."""
    ctx, keys = FrozenContext({"lr": 0.1}), [f"key {number}" for number in range(STEPS)]
    start = time.perf_counter()
    for key in keys:
        ctx.run(task, key)
    return (time.perf_counter() - start) / STEPS


def took(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def durable(folder: Path) -> tuple[list[float], list[float]]:
    """Return the seconds of durable steps and of commits of SQLite, made by turns."""
    steps: list[float] = []
    commits: list[float] = []
    database = sqlite3.connect(folder / "commits.db", isolation_level=None)
    with closing(database), Journal.start(folder, "bench") as journal:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE facts (fact BLOB)")
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        for number in range(STEPS):
            steps.append(took(partial(ctx.run, task, f"key {number}")))
            commits.append(took(partial(database.execute, "INSERT INTO facts VALUES (?)", (b"x" * 200,))))
    return steps, commits


def among_many(count: int = 20_000) -> tuple[list[float], list[float]]:
    """Return the seconds of steps with retries that succeed at once, and of steps without, among many steps."""
    ctx, tries, plain = FrozenContext({"lr": 0.1}), list[float](), list[float]()
    for number in range(count):
        with ctx.step("earlier") as earlier:
            earlier.record("loss", number)
    for number in range(STEPS):
        tries.append(took(partial(ctx.run, tried, f"tried {number}")))
        plain.append(took(partial(ctx.run, task, f"plain {number}")))
    return tries, plain


def taken_over(folder: Path) -> tuple[list[float], list[float]]:
    """Return the seconds of steps that are taken over, and of merges of the same work, made by turns.

    Neither waits for the disk: the next step that runs makes both durable.
    """
    keys, taken, merged = [f"key {number}" for number in range(STEPS)], list[float](), list[float]()
    with Journal.start(folder, "reuse") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        for key in keys:
            ctx.run(task, key)
    with Journal.start(folder, "reuse", reuse=True) as journal, Journal.start(folder, "merge") as other:
        ctx, parent = journal.context(FrozenContext, {"lr": 0.1}), other.context(FrozenContext, {"lr": 0.1})
        for key in keys:
            taken.append(took(partial(ctx.run, task, key)))
            child = fork(parent, key).open()
            task(child, key)
            merged.append(took(partial(merge, parent, child.delta())))
    return taken, merged


def time_start() -> float:
    """Return the seconds of `Journal.start` with the context of the run."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        journal = Journal.start(folder, "bench")
        journal.context(FrozenContext, {"lr": 0.1})
        seconds = time.perf_counter() - start
        journal.close()
    return seconds


def time_tasks(rounds: int) -> list[Result]:
    """Time a step in memory, a durable one beside a commit of SQLite, and the start of a run."""
    least = min(in_memory() for _ in range(20 * rounds))
    with TemporaryDirectory() as folder:
        steps, commits = durable(Path(folder))
        taken, merged = taken_over(Path(folder))
    tries, plain = among_many()
    fastest, commit, start = min(steps), min(commits), min(time_start() for _ in range(rounds))
    path = "ctx.run of a function that reads a key and writes one"
    ratio, reuse_ratio = fastest / commit, min(taken) / min(merged)
    retry_ratio = min(tries) / min(plain)
    return [
        Result(path, f"{least * 1e6:.1f} µs", "", "", None, None, "≤ 13 µs", least <= 13e-6),
        Result(
            f"{path}, durable",
            f"{fastest * 1e6:,.0f} µs",
            "a commit of SQLite, synchronous=FULL",
            f"{commit * 1e6:,.0f} µs",
            ratio,
            median(steps) / median(commits),
            "≤ 0.8 x",
            ratio <= 0.8,
        ),
        Result(
            "ctx.run of it, taken over from an earlier run",
            f"{min(taken) * 1e6:,.0f} µs",
            "merging the same work from a branch",
            f"{min(merged) * 1e6:,.0f} µs",
            reuse_ratio,
            median(taken) / median(merged),
            "≤ 2 x",
            reuse_ratio <= 2,
        ),
        Result(
            "ctx.run of it with retries, after 20,000 steps",
            f"{min(tries) * 1e6:,.0f} µs",
            "the same without retries",
            f"{min(plain) * 1e6:,.0f} µs",
            retry_ratio,
            median(tries) / median(plain),
            "≤ 20 x",
            retry_ratio <= 20,
        ),
        Result("Journal.start", f"{start * 1e3:.1f} ms", "", "", None, None, "≤ 20 ms", start <= 0.02),
    ]
