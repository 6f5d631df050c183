"""Polars frames as Arrow tables: the same frame comes back, or Arrow is not used."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from polars.testing import assert_frame_equal
from polars.testing.parametric import dataframes

from crystallize import FrozenContext
from crystallize._core import arrow_codecs, polars_arrow
from crystallize._core.codec import any_key, decode, encode
from crystallize._core.polars_arrow import as_arrow, as_polars

ODD = pl.DataFrame({"n": [1, 2], "s": ["a", "b"]}).with_columns(
    pl.col("n").cast(pl.Int128).alias("large"),
    pl.struct(pl.col("n").cast(pl.Int128)).alias("record"),
    pl.concat_list(pl.col("n").cast(pl.Int128)).alias("list"),
)


@given(dataframes(max_cols=4, max_size=6))
def test_the_same_frame(frame: pl.DataFrame) -> None:
    """A frame that becomes a table comes back with its data types, and so does the frame that a file contains."""
    table = as_arrow(frame)
    if table is not None:
        assert_frame_equal(as_polars(table), frame)
    found: Any = FrozenContext({"frame": frame})["frame"]
    assert_frame_equal(found, frame)


@pytest.mark.parametrize("column", ["large", "record", "list"])
def test_types_that_arrow_does_not_have(column: str) -> None:
    """A frame with such a type, also within a record or a list, is copied and stored by polars."""
    frame = ODD.select(column)
    assert as_arrow(frame) is None
    assert_frame_equal(decode(encode(any_key(), frame), any_key()), frame)


@pytest.mark.parametrize("value", [pl.Series([1]), pl.DataFrame({"a": [1]}).lazy()])
def test_no_frame(value: Any) -> None:
    """A column and a query are not tables."""
    assert as_arrow(value) is None


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow, polars copies and stores frames by itself; either reads the bytes of the other."""
    frame = ODD.select("n", "s")
    with_arrow = encode(any_key(), frame)
    for module in (polars_arrow, arrow_codecs):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    without = encode(any_key(), frame)
    assert as_arrow(frame) is None
    assert_frame_equal(FrozenContext({"frame": frame})["frame"], frame)
    for stored in (with_arrow, without):
        assert_frame_equal(decode(stored, any_key()), frame)
    monkeypatch.undo()
    assert_frame_equal(decode(without, any_key()), frame)
