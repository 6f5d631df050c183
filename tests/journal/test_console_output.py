"""The console output of a run as an artifact."""

import io
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from crystallize import FrozenContext, Journal, SinkError, load_run
from crystallize._journal import console_output
from crystallize._journal.console_output import ConsoleOutput
from crystallize.sinks.memory import MemorySink


def test_output_is_an_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The texts on both streams become one artifact in their order, and the terminal shows them too."""
    handler = logging.StreamHandler()
    with Journal.start(tmp_path, "digits", capture_output=True) as journal:
        print("before the context")
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        print("loss", 0.5, file=sys.stderr)
        handler.emit(logging.LogRecord("fit", logging.INFO, "", 0, "logged", (), None))
    print("after the end")

    artifact = load_run(journal.path).artifacts["console.txt"]
    assert b"before the context\nloss 0.5\nlogged\n" == artifact.data
    assert (artifact.data, None) == (ctx.artifacts["console.txt"].data, artifact.step)
    assert ("before the context\nafter the end\n", "loss 0.5\nlogged\n") == capsys.readouterr()


def test_not_captured(tmp_path: Path) -> None:
    """Nothing is kept without `capture_output`, and there is no artifact if nothing was written."""
    for is_captured in (False, True):
        with Journal.start(tmp_path, "digits", capture_output=is_captured) as journal:
            journal.context(FrozenContext)
            if not is_captured:
                print("not kept")

        assert [] == [*load_run(journal.path).artifacts]


def test_output_of_failed_run(tmp_path: Path) -> None:
    """A run that failed has its output too, without the secrets in it."""
    with suppress(OSError), Journal.start(tmp_path, "digits", capture_output=True) as journal:
        journal.context(FrozenContext, {"token": SecretStr("hunter2-secret")})
        print("with hunter2-secret")
        raise OSError("full")

    assert b"with **********\n" == load_run(journal.path).artifacts["console.txt"].data


def test_resumed_run(tmp_path: Path) -> None:
    """Each process has an artifact of its own."""
    with Journal.start(tmp_path, "digits", capture_output=True) as journal:
        journal.context(FrozenContext)
        print("one")
    for _ in range(2):
        with Journal.resume(journal.path, capture_output=True) as journal:
            journal.context(FrozenContext)
            print("more")

    artifacts = {artifact.name: artifact.data for artifact in load_run(journal.path).artifacts}
    assert {"console.txt": b"one\n", "console-2.txt": b"more\n", "console-3.txt": b"more\n"} == artifacts


def test_without_context(tmp_path: Path) -> None:
    """Nothing is kept if the run never had a context, which would know the secrets; the streams are as before."""
    with Journal.start(tmp_path, "digits", capture_output=True) as journal:
        print("lost")

    assert "write" not in vars(sys.stdout)
    assert [] == [*load_run(journal.path).artifacts]


def test_two_at_once() -> None:
    """Two captures at the same time get all texts of their time, in whatever order they stop."""
    before = sys.stdout.write
    first = ConsoleOutput()
    print("one")
    second = ConsoleOutput()
    print("two")
    first.stop()
    print("three")
    second.stop()
    print("four")

    assert ("one\ntwo\n", "two\nthree\n") == (first.text(str), second.text(str))
    first.stop()
    third = ConsoleOutput()
    fourth = ConsoleOutput()
    for output in (fourth, third):
        output.stop()
    del before


def test_streams_that_are_missing_or_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console has no streams, and both may be one."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    ConsoleOutput().stop()
    both = io.StringIO()
    monkeypatch.setattr(sys, "stdout", both)
    monkeypatch.setattr(sys, "stderr", both)
    output = ConsoleOutput()
    print("once")
    output.stop()

    assert ("once\n", "once\n") == (output.text(str), both.getvalue())


class _Fixed:
    __slots__ = ()

    def write(self, text: str) -> int:
        return len(text)


def test_stream_that_cannot_be_captured(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A stream that takes no other method is left as it is, with a warning."""
    monkeypatch.setattr(sys, "stdout", _Fixed())
    output = ConsoleOutput()
    print("lost")
    output.stop()

    assert "" == output.text(str)
    assert "takes no other method" in caplog.text


@pytest.mark.parametrize("size", [1, 7, 200])
def test_long_output(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Of a long output the start and the end are kept, and no part of a secret beside the part that is left out."""
    monkeypatch.setattr(console_output, "_HALF", 100)
    monkeypatch.setattr(console_output, "_MARGIN", 10)
    output = ConsoleOutput()
    text = "a" * 95 + "secret" * 200 + "b" * 95
    for at in range(0, len(text), size):
        sys.stdout.write(text[at : at + size])
    output.stop()
    kept = output.text(lambda part: part.replace("secret", "*"))

    start, told, end = kept.split("\n")
    assert "a" * 90 == start[:90]
    assert end.endswith("b" * 80)
    assert "characters are left out" in told
    assert "s" not in start + end.replace("secret", "")


class _Broken(MemorySink):
    def handle(self, event: Any, /) -> None:
        raise OSError("out of paper")


def test_sink_that_fails(tmp_path: Path) -> None:
    """If another sink does not take the artifact, the run is ended all the same; an error of the program goes first."""
    journal = Journal.start(tmp_path, "digits", capture_output=True)
    journal.context(FrozenContext, sinks=[_Broken()])
    print("hello")
    with pytest.raises(SinkError, match="out of paper"):
        journal.close()
    journal.close()

    assert "finished" == load_run(journal.path).status
    error = ValueError("mine")
    with suppress(ValueError), Journal.start(tmp_path, "digits", capture_output=True) as journal:
        journal.context(FrozenContext, sinks=[_Broken()])
        print("hello")
        raise error
    assert "out of paper" in error.__notes__[0]
    assert "failed" == load_run(journal.path).status
