"""What large values in the parent cost: beside joblib, the bare executor and Dask's own map over scattered data."""

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from crystallize import FrozenContext, fan_out
from crystallize._branches import engines

from .journal import ROOT
from .results import Result
from .rounds import Contestant, Timing, play

SIZE = 200_000_000
"""Bytes of the array."""
BRANCHES = 50
WORKERS = 2
KEYS = 1000


def rows() -> Any:
    return np.random.default_rng(0).random(SIZE // 8)


def reads_row(ctx: FrozenContext[Any], at: int) -> float:
    return float(ctx["rows"][at])


def row(found: Any, at: int) -> float:
    """Do the same without a context."""
    return float(found[at])


def reads_key(ctx: FrozenContext[Any], at: int) -> int:
    return len(ctx[f"k{at % len(ctx)}"])


def nothing(at: int) -> None:
    """A task that takes no time."""


def memory_of(what: str) -> int:
    """Return a figure of the memory of this process, in bytes: "VmHWM" is the most that was resident."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def reads_row_in_memory(ctx: FrozenContext[Any], at: int) -> tuple[int, int]:
    ctx["rows"][at]
    return os.getpid(), memory_of("VmHWM")


def memory_of_worker(at: int) -> tuple[int, int]:
    return os.getpid(), memory_of("VmHWM")


@contextmanager
def processes() -> Iterator[Executor]:
    """Start two workers that share no memory with this process."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(nothing, range(50)))
        yield pool


def shared_by_joblib(parallel: Any, found: Any) -> list[float]:
    delayed = import_module("joblib").delayed
    results: list[float] = parallel(delayed(row)(found, at) for at in range(BRANCHES))
    return results


def _compared(
    path: str, ours: tuple[str, Timing], theirs: tuple[str, Timing], most: float, unit: float = 1.0, name: str = "s"
) -> Result:
    """Return the line of two timings."""
    shown = [f"{timing.least * unit:,.2f} {name}" for _, timing in (ours, theirs)]
    ratio, middle = (ours[1].least / theirs[1].least, ours[1].middle / theirs[1].middle)
    return Result(path, shown[0], theirs[0], shown[1], ratio, middle, f"≤ {most:g} x", ratio <= most)


def time_large(rounds: int) -> list[Result]:
    """Time branches of a parent with a large array on processes, beside joblib."""
    found = rows()
    with processes() as pool, import_module("joblib").Parallel(2) as parallel:
        names = {**globals(), "pool": pool, "parallel": parallel, "found": found}
        parallel(_delayed_nothing())
        contestants = [
            Contestant(
                "ours",
                "fan_out(ctx, reads_row, range(BRANCHES), executor=pool)",
                "ctx = FrozenContext({'rows': found})",
            ),
            # A copy, since joblib keeps the file of an array that it has met.
            Contestant("joblib", "shared_by_joblib(parallel, copy)", "copy = found.copy()"),
        ]
        timed = play(contestants, names, number=1, rounds=rounds)
    path = f"{SIZE // 10**6} MB array, {BRANCHES} branches, processes"
    return [_compared(path, ("", timed["ours"]), ("joblib", timed["joblib"]), 1.5)]


def _delayed_nothing() -> Iterator[Any]:
    delayed = import_module("joblib").delayed
    yield from (delayed(nothing)(at) for at in range(4))


_PEAK = """
import sys
sys.path.insert(0, {root!r})
from tests.benchmarks import shared_base
if __name__ == "__main__":
    shared_base.print_peaks()
"""


def print_peaks() -> None:
    """Print the memory of this process at its peak, less that before, and of a worker, less that of an idle one."""
    with processes() as pool:
        bare = max(memory for _, memory in pool.map(memory_of_worker, range(20)))
        ctx = FrozenContext({"rows": rows()})
        gc.collect()
        # The peak so far had the array twice, as it was written to the context.
        Path("/proc/self/clear_refs").write_text("5")
        before = memory_of("VmRSS")
        workers = [memory for _, memory in fan_out(ctx, reads_row_in_memory, range(BRANCHES), executor=pool)]
        print(memory_of("VmHWM") - before, max(workers) - bare)


def measure_large() -> list[Result]:
    """Measure the memory of the parent and of a worker, in processes of their own."""
    script = Path(__file__).with_name("_peaks.py")
    script.write_text(_PEAK.format(root=str(ROOT)))
    try:
        told = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True).stdout
    finally:
        script.unlink()
    parent, worker = map(int, told.split())
    peak = (SIZE + parent) / SIZE
    path = f"{SIZE // 10**6} MB array, {BRANCHES} branches"
    return [
        Result(
            f"{path}: a worker's memory",
            f"+ {worker / 1e6:.0f} MB",
            "the bare executor's",
            "",
            None,
            None,
            "≤ + 30 MB",
            worker <= 30e6,
        ),
        Result(f"{path}: the parent's peak", f"{peak:.2f} x", "the array", "1 x", peak, None, "≤ 1.3 x", peak <= 1.3),
    ]


def time_keys(rounds: int) -> list[Result]:
    """Time branches that read one of many keys, beside a context of one key.

    Two workers and their parent share two processors, so the fastest round of each is a matter of luck: in five runs
    their ratio was 1.09 to 1.79. The medians of many rounds by turns are compared instead.
    """
    with processes() as pool:
        names = {**globals(), "pool": pool, "items": range(1000)}
        run = "fan_out(ctx, reads_key, items, executor=pool)"
        contestants = [
            Contestant(
                str(keys), run, f"ctx = FrozenContext({{f'k{{at}}': list(range(100)) for at in range({keys})}})", 1000
            )
            for keys in (KEYS, 1)
        ]
        timed = play(contestants, names, number=1000, rounds=10 * rounds)
    path = f"{KEYS:,} keys, each branch reads one"
    line = _compared(path, ("", timed[str(KEYS)]), ("a context of one key", timed["1"]), 1.3, 1e6, "µs")
    assert line.middle_ratio is not None
    return [replace(line, target="≤ 1.3 x by medians", met=line.middle_ratio <= 1.3)]


def time_dask(rounds: int) -> list[Result]:
    """Time branches of a parent with a large array on Dask, beside its own map; measure what is sent."""
    import distributed  # takes a second

    engine: Any = distributed  # its types are not all known
    cluster = engine.LocalCluster(
        processes=True, n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    )
    found = rows()
    with cluster, engine.Client(cluster) as client:
        names = {**globals(), "client": client, "found": found, "executor": client.get_executor(pure=False)}
        context = "ctx = FrozenContext({'rows': found})"
        contestants = [
            Contestant("ours", "fan_out(ctx, reads_row, range(BRANCHES), executor=executor)", context),
            Contestant("elsewhere", "as_elsewhere(ctx, executor)", context),
            Contestant("dask", "by_dask(client, found)"),
        ]
        timed = play(contestants, names, number=1, rounds=rounds)
        sent = {
            "ours": _sent(lambda: fan_out(_context(found), reads_row, range(BRANCHES), executor=names["executor"])),
            "elsewhere": _sent(lambda: as_elsewhere(_context(found), names["executor"])),
            "dask": _sent(lambda: by_dask(client, found)),
        }
    lines = []
    # By way of the scheduler, as Dask's own: that is once more than there are workers.
    for name, where, most in (("ours", "Dask", WORKERS), ("elsewhere", "Dask as on other machines", WORKERS + 1)):
        path = f"{SIZE // 10**6} MB array, {BRANCHES} branches, {where}"
        lines += [
            _compared(path, ("", timed[name]), ("Dask's own map", timed["dask"]), 1.5),
            Result(
                f"{path}: on the wire",
                f"{sent[name] / 1e6:,.0f} MB",
                "Dask's own map",
                f"{sent['dask'] / 1e6:,.0f} MB",
                sent[name] / sent["dask"],
                None,
                f"≤ {most} x the array",
                sent[name] <= 1.02 * most * SIZE,
            ),
        ]
    return lines


def _context(found: Any) -> FrozenContext[Any]:
    return FrozenContext({"rows": found})


def as_elsewhere(ctx: FrozenContext[Any], executor: Executor) -> list[float]:
    """Fan out as if the workers were on other machines."""
    with patch.object(engines, "is_near", lambda client: False):
        return fan_out(ctx, reads_row, range(BRANCHES), executor=executor)


def by_dask(client: Any, found: Any) -> list[float]:
    """Do the same with Dask alone."""
    scattered = client.scatter(found, broadcast=True, hash=False)
    results: list[float] = client.gather(client.map(row, [scattered] * BRANCHES, range(BRANCHES), pure=False))
    return results


def _sent(work: Callable[[], object]) -> int:
    """Return the bytes that all processes receive on the loopback device while it works."""
    before = _received()
    work()
    return _received() - before


def _received() -> int:
    """Return the bytes that this machine has sent to itself."""
    (line,) = [line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")]
    return int(line.split(":")[1].split()[0])


def time_shared_base(rounds: int) -> list[Result]:
    """Time all of it."""
    return [*time_large(rounds), *measure_large(), *time_keys(rounds), *time_dask(rounds)]


if __name__ == "__main__":
    for result in time_shared_base(3):
        print(result)
