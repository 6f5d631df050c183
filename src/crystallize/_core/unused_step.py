"""Warn of a step that nobody used, while the work it was opened for was done outside of it."""

import threading
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Final, TypeAlias

from .._base.caller_namespace import levels_to_caller
from ..errors import UnusedStepWarning
from .metric_log import MetricLog
from .state import State
from .steps import StepToken, unnumbered

WorkMark: TypeAlias = tuple[int, int, int, Sequence[int]]
"""The numbers of keys, of artifacts, of steps that have ended, and of the points of the first metrics, at one moment.

A plain tuple, since every step makes one.
"""

_METRICS: Final = 16
"""So many metrics are looked at, so that a step takes no longer in a context with many."""


def work_mark(state: State) -> WorkMark:
    """Return the mark of this moment."""
    points = [log.points.length() for log in _first_logs(state)] if state.metric_store.logs else ()
    return len(state.values), len(state.artifact_store.found), len(state.step_log.own), points


def _first_logs(state: State) -> list[MetricLog]:
    logs = state.metric_store.logs
    # All in one call, between whose parts no other thread can add a metric.
    return [*islice(logs.values(), _METRICS)]


def _work_since(before: WorkMark, state: State, token: StepToken) -> Iterator[str]:
    """Return the names of the keys, metrics and artifacts that were written since for the step of a token."""
    keys, artifacts, _, points = before
    step, number = token.step, token.open_number()
    for key in islice([*state.values], keys, None):
        _, _, writer, is_input = state.values[key]
        if writer == step and not is_input:
            yield f"key {key!r}"
    for log, length in zip(_first_logs(state), chain(points, repeat(0)), strict=False):
        if log.points.count_since(number, length):
            yield f"metric {log.name!r}"
    for artifact in islice([*state.artifact_store.found.values()], artifacts, None):
        if artifact.step == step:
            yield f"artifact {artifact.name!r}"


def warn_if_unused(state: State, outer: StepToken, token: StepToken, before: WorkMark, *, is_task: bool) -> None:
    """Warn once for each context if a step has ended that has nothing on its record, and work was done around it.

    `outer` is the step around it. Nothing is said of a step in a thread, or beside other steps: then others may
    have done the work.
    """
    name = str(token.step)
    if token.marks or state.artifact_store.added_by(name) or state.step_log.has_warned:
        return
    is_alone = state.registry.names[-1] == name and len(state.step_log.own) == before[2] + 1
    if not is_alone or threading.current_thread() is not threading.main_thread():
        return
    if work := tuple(_work_since(before, state, outer)):
        state.step_log.has_warned = True
        own = unnumbered(name.rpartition("/")[2])[0]
        line = None if is_task else f'with ctx.step("{own}") as step:'
        warnings.warn(UnusedStepWarning(name, outer.step, work, line), stacklevel=levels_to_caller())
