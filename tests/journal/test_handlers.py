"""Signal handlers, handlers at exit and destructors that flush, close or record: they work, and never wait for ever."""

import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal, JournalError, SinkError, load_run
from crystallize._journal import drainer, event_rows, frame_writer, run_writer, spool, spool_format
from crystallize.runs import verify_run

WORK = {
    "points": "ctx.record('loss', at)",
    "steps": "\n    with ctx.step(f's-{at}') as step: step.record('loss', at)",
    "flushes": "ctx.record('loss', at); journal.flush()",
    "large": "ctx.record('loss', at); ctx.artifacts.add(str(at), bytes(17 << 20)) if at % 7 == 0 else None",
}
ENDS = {
    "close": "journal.close()",
    "flush": "journal.flush()",
    "step": "\n    with ctx.step('preempted') as step: step['why'] = 'SIGTERM'\n    journal.close()",
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("work", WORK)
def test_sigterm(tmp_path: Path, work: str, end: str) -> None:
    """A program that closes or flushes its journal when it is told to end does end, and nothing is lost."""
    program = f"""
import os, signal, sys, threading
from crystallize import FrozenContext, Journal
journal = Journal.start(sys.argv[1], "run")
ctx = journal.context(FrozenContext)
def end(*given):
    {ENDS[end]}
    os._exit(len(ctx.metrics["loss"]) % 100 if "flush" == {end!r} else 200)
signal.signal(signal.SIGTERM, end)
threading.Timer(0.05 + len({work + end!r}) % 7 / 100, os.kill, (os.getpid(), signal.SIGTERM)).start()
at = 0
while True:
    {WORK[work]}
    at += 1
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60, capture_output=True)
    run = load_run(tmp_path / "run-0001.db")
    points = run.metrics["loss"] if "loss" in run.metrics else ()  # noqa: SIM401  # it has no `get`
    assert b"" == done.stderr
    assert tuple(range(len(points))) == points
    if end == "flush":
        # The point that was interrupted may be in the context and not yet in the file.
        assert (done.returncode - len(points)) % 100 in (0, 1)
    else:
        assert (200, "finished") == (done.returncode, run.status)
    if end == "step":
        assert "SIGTERM" == run.values["why"]
    assert () == verify_run(run.path)


def calling(patch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]) -> None:
    """Let a function first do something else, once, as a signal's handler may at any call."""
    real = getattr(owner, name)
    acts = iter([act])

    def function(*given: Any) -> Any:
        for found in acts:
            found()
        return real(*given)

    patch.setattr(owner, name, function)


@pytest.mark.parametrize("is_mapped", [True, False])
@pytest.mark.parametrize(("owner", "name"), [(frame_writer, "crc32"), (run_writer, "span")])
def test_handler_that_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, is_mapped: bool
) -> None:
    """A point that a handler records while another one is appended is in the file, and so is the other one."""
    monkeypatch.setattr(frame_writer, "is_written_in_place", lambda path: is_mapped)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    for at in range(5):
        with monkeypatch.context() as patch:
            calling(patch, owner, name, lambda at=at: ctx.record("inner", at))  # type: ignore[misc]  # of a loop
            ctx.record("outer", at)
    journal.close()
    run = load_run(journal.path)
    assert (tuple(range(5)),) * 2 == (run.metrics["inner"], run.metrics["outer"])
    assert () == verify_run(journal.path)


@pytest.mark.parametrize("is_mapped", [True, False])
def test_handler_that_fills_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_mapped: bool) -> None:
    """A handler that records so much that the spool begins again does not disturb the point that it interrupted."""
    monkeypatch.setattr(frame_writer, "is_written_in_place", lambda path: is_mapped)
    monkeypatch.setattr(frame_writer, "CAPACITY", 1 << 14)
    journal = Journal.start(tmp_path, "run")
    journal.context(FrozenContext)
    writer = journal._writer

    def fill() -> None:
        for at in range(300):
            writer.append(b'["inner",%d,{},null]' % at)

    with monkeypatch.context() as patch:
        calling(patch, frame_writer, "crc32", fill)
        writer.append(b'["outer",1,{},null]')
    journal.close()
    run = load_run(journal.path)
    assert (tuple(range(300)), (1,)) == (run.metrics["inner"], run.metrics["outer"])
    assert () == verify_run(journal.path)


@pytest.mark.parametrize("act", ["close", "flush"])
@pytest.mark.parametrize("is_mapped", [True, False])
@pytest.mark.parametrize(("owner", "name"), [(frame_writer, "crc32"), (spool, "sync_data"), (run_writer, "span")])
def test_handler_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, is_mapped: bool, act: str
) -> None:
    """A handler flushes, or ends the run; a point that it interrupted is then refused as after any end."""
    monkeypatch.setattr(frame_writer, "is_written_in_place", lambda path: is_mapped)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    fit = ctx.step("fit")
    step = fit.__enter__()
    step.record("loss", 1)
    refused = pytest.raises(SinkError, match="the journal is closed") if act == "close" else nullcontext()
    with monkeypatch.context() as patch:
        calling(patch, owner, name, getattr(journal, act))
        if name == "sync_data":
            fit.__exit__(None, None, None)  # all its facts are in the file before
        else:
            with refused:
                step.record("loss", 2)
    assert ("finished" if act == "close" else "running") == load_run(journal.path).status
    with refused:
        ctx.record("loss", 3)
    if name != "sync_data":
        with refused:
            fit.__exit__(None, None, None)
    with pytest.raises(JournalError, match="the journal is closed") if act == "close" else nullcontext():
        journal.flush()
    journal.close()
    assert () == verify_run(journal.path)


def test_handler_that_closes_while_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing in the middle of closing ends the run once."""
    for owner, name in ((frame_writer, "crc32"), (drainer, "SimpleQueue"), (run_writer, "span")):
        journal = Journal.start(tmp_path, "run")
        journal.context(FrozenContext)["a"] = 1
        with monkeypatch.context() as patch:
            calling(patch, owner, name, journal.close)
            journal.close()
        run = load_run(journal.path)
        assert ("finished", {"a": 1}) == (run.status, run.values)
        assert () == verify_run(journal.path)


EXITS = {
    "a handler registered before the import": """
import atexit
journal = None
atexit.register(lambda: journal.close())
from crystallize import FrozenContext, Journal
journal = Journal.start(folder, "run")
journal.context(FrozenContext).record("loss", 1)
""",
    "an exit stack": """
import atexit, contextlib
stack = contextlib.ExitStack()
atexit.register(stack.close)
from crystallize import FrozenContext, Journal
stack.enter_context(Journal.start(folder, "run")).context(FrozenContext).record("loss", 1)
""",
    "a destructor": """
from crystallize import FrozenContext, Journal
class Training:
    def __init__(self):
        self.journal = Journal.start(folder, "run")
        self.journal.context(FrozenContext).record("loss", 1)
    def __del__(self):
        self.journal.close()
training = Training()
training.me = training
""",
    "a generator": """
from crystallize import FrozenContext, Journal
def training():
    with Journal.start(folder, "run") as journal:
        ctx = journal.context(FrozenContext)
        while True:
            yield ctx.record("loss", 1)
running = training()
next(running)
""",
    "a step of a generator": """
from crystallize import FrozenContext, Journal
def training():
    with Journal.start(folder, "run") as journal, journal.context(FrozenContext).step("fit") as fit:
        while True:
            yield fit.record("loss", 1)
running = training()
next(running)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", EXITS)
def test_closed_at_exit(tmp_path: Path, how: str) -> None:
    """Wherever in the end of a program a journal is closed, the run is finished and has everything."""
    program = f"import sys; folder = sys.argv[1]\n{EXITS[how]}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60, capture_output=True, text=True
    )
    run = load_run(tmp_path / "run-0001.db")
    assert (0, "finished", (1,)) == (done.returncode, run.status, run.metrics["loss"])
    assert "Traceback" not in done.stderr
    assert () == verify_run(run.path)


def test_destructor_in_the_thread_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destructor that the garbage collector runs in the journal's own thread may close the journal, not flush it."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    refused: list[JournalError] = []
    done = threading.Event()

    class Training:
        def __del__(self) -> None:
            try:
                journal.flush()
            except JournalError as error:
                refused.append(error)
            journal.close()
            done.set()

    training: Any = [Training()]
    real = event_rows.apply

    def apply(*given: Any) -> None:
        training.clear()
        gc.collect()
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(drainer, "apply", apply)
        ctx["a"] = 1
        assert done.wait(30)
    journal.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(30)
    assert ["cannot wait for itself" in str(error) for error in refused] == [True]
    assert "finished" == load_run(journal.path).status
    assert () == verify_run(journal.path)


@pytest.mark.parametrize("is_in_transaction", [True, False])
def test_after_the_interpreter_has_stopped_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_transaction: bool
) -> None:
    """Where the thread of the journal was stopped in a transaction, closing does its work."""
    monkeypatch.setattr(drainer, "DELAY", 1000)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    writer = journal._writer
    with monkeypatch.context() as patch:
        patch.setattr(sys, "is_finalizing", lambda: True)
        if is_in_transaction:
            writer._files.connection.execute("BEGIN")
        journal.close()
    assert ("finished", {"a": 1}) == (load_run(journal.path).status, load_run(journal.path).values)


@pytest.mark.parametrize("machine", ["this", "another"])
def test_spool_after_a_crash_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    """Facts that were only safe from the death of the process may be lost with the machine; synced ones may not."""
    claimed = spool.Spool.claim(tmp_path / "a.spool", bytes(16))
    assert claimed is not None
    claimed.begin(bytes(16), 1, 0)
    assert claimed.append(b"[1]")
    claimed.sync()
    assert claimed.append(b"[2]")
    claimed.close()
    content = bytearray((tmp_path / "a.spool").read_bytes())
    second = spool_format.START + spool_format.FRAME.size + 3
    for lost, certain in ((second, 1), (spool_format.START, 0)):
        content[lost : lost + 40] = bytes(40)
        (tmp_path / "a.spool").write_bytes(content)
        if machine == "another":
            monkeypatch.setattr(spool_format, "boot_identity", lambda: b"x" * 16)
        read = spool_format.spooled(tmp_path / "a.spool", bytes(16), 1, 0)
        if machine == "another" and certain == 1:
            assert [b"[1]"] == [*read]
        else:
            with pytest.raises(JournalError, match="were acknowledged and cannot be read"):
                [*read]


def test_no_signal_is_left() -> None:
    """The tests above leave the handlers of this process as they were."""
    assert signal.SIG_DFL == signal.getsignal(signal.SIGTERM)
