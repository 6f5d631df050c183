"""The fast recorders of points.

Points are recorded in the innermost loops of a training, so there are two ways to record. The slow way,
`MetricStore.record`, takes one step after the other: it finds the metric, validates the value and the tags, freezes
both, appends the point, and emits an event. It raises the errors.

A fast recorder is a closure, made once for a metric and a step. It does the same, but only for points that are valid
without a doubt. Three facts make it fast:

- All its data are local variables of the closure: no attribute is looked up per point.
- `checks.validate` and `checks.split` are methods of pydantic-core. If the types of a metric allow only floats, ints,
  bools and texts (then `checks.split` is not None), their results are immutable and need no freezing.
- `token.number` is deleted when the step ends. So reading it also checks that the step is open.

A fast recorder raises no errors of its own. If anything goes wrong, it has changed nothing. It then calls the slow way
with the same arguments, which fails in the same way and raises the proper error. Both ways have the same outcome for
every input: value, tags, step, events and errors. A property test compares them.

A point is appended by one call of `list.extend`, which no other thread can interrupt. With sinks, the dispatcher's lock
is held over that call and `emit`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from ..events import MetricRecorded
from .event_dispatch import EventDispatcher
from .metric_log import MetricLog
from .point_log import BLOCK, FULL
from .steps import StepToken

Recorder: TypeAlias = Callable[..., None]
"""Records a point with a value and its tags."""

_new_tuple: Any = tuple.__new__
"""Makes a named tuple from a tuple, in half the time of the named tuple's own class."""


def fast_recorder(slow: Recorder, dispatcher: EventDispatcher, log: MetricLog, token: StepToken) -> Recorder:
    """Return a fast recorder. On any failure it falls back to `slow`, which raises the error."""
    assert log.metric is not None
    assert log.metric.checks.split is not None
    validate, split, count = log.metric.checks.validate, log.metric.checks.split, log.metric.checks.tag_count
    extend, tail, seal, full = log.points.extend, log.points.tail, log.points.seal, FULL

    def record(value: Any, tags: Any = None) -> None:
        try:
            if count is not None and len(tags) != count:
                raise TypeError("other tags than declared")
            extend((validate(value), split(tags), token.number))
        except Exception:  # the slow recorder raises it again
            pass
        else:
            if len(tail) >= full:
                seal()
            return
        slow(value, tags)

    lock, emit, name, blocks = dispatcher.lock, dispatcher.emit, log.name, log.points.blocks

    def record_and_emit(value: Any, tags: Any = None) -> None:
        try:
            valid, kept = validate(value), split(tags)
            fits = count is None or len(tags) == count
        except Exception:  # as above
            pass
        else:
            with lock:
                number = getattr(token, "number", None)
                if fits and number is not None:
                    facts = (name, valid, kept.copy(), token.step, len(blocks) * BLOCK + len(tail) // 3, None)
                    extend((valid, kept, number))
                    if len(tail) >= full:
                        seal()
                    emit(_new_tuple(MetricRecorded, facts))
                    return
        slow(value, tags)

    return record_and_emit if dispatcher.sinks else record


def fast_bound_recorder(
    slow: Recorder, dispatcher: EventDispatcher, log: MetricLog, token: StepToken, tags: dict[str, Any]
) -> Recorder:
    """Return a fast recorder of values with these tags, which are already valid."""
    assert log.metric is not None
    validate = log.metric.checks.validate
    extend, tail, seal, full = log.points.extend, log.points.tail, log.points.seal, FULL

    def record(value: Any) -> None:
        try:
            extend((validate(value), tags, token.number))
        except Exception:  # the slow recorder raises it again
            pass
        else:
            if len(tail) >= full:
                seal()
            return
        slow(value)

    lock, emit, name, blocks = dispatcher.lock, dispatcher.emit, log.name, log.points.blocks

    def record_and_emit(value: Any) -> None:
        try:
            valid = validate(value)
        except Exception:  # as above
            pass
        else:
            with lock:
                number = getattr(token, "number", None)
                if number is not None:
                    facts = (name, valid, tags.copy(), token.step, len(blocks) * BLOCK + len(tail) // 3, None)
                    extend((valid, tags, number))
                    if len(tail) >= full:
                        seal()
                    emit(_new_tuple(MetricRecorded, facts))
                    return
        slow(value)

    return record_and_emit if dispatcher.sinks else record
