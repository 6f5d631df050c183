"""`crystallize runs`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal
from crystallize._journal import ended_run, read_run, run_summary

from .command_runs import (
    DAMAGES,
    UNREADABLES,
    call,
    complaint,
    died,
    document_of,
    failed,
    made,
    printed,
    section,
    words,
)


@pytest.mark.slow
def test_lists_runs(tmp_path: Path) -> None:
    """Each run has a line, whatever became of it, the newest last, with the values that it has so far."""
    made(tmp_path)
    failed(tmp_path)
    died(tmp_path)
    with Journal.start(tmp_path, "running") as journal, journal.context(FrozenContext).step("fit") as fit:
        fit["rows"] = 7
        journal.flush()
        text = printed("runs", "--dir", tmp_path, "--columns", "status,rows,error")
        document = document_of("runs", "--dir", tmp_path)
    header, *lines = words(text)
    by_name = {line[0]: line[1:] for line in lines}

    assert ["run", "status", "rows", "error"] == header
    assert ["digits-0001", "failed-0001", "died-0001", "running-0001"] == list(by_name)
    assert ["finished"] == by_name["digits-0001"]
    assert ["running", "7"] == by_name["running-0001"]
    assert ["failed", "OSError: no space"] == by_name["failed-0001"]
    assert ["died", "3"] == by_name["died-0001"]
    assert [(1, 1), (1, 0), (2, 1), (1, 0)] == [(run["steps"], run["steps_finished"]) for run in document]
    assert [False, False, True, False] == [run["took"] is None for run in document]


@pytest.mark.parametrize("damage", [*DAMAGES, *UNREADABLES], ids=lambda damage: damage.__name__)
def test_lists_beside_damaged(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A run that cannot be read is listed with the reason, and stops none of the others."""
    paths = [made(tmp_path) for _ in range(3)]
    damage(paths[1])
    status = "damaged" if damage in DAMAGES else "unreadable"
    first, bad, last = document_of("runs", "--dir", tmp_path)

    assert ["finished", status, "finished"] == [run["status"] for run in (first, bad, last)]
    assert bad["error"]
    assert {None} == {bad[key] for key in ("started", "ended", "took", "steps", "steps_finished", "inputs.lr")}
    (line,) = [line for line in words(printed("runs", "--dir", tmp_path)) if line[0] == "digits-0002"]
    assert ["digits-0002", status, " ".join(bad["error"].split())] == line


def test_lists_beside_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system does not let one read is listed as such."""
    first, _ = made(tmp_path), made(tmp_path)
    real_open = read_run.open_outline

    def opened(path: Path) -> Any:
        if path == first:
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path)

    monkeypatch.setattr(ended_run, "summary_of_ended", lambda path: None)
    monkeypatch.setattr(run_summary, "open_outline", opened)
    one, other = document_of("runs", "--dir", tmp_path)

    assert ("unreadable", "finished") == (one["status"], other["status"])
    assert "Permission denied" in one["error"]


def test_lists_as_json(tmp_path: Path) -> None:
    """As JSON the list has a flat object for each run, each with all columns."""
    made(tmp_path)
    made(tmp_path, seed=3)
    first, second = document_of("runs", "--dir", tmp_path)

    facts = ["run", "status", "started", "took"]
    own = ["inputs.lr", "inputs.seed", "values.accuracy"]
    assert (
        [*facts, *own, "steps", "steps_finished", "ended", "tags", "note", "parent", "error"]
        == list(first)
        == list(second)
    )
    assert ("digits-0001", "finished", None, 1, 1) == tuple(
        first[key] for key in ("run", "status", "error", "steps", "steps_finished")
    )
    assert [(0.1, None), (0.1, 3)] == [(run["inputs.lr"], run["inputs.seed"]) for run in (first, second)]
    assert "2" == second["run"][-1]
    assert [{"run": "digits-0001", "values.accuracy": 0.9}] == document_of(
        *("runs", "--dir", tmp_path, "--columns", "accuracy", "--where", "seed is None")
    )


def test_lists_as_csv(tmp_path: Path) -> None:
    """As CSV the list has a line for each run, in which no text is a formula."""
    for kind in ("=1+1", "plain"):
        made(tmp_path, kind=kind)

    lines = printed("runs", "--dir", tmp_path, "--csv", "--columns", "kind,accuracy", "--sort", "kind:desc")
    assert ["run,inputs.kind,values.accuracy", "digits-0002,plain,0.9", "digits-0001,'=1+1,0.9"] == lines.splitlines()
    assert printed("runs", "--dir", tmp_path, "--csv").startswith("run,status,started,took,inputs.lr,")
    assert 2 == call("runs", "--dir", tmp_path, "--csv", "--json").exit_code


def test_chooses_runs(tmp_path: Path) -> None:
    """Runs are chosen by a condition, and the newest by their number."""
    for lr in (0.3, 0.1, 0.2):
        with Journal.start(tmp_path, "grid") as journal:
            journal.context(FrozenContext, {"rate": lr})

    assert [["run", "rate"], ["grid-0003", "0.2"], ["grid-0002", "0.1"]] == words(
        printed("runs", "--dir", tmp_path, "--where", "rate < 0.3", "--sort", "rate:desc", "--columns", "rate")
    )
    assert "grid-0003" == printed("runs", "--dir", tmp_path, "--last", "1").splitlines()[1].split()[0]
    assert "no run fulfils the condition\n" == printed("runs", "--dir", tmp_path, "--where", "rate > 1")
    assert "there is no column 'rat'; did you mean 'rate'?" in complaint(
        "runs", "--dir", tmp_path, "--where", "rat > 1"
    )
    assert "did you mean 'rate'?" in complaint("runs", "--dir", tmp_path, "--sort", "rat")


def test_lists_without_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The points of metrics without a goal are not unpacked for a list."""
    made(tmp_path)
    monkeypatch.setattr(run_summary, "points_of", lambda *_: pytest.fail("points were read"))

    assert "digits-0001" in printed("runs", "--dir", tmp_path)


def test_lists_nothing(tmp_path: Path) -> None:
    """A folder without runs is no error, and one that is not there is."""
    (tmp_path / "notes.db").write_text("no run")

    assert f"no runs in {tmp_path}\n" == printed("runs", "--dir", tmp_path)
    assert [] == document_of("runs", "--dir", tmp_path)
    assert "there is no such folder" in complaint("runs", "--dir", tmp_path / "absent")


def test_a_line_a_run_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal that is too narrow the last column that fits is cut, and those that do not fit are named."""
    failed(tmp_path)
    made(tmp_path, "with-a-long-name", note="日本語" * 4, other="x" * 30)
    made(tmp_path, "with-a-long-name", note="", other="")
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm"}
    lines = call("runs", "--dir", tmp_path, COLUMNS="79", **terminal).stdout.splitlines()

    assert 5 == len(lines)
    assert lines[0].startswith("\x1b[1mrun ")
    assert ["failed-0001", "with-a-long-name-0001"] == [line.split()[0] for line in lines[1:3]]
    assert lines[2].endswith("日本語日本…")
    assert "日本語" * 4 in call("runs", "--dir", tmp_path, COLUMNS="200", **terminal).stdout
    assert "not shown: other, accuracy, error" == lines[-1]
    assert call("runs", "--dir", tmp_path, COLUMNS="72", **terminal).stdout.endswith("note, other, accuracy, error\n")
    plain = call("runs", "--dir", tmp_path, COLUMNS="4", FORCE_COLOR="1", TERM="dumb").stdout.splitlines()
    assert ["run", "fai…"] == plain[:2]


def test_names_the_run_from_which_steps_are_taken_over(tmp_path: Path) -> None:
    """`runs` has a column for it, and `show` says which steps were taken over, and why the others ran."""

    def load(ctx: Any) -> None:
        ctx["rows"] = 3

    def fit(ctx: Any) -> None:
        ctx["weight"] = ctx["rows"] * ctx["lr"]

    for lr in (0.5, 0.25):
        with Journal.start(tmp_path, "digits", reuse=True) as journal:
            ctx = journal.context(FrozenContext, {"lr": lr})
            ctx.run(load)
            ctx.run(fit)
    header, first, second = words(printed("runs", "--dir", tmp_path))
    assert "takes steps from" in header
    assert ("digits-0001" in first[1:], "digits-0001" in second) == (False, True)
    text = printed("show", "digits-0002", "--dir", tmp_path)
    assert ["takes steps from", "digits-0001"] in words(text)
    steps = section(text, "steps")
    assert ["load", "finished", "digits-0001", "rows"] == steps[1]
    assert "lr was 0.5, is 0.25" in steps[2]
    shown = document_of("show", "digits-0002", "--dir", tmp_path, "--json")
    assert ("digits-0001", "digits-0001") == (shown["parent"], shown["steps"][0]["reused_from"])
