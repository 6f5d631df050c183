"""The branches of a `fan_out` that are out on its executor: at most so many at once."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from .branch import Branch
from .branch_items import BranchItem
from .branch_outcomes import BranchOutcomes
from .delta import Delta
from .engines import submitter, workers_of
from .worker import run_task

_log = logging.getLogger("crystallize")

_PER_WORKER: Final = 4
_LEAST: Final = 64
_UNKNOWN: Final = 1024
"""The window for an executor that does not tell its number of workers."""


def window_for(executor: Executor) -> int:
    """Return how many branches to submit ahead, so that no worker waits for one, even if a task takes 100 µs."""
    workers = workers_of(executor)
    return _UNKNOWN if workers is None else max(_LEAST, _PER_WORKER * workers)


PATIENCE: Final = 0.5
"""Seconds of one wait: a Ctrl-C in the instant before a wait does not wake it, and on Windows no Ctrl-C does."""
_NO_MORE: Final = -1
"""Used in place of an index when all branches were submitted."""
_REFILL: Final = 8
"""Maximum number of branches that end before others are submitted: waking the calling thread for each is slow."""


class SubmissionWindow:
    """Submits branches in the calling thread, and merges them in another one as they end.

    In another one, since Ctrl-C reaches only the main thread: so it interrupts no merge.
    """

    def __init__(
        self, executor: Executor, task: Any, size: int, outcomes: BranchOutcomes, advance: Callable[[], object]
    ) -> None:
        self._submit, self._task, self._outcomes, self._advance = submitter(executor), task, outcomes, advance
        self._size = size
        self._low = size - max(1, min(size // 8, _REFILL))
        """So many branches may be out for more to be submitted, once the window was full."""
        self._out: dict[int, tuple[BranchItem, datetime, Future[Delta]]] = {}
        """Branches that are not merged. Merged ones are dropped: Dask would repeat them if a worker dies."""
        self._done: SimpleQueue[tuple[int, Future[Delta] | None]] = SimpleQueue()
        """The ended branches: the index of each item, and its future."""
        self._collector = threading.Thread(target=self._collect, daemon=True)
        self._awaited: int | None = None
        self._enough = 0
        self._has_news = threading.Event()
        """Set when the awaited branch has ended, or few enough are out, and at the end."""
        self._is_over = threading.Event()
        """Set when all branches have ended and are merged, or when the caller gives up waiting."""
        self._is_abandoned = False
        self._fault: BaseException | None = None

    @property
    def room(self) -> int:
        """How many more branches may be submitted."""
        return self._size - len(self._out)

    def submit(self, of: BranchItem, branch: Branch[Any], home: object, bring: Any) -> None:
        """Submit a branch; that the executor does not take it is its failure. See `run_task` for the rest."""
        submitted = datetime.now(UTC)
        try:
            future = self._submit(run_task, branch, self._task, of.item, home, bring)
        except Exception as error:  # executors raise anything if an object cannot be sent
            self._outcomes.take_error(of, submitted, error)
            return
        self._out[of.at] = of, submitted, future
        future.add_done_callback(partial(_put, self._done, of.at))
        if not self._collector.ident:
            # After the first submission, because some executors fork their workers then.
            self._collector.start()

    def wait(self, at: int | None, *, is_more: bool) -> None:
        """Wait until the outcome of a branch is known, or there is room if there are more to submit, or none is out."""
        self._awaited, self._enough = at, self._low if is_more else 0
        while True:
            self._has_news.clear()
            if at in self._outcomes.known or len(self._out) <= self._enough:
                return
            if self._is_over.is_set():
                self.finish()
            self._has_news.wait(PATIENCE)

    def finish(self) -> None:
        """Wait until all submitted branches have ended and are merged; raise the errors of the merges."""
        self._wait()
        if self._fault is not None:
            raise self._fault

    def give_up(self, *, is_closing: bool) -> None:
        """Cancel branches that have not started, and merge the rest; `is_closing` if nothing went wrong."""
        try:
            for at, (_, _, future) in [*self._out.items()]:
                future.cancel()
                # Added again, since Ctrl-C may have come before `submit` added it.
                future.add_done_callback(partial(_put, self._done, at))
            if is_closing and self._must_not_wait():
                self._done.put((_NO_MORE, None))
                return
            if self._out and not is_closing:
                _log.warning("waiting for branches that have started; Ctrl-C leaves them")
            self._wait()
        except BaseException:  # Ctrl-C again
            self._is_abandoned = True
            self._done.put((_NO_MORE, None))
            raise

    def _must_not_wait(self) -> bool:
        """Whether waiting would last for ever: any thread may close an iterator in a cycle, also while it has locks."""
        return threading.current_thread() is self._collector or self._outcomes.is_locked_here

    def _wait(self) -> None:
        self._done.put((_NO_MORE, None))
        if not self._collector.ident:
            self._collector.start()
        # By an event: before Python 3.13, a thread counts as ended if Ctrl-C interrupts its join.
        while not self._is_over.wait(PATIENCE):
            pass

    def _collect(self) -> None:
        """Merge each branch that has ended, until all have."""
        is_last = False
        try:
            while not self._is_abandoned and not (is_last and not self._out):
                at, future = self._done.get()
                is_last = is_last or future is None
                if future is not None and at in self._out:
                    self._outcomes.take(*self._out[at][:2], future)
                    del self._out[at]
                    self._advance()
                    if at == self._awaited or len(self._out) <= self._enough:
                        self._has_news.set()
                del future
        except BaseException as error:  # the waiting thread raises it
            self._fault = error
        finally:
            self._is_over.set()
            self._has_news.set()


def _put(done: "SimpleQueue[tuple[int, Future[Delta] | None]]", at: int, future: "Future[Delta]") -> None:
    done.put((at, future))
