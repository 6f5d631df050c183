"""The tests without what Python lacks on Windows; see `tests.windows_like`."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .windows_like import MODULES

ROOT = Path(__file__).parents[1]
FOLDERS = ("base", "branches", "cli", "core", "journal", "page", "sinks", "stubs", "tables")
NEED_POSIX = (
    "base/test_file_system.py",  # what Linux says of file systems
    "branches/test_engine_kills.py",  # kills
    "branches/test_engines.py",  # forks
    "branches/test_sending.py",  # files that are removed while they are mapped
    "cli/test_watch.py",  # a pseudo-terminal
    "journal/test_database_guard.py",  # locks that are of a file and not of a process
    "journal/test_handlers.py",  # spools that are not mapped into memory
    "journal/test_journal_branches.py",  # locks a file by `fcntl`
    "journal/test_journal_disk.py",  # forks, and limits files by `resource`
    "journal/test_spool.py",  # locks a file by `fcntl`
)
"""The tests that themselves use what is taken away."""


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports as it is imported itself, without their parents."""
    statements = ast.parse(path.read_text()).body
    plain = {name.name for statement in statements if isinstance(statement, ast.Import) for name in statement.names}
    return plain | {str(statement.module) for statement in statements if isinstance(statement, ast.ImportFrom)}


def test_only_tests_that_need_posix_import_it() -> None:
    """All other files of tests can be imported on Windows. If this fails, import the module where it is needed."""
    files = [path for folder in FOLDERS for path in (ROOT / "tests" / folder).rglob("test_*.py")]
    names = {str(path.relative_to(ROOT / "tests")): path for path in files}

    assert {*NEED_POSIX} < {*names}
    assert [] == [name for name, path in names.items() if name not in NEED_POSIX and imports_of(path) & {*MODULES}]


def run_without_posix(*arguments: str) -> None:
    """Run tests in a process as if on Windows, and fail if one of them does.

    Slow tests are left out, since they start processes that have all of POSIX.
    """
    options = ["-p", "tests.windows_like", "-m", "not slow and not long", "-q", "-n0", "--no-cov"]
    options += (f"--ignore=tests/{path}" for path in NEED_POSIX)
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    # The many examples of `make test-long` are tried once, with all of POSIX.
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "short"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    assert 0 == run.returncode, run.stdout + run.stderr


@pytest.mark.slow
def test_locks_writes_and_reads_runs() -> None:
    """A run is written, locked, read, resumed and shown, and a sink delivers."""
    run_without_posix(
        *(f"tests/{path}" for path in ("journal/test_lock.py", "journal/test_run_files.py", "journal/test_resume.py")),
        *(f"tests/{path}" for path in ("cli/test_show_command.py", "sinks")),
    )


@pytest.mark.long
@pytest.mark.parametrize("folder", FOLDERS)
def test_all_tests_that_need_no_posix(folder: str) -> None:
    """All tests of a folder pass, except for those that need another system themselves."""
    run_without_posix(f"tests/{folder}")
