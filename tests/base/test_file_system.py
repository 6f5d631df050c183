"""Files of a run: created exclusively, never through a link, and durable; and what the kernel says of file systems."""

import errno
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, JournalError, load_run
from crystallize._base import file_system
from crystallize._base.file_system import (
    LONGEST_PATH,
    above_stdio,
    boot_identity,
    create_file,
    file_system_of,
    is_network,
    is_written_in_place,
    make_folder,
    open_file,
    sync_folder,
    write_all,
)
from crystallize._journal import read_run
from crystallize._journal.database import connect
from crystallize.runs import verify_run
from tests.journal.train_runs import died

PRECIOUS = b"the content of a file that somebody else owns\n"


@pytest.mark.parametrize(
    "name", ["p-0001.spool.new", "p-0001.spool", "p-0001.new", "p-0001.db", "p-0001.db-wal", "p-0001.db-journal"]
)
def test_link_at_a_name_of_a_new_run(tmp_path: Path, name: str) -> None:
    """A link in the place of any file of a run is not followed: its target keeps its content."""
    victim, runs = tmp_path / "victim.txt", tmp_path / "runs"
    victim.write_bytes(PRECIOUS)
    runs.mkdir()
    (runs / name).symlink_to(victim)
    try:
        with Journal.start(runs, "p") as journal:
            journal.context(FrozenContext, {"x": 1})
    except JournalError as error:
        assert name in str(error)  # noqa: PT017  # a refusal is right, too
    else:
        assert () == verify_run(journal.path)
    assert PRECIOUS == victim.read_bytes()


@pytest.mark.parametrize("make_link", [os.symlink, os.link])
def test_link_at_the_spool_of_a_resumed_run(tmp_path: Path, make_link: object) -> None:
    """A file in place of the spool that is none of the run's is left as it is."""
    assert callable(make_link)
    path = tmp_path / "runs" / "run-0001.db"
    with Journal.start(path.parent, "run") as journal:
        journal.context(FrozenContext, {"x": 1})
    victim = tmp_path / "victim.txt"
    victim.write_bytes(PRECIOUS)
    make_link(victim, path.with_suffix(".spool"))
    with pytest.raises(JournalError, match=r"run-0001\.spool"):
        Journal.resume(path)
    assert PRECIOUS == victim.read_bytes()


def test_pipe_in_place_of_a_spool(tmp_path: Path) -> None:
    """Opening what is not a regular file is an error, and waits for nobody."""
    path = died(tmp_path, {"x": 1})
    path.with_suffix(".spool").unlink()
    os.mkfifo(path.with_suffix(".spool"))
    with pytest.raises(OSError, match="not a regular file"):
        open_file(path.with_suffix(".spool"))


def test_descriptors_of_standard_streams(tmp_path: Path) -> None:
    """In a program whose standard streams are closed, as in a daemon, nothing that it prints goes into a run."""
    program = f"""
import os, signal, sys
for number in (0, 1, 2):
    os.close(number)
from crystallize import FrozenContext, Journal
journal = Journal.start({str(tmp_path)!r}, "run")
ctx = journal.context(FrozenContext)
for at in range(10):
    ctx.record("loss", at)
for number in (0, 1, 2):
    try:
        os.write(number, b"a library in C prints this" * 100)
    except OSError:
        pass
for at in range(10, 20):
    ctx.record("loss", at)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert tuple(range(20)) == load_run(tmp_path / "run-0001.db").metrics["loss"]


def test_created_once(tmp_path: Path) -> None:
    """A file is created where there is none, and opened where there is one."""
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        open_file(path)
    os.close(create_file(path))
    with pytest.raises(FileExistsError):
        create_file(path)
    os.close(open_file(path))


def test_writes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call that writes a part is repeated for the rest."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: real(descriptor, data[:3], at))
    descriptor = create_file(tmp_path / "file")
    write_all(descriptor, b"0123456789", 2)
    os.close(descriptor)
    assert b"\0\0" + b"0123456789" == (tmp_path / "file").read_bytes()


def test_new_folders_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of all folders that are made are synced, each in its parent."""
    synced: list[Path] = []
    monkeypatch.setattr(file_system, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b" / "c")
    assert [tmp_path, tmp_path / "a", tmp_path / "a" / "b"] == synced
    make_folder(tmp_path / "a" / "b" / "c")
    assert 3 == len(synced)


def test_folder_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot sync folders, that is no error; a disk that fails is one."""

    def refuse(number: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *given: refuse(errno.EACCES))
        sync_folder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: refuse(errno.EINVAL))
        sync_folder(tmp_path)
        patch.setattr(os, "fsync", lambda descriptor: refuse(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            sync_folder(tmp_path)


MOUNTS = rb"""
21 1 259:1 / / rw,relatime - ext4 /dev/root rw
22 21 0:5 / /proc rw - proc proc rw
23 21 0:40 / /data rw shared:1 - nfs4 server:/data rw
24 23 0:41 / /data/fast rw - btrfs /dev/sdb rw
25 21 0:42 / /with\040blank rw - fuse.sshfs me@host: rw
26 21 0:43 / /data/fast rw - tmpfs tmpfs rw
""".strip()


def test_file_system_of_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The innermost mount counts, and of several at one place the last."""
    monkeypatch.setattr(Path, "read_bytes", lambda path: MOUNTS)
    kinds = {path: file_system_of(Path(path)) for path in ("/home/me", "/data/runs", "/data/fast/runs", "/database")}
    assert {"/home/me": "ext4", "/data/runs": "nfs4", "/data/fast/runs": "tmpfs", "/database": "ext4"} == kinds
    assert [True, False, False] == [
        is_written_in_place(Path(path)) for path in ("/home/me", "/data/runs", "/with blank/runs")
    ]
    assert [False, True, True] == [is_network(Path(path)) for path in ("/home/me", "/data/runs", "/with blank/runs")]


def test_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system has no list of mounts, files are written, not mapped, and the boot is unknown."""

    def refuse(path: Path) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "" == file_system_of(tmp_path)
    assert not is_written_in_place(tmp_path)
    assert not is_network(tmp_path)
    monkeypatch.setattr(Path, "read_text", refuse)
    boot_identity.cache_clear()
    assert bytes(16) == boot_identity()
    boot_identity.cache_clear()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"")
    assert "" == file_system_of(tmp_path)


def test_longest_path(tmp_path: Path) -> None:
    """A path that is too long for SQLite is refused with the limit, and nothing is made; the longest one works."""
    folder = tmp_path
    while len(str(folder)) < LONGEST_PATH - 150:
        folder /= "x" * 50
    room = LONGEST_PATH - len(str(folder)) - len("/-0001.db")
    with Journal.start(folder, "n" * room) as journal:
        journal.context(FrozenContext, {"lr": 0.1})
    assert {"lr": 0.1} == load_run(journal.path).values
    with pytest.raises(JournalError, match=rf"has {LONGEST_PATH + 1} bytes, and SQLite takes at most {LONGEST_PATH}"):
        Journal.start(folder / "deeper", "n" * (room - len("/deeper") + 1))
    assert not (folder / "deeper").exists()


@pytest.mark.parametrize(("kind", "expected"), [("ext4", 2), ("xfs", 3), ("", 2), ("btrfs", 3), ("nfs4", 3)])
def test_how_a_database_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: int) -> None:
    """Without a write-ahead log SQLite also syncs the folder at each commit, which is a file's deletion then."""
    path = died(tmp_path, {"lr": 0.1})
    monkeypatch.setattr(file_system, "file_system_of", lambda path: kind)
    with closing(connect(path, write=True)) as connection:
        assert (expected,) == connection.execute("PRAGMA synchronous").fetchone()


@pytest.mark.parametrize("kind", ["btrfs", "nfs4", ""])
def test_runs_on_other_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Where files are not mapped and SQLite has no write-ahead log, a run dies and goes on as everywhere."""
    monkeypatch.setattr(file_system, "file_system_of", lambda path: kind)
    path = died(tmp_path, {"lr": 0.1})
    with Journal.resume(path) as journal:
        assert ("" == kind) == path.with_name("run-0001.db-wal").exists()
        ctx = journal.context(FrozenContext)
        with ctx.step("fit") as fit:
            for at in range(2000):
                fit.record("loss", at)
        journal.flush()
        assert "running" == load_run(path).status
    run = load_run(path)
    assert ("finished", tuple(range(2000))) == (run.status, run.metrics["loss"])
    assert () == verify_run(path)
    assert [path.name] == [file.name for file in tmp_path.iterdir()]
    assert read_run.real(path) == path


def test_files_are_opened_above_standard_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Low numbers that are free are taken while files are opened, and free again afterwards."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    monkeypatch.setattr(file_system, "_STANDARD_ERROR", free + 1)
    with above_stdio():
        opened = os.open(os.devnull, os.O_RDONLY)
    assert opened > free + 1
    os.close(opened)
    again = os.open(os.devnull, os.O_RDONLY)
    os.close(again)
    assert free == again
