"""The work of a step of an earlier run, decoded for the context that takes it over."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from .._branches.packed_work import CalledTask, Work
from .._core.artifacts import Artifact
from .._core.codec import decode, key_of
from .._core.file_names import folded
from .._core.packed_columns import Block
from .._core.point_log import PointLog, store
from .._core.provenance import StepRecord
from .._core.stored_value import RawValue
from .._core.task import return_type
from .._core.task_call import TaskCall
from ..errors import KeyLookupError
from .earlier_run import EarlierPoint
from .event_bytes import decoded_point
from .reuse_check import NotTaken, StepCheck, read_value


def result_of(check: StepCheck, call: TaskCall) -> Any:
    """Return the return value of a step; raise NotTaken if it cannot be restored as the task's type."""
    root = check.tree.root
    stored, key = check.run.result(root), key_of(return_type(call.task))
    assert stored is not None  # the step finished
    if stored.fingerprint not in (None, key.fingerprint()):
        raise NotTaken("the type of its result changed")
    return read_value(stored, partial(decode, stored, key), "its result")


def work_of(check: StepCheck) -> Work:
    """Return the work of a step and its inner steps; raise NotTaken if part of it cannot be restored here."""
    run, tree = check.run, check.tree
    recorded = run.points_of(tree)
    records = tuple(_record(attempt.record, run.name) for attempt in tree.attempts)
    started = sorted((record for record in records[:-1]), key=lambda record: record.started)
    names = [tree.root.step, *dict.fromkeys(record.name for record in started)]
    return Work(
        values=dict(_values(check)),
        points={name: _points(check, name, points, names) for name, points in recorded.items()},
        undeclared=_undeclared(check, recorded),
        names=names,
        steps=records,
        artifacts=tuple(_artifacts(check)),
        result=None,
        item=None,
        tasks={str(step): _task(check, process, step) for process, step in tree.steps if (process, step) in run.tasks},
        is_frozen=False,
    )


def _record(record: StepRecord | None, run: str) -> StepRecord:
    assert record is not None  # the steps have ended
    return record._replace(reused_from=record.reused_from or run)


def _values(check: StepCheck) -> Iterator[tuple[str, RawValue]]:
    state = check.present.state
    for entry in check.run.entries_of(check.tree):
        name = entry.key
        try:
            key = state.schema.key(name)
        except KeyLookupError as error:
            raise NotTaken(f"the schema does not declare {name}, which it wrote") from error
        if name in state.values:
            raise NotTaken(f"{name}, which it wrote, is written already")
        if check.written_type(entry.session, name) != key.fingerprint() or not check.has_same_code(entry.session, name):
            raise NotTaken(f"the type of {name}, which it wrote, changed")
        value = read_value(entry.stored, partial(decode, entry.stored, key), f"the value of {name}")
        raw: RawValue = (value, None, entry.step, False)
        yield name, raw


def _artifacts(check: StepCheck) -> Iterator[Artifact]:
    store = check.present.state.artifact_store
    for stored in check.run.artifacts_of(check.tree):
        artifact: Artifact = stored.artifact
        if folded(artifact.name) in store.found:
            raise NotTaken(f"the artifact {artifact.name}, which it added, is there already")
        yield artifact


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
    value, tags = read_value(None, partial(decoded_point, row, checks), f"a point of {row[0]}")
    kept = {tag: store(part, f"a tag of {row[0]!r}") for tag, part in tags.items()}
    return store(value, f"a value of {row[0]!r}"), kept


def _task(check: StepCheck, process: int, step: str | None) -> CalledTask:
    task = check.run.tasks[process, step]
    returned = check.run.returns.get((process, step))
    return CalledTask(task.arguments, task.inputs, None if returned is None else returned.result)
