"""The traceback of the exception that ended a run."""

from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from pydantic import SecretStr

from crystallize import FrozenContext, Journal, Run, load_run
from crystallize._journal import failure


def _fail(error: BaseException) -> NoReturn:
    raise error


def _failed(folder: Path, error: BaseException) -> Run:
    with suppress(type(error)), Journal.start(folder, "digits") as journal:
        ctx = journal.context(FrozenContext, {"token": SecretStr("hunter2-secret")})
        with ctx.step("fit"):
            _fail(error)
    return load_run(journal.path)


def test_traceback_is_kept(tmp_path: Path) -> None:
    """The file of a run that failed has the traceback, with the functions that led to the error."""
    run = _failed(tmp_path, OSError("full"))

    assert run.traceback is not None
    assert run.traceback.startswith("Traceback (most recent call last):\n")
    assert "in _fail\n    raise error\n" in run.traceback
    assert run.traceback.endswith("OSError: full\n")
    assert run.traceback == run.sessions[0].traceback


def test_secrets_are_masked(tmp_path: Path) -> None:
    """No secret of the context is in the traceback."""
    run = _failed(tmp_path, OSError("refused: hunter2-secret"))

    assert run.traceback is not None
    assert run.traceback.endswith("OSError: refused: **********\n")
    assert b"hunter2-secret" not in run.path.read_bytes()


def test_without_context(tmp_path: Path) -> None:
    """A run that failed before it had a context has a traceback too."""
    with pytest.raises(OSError, match="full"), Journal.start(tmp_path, "digits") as journal:
        raise OSError("full")

    assert (load_run(journal.path).traceback or "").endswith("OSError: full\n")


def test_finished_run(tmp_path: Path) -> None:
    """A run that finished has no traceback, and a run that was resumed after a failure has only that of the process."""
    path = _failed(tmp_path, OSError("full")).path
    with Journal.resume(path) as journal:
        journal.context(FrozenContext, {"token": SecretStr("hunter2-secret")})
        journal.flush()
        assert load_run(path).traceback is None
    run = load_run(path)

    assert ("finished", None) == (run.status, run.traceback)
    assert run.sessions[0].traceback is not None


def test_long_traceback(tmp_path: Path) -> None:
    """A very long traceback is kept without its middle."""
    text = _failed(tmp_path, OSError("a" * 150_000 + "b" * 300_000 + "c" * 150_000)).traceback

    assert text is not None
    assert 201_000 > len(text)
    assert "characters are left out ..." in text
    assert text.startswith("Traceback")
    assert text.endswith("ccc\n")


def test_unprintable_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception whose traceback cannot be printed ends the run all the same."""

    def format_exception(raised: BaseException) -> NoReturn:
        raise RecursionError

    monkeypatch.setattr(failure, "format_exception", format_exception)
    run = _failed(tmp_path, OSError("full"))

    assert ("failed", "OSError: full") == (run.status, run.error)
    assert "the traceback cannot be shown: RecursionError was raised\n" == run.traceback
