"""Power cuts: a recording of a disk on which runs were written, and the disk as it would be after a cut at any moment.

A write that was not flushed when the power went may be on the disk, or not, or in part; in any order.
"""

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Final, Literal, NamedTuple

from .logged_disk import FLUSH, SAID, WRITE, Entry, LoggedDisk, entries
from .mirror import Mirror
from .mounts import boot_again, make_file_system, mounted, run, served
from .promises import LARGE, Promises, promises_in
from .writer import Writer, in_a_fork

SIZE: Final = 192 << 20
_RUNS: Final = 8
"""Maximum number of runs, whose spools have room on the disk."""
_LEAST_RUNS: Final = 4
"""Runs that are written even if the time is over, as on a machine that is busy."""
Kept = Literal["all", "none", "sectors", "pages", "prefix"]
"""Which of the writes since the last flush the disk has: all, none, each sector of 512 bytes or each page of 4096 bytes
by chance, or those up to some moment."""
KEPT: Final[tuple[Kept, ...]] = ("all", "none", "sectors", "pages", "prefix")
_UNITS: Final = {"sectors": 512, "pages": 4096}


class Way(NamedTuple):
    """How the runs of a recording come to the disk."""

    writes_back: bool = False
    """Whether the kernel is made to write out pages of spools at random moments, and not only when it is time, as it
    would on a machine that is short of memory."""
    is_remote: bool = False
    """Whether the disk is that of a server, and the runs are written through a network file system."""


def record(scratch: Path, seed: int, seconds: float, way: Way) -> Path:
    """Write runs on an ext4, and start new ones for some seconds; return the log of its disk."""
    log, disk, root = scratch / "log", scratch / "fuse", scratch / "disk"
    with served(LoggedDisk(SIZE, log), disk):
        make_file_system("ext4", disk / "disk")
        with ExitStack() as stack:
            stack.enter_context(mounted(disk / "disk", root))
            run("sync", "-f", root)
            said = os.open(disk / "said", os.O_WRONLY)
            if way.is_remote:
                root = stack.enter_context(served(Mirror(root), scratch / "net"))
            _write_runs(root, seed, monotonic() + seconds, said, way)
            os.close(said)
    return log


def _write_runs(root: Path, seed: int, until: float, said: int, way: Way) -> None:
    for number in range(_RUNS):
        random = Random(f"{seed}/{number}")
        if monotonic() > until and number >= _LEAST_RUNS:
            return
        # Some folders are new, with parents that are new as well.
        folder = root / random.choice(("runs", f"new-{number}", f"deep-{number}/new/runs"))
        writer = Writer(root, said, 1000 * seed + number, LARGE)
        before = set(root.rglob("*.db"))
        for _ in range(random.choice((1, 1, 2, 3))):
            new = set(root.rglob("*.db")) - before
            work = partial(_write, writer, new.pop() if new else folder, Random(random.random()), until)
            in_a_fork(work, partial(_beside, root, random, way.writes_back))


def _write(writer: Writer, path: Path, random: Random, until: float) -> None:
    writer.write(writer.open(path), random, until)


def _beside(root: Path, random: Random, writes_back: bool) -> None:
    """Wait a little; perhaps start to write out the pages of spools, without a flush."""
    sleep(random.random() * 0.03)
    if not writes_back or random.random() < 0.5:
        return
    libc, write = ctypes.CDLL(None, use_errno=True), 2
    for path in root.rglob("*.spool"):
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            libc.sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), write)
            os.close(descriptor)


class Cut(NamedTuple):
    """A moment at which the power goes."""

    at: int
    """The number of entries of the log before it."""
    kept: Kept


class Recording:
    """A log of a disk, and the disks that it may have left."""

    def __init__(self, log: Path) -> None:
        """Read a log."""
        self._entries: Sequence[Entry] = list(entries(log.read_bytes()))
        said = [at for at, entry in enumerate(self._entries) if entry.kind == SAID]
        assert len(said) > 10, f"only {len(said)} promises were said"
        self._first, self._last = said[0], said[-1]
        self._disk = mmap.mmap(-1, SIZE)
        self._flushed = 0
        """The number of entries that are on `_disk` for certain."""

    def cuts(self, count: int, random: Random) -> Iterator[Cut]:
        """Return random cuts, in the order of their moments."""
        # Half of them come at once after a promise, which has then been kept for the shortest time.
        after = [at + 1 for at in range(self._first, self._last + 1) if self._entries[at].kind == SAID]
        anywhere = range(self._first + 1, self._last + 2)
        moments = sorted(random.choice(random.choice((after, anywhere))) for _ in range(count))
        return (Cut(at, random.choice(KEPT)) for at in moments)

    def write_image(self, cut: Cut, image: Path, random: Random) -> None:
        """Write the disk after a cut to a file; cuts come in the order of their moments."""
        before = range(self._flushed, cut.at)
        flushed = max((at + 1 for at in before if self._entries[at].kind == FLUSH), default=self._flushed)
        for entry in self._entries[self._flushed : flushed]:
            if entry.kind == WRITE:
                self._disk[entry.offset : entry.offset + len(entry.data)] = entry.data
        self._flushed = flushed
        with image.open("wb") as file:
            _write_sparse(file.fileno(), self._disk)
            for offset, data in self._surviving(cut, flushed, random):
                os.pwrite(file.fileno(), data, offset)

    def _surviving(self, cut: Cut, flushed: int, random: Random) -> Iterator[tuple[int, bytes]]:
        """Return the pieces of the writes since the last flush that reached the disk."""
        writes = [entry for entry in self._entries[flushed : cut.at] if entry.kind == WRITE]
        if cut.kept == "none":
            return
        if cut.kept == "prefix":
            writes = writes[: random.randrange(len(writes) + 1)]
        for _, offset, data in writes:
            unit = _UNITS.get(cut.kept, len(data))
            for at in range(0, len(data), unit):
                if cut.kept not in _UNITS or random.random() < 0.5:
                    yield offset + at, data[at : at + unit]

    def promises(self, cut: Cut) -> dict[str, Promises]:
        """Return what was promised of each run before a cut."""
        said = (entry.data for entry in self._entries[: cut.at] if entry.kind == SAID)
        return promises_in(said, LARGE)


def _write_sparse(descriptor: int, content: mmap.mmap) -> None:
    """Write bytes to an empty file, without those that are zero."""
    size, unit = len(content), 1 << 16
    os.ftruncate(descriptor, size)
    zeros = bytes(unit)
    for at in range(0, size, unit):
        piece = content[at : at + unit]
        if piece != zeros:
            os.pwrite(descriptor, piece, at)


def check_cuts(scratch: Path, seed: int, cuts: int, seconds: float, way: Way) -> tuple[int, list[str]]:
    """Record a disk and cut its power at random moments; return how many runs were checked, and what was broken."""
    random = Random(seed)
    recording = Recording(record(scratch, seed, seconds, way))
    checked, broken = 0, list[str]()
    for number, cut in enumerate(recording.cuts(cuts, random)):
        image = scratch / "image"
        recording.write_image(cut, image, random)
        boot_again(scratch, number)
        with mounted(image, scratch / "cut") as root:
            promises = recording.promises(cut)
            gone = [name for name, of in promises.items() if of.least and not (root / name).exists()]
            broken.extend(f"{cut}: {name} is gone" for name in gone)
            for path in sorted(root.rglob("*.db")):
                name = str(path.relative_to(root))
                checked += 1
                try:
                    promises.get(name, Promises(seed)).check_resuming(path)
                except Exception as error:
                    broken.append(f"{cut}: {name}: {type(error).__name__}: {error}")
    return checked, broken
