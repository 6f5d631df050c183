"""Parallel coordinates: the axes and the lines of runs."""

from pathlib import Path
from typing import Any

import pytest

from crystallize._page.comparison import comparison_of
from crystallize._page.parallel_plot import ParallelPlot, parallel_plots

from .test_comparison import ran


def plots_of(folder: Path, *inputs: dict[str, Any], losses: tuple[float, ...] = (3, 1, 2)) -> list[ParallelPlot]:
    runs = [ran(folder, own, loss=loss) for own, loss in zip(inputs, losses, strict=True)]
    return parallel_plots(comparison_of(runs))


def test_lines(tmp_path: Path) -> None:
    """A line goes through the inputs of a run to its result; the share of the best is 100 percent, and it is last."""
    (plot,) = plots_of(tmp_path, *({"lr": lr, "opt": opt} for lr, opt in ((1, "adam"), (2, "sgd"), (3, "adam"))))

    assert ["lr", "opt", "loss"] == [axis.column.heading for axis in plot.axes]
    assert [0, 50, 100] == [axis.percent for axis in plot.axes]
    assert [(0, 0, False), (2, 50, False), (1, 100, True)] == [
        (line.run, line.share, line.is_best) for line in plot.lines
    ]
    assert "M0.0 300.0L500.0 0.0L1000.0 0.0" == plot.lines[0].path


def test_ticks(tmp_path: Path) -> None:
    """Few numbers have a tick each, many have round ones; inputs of several magnitudes are on a logarithmic axis."""
    inputs = [{"lr": 10.0**-n, "depth": n, "seed": n * 7 + 2, "opt": f"o{n}"} for n in range(8)]
    (plot,) = plots_of(tmp_path, *inputs, losses=tuple(1 + n / 3 for n in range(8)))
    lr, depth, seed, opt, loss = plot.axes

    assert ["1e-07", "1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1", "1"] == [tick.text for tick in lr.ticks]
    assert 100 / 7 == pytest.approx(lr.ticks[1].percent)
    assert ["0", "2", "4", "6"] == [tick.text for tick in depth.ticks]
    assert ["10", "20", "30", "40", "50"] == [tick.text for tick in seed.ticks]
    assert ["o7", "o6", "o5", "o4", "o3", "o2", "o1", "o0"] == [tick.text for tick in opt.ticks]
    assert ["1", "2", "3"] == [tick.text.partition(".")[0] for tick in loss.ticks if tick.text.endswith("0")]


def test_ticks_leave_room(tmp_path: Path) -> None:
    """Ticks whose texts would overlap are left out, the last one never."""
    (plot,) = plots_of(tmp_path, {"lr": 0}, {"lr": 99}, {"lr": 100})

    assert ["0", "100"] == [tick.text for tick in plot.axes[0].ticks]


def test_missing_values(tmp_path: Path) -> None:
    """Where a run has no value, its line has a gap; without a result it has no share, and is drawn first."""
    runs = [
        ran(tmp_path, {"lr": 1, "opt": "a"}, score=1),
        ran(tmp_path, {"lr": 2}, score=2),
        ran(tmp_path, {"lr": 3, "opt": "b"}),
    ]
    (plot,) = parallel_plots(comparison_of(runs))
    paths = {line.run: line.path for line in plot.lines}

    assert "score" == plot.result.heading
    assert [(2, None), (0, 0), (1, 100)] == [(line.run, line.share) for line in plot.lines]
    assert not any(line.is_best for line in plot.lines)  # as a value has no goal
    assert ("M0.0 150.0M1000.0 0.0", "M0.0 0.0L500.0 300.0") == (paths[1], paths[2])


def test_no_plot(tmp_path: Path) -> None:
    """There is no plot of fewer than three runs, or of runs with equal inputs or equal results."""
    two = [ran(tmp_path, {"lr": lr}, name="two", loss=lr) for lr in (1, 2)]
    same = [ran(tmp_path, {"lr": 1}, name="same", loss=loss) for loss in (1, 2, 3)]
    equal = [ran(tmp_path, {"lr": lr}, name="equal") for lr in (1, 2, 3)]

    assert [[], [], []] == [parallel_plots(comparison_of(runs)) for runs in (two, same, equal)]


def test_many_inputs(tmp_path: Path) -> None:
    """Of many inputs some have an axis, and the number of the others is known."""
    (plot,) = plots_of(tmp_path, *({f"i{n}": n + own for n in range(10)} for own in range(3)))

    assert (9, 2) == (len(plot.axes), plot.left_out)
