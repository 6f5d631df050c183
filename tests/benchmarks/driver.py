"""What the parent of very many branches holds in memory, and what a branch takes, with packs and without.

`python -m tests.benchmarks.driver [COUNT]` prints a table, for 100,000 branches by default.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from crystallize import FrozenContext, Journal, fork, merge
from crystallize._branches import merged_packs

from .journal import ROOT, folder, resident

FIRST = 10_000
"""The branches after which memory should be flat."""
POINTS = {"nothing": (), "3 points": ("loss", "accuracy", "seconds")}
"""What a branch records, by what to call it."""


def run(ctx: FrozenContext[Any], metrics: tuple[str, ...], count: int) -> dict[str, float]:
    """Fork, do and merge branches; return the bytes after the first ones and at the end, and seconds for a branch."""
    found, start = dict[str, float](), perf_counter()
    for at in range(count):
        if at == FIRST:
            found["first"] = resident()
        child = fork(ctx, f"fold-{at}").open()
        for metric in metrics:
            child.record(metric, at / 7)
        merge(ctx, child.delta())
    found |= {"each": (perf_counter() - start) / count, "last": resident()}
    start = perf_counter()
    assert len(metrics) * count == sum(len(ctx.metrics[metric]) for metric in metrics)
    return found | {"read": perf_counter() - start}


def measure(kind: str, has_journal: str, has_packs: str, count: str) -> None:
    """Measure in this process, and print the figures as JSON."""
    if has_packs == "no":
        merged_packs.MOST = sys.maxsize  # type: ignore[misc]  # to see what it saves
    with folder() as where:
        if has_journal == "no":
            found = run(FrozenContext({"lr": 0.1}), POINTS[kind], int(count))
        else:
            with Journal.start(where, "fit") as journal:
                found = run(journal.context(FrozenContext, {"lr": 0.1}), POINTS[kind], int(count))
    print(json.dumps(found))


def print_table(count: int) -> None:
    """Print the figures of all ways, each in a process of its own."""
    memory = f"MB after {FIRST:,} | MB after {count:,} | bytes each"
    print(f"| a branch records | journal | packs | {memory} | a branch | read |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in POINTS:
        for has_journal in ("no", "yes"):
            for has_packs in ("no", "yes"):
                command = [sys.executable, "-m", "tests.benchmarks.driver", kind, has_journal, has_packs, str(count)]
                out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(ROOT)).stdout
                found = json.loads(out)
                more = (found["last"] - found["first"]) / (count - FIRST)
                sizes = f"{found['first'] / 1e6:,.0f} | {found['last'] / 1e6:,.0f} | {more:,.0f}"
                times = f"{found['each'] * 1e6:,.0f} µs | {found['read']:.1f} s"
                print(f"| {kind} | {has_journal} | {has_packs} | {sizes} | {times} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        measure(*sys.argv[1:])
    else:
        print_table(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
