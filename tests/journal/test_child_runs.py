"""The runs that take steps over from another run, when that is renamed or deleted."""

from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, JournalError, load_run
from crystallize._journal.child_runs import children_of
from crystallize.runs import list_runs, remove_run, rename_run, verify_run


def load(ctx: FrozenContext) -> int:
    return 3


def made(folder: Path, name: str, reuse: str | Path | None = None) -> Path:
    with Journal.start(folder, name, reuse=reuse) as journal:
        journal.context(FrozenContext, {"lr": 0.1}).run(load)
    return journal.path


def test_children(tmp_path: Path) -> None:
    """A run is the child of the run that it names, and not of one of the same name in another folder."""
    first, other = made(tmp_path / "runs", "digits"), made(tmp_path / "others", "digits")
    child = made(tmp_path / "runs", "child", "digits")
    elsewhere = made(tmp_path / "runs", "elsewhere", other)

    assert [child] == children_of(first)
    assert [] == children_of(child) == children_of(elsewhere) == children_of(other)


def test_rename(tmp_path: Path) -> None:
    """After a run is renamed, its children name it by its new name, and go on to take steps over from it."""
    first = made(tmp_path, "digits")
    children = [made(tmp_path, "child", "digits") for _ in range(2)]
    renamed = rename_run(first, "baseline")

    assert ["baseline-0001"] * 2 == [load_run(child).parent for child in children]
    assert children == children_of(renamed)
    assert [()] * 3 == [verify_run(path) for path in list_runs(tmp_path)]
    assert not [*tmp_path.glob("*.spool")]
    with Journal.resume(children[0]) as journal:
        record = journal.context(FrozenContext).provenance.steps[0]
    assert "digits-0001" == record.reused_from


def test_rename_while_a_child_is_written(tmp_path: Path) -> None:
    """A run is not renamed while a run that takes steps over from it is being written."""
    first = made(tmp_path, "digits")
    with Journal.start(tmp_path, "child", reuse="digits") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        with pytest.raises(JournalError, match="child-0001 takes steps over from this run and is being written"):
            rename_run(first, "baseline")

    assert first.exists()
    assert "digits-0001" == load_run(journal.path).parent


def test_remove(tmp_path: Path) -> None:
    """A run whose parent was deleted is whole, and can be shown and resumed."""
    first = made(tmp_path, "digits")
    child = made(tmp_path, "child", "digits")
    remove_run(first)

    assert "digits-0001" == load_run(child).parent
    assert () == verify_run(child)
    with Journal.resume(child) as journal:
        assert 3 == journal.context(FrozenContext).run(load)
