"""The metrics of one run, or of several in the same plots."""

import math
from pathlib import Path

import pytest

from crystallize import Run
from crystallize._page.charts import charts

from .measured import measured, tagged


def test_without_numbers(tmp_path: Path) -> None:
    """A metric without numbers has no view, and its last value is known."""
    (chart,) = charts([measured(tmp_path, {"note": ["a", "b"], "loss": []}, metrics=None)])

    assert ((), (2,), "'b'", False) == (chart.views, chart.counts, chart.last_text, chart.is_dense)


def test_many_curves(tmp_path: Path) -> None:
    """Of many curves, 24 are drawn, and the number of the others is known."""
    points = [(float(n), {"layer": f"layer {n}"}) for n in range(30)]
    (chart,) = charts([measured(tmp_path, {"norm": points}, metrics=None)])

    assert 24 == len({run_curve.style for run_curve in chart.views[0].curves})
    assert ("Left out: 6 more curves.",) == chart.views[0].notes


def test_data_of_a_drawing(tmp_path: Path) -> None:
    """Curves of the same run have the same colour, and those of the same tags the same dash; all text is visible."""
    points = {"loss": [*tagged(2, math.nan), *tagged(3, split="\u202eval")]}
    runs = [measured(tmp_path, points), measured(tmp_path, points)]
    (chart,) = charts(runs, ["lr 0.1", "lr 0.2"])
    axis, position = chart.as_data()["axes"]

    looks = {line["name"]: (line["colour"], line["dash"]) for line in axis["lines"]}
    assert {
        "lr 0.1, train": (0, 0),
        "lr 0.1, \\u202eval": (0, 1),
        "lr 0.2, train": (1, 0),
        "lr 0.2, \\u202eval": (1, 1),
    } == looks
    assert ("run, split", "epoch", "position") == (axis["by"], axis["title"], position["title"])
    assert ([2.0, None], [0], "lines+markers") == tuple(axis["lines"][0][key] for key in ("y", "alone", "mode"))
    assert (False, ()) == (axis["dense"], axis["lines"][0]["means"])


def test_names_of_curves(tmp_path: Path) -> None:
    """A curve has the name of its run; one run's only curve has that of the metric."""
    runs = [measured(tmp_path, {"seconds": [1, 2]}), measured(tmp_path, {"seconds": [2, 3]})]
    (both,), (one,) = charts(runs, ["lr 0.1", "lr 0.2"]), charts(runs[:1])

    (axis,) = both.as_data()["axes"]
    assert [("lr 0.1", 0, 0), ("lr 0.2", 1, 0)] == [
        (line["name"], line["colour"], line["dash"]) for line in axis["lines"]
    ]
    assert ["seconds"] == [line["name"] for line in one.as_data()["axes"][0]["lines"]]


def many(folder: Path, count: int, splits: list[str]) -> list[Run[None]]:
    points = {"loss": [point for split in splits for point in tagged(2, 1, split=split)]}
    return [measured(folder, points) for _ in range(count)]


def test_parts_of_many_runs(tmp_path: Path) -> None:
    """Of many runs each part has a view of its own, the last part first, and a run looks the same in each."""
    (chart,) = charts(many(tmp_path, 7, ["train", "val"]), [f"lr {n}" for n in range(7)])

    titles = ["epoch: split val", "epoch: split train", "position: split val", "position: split train"]
    assert titles == [view.title for view in chart.views]
    names, styles = (
        [[getattr(curve, name) for curve in view.curves] for view in chart.views] for name in ("name", "style")
    )
    assert [[f"lr {n}" for n in range(7)]] * 4 == names
    assert styles[0] == styles[1]
    assert 7 == len(set(styles[0]))
    assert "run" == chart.as_data()["axes"][0]["by"]


def test_run_without_a_part(tmp_path: Path) -> None:
    """A run that has only some of the parts has only their curves."""
    both = {"loss": [*tagged(2, 1), *tagged(2, 1, split="val")]}
    (chart,) = charts([measured(tmp_path, both), measured(tmp_path, {"loss": tagged(2, 1)})], ["a", "b"])

    assert ["a, train", "a, val", "b, train"] == [curve.name for curve in chart.views[0].curves]


def test_many_parts_of_many_runs(tmp_path: Path) -> None:
    """Of very many parts, some have a view, and the number of the others is known; a part without numbers has none."""
    (chart,) = charts(many(tmp_path, 2, [f"s{n}" for n in range(11)]), ["a", "b"])
    view = chart.views[0]

    assert ("epoch: split s10", ("Left out: 3 more parts.",)) == (view.title, view.notes)
    assert 2 * 8 == len(chart.views)
    lost = {"loss": [*tagged(2, 1), *(point for n in range(6) for point in tagged(math.nan, math.nan, split=f"s{n}"))]}
    (chart,) = charts([measured(tmp_path, lost) for _ in range(2)], ["a", "b"])
    assert ["epoch: split train", "position: split train"] == [view.title for view in chart.views]


def test_dense_curve(tmp_path: Path) -> None:
    """A curve that was downsampled has means of groups of its points, from which the page makes a smooth one."""
    (chart,) = charts([measured(tmp_path, {"seconds": [float(n % 2) for n in range(5000)]})])
    (line,) = chart.as_data()["axes"][0]["lines"]

    assert chart.is_dense
    first, second, *_ = line["means"]
    assert (1000, pytest.approx((2, 0.4)), pytest.approx((7, 0.6))) == (len(line["means"]), first, second)


def test_curve_without_numbers_beside_one_with(tmp_path: Path) -> None:
    """Of curves of one metric, one may have no numbers: it has no path, and the others are drawn."""
    points = {"loss": [*tagged(2, 1), *tagged(math.nan, split="val")]}
    (chart,) = charts([measured(tmp_path, points)])

    line, lone = chart.preview.paths
    assert ("M0.0 0.0L600.0 200.0", "M0.0 0.0h0M600.0 200.0h0", (0, 0)) == line
    assert ("", "", (1, 0)) == lone
    assert ["0", "0.2", "0.4", "0.6", "0.8", "1.0"] == [tick.text for tick in chart.preview.x_ticks]
    assert ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"] == [tick.text for tick in chart.preview.y_ticks]
