"""Locks: an exception never leaves one held, and a forked process has them free."""

import gc
import sys
import threading
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest

from crystallize._base import locks
from crystallize._base.locks import EnteredLock, make_lock, renewed_in_children
from tests.interruption import Stopped, assert_free, count_bytecodes, interrupted


def test_run() -> None:
    """The lock is held while the function runs, and its result is returned."""
    lock = make_lock()
    depth_of = lock.depth_reader()

    assert (1, 2) == lock.run(lambda: (lock.depth(), lock.run(depth_of)))
    assert 0 == lock.depth()


def test_run_that_raises() -> None:
    """The exception of the function comes out, and the lock is released."""
    lock = make_lock()
    with pytest.raises(ZeroDivisionError):
        lock.run(lambda: 1 / 0)
    assert 0 == lock.depth()


def test_run_that_is_interrupted() -> None:
    """Wherever an exception comes, the lock is held afterwards as often as before."""
    count = count_bytecodes(lambda: make_lock().run(lambda: None))
    for at in range(1, count + 1):
        lock = make_lock()
        with suppress(Stopped), interrupted(at, Stopped()):
            lock.run(lambda: None)
        assert 0 == lock.depth()
        assert_free(partial(lock.run, lambda: None))


@pytest.mark.parametrize("held", [0, 1])
def test_a_signal_handler_that_raises_as_a_block_begins(held: int) -> None:
    """An exception that comes once `acquire` has returned, where Python calls signal handlers, releases the lock."""
    lock = EnteredLock()
    for _ in range(held):
        lock.acquire()

    def look(frame: FrameType, event: str, called: object) -> None:
        if event == "c_return" and getattr(called, "__name__", "") == "acquire":
            sys.setprofile(None)
            raise Stopped

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        with pytest.raises(Stopped), lock:
            pass
    finally:
        sys.setprofile(before)
    assert held == lock.depth()
    with lock:
        assert held + 1 == lock.depth()
    assert held == lock.depth()


def test_renewal() -> None:
    """A lock that another thread holds is renewed, a lock that this thread holds is not."""
    lock, own = make_lock(), make_lock()
    is_held, ends = threading.Event(), threading.Event()

    def hold() -> None:
        lock.acquire()
        is_held.set()
        ends.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(30)
    own.acquire()
    locks.renew_all()
    ends.set()
    thread.join()

    assert lock.acquire(blocking=False)
    assert 1 == own.depth()
    assert not own.renew()


def test_only_living_locks_are_renewed() -> None:
    """A lock that nobody has any more is forgotten."""

    class Renewed:
        def renew(self) -> None:
            found.append(self)

    found: list[Any] = []
    kept = renewed_in_children(Renewed())
    renewed_in_children(Renewed())
    gc.collect()
    locks.renew_all()

    assert [kept] == found


def test_locks_that_are_gone_take_no_memory() -> None:
    """Of 1,000 locks of which two live at a time, no more than a few are remembered."""
    before = len(locks._renewed)
    kept = [make_lock() for _ in range(2)]
    for at in range(1000):
        kept[at % 2] = make_lock()
    assert len(locks._renewed) <= before + 2


def test_renew_all_passes_over_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference to a lock in a cycle may be dead before it is dropped."""
    lock = make_lock()
    monkeypatch.setattr(locks, "_renewed", {lambda: None: None, lambda: lock: None})
    lock.acquire()
    locks.renew_all()
    assert 1 == lock.depth()
    lock.release()
