"""Artifacts that are files: streamed, kept apart from their source, and given back in parts."""

import copy
import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from crystallize import (
    Artifact,
    ArtifactAdded,
    ContextMutationError,
    FrozenContext,
    InvalidArtifactError,
    ObjectError,
    StepClosedError,
)
from crystallize._base import scratch_folder
from crystallize._base.file_content import LARGEST_IN_MEMORY, FileContent
from crystallize._base.object_folder import ObjectFolder, name_of
from crystallize._core import source_file
from crystallize.sinks.memory import MemorySink
from tests.permissions import modes_hold

LARGE = bytes(range(256)) * (LARGEST_IN_MEMORY // 256) + b"!"


@pytest.fixture(params=[b"", b"small", LARGE[:-1], LARGE], ids=["empty", "small", "1 MiB", "larger"])
def content(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_file_comes_back(tmp_path: Path, content: bytes) -> None:
    """A file of any size comes back as bytes, as a stream and as a file; the source may be changed or deleted."""
    ctx: FrozenContext[Any] = FrozenContext()
    source = written(tmp_path / "model.bin", content)
    with ctx.step("fit") as step:
        step.artifacts.add_file(source)
        step.artifacts.add_file(str(source), name="copy.bin")
    source.write_bytes(b"other")
    source.unlink()
    found = ctx.artifacts["model.bin"]
    assert ("model.bin", "fit", len(content)) == (found.name, found.step, found.size)
    assert content == found.data == found.path.read_bytes()
    with found.open() as file:
        assert content[:3] == file.read(3)
        assert content[3:] == file.read()
    assert name_of([content]).digest == found.digest == ctx.artifacts["copy.bin"].digest
    assert found.path == ctx.artifacts["copy.bin"].path


def test_bytes_and_files_are_the_same(tmp_path: Path, content: bytes) -> None:
    """An artifact from bytes equals one from a file with these bytes."""
    one: FrozenContext[Any] = FrozenContext()
    other: FrozenContext[Any] = FrozenContext()
    one.artifacts.add("a", content)
    other.artifacts.add_file(written(tmp_path / "a", content))
    assert one.artifacts["a"] == other.artifacts["a"] == Artifact("a", content, None)
    assert hash(one.artifacts["a"]) == hash(other.artifacts["a"])
    assert one.artifacts["a"] != Artifact("a", content + b"!", None)
    assert one.artifacts["a"].content != content


def test_event(tmp_path: Path, content: bytes) -> None:
    """A sink gets the content as bytes, as a stream, or by the path of a file."""
    sink = MemorySink()
    ctx: FrozenContext[Any] = FrozenContext(sinks=[sink])
    ctx.artifacts.add_file(written(tmp_path / "a", content))
    (event,) = sink.events
    assert isinstance(event, ArtifactAdded)
    assert ArtifactAdded("a", content, None) == event
    assert (content, len(content), name_of([content]).digest) == (event.data, event.size, event.digest)
    assert content == event.path.read_bytes()
    with event.open() as file:
        assert content == file.read()


def copied_by_pickle(ctx: Any) -> Any:
    return pickle.loads(pickle.dumps(ctx))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, copied_by_pickle])
def test_copies(tmp_path: Path, content: bytes, way: Callable[[Any], Any]) -> None:
    """A copy of a context, or of its artifacts, has them, too."""
    ctx: FrozenContext[Any] = FrozenContext()
    ctx.artifacts.add_file(written(tmp_path / "a", content))
    assert content == way(ctx).artifacts["a"].data
    assert content == way(ctx.artifacts)["a"].data
    assert ctx.artifacts["a"] == way(ctx.artifacts["a"])


def fill(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "'model': its file cannot be read .*No such file"),
        (Path.mkdir, "'.*model' is a folder; add its files one by one, or one archive of them"),
        (os.mkfifo, "'.*model' is not a regular file"),
        (lambda path: path.symlink_to(path), "its file cannot be read"),
    ],
    ids=["missing", "folder", "pipe", "link to itself"],
)
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], object], problem: str) -> None:
    """What is no file is an error that names the path and the reason, and adds nothing."""
    make(tmp_path / "model")
    ctx: FrozenContext[Any] = FrozenContext()
    with pytest.raises(InvalidArtifactError, match=f"cannot add artifact .*{problem}"):
        ctx.artifacts.add_file(tmp_path / "model")
    assert [] == list(ctx.artifacts)


def test_file_without_permission(tmp_path: Path) -> None:
    """A file that must not be read is an error of ours."""
    path = written(tmp_path / "model", b"1")
    path.chmod(0)
    with modes_hold(), pytest.raises(InvalidArtifactError, match=r"cannot be read .*Permission denied"):
        FrozenContext().artifacts.add_file(path)


def test_path_that_is_none() -> None:
    """Anything but a path is an error that says what to do; so is a path that no file can have."""
    artifacts: Any = FrozenContext().artifacts
    with pytest.raises(InvalidArtifactError, match=r"path should be a str or a path, got .*bytes.*; add takes bytes"):
        artifacts.add_file(b"model")
    with pytest.raises(InvalidArtifactError, match="artifact 'm': its path should be a str or a path, got 5"):
        artifacts.add_file(5, "m")
    with pytest.raises(InvalidArtifactError, match="its file cannot be read"):
        artifacts.add_file("a\0b", "m")
    for path in ("/", "."):
        with pytest.raises(InvalidArtifactError, match=f"its path '{path}' is a folder, not a file; give"):
            artifacts.add_file(path)
    for name in (None, "m"):
        with pytest.raises(InvalidArtifactError, match="its path is empty; give the path of a file"):
            artifacts.add_file("", name)


@pytest.mark.parametrize("size", [10, len(LARGE)])
@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_file_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: str) -> None:
    """A file that is changed while it is read is refused, and nothing is added."""
    path = written(tmp_path / "model", LARGE[:size])

    def changing(file: Any) -> Iterator[bytes]:
        yield file.read(5)
        if change == "touch":
            os.utime(path, ns=(1, 1))
        else:
            os.truncate(path, size + 5 if change == "grow" else size - 5)
        while block := file.read(1 << 20):
            yield block

    monkeypatch.setattr(source_file, "blocks_of", changing)
    ctx: FrozenContext[Any] = FrozenContext()
    with pytest.raises(InvalidArtifactError, match="changed while it was read; add it when nothing writes to it"):
        ctx.artifacts.add_file(path)
    assert [] == list(ctx.artifacts)


def test_disk_of_the_source_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk that is read from is told from one of the disk that is written to."""
    path = written(tmp_path / "model", LARGE)

    def failing(file: Any) -> Iterator[bytes]:
        yield file.read(5)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(source_file, "blocks_of", failing)
    with pytest.raises(InvalidArtifactError, match=r"'model': its file cannot be read .*Input/output error"):
        FrozenContext().artifacts.add_file(path)


def test_file_that_goes_as_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is deleted between two looks at it is an error of ours, too."""
    monkeypatch.setattr(source_file, "size_of_file", lambda name, path: 5)
    with pytest.raises(InvalidArtifactError, match="No such file"), source_file.opened_file("m", tmp_path / "m"):
        raise AssertionError


def test_taken_name_is_refused_before_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the name is taken, a file of gigabytes is not copied first."""
    ctx: FrozenContext[Any] = FrozenContext()
    ctx.artifacts.add("model", b"1")
    monkeypatch.setattr(source_file, "blocks_of", lambda file: pytest.fail("it was read"))
    with pytest.raises(ContextMutationError, match="'model' was added"):
        ctx.artifacts.add_file(written(tmp_path / "model", LARGE))


def test_closed_step(tmp_path: Path) -> None:
    """A step that has ended adds no file, and reads no artifact."""
    ctx: FrozenContext[Any] = FrozenContext()
    with ctx.step("fit") as step:
        step.artifacts.add("a", b"1")
    for use in (lambda: step.artifacts["a"], lambda: list(step.artifacts), lambda: "a" in step.artifacts):
        with pytest.raises(StepClosedError):
            use()
    with pytest.raises(StepClosedError):
        step.artifacts.add_file(written(tmp_path / "model", b"1"))


def test_missing_temporary_file(tmp_path: Path) -> None:
    """If somebody deletes the private copy, the error says so; and a new file gets a new folder."""
    ctx: FrozenContext[Any] = FrozenContext()
    ctx.artifacts.add_file(written(tmp_path / "a", LARGE))
    path = ctx.artifacts["a"].path
    path.unlink()
    uses: tuple[Callable[[Artifact], object], ...] = (lambda a: a.data, lambda a: a.path, lambda a: a.open())
    for use in uses:
        with pytest.raises(ObjectError, match="the object is missing"):
            use(ctx.artifacts["a"])
    rmtree(path.parent.parent)
    ctx.artifacts.add_file(tmp_path / "a", "b")
    assert LARGE == ctx.artifacts["b"].data


def test_content_in_its_folder(tmp_path: Path) -> None:
    """A content is moved to a folder once, and pickled by its name if other processes reach the folder."""
    folder = ObjectFolder(tmp_path / "objects")
    content = FileContent(LARGE).moved_to(folder)
    assert content.is_in(folder)
    before = content.path().stat()
    assert content == content.moved_to(ObjectFolder(folder.path))
    assert before.st_mtime_ns == content.path().stat().st_mtime_ns
    assert 1000 > len(pickle.dumps(content))
    assert LARGE == pickle.loads(pickle.dumps(content)).read()
    assert "<1048577 bytes>" == repr(content).replace(",", "")
    content.path().unlink()
    with pytest.raises(ObjectError, match="missing"):
        content.moved_to(folder)


PROGRAM = """
import os
import sys
from crystallize import FrozenContext

ctx = FrozenContext()
ctx.artifacts.add_file(sys.argv[1], "a")
print(ctx.artifacts["a"].path, flush=True)
if (child := os.fork()) == 0:
    ctx.artifacts.add_file(sys.argv[1], "b")
    print(ctx.artifacts["b"].path, ctx.artifacts["a"].size, flush=True)
    sys.exit()
os.waitpid(child, 0)
print(ctx.artifacts["a"].path.stat().st_size)
"""


@pytest.mark.slow
def test_private_copies_go_with_their_process(tmp_path: Path) -> None:
    """The temporary files of a process are removed at its end, and not by a process that was forked from it."""
    source = written(tmp_path / "model", LARGE)
    run = [sys.executable, "-c", PROGRAM, str(source)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    own, (of_child, size), left = (line.split() for line in done.stdout.splitlines())
    assert [str(len(LARGE))] == left == [size]
    assert own[0] != of_child
    assert not any(Path(path).exists() for path in (own[0], of_child))
    assert ["model"] == os.listdir(tmp_path)


def test_forked_process_has_a_folder_of_its_own() -> None:
    """A process that is forked leaves the temporary folder of its parent alone."""
    own = scratch_folder.scratch_folder()
    scratch_folder._leave()
    scratch_folder._remove(own.path, os.getpid() + 1)
    assert own.path.exists()
    assert own.path != scratch_folder.scratch_folder().path
    scratch_folder._remove(own.path, os.getpid())
    assert not own.path.exists()


@pytest.mark.slow
def test_memory_of_a_large_file(tmp_path: Path) -> None:
    """A file of 300 MB is added and read in parts; the process never has a third of it in memory."""
    source = tmp_path / "model"
    with source.open("wb") as file:
        for at in range(300):
            file.write(bytes([at % 256]) * 1_000_000)
    program = f"""
import resource
from crystallize import FrozenContext, Journal
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Journal.start({str(tmp_path / "runs")!r}, "big") as journal:
    ctx = journal.context(FrozenContext)
    ctx.artifacts.add_file({str(source)!r})
with ctx.artifacts["model"].open() as file:
    while file.read(1 << 20):
        pass
FrozenContext().artifacts.add_file({str(source)!r})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 100 > int(done.stdout)


def test_artifact_whose_file_was_changed() -> None:
    """No way to the content gives the bytes of a changed file of the same size."""
    ctx: FrozenContext[Any] = FrozenContext()
    ctx.artifacts.add("model.bin", b"!" + LARGE)
    found = ctx.artifacts["model.bin"].content.moved_to(scratch_folder.scratch_folder())
    artifact, event = Artifact("model.bin", found, None), ArtifactAdded("model.bin", found, None)
    path = artifact.path
    path.chmod(0o644)
    path.write_bytes(b"?" + LARGE)
    os.utime(path, (5, 5))  # some systems count the time in steps of some milliseconds
    try:
        for way in (
            lambda: artifact.data,
            lambda: artifact.path,
            artifact.open,
            lambda: event.path,
            event.open,
            lambda: pickle.dumps(artifact),
        ):
            with pytest.raises(ObjectError, match="the object was changed: its content has another digest"):
                way()
    finally:
        path.unlink()
