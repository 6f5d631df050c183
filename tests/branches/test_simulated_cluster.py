"""Branches on a simulated cluster: workers die, tasks are tried again, and deltas arrive twice, all by a seed."""

import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crystallize import Delta, FrozenContext, Journal, LostBranchesError, fan_out, fan_out_iter, fork, load_run, merge
from crystallize._journal import run_files

from ..journal.journal_runs import no_environment
from .engine_tasks import in_a_loop, view

WORKERS = 64
ATTEMPTS = 3
"""How often the cluster tries a task again whose worker died, before it gives up."""


@dataclass
class Task:
    """A task in the queue of the cluster, or with a worker."""

    act: Any
    given: tuple[Any, ...]
    future: Future[Any]
    deaths: int = 0


class KilledWorker(Exception):
    """What the cluster raises for a task whose workers always died; named and placed as Dask's."""


KilledWorker.__module__ = "distributed.scheduler"


class SimulatedCluster(Executor):
    """64 workers in simulated time. All of it happens in the thread that submits, in an order that the seed decides."""

    _max_workers = WORKERS

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.queue: deque[Task] = deque()
        self.at_work: list[tuple[float, int, Task]] = []
        """The tasks that workers have, by the time at which something becomes of them."""
        self.numbers = count()
        self.now = 0.0
        self.deaths = 0
        self.late: list[Delta] = []
        """Deltas that come once more."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.queue.append(Task(fn, args, future))
        # Fewer than the window, which the caller would otherwise wait for.
        while len(self.queue) + len(self.at_work) > 3 * WORKERS:
            self.step()
        return future

    def items(self, items: Iterable[int]) -> Iterator[int]:
        """Yield items, and after the last one let the workers do what is left."""
        yield from items
        while self.queue or self.at_work:
            self.step()

    def step(self) -> None:
        """Give tasks to idle workers, and go on to the time at which something becomes of one."""
        while self.queue and len(self.at_work) < WORKERS:
            task = self.queue.popleft()
            # Some tasks take a hundred times as long as others.
            takes = self.random.expovariate(1) * (100 if self.random.random() < 0.02 else 1)
            heappush(self.at_work, (self.now + takes, next(self.numbers), task))
        self.now, _, task = heappop(self.at_work)
        if self.random.random() < 0.05:
            self.die(task)
        else:
            self.end(task)

    def die(self, task: Task) -> None:
        """Let a worker die: before its task, in the middle of it, or when all is done and nothing is sent."""
        self.deaths += 1
        branch, function, item, *_ = task.given
        how = self.random.choice(["before", "within", "after"])
        if how == "within":
            child = branch.open()
            child.record("loss", -1.0)
            child[f"half-{item}"] = item
        elif how == "after":
            # The task may fail, which nobody hears of.
            with suppress(Exception):
                task.act(*task.given)
        task.deaths += 1
        if task.deaths > ATTEMPTS:
            task.future.set_exception(KilledWorker(f"{function.__name__} of item {item}"))
        else:
            self.random.choice([self.queue.append, self.queue.appendleft])(task)

    def end(self, task: Task) -> None:
        """Let a task end; its delta, or that of another attempt at it, may come once more."""
        try:
            branch, *given = task.given
            if self.random.random() < 0.1:
                branch = pickle.loads(pickle.dumps(branch))
            delta = task.act(branch, *given)
            if self.random.random() < 0.05:
                again = delta if self.random.random() < 0.5 else task.act(*task.given)
                self.late.append(again)
        except Exception as error:
            task.future.set_exception(error)
        else:
            task.future.set_result(delta)


FLAKY: set[int] = set()
"""The items whose tasks fail."""


def work(ctx: FrozenContext[Any], item: int) -> float:
    """Do some of everything: read, write, record, add a file, open a step, have a branch of its own."""
    if item in FLAKY:
        raise ValueError(f"no {item} today")
    loss = item / 7
    for epoch in range(3):
        ctx.record("loss", ctx["rate"] * loss, {"epoch": epoch})
    if item % 3 == 0:
        ctx[f"score-{item}"] = [loss]
    if item % 10 == 0:
        with ctx.step("fit") as fit:
            fit.record("steps", item)
            fit.artifacts.add(f"{item}.txt", b"%d" % item)
    if item % 50 == 0:
        child = fork(ctx, "inner").open()
        child.record("loss", -loss, {"epoch": 0})
        merge(ctx, child.delta())
    return loss


INITIAL = {"rate": 0.5, "seen": [1, 2]}


def simulate(ctx: FrozenContext[Any], number: int, seed: int) -> SimulatedCluster:
    """Run all items on a simulated cluster, with the same call again until no branch is lost or has failed."""
    cluster = SimulatedCluster(seed)
    FLAKY.update(cluster.random.sample(range(number), number // 100))
    found: list[Any] = []
    kinds = set()
    for attempt in range(20):
        if attempt % 2:
            found = list(fan_out_iter(ctx, work, cluster.items(range(number)), executor=cluster, errors="collect"))
        else:
            found = fan_out(ctx, work, cluster.items(range(number)), executor=cluster, errors="collect")
        FLAKY.clear()
        for delta in cluster.random.sample(cluster.late, len(cluster.late)):
            merge(ctx, delta)
        failures = {type(result) for result in found if isinstance(result, BaseException)}
        kinds |= failures
        if not failures:
            break
    assert [item / 7 for item in range(number)] == found
    assert kinds <= {ValueError, LostBranchesError}
    assert ValueError in kinds
    assert [] != cluster.late
    assert cluster.deaths > number // 40
    return cluster


def alone(number: int) -> dict[str, Any]:
    ctx = FrozenContext(INITIAL)
    in_a_loop(ctx, work, range(number))
    return view(ctx)


@pytest.mark.parametrize("seed", range(4))
def test_a_simulated_cluster(seed: int) -> None:
    """Whatever dies, is tried again, fails or arrives twice, the context is that of the sequential run."""
    ctx = FrozenContext(INITIAL)
    simulate(ctx, 400, seed)
    assert alone(400) == view(ctx)


@pytest.mark.slow
def test_a_simulated_cluster_and_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of such a run has the same, also after it was resumed."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    with Journal.start(tmp_path, "run") as journal:
        simulate(journal.context(FrozenContext, INITIAL), 400, 7)
    assert alone(400) == view(load_run(journal.path).context)
    with Journal.resume(journal.path) as journal:
        assert alone(400) == view(journal.context(FrozenContext))


@pytest.mark.long
def test_a_hundred_thousand_branches_on_a_simulated_cluster() -> None:
    """As above, with 100,000 branches, some of which are given up and run again by the next call."""
    ctx = FrozenContext(INITIAL)
    cluster = simulate(ctx, 100_000, 4)
    assert cluster.deaths > 5_000
    assert alone(100_000) == view(ctx)
