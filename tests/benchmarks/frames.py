"""What a table of points costs, beside making a pandas frame of a list of dicts."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from crystallize import FrozenContext
from crystallize.frames import to_arrow, to_pandas, to_polars, write_parquet

from .core import context
from .journal import folder
from .results import Result
from .rounds import Contestant, play

POINTS = 1_000_000

_BASELINE = "list of dicts → pandas"
_TARGETS = {"to_arrow(ctx)": 0.02, "write_parquet(ctx, path)": 0.1, "to_pandas(ctx)": 0.03}


def measured(points: int) -> FrozenContext[Any]:
    """Return a context with so many points of one metric, with two tags."""
    ctx = context()
    add = ctx.metrics.series("loss").add
    for n in range(points):
        add(n / 7, {"epoch": n // 1000, "split": "train" if n % 2 else "val"})
    return ctx


def time_frames(rounds: int) -> list[Result]:
    """Time tables of a million points."""
    ctx = measured(POINTS)
    rows = [
        {"run": None, "step": point.step, "branch": None, "sequence": at, "metric": "loss", "value": point.value}
        | point.tags
        for at, point in enumerate(ctx.metrics.series("loss"))
    ]
    with folder() as where:
        names = {"ctx": ctx, "rows": rows, "pd": pd, "path": where / "run.parquet"}
        ours = {"to_arrow": to_arrow, "to_pandas": to_pandas, "to_polars": to_polars, "write_parquet": write_parquet}
        statements = [*_TARGETS, "to_polars(ctx)"]
        contestants = [
            Contestant(_BASELINE, "pd.DataFrame(rows)"),
            *(Contestant(statement, statement) for statement in statements),
        ]
        found = play(contestants, names | ours, number=1, rounds=rounds)
    theirs = found[_BASELINE]
    results = []
    for statement in statements:
        ratio, target = found[statement].least / theirs.least, _TARGETS.get(statement)
        shown = (f"{found[statement].least * 1e3:.0f} ms", _BASELINE, f"{theirs.least * 1e3:,.0f} ms")
        met = target is None or ratio <= target
        middle = found[statement].middle / theirs.middle
        results.append(Result(statement, *shown, ratio, middle, "" if target is None else f"≤ {target:g} x", met))
    return results


_PEAK = """
import gc, re, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from crystallize.frames import *
from tests.benchmarks.frames import *
from tests.benchmarks.journal import Journalled
def status(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
def ways(ctx, where, file):
    yield lambda: to_arrow(ctx)
    yield lambda: write_parquet(ctx, where / "run.parquet")
    yield lambda: to_pandas(ctx)
    yield lambda: write_parquet(file, where / "run.parquet")
with folder() as where:
    # What comes with the first use is not what a table takes.
    small = measured(10)
    journalled = Journalled(where)
    journalled().record("loss", 0.5, {{"epoch": 1, "split": "val"}})
    journalled.close()
    for way in ways(small, where, journalled.journal.path):
        way()
    ctx = measured({points}) if {way} < 3 else small
    if {way} == 3:
        add = journalled().metrics.series("loss").add
        for n in range({points}):
            add(n / 7, {{"epoch": n // 1000, "split": "train" if n % 2 else "val"}})
        journalled.close()
    way = [*ways(ctx, where, journalled.journal.path)][{way}]
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    made = way()
    print(status("VmHWM") - before)
"""


def measure_frames() -> list[Result]:
    """Measure what memory tables take at their peak, each in a process of its own."""
    root = str(Path(__file__).parents[2])
    table = to_arrow(measured(POINTS)).nbytes
    results = []
    for way, what in enumerate([*_TARGETS, "write_parquet(file, path)"]):
        code = _PEAK.format(root=root, points=POINTS, way=way)
        run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        ratio = int(run.stdout) / table
        shown = (f"{int(run.stdout) / 1e6:.0f} MB", "the Arrow table", f"{table / 1e6:.0f} MB")
        results.append(Result(f"{what}, peak of memory", *shown, ratio, None, "≤ 2 x", ratio <= 2))
    return results
