"""Watching a run: what is drawn and told of it while it goes on, and how that ends."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from crystallize import FrozenContext, Journal, load_run
from crystallize._cli import watch
from crystallize._journal import run_files

from ..journal.journal_runs import die, no_environment, processes
from .command_runs import call, made, section

ODD = "[red]x[/red]\x1b[31m\u202e\r\n"


class Token(BaseModel):
    token: SecretStr


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow one another without a rest."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    monkeypatch.setattr(watch, "INTERVAL", 0)
    monkeypatch.setattr(watch, "_REST", 0)


def meanwhile(monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], object]) -> None:
    """Do one act after each look; after the last one the run has to have ended."""
    rest = iter(acts)
    monkeypatch.setattr(watch, "sleep", lambda _: next(rest)())


@contextmanager
def running(folder: Path) -> Iterator[tuple[Journal, FrozenContext[Any]]]:
    """Start a run that its test ends, or lets die."""
    opened = Journal.start(folder, "run")
    yield opened, opened.context(FrozenContext, {"lr": 0.1})


class Terminal(StringIO):
    """In place of a terminal."""

    def isatty(self) -> bool:
        return True


def plain(text: str) -> str:
    """Return text without what moves the cursor or changes how letters look."""
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", text).replace("\r", "")


def drawn(path: Path, monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], object], **env: str) -> list[str]:
    """Watch a run on a terminal, and do one act after each look; return what was drawn at each look."""
    terminal, rest, found = Terminal(), iter(acts), list[str]()

    def go_on(_: float) -> None:
        found.append(plain(terminal.getvalue()))
        terminal.seek(0)
        terminal.truncate()
        next(rest)()

    with monkeypatch.context() as patched:
        for name, value in ({"TERM": "xterm", "COLUMNS": "200", "LINES": "60"} | env).items():
            patched.setenv(name, value)
        patched.setattr(watch, "sleep", go_on)
        patched.setattr(sys, "stdout", terminal)
        watch.watch(path)
    return [*found, plain(terminal.getvalue())]


# Told in lines


def test_tells_of_a_run_that_has_ended(tmp_path: Path) -> None:
    """Of a run that is over all is told at once, the end last."""
    lines = call("show", made(tmp_path), "--watch").stdout.splitlines()

    assert ["input lr: 0.1", "value accuracy: 0.9"] == lines[:2]
    assert re.fullmatch(r"step fit: finished, took [\d.]+ [mµ]?s", lines[2])
    assert "metric loss: 2 points, the last nan" == lines[3]
    assert re.fullmatch(r"run digits-0001: finished, took [\d.]+ [mµ]?s", lines[4])
    assert 5 == len(lines)


def test_tells_what_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing is told when it comes and when it is not as it was, and not again."""
    monkeypatch.setattr(watch, "_QUIET", 0)
    with running(tmp_path) as (opened, ctx):
        step = ctx.step("fit")

        def record() -> None:
            ctx.record("loss", 0.5)
            opened.flush()

        def fail() -> None:
            error = ValueError("no\nway")
            with suppress(ValueError):
                step.__exit__(ValueError, error, None)

        def add() -> None:
            ctx.artifacts.add("a.txt", b"x" * 1000)
            opened.flush()

        opened.flush()
        meanwhile(monkeypatch, step.__enter__, opened.flush, record, opened.flush, record, fail, add, opened.close)
        lines = call("show", opened.path, "--watch").stdout.splitlines()

    assert re.fullmatch(r"run run-0001: running, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", lines[0])
    assert "input lr: 0.1" == lines[1]
    assert re.fullmatch(r"step fit: running, since \d\d:\d\d:\d\d", lines[2])
    assert ["metric loss: 1 point, the last 0.5", "metric loss: 2 points, the last 0.5"] == lines[3:5]
    assert re.fullmatch(r"step fit: failed, took [\d.]+ [mµ]?s: ValueError: no way", lines[5])
    assert "artifact a.txt: 1,000 bytes" == lines[6]
    assert lines[7].startswith("run run-0001: finished, took ")
    assert 8 == len(lines)


def test_tells_of_a_metric_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that moves all the time is told of every few seconds, and in the end."""
    with running(tmp_path) as (opened, ctx):

        def record() -> None:
            ctx.record("loss", 0.5)
            opened.flush()

        meanwhile(monkeypatch, *[record] * 10, opened.close)
        lines = call("show", opened.path, "--watch").stdout.splitlines()

    assert [
        "metric loss: 1 point, the last 0.5",
        "metric loss: 10 points, the last 0.5",
    ] == [line for line in lines if line.startswith("metric")]


def test_tells_of_a_run_that_dies_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is resumed at once goes on for whoever watches it; one that stays dead is said to have died."""
    with running(tmp_path) as (opened, ctx):
        with suppress(Exception), ctx.step("fit"):
            opened.flush()
            again: list[Journal] = []

            def resume() -> None:
                die(opened)
                again.append(Journal.resume(opened.path))
                step = again[0].context(FrozenContext).step("fit")
                step.__enter__()
                kept.append(step)
                again[0].flush()

            kept: list[Any] = []
            meanwhile(monkeypatch, resume, lambda: die(again[0]))
            result = call("show", opened.path, "--watch")
        with suppress(Exception):
            kept[0].__exit__(None, None, None)
    lines = result.stdout.splitlines()

    assert 0 == result.exit_code
    assert ["run run-0001: running", "input lr: 0.1", "step fit: running"] == [line.split(",")[0] for line in lines[:3]]
    assert lines[3].startswith("session 2: since ")
    assert [
        "step fit: died",
        "step fit of session 2: running",
        "step fit of session 2: died",
        "run run-0001: died",
    ] == [line.split(",")[0] for line in lines[4:]]


def test_tells_no_secret_and_no_markup(tmp_path: Path) -> None:
    """What a run holds is told as it is, on one line, and what is secret is not."""
    with Journal.start(tmp_path, "secret") as opened:
        opened.context(FrozenContext[Token], {"token": "hunter2"})
    with suppress(ValueError), Journal.start(tmp_path, "odd") as other:
        ctx = other.context(FrozenContext, {"[b]key": ODD})
        ctx.record("[u]loss", ODD)
        with ctx.step("[i]fit"):
            raise ValueError(ODD)

    assert "input token: **********" in call("show", opened.path, "--watch").stdout
    text = call("show", other.path, "--watch", FORCE_COLOR="1", TERM="xterm").stdout
    assert "\\x1b[31m\\u202e" in text
    assert {"\n"} == {character for character in text if not character.isprintable()}
    assert 4 == len(text.splitlines())


# Drawn on a terminal


def test_draws_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal one sees what moves first; when the run has ended, all that `show` prints takes its place."""
    with running(tmp_path) as (opened, ctx):
        for at in range(20):
            with ctx.step(f"load-{at}"):
                pass
        step = ctx.step("fit")
        step.__enter__().record("early", 2)
        opened.flush()

        def record() -> None:
            ctx.record("loss", 0.5)
            opened.flush()

        def end() -> None:
            step.__exit__(None, None, None)
            opened.flush()

        acts = (record, end, opened.close)
        first, second, third, last = drawn(opened.path, monkeypatch, *acts)
    # However slow the machine is.
    first, second = (re.sub(r"\b\d+ s\b", "0 s", screen) for screen in (first, second))

    assert ["running", "running", "running"] == [
        dict(section(screen, "run-0001"))["status"] for screen in (first, second, third)
    ]
    headings, (name, _, *rest) = section(first, "running")
    assert ["step", "started", "for", "points"] == headings
    assert ["fit", "0 s", "early: 1"] == [name, *rest]
    assert [["metric", "points", "first", "last", "min", "max", "newest"]] == section(first, "metrics")[:1]
    assert ["early", "1", "2", "2", "2", "2", "over 0 s ago"] == section(first, "metrics")[1]
    assert ["loss", "1", "0.5", "0.5", "0.5", "0.5", "0 s ago"] == section(second, "metrics")[2]
    assert ["load-4", "… and 10 more", "load-15"] == [line[0] for line in section(first, "steps")[5:8]]
    assert [True, True, False] == ["\nrunning\n" in screen for screen in (first, second, third)]
    shown = call("show", opened.path, COLUMNS="200", FORCE_COLOR="1", TERM="xterm").stdout
    assert last.endswith(plain(shown))


def test_draws_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small terminal the top is drawn, which is what moves."""
    with running(tmp_path) as (opened, ctx):
        for at in range(50):
            ctx[f"key-{at}"] = at
        opened.flush()
        first, last = drawn(opened.path, monkeypatch, lambda: die(opened), LINES="6", COLUMNS="40")

    assert 6 == len(first.splitlines())
    assert [["status", "running"]] == section(first, "run-0001")[:1]
    assert "..." == first.splitlines()[-1].strip()
    assert [["status", "died"]] == section(last, "run-0001")[:1]


def test_dumb_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot move its cursor is told in lines."""
    (output,) = drawn(made(tmp_path), monkeypatch, TERM="dumb")

    assert "step fit: finished" in output


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it quietly, with the status of a command that Ctrl-C has killed."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with running(tmp_path) as (opened, _):
        meanwhile(monkeypatch, interrupt)
        result = call("show", opened.path, "--watch")
        opened.close()

    assert (130, "") == (result.exit_code, result.stderr)


@pytest.mark.parametrize("ended", [signal.SIGTERM, signal.SIGINT])
def test_gives_the_cursor_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: signal.Signals) -> None:
    """Whatever ends it leaves the terminal with its cursor, and the last look on it."""
    terminal = Terminal()
    before = signal.getsignal(signal.SIGTERM)
    with running(tmp_path) as (opened, _):
        meanwhile(monkeypatch, lambda: signal.raise_signal(ended))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stdout", terminal)
        with pytest.raises((SystemExit, KeyboardInterrupt)) as stopped:
            watch.watch(opened.path)
        opened.close()
    output = terminal.getvalue()

    assert (143 if ended == signal.SIGTERM else None) == getattr(stopped.value, "code", None)
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") == 1
    assert "status   running" in plain(output.rpartition("run-0001")[2])
    assert before == signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize(("takes", "rest"), [(0.001, 0.5), (1.0, 18.0)])
def test_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: float, rest: float) -> None:
    """It looks twice a second at the most, and less often where a look takes long."""
    rests: list[float] = []
    monkeypatch.undo()
    with running(tmp_path) as (opened, _):

        def note(seconds: float) -> None:
            rests.append(seconds)
            if len(rests) == 3:
                opened.close()

        clock = count(0, takes)
        monkeypatch.setattr(watch, "monotonic", lambda: next(clock))
        monkeypatch.setattr(watch, "sleep", note)
        call("show", opened.path, "--watch")

    assert [pytest.approx(rest)] * 3 == rests


# Processes


def _record_on(pipe: Connection, path: Path) -> None:
    """Start a run, or resume one, and record a point each time that a line comes; end when the pipe is closed."""
    setattr(run_files, "current_environment", no_environment)  # noqa: B010 - it is imported there
    opened = Journal.resume(path) if path.is_file() else Journal.start(path, "run")
    with opened:
        ctx = opened.context(FrozenContext, {"lr": 0.1})
        with ctx.step("fit") as fit, suppress(EOFError):
            while True:
                opened.flush()
                pipe.send(opened.path)
                fit.record("loss", pipe.recv())


class Writer:
    """A process that writes a run."""

    def __init__(self, path: Path) -> None:
        self.pipe, there = processes.Pipe()
        self.process = processes.Process(target=_record_on, args=(there, path), daemon=True)
        self.process.start()
        there.close()
        assert self.pipe.poll(60)
        self.path: Path = self.pipe.recv()

    def record(self, value: float) -> None:
        """Record a point, and wait until it is in the file."""
        self.pipe.send(value)
        assert self.pipe.poll(60)
        self.pipe.recv()

    def end(self) -> None:
        self.pipe.close()
        self.process.join()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def watcher(path: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Watch a run in another process, whose output is a pipe."""
    arguments = [sys.executable, "-m", "crystallize", "show", "--watch", str(path)]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | env
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], beginning: str) -> list[str]:
    """Return the lines that a process prints up to one that begins so."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(beginning):
            return lines
    raise AssertionError(f"no line begins with {beginning!r}: {lines}")


@pytest.mark.slow
def test_watches_a_process_that_finishes(tmp_path: Path) -> None:
    """What another process does is told while it does it, and the end of that ends the watching."""
    writer = Writer(tmp_path)
    with watcher(writer.path, FORCE_COLOR="1") as process:
        until(process, "step fit: running")
        writer.record(0.5)
        until(process, "metric loss: 1 point, the last 0.5")
        writer.end()
        lines = until(process, "run run-0001: finished, took ")
        rest = *process.communicate(), process.returncode

    assert any(line.startswith("step fit: finished, took ") for line in lines)
    assert ("", "", 0) == rest
    assert not any("\x1b" in line for line in lines)


@pytest.mark.slow
def test_watches_a_process_that_is_killed(tmp_path: Path) -> None:
    """A process that is killed has died, and what it recorded last is told; so it is when the run is gone on with."""
    writer = Writer(tmp_path)
    with watcher(writer.path) as process:
        until(process, "step fit: running")
        writer.record(0.25)
        writer.kill()
        lines = until(process, "run run-0001: died")
        rest = *process.communicate(), process.returncode
    resumed = Writer(writer.path)
    with watcher(writer.path) as process:
        again = until(process, "step fit of session 2: running")
        resumed.end()
        end = until(process, "run run-0001: finished, took ")

    assert any(line.startswith("step fit: died, since ") for line in lines)
    assert "metric loss: 1 point, the last 0.25" in lines
    assert ("", "", 0) == rest
    assert any(line.startswith("step fit: died, since ") for line in again)
    assert any(line.startswith("step fit of session 2: finished, took ") for line in end)


def read_until(terminal: int, text: str) -> str:
    """Return what is written to a terminal until a text is there."""
    found = b""
    while text.encode() not in found:
        found += os.read(terminal, 1 << 16)
    return found.decode()


@pytest.mark.slow
def test_watches_on_a_terminal(tmp_path: Path) -> None:
    """On a real terminal it draws each look in place of the last one, and Ctrl-C ends it."""
    writer = Writer(tmp_path)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    arguments = [sys.executable, "-m", "crystallize", "show", "--watch", str(writer.path)]
    with subprocess.Popen(
        arguments, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=env | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        try:
            read_until(ours, "run-0001")
            writer.record(0.125)
            again = read_until(ours, "0.125")
            process.send_signal(signal.SIGINT)
            assert "\x1b[?25h" in read_until(ours, "\x1b[?25h")
            assert process.stderr is not None
            errors = process.stderr.read()
        finally:
            process.kill()
            writer.kill()
            os.close(ours)

    assert (130, b"") == (process.returncode, errors)
    assert "\x1b[1A" in again
    assert "died" == load_run(writer.path).status
