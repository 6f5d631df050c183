"""A run that is resumed has the work of the steps that finished as it was, and does the other steps again."""

import copy
import pickle
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crystallize import FrozenContext, Journal, fork, load_run, step
from crystallize._page.lineage import LineageLayout, lineage_layout
from crystallize._tables.run_description import describe
from crystallize.frames import to_arrow
from crystallize.runs import verify_run

from ..profiles import examples
from .kept_programs import Content, Died, Failed, Node, Process, drawn

pytestmark = pytest.mark.usefixtures("without_environment")
_folders = count()


def died(folder: Path, program: Node, process: Process, *, is_killed: bool) -> tuple[Path, Content]:
    """Run a program until it dies; return the file of the run, and the content of the context at that moment.

    If it is killed, the steps around that moment have no end; otherwise they end by an exception.
    """
    journal = Journal.start(folder / "run", "run")
    path, found = journal.path, list[Content]()

    def kill(ctx: FrozenContext[object]) -> None:
        journal.flush()
        shutil.copytree(folder / "run", folder / "killed")
        found.append(Content.of(ctx))

    process.at_death = kill if is_killed else lambda ctx: None
    with suppress(Died, Failed), journal:
        ctx = journal.context(FrozenContext, {"input": 1})
        try:
            process.run(ctx, program)
        finally:
            found.append(Content.of(ctx))
    return folder / "killed" / path.name if len(found) > 1 else path, found[0]


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**9), is_killed=st.booleans())
def test_the_work_of_the_steps_that_finished_is_as_it_was(tmp_path: Path, seed: int, is_killed: bool) -> None:
    """Also that of steps that failed within them. All others run again from their start."""
    random, folder = Random(seed), tmp_path / str(next(_folders))
    program = drawn(random)
    whole = Process()
    with suppress(Failed):
        whole.run(expected := FrozenContext({"input": 1}), program)
    first = Process(random.randint(1, whole.done + 1))
    path, at_death = died(folder, program, first, is_killed=is_killed)
    kept, second = at_death.of_steps(first.keeps), Process()
    with suppress(Failed), Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        journal.flush()
        assert kept == Content.of(ctx) == Content.of(load_run(path).context)
        second.run(ctx, program)
    assert Content.of(expected).regardless_of_order() == Content.of(ctx).regardless_of_order()
    assert Content.of(ctx).regardless_of_order() == Content.of(load_run(path).context).regardless_of_order()
    again = {name for name in whole.opened if "/attempt-" not in name and not first.keeps(name)}
    assert again == {name for name in second.opened if "/attempt-" not in name}
    assert [] == list(verify_run(path))


def fit(ctx: FrozenContext[Any]) -> None:
    """Finish, though an inner step, the step in that, and an attempt fail."""
    for name in ("solve", "improve"):
        with suppress(Failed), ctx.step(name) as inner, inner.step("deep") as deep:
            inner.record("loss", 0.5)
            deep[f"{name} weight"] = inner["input"]
            deep.artifacts.add(f"{name}.txt", b"x")
            raise Failed
    with suppress(Failed):
        ctx.run(step("load", retries=1)(fail))


def fail(ctx: FrozenContext[Any]) -> None:
    """Fail."""
    ctx["loaded"] = True
    raise Failed


class Shown:
    """All that is shown of a run in several ways."""

    def __init__(self, path: Path) -> None:
        run = load_run(path)
        facts = describe(run)
        self.content = Content.of(run.context)
        self.values = [(row.key, row.step) for row in facts.values]
        self.metrics, self.artifacts = facts.metrics, facts.artifacts
        self.outcomes = sorted((found.name, found.outcome) for found in (*facts.steps, *facts.dead_attempts))
        self.lineage: LineageLayout = lineage_layout(facts)
        self.frame = to_arrow(path).to_pylist()


def test_steps_that_failed_within_one_that_finished(runs: Path) -> None:
    """They are shown as before, and copies and branches of the resumed context have their work."""
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext, {"input": 1})
        ctx.run(fit)
        content = Content.of(ctx)
    before = Shown(journal.path)
    assert {"input", "solve weight", "improve weight"} == {key for key, *_ in content.values}
    assert "fit/load/attempt-2" in [record.name for record in content.records]
    for _ in range(2):
        with Journal.resume(journal.path) as resumed:
            ctx = resumed.context(FrozenContext)
            ctx.run(fit)
            assert (
                content == Content.of(ctx) == Content.of(copy.copy(ctx)) == Content.of(pickle.loads(pickle.dumps(ctx)))
            )
            assert dict(ctx) == dict(fork(ctx, "branch").open())
            assert frozenset({"input"}) == ctx.provenance.lineage.sources("solve weight")
        assert vars(before) == vars(Shown(journal.path))


def test_a_lost_result_within_a_block_that_finished_is_not_needed(runs: Path) -> None:
    """Nobody calls its step again."""

    def make(ctx: FrozenContext[Any]) -> object:
        ctx["made"] = True
        return object()

    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        with ctx.step("outer") as outer:
            outer.run(make)
    with Journal.resume(journal.path) as journal:
        ctx = journal.context(FrozenContext)
        assert (True, True) == (ctx["made"], ctx.provenance.finished("outer"))


def test_a_block_that_was_not_opened_again(runs: Path) -> None:
    """A task that runs again may leave a block out. Its work is gone then, also for the process after the next."""
    opens = iter([True, False])

    def outer(ctx: FrozenContext[Any]) -> None:
        if next(opens):
            with ctx.step("block") as block:
                block["found"] = 1
            raise Failed

    with pytest.raises(Failed), Journal.start(runs, "run") as journal:
        journal.context(FrozenContext).run(outer)
    for _ in range(2):
        with Journal.resume(journal.path) as journal:
            ctx = journal.context(FrozenContext)
            ctx.run(outer)
            assert {} == dict(ctx) == dict(load_run(journal.path).context)


def test_a_lost_value_of_an_inner_step_of_an_earlier_process(runs: Path) -> None:
    """The step around it runs again, though it finished in a later process: only that calls the inner step."""
    calls: list[str] = []

    def inner(ctx: FrozenContext[Any]) -> None:
        calls.append("inner")
        ctx["large"] = np.zeros(1 << 18)

    def outer(ctx: FrozenContext[Any]) -> None:
        calls.append("outer")
        ctx.run(inner)
        if len(calls) == 2:
            raise Failed

    def objects() -> Iterator[Path]:
        return (file for file in (runs / "objects").rglob("*") if file.is_file())

    with pytest.raises(Failed), Journal.start(runs, "run") as journal:
        journal.context(FrozenContext).run(outer)
    with Journal.resume(journal.path) as journal:
        journal.context(FrozenContext).run(outer)
    assert ["outer", "inner", "outer"] == calls
    for file in objects():
        file.unlink()
    with Journal.resume(journal.path) as journal:
        ctx = journal.context(FrozenContext)
        ctx.run(outer)
        assert 1 << 18 == len(ctx["large"])
    assert ["outer", "inner"] == calls[3:]
