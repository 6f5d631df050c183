"""The spool by itself: claiming, taking over, and what is in the way of that."""

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import DamagedRunError, JournalError, RunInUseError
from crystallize._base.file_system import create_file
from crystallize._journal import frame_writer, spool, spool_format
from crystallize._journal.event_bytes import MERGE, POINTS, gathered, members, span
from crystallize._journal.lock import is_locked
from crystallize._journal.spool import Spool
from crystallize._journal.spool_format import spooled
from tests.interruption import Stopped, in_thread, interrupted

RUN = bytes(range(16))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_writer, "CAPACITY", 4096)
    monkeypatch.setattr(spool, "_TRIES", 3)


def made(path: Path) -> Spool:
    found = Spool.claim(path, RUN)
    assert found is not None
    found.begin(RUN, 1, 0)
    return found


def test_claims_once(tmp_path: Path) -> None:
    """A spool is made where there is none, by one alone, and is there as a whole or not at all."""
    path = tmp_path / "a.spool"
    first = made(path)
    assert Spool.claim(path, RUN) is None
    assert is_locked(path)
    with pytest.raises(RunInUseError):
        Spool.open(path, RUN, 1, 0)
    first.close(delete=True)
    assert [] == list(tmp_path.iterdir())
    assert not is_locked(path)


def test_somebody_else_has_just_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file that somebody else is making is renamed before it can be opened, the spool is made after all."""
    create = create_file
    tries: list[Path] = []

    def create_late(path: Path) -> int:
        tries.append(path)
        if len(tries) == 1:
            raise FileExistsError
        return create(path)

    monkeypatch.setattr(spool, "create_file", create_late)
    made(tmp_path / "a.spool").close()
    assert len(tries) == 2


def test_somebody_else_is_making_it(tmp_path: Path) -> None:
    """While somebody is making a spool, nobody else does."""
    path = tmp_path / "a.spool"
    descriptor = os.open(tmp_path / "a.spool.new", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert Spool.claim(path, RUN) is None
    with pytest.raises(RunInUseError):
        Spool.open(path, RUN, 1, 0)
    os.close(descriptor)
    made(path).close()


def test_takes_over_what_is_left(tmp_path: Path) -> None:
    """A spool whose writer is gone is taken over with what is in it; one that is not there is made."""
    path = tmp_path / "a.spool"
    first = made(path)
    assert first.append(b"[1]")
    assert first.append(b"[2]")
    assert not first.append(bytes(4096))
    first.close()
    second = Spool.open(path, RUN, 1, 2)
    assert [b"[1]", b"[2]"] == [*spooled(path, RUN, 1, 0)]
    assert [b"[2]"] == [*spooled(path, RUN, 1, 1)]
    second.close(delete=True)
    Spool.open(path, RUN, 1, 2).close()
    assert [] == [*spooled(path, RUN, 1, 2)]


def test_let_go_gives_the_lock_back(tmp_path: Path) -> None:
    """A forked process lets go of the file, and leaves it where it is."""
    path = tmp_path / "a.spool"
    made(path).let_go()
    assert not is_locked(path)
    assert path.exists()


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "rename"])
def test_file_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whatever the system refuses in making it is one error, which names the file, and nothing is left behind."""

    def refuse(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(JournalError, match=r"a\.spool: its spool cannot be made \(.*denied"):
            Spool.claim(tmp_path / "a.spool", RUN)
    assert not (tmp_path / "a.spool").exists()


def test_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for it, the error says so and what to do."""

    def refuse(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(JournalError, match=r"there is no room for its spool .*; make room"):
        Spool.claim(tmp_path / "a.spool", RUN)
    assert [] == list(tmp_path.iterdir())


def test_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool that may not be opened, or read, is an error that names it."""
    path = tmp_path / "a.spool"
    made(path).close()

    def refuse(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(JournalError, match=r"a\.spool: its spool cannot be opened"):
            Spool.open(path, RUN, 1, 0)
        with pytest.raises(JournalError, match=r"a\.spool: the spool of this run cannot be read"):
            is_locked(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(JournalError, match="cannot be read"):
        next(spooled(path, RUN, 1, 0))


def test_header_that_was_written_out_late(tmp_path: Path) -> None:
    """Facts beyond the last one that the header tells of are whole, and count."""
    path = tmp_path / "a.spool"
    made_one = made(path)
    for fact in (b"[1]", b"[2]", b"[3]"):
        assert made_one.append(fact)
    made_one.frames._positions[0] = 1
    made_one.close()

    assert [b"[1]", b"[2]", b"[3]"] == [*spooled(path, RUN, 1, 0)]


FACTS = st.binary(min_size=1, max_size=40).filter(lambda fact: not fact.startswith((MERGE, POINTS)))


@given(st.lists(FACTS, max_size=20))
def test_facts_gathered_in_one(several: list[bytes]) -> None:
    """Whatever facts are kept together, they come apart again as they were, and it is known how many they are."""
    whole = gathered(several)
    assert (len(several), several) == (span(whole), [*members(whole)])


@given(FACTS)
def test_a_fact_by_itself(fact: bytes) -> None:
    """A fact that is no merge is one, and the only one in it."""
    assert (1, [fact]) == (span(fact), [*members(fact)])


def test_a_frame_of_many(tmp_path: Path) -> None:
    """Facts that are kept together count as many, and what is drained of them is all or nothing."""
    path = tmp_path / "a.spool"
    made_one = made(path)
    merge = gathered([b"[2]", b"[3]", b"[4]"])
    assert made_one.append(b"[1]")
    assert made_one.append(merge, 3)
    assert made_one.append(b"[5]")
    assert 5 == made_one.frames.last
    made_one.close()
    for drained, left in {0: [b"[1]", merge, b"[5]"], 1: [merge, b"[5]"], 4: [b"[5]"], 5: []}.items():
        assert left == [*spooled(path, RUN, 1, drained)]
    for drained in (2, 3):
        with pytest.raises(DamagedRunError, match="were acknowledged and cannot be read"):
            [*spooled(path, RUN, 1, drained)]


def test_sequences_left_out(tmp_path: Path) -> None:
    """What went elsewhere leaves no hole: the spool begins anew after it."""
    path = tmp_path / "a.spool"
    made_one = made(path)
    assert made_one.append(b"[1]")
    made_one.frames.set_aside(bytes(8192), 7)
    assert not made_one.append(b"[9]")  # not before the large one is drained
    made_one.frames.rewind()
    assert not made_one.append(b"[9]")
    made_one.pending.clear()
    made_one.frames.rewind()
    assert made_one.append(b"[9]")
    made_one.close()
    assert [b"[9]"] == [*spooled(path, RUN, 1, 8)]


def test_spool_that_cannot_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that was made read-only meanwhile keeps the spool, and the log says that it may be deleted."""
    path = tmp_path / "a.spool"
    spooler = made(path)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        spooler.close(delete=True)
    assert "a: its spool is not needed any more, and cannot be deleted" in caplog.text
    assert not is_locked(path)


def test_truncated(tmp_path: Path) -> None:
    """A spool that another program truncated, moved or deleted is noticed."""
    path = tmp_path / "a.spool"
    spooler = made(path)
    assert spooler.loss() is None
    os.truncate(path, 100)
    assert "truncated" == spooler.loss()
    os.truncate(path, 4096)
    path.rename(tmp_path / "b.spool")
    assert "moved or deleted" == spooler.loss()
    spooler.close()
    spooler.close()


def test_locked_by_another_as_soon_as_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another process locks between its creation and our lock is left to that process."""
    monkeypatch.setattr(spool, "lock", lambda descriptor: False)
    assert Spool.claim(tmp_path / "a.spool", RUN) is None


def test_format_of_another_version(tmp_path: Path) -> None:
    """A spool of another format is an error that names both formats."""
    path = tmp_path / "a.spool"
    made(path).close()
    content = bytearray(path.read_bytes())
    content[8] += 1
    path.write_bytes(content)
    with pytest.raises(DamagedRunError, match="its format is 3, and this version of crystallize reads 2"):
        next(spooled(path, RUN, 1, 0))


def append_at(path: Path, at: int) -> int:
    """Interrupt appending at a bytecode, append more, and return how many bytecodes there were."""
    spooler = made(path)
    spooler.append(b"[1]")
    with suppress(Stopped), interrupted(at, Stopped()) as counted:
        spooler.append(b"[2]")
    spooler.append(b"[3]")
    pending, last = [*spooler.pending], spooler.frames.last
    spooler.frames.mark_synced(last)
    spooler.close(delete=False)
    spooler.frames.mark_synced(last)  # does nothing any more
    assert pending in ([b"[1]", b"[2]", b"[3]"], [b"[1]", b"[3]"])
    assert (pending, last) == ([*spooled(path, RUN, 1, 0)], len(pending))
    path.unlink()
    return counted[0]


@pytest.mark.parametrize("is_mapped", [True, False])
def test_interrupted_at_any_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_mapped: bool) -> None:
    """Whatever comes while a fact is appended, the fact is taken as a whole or not at all."""
    if not is_mapped:
        monkeypatch.setattr(frame_writer, "is_written_in_place", lambda path: False)
    count = max(in_thread(partial(append_at, tmp_path / "count.spool", 0)) for _ in range(2))
    for at in range(1, count + 1):
        in_thread(partial(append_at, tmp_path / f"{at}.spool", at))


class Stubborn(list[bytes]):
    """A list that is interrupted once before anything is added to it."""

    was_interrupted = False

    def __iadd__(self, items: Iterable[bytes]) -> Self:  # type: ignore[override, misc]  # of bytes alone
        if not self.was_interrupted:
            self.was_interrupted = True
            raise KeyboardInterrupt
        return super().__iadd__(items)


@pytest.mark.parametrize("is_mapped", [True, False])
def test_interrupted_between_the_frame_and_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_mapped: bool
) -> None:
    """A fact whose frame is written is taken, also if an exception comes before it is in the list of pending facts."""
    monkeypatch.setattr(frame_writer, "is_written_in_place", lambda path: is_mapped)
    path = tmp_path / "a.spool"
    spooler = made(path)
    spooler.frames.pending = Stubborn()
    with pytest.raises(KeyboardInterrupt):
        spooler.append(b"[1]")
    assert spooler.append(b"[2]")
    assert [b"[1]", b"[2]"] == spooler.frames.pending
    spooler.close()
    assert [b"[1]", b"[2]"] == [*spooled(path, RUN, 1, 0)]


def test_header_that_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact whose frame is written is taken, also if the position in the header cannot be written."""
    monkeypatch.setattr(frame_writer, "is_written_in_place", lambda path: False)
    path = tmp_path / "a.spool"
    spooler = made(path)
    real = frame_writer._WrittenFile.__setitem__

    def refuse(file: Any, index: slice | int, data: Any) -> None:
        if isinstance(index, int):
            raise OSError(28, "No space left on device")
        real(file, index, data)

    with monkeypatch.context() as patch:
        patch.setattr(frame_writer._WrittenFile, "__setitem__", refuse)
        with pytest.raises(OSError, match="No space"):
            spooler.append(b"[1]")
    assert [b"[1]"] == spooler.pending
    spooler.close()
    assert [b"[1]"] == [*spooled(path, RUN, 1, 0)]


def test_spool_that_is_full_of_frames(tmp_path: Path) -> None:
    """A spool whose last frame ends at its end is read to its end."""
    path = tmp_path / "a.spool"
    spooler = made(path)
    room = 4096 - spool_format.START - 2 * spool_format.FRAME.size
    assert spooler.append(b"x" * 1000)
    assert spooler.append(b"y" * (room - 1000))
    spooler.close()
    assert [1000, room - 1000] == [*map(len, spooled(path, RUN, 1, 0))]
