"""How Arrow tables and frames of polars and pandas are copied.

Their own copies share memory with the original, and Arrow's memory may belong to a numpy array. So the kept frame lies
over immutable bytes.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

from .buffer_pickle import split_pickle
from .immutable_types import ATOMIC, IMMUTABLE
from .polars_arrow import as_arrow, as_polars


def over_bytes(value: Any) -> Any:
    """Return a copy of a table or frame whose buffers are immutable bytes."""
    import pickle  # here, to keep the import of the package fast

    split = split_pickle(value)
    return pickle.loads(b"".join(split.chunks), buffers=[view.tobytes() for view in split.views])


def as_it_is(value: Any) -> Any:
    """Return a value over immutable memory that nobody else has, in place of a copy by `over_bytes`."""
    return value


def frozen_table(value: Any) -> Any:
    """Freeze an Arrow table or array, which all readers share."""
    return over_bytes(value), None


def adopted_table(value: Any) -> Any:
    """Freeze an Arrow table or array over immutable memory that nobody else has."""
    return value, None


def adopted_polars(value: Any) -> Any:
    """Freeze a polars frame or series over immutable memory that nobody else has."""
    return None, value.clone


def frozen_polars(value: Any) -> Any:
    """Freeze a polars frame or series; each reader gets a clone."""
    table = as_arrow(value)
    kept = over_bytes(value) if table is None else as_polars(over_bytes(table))
    return None, kept.clone


class _Part(NamedTuple):
    """A column, or the labels of an axis or a level."""

    dtype: Any
    items: Callable[[], Iterable[Any]]
    """Returns the items; a frame takes long to make thousands of columns of itself."""


def frozen_pandas(value: Any, take: Callable[[Any], Any] = over_bytes) -> Any:
    """Freeze a pandas frame or series; `take` returns the kept one."""
    dtypes = list(value.dtypes) if value.ndim == 2 else [value.dtype]
    columns = [_Part(dtype, partial(_column, value, place)) for place, dtype in enumerate(dtypes)]
    labels = [label for axis in value.axes for label in _labels(axis)]
    # pandas copies a column on the first write to it, but the array of a column writes to its memory itself.
    is_lazy = all(map(_is_read_only, dtypes))
    return None, _copier(value, [*columns, *labels], partial(_copied_frame, is_lazy), take)


def frozen_index(value: Any, take: Callable[[Any], Any] = over_bytes) -> Any:
    """Freeze a pandas index; `take` returns the kept one."""
    return None, _copier(value, _labels(value), _copied_index, take)


def _copier(
    value: Any, parts: Iterable[_Part], copy: Callable[[Any], Any], take: Callable[[Any], Any]
) -> Callable[[], Any]:
    """Return a function that makes copies of a value: by `copy` if that copies all parts completely, or by pickle."""
    import pickle  # as above

    if all(map(_copies_itself, parts)):
        return partial(copy, take(value))
    return partial(pickle.loads, pickle.dumps(value, protocol=5))


def _copied_frame(is_lazy: bool, kept: Any) -> Any:
    fresh = kept.copy(deep=not is_lazy)
    fresh.index = _copied_index(kept.index)
    if kept.ndim == 2:
        fresh.columns = _copied_index(kept.columns)
    for name in kept._metadata:  # the attributes of a subclass, which pandas passes on uncopied
        item = getattr(kept, name, None)
        if type(item) not in ATOMIC:
            object.__setattr__(fresh, name, deepcopy(item))
    return fresh


def _copied_index(kept: Any) -> Any:
    # Not every version of pandas makes the array of an index read-only. Only numpy's own is so by its memory.
    is_plain = kept.nlevels == 1 and _library(kept.dtype) == "numpy" and _is_read_only(kept.dtype)
    return kept.view() if is_plain else kept.copy(deep=True)


def _column(frame: Any, place: int) -> Any:
    return frame.iloc[:, place] if frame.ndim == 2 else frame


def _labels(axis: Any) -> list[_Part]:
    return [_Part(label.dtype, label.__iter__) for label in (axis.levels if axis.nlevels > 1 else (axis,))]


def _library(dtype: Any) -> str:
    """Return the library that defines a dtype."""
    return type(dtype).__module__.partition(".")[0]


def _is_read_only(dtype: Any) -> bool:
    """Whether the memory of a kept column is immutable: numbers stay in the bytes of the pickle."""
    return _library(dtype) in ("numpy", "pandas") and dtype.kind in "biufc"


def _copies_itself(part: _Part) -> bool:
    """Whether the own copy of a column is complete: its items are immutable, and it shares no categories."""
    dtype = part.dtype
    has_objects = "object" in (str(dtype), str(getattr(dtype, "subtype", "")))
    if has_objects or _library(dtype) not in ("numpy", "pandas"):
        return all(cls in ATOMIC or IMMUTABLE.find(cls) for cls in set(map(type, part.items())))
    return not hasattr(dtype, "categories")
