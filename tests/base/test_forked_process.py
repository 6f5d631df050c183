"""Calling a function in forked processes."""

import os
import subprocess
import sys

import pytest

from crystallize._base.forked_process import call_in_forked_processes


@pytest.mark.slow
def test_calls_in_the_forked_process_alone() -> None:
    """The function is called in the new process, and not in the process that forks."""
    code = """
import os
from crystallize._base.forked_process import call_in_forked_processes

parent = os.getpid()
call_in_forked_processes(lambda: print("child" if os.getppid() == parent else "parent", flush=True))
if child := os.fork():
    os.waitpid(child, 0)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert "child\n" == run.stdout


def test_where_nothing_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, where `os` has no `register_at_fork`, the function is never called."""
    called: list[str] = []
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    call_in_forked_processes(lambda: called.append("yes"))

    assert [] == called
