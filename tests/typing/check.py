"""Run six type checkers, and exit with 1 if a checker misses an error, or reports one that is not expected.

In `acceptance.py` and `flow.py`, each checker must report an error on every line that ends in an E comment. No checker
may report an error on any other line there, in the package, or in the examples of the docs. `mypy.ini` and
`pyproject.toml` contain the settings of the checkers. The same rules apply to `keys/string_keys.py`, which is checked
with the stubs of the examples: `make typing` writes them, and `keys/pyproject.toml` names their folder. With the stubs,
the checkers must report the same errors in `acceptance.py` and `flow.py`, too. Each checker is run once without the
stubs and once with them, since it takes most of its time to read what the files import.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ACCEPTANCE = ROOT / "tests/typing/acceptance.py"
SRC = ROOT / "src"
FLOW = ROOT / "tests/typing/flow.py"
STRING_KEYS = ROOT / "tests/typing/keys/string_keys.py"


class Place(NamedTuple):
    """A line of a file."""

    file: Path
    line: int


class Suite(NamedTuple):
    """What the checkers are asked about."""

    files: tuple[Path, ...]
    """The files with the E comments."""
    folder: Path
    """Where they are run, and find how they are to check."""
    told: str
    """With or without the stubs of the examples."""
    others: tuple[Path, ...] = ()
    """Where there may be no error."""


SUITES = [
    Suite((ACCEPTANCE, FLOW), ROOT, "without stubs", (SRC, ROOT / "docs/examples")),
    # The stubs take nothing from what there is without them.
    Suite((STRING_KEYS, ACCEPTANCE, FLOW), STRING_KEYS.parent, "with stubs"),
]


class Checker(NamedTuple):
    """How to ask a checker, and how an error looks in its answer: a `file`, a `line` and a `text`."""

    name: str
    command: list[str]
    error: str
    is_asked_about_src: bool = True

    def errors(self, suite: Suite) -> dict[Place, str]:
        """Run the checker.

        Returns:
            Each line on which there is an error, and the first error's text.

        Raises:
            RuntimeError: The checker failed and named no error.
        """
        others = (path for path in suite.others if self.is_asked_about_src or path != SRC)
        checked = (*suite.files, *others)
        command = [*self.command, *map(str, checked)]
        answer = subprocess.run(command, cwd=suite.folder, capture_output=True, text=True, check=False)
        errors: dict[Place, str] = {}
        for found in re.finditer(self.error, answer.stdout, re.MULTILINE):
            # Some checkers give the path from the folder that they run in, others the whole.
            file = (suite.folder / found["file"]).resolve()
            # One follows imports out of what it was asked about.
            if any(file.is_relative_to(path) for path in checked):
                errors.setdefault(Place(file, int(found["line"])), found["text"])
        if answer.returncode and not errors:
            raise RuntimeError(f"{self.name} failed:\n{answer.stdout}{answer.stderr}")
        return errors


# Run by this interpreter, or from its folder, they are the pinned versions and read its packages.
_MODULE = [sys.executable, "-m"]
_AS_MYPY = r"^(?P<file>.+?):(?P<line>\d+): error: (?P<text>.+)"
_AS_PYRIGHT = r"^ +(?P<file>.+?):(?P<line>\d+):\d+ - error: (?P<text>.+)"

CHECKERS = [
    Checker("mypy", [*_MODULE, "mypy", "--strict"], _AS_MYPY),
    Checker("pyright", [*_MODULE, "pyright", f"--pythonpath={sys.executable}"], _AS_PYRIGHT),
    Checker("basedpyright", [*_MODULE, "basedpyright", f"--pythonpath={sys.executable}", "--level=error"], _AS_PYRIGHT),
    Checker(
        "pyrefly",
        [
            *_MODULE,
            "pyrefly",
            "check",
            # For what is imported too, which is in folders with a configuration of their own.
            "--config=pyproject.toml",
            "--preset=strict",
            "--output-format=min-text",
            f"--python-interpreter-path={sys.executable}",
        ],
        r"^ERROR (?P<file>.+?):(?P<line>\d+):\S+ (?P<text>.+)",
    ),
    Checker(
        "ty",
        [*_MODULE, "ty", "check", "--output-format=concise", f"--python={sys.executable}"],
        r"^(?P<file>.+?):(?P<line>\d+):\d+: error(?P<text>.+)",
    ),
    # It has no module, but a program beside the interpreter. In the package it reports errors that are its own: a field
    # named `type` hides the builtin from it, and it cannot infer some types that the others infer.
    Checker(
        "zuban",
        [str(Path(sys.executable).with_name("zuban")), "mypy", "--strict", f"--python-executable={sys.executable}"],
        _AS_MYPY,
        is_asked_about_src=False,
    ),
]


def differences(checker: Checker, suite: Suite, expected: set[Place]) -> list[str]:
    """Compare what a checker reports with what it should.

    Returns:
        A sentence for each line on which they differ, in the order of the lines.
    """
    errors = checker.errors(suite)
    return [
        f"{checker.name}: {place.file.relative_to(ROOT)} line {place.line}: "
        + (f"unexpected: {errors[place]}" if place in errors else "expected error, got none")
        for place in sorted(expected ^ errors.keys())
    ]


def main() -> int:
    """Ask every checker about every suite and print where it differs.

    Returns:
        The exit code.
    """
    failed = False
    for suite in SUITES:
        expected = {
            Place(file, number)
            for file in suite.files
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
            if line.endswith("# E")
        }
        names = ", ".join(file.name for file in suite.files)
        for checker in CHECKERS:
            found = differences(checker, suite, expected)
            print(*found, sep="\n", end="\n" if found else "")
            print(f"{checker.name}: {len(found)} differences, {len(expected)} errors expected in {names}, {suite.told}")
            failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
