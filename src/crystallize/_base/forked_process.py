"""A process that `os.fork` made from another one."""

import os
from collections.abc import Callable


def call_in_forked_processes(function: Callable[[], None]) -> None:
    """Call a function in each process that is forked from this one, right after the fork. Windows cannot fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
