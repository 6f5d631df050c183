"""Finding the file of a run by its name, its number or a path."""

from functools import partial
from pathlib import Path

import pytest

from crystallize import (
    Journal,
    JournalError,
    RunNotFoundError,
    load_run,
)
from crystallize._journal.find import find_runs
from crystallize.runs import find_run, list_runs, verify_run
from tests.permissions import modes_hold

from .train_runs import died


@pytest.mark.slow
def test_finding_a_run(tmp_path: Path) -> None:
    """A run is found by path, name, number, the beginning of a number, or its name alone, which means the newest."""
    for name, count in (("a", 12), ("b", 1)):
        for _ in range(count):
            Journal.start(tmp_path, name).close()
    (tmp_path / "b-0001.db").rename(tmp_path / "b-0200.db")

    found = {name: find_run(tmp_path, name).stem for name in ("a-0003", "3", "0003", "a", "b", "20", "200")}
    meant = ("a-0003", "a-0003", "a-0003", "a-0012", "b-0200", "b-0200", "b-0200")
    assert found == dict(zip(found, meant, strict=True))
    assert tmp_path / "a-0001.db" == find_run("elsewhere", str(tmp_path / "a-0001.db"))
    (tmp_path / "b-0200.db").rename(tmp_path / "b-0001.db")
    for name, text in (
        ("1", "several runs are meant: a-0001, b-0001"),
        ("a-003", "did you mean 'a-0003'"),
        ("²", "lists"),
    ):
        with pytest.raises(RunNotFoundError, match=text):
            find_run(tmp_path, name)
    with pytest.raises(RunNotFoundError, match="there is no such run"):
        find_run(tmp_path / "none", "0")


def test_near_paths(tmp_path: Path) -> None:
    """A path that is nearly a run's says which one was probably meant."""
    path = died(tmp_path, {"lr": 0.1})
    for near, text in (
        (tmp_path, "this is a folder"),
        (path.with_suffix(""), "did you mean 'run-0001.db'"),
        (path.with_suffix(".spool"), "did you mean 'run-0001.db'"),
    ):
        with pytest.raises(RunNotFoundError, match=text):
            load_run(near)


def test_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """A run in a folder that cannot be read is an error of ours that says so, and not a run that is missing."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    path = folder / "run-0001.db"
    for act in (load_run, Journal.resume, partial(find_run, tmp_path)):
        with modes_hold(), pytest.raises(JournalError, match=r"run-0001.*Permission denied"):
            act(str(path))
    with modes_hold():
        (problem,) = verify_run(path)
    assert problem.startswith(f"{path}: it cannot be read ([Errno 13] Permission denied")


def test_runs_of_a_folder(tmp_path: Path) -> None:
    """A folder has the runs whose names are those of runs; none if there is no folder; and may be unreadable."""
    for name in ("a-0002.db", "a-0010.db", "a-0001.db", "a-01.db", "a-0001.spool", "b.db"):
        (tmp_path / name).touch()
    assert ["a-0001", "a-0002", "a-0010"] == [run.stem for run in list_runs(tmp_path)]
    assert () == list_runs(tmp_path / "none") == list_runs(tmp_path / "b.db")

    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    with modes_hold(), pytest.raises(JournalError, match="closed: the folder cannot be read"):
        list_runs(folder)


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern means all runs that match, by name and number; a name means one run."""
    for name in ("a-0001", "a-0002", "b-0001"):
        (tmp_path / f"{name}.db").touch()
    (tmp_path / "a-0003.txt").touch()

    def names(pattern: str) -> list[str]:
        return [path.stem for path in find_runs(tmp_path, pattern)]

    assert ["a-0001", "a-0002"] == names("a-*")
    assert ["a-0001", "b-0001"] == names("?-0001")
    assert ["b-0001"] == names("[b]*")
    assert ["a-0002"] == names("a")
    assert ["a-0001", "a-0002"] == names(str(tmp_path / "a-*"))
    monkeypatch.chdir(tmp_path)
    assert [Path("b-0001.db")] == [*find_runs("runs", "b*.db")]
    (tmp_path / "[x]-0001.db").touch()
    assert ["[x]-0001"] == [path.stem for path in find_runs(tmp_path, "[x]")]
    with pytest.raises(RunNotFoundError, match=r"no run in .* matches"):
        names("c-*")


def test_pattern_for_one_run(tmp_path: Path) -> None:
    """Where one run is meant, a pattern has to match one; a few of several are listed."""
    for number in range(1, 31):
        (tmp_path / f"a-{number:04d}.db").touch()

    assert "a-0007.db" == find_run(tmp_path, "*-0007").name
    with pytest.raises(RunNotFoundError, match=r"several runs are meant: a-0001, .*a-0020, \.\.\.; write the name"):
        find_run(tmp_path, "a-*")
