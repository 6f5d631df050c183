"""A run that several tests only read, made once a file."""

from pathlib import Path

import pytest

from .command_runs import made


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made"))
