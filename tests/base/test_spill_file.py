"""A temporary file for data that is rarely read again."""

import gc
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize._base.spill_file import CAN_SPILL, SpillFile

pytestmark = pytest.mark.skipif(not CAN_SPILL, reason="no such file on this system")


@given(st.lists(st.binary(max_size=100_000), max_size=8))
def test_each_stored_function_has_its_result(contents: list[bytes]) -> None:
    file = SpillFile()
    stored = [file.stored(partial(bytes, content)) for content in contents]
    assert [read() for read in reversed(stored)] == contents[::-1]


def test_the_system_takes_few_bytes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: write(descriptor, data[:3], at))
    assert SpillFile().stored(partial(str, "long enough"))() == "long enough"


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read = SpillFile().stored(partial(int, 7))
    assert not list(tmp_path.iterdir())
    gc.collect()  # the function keeps the file
    assert read() == 7


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_the_file_is_closed_with_the_last_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read = [SpillFile().stored(partial(int, 7))]
    assert len(open_in(tmp_path)) == 1
    read.clear()
    gc.collect()
    assert not open_in(tmp_path)


def open_in(folder: Path) -> list[str]:
    """Return the files of a folder that this process has open; they may be deleted."""
    paths = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            paths.append(os.readlink(link))
    return [path for path in paths if path.startswith(str(folder))]


def test_forked_process_reads_and_does_not_own() -> None:
    file = SpillFile()
    read = file.stored(partial(int, 7))
    assert file.is_own
    child = os.fork()
    if not child:
        os._exit(0 if read() == 7 and not file.is_own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
