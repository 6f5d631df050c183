"""What can be handed in as a source of points, and what cannot."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from crystallize import FrameError, FrozenContext, Journal, JournalError, RunNotFoundError
from crystallize._core.point_log import BLOCK
from crystallize.frames import runs_frame, to_arrow, to_pandas, to_polars, to_reader, write_parquet

from ..journal.journal_runs import copied, die
from .recorded_points import OtherMetrics, RunMetrics, facts_in, read_back, recorded, same

pytestmark = pytest.mark.usefixtures("quick_journals")


def test_run_that_died(tmp_path: Path) -> None:
    """Of a run that died there is all that was acknowledged, also what only its spool has."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    for at in range(10):
        ctx.record("seen", at)
    path = copied(journal, tmp_path / "copy")
    die(journal)

    assert [*range(10)] == to_arrow(path)["value"].to_pylist() == to_reader(path).read_all()["value"].to_pylist()


def test_steps_done_again(tmp_path: Path) -> None:
    """What a step did that had to be done again is not in a table."""
    with suppress(OSError), Journal.start(tmp_path, "run") as journal:
        fit = journal.context(FrozenContext).step("fit")
        with fit as step:
            step.record("seen", 1.0)
            raise OSError
    with Journal.resume(journal.path) as resumed, resumed.context(FrozenContext).step("fit") as step:
        step.record("seen", 2.0)

    path = journal.path
    assert [2.0] == to_arrow(path)["value"].to_pylist() == to_reader(path).read_all()["value"].to_pylist()


def test_table_of_a_series() -> None:
    """A series is a table of its points alone, and a part of one of that part, each in its place."""
    points = [("loss", at / 2, {"epoch": at, "split": ("train", "val")[at % 2]}) for at in range(2 * BLOCK)]
    ctx = recorded(*points, ("rows", 7, {}), schema=RunMetrics)
    loss = ctx.metrics.series(RunMetrics.loss)

    whole, part = to_arrow(loss), to_arrow(loss.where(split="val"))
    assert ["epoch", "split"] == whole.column_names[6:]
    assert {"loss"} == facts_in(whole)["metrics"].keys()
    assert [at / 2 for at in range(2 * BLOCK)] == whole["value"].to_pylist()
    assert [*range(1, 2 * BLOCK, 2)] == part["sequence"].to_pylist() == part["epoch"].to_pylist()
    assert whole.schema.equals(part.schema, check_metadata=True)
    assert same(part, to_reader(loss.where(split="val")).read_all())
    assert same(part, to_arrow(loss.where(lambda tags: tags["split"] == "val")))
    assert same(part, read_back(write_parquet, loss.where(split="val")))
    assert BLOCK == len(to_pandas(loss.where(split="val")))
    assert [7] == to_polars(ctx.metrics.series("rows"))["value"].to_list()
    assert 0 == len(to_arrow(FrozenContext().metrics.series("none")))
    assert 0 == len(to_arrow(FrozenContext(metrics=RunMetrics).metrics.series("loss")))


@pytest.mark.parametrize(
    ("measured", "kind"), [({"loss": [1]}, "dict"), (None, "NoneType"), (pd.DataFrame(), "pandas.*DataFrame")]
)
def test_what_there_is_no_table_of(measured: Any, kind: str) -> None:
    """What holds no points is named by its type, with what was allowed."""
    with pytest.raises(FrameError, match=f"{kind}: there is no table of it; give metrics, a series, a context, a run"):
        to_arrow(measured)


@pytest.mark.parametrize("measured", [FrozenContext(), pa.table({"a": [1]}), pa.table({"a": [1]}).to_reader()])
@pytest.mark.parametrize("make", [to_arrow, to_reader, to_pandas])
def test_metrics_of_what_has_its_own(measured: Any, make: Any) -> None:
    """What has its own metrics takes no others."""
    with pytest.raises(FrameError, match="has its own metrics"):
        make(measured, metrics=RunMetrics)


def test_runs_that_are_not_there(tmp_path: Path, runs: Path) -> None:
    """A run, or a folder of runs, that is not there is named."""
    with pytest.raises(RunNotFoundError, match="this is a folder"):
        to_arrow(runs)
    with pytest.raises(RunNotFoundError):
        to_reader(tmp_path / "no.db")
    with pytest.raises(FrameError, match="no folder of runs; `to_arrow` takes a single run"):
        runs_frame(runs / "sweep-0001.db")


def test_runs_of_other_metrics(runs: Path) -> None:
    """A run that measured what is not declared names it, with the nearest name."""
    path = runs / "sweep-0001.db"
    with pytest.raises(JournalError, match=r"has metrics that the schema does not declare.*did you mean 'los'"):
        to_arrow(path, metrics=OtherMetrics)
    with pytest.raises(JournalError, match=r"has metrics that the schema does not declare.*did you mean 'los'"):
        to_reader(path, metrics=OtherMetrics)
