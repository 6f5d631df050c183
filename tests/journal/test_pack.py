"""One archive of a run with its objects: it opens anywhere, and is whole or not there."""

import errno
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crystallize import FrozenContext, Journal, JournalError, ObjectError, RunNotFoundError, load_run
from crystallize._base.object_folder import ObjectFolder, name_of
from crystallize._journal import pack
from crystallize.runs import pack_run, verify_run

from .journal_runs import die
from .test_run_objects import LARGE, OTHER, made, object_of

pytestmark = pytest.mark.usefixtures("without_environment")


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as file:
        return file.getnames()


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack an archive as the command says, and return the file of its run."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    (path,) = folder.glob("*.db")
    return path


def test_finished_run(tmp_path: Path, runs: Path) -> None:
    """The archive has the run and the objects that it names, once each; elsewhere it loads, verifies and goes on."""
    path = made(runs)
    made(runs, OTHER)
    before = sorted(os.listdir(runs))
    packed = pack_run(path, tmp_path / "train.tar")
    assert (tmp_path / "train.tar", 1) == packed[:2]
    assert packed.archive.stat().st_size == packed.size
    digest = name_of([LARGE]).digest
    assert ["train-0001.db", f"objects/{digest[:2]}/{digest[2:]}"] == names_in(packed.archive)
    assert before == sorted(os.listdir(runs))
    elsewhere = unpacked(packed.archive, tmp_path / "elsewhere")
    assert () == verify_run(elsewhere)
    assert LARGE == load_run(elsewhere).artifacts["model"].data
    with Journal.resume(elsewhere) as journal:
        ctx = journal.context(FrozenContext)
        assert ctx.provenance.finished("fit")
        ctx.artifacts.add("other", OTHER)
    assert () == verify_run(elsewhere)
    assert [LARGE[:10], LARGE, OTHER] == [artifact.data for artifact in load_run(elsewhere).artifacts]


def test_run_that_died(tmp_path: Path, runs: Path) -> None:
    """The archive of a run that died has its spool, with the last facts."""
    opened = Journal.start(runs, "train")
    ctx = opened.context(FrozenContext, {"lr": 0.1})
    ctx.artifacts.add("model", LARGE)
    opened.flush()
    ctx["late"] = 1
    ctx.artifacts.add("later", OTHER)
    die(opened)
    packed = pack_run(opened.path)
    assert (runs / "train-0001.tar", 2) == packed[:2]
    elsewhere = unpacked(packed.archive, tmp_path / "elsewhere")
    assert () == verify_run(elsewhere)
    run = load_run(elsewhere)
    assert ("died", None, {"lr": 0.1, "late": 1}) == (run.status, run.incomplete, run.values)
    with Journal.resume(elsewhere) as journal:
        assert OTHER == journal.context(FrozenContext).artifacts["later"].data


def test_run_that_is_written(runs: Path) -> None:
    """A run that is being written is not packed, and no file is left."""
    with Journal.start(runs, "train") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        before = sorted(os.listdir(runs))
        with pytest.raises(JournalError, match="the run is being written; pack it when it has ended"):
            pack_run(journal.path)
        assert before == sorted(os.listdir(runs))


def test_no_run(runs: Path) -> None:
    """A run that does not exist is the usual error."""
    with pytest.raises(RunNotFoundError):
        pack_run(runs / "train-0001.db")


def test_archive_that_exists(runs: Path) -> None:
    """No file is overwritten, least of all a run; what a dead process has left is."""
    path = made(runs)
    path.with_suffix(".tar").write_bytes(b"precious")
    with pytest.raises(JournalError, match=r"train-0001\.tar: there is such a file already; name another"):
        pack_run(path)
    with pytest.raises(JournalError, match="this is the file of a run"):
        pack_run(path, path)
    assert b"precious" == path.with_suffix(".tar").read_bytes()
    (runs / "other.tar.new").write_bytes(b"part")
    assert 2 == len(names_in(pack_run(path, runs / "other.tar").archive))


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(OTHER)], ids=["missing", "changed"])
def test_damaged_object(runs: Path, harm: Callable[[Path], object]) -> None:
    """A run whose object is missing or changed is not packed."""
    path = made(runs)
    object_of(runs, LARGE).chmod(0o644)
    harm(object_of(runs, LARGE))
    before = sorted(os.listdir(runs))
    with pytest.raises(ObjectError, match=r"the object (is missing|was changed)"):
        pack_run(path)
    assert before == sorted(os.listdir(runs))


def test_full_disk(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full is an error of ours, and leaves no archive."""
    path = made(runs)

    def full(*of: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack, "_add_object", full)
    before = sorted(os.listdir(runs))
    with pytest.raises(JournalError, match=r"archive cannot be written .*No space left.*make room, or name another"):
        pack_run(path)
    assert before == sorted(os.listdir(runs))


def test_unpacked_beside_others(tmp_path: Path, runs: Path) -> None:
    """A run that is unpacked into a folder of runs shares the objects that are there."""
    packed = pack_run(made(runs), tmp_path / "one.tar")
    elsewhere = tmp_path / "elsewhere"
    with Journal.start(elsewhere, "other") as journal:
        journal.context(FrozenContext).artifacts.add("model", LARGE)
    subprocess.run(["tar", "-xf", packed.archive, "-C", elsewhere], check=True)
    assert [(), ()] == [verify_run(path) for path in sorted(elsewhere.glob("*.db"))]
    assert ObjectFolder(elsewhere / "objects").problem_of(name_of([LARGE])) is None


def test_large_values(tmp_path: Path, runs: Path) -> None:
    """The large parts of values are objects, too: they are packed, and a missing one is named once."""
    with Journal.start(runs, "train") as journal:
        journal.context(FrozenContext, {"array": np.arange(300_000)})
    elsewhere = unpacked(pack_run(journal.path).archive, tmp_path / "elsewhere")
    assert () == verify_run(elsewhere)
    assert 299_999 == load_run(elsewhere).values["array"][-1]
    (part,) = (path for path in (elsewhere.parent / "objects").rglob("*") if path.is_file())
    part.unlink()
    assert (f"the value of key 'array': {part}: the object is missing",) == verify_run(elsewhere)
