"""A folder as a network file system gives it: every file is on another one, and every call can fail.

The kernel knows this file system as FUSE, as it does many network file systems. It answers each write only when the
folder behind it has the bytes, which then survive the death of the process that wrote them.
"""

import errno
import os
import shutil
from pathlib import Path
from struct import Struct
from typing import Final

from . import fuse
from .faults import Faults

_SETATTR_IN = Struct("<IIQQ")
_MODE_IN = Struct("<68xI")
"""The new mode, in the same body."""
_MODE: Final = 1
_SIZE: Final = 8
_CREATE_IN = Struct("<IIII")
_OPEN_IN = Struct("<II")
_MKDIR_IN = Struct("<II")
_NEW_FOLDER = Struct("<Q")
_NEW_FOLDER_AND_FLAGS = Struct("<QII")


class Mirror(fuse.FileSystem):
    """The file system over a folder."""

    def __init__(self, folder: Path, faults: Faults | None = None, *, maps: bool = False, links: bool = True) -> None:
        """Mirror a folder.

        Args:
            folder: The folder behind the file system.
            faults: The faults of the server.
            maps: Whether files can be mapped into memory.
            links: Whether a file can have two names.
        """
        self._files = {1: os.open(folder, os.O_PATH)}
        """A descriptor for each node: whoever has a file open goes on with it after it was deleted."""
        self._nodes = {folder.stat().st_ino: 1}
        self._faults = Faults() if faults is None else faults
        self._links = links
        self._flags = 0 if maps else fuse.DIRECT

    def _path(self, node: int) -> str:
        return f"/proc/self/fd/{self._files[node]}"

    def _entry(self, node: int, name: str) -> bytes:
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._files[node])
        found = os.fstat(descriptor)
        number = self._nodes.setdefault(found.st_ino, len(self._files) + 1)
        if number in self._files:
            os.close(descriptor)
        else:
            self._files[number] = descriptor
        return fuse.entry_answer(number, fuse.attributes(found, found.st_ino))

    def lookup(self, node: int, body: bytes) -> bytes:
        """Find a file."""
        return self._entry(node, fuse.text(body))

    def getattr(self, node: int, body: bytes) -> bytes:
        """Return the attributes of a file."""
        found = os.fstat(self._files[node])
        return fuse.attributes_answer(fuse.attributes(found, found.st_ino))

    def setattr(self, node: int, body: bytes) -> bytes:
        """Change the size or the mode of a file; nothing else."""
        self._faults.check("write")
        valid, _, _, size = _SETATTR_IN.unpack_from(body)
        if valid & _SIZE:
            os.truncate(self._path(node), size)
        if valid & _MODE:
            Path(self._path(node)).chmod(_MODE_IN.unpack_from(body)[0] & 0o7777)
        return self.getattr(node, body)

    def mkdir(self, node: int, body: bytes) -> bytes:
        """Make a folder."""
        self._faults.check("write")
        name = fuse.text(body[_MKDIR_IN.size :])
        os.mkdir(name, dir_fd=self._files[node])
        return self._entry(node, name)

    def unlink(self, node: int, body: bytes) -> bytes:
        """Delete a name of a file."""
        self._faults.check("write")
        os.unlink(fuse.text(body), dir_fd=self._files[node])
        return b""

    def rmdir(self, node: int, body: bytes) -> bytes:
        """Delete a folder."""
        self._faults.check("write")
        os.rmdir(fuse.text(body), dir_fd=self._files[node])
        return b""

    def rename(self, node: int, body: bytes) -> bytes:
        """Give a file another name."""
        return self._rename(node, _NEW_FOLDER.unpack_from(body)[0], body[_NEW_FOLDER.size :])

    def rename2(self, node: int, body: bytes) -> bytes:
        """Give a file another name; not with flags, which network file systems do not know either."""
        folder, flags, _ = _NEW_FOLDER_AND_FLAGS.unpack_from(body)
        if flags:
            raise OSError(errno.EINVAL, "unknown flags")
        return self._rename(node, folder, body[_NEW_FOLDER_AND_FLAGS.size :])

    def _rename(self, node: int, folder: int, names: bytes) -> bytes:
        self._faults.check("write")
        old, new = fuse.text(names), fuse.text(names[names.index(0) + 1 :])
        os.rename(old, new, src_dir_fd=self._files[node], dst_dir_fd=self._files[folder])
        return b""

    def link(self, node: int, body: bytes) -> bytes:
        """Give a file a second name."""
        self._faults.check("write")
        if not self._links:
            raise OSError(errno.EPERM, "a file has one name here")
        name = fuse.text(body[_NEW_FOLDER.size :])
        os.link(self._path(_NEW_FOLDER.unpack_from(body)[0]), name, dst_dir_fd=self._files[node], follow_symlinks=True)
        return self._entry(node, name)

    def open(self, node: int, body: bytes) -> bytes:
        """Open a file."""
        flags = _OPEN_IN.unpack_from(body)[0]
        kept = flags & (os.O_ACCMODE | os.O_TRUNC | os.O_DSYNC | os.O_SYNC)
        return fuse.open_answer(os.open(self._path(node), kept), self._flags)

    def create(self, node: int, body: bytes) -> bytes:
        """Make a file and open it."""
        self._faults.check("write")
        flags, mode, umask, _ = _CREATE_IN.unpack_from(body)
        name = fuse.text(body[_CREATE_IN.size :])
        kept = flags & (os.O_ACCMODE | os.O_TRUNC | os.O_EXCL | os.O_DSYNC | os.O_SYNC)
        handle = os.open(name, kept | os.O_CREAT, mode & ~umask, dir_fd=self._files[node])
        return self._entry(node, name) + fuse.open_answer(handle, self._flags)

    def read(self, node: int, body: bytes) -> bytes:
        """Read from a file."""
        handle, offset, size = fuse.read_range(body)
        return os.pread(handle, size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        """Write to a file."""
        self._faults.check("write")
        handle, offset, data = fuse.written(body)
        return fuse.write_answer(os.pwrite(handle, data, offset))

    def fsync(self, node: int, body: bytes) -> bytes:
        """Make the bytes of a file durable."""
        self._faults.check("sync")
        os.fdatasync(fuse.fsync_handle(body))
        return b""

    def release(self, node: int, body: bytes) -> bytes:
        """Close a file."""
        os.close(fuse.fsync_handle(body))
        return b""

    def opendir(self, node: int, body: bytes) -> bytes:
        """Open a folder, which has no handle."""
        return fuse.open_answer(0, 0)

    def readdir(self, node: int, body: bytes) -> bytes:
        """Return names of a folder."""
        _, offset, size = fuse.read_range(body)
        names = [".", "..", *sorted(os.listdir(self._path(node)))]
        return fuse.directory_entries(names, offset, size)

    def releasedir(self, node: int, body: bytes) -> bytes:
        """Close a folder."""
        return b""

    def fsyncdir(self, node: int, body: bytes) -> bytes:
        """Make the names of a folder durable."""
        self._faults.check("sync")
        descriptor = os.open(self._path(node), os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return b""

    def statfs(self, node: int, body: bytes) -> bytes:
        """Return how much room there is."""
        found = shutil.disk_usage(self._path(1))
        return fuse.room_answer(found.total, found.free)
