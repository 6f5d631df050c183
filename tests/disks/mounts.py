"""Mounts for tests, in a process that has its own: when the process ends, however it does, they are gone."""

import ctypes
import multiprocessing
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from . import fuse

_processes = multiprocessing.get_context("spawn")
_forks = multiprocessing.get_context("fork")
_CLONE_NEWNS: Final = 0x00020000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_MAKE: Final = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", "-J", "size=4"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "--mixed"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1"],
}


def missing(*programs: str, device: str | None = None) -> str:
    """Return why tests that mount cannot run here; empty if they can."""
    if sys.platform != "linux":
        return "it mounts file systems, which is written for Linux"
    if os.geteuid() != 0:
        return "it mounts file systems, which needs root"
    if device is not None and not os.access(device, os.R_OK | os.W_OK):
        return f"it needs {device}"
    absent = [program for program in ("mount", "umount", "unshare", *programs) if shutil.which(program) is None]
    if absent:
        return f"it needs {', '.join(absent)}"
    return "" if _may_unshare() else "it needs mounts of its own, which this container does not allow"


@cache
def _may_unshare() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None):
        raise OSError(ctypes.get_errno(), "no mounts of its own")


def in_own_mounts(work: Callable[..., Any], *given: Any, seconds: float = 600) -> Any:
    """Run a function in a process with mounts of its own, and return its result.

    Raises:
        AssertionError: The function raised; the text has its traceback.
    """
    here, there = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_reporting, args=(there, work, given))
    process.start()
    there.close()
    try:
        assert here.poll(seconds), f"{work.__name__} hangs"
        is_fine, result = here.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"the process died: {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        here.close()
    assert is_fine, result
    return result


def _reporting(pipe: Connection, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    _unshare()
    try:
        pipe.send((True, work(*given)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))


def run(*command: str | Path) -> None:
    """Run a program; if it fails, raise an error with its output."""
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if ended.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {ended.returncode} {ended.stdout}{ended.stderr}")


def make_file_system(kind: str, image: Path) -> None:
    """Make an empty file system in a file: "ext4", "btrfs" or "xfs"."""
    run(*_MAKE[kind], image)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """Mount the file system in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", "loop,nodiscard", image, folder)
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def memory(folder: Path, size: int) -> Iterator[Path]:
    """Mount a file system in memory with room for so many bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        _unmount(folder)


def resize(folder: Path, size: int) -> None:
    """Give a file system in memory another size."""
    run("mount", "-o", f"remount,size={size}", folder)


@contextmanager
def served(system: fuse.FileSystem, folder: Path) -> Iterator[Path]:
    """Serve a file system of FUSE, in another process: the kernel may ask for a page while Python's lock is held."""
    folder.mkdir(parents=True, exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    try:
        fuse.mount(device, str(folder))
        server = _forks.Process(target=system.serve, args=(device,), daemon=True)
        server.start()
    finally:
        os.close(device)
    try:
        yield folder
    finally:
        _unmount(folder)
        server.join(10)
        server.kill()
        server.join()


def _unmount(folder: Path) -> None:
    """Unmount; if a killed process or a traceback still has a file open, later, when it is closed."""
    if subprocess.run(["umount", folder], capture_output=True).returncode:
        run("umount", "-l", folder)


def boot_again(folder: Path, number: int) -> None:
    """Let this process and its children find the id of another boot of the machine."""
    file = folder / f"boot-{number}"
    file.write_text(f"00000000-0000-4000-8000-{number:012}\n")
    run("mount", "--bind", file, _BOOT_ID)
