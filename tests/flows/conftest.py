"""What the tests of all engines share: nothing is sent to anybody, and every run is in a folder of its own."""

import os
from pathlib import Path
from tempfile import mkdtemp

import pytest

from .runs import Attempts

# Before an engine is imported, as it reads them then; also those that the examples of the pages use.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "PREFECT_HOME": mkdtemp(prefix="prefect-"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    return Attempts(monkeypatch)
