"""An archive of a run becomes a run again."""

import io
import tarfile
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal, JournalError, ObjectError, load_run
from crystallize.runs import list_runs, pack_run, unpack_run, verify_run

from .journal_runs import copied


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with Journal.start(tmp_path / "runs", "digits") as journal:
        journal.context(FrozenContext, {"lr": 0.1}).artifacts.add("model", bytes(2 << 20))
    return pack_run(journal.path, tmp_path / "digits.tar").archive


def forged(archive: Path, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> Path:
    """Add a member to an archive."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    with tarfile.open(archive, "a") as tar:
        tar.addfile(info, io.BytesIO(content))
    return archive


def test_unpacks(archive: Path, tmp_path: Path) -> None:
    """The run and its objects are in the folder, and nothing else."""
    path = unpack_run(archive, tmp_path / "elsewhere")

    assert tmp_path / "elsewhere" / "digits-0001.db" == path
    assert ["digits-0001.db", "objects"] == sorted(file.name for file in path.parent.iterdir())
    assert () == verify_run(path)
    assert bytes(2 << 20) == load_run(path).artifacts["model"].data


def test_run_that_died(tmp_path: Path) -> None:
    """The facts in the spool of a run that died are in the file of the unpacked run."""
    journal = Journal.start(tmp_path / "living", "digits")
    ctx = journal.context(FrozenContext, {"lr": 0.1})
    journal.flush()
    ctx["accuracy"] = 0.9
    died = copied(journal, tmp_path / "died")
    journal.close()
    path = unpack_run(pack_run(died).archive, tmp_path / "elsewhere")

    assert [path] == [*path.parent.iterdir()]
    assert (("died", 0.9), None) == (
        (load_run(path).status, load_run(path).values["accuracy"]),
        load_run(path).incomplete,
    )


def test_refuses_to_overwrite(archive: Path, tmp_path: Path) -> None:
    """A run that is there stays, also if it is being written."""
    with pytest.raises(JournalError, match="there is such a run already; unpack the archive into another folder"):
        unpack_run(archive, tmp_path / "runs")
    with Journal.start(tmp_path / "other", "digits"), pytest.raises(JournalError, match="there is such a run already"):
        unpack_run(archive, tmp_path / "other")

    assert () == verify_run(tmp_path / "runs" / "digits-0001.db")
    assert 1 == len(list_runs(tmp_path / "other"))


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("../evil-0001.db", tarfile.REGTYPE, "it contains '../evil-0001.db'"),
        ("/evil-0001.db", tarfile.REGTYPE, "it contains '/evil-0001.db'"),
        ("second-0001.db", tarfile.REGTYPE, "it contains 'second-0001.db'"),
        ("objects/../x", tarfile.REGTYPE, "it contains 'objects/../x'"),
        ("second-0001.spool", tarfile.REGTYPE, "it does not contain one run"),
        ("objects", tarfile.DIRTYPE, "'objects' is not a file"),
        ("link-0001.db", tarfile.SYMTYPE, "'link-0001.db' is not a file"),
    ],
)
def test_foreign_archive(archive: Path, tmp_path: Path, name: str, kind: bytes, reason: str) -> None:
    """An archive with anything else in it is refused, and no run is made."""
    with pytest.raises(JournalError) as caught:
        unpack_run(forged(archive, name, kind=kind), tmp_path / "elsewhere")

    assert reason in str(caught.value)
    assert () == list_runs(tmp_path / "elsewhere")
    assert {"objects"} >= {path.name for path in (tmp_path / "elsewhere").iterdir()}


def test_changed_object(archive: Path, tmp_path: Path) -> None:
    """An object that is not as its name says is refused."""
    with pytest.raises(ObjectError, match="its content has another digest"):
        unpack_run(forged(archive, f"objects/ab/{62 * 'c'}", b"changed"), tmp_path / "elsewhere")

    assert () == list_runs(tmp_path / "elsewhere")


def test_no_archive(tmp_path: Path) -> None:
    """A file that is no archive, or an archive without a run, is refused."""
    (tmp_path / "a.tar").write_bytes(b"no archive" * 1000)
    with pytest.raises(JournalError, match="it is not an archive of a run"):
        unpack_run(tmp_path / "a.tar", tmp_path / "runs")
    with tarfile.open(tmp_path / "b.tar", "w"):
        pass
    with pytest.raises(JournalError, match="it does not contain one run"):
        unpack_run(tmp_path / "b.tar", tmp_path / "runs")
    with pytest.raises(JournalError, match="it cannot be unpacked"):
        unpack_run(tmp_path / "none.tar", tmp_path / "runs")
