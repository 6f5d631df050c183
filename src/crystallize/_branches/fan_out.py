"""`fan_out`: a task for each item, each in a branch, on threads, processes or a cluster."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Literal, TypeVar, overload

from .._base.text import short
from .._core.context import FrozenContext, state_of
from .._core.task import checked_task
from ..errors import BranchError, TravelError
from .branch import BranchContext, Forking, checked
from .branch_items import BranchItem, BranchItems
from .branch_outcomes import FAILED, BranchOutcomes, LostBranch, first_failure, is_collecting
from .branch_registry import registry_of
from .engines import is_cancelled, is_sending, pickle_as, usable
from .progress import progress_bar
from .sending import Sender, sending
from .submission_window import SubmissionWindow, window_for
from .worker import this_process

_T = TypeVar("_T")
_I = TypeVar("_I")
_R = TypeVar("_R")


class LostBranchesError(BranchError, BrokenExecutor):
    """Workers died before all branches had ended. The other branches are merged; the same call runs the rest.

    Attributes:
        branch: The first branch that did not end.
        reason: The items whose branches did not end, and how to run them again.
        items: The same items, each as a short text.
    """

    # Here and not in `errors`: importing its base takes too long for users without branches.
    __module__ = "crystallize"  # the module that users import it from, which tracebacks show

    def __init__(self, branch: str, items: tuple[str, ...], cause: str) -> None:
        named = ", ".join(items[:8]) + (f", and {len(items) - 8} more" if len(items) > 8 else "")
        super().__init__(
            branch,
            f"the executor broke before {len(items)} of its branches had ended, of the items {named} ({cause}); the "
            "others are merged, and the same fan_out with a new executor runs these alone. If that breaks as well, one "
            'of them ends its worker, or the script starts its work outside of if __name__ == "__main__":',
        )
        self.args: tuple[Any, ...] = (branch, items, cause)
        self.items = items


@overload
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["raise"] = "raise",
    progress: bool = False,
    window: int | None = None,
) -> list[_R]: ...
@overload
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["collect"],
    progress: bool = False,
    window: int | None = None,
) -> list[_R | BaseException]: ...
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["raise", "collect"] = "raise",
    progress: bool = False,
    window: int | None = None,
) -> Any:
    """Run a task for each item on workers, each in its own branch, and merge the branches.

    The result is the same as if the task had run here for one item after the other. Each branch is merged as soon as
    it ends. If some branches fail, the same call runs only these again, also in a resumed run. A failed branch leaves
    a record with its error, but none of its work.

    Args:
        ctx: The parent context, or a step of it. A step's name becomes part of the branches' names.
        task: A function of the child context and the item. If its return annotation can restore its result from
            JSON, a resumed run need not run it again.
        items: The items. They are taken one by one, as branches end, in the calling thread.
        executor: Threads, processes, loky, Dask's `client.get_executor(pure=False)`, or any other `Executor`.
        name: The prefix of the branches' names, to which the index of the item is added, or a function that returns
            the name for an item. The default prefix is the task's name: "fold-3".
        errors: "raise": the first failure in the order of the items is raised, after all other branches were merged.
            "collect": the list contains each failure in place of the result.
        progress: Show a progress bar, if tqdm is installed.
        window: The maximum number of branches that are submitted and not merged yet. By default four for each worker,
            but at least 64; 1,024 if the executor does not tell its number of workers.

    Returns:
        The results of the task, in the order of the items.

    Raises:
        BranchError: Two items have the same name, or a name was used before; or the executor cannot be used. If the
            items are a sequence, this is checked before anything runs.
        TravelError: A value of the context, the task or an item cannot be sent.
        LostBranchesError: Workers died before all branches had ended.
        KeyboardInterrupt: Ctrl-C was pressed. Tasks that had not started were cancelled; the others were merged. So
            it is with any exception that `items` raises.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> def fold(ctx, k):
        ...     return ctx["size"] * k
        >>> with ThreadPoolExecutor() as pool:
        ...     fan_out(FrozenContext({"size": 10}), fold, range(3), executor=pool)
        [0, 10, 20]
    """
    return _FanOut(ctx, task, items, executor, name).prepared(errors, progress, window).run()


@overload
def fan_out_iter(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["raise"] = "raise",
    progress: bool = False,
    window: int | None = None,
) -> Generator[_R, None, None]: ...
@overload
def fan_out_iter(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["collect"],
    progress: bool = False,
    window: int | None = None,
) -> Generator[_R | BaseException, None, None]: ...
def fan_out_iter(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["raise", "collect"] = "raise",
    progress: bool = False,
    window: int | None = None,
) -> Any:
    """Return an iterator that runs a task for each item as `fan_out` does, and yields the results one by one.

    The results come in the order of the items, each as soon as it and those before it are known. There may be any
    number of items, also without end. The first item is taken, and its branch forked, by this call; all branches have
    that position in the context, and the values of that moment.

    If the iterator is closed before its end, as by `break`, the branches that have not started are cancelled, and the
    others are merged when they end. The same call then yields all results again, and runs only the other branches.

    Args:
        ctx: See `fan_out`.
        task: See `fan_out`.
        items: The items. Others than the first are taken one by one while a result is asked for, in the thread that
            asks.
        executor: See `fan_out`.
        name: See `fan_out`.
        errors: "raise": the first failure in the order of the items is raised in place of its result, and the iterator
            is closed. "collect": each failure is yielded in place of the result.
        progress: See `fan_out`.
        window: See `fan_out`. Results that wait for one before them are not counted.

    Returns:
        The iterator.

    Raises:
        BranchError: See `fan_out`.
        TravelError: See `fan_out`.
        LostBranchesError: See `fan_out`. With "collect", there is one for each item.
        KeyboardInterrupt: See `fan_out`.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from itertools import count
        >>> def halved(ctx, k):
        ...     return ctx["size"] / 2**k
        >>> with ThreadPoolExecutor() as pool:
        ...     results = fan_out_iter(FrozenContext({"size": 10}), halved, count(), executor=pool)
        ...     next(result for result in results if result < 1)
        0.625
    """
    return _FanOut(ctx, task, items, executor, name).prepared(errors, progress, window).results()


class _FanOut:
    """One call of `fan_out` or `fan_out_iter`."""

    def __init__(self, ctx: FrozenContext[Any], task: Any, items: Iterable[Any], executor: Any, name: Any) -> None:
        advice = "call await afan_out(...)"
        self._ctx = checked(ctx)
        self._task = checked_task(task, partial(BranchError, "fan_out"), runs_it=advice)
        self._registry = registry_of(state_of(ctx))
        self._executor = usable(executor)
        self._items = BranchItems(ctx, task, items, name)
        self._outcomes = BranchOutcomes(ctx, self._executor, task)

    def prepared(self, errors: str, progress: bool, window: int | None) -> "_FanOut":
        """Check the arguments and the items at hand, and fork the first branch, at whose position all branches are."""
        self._is_collecting, self._progress = is_collecting(errors), progress
        if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
            raise ValueError(f"window is a whole number from 1 on, or None for the default, not {short(window)}")
        self._size = window or window_for(self._executor)
        self._merged_ahead = sum(self._items.check_ahead())
        self._forking = Forking(self._ctx)
        if (first := self._items.first()) is not None:
            self._forking.fork([first.path], [first.item])
        return self

    def run(self) -> list[Any]:
        """Return the results in the order of the items."""
        # `list` runs no bytecode of its own, so that Ctrl-C is raised within `_outcomes_in_order`.
        found = list(self._outcomes_in_order(is_urgent=False))
        failures = self._outcomes.failures | self._lost()
        if failures and not self._is_collecting:
            raise first_failure(failures)
        if not failures:
            self._take_results(len(found))
        for at, error in failures.items():
            found[at] = error
        return found

    def results(self) -> Iterator[Any]:
        """Yield the results in the order of the items."""
        outcomes, count, is_whole = self._outcomes, 0, True
        with closing(self._outcomes_in_order(is_urgent=True)) as found:
            for result in found:
                if result is FAILED:
                    is_whole = False
                    if not self._is_collecting:
                        break
                    result = self._lost_alone(count) if count in outcomes.lost else outcomes.failures.pop(count)
                count += 1
                yield result
        if not is_whole and not self._is_collecting:
            failures = outcomes.failures | self._lost()
            # Those after it that were cancelled, since the iterator is closed, have not failed.
            raise first_failure({at: error for at, error in failures.items() if at == count or not is_cancelled(error)})
        if is_whole:
            self._take_results(count)

    def _take_results(self, count: int) -> None:
        # Results count as returned only when all branches succeeded: until then, the same call may run the rest.
        for path in self._items.paths(count):
            self._registry.take_result(path)

    def _outcomes_in_order(self, *, is_urgent: bool) -> Generator[Any, None, None]:
        """Run the branches that are not merged yet, and yield the outcome of each item once it is known.

        Unless it is urgent, several outcomes are yielded together: waking this thread for each one takes long.
        """
        known = self._outcomes.known
        taken, told, is_more = 0, 0, True
        with ExitStack() as stack, progress_bar(self._progress, self._items.total, self._merged_ahead) as advance:
            window = SubmissionWindow(self._executor, self._task, self._size, self._outcomes, advance)
            submit = self._submitter(window, advance, stack)
            try:
                while is_more or told < taken:
                    # At most two for each outcome that is returned: so the window fills up, and items that come slowly
                    # delay no outcome for long.
                    ahead = taken + 2
                    while is_more and window.room and (taken < ahead or told not in known):
                        items = self._items.take(window.room)
                        taken += len(items)
                        is_more = items != []
                        if is_more:
                            submit(items)
                    if told in known:
                        yield known.pop(told)
                        told += 1
                    elif is_more or told < taken:
                        window.wait(told if is_urgent else None, is_more=is_more)
                window.finish()
            except BaseException as error:
                window.give_up(is_closing=isinstance(error, GeneratorExit))
                raise

    def _submitter(
        self, window: SubmissionWindow, advance: Callable[[], object], stack: ExitStack
    ) -> Callable[[list[BranchItem]], None]:
        """Return the function that forks the branches of items, and submits those that are not merged.

        The parent's values are brought to the workers with the first one, for as long as the stack is open.
        """
        home = this_process() if isinstance(self._executor, ThreadPoolExecutor) else None
        sender: Sender | None = None
        skipped = self._merged_ahead

        def submit(items: list[BranchItem]) -> None:
            nonlocal sender, skipped
            # Merged branches are forked too: a step that runs again forks all of them again.
            branches = self._forking.fork([item.path for item in items], [item.item for item in items])
            for item, branch in zip(items, branches, strict=True):
                if self._outcomes.recall(item):
                    skipped -= 1
                    if skipped < 0:
                        advance()
                    continue
                if sender is None:
                    # Packed here: the executor's own errors would name no key, or it would hang.
                    sender = stack.enter_context(sending(self._executor, [branch]))
                    if is_sending(self._executor):
                        self._check_task(item.path)
                window.submit(item, sender.sent(branch), home, sender.bring)

        return submit

    def _check_task(self, branch: str) -> None:
        """Check that the task can be pickled."""
        try:
            pickle_as(self._executor, self._task)
        except Exception as error:  # a callable's own pickling may raise anything
            advice = "define it by def at the top of a module"
            raise TravelError(branch, f"its task cannot be sent to another process ({error}); {advice}") from error

    def _lost(self) -> dict[int, BaseException]:
        """Return one error in the places of all branches that did not end."""
        lost = sorted(self._outcomes.lost.items())
        return dict.fromkeys(self._outcomes.lost, _lost_error([branch for _, branch in lost])) if lost else {}

    def _lost_alone(self, at: int) -> BaseException:
        return _lost_error([self._outcomes.lost.pop(at)])


def _lost_error(lost: list[LostBranch]) -> LostBranchesError:
    cause = lost[0].cause
    items = tuple(branch.item for branch in lost)
    error = LostBranchesError(lost[0].path, items, f"{type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error
