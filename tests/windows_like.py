"""A plugin that takes away what Python lacks on Windows: `pytest -p tests.windows_like`.

No test runs on Windows. This shows that the package imports, reads and writes without these functions, and that it
neither deletes nor renames a file that this process has open, which Windows refuses.
"""

# `asyncio` and `multiprocessing` import what is about to be taken away; on Windows they have forms of their own.
import asyncio  # noqa: F401
import errno
import fcntl
import multiprocessing.popen_fork
import multiprocessing.util  # noqa: F401
import os
import signal
import struct
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
"""Modules that Windows has not."""
FUNCTIONS = (
    *("fdatasync", "fork", "forkpty", "fstatvfs", "posix_fadvise", "posix_fallocate", "pread", "preadv", "pwrite"),
    *("pwritev", "register_at_fork", "statvfs"),
    *("O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOFOLLOW", "O_SYNC"),
)
"""Names that `os` has not on Windows, but for a few that pytest itself needs here."""


def _locking(descriptor: int, mode: int, length: int, /) -> None:
    """Lock bytes from the position of a file on, for this descriptor alone, as `msvcrt.locking` does."""
    kind = fcntl.F_WRLCK if _flags(descriptor) & os.O_ACCMODE else fcntl.F_RDLCK
    start = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        # An open-file-description lock, which belongs to the descriptor and not to the process.
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0))
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, "Permission denied") from error


def _flags(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL)


def _is_open(path: Any) -> bool:
    """Return whether this process has a file open."""
    wanted = os.path.join(os.path.realpath(os.path.dirname(os.fsdecode(path)) or "."), os.path.basename(path))
    return any(_link(entry) == wanted for entry in os.listdir("/proc/self/fd"))


def _link(entry: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{entry}")
    except FileNotFoundError:  # the descriptor of the listing itself
        return ""


def _is_asked_by_package() -> bool:
    """Return whether the package called a function of `os`, itself or by `pathlib`. Others may do what they did."""
    frame = sys._getframe(2)
    while frame.f_globals["__name__"].startswith("pathlib") and frame.f_back is not None:
        frame = frame.f_back
    return str(frame.f_globals["__name__"]).startswith("crystallize")


def _refusing(function: Callable[..., Any], *, replaces: bool = True) -> Callable[..., Any]:
    """Return a function on paths that refuses files that are open, and with `replaces=False`, to replace a file."""

    def checked(*paths: Any, **options: Any) -> Any:
        if _is_asked_by_package():
            if any(map(_is_open, paths)):
                raise PermissionError(errno.EACCES, "the file is open", os.fspath(paths[0]))
            if not replaces and os.path.exists(paths[1]):
                raise FileExistsError(errno.EEXIST, "the file exists", os.fspath(paths[1]))
        return function(*paths, **options)

    return checked


_open = os.open


def _open_file(path: Any, flags: int, *more: Any, **options: Any) -> int:
    if _is_asked_by_package() and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "a folder cannot be opened", os.fspath(path))
    return _open(path, flags, *more, **options)


def msvcrt_like() -> ModuleType:
    """Return a module with the part of `msvcrt` that locks files."""
    made = ModuleType("msvcrt")
    vars(made).update(LK_NBLCK=2, locking=_locking)
    return made


def pytest_load_initial_conftests() -> None:
    """Make this process as if it ran on Windows, as far as the package can tell."""
    sys.modules["msvcrt"] = msvcrt_like()
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it raises ImportError
    for name in FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    del signal.SIGPIPE
    for name in ("replace", "unlink", "remove"):
        setattr(os, name, _refusing(getattr(os, name)))
    os.rename = _refusing(os.rename, replaces=False)
    os.open = _open_file
