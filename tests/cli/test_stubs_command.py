"""`crystallize stubs`."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command_runs import call, complaint


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a project with a module of schemas, of which one cannot be written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = (
        "from pydantic import BaseModel\nclass Train(BaseModel):\n    lr: float\nclass Lost(BaseModel):\n    x: 'No'\n"
    )
    (tmp_path / "of_project.py").write_text(source)
    yield tmp_path
    sys.modules.pop("of_project", None)


REASON = (
    "it refers to 'No', which is not defined in its module nor where the context is made; define No there, or write the"
    " type without quotes and without `from __future__ import annotations`"
)
LOST = f"crystallize: of_project.Lost is left out: {REASON}\n"


@pytest.mark.slow
def test_stubs(project: Path) -> None:
    """Stubs are written for the modules of the folder that one is in, and what is left out is said."""
    result = call("stubs", "of_project")

    assert (0, LOST) == (result.exit_code, result.stderr)
    assert re.fullmatch(r"(\d+) of \1 files written in stubs, which know 1 schema and 0 metrics\n", result.stdout)
    assert "Literal['lr']" in (project / "stubs/crystallize/_core/protocols.pyi").read_text()


@pytest.mark.slow
def test_stubs_of_the_how_to(tmp_path: Path) -> None:
    """The how-to page shows what the command prints today."""
    page = Path(__file__).parents[2] / "docs/how-to/string-keys.md"
    result = call("stubs", "pipeline.schemas", "pipeline.tuning", "-o", tmp_path)
    shown = result.stdout.replace(str(tmp_path), "stubs")
    command = "$ crystallize stubs pipeline.schemas pipeline.tuning -o stubs\n"
    assert f"{command}{shown}```" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_stubs_checked(project: Path) -> None:
    """With --check nothing is written, and the exit status is 1 where something would be."""
    folder = project / "typings"
    missing = call("stubs", "of_project", "-o", folder, "--check")
    assert 1 == missing.exit_code
    assert f"missing: {folder / 'crystallize/_base/text.pyi'}" in missing.stdout.splitlines()
    assert not folder.exists()

    call("stubs", "of_project", "-o", folder)
    current = call("stubs", "of_project", "-o", folder, "--check")
    assert (0, "up to date\n") == (current.exit_code, current.stdout)


@pytest.mark.slow
def test_stubs_as_json(project: Path) -> None:
    """With --json there is one document of what is known, what was left out and what has changed."""
    call("stubs", "of_project")
    (project / "stubs/crystallize/_base/text.pyi").unlink()
    result = call("stubs", "of_project", "--check", "--json")

    assert 1 == result.exit_code
    assert {
        "folder": "stubs",
        "schemas": ["of_project.Train"],
        "metrics": [],
        "changed": [{"path": "stubs/crystallize/_base/text.pyi", "how": "missing"}],
        "refused": [{"schema": "of_project.Lost", "reason": REASON}],
    } == json.loads(result.stdout)


def test_stubs_of_no_module(project: Path) -> None:
    """What stands in the way of stubs is told in a line."""
    assert "of_projct: there is no module 'of_projct'; did you mean 'of_project'?" == complaint("stubs", "of_projct")
