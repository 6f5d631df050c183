"""The writer of a run: what it took is in the file once and in order, whatever interrupts it."""

import contextlib
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import crystallize
from crystallize import (
    FrozenContext,
    Journal,
    JournalError,
    SinkError,
    load_run,
)
from crystallize._journal import database, spool
from crystallize.runs import verify_run

from .train_runs import TrainMetrics


def test_facts_larger_than_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the spool has no room for is in the database when it is acknowledged, and all others stay in their order."""
    monkeypatch.setattr(spool, "CAPACITY", 1 << 16)
    monkeypatch.setattr("crystallize._journal.run_writer.DELAY", 1000)
    large = os.urandom(1 << 18)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext, metrics=TrainMetrics)
    for at in range(3):
        ctx.record("loss", at, {"epoch": at})
        ctx.artifacts.add(f"{at}.bin", large)
    for at in range(3, 5000):
        ctx.record("loss", at, {"epoch": at})
    journal._writer._finalizer()
    run = load_run(journal.path)

    assert tuple(range(5000)) == run.metrics["loss"]
    assert [large] * 3 == [artifact.data for artifact in run.artifacts]
    assert () == verify_run(journal.path)


def test_interrupted_where_the_spool_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a large fact is written leaves a journal that takes nothing more: it cannot know how far it came."""
    monkeypatch.setattr(spool, "CAPACITY", 1 << 16)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    with monkeypatch.context() as patch:

        def interrupt(*given: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(spool.Spool, "skip", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ctx.artifacts.add("large", bytes(1 << 17))
    with pytest.raises(SinkError, match="it was interrupted while it wrote"):
        ctx["b"] = 1
    with pytest.raises(JournalError):
        journal.close()
    with Journal.resume(journal.path) as journal:
        assert {"a": 1} == dict(journal.context(FrozenContext).as_dict())


def test_interrupted_drain_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a drain, before or after its commit, neither loses nor doubles anything."""
    monkeypatch.setattr("crystallize._journal.run_writer.DELAY", 1000)
    real = database.apply
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        for at, interrupted in enumerate((True, False, True)):
            ctx.record("loss", at)

            def apply(*given: Any, stops: bool = interrupted) -> None:
                real(*given)
                if stops:
                    raise KeyboardInterrupt

            monkeypatch.setattr("crystallize._journal.run_writer.apply", apply)
            if interrupted:
                with pytest.raises(KeyboardInterrupt):
                    journal.flush()
        monkeypatch.setattr("crystallize._journal.run_writer.apply", real)
        ctx.record("loss", 3)
    assert (0, 1, 2, 3) == load_run(journal.path).metrics["loss"]
    assert () == verify_run(journal.path)


def test_commit_that_was_interrupted_is_not_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts that are in the database already, as Ctrl-C came right after the commit, are not put there again."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("loss", 1)
        with journal._writer._lock:
            journal._writer._apply(journal._writer.spool.pending[:])  # and whoever asked for it never learned of it
        ctx.record("loss", 2)
    assert (1, 2) == load_run(journal.path).metrics["loss"]
    assert () == verify_run(journal.path)


@pytest.mark.slow
def test_closing_with_a_full_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run finds room in a spool that has none left."""
    monkeypatch.setattr(spool, "CAPACITY", 4096)
    monkeypatch.setattr("crystallize._journal.run_writer.DELAY", 1000)
    for room in range(60, 360, 20):
        journal = Journal.start(tmp_path, "run")
        ctx = journal.context(FrozenContext)
        used = sum(24 + len(fact) for fact in journal._writer.spool.pending)
        ctx["a"] = "x" * (4096 - used - room)
        journal.close()
        run = load_run(journal.path)
        assert ("finished", 1) == (run.status, len(run.values))


def test_drainer_that_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that records nothing more learns all the same that its file is gone."""
    monkeypatch.setattr("crystallize._journal.run_writer.DELAY", 0.01)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    journal.flush()
    journal.path.unlink()
    ctx["a"] = 1
    journal._writer._drainer.join(10)

    assert "run-0001: the journal has failed and takes nothing more" in caplog.text
    assert "moved or deleted" in caplog.text
    with pytest.raises(JournalError, match="moved or deleted"):
        journal.close()


def test_forked_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a forked process does first is to let go of its parent's journal."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    monkeypatch.setattr("crystallize._journal.run_writer._open_here", [journal._writer])
    crystallize._journal.run_writer._after_fork()
    with pytest.raises(SinkError, match="it belongs to the process that opened it"):
        ctx["a"] = 1
    journal.close()
    journal._writer._connection.close()


def test_database_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that cannot begin is an error that says who is in the way."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        journal.flush()
        journal._writer._connection.execute("PRAGMA busy_timeout=0")
        other = sqlite3.connect(journal.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ctx["a"] = 1
        with pytest.raises(JournalError, match="another program holds it"):
            journal.flush()
        other.close()
        with pytest.raises(JournalError, match="another program holds it"):
            journal.close()
    with Journal.resume(journal.path) as journal:
        assert 1 == journal.context(FrozenContext)["a"]


@pytest.mark.slow
def test_journal_that_nobody_closes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When a program ends without closing a journal it is told that the run is as if it had died."""
    program = f"""
from crystallize import FrozenContext, Journal
journal = Journal.start({str(tmp_path)!r}, "left")
journal.context(FrozenContext).add("lr", 0.1)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    told = "-0001: its journal was not closed, so the run is as if it had died; use with, or close"
    assert f"left{told}\n" == done.stderr
    assert "died" == load_run(tmp_path / "left-0001.db").status
    with Journal.start(tmp_path, "open"):
        crystallize._journal.run_writer._at_exit()
    crystallize._journal.run_writer._at_exit()
    assert [message for message in caplog.messages if message.startswith("open")] == [f"open{told}"]


def test_journal_that_nobody_has(tmp_path: Path) -> None:
    """A journal that is dropped without closing gives its lock back, and its thread ends."""
    journal = Journal.start(tmp_path, "run")
    path, drainer, gone = journal.path, journal._writer._drainer, weakref.ref(journal._writer)
    del journal
    gc.collect()
    drainer.join(10)

    assert gone() is None
    assert not drainer.is_alive()
    assert "died" == load_run(path).status
    # A thread that was waiting meanwhile finds nobody.
    crystallize._journal.run_writer._drain_on(gone, threading.Event(), threading.Event())


def test_drainer_of_a_journal_that_ends(caplog: pytest.LogCaptureFixture) -> None:
    """What fails in the thread as the journal ends is said by whoever ends it, and not twice."""
    ends = threading.Event()

    class Ending:
        name = "run-0001"

        def flush(self) -> None:
            ends.set()
            raise JournalError("run-0001.db", "the journal is closed")

    ending: Any = Ending()
    crystallize._journal.run_writer._drain_on(lambda: ending, threading.Event(), ends)  # type: ignore[arg-type]  # in place of a weakref

    assert "" == caplog.text


def test_interrupted_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in closing loses nothing: what was not drained stays in the spool."""

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crystallize._journal.run_writer.DELAY", 1000)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    with monkeypatch.context() as patch:
        patch.setattr("crystallize._journal.run_writer.apply", interrupt)
        with pytest.raises(KeyboardInterrupt):
            journal.close()
    run = load_run(journal.path)
    assert {"a": 1} == dict(run.values)
    assert () == verify_run(journal.path)


def test_threads_that_record_while_it_ends(tmp_path: Path) -> None:
    """What other threads had acknowledged before the end is in the file; after it they are refused."""
    for _ in range(5):
        journal = Journal.start(tmp_path, "run")
        ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        acknowledged = [0]
        begun = threading.Event()

        def record(
            ctx: FrozenContext[Any] = ctx, acknowledged: list[int] = acknowledged, begun: threading.Event = begun
        ) -> None:
            with contextlib.suppress(SinkError):
                while True:
                    ctx.record("loss", 0.5, {"epoch": 1})
                    acknowledged[0] += 1
                    begun.set()

        thread = threading.Thread(target=record)
        thread.start()
        begun.wait(10)
        journal.close()
        thread.join()
        run = load_run(journal.path)
        assert acknowledged[0] == len(run.metrics["loss"])
        assert "finished" == run.status


def test_refused_as_it_ends(tmp_path: Path) -> None:
    """An event that comes while the journal ends is refused as one that comes afterwards is."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        journal._writer.refuse()
        with pytest.raises(SinkError, match="the journal is closed"):
            ctx["a"] = 1


def test_end_of_a_step_without_its_beginning(tmp_path: Path) -> None:
    """A step whose opening was interrupted is in the file as one that never ended, and the run can be read."""
    now = datetime.now(UTC)
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext)
        journal.handle(crystallize.StepFinished("fit", (), (), (), {}, (), now, now, "KeyboardInterrupt"))
    run = load_run(journal.path)

    assert [("fit", None)] == [(attempt.step, attempt.record) for attempt in run.dead_attempts]
    assert () == verify_run(journal.path)
