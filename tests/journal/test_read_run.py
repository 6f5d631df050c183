"""Readers beside a writer: each sees a run as it was at some moment, and later never less of it."""

import contextlib
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from crystallize import DamagedRunError, FrozenContext, Journal, RunNotFoundError, load_run
from crystallize._journal import drainer, frame_writer, run_files
from crystallize._journal.environment import Origin
from crystallize.runs import verify_run

from .journal_runs import SMALL, Plan, copied, die, killed, no_environment, processes

POINTS = 20_000
READERS = 4


def _read_on(pipe: Connection, path: Path) -> None:
    """Load a run again and again until it has ended, and say how often and what was wrong."""
    wrong: list[str] = []
    counts = [0]
    steps = 0
    status = ""
    pipe.send("ready")
    while status != "finished" and not wrong:
        try:
            run = load_run(path)
            status = run.status
            points = [(point.value, point.tags["half"], point.step) for point in run.metrics.series("loss")]
            keys = [key for key in run.values if key != "lr"]
        except BaseException as error:
            wrong.append(f"{type(error).__name__}: {error}")
            break
        # Of the step that is open all its points may be there without its key, which it writes last.
        right = [(at, at / 2, f"s{at // 1000}") for at in range(len(points))]
        if points != right:
            pairs = [pair for pair in zip(points, right, strict=False) if pair[0] != pair[1]]
            wrong.append(f"after {counts[-1]} points: {pairs[:3]}")
        if keys != [f"k{at}" for at in range(len(keys))] or len(keys) < (len(points) - 1) // 1000:
            wrong.append(f"{len(points)} points and {keys}")
        if len(points) < counts[-1] or len(keys) < steps:
            wrong.append(f"{len(points)} points after {counts[-1]}, {len(keys)} keys after {steps}")
        counts.append(len(points))
        steps = len(keys)
    pipe.send((len({*counts}), counts[-1], wrong))


@pytest.mark.slow
def test_readers_beside_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reader sees a point torn, missing or twice, or ever fewer of them than before."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    readers = []
    for _ in range(READERS):
        here, there = processes.Pipe()
        reader = processes.Process(target=_read_on, args=(there, opened.path), daemon=True)
        reader.start()
        there.close()
        readers.append((reader, here))
    try:
        for _, here in readers:
            assert here.poll(60)
            assert "ready" == here.recv()
        for part in range(POINTS // 1000):
            with ctx.step(f"s{part}") as step:
                for at in range(part * 1000, part * 1000 + 1000):
                    step.record("loss", at, {"half": at / 2})
                    if at % 250 == 0:
                        opened.flush()
                step[f"k{part}"] = part
        opened.close()
        for _, here in readers:
            assert here.poll(60), "a reader hangs"
            seen, last, wrong = here.recv()
            assert ([], POINTS) == (wrong, last)
            assert seen > 2
    finally:
        for reader, here in readers:
            reader.kill()
            reader.join()
            here.close()
    assert () == verify_run(opened.path)


def test_resuming_hides_nothing_from_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader saw of a run that died it sees while that run is being resumed, and afterwards."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    monkeypatch.setattr(drainer, "DELAY", 1000)
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    for at in range(10):
        ctx.record("loss", at)
    die(opened)
    seen = [load_run(opened.path).metrics["loss"]]

    def look_meanwhile() -> Origin:
        seen.append(load_run(opened.path).metrics["loss"])
        return no_environment()

    monkeypatch.setattr(run_files, "current_environment", look_meanwhile)
    with Journal.resume(opened.path):
        seen.append(load_run(opened.path).metrics["loss"])
    seen.append(load_run(opened.path).metrics["loss"])
    assert [(*range(10),)] * 4 == seen


def dead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a run whose process died, with a point in its spool alone."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    monkeypatch.setattr(drainer, "DELAY", 1000)
    opened = Journal.start(folder, "run")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    opened.flush()
    ctx.record("loss", 0.5)
    path = copied(opened, folder / "copy")
    die(opened)
    return path


def test_a_run_without_its_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that died and has lost its spool is loaded and resumed without the facts in it, and a warning says so."""
    path = dead(tmp_path, monkeypatch)
    assert None is load_run(path).incomplete
    assert [] == caplog.records
    path.with_suffix(".spool").unlink()

    run = load_run(path)
    reason = "the run was not closed, and 'run-0001.spool', which may contain its last values and points, is missing"
    assert reason == run.incomplete
    assert (0.1, 0) == (run.values["lr"], len(run.metrics))
    assert (run.incomplete,) == verify_run(path)
    Journal.resume(path).close()
    advices = (
        "If you have that file, put it into the folder of the run, and load the run again",
        "The run is resumed without them",
    )
    texts = [("WARNING", f"{path}: {reason}. {advice}") for advice in advices]
    assert texts == [(record.levelname, record.getMessage()) for record in caplog.records]
    assert None is load_run(path).incomplete
    assert () == verify_run(path)


def test_a_run_without_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that died and has lost SQLite's log, so that facts are missing, is damage; the error names the log."""
    monkeypatch.setattr(frame_writer, "CAPACITY", SMALL)
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    for at in range(2 * SMALL // 60):
        # More than the spool takes, so that the first ones are in the log alone.
        ctx.record("loss", at)
    path = copied(opened, tmp_path / "copy")
    die(opened)
    path.with_name("run-0001.db-wal").unlink()
    advice = (
        "'run-0001.db-wal', which a run has until it ends, is missing; if you have that file, put it into the folder"
    )

    for act in (load_run, Journal.resume):
        with pytest.raises(DamagedRunError) as raised:
            act(path)
        assert advice in str(raised.value)
    assert advice in "\n".join(verify_run(path))


def test_a_name_from_a_file_prints_as_escapes(tmp_path: Path) -> None:
    """No error prints control characters of a path or of what is in a file."""
    with pytest.raises(RunNotFoundError) as raised:
        load_run(tmp_path / "\x1b[2Jrun-0001.db")

    assert str(raised.value).isprintable()
    assert "\\x1b[2Jrun-0001.db" in str(raised.value)


def _keep_reading(pipe: Connection, path: Path) -> None:
    wrong: list[str] = []
    seen = 0
    while not pipe.poll():
        with contextlib.suppress(KeyError):
            try:
                count = len(load_run(path).metrics.series("outside"))
            except BaseException as error:
                wrong.append(f"{type(error).__name__}: {error}")
                break
            if count < seen:
                wrong.append(f"{count} after {seen}")
            seen = count
    pipe.send(wrong)


@pytest.mark.slow
def test_a_reader_beside_writers_that_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader meets no error, whenever the writers of its run are killed and resume."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    opened = Journal.start(tmp_path, "run")
    opened.context(FrozenContext, {"seed": 1})
    die(opened)
    here, there = processes.Pipe()
    reader = processes.Process(target=_keep_reading, args=(there, opened.path), daemon=True)
    reader.start()
    there.close()
    try:
        for at in range(10):
            assert None is not killed(Plan(1, opened.path, SMALL, 50, 0.001), acknowledged=50 * at + 1).path
        here.send("stop")
        assert here.poll(60), "the reader hangs"
        assert [] == here.recv()
    finally:
        reader.kill()
        reader.join()
        here.close()
    assert () == verify_run(opened.path)
