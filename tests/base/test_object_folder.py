"""A folder of objects: equal content once, whole or not at all, durable before it is named, and found damaged."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import ObjectError
from crystallize._base import file_system, object_folder
from crystallize._base.file_calls import POSIX
from crystallize._base.object_folder import (
    BLOCK,
    LEFT_AFTER,
    ObjectFolder,
    ObjectName,
    blocks_of,
    checked_name,
    name_of,
)
from tests.interruption import Stopped, count_bytecodes, interrupted
from tests.permissions import modes_hold

LARGE = bytes(range(256)) * (BLOCK // 64)
"""Four blocks."""


@pytest.fixture
def folder(tmp_path: Path) -> ObjectFolder:
    return ObjectFolder(tmp_path / "objects")


def files_in(folder: ObjectFolder) -> list[Path]:
    return sorted(path for path in folder.path.rglob("*") if path.is_file()) if folder.path.exists() else []


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_name_does_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    """The name is the digest and size of the content, however it is cut into chunks."""
    whole = b"".join(chunks)
    expected = ObjectName(sha256(whole).hexdigest(), len(whole))
    assert expected == name_of(chunks)
    assert expected == name_of([memoryview(whole)])


@pytest.mark.parametrize(
    "chunks",
    [[], [b"small"], [LARGE], [LARGE[: BLOCK + 1], b"", bytearray(LARGE)], [memoryview(LARGE).cast("I"), b"rest"]],
    ids=["nothing", "small", "large", "mixed", "array"],
)
def test_content_comes_back(folder: ObjectFolder, chunks: list[bytes]) -> None:
    """Content of any size, in chunks of any kind, comes back, in memory or as a stream."""
    whole = b"".join(map(bytes, chunks))
    name = folder.put(chunks)
    assert name_of([whole]) == name
    assert whole == folder.read(name)
    with folder.open(name) as file:
        assert whole == b"".join(blocks_of(file))
    assert folder.problem_of(name) is None
    folder.check(name, whole=False)
    assert [folder.path_of(name.digest)] == files_in(folder)


def test_equal_content_is_one_file(folder: ObjectFolder) -> None:
    """Equal content takes its space once, and storing it again mends a damaged file."""
    name = folder.put([LARGE])
    path = folder.path_of(name.digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert name == folder.put([LARGE])
    assert LARGE == folder.read(name)
    assert [path] == files_in(folder)


needs_posix = pytest.mark.skipif(not POSIX, reason="Windows has neither modes of files nor O_NOFOLLOW")


@needs_posix
def test_mode(folder: ObjectFolder) -> None:
    """Nobody may write to an object, and those whom the umask excludes may not read it."""
    before = os.umask(0o077)
    try:
        name = folder.put([b"private"])
    finally:
        os.umask(before)
    assert 0o400 == stat.S_IMODE(folder.path_of(name.digest).stat().st_mode)


def test_order_of_durability(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is durable before it has its name, and the name and those of all folders before `put` returns."""
    calls: list[str] = []
    fsync, replace, sync = os.fsync, os.replace, file_system.sync_folder

    def note_sync(descriptor: int) -> None:
        fsync(descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            calls.append("content")

    def note_name(*paths: Path) -> None:
        replace(*paths)
        calls.append("name")

    def note_folder(path: Path) -> None:
        sync(path)
        calls.append(f"folder {os.path.relpath(path, folder.path.parent)}")

    monkeypatch.setattr(object_folder, "sync_folder", note_folder)
    monkeypatch.setattr(os, "replace", note_name)
    monkeypatch.setattr(os, "fsync", note_sync)
    name = folder.put([b"content"])
    expected = ["folder .", "content", "folder objects", "name", f"folder objects/{name.digest[:2]}"]
    assert expected == calls
    calls.clear()
    # Another process may have made the folders a moment ago, and not have synced them yet.
    ObjectFolder(folder.path).put([b"content"])
    assert expected == calls


def test_content_is_synced_before_it_is_named(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk does not take the content, no object has its name."""

    def failing(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(ObjectError, match=r"objects: the object cannot be stored .*Input/output error.*; make room"):
        folder.put([b"content"])
    assert [] == files_in(folder)


def test_full_disk(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills in the middle is an error of ours, and leaves no file."""
    write, left = os.write, [BLOCK + 10]

    def filling(descriptor: int, block: memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, block[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", filling)
    with pytest.raises(ObjectError, match="No space left on device"):
        folder.put([LARGE])
    assert [] == files_in(folder)


def test_folder_that_cannot_be_written(folder: ObjectFolder) -> None:
    """A folder without permission is an error of ours."""
    folder.path.mkdir(mode=0o555)
    with modes_hold(), pytest.raises(ObjectError, match="Permission denied"):
        folder.put([b"content"])


@pytest.mark.parametrize("within", ["", name_of([b"content"]).digest[:2]], ids=["folder", "folder in it"])
def test_file_in_place_of_the_folder(folder: ObjectFolder, within: str) -> None:
    """A file that has the name of a folder of objects is named, since more room would not help."""
    path = folder.path / within
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(ObjectError, match=f"move '.*{path.name}' away, which is no folder; nothing was added"):
        folder.put([b"content"])
    assert [path] == [path for path in folder.path.parent.rglob("*") if path.is_file()]


@pytest.mark.parametrize("error", [ValueError("broken"), OSError(errno.ENOENT, "gone"), KeyboardInterrupt()])
def test_error_of_the_source(folder: ObjectFolder, error: BaseException) -> None:
    """An error of the chunks comes out as it is, even if it is one of a disk, and leaves no file."""

    def chunks() -> Iterator[bytes]:
        yield LARGE
        raise error

    with pytest.raises(type(error)) as raised:
        folder.put(chunks())
    assert error is raised.value
    assert [] == files_in(folder)


def test_interrupted_anywhere(tmp_path: Path) -> None:
    """Ctrl-C between any two bytecodes leaves the whole object, or none; and no thread waits for ever."""
    number = count()
    bytecodes = count_bytecodes(lambda: ObjectFolder(tmp_path / f"whole{next(number)}").put([b"content"]))
    named = 0
    for at in range(1, bytecodes + 1, 3):
        folder = ObjectFolder(tmp_path / str(at))
        with interrupted(at, Stopped()), suppress(Stopped):
            folder.put([b"content"])
        objects = [path for path in files_in(folder) if path.suffix != ".new"]
        named += len(objects)
        assert all(path.read_bytes() == b"content" for path in objects)
    assert 0 < named < bytecodes


def test_unfinished_files_of_the_dead(folder: ObjectFolder) -> None:
    """A file that nobody has written to for a day is removed by the next process that stores something."""
    folder.put([b"first"])
    old, fresh = folder.path / "dead.new", folder.path / "alive.new"
    for path in (old, fresh):
        path.write_bytes(b"part")
    then = old.stat().st_mtime - LEFT_AFTER - 1
    os.utime(old, (then, then))
    ObjectFolder(folder.path).put([b"second"])
    assert (False, True) == (old.exists(), fresh.exists())


def test_unfinished_file_that_cannot_be_removed(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unfinished file that only another user may remove stays, and hinders nobody."""
    folder.path.mkdir()
    (folder.path / "dead.new").mkdir()
    os.utime(folder.path / "dead.new", (0, 0))
    assert folder.read(folder.put([b"content"])) == b"content"


def test_deleted_folder_is_made_again(folder: ObjectFolder) -> None:
    """If somebody deletes the folder while a program runs, the next object makes it again."""
    name = folder.put([b"content"])
    folder.path_of(name.digest).unlink()
    folder.path_of(name.digest).parent.rmdir()
    folder.path.rmdir()
    assert folder.read(folder.put([b"content"])) == b"content"


def change_content(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(LARGE[:-1] + b"?")


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 10)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (Path.unlink, "the object is missing"),
        (truncate, r"the object was changed: it has 10 bytes, not 4,194,304"),
        (change_content, "the object was changed: its content has another digest"),
        (make_pipe, "the object cannot be read .*not a regular file"),
        pytest.param(make_link, "the object cannot be read .*symbolic link", marks=needs_posix),
    ],
)
def test_damage(folder: ObjectFolder, harm: Callable[[Path], object], problem: str) -> None:
    """A missing, truncated or changed object is named, with what to do; a link or a pipe is never followed."""
    name = folder.put([LARGE])
    harm(folder.path_of(name.digest))
    with pytest.raises(ObjectError, match=f"{name.digest[2:]}: {problem}.*put the file back from a copy") as raised:
        folder.read(name)
    assert raised.value.reason == folder.problem_of(name)


@pytest.mark.parametrize("harm", [Path.unlink, truncate, change_content])
def test_open_checked_names_the_same_damage(folder: ObjectFolder, harm: Callable[[Path], object]) -> None:
    """An object that was changed after this process wrote and opened it is an error at the next opening."""
    name = folder.put([LARGE])
    path = folder.path_of(name.digest)
    with folder.open_checked(name) as file:
        assert LARGE == file.read()
    harm(path)
    if path.exists():
        os.utime(path, (5, 5))  # some systems count the time in steps of some milliseconds
    for _ in range(2):
        with pytest.raises(ObjectError) as raised:
            folder.open_checked(name)
        assert folder.problem_of(name) == raised.value.reason


def test_open_checked_reads_an_object_once(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of an object is checked once in a process, and again after another process has written the file."""
    name = folder.put([LARGE])
    checked = []
    check = ObjectFolder._check_content

    def noted(self: ObjectFolder, name: ObjectName, file: BinaryIO) -> None:
        checked.append(name)
        check(self, name, file)

    monkeypatch.setattr(ObjectFolder, "_check_content", noted)
    folder.open_checked(name).close()
    assert [] == checked
    os.utime(folder.path_of(name.digest), (5, 5))
    for _ in range(3):
        with ObjectFolder(folder.path).open_checked(name) as file:
            assert LARGE == file.read()
    assert [name] == checked


def test_disk_that_cannot_be_read(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk in the middle of an object is an error of ours."""
    name = folder.put([LARGE])

    class Failing:
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        def close(self) -> None:
            pass

    monkeypatch.setattr(folder, "open", lambda name: Failing())
    with pytest.raises(ObjectError, match=r"cannot be read .*Input/output error"):
        folder.read(name)
    assert "Input/output error" in str(folder.problem_of(name))


@pytest.mark.parametrize(
    ("digest", "size"),
    [
        *(("../../etc/passwd", 1), ("a" * 63, 1), ("A" * 64, 1), ("a" * 64 + "\n", 1), (7, 1)),
        *(("a" * 64, -1), ("a" * 64, "1"), ("a" * 64, True)),
    ],
)
def test_names_from_elsewhere(folder: ObjectFolder, digest: object, size: object) -> None:
    """A digest from a file cannot lead out of the folder: it has 64 hexadecimal digits, and the size is a number."""
    with pytest.raises(ValueError, match=r"is not the (digest|size) of an object"):
        checked_name(digest, size)
    if isinstance(digest, str) and digest != "a" * 64:
        with pytest.raises(ValueError, match="is not the digest"):
            folder.path_of(digest)


def test_checked_name() -> None:
    """A name that is one is returned."""
    assert name_of([b"content"]) == checked_name(*name_of([b"content"]))


def test_small_content_starts_no_thread(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread is started for content of a block and more only."""

    def refused(thread: threading.Thread) -> None:
        raise AssertionError(f"{thread} was started")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert name_of([b"small"]) == folder.put([b"small"])


def test_no_thread_can_start(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has as many threads as it may have computes the digest itself."""

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert LARGE + b"!" == folder.read(folder.put([LARGE, b"!"]))


def test_file_that_windows_has_open(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows replaces no open file: an equal one stays as it is, and a damaged one is an error."""
    name = folder.put([LARGE])

    def refused(*paths: object) -> None:
        raise PermissionError(errno.EACCES, "the file is open")

    monkeypatch.setattr(os, "replace", refused)
    assert name == folder.put([LARGE])
    truncate(folder.path_of(name.digest))
    with pytest.raises(ObjectError, match="the file is open"):
        folder.put([LARGE])
    assert [folder.path_of(name.digest)] == files_in(folder)


def test_mode_on_windows(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """There an object can be written to, as a file that cannot is neither replaced nor deleted."""
    monkeypatch.setattr(object_folder, "POSIX", False)
    name = folder.put([b"content"])
    assert stat.S_IWUSR & folder.path_of(name.digest).stat().st_mode


def test_handler_that_raises_an_error_of_the_system(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TimeoutError of the program's own signal handler comes out as it is."""
    monkeypatch.setattr(object_folder, "is_raised_by_handler", lambda error: isinstance(error, TimeoutError))

    def interrupted_write(*of: object, **how: object) -> None:
        raise TimeoutError("too long")

    monkeypatch.setattr(object_folder, "_write", interrupted_write)
    with pytest.raises(TimeoutError, match="too long"):
        folder.put([b"content"])
    assert [] == files_in(folder)


def put_many(path: Path, seed: int) -> None:
    folder = ObjectFolder(path)
    for at in range(20):
        folder.put([bytes([at]) * (BLOCK // 4)])
        folder.put([bytes([seed, at])])


@pytest.mark.slow
def test_many_processes(folder: ObjectFolder) -> None:
    """Processes that store the same content at the same time leave one whole file each, and nothing else."""
    processes = [get_context("fork").Process(target=put_many, args=(folder.path, seed)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert 0 == process.exitcode
    same = [name_of([bytes([at]) * (BLOCK // 4)]) for at in range(20)]
    own = [name_of([bytes([seed, at])]) for seed in range(4) for at in range(20)]
    assert sorted(folder.path_of(name.digest) for name in (*same, *own)) == files_in(folder)
    assert [None] * 100 == [folder.problem_of(name) for name in (*same, *own)]


@pytest.mark.slow
def test_at_exit_of_the_interpreter(tmp_path: Path) -> None:
    """Content is stored also at exit, when no thread can start."""
    program = f"""
import atexit
from pathlib import Path
from crystallize._base.object_folder import ObjectFolder
folder = ObjectFolder(Path({str(tmp_path)!r}))
atexit.register(lambda: print(folder.put([bytes({BLOCK * 3})]).size))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (f"{BLOCK * 3}\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("is_durable", [True, False])
def test_content_that_is_mapped(tmp_path: Path, is_durable: bool) -> None:
    """The mapped memory is that of the object, read-only, and stays if the object is deleted."""
    folder = ObjectFolder(tmp_path, is_durable=is_durable)
    found = folder.put_mapped([b"con", b"tent"], 7)
    assert found is not None
    name, memory = found
    assert b"content" == folder.read(name) == bytes(memory)
    assert memory.readonly
    folder.path_of(name.digest).unlink()
    assert bytes(memory) == b"content"
