"""The callback of Optuna, in real studies."""

from collections.abc import Generator
from contextlib import contextmanager
from math import nan
from pathlib import Path
from threading import Barrier
from typing import Any

import optuna
import pytest
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from crystallize import (
    FinishedStepError,
    FrozenContext,
    InvalidMetricError,
    Journal,
    Metric,
    MetricSchema,
    SinkError,
    UnknownMetricError,
    fork,
    load_run,
    merge,
)
from crystallize.callbacks.optuna import OptunaCallback

from .schemas import BrokenSink, FitMetrics, facts, steps, typed

optuna.logging.set_verbosity(optuna.logging.ERROR)


class TrialTags(TypedDict):
    trial: int
    x: float


class StudyMetrics(MetricSchema):
    error = Metric(FiniteFloat, tags=TrialTags, goal="minimize")
    seen = Metric(int)


def square(trial: Any, step: Any) -> float:
    x: float = trial.suggest_float("x", 0, 1)
    step.record("seen", trial.number)
    return x * x


def study_of(**options: Any) -> Any:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(0), **options)


def test_a_step_a_trial() -> None:
    """Each trial is a step with its own points, and its value has the parameters as tags."""
    ctx = FrozenContext()
    study = study_of()
    study.optimize(OptunaCallback(ctx.step).objective(square), n_trials=3)

    assert [("trial-0", None), ("trial-1", None), ("trial-2", None)] == steps(ctx)
    assert [trial.value for trial in study.trials] == list(ctx.metrics["value"])
    found = ctx.metrics.get_tags("value")[1]
    assert {"x": study.trials[1].params["x"], "trial": 1, "state": "complete"} == found
    assert "trial-2" == list(ctx.metrics.series("seen"))[2].step


def test_typed() -> None:
    """With a schema, the value is mapped, and has the parameters that are declared as tags."""
    ctx = FrozenContext(metrics=StudyMetrics)
    callback = OptunaCallback(ctx.step, names={"value": StudyMetrics.error}, step="search")
    study = study_of()
    study.optimize(callback.objective(square), n_trials=2)

    assert ({"trial": 1, "x": study.trials[1].params["x"]}, "search-1") == (
        ctx.metrics.series(StudyMetrics.error).tags[1],
        ctx.provenance.steps[1].name,
    )


def test_refuses_an_undeclared_value_before_the_first_trial() -> None:
    """What the schema does not declare is an error before the objective runs, and stays one where Optuna hides it."""
    called: list[Any] = []
    ctx = typed()

    def optimize() -> None:
        with OptunaCallback(ctx.step) as callback:
            objective = callback.objective(lambda trial, step: called.append(trial))
            study_of().optimize(objective, n_trials=3, catch=(Exception,))

    with pytest.raises(UnknownMetricError, match="'value' is not declared in FitMetrics"):
        optimize()

    assert [] == called


def test_pruned_and_failed_trials() -> None:
    """A pruned trial has the value that it reported last, a failed one its parameters, and both have their error."""
    ctx = FrozenContext()

    def objective(trial: Any, step: Any) -> float:
        x: float = trial.suggest_float("x", 0, 1)
        trial.report(0.5 + trial.number, 10)
        if trial.number == 0:
            raise optuna.TrialPruned
        if trial.number == 1:
            raise OSError("out of memory")
        return nan if trial.number == 2 else x

    study = study_of()
    study.optimize(OptunaCallback(ctx.step).objective(objective), n_trials=4, catch=(OSError,))

    assert ["PRUNED", "FAIL", "FAIL", "COMPLETE"] == [trial.state.name for trial in study.trials]
    assert (0.5, study.trials[3].value) == ctx.metrics["value"]
    assert ["pruned", "complete"] == [tags["state"] for tags in ctx.metrics.get_tags("value")]
    assert (0.5, 1.5, 2.5, 3.5) == ctx.metrics["intermediate_value"]
    assert {"trial": 3, "step": 10} == ctx.metrics.get_tags("intermediate_value")[3]
    errors = [error for _, error in steps(ctx)]
    assert ["TrialPruned", "OSError: out of memory", None, None] == errors
    assert study.trials[1].params == facts(ctx, "trial-1-params.json")


@pytest.mark.parametrize("value", [None, "much", (1.0, 2.0)])
def test_what_is_no_value(value: Any) -> None:
    """What Optuna does not take as a value is none here."""
    ctx = FrozenContext()
    study = study_of()
    study.optimize(OptunaCallback(ctx.step).objective(lambda trial, step: value), n_trials=1)

    assert (0, "FAIL") == (len(ctx.metrics), study.trials[0].state.name)


def test_several_objectives() -> None:
    """Several values are recorded under the names that the study has for them, or with their numbers."""
    ctx = FrozenContext()
    study = study_of(directions=["minimize", "maximize"])
    study.optimize(OptunaCallback(ctx.step).objective(lambda trial, step: (1.0, 2.0)), n_trials=1)
    assert ((1.0,), (2.0,)) == (ctx.metrics["value_0"], ctx.metrics["value_1"])

    study.set_metric_names(["error", "speed"])
    study.optimize(OptunaCallback(ctx.step).objective(lambda trial, step: (1.0, 2.0)), n_trials=1)
    assert ((1.0,), (2.0,)) == (ctx.metrics["error"], ctx.metrics["speed"])


def test_trials_on_threads() -> None:
    """Trials that run at the same time record in steps of their own."""
    ctx = FrozenContext()
    both = Barrier(2)

    def objective(trial: Any, step: Any) -> float:
        both.wait(60)
        return square(trial, step)

    with OptunaCallback(ctx.step) as callback:
        study_of().optimize(callback.objective(objective), n_trials=8, n_jobs=2)

    assert {f"trial-{n}" for n in range(8)} == {name for name, _ in steps(ctx)}
    assert all(point.step == f"trial-{point.value}" for point in ctx.metrics.series("seen"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_broken_sink(jobs: int) -> None:
    """What a sink raises comes out, also where Optuna drops it: it does not look at the last trials on threads."""
    ctx = FrozenContext(sinks=[BrokenSink()])
    with pytest.raises(SinkError, match="disk full"), OptunaCallback(ctx.step) as callback:
        study_of().optimize(callback.objective(square), n_trials=jobs, n_jobs=jobs)


def test_goes_no_further_after_a_broken_sink() -> None:
    """The trials after it raise the same error at once, also where Optuna was told to go on."""
    ctx = FrozenContext(sinks=[BrokenSink()])
    calls = []

    def objective(trial: Any, step: Any) -> float:
        calls.append(trial.number)
        return square(trial, step)

    with pytest.raises(SinkError, match="disk full"), OptunaCallback(ctx.step) as callback:
        study_of().optimize(callback.objective(objective), n_trials=5, catch=(Exception,))
    assert [0] == calls


def test_an_invalid_point_is_of_its_trial() -> None:
    """A point that the schema does not allow fails its trial, and no other if Optuna is told to go on."""
    ctx = typed()

    def objective(trial: Any, step: Any) -> float:
        step.record(FitMetrics.loss, nan if trial.number == 0 else 0.5, {})
        return 0.5

    with OptunaCallback(ctx.step, names={"value": None}) as callback:
        study = study_of()
        study.optimize(callback.objective(objective), n_trials=2, catch=(InvalidMetricError,))

    assert ["FAIL", "COMPLETE"] == [trial.state.name for trial in study.trials]


def test_a_branch_a_trial() -> None:
    """In branches, a failed trial leaves nothing but its record."""
    ctx = FrozenContext()

    @contextmanager
    def branch(name: str) -> Generator[FrozenContext[Any]]:
        child = fork(ctx, name).open()
        yield child
        merge(ctx, child.delta())

    def objective(trial: Any, step: Any) -> float:
        value = square(trial, step)
        if trial.number == 1:
            raise OSError("out of memory")
        return value

    with OptunaCallback(branch) as callback:
        study_of().optimize(callback.objective(objective), n_trials=3, catch=(OSError,))

    assert ([("trial-0", None), ("trial-2", None)], (0, 2)) == (steps(ctx), ctx.metrics["seen"])


def test_a_run_a_trial() -> None:
    """In runs, each trial has a file."""

    @contextmanager
    def run(name: str) -> Generator[FrozenContext[Any]]:
        with Journal.start("runs", name) as journal:
            yield journal.context(FrozenContext, {"seed": 7})

    study = study_of()
    study.optimize(OptunaCallback(run).objective(square), n_trials=2)

    stored = load_run("runs/trial-1-0001.db")
    assert ((study.trials[1].value,), "finished") == (stored.metrics["value"], stored.status)
    assert ["trial-1"] == [step.name for step in stored.provenance.steps]


def test_goes_on_with_a_study(tmp_path: Path) -> None:
    """A run and a study go on together where both are in files; a study that starts again is refused."""

    def optimize(journal: Journal, storage: str | None) -> FrozenContext[Any]:
        ctx = journal.context(FrozenContext)
        study = study_of(study_name="search", storage=storage, load_if_exists=True)
        study.optimize(OptunaCallback(ctx.step).objective(square), n_trials=2)
        return ctx

    storage = f"sqlite:///{tmp_path}/study.db"
    with Journal.start("runs", "search") as journal:
        optimize(journal, storage)
    with Journal.resume("runs/search-0001.db") as journal:
        ctx = optimize(journal, storage)
    assert (0, 1, 2, 3) == ctx.metrics["seen"]

    with Journal.resume("runs/search-0001.db") as journal, pytest.raises(FinishedStepError, match="'trial-0'"):
        optimize(journal, None)
