"""`crystallize verify`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .command_runs import DAMAGES, died, document_of, made, printed


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_verifies_damaged(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """What is wrong with a damaged file is printed, and the exit status is 1."""
    path = made(tmp_path)
    damage(path)
    problems = printed("verify", path, status=1).splitlines()

    assert problems
    assert "verified" not in problems
    assert {"run": "digits-0001", "path": str(path), "problems": problems} == document_of("verify", path, status=1)


def test_verifies(made_run: Path) -> None:
    """A file that is as it was written is verified."""
    assert "verified\n" == printed("verify", made_run)
    assert {"run": "digits-0001", "path": str(made_run), "problems": []} == document_of("verify", made_run)


@pytest.mark.slow
def test_verifies_run_that_died(tmp_path: Path) -> None:
    """What a process had not put into the database before it died is no damage."""
    assert "verified\n" == printed("verify", died(tmp_path))
