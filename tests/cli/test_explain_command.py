"""`crystallize explain`: each error is explained where the package is installed."""

import sys

import pytest

from crystallize import LostBranchesError, errors
from crystallize._cli.app import main
from crystallize._cli.explanation import explanation_of

from .command_runs import complaint, printed

NAMES = [name for name in errors.__all__ if name != "Problem"]


@pytest.mark.parametrize("name", [*NAMES, LostBranchesError.__name__])
def test_each_error(name: str) -> None:
    """Each error has a section: its name, and a text without links or lines for tests."""
    text = explanation_of(name)
    assert text.startswith(f"{name}\n\n")
    assert len(text) > len(name) + 40
    assert not [sign for sign in (".md", "](#", "\n% ", "\n## ", "\n### ") if sign in text]


def test_explain() -> None:
    """An error may be given with its module, as a traceback has it."""
    text = printed("explain", "UnknownKeyError")
    assert "did you mean" in text
    assert printed("explain", "crystallize.errors.UnknownKeyError") == text


def test_unknown_error() -> None:
    assert (
        complaint("explain", "UnknwonKeyError")
        == "no error is named 'UnknwonKeyError'; did you mean 'UnknownKeyError'?"
    )
    assert complaint("explain", "x").endswith("a traceback ends with the name of its error")


@pytest.mark.parametrize(("name", "status"), [("UnknownKeyError", 0), ("UnknwonKeyError", 2)])
def test_without_the_extra(
    name: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It works where typer is not installed, as each traceback names it."""
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.setattr(sys, "argv", ["crystallize", "explain", name])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    assert ended.value.code == status
    assert "UnknownKeyError" in (output.err if status else output.out)
