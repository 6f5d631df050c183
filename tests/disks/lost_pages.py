"""A power cut without a disk: the files of a run at every line that changes them, and what a cut leaves of their pages.

While a run is written, every line of the journal is traced, and each state of its files is kept. After a cut, the spool
has, page by page, any content that this page had since the spool was last synced. The database has each commit that was
made before the cut, since SQLite syncs its files before a commit returns.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

from crystallize import FrozenContext, Journal
from crystallize._journal import drainer, frame_writer, run_files, spool_format

from ..journal.journal_runs import no_environment
from .promises import DURABLE, Losses, Profile, Program, Promises

MODULES = ("database", "drainer", "fast_handler", "frame_writer", "journal", "run_files", "run_writer", "spool")
"""The files of the package in which the files of a run are changed."""
CAPACITY = 16 * 1024
"""Bytes of a spool that wraps often."""
PROFILE = Profile((0, 10, 400, 5000, 10_000), 12)
_TRACED = tuple(str(Path(drainer.__file__).with_name(f"{name}.py")) for name in MODULES)
_NEVER = 1_000_000


class State(NamedTuple):
    """The files of a run at one moment."""

    spool: bytes
    database: bytes
    write_ahead: bytes
    syncs: int
    """How often the spool was synced before."""
    least: int | None
    """How many acts are to survive the machine; None if not even the process need."""
    ended: bool


class Recorder:
    """Keeps each state of the files of a run."""

    def __init__(self, path: Path) -> None:
        """Begin before the run is opened."""
        self.states: list[State] = []
        self._path = path
        self._lock = threading.Lock()
        self._syncs, self._ended = 0, False
        self._least: int | None = None

    def observe(self) -> None:
        """Keep the state of now, if there is a run and the state is another."""
        with self._lock:
            state = State(*self._contents(), self._syncs, self._least, self._ended)
            if state.database and (not self.states or state != self.states[-1]):
                self.states.append(state)

    def _contents(self) -> tuple[bytes, bytes, bytes]:
        found = []
        for path in _files(self._path):
            try:
                found.append(path.read_bytes())
            except FileNotFoundError:
                found.append(b"")
        return found[0], found[1], found[2]

    def promise(self, least: int, *, ended: bool = False) -> None:
        """Note what is to survive from now on."""
        self._least, self._ended = least, ended
        self.observe()

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """Observe before each line of the files that change files."""
        file = frame.f_code.co_filename
        # Whoever waits for the drainer could see half a commit, which is no state that lasts.
        is_waiting = file == drainer.__file__ and threading.current_thread() is threading.main_thread()
        if file not in _TRACED or is_waiting:
            return None
        self.observe()
        return self.trace

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Observe everything that happens meanwhile, also in threads that start meanwhile."""
        with patch("os.fsync", self._syncing(os.fsync)), patch("os.fdatasync", self._syncing(os.fdatasync)):
            before, of_threads = sys.gettrace(), threading.gettrace()  # such as that of coverage
            threading.settrace(self.trace)
            sys.settrace(self.trace)
            try:
                yield
            finally:
                sys.settrace(before)
                threading.settrace(of_threads)

    def _syncing(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(descriptor: int) -> None:
            sync(descriptor)
            # A spool may have another name while it is made.
            spools = self._path.parent.glob(f"{self._path.stem}.spool*")
            if any(os.path.samestat(os.fstat(descriptor), path.stat()) for path in spools):
                self.observe()
                self._syncs += 1
                self.observe()

        return synced


def _files(path: Path) -> tuple[Path, Path, Path]:
    return path.with_suffix(".spool"), path, path.with_name(f"{path.name}-wal")


@contextmanager
def small_spools(*, maps: bool = True) -> Iterator[None]:
    """Let spools be small, mapped or written by system calls, and let nothing be drained that nobody waits for."""
    with (
        patch.object(frame_writer, "CAPACITY", CAPACITY),
        patch.object(frame_writer, "is_written_in_place", lambda path: maps),
        patch.object(drainer, "DELAY", _NEVER),
        patch.object(drainer, "BATCH", _NEVER),
        patch.object(run_files, "current_environment", no_environment),
    ):
        yield


@contextmanager
def start_of_the_machine(number: int) -> Iterator[None]:
    """Let the machine have been started again, for a second or third time."""
    with patch.object(spool_format, "boot_identity", lambda: number.to_bytes(16, "big")):
        yield


def recorded(path: Path, promises: Promises, *, acts: int, maps: bool = True) -> list[State]:
    """Start a run in a folder, or go on with the run in a file, and close it; return the states of its files."""
    is_resumed = path.suffix == ".db"
    with small_spools(maps=maps):
        process = max(promises.found, default=0) + 1
        program = Program(promises.seed, process, PROFILE)
        recorder = Recorder(path if is_resumed else path / "run-0001.db")
        with recorder.watching():
            journal = Journal.resume(path) if is_resumed else Journal.start(path, "run")
            ctx = journal.context(FrozenContext, None if is_resumed else {"seed": promises.seed}, metrics=Losses)
            journal.flush()
            recorder.promise(0)
            while program.done < acts:
                if program.do(journal, ctx).kind in DURABLE:
                    recorder.promise(program.done)
            program.do_whole(journal, ctx, 0)
            journal.close()
            recorder.promise(program.done, ended=True)
    return recorder.states


def cut(states: list[State], moment: float, random: Random, path: Path, *, is_durable: bool = False) -> State:
    """Write the files of a run as a power cut leaves them; return the state at the cut.

    Args:
        states: The states of the files.
        moment: When the power goes, between 0 and 1.
        random: Decides which pages, or sectors, of the spool are there.
        path: The file of the run; it is made.
        is_durable: Whether the first state is on the disk already.
    """
    # Half of the cuts come at once before something is synced or promised, or at once after it.
    said = [(state.syncs, state.least) for state in states]
    changes = [at for at, (before, after) in enumerate(pairwise(said)) if before != after]
    moments = [*range(len(states))] if random.random() < 0.5 else [at + random.choice((0, 1)) for at in changes]
    at, unit = moments[int(moment * len(moments))], random.choice((512, 4096))
    state = states[at]
    # Since the last sync, any piece may have been written out at any time, or never.
    since = [before.spool for before in states[: at + 1] if before.syncs == state.syncs and before.spool]
    if not state.syncs and not is_durable:
        since.insert(0, bytes(len(state.spool)))
    kept = random.choice(("newest", "oldest", "mixed", "mixed", "newest but one", "oldest but one"))
    content = bytearray(state.spool)
    strange = random.randrange(max(len(content) // unit, 1))
    for number, start in enumerate(range(0, len(content), unit)):
        newest = {"newest": True, "oldest": False, "newest but one": number != strange}.get(kept, number == strange)
        source = random.choice(since) if kept == "mixed" else since[-1 if newest else 0]
        content[start : start + unit] = source[start : start + unit]
    for file, data in zip(_files(path), (bytes(content), state.database, state.write_ahead), strict=True):
        if data:
            file.write_bytes(data)
    return state
