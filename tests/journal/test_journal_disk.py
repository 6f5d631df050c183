"""A journal on a disk that fills or goes, and in company: it fails in our words, and nothing acknowledged is lost."""

import fcntl
import gc
import os
import resource
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from crystallize import CrystallizeError, FrozenContext, Journal, JournalError, RunInUseError, SinkError, load_run
from crystallize._journal import drainer, frame_writer, run_files
from crystallize.runs import list_runs, verify_run

from ..permissions import modes_hold
from .journal_runs import SMALL, copied, die, files_of, no_environment, processes

pytestmark = pytest.mark.usefixtures("without_environment")


@pytest.fixture
def _rarely_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drained that the test does not flush."""
    monkeypatch.setattr(drainer, "DELAY", 1000)
    monkeypatch.setattr(drainer, "BATCH", 1_000_000)


def in_a_process(work: Callable[..., object], *given: Any) -> Any:
    """Do something in a process of its own, and return what it returned."""
    here, there = processes.Pipe()
    process = processes.Process(target=_reporting, args=(there, work, given), daemon=True)
    process.start()
    there.close()
    try:
        assert here.poll(60), "the process hangs"
        returned = here.recv()
    finally:
        process.kill()
        process.join()
        here.close()
    if isinstance(returned, BaseException):
        raise returned
    return returned


def _reporting(pipe: Connection, work: Callable[..., object], given: tuple[Any, ...]) -> None:
    run_files.current_environment = no_environment  # type: ignore[attr-defined]  # imported there
    try:
        pipe.send(work(*given))
    except BaseException as error:
        pipe.send(AssertionError(f"{type(error).__name__}: {error}"))


def told(act: Callable[[], object]) -> str:
    """Return the text of the error of ours that something raises."""
    try:
        act()
    except SinkError as error:
        (cause,) = error.__cause__.exceptions  # type: ignore[union-attr]  # a group
        assert isinstance(cause, JournalError), repr(cause)
        return str(error)
    except CrystallizeError as error:
        return str(error)
    raise AssertionError("nothing was raised")


def record_until_it_fails(opened: Journal, ctx: FrozenContext[Any], most: int = 100_000) -> tuple[int, str]:
    """Record points; return how many were acknowledged, and the error that ended that."""
    text = "x" * 200
    for at in range(most):
        try:
            ctx.record("loss", at, {"text": f"{text}{at}"})
            if at % 100 == 99:
                opened.flush()
        except SinkError as error:
            return at, str(error)
        except JournalError as error:
            return at + 1, str(error)
    raise AssertionError("nothing failed")


def fill_up(folder: Path) -> tuple[int, str, list[str]]:
    """Write a run while no file may grow beyond some size, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    frame_writer.CAPACITY = SMALL
    opened = Journal.start(folder, "run")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    largest = max(file.stat().st_size for file in files_of(opened.path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 200_000, largest + 200_000))
    count, error = record_until_it_fails(opened, ctx)
    assert (0.1, count) == (ctx["lr"], len({*ctx.metrics["loss"][:count]}))
    later = [told(lambda: ctx.record("loss", 1)), told(opened.flush), told(opened.close)]
    assert count + 2 >= len(ctx.metrics["loss"])
    return count, error, later


@pytest.mark.slow
def test_a_disk_that_fills(tmp_path: Path) -> None:
    """Where a file cannot grow the error says that there is no room, and once there is the run has all again."""
    count, error, later = in_a_process(fill_up, tmp_path)
    (path,) = list_runs(tmp_path)
    assert count > 100
    assert list(range(count)) == list(load_run(path).metrics["loss"])[:count]
    assert "room" in error
    assert all("room" in text for text in later)
    with Journal.resume(path) as resumed:
        ctx = resumed.context(FrozenContext)
        assert list(range(count)) == list(ctx.metrics["loss"])[:count]
        ctx.record("loss", -1)
    assert () == verify_run(path)
    assert [*range(count), -1] == [*load_run(path).metrics["loss"][:count], load_run(path).metrics["loss"][-1]]


def start_without_room(folder: Path) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    return told(lambda: Journal.start(folder, "run"))


@pytest.mark.slow
def test_a_disk_without_room_for_a_run(tmp_path: Path) -> None:
    """A run that cannot have its spool does not begin, and leaves nothing behind that is taken for a run."""
    assert "room" in in_a_process(start_without_room, tmp_path)
    assert () == list_runs(tmp_path)
    assert [] == list(tmp_path.iterdir())


def resume_without_room(path: Path) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    frame_writer.CAPACITY = 1 << 20
    return told(lambda: Journal.resume(path))


@pytest.mark.slow
@pytest.mark.usefixtures("_rarely_draining")
def test_resuming_without_room_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot be resumed for want of room is as it was, and can be resumed once there is."""
    monkeypatch.setattr(frame_writer, "CAPACITY", 1 << 20)
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    for at in range(200):
        ctx.record("loss", at, {"text": os.urandom(1500).hex()})
    die(opened)
    before = load_run(opened.path)
    assert "room" in in_a_process(resume_without_room, opened.path)
    after = load_run(opened.path)
    assert (len(before.sessions), before.metrics["loss"]) == (len(after.sessions), after.metrics["loss"])
    with Journal.resume(opened.path):
        pass
    assert tuple(range(200)) == load_run(opened.path).metrics["loss"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that also somebody without rights can come to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def read_only(folder: Path) -> list[str]:
    (path,) = list_runs(folder)
    with modes_hold():
        assert () == verify_run(path)
        assert tuple(range(10)) == load_run(path).metrics["loss"]
        return [told(lambda: Journal.resume(path)), told(lambda: Journal.start(folder, "run"))]


@pytest.mark.slow
@pytest.mark.usefixtures("_rarely_draining")
@pytest.mark.parametrize("closed", [True, False])
def test_a_folder_that_cannot_be_written(open_folder: Path, closed: bool) -> None:
    """Where nothing can be written a run can be read, also one that died, and neither resumed nor started."""
    opened = Journal.start(open_folder, "run")
    ctx = opened.context(FrozenContext)
    for at in range(10):
        ctx.record("loss", at)
        if at == 5:
            opened.flush()
    opened.close() if closed else die(opened)
    for file in open_folder.iterdir():
        file.chmod(0o444)
    open_folder.chmod(0o555)
    assert all("denied" in error or "cannot be" in error for error in in_a_process(read_only, open_folder))
    open_folder.chmod(0o755)
    for file in open_folder.iterdir():
        file.chmod(0o644)
    with Journal.resume(opened.path) as resumed:
        assert tuple(range(10)) == resumed.context(FrozenContext).metrics["loss"]


def hidden(folder: Path, suffix: str) -> list[str]:
    (path,) = list_runs(folder)
    with modes_hold():
        # `verify_run` does not repeat the path that it was asked about.
        return [told(lambda: load_run(path)), told(lambda: Journal.resume(path)), f"run-0001: {verify_run(path)}"]


@pytest.mark.slow
@pytest.mark.usefixtures("_rarely_draining")
@pytest.mark.parametrize("suffix", [".db", ".spool"])
def test_a_file_that_cannot_be_read(open_folder: Path, suffix: str) -> None:
    """A run of which one file cannot be read is an error of ours."""
    opened = Journal.start(open_folder, "run")
    opened.context(FrozenContext, {"lr": 0.1})
    die(opened)
    opened.path.with_suffix(suffix).chmod(0)
    errors = in_a_process(hidden, open_folder, suffix)
    assert all("run-0001" in error and "cannot be" in error for error in errors)
    opened.path.with_suffix(suffix).chmod(0o644)


def delete(path: Path, suffix: str) -> None:
    path.with_suffix(suffix).unlink()


def move(path: Path, suffix: str) -> None:
    path.with_suffix(suffix).rename(path.with_name(f"moved{suffix}"))


def replace(path: Path, suffix: str) -> None:
    shutil.copy(path.with_suffix(suffix), path.with_name("copy"))
    path.with_name("copy").rename(path.with_suffix(suffix))


@pytest.mark.usefixtures("_rarely_draining")
@pytest.mark.parametrize("suffix", [".db", ".spool"])
@pytest.mark.parametrize("lose", [delete, move, replace])
def test_a_file_that_goes_in_the_middle(tmp_path: Path, suffix: str, lose: Callable[[Path, str], None]) -> None:
    """A file deleted, moved or replaced in the middle is an error at the next drain; the context can still be read."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    ctx.record("loss", 1)
    opened.flush()
    ctx.record("loss", 2)
    lose(opened.path, suffix)
    ctx.record("loss", 3)
    assert "moved or deleted" in told(opened.flush)
    assert "moved or deleted" in told(lambda: ctx.record("loss", 4))
    assert "moved or deleted" in told(opened.close)
    assert (1, 2, 3) == ctx.metrics["loss"][:3]
    assert 0.1 == ctx["lr"]
    if lose is move:
        opened.path.with_name(f"moved{suffix}").rename(opened.path.with_suffix(suffix))
        with Journal.resume(opened.path) as resumed:
            assert (1, 2, 3) == resumed.context(FrozenContext).metrics["loss"]
    elif suffix == ".spool":
        # What the database has is there.
        if lose is delete:
            assert (1,) == load_run(opened.path).metrics["loss"]
    elif lose is delete:
        assert () == list_runs(tmp_path)


@pytest.mark.usefixtures("_rarely_draining")
def test_a_folder_that_moves_in_the_middle(tmp_path: Path) -> None:
    """A folder that is moved while a run writes into it has all that was acknowledged."""
    opened = Journal.start(tmp_path / "one", "run")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    ctx.record("loss", 1)
    (tmp_path / "one").rename(tmp_path / "other")
    ctx.record("loss", 2)
    assert "moved or deleted" in told(opened.close)
    with Journal.resume(tmp_path / "other" / "run-0001.db") as resumed:
        assert (1, 2) == resumed.context(FrozenContext).metrics["loss"]


def resume_elsewhere(path: Path) -> str:
    return told(lambda: Journal.resume(path))


@pytest.mark.slow
def test_a_second_writer(tmp_path: Path) -> None:
    """While a run has a writer nobody else resumes it, neither in the same process nor in another one."""
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        with pytest.raises(RunInUseError, match="load_run reads it"):
            Journal.resume(opened.path)
        assert "is writing this run" in in_a_process(resume_elsewhere, opened.path)
        ctx.record("loss", 1)
    with Journal.resume(opened.path) as resumed:
        with pytest.raises(RunInUseError):
            Journal.resume(opened.path)
        assert (1,) == resumed.context(FrozenContext).metrics["loss"]
    assert () == verify_run(opened.path)


def in_a_child(work: Callable[[], None]) -> None:
    """Fork this process, do something in the child, and check that it did not fail."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(30)
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def forks(folder: Path) -> None:
    opened = Journal.start(folder, "run")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    ctx.record("loss", 1)

    def child() -> None:
        assert 0.1 == ctx["lr"]
        for use in (lambda: ctx.record("loss", 2), lambda: ctx.add("key", 2)):
            assert "forked" in told(use)
        opened.close()
        assert () == verify_run(opened.path)

    in_a_child(child)
    ctx.record("loss", 3)
    in_a_child(child)
    opened.close()


@pytest.mark.slow
def test_a_forked_child_has_no_part_in_a_run(tmp_path: Path) -> None:
    """What a forked child does through its parent's journal is refused, and the run stays the parent's."""
    in_a_process(forks, tmp_path)
    (path,) = list_runs(tmp_path)
    run = load_run(path)
    assert ("finished", (1, 3)) == (run.status, run.metrics["loss"])
    assert () == verify_run(path)


def forks_and_flushes(folder: Path) -> None:
    opened = Journal.start(folder, "run")
    ctx = opened.context(FrozenContext)
    ctx.record("loss", 1)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            opened.flush()
        except JournalError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    opened.close()
    assert (1,) == load_run(opened.path).metrics["loss"]


@pytest.mark.slow
def test_a_forked_child_cannot_flush(tmp_path: Path) -> None:
    """A forked child has no drainer: it gets an error, and does not wait for an answer."""
    in_a_process(forks_and_flushes, tmp_path)


def forks_and_forgets(folder: Path) -> None:
    opened: Any = Journal.start(folder, "run")
    ctx: Any = opened.context(FrozenContext)

    def child() -> None:
        nonlocal opened, ctx
        descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        opened = ctx = None
        gc.collect()
        for descriptor in descriptors:
            fcntl.fcntl(descriptor, fcntl.F_GETFD)

    in_a_child(child)
    opened.close()


@pytest.mark.slow
def test_a_forked_child_closes_nothing_of_its_own(tmp_path: Path) -> None:
    """A child that lets go of its parent's journal keeps its own files, whatever their numbers."""
    in_a_process(forks_and_forgets, tmp_path)


def forks_and_exits(folder: Path) -> str:
    opened = Journal.start(folder, "run")
    ctx = opened.context(FrozenContext)
    ctx.record("loss", 1)
    out = folder / "errors"
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os.dup2(os.open(out, os.O_CREAT | os.O_WRONLY), 2)
        import atexit

        atexit._run_exitfuncs()
        os._exit(0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with pytest.raises(RunInUseError):
        Journal.resume(opened.path)
    ctx.record("loss", 2)
    opened.close()
    assert (1, 2) == load_run(opened.path).metrics["loss"]
    return out.read_text()


@pytest.mark.slow
def test_a_forked_child_that_exits(tmp_path: Path) -> None:
    """A forked child that ends as any program does says nothing of its parent's run, and does not touch it."""
    assert "" == in_a_process(forks_and_exits, tmp_path)


class BackwardsClock(datetime):
    """A clock that goes an hour back each time that it is read."""

    hour = 23

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "BackwardsClock":
        cls.hour -= 1
        return cls(2024, 5, 5, cls.hour, tzinfo=tz)


def test_a_clock_that_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes back changes no order, and no session ends before it started."""
    monkeypatch.setattr(run_files, "datetime", BackwardsClock)
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        with ctx.step("fit") as step:
            step.record("loss", 1)
    with Journal.resume(opened.path) as resumed:
        ctx = resumed.context(FrozenContext)
        ctx.record("loss", 2)
    run = load_run(opened.path)
    assert (1, 2) == run.metrics["loss"]
    assert run.sessions[0].started > run.sessions[1].started
    assert all(session.ended is not None and session.ended >= session.started for session in run.sessions)
    assert all(record.ended >= record.started for record in run.provenance.steps)
    assert UTC is run.started.tzinfo
    assert () == verify_run(opened.path)


def start_at_once(folder: Path, mine: int, count: int) -> list[int]:
    numbers = []
    for at in range(count):
        (folder / f"{mine}-{at}.ready").touch()
        while not (folder / f"{1 - mine}-{at}.ready").exists():
            pass
        with Journal.start(folder, "run") as opened:
            opened.context(FrozenContext, {"mine": mine, "at": at})
        numbers.append(load_run(opened.path).number)
    return numbers


@pytest.mark.slow
def test_two_runs_started_at_the_same_instant(tmp_path: Path) -> None:
    """Two processes that start runs of one name at the same instant get different numbers, and both runs are whole."""
    got: dict[int, list[int]] = {}

    def start(mine: int) -> None:
        got[mine] = in_a_process(start_at_once, tmp_path, mine, 20)

    threads = [threading.Thread(target=start, args=(mine,)) for mine in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 40 == len({*got[0], *got[1]})
    for mine, numbers in got.items():
        for at, number in enumerate(numbers):
            path = tmp_path / f"run-{number:04d}.db"
            assert () == verify_run(path)
            assert {"mine": mine, "at": at} == load_run(path).values
    assert {"run"} == {file.name.partition("-")[0] for file in tmp_path.glob("*.db")}
    assert [] == [*tmp_path.glob("*.new"), *tmp_path.glob("*.spool")]


def without_fallocate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")


def without_mmap(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(frame_writer.mmap, "mmap", refuse)  # type: ignore[attr-defined]  # imported there


def without_either(monkeypatch: pytest.MonkeyPatch) -> None:
    without_fallocate(monkeypatch)
    without_mmap(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("_rarely_draining")
@pytest.mark.parametrize("missing", [without_fallocate, without_mmap, without_either])
def test_a_system_that_lacks_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Where files cannot be allocated or mapped, what was acknowledged survives the process all the same."""
    missing(monkeypatch)
    monkeypatch.setattr(frame_writer, "CAPACITY", 1 << 20)
    opened = Journal.start(tmp_path, "run")
    assert 1 << 20 == opened.path.with_suffix(".spool").stat().st_size
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    for at in range(1500):
        ctx.record("loss", at, {"text": "x" * 50})
    assert (*range(1500),) == load_run(copied(opened, tmp_path / "copied")).metrics["loss"]
    die(opened)
    with Journal.resume(opened.path) as resumed:
        again = resumed.context(FrozenContext)
        assert (*range(1500),) == again.metrics["loss"]
        for at in range(1500, 15_000):
            again.record("loss", at, {"text": "x" * 50})
    assert (*range(15_000),) == load_run(opened.path).metrics["loss"]
    assert () == verify_run(opened.path)
