"""The file that an artifact is made of: read a part at a time, and checked that it did not change meanwhile."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .._base.object_folder import blocks_of
from .._base.signal_handlers import reraise_from_handler
from ..errors import InvalidArtifactError


class SourceFile:
    """An open file that an artifact is made of.

    Attributes:
        size: In bytes, when it was opened.
    """

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self._before = os.fstat(file.fileno())
        self.size: int = self._before.st_size

    def blocks(self) -> Iterator[bytes]:
        """Yield the content; raise InvalidArtifactError if it cannot be read, or was changed meanwhile."""
        count = 0
        try:
            for block in blocks_of(self._file):
                count += len(block)
                yield block
            after = os.fstat(self._file.fileno())
        except OSError as error:
            reraise_from_handler(error)
            raise InvalidArtifactError(repr(self._name), f"its file cannot be read ({error})") from error
        if (count, after.st_size, after.st_mtime_ns) != (self.size, self.size, self._before.st_mtime_ns):
            reason = "its file was changed while it was read; add it when nothing writes to it any more"
            raise InvalidArtifactError(repr(self._name), reason)


@contextmanager
def opened_file(name: str, path: Path) -> Iterator[SourceFile]:
    """Open the file of an artifact; if that is impossible, raise InvalidArtifactError, which names the artifact."""
    # A pipe would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    size_of_file(name, path)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        reraise_from_handler(error)
        raise InvalidArtifactError(repr(name), f"its file cannot be read ({error})") from error
    with open(descriptor, "rb", buffering=0) as file:
        yield SourceFile(name, file)


def size_of_file(name: str, path: Path) -> int:
    """Return the size of the file of an artifact; if it cannot be one, raise InvalidArtifactError."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        reraise_from_handler(error)
        raise InvalidArtifactError(repr(name), f"its file cannot be read ({error})") from error
    if stat.S_ISDIR(status.st_mode):
        reason = f"{os.fspath(path)!r} is a folder; add its files one by one, or one archive of them"
        raise InvalidArtifactError(repr(name), reason)
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArtifactError(repr(name), f"{os.fspath(path)!r} is not a regular file")
    return status.st_size
