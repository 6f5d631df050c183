"""A version changes with the runs of a folder, and only then."""

from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal
from crystallize._ui.folder_versions import folder_version
from crystallize.runs import note_run

from ..page.page_runs import died_in_a_step


def test_version_of_a_run_that_is_written(tmp_path: Path) -> None:
    """Each fact in the file changes the version, and so do the start and the end of a run."""
    seen = [folder_version(tmp_path)]

    def is_new() -> bool:
        seen.append(folder_version(tmp_path))
        assert folder_version(tmp_path) == seen[-1]
        return seen[-1] not in seen[:-1]

    with Journal.start(tmp_path, "grid") as journal:
        assert is_new()
        ctx = journal.context(FrozenContext)
        for at in range(3):
            ctx.record("loss", at)
            journal.flush()
            assert is_new()
    assert is_new()
    note_run(journal.path, "good")
    assert is_new()
    (tmp_path / "notes.txt").write_text("no run")
    assert not is_new()


def test_version_of_some_runs(tmp_path: Path) -> None:
    """Other runs do not count."""
    Journal.start(tmp_path, "grid").close()
    before = folder_version(tmp_path, ["grid-0001"])
    Journal.start(tmp_path, "grid").close()
    assert folder_version(tmp_path, ["grid-0001"]) == before
    (tmp_path / "grid-0001.db").unlink()
    assert folder_version(tmp_path, ["grid-0001"]) != before


def test_version_of_a_run_that_died(tmp_path: Path) -> None:
    """The spool that a dead process left has no writer."""
    died_in_a_step(tmp_path)
    assert folder_version(tmp_path) == folder_version(tmp_path)


def test_file_that_is_just_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is listed and gone is left out."""
    before = folder_version(tmp_path)
    monkeypatch.setattr("os.listdir", lambda folder: ["grid-0001.db"])
    assert folder_version(tmp_path) == before
