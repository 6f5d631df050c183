"""The results of one run."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from crystallize._page.charts import charts
from crystallize._page.metric_curves import CurvePoint
from crystallize._page.results import MetricResult, results_of, value_tiles
from crystallize._tables.export import ValueRow

from .measured import measured, tagged


def numbers(result: MetricResult) -> list[tuple[tuple[str, ...], CurvePoint | None, float | None]]:
    """Return the label, the best point and the last value of each row."""
    return [(row.label, row.best, row.curve.last) for row in result.rows]


def test_goals_come_first(tmp_path: Path) -> None:
    """The metrics with a goal have their best by it, also in a run loaded without its schema; the others follow."""
    run = measured(tmp_path, {"seconds": [3, 4], "loss": tagged(2, 1, 1.5), "accuracy": tagged(0.2, 0.9, 0.5)})
    found = results_of(charts([run]))

    assert ["loss", "accuracy"] == [result.chart.name for result in found.goals]
    assert ["seconds"] == [result.chart.name for result in found.others]
    loss, accuracy = found.goals
    assert ("nats", "minimize", "Cross entropy.") == loss.chart.declared
    assert [((), CurvePoint(1, 1.0), 1.5)] == numbers(loss)
    assert [((), CurvePoint(1, 0.9), 0.5)] == numbers(accuracy)
    assert [((), None, 4.0)] == numbers(found.others[0])


def test_many_curves(tmp_path: Path) -> None:
    """Of many curves, the first have a row, and the number of the others is known."""
    points = [(float(n), {"layer": f"layer {n}"}) for n in range(30)]
    (result,) = results_of(charts([measured(tmp_path, {"norm": points}, metrics=None)])).others

    assert (8, 16) == (len(result.rows), result.left_out)


def test_without_numbers(tmp_path: Path) -> None:
    """A metric without numbers has no row, even if it has a goal."""
    note, loss = results_of(charts([measured(tmp_path, {"note": ["a"], "loss": ["b"]}, metrics=None)])).others

    assert ((), 0, ()) == (note.rows, note.left_out, loss.rows)


def test_course(tmp_path: Path) -> None:
    """Each row has a small drawing of its curve, unless that has no number."""
    points = {"loss": [*tagged(2, 1), *tagged(float("nan"), split="val")]}
    (result,) = results_of(charts([measured(tmp_path, points)])).goals

    assert ["M0.0 0.0L160.0 20.0", ""] == [row.sparkline for row in result.rows]


class Report(BaseModel):
    f1: float = 0.5
    matrix: list[int] = [1]


def test_tiles() -> None:
    """The scalars among the values are results, also those in dicts and models; lists and long texts are not."""
    values: dict[str, Any] = {
        "accuracy": 0.123456789,
        "report": {"f1": 1, "by": {"a": True}},
        "note": "x" * 30,
        "parts": [1],
        "m": Report(),
    }
    rows = [ValueRow(key, "float", False, None, None, value) for key, value in values.items()]
    lost = ValueRow("lost", "float", False, None, "not restorable", None)

    assert [("accuracy", "0.123457"), ("report.f1", "1"), ("report.by.a", "True"), ("m.f1", "0.5")] == value_tiles(
        [*rows, lost]
    )
