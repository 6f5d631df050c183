"""The environment of a process: its code, packages and machine, but no environment variables.

Whatever is wrong there never stops a run. A field that cannot be read is empty, and `Origin["unread"]` has the reason.
The slow parts, git and the packages, are read by a thread, the `EnvironmentProbe`, while the run goes on.
"""

import logging
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from typing import Any, Final, NotRequired, TypeVar

from typing_extensions import TypedDict

from .._base.signal_handlers import reraise_from_handler
from .._base.text import cut, legible, one_line, short

_T = TypeVar("_T")

_log = logging.getLogger("crystallize")


class Origin(TypedDict):
    """The environment of a process that wrote a run.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> origin = load_run("runs/digits-0001.db").sessions[0].origin
        >>> "pydantic" in origin["packages"]
        True
    """

    arguments: list[str]
    """How the program was called, with secrets masked; empty until the process has a context, which knows secrets."""
    folder: str
    """The working directory at the start; empty if it could not be read."""
    commit: str | None
    """The git commit that was checked out there; None where there is none, or if it could not be read."""
    dirty: bool | None
    """Whether tracked files differed from it."""
    python: str
    system: str
    host: str
    pid: int
    packages: dict[str, str]
    """The versions of the packages in use."""
    unread: NotRequired[dict[str, str]]
    """The reason for each of these fields that could not be read, or not in full. Runs of earlier versions lack it."""


class Findings(TypedDict):
    """The fields that an `EnvironmentProbe` reads, as in `Origin`."""

    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    unread: dict[str, str]


_PENDING: Final = "it was not read yet"
"""Why a field is empty that a probe still reads, or that its process died before reading."""

_SLOW: Final = ("commit", "dirty", "packages")

_PATIENCE: Final = 5
"""Maximum seconds for one call of git."""


def current_environment() -> Origin:
    """Return the environment of this process, as far as it can be read at once."""
    unread: dict[str, str] = dict.fromkeys(_SLOW, _PENDING)
    return {
        "arguments": [],
        "folder": _read("folder", unread, lambda: legible(os.getcwd()), ""),
        "commit": None,
        "dirty": None,
        "python": _read("python", unread, platform.python_version, ""),
        "system": _read("system", unread, lambda: legible(platform.platform()), ""),
        "host": _read("host", unread, lambda: legible(socket.gethostname()), ""),
        "pid": os.getpid(),
        "packages": {},
        "unread": unread,
    }


def program_arguments() -> list[str]:
    """Return how the program was called: `sys.orig_argv`, or `sys.argv` in a program that lacks it."""
    given = getattr(sys, "orig_argv", None) or getattr(sys, "argv", None)
    # Programs may replace both by anything.
    arguments = given if isinstance(given, (list, tuple)) else []
    return [legible(argument) if isinstance(argument, str) else short(argument) for argument in arguments]


def _read(field: str, unread: dict[str, str], read: Callable[[], _T], otherwise: _T) -> _T:
    """Read a field, or note the reason why it cannot be read."""
    try:
        return read()
    except Exception as error:  # of any kind: programs replace these functions, and a run starts nevertheless
        reraise_from_handler(error)
        _note(field, unread, _reason(error))
        return otherwise


def _note(field: str, unread: dict[str, str], reason: str) -> None:
    unread[field] = cut(one_line(legible(reason)))
    _log.debug("the %s of this process cannot be read: %s", field, unread[field])


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, _GitError) else f"{type(error).__name__}: {error}"


class EnvironmentProbe:
    """Reads git and the packages in a thread of its own, so that a run starts at once.

    Attributes:
        found: The facts that were read so far; None until there is a part of it. It is replaced, never changed.
    """

    def __init__(self) -> None:
        self.found: Findings | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, origin: Origin) -> "EnvironmentProbe":
        """Return a probe that reads the missing facts of an origin; it reads nothing if none is missing."""
        probe = cls()
        if _PENDING in origin.get("unread", {}).values():
            probe.start()
        return probe

    def start(self) -> None:
        """Begin to read, about the folder that is the working directory now."""
        try:
            folder = os.getcwd()
        except OSError:  # deleted since; `Origin["folder"]` says so
            folder = None
        thread = threading.Thread(target=self._run, args=(folder,), name="crystallize-environment", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError as error:  # no more threads, or the interpreter ends
            unread: dict[str, str] = dict.fromkeys(_SLOW, _reason(error))
            self.found = {"commit": None, "dirty": None, "packages": {}, "unread": unread}

    def wait(self, timeout: float) -> Findings | None:
        """Return the facts that were read, after waiting at most these seconds for all of them."""
        # At the end of the interpreter the thread, as every other one, is stopped.
        if self._thread is not None and not sys.is_finalizing():
            self._thread.join(timeout)
        return self.found

    def _run(self, folder: str | None) -> None:
        unread: dict[str, str] = {}
        commit: str | None = None
        dirty: bool | None = None
        packages: dict[str, str] = {}
        packages = _read("packages", unread, lambda: _packages(unread), packages)
        pending = {**unread, "commit": _PENDING, "dirty": _PENDING}
        self.found = {"commit": None, "dirty": None, "packages": packages, "unread": pending}
        if folder is not None:
            commit = _read("commit", unread, lambda: _commit(folder), commit)
        if folder is not None and commit is not None:
            # In a large tree, whether it is dirty takes much longer than all else.
            pending = {**unread, "dirty": _PENDING}
            self.found = {"commit": commit, "dirty": None, "packages": packages, "unread": pending}
            dirty = _read("dirty", unread, lambda: _is_dirty(folder), dirty)
        self.found = {"commit": commit, "dirty": dirty, "packages": packages, "unread": unread}


def completed(origin: Origin, found: Findings) -> Origin:
    """Return an origin with the facts of a probe."""
    others = {field: reason for field, reason in origin.get("unread", {}).items() if field not in _SLOW}
    return {
        **origin,
        "commit": found["commit"],
        "dirty": found["dirty"],
        "packages": found["packages"],
        "unread": {**others, **found["unread"]},
    }


# Git


class _GitError(Exception):
    """A reason why git has no answer."""


_ELSEWHERE: Final = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "INDEX_FILE", "COMMON_DIR", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES"),
        *("NAMESPACE", "PREFIX", "IMPLICIT_WORK_TREE", "SHALLOW_FILE", "GRAFT_FILE", "CEILING_DIRECTORIES"),
    )
)
"""Variables that make git use another repository than the folder's, as within a hook of git."""


def _commit(folder: str) -> str | None:
    """Return the commit that is checked out in a folder; None if the folder is in no repository."""
    try:
        return _git(folder, "rev-parse", "--verify", "HEAD").decode("ascii", "replace").strip()
    except _GitError as error:
        if "not a git repository" in str(error):
            return None
        raise


def _is_dirty(folder: str) -> bool:
    """Return whether tracked files differ from the commit that is checked out in a folder."""
    return _git(folder, "status", "--porcelain", "--untracked-files=no") != b""


def _git(folder: str, *arguments: str) -> bytes:
    """Return the output of git in a folder, which is in no certain encoding; raise _GitError if git fails."""
    # It takes no lock, as it would stay behind if git was killed, and starts no daemon, which would keep the pipe open.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C does not end it, and its own children end with it
        )
    except (OSError, ValueError) as error:
        raise _GitError("git is not installed" if isinstance(error, FileNotFoundError) else _reason(error)) from error
    try:
        output, told = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        process.communicate()
        raise _GitError(f"`git {arguments[0]}` took longer than {_PATIENCE} s") from error
    if process.returncode != 0:
        lines = told.decode("utf-8", "replace").strip().splitlines()
        raise _GitError(lines[0] if lines else f"`git {arguments[0]}` ended with {process.returncode}")
    return output


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with the processes that it has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


# Packages


def _packages(unread: dict[str, str]) -> dict[str, str]:
    """Return the versions of the installed packages that have an imported module."""
    # Programs put other keys there too.
    names = (name.partition(".")[0] for name in list(sys.modules) if isinstance(name, str))
    # As the import system, which ignores all that is no text.
    places = tuple(place for place in list(sys.path) if isinstance(place, str))
    packages, problems = _versions(frozenset(names) - sys.stdlib_module_names, places)
    if problems:
        _note("packages", unread, "; ".join(problems))
    return dict(packages)


_OWN = "crystallize-context"
"""This package, which may be installed without a list of files, for development."""


@lru_cache(maxsize=1)  # for the next journal, as it takes 20 ms to read all lists of files
def _versions(imported: frozenset[str], places: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of the installed packages that contain these modules, and of this package; and problems."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for distribution in _installed(places, problems):
        try:
            name, version = _identity(distribution)
            if name == _OWN or not imported.isdisjoint(_modules_of(distribution)):
                # The first one on the path is imported.
                found.setdefault(name, version)
        except Exception as error:  # of any kind, as finders of other packages may make these objects
            reraise_from_handler(error)
            problems.append(f"{_folder_of(distribution)}: {_reason(error)}")
    return dict(sorted(found.items())), problems


def _installed(places: Iterable[str], problems: list[str]) -> Iterator[Distribution]:
    """Return the installed packages, without the remains of those that pip removes or failed to remove."""
    for place in places:
        try:
            # Folder by folder, as an exception ends the search in all others.
            near = [*distributions(path=[place])]
        except Exception as error:  # as above
            reraise_from_handler(error)
            problems.append(f"{place}: {_reason(error)}")
            continue
        yield from (distribution for distribution in near if not _folder_of(distribution).startswith("~"))


def _folder_of(distribution: Distribution) -> str:
    """Return the name of the folder with the metadata of a package; empty if it is not known."""
    path: Any = getattr(distribution, "_path", None)
    return str(getattr(path, "name", ""))


_IDENTITY = re.compile(r"([^-]+)-([^-]+).*\.(?:dist|egg)-info")


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Return the name and the version of a package, by its metadata or by the name of the metadata's folder."""
    # Read here, as `Distribution.metadata` fails where one author's name is in another encoding.
    text = _text(distribution, "METADATA") or _text(distribution, "PKG-INFO")
    fields = dict(re.findall(r"^(Name|Version):[ \t]*(\S.*?)\s*$", text.partition("\n\n")[0], re.MULTILINE))
    match = _IDENTITY.fullmatch(_folder_of(distribution))
    name, version = match.groups() if match is not None else ("", "")
    name, version = fields.get("Name", name), fields.get("Version", version)
    if not name or not version:
        raise ValueError("its metadata has no name or no version")
    return legible(name), legible(version)


def _modules_of(distribution: Distribution) -> set[str]:
    """Return the modules of an installed package from its list of files, which `Distribution.files` parses slowly."""
    files = _text(distribution, "RECORD").splitlines()
    folders = {line.partition("/")[0] for line in files}
    return {folder.partition(",")[0].removesuffix(".py") for folder in folders}


def _text(distribution: Distribution, file: str) -> str:
    """Return a file of a package's metadata; empty if it is not there."""
    try:
        return distribution.read_text(file) or ""
    except UnicodeDecodeError:
        # Names of modules are the same in both.
        content: str = getattr(distribution, "_path").joinpath(file).read_text("latin-1")  # noqa: B009  # it is private
        return content
