"""Asks four type checkers, and exits with 1 if one of them does not say what it should.

In `acceptance.py` each must report an error on every line that ends in an E comment. On any other line there,
and in the package and the examples of the docs, none may report one. What they are told beyond the command
lines below stands in `mypy.ini` and `pyproject.toml`.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ACCEPTANCE = ROOT / "tests/typing/acceptance.py"
CHECKED = [ACCEPTANCE, ROOT / "src", ROOT / "docs/examples"]


class Place(NamedTuple):
    """A line of a file."""

    file: Path
    line: int


class Checker(NamedTuple):
    """How to ask a checker, and how an error looks in its answer: a `file`, a `line` and a `text`."""

    name: str
    arguments: list[str]
    error: str

    def errors(self) -> dict[Place, str]:
        """Run the checker.

        Returns:
            Each line on which there is an error, and the first error's text.

        Raises:
            RuntimeError: The checker failed and named no error.
        """
        # Run as modules of this interpreter, they are the pinned versions and read its packages.
        command = [sys.executable, "-m", self.name, *self.arguments, *map(str, CHECKED)]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        errors: dict[Place, str] = {}
        for found in re.finditer(self.error, answer.stdout, re.MULTILINE):
            # Some checkers give the path from the root, others the whole.
            errors.setdefault(Place(ROOT / found["file"], int(found["line"])), found["text"])
        if answer.returncode and not errors:
            raise RuntimeError(f"{self.name} failed:\n{answer.stdout}{answer.stderr}")
        return errors


CHECKERS = [
    Checker("mypy", ["--strict"], r"^(?P<file>.+?):(?P<line>\d+): error: (?P<text>.+)"),
    Checker(
        "pyright",
        [f"--pythonpath={sys.executable}"],
        r"^ +(?P<file>.+?):(?P<line>\d+):\d+ - error: (?P<text>.+)",
    ),
    Checker(
        "pyrefly",
        [
            "check",
            "--preset=strict",
            "--output-format=min-text",
            f"--python-interpreter-path={sys.executable}",
        ],
        r"^ERROR (?P<file>.+?):(?P<line>\d+):\S+ (?P<text>.+)",
    ),
    Checker(
        "ty",
        ["check", "--output-format=concise", f"--python={sys.executable}"],
        r"^(?P<file>.+?):(?P<line>\d+):\d+: error(?P<text>.+)",
    ),
]


def differences(checker: Checker, expected: set[Place]) -> list[str]:
    """Compare what a checker reports with what it should.

    Returns:
        A sentence for each line on which they differ, in the order of the lines.
    """
    errors = checker.errors()
    return [
        f"{checker.name}: {place.file.relative_to(ROOT)} line {place.line}: "
        + (f"unexpected: {errors[place]}" if place in errors else "expected error, got none")
        for place in sorted(expected ^ errors.keys())
    ]


def main() -> int:
    """Ask every checker and print where it differs.

    Returns:
        The exit code.
    """
    lines = ACCEPTANCE.read_text(encoding="utf-8").splitlines()
    expected = {Place(ACCEPTANCE, n) for n, line in enumerate(lines, start=1) if line.endswith("# E")}
    failed = False
    for checker in CHECKERS:
        found = differences(checker, expected)
        print(*found, sep="\n", end="\n" if found else "")
        print(f"{checker.name}: {len(found)} differences, {len(expected)} errors expected")
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
