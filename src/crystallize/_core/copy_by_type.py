"""How values are copied by their type: registered types, arrays and frames.

A type can be registered by its name, so that its library need not be imported.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from .._base.signal_handlers import reraise_from_handler
from .._base.type_registry import TypeRegistry
from .array_copies import adopted_array, deep_copied_array, deep_copied_record, frozen_array
from .frame_copies import (
    adopted_polars,
    adopted_table,
    as_it_is,
    frozen_index,
    frozen_pandas,
    frozen_polars,
    frozen_table,
)

Thaw: TypeAlias = Callable[[], Any]
"""Makes a copy of a kept value."""

Frozen: TypeAlias = tuple[Any, Thaw | None]
"""A kept value, and the function that makes a copy for a reader; None if readers get the kept object itself.

If there is a function, the kept value is None, unless readers get views of an immutable value."""


class CopyKind(NamedTuple):
    """How values of a type are copied."""

    freeze: Callable[[Any], Any]
    """Returns a `Frozen`; NotImplemented if the value needs a deep copy."""
    deep_copy: Callable[[Any, dict[int, Any]], Any] | None = None
    """Copies a value within one that is deep-copied, by the memo of `copy.deepcopy`. If it is None, the value is frozen
    there as well."""
    adopt: Callable[[Any], Any] | None = None
    """Freezes a value that nobody else has, and that was unpickled over immutable buffers, as `split_pickle` makes
    them: it need not copy these. None if `freeze` does that as well."""


def kind_of_functions(freeze: Callable[[Any], Any], thaw: Callable[[Any], Any] | None) -> CopyKind:
    """Return the kind of a type that is copied by two registered functions."""

    def freeze_value(value: Any) -> Any:
        kept = freeze(value)
        if kept is NotImplemented:
            return NotImplemented
        return (kept, None) if thaw is None else (None, partial(thaw, kept))

    return CopyKind(freeze_value)


class NoPlan(Exception):
    """A plan cannot copy this value faithfully; a deep copy can."""


class NotCopyable(Exception):
    """A value that cannot be copied at all."""

    def __init__(self, type: type, reason: str) -> None:
        super().__init__(type, reason)
        self.type = type
        self.reason = reason


def freeze_by_kind(kind: CopyKind, value: Any, *, is_owned: bool = False) -> Frozen:
    """Freeze a value of a registered type. `is_owned`: nobody else has it, and its buffers are immutable."""
    function = kind.adopt if is_owned and kind.adopt is not None else kind.freeze
    try:
        frozen = function(value)
    except Exception as error:  # a registered function may raise anything; the value is then rejected
        reraise_from_handler(error)
        raise NotCopyable(type(value), f"{type(error).__name__}: {error}") from error
    if frozen is NotImplemented:
        raise NoPlan
    kept, thaw = frozen
    return kept, thaw


def _as_it_is(value: Any) -> Frozen:
    return value, None


def _to_deep_copy(value: Any) -> Any:
    return NotImplemented


def _frozen_tensor(value: Any) -> Any:
    """Freeze a tensor that was computed from others without its graph, with which PyTorch does not copy it."""
    if value.is_leaf:
        return NotImplemented
    return None, value.detach().clone().clone


_TABLE: Final = CopyKind(frozen_table, adopt=adopted_table)
_POLARS: Final = CopyKind(frozen_polars, adopt=adopted_polars)
_PANDAS: Final = CopyKind(frozen_pandas, adopt=partial(frozen_pandas, take=as_it_is))

KINDS: Final[TypeRegistry[CopyKind]] = TypeRegistry(
    {
        "numpy.generic": CopyKind(_as_it_is),
        "numpy.void": CopyKind(_to_deep_copy, deep_copied_record),
        "numpy.ndarray": CopyKind(frozen_array, deep_copied_array, adopted_array),
        **{f"pyarrow.{name}": _TABLE for name in ("Table", "RecordBatch", "ChunkedArray", "Array")},
        **{f"polars.{name}": _POLARS for name in ("DataFrame", "LazyFrame", "Series")},
        **{f"pandas.{name}": _PANDAS for name in ("DataFrame", "Series")},
        "pandas.Index": CopyKind(frozen_index, adopt=partial(frozen_index, take=as_it_is)),
        "torch.Tensor": CopyKind(_frozen_tensor),
        "shapely.geometry.base.BaseGeometry": CopyKind(_as_it_is),
    }
)
"""How values of registered types are copied."""
