"""An executor whose workers are Ray's."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

import ray

P = ParamSpec("P")
R = TypeVar("R")


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


class RayExecutor(Executor):
    """Runs each call as a Ray task with these options: `RayExecutor(num_cpus=1, max_retries=5)`."""

    def __init__(self, **options: Any) -> None:
        self._task = ray.remote(call).options(**options)

    def broadcast(self, value: Any) -> Callable[[], Any]:
        """Put what all tasks need into Ray's object store, once; each task gets the function that fetches it."""
        return partial(ray.get, ray.put(value))

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self._task.remote(function, args, kwargs).future()
