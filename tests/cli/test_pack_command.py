"""`crystallize pack`."""

import tarfile
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal

from .command_runs import call, document_of, printed


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with Journal.start(tmp_path / "runs", "digits") as journal:
        journal.context(FrozenContext, {"lr": 0.1}).artifacts.add("model", bytes(2 << 20))
    return journal.path


def test_packs(path: Path, tmp_path: Path) -> None:
    """A run becomes an archive in the current folder, and the command says how to open it."""
    lines = printed("pack", "digits").splitlines()

    assert ["packed digits-0001 with 1 object into digits-0001.tar"] == lines[:1]
    assert ["unpack it with: tar -xf digits-0001.tar -C FOLDER"] == lines[1:]
    with tarfile.open(tmp_path / "digits-0001.tar") as file:
        assert "digits-0001.db" == file.getnames()[0]


def test_packs_as_json(path: Path, tmp_path: Path) -> None:
    """With --json the facts are a document."""
    archive = tmp_path / "one.tar"
    document = document_of("pack", path, "-o", archive)

    assert {"run": "digits-0001", "path": str(path), "archive": str(archive), "objects": 1} == {
        key: document[key] for key in ("run", "path", "archive", "objects")
    }
    assert archive.stat().st_size == document["size"]


def test_refuses_to_overwrite(path: Path, tmp_path: Path) -> None:
    """An archive that exists stays as it is."""
    (tmp_path / "digits-0001.tar").write_bytes(b"precious")
    result = call("pack", "digits")

    assert 2 == result.exit_code
    assert "there is such a file already" in result.stderr
    assert b"precious" == (tmp_path / "digits-0001.tar").read_bytes()
