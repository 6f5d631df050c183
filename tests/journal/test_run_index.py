"""The index of a folder of runs, which is never needed."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from crystallize import FrozenContext, Journal
from crystallize._journal import ended_run, run_index, run_summary
from crystallize._journal.ended_run import summary_of_ended
from crystallize._journal.run_index import INDEX, summaries_of
from crystallize._journal.run_summary import summary_of
from crystallize._journal.summary_row import RunSummary


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are read."""
    names: list[str] = []

    def read(path: Path) -> RunSummary:
        names.append(path.stem)
        return summary_of(path)

    monkeypatch.setattr(run_summary, "summary_of", read)
    monkeypatch.setattr(ended_run, "summary_of_ended", lambda path: None)
    monkeypatch.setattr(run_index, "_UNSETTLED", -1)
    return names


def made(folder: Path, lr: float, **values: float) -> Path:
    with Journal.start(folder, "grid") as journal:
        ctx = journal.context(FrozenContext, {"lr": lr})
        for key, value in values.items():
            ctx[key] = value
    return journal.path


def test_only_changed_runs_are_read(tmp_path: Path, reads: list[str]) -> None:
    """A run is read once, and again when it has changed; runs may come and go."""
    for lr in (0.1, 0.2, 0.3):
        made(tmp_path, lr)
    first = summaries_of(tmp_path)
    assert ["grid-0001", "grid-0002", "grid-0003"] == reads
    assert first == summaries_of(tmp_path)
    assert 3 == len(reads)

    reads.clear()
    with Journal.resume(tmp_path / "grid-0002.db") as journal:
        journal.context(FrozenContext)["accuracy"] = 0.9
    (tmp_path / "grid-0003.db").unlink()
    made(tmp_path, 0.4)
    found = summaries_of(tmp_path)
    assert ["grid-0002", "grid-0003"] == reads
    assert [{"inputs.lr": 0.1}, {"inputs.lr": 0.2, "values.accuracy": 0.9}, {"inputs.lr": 0.4}] == [
        run.scalars for run in found
    ]

    reads.clear()
    (tmp_path / "grid-0003.db").unlink()
    assert 2 == len(summaries_of(tmp_path))
    assert [] == reads
    assert b"grid-0003" not in (tmp_path / INDEX).read_bytes()


def test_exchanged_file(tmp_path: Path, reads: list[str]) -> None:
    """Another file of the same size and time in the place of a run is read."""
    first, second = made(tmp_path, 0.1), made(tmp_path, 0.2)
    summaries_of(tmp_path)
    status = first.stat()
    shutil.copyfile(second, copy := tmp_path / "copy")
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(first)

    assert [0.2, 0.2] == [run.scalars["inputs.lr"] for run in summaries_of(tmp_path)]


def test_running_runs_are_read_each_time(tmp_path: Path, reads: list[str]) -> None:
    """A run that is being written is never in the index, as its file may not show its changes."""
    with Journal.start(tmp_path, "grid") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        for accuracy in (0.8, 0.9):
            ctx[f"accuracy-{accuracy}"] = accuracy
            journal.flush()
            assert accuracy in summaries_of(tmp_path)[0].scalars.values()
    assert ["grid-0001"] * 2 == reads


def test_new_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has just changed may change again within the resolution of its time, and is not in the index."""
    made(tmp_path, 0.1)
    summaries_of(tmp_path)
    assert not (tmp_path / INDEX).exists() or b"grid" not in (tmp_path / INDEX).read_bytes()
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    summaries_of(tmp_path)
    assert b"grid-0001" in (tmp_path / INDEX).read_bytes()


def emptied(index: Path) -> None:
    index.write_bytes(b"")


def cut(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:-9])


def flipped(index: Path) -> None:
    content = bytearray(index.read_bytes())
    content[-20] ^= 1
    index.write_bytes(content)


def without_number(index: Path) -> None:
    index.write_bytes(b"crystallize index 1\nx\n{}")


def of_other_version(index: Path) -> None:
    index.write_bytes(index.read_bytes().replace(b"index 1", b"index 0", 1))


def of_other_shape(index: Path) -> None:
    content = b'{"grid-0001":[[null],["x"]]}'
    index.write_bytes(b"crystallize index 1\n%d\n%s" % (crc32(content), content))


def a_folder(index: Path) -> None:
    index.unlink()
    index.mkdir()


def a_link(index: Path) -> None:
    index.unlink()
    index.symlink_to("/dev/zero")


DAMAGES = [emptied, cut, flipped, without_number, of_other_version, of_other_shape, a_folder, a_link]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_index(tmp_path: Path, reads: list[str], damage: Callable[[Path], None]) -> None:
    """A damaged index is like none: the runs are read, and the index is written again if that is possible."""
    made(tmp_path, 0.1)
    found = summaries_of(tmp_path)
    damage(tmp_path / INDEX)
    reads.clear()

    assert found == summaries_of(tmp_path)
    assert ["grid-0001"] == reads
    assert found == summaries_of(tmp_path)
    assert (2 if damage is a_folder else 1) == len(reads)
    assert {".crystallize-index", "grid-0001.db"} == set(os.listdir(tmp_path))


def test_folder_that_cannot_be_written(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that cannot be written, the runs are read each time."""

    def refuse(path: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    made(tmp_path, 0.1)
    monkeypatch.setattr(Path, "write_bytes", refuse)

    assert summaries_of(tmp_path) == summaries_of(tmp_path)
    assert 2 == len(reads)
    assert ["grid-0001.db"] == os.listdir(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    """A folder that does not exist has no runs."""
    assert [] == summaries_of(tmp_path / "absent")


def test_run_that_vanishes(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is moved away while the folder is read is listed as unreadable, and is not in the index."""
    monkeypatch.setattr(run_index, "run_names", lambda folder: ["grid-0001"])

    assert ["unreadable"] == [run.status for run in summaries_of(tmp_path)]
    assert b"grid" not in (tmp_path / INDEX).read_bytes()


LISTS = """
import sys
from pathlib import Path
from crystallize._journal import run_index
from crystallize._journal.ended_run import summary_of_ended
run_index._UNSETTLED = -1
for _ in range(20):
    (Path(sys.argv[1]) / run_index.INDEX).unlink(missing_ok=True)
    assert 5 == sum(run.scalars["inputs.lr"] == 0.5 for run in run_index.summaries_of(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_concurrent_commands(tmp_path: Path) -> None:
    """Several processes that read and write the same index do not disturb each other."""
    for _ in range(5):
        made(tmp_path, 0.5)
    running = [subprocess.Popen([sys.executable, "-c", LISTS, str(tmp_path)]) for _ in range(3)]

    assert [0, 0, 0] == [process.wait() for process in running]
    assert 6 == len(os.listdir(tmp_path))


@pytest.mark.slow
def test_dead_run(tmp_path: Path, reads: list[str]) -> None:
    """A run whose process died is read once, with the facts of its spool."""
    program = """
import os, sys
from crystallize import FrozenContext, Journal
ctx = Journal.start(sys.argv[1], "died").context(FrozenContext, {"lr": 0.1})
ctx["accuracy"] = 0.9
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    first, second = summaries_of(tmp_path), summaries_of(tmp_path)

    assert first == second
    assert [("died", {"inputs.lr": 0.1, "values.accuracy": 0.9}, None)] == [
        (run.status, run.scalars, run.took) for run in first
    ]
    assert ["died-0001"] == reads


def test_run_that_begins_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that changes while it is read fast is read again by SQLite."""
    path = made(tmp_path, 0.1)
    fast = summary_of_ended

    def read(path: Path) -> RunSummary | None:
        found = fast(path)
        with Journal.resume(path) as journal:
            journal.context(FrozenContext)["accuracy"] = 0.9
        return found

    monkeypatch.setattr(ended_run, "summary_of_ended", read)

    assert [{"inputs.lr": 0.1, "values.accuracy": 0.9}] == [run.scalars for run in summaries_of(path.parent)]
