"""The record of a step names all that the step saw: keys, metrics, artifacts, and things without a digest."""

import copy
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationInfo, field_validator

from crystallize import ContextMutationError, FrozenContext, Journal, LoggingContext, MetricRead, StepRecord, load_run
from crystallize.frames import to_arrow

Look = Callable[[Any], object]


def record_of(look: Look, ctx: FrozenContext[Any] | None = None) -> StepRecord:
    """Return the record of a step that does this in a context with a key, a point and an artifact."""
    ctx = FrozenContext({"lr": 0.1}) if ctx is None else ctx
    ctx.record("loss", 0.5)
    ctx.artifacts.add("a.txt", b"x")
    with ctx.step("look") as step:
        look(step)
    return ctx.provenance.steps[-1]


def write_again(step: Any) -> None:
    """Go on after a refused write, as code may do."""
    with suppress(ContextMutationError):
        step["lr"] = 0.2


def add_again(step: Any) -> None:
    """Go on after a refused artifact."""
    with suppress(ContextMutationError):
        step.artifacts.add("a.txt", b"y")


@pytest.mark.parametrize(
    ("look", "present"),
    [
        (lambda step: "lr" in step, ("lr",)),
        (write_again, ("lr",)),
        (lambda step: "a.txt" in step.artifacts, ("artifact:a.txt",)),
        (add_again, ("artifact:a.txt",)),
        (lambda step: "lr" in LoggingContext(step), ("lr",)),
        (lambda step: write_again(LoggingContext(step)), ("lr",)),
        (lambda step: ("lr" in step, step["lr"]), ()),
        (lambda step: "other" in step, ()),
    ],
)
def test_keys_and_artifacts_that_were_found_are_on_record(look: Look, present: tuple[str, ...]) -> None:
    """A refused write that was caught counts as found; a key that was read is among the reads alone."""
    assert present == record_of(look).present


@pytest.mark.parametrize(
    "look",
    [
        lambda step: step.metrics["loss"],
        lambda step: step.metrics.get_tags("loss"),
        lambda step: "loss" in step.metrics,
        lambda step: step.metrics.series("loss").values,
        lambda step: step.metrics.series("loss").tags,
        lambda step: step.metrics.series("loss").first,
        lambda step: step.metrics.series("loss").last,
        lambda step: len(step.metrics.series("loss")),
        lambda step: [*step.metrics.series("loss")],
        lambda step: step.metrics.series("loss").where(epoch=1).values,
        lambda step: to_arrow(step.metrics.series("loss")),
        lambda step: LoggingContext(step).metrics["loss"],
    ],
)
def test_metrics_that_were_read_are_on_record(look: Look) -> None:
    assert (MetricRead("loss", 1, 1),) == record_of(look).metric_reads


def test_the_record_says_how_many_points_there_were_at_the_first_and_last_read() -> None:
    def look(step: Any) -> None:
        assert "other" not in step.metrics
        assert step.metrics["loss"] == (0.5,)
        step.record("loss", 0.4)
        assert step.metrics["loss"] == (0.5, 0.4)

    assert (MetricRead("other", 0, 0), MetricRead("loss", 1, 2)) == record_of(look).metric_reads


def test_recording_is_no_read() -> None:
    record = record_of(lambda step: (step.record("loss", 0.4), step.metrics.series("loss").add(0.3)))
    assert ((), ()) == (record.metric_reads, record.blind)


@pytest.mark.parametrize(
    ("look", "seen"),
    [
        (len, {"the number of keys"}),
        (lambda step: next(iter(step)), {"the set of keys"}),
        (lambda step: next(iter(step.keys())), {"the set of keys"}),
        (lambda step: step.snapshot(), {"the set of keys"}),
        (repr, {"the set of keys"}),
        (lambda step: step._repr_html_(), {"the set of keys"}),
        (lambda step: step.provenance.steps, {"the provenance"}),
        (lambda step: LoggingContext(step).provenance, {"the provenance"}),
        (copy.copy, {"a copy of the context"}),
        (pickle.dumps, {"a copy of the context"}),
        (lambda step: [*step.metrics], {"the set of metrics"}),
        (lambda step: len(step.metrics), {"the set of metrics"}),
        (lambda step: to_arrow(step), {"the set of metrics"}),
        (lambda step: len(step.artifacts), {"the set of artifacts"}),
        (lambda step: [*step.artifacts], {"the set of artifacts"}),
        (lambda step: repr(step.artifacts), {"the set of artifacts"}),
        (lambda step: step.artifacts._repr_html_(), {"the set of artifacts"}),
    ],
)
def test_things_without_a_digest_are_named(look: Look, seen: set[str]) -> None:
    assert seen == set(record_of(look).blind)


def test_a_plain_step_is_not_blind() -> None:
    def look(step: Any) -> None:
        step["score"] = step["lr"] * 2
        step.artifacts.add("b.txt", step.artifacts["a.txt"].data)
        with step.step("inner") as inner:
            inner["depth"] = 1

    assert () == record_of(look).blind


def check_beside(value: int, info: ValidationInfo) -> int:
    """Read another key, as a validator may do."""
    return value + len(info.data)


class Checked(BaseModel):
    lr: float
    plain: int
    score: int

    _check = field_validator("score")(check_beside)


def test_a_validator_that_sees_other_values_makes_its_writer_blind() -> None:
    """Pydantic gives the validator a plain dict, so it is not known which of the values it reads."""

    def plain(step: Any) -> None:
        step["plain"] = 1

    def score(step: Any) -> None:
        step["score"] = 1

    assert () == record_of(plain, FrozenContext[Checked]({"lr": 0.1})).blind
    seen = record_of(score, FrozenContext[Checked]({"lr": 0.1})).blind
    assert ("all values, in the validator of key 'score'",) == seen


def test_a_run_restores_all_of_it(tmp_path: Path) -> None:
    def look(step: Any) -> None:
        assert "lr" in step
        assert len(step) == 1
        assert step.metrics["loss"] == (0.5,)

    with Journal.start(tmp_path, "run") as journal:
        written = record_of(look, journal.context(FrozenContext, {"lr": 0.1}))
    (restored,) = load_run(journal.path).provenance.steps
    assert written == restored
    assert (("lr",), ("the number of keys",)) == (restored.present, restored.blind)
    assert (MetricRead("loss", 1, 1),) == restored.metric_reads
