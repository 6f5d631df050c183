"""Rows of points, packed and unpacked within bounds."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import DamagedRunError, FrozenContext, Journal, load_run
from crystallize._journal import packed_points
from crystallize._journal.packed_points import packed, points_of
from crystallize._journal.rows import PackedRow
from crystallize.runs import verify_run

PATH = Path("run-0001.db")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


def row(content: bytes, size: int = 1) -> PackedRow:
    return PackedRow(1, 1, size, content)


@given(st.lists(st.tuples(st.text(), st.integers(), st.dictionaries(st.text(), st.integers()), st.none()), min_size=1))
def test_gives_points_back(points: list[tuple[Any, ...]]) -> None:
    """Points are unpacked as they were packed."""
    content = packed(json.dumps(points).encode())

    assert [[*point] for point in points] == points_of(PATH, row(content, len(points)))


@given(JSON, st.integers(0, 3))
def test_anything_else_is_damage(value: object, size: int) -> None:
    """JSON that is not points is damage, whatever it is."""
    with pytest.raises(DamagedRunError, match="a row of points cannot be read"):
        points_of(PATH, row(zlib.compress(json.dumps(value).encode()), size))


@pytest.mark.parametrize(
    "points",
    [
        *('[["a",1,{}]]', '[["a",1,{},null,"json",1]]', '[["a",[1],{},null]]', '[["a",1,{"t":[]},null]]'),
        *('[["a",1,[],null]]', '[["a",{},1,null]]', '[["a",1,{},null],["a",1,{},null]]', "[[]]"),
    ],
)
def test_points_of_another_shape(points: str) -> None:
    """Points that have other parts, or parts of other types, are damage."""
    with pytest.raises(DamagedRunError, match="a row of points cannot be read"):
        points_of(PATH, row(zlib.compress(points.encode())))


@pytest.mark.parametrize(
    "content", [b"", b"none", zlib.compress(b"[]")[:-1], zlib.compress(b'[["a",1,{},null]]') + b"x"]
)
def test_no_packed_row(content: bytes) -> None:
    """Bytes that are not packed, or not to their end, are damage."""
    with pytest.raises(DamagedRunError, match="a row of points cannot be read"):
        points_of(PATH, row(content))


def test_a_few_bytes_do_not_become_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that would become much larger than its bytes is refused once it is too large."""
    monkeypatch.setattr(packed_points, "LARGE", 1000)
    bomb = zlib.compress(b'[["a",1,{},null]' + b" " * 1_000_000 + b"]")

    with pytest.raises(DamagedRunError, match=r"its 1,0\d\d bytes become more than 8,\d\d\d"):
        points_of(PATH, row(bomb))


def test_a_large_point_is_read_however_small_it_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that is large, and the same in all its parts, is not taken for a bomb."""
    monkeypatch.setattr(packed_points, "LARGE", 1000)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("zeros", np.zeros(100_000))
        ctx.record("text", "a" * 100_000)

    assert () == verify_run(journal.path)
    assert "a" * 100_000 == load_run(journal.path).metrics.series("text").last
