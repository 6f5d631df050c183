"""Runs the benchmarks: prints one table, and writes the same as JSON to tests/benchmarks/results."""

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.branches import measure_items, time_async, time_executors, time_many, time_merging
from tests.benchmarks.core import NAMES, ROWS, Row
from tests.benchmarks.frames import measure_frames, time_frames
from tests.benchmarks.growth import time_growth
from tests.benchmarks.journal import measure_runs, time_record, time_trackers
from tests.benchmarks.page import time_page, time_page_of_runs
from tests.benchmarks.peers import time_peers
from tests.benchmarks.results import Result
from tests.benchmarks.rounds import Contestant, play
from tests.benchmarks.run_listing import time_run_listing, time_ui
from tests.benchmarks.shared_base import time_shared_base
from tests.benchmarks.sinks import time_sinks
from tests.benchmarks.tasks import time_tasks
from tests.benchmarks.values import time_values

RESULTS = Path(__file__).parent / "results"


def _nanoseconds(seconds: float) -> str:
    return f"{seconds * 1e9:,.0f} ns"


def time_row(row: Row, rounds: int) -> list[Result]:
    """Time a row and compare it with each of its baselines."""
    found = play([row.ours, *(other for other, _ in row.baselines)], NAMES, number=row.number, rounds=rounds)
    ours = found[row.ours.name]
    results = []
    for other, target in row.baselines:
        theirs = found[other.name]
        ratio, middle = ours.least / theirs.least, ours.middle / theirs.middle
        shown = (_nanoseconds(ours.least), other.name, _nanoseconds(theirs.least))
        results.append(Result(row.path, *shown, ratio, middle, f"≤ {target:g} x", ratio <= target))
    return results


def time_sink(rounds: int) -> Result:
    """Time what a sink that does nothing costs an event."""
    record = 'ctx.record("loss", 0.5, {"epoch": e, "split": "train"})'
    contestants = [
        Contestant("with", record, "ctx = context(sinks=[Null()]); e = 3"),
        Contestant("without", record, "ctx = context(); e = 3"),
    ]
    found = play(contestants, NAMES, number=20_000, rounds=rounds)
    more = found["with"].least - found["without"].least
    without = _nanoseconds(found["without"].least)
    return Result(
        "a sink that does nothing, an event",
        f"+ {more * 1e9:,.0f} ns",
        "no sink",
        without,
        None,
        None,
        "≤ + 900 ns",
        more <= 900e-9,
    )


_POINTS = """
import sys, tracemalloc, gc
sys.path.insert(0, {root!r})
from tests.benchmarks.core import context
ctx = context()
loss = ctx.metrics.series("loss")
def record(points, sets):
    for n in range(points):
        loss.add(n / 7, {{"epoch": n % sets, "split": "train" if n % 2 else "val"}})
record(10_000, 10)
def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096
gc.collect()
if {traced}:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    record({points}, {sets})
    gc.collect()
    print(tracemalloc.get_traced_memory()[0] - before)
else:
    before = resident()
    record({points}, {sets})
    gc.collect()
    print(resident() - before)
"""


def measure_memory() -> list[Result]:
    """Measure what points take, each in a process of its own."""
    root = str(Path(__file__).parents[2])

    def measured(points: int, sets: int, *, traced: bool) -> int:
        code = _POINTS.format(root=root, points=points, sets=sets, traced=traced)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    few, many = measured(1_000_000, 500, traced=True) / 1e6, measured(1_000_000, 10**9, traced=True) / 1e6
    resident = measured(10_000_000, 500, traced=False) / 1e6
    return [
        Result("memory of a point, 1,000 tag sets", f"{few:.1f} bytes", "", "", None, None, "≤ 20 bytes", few <= 20),
        Result("memory of a point, all tags new", f"{many:.1f} bytes", "", "", None, None, "≤ 64 bytes", many <= 64),
        Result("10,000,000 points, resident", f"{resident:.0f} MB", "", "", None, None, "≤ 250 MB", resident <= 250),
    ]


def time_import(rounds: int) -> Result:
    """Time the import in fresh processes, in turn with that of Pydantic."""
    codes = {"ours": "import crystallize", "pydantic": "from pydantic import BaseModel", "nothing": "pass"}
    timed = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    found: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            run = subprocess.run([sys.executable, "-c", timed.format(code)], check=True, capture_output=True, text=True)
            found[name].append(float(run.stdout))
    ours, theirs = min(found["ours"]), min(found["pydantic"])
    middle = sorted(found["ours"])[rounds // 2] / sorted(found["pydantic"])[rounds // 2]
    return Result(
        "import crystallize",
        f"{ours * 1e3:.0f} ms",
        "from pydantic import BaseModel",
        f"{theirs * 1e3:.0f} ms",
        ours / theirs,
        middle,
        "≤ 1.25 x",
        ours / theirs <= 1.25,
    )


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    names = ("pydantic", "pydantic_core", "prometheus_client", "numpy", "distributed")
    packages = (*names, "pyarrow", "pandas", "polars", "plotly")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        **{name: version(name) for name in packages},
    }


def table(results: list[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| path | ours | beside | takes | ratio | of medians | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}" if result.ratio >= 0.02 else f"{result.ratio:.4f}"
        middle = "" if result.middle_ratio is None else f"{result.middle_ratio:.2f}"
        cells = (
            f"`{result.path}`" if "(" in result.path or "[" in result.path or ".lr" in result.path else result.path,
            result.ours,
            result.baseline,
            result.other,
            ratio,
            middle,
            result.target,
            "yes" if result.met else "no",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run only the paths that contain this")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--items", type=int, default=200_000, help="items that do nothing; 1,000,000 for the full proof"
    )
    options = parser.parse_args()
    results: list[Result] = []
    for row in ROWS:
        if options.only in row.path:
            results += time_row(row, options.rounds)
    if not options.only:
        results += [time_sink(options.rounds), *measure_memory(), time_import(options.rounds)]
    if options.only in "journal":
        results += time_tasks(options.rounds)
        results += [*time_record(options.rounds), *time_trackers(), *measure_runs()]
        results += time_run_listing() + time_ui()
    if options.only in "peers":
        results += time_peers(options.rounds)
    if options.only in "growth":
        results += time_growth(max(3, options.rounds // 3))
    if options.only in "sinks":
        results += time_sinks(max(3, options.rounds // 3))
    if options.only in "branches":
        rounds = max(3, options.rounds // 3)
        results += [*time_executors(rounds), *time_merging(rounds), *time_many(rounds), *measure_items(options.items)]
    if options.only in "async branches":
        results += time_async(max(3, options.rounds // 3))
    if options.only in "shared base":
        results += time_shared_base(max(3, options.rounds // 3))
    if options.only in "values":
        results += time_values(max(3, options.rounds // 3))
    if options.only in "frames":
        results += [*time_frames(max(3, options.rounds // 3)), *measure_frames()]
    if options.only in "page":
        results += [*time_page(max(3, options.rounds // 3)), *time_page_of_runs(max(3, options.rounds // 3))]
    print(table(results))
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": machine(), "results": [asdict(result) for result in results]}
    (RESULTS / "core.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"\n{sum(result.met for result in results)} of {len(results)} targets met; also in {RESULTS / 'core.json'}")


if __name__ == "__main__":
    main()
