"""The messages of mypy and pyright about the commonest mistakes, as `docs/how-to/type-errors.md` shows them.

After a change of a checker or of `mistakes.py`, `python tests/typing/type_errors_page.py` writes them into the page.
"""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/how-to/type-errors.md"
MISTAKES: Final = Path(__file__).parent / "mistakes.py"
_START: Final = "% The rest of this page is written by tests/typing/type_errors_page.py.\n"
_SCRIPTS: Final = Path(sys.executable).parent


@cache
def mypy_messages() -> dict[int, list[str]]:
    """Return the messages of mypy by line."""
    found: dict[int, list[str]] = {}
    for line in _output("mypy", "--no-incremental", str(MISTAKES)).splitlines():
        if matched := re.match(r".*?mistakes\.py:(\d+): (error: .*)", line):
            found.setdefault(int(matched[1]), []).append(matched[2])
    return found


@cache
def pyright_messages() -> dict[int, list[str]]:
    """Return the messages of pyright by line."""
    found: dict[int, list[str]] = {}
    reports: list[Any] = json.loads(_output("pyright", "--outputjson", str(MISTAKES)))["generalDiagnostics"]
    for report in (report for report in reports if report["severity"] == "error"):
        message = report["message"].replace("\u00a0", " ")
        found.setdefault(report["range"]["start"]["line"] + 1, []).append(f"error: {message} ({report['rule']})")
    return found


def written() -> str:
    """Return the text of the page, with the messages of the checkers that are installed."""
    head = PAGE.read_text(encoding="utf-8").partition(_START)[0]
    mypy, pyright = mypy_messages(), pyright_messages()
    parts = [head + _START]
    for number, line in enumerate(MISTAKES.read_text(encoding="utf-8").splitlines(), 1):
        code, mark, title = line.partition("  # ")
        if not mark:
            assert number not in mypy, mypy[number]
            assert number not in pyright, pyright[number]
            continue
        texts = [f"mypy: {text}" for text in mypy[number]] + [f"pyright: {text}" for text in pyright[number]]
        # Not a Python block, which the tests of the docs would run.
        parts.append(f"\n## {title}\n\n```{{code-block}} py\n{code}\n```\n")
        parts.append("\n```text\n" + "\n".join(texts) + "\n```\n")
    return "".join(parts)


def _output(checker: str, *arguments: str) -> str:
    return subprocess.run(
        [_SCRIPTS / checker, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
