"""The points of many runs as one table, with the inputs of each run beside its points."""

import os
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._base.text import nearest, short
from .._core.metrics import MetricSchema
from .._journal.find import list_runs
from .._journal.loaded_run import Run
from ..errors import FrameError, JournalError, MetricError
from .arrow_table import reader_of
from .point_source import points_in, run_from

if TYPE_CHECKING:
    import pyarrow as pa


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
        inputs: The inputs that become columns. By default all inputs, except for secrets and values that cannot be
            restored from a file.
        errors: "raise" raises an error that names the run that cannot be read, or not with these metrics; "skip"
            leaves that run out, with a warning that names it.

    Returns:
        The columns of `to_arrow`, then a column for each input.

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
            chosen = {key: begun_with[key] for key in begun_with if inputs is None or key in inputs}
        except JournalError as error:
            if errors == "raise":
                raise _with_advice(error) from error
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        # An input of one run may be a value that a step of another run wrote.
        is_input |= {key: entry.is_input or is_input.get(key, False) for key, entry in run.entries.items()}
        sources.append(points_in(run, None, chosen))
    if sources:
        _check_inputs(inputs or (), is_input)
    return reader_of(sources).read_all()


def _with_advice(error: JournalError) -> JournalError:
    """Return the error of one of many runs, with the ways to go on."""
    advice = ['errors="skip" leaves it out']
    if isinstance(error.__cause__, MetricError):
        advice.insert(0, "without metrics=... all can be read, as they were recorded")
    elif error.advice:
        advice.insert(0, error.advice)
    return type(error)(error.path, error.reason, "; ".join(advice))


def _check_inputs(names: Iterable[str], is_input: Mapping[str, bool]) -> None:
    """Raise FrameError if a name is not that of an input, given the keys of all runs."""
    inputs = [key for key, begins in is_input.items() if begins]
    for name in names:
        if name not in is_input:
            near = nearest(name, inputs)
            known = ", ".join(map(repr, inputs)) or "nothing"
            hint = f"did you mean {near!r}?" if near else f"they began with {known}"
            raise FrameError(f"inputs={short([*names])}", f"no run began with {name!r}; {hint}")
        if not is_input[name]:
            reason = f"no run began with {name!r}, which was written later; inputs are what a run began with"
            raise FrameError(f"inputs={short([*names])}", reason)
