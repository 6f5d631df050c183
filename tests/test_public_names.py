"""Names that are public stay importable from the modules in which they were documented first."""

from importlib import import_module

import pytest

import crystallize

MODULES = {
    "crystallize.facts": ("Stored",),
    "crystallize.frames": ("runs_frame", "to_arrow", "to_pandas", "to_polars", "to_reader", "write_arrow"),
    "crystallize.origin": ("Origin",),
    "crystallize.plots": ("plot",),
    "crystallize.report": ("write_report",),
    "crystallize.runs": ("Attempt", "Declared", "Difference", "Entry", "Session", "SoFar", "diff_runs", "find_run"),
    "crystallize.sinks.memory": ("MemorySink",),
    "crystallize.sinks.undelivered": ("Undelivered",),
    "crystallize.stubs": ("Changed", "Stubs", "make_stubs"),
    "crystallize.utils.context": ("FrozenContext", "FrozenMetrics", "LoggingContext"),
}


@pytest.mark.parametrize("module", MODULES)
def test_names_of_modules(module: str) -> None:
    """Each module has its names, and lists them as public."""
    found = import_module(module)

    assert set(MODULES[module]) <= set(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)


def test_names_of_the_package() -> None:
    """The package lists its names in order, and has each of them."""
    assert sorted(crystallize.__all__) == list(crystallize.__all__)
    assert all(hasattr(crystallize, name) for name in crystallize.__all__)
