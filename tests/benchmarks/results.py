"""One line of the table of benchmarks."""

from dataclasses import dataclass

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    path: str
    ours: str
    baseline: str
    other: str
    ratio: float | None
    """Ours by the baseline's, of the fastest rounds; None where ours alone has a target."""
    middle_ratio: float | None
    """The same of the medians."""
    target: str
    met: bool
