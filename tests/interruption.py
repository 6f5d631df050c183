"""Raise an exception between two bytecodes of the package, as Ctrl-C does."""

import dis
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import crystallize

_R = TypeVar("_R")
TIMEOUT = 30.0

SOURCE = str(Path(crystallize.__file__).parent)


class Stopped(BaseException):
    """What the program's own signal handler raises."""


@contextmanager
def interrupted(at: int, error: BaseException, outside: Collection[str] = ()) -> Iterator[list[int]]:
    """Raise an error before a bytecode of the package; yield a list with the number of bytecodes that were counted.

    `outside` are parts of the paths of files that do not count.
    """
    counted = [0]

    def local(frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode" and dis.opname[frame.f_code.co_code[frame.f_lasti]] != "NOT_TAKEN":
            # Python 3.14 has NOT_TAKEN for its own monitoring; it is outside of every `try`, and runs no handlers.
            counted[0] += 1
            if counted[0] == at:
                sys.settrace(None)
                raise error
        return local

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(SOURCE) or any(part in path for part in outside):
            return None
        frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    # From Python 3.12 on, `settrace` looks whether there is a frame that traces bytecodes.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield counted
    finally:
        sys.settrace(before)


@contextmanager
def called_at(at: int, handle: Callable[[], object]) -> Iterator[None]:
    """Call a function as Python calls a signal handler: when a call in the package has returned, or a function begins.

    Python looks for signals nowhere else in code without loops.
    """
    count = 0

    def look(frame: FrameType, event: str, called: object) -> None:
        nonlocal count
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(SOURCE):
            return
        count += 1
        if count == at:
            sys.setprofile(None)
            handle()

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)


def count_bytecodes(program: Callable[[], object], outside: Collection[str] = ()) -> int:
    """Return the number of bytecodes of the package that a program runs."""
    for _ in range(2):  # from Python 3.13 on, a function is not traced by bytecode when it runs for the first time
        with interrupted(0, Stopped(), outside) as counted:
            program()
    return counted[0]


def assert_free(use: Callable[[], object]) -> None:
    """Fail if another thread cannot use a context, because a lock is held."""
    done = threading.Event()

    def run() -> None:
        use()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(TIMEOUT), "a lock is held"


def in_thread(act: Callable[[], _R]) -> _R:
    """Run a function in a thread of its own.

    A trace function that raises at the end of an `except` block leaves the exception of that block behind, as the
    context of all later exceptions of the thread.
    """
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(act).result()
