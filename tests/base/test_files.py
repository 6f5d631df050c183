"""Questions about files."""

import os
from pathlib import Path

import pytest

from crystallize._base.files import status_of
from tests.permissions import modes_hold


def test_what_is_there(tmp_path: Path) -> None:
    """A file and a folder have a status."""
    file = tmp_path / "a"
    file.write_bytes(b"12")
    status = status_of(file)

    assert status is not None
    assert 2 == status.st_size
    assert status_of(tmp_path) is not None


def test_what_is_not_there(tmp_path: Path) -> None:
    """No file has none, whether its folder is missing, or is a file, or the name cannot be one."""
    (tmp_path / "a").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    assert [None] * 5 == [status_of(tmp_path / name) for name in ("b", "b/c", "a/b", "loop", "a\0b")]


def test_what_nobody_may_know(tmp_path: Path) -> None:
    """Whether a file is there may be unknown: in a folder that cannot be read, or if its name is too long."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    with modes_hold(), pytest.raises(PermissionError):
        status_of(folder / "a")
    with pytest.raises(OSError, match="too long"):
        status_of(Path("a" * (os.pathconf(tmp_path, "PC_NAME_MAX") + 1)))
