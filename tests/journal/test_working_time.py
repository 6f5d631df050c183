"""The working time of a run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crystallize import FrozenContext, Journal, load_run
from crystallize._core.provenance import StepRecord
from crystallize._journal.rows import Attempt, Session
from crystallize._journal.working_time import seconds_of_processes

from .journal_runs import copied

_START = datetime(2026, 1, 1, tzinfo=UTC)
_ORIGIN: Any = {}


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _process(number: int, begin: float, end: float | None) -> Session:
    return Session(number, _at(begin), None if end is None else _at(end), None, None, _ORIGIN, {})


def _attempt(process: int, begin: float, end: float | None) -> Attempt:
    record = None if end is None else StepRecord("fit", (), (), (), {}, (), _at(begin), _at(end), None)
    return Attempt("fit", process, _at(begin), record)


def test_time_between_processes() -> None:
    """The time between two processes is not working time."""
    found = seconds_of_processes([_process(1, 0, 10), _process(2, 100, 103)], (), running=False)

    assert {1: 10, 2: 3} == found


def test_process_that_died() -> None:
    """A process that died counts until the last start or end of a step."""
    died = [_process(1, 0, None)]

    assert {1: 0} == seconds_of_processes(died, (), running=False)
    assert {1: 7} == seconds_of_processes(died, [_attempt(1, 2, 7)], running=False)
    assert {1: 8} == seconds_of_processes(died, [_attempt(1, 2, 7), _attempt(1, 8, None)], running=False)


def test_process_at_work() -> None:
    """The last process of a running run counts until now, and at least until its last step."""
    processes = [_process(1, 0, None), _process(2, 100, None)]

    assert {1: 0, 2: 20} == seconds_of_processes(processes, (), running=True, now=_at(120))
    assert {1: 0, 2: 30} == seconds_of_processes(processes, [_attempt(2, 101, 130)], running=True, now=_at(120))


def test_clock_set_back() -> None:
    """A process that ended before it started, by the clock, has worked for no time."""
    assert {1: 0} == seconds_of_processes([_process(1, 10, 0)], (), running=False)


def test_resumed_run(tmp_path: Path) -> None:
    """A run took as long as its processes together, also while the second one works."""
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
    before = load_run(journal.path)
    with Journal.resume(journal.path) as journal:
        ctx = journal.context(FrozenContext)
        journal.flush()
        during = load_run(journal.path).took
        ctx["accuracy"] = 0.9
    after = load_run(journal.path)
    lengths = [session.ended - session.started for session in after.sessions if session.ended is not None]

    assert before.took == lengths[0]
    assert sum(lengths, timedelta()) == after.took
    assert during is not None
    assert lengths[0] < during


def test_run_that_died(tmp_path: Path) -> None:
    """Nobody knows how long a run took whose process died."""
    journal = Journal.start(tmp_path, "digits")
    journal.context(FrozenContext, {"lr": 0.1})
    path = copied(journal, tmp_path / "died")
    journal.close()

    assert "died" == load_run(path).status
    assert load_run(path).took is None
