"""Large artifacts of runs: files in `objects`, stored once, durable before they are named, checked, and lazily read."""

import os
import pickle
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from crystallize import (
    DamagedRunError,
    FrozenContext,
    Journal,
    JournalError,
    ObjectError,
    SinkError,
    fan_out,
    fork,
    load_run,
    merge,
)
from crystallize._base import file_system, folder_address, object_folder
from crystallize._base.file_content import LARGEST_IN_MEMORY, FileContent
from crystallize._base.object_folder import ObjectFolder, name_of
from crystallize._core import value_parts
from crystallize._journal import database, run_objects
from crystallize._journal.run_writer import RunWriter
from crystallize.runs import diff_runs, verify_run

from .journal_runs import die, older

LARGE = bytes(range(256)) * (LARGEST_IN_MEMORY // 256) + b"!"
OTHER = LARGE[:-1] + b"?"


pytestmark = pytest.mark.usefixtures("without_environment")


def objects_in(runs: Path) -> list[Path]:
    return sorted(path for path in (runs / "objects").rglob("*") if path.is_file())


def object_of(runs: Path, data: bytes) -> Path:
    return ObjectFolder(runs / "objects").path_of(name_of([data]).digest)


def made(runs: Path, data: bytes = LARGE) -> Path:
    """Return the file of a finished run with a small and a large artifact."""
    source = runs.parent / "source"
    source.write_bytes(data)
    with Journal.start(runs, "train") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        with ctx.step("fit") as step:
            step.artifacts.add("small", data[:10])
            step.artifacts.add_file(source, "model")
    source.unlink()
    return journal.path


def artifacts_that_differ(one: Path, other: Path) -> list[str]:
    return [found.name for found in diff_runs(load_run(one), load_run(other)) if found.what == "artifact"]


def test_limits_are_one() -> None:
    """What is kept in memory is kept in a row, of artifacts and of values."""
    assert LARGEST_IN_MEMORY == run_objects.LARGEST_ROW == value_parts.LARGE


def test_stored_once(runs: Path) -> None:
    """A checkpoint that several runs have takes its space once, and comes back from each of them."""
    paths = [made(runs), made(runs), made(runs, OTHER)]
    assert sorted([object_of(runs, LARGE), object_of(runs, OTHER)]) == objects_in(runs)
    for path, data in zip(paths, (LARGE, LARGE, OTHER), strict=True):
        run = load_run(path)
        assert ["small", "model"] == [artifact.name for artifact in run.artifacts]
        assert data == run.artifacts["model"].data
        assert object_of(runs, data) == run.artifacts["model"].path
        assert () == verify_run(path)
    assert [] == artifacts_that_differ(*paths[:2])
    assert ["model"] == artifacts_that_differ(*paths[1:])


@pytest.mark.parametrize("size", [LARGEST_IN_MEMORY, LARGEST_IN_MEMORY + 1])
def test_border(runs: Path, size: int) -> None:
    """An artifact of 1 MiB is a row; one of a byte more is an object, and leaves the memory."""
    with Journal.start(runs, "train") as journal:
        ctx = journal.context(FrozenContext)
        ctx.artifacts.add("model", bytes(size))
        assert (size > LARGEST_IN_MEMORY) == ctx.artifacts["model"].content.is_in(journal.object_folder)
    assert (size > LARGEST_IN_MEMORY) == bool(objects_in(runs) if (runs / "objects").exists() else [])
    assert bytes(size) == load_run(journal.path).artifacts["model"].data


def test_larger_than_a_row(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a row does not hold for artifacts."""
    monkeypatch.setattr(Journal, "largest", 1000)
    path = made(runs)
    assert LARGE == load_run(path).artifacts["model"].data


def test_object_comes_before_its_fact(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the object cannot be stored, the context has no artifact and the run no fact, and both go on."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Journal.start(runs, "train") as journal:
        ctx = journal.context(FrozenContext)
        with monkeypatch.context() as patch:
            patch.setattr("crystallize._base.object_folder.os.fsync", full)
            with pytest.raises(ObjectError, match=r"No space left on device.*make room"):
                ctx.artifacts.add("model", LARGE)
        assert [] == list(ctx.artifacts)
        assert [] == objects_in(runs)
        ctx.artifacts.add("model", LARGE)
    assert LARGE == load_run(journal.path).artifacts["model"].data


def test_resumed_lazily(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The context of a resumed run has the artifacts, and reads none of them before it is asked to."""
    opened = Journal.start(runs, "train")
    ctx = opened.context(FrozenContext)
    with ctx.step("fit") as step:
        step.artifacts.add("model", LARGE)
        step.artifacts.add("note", b"n")
    die(opened)
    file = object_of(runs, LARGE)
    with Journal.resume(opened.path) as journal:
        file.write_bytes(OTHER)
        again = journal.context(FrozenContext)
        assert again.provenance.finished("fit")
        assert ["model", "note"] == [artifact.name for artifact in again.artifacts]
        assert len(LARGE) == again.artifacts["model"].size
        with pytest.raises(ObjectError, match="the object was changed"):
            again.artifacts["model"].open()
        file.write_bytes(LARGE)
        assert LARGE == again.artifacts["model"].data
        again.artifacts.add("other", OTHER)
    assert [LARGE, b"n", OTHER] == [artifact.data for artifact in load_run(opened.path).artifacts]


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(Path.unlink, "the object is missing"), (lambda file: file.write_bytes(b"5"), "it has 1 bytes, not")],
)
@pytest.mark.parametrize("is_value", [False, True])
def test_a_finished_step_whose_object_is_lost(
    runs: Path, harm: Callable[[Path], object], reason: str, is_value: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A step whose artifact or value lost its object runs again, as a warning says, and so do the steps around it."""

    def work(ctx: FrozenContext[Any]) -> list[str]:
        done = []
        for name in ("load", "fit"):
            if ctx.provenance.finished(name):
                continue
            with ctx.step(name) as outer:
                done.append(name)
                if name == "fit":
                    with outer.step("epoch") as step:
                        if is_value:
                            step["model"] = LARGE
                        else:
                            step.artifacts.add("model", LARGE)
        return done

    opened = Journal.start(runs, "train")
    assert ["load", "fit"] == work(opened.context(FrozenContext))
    opened.close()
    (file,) = objects_in(runs)
    harm(file)
    with Journal.resume(opened.path) as journal:
        ctx = journal.context(FrozenContext)
        assert "model" not in ctx
        assert [] == list(ctx.artifacts)
        assert ["fit"] == work(ctx)
    what = "key 'model'" if is_value else "artifact 'model'"
    assert f"train-0001: step 'fit/epoch' finished, and runs again, as the file of {what} is lost: " in caplog.text
    assert reason in caplog.text
    caplog.clear()
    run = load_run(opened.path)
    assert LARGE == (run.values["model"] if is_value else run.artifacts["model"].data)
    assert () == verify_run(opened.path)
    with Journal.resume(opened.path) as journal:
        assert [] == work(journal.context(FrozenContext))
    assert "" == caplog.text


def test_an_artifact_of_no_step_whose_object_is_lost(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An artifact that was added outside any step stays in a resumed context. Reading it says that its file is lost."""
    with Journal.start(runs, "train") as opened:
        opened.context(FrozenContext).artifacts.add("model", LARGE)
    object_of(runs, LARGE).unlink()
    with Journal.resume(opened.path) as journal:
        ctx = journal.context(FrozenContext)
        with pytest.raises(ObjectError, match="the object is missing; put the file back"):
            ctx.artifacts["model"].open()
    assert "" == caplog.text


def add_or_return(ctx: Any, item: int) -> bytes:
    if item == 1:
        ctx.artifacts.add("model", LARGE)
    return OTHER if item == 2 else b""


def test_branches_whose_objects_are_lost(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A branch runs again if the object of an artifact that it added, or of its result, is lost."""
    opened = Journal.start(runs, "train")
    with ThreadPoolExecutor(1) as pool:
        assert [b"", b"", OTHER] == fan_out(opened.context(FrozenContext), add_or_return, range(3), executor=pool)
    opened.close()
    for file in objects_in(runs):
        file.unlink()
    with Journal.resume(opened.path) as journal:
        ctx = journal.context(FrozenContext)
        assert [] == list(ctx.artifacts)
        with ThreadPoolExecutor(1) as pool:
            assert [b"", b"", OTHER] == fan_out(ctx, add_or_return, range(3), executor=pool)
        assert LARGE == ctx.artifacts["model"].data
    assert "step 'add_or_return-1' finished, and runs again, as the file of artifact 'model' is lost" in caplog.text
    assert "as the file of what branch 'add_or_return-2' returned is lost" in caplog.text
    assert "add_or_return-0" not in caplog.text
    assert () == verify_run(opened.path)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (Path.unlink, "the object is missing"),
        (lambda path: os.truncate(path, 5), "it has 5 bytes, not 1,048,577"),
        (lambda path: path.write_bytes(OTHER), "its content has another digest"),
    ],
    ids=["missing", "truncated", "changed"],
)
def test_verify_names_a_damaged_object(runs: Path, harm: Callable[[Path], object], problem: str) -> None:
    """`verify` names the artifact, the file and what is wrong; everything else of the run can still be read."""
    path = made(runs)
    object_of(runs, LARGE).chmod(0o644)
    harm(object_of(runs, LARGE))
    (found,) = verify_run(path)
    assert f"artifact 'model': {object_of(runs, LARGE)}: " in found
    assert problem in found
    assert LARGE[:10] == load_run(path).artifacts["small"].data
    with pytest.raises(ObjectError, match=problem):
        _ = load_run(path).artifacts["model"].data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "../../../etc/passwd"}, "is not the digest of an object"),
        ({"digest": "A" * 64}, "is not the digest of an object"),
        ({"size": -1}, "is not the size of an object"),
        ({"name": "../model"}, "an artifact is called"),
    ],
)
def test_forged_row(runs: Path, change: dict[str, Any], message: str) -> None:
    """A file of somebody else leads to no path outside of `objects`."""
    path = made(runs)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        database.update(connection, "files", "name = 'model'", **change)
    with pytest.raises(DamagedRunError, match=message):
        load_run(path).artifacts
    assert any(message in problem for problem in verify_run(path))


def test_a_file_of_the_second_version(runs: Path) -> None:
    """A run that was written before there were objects has its large artifacts in rows; it loads and is resumed."""
    path = made(runs)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (row,) = connection.execute("SELECT sequence, session, step, name FROM files").fetchall()
        database.insert(connection, "contents", "x", LARGE)
        database.insert(connection, "artifacts", *row, "x")
        connection.executescript(older(2))
    object_of(runs, LARGE).unlink()
    assert [LARGE[:10], LARGE] == [artifact.data for artifact in load_run(path).artifacts]
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        assert LARGE == ctx.artifacts["model"].data
        ctx.artifacts.add("other", OTHER)
    assert OTHER == load_run(path).artifacts["other"].data


def add_model(ctx: Any, item: int) -> int:
    ctx.artifacts.add("small", b"s") if item == 0 else None
    ctx.artifacts.add(f"model-{item}", LARGE + bytes([item]))
    return item


def executors() -> dict[str, Callable[[], Executor]]:
    return {
        "threads": lambda: ThreadPoolExecutor(2),
        "forked": lambda: ProcessPoolExecutor(2, mp_context=get_context("fork")),
        "spawned": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*executors()])
@pytest.mark.parametrize("has_journal", [True, False])
def test_branches(runs: Path, kind: str, has_journal: bool) -> None:
    """An artifact that a worker made reaches the parent, and the objects of its run."""
    with executors()[kind]() as pool, Journal.start(runs, "train") as journal:
        ctx: FrozenContext[Any] = journal.context(FrozenContext) if has_journal else FrozenContext()
        assert [0, 1, 2] == [*fan_out(ctx, add_model, [0, 1, 2], executor=pool)]
        for item in range(3):
            assert LARGE + bytes([item]) == ctx.artifacts[f"model-{item}"].data
            assert has_journal == ctx.artifacts[f"model-{item}"].content.is_in(journal.object_folder)
    if has_journal:
        found = {artifact.name: artifact.data for artifact in load_run(journal.path).artifacts}
        assert {"small": b"s"} | {f"model-{item}": LARGE + bytes([item]) for item in range(3)} == found
        assert () == verify_run(journal.path)


@pytest.mark.parametrize("reaches", [True, False])
def test_branch_in_another_process(runs: Path, monkeypatch: pytest.MonkeyPatch, reaches: bool) -> None:
    """A worker that reaches the folder of the run sends the name of an object; any other sends its content."""
    with Journal.start(runs, "train") as journal:
        ctx = journal.context(FrozenContext)
        packed = pickle.dumps(fork(ctx, "fold-1"))
        if not reaches:
            monkeypatch.setattr(folder_address, "UNFINISHED", ".other")
            for mark in (runs / "objects").glob("*.new"):
                mark.unlink()
        child = pickle.loads(packed).open()
        child.artifacts.add("model", LARGE)
        assert reaches == child.artifacts["model"].content.is_in(journal.object_folder)
        sent = pickle.dumps(child.delta())
        assert reaches == (len(sent) < 10_000)
        merge(ctx, pickle.loads(sent))
        assert ctx.artifacts["model"].content.is_in(journal.object_folder)
    assert LARGE == load_run(journal.path).artifacts["model"].data


def test_branch_whose_object_is_gone(runs: Path) -> None:
    """If the object that a branch names is gone, nothing of the branch is merged."""
    with Journal.start(runs, "train") as journal:
        ctx = journal.context(FrozenContext)
        child = pickle.loads(pickle.dumps(fork(ctx, "fold-1"))).open()
        child["score"] = 1
        child.artifacts.add("model", LARGE)
        delta = pickle.loads(pickle.dumps(child.delta()))
        object_of(runs, LARGE).unlink()
        with pytest.raises(ObjectError, match="the object is missing"):
            merge(ctx, delta)
        assert ([], []) == (list(ctx), list(ctx.artifacts))
    assert [] == list(load_run(journal.path).artifacts)


def test_same_work_has_the_same_digest(runs: Path) -> None:
    """Two attempts at a branch have the same digest, wherever the content of their artifacts is."""
    with Journal.start(runs, "train") as journal:
        ctx = journal.context(FrozenContext)
        branch = fork(ctx, "fold-1")
        first, second, other = branch.open(), branch.open(), branch.open()
        first.artifacts.add("model", LARGE)
        second._state.artifact_store.objects = None
        second.artifacts.add("model", LARGE)
        other.artifacts.add("model", OTHER)
        assert first.delta().digest == second.delta().digest != other.delta().digest


def test_folder_that_cannot_be_marked(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no file can be made in the folder, its address is not sent, and workers send their contents."""

    def refused(path: Path, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    assert folder_address.address_of(ObjectFolder(runs / "objects")) is None


def test_mark_goes_with_its_process(runs: Path) -> None:
    """The mark of a folder is removed by the process that made it, with the folder if that is empty."""
    folder = ObjectFolder(runs / "objects")
    address = folder_address.address_of(folder)
    assert address is not None
    assert address == folder_address.address_of(folder)
    reached = address.folder()
    assert reached is not None
    assert folder.path == reached.path
    folder_address._remove(folder.path, address.mark, os.getpid() + 1)
    assert folder.path.exists()
    folder_address._remove(folder.path, address.mark, os.getpid())
    assert not folder.path.exists()
    assert address.folder() is None
    folder_address._remove(folder.path, address.mark, os.getpid())
    folder_address._marked.discard(folder.path)


def test_journal_given_as_a_sink(runs: Path) -> None:
    """A journal stores a content itself that comes to it in memory."""
    with Journal.start(runs, "train") as journal:
        ctx: FrozenContext[Any] = FrozenContext(sinks=[journal])
        ctx._state.artifact_store.objects = None
        ctx.artifacts.add("model", LARGE)
        assert not ctx.artifacts["model"].content.is_in(journal.object_folder)
    assert LARGE == load_run(journal.path).artifacts["model"].data
    assert FileContent(LARGE) == load_run(journal.path).artifacts["model"].content


def test_missing_object_in_a_batch_leaves_the_run_whole(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the journal cannot store a content, the event is refused, and the run has no hole."""

    def refused(*of: object) -> None:
        raise ObjectError("objects", "the disk is full", "make room")

    journal = Journal.start(runs, "train")
    ctx: FrozenContext[Any] = FrozenContext({"lr": 0.1}, sinks=[journal])
    ctx._state.artifact_store.objects = None
    with monkeypatch.context() as patch:
        patch.setattr(ObjectFolder, "put", refused)
        with pytest.raises(SinkError, match="the disk is full"):
            ctx.artifacts.add("model", LARGE)
    with pytest.raises(JournalError, match="takes nothing more: the disk is full; make room"):
        journal.close()
    assert () == verify_run(journal.path)
    assert {"lr": 0.1} == load_run(journal.path).values


def test_object_is_durable_before_its_fact(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object, its name and the names of its folders are on the disk before the run names it."""
    calls: list[str] = []
    sync, append = file_system.sync_folder, RunWriter.append

    def note_sync(folder: Path) -> None:
        sync(folder)
        calls.append(f"folder {os.path.relpath(folder, runs)}")

    def note_append(writer: RunWriter, fact: bytes) -> None:
        calls.append("fact")
        append(writer, fact)

    with Journal.start(runs, "train") as journal:
        ctx = journal.context(FrozenContext)
        monkeypatch.setattr(object_folder, "sync_folder", note_sync)
        monkeypatch.setattr(RunWriter, "append", note_append)
        ctx.artifacts.add("model", LARGE)
        near = os.path.relpath(object_of(runs, LARGE).parent, runs)
        assert ["folder .", "folder objects", f"folder {near}", "fact"] == calls
