"""The items of branches, in the file of a run."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from crystallize import FrozenContext, Journal, afan_out, fan_out, fork, load_run, merge
from crystallize._tables.run_description import describe, item_text
from crystallize.events import BranchForked
from crystallize.frames import runs_frame, to_arrow, to_reader
from crystallize.report import write_report
from crystallize.runs import verify_run
from crystallize.sinks.memory import MemorySink


class Config(BaseModel):
    lr: float
    depth: int = 3


def trial(ctx: FrozenContext, item: Any) -> Any:
    ctx.record("loss", 0.5)
    if item == "bad":
        raise ValueError(item)
    return 1


async def ask(ctx: FrozenContext, item: Any) -> Any:
    return trial(ctx, item)


def test_items_are_on_record(tmp_path: Path) -> None:
    """The item of each branch is in the file, also of one that failed; models and dicts by their fields."""
    items = [0.1, "bad", Config(lr=0.2), {"lr": 1, "cfg": {"depth": 2}}, {"token": SecretStr("hunter2")}, object()]
    with Journal.start(tmp_path, "sweep") as journal:
        ctx = journal.context(FrozenContext)
        with ThreadPoolExecutor(2) as pool, ctx.step("sweep") as step:
            fan_out(step, trial, items, executor=pool, errors="collect")
        asyncio.run(afan_out(ctx, ask, ["a", "b"]))
        merge(ctx, fork(ctx, "plain").open().delta())

    assert {
        "sweep/trial-0": 0.1,
        "sweep/trial-1": "bad",
        "sweep/trial-2": {"lr": 0.2, "depth": 3},
        "sweep/trial-3": {"lr": 1, "cfg.depth": 2},
        "ask-0": "a",
        "ask-1": "b",
    } == load_run(journal.path).items
    assert () == verify_run(journal.path)
    assert b"hunter2" not in journal.path.read_bytes()


def test_event_has_the_item() -> None:
    """Sinks are told of the item with the fork; without a sink nobody looks at it."""
    ctx = FrozenContext(sinks=[sink := MemorySink()])
    with ThreadPoolExecutor(1) as pool:
        fan_out(ctx, trial, [0.1, Config(lr=0.2)], executor=pool)
        assert [1] == fan_out(FrozenContext(), trial, [0.1], executor=pool)
    merge(ctx, fork(ctx, "plain").open().delta())
    forked = [event for event in sink.events if isinstance(event, BranchForked)]

    assert [{"": 0.1}, {"lr": 0.2, "depth": 3}, None] == [event.item for event in forked]


def test_resumed(tmp_path: Path) -> None:
    """A branch that runs again in a resumed run has the item of its last fork."""
    with Journal.start(tmp_path, "sweep") as journal, ThreadPoolExecutor(1) as pool:
        ctx = journal.context(FrozenContext)
        with pytest.raises(ValueError, match="bad"):
            fan_out(ctx, trial, ["good", "bad"], executor=pool)
    with Journal.resume(journal.path) as journal, ThreadPoolExecutor(1) as pool:
        fan_out(journal.context(FrozenContext), trial, ["good", "better"], executor=pool)

    assert {"trial-0": "good", "trial-1": "better"} == load_run(journal.path).items
    assert (0.5, 0.5) == load_run(journal.path).metrics["loss"]
    assert () == verify_run(journal.path)


def test_other_item_in_the_same_process(tmp_path: Path) -> None:
    """A branch that failed may run for another item in the same process; the first item is on record."""
    with Journal.start(tmp_path, "sweep") as journal, ThreadPoolExecutor(1) as pool:
        ctx = journal.context(FrozenContext)
        for items in (["bad"], ["bad"], [{"lr": float("nan")}]):
            fan_out(ctx, trial, items, executor=pool, errors="collect")

    assert {"trial-0": "bad"} == load_run(journal.path).items
    assert () == verify_run(journal.path)


def test_shown(tmp_path: Path) -> None:
    """Descriptions, the page and frames have the item of each branch."""
    with Journal.start(tmp_path, "sweep") as journal, ThreadPoolExecutor(1) as pool:
        ctx = journal.context(FrozenContext)
        ctx.record("loss", 0.1)
        fan_out(ctx, trial, [Config(lr=0.25), Config(lr=1 / 3), "text"], executor=pool)
    run = load_run(journal.path)
    steps = {step.name: step.item for step in describe(run).steps}
    expected = [(None, None), (0.25, None), (1 / 3, None), (None, "text")]

    assert {"trial-0": {"lr": 0.25, "depth": 3}, "trial-1": {"lr": 1 / 3, "depth": 3}, "trial-2": "text"} == steps
    assert "lr=0.333333, depth=3" == item_text(steps["trial-1"])
    assert ("'text'", None) == (item_text("text"), item_text(None))
    for table in (to_arrow(journal.path), to_arrow(run), to_reader(journal.path).read_all(), runs_frame(tmp_path)):
        assert expected == [(row["item.lr"], row["item"]) for row in table.to_pylist()]
    write_report(run, tmp_path / "page.html")
    assert "lr=0.333333, depth=3" in (tmp_path / "page.html").read_text(encoding="utf-8")
