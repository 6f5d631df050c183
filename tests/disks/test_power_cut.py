"""Runs on a disk whose power is cut at random moments: all that was promised is there, and the run goes on."""

from pathlib import Path

import pytest

from .mounts import in_own_mounts, missing
from .power_cut import Way, check_cuts

REASON = missing("mkfs.ext4", "losetup", device="/dev/fuse")
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("way", [Way(), Way(writes_back=True), Way(is_remote=True)], ids=["lazy", "eager", "remote"])
def test_power_cuts(tmp_path: Path, seed: int, way: Way) -> None:
    """Whenever the power goes, each run loads, verifies and resumes, and has all that was promised, without a hole."""
    checked, broken = in_own_mounts(check_cuts, tmp_path, seed, 20, 6.0, way)
    assert checked >= 10
    assert not broken, "\n".join([f"{len(broken)} of {checked} runs broke a promise:", *broken[:10]])
