"""Tables of texts."""

import subprocess
import sys

import pytest

from crystallize._base.html import as_html
from crystallize._base.table import Table, TableDisplay


class Shown(TableDisplay):
    """An object that notebooks show as tables."""

    __slots__ = ("titles",)

    def __init__(self, *titles: str) -> None:
        self.titles = titles

    def __notebook_tables__(self) -> tuple[Table, ...]:
        return tuple(Table(title, ("key", "value"), [("lr", "0.1")]) for title in self.titles)


def test_display_shows_all_tables() -> None:
    """A notebook shows all tables of an object, in their order."""
    shown = Shown("Inputs", "Outputs")

    assert as_html(*shown.__notebook_tables__()) == shown._repr_html_()
    assert shown._repr_html_().index("Inputs") < shown._repr_html_().index("Outputs")


def test_display_adds_no_dict() -> None:
    """A class that inherits the display can have slots."""
    assert not hasattr(Shown("Inputs"), "__dict__")


@pytest.mark.slow
def test_html_is_imported_when_it_is_shown() -> None:
    """The package does not import the writer of HTML."""
    code = "import crystallize, sys; print('crystallize._base.html' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False\n" == ended.stdout
