"""`crystallize note`, `tag`, `rename`, `rm`, `seal` and `gc`."""

from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, load_run
from crystallize._cli import curating_commands
from crystallize.runs import list_runs

from .command_runs import call, complaint, died, document_of, made, printed, section, words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        made(tmp_path / "runs")
    return tmp_path / "runs"


def test_note(folder: Path) -> None:
    """A note is set, printed, shown and removed."""
    assert "" == printed("note", "1", "the\nbaseline")
    assert "the\nbaseline\n" == printed("note", "1")
    facts = dict(section(printed("show", "1"), "digits-0001"))
    assert ("the baseline", "the\nbaseline") == (facts["note"], document_of("show", "1")["note"])
    printed("note", "1", "")

    assert "\n" == printed("note", "1")


def test_tag(folder: Path) -> None:
    """Tags are added, removed, printed and shown."""
    assert "baseline, paper\n" == printed("tag", "2", "paper", "baseline")
    assert "baseline, paper\n" == printed("tag", "2")
    assert "baseline, paper" == dict(section(printed("show", "2"), "digits-0002"))["tags"]
    assert "baseline, last\n" == printed("tag", "2", "last", "-r", "paper")

    assert ["baseline", "last"] == document_of("show", "2")["tags"]
    assert "',' cannot be a tag" in complaint("tag", "2", ",")


def test_pattern(folder: Path) -> None:
    """A pattern means all runs that match."""
    assert "digits-0001: paper\ndigits-0002: paper\n" == printed("tag", "digits-*", "paper")
    assert "" == printed("note", "digits-*", "the baseline")
    assert "digits-0001: the baseline\ndigits-0002: the baseline\n" == printed("note", "digits-*")
    assert "digits-0001 has no spool\ndigits-0002 has no spool\n" == printed("seal", "digits-*", "1")
    assert "no run" in complaint("rename", "grid-*", "other")
    assert "deleted digits-0001\ndeleted digits-0002\n" == printed("rm", "digits-*", "--yes")


def test_words_in_the_table(folder: Path) -> None:
    """The table of runs has tags and notes, and chooses runs by them."""
    printed("tag", "1", "paper", "baseline")
    printed("note", "2", "the\nnew one")
    heading, first, second = words(printed("runs"))
    assert ["tags", "note"] == heading[-2:]
    assert ("baseline, paper", "the new one") == (first[-1], second[-1])

    assert ["digits-0001"] == [run["run"] for run in document_of("runs", "--where", "'paper' in tags")]
    assert ["digits-0002"] == [run["run"] for run in document_of("runs", "--where", "'paper' not in tags")]
    assert ["digits-0002"] == [run["run"] for run in document_of("runs", "--where", "'new' in note")]
    assert [["baseline", "paper"], []] == [run["tags"] for run in document_of("runs", "--sort", "tags")]
    assert 'digits-0001,"baseline, paper",\n' in printed("runs", "--csv", "--columns", "tags,note")
    assert "a run has any number of tags; write 'paper' in tags" in complaint("runs", "--where", "tags == 'paper'")


def test_rename(folder: Path) -> None:
    """A run is renamed, and the command prints its new name."""
    assert "renamed digits-0002 to baseline-0001\n" == printed("rename", "2", "baseline")

    assert ["baseline-0001.db", "digits-0001.db"] == [path.name for path in list_runs(folder)]


def test_rm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are deleted with `--yes`, or after the user has said so."""
    assert "digits-0001: nobody can be asked whether to delete this; say --yes" in complaint("rm", "1")
    answers = iter([False, True])
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("typer.confirm", confirm)
    monkeypatch.setattr(curating_commands, "_can_ask", lambda: True)
    assert "nothing was deleted\n" == printed("rm", "1", "2", status=1)
    assert 2 == len(list_runs(folder))
    assert "deleted digits-0001\n" == printed("rm", "1", "digits-0001")
    assert ["Delete digits-0001, digits-0002?", "Delete digits-0001?"] == asked

    assert "deleted digits-0002\n" == printed("rm", "2", "--yes")
    assert [] == [*folder.iterdir()]


def test_rm_of_a_run_that_another_reuses(folder: Path) -> None:
    """A run from which others take steps over is deleted with them, or by `--force`."""
    for name in ("child", "other"):
        with Journal.start(folder, name, reuse="digits-0001") as journal:
            journal.context(FrozenContext, {"lr": 0.1})
    expected = "child-0001, other-0001 take steps over from this run, and would take no more when resumed; delete those"
    assert expected in complaint("rm", "digits-0001", "--yes")
    assert "other-0001 takes steps over from this run" in complaint("rm", "digits-0001", "child", "--yes")
    assert 4 == len(list_runs(folder))

    assert "deleted digits-0001\n" == printed("rm", "digits-0001", "--yes", "--force")
    assert "takes steps from" not in complaint("show", "digits-0001")
    assert "child-0001" in printed("show", "child")
    assert "deleted child-0001\n" == printed("rm", "child", "--yes")


def test_seal(folder: Path) -> None:
    """The spool of a run that died is brought into its file."""
    path = died(folder)
    assert path.with_suffix(".spool").exists()
    assert "sealed died-0001\ndigits-0001 has no spool\n" == printed("seal", "died", "digits-0001")

    assert not path.with_suffix(".spool").exists()
    assert "died" == load_run(path).status


def test_gc(folder: Path) -> None:
    """Objects are removed that no run names."""
    path = made(folder, name="large", weights="x" * 10)
    with Journal.resume(path) as journal:
        journal.context(FrozenContext).artifacts.add("model", bytes(2_000_000))
    assert "removed 0 objects, 0 bytes\n" == printed("gc")
    printed("rm", "large", "-y")

    assert "removed 1 object, 2,000,000 bytes\n" == printed("gc")
    assert "there is no such folder" in complaint("gc", "--dir", folder / "none")


def test_run_that_is_written(folder: Path) -> None:
    """Every command refuses a run that is being written."""
    with Journal.start(folder, "now"):
        for arguments in (("note", "now", "a"), ("tag", "now", "a"), ("rename", "now", "b"), ("rm", "now", "-y")):
            assert "is writing this run" in complaint(*arguments)
        assert "is writing this run" in complaint("seal", "now")
        assert "is writing this run" in complaint("gc")

    assert 0 == call("show", "now").exit_code
