"""The executors that branches run on: which can be used, and by which exceptions they report a dead worker."""

import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any

from .._base.text import short
from ..errors import BranchError
from .dask_cluster import DaskCluster, is_near, repeats_equal_tasks
from .pickling import dumped


def tells_of_death(error: BaseException) -> bool:
    """Whether an executor reports by this exception that a worker died, and not that the task failed."""
    return isinstance(error, BrokenExecutor) or any(
        (cls.__module__.partition(".")[0], cls.__name__) in _DEATHS for cls in type(error).__mro__
    )


_DEATHS = {
    ("distributed", "KilledWorker"),
    *(("ray", name) for name in ("LocalRayletDiedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError")),
    ("ray", "WorkerCrashedError"),
}
"""The exceptions of executors that do not use `BrokenExecutor`."""


def is_cancelled(error: BaseException) -> bool:
    """Whether an executor reports that a task never began. Each executor has its own exception for that."""
    return any(cls.__name__.endswith("CancelledError") for cls in type(error).__mro__)


def is_sending(executor: Executor) -> bool:
    """Whether an executor sends tasks to other processes."""
    packages = {cls.__module__.partition(".")[0] for cls in type(executor).__mro__}
    return isinstance(executor, ProcessPoolExecutor) or not packages.isdisjoint(("loky", "distributed"))


def is_local(executor: Executor) -> bool:
    """Whether an executor's workers are other processes on this machine, or threads of Dask."""
    packages = {cls.__module__.partition(".")[0] for cls in type(executor).__mro__}
    cluster = DaskCluster.of(executor)
    return (
        isinstance(executor, ProcessPoolExecutor)
        or "loky" in packages
        or (cluster is not None and is_near(cluster.client))
    )


def broadcaster(executor: Executor) -> Callable[[Any], Any] | None:
    """Return a function that brings an object to all workers once; None if the executor has no such way.

    That function returns the argument to pass to `submit`. The task receives the object, if the executor keeps it
    in the worker, or else a function that returns the object.
    """
    cluster = DaskCluster.of(executor)
    if cluster is not None:
        return cluster.keep
    found: Callable[[Any], Any] | None = getattr(executor, "broadcast", None)
    return found if callable(found) else None


def release(brought: Any) -> None:
    """Let Dask drop an object that `broadcaster` has sent, even if an exception still refers to it."""
    if type(brought).__module__.startswith("distributed."):
        brought.release()


def submitter(executor: Executor) -> "Callable[..., Future[Any]]":
    """Return the function by which tasks are submitted to an executor."""
    cluster = DaskCluster.of(executor)
    return executor.submit if cluster is None else cluster.submit


def workers_of(executor: Any) -> int | None:
    """Return the number of tasks that an executor does at once; None if it does not tell, or has no workers yet."""
    # Executors of Python, loky and mpi4py have this attribute; an executor of a user may have it too.
    told = getattr(executor, "_max_workers", None)
    cluster = DaskCluster.of(executor)
    if cluster is not None:
        told = sum(cluster.client.nthreads().values())
    return told if isinstance(told, int) and told > 0 else None


def usable(executor: Any) -> Executor:
    """Return an executor; raise BranchError if it cannot be used, or if it would run equal tasks only once."""
    package = type(executor).__module__.partition(".")[0]
    advice = "pass executor=client.get_executor(pure=False)"
    if not isinstance(executor, Executor):
        hint = f"; {advice}" if package == "distributed" else ""
        raise BranchError("fan_out", f"an executor is a concurrent.futures.Executor, not {short(executor)}{hint}")
    if package == "distributed" and not repeats_equal_tasks(executor):
        raise BranchError("fan_out", f"Dask would run equal tasks once, as this executor takes them for pure; {advice}")
    return executor


def pickle_as(executor: Executor, value: Any) -> None:
    """Pickle an object as an executor does: process pools use pickle only, all others cloudpickle as well."""
    if isinstance(executor, ProcessPoolExecutor):
        pickle.dumps(value)
    else:
        dumped(value, "", lambda: ())
