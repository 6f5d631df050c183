"""The working time of a run: how long its processes worked, without the time between two of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from .rows import Attempt, Session


def seconds_of_processes(
    sessions: Sequence[Session], attempts: Iterable[Attempt], *, running: bool, now: datetime | None = None
) -> Mapping[int, float]:
    """Return how many seconds each process of a run worked, by its number.

    A process that died counts until the last moment that is on record: the start or the end of a step.

    `running`: whether the last process is still at work; it counts until `now`.
    """
    ends = {session.number: session.ended or session.started for session in sessions}
    died = {session.number for session in sessions if session.ended is None}
    for attempt in attempts:
        if attempt.session in died:
            last = attempt.started if attempt.record is None else attempt.record.ended
            ends[attempt.session] = max(ends[attempt.session], last)
    if running:
        # Not before its last step: the clock may belong to another machine.
        newest = max(ends)
        ends[newest] = max(ends[newest], now or datetime.now(UTC))
    # Not below zero, as the clock may have been set back.
    return {session.number: max((ends[session.number] - session.started).total_seconds(), 0) for session in sessions}


def working_time(sessions: Sequence[Session], attempts: Iterable[Attempt], *, running: bool) -> timedelta:
    """Return how long the processes of a run worked together."""
    return timedelta(seconds=sum(seconds_of_processes(sessions, attempts, running=running).values()))
