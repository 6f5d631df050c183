"""A polars frame as an Arrow table, which pyarrow copies and writes several times as fast as polars itself."""

from importlib.util import find_spec
from typing import Any

from .value_codecs import library

_AS_POLARS_ONLY = ("Object", "Int128", "UInt128", "Unknown")
"""The data types of polars that Arrow does not have."""


def as_arrow(frame: Any) -> Any:
    """Return a frame as a table that shares its memory; None if it is no frame, or Arrow cannot store its types."""
    pl = library("polars")
    if type(frame) is not pl.DataFrame or find_spec("pyarrow") is None:
        return None
    if any(dtype.base_type().__name__ in _AS_POLARS_ONLY for dtype in _all_types(frame.dtypes)):
        return None
    table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    return table if as_polars(table).schema == frame.schema else None


def as_polars(table: Any) -> Any:
    """Return a table as a frame that shares its memory."""
    return library("polars").from_arrow(table)


def _all_types(dtypes: Any) -> Any:
    """Yield data types, and those of their parts."""
    for dtype in dtypes:
        yield dtype
        yield from _all_types([field.dtype for field in getattr(dtype, "fields", ())])
        inner = getattr(dtype, "inner", None)
        yield from _all_types([inner] if inner is not None else ())
