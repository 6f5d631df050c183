"""The executors that branches run on: which of them can be used, and how each of them says that a worker died."""

import pickle
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from typing import Any

from .._base.text import short
from ..errors import BranchError
from .pickling import dumped


def tells_of_death(error: BaseException) -> bool:
    """Whether an executor says by this that a worker died, and not that the task failed."""
    return isinstance(error, BrokenExecutor) or any(
        (cls.__module__.partition(".")[0], cls.__name__) in _DEATHS for cls in type(error).__mro__
    )


_DEATHS = {
    ("distributed", "KilledWorker"),
    *(("ray", name) for name in ("LocalRayletDiedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError")),
    ("ray", "WorkerCrashedError"),
}
"""What engines raise that know no `BrokenExecutor`."""


def is_cancelled(error: BaseException) -> bool:
    """Whether an executor says by this that a task never began: each has an exception of its own for that."""
    return any(cls.__name__.endswith("CancelledError") for cls in type(error).__mro__)


def is_sending(executor: Executor) -> bool:
    """Whether what is submitted goes to another process."""
    packages = {cls.__module__.partition(".")[0] for cls in type(executor).__mro__}
    return isinstance(executor, ProcessPoolExecutor) or not packages.isdisjoint(("loky", "distributed"))


def usable(executor: Any) -> Executor:
    """Return an executor if it does each task once."""
    package = type(executor).__module__.partition(".")[0]
    advice = "pass executor=client.get_executor(pure=False)"
    if not isinstance(executor, Executor):
        hint = f"; {advice}" if package == "distributed" else ""
        raise BranchError("fan_out", f"an executor is a concurrent.futures.Executor, not {short(executor)}{hint}")
    if package == "distributed" and getattr(executor, "_kwargs", {}).get("pure", True) is not False:
        raise BranchError("fan_out", f"Dask would run equal tasks once, as this executor takes them for pure; {advice}")
    return executor


def pickle_as(executor: Executor, value: Any) -> None:
    """Pickle an object as an executor does: a pool of processes by pickle alone, all others by cloudpickle too."""
    if isinstance(executor, ProcessPoolExecutor):
        pickle.dumps(value)
    else:
        dumped(value, "", lambda: ())
