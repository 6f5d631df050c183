"""What sinks check before a run starts: all that their backends would refuse is one error, and nothing is told."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, PositiveFloat, SecretStr

from crystallize import (
    CheckingSink,
    DeclaredKey,
    Event,
    FrozenContext,
    InvalidInitialError,
    Journal,
    KeyWritten,
    Metric,
    MetricSchema,
    SinkCheckError,
    load_run,
)
from crystallize.sinks.memory import MemorySink


class Train(BaseModel):
    lr: PositiveFloat
    epochs: int = 3
    accuracy: float


class TrainMetrics(MetricSchema):
    loss = Metric(float)


class Checking:
    """Refuses what it is told to, and keeps what it was asked and told."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        self.asked: list[tuple[dict[str, DeclaredKey], type[MetricSchema] | None]] = []
        self.events: list[Event] = []

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        self.asked.append((dict(schema), metrics))
        yield from self.problems

    def handle(self, event: Event, /) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


class Picky(Checking):
    """Another one, by its name."""


def test_is_asked_before_it_is_told() -> None:
    """A sink gets to know the keys with their types and what is an input, and the metrics, once."""
    sink = Checking()
    FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])

    keys = {
        "lr": DeclaredKey(float, is_input=True),
        "epochs": DeclaredKey(int, is_input=True),
        "accuracy": DeclaredKey(float, is_input=False),
    }
    assert isinstance(sink, CheckingSink)
    assert [(keys, TrainMetrics)] == sink.asked
    assert [KeyWritten("lr", 0.1, None, True), KeyWritten("epochs", 3, None, True)] == sink.events


@pytest.mark.parametrize(("shape", "type"), [(None, Any), (dict[str, float], float)])
def test_undeclared_keys(shape: Any, type: Any) -> None:
    """Where keys are not declared, those that the context starts with are known."""
    sink = Checking()
    (FrozenContext if shape is None else FrozenContext[shape])({"lr": 0.1}, sinks=[sink])

    assert [({"lr": DeclaredKey(type, is_input=True)}, None)] == sink.asked


def test_all_problems_come_at_once() -> None:
    """What all sinks refuse is one error that names each, and none of them has been told anything."""
    sinks: list[MemorySink | Checking] = [MemorySink(), Checking("'a=b' has '='", "'c' is too long"), Picky("no")]
    with pytest.raises(SinkCheckError) as caught:
        FrozenContext[Train]({"lr": 0.1}, sinks=sinks)

    assert (("Checking", "'a=b' has '='"), ("Checking", "'c' is too long"), ("Picky", "no")) == caught.value.problems
    assert "FrozenContext[Train]" == caught.value.context
    assert all(not sink.events for sink in sinks)


def test_initial_values_come_first() -> None:
    """Of a context that cannot be made for another reason no sink is asked."""
    sink = Checking("no")
    with pytest.raises(InvalidInitialError):
        FrozenContext[Train]({"lr": -1}, sinks=[sink])

    assert [] == sink.asked


def test_what_a_check_raises_is_raised() -> None:
    """A check that breaks says so itself."""

    class Broken(Checking):
        def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
            raise LookupError("no table")

    with pytest.raises(LookupError, match="no table"):
        FrozenContext(sinks=[Broken()])


def test_a_sink_without_a_check_stays_one() -> None:
    """A sink need not check anything."""
    assert not isinstance(MemorySink(), CheckingSink)


def test_beside_a_journal(tmp_path: Path) -> None:
    """A refused context leaves its journal as it was: another context may have it."""
    with Journal.start(tmp_path, "run") as journal:
        with pytest.raises(SinkCheckError):
            journal.context(FrozenContext[Train], {"lr": 0.1}, sinks=[Checking("no")])
        journal.context(FrozenContext[Train], {"lr": 0.2}, sinks=[Checking()])

    assert 0.2 == load_run(journal.path).values["lr"]


def test_of_a_resumed_run(tmp_path: Path) -> None:
    """What a step wrote before a run was resumed is no input."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext[Train], {"lr": 0.1})
        with ctx.step("fit") as step:
            step.fields.accuracy = 0.9
    sink = Checking()
    with Journal.resume(journal.path) as journal:
        journal.context(FrozenContext[Train], sinks=[sink])

    [(keys, _)] = sink.asked
    assert {"lr": True, "epochs": True, "accuracy": False} == {name: key.is_input for name, key in keys.items()}


def test_no_secret_is_shown() -> None:
    """A sink is told types, and no values."""
    sink = Checking()
    FrozenContext({"password": SecretStr("hunter2")}, sinks=[sink])

    assert "hunter2" not in repr(sink.asked)
