"""Runs whose process gets signals at any moment: nothing hangs, and all that was acknowledged is there."""

import faulthandler
import logging
import os
import signal
import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from random import Random
from time import monotonic, sleep
from types import FrameType
from typing import Final

import pytest

import crystallize
from crystallize import CrystallizeError, Journal

from ..disks.promises import SMALL, Program, promises_in
from ..disks.writer import SAY, Writer

Handler = Callable[[int, FrameType | None], object]
SECONDS: Final = 20
"""How long a process may take to end after a signal; on a busy machine it takes one."""


def closing(journal: Journal) -> Handler:
    """Return a handler as a scheduler's preemption wants it: close the run, then exit."""

    def close(number: int, frame: FrameType | None) -> None:
        # It may say at once that it cannot do so in the middle of its own work.
        with suppress(CrystallizeError):
            journal.close()
        sys.exit(0)

    return close


def flushing(journal: Journal) -> Handler:
    """Return a handler that writes out the run, and lets the program go on."""

    def flush(number: int, frame: FrameType | None) -> None:
        with suppress(CrystallizeError):
            journal.flush()

    return flush


def exiting(journal: Journal) -> Handler:
    """Return a handler that raises SystemExit."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    return leave


def dying(journal: Journal) -> Handler:
    """Return no handler: the signal ends the process."""
    return signal.SIG_DFL  # type: ignore[return-value]  # called by nobody


def interrupting(journal: Journal) -> Handler:
    """Return Python's own handler of Ctrl-C."""
    return signal.default_int_handler


pytestmark = [
    pytest.mark.usefixtures("without_environment"),
    # Since Python 3.12, of a fork in a process that has threads, as pytest's workers have.
    pytest.mark.filterwarnings(r"ignore:.*use of fork\(\):DeprecationWarning"),
]
HANDLERS: Final = (closing, flushing, exiting, dying, interrupting)


def write_on(writer: Writer, path: Path, make_handler: Callable[[Journal], Handler]) -> None:
    """Do acts without end; SIGTERM calls the handler."""
    journal, ctx, process = writer.open(path)
    program = Program(writer.seed, process, SMALL)
    signal.signal(signal.SIGTERM, make_handler(journal))
    with journal:
        while True:
            program.do(journal, ctx)
            writer.tell(journal.path, process, least=program.done)


def send_again(ignored: "SimpleQueue[sys.UnraisableHookArgs]") -> None:
    """Send the signal again whenever Python has ignored the exception of its handler.

    It ignores those that come in a destructor or in the callback of a weak reference, as `threading` and `zipfile` have
    them. There must be none in our own code.
    """
    while True:
        found = ignored.get()
        sys.__unraisablehook__(found)
        traceback = found.exc_traceback
        if isinstance(found.exc_value, (SystemExit, KeyboardInterrupt)) and traceback is not None:
            callback = Path(traceback.tb_frame.f_code.co_filename)
            if PACKAGE not in callback.parents:
                sleep(0.01)  # until the process is in the middle of something else
                os.kill(os.getpid(), signal.SIGTERM)
        del found, traceback


def send_ignored_again() -> None:
    """Let a thread send those signals again whose exceptions are ignored in this process.

    The hook itself is not written in Python: if the next signal came in it, both exceptions would be lost.
    """
    ignored: SimpleQueue[sys.UnraisableHookArgs] = SimpleQueue()
    start_new_thread(send_again, (ignored,))
    sys.unraisablehook = ignored.put


PACKAGE: Final = Path(crystallize.__file__).parent


def in_a_child(work: Callable[[], None]) -> int:
    """Do something in a forked process, which ends with it; return its number."""
    child = os.fork()
    if child == 0:
        try:
            logging.disable(logging.CRITICAL)
            # Coverage takes a lock in the middle of any line, which an exception of a handler would leave locked.
            sys.settrace(None)
            threading.settrace(None)
            faulthandler.register(signal.SIGUSR1, 2)
            send_ignored_again()
            work()
        finally:
            os._exit(1)
    return child


def send(child: int, said: Path, random: Random) -> None:
    """Send signals to a process at random moments after it has acknowledged something."""
    before = said.stat().st_size
    while said.stat().st_size < before + 400:
        sleep(0.002)
    sleep(random.random() * 0.05)
    for _ in range(random.choice((1, 1, 2, 5))):
        os.kill(child, signal.SIGTERM)
        sleep(random.random() * 0.002)


def wait_for_end(child: int) -> None:
    """Wait for the end of a process."""
    end = monotonic() + SECONDS
    while not os.waitpid(child, os.WNOHANG)[0]:
        if monotonic() > end:
            os.kill(child, signal.SIGUSR1)  # it prints where its threads are
            sleep(1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"the process did not end in {SECONDS} seconds")
        sleep(0.005)


def wait_for_work(said: Path) -> None:
    """Wait until a process goes on with its work."""
    before, end = said.stat().st_size, monotonic() + SECONDS
    while said.stat().st_size == before:
        assert monotonic() < end, f"the process did nothing for {SECONDS} seconds"
        sleep(0.005)


def check_signals(folder: Path, seed: int) -> None:
    """Send signals to three processes of a run, one after the other; then check the run."""
    random, said = Random(seed), folder / "said"
    writer = Writer(folder, os.open(said, SAY), seed, SMALL)
    for _ in range(3):
        path, make_handler = next(iter(folder.rglob("*.db")), folder / "runs"), random.choice(HANDLERS)
        child = in_a_child(partial(write_on, writer, path, make_handler))
        try:
            send(child, said, random)
            if make_handler is flushing:
                wait_for_work(said)
        finally:
            if make_handler is flushing:
                os.kill(child, signal.SIGKILL)
            wait_for_end(child)
    ((name, promises),) = promises_in([said.read_bytes()], SMALL).items()
    promises.check_resuming(folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_signals(tmp_path: Path, seed: int) -> None:
    """Whenever a signal comes and whatever its handler does, the process goes on or ends, and its run is whole."""
    check_signals(tmp_path, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1170))
def test_500_signals(tmp_path: Path, seed: int) -> None:
    """As above, over as many signals as take minutes."""
    check_signals(tmp_path, seed)
