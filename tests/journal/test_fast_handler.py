"""The fast path of a journal does what the slow path would do, or leaves it to that."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import (
    FrozenContext,
    Journal,
    KeyWritten,
    Metric,
    MetricSchema,
    load_run,
)
from crystallize._core.schema import Schema
from crystallize._journal import drainer, frame_writer
from crystallize._journal.event_bytes import Encoder
from crystallize._journal.fast_handler import fast_handler
from crystallize._journal.run_objects import objects_of
from crystallize.events import MetricRecorded

from .train_runs import Tags, TrainMetrics


def test_short_way_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the short way of a point meets, the long way takes the point in."""

    def fail(value: object) -> bytes:
        raise MemoryError

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        with monkeypatch.context() as patch:
            patch.setattr("crystallize._journal.fast_handler.to_json", fail)
            ctx.record("loss", 0.5, {"epoch": 1})
    assert (0.5,) == load_run(journal.path).metrics["loss"]


def test_interrupted_while_a_point_is_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C between the effect of a point and its fact, the point is in the file all the same."""

    def interrupt(value: object) -> bytes:
        raise KeyboardInterrupt

    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext, metrics=TrainMetrics)
    ctx.record("loss", 0.5, {"epoch": 1})
    with monkeypatch.context() as patch:
        patch.setattr("crystallize._journal.fast_handler.to_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ctx.record("loss", 0.25, {"epoch": 2})
    ctx.record("loss", 0.125, {"epoch": 3})
    journal.close()
    assert (0.5, 0.25, 0.125) == load_run(journal.path).metrics["loss"]


class PlainMetrics(MetricSchema):
    """Metrics of all plain types, and one that is not."""

    loss = Metric(float, tags=Tags)
    count = Metric(int)
    text = Metric(str)
    other = Metric(list[int])


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "loss": st.floats(),
    "count": st.integers() | st.just(10**5000),
    "text": st.text(st.characters()) | st.sampled_from(["\ud800", "x" * 5000]),
    "other": st.lists(st.integers()),
}


@st.composite
def recorded(draw: st.DrawFn) -> MetricRecorded:
    """An event of a point."""
    name = draw(st.sampled_from([*_VALUES]))
    tags = {"epoch": draw(st.integers())} if name == "loss" else {}
    step, branch = draw(st.sampled_from([None, "fit"])), draw(st.sampled_from([None, "one"]))
    return MetricRecorded(name, draw(_VALUES[name]), tags, step, 0, branch)


@given(st.lists(recorded() | st.just(KeyWritten("lr", 0.1, None, is_input=True))))
def test_fast_and_slow_write_the_same(events: list[Any]) -> None:
    """Whatever is recorded, the spool has the facts that the slow path alone would have written, in their order."""
    encoder = Encoder(Schema.untyped(), PlainMetrics, objects_of(Path()), lambda *given: None)
    slow = [encoder.fact(event) for event in events if event.branch is None]
    facts: list[bytes] = []

    def append(fact: bytes) -> bool:
        facts.append(fact)
        return True

    def handle(event: Any) -> None:
        if event.branch is None:
            facts.append(encoder.fact(event))

    spool = SimpleNamespace(append=append, pending=facts, frames=None)
    writer: Any = SimpleNamespace(spool=spool, batch=2, wake=lambda: None)
    fast = fast_handler(handle, encoder.plain, writer, [None])
    for event in events:
        fast(event)
    assert slow == facts


def test_interrupted_after_the_fact_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between a fact and its place in the spool: the point is in the file once."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext, metrics=TrainMetrics)
    ctx.record("loss", 0.5, {"epoch": 1})
    real = frame_writer._pack
    interruptions = iter([KeyboardInterrupt()])

    def pack(*given: Any) -> bytes:
        for interruption in interruptions:
            raise interruption
        return real(*given)

    monkeypatch.setattr(frame_writer, "_pack", pack)
    with pytest.raises(KeyboardInterrupt):
        ctx.record("loss", 0.25, {"epoch": 2})
    journal.close()
    assert (0.5, 0.25) == ctx.metrics["loss"] == load_run(journal.path).metrics["loss"]


def test_a_batch_that_is_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interruption, the work of a branch is taken in, unless it was."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext)
        intake = journal._events
        assert intake is not None
        appended: list[object] = []
        monkeypatch.setattr(intake, "_append", lambda item, encode: appended.append(item))
        work: Any = SimpleNamespace()
        intake.settle_batch(work)
        assert [work] == appended
        intake.taken[0] = work
        intake.settle_batch(work)
        assert [work] == appended
        monkeypatch.undo()


def test_interrupted_after_the_fact_is_in_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after a point is in the spool: it is in the file once."""
    monkeypatch.setattr(drainer, "BATCH", 1)
    monkeypatch.setattr(drainer, "DELAY", 1000)
    journal = Journal.start(tmp_path, "run")
    interruptions = iter([KeyboardInterrupt()])

    def wake() -> None:
        for interruption in interruptions:
            raise interruption

    monkeypatch.setattr(journal._writer, "wake", wake)
    ctx = journal.context(FrozenContext, metrics=TrainMetrics)
    journal.flush()
    with pytest.raises(KeyboardInterrupt):
        ctx.record("loss", 0.5, {"epoch": 1})
    ctx.record("loss", 0.25, {"epoch": 2})
    journal.close()
    assert (0.5, 0.25) == ctx.metrics["loss"] == load_run(journal.path).metrics["loss"]
