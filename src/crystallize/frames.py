"""Metrics as Arrow tables, polars and pandas frames, and Parquet files."""

from ._tables.frames import (
    Measured,
    runs_frame,
    to_arrow,
    to_pandas,
    to_polars,
    to_reader,
    write_arrow,
    write_parquet,
)

__all__ = [
    "Measured",
    "runs_frame",
    "to_arrow",
    "to_pandas",
    "to_polars",
    "to_reader",
    "write_arrow",
    "write_parquet",
]
