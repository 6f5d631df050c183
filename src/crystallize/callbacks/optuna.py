"""A callback of Optuna that records each trial in a step, a branch or a run of its own."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from math import isnan
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from typing_extensions import Unpack

from .._base.optional import OptionalModule
from .._core.context import FrozenContext
from ..errors import CrystallizeError, InvalidMetricError, SinkError
from .fit_recorder import FitOptions, FitRecorder
from .metric_names import Measurement

if TYPE_CHECKING:
    import optuna
else:
    optuna = OptionalModule("optuna", "optuna")

__all__ = ["OptunaCallback"]

_Opener: TypeAlias = Callable[[str], AbstractContextManager[FrozenContext[Any]]]


class OptunaCallback:
    """Records the trials of a study: the metric "value", with the tags `trial`, `state` and the parameters.

    Reported values become the metric "intermediate_value", with the tags `trial` and `step`.

    Example:
        >>> import optuna
        >>> ctx = FrozenContext()
        >>> def objective(trial, step):
        ...     return trial.suggest_float("x", 0, 1) * 0
        >>> with OptunaCallback(ctx.step) as callback:
        ...     optuna.create_study().optimize(callback.objective(objective), n_trials=2)
        >>> ctx.metrics["value"], ctx.provenance.steps[1].name
        ((0.0, 0.0), 'trial-1')
    """

    def __init__(self, open_trial: _Opener, **options: Unpack[FitOptions]) -> None:
        """Make a callback.

        Args:
            open_trial: Opens the context of a trial, by a name such as "trial-3": `ctx.step`, or a function that opens
                a branch or a run.
            **options: See `FitOptions`.
        """
        self._open, self._options = open_trial, options
        self._errors: list[CrystallizeError] = []

    def objective(self, function: "Callable[[optuna.Trial, Any], Any]") -> "Callable[[optuna.Trial], Any]":
        """Return an objective for `study.optimize`, whose trials run in a step, a branch or a run of their own.

        Args:
            function: The objective, which also takes the context of its trial.
        """

        @wraps(function)
        def run(trial: "optuna.Trial") -> Any:
            if self._errors:
                raise self._errors[0]
            raised: BaseException | None = None
            name = f"{self._options.get('step', 'trial')}-{trial.number}"
            try:
                with self._open(name) as ctx:
                    recorder = FitRecorder(ctx, **self._options)
                    recorder.begin(step=name)
                    recorder.expect(_names(trial))
                    try:
                        values = function(trial, recorder.step)
                    except BaseException as error:
                        raised = error
                        _record(recorder, trial, is_pruned=isinstance(error, optuna.TrialPruned))
                        recorder.end(error)
                        raise
                    _record(recorder, trial, values)
                    recorder.end()
                    return values
            except CrystallizeError as error:
                # One that the objective raised is of its trial alone, unless a sink failed.
                if isinstance(error, SinkError) or not (error is raised or isinstance(error, InvalidMetricError)):
                    self._errors.append(error)
                raise

        return run

    def __enter__(self) -> Self:
        """Return the callback itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raise the first error that Optuna did not raise, as where trials run on threads."""
        if kind is None and self._errors:
            raise self._errors[0]


def _names(trial: "optuna.Trial") -> list[str]:
    count = len(trial.study.directions)
    return trial.study.metric_names or (["value"] if count == 1 else [f"value_{number}" for number in range(count)])


def _record(recorder: FitRecorder, trial: "optuna.Trial", values: Any = None, *, is_pruned: bool = False) -> None:
    reported = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for step, value in reported.items():
        recorder.record([Measurement("intermediate_value", value, is_extra=True)], trial=trial.number, step=step)
    names, numbers = _names(trial), _numbers(reported[max(reported)] if is_pruned and reported else values)
    if len(numbers) != len(names):  # to Optuna, the trial has failed
        recorder.keep("params", trial.params)
        return
    found = [Measurement(name, number) for name, number in zip(names, numbers, strict=True)]
    state = "pruned" if is_pruned else "complete"
    recorder.record(found, **{**trial.params, "trial": trial.number, "state": state})


def _numbers(values: Any) -> list[float]:
    """Return the values of a trial as numbers; none if Optuna takes the trial as failed."""
    try:
        numbers = [float(value) for value in (values if isinstance(values, Sequence) else [values])]
    except (TypeError, ValueError):
        return []
    return [] if any(map(isnan, numbers)) else numbers
