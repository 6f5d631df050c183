"""What root may not do either: for tests of files and folders that cannot be read or written."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522
"""Of the structure that `capget` and `capset` use; Linux calls it `_LINUX_CAPABILITY_VERSION_3`."""
_OVERRIDES = 0b110
"""The capabilities by which root passes over the mode of a file: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


@contextmanager
def modes_hold() -> Iterator[None]:
    """Let root do to its own files only what their modes allow, in this thread.

    Another user could not import anything if the project is in a folder of root alone, such as `/root`.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, capabilities = (ctypes.c_uint32 * 2)(_VERSION), (ctypes.c_uint32 * 6)()
    assert 0 == libc.capget(header, capabilities)
    effective = capabilities[0]
    capabilities[0] &= ~_OVERRIDES
    assert 0 == libc.capset(header, capabilities)
    try:
        yield
    finally:
        capabilities[0] = effective
        assert 0 == libc.capset(header, capabilities)
