"""Check the version of a release: its changelog entry and the built files. `make release-check` runs it."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def found(pattern: str, path: str) -> str:
    """The first group of the pattern in a file of the repository; empty if it is not there."""
    match = re.search(pattern, (ROOT / path).read_text("utf-8"), re.MULTILINE)
    return match[1] if match else ""


def faults(dist: Path) -> list[str]:
    """Each reason not to release the files in the folder, as a sentence."""
    version = found(r'^version = "(.+)"$', "pyproject.toml")
    own = found(r'^__version__ = "(.+)"$', "src/crystallize/__init__.py")
    newest = found(r"^## \[(.+)$", "CHANGELOG.md")
    expected = {f"crystallize_context-{version}.tar.gz", f"crystallize_context-{version}-py3-none-any.whl"}
    built = {path.name for path in dist.iterdir()}
    wrong = []
    if own != version:
        wrong.append(f"crystallize.__version__ is {own!r}, but pyproject.toml has {version!r}.")
    if not re.fullmatch(rf"{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", newest):
        wrong.append(f"The first entry of CHANGELOG.md is '## [{newest}', not '## [{version}] - ' and a date.")
    if built != expected:
        wrong.append(f"Expected {sorted(expected)} in {dist}, found {sorted(built)}.")
    return wrong


if __name__ == "__main__":
    sys.exit("\n".join(faults(Path(sys.argv[1]))) or None)
