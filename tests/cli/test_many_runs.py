"""Every command over a folder of 200 runs."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, Metric, MetricSchema
from crystallize._cli.app import SUBCOMMANDS
from crystallize.frames import runs_table
from crystallize.runs import list_runs

from .command_runs import complaint, document_of, printed, words

MADE = 20
COUNT = 200


class Goals(MetricSchema):
    loss = Metric(float, goal="minimize")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 200 runs: 20 that were made, one of which failed, and copies of these."""
    folder = tmp_path_factory.mktemp("many") / "runs"
    for number in range(1, MADE + 1):
        try:
            with Journal.start(folder, "grid") as journal:
                ctx = journal.context(FrozenContext, {"lr": number / 100, "seed": 1}, metrics=Goals)
                with ctx.step("fit") as step:
                    for epoch in range(5):
                        step.record("loss", number / (epoch + 1))
                    step["accuracy"] = 1 - number / 100
                if number == MADE:
                    raise FileNotFoundError("no rows")
        except FileNotFoundError:
            assert number == MADE
    for number in range(MADE + 1, COUNT + 1):
        shutil.copyfile(folder / f"grid-{(number - 1) % MADE + 1:04d}.db", folder / f"grid-{number:04d}.db")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _in_that_folder(original: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(original.parent)
    yield
    os.chdir(before)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """Three of the runs, in a folder of their own, to be changed."""
    for number in (1, 2, MADE):
        shutil.copy(original / f"grid-{number:04d}.db", tmp_path)
    return tmp_path


def test_runs() -> None:
    """All runs are listed, the newest last, with the inputs that differ, results and best metrics."""
    heading, *rows = words(printed("runs"))

    assert ["run", "status", "started (UTC)", "took", "lr", "accuracy", "loss", "error"] == heading
    assert COUNT == len(rows)
    assert {f"grid-{number:04d}" for number in range(1, COUNT + 1)} == {row[0] for row in rows}
    assert ["grid-0020", "failed", "FileNotFoundError: no rows"] == [
        cell for row in rows if row[0] == "grid-0020" for cell in (*row[:2], row[-1])
    ]


def test_runs_that_are_chosen() -> None:
    """Conditions, columns and an order choose the same runs in a table, as JSON, as CSV and in Python."""
    where, sort = "lr <= 0.02 and status == 'finished'", "accuracy:desc,run"
    chosen = ("runs", "--where", where, "--sort", sort, "--columns", "lr,loss")
    names = [f"grid-{number:04d}" for start in (1, 2) for number in range(start, COUNT + 1, MADE)]

    heading, *rows = words(printed(*chosen))
    assert ["run", "lr", "loss"] == heading
    assert names == [row[0] for row in rows]
    assert ["grid-0001", "0.01", "0.2"] == rows[0]
    assert [{"run": name, "inputs.lr": 0.01 + 0.01 * (at >= 10)} for at, name in enumerate(names)] == [
        {name: run[name] for name in ("run", "inputs.lr")} for run in document_of(*chosen)
    ]
    assert "run,inputs.lr,best.loss" == printed(*chosen, "--csv").splitlines()[0]
    table = runs_table("runs", where=where, sort=sort, columns=["lr", "loss"])
    assert document_of(*chosen) == table.to_pylist()
    assert 3 == len(document_of("runs", "--last", "3"))


def test_compare_and_diff() -> None:
    """A pattern compares all runs; of two runs the differences are listed."""
    heading, *rows, same = words(printed("compare", "grid-*"))
    assert ["run", "status", "lr", "accuracy", "loss"] == heading
    assert (COUNT, "the same in all: 1 column") == (len(rows), same[0])

    some = document_of("compare", "grid-01?1")
    assert (10, 1) == (len(some["runs"]), some["same"]["inputs.seed"])
    assert "lr" in printed("diff", "1", "2", status=1)
    assert "no difference\n" == printed("diff", "grid-0001", "grid-0021")


def test_looking_at_one(tmp_path: Path) -> None:
    """A name, its number and a pattern that one run matches mean the same run to every command for one run."""
    shown = printed("show", "grid-0133")
    assert shown == printed("show", "133") == printed("show", "grid-013[3]")
    assert "fit" in shown
    assert "verified\n" == printed("verify", "133")
    assert 5 == len(printed("export", "133", "--format", "csv").splitlines()[1:])
    printed("report", "grid-013*", "-o", tmp_path / "ten.html")
    assert "grid-0139" in (tmp_path / "ten.html").read_text()
    printed("pack", "133", "-o", tmp_path / "one.tar")
    assert "grid-0133" in printed("unpack", tmp_path / "one.tar", "--dir", tmp_path)
    assert "several" in complaint("show", "grid-*") or "200 runs" in complaint("show", "grid-*")


def test_changing(folder: Path) -> None:
    """Notes, tags, names and removals show in the next list."""
    here = ("--dir", folder)
    printed("note", "1", "the baseline", *here)
    printed("tag", "grid-*", "old", *here)
    printed("rename", "2", "best", *here)
    assert [("best-0001", None), ("grid-0001", "the baseline"), ("grid-0020", None)] == sorted(
        (run["run"], run["note"]) for run in document_of("runs", "--where", "'old' in tags", *here)
    )
    printed("seal", "grid-*", *here)
    printed("rm", "grid-*", "--yes", *here)
    assert "removed 0 objects, 0 bytes\n" == printed("gc", *here)
    assert ["best-0001.db"] == [path.name for path in list_runs(folder)]


def test_every_subcommand_is_here() -> None:
    """The tests of this file call each subcommand that is about runs, except for the server, which has its own."""
    called = Path(__file__).read_text(encoding="utf-8")
    others = ("explain", "import", "stubs", "ui")
    assert [] == [name for name in SUBCOMMANDS if json.dumps(name) not in called and name not in others]
