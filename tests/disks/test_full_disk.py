"""Runs on disks that fill: before the start or at any place after it, also where a copy on write needs the room."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import sleep
from typing import Final

import pytest

from crystallize import JournalError

from .mounts import in_own_mounts, make_file_system, memory, missing, mounted, resize, run
from .promises import promises_in
from .writer import SAY, Writer, in_a_fork

REASON = missing()
ON_DISKS = missing("mkfs.ext4", "mkfs.btrfs", "btrfs", "mkfs.xfs", "losetup")
pytestmark = pytest.mark.long
SPOOL: Final = 16 << 20
"""About the room that a run needs at its start."""
KIB: Final = 1 << 10
SIZES: Final = (
    *range(64 * KIB, 1024 * KIB, 96 * KIB),
    *range(SPOOL - 64 * KIB, SPOOL + 256 * KIB, 16 * KIB),
    *range(SPOOL + 256 * KIB, SPOOL + 4096 * KIB, 100 * KIB),
)
"""In a memory file system, bytes that are not enough for a run, just enough for its start, or for a part of it."""
IMAGE: Final = 320 << 20


def check_size(scratch: Path, size: int, seed: int) -> str:
    """Write a run where there is little room, check it, and go on with room; return how the first part ended."""
    said = scratch / f"said-{seed}"
    with memory(scratch / "full", size) as root:
        writer = Writer(root, os.open(said, SAY), seed)

        def write() -> bool:
            with suppress(JournalError):
                return writer.write_until_it_fails(writer.open(root), survives="process", most=2000)
            return True

        has_failed = in_a_fork(write, partial(sleep, 0.01))
        found = promises_in([said.read_bytes()])
        if not found:
            left = [path.name for path in root.iterdir()]
            assert not left, f"a start that was refused for want of {size} bytes left {left}"
            return "refused"
        resize(root, 64 << 20)
        for name, promises in found.items():
            promises.check_resuming(root / name)
    return "failed" if has_failed else "ended"


def check_sizes(scratch: Path) -> list[str]:
    """Do the same for all sizes."""
    return [check_size(scratch, size, seed) for seed, size in enumerate(SIZES)]


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_any_size(tmp_path: Path) -> None:
    """A start that finds no room leaves nothing; a run that runs out of it has all, and goes on when there is room."""
    ends = in_own_mounts(check_sizes, tmp_path)
    assert {"refused", "failed"} <= set(ends)


def fill_up(folder: Path) -> None:
    """Take all room of a file system, to the last sector."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for unit in (1 << 20, 1 << 16, 4096, 512):
            with suppress(OSError):
                while file.write(bytes(unit)):
                    pass
        with suppress(OSError):
            os.fsync(file.fileno())


def share(root: Path, how: str) -> None:
    """Let another file own the bytes of a run as well, so that a write to them needs new room."""
    if how == "snapshot":
        run("btrfs", "-q", "subvolume", "snapshot", root, root / "snapshot")
    for spool in root.glob("runs/*") if how == "reflink" else ():
        run("cp", "--reflink=always", spool, root / f"copy of {spool.name}")


def check_shared(scratch: Path, kind: str, how: str) -> None:
    """Write a run, share its bytes, fill the disk, go on writing; check the run, and go on when there is room."""
    image, said = scratch / "image", scratch / "said"
    with image.open("wb") as file:
        file.truncate(IMAGE)
    make_file_system(kind, image)
    with mounted(image, scratch / "disk") as root:
        writer = Writer(root, os.open(said, SAY), 1)

        def write() -> bool:
            opened = writer.open(root / "runs")
            os.sync()
            share(root, how)
            fill_up(root)
            return writer.write_until_it_fails(opened, survives="process", most=4000)

        in_a_fork(write, partial(sleep, 0.01))
        (root / "filler").unlink()
        run("sync", "-f", root)
        ((name, promises),) = promises_in([said.read_bytes()]).items()
        promises.check_resuming(root / name)


@pytest.mark.skipif(bool(ON_DISKS), reason=ON_DISKS)
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("ext4", "alone"),
        ("xfs", "alone"),
        ("xfs", "reflink"),
        ("btrfs", "alone"),
        ("btrfs", "reflink"),
        ("btrfs", "snapshot"),
    ],
)
def test_a_disk_that_fills_later(tmp_path: Path, kind: str, how: str) -> None:
    """A disk that fills after the start is an error of ours, and never SIGBUS; a run goes on when there is room."""
    in_own_mounts(check_shared, tmp_path, kind, how)
