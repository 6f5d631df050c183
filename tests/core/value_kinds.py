"""A value of each built-in kind, by a name that says what it is."""

from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from PIL import Image

from crystallize._core.value_codecs import library

sparse = library("scipy.sparse")  # which has no types

BERLIN = ZoneInfo("Europe/Berlin")
MOMENT = datetime(2026, 3, 28, 12)

STANDARD: dict[str, Any] = {
    "tuple": (1, (2, "a")),
    "set": {1, "a"},
    "frozenset": frozenset([(1, 2)]),
    "dict with any keys": {1: 2, (1, 2): 3, None: 4},
    "OrderedDict": OrderedDict(b=1, a=2),
    "deque": deque([1, 2], maxlen=3),
    "bytes": b"a\xff",
    "long bytes": bytes(range(256)) * 2,
    "bytearray": bytearray(b"a\xff"),
    "complex": 1 + 2j,
    "date": date(2026, 1, 1),
    "time with a zone": time(1, 2, 3, 4, tzinfo=BERLIN),
    "datetime": MOMENT,
    "datetime in UTC": datetime(2026, 1, 1, tzinfo=UTC),
    "datetime with an offset": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5.5))),
    "datetime with a zone": MOMENT.replace(tzinfo=BERLIN),
    "second 02:30 of a day": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    "timedelta": timedelta(-1, 5, 7),
    "ZoneInfo": BERLIN,
    "timezone": timezone(timedelta(microseconds=-7)),
    "Decimal": Decimal("1.50"),
    "Fraction": Fraction(1, 3),
    "UUID": UUID(int=5),
    "path": PurePosixPath("a/b"),
    "dict that looks like a mark": {"crystallize.value": ["tuple", [1]]},
    "dict that looks like an array": {"crystallize.npy": 0},
    "such a dict beside an array": [{"crystallize.npy": 0}, np.arange(2)],
}

ARRAYS: dict[str, Any] = {
    "array": np.arange(5),
    "array in the order of Fortran": np.ones((3, 2), order="F"),
    "every second item": np.arange(6)[::2],
    "array without dimensions": np.array(7),
    "empty array": np.zeros((2, 0)),
    "texts": np.array(["a", "bc"]),
    "empty texts": np.array(["", ""], dtype="U0"),
    "records": np.array([(1, 2.5)], dtype=[("a", "i4"), ("é", "f8")]),
    "attributes of records": np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])[0],
    "array of such records": np.asarray(np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])),
    "times": np.array(["2026-01-01", "NaT"], dtype="M8[ns]"),
    "big-endian": np.arange(3, dtype=">i4"),
    "bfloat16": np.array([0.5, np.nan], ml_dtypes.bfloat16),
    "float8": np.array([0.5, 1.5], ml_dtypes.float8_e4m3fn),
    "int4": np.array([1, -2], ml_dtypes.int4),
    "scalar of bfloat16": ml_dtypes.bfloat16(1.5),
    "scalar of float8": ml_dtypes.float8_e5m2(1.5),
    "scalar of float32": np.float32(1.5),
    "scalar of float64": np.float64(0.5),
    "timedelta64": np.timedelta64(5, "ns"),
    "datetime64": np.datetime64("2026-01-01"),
    "record": np.array([(1, 2.5)], dtype="i,f")[0],
    "csr array": sparse.csr_array(np.eye(3)),
    "csc matrix": sparse.csc_matrix(np.eye(3)),
    "bsr array": sparse.bsr_array(np.eye(4)),
    "coo array": sparse.coo_array(np.eye(3)),
    "dia matrix": sparse.dia_matrix(np.eye(3)),
}

_COLUMNS = pd.DataFrame(
    {
        "n": [1, 2, 3],
        "c": pd.Categorical(["x", "y", "x"], categories=["y", "x"], ordered=True),
        "t": pd.date_range("2026-01-01", periods=3, tz="Europe/Berlin"),
        "o": pd.Series(["p", None, "q"], dtype=object),
        "I": pd.array([1, None, 2], dtype="Int64"),
        "f": [1.0, np.nan, 2],
    }
)

_OBJECTS: dict[str, list[Any]] = {
    "a number and None": [1, None],
    "numbers of several types": [True, 1, 2.5],
    "a text and None": ["x", None],
    "all that is missing": [None, float("nan"), pd.NA, pd.NaT],
    "scalars": [np.int8(1), np.float32(1)],
    "a number and a text": [1, "x"],
    "None alone": [None, None],
    "tokens": [["x", "y"], [], None],
    "lists of lists": [[[1], [2]], [[3], [4]]],
    "tuples": [(1, 2), (3, 4)],
    "dicts": [{"a": 1}, {"b": [1], 5: 6}],
    "arrays": [np.arange(2), np.arange(2)],
    "dates": [date(2026, 1, 1), None],
    "decimals": [Decimal("1.50"), Decimal("1.5")],
    "bytes": [b"\xff" * 300, None],
    "long ints": [2**70, 2**71],
    "frames": [pd.DataFrame({"a": [[1]]})],
}
_ATTRS = pd.DataFrame({"a": [1]})
_ATTRS.attrs = {"a": (1, np.int8(1)), 5: 6}

FRAMES: dict[str, Any] = {
    **{f"pandas series with {name}": pd.Series(items, dtype=object) for name, items in _OBJECTS.items()},
    "pandas frame with columns of objects": pd.DataFrame(
        {name: pd.Series(items, dtype=object) for name, items in _OBJECTS.items() if len(items) == 2}
        | {"complex": [1j, 2], "n": [1, 2]}
    ),
    "pandas frame with columns of one name": pd.DataFrame([[1, "x", [1]]], columns=["a", "a", "a"]),
    "pandas frame with names of several types": pd.DataFrame([[1, 2, 3]], columns=["a", 1, None]),
    "pandas frame with an index of objects": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", None], dtype=object)),
    "pandas frame with levels of objects": pd.DataFrame({"a": [1, 2]}, index=[["a", "b"], [1, "x"]]),
    "pandas frame without columns": pd.DataFrame(index=range(1 << 21)),
    "pandas frame with attributes": _ATTRS,
    "pandas index of tuples": pd.Index([(1, 2), (3, 4)], tupleize_cols=False),
    "pandas index of complex numbers": pd.Index([1j], name=5),
    "pandas frame": _COLUMNS,
    "pandas frame with an index of times": _COLUMNS.set_index("t"),
    "pandas frame with a frequency": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2026", periods=2, freq="D")),
    "pandas frame with two levels": _COLUMNS.set_index(["n", "c"]),
    "pandas frame with two levels of columns": pd.DataFrame({("a", 1): [1], ("b", 2): [2.0]}),
    "pandas frame with numbered columns": pd.DataFrame({0: [1], 1: [2]}),
    "pandas frame with periods": pd.DataFrame({"p": pd.period_range("2026", periods=2, freq="M")}),
    "empty pandas frame": pd.DataFrame(),
    "pandas series": _COLUMNS["c"],
    "pandas series with a name of two parts": pd.Series([1, 2], name=("a", 1)),
    "pandas index": pd.Index([1, 2], name="q"),
    "pandas range": pd.RangeIndex(2, 8, 2, name="q"),
    "pandas timestamp": pd.Timestamp("2026-01-01 00:00:00.000000001", tz="Europe/Berlin"),
    "pandas timestamp without a zone": pd.Timestamp("2026-01-01"),
    "pandas timedelta": pd.Timedelta(5, "ns"),
    "NaT": pd.NaT,
    "NA": pd.NA,
    "polars frame": pl.DataFrame(
        {
            "a": [1, None],
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["y", "x"])),
            "t": pl.Series([MOMENT] * 2).dt.replace_time_zone("Europe/Berlin"),
            "f": [float("nan"), 1],
        }
    ),
    "polars series": pl.Series("q", [1, 2, None]),
    "pyarrow table": pa.table({"a": [1, 2], "f": [float("nan"), 1]}, metadata={"note": "a"}),
    "pyarrow batch": pa.RecordBatch.from_pydict({"a": [1]}),
    "empty pyarrow batch": pa.RecordBatch.from_pylist([], schema=pa.schema({"a": pa.int64()})),
    "pyarrow array": pa.array([1, None]),
    "empty pyarrow array": pa.array([], pa.int8()),
    "pyarrow chunks": pa.chunked_array([[1], [2]]),
}

_PALETTE = Image.new("P", (3, 3))
_PALETTE.putpalette([1, 2, 3, 4, 5, 6])
_NOTED = Image.new("RGB", (3, 4), (1, 2, 3))
_NOTED.info["dpi"] = (72, 72)

IMAGES: dict[str, Any] = {
    "image": _NOTED,
    "image with a palette": _PALETTE,
    "image of bits": Image.new("1", (9, 3), 1),
    "image of 16 bits": Image.new("I;16", (3, 3), 7),
    "empty image": Image.new("L", (0, 0)),
}

KINDS = STANDARD | ARRAYS | FRAMES | IMAGES
