"""Runs on a disk that fails from some moment on, and is whole again after it has been mounted anew."""

import os
from pathlib import Path
from random import Random

import pytest

from .faults import FAULTS, Fault, Faults
from .logged_disk import LoggedDisk
from .mounts import boot_again, in_own_mounts, make_file_system, missing, mounted, served
from .promises import promises_in
from .writer import SAY, Writer, in_a_fork

SIZE = 320 << 20
"""Bytes of the disk: XFS takes none that is smaller than 300 MiB."""
REASON = missing("mkfs.ext4", "mkfs.xfs", "losetup", device="/dev/fuse")
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(REASON), reason=REASON)]


def check_failing(scratch: Path, kind: str, fault: Fault, seed: int) -> None:
    """Let the disk fail in the middle of a run; then check the run on the disk as it is."""
    said, faults = scratch / "said", Faults()
    with served(LoggedDisk(SIZE, faults=faults), scratch / "fuse") as disk:
        make_file_system(kind, disk / "disk")
        with mounted(disk / "disk", scratch / "disk") as root:
            writer = Writer(root, os.open(said, SAY), seed)

            def write() -> bool:
                opened = writer.open(root / "runs")
                return writer.write_until_it_fails(opened, survives="machine", most=20_000, pause=0.001)

            later = faults.later(fault, said, Random(seed).random())
            assert in_a_fork(write, later), "the journal went on as if nothing had happened"
        faults.set(None)
        boot_again(scratch, 1)
        with mounted(disk / "disk", scratch / "disk") as root:
            for name, promises in promises_in([said.read_bytes()]).items():
                promises.check_resuming(root / name)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("seed", range(2))
def test_a_disk_that_fails(tmp_path: Path, seed: int, kind: str, fault: Fault) -> None:
    """Where the disk fails, so does the journal, loudly, and all that was promised is there when the disk is back."""
    in_own_mounts(check_failing, tmp_path, kind, fault, seed)
