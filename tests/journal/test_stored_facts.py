"""The JSON in the rows of a run's database: fields of later versions are left out, anything else is an error."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crystallize import DamagedRunError, FrozenContext, Journal, Metric, MetricSchema, load_run
from crystallize._journal.database import update
from crystallize._journal.stored_facts import time_in
from crystallize.runs import verify_run


class LossMetrics(MetricSchema):
    loss = Metric(float, unit="nats")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a run with a step and a declared metric."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1}, metrics=LossMetrics)
        with ctx.step("fit") as step:
            step.record("loss", 0.5)
    return journal.path


def change(path: Path, table: str, column: str, act: Callable[[Any], object]) -> None:
    """Change the JSON in a column of a table with one row; `act` changes it in place, or returns other JSON."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (text,) = connection.execute(f"SELECT {column} FROM {table}").fetchone()
        value = json.loads(text)
        new = act(value)
        update(connection, table, "TRUE", **{column: json.dumps(value if new is None else new)})


def add_fields(path: Path) -> None:
    """Add a field to each object, as a later version might."""
    change(path, "sessions", "origin", lambda origin: origin.update(gpu=["A100"]))
    change(path, "sessions", "fingerprints", lambda known: known.update(schema={"new": 1}))
    change(path, "sessions", "fingerprints", lambda known: known["declared"]["loss"].update(axis="epoch"))
    change(path, "steps", "record", lambda record: record.update(cost=[1]))


def test_fields_of_later_versions_are_left_out(path: Path) -> None:
    """A file in which a later version has put more fields is read, and resumed, as if it had not; it keeps them."""
    before = load_run(path)
    add_fields(path)
    run = load_run(path)

    assert () == verify_run(path)
    assert before.declared == run.declared
    assert before.sessions == run.sessions
    assert [*before.provenance.steps] == [*run.provenance.steps]
    Journal.resume(path).close()
    with closing(sqlite3.connect(path)) as connection:
        (origin,) = connection.execute("SELECT origin FROM sessions WHERE session = 1").fetchone()
    assert ["A100"] == json.loads(origin)["gpu"]


def test_a_declaration_without_its_fields(path: Path) -> None:
    """A declaration may lack a field, which is then None."""
    change(path, "sessions", "fingerprints", lambda known: known["declared"].update(loss={}))

    assert None is load_run(path).declared["loss"].unit


@pytest.mark.parametrize(
    ("table", "column", "act", "reason"),
    [
        ("sessions", "origin", lambda _: [], "the environment of a process: its JSON: Input should be an object"),
        ("sessions", "origin", lambda origin: origin.update(pid="x"), "'pid': Input should be a valid integer"),
        ("sessions", "origin", lambda origin: origin.update(packages={"a": 1}), "'packages.a': Input should be"),
        ("sessions", "fingerprints", lambda known: known.update(keys=5), "'keys': Input should be an object"),
        ("sessions", "fingerprints", lambda known: known.update(declared={"x": {"unit": 1}}), "'declared.x.unit'"),
        ("steps", "record", lambda _: 5, "the record of step 'fit': its JSON: Input should be an object"),
        ("steps", "record", lambda record: record.update(points={"loss": -1}), "'points.loss': Input should be"),
        ("steps", "record", lambda record: record.update(reads=[{}]), "'reads.0': Input should be a valid string"),
        ("steps", "record", lambda record: record.update(step="x"), "the record of step 'fit' belongs to step 'x'"),
        ("steps", "record", lambda record: record.update(ended="2026-01-01"), "'2026-01-01' is not a time in UTC"),
        ("steps", "record", lambda record: record.update(ended="yesterday"), "Invalid isoformat string"),
    ],
)
def test_forged_json(path: Path, table: str, column: str, act: Callable[[Any], object], reason: str) -> None:
    """JSON of another shape is damage, whose text names the field."""
    change(path, table, column, act)
    with pytest.raises(DamagedRunError) as raised:
        load_run(path)

    assert reason in str(raised.value)
    assert reason in str(verify_run(path))


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00", "2026-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_is_not_in_utc(text: str) -> None:
    """A time without a zone, or of another than UTC, could not be compared with the others."""
    with pytest.raises(ValueError, match="is not a time in UTC"):
        time_in(text)
