"""The `crystallize` command: what it prints, where, and its exit status."""

import json
import os
import re
import runpy
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr
from typer.testing import CliRunner, Result

from crystallize import FrozenContext, Journal, Run, fork, load_run, merge
from crystallize._base.optional import Extra
from crystallize._cli import app as cli
from crystallize._cli.app import commands, main
from crystallize._journal.database import update

DOCS = Path(__file__).parents[2] / "docs/command.md"
# As in a pipe, whatever the terminal of whoever runs the tests is.
PLAIN: dict[str, str | None] = {"FORCE_COLOR": None, "TTY_COMPATIBLE": None, "CRYSTALLIZE_RUNS": None}
SUBCOMMANDS = ("runs", "show", "diff", "export", "report", "verify", "stubs")


class Opaque:
    """What no JSON has."""


class Train(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    lr: float
    token: SecretStr
    model: Opaque
    accuracy: float


def call(*arguments: object, **env: str | None) -> Result:
    return CliRunner(env=PLAIN | env).invoke(commands(), [str(argument) for argument in arguments])


def printed(*arguments: object, status: int = 0) -> str:
    """Return what a call prints that ends with this status and has nothing to complain of."""
    result = call(*arguments)
    assert (status, "") == (result.exit_code, result.stderr)
    return result.stdout


def document_of(*arguments: object, status: int = 0) -> Any:
    """Return the one document that a call with `--json` prints."""
    text = printed(*arguments, "--json", status=status)
    assert text.endswith("\n")
    assert 1 == len(text.splitlines())
    return json.loads(text, parse_constant=pytest.fail)


def complaint(*arguments: object) -> str:
    """Return the line by which a call says why it cannot be done; below it stands where that is explained, if it is."""
    result = call(*arguments)
    assert (2, "") == (result.exit_code, result.stdout)
    line, *rest = result.stderr.splitlines()
    assert line.startswith("crystallize: ")
    assert not rest or re.fullmatch(r"Explained in docs/errors\.md#[a-z]+error", "\n".join(rest))
    return line.removeprefix("crystallize: ")


def words(text: str) -> list[list[str]]:
    """Return the cells of each line of a table."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


def section(text: str, title: str) -> list[list[str]]:
    """Return the cells of each line of a section of what `show` prints."""
    return words(text.partition(f"\n{title}\n")[2].partition("\n\n")[0])


def made(folder: Path, name: str = "digits", **values: Any) -> Path:
    """Make a run that finished, with a step and two points."""
    with Journal.start(folder, name) as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1, **values})
        with ctx.step("fit") as fit:
            fit["accuracy"] = fit["lr"] + 0.8
            fit.record("loss", 0.5, tags={"epoch": 0})
            fit.record("loss", float("nan"), tags={"epoch": 1})
    return journal.path


def failed(folder: Path) -> Path:
    with suppress(OSError), Journal.start(folder, "failed") as journal, journal.context(FrozenContext).step("fit"):
        raise OSError("no\nspace")
    return journal.path


DIES = """
import os, sys
from crystallize import FrozenContext, Journal

ctx = Journal.start(sys.argv[1], "died").context(FrozenContext)
with ctx.step("load"):
    pass
with ctx.step("fit") as step:
    step["rows"] = 3
    os._exit(0)
"""


def died(folder: Path) -> Path:
    """Make a run whose process died in a step."""
    subprocess.run([sys.executable, "-c", DIES, str(folder)], check=True)
    return folder / "died-0001.db"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def changed(path: Path, *statements: str) -> Path:
    """Change the database of a run by hand."""
    with opened(path) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


def came_from(path: Path, **facts: Any) -> Path:
    """Change where a run came from, as if it had been so."""
    with opened(path) as connection:
        (text,) = connection.execute("SELECT origin FROM sessions").fetchone()
        update(connection, "sessions", "session = 1", origin=json.dumps(json.loads(text) | facts))
    return path


# What can be wrong with a file


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_text("lr,accuracy\n0.1,0.9\n" * 100)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def other_database(path: Path) -> None:
    path.unlink()
    changed(path, "CREATE TABLE t (x)")


def without_table(path: Path) -> None:
    changed(path, "DROP TABLE sessions")


def without_run(path: Path) -> None:
    changed(path, "DELETE FROM run")


def without_sessions(path: Path) -> None:
    changed(path, "DELETE FROM sessions")


def undecodable(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE run (", b"CREATE TABLE \xffun ("))


def value_changed(path: Path) -> None:
    changed(path, "UPDATE entries SET json = '0.2' WHERE key = 'lr'")


def of_later_version(path: Path) -> None:
    changed(path, "PRAGMA user_version=99")


def with_folder_for_spool(path: Path) -> None:
    path.with_suffix(".spool").mkdir()


DAMAGES = [
    *(emptied, foreign, cut_short, other_database, without_table, without_run, without_sessions, undecodable),
    value_changed,
]
UNREADABLES = [of_later_version, with_folder_for_spool]


@pytest.mark.parametrize("damage", [*DAMAGES, *UNREADABLES], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("in_json", [[], ["--json"]], ids=["text", "json"])
def test_file_that_cannot_be_read(tmp_path: Path, damage: Callable[[Path], None], in_json: list[str]) -> None:
    """Whatever is wrong with a file, each subcommand says so in a line, without a traceback."""
    good, bad = made(tmp_path), made(tmp_path)
    damage(bad)

    assert bad.stem in complaint("show", bad, *in_json)
    assert bad.stem in complaint("export", bad, *in_json)
    assert bad.stem in complaint("diff", good, bad, *in_json) + complaint("diff", bad, good, *in_json)
    verified = call("verify", bad, *in_json)
    assert 1 <= verified.exit_code <= 2
    assert isinstance(verified.exception, SystemExit)
    assert verified.stdout + verified.stderr


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_verifies_damaged(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """What is wrong with a damaged file is printed, and the exit status is 1."""
    path = made(tmp_path)
    damage(path)
    problems = printed("verify", path, status=1).splitlines()

    assert problems
    assert "verified" not in problems
    assert {"run": "digits-0001", "path": str(path), "problems": problems} == document_of("verify", path, status=1)


@pytest.mark.parametrize("arguments", [("show",), ("diff", "1"), ("export",), ("verify",)], ids=lambda one: one[0])
def test_run_that_is_not_there(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A run that is not there is named, with the nearest one."""
    made(tmp_path)

    assert f"digit-0001: there is no such run in {tmp_path}; did you mean 'digits-0001'?" == complaint(
        *arguments, "digit-0001", "--dir", tmp_path
    )
    assert "²" in complaint(*arguments, "²", "--dir", tmp_path)


def test_path_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A path to nothing, or to what is no file, is no run."""
    (tmp_path / "a-0001.db").mkdir()

    assert "there is no such run" in complaint("show", tmp_path / "b-0001.db", "--dir", tmp_path)
    for name in ("a-0001", "a", tmp_path / "a-0001.db"):
        for command in ("show", "verify"):
            assert "a-0001.db: this is a folder; name the file of a run" in complaint(command, name, "--dir", tmp_path)
    assert "this is a folder" in printed("runs", "--dir", tmp_path)


def test_name_too_long(tmp_path: Path) -> None:
    """What the system says of a path is told as any other reason."""
    assert "too long" in complaint("show", "a" * 300 + ".db", "--dir", tmp_path)


@pytest.mark.parametrize("run", ["digits-0001", "digits", "1", "0001"])
def test_finds_run(tmp_path: Path, run: str) -> None:
    """A run goes by its name, its number or its path, in the folder that is named."""
    path = made(tmp_path)

    assert "verified\n" == printed("verify", run, "--dir", tmp_path)
    assert "verified\n" == printed("verify", path)


def test_folder_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--dir` the folder is CRYSTALLIZE_RUNS, and without that it is `runs`."""
    made(tmp_path / "runs")
    made(tmp_path / "others", "other")
    monkeypatch.chdir(tmp_path)

    assert "digits-0001" in call("runs").stdout
    assert "other-0001" in call("runs", CRYSTALLIZE_RUNS="others").stdout
    assert "digits-0001" in call("runs", "--dir", "runs", CRYSTALLIZE_RUNS="others").stdout


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("show", "1", "2"), ("diff", "1"), ("export", "1", "--format", "xml"), ("nonsense",), ("runs", "--x")],
    ids=" ".join,
)
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    """What the command does not understand it says, with exit status 2."""
    result = call(*arguments)

    assert (2, "") == (result.exit_code, result.stdout)
    assert "Error: " in result.stderr


# runs


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
    one, bad, other = document_of("runs", "--dir", tmp_path)

    assert ["finished", status, "finished"] == [run["status"] for run in (one, bad, other)]
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

    monkeypatch.setattr(cli, "load_run", load)
    one, other = document_of("runs", "--dir", tmp_path)

    assert ("unreadable", "finished") == (one["status"], other["status"])
    assert "Permission denied" in one["error"]


def test_lists_as_json(tmp_path: Path) -> None:
    """As JSON the list has an object for each run, with these keys."""
    path = made(tmp_path)
    (run,) = document_of("runs", "--dir", tmp_path)

    assert ("digits-0001", str(path), "finished", None) == (run["name"], run["path"], run["status"], run["error"])
    assert (1, 1) == (run["steps"], run["steps_finished"])
    assert ["name", "path", "status", "started", "ended", "seconds", "steps", "steps_finished", "error"] == list(run)


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


# show


def test_shows_run(tmp_path: Path) -> None:
    """All that a run was, did and made is shown."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext[Train], {"lr": 0.1, "token": "hunter2", "model": Opaque()})
        with ctx.step("fit") as fit:
            fit.fields.lr
            assert "accuracy" not in fit
            for loss in (0.5, float("nan"), 0.25):
                fit.record("loss", loss)
            fit.fields.accuracy = 0.9
            fit.artifacts.add("model.bin", b"12345")
    text = printed("show", "1", "--dir", tmp_path)

    assert [["status", "finished"]] == section(text, "digits-0001")[:1]
    assert [
        ["key", "type", "value"],
        ["lr", "float", "0.1"],
        ["token", "**********"],
        ["model", f"{__name__}.Opaque", f"{__name__}.Opaque, which is not in the file"],
    ] == section(text, "inputs")
    assert [["key", "type", "step", "value"], ["accuracy", "float", "fit", "0.9"]] == section(text, "values")
    assert [
        ["metric", "points", "first", "last", "min", "max"],
        ["loss", "3", "0.5", "0.25", "0.25", "0.5"],
    ] == section(text, "metrics")
    assert [["artifact", "size", "step"], ["model.bin", "5 bytes", "fit"]] == section(text, "artifacts")
    header, step = section(text, "steps")
    assert [
        *("step", "outcome", "started", "took", "read", "not found", "wrote", "points", "artifacts"),
    ] == header
    assert ["fit", "finished"] == step[:2]
    assert ["lr", "accuracy", "accuracy", "loss: 3", "model.bin"] == step[4:]
    assert "hunter2" not in text
    assert "dead attempts" not in text


def test_shows_what_repeats_it(tmp_path: Path) -> None:
    """A run says which code, packages and machine made it, and how it was called."""
    path = came_from(
        made(tmp_path),
        **{"commit": "abc123", "dirty": False, "host": "node7", "pid": 42, "folder": "/work", "python": "3.11.9"},
        **{"system": "Linux", "arguments": ["train.py", "two words"], "packages": {"numpy": "2.4", "torch": "3.0"}},
    )
    facts = dict(section(printed("show", path), "session 1"))

    assert {
        **{"commit": "abc123", "Python": "3.11.9", "packages": "numpy 2.4, torch 3.0", "host": "node7"},
        **{"system": "Linux", "process": "42", "folder": "/work", "arguments": "train.py 'two words'"},
    }.items() <= facts.items()


@pytest.mark.parametrize(
    ("commit", "dirty", "shown"),
    [("abc", True, "abc, and tracked files differed from it"), ("abc", None, "abc"), (None, None, None)],
    ids=["dirty", "unknown", "none"],
)
def test_shows_commit(tmp_path: Path, commit: str | None, dirty: bool | None, shown: str | None) -> None:
    """Whether tracked files differed stands beside the commit; where there is none, nothing does."""
    path = came_from(made(tmp_path), commit=commit, dirty=dirty)

    assert shown == dict(section(printed("show", path), "session 1")).get("commit")


def test_shows_dead_attempts(tmp_path: Path) -> None:
    """What died, and what failed, stands apart from what counts, and each process has its part."""
    path = died(tmp_path)
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        with suppress(OSError), ctx.step("fit"):
            raise OSError("full")
    text = printed("show", path)

    assert [["load", "1", "finished"]] == [line[:3] for line in section(text, "steps")[1:]]
    assert [["fit", "1", "died"], ["fit", "2", "failed"]] == [line[:3] for line in section(text, "dead attempts")[1:]]
    assert "OSError: full" in section(text, "dead attempts")[2]
    assert [["outcome", "died"]] == section(text, "session 1")[:1]
    assert [["outcome", "finished"]] == section(text, "session 2")[:1]


def test_shows_how_long(tmp_path: Path) -> None:
    """How long it took is told in the unit that fits it, and in at most one more."""
    path = made(tmp_path)
    with opened(path) as connection:
        update(
            *(connection, "sessions", "session = 1"),
            started="2026-01-02T03:04:05+00:00",
            ended="2026-01-02T04:04:06.6+00:00",
        )
    facts = dict(section(printed("show", path), "digits-0001"))

    assert ("2026-01-02 03:04:05", "1 h") == (facts["started"], facts["took"])


def test_shows_metric_without_finite_numbers(tmp_path: Path) -> None:
    """A series of texts has a first and a last, and no least."""
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext).record("note", "fine")

    assert [
        ["metric", "points", "first", "last"],
        ["note", "1", "'fine'", "'fine'"],
    ] == section(printed("show", journal.path), "metrics")


def test_shows_as_json(tmp_path: Path) -> None:
    """As JSON there is one object, with numbers that are not finite by their names."""
    run = document_of("show", made(tmp_path, weights=np.array([1.0, np.inf])))

    assert ("digits-0001", "finished") == (run["name"], run["status"])
    assert [0.1, [1.0, "Infinity"]] == [row["value"] for row in run["inputs"]]
    ends = {"first": 0.5, "last": "NaN", "min": 0.5, "max": 0.5}
    assert [{"metric": "loss", "count": 2, **ends, "missing": 0}] == run["metrics"]
    assert sys.version.split()[0] == run["sessions"][0]["origin"]["python"]


ODD = ["[red]x[/red]", "[/]", "[link=http://x]y[/link]", ":smile:", "\x1b[31mred\x1b[0m", "a\u202eb", "\x07\x9b"]


@pytest.mark.parametrize("text", ODD, ids=ascii)
@pytest.mark.parametrize(
    "terminal", [{}, {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "2000"}], ids=["pipe", "tty"]
)
def test_data_is_no_markup(tmp_path: Path, text: str, terminal: dict[str, str]) -> None:
    """What a run holds prints as it is, and moves no cursor and changes no colour."""
    with suppress(ValueError), Journal.start(tmp_path, "[b]run") as journal:
        ctx = journal.context(FrozenContext, {"[red]key[/red]": text})
        ctx.record("[u]loss", text)
        with ctx.step("[i]fit"):
            raise ValueError(text)
    came_from(journal.path, host=text, packages={text: "1"})
    made(tmp_path)
    calls = [("runs",), ("show", "[b]run"), ("diff", "[b]run", "digits"), ("verify", text)]
    outputs = [call(*one, "--dir", tmp_path, **terminal).output for one in calls]
    # What rich adds is bold and italic type.
    plain = [re.sub(r"\x1b\[[01;3]*m", "", output) for output in outputs]
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)

    assert [1, 8, 2, 1] == [output.count(shown) for output in plain]
    assert [True, True, True, False] == ["[b]run-0001" in output for output in plain]
    assert "[red]key[/red]" in plain[1]
    assert "[i]fit" in plain[1]
    assert {"\n"} == {one for output in plain for one in output if not one.isprintable()}


def test_watches_in_no_document(tmp_path: Path) -> None:
    """What is watched comes bit by bit, and is no document."""
    result = call("show", made(tmp_path), "--watch", "--json")

    assert (2, "") == (result.exit_code, result.stdout)
    assert "--json is one document" in result.stderr


# diff


def test_no_difference(tmp_path: Path) -> None:
    """Runs that differ in times alone do not differ."""
    made(tmp_path)
    made(tmp_path)

    assert "no difference\n" == printed("diff", "1", "2", "--dir", tmp_path)
    assert [] == document_of("diff", "1", "2", "--dir", tmp_path)["differences"]


def test_difference(tmp_path: Path) -> None:
    """What differs is listed with what each run has, and the exit status is 1."""
    made(tmp_path, seed=1)
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext, {"lr": 0.1, "seed": 2})
    table = words(printed("diff", "1", "2", "--dir", tmp_path, status=1))
    found = document_of("diff", "1", "2", "--dir", tmp_path, status=1)

    assert [
        ["what", "name", "digits-0001", "digits-0002"],
        ["input", "seed", "1", "2"],
        ["value", "accuracy", "0.9", "-"],
        ["metric", "loss", "2 points, the last nan", "-"],
        ["step", "fit", "finished", "-"],
    ] == table
    assert ("digits-0001", "digits-0002") == (found["one"], found["other"])
    assert {"what": "value", "name": "accuracy", "one": "0.9", "other": None} == found["differences"][1]


def test_what_is_not_compared(tmp_path: Path) -> None:
    """What the files do not give back is named, as nobody knows whether it differs."""
    for _ in range(2):
        with Journal.start(tmp_path, "digits") as journal:
            journal.context(FrozenContext, {"model": object()}).record("odd", (1, 2))
    found = document_of("diff", "1", "2", "--dir", tmp_path)

    assert "no difference\nnot compared, as the files do not give it back: input model, metric odd\n" == printed(
        "diff", "1", "2", "--dir", tmp_path
    )
    assert [{"what": "input", "name": "model"}, {"what": "metric", "name": "odd"}] == found["not_compared"]
    assert ["not", "restorable"] == printed("show", "1", "--dir", tmp_path).split("metrics\n")[1].split()[4:6]


def test_difference_of_runs_of_one_name(tmp_path: Path) -> None:
    """Runs of one name, in two folders, are told apart by their paths."""
    one, other = made(tmp_path / "a", seed=1), made(tmp_path / "b", seed=2)

    assert ["what", "name", str(one), str(other)] == words(printed("diff", one, other, status=1))[0]


# export


def test_exports_lines(tmp_path: Path) -> None:
    """Values and then points come as JSON, one a line."""
    lines = [json.loads(line) for line in printed("export", made(tmp_path)).splitlines()]

    assert ["lr", "accuracy"] == [line["key"] for line in lines[:2]]
    own = {"metric": "loss", "sequence": 1, "step": "fit", "missing": None}
    assert {**own, "value": "NaN", "tags": {"epoch": 1}} == lines[3]
    assert 4 == len(lines)


@pytest.mark.parametrize(
    ("options", "firsts"),
    [
        (["--what", "values"], ['{"key":"lr"', '{"key":"accuracy"']),
        (["--what", "points"], ['{"metric":"loss"', '{"metric":"loss"']),
        (["--format", "csv"], ["metric", "loss", "loss"]),
        (["--format", "csv", "--what", "points"], ["metric", "loss", "loss"]),
        (["--format", "csv", "--what", "values"], ["key", "lr", "accuracy"]),
    ],
    ids=" ".join,
)
def test_exports_what_is_asked_for(tmp_path: Path, options: list[str], firsts: list[str]) -> None:
    """One asks for values or for points, as JSON or as CSV."""
    text = printed("export", made(tmp_path), *options)

    assert firsts == [line.partition(",")[0] for line in text.splitlines()]


def test_exports_document(tmp_path: Path) -> None:
    """With `--json` the rows make one document."""
    path = made(tmp_path)

    assert [("values", 2), ("points", 2)] == [(key, len(rows)) for key, rows in document_of("export", path).items()]
    assert ["points"] == list(document_of("export", path, "--what", "points"))
    result = call("export", path, "--json", "--format", "csv")
    assert (2, "") == (result.exit_code, result.stdout)
    assert "--json is one document" in result.stderr


@pytest.mark.parametrize(
    "options",
    [[], ["--format", "csv"], ["--json"], ["--format", "parquet"], ["--format", "arrow"]],
    ids=["jsonl", "csv", "json", "parquet", "arrow"],
)
def test_exports_to_file(tmp_path: Path, options: list[str]) -> None:
    """A file gets what stdout would, byte for byte, and nothing is printed."""
    path, file = made(tmp_path, text="é"), tmp_path / "out"

    assert "" == printed("export", path, "-o", file, *options)
    assert call("export", path, *options).stdout_bytes == file.read_bytes()


def test_exports_tables(tmp_path: Path) -> None:
    """Points come as a Parquet or an Arrow file, also at a URL."""
    path, file = made(tmp_path), tmp_path / "out"

    printed("export", path, "--format", "parquet", "-o", file)
    assert ["loss", "loss"] == pq.read_table(file)["metric"].to_pylist()
    printed("export", path, "--format", "arrow", "-o", f"file://{file}")
    assert [0, 1] == pl.read_ipc(file)["epoch"].to_list()


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_exports_tables_of_points(
    tmp_path: Path, format: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table is one of points, is no document, and is nothing for a terminal."""
    path = made(tmp_path)

    assert "is a table of the points" in call("export", path, "--format", format, "--what", "values").stderr
    assert f"--format {format} is none" in call("export", path, "--format", format, "--json").stderr
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit, match="2"):
        cli._end(cli._export, tmp_path, str(path), format, None, None)
    assert ("", True) == ((told := capsys.readouterr()).out, "nothing for a terminal" in told.err)


def test_exports_without_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the command says what to install."""
    for name in ("frames", "arrow_table", "columns"):
        monkeypatch.setattr(f"crystallize._tables.{name}.pa", Extra("pyarrow", "arrow"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert "crystallize-context[arrow]" in complaint("export", made(tmp_path), "--format", "parquet", "-o", "out")


def test_exports_to_no_run(tmp_path: Path) -> None:
    """A run is never written over, nor its spool; another file is."""
    run, other, spool, file = made(tmp_path), made(tmp_path), tmp_path / "x-0001.spool", tmp_path / "out.jsonl"
    before = other.read_bytes()
    for there in (spool, file):
        there.write_bytes(b"1")

    assert "would be overwritten" in complaint("export", run, "-o", other)
    assert "would be overwritten" in complaint("export", run, "-o", spool)
    assert (before, b"1") == (other.read_bytes(), spool.read_bytes())
    assert "" == printed("export", run, "-o", file)
    assert "" == printed("export", run, "-o", tmp_path / "new.db")


def test_exports_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A file that cannot be made is named."""
    path = made(tmp_path)

    assert str(tmp_path / "absent/out") in complaint("export", path, "-o", tmp_path / "absent/out")
    assert str(tmp_path) in complaint("export", path, "-o", tmp_path)


def test_exports_what_is_not_unicode(tmp_path: Path) -> None:
    """An array of what is no text stops an export with a line."""
    result = call("export", made(tmp_path, names=np.array(["\ud800"])))

    assert 2 == result.exit_code
    assert "surrogates not allowed" in result.stderr.splitlines()[0]
    assert 2 == len(result.stderr.splitlines())


# verify


def test_verifies(tmp_path: Path) -> None:
    """A file that is as it was written is verified."""
    path = made(tmp_path)

    assert "verified\n" == printed("verify", path)
    assert {"run": "digits-0001", "path": str(path), "problems": []} == document_of("verify", path)


def test_verifies_run_that_died(tmp_path: Path) -> None:
    """What a process had not put into the database before it died is no damage."""
    assert "verified\n" == printed("verify", died(tmp_path))


# The process


def run_main(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, start: Callable[[], object] = main
) -> int | str | None:
    """Run the entry point in this process, and return the exit status."""
    monkeypatch.setattr(sys, "argv", ["crystallize", *arguments])
    before = signal.getsignal(signal.SIGPIPE)
    try:
        with pytest.raises(SystemExit) as ended:
            start()
        assert signal.SIG_DFL == signal.getsignal(signal.SIGPIPE)
    finally:
        signal.signal(signal.SIGPIPE, before)
    return ended.value.code


def test_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The entry point takes the arguments of the process and ends it."""
    path = made(tmp_path)

    assert 0 == run_main(["verify", str(path)], monkeypatch)
    assert 2 == run_main(["verify", "absent", "--dir", str(tmp_path)], monkeypatch)
    assert 0 == run_main(["--help"], monkeypatch)
    output = capsys.readouterr()
    assert "verified" in output.out
    assert "Usage: crystallize [OPTIONS]" in output.out
    assert ["crystallize", "Explained in docs/errors.md#runnotfounderror"] == [
        line.partition(":")[0] for line in output.err.splitlines()
    ]


def test_main_without_a_real_stdout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in place of stdout is printed to."""
    output = StringIO()
    monkeypatch.setattr(sys, "stdout", output)

    assert 0 == run_main(["verify", str(made(tmp_path))], monkeypatch)
    assert "verified\n" == output.getvalue()


def test_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m crystallize` is the command."""
    arguments = ["verify", str(made(tmp_path))]

    assert 0 == run_main(arguments, monkeypatch, lambda: runpy.run_module("crystallize", run_name="__main__"))
    assert "verified\n" == capsys.readouterr().out


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_main_without_the_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without typer or rich the command says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()

    assert (2, "") == (ended.value.code, output.out)
    assert [
        f"crystallize: this needs {missing}, which is not installed: pip install 'crystallize-context[cli]'",
        "Explained in docs/errors.md#missingextraerror",
    ] == output.err.splitlines()


def test_imports_no_extra() -> None:
    """The module of the command can be imported where the extra is not installed."""
    code = "import sys; sys.modules |= {'typer': None, 'rich': None}; from crystallize._cli.app import main; main()"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (2, "") == (process.returncode, process.stdout)
    assert process.stderr.splitlines()[0].startswith("crystallize: this needs ")


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (("show", "absent"), "docs/errors.md#runnotfounderror"),
        (("verify", "notes.db"), None),
        (("show", "notes.db"), "docs/errors.md#damagedrunerror"),
        (("report", "notes.db"), "docs/errors.md#damagedrunerror"),
    ],
)
def test_says_where_it_is_explained(
    arguments: tuple[str, ...], page: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why something cannot be done is said in a line, and where that is explained in another."""
    monkeypatch.chdir(tmp_path)
    Path("notes.db").write_text("no run")
    result = call(*arguments)

    assert (2 if page else 1) == result.exit_code
    assert ([f"Explained in {page}"] if page else []) == result.stderr.splitlines()[1:]


def test_system_errors_have_no_page(tmp_path: Path) -> None:
    """What the system refuses is told as it tells it, without a page of ours."""
    result = call("report", made(tmp_path), "-o", tmp_path / "absent" / "run.html")

    assert 2 == result.exit_code
    assert 1 == len(result.stderr.splitlines())


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("subcommand", ["", *SUBCOMMANDS])
def test_help(subcommand: str, columns: int) -> None:
    """Each help says in a line what it does, shows calls that there are, names its page, and fits the terminal."""
    result = call(*filter(None, [subcommand]), "--help", COLUMNS=str(columns))
    usage, what, *_ = [line.strip() for line in result.stdout.splitlines() if line]
    shown = re.findall(r"^    crystallize (\w+)(.*)$", result.stdout, re.MULTILINE)

    assert 0 == result.exit_code
    assert usage.startswith(f"Usage: root {subcommand}".rstrip())
    assert re.match(r"[A-Z]", what)
    assert shown
    assert {subcommand} == {name for name, _ in shown} or not subcommand
    assert {option for _, rest in shown for option in re.findall(r"--\w+", rest)} <= {
        *re.findall(r"--\w+", printed(*filter(None, [subcommand or "show"]), "--help"))
    }
    assert result.stdout.endswith("More in docs/command.md.\n")
    assert max(map(len, result.stdout.splitlines())) <= columns


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "crystallize", *map(str, arguments)]


def test_closed_pipe(tmp_path: Path) -> None:
    """Writing to a pipe that nobody reads any more ends quietly."""
    with Journal.start(tmp_path, "digits") as journal:
        record = journal.context(FrozenContext).metrics.series("loss").bind({"epoch": 1})
        for value in range(20_000):
            record(value)
    with subprocess.Popen(command("export", journal.path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"metric":"loss","sequence":0')
        process.stdout.close()
        assert b"" == process.stderr.read()

    assert -signal.SIGPIPE == process.returncode


def test_terminal_without_unicode(tmp_path: Path) -> None:
    """What the terminal's encoding does not have is printed by its code; JSON is UTF-8 all the same."""
    path = made(tmp_path, city="Zürich")
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(command("show", path), env=env, capture_output=True, check=True)
    lines = subprocess.run(command("export", path), env=env, capture_output=True, check=True)

    assert rb"'Z\xfcrich'" in shown.stdout
    assert '"Zürich"'.encode() in lines.stdout


def test_reads_beside_the_writer(tmp_path: Path) -> None:
    """Each subcommand reads a run that another process is writing."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        journal.flush()
        for arguments in ("runs --dir .", "show 1 --dir .", "export 1 --dir .", "verify 1 --dir .", "diff 1 1 --dir ."):
            process = subprocess.run(
                command(*arguments.split()), cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert (0, "") == (process.returncode, process.stderr)
        ctx.record("loss", 0.5)


# Write a page


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is written as a page, by default under its name where one is, and beside others if they are named."""
    monkeypatch.chdir(tmp_path)
    one, other = made(tmp_path), made(tmp_path, lr=0.2)

    assert "wrote digits-0001.html\n" == printed("report", one)
    assert "wrote both.html\n" == printed("report", one, other, "-o", "both.html")
    assert "digits-0002" not in (tmp_path / "digits-0001.html").read_text(encoding="utf-8")
    assert "digits-0002" in (tmp_path / "both.html").read_text(encoding="utf-8")
    document = document_of("report", one, other, "-o", "both.html")
    assert {"page": "both.html", "runs": ["digits-0001", "digits-0002"]} == document


def test_report_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the way of a page is told in a line: no such folder, the file of a run, no Jinja2."""
    path = made(tmp_path)

    assert "No such file or directory" in complaint("report", path, "-o", tmp_path / "none" / "run.html")
    assert "this is the file of a run, and would be overwritten" in complaint("report", path, "-o", path)
    monkeypatch.setattr("crystallize._page.html_page.jinja2", Extra("jinja2", "report"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    line = complaint("report", path, "-o", tmp_path / "run.html")
    assert line.endswith("needs jinja2, which is not installed: pip install 'crystallize-context[report]'")


# The page about it


def test_page_names_all(tmp_path: Path) -> None:
    """The page about the command names every subcommand, every option and every key of the documents."""
    page = DOCS.read_text(encoding="utf-8")
    path = died(tmp_path)
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        with ctx.step("fit") as fit:
            fit.record("loss", 1.0, tags={"tag.epoch": 0})
            fit.artifacts.add("a.txt", b"")
    documents = [
        document_of("runs", "--dir", tmp_path),
        document_of("show", path),
        document_of("diff", path, made(tmp_path), status=1),
        document_of("export", path),
        document_of("report", path, "-o", tmp_path / "run.html"),
        document_of("verify", path),
    ]
    options = {found for one in SUBCOMMANDS for found in re.findall(r"--[a-z]+", printed(one, "--help"))}

    assert set() == {f"crystallize {one}" for one in SUBCOMMANDS if f"crystallize {one}" not in page}
    assert set() == {one for one in options - {"--help"} if one not in page}
    assert set() == {key for key in keys_of(documents) if f"`{key}`" not in page}


def keys_of(value: Any) -> set[str]:
    """Return all keys of a document, but not those that are data: packages, tags, and metrics with their counts."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    data = {"packages", "tags"} | ({"points"} if "reads" in value else set())
    return set(value).union(*(keys_of(item) for key, item in value.items() if key not in data))


def branched(folder: Path, order: list[int], name: str = "branched") -> Path:
    """Make a run of two branches, merged in some order."""
    with Journal.start(folder, name) as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        children = [fork(ctx, f"fold-{fold}").open() for fold in range(2)]
        for fold, child in enumerate(children):
            with child.step("fit") as fit:
                fit[f"score-{fold}"] = fit["lr"] * fold
                fit.record("loss", fold)
        for fold in order:
            merge(ctx, children[fold].delta())
    return journal.path


def test_run_with_branches(tmp_path: Path) -> None:
    """A branch is shown as a step, with its steps beneath it, whichever was merged first."""
    branched(tmp_path, [1, 0])

    shown = section(printed("show", "branched", "--dir", tmp_path), "steps")
    assert ["fold-0", "fold-0/fit", "fold-1", "fold-1/fit"] == [line[0] for line in shown[1:]]
    assert "4 of 4" in printed("runs", "--dir", tmp_path)
    assert "verified\n" == printed("verify", "branched", "--dir", tmp_path)
    rows = printed("export", "branched", "--dir", tmp_path, "--what", "points").splitlines()
    assert ["fold-0/fit", "fold-1/fit"] == [json.loads(row)["step"] for row in rows]
    rows = printed("export", "branched", "--dir", tmp_path, "--what", "values").splitlines()
    assert ["lr", "score-0", "score-1"] == [json.loads(row)["key"] for row in rows]


def test_diff_of_runs_with_branches(tmp_path: Path) -> None:
    """The order in which branches were merged makes no difference between two runs; a branch more or less does."""
    for name, order in {"one": [0, 1], "other": [1, 0], "less": [1]}.items():
        branched(tmp_path, order, name)

    assert "no difference\n" == printed("diff", "one", "other", "--dir", tmp_path)
    found = document_of("diff", "one", "less", "--dir", tmp_path, status=1)["differences"]
    names = [("value", "score-0"), ("metric", "loss"), ("step", "fold-0"), ("step", "fold-0/fit")]
    assert names == [(one["what"], one["name"]) for one in found]


# Stubs


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a project with a module of schemas, of which one cannot be written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = (
        "from pydantic import BaseModel\nclass Train(BaseModel):\n    lr: float\nclass Lost(BaseModel):\n    x: 'No'\n"
    )
    (tmp_path / "of_project.py").write_text(source)
    yield tmp_path
    sys.modules.pop("of_project", None)


LOST = "crystallize: of_project.Lost is left out: it refers to 'No', which is not defined\n"


def test_stubs(project: Path) -> None:
    """Stubs are written for the modules of the folder that one is in, and what is left out is said."""
    result = call("stubs", "of_project")

    assert (0, LOST) == (result.exit_code, result.stderr)
    assert re.fullmatch(r"(\d+) of \1 files written in stubs, which know 1 schema and 0 metrics\n", result.stdout)
    assert 'Literal["lr"]' in (project / "stubs/crystallize/_core/protocols.pyi").read_text()


def test_stubs_checked(project: Path) -> None:
    """With --check nothing is written, and the exit status is 1 where something would be."""
    folder = project / "typings"
    missing = call("stubs", "of_project", "-o", folder, "--check")
    assert 1 == missing.exit_code
    assert f"missing: {folder / 'crystallize/_base/text.pyi'}" in missing.stdout.splitlines()
    assert not folder.exists()

    call("stubs", "of_project", "-o", folder)
    current = call("stubs", "of_project", "-o", folder, "--check")
    assert (0, "up to date\n") == (current.exit_code, current.stdout)


def test_stubs_as_json(project: Path) -> None:
    """With --json there is one document of what is known, what was left out and what has changed."""
    call("stubs", "of_project")
    (project / "stubs/crystallize/_base/text.pyi").unlink()
    result = call("stubs", "of_project", "--check", "--json")

    assert 1 == result.exit_code
    assert {
        "folder": "stubs",
        "schemas": ["of_project.Train"],
        "metrics": [],
        "changed": [{"path": "stubs/crystallize/_base/text.pyi", "how": "missing"}],
        "refused": [{"schema": "of_project.Lost", "reason": "it refers to 'No', which is not defined"}],
    } == json.loads(result.stdout)


def test_stubs_of_no_module(project: Path) -> None:
    """What stands in the way of stubs is told in a line."""
    assert "of_projct: there is no module 'of_projct'; did you mean 'of_project'?" == complaint("stubs", "of_projct")
