"""Faults of a disk or a server, which a test switches on in the middle of a run."""

import errno
import multiprocessing
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Literal

Fault = Literal["write", "sync", "write and sync"]
FAULTS: Final[tuple[Fault, ...]] = ("write", "sync", "write and sync")
"""Which requests fail with EIO: writes and changes of folders, or the requests that make them durable, or both."""


class Faults:
    """The faults of a server at the moment, which other processes see at once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._now: Synchronized[int] = multiprocessing.get_context("fork").Value("i", 0)

    def check(self, call: Literal["write", "sync"]) -> None:
        """Raise OSError if such a call fails at the moment."""
        if self._now.value and call in FAULTS[self._now.value - 1]:
            raise OSError(errno.EIO, "it fails on purpose")

    def set(self, fault: Fault | None) -> None:
        """Let calls fail from now on, or none."""
        self._now.value = 0 if fault is None else FAULTS.index(fault) + 1

    def later(self, fault: Fault, said: Path, seconds: float) -> Callable[[], None]:
        """Return a function to call again and again, which sets a fault some seconds after something was promised."""
        end: list[float] = []

        def wait() -> None:
            sleep(0.01)
            if not end and b"least" in said.read_bytes():
                end.append(monotonic() + seconds)
            if end and monotonic() > end[0]:
                self.set(fault)

        return wait
