"""`fan_out`: a task for each item, each in a branch, on threads, processes or a cluster."""

import logging
import pickle
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
from .task import item_digest, restored_result, return_type, runnable, task_name
from .worker import TaskFailure, run_task, this_process

_T = TypeVar("_T")
_I = TypeVar("_I")
_R = TypeVar("_R")

_log = logging.getLogger("crystallize")


class LostBranchesError(BranchError, BrokenExecutor):
    """Workers died before all branches had ended. What the others did is merged; the same call runs the rest.

    Attributes:
        branch: The first of the branches that did not end.
        reason: Which did not, and what to do about it.
        items: The items whose branches did not end, in short.
    """

    # Here and not beside the others: its base takes too long to import for those who have no branches.
    __module__ = "crystallize"  # where it is imported from, and where a traceback says that it is

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
    """Run a task for each item on workers, each in a branch of its own, and merge what they did.

    The context is then as if the task had been run here for one item after another. Each branch is merged as soon as
    it ends. If not all can be, the same call again runs only the others; so it is in a run that is resumed. Of a branch
    that failed there is a record with its error, and nothing that was done in it, until it is run again.

    Args:
        ctx: The parent; or a step of it, which the branches are named after.
        task: Takes the child context of its branch, and the item. What it returns is to be restorable from JSON by
            its return annotation, or it is run again when a run is resumed.
        items: What to run it for.
        executor: Where: threads, processes, loky, Dask's `client.get_executor(pure=False)`, any `Executor`.
        name: What to call the branches: the beginning, to which the item's place is added, or a function of the item.
            By default the beginning is the task's name: "fold-3".
        errors: "raise": the first failure in the order of the items is raised, after all others were merged.
            "collect": each failure stands in its item's place in the list.
        progress: Show how far it is, by tqdm, where that is installed.

    Returns:
        What the task returned, in the order of the items.

    Raises:
        BranchError: A name is there twice, or was used before; or the executor is one that cannot be used.
        TravelError: Something that the context holds cannot be sent.
        LostBranchesError: Workers died before all branches had ended.
        KeyboardInterrupt: Ctrl-C: what had not started was cancelled, what had was merged.

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
"""What has ended: the place of an item, and its future."""
_NO_MORE = -1
"""In place of an item's, when all were submitted."""


def _put(done: _Done, at: int, future: "Future[Delta]") -> None:
    done.put((at, future))


class _FanOut:
    """One call of `fan_out`: what came of each item, by its place."""

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
        """Of those that have not ended. One that has is dropped, as Dask would do its task again if a worker dies."""
        self._submitted: dict[int, datetime] = {}
        self._is_over = threading.Event()
        """Set when all that was submitted has ended and is merged, or nobody waits for that."""
        self._is_abandoned = False
        self._fault: BaseException | None = None

    def run(self, errors: str, progress: bool) -> list[Any]:
        self._check_names()
        self._take_merged()
        rest = [at for at in range(len(self._items)) if at not in self._results]
        # Those that are merged too: a step that is done again forks them anew.
        every = forked(self._ctx, self._paths)
        branches = [every[at] for at in rest]
        home = this_process() if isinstance(self._executor, ThreadPoolExecutor) else None
        if branches and is_sending(self._executor):
            # What cannot be sent says so now and by its key; an engine would say it in its own way, or hang.
            pickle.dumps(branches[0])
            self._check_task(branches[0].name)
        with progress_bar(progress, len(self._items), len(self._results)) as advance:
            self._work(zip(rest, branches, strict=True), home, advance)
        return self._outcome(errors)

    def _check_names(self) -> None:
        """Check that each branch has a name of its own."""
        met: dict[str, int] = {}
        for at, path in enumerate(self._paths):
            other = met.setdefault(path, at)
            if other != at:
                both = f"{short(self._items[other])} and {short(self._items[at])}"
                raise BranchError(path, f"two items have this name, {both}; pass a name= that tells them apart")
            if (receipt := self._registry.receipt(path)) is not None and receipt.is_taken:
                raise BranchError(path, "an earlier call has merged it; give the branches of this one another name=")

    def _check_task(self, branch: str) -> None:
        """Check that the task can be sent."""
        try:
            pickle_as(self._executor, self._task)
        except Exception as error:  # whatever a callable's own way to be pickled raises
            advice = "define it by def at the top of a module"
            raise TravelError(branch, f"its task cannot be sent to another process ({error}); {advice}") from error

    def _take_merged(self) -> None:
        """Take the results of what is merged already: by a call that could not merge all, or before a resumption."""
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
        # A thread of its own, since Ctrl-C reaches the main one alone: no merge is cut short.
        collector = threading.Thread(target=self._collect, args=(done, advance), daemon=True)
        try:
            for at, branch in branches:
                self._submit(at, branch, home, done)
                if not collector.ident:
                    # Not before the first was submitted, when some executors fork their workers.
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
        """Wait until all that was submitted has ended and is merged."""
        done.put((_NO_MORE, None))
        if not collector.ident:
            collector.start()
        # By an event, since a thread whose join Ctrl-C interrupts is taken for ended by Python before 3.13. And not for
        # good, since Ctrl-C in the instant before a wait does not wake it, and on Windows none does.
        while not self._is_over.wait(0.5):
            pass

    def _cancel(self, done: _Done) -> None:
        for at, future in [*self._futures.items()]:
            future.cancel()
            # Again, as it may not have come to that.
            future.add_done_callback(partial(_put, done, at))

    def _submit(self, at: int, branch: Branch[Any], home: object, done: _Done) -> None:
        self._submitted[at] = datetime.now(UTC)
        try:
            future = self._executor.submit(run_task, branch, self._task, self._items[at], home)
        except Exception as error:  # whatever an engine raises where something cannot be sent
            self._fail(at, self._explained(at, error), None, is_lost=isinstance(error, BrokenExecutor))
        else:
            self._futures[at] = future
            future.add_done_callback(partial(_put, done, at))

    def _collect(self, done: _Done, advance: Callable[[], object]) -> None:
        """Merge what has ended, until all has."""
        is_last = False
        try:
            while not self._is_abandoned and not (is_last and not self._futures):
                at, future = done.get()
                is_last = is_last or future is None
                if future is not None and self._futures.pop(at, None) is not None:
                    self._take(at, future)
                    advance()
        except BaseException as error:  # to be raised by whoever waits
            self._fault = error
        finally:
            self._is_over.set()

    def _take(self, at: int, future: "Future[Delta]") -> None:
        try:
            delta = future.result()
        except TaskFailure as caught:
            # Ray wraps it into one of a class that is also of its own.
            raised: TaskFailure = getattr(caught, "cause", caught)
            self._state.foreign_secrets += raised.secrets
            self._fail(at, raised.error(), raised.record)
        except BaseException as error:  # whatever is raised is the item's, also what would end this process
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
        """Return the record of a branch that could not be merged; None where that cannot be read."""
        with suppress(TravelError):
            if isinstance(delta, Delta):  # an executor may hand back something else
                told = error_text(error, self._state.secrets())
                return failed_record(work_of(delta).steps[-1]._replace(error=told))
        return None

    def _fail(self, at: int, error: BaseException, record: StepRecord | None, *, is_lost: bool = False) -> None:
        """Note that a branch has failed."""
        (self._lost if is_lost else self._failures)[at] = error
        if record is None and is_cancelled(error):
            return
        try:
            file_failure(self._ctx, record or self._record_of(at, error))
        except SinkError as untold:
            # In place of why the branch failed it would hide that.
            error.add_note(f"Besides, {untold}")

    def _record_of(self, at: int, error: BaseException) -> StepRecord:
        """Return the record of a branch of which it is only known when it was submitted, and why it is not merged."""
        now = datetime.now(UTC)
        told = error_text(error, self._state.secrets())
        return StepRecord(self._paths[at], (), (), (), MappingProxyType({}), (), self._submitted[at], now, told)

    def _explained(self, at: int, error: BaseException) -> BaseException:
        """Return what an engine raised; where the reason is that an item cannot be sent, what says so."""
        if isinstance(error, BranchError) or not is_sending(self._executor):
            return error
        item = self._items[at]
        try:
            pickle_as(self._executor, item)
        except Exception as failure:  # whatever its own way to be pickled raises
            reason = f"its item {short(item)} cannot be sent to another process ({failure})"
            explained = TravelError(self._paths[at], reason)
            explained.__cause__ = error
            return explained
        return error

    def _outcome(self, errors: str) -> list[Any]:
        failures = self._failures
        for at, error in failures.items():
            note = f"in branch {self._paths[at]!r}, of item {short(self._items[at])}"
            # A task may raise the same exception again and again.
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
        # Until all have ended well the same call may be made again, for the rest.
        for at in () if failures else self._results:
            self._registry.take_result(self._paths[at])
        return [failures[at] if at in failures else self._results[at] for at in range(len(self._items))]


def _branch_names(task: Any, items: list[Any], name: Any) -> list[str]:
    """Return what to call the branch of each item."""
    if name is None or isinstance(name, str):
        beginning = task_name(task) if name is None else name
        return [f"{beginning}-{at}" for at in range(len(items))]
    names = []
    for item in items:
        try:
            found = name(item)
        except Exception as error:  # whatever the user's function raises
            error.add_note(f"in name=, of item {short(item)}")
            raise
        if not isinstance(found, str):
            raise BranchError("fan_out", f"name= gave {short(found)} for item {short(item)}; a branch's name is a str")
        names.append(found)
    return names


@contextmanager
def progress_bar(progress: bool, total: int, done: int) -> Iterator[Callable[[], object]]:
    """Show how many items have ended."""
    if progress and find_spec("tqdm") is None:
        _log.warning("progress is shown by tqdm, which is not installed: pip install 'crystallize-context[progress]'")
    if not progress or find_spec("tqdm") is None:
        yield int
        return
    from tqdm.auto import tqdm  # an extra, imported only when it is used

    with tqdm(total=total, initial=done, unit="branch") as bar:
        yield bar.update
