"""The sinks that are installed, by their names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crystallize import SinkLoadError, UnknownSinkError
from crystallize.sinks.entry_points import find_sink, sink_names
from crystallize.sinks.memory import MemorySink

MODULE = """
class Printer:
    def handle(self, event): pass
    def close(self): pass

table = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "printing_sinks.py").write_text(MODULE)
    return tmp_path


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    sys.modules.pop("printing_sinks", None)


def install(folder: Path, package: str, **sinks: str) -> None:
    """Have a package in a folder say that it brings sinks."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {place}" for name, place in sinks.items()]
    (info / "entry_points.txt").write_text("\n".join(["[crystallize.sinks]", *lines, ""]))


def test_own_sinks() -> None:
    """The package's own sinks are found like any other's."""
    assert {"memory", "mlflow", "otel", "tensorboard", "wandb"} <= set(sink_names())
    assert find_sink("memory") is MemorySink


def test_sink_of_another_package(folder: Path) -> None:
    """A package makes its sink known by an entry point."""
    install(folder, "printing", printer="printing_sinks:Printer")

    assert "printer" in sink_names()
    assert sorted(sink_names()) == sink_names()
    assert "Printer" == type(find_sink("printer")()).__name__


def test_unknown_name() -> None:
    """A name that nobody has is an error that says the nearest one, or which there are."""
    with pytest.raises(UnknownSinkError, match=r"no sink is named 'memmory'; did you mean 'memory'\?"):
        find_sink("memmory")
    with pytest.raises(UnknownSinkError, match="no sink is named 'x'; installed are: memory, mlflow, otel, tensor"):
        find_sink("x")
    with pytest.raises(UnknownSinkError, match="no sink is named 3; installed are"):
        find_sink(3)  # type: ignore[arg-type]  # what a configuration may hold


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("printing_sinks:Plotter", "has no attribute 'Plotter'"),
        ("no_such_module:Printer", "No module named 'no_such_module'; pip install 'printing[printer]' installs"),
        ("printing_sinks:table", "printing gives 3 for it, which is nothing to call"),
    ],
)
def test_what_cannot_be_loaded(folder: Path, place: str, expected: str) -> None:
    """A sink that cannot be loaded is an error that says why, and what may help."""
    install(folder, "printing", printer=place)
    with pytest.raises(SinkLoadError) as caught:
        find_sink("printer")

    assert str(caught.value).startswith("sink 'printer' cannot be loaded: ")
    assert expected in str(caught.value)


def test_one_name_twice(folder: Path) -> None:
    """Where two packages have a sink of one name, nobody chooses for the user."""
    install(folder, "printing", printer="printing_sinks:Printer")
    install(folder, "press", printer="printing_sinks:Printer")
    with pytest.raises(SinkLoadError, match="press and printing both have one of that name; uninstall all but one"):
        find_sink("printer")
