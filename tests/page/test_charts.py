"""The metrics of runs beside one another."""

import math
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, Metric, MetricSchema, Run, load_run
from crystallize._page.charts import Chart, CurveResult, charts
from crystallize._page.metric_curves import CurvePoint


class Tags(TypedDict):
    epoch: int
    split: str


class Measured(MetricSchema):
    loss = Metric(float, tags=Tags, unit="nats", goal="minimize", description="Cross entropy.")
    accuracy = Metric(float, tags=Tags, goal="maximize")
    seconds = Metric(float)


def made(folder: Path, points: dict[str, list[Any]], metrics: type[MetricSchema] | None = Measured) -> Run[Any]:
    """Make a run with these points: values, or values with tags."""
    with Journal.start(folder, "digits") as journal:
        ctx = journal.context(FrozenContext, metrics=metrics)
        for name, all_points in points.items():
            for point in all_points:
                ctx.record(name, *(point if isinstance(point, tuple) else (point,)))
    return load_run(journal.path)


def tagged(*values: float, split: str = "train") -> list[Any]:
    return [(value, {"epoch": epoch, "split": split}) for epoch, value in enumerate(values)]


def results(chart: Chart) -> dict[tuple[str, ...], list[Any]]:
    """Return the best, the last and whether it won, by the label and run."""
    return {
        row.label: [result and (result.best, result.curve.last, result.is_best) for result in row.results]
        for row in chart.result_rows
    }


def test_outcome_against_the_goal(tmp_path: Path) -> None:
    """The best of a metric is by its goal, also of a run loaded without its schema; without a goal there is none."""
    run = made(tmp_path, {"loss": tagged(2, 1, 1.5), "accuracy": tagged(0.2, 0.9, 0.5), "seconds": [3, 4]})
    loss, accuracy, seconds = charts([run])

    assert ("nats", "minimize", "Cross entropy.") == loss.declared
    assert {(): [(CurvePoint(1, 1.0), 1.5, False)]} == results(loss)
    assert {(): [(CurvePoint(1, 0.9), 0.5, False)]} == results(accuracy)
    assert {(): [(None, 4.0, False)]} == results(seconds)


def test_runs_compared(tmp_path: Path) -> None:
    """Beside one another, the better one of what several runs measured is marked, and only that."""
    first = made(tmp_path, {"loss": tagged(2, 1) + tagged(3, 2, split="val"), "seconds": [3]})
    second = made(tmp_path, {"loss": tagged(2, 0.5), "accuracy": tagged(0.1)})
    loss, seconds, accuracy = charts([first, second])

    assert {
        ("train",): [(CurvePoint(1, 1.0), 1.0, False), (CurvePoint(1, 0.5), 0.5, True)],
        ("val",): [(CurvePoint(1, 2.0), 2.0, False), None],
    } == results(loss)
    assert ([(None, 3.0, False), None], [None, (CurvePoint(0, 0.1), 0.1, False)]) == (
        results(seconds)[()],
        results(accuracy)[()],
    )


def test_without_numbers(tmp_path: Path) -> None:
    """A metric of no numbers has no curves and no outcome, and its last value is known."""
    (chart,) = charts([made(tmp_path, {"note": ["a", "b"], "loss": []}, metrics=None)])

    assert ((), (), 0, (2,), "'b'") == (
        chart.axes,
        chart.result_rows,
        chart.results_left_out,
        chart.counts,
        chart.last_text,
    )


def test_many_curves(tmp_path: Path) -> None:
    """Of many curves some are among the outcomes, and how many are not is known."""
    points = [(float(n), {"layer": f"layer {n}"}) for n in range(30)]
    (chart,) = charts([made(tmp_path, {"norm": points}, metrics=None)])

    assert (8, 16) == (len(chart.result_rows), chart.results_left_out)
    assert ("Left out: 6 more curves.",) == chart.axes[0].notes


def test_data_of_a_drawing(tmp_path: Path) -> None:
    """Curves of the same tags have the same colour in each run, and a run has its dash; all text is visible."""
    points = {"loss": [*tagged(2, math.nan), *tagged(3, split="\u202eval")]}
    runs = [made(tmp_path, points), made(tmp_path, points)]
    (chart,) = charts(runs)
    axis, position = chart.as_data(["a", "b"])["axes"]

    looks = {line["name"]: (line["colour"], line["dash"]) for line in axis["lines"]}
    assert {
        "a, train": (0, 0),
        "a, \\u202eval": (1, 0),
        "b, train": (0, 1),
        "b, \\u202eval": (1, 1),
    } == looks
    assert ("run, split", "epoch", "position") == (axis["by"], axis["title"], position["title"])
    assert ([2.0, None], [0], "lines+markers") == tuple(axis["lines"][0][key] for key in ("y", "alone", "mode"))


def test_one_curve_a_run(tmp_path: Path) -> None:
    """Where each run has one curve, the runs have the colours; one run's only curve goes by the metric's name."""
    runs = [made(tmp_path, {"seconds": [1]}), made(tmp_path, {"seconds": [2]})]
    (chart,) = charts(runs)

    (axis,) = chart.as_data(["a", "b"])["axes"]
    assert [("a", 0, 0), ("b", 1, 0)] == [(line["name"], line["colour"], line["dash"]) for line in axis["lines"]]
    (chart,) = charts(runs[:1])
    assert "seconds" == chart.as_data(["a"])["axes"][0]["lines"][0]["name"]


def test_cell_has_its_course(tmp_path: Path) -> None:
    """What came out has its curve in a line of text."""
    (chart,) = charts([made(tmp_path, {"seconds": [1, 2]})])
    (result,) = chart.result_rows[0].results

    assert isinstance(result, CurveResult)
    assert "M0.0 20.0L96.0 0.0" == result.sparkline


def test_curve_without_numbers_beside_one_with(tmp_path: Path) -> None:
    """Of curves of one metric, one may have no numbers: it has no course, and the others are drawn."""
    points = {"loss": [*tagged(2, 1), *tagged(math.nan, split="val")]}
    (chart,) = charts([made(tmp_path, points)])
    train, val = (row.results[0] for row in chart.result_rows)

    assert ("M0.0 0.0L96.0 20.0", "") == (train and train.sparkline, val and val.sparkline)
    line, lone = chart.preview.paths
    assert ("M0.0 0.0L600.0 200.0", "M0.0 0.0h0M600.0 200.0h0", 0, 0) == line
    assert ("", "", 1, 0) == lone
    assert ["0", "0.2", "0.4", "0.6", "0.8", "1.0"] == [tick.text for tick in chart.preview.x_ticks]
    assert ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"] == [tick.text for tick in chart.preview.y_ticks]
