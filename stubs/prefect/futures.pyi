from collections.abc import Iterator
from typing import Generic, TypeVar

_R = TypeVar("_R")

class PrefectFuture(Generic[_R]):
    # With `raise_on_failure=False` also the exception.
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> _R | Exception: ...

class PrefectFutureList(list[PrefectFuture[_R]]):
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[_R]: ...

def as_completed(futures: list[PrefectFuture[_R]], timeout: float | None = None) -> Iterator[PrefectFuture[_R]]: ...
