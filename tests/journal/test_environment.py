"""What is on record of a process: read without stopping the run, or named with the reason why it could not be read."""

import gc
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from pydantic_core import to_json

from crystallize import FrozenContext, Journal, load_run
from crystallize._journal import environment, run_writer
from crystallize._journal.environment import (
    EnvironmentProbe,
    Findings,
    Origin,
    completed,
    current_environment,
    program_arguments,
)
from crystallize.runs import verify_run

with_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def raising(*_: Any, **__: Any) -> NoReturn:
    raise OSError("it is out of order \ud800\n")


def probed() -> Findings:
    """Return what a probe finds, which can always be written as JSON."""
    found = EnvironmentProbe.of(current_environment()).wait(60)
    assert found is not None
    to_json(found)
    return found


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait as long as a slow machine needs."""
    monkeypatch.setattr(run_writer, "PATIENCE", 60)


@pytest.fixture
def _no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_packages", lambda unread: {})


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, with none of the user's settings."""
    command = ["git", "-c", "user.name=n", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main", *arguments]
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, which is the working directory."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    (folder / "a.txt").write_text("1")
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "1")
    monkeypatch.chdir(folder)
    return folder


# At once


@pytest.mark.parametrize(
    ("module", "function", "field"),
    [
        (os, "getcwd", "folder"),
        (platform, "python_version", "python"),
        (platform, "platform", "system"),
        (socket, "gethostname", "host"),
    ],
)
def test_functions_that_raise(monkeypatch: pytest.MonkeyPatch, module: ModuleType, function: str, field: str) -> None:
    """A function of Python that raises leaves its field empty, with the reason on one line."""
    monkeypatch.setattr(module, function, raising)
    origin: Any = current_environment()

    assert "" == origin[field]
    assert "OSError: it is out of order \\ud800" == origin["unread"][field]
    to_json(origin)


def test_texts_that_are_not_unicode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bytes that are no text, in names of folders and of the host, are escaped."""
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(odd)
    monkeypatch.chdir(odd)
    monkeypatch.setattr(socket, "gethostname", lambda: "\udcff")
    origin = current_environment()

    assert f"{tmp_path}/\\udcff" == origin["folder"]
    assert "\\udcff" == origin["host"]
    to_json(origin)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["python", "a.py"], ["python", "a.py"]),
        (("python", "\udcff"), ["python", "\\udcff"]),
        (["python", Path("a.py"), None], ["python", f"{Path('a.py')!r}", "None"]),
        (None, ["a.py"]),
        ([], ["a.py"]),
        (5, []),
    ],
)
def test_arguments(monkeypatch: pytest.MonkeyPatch, given: Any, expected: list[str]) -> None:
    """The arguments are texts, whatever a program has put in their place."""
    monkeypatch.setattr(sys, "orig_argv", given)
    monkeypatch.setattr(sys, "argv", ["a.py"])

    assert expected == program_arguments()


def test_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python within another program may have no arguments at all."""
    monkeypatch.delattr(sys, "orig_argv")
    monkeypatch.delattr(sys, "argv")

    assert [] == program_arguments()


# Git


@with_git
@pytest.mark.usefixtures("_no_packages")
def test_commit(repository: Path) -> None:
    """The commit is on record, and whether a tracked file differs from it."""
    commit = git(repository, "rev-parse", "HEAD")
    assert {"commit": commit, "dirty": False, "packages": {}, "unread": {}} == probed()
    (repository / "new.txt").write_text("1")
    assert probed()["dirty"] is False
    (repository / "a.txt").write_text("22")
    assert {"commit": commit, "dirty": True, "packages": {}, "unread": {}} == probed()


@with_git
@pytest.mark.usefixtures("_no_packages")
def test_repository_is_only_read(repository: Path) -> None:
    """Nothing in the repository is written, not even the times of files in its index."""
    os.utime(repository / "a.txt", (1, 1))
    before = (repository / ".git/index").read_bytes()

    assert probed()["dirty"] is False
    assert before == (repository / ".git/index").read_bytes()


@with_git
@pytest.mark.usefixtures("_no_packages")
def test_output_in_another_encoding(repository: Path) -> None:
    """A changed file whose name is in another encoding is a change."""
    name = os.fsencode(repository) + b"/caf\xe9.csv"
    Path(os.fsdecode(name)).write_text("1")
    git(repository, "add", "-A")
    git(repository, "commit", "-m", "2")
    git(repository, "config", "core.quotepath", "false")
    Path(os.fsdecode(name)).write_text("22")

    assert probed()["dirty"] is True


@with_git
@pytest.mark.usefixtures("_no_packages")
@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"])
def test_variables_of_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The commit is that of the working directory, also within a hook of another repository."""
    monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    found = probed()
    monkeypatch.delenv(name)

    assert (git(repository, "rev-parse", "HEAD"), False, {}) == (found["commit"], found["dirty"], found["unread"])


@with_git
@pytest.mark.usefixtures("_no_packages")
def test_folder_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no repository, no commit is missing; where it has none yet, the reason says so."""
    monkeypatch.chdir(tmp_path)
    assert {"commit": None, "dirty": None, "packages": {}, "unread": {}} == probed()
    git(tmp_path, "init")
    assert {"commit": "fatal: Needed a single revision"} == probed()["unread"]


@with_git
@pytest.mark.usefixtures("_no_packages")
def test_repository_of_another_user(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git says against a repository is the reason."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)

    assert "dubious ownership" in probed()["unread"]["commit"]


@pytest.mark.usefixtures("_no_packages")
def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git is not installed the reason says so."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert {"commit": "git is not installed"} == probed()["unread"]


def scripted(folder: Path, status: str) -> None:
    """Make a git that knows a commit, and does this when it is asked for the status."""
    (folder / "git").write_text(f'#!/bin/sh\ncase "$*" in *rev-parse*) echo 1234;; *) {status};; esac\n')
    (folder / "git").chmod(0o755)


@pytest.mark.usefixtures("_no_packages")
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("exit 3", "`git status` ended with 3"),
        ("echo 'fatal: odd' >&2; exit 128", "fatal: odd"),
        ("printf 'fatal: caf\\351' >&2; exit 128", "fatal: caf�"),
    ],
)
def test_git_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, reason: str) -> None:
    """A commit is on record also if git cannot say what changed since."""
    scripted(tmp_path, status)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert {"commit": "1234", "dirty": None, "packages": {}, "unread": {"dirty": reason}} == probed()


@pytest.mark.slow
@pytest.mark.usefixtures("_no_packages")
@pytest.mark.parametrize("has_groups", [True, False])
def test_git_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_groups: bool) -> None:
    """A git that takes too long is ended, with the programs that it has started."""
    scripted(tmp_path, f"echo $$ > {tmp_path}/pid; {'sleep 600; exit' if has_groups else 'exec sleep 600'}")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(environment, "_PATIENCE", 0.5)
    if not has_groups:
        monkeypatch.delattr(os, "killpg")

    assert {"dirty": "`git status` took longer than 0.5 s"} == probed()["unread"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.usefixtures("_no_packages")
def test_git_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that the system cannot start is a reason too."""
    monkeypatch.setattr(subprocess, "Popen", raising)
    monkeypatch.chdir(tmp_path)

    assert {"commit": "OSError: it is out of order \\ud800"} == probed()["unread"]


# Packages


GOOD = b"Metadata-Version: 2.1\nName: oddpkg\nVersion: 1.5\n"
RECORD = b"oddpkg/__init__.py,,\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with the module `oddpkg`, which is imported."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setitem(sys.modules, "oddpkg", ModuleType("oddpkg"))
    monkeypatch.setattr(environment, "_git", raising)
    yield folder
    environment._versions.cache_clear()


def install(
    site: Path, metadata: bytes | None, record: bytes | None = RECORD, name: str = "oddpkg-1.0.dist-info"
) -> None:
    """Write the metadata of a package."""
    (site / name).mkdir()
    for file, content in (("METADATA", metadata), ("RECORD", record)):
        if content is not None:
            (site / name / file).write_bytes(content)


@pytest.mark.parametrize(
    ("metadata", "record", "expected"),
    [
        (GOOD, RECORD, "1.5"),
        (None, RECORD, "1.0"),
        (b"", RECORD, "1.0"),
        (b"\xff\xfe\x00", RECORD, "1.0"),
        (b"Name: oddpkg\n", RECORD, "1.0"),
        (b"Name: oddpkg\nVersion:\nAuthor: a\n", RECORD, "1.0"),
        (GOOD + "Author: José\n".encode("latin-1"), RECORD, "1.5"),
        (GOOD + b"\nVersion: 9\n", RECORD, "1.5"),
        (GOOD.replace(b"\n", b"\r\n"), RECORD, "1.5"),
        (GOOD, RECORD + "oddpkg/é.txt,,\n".encode("latin-1"), "1.5"),
        (GOOD, b"oddpkg.py,,\n", "1.5"),
        (GOOD, None, None),
        (None, None, None),
    ],
)
def test_damaged_metadata(site: Path, metadata: bytes | None, record: bytes | None, expected: str | None) -> None:
    """The version of a package is read from damaged metadata too, or from the name of their folder."""
    install(site, metadata, record)
    found = probed()

    assert expected == found["packages"].get("oddpkg")
    assert "pydantic" in found["packages"]
    assert "packages" not in found["unread"]


def test_metadata_without_a_name(site: Path) -> None:
    """Metadata that have no name, and whose folder has none, are named as the reason; the others are read."""
    install(site, b"", RECORD, "odd.dist-info")
    found = probed()

    assert "odd.dist-info: ValueError: its metadata has no name or no version" == found["unread"]["packages"]
    assert "pydantic" in found["packages"]


def test_remains_of_a_package(site: Path) -> None:
    """Remains of a package that was replaced, and a package behind another on the path, do not count."""
    install(site, GOOD.replace(b"1.5", b"0.1"), RECORD, "~ddpkg-0.1.dist-info")
    install(site, GOOD)
    (site / "later").mkdir()
    install(site / "later", GOOD.replace(b"1.5", b"0.2"))
    sys.path.append(str(site / "later"))

    assert "1.5" == probed()["packages"]["oddpkg"]


class Hostile(ModuleType):
    """A module that raises when anything is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")


def test_odd_modules_and_paths(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and places that are no such thing are ignored."""
    install(site, GOOD)
    modules: Any = sys.modules
    for name, module in (
        (None, None),
        (5, object()),
        ("hostile", Hostile("hostile")),
        ("none", None),
        ("\ud800", None),
    ):
        monkeypatch.setitem(modules, name, module)
    paths: list[Any] = [5, None, Path("/tmp"), b"/tmp", "\0", "\ud800", str(site / "nowhere"), *sys.path]
    monkeypatch.setattr(sys, "path", paths)

    assert "1.5" == probed()["packages"]["oddpkg"]


class Finder:
    """A finder of packages that another library has installed."""

    def __init__(self, find: Callable[[], list[Any]]) -> None:
        self._find = find

    def find_spec(self, *_: Any) -> None:
        return None

    def find_distributions(self, context: Any) -> list[Any]:
        return self._find()


class Remote(Distribution):
    """A package whose metadata is no file."""

    def read_text(self, filename: str) -> str | None:
        return b"\xff".decode()

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("find", "reason"),
    [(raising, "OSError: it is out of order"), (lambda: [Remote()], "AttributeError"), (lambda: [5], "AttributeError")],
)
def test_finders_that_fail(
    site: Path, monkeypatch: pytest.MonkeyPatch, find: Callable[[], list[Any]], reason: str
) -> None:
    """What a finder of another library raises is the reason, and the run goes on."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(find)])

    assert reason in probed()["unread"]["packages"]


# The probe


@pytest.mark.usefixtures("_no_packages")
def test_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the working directory was deleted there is no commit, and the reason is that of the folder."""
    monkeypatch.setattr(os, "getcwd", raising)
    origin = current_environment()

    assert {"commit": None, "dirty": None, "packages": {}, "unread": {}} == probed()
    assert {"folder"} == set(completed(origin, probed()).get("unread", {}))


def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, nothing is read, and the reason is known at once."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    reason = "RuntimeError: can't start new thread"

    assert dict.fromkeys(("commit", "dirty", "packages"), reason) == probed()["unread"]


def test_what_is_known_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe of an origin that is whole, as earlier versions wrote it, reads nothing."""
    origin: Origin = {**current_environment(), "commit": "1234"}
    del origin["unread"]
    monkeypatch.setattr(threading, "Thread", raising)

    assert EnvironmentProbe.of(origin).wait(0) is None


def test_slow_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a part that takes long: until it is there, the origin says that it was not read."""
    first, second = threading.Event(), threading.Event()
    monkeypatch.setattr(environment, "_packages", lambda unread: {"a": "1"} if first.wait(60) else {})
    monkeypatch.setattr(environment, "_commit", lambda folder: "1234")
    monkeypatch.setattr(environment, "_is_dirty", lambda folder: second.wait(60))
    origin = current_environment()
    probe = EnvironmentProbe.of(origin)

    assert (None, None) == (probe.found, probe.wait(0.001))
    assert dict.fromkeys(("commit", "dirty", "packages"), "it was not read yet") == origin.get("unread")
    first.set()
    while (found := probe.wait(0.001)) is None:
        pass
    expected = {**origin, "commit": "1234", "packages": {"a": "1"}, "unread": {"dirty": "it was not read yet"}}
    assert expected == completed(origin, found)
    second.set()
    found = probe.wait(60)
    assert found is not None
    assert {**expected, "dirty": True, "unread": {}} == completed(origin, found)


# On record


def test_part_of_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is on record before git knows whether the tree is dirty, and that when git knows it."""
    goes_on = threading.Event()
    monkeypatch.setattr(environment, "_commit", lambda folder: "1234")
    monkeypatch.setattr(environment, "_packages", lambda unread: {"a": "1"})
    monkeypatch.setattr(environment, "_is_dirty", lambda folder: not goes_on.wait(60))
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        while origin_of(journal.path) != {**WHOLE, "dirty": None, "unread": {"dirty": "it was not read yet"}}:
            time.sleep(0.01)
        goes_on.set()
        wait_for_origin(journal.path)
    assert () == verify_run(journal.path)


@pytest.fixture
def slow_git(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A git that answers when this event is set."""
    goes_on = threading.Event()
    monkeypatch.setattr(environment, "_commit", lambda folder: "1234" if goes_on.wait(60) else None)
    monkeypatch.setattr(environment, "_is_dirty", lambda folder: False)
    monkeypatch.setattr(environment, "_packages", lambda unread: {"a": "1"})
    return goes_on


WHOLE = {"commit": "1234", "dirty": False, "packages": {"a": "1"}, "unread": {}}


def lacks_git(origin: dict[str, Any]) -> bool:
    """Whether git has not answered yet; the packages may be read already."""
    unread = origin["unread"]
    pending = dict.fromkeys(("commit", "dirty"), "it was not read yet")
    return (None, None) == (origin["commit"], origin["dirty"]) and pending.items() <= unread.items()


def origin_of(path: Path, process: int = 1) -> dict[str, Any]:
    """Return the part of an origin in a file that a probe reads."""
    origin: Any = load_run(path).sessions[process - 1].origin
    return {field: origin[field] for field in WHOLE}


def wait_for_origin(path: Path) -> None:
    """Wait until the origin in the file of a running run is whole."""
    while origin_of(path) != WHOLE:
        time.sleep(0.01)


@pytest.mark.parametrize("has_context", [True, False])
def test_start_does_not_wait(tmp_path: Path, slow_git: threading.Event, has_context: bool) -> None:
    """A run starts and takes events before git has answered, and has the answer at its end."""
    journal = Journal.start(tmp_path, "run")
    if has_context:
        journal.context(FrozenContext, {"lr": 0.1}).record("loss", 0.5)
        journal.flush()
    assert lacks_git(origin_of(journal.path))
    slow_git.set()
    journal.close()

    assert WHOLE == origin_of(journal.path)
    assert has_context == bool(load_run(journal.path).sessions[0].origin["arguments"])
    assert () == verify_run(journal.path)


def test_answer_without_an_event(tmp_path: Path, slow_git: threading.Event) -> None:
    """The answer is put on record when it comes, whether or not anything else happens in the run."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        journal.flush()
        slow_git.set()
        wait_for_origin(journal.path)


@pytest.mark.parametrize("is_overtaken", [True, False])
def test_context_after_the_answer(tmp_path: Path, slow_git: threading.Event, is_overtaken: bool) -> None:
    """A context that is made after the answer keeps it, also if the answer comes while it is made."""
    slow_git.set()
    with Journal.start(tmp_path, "run") as journal:
        wait_for_origin(journal.path)
        probe = journal._writer.probe
        found = probe.found
        probe.found = None if is_overtaken else found
        journal.context(FrozenContext, {"lr": 0.1})
        probe.found = found
        journal.flush()
        assert WHOLE == origin_of(journal.path)
    assert WHOLE == origin_of(journal.path)
    assert () == verify_run(journal.path)


def test_process_that_dies_before_the_answer(
    tmp_path: Path, slow_git: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose process died before git answered is whole but for that, and can be resumed."""
    journal = Journal.start(tmp_path, "run")
    path = journal.path
    journal.context(FrozenContext, {"lr": 0.1})
    del journal
    gc.collect()
    assert "died" == load_run(path).status
    assert lacks_git(origin_of(path))
    slow_git.set()
    with Journal.resume(path) as journal:
        assert 0.1 == journal.context(FrozenContext)["lr"]

    assert lacks_git(origin_of(path, 1))
    assert WHOLE == origin_of(path, 2)
    assert () == verify_run(path)


def test_end_does_not_wait_for_long(tmp_path: Path, slow_git: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends, and says what is not known, if git does not answer."""
    monkeypatch.setattr(run_writer, "PATIENCE", 0.01)
    journal = Journal.start(tmp_path, "run")
    journal.close()

    assert lacks_git(origin_of(journal.path))
    slow_git.set()
    journal._writer.probe.wait(60)


def test_run_with_all_that_is_wrong(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run starts where nothing of its environment can be read."""
    install(site, b"", RECORD, "odd.dist-info")
    monkeypatch.setattr(socket, "gethostname", raising)
    monkeypatch.setattr(platform, "platform", raising)
    monkeypatch.setattr(sys, "orig_argv", [Path("a.py"), "\udcff"])
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
    run = load_run(journal.path)
    origin = run.sessions[0].origin

    assert {"system", "host", "commit", "packages"} == set(origin.get("unread", {}))
    assert [repr(Path("a.py")), "\\udcff"] == origin["arguments"]
    assert ("finished", ()) == (run.status, verify_run(journal.path))
