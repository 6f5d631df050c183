"""Types whose values are copied in a way of their own: those that are registered, arrays and frames.

A name stands for a type of a library that may never be imported.
"""

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from .._base.text import type_name

Thaw: TypeAlias = Callable[[], Any]
"""Makes a fresh copy of a value that is kept."""

Frozen: TypeAlias = tuple[Any, Thaw | None]
"""A kept value, and the function that makes a copy of it for a reader; None: the kept object itself is handed out."""


class CopyKind(NamedTuple):
    """How a registered type is frozen and thawed."""

    freeze: Callable[[Any], Any]
    thaw: Callable[[Any], Any] | None
    deep_copies: bool = False
    """Whether `copy.deepcopy` of what holds such a value does as well, and leaves it changeable."""


class NoPlan(Exception):
    """A plan cannot copy this value faithfully; a deep copy can."""


class NotCopyable(Exception):
    """A value that cannot be copied at all."""

    def __init__(self, type: type, reason: str) -> None:
        super().__init__(type, reason)
        self.type = type
        self.reason = reason


_lock = threading.Lock()
_kinds: dict[type, CopyKind] = {}
_kinds_by_name: dict[str, CopyKind] = {}


def add_kind(kind: type | str, how: CopyKind) -> None:
    """Register how values of a type are copied; the newest registration of a name comes first."""
    with _lock:
        if isinstance(kind, type):
            _kinds[kind] = how
        else:
            # Also before those that are known from the beginning.
            _kinds_by_name.pop(kind, None)
            _kinds_by_name[kind] = how


def kind_of(cls: type) -> CopyKind | None:
    """Return how values of a type are copied, by the nearest base that is registered; None if none is."""
    found = (_kinds.get(base) or _kind_by_name(base) for base in cls.__mro__)
    return next((kind for kind in found if kind is not None), None)


def _kind_by_name(cls: type) -> CopyKind | None:
    """The kind registered under a name by which this type calls itself, or can be imported."""
    package = str(cls.__module__).partition(".")[0]
    with _lock:
        names = list(_kinds_by_name)
    for name in reversed(names):
        module, _, attribute = name.rpartition(".")
        imported = name.partition(".")[0] == package and getattr(sys.modules.get(module), attribute, None) is cls
        if imported or name == type_name(cls):
            return _kinds_by_name[name]
    return None


def freeze_by_kind(kind: CopyKind, value: Any) -> Frozen:
    """Freeze a value of a registered type."""
    try:
        kept = kind.freeze(value)
    except Exception as error:  # whatever a registered function raises, the value cannot be taken in
        raise NotCopyable(type(value), f"{type(error).__name__}: {error}") from error
    if kept is NotImplemented:
        raise NoPlan
    return (kept, None) if kind.thaw is None else (None, partial(kind.thaw, kept))


def _freeze_array(array: Any) -> Any:
    """Copy a numpy array over immutable bytes, which no owner can make writeable again."""
    cls = type(array)
    if array.dtype.hasobject or (cls.__module__, cls.__qualname__) != ("numpy", "ndarray"):
        return NotImplemented
    order = "F" if array.flags.fnc else "C"
    return cls(array.shape, array.dtype, array.tobytes(order), 0, None, order)


def _over_bytes(value: Any) -> Any:
    """Copy a frame with all its buffers, over bytes that nobody can change: its own copy may share them."""
    import pickle  # here, since importing the package is to cost little

    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(content, buffers=[buffer.raw().tobytes() for buffer in buffers])


def _thaw_pandas(kept: Any) -> Any:
    """Copy a pandas frame or series, lazily where copy on write lets it. That never copies objects inside."""
    columns = kept.dtypes if kept.ndim == 2 else [kept.dtype]
    labels = [level.dtype for axis in kept.axes for level in (axis.levels if hasattr(axis, "levels") else [axis])]
    dtypes = [
        getattr(dtype, "categories", kept.index).dtype if str(dtype) == "category" else dtype for dtype in columns
    ]
    if any(str(dtype) == "object" for dtype in [*dtypes, *labels]):
        import pickle  # as above

        return pickle.loads(pickle.dumps(kept))
    # Of dates with a zone, and the like, even a lazy copy hands out what can be written to.
    writable = any(type(dtype).__module__.startswith("pandas") and dtype.kind in "mMO" for dtype in columns)
    copies_on_write = int(sys.modules["pandas"].__version__.partition(".")[0]) >= 3
    return kept.copy(deep=writable or not copies_on_write)


def _immutable(value: Any) -> Any:
    return value


def _not_implemented(value: Any) -> Any:
    return NotImplemented


def _clone(kept: Any) -> Any:
    return kept.clone()


_kinds_by_name |= {
    "numpy.generic": CopyKind(_immutable, None, deep_copies=True),
    "numpy.void": CopyKind(_not_implemented, None, deep_copies=True),  # the one scalar that can be changed
    "numpy.ndarray": CopyKind(_freeze_array, None, deep_copies=True),
    **{f"pyarrow.{name}": CopyKind(_over_bytes, None) for name in ("Table", "RecordBatch", "ChunkedArray", "Array")},
    **{f"polars.{name}": CopyKind(_over_bytes, _clone) for name in ("DataFrame", "LazyFrame", "Series")},
    **{f"pandas.{name}": CopyKind(_over_bytes, _thaw_pandas) for name in ("DataFrame", "Series")},
}
