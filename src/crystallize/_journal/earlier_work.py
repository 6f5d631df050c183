"""The work of a step of an earlier run, decoded for the context that takes it over."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

from .._base.signal_handlers import reraise_from_handler
from .._branches.packed_work import CalledTask, Work
from .._core.artifacts import Artifact
from .._core.codec import key_of
from .._core.file_names import folded
from .._core.packed_columns import Block
from .._core.point_log import PointLog, store
from .._core.provenance import StepRecord
from .._core.stored_value import RawValue
from .earlier_run import EarlierPoint
from .event_bytes import decoded_point
from .reuse_check import NotTaken, StepCheck, lost, read_value

_STARTED: Final = attrgetter("started")
_NAME: Final = attrgetter("name")


def result_of(check: StepCheck, returns: Any) -> Any:
    """Return the return value of a step; raise NotTaken if it cannot be restored as the task's return annotation."""
    root = check.tree.root
    stored, key = check.run.result(root), key_of(returns)
    assert stored is not None  # the step finished
    if stored.fingerprint not in (None, key.fingerprint()):
        raise NotTaken("the type of its result changed")
    return read_value("its result", stored, key)


def work_of(check: StepCheck) -> Work:
    """Return the work of a step and its inner steps; raise NotTaken if part of it cannot be restored here."""
    run, tree = check.run, check.tree
    recorded = run.points_of(tree)
    records = tuple([_record(attempt.record, run.name) for attempt in tree.attempts])
    started = sorted(records[:-1], key=_STARTED)
    names = [tree.root.step, *dict.fromkeys(map(_NAME, started))]
    return Work(
        values=_values(check),
        points={name: _points(check, name, points, names) for name, points in recorded.items()},
        undeclared=_undeclared(check, recorded),
        names=names,
        steps=records,
        artifacts=_artifacts(check),
        result=None,
        item=None,
        tasks={str(step): _task(check, process, step) for process, step in tree.steps if (process, step) in run.tasks},
    )


def _record(record: StepRecord | None, run: str) -> StepRecord:
    assert record is not None  # the steps have ended
    # Not by `_replace`, which takes five times as long.
    return record if record.reused_from else StepRecord._make((*record[:_REUSED_FROM], run))


_REUSED_FROM: Final = StepRecord._fields.index("reused_from")


def _values(check: StepCheck) -> dict[str, RawValue]:
    state, found = check.present.state, dict[str, RawValue]()
    for entry in check.run.entries_of(check.tree):
        name = entry.key
        key = state.schema.find(name)
        if key is None:
            raise NotTaken(f"the schema does not declare {name}, which it wrote")
        if name in state.values:
            raise NotTaken(f"{name}, which it wrote, is written already")
        if not check.has_same_type(entry.session, name, key) or not check.has_same_code(entry.session, name):
            raise NotTaken(f"the type of {name}, which it wrote, changed")
        value = read_value(f"the value of {name}", entry.stored, key)
        kept, thaw = state.freeze(key, name, value, is_owned=True)
        found[name] = (kept, thaw, entry.step, False)
    return found


def _artifacts(check: StepCheck) -> tuple[Artifact, ...]:
    found = check.present.state.artifact_store.found
    made: tuple[Artifact, ...] = tuple([stored.artifact for stored in check.run.artifacts_of(check.tree)])
    for artifact in made:
        if folded(artifact.name) in found:
            raise NotTaken(f"the artifact {artifact.name}, which it added, exists already")
    return made


def _undeclared(check: StepCheck, names: Iterable[str]) -> dict[str, Any]:
    """Return the metrics of the work by these names, if there is no schema of metrics."""
    store = check.present.state.metric_store
    if store.schema is not None:
        return {}
    return {name: None if (log := store.logs.get(name)) is None else log.metric for name in names}


def _points(check: StepCheck, name: str, points: list[EarlierPoint], names: list[str]) -> tuple[Block, ...]:
    """Return the points of a metric, packed."""
    metric_log = check.present.state.metric_store.logs.get(name)
    if metric_log is None and check.present.state.metric_store.schema is not None:
        raise NotTaken(f"the metric {name}, which it recorded, is not declared")
    if not all(check.has_same_metric(process, name) for process in {point.session for point in points}):
        raise NotTaken(f"the declaration of {name}, which it recorded, changed")
    metric = None if metric_log is None else metric_log.metric
    checks = None if metric is None else metric.checks
    log, numbers = PointLog(), {step: number for number, step in enumerate(names, 1)}
    for point in points:
        value, tags = _decoded(point.row, checks)
        log.extend((value, tags, numbers[str(point.step)]))
        while len(log.tail) >= log.full:
            log.seal()
    return log.packed(numbers.__getitem__)


def _decoded(row: list[Any], checks: Any) -> tuple[Any, dict[str, Any]]:
    """Return the value and the tags of a point as a log keeps them."""
    if len(row) < 5:
        return row[1], row[2]
    how: Any = row[4][0]
    if (how if isinstance(how, str) else how[0]) == "none" or any(
        (part if isinstance(part, str) else part[0]) == "none" for part in row[4][1].values()
    ):
        raise NotTaken(f"a point of {row[0]} cannot be restored")
    try:
        value, tags = decoded_point(row, checks)
    except Exception as error:  # a user's validator may raise anything
        reraise_from_handler(error)
        raise lost(f"a point of {row[0]}", error) from error
    kept = {tag: store(part, f"a tag of {row[0]!r}") for tag, part in tags.items()}
    return store(value, f"a value of {row[0]!r}"), kept


def _task(check: StepCheck, process: int, step: str | None) -> CalledTask:
    task = check.run.tasks[process, step]
    returned = check.run.returns.get((process, step))
    return CalledTask(task.arguments, task.inputs, None if returned is None else returned.result)
