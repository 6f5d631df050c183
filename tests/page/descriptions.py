"""Descriptions of runs, made by hand, for the tests of the drawings of a page."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from crystallize._tables.export import ValueRow
from crystallize._tables.run_description import Description, RunProcess, StepAttempt

__all__ = ["run", "step"]

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def step(name: str, begin: float = 0, end: float | None = 1, **facts: Any) -> StepAttempt:
    """Return an opening of a step, from one second to another."""
    known: dict[str, Any] = {"reads": (), "absent": (), "writes": (), "points": {}, "artifacts": (), "error": None}
    outcome = "died" if end is None else "finished"
    seconds = None if end is None else end - begin
    known |= {"session": 1, "outcome": outcome, "started": at(begin), "seconds": seconds}
    return StepAttempt(**{"name": name, "ended": None if end is None else at(end), **known, **facts})


def run(
    *steps: StepAttempt,
    dead: Iterable[StepAttempt] = (),
    spans: Iterable[tuple[float, float | None]] = ((0, 10),),
    inputs: Iterable[str] = (),
    values: Iterable[str] = (),
) -> Description:
    """Return what is said of a run with these steps and keys, whose processes lived in these spans."""
    origin: Any = {}
    attempts = (*steps, *dead)
    sessions = tuple(
        RunProcess(
            number,
            at(begin),
            None if end is None else at(end),
            _worked(number, begin, end, attempts),
            "finished",
            None,
            origin,
        )
        for number, (begin, end) in enumerate(spans, start=1)
    )
    rows = {key: ValueRow(key, "int", key in inputs, None, None, 1) for key in (*inputs, *values)}
    return Description(
        name="digits-0001",
        number=1,
        path="digits-0001.db",
        status="finished",
        started=START,
        ended=None,
        seconds=None,
        error=None,
        sessions=sessions,
        inputs=tuple(rows[key] for key in inputs),
        values=tuple(rows[key] for key in values),
        steps=steps,
        dead_attempts=attempts[len(steps) :],
        metrics=(),
        artifacts=(),
    )


def _worked(number: int, begin: float, end: float | None, attempts: Iterable[StepAttempt]) -> float:
    """Return how many seconds a process worked, as far as that is known."""
    ends = [attempt.ended or attempt.started for attempt in attempts if attempt.session == number]
    last = max([at(begin), *ends]) if end is None else at(end)
    return max((last - at(begin)).total_seconds(), 0)
