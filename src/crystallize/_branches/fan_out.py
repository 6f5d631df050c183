"""Many branches at once: a task for each item, on threads, processes or a cluster."""

import logging
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from queue import SimpleQueue
from traceback import format_exception
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar, get_type_hints, overload

from .._base.text import short, type_name
from .._core.codec import Stored, any_key, decode, key_of, revalidate
from .._core.context import FrozenContext
from .._core.logging_context import step_path, told_of
from .._core.ordered_log import Merged
from .._core.provenance import StepRecord
from .._core.schema import digest
from ..errors import BranchError, SinkError, TravelError
from .branch import Branch, BranchContext, checked, failed_record, file_failure, forked, merge_result
from .delta import Delta, bytes_of, dumped

__all__ = ["LostBranchesError", "fan_out"]

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
        self._ctx, self._task, self._items = checked(ctx), _runnable(task), items
        self._executor = _usable(executor)
        self._paths = [step_path(ctx, one) for one in _names(task, items, name)]
        self._returns = _return_type(task)
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
        home = _here() if isinstance(self._executor, ThreadPoolExecutor) else None
        if branches and _is_sending(self._executor):
            # What cannot be sent says so now and by its key; an engine would say it in its own way, or hang.
            pickle.dumps(branches[0])
            self._check_task(branches[0].name)
        with _bar(progress, len(self._items), len(self._results)) as advance:
            self._work(zip(rest, branches, strict=True), home, advance)
        return self._outcome(errors)

    def _merged(self, at: int) -> Merged | None:
        fork = self._ctx._state.forks.get(self._paths[at])
        return None if fork is None else fork.merged

    def _check_names(self) -> None:
        """Check that each branch has a name of its own.

        Raises:
            BranchError: A name is there twice, or was used before.
        """
        met: dict[str, int] = {}
        for at, path in enumerate(self._paths):
            other = met.setdefault(path, at)
            if other != at:
                both = f"{short(self._items[other])} and {short(self._items[at])}"
                raise BranchError(path, f"two items have this name, {both}; pass a name= that tells them apart")
            if (merged := self._merged(at)) is not None and merged.is_taken:
                raise BranchError(path, "an earlier call has merged it; give the branches of this one another name=")

    def _check_task(self, branch: str) -> None:
        """Check that the task can be sent.

        Raises:
            TravelError: It cannot.
        """
        try:
            self._pickle(self._task)
        except Exception as error:  # whatever a callable's own way to be pickled raises
            advice = "define it by def at the top of a module"
            raise TravelError(branch, f"its task cannot be sent to another process ({error}); {advice}") from error

    def _take_merged(self) -> None:
        """Take the results of what is merged already: by a call that could not merge all, or before a resumption.

        Raises:
            BranchError: It was of another item, or its result cannot be read as what the task returns now.
        """
        for at, path in enumerate(self._paths):
            merged = self._merged(at)
            if merged is None:
                continue
            digest_now = _item_digest(self._items[at])
            if None not in (digest_now, merged.item) and digest_now != merged.item:
                reason = f"it is merged, and was of another item than {short(self._items[at])}"
                raise BranchError(path, f"{reason}; pass the same items in the same order, or name them by name=")
            self._results[at] = _result_of(path, merged.result, self._returns)

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
            future = self._executor.submit(_run, branch, self._task, self._items[at], home)
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
        except _RaisedError as caught:
            # Ray wraps it into one of a class that is also of its own.
            raised: _RaisedError = getattr(caught, "cause", caught)
            self._ctx._state.lost_secrets += raised.secrets
            self._fail(at, raised.error(), raised.record)
        except BaseException as error:  # whatever is raised is the item's, also what would end this process
            self._fail(at, self._explained(at, error), None, is_lost=_tells_of_death(error))
        else:
            self._merge(at, delta)
        if (merged := self._merged(at)) is not None:
            self._results[at] = merged.result

    def _merge(self, at: int, delta: Delta) -> None:
        try:
            merge_result(self._ctx, delta, self._returns)
        except BaseException as error:  # as above
            self._fail(at, error, self._record_in(delta, error))

    def _record_in(self, delta: Delta, error: BaseException) -> StepRecord | None:
        """Return the record of a branch that could not be merged; None where that cannot be read."""
        with suppress(TravelError):
            if isinstance(delta, Delta):  # an executor may hand back something else
                told = told_of(error, self._ctx._state.secrets())
                return failed_record(delta._unpacked().steps[-1]._replace(error=told))
        return None

    def _fail(self, at: int, error: BaseException, record: StepRecord | None, *, is_lost: bool = False) -> None:
        """Note that a branch has failed.

        Args:
            at: The place of its item.
            error: Why.
            record: The record of the branch, if its task has raised the error.
            is_lost: Whether its worker died.
        """
        (self._lost if is_lost else self._failures)[at] = error
        if record is None and _is_cancelled(error):
            return
        try:
            file_failure(self._ctx, record or self._record_of(at, error))
        except SinkError as untold:
            # In place of why the branch failed it would hide that.
            error.add_note(f"Besides, {untold}")

    def _record_of(self, at: int, error: BaseException) -> StepRecord:
        """Return the record of a branch of which it is only known when it was submitted, and why it is not merged."""
        now = datetime.now(UTC)
        told = told_of(error, self._ctx._state.secrets())
        return StepRecord(self._paths[at], (), (), (), MappingProxyType({}), (), self._submitted[at], now, told)

    def _explained(self, at: int, error: BaseException) -> BaseException:
        """Return what an engine raised; where the reason is that an item cannot be sent, what says so."""
        if isinstance(error, BranchError) or not _is_sending(self._executor):
            return error
        item = self._items[at]
        try:
            self._pickle(item)
        except Exception as failure:  # whatever its own way to be pickled raises
            reason = f"its item {short(item)} cannot be sent to another process ({failure})"
            explained = TravelError(self._paths[at], reason)
            explained.__cause__ = error
            return explained
        return error

    def _pickle(self, value: Any) -> None:
        """Pickle something as the executor does: by its name what has one, or as a whole."""
        if isinstance(self._executor, ProcessPoolExecutor):
            pickle.dumps(value)
        else:
            dumped(value, "", lambda: ())

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
            fork = self._ctx._state.forks[self._paths[at]]
            fork.merged = fork.merged and fork.merged._replace(result=None, is_taken=True)
        return [failures[at] if at in failures else self._results[at] for at in range(len(self._items))]


def _run(branch: Branch[Any], task: Any, item: Any, home: object) -> Delta:
    """What a worker does for one item.

    Args:
        branch: Its branch.
        task: What to do.
        item: For what.
        home: The process that asked for it, if it runs in threads: there a delta need not be sent.
    """
    child = branch.open()
    try:
        result = task(child, item)
        if child._made is not None:
            reason = "its task has taken the delta, which fan_out does when the task has returned"
            raise BranchError(branch.name, reason)
        delta = child._delta(result, _item_digest(item))
        # Bytes, since what cannot be sent has to be an error here: some engines would hang, others break.
        return delta if home == _here() else delta._sent()
    except BaseException as error:  # also what would end the worker
        failed = child._failure(error), child._secrets()
        raised = _RaisedError.here(error, *failed) if home == _here() else _RaisedError.of(error, *failed)
    # Not within `except`, since some engines send what an exception was raised in as well.
    try:
        raise raised
    finally:
        del raised  # which holds on to this frame


class _RaisedError(Exception):
    """What a task raised, on its way, with the record of its branch, and the secrets that its text may have."""

    @classmethod
    def here(cls, error: BaseException, record: StepRecord, secrets: list[str | bytes]) -> "_RaisedError":
        """Take an exception along that stays in this process."""
        return cls("", record, secrets, "", error, "")

    @classmethod
    def of(cls, error: BaseException, record: StepRecord, secrets: list[str | bytes]) -> "_RaisedError":
        """Take an exception along in bytes, as one that cannot be read breaks one engine, and hangs another."""
        branch = record.name
        try:
            content, reason = dumped(error, branch, lambda: [("its exception", error)]), ""
            pickle.loads(content)
        except Exception as failure:  # whatever its own way to be pickled raises
            content, reason = b"", str(failure)
        # Its text is for the log of an engine, and for where it cannot be read.
        told = "".join(format_exception(error)).rstrip()
        return cls(told, record, secrets, type_name(type(error)), content, reason)

    @property
    def record(self) -> StepRecord:
        """The record of the branch, as one that failed."""
        record: StepRecord = self.args[1]
        return record

    @property
    def secrets(self) -> list[str | bytes]:
        """The secrets of the branch, in clear."""
        secrets: list[str | bytes] = self.args[2]
        return secrets

    def error(self) -> BaseException:
        """Return what the task raised; where that cannot be read, what tells of it."""
        told, record, _, name, content, reason = self.args  # as `here` or `of` gave them
        if isinstance(content, BaseException):
            return content
        if content:
            try:
                error: BaseException = pickle.loads(content)
            except Exception as failure:  # as above
                reason = str(failure)
            else:
                error.__cause__ = error.__cause__ or _FarTraceback(told)
                return error
        return TravelError(
            record.name, f"its task raised a {name}, which cannot be sent ({reason}); what it said:\n{told}"
        )


class _FarTraceback(Exception):
    """Where in a worker it was raised, to be shown with it."""

    def __str__(self) -> str:
        return f"in a worker:\n{self.args[0]}"


_TOKEN = os.urandom(8)


def _here() -> tuple[int, bytes]:
    """Return what tells this process from all others, its forks too."""
    return os.getpid(), _TOKEN


def _tells_of_death(error: BaseException) -> bool:
    """Whether an executor says by this that a worker died, and not that the task failed."""
    return isinstance(error, BrokenExecutor) or any(
        (cls.__module__.partition(".")[0], cls.__name__) in _DEATHS for cls in type(error).__mro__
    )


_DEATHS = {
    ("distributed", "KilledWorker"),
    *(("ray", name) for name in ("LocalRayletDiedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError")),
    ("ray", "WorkerCrashedError"),
}
"""What engines raise that know no `BrokenExecutor`."""


def _is_cancelled(error: BaseException) -> bool:
    """Whether an executor says by this that a task never began: each has an exception of its own for that."""
    return any(cls.__name__.endswith("CancelledError") for cls in type(error).__mro__)


def _is_sending(executor: Executor) -> bool:
    """Whether what is submitted goes to another process."""
    packages = {cls.__module__.partition(".")[0] for cls in type(executor).__mro__}
    return isinstance(executor, ProcessPoolExecutor) or not packages.isdisjoint(("loky", "distributed"))


def _usable(executor: Any) -> Executor:
    """Return an executor if it does each task once.

    Raises:
        BranchError: It is none, or takes equal tasks for one.
    """
    package = type(executor).__module__.partition(".")[0]
    advice = "pass executor=client.get_executor(pure=False)"
    if not isinstance(executor, Executor):
        hint = f"; {advice}" if package == "distributed" else ""
        raise BranchError("fan_out", f"an executor is a concurrent.futures.Executor, not {short(executor)}{hint}")
    if package == "distributed" and getattr(executor, "_kwargs", {}).get("pure", True) is not False:
        raise BranchError("fan_out", f"Dask would run equal tasks once, as this executor takes them for pure; {advice}")
    return executor


def _runnable(task: Any) -> Any:
    """Return a task if calling it does its work.

    Raises:
        BranchError: It cannot be called, or calling it begins nothing.
    """
    function = _function_of(task)
    if not callable(function):
        raise BranchError("fan_out", f"a task is a function of a context and an item, not {short(task)}")
    if iscoroutinefunction(function) or isasyncgenfunction(function) or isgeneratorfunction(function):
        advice = "wrap it in a function that runs it to its end, as by asyncio.run(...) or list(...)"
        raise BranchError(
            "fan_out", f"calling {_name_of(task)!r} runs nothing yet, as it is a coroutine or a generator; {advice}"
        )
    return task


def _names(task: Any, items: list[Any], name: Any) -> list[str]:
    """Return what to call the branch of each item.

    Raises:
        BranchError: `name` gives no name for an item.
    """
    if name is None or isinstance(name, str):
        beginning = _name_of(task) if name is None else name
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


def _function_of(task: Any) -> Any:
    while isinstance(task, partial):
        task = task.func
    return task


def _name_of(task: Any) -> str:
    function = _function_of(task)
    name = getattr(function, "__name__", type(function).__name__)
    return "branch" if name == "<lambda>" else str(name)


def _return_type(task: Any) -> Any:
    """Return what a task says that it returns."""
    function = _function_of(task)
    for one in (function, getattr(function, "__call__", None)):  # noqa: B004 - the method is wanted, for its annotations
        try:
            found = get_type_hints(one).get("return", _NOTHING)
        except Exception:  # a name that is not defined where it runs, or no function: then nothing is known
            continue
        if found is not _NOTHING:
            return found
    return Any


_NOTHING = object()


def _item_digest(item: Any) -> str | None:
    content = bytes_of(any_key(), item)
    return None if content is None else digest(content)


def _result_of(branch: str, result: Any, returns: Any) -> Any:
    """Return what a task returned, also out of a file.

    Raises:
        BranchError: The task returns something else now.
    """
    if not isinstance(result, Stored):
        return result
    try:
        key = key_of(returns)
        if result.fingerprint in (None, key.fingerprint()):
            return decode(result, key)
        return revalidate(result, key)
    except Exception as error:  # whatever a user's validator raises
        reason = f"its result is in the file as {result.type}, and the task's return type does not take that back"
        raise BranchError(branch, f"{reason} ({error})") from error


@contextmanager
def _bar(progress: bool, total: int, done: int) -> Iterator[Callable[[], object]]:
    """Show how many items have ended."""
    if progress and find_spec("tqdm") is None:
        _log.warning("progress is shown by tqdm, which is not installed: pip install 'crystallize-context[progress]'")
    if not progress or find_spec("tqdm") is None:
        yield int
        return
    from tqdm.auto import tqdm  # an extra, imported only when it is used

    with tqdm(total=total, initial=done, unit="branch") as bar:
        yield bar.update
