"""A temporary file without a name, for data that is rarely read again. The system removes it with the process."""

import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from weakref import finalize

from .file_calls import POSIX, read_at, write_at

_R = TypeVar("_R")

CAN_SPILL: bool = POSIX
"""Whether such a file can be read at any position while another thread writes to it: not on Windows."""


class SpillFile:
    """A temporary file to which one thread at a time writes. A forked process may read it, and must not write to it."""

    def __init__(self) -> None:
        """Create the file; raise OSError if that is not possible."""
        from tempfile import TemporaryFile  # here, to keep the import of the package fast

        # It is closed with the last function that reads it.
        self._file: Any = TemporaryFile(prefix="crystallize-", buffering=0)  # noqa: SIM115
        self._end = 0
        self._process = os.getpid()
        finalize(self, self._file.close)

    @property
    def is_own(self) -> bool:
        """Whether this process created the file, and may write to it."""
        return self._process == os.getpid()

    def stored(self, read: Callable[[], _R]) -> Callable[[], _R]:
        """Write a function that can be pickled, with its data, and return a function with the same result.

        Raises:
            OSError: The file cannot be written, for example because the disk is full.
        """
        rest = content = pickle.dumps(read, protocol=pickle.HIGHEST_PROTOCOL)
        start = at = self._end
        while rest:
            written = write_at(self._file.fileno(), rest, at)
            rest, at = rest[written:], at + written
        self._end = at
        return partial(self._result, start, len(content))

    def _result(self, start: int, size: int) -> Any:
        """Return the result of a stored function."""
        # The file has no name, so nobody else can have written the pickle.
        return pickle.loads(read_at(self._file.fileno(), size, start))()
