"""Calls of the command, and runs for it: finished, failed, dead, damaged."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr
from typer.testing import CliRunner, Result

from crystallize import FrozenContext, Journal, fork, merge
from crystallize._cli.app import commands, main
from crystallize._journal.database import update

# As in a pipe, whatever the terminal of whoever runs the tests is.
PLAIN: dict[str, str | None] = {"FORCE_COLOR": None, "TTY_COMPATIBLE": None, "CRYSTALLIZE_RUNS": None}


class Opaque:
    """What no JSON has."""


class Train(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    lr: float
    token: SecretStr
    model: Opaque
    accuracy: float


# The commands are the same for each call, and take a while to make.
APP = commands()


def call(*arguments: object, **env: str | None) -> Result:
    return CliRunner(env=PLAIN | env).invoke(APP, [str(argument) for argument in arguments])


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
    assert not rest or re.fullmatch(r"Explained by: python -m crystallize explain [A-Za-z]+Error", "\n".join(rest))
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


def run_main(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, start: Callable[[], object] = main
) -> int | str | None:
    """Run the entry point in this process, and return the exit status."""
    monkeypatch.setattr(sys, "argv", ["crystallize", *arguments])
    with pytest.raises(SystemExit) as ended, _pipe_signal_restored():
        start()
    return ended.value.code


@contextmanager
def _pipe_signal_restored() -> Iterator[None]:
    """Check that SIGPIPE ends the process, and restore what it did before; on Windows do nothing."""
    if not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = signal.getsignal(signal.SIGPIPE)
    try:
        yield
    finally:
        assert signal.SIG_DFL == signal.signal(signal.SIGPIPE, before)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "crystallize", *map(str, arguments)]


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
