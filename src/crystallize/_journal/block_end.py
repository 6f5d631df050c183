"""The end of an `async with` block of a journal, for which the event loop does not wait."""

from functools import partial
from types import TracebackType
from typing import Protocol, Self

from .._base.async_waiting import in_thread


class _Manager(Protocol):
    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class BlockEnd:
    """Lets a context manager whose end waits for a disk be used by `with`, and by `async with`."""

    def __enter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        """Return the context manager, as `with` does."""
        return self

    async def __aexit__(
        self: _Manager,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do the work of the end of a `with` block in a thread. A cancellation does not cut it short."""
        await in_thread(partial(self.__exit__, kind, raised, traceback))
