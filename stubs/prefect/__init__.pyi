from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from .cache_policies import CachePolicy
from .futures import PrefectFutureList
from .task_runners import TaskRunner

_P = ParamSpec("_P")
_R = TypeVar("_R")

class Task(Generic[_P, _R]):
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def map(self, *args: Iterable[Any]) -> PrefectFutureList[_R]: ...

class Flow(Generic[_P, _R]):
    def with_options(self, *, retries: int | None = None, task_runner: TaskRunner | None = None) -> Flow[_P, _R]: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...

def task(
    *, retries: int = 0, cache_policy: CachePolicy | None = None
) -> Callable[[Callable[_P, _R]], Task[_P, _R]]: ...
@overload
def flow(function: Callable[_P, _R], /) -> Flow[_P, _R]: ...
@overload
def flow(*, retries: int = 0) -> Callable[[Callable[_P, _R]], Flow[_P, _R]]: ...
