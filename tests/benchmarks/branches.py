"""What a branch costs: beside the bare executor, beside points recorded at once, and as there are more of them.

`python -m tests.benchmarks.branches` prints the other tables of docs/scale.md.
"""

import asyncio
import gc
import logging
import pickle
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, FiniteFloat, PositiveFloat
from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, Metric, MetricSchema, afan_out, fan_out, fork, merge

from .journal import ROOT, folder, resident
from .results import Result
from .rounds import Contestant, Timing, play


class Study(BaseModel, extra="allow"):
    """What a user may hold: ten keys, and one that each branch adds."""

    data: str
    lr: PositiveFloat
    batch: int
    epochs: int
    seed: int
    size: tuple[int, int]
    labels: list[str]
    weights: dict[str, float]
    rows: list[float]
    best: float = 0.0


class StudyTags(TypedDict):
    epoch: int
    split: Literal["train", "val"]


class StudyMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=StudyTags, unit="nats", goal="minimize")
    accuracy = Metric(FiniteFloat, tags=StudyTags, goal="maximize")
    seconds = Metric(FiniteFloat)


INITIAL: dict[str, Any] = {
    "data": "digits",
    "lr": 0.1,
    "batch": 32,
    "epochs": 3,
    "seed": 7,
    "size": (8, 8),
    "labels": [str(digit) for digit in range(10)],
    "weights": {str(digit): 0.1 for digit in range(10)},
    "rows": [0.5] * 100,
    "best": 0.0,
}


def study(**options: Any) -> FrozenContext[Study]:
    return FrozenContext[Study](INITIAL, metrics=StudyMetrics, **options)


def nothing(ctx: object, item: int) -> None:
    """A task that takes no time."""


def little(child: FrozenContext[Study], item: int) -> None:
    """A task with a few points and a key."""
    for epoch in range(3):
        child.record("loss", 0.5, {"epoch": epoch, "split": "train"})
    child[f"score_{item}"] = 0.5


def points(ctx: FrozenContext[Study], item: int, number: int = 1000) -> None:
    """A task with points alone."""
    add = ctx.metrics.series("loss").add
    for n in range(number):
        add(item + n / 7, {"epoch": n // 2, "split": "train" if n % 2 else "val"})


def batch(child: FrozenContext[Study], item: int) -> None:
    """A hundred tasks in one branch."""
    for at in range(100 * item, 100 * item + 100):
        little(child, at)


def inner(child: FrozenContext[Study], item: int) -> None:
    """A hundred tasks in branches of a branch."""
    for at in range(100 * item, 100 * item + 100):
        own = fork(child, f"part-{at}").open()
        little(own, at)
        merge(child, own.delta())


# Beside the bare executor.


@contextmanager
def executors() -> Iterator[list[tuple[str, Executor, int, float]]]:
    """Make executors of two workers: each with what to call it, how many tasks to give it, and the target."""
    import distributed  # takes a second

    engine: Any = distributed  # its types are not all known
    cluster = engine.LocalCluster(
        processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    )
    with ProcessPoolExecutor(2) as processes, ThreadPoolExecutor(2) as threads, cluster, engine.Client(cluster) as dask:
        yield [
            ("processes", processes, 1000, 0.5e-3),
            ("threads", threads, 1000, 0.1e-3),
            ("Dask", dask.get_executor(pure=False), 200, 1e-3),
        ]


def time_executors(rounds: int) -> list[Result]:
    """Time a branch that does nothing, beside the same task given to the executor itself."""
    results = []
    with executors() as made:
        for name, executor, number, target in made:
            names = {**globals(), "executor": executor, "items": range(number)}
            bare = "[future.result() for future in [executor.submit(nothing, None, item) for item in items]]"
            contestants = [
                Contestant("branches", "fan_out(ctx, nothing, items, executor=executor)", "ctx = study()", number),
                Contestant("bare", bare, per=number),
            ]
            found = play(contestants, names, number=number, rounds=rounds)
            ours, theirs = found["branches"], found["bare"]
            more = ours.least - theirs.least
            results.append(
                Result(
                    f"a branch that does nothing, on {name}",
                    f"+ {more * 1e6:,.0f} µs",
                    "the bare executor",
                    f"{theirs.least * 1e6:,.0f} µs",
                    ours.least / theirs.least,
                    ours.middle / theirs.middle,
                    f"≤ + {target * 1e6:,.0f} µs",
                    more <= target,
                )
            )
    return results


async def nothing_async(ctx: object, item: int) -> None:
    """A coroutine that takes no time."""


async def branched(ctx: FrozenContext[Study], count: int) -> None:
    """Await the coroutines in branches."""
    await afan_out(ctx, nothing_async, range(count))


async def gathered(count: int) -> None:
    """Await the bare coroutines."""
    await asyncio.gather(*(nothing_async(None, item) for item in range(count)))


def time_async(rounds: int) -> list[Result]:
    """Time a branch of `afan_out` that does nothing, beside the same coroutines in `asyncio.gather`."""
    number = 1000
    started = "journal = Journal.start(folder, 'async'); ctx = journal.context(FrozenContext[Study], INITIAL)"
    call = f"asyncio.run(branched(ctx, {number}))"
    contestants = [
        Contestant("branches", call, "ctx = study()", number),
        Contestant("with a journal", f"{call}; journal.close()", started, number),
        Contestant("bare", f"asyncio.run(gathered({number}))", per=number),
    ]
    with folder() as runs:
        names = {**globals(), "folder": runs}
        found = play(contestants, names, number=number, rounds=rounds, clock=time.process_time)
    bare, results = found["bare"], []
    for name, path, target in (
        ("branches", "a branch that does nothing, of `afan_out`", 150e-6),
        ("with a journal", "the same, with a journal that is closed", 400e-6),
    ):
        ours = found[name]
        results.append(
            Result(
                path,
                f"{ours.least * 1e6:,.0f} µs",
                "`asyncio.gather`",
                f"{bare.least * 1e6:,.0f} µs",
                ours.least / bare.least,
                ours.middle / bare.middle,
                f"≤ {target * 1e6:,.0f} µs",
                ours.least <= target,
            )
        )
    return results


# Merging.

MANY = 1000
"""Deltas, and points in each."""


def _made(item: int) -> bytes:
    child = fork(study(), f"fold-{item}").open()
    points(child, item)
    return pickle.dumps(child.delta())


@contextmanager
def deltas() -> Iterator[Path]:
    """Make deltas in another process, and keep them in a file: their pickles, in the order in which they came."""
    order = list(range(MANY))
    Random(1).shuffle(order)
    with folder() as where, ProcessPoolExecutor(1) as pool:
        with open(where / "deltas", "wb") as file:
            for delta in pool.map(_made, order, chunksize=20):
                pickle.dump(delta, file)
        yield where / "deltas"


def arriving(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        for _ in range(MANY):
            yield pickle.load(file)


def merge_all(ctx: FrozenContext[Study], arrived: Iterator[bytes] | list[bytes]) -> None:
    for delta in arrived:
        merge(ctx, pickle.loads(delta))


def forked(**options: Any) -> FrozenContext[Study]:
    """Return a context from which all was forked that is merged."""
    ctx = study(**options)
    for item in range(MANY):
        fork(ctx, f"fold-{item}")
    return ctx


def record_all(ctx: FrozenContext[Study]) -> None:
    """Record at once what the deltas bring."""
    for item in range(MANY):
        points(ctx, item)


class Journalled:
    """Contexts with a journal each; a new one ends the one before."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.journal: Journal | None = None

    def __call__(self, make: Callable[..., FrozenContext[Study]]) -> FrozenContext[Study]:
        self.close()
        self.journal = Journal.start(self.where, "bench")
        return make(sinks=[self.journal])

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()


def time_merging(rounds: int) -> list[Result]:
    """Time merging, beside recording the same and beside merging into a journal; measure what it takes to hold."""
    total = MANY * MANY
    with deltas() as path:
        journalled = Journalled(path.parent)
        names = {**globals(), "journalled": journalled, "arrived": list(arriving(path))}
        contestants = [
            Contestant("merged", "merge_all(ctx, arrived)", "ctx = forked()", total),
            Contestant("recorded", "record_all(ctx)", "ctx = study()", total),
            Contestant("journal", "merge_all(ctx, arrived)", "ctx = journalled(forked)", total),
        ]
        found = play(contestants, names, number=total, rounds=rounds)
        journalled.close()
        memory = {(how, read): _held(path, how, read=read) for how in ("merge", "record") for read in (False, True)}
    merged, recorded, journal = (found[name] for name in ("merged", "recorded", "journal"))
    rate, seconds = 1 / merged.least, merged.least * total
    results = [
        Result(
            "merging, points a second",
            f"{rate:,.0f}",
            "recording them at once",
            f"{1 / recorded.least:,.0f}",
            merged.least / recorded.least,
            merged.middle / recorded.middle,
            "≥ 500,000",
            rate >= 500_000,
        ),
        Result(
            "1,000 deltas of 1,000 points",
            f"{seconds:.3f} s",
            "with a journal",
            f"{journal.least * total:.2f} s",
            merged.least / journal.least,
            merged.middle / journal.middle,
            "≤ 3 s",
            seconds <= 3,
        ),
    ]
    for what, read in (("memory of those", False), ("memory of those, after all was read", True)):
        ours, theirs = memory["merge", read], memory["record", read]
        shown = [f"{size / 1e6:.1f} MB" for size in (ours, theirs)]
        ratio = ours / theirs
        results.append(Result(what, shown[0], "recorded at once", shown[1], ratio, None, "≤ 1.5 x", ratio <= 1.5))
    return results


_HELD = """
import gc, sys, tracemalloc
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.benchmarks.branches import arriving, forked, merge_all, read_all, record_all, study
path = Path({path!r})
warm = forked()
merge_all(warm, [next(arriving(path))])
record_all(study())
del warm
gc.collect()
tracemalloc.start()
before = tracemalloc.get_traced_memory()[0]
if {how!r} == "merge":
    ctx = forked()
    merge_all(ctx, arriving(path))
else:
    ctx = study()
    record_all(ctx)
if {read!r}:
    read_all(ctx)
gc.collect()
print(tracemalloc.get_traced_memory()[0] - before)
"""


def read_all(ctx: FrozenContext[Study]) -> None:
    """Read all that a context has to give."""
    for name in ctx.metrics:
        for _ in ctx.metrics.series(name):
            pass
        assert len(ctx.metrics[name]) == len(ctx.metrics.get_tags(name)) == MANY * MANY
    assert len(ctx.provenance.steps) in (0, MANY)


def _held(path: Path, how: str, *, read: bool) -> int:
    """Return the bytes that a context holds, in a process of its own."""
    code = _HELD.format(root=str(ROOT), path=str(path), how=how, read=read)
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


# As there are more of them.

SIZES = (10, 100, 1000, 10_000)
Way = Callable[[FrozenContext[Study], int], None]


class Here(Executor):
    """An executor that does a task when it is given it."""

    def submit(self, task: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(task(*args, **kwargs))
        return future


def through(ctx: FrozenContext[Study], count: int) -> None:
    """Take branches all the way without an executor: all are forked, then each comes back, in no order."""
    order = list(range(count))
    Random(count).shuffle(order)
    sent = [pickle.dumps(fork(ctx, f"fold-{at}")) for at in range(count)]
    for at in order:
        child = pickle.loads(sent[at]).open()
        little(child, at)
        merge(ctx, pickle.loads(pickle.dumps(child.delta())))


def here(ctx: FrozenContext[Study], count: int) -> None:
    fan_out(ctx, little, range(count), executor=Here())


def in_threads(ctx: FrozenContext[Study], count: int) -> None:
    with ThreadPoolExecutor(2) as threads:
        fan_out(ctx, little, range(count), executor=threads)


def time_sizes(
    ways: Mapping[str, tuple[Way, bool]], sizes: tuple[int, ...], rounds: int
) -> dict[tuple[str, int], Timing]:
    """Time branches by how many there are; all ways and sizes take turns.

    Args:
        ways: How to take so many branches through a context, and whether it has a journal, by what to call it.
        sizes: How many branches there are.
        rounds: How many rounds count, after one to warm up.

    Returns:
        The timings of one branch.
    """
    found: dict[tuple[str, int], list[float]] = {(name, size): [] for name in ways for size in sizes}
    with folder() as where:
        journalled = Journalled(where)
        for counts in range(rounds + 1):
            for (name, size), seconds in found.items():
                way, has_journal = ways[name]
                took, times = 0.0, max(1, 1000 // size)
                gc.collect()
                for _ in range(times):
                    ctx = journalled(study) if has_journal else study()
                    start = perf_counter()
                    way(ctx, size)
                    took += perf_counter() - start
                    del ctx
                if counts:
                    seconds.append(took / times / size)
        journalled.close()
    return {key: Timing(tuple(seconds)) for key, seconds in found.items()}


def time_many(rounds: int) -> list[Result]:
    """Time a branch by how many there are, beside the number at which it takes least."""
    found = time_sizes({"alone": (through, False)}, SIZES, rounds)
    cheapest = min(SIZES, key=lambda size: found["alone", size].least)
    fewest = found["alone", cheapest]
    results = []
    for size in SIZES:
        if size == cheapest:
            continue
        timing = found["alone", size]
        ratio = timing.least / fewest.least
        results.append(
            Result(
                f"a branch among {size:,}",
                f"{timing.least * 1e6:,.0f} µs",
                f"among {cheapest:,}",
                f"{fewest.least * 1e6:,.0f} µs",
                ratio,
                timing.middle / fewest.middle,
                "≤ 1.2 x",
                ratio <= 1.2,
            )
        )
    return results


# Any number of items.

_ITEMS = """
import gc, sys
from time import perf_counter
sys.path.insert(0, {root!r})
from concurrent.futures import ThreadPoolExecutor
from crystallize import Journal, fan_out_iter
from tests.benchmarks.branches import nothing, study
from tests.benchmarks.journal import resident
journal = Journal.start({folder!r}, "bench") if {folder!r} else None
start = perf_counter()
with ThreadPoolExecutor(2) as threads:
    ctx = study(sinks=[journal] if journal else [])
    for at, _ in enumerate(fan_out_iter(ctx, nothing, range({number}), executor=threads), 1):
        if at == {few}:
            gc.collect()
            before = resident()
took = perf_counter() - start
gc.collect()
print(resident() - before, took)
"""
FEW = 10_000


def items_on_threads(number: int, *, with_journal: bool) -> tuple[int, float]:
    """Return how much the memory of a process grows from the first 10,000 items to the last, and the seconds of all."""
    with folder() as where:
        code = _ITEMS.format(root=str(ROOT), folder=str(where) if with_journal else "", number=number, few=FEW)
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    memory, seconds = out.split()
    return int(memory), float(seconds)


def measure_items(number: int = 1_000_000) -> list[Result]:
    """Measure the memory that very many items take, whose tasks do nothing."""
    alone, journalled = (items_on_threads(number, with_journal=with_journal)[0] for with_journal in (False, True))
    path = f"{number:,} items on threads, memory after the first {FEW:,}"
    shown = [f"+ {memory / 1e6:,.0f} MB" for memory in (journalled, alone)]
    # Most of it comes with the next 10,000 branches: the facts that wait for the database, and its cache.
    is_flat = journalled <= 30e6 and alone <= 15e6
    return [Result(f"{path}, with a journal", shown[0], "without", shown[1], None, None, "≤ + 30 MB; 15 MB", is_flat)]


# The tables of docs/scale.md.


def print_sizes(rounds: int = 3) -> None:
    """Print what a branch costs by how many there are."""
    ways: dict[str, tuple[Way, bool]] = {
        "fork to merge": (through, False),
        "with a journal": (through, True),
        "fan_out, same thread": (here, False),
        "fan_out, 2 threads": (in_threads, False),
    }
    found = time_sizes(ways, SIZES, rounds)
    print("| branches |", " | ".join(ways), "|")
    for size in SIZES:
        shown = [found[name, size].least for name in ways]
        firsts = [found[name, SIZES[0]].least for name in ways]
        cells = [
            f"{seconds / first:.2f}, {seconds * 1e6:,.0f} µs" for seconds, first in zip(shown, firsts, strict=True)
        ]
        print(f"| {size:,} |", " | ".join(cells), "|")


def print_largest(count: int = 100_000) -> None:
    """Print what so many branches take, once."""
    ctx = study()
    gc.collect()
    before, start = resident(), perf_counter()
    through(ctx, count)
    took = perf_counter() - start
    print(f"| {count:,} | {took / count * 1e6:,.0f} µs | {(resident() - before) / 1e6:,.0f} MB |")


def print_items(number: int = 1_000_000) -> None:
    """Print what very many items take, whose tasks do nothing."""
    for name, with_journal in (("threads, 2", False), ("threads, 2, with a journal", True)):
        memory, seconds = items_on_threads(number, with_journal=with_journal)
        each = f"{memory / (number - FEW):,.0f} bytes"
        print(f"| {name} | {number:,} | {seconds / number * 1e6:,.0f} µs | {memory / 1e6:,.0f} MB | {each} |")


def print_windows(rounds: int = 5) -> None:
    """Print what a branch that does nothing takes, by the window."""
    windows = (4, 16, 64, 256, 1000)
    with ProcessPoolExecutor(2) as processes, ThreadPoolExecutor(2) as threads:
        for name, executor in (("processes, 2", processes), ("threads, 2", threads)):
            names = {**globals(), "executor": executor}
            statement = "fan_out(ctx, nothing, range(1000), executor=executor, window={})"
            contestants = [Contestant(f"{size}", statement.format(size), "ctx = study()", 1000) for size in windows]
            found = play(contestants, names, number=1000, rounds=rounds)
            print(f"| {name} |", " | ".join(f"{found[f'{size}'].least * 1e6:,.0f} µs" for size in windows), "|")


def print_stages(count: int = 1000, rounds: int = 15) -> None:
    """Print what each stage of a branch takes."""
    found: dict[str, list[float]] = {}

    def timed(name: str, stage: Callable[[int, Any], Any], given: list[Any]) -> list[Any]:
        gc.collect()
        start = perf_counter()
        made = [stage(at, item) for at, item in enumerate(given)]
        found.setdefault(name, []).append((perf_counter() - start) / count)
        return made

    def work(at: int, child: Any) -> Any:
        little(child, at)
        return child

    for _ in range(rounds):
        ctx = study()
        forked = timed("driver: fork", lambda at, parent: fork(parent, f"fold-{at}"), [ctx] * count)
        sent = timed("driver: pickle the branch", lambda at, branch: pickle.dumps(branch), forked)
        came = timed("worker: unpickle the branch", lambda at, data: pickle.loads(data), sent)
        opened = timed("worker: open", lambda at, branch: branch.open(), came)
        done = timed("worker: 3 points and a key, the task's own", work, opened)
        ended = timed("worker: delta", lambda at, child: child.delta(), done)
        back = timed("worker: pickle the delta", lambda at, delta: pickle.dumps(delta), ended)
        # Where a worker is another process, its contexts are no burden to the garbage collector here.
        del opened, done
        arrived = timed("driver: unpickle the delta", lambda at, data: pickle.loads(data), back)
        timed("driver: merge", partial(_merge_into, ctx), arrived)
    for name, seconds in found.items():
        print(f"| {name} | {min(seconds) * 1e6:.1f} µs |")


def _merge_into(ctx: FrozenContext[Study], at: int, delta: Any) -> None:
    merge(ctx, delta)


def _traced(make: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = make()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del kept
    return size


def print_memory(count: int = 10_000) -> None:
    """Print what the driver holds of a branch, in bytes."""

    def only_forked() -> object:
        ctx = study()
        for at in range(count):
            fork(ctx, f"fold-{at}")
        return ctx

    def branches() -> object:
        ctx = study()
        return ctx, [fork(ctx, f"fold-{at}") for at in range(count)]

    _merged(little, 10)
    rows: list[tuple[str, Callable[[], object], int]] = [
        ("forked", only_forked, count),
        ("forked, and the `Branch` held", branches, count),
        ("merged, nothing done", partial(_merged, nothing, count), count),
        ("merged, 1 point", partial(_merged, partial(points, number=1), count), count),
        ("merged, 3 points and a key", partial(_merged, little, count), count),
        ("merged, 1,000 points", partial(_merged, points, 500), 500),
        ("an item, 100 in a branch", partial(_merged, batch, count // 100), count),
        ("an item, 100 branches in a branch", partial(_merged, inner, count // 100), count),
        ("a future of a thread pool", partial(_waiting, ThreadPoolExecutor, count), count),
        ("a future of a process pool", partial(_waiting, ProcessPoolExecutor, count), count),
    ]
    for name, make, number in rows:
        print(f"| {name} | {_traced(make) / number:,.0f} |")


def _merged(task: Way, number: int) -> FrozenContext[Study]:
    ctx = study()
    sent = [pickle.dumps(fork(ctx, f"fold-{at}")) for at in range(number)]
    for at, data in enumerate(sent):
        child = pickle.loads(data).open()
        task(child, at)
        merge(ctx, pickle.loads(pickle.dumps(child.delta())))
    return ctx


def _waiting(kind: Callable[[int], Executor], count: int) -> object:
    """Return futures that wait for the one before them."""
    pool = kind(1)
    pool.submit(time.sleep, 3)
    futures = [pool.submit(nothing, None, at) for at in range(count)]
    pool.shutdown(wait=False)
    return futures


def print_wire() -> None:
    """Print what is sent of a branch, by what the context holds: of the first, and of the next one from that moment."""
    contexts: list[tuple[str, FrozenContext[Any]]] = [
        ("10 keys", study()),
        ("1,000 keys", FrozenContext[dict[str, float]]({f"key_{n}": n / 7 for n in range(1000)})),
        ("a 10 MB array", FrozenContext({"rows": np.zeros(1_250_000)})),
    ]
    for name, ctx in contexts:
        found: dict[str, list[float]] = {}
        for at in range(20):
            branch = fork(ctx, f"fold-{at}")
            for turn in ("first", "next"):
                start = perf_counter()
                sent = pickle.dumps(branch)
                pickled = perf_counter()
                child = pickle.loads(sent).open()
                opened = perf_counter()
                found.setdefault(f"{turn} pickled", []).append(pickled - start)
                found.setdefault(f"{turn} opened", []).append(opened - pickled)
            back = pickle.dumps(child.delta())
        shown = " | ".join(f"{min(seconds) * 1e6:,.0f} µs" for seconds in found.values())
        print(f"| {name} | {len(sent):,} | {len(back):,} | {shown} |")


if __name__ == "__main__":
    print_stages()
    print_wire()
    print_memory()
    print_sizes()
    print_largest()
    print_windows()
    print_items()
