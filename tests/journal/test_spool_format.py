"""The header of a spool: who writes the run, and whether that process lives."""

import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, load_run
from crystallize._base import file_system
from crystallize._base.file_calls import POSIX
from crystallize._journal import spool_format
from crystallize._journal.spool import Spool
from crystallize._journal.spool_format import START, SpoolHeader, has_writer

RUN = bytes(range(16))


def die_while_starting_a_program(folder: Path) -> None:
    """Record, and die while a child has the lock, as a child has it until its program begins."""
    ctx = Journal.start(folder, "run").context(FrozenContext, {"lr": 0.5})
    with ctx.step("train") as step:
        step.record("loss", 1.0)
    (lock,) = (fd for fd in map(int, os.listdir("/proc/self/fd")) if _target(fd).endswith(".spool"))
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"], pass_fds=(lock,))
    os.kill(os.getpid(), signal.SIGKILL)


def _target(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # the descriptor of the list itself
        return ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the lock in /proc")
def test_a_child_keeps_the_lock_for_an_instant(tmp_path: Path) -> None:
    """A run whose writer was killed while it started a program has died, and all its facts are read."""
    process = get_context("spawn").Process(target=die_while_starting_a_program, args=(tmp_path,))
    process.start()
    process.join()

    run = load_run(tmp_path / "run-0001.db")
    assert run.status == "died"
    assert run.provenance.finished("train")


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def writer_of(path: Path, process: int) -> SpoolHeader:
    """Write into the header of a spool that another process writes it, and return the header."""
    content = path.read_bytes()
    changed = SpoolHeader.read(content)._replace(writer=process)
    path.write_bytes(changed.pack() + content[START:])
    return changed


@pytest.mark.skipif(not POSIX, reason="asks whether a process lives, which is not done on Windows")
def test_another_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the lock in another container is a living writer, though no process here has its number."""
    spool = Spool.claim(tmp_path / "run-0001.spool", RUN)
    assert spool is not None
    header = writer_of(spool.path, dead_process())
    assert header.is_orphan()
    monkeypatch.setattr(spool_format, "process_namespace", lambda: header.namespace + 1)
    assert not header.is_orphan()
    assert has_writer(spool.path)
    monkeypatch.setattr(spool_format, "process_namespace", lambda: 0)
    assert not header._replace(namespace=0).is_orphan()
    spool.close()


def test_a_lock_that_stays(tmp_path: Path) -> None:
    """A child that keeps the lock, and writes nothing, is taken for the writer after half a second."""
    spool = Spool.claim(tmp_path / "run-0001.spool", RUN)
    assert spool is not None
    writer_of(spool.path, dead_process())
    assert has_writer(spool.path)
    spool.close()
    assert not has_writer(spool.path)


def test_deleted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose spool is deleted just now has ended."""
    monkeypatch.setattr(spool_format, "is_locked", lambda path: True)
    assert not has_writer(tmp_path / "run-0001.spool")


def test_a_writer_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may not be signalled lives."""

    def refuse(process: int, signal: int) -> None:
        raise PermissionError

    spool = Spool.claim(tmp_path / "run-0001.spool", RUN)
    assert spool is not None
    monkeypatch.setattr(os, "kill", refuse)
    assert not SpoolHeader.read(spool.path.read_bytes()).is_orphan()
    spool.close()


def test_no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without /proc has no namespaces."""

    def refuse(path: str) -> os.stat_result:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "stat", refuse)
    assert file_system.process_namespace.__wrapped__() == 0
