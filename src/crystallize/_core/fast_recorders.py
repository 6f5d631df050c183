"""The fast recorders of points.

Points are recorded in the innermost loops of a training, so there are two ways to record. The slow way,
`MetricStore.record`, takes one step after the other: it finds the metric, validates the value and the tags, freezes
both, appends the point, and emits an event. It raises the errors.

A fast recorder is a closure, made once for a metric and a step. It does the same, but only for points that are valid
without a doubt. Three facts make it fast:

- All its data are local variables of the closure: no attribute is looked up per point.
- Values and tags are validated by methods of pydantic-core. If the types of a metric allow only floats, ints, bools and
  texts (then `checks.split` is not None), their results are immutable and need no freezing. See `point_items.py`.
- `token.number` is deleted when the step ends. So reading it also checks that the step is open.

A fast recorder raises no errors of its own. If anything goes wrong, it has changed nothing. It then calls the slow way
with the same arguments, which fails in the same way and raises the proper error. Both ways have the same outcome for
every input: value, tags, step, events and errors. A property test compares them.

A point is appended by one call of `list.extend`, which no other thread can interrupt. With sinks, the dispatcher's lock
is held over that call and the calls of the sinks.

An exception such as KeyboardInterrupt can come between any two bytecodes. Once the point is appended, all sinks receive
its event before the exception goes on. `EventDispatcher.commit` does this for every other change; here it is written
out, because its calls would double the time of a point.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from .._base.signal_handlers import reraise_from_handler
from ..events import MetricRecorded
from .event_delivery import Failure, sink_error
from .event_dispatch import EventDispatcher
from .immutable_types import PLAIN
from .metric_checks import MetricChecks
from .metric_log import MetricLog
from .packed_columns import PointLayout
from .point_items import ItemMaker, items_by_tag, plain_tags, undeclared_items
from .point_log import BLOCK
from .steps import StepToken

Recorder: TypeAlias = Callable[..., None]
"""Records a point with a value and its tags."""

_Keeper: TypeAlias = Callable[[Any, Iterable[Any], dict[str, Any]], bool]
"""Keeps a valid value, the items for the tags, and the tags of the event."""

_NOT_BEGUN: Final = -1
_DONE: Final = -2
"""These stand for the number of sinks that were called, before and after all are."""

_new_tuple: Any = tuple.__new__
"""Makes a named tuple from a tuple, in half the time of the named tuple's own class."""


def fast_recorder(slow: Recorder, dispatcher: EventDispatcher, log: MetricLog, token: StepToken) -> Recorder:
    """Return a fast recorder. On any failure it falls back to `slow`, which raises the error."""
    checks, layout = None if log.metric is None else log.metric.checks, log.points.layout
    if dispatcher.sinks:
        keep = _keeper(dispatcher, log, token)
        return _undeclared_emitter(slow, keep) if checks is None else _emitter(slow, keep, checks, layout)
    if checks is None:
        return _recorder_of_items(slow, log, undeclared_items(token))
    if layout.tags is not None:
        return _recorder_of_items(slow, log, items_by_tag(checks, [*layout.tags], token))
    return _recorder_of_dicts(slow, log, checks, token)


def _recorder_of_items(slow: Recorder, log: MetricLog, items: ItemMaker) -> Recorder:
    extend, tail, seal, full = log.points.extend, log.points.tail, log.points.seal, log.points.full

    def record(value: Any, tags: Any = None) -> None:
        try:
            extend(found := items(value, tags))
        except Exception as error:  # the slow recorder raises it again, unless it comes from elsewhere
            reraise_from_handler(error)
        else:
            if found:
                if len(tail) >= full:
                    seal()
                return
        slow(value, tags)

    return record


def _recorder_of_dicts(slow: Recorder, log: MetricLog, checks: MetricChecks, token: StepToken) -> Recorder:
    # If `split` leaves it to others to find undeclared tags, `validate_tags` finds them.
    validate, split = checks.fast_validate, checks.split if checks.tag_count is None else checks.validate_tags
    extend, tail, seal, full = log.points.extend, log.points.tail, log.points.seal, log.points.full
    assert split is not None

    def record(value: Any, tags: Any = None) -> None:
        try:
            extend((validate(value), split(tags), token.number))
        except Exception as error:  # as above
            reraise_from_handler(error)
        else:
            if len(tail) >= full:
                seal()
            return
        slow(value, tags)

    return record


def _emitter(slow: Recorder, keep: _Keeper, checks: MetricChecks, layout: PointLayout) -> Recorder:
    validate, split, count, has_dict = checks.fast_validate, checks.split, checks.tag_count, layout.tags is None
    assert split is not None

    def record(value: Any, tags: Any = None) -> None:
        try:
            valid, kept = validate(value), split(tags)
            fits = count is None or len(tags) == count
        except Exception as error:  # as above
            reraise_from_handler(error)
        else:
            # The event has a dict of its own, which a sink may change.
            if fits and (keep(valid, (kept,), kept.copy()) if has_dict else keep(valid, kept.values(), kept)):
                return
        slow(value, tags)

    return record


def _undeclared_emitter(slow: Recorder, keep: _Keeper) -> Recorder:
    def record(value: Any, tags: Any = None) -> None:
        kept = plain_tags(tags) if type(value) in PLAIN else None
        if kept is None or not keep(value, (kept,), kept.copy()):
            slow(value, tags)

    return record


def _keeper(dispatcher: EventDispatcher, log: MetricLog, token: StepToken) -> _Keeper:
    """Return a function that stores a valid point and emits its event, or changes nothing and returns False."""
    acquire, release, depth_of = dispatcher.lock.acquire, dispatcher.lock.release, dispatcher.lock.depth_reader()
    points, pending, sinks, name = log.points, dispatcher.pending, dispatcher.sinks, log.name
    blocks, tail, extend, seal, full = points.blocks, points.tail, points.extend, points.seal, points.full
    width = points.width

    def keep(valid: Any, items: Iterable[Any], tags: dict[str, Any]) -> bool:
        is_own, position, depth, event, begun = False, 0, depth_of(), None, _NOT_BEGUN
        failures: Sequence[Failure] = ()
        # No `try` within this one: its first bytecode would be outside of both.
        try:
            acquire()
            if (number := getattr(token, "number", None)) is not None and not (dispatcher.is_emitting or pending):
                is_own = dispatcher.is_emitting = True
                position = len(blocks) * BLOCK + len(tail) // width
                event = _new_tuple(MetricRecorded, (name, valid, tags, token.step, position, None))
                if not pending:  # otherwise a signal handler has recorded since: the position may be wrong
                    begun = 0  # from here on the point may be in the log
                    extend([valid, *items, number])
                    if len(tail) >= full:
                        seal()
                    for sink in sinks:
                        begun += 1  # noqa: SIM113 - `enumerate` is slower
                        sink.handle(event)
                    begun = _DONE
                if pending:
                    failures = dispatcher.deliver_pending([])
                dispatcher.is_emitting = is_own = False
            release()
        except BaseException as raised:
            emitted = event if begun >= 0 and points.length() > position else None
            error = dispatcher.complete_event(raised, emitted, begun, depth, is_own)
            if error is raised:
                raise
            raise error from error.__cause__
        if failures:
            raise sink_error(failures)
        return begun == _DONE

    return keep


def fast_bound_recorder(
    slow: Recorder, dispatcher: EventDispatcher, log: MetricLog, token: StepToken, tags: dict[str, Any]
) -> Recorder:
    """Return a fast recorder of values with these tags, which are already valid."""
    assert log.metric is not None
    validate = log.metric.checks.fast_validate
    extend, tail, seal, full = log.points.extend, log.points.tail, log.points.seal, log.points.full
    items = log.points.layout.tag_items(tags)

    def record(value: Any) -> None:
        """Record a value with the tags of `bind`."""
        try:
            extend([validate(value), *items, token.number])
        except Exception as error:  # the slow recorder raises it again, unless it comes from elsewhere
            reraise_from_handler(error)
        else:
            if len(tail) >= full:
                seal()
            return
        slow(value)

    if not dispatcher.sinks:
        return record
    keep = _keeper(dispatcher, log, token)

    def record_and_emit(value: Any) -> None:
        """Record a value with the tags of `bind`."""
        try:
            valid = validate(value)
        except Exception as error:  # as above
            reraise_from_handler(error)
        else:
            if keep(valid, items, tags.copy()):
                return
        slow(value)

    return record_and_emit
