"""`crystallize compare`."""

from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, Metric, MetricSchema

from .command_runs import call, complaint, document_of, made, printed, words


class Goals(MetricSchema):
    loss = Metric(float, goal="minimize")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    for number in range(3):
        with Journal.start(folder, "grid") as journal:
            ctx = journal.context(
                FrozenContext, {"seed": 7, "cfg": {"rate": 0.1 / 3**number, "depth": 3}}, metrics=Goals
            )
            ctx["accuracy"] = 2 / 3 + number
            ctx.record("loss", 1.0)
    made(folder, "other")
    return folder


def test_compares_runs(grid: Path) -> None:
    """Each run has a row in the order of the names, and each input, value or best metric that differs a column."""
    assert [
        ["run", "cfg.rate", "accuracy"],
        ["grid-0003", "0.0111111", "2.66667"],
        ["grid-0001", "0.1", "0.666667"],
        ["grid-0002", "0.0333333", "1.66667"],
        ["the same in all: 4 columns"],
    ] == words(printed("compare", "--dir", grid, "3", "grid-*"))


def test_compares_as_json(grid: Path) -> None:
    """As JSON there are the columns that differ, and those that do not."""
    document = document_of("compare", "--dir", grid, "grid-0001", "2")

    assert ["run", "inputs.cfg.rate", "values.accuracy"] == list(document["runs"][0])
    assert {"inputs.seed": 7, "inputs.cfg.depth": 3, "best.loss": 1.0, "status": "finished"} == document["same"]


def test_compares_as_csv(grid: Path) -> None:
    """As CSV there is a line for each run; a run that lacks a value has nothing there."""
    lines = printed("compare", "--dir", grid, "grid-0001", "other", "--csv").splitlines()

    assert "run,inputs.seed,inputs.cfg.rate,inputs.cfg.depth,inputs.lr,values.accuracy,best.loss" == lines[0]
    assert "grid-0001,7,0.1,3,,0.6666666666666666,1.0" == lines[1]
    assert 2 == call("compare", "--dir", grid, "1", "2", "--csv", "--json").exit_code


def test_one_run_is_no_comparison(grid: Path) -> None:
    """A comparison takes two runs, and a pattern that matches one."""
    assert "this is one run, and a comparison takes two or more" in complaint("compare", "--dir", grid, "grid-*1")
    assert "no run in" in complaint("compare", "--dir", grid, "grad-*")
