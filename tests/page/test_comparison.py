"""Several runs on one page: their title, labels and table, and the runs whose curves are drawn."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal, Metric, MetricSchema, Run, load_run
from crystallize._page.comparison import Comparison, comparison_of
from crystallize.runs import note_run, tag_run


class Measured(MetricSchema):
    loss = Metric(float, goal="minimize")
    accuracy = Metric(float, goal="maximize")
    seconds = Metric(float)


def ran(folder: Path, inputs: dict[str, Any], *, name: str = "grid", loss: float = 1, **values: Any) -> Run[Any]:
    with Journal.start(folder, name) as journal:
        ctx = journal.context(FrozenContext, inputs, metrics=Measured)
        ctx.record(Measured.loss, loss)
        for key, value in values.items():
            ctx[key] = value
    return load_run(journal.path)


def cells(found: Comparison, heading: str) -> list[str | None]:
    (column,) = (column for column in found.columns if column.heading == heading)
    return [entry.text for entry in column.cells]


def test_title(tmp_path: Path) -> None:
    """The title has the number of runs, and the names that they share."""
    runs = [ran(tmp_path, {}, name=name) for name in ("a", "a", "b", "c", "d")]

    titles = [comparison_of(part).title for part in (runs[:2], runs[:3], runs[:4], runs)]
    assert ["2 runs of a", "3 runs of a and b", "4 runs of a, b and c", "5 runs of a, b and 2 more names"] == titles


def test_columns(tmp_path: Path) -> None:
    """A table has the inputs that differ by short names, then the results, then times; the rest is the same in all."""
    runs = [ran(tmp_path, {"cfg": {"lr": lr, "depth": 3}}, loss=lr, rows=7, score=lr / 2) for lr in (0.1, 0.25)]
    found = comparison_of(runs)

    headings = [column.heading for column in found.columns]
    assert ["status", "lr", "loss", "score", "took", "started (UTC)"] == headings
    assert [["0.1", "0.25"], ["0.05", "0.125"]] == [cells(found, "lr"), cells(found, "score")]
    assert [("depth", "3"), ("rows", "7")] == [(column.heading, column.cells[0].text) for column in found.shared]
    assert ["lr"] == [column.heading for column in found.differing]


def test_best(tmp_path: Path) -> None:
    """The best of each metric is marked by its goal, unless all are equal."""
    found = comparison_of([ran(tmp_path, {"lr": lr}, loss=lr) for lr in (0.2, 0.1, 0.3)])
    (best,) = found.bests

    assert ("loss", "minimize", 1) == (best.column.heading, best.column.goal, best.run)
    assert [False, True, False] == [entry.is_best for entry in best.column.cells]
    assert [] == comparison_of([ran(tmp_path, {"lr": lr}) for lr in (0.2, 0.1)]).bests


def test_labels(tmp_path: Path) -> None:
    """A run goes by the inputs that differ; also by its name if these do not tell it apart, or nothing differs."""
    inputs = [
        {"cfg": {"lr": 0.1}, "note": "x" * 30},
        {"cfg": {"lr": 0.2}, "note": "y"},
        {"cfg": {"lr": 0.2}, "note": "z"},
    ]
    runs = [ran(tmp_path, own) for own in inputs]

    assert ["lr 0.1", "lr 0.2, grid-0002", "lr 0.2, grid-0003"] == comparison_of(runs).labels
    same = [ran(tmp_path, {"lr": 0.1}, name="same") for _ in range(2)]
    assert ["same-0001", "same-0002"] == comparison_of(same).labels


def test_headings_are_unique(tmp_path: Path) -> None:
    """Inputs of which the ends of the names are equal go by more of their names."""
    runs = [ran(tmp_path, {"a": {"lr": lr}, "b": {"lr": 1 - lr}}) for lr in (0.1, 0.2)]

    assert ["a.lr", "b.lr"] == [column.heading for column in comparison_of(runs).differing]


def test_runs_of_one_name(tmp_path: Path) -> None:
    """Runs of the same name go by their files."""
    runs = [ran(tmp_path / folder, {}) for folder in ("a", "b")]
    found = comparison_of(runs)

    assert [str(run.path) for run in runs] == found.names == found.labels


def test_failed_run(tmp_path: Path) -> None:
    """A failed run has its error in the table, and no result that it did not reach."""
    with suppress(RuntimeError), Journal.start(tmp_path, "grid") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        raise RuntimeError("no memory")
    found = comparison_of([load_run(journal.path), ran(tmp_path, {"lr": 0.2}, score=3)])

    assert ["RuntimeError: no memory", None] == cells(found, "error")
    assert [None, "3"] == cells(found, "score")
    (column,) = (column for column in found.columns if column.heading == "score")
    assert [None, 3.0] == [entry.rank for entry in column.cells]


def test_tags_and_notes(tmp_path: Path) -> None:
    """Tags and notes are columns if any run has one."""
    runs = [ran(tmp_path, {"lr": lr}) for lr in (0.1, 0.2)]
    tag_run(runs[0].path, "paper", "baseline")
    note_run(runs[1].path, "too slow")
    found = comparison_of(runs)

    assert ["status", "tags", "lr", "loss", "took", "started (UTC)", "note"] == [
        column.heading for column in found.columns
    ]
    assert (["baseline, paper", None], [None, "too slow"]) == (cells(found, "tags"), cells(found, "note"))


@pytest.mark.slow
def test_drawn_runs(tmp_path: Path) -> None:
    """Of more than 24 runs those with the best results are drawn, best first; without a result, the last ones."""
    losses = [n * 7 % 26 / 10 for n in range(26)]
    found = comparison_of([ran(tmp_path, {"lr": n}, loss=loss) for n, loss in enumerate(losses)])

    assert sorted(range(26), key=losses.__getitem__)[:24] == found.drawn
    assert "Drawn are the 24 of 26 runs with the lowest loss." == found.drawn_note
    few = comparison_of([ran(tmp_path, {"lr": n}, name="few") for n in range(2)])
    assert ([0, 1], "") == (few.drawn, few.drawn_note)
    same = comparison_of([ran(tmp_path, {"lr": n}, name="same") for n in range(26)])
    assert ([*range(2, 26)], "Drawn are the last 24 of 26 runs.") == (same.drawn, same.drawn_note)
