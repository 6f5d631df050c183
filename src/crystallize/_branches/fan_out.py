"""`fan_out`: a task for each item, each in a branch, on threads, processes or a cluster."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar, overload

from .._base.text import short
from .._core.context import FrozenContext, state_of, token_of
from .._core.provenance import StepRecord
from .._core.steps import error_text, step_path
from ..errors import BranchError, SinkError, TravelError
from .branch import Branch, BranchContext, checked, failed_record, forked
from .branch_registry import registry_of
from .delta import Delta, work_of
from .engines import is_cancelled, is_sending, pickle_as, tells_of_death, usable
from .merge import file_failure, merge_result
from .sending import Sender, sending
from .task import item_digest, restored_result, return_type, runnable, task_name
from .worker import TaskFailure, run_task, this_process

_T = TypeVar("_T")
_I = TypeVar("_I")
_R = TypeVar("_R")

_log = logging.getLogger("crystallize")


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
        self.args = (branch, items, cause)
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
) -> Any:
    """Run a task for each item on workers, each in its own branch, and merge the branches.

    The result is the same as if the task had run here for one item after the other. Each branch is merged as soon as
    it ends. If some branches fail, the same call runs only these again, also in a resumed run. A failed branch leaves
    a record with its error, but none of its work.

    Args:
        ctx: The parent context, or a step of it. A step's name becomes part of the branches' names.
        task: A function of the child context and the item. If its return annotation can restore its result from
            JSON, a resumed run need not run it again.
        items: The items.
        executor: Threads, processes, loky, Dask's `client.get_executor(pure=False)`, or any other `Executor`.
        name: The prefix of the branches' names, to which the index of the item is added, or a function that returns
            the name for an item. The default prefix is the task's name: "fold-3".
        errors: "raise": the first failure in the order of the items is raised, after all other branches were merged.
            "collect": the list contains each failure in place of the result.
        progress: Show a progress bar, if tqdm is installed.

    Returns:
        The results of the task, in the order of the items.

    Raises:
        BranchError: Two items have the same name, or a name was used before; or the executor cannot be used.
        TravelError: A value of the context, the task or an item cannot be sent.
        LostBranchesError: Workers died before all branches had ended.
        KeyboardInterrupt: Ctrl-C was pressed. Tasks that had not started were cancelled; the others were merged.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> def fold(ctx, k):
        ...     return ctx["size"] * k
        >>> with ThreadPoolExecutor() as pool:
        ...     fan_out(FrozenContext({"size": 10}), fold, range(3), executor=pool)
        [0, 10, 20]
    """
    if errors not in ("raise", "collect"):
        raise ValueError(f'errors is "raise" or "collect", not {short(errors)}')
    return _FanOut(ctx, task, list(items), executor, name).run(errors, progress)


_Done: TypeAlias = "SimpleQueue[tuple[int, Future[Delta] | None]]"
"""The ended branches: the index of each item, and its future."""
_NO_MORE = -1
"""Used in place of an index when all branches were submitted."""


def _put(done: _Done, at: int, future: "Future[Delta]") -> None:
    done.put((at, future))


class _FanOut:
    """One call of `fan_out`; its results and failures are stored by the index of the item."""

    def __init__(self, ctx: FrozenContext[Any], task: Any, items: list[Any], executor: Any, name: Any) -> None:
        self._ctx, self._task, self._items = checked(ctx), runnable(task), items
        self._state = state_of(ctx)
        self._registry = registry_of(self._state)
        self._executor = usable(executor)
        self._paths = [step_path(token_of(ctx), branch) for branch in _branch_names(task, items, name)]
        self._returns = return_type(task)
        self._results: dict[int, Any] = {}
        self._failures: dict[int, BaseException] = {}
        self._lost: dict[int, BaseException] = {}
        self._futures: dict[int, Future[Delta]] = {}
        """Futures of branches that have not ended. Ended ones are dropped: Dask would repeat them if a worker dies."""
        self._submitted: dict[int, datetime] = {}
        self._is_over = threading.Event()
        """Set when all branches have ended and are merged, or when the caller gives up waiting."""
        self._is_abandoned = False
        self._fault: BaseException | None = None
        self._sender = Sender()

    def run(self, errors: str, progress: bool) -> list[Any]:
        """Run the branches that are not merged yet, and return the results in the order of the items."""
        self._check_names()
        self._take_merged()
        rest = [at for at in range(len(self._items)) if at not in self._results]
        # Merged branches are forked too: a step that runs again forks all of them again.
        every = forked(self._ctx, self._paths)
        branches = [every[at] for at in rest]
        home = this_process() if isinstance(self._executor, ThreadPoolExecutor) else None
        # What the parent holds is packed here: the executor's own errors would name no key, or it would hang.
        with (
            sending(self._executor, branches[:1]) as self._sender,
            progress_bar(progress, len(self._items), len(self._results)) as advance,
        ):
            if branches and is_sending(self._executor):
                self._check_task(branches[0].name)
            self._work(zip(rest, branches, strict=True), home, advance)
        return self._outcome(errors)

    def _check_names(self) -> None:
        """Check that each branch has its own name."""
        met: dict[str, int] = {}
        for at, path in enumerate(self._paths):
            other = met.setdefault(path, at)
            if other != at:
                both = f"{short(self._items[other])} and {short(self._items[at])}"
                raise BranchError(path, f"two items have this name, {both}; pass a name= that tells them apart")
            if (receipt := self._registry.receipt(path)) is not None and receipt.is_taken:
                raise BranchError(path, "an earlier call has merged it; give the branches of this one another name=")

    def _check_task(self, branch: str) -> None:
        """Check that the task can be pickled."""
        try:
            pickle_as(self._executor, self._task)
        except Exception as error:  # a callable's own pickling may raise anything
            advice = "define it by def at the top of a module"
            raise TravelError(branch, f"its task cannot be sent to another process ({error}); {advice}") from error

    def _take_merged(self) -> None:
        """Take the results of branches that an earlier call merged, in this process or in an earlier one."""
        for at, path in enumerate(self._paths):
            receipt = self._registry.receipt(path)
            if receipt is None:
                continue
            digest_now = item_digest(self._items[at])
            if None not in (digest_now, receipt.item) and digest_now != receipt.item:
                reason = f"it is merged, and was of another item than {short(self._items[at])}"
                raise BranchError(path, f"{reason}; pass the same items in the same order, or name them by name=")
            self._results[at] = restored_result(path, receipt.result, self._returns)

    def _work(self, branches: Iterable[tuple[int, Branch[Any]]], home: object, advance: Callable[[], object]) -> None:
        done: _Done = SimpleQueue()
        # Branches are merged in another thread: Ctrl-C reaches only the main thread, so it interrupts no merge.
        collector = threading.Thread(target=self._collect, args=(done, advance), daemon=True)
        try:
            for at, branch in branches:
                self._submit(at, branch, home, done)
                if not collector.ident:
                    # After the first submission, because some executors fork their workers then.
                    collector.start()
            self._wait(collector, done)
        except BaseException:  # Ctrl-C
            try:
                self._cancel(done)
                if self._futures:
                    _log.warning("waiting for branches that have started; a second Ctrl-C leaves them")
                self._wait(collector, done)
            except BaseException:  # Ctrl-C again
                self._is_abandoned = True
                done.put((_NO_MORE, None))
                raise
            raise
        if self._fault is not None:
            raise self._fault

    def _wait(self, collector: threading.Thread, done: _Done) -> None:
        """Wait until all submitted branches have ended and are merged."""
        done.put((_NO_MORE, None))
        if not collector.ident:
            collector.start()
        # By an event: before Python 3.13, a thread counts as ended if Ctrl-C interrupts its join. With a timeout:
        # a Ctrl-C in the instant before a wait does not wake it, and on Windows no Ctrl-C does.
        while not self._is_over.wait(0.5):
            pass

    def _cancel(self, done: _Done) -> None:
        for at, future in [*self._futures.items()]:
            future.cancel()
            # Added again, since Ctrl-C may have come before `_submit` added it.
            future.add_done_callback(partial(_put, done, at))

    def _submit(self, at: int, branch: Branch[Any], home: object, done: _Done) -> None:
        self._submitted[at] = datetime.now(UTC)
        try:
            sent = self._sender.sent(branch)
            future = self._executor.submit(run_task, sent, self._task, self._items[at], home, self._sender.bring)
        except Exception as error:  # executors raise anything if an object cannot be sent
            self._fail(at, self._explained(at, error), None, is_lost=isinstance(error, BrokenExecutor))
        else:
            self._futures[at] = future
            future.add_done_callback(partial(_put, done, at))

    def _collect(self, done: _Done, advance: Callable[[], object]) -> None:
        """Merge each branch that has ended, until all have."""
        is_last = False
        try:
            while not self._is_abandoned and not (is_last and not self._futures):
                at, future = done.get()
                is_last = is_last or future is None
                if future is not None and self._futures.pop(at, None) is not None:
                    self._take(at, future)
                    advance()
        except BaseException as error:  # the waiting thread raises it
            self._fault = error
        finally:
            self._is_over.set()

    def _take(self, at: int, future: "Future[Delta]") -> None:
        try:
            delta = future.result()
        except TaskFailure as caught:
            # Ray wraps it in an exception whose class is also derived from TaskFailure.
            raised: TaskFailure = getattr(caught, "cause", caught)
            self._state.foreign_secrets += raised.secrets
            self._fail(at, raised.error(), raised.record)
        except BaseException as error:  # every exception counts for the item, also SystemExit and the like
            self._fail(at, self._explained(at, error), None, is_lost=tells_of_death(error))
        else:
            self._merge(at, delta)
        if (receipt := self._registry.receipt(self._paths[at])) is not None:
            self._results[at] = receipt.result

    def _merge(self, at: int, delta: Delta) -> None:
        try:
            merge_result(self._ctx, delta, self._returns)
        except BaseException as error:  # as above
            self._fail(at, error, self._record_in(delta, error))

    def _record_in(self, delta: Delta, error: BaseException) -> StepRecord | None:
        """Return the record of a branch that could not be merged; None if its work cannot be unpickled."""
        with suppress(TravelError):
            if isinstance(delta, Delta):  # an executor may return something else
                told = error_text(error, self._state.secrets())
                return failed_record(work_of(delta).steps[-1]._replace(error=told))
        return None

    def _fail(self, at: int, error: BaseException, record: StepRecord | None, *, is_lost: bool = False) -> None:
        """Record that a branch failed."""
        (self._lost if is_lost else self._failures)[at] = error
        if record is None and is_cancelled(error):
            return
        try:
            file_failure(self._ctx, record or self._record_of(at, error))
        except SinkError as untold:
            # As a note, because raising it would hide why the branch failed.
            error.add_note(f"Besides, {untold}")

    def _record_of(self, at: int, error: BaseException) -> StepRecord:
        """Return the record of a branch whose submission time and error are known, and nothing else."""
        now = datetime.now(UTC)
        told = error_text(error, self._state.secrets())
        return StepRecord(self._paths[at], (), (), (), MappingProxyType({}), (), self._submitted[at], now, told)

    def _explained(self, at: int, error: BaseException) -> BaseException:
        """Return an executor's exception; a TravelError in its place if the item cannot be sent."""
        if isinstance(error, BranchError) or not is_sending(self._executor):
            return error
        item = self._items[at]
        try:
            pickle_as(self._executor, item)
        except Exception as failure:  # an item's own pickling may raise anything
            reason = f"its item {short(item)} cannot be sent to another process ({failure})"
            explained = TravelError(self._paths[at], reason)
            explained.__cause__ = error
            return explained
        return error

    def _outcome(self, errors: str) -> list[Any]:
        failures = self._failures
        for at, error in failures.items():
            note = f"in branch {self._paths[at]!r}, of item {short(self._items[at])}"
            # A task may raise the same exception object several times.
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        if self._lost:
            places = sorted(self._lost)
            cause = self._lost[places[0]]
            items = tuple(short(self._items[at]) for at in places)
            lost = LostBranchesError(self._paths[places[0]], items, f"{type(cause).__name__}: {cause}")
            lost.__cause__ = cause
            failures |= dict.fromkeys(places, lost)
        if failures and errors == "raise":
            first = failures[min(failures)]
            others = {id(error): error for _, error in sorted(failures.items()) if error is not first}
            if others:
                next_one = next(iter(others.values()))
                first.add_note(f"{len(others)} more failed, the next with {type(next_one).__name__}: {next_one}")
            raise first
        # Results count as returned only when all branches succeeded: until then, the same call may run the rest.
        for at in () if failures else self._results:
            self._registry.take_result(self._paths[at])
        return [failures[at] if at in failures else self._results[at] for at in range(len(self._items))]


def _branch_names(task: Any, items: list[Any], name: Any) -> list[str]:
    """Return the name of each item's branch."""
    if name is None or isinstance(name, str):
        beginning = task_name(task) if name is None else name
        return [f"{beginning}-{at}" for at in range(len(items))]
    names = []
    for item in items:
        try:
            found = name(item)
        except Exception as error:  # a user's function may raise anything
            error.add_note(f"in name=, of item {short(item)}")
            raise
        if not isinstance(found, str):
            raise BranchError("fan_out", f"name= gave {short(found)} for item {short(item)}; a branch's name is a str")
        names.append(found)
    return names


@contextmanager
def progress_bar(progress: bool, total: int, done: int) -> Iterator[Callable[[], object]]:
    """Show how many items have ended; yield the function that advances the bar by one item."""
    if progress and find_spec("tqdm") is None:
        _log.warning("progress is shown by tqdm, which is not installed: pip install 'crystallize-context[progress]'")
    if not progress or find_spec("tqdm") is None:
        yield int
        return
    from tqdm.auto import tqdm  # an extra, imported only when it is used

    with tqdm(total=total, initial=done, unit="branch") as bar:
        yield bar.update
