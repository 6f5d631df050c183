"""The executors that branches run on: which can be used, and by which exceptions they report a dead worker."""

import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from .._base.text import short
from ..errors import BranchError
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
    """Whether an executor's workers are other processes on this machine."""
    packages = {cls.__module__.partition(".")[0] for cls in type(executor).__mro__}
    return isinstance(executor, ProcessPoolExecutor) or "loky" in packages


def broadcaster(executor: Executor) -> Callable[[Any], Any] | None:
    """Return a function that brings an object to all workers once; None if the executor has no such way.

    That function returns what to pass to `submit`: a function, which a task calls to get the object.
    """
    if type(executor).__module__.partition(".")[0] == "distributed":
        client = getattr(executor, "_client", None)
        # Dask would wait for workers, which some clusters start for tasks alone.
        return partial(Scattered.by, client) if client and client.nthreads() else None
    found: Callable[[Any], Any] | None = getattr(executor, "broadcast", None)
    return found if callable(found) else None


class Scattered:
    """An object in the memory of Dask's workers. A task calls it to get the object.

    Tasks do not depend on the object, though Dask's could: if it was lost with the last worker that had it, Dask would
    never end them.
    """

    def __init__(self, key: str, future: Any = None) -> None:
        """Take the key of the object, and in the caller Dask's future, which keeps the object alive."""
        self.key = key
        self._future = future

    @classmethod
    def by(cls, client: Any, value: Any) -> "Scattered":
        """Bring an object to all workers of a client."""
        # By way of the scheduler, unless the workers are on this machine, and so can be reached from here.
        addresses = map(urlsplit, client.nthreads())
        is_near = all(address.scheme == "inproc" or address.hostname in _HERE for address in addresses)
        future = client.scatter(value, broadcast=True, hash=False, direct=is_near)
        return cls(future.key, future)

    def __reduce__(self) -> tuple[Any, ...]:
        return Scattered, (self.key,)

    def __call__(self) -> Any:
        """Return the object; raise BrokenExecutor if no worker has it any more."""
        library: Any = import_module("distributed")
        held = library.get_worker().data
        if self.key in held:
            return held[self.key]
        # A worker that was started later.
        client = library.get_client()
        if not any(client.who_has([self.key]).values()):
            raise BrokenExecutor("the workers died that had what the parent held")
        return client.gather(library.Future(self.key, client=client))


_HERE = ("127.0.0.1", "::1")


def usable(executor: Any) -> Executor:
    """Return an executor; raise BranchError if it cannot be used, or if it would run equal tasks only once."""
    package = type(executor).__module__.partition(".")[0]
    advice = "pass executor=client.get_executor(pure=False)"
    if not isinstance(executor, Executor):
        hint = f"; {advice}" if package == "distributed" else ""
        raise BranchError("fan_out", f"an executor is a concurrent.futures.Executor, not {short(executor)}{hint}")
    if package == "distributed" and getattr(executor, "_kwargs", {}).get("pure", True) is not False:
        raise BranchError("fan_out", f"Dask would run equal tasks once, as this executor takes them for pure; {advice}")
    return executor


def pickle_as(executor: Executor, value: Any) -> None:
    """Pickle an object as an executor does: process pools use pickle only, all others cloudpickle as well."""
    if isinstance(executor, ProcessPoolExecutor):
        pickle.dumps(value)
    else:
        dumped(value, "", lambda: ())
