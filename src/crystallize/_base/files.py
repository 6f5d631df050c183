"""Questions about files that every Python answers alike."""

import errno
import os
from pathlib import Path
from typing import Final

_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL})
"""The errors that mean that there is no such file. EINVAL means a name that Windows does not allow."""


def status_of(path: Path) -> os.stat_result | None:
    """Return the status of a file or folder, or None if there is none; raise OSError if nobody may know.

    From Python 3.14 on, `Path.exists` and `Path.is_file` return False for any error, also if the folder cannot be read.
    """
    try:
        return path.stat()
    except ValueError:  # a NUL in the path
        return None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
