"""The work of a piece of code as a number that is the same on every machine."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def bytecodes(task: Callable[[], object]) -> int:
    """Return how many bytecodes of Python a task runs in this thread."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        task()
    finally:
        sys.settrace(before)
    return count


def growth(task: Callable[[int], Callable[[], object]], few: int = 20) -> float:
    """Return how many times the work of a task becomes that is given ten times as much.

    `task` prepares so much, and returns the function that is measured.
    """
    task(few)()  # imports what it needs
    return bytecodes(task(10 * few)) / bytecodes(task(few))
