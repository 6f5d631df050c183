"""The Dask cluster of an executor: where its workers are, and how tasks and large values are sent to them."""

import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from threading import Lock
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T")

_LOOPBACK: Final = ("127.0.0.1", "::1")

_filtering: Final = Lock()


def is_near(client: Any) -> bool:
    """Whether all workers of a client of Dask are on this machine: they have its loopback device."""
    addresses = [urlsplit(address) for address in client.nthreads()]
    return bool(addresses) and all(found.scheme == "inproc" or found.hostname in _LOOPBACK for found in addresses)


def repeats_equal_tasks(executor: Executor) -> bool:
    """Whether an executor of Dask runs a task again that equals an earlier one."""
    options: dict[str, Any] = getattr(executor, "_kwargs", {})
    return options.get("pure") is False


class DaskCluster:
    """The cluster of an executor of Dask, as `fan_out` uses it."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self.client: Any = executor._client

    @classmethod
    def of(cls, executor: Executor) -> "DaskCluster | None":
        """Return the cluster of an executor; None if that is not one of Dask."""
        is_dask = type(executor).__module__.startswith("distributed.") and hasattr(executor, "_client")
        return cls(executor) if is_dask else None

    def submit(self, function: Callable[..., _T], *arguments: Any) -> "Future[_T]":
        """Submit a task, as the executor does.

        The future of the executor itself never ends if the result is lost with a worker before it has arrived here, and
        the task then fails when Dask repeats it.
        """
        if self._executor._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        task = self.client.submit(function, *arguments, **self._executor._kwargs)
        self._executor._futures.add(task)  # on which `shutdown` waits
        future: Future[_T] = Future()

        def cancel(ended: "Future[_T]") -> None:  # must not refer to `future`, whose task would be kept by the cycle
            if ended.cancelled() and not task.cancelled():
                task.cancel()

        future.add_done_callback(cancel)
        self.client.loop.add_callback(_settle, self.client, task, future)
        return future

    def keep(self, value: Any) -> Any:
        """Make an object the result of a task, on which other tasks can depend; return Dask's future of it.

        The scheduler keeps the object as the argument of the task, until the future is released. It sends the object to
        one worker, and the other workers fetch it from there. If all workers that have it die, Dask repeats the task.
        An object sent by `scatter` would be lost then. Besides, `scatter` may never return if a worker dies meanwhile.
        """
        # One thread at a time, since the filters of warnings are those of all threads.
        with _filtering, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # it advises to use `scatter`
            return self.client.submit(parent_values, value, **self._executor._kwargs)


async def _settle(client: Any, task: Any, future: "Future[Any]") -> None:
    """Wait for a task, and end its future."""
    try:
        result = await client.gather(task, asynchronous=True)
        end = partial(future.set_result, result)
    except BaseException as error:  # every exception is the outcome of the task
        if task.cancelled():
            future.cancel()
        end = partial(future.set_exception, error)
    # Now, since exceptions refer to frames of Dask that refer to the task.
    task.release()
    if future.set_running_or_notify_cancel():
        end()


def parent_values(value: _T) -> _T:
    """Return the object itself. Dask shows the name of this function."""
    return value
