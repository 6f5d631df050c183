"""The colour and the dash pattern of each curve of a plot."""

import pytest

from crystallize._page.curve_styles import COLOURS, DASHES, CurveStyle, curve_style


@pytest.mark.parametrize(
    ("runs", "labels"), [(runs, labels) for runs in range(1, 25) for labels in range(1, 24 // runs + 1)]
)
def test_no_two_alike(runs: int, labels: int) -> None:
    """Of up to 24 curves, no two have the same colour and dash pattern, and each style can be drawn."""
    styles = {curve_style(run, label, runs, labels) for run in range(runs) for label in range(labels)}

    assert runs * labels == len(styles)
    assert all(style.colour < len(COLOURS) and style.dash < len(DASHES) for style in styles)


def test_runs_have_colours() -> None:
    """Runs or labels, whichever are more, have the colours, and the others the dash patterns."""
    assert [(0, 0), (0, 1), (1, 0), (1, 1)] == [curve_style(run, label, 2, 2) for run in (0, 1) for label in (0, 1)]
    assert CurveStyle(2, 1) == curve_style(1, 2, 2, 3)
    assert CurveStyle(1, 1) == curve_style(7, 0, 12, 1)
