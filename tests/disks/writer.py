"""Writes runs, and says on a file what each call promised: for tests that cut the power, or let the disk fail."""

import faulthandler
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any, Final

from crystallize import CrystallizeError, FrozenContext, Journal, JournalError

from .promises import (
    DURABLE,
    ORDINARY,
    Losses,
    Profile,
    Program,
    Promises,
    Tags,
    acts_in,
    line,
    load_dead,
    promises_in,
    works_in,
)

SAY: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT

Opened = tuple[Journal, FrozenContext[Any], int]
"""An open journal, its context, and the number of this process."""


class Writer:
    """Writes one run, by one process after the other.

    Attributes:
        seed: The seed of its programs.
    """

    def __init__(self, root: Path, said: int, seed: int, profile: Profile = ORDINARY) -> None:
        """Say what is promised on a descriptor, with the paths of runs relative to the root."""
        self.seed = seed
        self._root, self._said, self._profile = root, said, profile

    def open(self, path: Path) -> Opened:
        """Start a run in a folder, or resume the run in a file."""
        return self._resume(path) if path.suffix == ".db" else self._start(path)

    def _start(self, folder: Path) -> Opened:
        journal = Journal.start(folder, "run")
        self.tell(journal.path, 1)
        ctx = journal.context(FrozenContext, {"seed": self.seed}, metrics=Losses)
        journal.flush()
        self.tell(journal.path, 1, least=0)
        return journal, ctx, 1

    def _resume(self, path: Path) -> Opened:
        """Resume a run; first say how many acts of its last process are there."""
        works = works_in(load_dead(path))
        last = max(works)
        self.tell(path, last, found=acts_in(works[last], self.seed, last, self._profile))
        journal = Journal.resume(path)
        return journal, journal.context(FrozenContext, metrics=Losses), last + 1

    def tell(self, path: Path, process: int, **said: int) -> None:
        """Say something of a run."""
        os.write(self._said, line(str(path.relative_to(self._root)), self.seed, process, **said))

    def write(self, opened: Opened, random: Random, until: float) -> None:
        """Do acts for a random time, and say what survives the machine; then close the run, or kill this process."""
        journal, ctx, process = opened
        program = Program(self.seed, process, self._profile)
        most = random.choice((5, 60, 600, 3000))
        while program.done < most and (monotonic() < until or program.done < _LEAST):
            if program.do(journal, ctx).kind in DURABLE:
                self.tell(journal.path, process, least=program.done)
                if random.random() < 0.1:
                    sleep(random.random() * 0.2)
        if random.random() < 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        program.do_whole(journal, ctx, 0)
        journal.close()
        self.tell(journal.path, process, least=program.done, ended=1)

    def write_and_die(self, opened: Opened, acts: int) -> None:
        """Do acts, and say what survives the process; then kill this process."""
        journal, ctx, process = opened
        program = Program(self.seed, process, self._profile)
        for _ in range(acts):
            program.do(journal, ctx)
            self.tell(journal.path, process, least=program.done)
        os.kill(os.getpid(), signal.SIGKILL)

    def write_until_it_fails(self, opened: Opened, *, survives: str, most: int, pause: float = 0) -> bool:
        """Do acts until the journal fails, and check that it then refuses everything.

        Args:
            opened: The run.
            survives: What is said of the acts: what survives the "process", or the "machine".
            most: Maximum number of acts; then the run is closed.
            pause: Seconds to wait after each act.

        Returns:
            Whether it failed.
        """
        journal, ctx, process = opened
        program, is_closing = Program(self.seed, process, self._profile), False
        try:
            while program.done < most:
                if program.do(journal, ctx).kind in DURABLE or survives == "process":
                    self.tell(journal.path, process, least=program.done)
                sleep(pause)
            program.do_whole(journal, ctx, most)
            is_closing = True
            journal.close()
        except CrystallizeError:
            _check_failed(journal, ctx, is_closed=is_closing)
            return True
        self.tell(journal.path, process, least=program.done, ended=1)
        return False


def _check_failed(journal: Journal, ctx: FrozenContext[Any], *, is_closed: bool) -> None:
    """Check that a journal that has failed takes nothing more, and says so each time."""
    acts: tuple[Callable[[], object], ...] = (
        lambda: ctx.record(Losses.loss, 0.5, Tags(process=0, act=-1)),
        lambda: ctx.artifacts.add("after the failure", b"x"),
        journal.flush,
        lambda: ctx.record(Losses.loss, 0.5, Tags(process=0, act=-1)),
        *(() if is_closed else (journal.close,)),  # closing again does nothing
    )
    for number, act in enumerate(acts):
        try:
            act()
        except CrystallizeError:
            continue
        raise AssertionError(f"act {number} after the failure went on as if nothing had happened")
    with suppress(JournalError):
        journal.close()


def write_and_kill(root: Path, said: Path, seed: int, profile: Profile = ORDINARY) -> Promises:
    """Write a run by three processes, each of which is killed; return what survives their deaths."""
    writer, random = Writer(root, os.open(said, SAY), seed, profile), Random(seed)
    for _ in range(3):
        path = next(iter(root.rglob("run-*.db")), root / "runs")
        acts = random.choice((0, 5, 60, 600))
        in_a_fork(partial(_write_and_die, writer, path, acts), partial(sleep, 0.01))
    (promises,) = promises_in([said.read_bytes()], profile).values()
    return promises


def _write_and_die(writer: Writer, path: Path, acts: int) -> None:
    writer.write_and_die(writer.open(path), acts)


def in_a_fork(work: Callable[[], object], beside: Callable[[], object]) -> bool:
    """Do something in a forked process, which may kill itself; do another thing again and again meanwhile.

    Returns:
        Whether the work returned True.

    Raises:
        AssertionError: The work raised, which its process has printed, or it was ended by a signal.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            logging.disable(logging.CRITICAL)
            faulthandler.enable(2)
            code = _DONE if work() else 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            # Not `exit`: that would be the end of the parent's tests.
            os._exit(code)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        beside()
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, _DONE, -signal.SIGKILL), f"the writer ended with {code}"
    return code == _DONE


_DONE: Final = 3
_LEAST: Final = 40
"""Acts that a process does even if its time is over."""
