"""How the files of a run are created, opened and made durable, and what their file system can do.

The names of a run's files can be predicted, and the folder may be one that others can write to. So files are created
exclusively, and links are never followed.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from ..errors import JournalError
from .file_calls import POSIX, write_at

_FLAGS: Final = (
    os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)  # Windows has only the last one
_STANDARD_ERROR: Final = 2


def create_file(path: Path) -> int:
    """Create a file and return its descriptor; an existing file, or a link, raises FileExistsError."""
    return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)


def open_file(path: Path) -> int:
    """Open an existing file for reading and writing; a link, or anything but a file, raises OSError."""
    descriptor = os.open(path, _FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def open_for_reading(path: Path) -> BinaryIO:
    """Open an existing file for reading; a link, or anything but a file, raises OSError."""
    # A pipe would wait for its writer.
    flags = (_FLAGS & ~os.O_RDWR) | os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return open(descriptor, "rb")


@contextmanager
def above_stdio() -> Iterator[None]:
    """Let all files that are opened in a `with` block have descriptors above those of the standard streams.

    If one of the standard streams is closed, as in a daemon, the next file that is opened gets its number. The output
    of the program would go into that file.
    """
    low: list[int] = []
    try:
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
            low.append(descriptor)
        os.close(descriptor)
        yield
    finally:
        for descriptor in low:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes, at: int) -> None:
    """Write bytes at a position; a full disk raises OSError, and never writes a part silently."""
    rest = memoryview(data)
    while rest:
        written = write_at(descriptor, rest, at)
        rest, at = rest[written:], at + written


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, so that their names survive a crash of the machine."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(new):
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, as far as the system can: Windows opens no folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no folders
            raise
    finally:
        os.close(descriptor)


def sync_data(descriptor: int) -> None:
    """Make the content of a file durable, including bytes that were stored through a mapping."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


@cache
def boot_identity() -> bytes:
    """Return the 16 bytes that identify the time since the machine started; zeros if the system has no such number."""
    try:
        return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
    except (OSError, ValueError):
        return bytes(16)


@cache
def process_namespace() -> int:
    """Return the number of the namespace that process numbers belong to; 0 if the system has no such number."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


_IN_PLACE: Final = frozenset({"ext2", "ext3", "ext4", "tmpfs", "overlay"})
"""File systems that write allocated bytes in place. All others may need new room to change a byte, as copy-on-write
file systems do, or a server. If they find none, a program that stores into a mapped file is killed by SIGBUS."""

_NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs"}
    | {"panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs"}
)
"""File systems whose files other machines may open. They have no memory that is shared with those, which SQLite's
write-ahead log needs. A file system in user space may be of this kind, too."""


def is_written_in_place(path: Path) -> bool:
    """Return whether the file system of a path writes allocated bytes in place, so that a file can be mapped.

    On Windows this is always so: NTFS does, and a file cannot be written by two threads there.
    """
    return not POSIX or file_system_of(path) in _IN_PLACE


def is_network(path: Path) -> bool:
    """Return whether the file system of a path may be shared with other machines."""
    kind = file_system_of(path)
    return kind in _NETWORK or kind.startswith("fuse")


_COPYING: Final = frozenset({"bcachefs", "btrfs", "f2fs", "nilfs2", "xfs", "zfs"})
"""File systems on which a store into a mapped file may need new room. Most never write a block in place; XFS does not
if the file was copied by sharing its blocks, as `cp` does by default."""


def has_safe_log(path: Path) -> bool:
    """Return whether SQLite's write-ahead log is safe on the file system of a path.

    The log needs a file that all its users map into memory and change there. Other machines do not see these changes,
    and on a full disk that copies on write such a change kills the process by SIGBUS.
    """
    return not is_network(path) and file_system_of(path) not in _COPYING


def file_system_of(path: Path) -> str:
    """Return the name that the kernel has for the type of the file system of a path; "" if the system does not tell."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return ""
    target = os.path.realpath(path)
    # Later mounts hide earlier ones.
    found = [(len(point), at, kind) for at, (point, kind) in enumerate(_mounts(mounts)) if _is_below(target, point)]
    return max(found)[2] if found else ""


def _mounts(lines: bytes) -> Iterator[tuple[str, str]]:
    """Return the mount points with the types of their file systems."""
    for line in lines.splitlines():
        fields, _, source = line.partition(b" - ")
        # Blanks are escaped as in "\040".
        point = fields.split(b" ")[4].decode("unicode_escape").encode("latin-1")
        yield os.fsdecode(point), os.fsdecode(source.split(b" ")[0])


def _is_below(path: str, folder: str) -> bool:
    return folder == "/" or path == folder or path.startswith(f"{folder}/")


LONGEST_PATH: Final = 504
"""Bytes of the path of a database: SQLite takes at most 512 with the ending of the files that it makes beside it."""


def check_path(path: Path) -> None:
    """Raise JournalError if a path is too long for SQLite."""
    size = len(os.fsencode(path.absolute()))
    if size > LONGEST_PATH:
        reason = f"its path has {size} bytes, and SQLite takes at most {LONGEST_PATH}"
        raise JournalError(str(path), reason, "use a folder with a shorter path, or a shorter name")
