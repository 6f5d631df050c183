"""Libraries that an extra brings: imported when they are first used."""

import sys
from pathlib import Path

import pytest

from crystallize import MissingExtraError
from crystallize._base.optional import OptionalModule


def test_stands_for_a_module() -> None:
    """What is asked for is what the module has."""
    import json

    assert json.dumps is OptionalModule("json", "arrow").dumps


def test_is_imported_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported before something of it is asked for."""
    (tmp_path / "late.py").write_text("answer = 42")
    monkeypatch.syspath_prepend(tmp_path)
    late = OptionalModule("late", "arrow")

    assert "late" not in sys.modules
    assert 42 == late.answer == late.answer
    assert "late" in sys.modules


def test_says_what_to_install() -> None:
    """Where the library is not installed, the error names it and the extra that brings it."""
    with pytest.raises(
        MissingExtraError, match=r"needs nowhere, .*: pip install 'crystallize-context\[arrow\]'"
    ) as told:
        OptionalModule("nowhere.compute", "arrow").add

    assert ("nowhere", "arrow") == (told.value.library, told.value.extra)


def test_what_a_library_misses_is_its_own_affair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is there and cannot be imported is not said to be missing; nor is a name that it has not."""
    (tmp_path / "broken.py").write_text("import nowhere")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="nowhere") as told:
        OptionalModule("broken", "arrow").answer
    assert not isinstance(told.value, MissingExtraError)
    with pytest.raises(AttributeError, match="dumpz"):
        OptionalModule("json", "arrow").dumpz
