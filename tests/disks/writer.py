"""Writes runs, and says on a file what each call promised: for tests that then cut the power or end the process."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

from crystallize import FrozenContext, Journal, load_run

from .promises import DURABLE, ORDINARY, Losses, Profile, Program, acts_in, line, works_in

Say = Callable[[bytes], object]


class Writer:
    """Writes one run below a folder, by one process after the other."""

    def __init__(self, root: Path, seed: int, say: Say, profile: Profile = ORDINARY) -> None:
        """Say what is promised by `say`, with the paths of runs relative to the root."""
        self._root, self._seed, self._say, self._profile = root, seed, say, profile

    def start(self, folder: Path) -> tuple[Journal, FrozenContext[Any], int]:
        """Start a run; say so as soon as it has been flushed."""
        journal = Journal.start(folder, "run")
        ctx = journal.context(FrozenContext, {"seed": self._seed}, metrics=Losses)
        journal.flush()
        self._tell(journal.path, 1, least=0)
        return journal, ctx, 1

    def resume(self, path: Path) -> tuple[Journal, FrozenContext[Any], int]:
        """Resume a run; first say how many acts of its last process are there."""
        works = works_in(load_run(path, metrics=Losses))
        last = max(works)
        found = acts_in(works[last], self._seed, last, self._profile)
        self._tell(path, last, found=found)
        journal = Journal.resume(path)
        return journal, journal.context(FrozenContext, metrics=Losses), last + 1

    def _tell(self, path: Path, process: int, **said: int) -> None:
        self._say(line(str(path.relative_to(self._root)), self._seed, process, **said))

    def write(self, opened: tuple[Journal, FrozenContext[Any], int], random: Random, until: float) -> None:
        """Do acts for a random time; then close the run, or die in the middle of it."""
        journal, ctx, process = opened
        program = Program(self._seed, process, self._profile)
        most = random.choice((5, 60, 600, 3000))
        while program.done < most and monotonic() < until:
            if program.do(journal, ctx).kind in DURABLE:
                self._tell(journal.path, process, least=program.done)
                if random.random() < 0.1:
                    sleep(random.random() * 0.2)
        if random.random() < 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        program.do_whole(journal, ctx, 0)
        journal.close()
        self._tell(journal.path, process, least=program.done, ended=1)


def in_a_fork(work: Callable[[], object], beside: Callable[[], object]) -> None:
    """Do something in a forked process, which may kill itself; do another thing again and again meanwhile.

    Raises:
        AssertionError: The process ended by an exception, which it has printed.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            logging.disable(logging.CRITICAL)
            work()
            code = 0
        finally:
            # Not `exit`: that would be the end of the parent's tests.
            os._exit(code)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        beside()
    assert status in (0, signal.SIGKILL), f"the writer ended with {status}"
