"""`afan_out`: a coroutine for each item, each in a branch, in one event loop."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from .._base.text import short
from .._core.async_sinks import catch_up
from .._core.context import FrozenContext, state_of
from .._core.task import checked_task
from ..errors import BranchError
from .branch import Branch, BranchContext, Forking, checked
from .branch_items import BranchItem, BranchItems
from .branch_outcomes import BranchOutcomes, first_failure, is_collecting
from .branch_registry import registry_of
from .delta import Delta
from .progress import progress_bar
from .worker import TaskFailure, await_task

if TYPE_CHECKING:
    from asyncio import TaskGroup

_T = TypeVar("_T")
_I = TypeVar("_I")
_R = TypeVar("_R")

_CHUNK: Final = 32
"""Maximum number of items that are taken, and of branches that are forked, before other coroutines have their turn."""
_END: Final = object()


@overload
async def afan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], Awaitable[_R]],
    items: Iterable[_I] | AsyncIterable[_I],
    *,
    limit: int = 64,
    errors: Literal["raise"] = "raise",
    progress: bool = False,
    name: str | Callable[[_I], str] | None = None,
) -> list[_R]: ...
@overload
async def afan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], Awaitable[_R]],
    items: Iterable[_I] | AsyncIterable[_I],
    *,
    limit: int = 64,
    errors: Literal["collect"],
    progress: bool = False,
    name: str | Callable[[_I], str] | None = None,
) -> list[_R | BaseException]: ...
async def afan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], Awaitable[_R]],
    items: Iterable[_I] | AsyncIterable[_I],
    *,
    limit: int = 64,
    errors: Literal["raise", "collect"] = "raise",
    progress: bool = False,
    name: str | Callable[[_I], str] | None = None,
) -> Any:
    """Run a coroutine for each item in the event loop, each in its own branch, and merge the branches.

    The result is the same as if the coroutines had been awaited one after the other. Each branch is merged as soon as
    its coroutine ends. If some branches fail, the same call runs only these again, also in a resumed run. A failed
    branch leaves a record with its error, but none of its work.

    If the call is cancelled, also by a timeout, it cancels the coroutines that run and waits until they have ended.
    Each is on record as failed with `CancelledError`; the branches that ended before are merged.

    Args:
        ctx: The parent context, or a step of it. A step's name becomes part of the branches' names.
        task: A function of the child context and the item, whose call is awaited: as a rule an `async def`. If its
            return annotation can restore its result from JSON, a resumed run need not run it again.
        items: The items, as any iterable or asynchronous iterable. They are taken one by one, as branches end.
        limit: The maximum number of coroutines that run at the same time.
        errors: "raise": the first failure in the order of the items is raised, after all other branches were merged.
            "collect": the list contains each failure in place of the result.
        progress: Show a progress bar, if tqdm is installed.
        name: The prefix of the branches' names, to which the index of the item is added, or a function that returns
            the name for an item. The default prefix is the task's name: "ask-3".

    Returns:
        The results of the coroutines, in the order of the items.

    Raises:
        BranchError: Two items have the same name, or a name was used before; or the task is not a function. If the
            items are a sequence, this is checked before anything runs.
        asyncio.CancelledError: The call was cancelled.

    Example:
        >>> import asyncio
        >>> async def ask(ctx, question):
        ...     await asyncio.sleep(0)
        ...     return ctx["greeting"] + question
        >>> asyncio.run(afan_out(FrozenContext({"greeting": "Hello, "}), ask, ["who?", "why?"], limit=16))
        ['Hello, who?', 'Hello, why?']
    """
    fan_out = _AsyncFanOut(ctx, task, items, name)
    return await fan_out.run(limit=limit, is_collecting=is_collecting(errors), progress=progress)


class _AsyncFanOut:
    """One call of `afan_out`."""

    def __init__(self, ctx: FrozenContext[Any], task: Any, items: Any, name: Any) -> None:
        self._ctx = checked(ctx)
        self._task = checked_task(task, partial(BranchError, "afan_out"), runs_it=None)
        self._registry, self._dispatcher = registry_of(state_of(ctx)), state_of(ctx).dispatcher
        self._items = BranchItems(ctx, task, items, name)
        self._stream: AsyncIterator[Any] | None = aiter(items) if isinstance(items, AsyncIterable) else None
        self._outcomes = BranchOutcomes(ctx, None, task)
        self._forking = Forking(self._ctx)
        self._taken = 0
        """The number of items that were taken."""
        self._running = 0
        """The number of coroutines that run."""

    async def run(self, *, limit: int, is_collecting: bool, progress: bool) -> list[Any]:
        """Return the results in the order of the items."""
        from asyncio import Event, TaskGroup, sleep  # here, to keep the import of the package fast

        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit is a whole number from 1 on, not {short(limit)}")
        self._limit, self._has_room = limit, Event()
        for at, _ in enumerate(self._items.check_ahead()):
            if at % _CHUNK == _CHUNK - 1:
                await sleep(0)
        self._registry.async_calls += 1
        try:
            with progress_bar(progress, self._items.total, 0) as self._advance:
                # It cancels the coroutines if this is cancelled, and waits until they have ended.
                async with TaskGroup() as group:
                    fault = await self._start_all(group)
        finally:
            self._registry.async_calls -= 1
        if fault is not None:
            raise fault
        return await self._results(is_collecting=is_collecting)

    async def _start_all(self, group: "TaskGroup") -> Exception | None:
        """Start the coroutines of all items; return the exception that ended this early, if one did."""
        from asyncio import sleep  # as above

        started = 0
        try:
            while items := await self._next_items():
                # Merged branches are forked too: a step that runs again forks all of them again.
                branches = self._forking.fork([item.path for item in items], [item.item for item in items])
                for item, branch in zip(items, branches, strict=True):
                    if self._outcomes.recall(item):
                        self._advance()
                    else:
                        self._running += 1
                        group.create_task(self._run_one(item, branch))
                started += len(items)
                if started >= _CHUNK:
                    started = 0
                    await sleep(0)
        except Exception as error:  # raised when the coroutines that run have ended, and their branches are merged
            return error
        return None

    async def _next_items(self) -> list[BranchItem]:
        """Take the next items as soon as there is room; return none if there are no more."""
        while self._running >= self._limit:
            self._has_room.clear()
            await self._has_room.wait()
        if self._stream is None:
            found = self._items.take(min(self._limit - self._running, _CHUNK))
        else:
            item = await anext(self._stream, _END)
            found = list[BranchItem]() if item is _END else [self._items.named(self._taken, item)]
        self._taken += len(found)
        return found

    async def _run_one(self, item: BranchItem, branch: Branch[Any]) -> None:
        began = datetime.now(UTC)
        ended = await await_task(branch, self._task, item.item)
        try:
            await catch_up(self._dispatcher)
        finally:
            # Also if this is cancelled here: the coroutine has ended.
            self._take(item, began, ended)

    def _take(self, item: BranchItem, began: datetime, ended: Delta | TaskFailure) -> None:
        """Merge a branch whose coroutine has ended, or take note of its failure."""
        if isinstance(ended, TaskFailure):
            self._outcomes.take_failure(item, ended)
        else:
            self._outcomes.merge(item, began, ended)
        self._running -= 1
        self._has_room.set()
        self._advance()
        if isinstance(ended, TaskFailure) and isinstance(error := ended.error(), KeyboardInterrupt):
            raise error

    async def _results(self, *, is_collecting: bool) -> list[Any]:
        known, failures = self._outcomes.known, self._outcomes.failures
        if failures and not is_collecting:
            raise first_failure(failures)
        found = [failures.get(at, known[at]) for at in range(self._taken)]
        if not failures:
            await self._take_results(found)
        return found

    async def _take_results(self, results: list[Any]) -> None:
        """Mark the results as returned, as all branches succeeded: until then, the same call may run the rest."""
        from asyncio import CancelledError, sleep  # as above

        taken = 0
        try:
            for taken, path in enumerate(self._items.paths(self._taken), 1):
                self._registry.take_result(path)
                if taken % _CHUNK == 0:
                    await sleep(0)
        except CancelledError:
            # They are not returned now, but may be by the same call.
            for path, result in zip(self._items.paths(taken), results, strict=False):
                self._registry.put_back(path, result)
            raise
