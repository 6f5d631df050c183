"""The colour and the dash pattern of each curve of a plot."""

from typing import Final, NamedTuple

COLOURS: Final = ("#0067a5", "#c8500a", "#00795b", "#a1468e", "#7a6400", "#3f3f9e")
"""Distinct in this order for the colour-blind, and with enough contrast to white."""

DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")


class CurveStyle(NamedTuple):
    """How a curve is drawn."""

    colour: int
    """The index of its colour."""
    dash: int
    """The index of its dash pattern."""


def curve_style(run: int, label: int, runs: int, labels: int) -> CurveStyle:
    """Return the style of the curve of a run with a label, of so many runs and labels.

    Up to 24 curves differ in their styles. Runs or labels, whichever are more, have the colours if that is possible.
    """
    main, other, others = (label, run, runs) if labels > runs else (run, label, labels)
    dash = main // len(COLOURS) * others + other
    most = (max(runs, labels) - 1) // len(COLOURS) * others + others
    if most > len(DASHES):
        index = main * others + other
        return CurveStyle(index % len(COLOURS), index // len(COLOURS) % len(DASHES))
    return CurveStyle(main % len(COLOURS), dash)
