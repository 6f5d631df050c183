"""`fan_out` on a cluster of Dask: the parent's values on workers of other machines, and workers that come and go."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from pathlib import Path
from signal import SIGKILL
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crystallize import BranchContext, FrozenContext, fan_out, fan_out_iter
from crystallize._branches import engines
from crystallize._branches.dask_cluster import DaskCluster, is_near

from .engine_tasks import dask_client, is_first

pytestmark = pytest.mark.slow

LARGE = np.arange(float(1 << 21))  # 16 MiB
"""800 kB: more than is sent with a branch."""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with dask_client(processes=True) as client:
        yield client


@pytest.fixture
def _far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the workers for workers on other machines."""
    monkeypatch.setattr(engines, "is_near", lambda client: False)


far = pytest.mark.usefixtures("_far")


def wait_until(is_done: Callable[[], bool]) -> None:
    """Wait for something that happens soon; the cluster takes its time."""
    end = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.01)


def reads_one(child: BranchContext[Any], at: int) -> tuple[int, int, float]:
    """Return the process, the address of the array in it, and a number of the array."""
    rows = child["rows"]
    return os.getpid(), rows.__array_interface__["data"][0], float(rows[at])


def reads_together(child: BranchContext[Any], item: tuple[str, int]) -> tuple[int, int, float]:
    """Do the same, once two processes have begun."""
    folder, at = item
    (Path(folder) / str(os.getpid())).touch()
    wait_until(lambda: len(os.listdir(folder)) > 1)
    return reads_one(child, at)


def large_parts(dask_worker: Any, *, is_collecting: bool = False) -> int:
    """Return how many large arrays a worker has in its memory, and results; collect garbage before, or not."""
    if is_collecting:
        gc.collect()
    views = [view for view in gc.get_objects() if isinstance(view, memoryview) and view.nbytes >= LARGE.nbytes]
    return sum(not isinstance(view.obj, mmap) for view in views) + len(dask_worker.data)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["tcp://127.0.0.1:80", "tcp://127.0.0.1:81"], True),
        (["tls://[::1]:80"], True),
        (["inproc://10.0.0.1/80/1"], True),
        (["tcp://127.0.0.1:80", "tcp://10.0.0.1:80"], False),
        ([], False),
    ],
    ids=str,
)
def test_workers_on_this_machine(addresses: list[str], expected: bool) -> None:
    """Workers are on this machine if all of them have its loopback device."""
    assert expected == is_near(SimpleNamespace(nthreads=lambda: dict.fromkeys(addresses, 1)))


def submitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return a list to which the arguments of each task are added."""
    found: list[tuple[Any, ...]] = []
    submit = DaskCluster.submit

    def noting(self: DaskCluster, *arguments: Any) -> Any:
        found.append(arguments)
        return submit(self, *arguments)

    monkeypatch.setattr(DaskCluster, "submit", noting)
    return found


@pytest.mark.parametrize("is_far", [False, True], ids=["on this machine", "elsewhere"])
def test_each_worker_gets_the_values_once(
    client: Any, is_far: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All branches on a worker read the same memory. At the end, Dask has nothing left of it."""
    if is_far:
        monkeypatch.setattr(engines, "is_near", lambda client: False)
    tasks = submitted(monkeypatch)
    ctx = FrozenContext({"rows": LARGE})
    items = [(str(tmp_path), at) for at in range(20)]
    results = fan_out(ctx, reads_together, items, executor=client.get_executor(pure=False))
    assert [float(at) for at in range(20)] == [number for _, _, number in results]
    processes = {process for process, _, _ in results}
    assert len(processes) == len({(process, address) for process, address, _ in results}) == 2
    assert is_far == any(type(argument).__module__.startswith("distributed") for argument in tasks[0])
    if is_far:
        wait_until(lambda: not any(client.run(large_parts).values()))
        wait_until(lambda: client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0)


@far
@pytest.mark.filterwarnings("error")
def test_nothing_stays_although_an_exception_is_kept(client: Any) -> None:
    """The values are dropped at the end, even if an exception refers to them; Dask does not warn of their size."""
    ctx = FrozenContext({"rows": np.arange(2_000_000.0)})
    with pytest.raises(IndexError) as caught:
        fan_out(ctx, reads_one, [1, 2_000_000], executor=client.get_executor(pure=False))
    wait_until(lambda: not any(client.run(large_parts, is_collecting=True).values()))
    assert "out of bounds" in str(caught.value)


@far
def test_several_at_once(client: Any) -> None:
    """Calls in several threads share the workers, and each has its own values."""

    def call(at: int) -> list[float]:
        ctx = FrozenContext({"rows": LARGE + at})
        return [result[2] for result in fan_out(ctx, reads_one, range(4), executor=client.get_executor(pure=False))]

    with ThreadPoolExecutor(3) as pool:
        assert [[float(at + row) for row in range(4)] for at in range(3)] == list(pool.map(call, range(3)))


@far
def test_workers_that_start_later() -> None:
    """A call may begin before any worker has started; a worker that starts later gets the values too."""
    with dask_client(processes=True, workers=0) as client:
        ctx = FrozenContext({"rows": LARGE})
        results = fan_out_iter(ctx, reads_one, range(10_000), executor=client.get_executor(pure=False), window=8)
        client.cluster.scale(1)
        found = {next(results)[0]}
        client.cluster.scale(2)
        for process, _, _ in results:
            found.add(process)
            if len(found) == 2:
                break
        results.close()
        assert 2 == len(found)


def loses_its_result(child: BranchContext[Any], item: tuple[str, int]) -> int:
    """Return a large result, and kill the own process soon after; fail if this is repeated."""
    folder, at = item
    if not is_first(Path(folder), at):
        raise ValueError(f"{at} is repeated")
    if os.fork() == 0:
        time.sleep(0.002 + 0.001 * at)
        os.kill(os.getppid(), SIGKILL)
        os._exit(0)
    child["rows"] = np.zeros(400_000)
    return at


@pytest.mark.filterwarnings(r"ignore:.*use of fork\(\):DeprecationWarning")
@pytest.mark.parametrize("moments", [(1, 4), pytest.param(range(6), marks=pytest.mark.long)])
def test_a_result_that_is_lost_on_its_way(client: Any, tmp_path: Path, moments: Sequence[int]) -> None:
    """If a result is lost with its worker and the task fails when it is repeated, the call ends.

    The future of Dask's executor does not.
    """
    for at in moments:
        (outcome,) = fan_out(
            FrozenContext(),
            loses_its_result,
            [(str(tmp_path), at)],
            executor=client.get_executor(pure=False),
            errors="collect",
        )
        assert at == outcome or str(outcome) == f"{at} is repeated"


@far
def test_a_client_that_is_closed(tmp_path: Path) -> None:
    """If the client is closed in another thread, the call ends with an error."""
    with dask_client(processes=False) as client, ThreadPoolExecutor() as pool:
        ctx = FrozenContext({"rows": LARGE})
        executor = client.get_executor(pure=False)
        call = pool.submit(fan_out, ctx, waits_for_it, [str(tmp_path)], executor=executor)
        wait_until((tmp_path / "started").exists)
        client.close()
        (tmp_path / "end").touch()
        assert type(call.exception(timeout=60)).__name__.endswith("CancelledError")


def waits_for_it(child: BranchContext[Any], folder: str) -> float:
    (Path(folder) / "started").touch()
    wait_until((Path(folder) / "end").exists)
    return float(child["rows"][1])


@far
def test_an_executor_that_is_shut_down(client: Any) -> None:
    """An executor that is shut down takes no branches, as any other."""
    executor = client.get_executor(pure=False)
    ctx = FrozenContext({"rows": LARGE})
    assert 1.0 == fan_out(ctx, reads_one, [1], executor=executor)[0][2]
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        fan_out(ctx, reads_one, [2], executor=executor, name="more")
