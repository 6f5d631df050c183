"""Metrics as Arrow tables, polars and pandas frames, and Parquet files."""

from ._tables.frame_conversion import to_arrow, to_pandas, to_polars, to_reader
from ._tables.parquet_writer import write_arrow, write_parquet
from ._tables.point_source import Measured
from ._tables.runs_table import runs_frame, runs_table

__all__ = [
    "Measured",
    "runs_frame",
    "runs_table",
    "to_arrow",
    "to_pandas",
    "to_polars",
    "to_reader",
    "write_arrow",
    "write_parquet",
]
