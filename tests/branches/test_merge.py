"""Merged work, as the sinks receive it."""

from pathlib import Path
from typing import Any

import pytest

from crystallize import BatchSink, Event, FrozenContext, Journal, MergedWork, fork, merge
from crystallize.sinks.memory import MemorySink


class Whole(MemorySink):
    """Keeps the work of branches."""

    def __init__(self) -> None:
        super().__init__()
        self.works: list[MergedWork] = []

    def handle_batch(self, work: MergedWork, /) -> None:
        self.works.append(work)


def merged(sinks: list[MemorySink]) -> FrozenContext[Any]:
    """Return a context with the work of a branch that did all that a branch can do."""
    ctx = FrozenContext({"lr": 0.1}, sinks=sinks)
    child = fork(ctx, "fold-1").open()
    with child.step("fit") as log:
        log["score"] = child["lr"] * 2
        log.record("loss", 0.5, {"epoch": 1})
        log.artifacts.add("model.bin", b"x")
    child.record("loss", 0.25, {"epoch": 2})
    merge(ctx, child.delta())
    return ctx


def test_batch_sinks_by_type(tmp_path: Path) -> None:
    """A sink whose method takes a `MergedWork` is a `BatchSink` to type checkers, and so is a journal."""
    with Journal.start(tmp_path, "fit") as journal:
        sinks: list[BatchSink] = [Whole(), journal]
    assert all(isinstance(sink, BatchSink) for sink in sinks)


def test_the_whole_and_its_events() -> None:
    """The events of the work are those that other sinks receive, and its parts are what the branch did."""
    single, whole = MemorySink(), Whole()
    merged([single, whole])
    (work,) = whole.works
    events: list[Event] = list(work.events())

    # Of the fork and of the initial values both sinks receive the events one by one.
    assert single.events == [*whole.events, *events]
    assert ("fold-1", ("fold-1", "fold-1/fit")) == (work.branch, work.step_names)
    assert ["fold-1/fit", "fold-1"] == [record.name for record in work.steps]
    assert [("score", 0.2)] == [(event.key, event.value) for event in work.keys]
    assert ["model.bin"] == [event.name for event in work.artifacts]
    assert [(0.5, "fold-1/fit"), (0.25, "fold-1")] == [
        (value, work.step_names[number - 1]) for block in work.blocks["loss"] for value, _, number in block.rows()
    ]


def test_no_sink_changes_the_work_of_another() -> None:
    """What the sinks share is read-only."""
    whole = Whole()
    merged([whole])
    blocks: Any = whole.works[0].blocks
    names: Any = whole.works[0].step_names

    with pytest.raises(AttributeError):
        blocks.clear()
    with pytest.raises(TypeError):
        names[0] = "other"
