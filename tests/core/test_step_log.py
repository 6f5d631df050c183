"""The records of steps, in packs and without."""

import pickle
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from crystallize import StepRecord
from crystallize._core import ordered_log
from crystallize._core.step_log import StepLog

START = datetime(2026, 5, 17, 12, 30, 0, 123456, UTC)


def record(name: str, error: str | None = None) -> StepRecord:
    points = MappingProxyType({"loss": 3})
    return StepRecord(name, ("lr",), ("seed",), ("score",), points, (), START, START + timedelta(1), error, ("a",), ())


def branch(at: int) -> tuple[StepRecord, ...]:
    """The records of a branch: of a step that finished, of one that failed, and of the branch."""
    return record(f"fold-{at}/fit"), record(f"fold-{at}/test", "ValueError: 7"), record(f"fold-{at}")


def filled(count: int) -> StepLog:
    log = StepLog([record("load"), record("save", "OSError")])
    for rank in range(count):
        log.insert(rank, 1, branch(rank))
    return log


def check(log: StepLog, count: int) -> None:
    expected = [record("load"), *(part for rank in range(count) for part in branch(rank)), record("save", "OSError")]
    assert expected == [*log]
    assert len(expected) == len(log)
    finished = {found.name for found in expected if found.error is None}
    asked = [*(found.name for found in expected), "fold-0/fit/deep", f"fold-{count}", "fold", "fold-0x"]
    assert [name in finished for name in asked] == [log.has_finished(name) for name in asked]


@pytest.mark.parametrize("packed", [range(0), range(8), range(3, 7), range(8, 4, -1)])
def test_packs_of_records(packed: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records are read from a pack, and the same names have finished, also in copies and after pickling."""
    monkeypatch.setattr(ordered_log, "FEWEST", 2)
    log = filled(9)
    packs = log.pack_records(packed)
    assert [len(packed)] * bool(packed) == [len([*pack.parts()]) for pack in packs]
    check(log, 9)
    check(StepLog(log.own, log.copy_sections()), 9)
    check(StepLog(log.own, pickle.loads(pickle.dumps(log.copy_sections()))), 9)
    log.pack_records(range(9))
    check(log, 9)


def test_insertion_that_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that replaces another one and is undone has not finished, and the earlier one is there again."""
    monkeypatch.setattr(ordered_log, "FEWEST", 2)
    log = filled(4)
    log.pack_records(range(4))
    log.insert(9, 1, (record("fold-9", "ValueError"),))
    before = [*log]
    with ExitStack() as undo:
        log.insert(9, 1, branch(9), undo)
        assert log.has_finished("fold-9")
        assert log.has_finished("fold-9/fit")
    assert before == [*log]
    assert not log.has_finished("fold-9")
    assert not log.has_finished("fold-9/fit")
    assert log.has_finished("fold-3")


def test_names_are_noted_when_somebody_asks() -> None:
    """A step counts as finished from the moment when its record is there, however often somebody has asked before."""
    log = StepLog([record("load")])
    assert (True, False) == (log.has_finished("load"), log.has_finished("fit"))
    log.append(record("fit", "ValueError"))
    assert not log.has_finished("fit")
    log.append(record("fit"))
    log.append(record("judge"))
    assert [True] * 3 == [log.has_finished(name) for name in ("judge", "fit", "load")]
