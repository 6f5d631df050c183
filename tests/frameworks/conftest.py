"""What the tests of all frameworks share: nothing is fetched, and each test writes to a folder of its own."""

import os
from pathlib import Path

import pytest

# Before a framework is imported, as it reads them then.
os.environ |= {"HF_HUB_OFFLINE": "1", "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the frameworks warn: of the machine, of what they deprecate themselves."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default"))
