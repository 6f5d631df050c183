"""A folder for files between processes: private, removed at the end, or by the next one if its process was killed."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import pytest

from crystallize import Journal
from crystallize._base import exchange_folder as module
from crystallize._base.exchange_folder import exchange_folder, remove_leftovers
from crystallize._base.object_folder import LEFT_AFTER
from tests.permissions import modes_hold

OWNER = """
import os, sys, time
from pathlib import Path
from crystallize._base.exchange_folder import exchange_folder
with exchange_folder(Path(sys.argv[1])) as folder:
    (folder / "base").write_bytes(b"values")
    if sys.argv[2] == "forks" and os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    print(folder, flush=True)
    time.sleep(60)
"""


@contextmanager
def owner(parent: Path, what: str = "waits") -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """Start a process that has a folder."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(parent), what], stdout=subprocess.PIPE, text=True) as found:
        assert found.stdout is not None
        try:
            yield Path(found.stdout.readline().strip()), found
        finally:
            found.kill()


def test_a_folder_lives_as_long_as_its_block(tmp_path: Path) -> None:
    """Only the owner can use the folder, and it is removed with its files, also after an error."""
    with exchange_folder(tmp_path) as folder:
        assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
        (folder / "base").write_bytes(b"values")
    assert [] == list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError), exchange_folder(tmp_path) as folder:
        (folder / "absent").read_bytes()
    assert [] == list(tmp_path.iterdir())


def test_two_folders_at_a_time(tmp_path: Path) -> None:
    """Folders of one process do not disturb each other."""
    with exchange_folder(tmp_path) as first:
        with exchange_folder(tmp_path) as second:
            assert sorted([first, second]) == sorted(tmp_path.iterdir())
        assert [first] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_folder_of_a_killed_process(tmp_path: Path) -> None:
    """The next folder, or the next run there, removes what a killed process has left, and nothing of a living one."""
    with owner(tmp_path) as (living, _):
        for kind in ("folder", "run"):
            with owner(tmp_path) as (left, process):
                process.kill()
                process.wait()
                assert left.exists()
                if kind == "run":
                    Journal.start(tmp_path, "run").close()
                else:
                    with exchange_folder(tmp_path):
                        pass
                assert not left.exists()
        assert ["base", "owner"] == sorted(os.listdir(living))


def test_leftovers_are_searched_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many calls in a folder with very many files take no time for the search."""
    left = tmp_path / "crystallize-branches-left"

    def is_found(now: float) -> bool:
        monkeypatch.setattr("time.monotonic", lambda: now)
        left.mkdir(exist_ok=True)
        (left / "owner").touch()
        with exchange_folder(tmp_path):
            return not left.exists()

    assert [True, False, True, False] == [is_found(now) for now in (0.0, 59.0, 61.0, 62.0)]


@pytest.mark.slow
def test_a_worker_that_outlives_its_parent(tmp_path: Path) -> None:
    """A process that was forked from the owner does not keep the folder."""
    with owner(tmp_path, "forks") as (left, process):
        process.send_signal(SIGKILL)
        process.wait()
        while left.exists():  # the forked process may not have had its first instant
            remove_leftovers(tmp_path)


def test_a_forked_process_leaves_the_folder(tmp_path: Path) -> None:
    """Where the block ends in a process that was forked within it, the folder stays to its owner."""
    with exchange_folder(tmp_path) as folder:
        module._leave()  # as in such a process
    assert [folder] == list(tmp_path.iterdir())
    remove_leftovers(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_what_is_left_of_a_start(tmp_path: Path) -> None:
    """A folder without its locked file may be just begun: it stays for a day."""
    fresh, old = (tmp_path / f"crystallize-branches-{name}" for name in ("fresh", "old"))
    for folder in (fresh, old):
        folder.mkdir()
        (folder / "base").touch()
    before = old.stat().st_mtime - LEFT_AFTER - 1
    os.utime(old, (before, before))
    remove_leftovers(tmp_path)
    assert [fresh] == list(tmp_path.iterdir())


def test_what_is_not_a_folder_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, files, and the folders of other users stay."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "owner").touch()
    (tmp_path / "crystallize-branches-link").symlink_to(other)
    (tmp_path / "crystallize-branches-file").touch()
    (tmp_path / "crystallize-branches-foreign").mkdir()
    (tmp_path / "crystallize-branches-foreign" / "owner").touch()
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        remove_leftovers(tmp_path)
    assert before == sorted(tmp_path.rglob("*"))
    remove_leftovers(tmp_path)
    assert not (tmp_path / "crystallize-branches-foreign").exists()
    assert (other / "owner").exists()
    assert 2 == len(list(tmp_path.glob("crystallize-branches-*")))
    remove_leftovers(tmp_path / "absent")


def test_a_folder_that_cannot_be_changed(tmp_path: Path) -> None:
    """Where a folder cannot be made, that is an error of the system; leftovers that cannot be removed stay."""
    left = tmp_path / "crystallize-branches-left"
    left.mkdir()
    (left / "owner").touch()
    tmp_path.chmod(0o500)
    try:
        with modes_hold(), pytest.raises(PermissionError), exchange_folder(tmp_path):
            pass
    finally:
        tmp_path.chmod(0o700)
    assert left.exists()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the locked file cannot be made, the folder is removed."""

    def refuse(path: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "create_file", refuse)
    with pytest.raises(OSError, match="No space left"), exchange_folder(tmp_path):
        pass
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_taken_for_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process finds the file before it is locked, another folder is made."""
    tries: list[int] = []

    def lock(descriptor: int) -> bool:
        tries.append(descriptor)
        return len(tries) > 1

    monkeypatch.setattr(module, "lock", lock)
    with exchange_folder(tmp_path) as folder:
        assert [folder] == list(tmp_path.iterdir())
    assert 2 == len(tries)
