"""The environment of a process: its code, packages and machine, but no environment variables."""

import os
import platform
import socket
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from typing import TypedDict

from .._base.text import legible


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
    """The working directory."""
    commit: str | None
    """The git commit that was checked out there; None where there is none."""
    dirty: bool | None
    """Whether tracked files differed from it."""
    python: str
    system: str
    host: str
    pid: int
    packages: dict[str, str]
    """The versions of the packages in use."""


def current_environment() -> Origin:
    """Return the environment of this process."""
    commit = _git("rev-parse", "HEAD")
    changes = None if commit is None else _git("status", "--porcelain", "--untracked-files=no")
    return {
        "arguments": [],
        "folder": _folder(),
        "commit": commit,
        "dirty": None if changes is None else changes != "",
        "python": platform.python_version(),
        "system": platform.platform(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "packages": packages_in_use(),
    }


def _folder() -> str:
    try:
        return legible(os.getcwd())
    except FileNotFoundError:  # deleted since
        return ""


def packages_in_use() -> dict[str, str]:
    """Return the versions of the installed packages of which a module is imported."""
    imported = {name.partition(".")[0] for name in list(sys.modules)} - sys.stdlib_module_names
    return dict(_versions(frozenset(imported)))


_OWN = "crystallize-context"
"""This package, which may be installed without a list of files, for development."""


@lru_cache(maxsize=1)  # for the next journal, as it takes 20 ms to read all lists of files
def _versions(imported: frozenset[str]) -> dict[str, str]:
    """Return the versions of the installed packages that contain these modules, and of this package."""
    used = [found for found in distributions() if not imported.isdisjoint(_modules_of(found))]
    facts = [found.metadata for found in (*used, *distributions(name=_OWN))]
    return {fact["Name"]: fact["Version"] for fact in sorted(facts, key=lambda fact: fact["Name"])}


def _modules_of(distribution: Distribution) -> set[str]:
    """Return the modules of an installed package from its list of files, which `Distribution.files` parses slowly."""
    files = (distribution.read_text("RECORD") or "").splitlines()
    folders = {line.partition("/")[0] for line in files}
    return {folder.partition(",")[0].removesuffix(".py") for folder in folders}


def _git(*arguments: str) -> str | None:
    """Return the output of git in the working directory; None if git fails."""
    try:
        run = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):  # no git here, or no repository, or it takes too long
        return None
    return run.stdout.strip()
