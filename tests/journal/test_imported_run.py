"""A run that another tool has recorded becomes a run of a folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crystallize import CrystallizeError, load_run
from crystallize._core.artifacts import ArtifactLog
from crystallize._journal.imported_run import ImportedRun, write_imported_run
from crystallize.runs import list_runs, verify_run

STARTED = datetime(2025, 1, 1, tzinfo=UTC)
POINTS = [("loss", 1 / (step + 1), {"step": step, "timestamp": 1_000 + step}) for step in range(3)]


def add(artifacts: ArtifactLog) -> None:
    artifacts.add("small", b"1")
    artifacts.add("large", bytes(2_000_000))


def test_imported_run(tmp_path: Path) -> None:
    """It has the times, the outcome, the origin and the work of the other tool, and the next number of its name."""
    run = ImportedRun(
        "digits",
        {"lr": 0.1, "model/depth": 3},
        POINTS,
        add,
        STARTED,
        STARTED + timedelta(hours=1),
        error="it was killed",
        arguments=["train.py"],
        commit="abc",
        tags=("team=x",),
        note="the baseline",
    )
    first, second = (write_imported_run(tmp_path / "runs", run) for _ in range(2))

    assert ["digits-0001.db", "digits-0002.db"] == [first.name, second.name]
    assert {"digits-0001.db", "digits-0002.db", "objects"} == {path.name for path in (tmp_path / "runs").iterdir()}
    assert () == verify_run(second)
    found = load_run(second)
    assert ("digits-0002", "failed", "it was killed") == (found.path.stem, found.status, found.error)
    assert (STARTED, timedelta(hours=1)) == (found.started, found.took)
    assert {"lr": 0.1, "model/depth": 3} == dict(found.inputs)
    assert [(value, tags) for _, value, tags in POINTS] == [
        (point.value, dict(point.tags)) for point in found.metrics.series("loss")
    ]
    assert (b"1", bytes(2_000_000)) == (found.artifacts["small"].data, found.artifacts["large"].data)
    assert (("team=x",), "the baseline") == (found.tags, found.note)
    origin = found.sessions[0].origin
    assert (["train.py"], "abc", {}) == (origin["arguments"], origin["commit"], origin["packages"])


def test_clock_that_was_set_back(tmp_path: Path) -> None:
    """A run that ended before it started took no time."""
    run = ImportedRun("digits", {}, (), add, STARTED, STARTED - timedelta(hours=1))
    found = load_run(write_imported_run(tmp_path, run))

    assert ("finished", timedelta(0)) == (found.status, found.took)


def test_run_that_cannot_be_written(tmp_path: Path) -> None:
    """If a part of a run is refused, nothing of it is left in the folder."""
    run = ImportedRun("digits", {}, (), lambda artifacts: artifacts.add("a/b", b""), STARTED, STARTED)
    with pytest.raises(CrystallizeError, match="its name is a file's"):
        write_imported_run(tmp_path, run)

    assert () == list_runs(tmp_path)
    assert [] == [*tmp_path.iterdir()]
