"""The protocol of FUSE, as the kernel speaks it on /dev/fuse: what the file systems of these tests have in common.

Every request has a header and a body, and gets one answer. A file system is a subclass of `FileSystem` with a method
for each request that it knows. See `include/uapi/linux/fuse.h` of the kernel.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Final

MAX_WRITE: Final = 128 * 1024
"""Maximum number of bytes of one write."""
DIRECT: Final = 1
"""The answer to an open by which reads and writes pass by the kernel's page cache."""

_IN = Struct("<IIQQIIIHH")
"""Length, operation, number of the request, node, user, group, process, and two fields that are not used here."""
_OUT = Struct("<IiQ")
"""Length, error, number of the request."""
_INIT_IN = Struct("<IIII")
_INIT_OUT = Struct("<IIIIHHIIHHI28x")
_ATTRIBUTES = Struct("<6Q10I")
_ENTRY = Struct("<QQQQII")
_ATTRIBUTES_OUT = Struct("<QII")
_OPEN_OUT = Struct("<QIi")
_READ_IN = Struct("<QQIIQII")
_FSYNC_IN = Struct("<QII")
_WRITE_OUT = Struct("<II")
_DIRECTORY_ENTRY = Struct("<QQII")
_STATFS = Struct("<5Q4I24x")


class Operation(IntEnum):
    """The requests that a file system of these tests may answer."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43
    RENAME2 = 45


_UNANSWERED = {Operation.FORGET, Operation.BATCH_FORGET, Operation.INTERRUPT}


def text(body: bytes) -> str:
    """Return a name at the beginning of a body."""
    return os.fsdecode(body[: body.index(0)])


class FileSystem:
    """A file system; answers one request after the other. A method raises OSError to answer with an error."""

    handlers: ClassVar[dict[Operation, str]] = {
        operation: operation.name.lower() for operation in Operation if operation not in _UNANSWERED
    }
    """The method for each operation. A subclass need not have all of them."""

    def serve(self, device: int) -> None:
        """Answer requests until the file system is unmounted."""
        while True:
            try:
                request = os.read(device, MAX_WRITE + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # the request was interrupted
                    continue
                raise
            self._answer(device, request)

    def _answer(self, device: int, request: bytes) -> None:
        _, number, unique, node, *_ = _IN.unpack_from(request)
        if number in _UNANSWERED:
            return
        failure, answer = 0, b""
        try:
            answer = self._handler(number)(node, request[_IN.size :])
        except OSError as error:
            failure = error.errno or errno.EIO
        # Whoever asked may have been killed meanwhile.
        with suppress(FileNotFoundError):
            os.write(device, _OUT.pack(_OUT.size + len(answer), -failure, unique) + answer)

    def _handler(self, number: int) -> Callable[[int, bytes], bytes]:
        name = self.handlers.get(Operation(number), "") if number in Operation.__members__.values() else ""
        handler: Callable[[int, bytes], bytes] = getattr(self, name or "unknown", self.unknown)
        return handler

    def unknown(self, node: int, body: bytes) -> bytes:
        """Refuse a request that this file system does not know."""
        raise OSError(errno.ENOSYS, "not supported")

    def init(self, node: int, body: bytes) -> bytes:
        """Agree on the version of the protocol: 7.31, of which all later kernels know how to speak it."""
        _, _, readahead, _ = _INIT_IN.unpack_from(body)
        big_writes = 1 << 5
        return _INIT_OUT.pack(7, 31, readahead, big_writes, 12, 9, MAX_WRITE, 1, 0, 0, 0)

    def destroy(self, node: int, body: bytes) -> bytes:
        """Take leave."""
        return b""

    def flush(self, node: int, body: bytes) -> bytes:
        """Do nothing when a descriptor is closed."""
        return b""

    def statfs(self, node: int, body: bytes) -> bytes:
        """Say that there is room."""
        return room_answer(1 << 40, 1 << 39)


# Bodies of requests and answers.


def attributes(found: os.stat_result, node: int) -> bytes:
    """Return the attributes of a file, as entries and answers contain them."""
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    nanoseconds = (found.st_atime_ns % 10**9, found.st_mtime_ns % 10**9, found.st_ctime_ns % 10**9)
    owner = (found.st_mode, found.st_nlink, found.st_uid, found.st_gid)
    return _ATTRIBUTES.pack(node, found.st_size, found.st_blocks, *times, *nanoseconds, *owner, 0, 4096, 0)


def simple_attributes(node: int, size: int | None) -> bytes:
    """Return the attributes of a file of some size, or of a folder."""
    mode = stat.S_IFDIR | 0o755 if size is None else stat.S_IFREG | 0o600
    blocks = 0 if size is None else size // 512
    return _ATTRIBUTES.pack(node, size or 0, blocks, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def attributes_answer(found: bytes) -> bytes:
    """Return the answer to a question for attributes."""
    return _ATTRIBUTES_OUT.pack(0, 0, 0) + found


def entry_answer(node: int, found: bytes) -> bytes:
    """Return the answer to a lookup."""
    return _ENTRY.pack(node, 0, 0, 0, 0, 0) + found


def open_answer(handle: int, flags: int) -> bytes:
    """Return the answer to an open."""
    return _OPEN_OUT.pack(handle, flags, 0)


def room_answer(total: int, free: int) -> bytes:
    """Return the answer to a question for room, in bytes."""
    return _STATFS.pack(total >> 12, free >> 12, free >> 12, 1 << 20, 1 << 19, 4096, 255, 4096, 0)


def write_answer(size: int) -> bytes:
    """Return the answer to a write."""
    return _WRITE_OUT.pack(size, 0)


def read_range(body: bytes) -> tuple[int, int, int]:
    """Return handle, offset and size of a read."""
    handle, offset, size, *_ = _READ_IN.unpack_from(body)
    return handle, offset, size


def written(body: bytes) -> tuple[int, int, bytes]:
    """Return handle, offset and bytes of a write."""
    handle, offset, size, *_ = _READ_IN.unpack_from(body)
    return handle, offset, body[_READ_IN.size : _READ_IN.size + size]


def fsync_handle(body: bytes) -> int:
    """Return the handle of the file to be written out."""
    handle: int = _FSYNC_IN.unpack_from(body)[0]
    return handle


def directory_entries(names: list[str], offset: int, size: int) -> bytes:
    """Return as many names after an offset as have room in the answer."""
    found = b""
    for at, name in enumerate(names[offset:], offset + 1):
        raw = os.fsencode(name)
        entry = _DIRECTORY_ENTRY.pack(1, at, len(raw), 0) + raw
        entry += bytes(-len(entry) % 8)
        if len(found) + len(entry) > size:
            break
        found += entry
    return found


def mount(device: int, folder: str) -> None:
    """Mount the file system that is served on a descriptor of /dev/fuse."""
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"crystallize", os.fsencode(folder), b"fuse", ctypes.c_ulong(0), options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "FUSE cannot be mounted", folder)
