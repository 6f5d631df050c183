"""Pickle a value with its large buffers apart from the pickle, so that they need not be copied.

The buffers are those of protocol 5 of pickle. All of them are apart and read-only, also if the memory of the value can
be written: a value that is unpickled over immutable copies of them has immutable memory.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .polars_arrow import as_arrow, as_polars

if TYPE_CHECKING:
    import pickle


class SplitPickle(NamedTuple):
    """A pickled value."""

    chunks: list[bytes]
    """The pickle. Large bytes of the value are chunks of their own, which are not copied."""
    buffers: "list[pickle.PickleBuffer]"

    @property
    def views(self) -> list[memoryview]:
        """The buffers as read-only views."""
        return [buffer.raw().toreadonly() for buffer in self.buffers]


def split_pickle(value: Any, pickler: Callable[..., Any] | None = None) -> SplitPickle:
    """Pickle a value; `pickler` is the class to use, such as the class of cloudpickle."""
    import copyreg  # here, to keep the import of the package fast
    import pickle

    made = SplitPickle([], [])
    found = (pickler or pickle.Pickler)(_Chunks(made.chunks), protocol=5, buffer_callback=made.buffers.append)
    # cloudpickle has a table of its own.
    table = getattr(found, "dispatch_table", copyreg.dispatch_table)
    # Not a ChainMap, which is slower by as much as a small value takes.
    found.dispatch_table = {**table, **_own_reducers()}
    found.dump(value)
    return made


class _Chunks:
    """A file whose content is the list of all that was written to it."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def write(self, chunk: bytes, /) -> int:
        """Add a chunk."""
        self._chunks.append(chunk)
        return len(chunk)


def _own_reducers() -> dict[type, Callable[[Any], Any]]:
    # polars and pyarrow work without numpy.
    numpy, polars = sys.modules.get("numpy"), sys.modules.get("polars")
    found: dict[type, Callable[[Any], Any]] = {}
    if numpy is not None:
        found[numpy.ndarray] = _reduced_array
    if polars is not None:
        found[polars.DataFrame] = _reduced_polars
    return found


def _reduced_array(array: Any) -> Any:
    """Return how an array is pickled. The memory of a strided one would become part of the pickle, and writeable."""
    return (array if array.flags.forc else array.copy()).__reduce_ex__(5)


def _reduced_polars(frame: Any) -> Any:
    """Return how a frame is pickled: as an Arrow table, since polars itself pickles a copy of its memory."""
    table = as_arrow(frame)
    return frame.__reduce_ex__(5) if table is None else (as_polars, (table,))
