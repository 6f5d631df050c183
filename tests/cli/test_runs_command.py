"""`crystallize runs`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal, Run, load_run
from crystallize._cli import runs_command

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
    """Each run has a line, whatever became of it."""
    made(tmp_path)
    failed(tmp_path)
    died(tmp_path)
    with Journal.start(tmp_path, "running") as journal, journal.context(FrozenContext).step("fit"):
        journal.flush()
        header, *lines = words(printed("runs", "--dir", tmp_path))
    by_name = {line[0]: line[1:] for line in lines}

    assert ["run", "status", "started (UTC)", "took", "steps finished", "error"] == header
    assert ["died-0001", "digits-0001", "failed-0001", "running-0001"] == list(by_name)
    assert ("finished", "1 of 1") == (by_name["digits-0001"][0], by_name["digits-0001"][3])
    assert ("running", "0 of 1") == (by_name["running-0001"][0], by_name["running-0001"][3])
    assert ["0 of 1", "OSError: no space"] == by_name["failed-0001"][3:]
    assert ("died", "1 of 2") == (by_name["died-0001"][0], by_name["died-0001"][2])


@pytest.mark.parametrize("damage", [*DAMAGES, *UNREADABLES], ids=lambda damage: damage.__name__)
def test_lists_beside_damaged(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A run that cannot be read is listed with the reason, and stops none of the others."""
    paths = [made(tmp_path) for _ in range(3)]
    damage(paths[1])
    status = "damaged" if damage in DAMAGES else "unreadable"
    first, bad, last = document_of("runs", "--dir", tmp_path)

    assert ["finished", status, "finished"] == [run["status"] for run in (first, bad, last)]
    assert bad["error"]
    assert {None} == {bad[key] for key in ("started", "ended", "seconds", "steps", "steps_finished")}
    (line,) = [line for line in words(printed("runs", "--dir", tmp_path)) if line[0] == "digits-0002"]
    assert ["digits-0002", status, " ".join(bad["error"].split())] == line


def test_lists_beside_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system does not let one read is listed as such."""
    first, _ = made(tmp_path), made(tmp_path)

    def load(path: Path) -> Run[Any]:
        if path == first:
            raise PermissionError(13, "Permission denied", str(path))
        return load_run(path)

    monkeypatch.setattr(runs_command, "load_run", load)
    first, second = document_of("runs", "--dir", tmp_path)

    assert ("unreadable", "finished") == (first["status"], second["status"])
    assert "Permission denied" in first["error"]


def test_lists_as_json(tmp_path: Path) -> None:
    """As JSON the list has an object for each run, with these keys."""
    path = made(tmp_path)
    (run,) = document_of("runs", "--dir", tmp_path)

    assert ("digits-0001", str(path), "finished", None) == (run["name"], run["path"], run["status"], run["error"])
    assert (1, 1) == (run["steps"], run["steps_finished"])
    times = ("started", "ended", "seconds")
    assert ["name", "path", "status", *times, "steps", "steps_finished", "error", "parent"] == list(run)


def test_lists_without_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The points of the runs are not unpacked for a list of them."""
    made(tmp_path)
    monkeypatch.setattr(Run, "context", property(lambda run: pytest.fail("the points were loaded")))

    assert "digits-0001" in printed("runs", "--dir", tmp_path)


def test_lists_nothing(tmp_path: Path) -> None:
    """A folder without runs is no error, and one that is not there is."""
    (tmp_path / "notes.db").write_text("no run")

    assert f"no runs in {tmp_path}\n" == printed("runs", "--dir", tmp_path)
    assert [] == document_of("runs", "--dir", tmp_path)
    assert "there is no such folder" in complaint("runs", "--dir", tmp_path / "absent")


def test_a_line_a_run_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal that is too narrow the error is cut, not wrapped."""
    failed(tmp_path)
    made(tmp_path, "with-a-long-name")
    lines = call("runs", "--dir", tmp_path, FORCE_COLOR="1", COLUMNS="84", TERM="xterm").stdout.splitlines()

    assert 3 == len(lines)
    assert "\x1b[1m" in lines[0]
    assert ["failed-0001", "with-a-long-name-0001"] == [line.split()[0] for line in lines[1:]]
    assert re.search(r" OS.*…$", lines[1])


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
