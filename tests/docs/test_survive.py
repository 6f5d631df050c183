"""The example of a run that can be killed prints what its page says."""

import re
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

import pytest

from ..examples import environment

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"


def start(folder: Path, stop_after_lines: int = 0) -> "subprocess.Popen[str]":
    """Start the example."""
    command = [sys.executable, str(DOCS / "examples/survive.py")]
    return subprocess.Popen(command, cwd=folder, env=environment(stop_after_lines), stdout=subprocess.PIPE, text=True)


def test_killed_and_started_again(tmp_path: Path) -> None:
    """Killed in its fourth epoch it goes on there; when all is done, there is nothing left to do."""
    page = (DOCS / "how-to/survive-a-crash.md").read_text(encoding="utf-8")
    told = [part.split("\n", 1)[1] for part in re.findall(r"```text\n(.*?)```", page, re.S)[0].split("$ ")[1:]]
    with start(tmp_path, stop_after_lines=5) as first:
        assert first.stdout is not None
        printed = []
        for line in first.stdout:
            printed.append(line)
            if line == "epoch 4\n":
                first.kill()
    assert -SIGKILL == first.returncode
    printed.append("Killed\n")  # by the shell
    said = ["".join(printed)]
    for _ in range(2):
        with start(tmp_path) as again:
            said.append(again.communicate()[0])

    assert told == said
