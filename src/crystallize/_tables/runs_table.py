"""Many runs as one table: a row a run, or a row for each point of a run with the run's inputs beside it."""

import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel
from pydantic_core import from_json

from .._base.optional import OptionalModule
from .._base.text import legible, nearest, short
from .._core.metrics import MetricSchema
from .._journal.find import list_runs
from .._journal.loaded_run import Run
from .._journal.run_summary import simple_json
from .._journal.summary_row import LONGEST, Scalar, scalars_in
from ..errors import FrameError, JournalError, MetricError
from .arrow_table import reader_of
from .columns import ArrowArray
from .point_source import points_in, run_from
from .run_rows import chosen_runs, read_runs

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = OptionalModule("pyarrow", "arrow")


def runs_frame(
    runs: str | os.PathLike[str] | Iterable["Run[Any] | str | os.PathLike[str]"],
    *,
    metrics: type[MetricSchema] | None = None,
    inputs: Collection[str] | None = None,
    errors: Literal["raise", "skip"] = "raise",
) -> "pa.Table":
    """Return the points of many runs as one Arrow table, with the inputs of the run beside each point.

    Pass the table to `to_pandas`, `to_polars` or `write_parquet` to convert it.

    Args:
        runs: A folder of runs, or runs, or their files.
        metrics: The metric schema of the runs in files. Without it, columns have the types of the recorded values.
        inputs: The inputs that become columns. A dict or model has a column for each field, as "cfg.depth". By default
            all inputs, except for secrets and values that cannot be restored from a file, and after them
            the scalar values that the run wrote.
        errors: "raise" raises an error that names the run that cannot be read, or not with these metrics; "skip"
            leaves that run out, with a warning that names it.

    Returns:
        The columns of `to_arrow`, then a column for each input, and for each scalar value.

    Raises:
        FrameError: The folder does not exist, an item is not a run, or no run began with an input of this name.
        JournalError: A run cannot be read, or its metrics are not those of the schema.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> for lr in (0.1, 0.2):
        ...     with Journal.start("runs", "digits") as journal:
        ...         journal.context(FrozenContext, {"lr": lr}).record("loss", 1 - lr)
        >>> runs_frame("runs").select(["run", "value", "lr"]).to_pylist()
        [{'run': 'digits-0001', 'value': 0.9, 'lr': 0.1}, {'run': 'digits-0002', 'value': 0.8, 'lr': 0.2}]
    """
    if isinstance(inputs, str):
        raise FrameError(f"inputs={inputs!r}", f"write inputs=[{inputs!r}]")
    if errors not in ("raise", "skip"):
        raise FrameError(f"errors={errors!r}", 'it is "raise" or "skip"')
    if isinstance(runs, (str, os.PathLike)):
        if not Path(runs).is_dir():
            raise FrameError(str(runs), "this is no folder of runs; `to_arrow` takes a single run")
        runs = list_runs(runs)
    sources = []
    is_input: dict[str, bool] = {}
    for source in runs:
        try:
            run = source if isinstance(source, Run) else run_from(source, metrics)
            begun_with = run.inputs
            keys = [key for key in begun_with if inputs is None or key in inputs]
            chosen = dict(column for key in keys for column in _columns_of(key, begun_with[key]))
            results = _results_of(run) if inputs is None else {}
        except JournalError as error:
            if errors == "raise":
                raise _with_advice(error) from error
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        # An input of one run may be a value that a step of another run wrote.
        is_input |= {key: entry.is_input or is_input.get(key, False) for key, entry in run.entries.items()}
        sources.append(points_in(run, None, chosen, results))
    if sources:
        _check_inputs(inputs or (), is_input)
    return reader_of(sources).read_all()


def runs_table(
    folder: str | os.PathLike[str],
    *,
    where: str | None = None,
    sort: str | None = None,
    columns: Collection[str] | None = None,
    last: int | None = None,
) -> "pa.Table":
    """Return the runs of a folder as an Arrow table, a row a run, the newest last.

    Pass the table to `to_pandas` or `to_polars` to convert it. It has the columns of `crystallize runs --json`: status,
    times, steps, tags, the note and the error. Inputs are "inputs.lr", other scalar values "values.accuracy", and the
    best values of metrics with a goal "best.loss".

    Args:
        folder: The folder of the runs.
        where: A condition, as "lr < 0.1 and status == 'finished'". The end of a column's name does if it is unique.
        sort: A column, as "accuracy" or "accuracy:desc", or several with commas between them.
        columns: The columns beside "run"; by default all.
        last: The number of runs, the newest of those that fulfil the condition.

    Raises:
        FrameError: The folder does not exist, a column does not exist, or the condition is none.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> for lr in (0.1, 0.2):
        ...     with Journal.start("runs", "digits") as journal:
        ...         journal.context(FrozenContext, {"lr": lr})["accuracy"] = 1 - lr
        >>> runs_table("runs", where="lr > 0.1", columns=["lr", "accuracy"]).to_pylist()
        [{'run': 'digits-0002', 'inputs.lr': 0.2, 'values.accuracy': 0.8}]
    """
    if not Path(folder).is_dir():
        raise FrameError(str(folder), "this is no folder of runs")
    if isinstance(columns, str):
        raise FrameError(f"columns={columns!r}", f"write columns=[{columns!r}]")
    table = chosen_runs(read_runs(folder), where, sort, last)
    names = table.names.full if columns is None else table.columns(columns)
    return pa.table({legible(name): _column(name, [row.get(name) for row in table.rows]) for name in names})


def _columns_of(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Return the columns of an input: those of a dict or model by the names of the fields, with dots."""
    fields = dict(value) if isinstance(value, BaseModel) else value
    if not isinstance(fields, dict) or not fields:
        yield key, value
        return
    for field, part in fields.items():
        yield from _columns_of(f"{key}.{field}", part)


def _results_of(run: Run[Any]) -> dict[str, Scalar]:
    """Return the scalar values that a run wrote. Large values are not read."""
    found: dict[str, Scalar] = {}
    for key, entry in run.entries.items():
        stored = entry.stored
        parts = [part for part in stored.parts if isinstance(part, bytes)]
        size = len(stored.json) + sum(map(len, parts))
        if not entry.is_input and entry.missing is None and len(parts) == len(stored.parts) and size <= LONGEST:
            found.update(scalars_in(key, simple_json(from_json(stored.json), parts)))
    return found


def _column(name: str, values: list[Any]) -> ArrowArray:
    """Return an Arrow array of values; of texts if they have no common type."""
    if name == "tags":
        return pa.array([[*map(legible, tags)] for tags in values], pa.list_(pa.string()))
    kinds = {type(value) for value in values if value is not None}
    if kinds == {datetime}:
        return pa.array(values, pa.timestamp("us", "UTC"))
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    is_plain = len(kinds) == 1 and all(type(value) is not int or -(2**63) <= value < 2**63 for value in values)
    if is_plain and kinds != {str}:
        return pa.array(values, pa.bool_() if kinds == {bool} else pa.float64() if kinds == {float} else pa.int64())
    return pa.array([None if value is None else legible(str(value)) for value in values], pa.string())


def _with_advice(error: JournalError) -> JournalError:
    """Return the error of one of many runs, with the ways to go on."""
    advice = ['errors="skip" leaves it out']
    if isinstance(error.__cause__, MetricError):
        advice.insert(0, "without metrics=... all can be read, as they were recorded")
    elif error.advice:
        advice.insert(0, error.advice)
    return type(error)(error.path, error.reason, "; ".join(advice))


def _check_inputs(names: Iterable[str], is_input: Mapping[str, bool]) -> None:
    """Raise FrameError if a name does not denote an input, given the keys of all runs."""
    inputs = [key for key, begins in is_input.items() if begins]
    for name in names:
        if name not in is_input:
            near = nearest(name, inputs)
            known = ", ".join(map(repr, inputs)) or "nothing"
            hint = f"did you mean {near!r}?" if near else f"they began with {known}"
            raise FrameError(f"inputs={short([*names])}", f"no run began with {name!r}; {hint}")
        if not is_input[name]:
            reason = f"no run began with {name!r}, which was written later; inputs are the initial values of a run"
            raise FrameError(f"inputs={short([*names])}", reason)
