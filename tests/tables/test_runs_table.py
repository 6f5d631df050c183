"""The points of many runs as one table."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel

from crystallize import (
    DamagedRunError,
    FrameError,
    FrozenContext,
    Journal,
    JournalError,
    Metric,
    MetricSchema,
    RunNotFoundError,
    load_run,
)
from crystallize.frames import runs_frame, runs_table, to_pandas, to_polars, write_parquet

from .recorded_points import FEW, OWN, OtherMetrics, RunMetrics, facts_in, read_back, same

pytestmark = pytest.mark.usefixtures("quick_journals")


def test_folder_of_runs(runs: Path) -> None:
    """The points of all runs are one table, and what each began with stands beside them."""
    table = runs_frame(runs, metrics=RunMetrics)

    columns = {"lr": pa.float64(), "layers": FEW, "name": FEW, "input.epoch": pa.int64(), "tuned": pa.null()}
    columns |= {"accuracy": pa.float64()}
    assert ["epoch", "split", *columns] == table.column_names[6:]
    assert columns == {name: table.schema.field(name).type for name in columns}
    assert ["sweep-0001"] * 3 + ["sweep-0002"] * 3 == table["run"].to_pylist()
    assert [0.1] * 3 + [1.0] * 3 == table["lr"].to_pylist()
    assert {"[1,2]"} == set(table["layers"].to_pylist())
    assert {"input": "layers", "encoding": "json"} == facts_in(table, "layers")
    assert {"values": "accuracy"} == facts_in(table, "accuracy")
    assert {0.9} == set(table["accuracy"].to_pylist())
    assert "nats" == facts_in(table)["metrics"]["loss"]["unit"]
    assert facts_in(table) == facts_in(runs_frame(runs))
    assert {0.1: 0.1, 1.0: 1.0} == to_pandas(table).groupby("lr")["value"].max().to_dict()
    assert same(table, read_back(write_parquet, table))


def test_secrets_are_in_no_frame(runs: Path) -> None:
    """What a secret input holds is nowhere, and no column is made of it."""
    assert "hunter2" not in str(runs_frame(runs).to_pylist())
    assert "token" not in runs_frame(runs, inputs=["token", "lr"]).column_names


def test_some_runs(runs: Path) -> None:
    """Runs can be named, and inputs chosen."""
    first, second = sorted(runs.glob("*.db"))
    table = runs_frame([second, load_run(first)], inputs=["lr"])

    assert ["epoch", "split", "lr"] == table.column_names[6:]
    assert [1.0, 0.1] == list(dict.fromkeys(table["lr"].to_pylist()))
    assert OWN[:-1] == tuple(runs_frame([]).column_names)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (["lrr"], "inputs=.*no run began with 'lrr'; did you mean 'lr'"),
        (["lr", "qqqqqqqqq"], "no run began with 'qqqqqqqqq'; they began with 'lr', 'token', 'layers'"),
        (["accuracy"], "no run began with 'accuracy', which was written later"),
        ("lr", r"inputs='lr': write inputs=\['lr'\]"),
    ],
)
def test_inputs_that_there_are_not(runs: Path, inputs: Any, says: str) -> None:
    """An input that no run began with is named, with the nearest one."""
    with pytest.raises(FrameError, match=says):
        runs_frame(runs, inputs=inputs)


def test_inputs_of_runs_without_any(tmp_path: Path) -> None:
    """Where no run began with anything, that is said; of no runs nothing is asked."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext)
    with pytest.raises(FrameError, match="no run began with 'lr'; they began with nothing"):
        runs_frame(tmp_path, inputs=["lr"])
    assert 0 == len(runs_frame([], inputs=["lr"]))


def test_input_that_another_run_wrote_later(tmp_path: Path) -> None:
    """What one run began with and another one wrote later is an input of the first."""
    for initial in ({}, {"lr": 1}, {}):
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext, initial)
            ctx.record("seen", 1)
            if not initial:
                ctx["lr"] = 2
    assert [None, 1, None] == runs_frame(tmp_path, inputs=["lr"])["lr"].to_pylist()


def test_folder_with_a_damaged_run(runs: Path) -> None:
    """A file that cannot be read is named, with how to leave it out; left out, it is named in a warning."""
    damaged = runs / "sweep-0002.db"
    damaged.write_bytes(b"none")

    with pytest.raises(DamagedRunError, match=r'sweep-0002.db: .*verify.*; errors="skip" leaves it out'):
        runs_frame(runs)
    with pytest.warns(UserWarning, match=r"left out: .*sweep-0002.db: "):
        table = runs_frame(runs, errors="skip")
    assert {"sweep-0001"} == set(table["run"].to_pylist())
    assert 3 == len(runs_frame([path for path in runs.glob("*.db") if path != damaged]))
    with pytest.raises(RunNotFoundError, match=r'no.db: there is no such run; errors="skip" leaves it out'):
        runs_frame([runs / "no.db"])
    wrong: Any = "ignore"
    with pytest.raises(FrameError, match='errors=\'ignore\': it is "raise" or "skip"'):
        runs_frame(runs, errors=wrong)


def test_runs_of_two_schemas(runs: Path) -> None:
    """Where the metrics are not those of all runs, the error says what helps."""
    with Journal.start(runs, "other") as journal:
        journal.context(FrozenContext, metrics=OtherMetrics).record("los", 1)

    with pytest.raises(JournalError, match=r'other-0001.db: .*without metrics=.* can be read.*; errors="skip"'):
        runs_frame(runs, metrics=RunMetrics)
    assert 7 == len(runs_frame(runs))


def test_runs_with_other_inputs(tmp_path: Path) -> None:
    """An input that a run did not have is null; inputs of other types are JSON."""
    given: list[dict[str, Any]] = [{"a": 1, "b": 1 << 70}, {"b": "x", "c": "2026-01-02"}, {"a": 2.5, "c": None}]
    for values in given:
        with Journal.start(tmp_path, "run") as journal:
            journal.context(FrozenContext, values).record("seen", 1)
    table = runs_frame(tmp_path)

    assert [1.0, None, 2.5] == table["a"].to_pylist()
    assert [str(1 << 70), '"x"', None] == table["b"].to_pylist()
    assert [None, "2026-01-02", None] == table["c"].to_pylist()


class Config(BaseModel):
    depth: int
    rates: list[float]
    inner: dict[str, str]


class Nested(BaseModel):
    cfg: Config


def test_runs_with_nested_inputs_and_results(tmp_path: Path) -> None:
    """An input with fields has a column for each, and so has each scalar that was written, but for large values."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, {"cfg": {"depth": 3, "rates": [0.5], "inner": {"a": "x"}}, "none": {}})
        ctx.record("seen", 1)
        with ctx.step("fit") as step:
            step["score"] = {"best": 2, "all": [1, 2]}
            step["count"] = np.int64(4)
            step["weights"] = np.zeros(3000)
            step["text"] = "x" * 5000
            step["depth"] = 1
            step["value"] = 7
    (row,) = runs_frame(tmp_path).to_pylist()

    inputs = {"cfg.depth": 3, "cfg.rates": "[0.5]", "cfg.inner.a": "x", "none": "{}"}
    results = {"score.best": 2, "score.all": "[1,2]", "count": 4, "depth": 1, "values.value": 7}
    assert inputs | results == {name: value for name, value in row.items() if name not in OWN}
    with Journal.start(tmp_path, "typed") as journal:
        journal.context(FrozenContext[Nested], {"cfg": Config(depth=3, rates=[], inner={"a": "x"})}).record("seen", 1)
    (row,) = runs_frame([load_run(journal.path, Nested)], inputs=["cfg"]).to_pylist()
    assert {"cfg.depth", "cfg.rates", "cfg.inner.a"} == {name for name in row if name not in OWN}


class Measured(MetricSchema):
    loss = Metric(float, goal="minimize")


def test_table_of_runs(tmp_path: Path) -> None:
    """Runs become a table, a row a run, with inputs, scalar values and the best of metrics as columns."""
    for lr in (0.1, 0.2):
        with Journal.start(tmp_path, "grid") as journal:
            ctx = journal.context(FrozenContext, {"lr": lr, "cfg": {"depth": 3}}, metrics=Measured)
            ctx["accuracy"] = 1 - lr
            ctx.record("loss", lr)
            ctx.record("loss", 2 * lr)
    table = runs_table(tmp_path, where="lr > 0", sort="lr:desc", last=2)

    assert ["grid-0002", "grid-0001"] == table["run"].to_pylist()
    assert [0.2, 0.1] == table["best.loss"].to_pylist()
    assert pa.timestamp("us", "UTC") == table.schema.field("started").type
    assert pa.string() == table.schema.field("error").type
    assert [{"run": "grid-0001", "inputs.cfg.depth": 3, "values.accuracy": 0.9}] == runs_table(
        tmp_path, columns=["depth", "accuracy"], where="accuracy == 0.9"
    ).to_pylist()
    assert pa.list_(pa.string()) == table.schema.field("tags").type
    assert (2, 15) == to_pandas(runs_table(tmp_path)).shape
    assert (2, 15) == to_polars(runs_table(tmp_path)).shape


def test_columns_without_a_common_type(tmp_path: Path) -> None:
    """Ints beside floats become floats; other values without a common type become texts, and so do huge ints."""
    for values in ({"a": 1, "b": 1, "c": True, "d": 1 << 70}, {"a": 0.5, "b": "x", "c": 1}, {"a": 2}):
        with Journal.start(tmp_path, "mixed") as journal:
            journal.context(FrozenContext, values)
    table = runs_table(tmp_path)

    assert [1.0, 0.5, 2.0] == table["inputs.a"].to_pylist()
    assert ["1", "x", None] == table["inputs.b"].to_pylist()
    assert ["True", "1", None] == table["inputs.c"].to_pylist()
    assert [str(1 << 70), None, None] == table["inputs.d"].to_pylist()


def test_table_of_no_runs(tmp_path: Path) -> None:
    """An empty folder makes an empty table, and a folder that does not exist an error."""
    assert (0, 11) == runs_table(tmp_path, where="lr < 1").shape
    with pytest.raises(FrameError, match="this is no folder of runs"):
        runs_table(tmp_path / "absent")
    with pytest.raises(FrameError, match=r"columns='lr': write columns=\['lr'\]"):
        runs_table(tmp_path, columns="lr")
