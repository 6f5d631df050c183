"""Stubs in a project of a user's: one folder, one line of configuration a checker, and all of it checked."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
CONFIGURATION = """
[tool.mypy]
mypy_path = "stubs"
strict = true

[tool.pyright]
stubPath = "stubs"
typeCheckingMode = "strict"

[tool.pyrefly]
search-path = ["stubs"]

[tool.ty.environment]
extra-paths = ["stubs"]
"""
USE = """
from typing import assert_type

from crystallize import FrozenContext
from pipeline.schemas import Train


def use(ctx: FrozenContext[Train]) -> None:
    assert_type(ctx["lr"], float)
    ctx["lrr"]
"""
CHECKERS = {
    "mypy": ["--cache-dir=.cache", "."],
    "pyright": [f"--pythonpath={sys.executable}"],
    "pyrefly": ["check", "--output-format=min-text", f"--python-interpreter-path={sys.executable}"],
    "ty": ["check", "--output-format=concise", f"--python={sys.executable}"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(EXAMPLES / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text(CONFIGURATION)
    (folder / "use.py").write_text(USE)
    # To checkers it is a variable, and would fit the context of every schema.
    (folder / "made.py").write_text('from pydantic import create_model\n\nMade = create_model("Made", lr=(int, 3))\n')
    command = [sys.executable, "-m", "crystallize", "stubs", "made", "pipeline.schemas"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("checker", CHECKERS)
def test_only_the_mistake_is_told(project: Path, checker: str) -> None:
    """Of all that there is in the project, stubs too, a checker reports the misspelt key alone."""
    command = [sys.executable, "-m", checker, *CHECKERS[checker]]
    answer = subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)
    told = [line for line in answer.stdout.splitlines() if re.search(r"error\b|^ERROR\b", line) and ".py" in line]

    places = {found for line in told for found in re.findall(r"\w+\.pyi?:\d+", line)}

    assert {f"use.py:{len(USE.splitlines())}"} == places
