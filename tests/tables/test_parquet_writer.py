"""Parquet and Arrow files, at a path, at a URL, and in an open file."""

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crystallize import FrameError
from crystallize._journal import point_stream as batches
from crystallize.frames import to_arrow, write_arrow, write_parquet

from .recorded_points import RunMetrics, opened, same, valued

pytestmark = pytest.mark.usefixtures("quick_journals")


@pytest.mark.parametrize("write", [write_parquet, write_arrow])
def test_written_to_a_path(tmp_path: Path, write: Callable[..., None]) -> None:
    """A file is written whole, in place of what was there, and nothing else stays."""
    path = tmp_path / "run.out"
    path.write_text("old")
    write(valued(1, 2), path)

    table = pq.read_table(path) if write is write_parquet else pa.ipc.open_file(str(path)).read_all()
    assert [1, 2] == table["value"].to_pylist()
    assert [path] == [*tmp_path.iterdir()]
    assert 0o666 & ~umask() == path.stat().st_mode & 0o777


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_file_that_is_not_finished(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails on the way leaves the file that was there before, at a path and at a URL."""

    def fail(*_: object) -> Iterator[Any]:
        yield {}
        raise OSError("gone")

    path, url = tmp_path / "run.parquet", f"memory://{tmp_path}/run.parquet"
    for where in (path, url):
        write_parquet(valued(1), where)
    monkeypatch.setattr(batches.StoredPoints, "batches", fail)
    for where in (path, url):
        with pytest.raises(OSError, match="gone"):
            write_parquet(runs / "sweep-0001.db", where)

    assert [1] == pq.read_table(path)["value"].to_pylist()
    with opened(url) as file:
        assert [1] == pq.read_table(file)["value"].to_pylist()
    assert {path, runs} == {*tmp_path.iterdir()}


def test_written_through_a_link(tmp_path: Path) -> None:
    """A path that is a link stays one, and what it leads to is written."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_parquet(valued(1), tmp_path / "link")

    assert (tmp_path / "link").is_symlink()
    assert [1] == pq.read_table(tmp_path / "file")["value"].to_pylist()


def test_written_to_a_device() -> None:
    """A path that is no file is written to as it is."""
    write_parquet(valued(1), "/dev/null")

    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_written_to_a_url(tmp_path: Path, scheme: str) -> None:
    """A URL is written by fsspec."""
    url = f"{scheme}://{tmp_path}/run.parquet"
    write_parquet(valued(1, 2), url)

    with opened(url) as file:
        assert [1, 2] == pq.read_table(file)["value"].to_pylist()


def test_written_after_what_is_there() -> None:
    """A file that is open is written on where it stands, and stays open."""
    file = BytesIO()
    file.write(b"before")
    write_parquet(valued(1), file)

    assert not file.closed
    assert [1] == pq.read_table(BytesIO(file.getvalue().removeprefix(b"before")))["value"].to_pylist()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nowhere://user:secret@host/x", r"nowhere://: .*nowhere"),
        ("http://user:secret@host/x", r"http://: fsspec cannot"),
    ],
)
def test_url_that_nobody_knows(url: str, says: str) -> None:
    """A URL that cannot be written says so, without what may be secret in it."""
    with pytest.raises(FrameError, match=says) as told:
        write_parquet(valued(1), url)
    assert "secret" not in str(told.value)


def test_written_to_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A folder that is not there is named, and not made."""
    with pytest.raises(FrameError, match=r"run.parquet: there is no folder '.*none'; make it first"):
        write_parquet(valued(1), tmp_path / "none" / "run.parquet")
    assert [] == [*tmp_path.iterdir()]


def test_written_to_what_is_no_place() -> None:
    """What is no path and no file is named by its type, with what was allowed."""
    nowhere: Any = 3
    with pytest.raises(FrameError, match="int: a table is written to a path, a URL, or an open binary file"):
        write_parquet(valued(1), nowhere)


def test_a_run_is_not_overwritten(runs: Path) -> None:
    """The file of a run is not taken for a place to write."""
    path = runs / "sweep-0001.db"
    with pytest.raises(FrameError, match="this is the file of a run"):
        write_parquet(path, path)
    assert 3 == len(to_arrow(path))


def test_stream_in_parquet(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in a file is written a batch at a time, and what is read back is all of it."""
    monkeypatch.setattr(batches, "BATCH", 1)
    path = runs / "sweep-0001.db"
    write_parquet(path, tmp_path / "run.parquet", metrics=RunMetrics)

    assert same(to_arrow(path, metrics=RunMetrics), pq.read_table(tmp_path / "run.parquet"))
