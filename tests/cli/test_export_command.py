"""`crystallize export` and `crystallize report`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from crystallize._base.optional import OptionalModule

from .command_runs import call, complaint, document_of, made, printed, run_main


def test_exports_lines(made_run: Path) -> None:
    """Values and then points come as JSON, one a line."""
    lines = [json.loads(line) for line in printed("export", made_run).splitlines()]

    assert ["lr", "accuracy"] == [line["key"] for line in lines[:2]]
    own = {"metric": "loss", "sequence": 1, "step": "fit", "missing": None}
    assert {**own, "value": "NaN", "tags": {"epoch": 1}} == lines[3]
    assert 4 == len(lines)


@pytest.mark.parametrize(
    ("options", "firsts"),
    [
        (["--what", "values"], ['{"key":"lr"', '{"key":"accuracy"']),
        (["--what", "points"], ['{"metric":"loss"', '{"metric":"loss"']),
        (["--format", "csv"], ["metric", "loss", "loss"]),
        (["--format", "csv", "--what", "points"], ["metric", "loss", "loss"]),
        (["--format", "csv", "--what", "values"], ["key", "lr", "accuracy"]),
    ],
    ids=" ".join,
)
def test_exports_what_is_asked_for(made_run: Path, options: list[str], firsts: list[str]) -> None:
    """One asks for values or for points, as JSON or as CSV."""
    text = printed("export", made_run, *options)

    assert firsts == [line.partition(",")[0] for line in text.splitlines()]


def test_exports_document(made_run: Path) -> None:
    """With `--json` the rows make one document."""
    rows = document_of("export", made_run)

    assert [("values", 2), ("points", 2)] == [(key, len(part)) for key, part in rows.items()]
    assert ["points"] == list(document_of("export", made_run, "--what", "points"))
    result = call("export", made_run, "--json", "--format", "csv")
    assert (2, "") == (result.exit_code, result.stdout)
    assert "--json is one document" in result.stderr


@pytest.mark.parametrize(
    "options",
    [[], ["--format", "csv"], ["--json"], ["--format", "parquet"], ["--format", "arrow"]],
    ids=["jsonl", "csv", "json", "parquet", "arrow"],
)
def test_exports_to_file(tmp_path: Path, options: list[str]) -> None:
    """A file gets what stdout would, byte for byte, and nothing is printed."""
    path, file = made(tmp_path, text="é"), tmp_path / "out"

    assert "" == printed("export", path, "-o", file, *options)
    assert call("export", path, *options).stdout_bytes == file.read_bytes()


def test_exports_tables(tmp_path: Path) -> None:
    """Points come as a Parquet or an Arrow file, also at a URL."""
    path, file = made(tmp_path), tmp_path / "out"

    printed("export", path, "--format", "parquet", "-o", file)
    assert ["loss", "loss"] == pq.read_table(file)["metric"].to_pylist()
    printed("export", path, "--format", "arrow", "-o", f"file://{file}")
    assert [0, 1] == pl.read_ipc(file)["epoch"].to_list()


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_exports_tables_of_points(
    tmp_path: Path, format: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table is one of points, is no document, and is nothing for a terminal."""
    path = made(tmp_path)

    assert "is a table of the points" in call("export", path, "--format", format, "--what", "values").stderr
    assert f"--format {format} is none" in call("export", path, "--format", format, "--json").stderr
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert 2 == run_main(["export", str(path), "--format", format], monkeypatch)
    assert ("", True) == ((told := capsys.readouterr()).out, "nothing for a terminal" in told.err)


def test_exports_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal control characters are escaped; elsewhere a text is exported as it is."""
    path = made(tmp_path, title="\x1b[31mred")
    arguments = ["export", str(path), "--format", "csv", "--what", "values"]

    assert 0 == run_main(arguments, monkeypatch)
    assert "title,str,true,,,\x1b[31mred\r\n" in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert 0 == run_main(arguments, monkeypatch)
    assert "title,str,true,,,\\x1b[31mred\n" in capsys.readouterr().out


def test_exports_without_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the command says what to install."""
    for name in ("frame_conversion", "parquet_writer", "arrow_table", "columns"):
        monkeypatch.setattr(f"crystallize._tables.{name}.pa", OptionalModule("pyarrow", "arrow"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert "crystallize-context[arrow]" in complaint("export", made(tmp_path), "--format", "parquet", "-o", "out")


def test_exports_to_no_run(tmp_path: Path) -> None:
    """A run is never written over, nor its spool; another file is."""
    run, other, spool, file = made(tmp_path), made(tmp_path), tmp_path / "x-0001.spool", tmp_path / "out.jsonl"
    before = other.read_bytes()
    for there in (spool, file):
        there.write_bytes(b"1")

    assert "would be overwritten" in complaint("export", run, "-o", other)
    assert "would be overwritten" in complaint("export", run, "-o", spool)
    assert (before, b"1") == (other.read_bytes(), spool.read_bytes())
    assert "" == printed("export", run, "-o", file)
    assert "" == printed("export", run, "-o", tmp_path / "new.db")


def test_exports_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A file that cannot be made is named."""
    path = made(tmp_path)

    assert str(tmp_path / "absent/out") in complaint("export", path, "-o", tmp_path / "absent/out")
    assert str(tmp_path) in complaint("export", path, "-o", tmp_path)


def test_exports_what_is_not_unicode(tmp_path: Path) -> None:
    """An array of what is no text stops an export with a line."""
    result = call("export", made(tmp_path, names=np.array(["\ud800"])))

    assert 2 == result.exit_code
    assert "surrogates not allowed" in result.stderr.splitlines()[0]
    assert 2 == len(result.stderr.splitlines())
