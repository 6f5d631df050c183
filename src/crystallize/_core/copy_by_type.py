"""How values are copied by their type: registered types, arrays and frames.

A type can be registered by its name, so that its library need not be imported.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from .._base.type_registry import TypeRegistry

Thaw: TypeAlias = Callable[[], Any]
"""Makes a copy of a kept value."""

Frozen: TypeAlias = tuple[Any, Thaw | None]
"""A kept value, and the function that makes a copy for a reader; None if readers get the kept object itself."""


class CopyKind(NamedTuple):
    """How a registered type is frozen and thawed."""

    freeze: Callable[[Any], Any]
    thaw: Callable[[Any], Any] | None
    deep_copies: bool = False
    """Whether `copy.deepcopy` copies a container of such values correctly, and leaves the values mutable."""


class NoPlan(Exception):
    """A plan cannot copy this value faithfully; a deep copy can."""


class NotCopyable(Exception):
    """A value that cannot be copied at all."""

    def __init__(self, type: type, reason: str) -> None:
        super().__init__(type, reason)
        self.type = type
        self.reason = reason


def freeze_by_kind(kind: CopyKind, value: Any) -> Frozen:
    """Freeze a value of a registered type."""
    try:
        kept = kind.freeze(value)
    except Exception as error:  # a registered function may raise anything; the value is then rejected
        raise NotCopyable(type(value), f"{type(error).__name__}: {error}") from error
    if kept is NotImplemented:
        raise NoPlan
    return (kept, None) if kind.thaw is None else (None, partial(kind.thaw, kept))


def _freeze_array(array: Any) -> Any:
    """Copy a NumPy array into immutable bytes, which cannot be made writeable again."""
    cls = type(array)
    if array.dtype.hasobject or (cls.__module__, cls.__qualname__) != ("numpy", "ndarray"):
        return NotImplemented
    order = "F" if array.flags.fnc else "C"
    return cls(array.shape, array.dtype, array.tobytes(order), 0, None, order)


def _over_bytes(value: Any) -> Any:
    """Copy a frame with all its buffers into immutable bytes. The frame's own copy may share the buffers."""
    import pickle  # here, to keep the import of the package fast

    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(content, buffers=[buffer.raw().tobytes() for buffer in buffers])


def _thaw_pandas(kept: Any) -> Any:
    """Copy a pandas frame or series, lazily if copy-on-write allows it; objects in it are copied by pickle."""
    columns = kept.dtypes if kept.ndim == 2 else [kept.dtype]
    labels = [level.dtype for axis in kept.axes for level in (axis.levels if hasattr(axis, "levels") else [axis])]
    dtypes = [
        getattr(dtype, "categories", kept.index).dtype if str(dtype) == "category" else dtype for dtype in columns
    ]
    if any(str(dtype) == "object" for dtype in [*dtypes, *labels]):
        import pickle  # as above

        return pickle.loads(pickle.dumps(kept))
    # For dates with a time zone, and similar types, even a lazy copy gives access to writeable memory.
    writable = any(type(dtype).__module__.startswith("pandas") and dtype.kind in "mMO" for dtype in columns)
    copies_on_write = int(sys.modules["pandas"].__version__.partition(".")[0]) >= 3
    return kept.copy(deep=writable or not copies_on_write)


def _immutable(value: Any) -> Any:
    return value


def _not_implemented(value: Any) -> Any:
    return NotImplemented


def _clone(kept: Any) -> Any:
    return kept.clone()


KINDS: Final[TypeRegistry[CopyKind]] = TypeRegistry(
    {
        "numpy.generic": CopyKind(_immutable, None, deep_copies=True),
        "numpy.void": CopyKind(_not_implemented, None, deep_copies=True),  # the only mutable scalar
        "numpy.ndarray": CopyKind(_freeze_array, None, deep_copies=True),
        **{
            f"pyarrow.{name}": CopyKind(_over_bytes, None) for name in ("Table", "RecordBatch", "ChunkedArray", "Array")
        },
        **{f"polars.{name}": CopyKind(_over_bytes, _clone) for name in ("DataFrame", "LazyFrame", "Series")},
        **{f"pandas.{name}": CopyKind(_over_bytes, _thaw_pandas) for name in ("DataFrame", "Series")},
    }
)
"""How values of registered types are copied."""
