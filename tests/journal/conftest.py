"""Fixtures that several tests of the journal use."""

from pathlib import Path

import pytest

from crystallize._journal import run_files

from .journal_runs import no_environment


@pytest.fixture
def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run start without reading its environment, which takes longer than the rest of the test."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder for runs."""
    return tmp_path / "runs"
