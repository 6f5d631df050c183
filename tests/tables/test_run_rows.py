"""The table of runs."""

from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path
from typing import Any

import pytest

from crystallize._journal.summary_row import RunSummary
from crystallize._tables.run_rows import cells, chosen_runs, read_runs, table_of
from crystallize.errors import FrameError

START = datetime(2026, 11, 24, 9, 48, 17, tzinfo=UTC)


def summary(number: int, **scalars: Any) -> RunSummary:
    named = {name.replace("__", "."): value for name, value in scalars.items()}
    started = START + timedelta(minutes=number)
    return RunSummary(f"grid-{number:04d}", "finished", named, started, started, 61.5, 2, 2)


TABLE = table_of(
    [
        summary(1, inputs__lr=0.1, inputs__seed=1, values__accuracy=0.8),
        summary(2, inputs__lr=0.2, inputs__seed=1, values__accuracy=nan),
        summary(3, inputs__lr="auto", inputs__seed=1, values__accuracy=0.123456789, best__loss=3),
    ]
)


def names_in(table: Any) -> list[str]:
    return [row["run"][-1] for row in table.rows]


def test_columns() -> None:
    """Facts come first, then inputs, values and the best of metrics, and then the less important facts."""
    facts = ["run", "status", "started", "took"]
    words = ["tags", "note", "parent", "error"]
    own = ["inputs.lr", "inputs.seed", "values.accuracy", "best.loss"]

    assert [*facts, *own, "steps", "steps_finished", "ended", *words] == TABLE.names.full
    assert [*facts, "inputs.lr", *own[2:], *words] == TABLE.default_columns()
    assert ["run", "inputs.lr", "best.loss"] == TABLE.columns(["lr", " loss", "lr"])
    with pytest.raises(FrameError, match=r"columns='acuracy': there is no column 'acuracy'; did you mean 'accuracy'\?"):
        TABLE.columns(["acuracy"])


def test_shared() -> None:
    """Inputs that all runs share are told from those that differ: 1 is equal to 1.0, and not to True."""
    runs = [(1, True, nan, "x"), (1.0, 1, nan, None)]
    table = table_of(
        summary(at, **{f"inputs__{name}": value for name, value in zip("abcd", run, strict=True)})
        for at, run in enumerate(runs)
    )

    assert ["inputs.a", "inputs.c"] == table.shared("inputs")


def test_sorts() -> None:
    """Runs are sorted by one column or several; a run without a value comes last in both directions."""
    assert ["3", "1", "2"] == names_in(TABLE.sorted("accuracy"))
    assert ["1", "3", "2"] == names_in(TABLE.sorted("values.accuracy:desc"))
    assert ["1", "2", "3"] == names_in(TABLE.sorted("lr:asc"))
    assert ["3", "2", "1"] == names_in(TABLE.sorted("seed, started:desc"))
    with pytest.raises(FrameError, match=r"'down' is no direction; write lr:desc, or lr"):
        TABLE.sorted("lr:down")


def test_chooses() -> None:
    """A condition comes first, then the newest, then the order."""
    assert ["2", "1"] == names_in(chosen_runs(TABLE, "lr < 1", "lr:desc", 2))
    assert ["2", "3"] == names_in(chosen_runs(TABLE, None, None, 2))
    assert [] == names_in(TABLE.last(0))
    assert ["1", "2", "3"] == names_in(TABLE.last(9))
    with pytest.raises(FrameError, match="last=-1: it is the number of runs, from 0"):
        TABLE.last(-1)
    empty = table_of([])
    assert empty == chosen_runs(empty, "lr < 1", "lr", 3)


def test_cells() -> None:
    """Floats have six significant digits, and times are as people read them."""
    shown = ["started", "took", "inputs.lr", "values.accuracy", "best.loss"]

    assert ["2026-11-24 09:51:17", "1 min 2 s", "auto", "0.123457", "3"] == cells(TABLE.rows, shown)[2]
    assert [None] == cells(TABLE.rows, ["best.loss"])[0]


def test_newest_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest run is the last, and one that cannot be read comes after the run before it by name."""
    broken = RunSummary("b-0001", "damaged", {}, error="it is damaged")
    runs = [summary(5), broken, summary(2), summary(3)]
    monkeypatch.setattr("crystallize._tables.run_rows.summaries_of", lambda folder: runs)

    assert ["grid-0002", "grid-0003", "grid-0005", "b-0001"] == [row["run"] for row in read_runs(tmp_path).rows]
    assert ["2"] == names_in(read_runs(tmp_path, ["grid-0002"]))
