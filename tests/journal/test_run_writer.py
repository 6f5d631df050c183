"""The writer of a run: what it took is in the file once and in order, whatever interrupts it."""

import contextlib
import errno
import gc
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from time import sleep
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
from crystallize._journal import drainer, frame_writer, run_writer, spool
from crystallize._journal.run_files import OpenFiles
from crystallize._journal.run_writer import RunWriter
from crystallize.runs import verify_run

from .train_runs import TrainMetrics, abandon


def until(is_so: Callable[[], bool]) -> None:
    """Wait for another thread."""
    for _ in range(1000):
        if is_so():
            return
        sleep(0.01)
    raise AssertionError("it never came")


def test_facts_larger_than_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the spool has no room for is in the database when it is acknowledged, and all others stay in their order."""
    monkeypatch.setattr(frame_writer, "CAPACITY", 1 << 16)
    monkeypatch.setattr("crystallize._journal.drainer.DELAY", 1000)
    large = os.urandom(1 << 18)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext, metrics=TrainMetrics)
    for at in range(3):
        ctx.record("loss", at, {"epoch": at})
        ctx.artifacts.add(f"{at}.bin", large)
    for at in range(3, 5000):
        ctx.record("loss", at, {"epoch": at})
    abandon(journal)
    run = load_run(journal.path)

    assert tuple(range(5000)) == run.metrics["loss"]
    assert [large] * 3 == [artifact.data for artifact in run.artifacts]
    assert () == verify_run(journal.path)


def interrupting(patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Let a function raise KeyboardInterrupt, once, before it does anything."""
    real = getattr(owner, name)
    came = iter([KeyboardInterrupt()])

    def interrupted(*given: Any, **options: Any) -> Any:
        for interruption in came:
            raise interruption
        return real(*given, **options)

    patch.setattr(owner, name, interrupted)


@pytest.mark.parametrize("where", ["span", "wait", "rewind"])
def test_interrupted_where_the_spool_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Ctrl-C while a large fact is written loses nothing, and what follows is in order."""
    monkeypatch.setattr(frame_writer, "CAPACITY", 1 << 16)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    with monkeypatch.context() as patch:
        owner, name = {
            "span": (run_writer, "span"),
            "wait": (drainer, "SimpleQueue"),
            "rewind": (frame_writer.FrameWriter, "rewind"),
        }[where]
        interrupting(patch, owner, name)
        with pytest.raises(KeyboardInterrupt):
            ctx.artifacts.add("large", bytes(1 << 17))
    ctx["b"] = 2
    journal.close()
    run = load_run(journal.path)
    assert {"a": 1, "b": 2} == run.values
    assert [bytes(1 << 17)] == [artifact.data for artifact in run.artifacts]
    assert () == verify_run(journal.path)


def test_interrupted_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a program waits for a flush neither loses nor doubles anything: the drain goes on by itself."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        for at in range(4):
            ctx.record("loss", at)
            with monkeypatch.context() as patch:
                interrupting(patch, drainer, "SimpleQueue")
                with pytest.raises(KeyboardInterrupt):
                    journal.flush()
    assert (0, 1, 2, 3) == load_run(journal.path).metrics["loss"]
    assert () == verify_run(journal.path)


def test_facts_that_are_in_the_database_are_not_put_there_again(tmp_path: Path) -> None:
    """Facts that were drained already, by a process that died before it could note it, are skipped."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("loss", 1)
        journal.flush()
        writer = journal._writer
        writer.spool.pending.append(b'["loss",1,{},null]')
        writer._drainer._progress.drained -= 1
        ctx.record("loss", 2)
    assert (1, 2) == load_run(journal.path).metrics["loss"]
    assert () == verify_run(journal.path)


@pytest.mark.slow
def test_closing_with_a_full_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run finds room in a spool that has none left."""
    monkeypatch.setattr(frame_writer, "CAPACITY", 4096)
    monkeypatch.setattr("crystallize._journal.drainer.DELAY", 1000)
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
    monkeypatch.setattr("crystallize._journal.drainer.DELAY", 0.01)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    journal.flush()
    journal.path.unlink()
    ctx["a"] = 1
    until(lambda: "has failed" in caplog.text)

    assert "run-0001: the journal has failed and takes nothing more" in caplog.text
    assert "moved or deleted" in caplog.text
    with pytest.raises(JournalError, match="moved or deleted"):
        journal.close()


@pytest.mark.parametrize("is_idle", [False, True])
@pytest.mark.parametrize("size", [0, 4096])
def test_truncated_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, size: int, is_idle: bool
) -> None:
    """A journal whose spool was truncated says so, also if nothing is recorded, and never stores into it again."""
    monkeypatch.setattr("crystallize._journal.drainer.DELAY", 0.01)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    steps = ExitStack()
    step = steps.enter_context(ctx.step("fit"))
    step["a"] = 1
    journal.flush()
    # If the database is locked, the fact cannot be drained before the spool is truncated.
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as other:
        if not is_idle:
            other.execute("BEGIN IMMEDIATE")
            step["b"] = 2
        os.truncate(journal.path.with_suffix(".spool"), size)
    until(lambda: "has failed" in caplog.text)

    acts: tuple[Callable[[], object], ...] = (
        lambda: step.record("loss", 1),
        lambda: step.artifacts.add("c", b"c"),
        steps.close,
    )
    for act in acts:
        with pytest.raises(SinkError, match="was truncated"):
            act()
    for end in (journal.flush, journal.close):
        with pytest.raises(JournalError, match="was truncated"):
            end()


@pytest.mark.parametrize("error", [None, OSError("it cannot be closed")])
def test_close_waits_for_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None) -> None:
    """When `close` returns, the files are closed, however long that takes; an error in that comes out."""
    close = OpenFiles.close

    def close_late(files: OpenFiles, *, delete: bool = False) -> None:
        sleep(0.05)
        close(files, delete=delete)
        if error is not None:
            raise error

    monkeypatch.setattr(drainer, "_PATIENCE", 0.001)
    monkeypatch.setattr(OpenFiles, "close", close_late)
    journal = Journal.start(tmp_path, "run")
    journal.context(FrozenContext, {"a": 1})
    with nullcontext() if error is None else pytest.raises(OSError, match="it cannot be closed"):
        journal.close()

    assert [journal.path] == [*tmp_path.iterdir()]
    assert "finished" == load_run(journal.path).status


def test_failure_of_a_close_that_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an exception interrupts `close`, closing again raises the error of the journal."""

    class Interrupted(SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

    journal = Journal.start(tmp_path, "run")
    journal.context(FrozenContext, {"a": 1})
    journal.path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(drainer, "SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.close()

    with pytest.raises(JournalError, match="moved or deleted"):
        journal.close()


class Handler(logging.Handler):
    """A handler that cannot log."""

    asked = False

    def emit(self, record: logging.LogRecord) -> None:
        self.asked = True
        raise OSError("closed")


@pytest.fixture
def handler() -> Iterator[Handler]:
    """A handler of the package's log."""
    handler, log = Handler(), logging.getLogger("crystallize")
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


def failed(folder: Path) -> Journal:
    """Return a journal that fails as soon as it is looked after."""
    journal = Journal.start(folder, "run")
    ctx = journal.context(FrozenContext)
    journal.flush()
    journal.path.unlink()
    ctx["a"] = 1
    until(lambda: journal._writer._drainer.failure is not None)
    return journal


@pytest.mark.parametrize("method", [Journal.flush, Journal.close])
def test_failure_while_the_log_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: Handler, method: Callable[[Journal], None]
) -> None:
    """A signal handler that interrupts a logging handler can flush and close a journal that is about to log."""
    monkeypatch.setattr(drainer, "DELAY", 0.01)
    monkeypatch.setattr(handler, "emit", lambda record: setattr(handler, "asked", True))
    assert handler.lock is not None
    with handler.lock:
        journal = failed(tmp_path)
        with pytest.raises(JournalError, match="moved or deleted"):
            method(journal)
        assert not handler.asked
    until(lambda: handler.asked)
    with contextlib.suppress(JournalError):
        journal.close()


def test_failure_that_cannot_be_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: Handler) -> None:
    """A journal whose failure a logging handler refuses can be closed, and raises the failure."""
    raised: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda details: raised.append(details.exc_value))
    monkeypatch.setattr(drainer, "DELAY", 0.01)
    journal = failed(tmp_path)
    until(lambda: bool(raised))
    with pytest.raises(JournalError, match="moved or deleted"):
        journal.close()

    assert ["closed"] == [*map(str, raised)]


def test_failure_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where Python starts no more threads, as at its end, a failure is logged all the same."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    drainer._log_failure("run-0001", OSError("disk full"))

    assert ["run-0001: the journal has failed and takes nothing more: disk full"] == caplog.messages


def test_forked_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a forked process does first is to let go of its parent's journal."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    monkeypatch.setattr("crystallize._journal.run_writer._open_here", [journal._writer])
    crystallize._journal.run_writer._after_fork()
    with pytest.raises(SinkError, match="it belongs to the process that opened it"):
        ctx["a"] = 1
    journal.close()
    journal._writer._files.connection.close()


def test_database_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that cannot begin is an error that says who is in the way."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        journal.flush()
        journal._writer._files.connection.execute("PRAGMA busy_timeout=0")
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
    told = "-0001: its journal is open at the end of the program; unless that closes it now, the run counts as died"
    assert f"left{told}\n" == done.stderr
    assert "died" == load_run(tmp_path / "left-0001.db").status
    with Journal.start(tmp_path, "open"):
        crystallize._journal.run_writer._at_exit()
    crystallize._journal.run_writer._at_exit()
    assert [message for message in caplog.messages if message.startswith("open")] == [f"open{told}"]


def test_journal_that_nobody_has(tmp_path: Path) -> None:
    """A journal that is dropped without closing gives its lock back, and its thread ends."""
    journal = Journal.start(tmp_path, "run")
    path, thread, gone = journal.path, journal._writer._drainer._thread, weakref.ref(journal._writer._drainer)
    del journal
    gc.collect()
    thread.join(10)

    assert gone() is None
    assert not thread.is_alive()
    until(lambda: load_run(path).status == "died")  # another thread may be collecting it
    # A thread that was waiting meanwhile finds nobody.
    drainer._serve(gone, SimpleQueue())


@pytest.mark.parametrize("owner", [drainer, RunWriter])
def test_interrupted_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any) -> None:
    """Ctrl-C in closing loses nothing, and the run ends."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    with monkeypatch.context() as patch:
        interrupting(patch, owner, "SimpleQueue" if owner is drainer else "append")
        with pytest.raises(KeyboardInterrupt):
            journal.close()
    run = load_run(journal.path)
    assert {"a": 1} == dict(run.values)
    assert "finished" == run.status
    assert () == verify_run(journal.path)


def closing_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files of a journal take longer to close than a caller waits between two looks at the drainer."""
    close = OpenFiles.close

    def close_slowly(files: OpenFiles, *, delete: bool = False) -> None:
        sleep(0.05)
        close(files, delete=delete)

    monkeypatch.setattr(drainer, "_PATIENCE", 0.001)
    monkeypatch.setattr(OpenFiles, "close", close_slowly)


def test_files_that_close_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When `close` returns, the files are closed and the run is finished, also where closing them takes long."""
    closing_slowly(monkeypatch)
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext)
    left = [path.name for path in tmp_path.iterdir()]

    assert ["run-0001.db"] == left
    assert "finished" == load_run(journal.path).status


def test_failure_while_files_close_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`close` raises the error of the last facts, also where closing the files takes long."""
    closing_slowly(monkeypatch)
    monkeypatch.setattr(drainer, "DELAY", 1000)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    journal.flush()
    ctx["a"] = 1
    journal.path.unlink()
    with pytest.raises(JournalError, match="moved or deleted"):
        journal.close()

    assert journal._writer._drainer.is_closed


def test_journal_that_two_threads_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of `close` returns after the files are closed, also where another thread closes the journal."""
    closing_slowly(monkeypatch)
    journal = Journal.start(tmp_path, "run")
    journal.context(FrozenContext)

    def close() -> str:
        journal.close()
        return load_run(journal.path).status

    with ThreadPoolExecutor(4) as executor:
        statuses = [ended.result() for ended in [executor.submit(close) for _ in range(4)]]

    assert ["finished"] * 4 == statuses


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


def refusing(number: int) -> Callable[..., Any]:
    """Return a function that a disk makes fail."""

    def refuse(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_full_disk_under_a_spool_that_is_not_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool that cannot be written is an error that says what to do; what was taken before is there."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    with monkeypatch.context() as patch:
        patch.setattr(frame_writer.FrameWriter, "append", refusing(errno.ENOSPC))
        with pytest.raises(SinkError, match=r"its spool cannot be written .*No space.*; make room, then go on"):
            ctx["b"] = 2
    with pytest.raises(SinkError, match="takes nothing more"):
        ctx["c"] = 3
    with pytest.raises(JournalError):
        journal.close()
    assert {"a": 1} == load_run(journal.path).values


def test_disk_that_cannot_make_a_step_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose end cannot be made durable is an error, and the journal takes nothing more."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    monkeypatch.setattr(spool, "sync_data", refusing(errno.EIO))
    with pytest.raises(SinkError, match=r"its spool cannot be made durable .*; see to the disk"), ctx.step("fit"):
        pass
    with pytest.raises(SinkError, match="takes nothing more"):
        ctx["a"] = 1
    with pytest.raises(JournalError):
        journal.close()


@pytest.mark.parametrize("owner", ["frames", "sync"])
def test_closed_under_a_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """A handler may close the journal before a system call, which then fails: that is no error of the disk."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    step = ctx.step("fit")
    step.__enter__()

    def close(*given: object) -> None:
        monkeypatch.undo()
        journal.close()
        raise OSError(errno.EBADF, "Bad file descriptor")

    if owner == "sync":
        monkeypatch.setattr(spool, "sync_data", close)
        step.__exit__(None, None, None)
    else:
        monkeypatch.setattr(frame_writer.FrameWriter, "append", close)
        with pytest.raises(SinkError, match="the journal is closed"):
            ctx["a"] = 1
        with pytest.raises(SinkError, match="the journal is closed"):
            step.__exit__(None, None, None)
    assert "finished" == load_run(journal.path).status


def test_flush_that_another_thread_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that waits while another thread closes the journal is refused as one after it."""
    journal = Journal.start(tmp_path, "run")
    journal.context(FrozenContext)["a"] = 1
    real = drainer.Drainer.drain

    def drain(found: drainer.Drainer) -> None:
        real(found)
        journal.close()

    monkeypatch.setattr(drainer.Drainer, "drain", drain)
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.flush()
    assert "finished" == load_run(journal.path).status
