"""A run takes over the steps of an earlier one that would be the same."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, SecretStr

from crystallize import (
    FrozenContext,
    InvalidStepError,
    Journal,
    JournalError,
    Metric,
    MetricSchema,
    RunNotFoundError,
    afan_out,
    fan_out,
    load_run,
    step,
)
from crystallize._tables.run_description import describe
from crystallize.report import write_report

Main = Callable[[Any], object]

called: list[str] = []


def call(name: str) -> None:
    """Note a call."""
    called.append(name)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    called.clear()


def ran(main: Main, initial: Any = None, *, reuse: Any = True, kind: Any = FrozenContext, metrics: Any = None) -> Any:
    """Run a program in the folder "runs"; return the tasks that were called, the reasons by step, and the context."""
    called.clear()
    with Journal.start("runs", "run", reuse=reuse) as journal:
        ctx = journal.context(kind, initial or {}, metrics=metrics)
        main(ctx)
    return list(called), reasons(journal.path), ctx


def reasons(path: Path) -> dict[str, str | None]:
    """Return the reasons why the steps of a run were not taken over."""
    return {attempt.step: attempt.reason for attempt in load_run(path).attempts if attempt.reason is not None}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(ctx: Any) -> int:
    call("load")
    ctx["rows"] = np.arange(3) + ctx["offset"]
    ctx.record("size", 3, {"of": "rows"})
    ctx.artifacts.add("rows.csv", b"0,1,2")
    return 3


def fit(ctx: Any, size: int) -> float:
    call("fit")
    return float(ctx["rows"].sum() * ctx["lr"] + size)


def program(ctx: Any) -> float:
    size = ctx.run(load)
    result: float = ctx.run(fit, size)
    return result


START = {"lr": 0.5, "offset": 1}


def test_a_step_is_taken_over_with_its_work_and_its_result() -> None:
    """Its record has its times, and names the run in which it ran; so it does in a third run."""
    _, _, first = ran(program, START, reuse=False)
    for _ in range(2):
        names, why, ctx = ran(program, START)
        assert ([], {}) == (names, why)
        np.testing.assert_array_equal([1, 2, 3], ctx["rows"])
        assert ((3,), b"0,1,2") == (ctx.metrics["size"], ctx.artifacts["rows.csv"].data)
        steps = [record._replace(reused_from="run-0001") for record in first.provenance.steps]
        assert steps == [*ctx.provenance.steps] == [*load_run("runs/run-0002.db").provenance.steps]


def test_only_the_steps_that_a_change_can_reach_run() -> None:
    """The reason names the first input that differs."""
    ran(program, START, reuse=False)
    assert (["fit"], {"fit-3": "lr was 0.5, is 0.25"}) == ran(program, {**START, "lr": 0.25})[:2]
    assert (
        ["load", "fit"],
        {"load": "offset was 1, is 2", "fit-3": "rows was array([1, 2, 3]), is array([2, 3, 4])"},
    ) == ran(program, {**START, "offset": 2}, reuse="run-0001")[:2]


def test_a_step_that_did_not_finish_in_the_newest_run_is_looked_for_in_the_older_ones() -> None:
    ran(program, START, reuse=False)
    ran(lambda ctx: ctx.run(load), START)
    assert [] == ran(program, START)[0]
    assert (["fit"], {"fit-3": "it did not finish in run-0002"}) == ran(program, START, reuse="run-0002")[:2]


def test_a_path_is_taken_as_well_as_a_name() -> None:
    ran(program, START, reuse=False)
    for reuse in (Path("runs/run-0001.db"), "runs/run-0001.db", "run-0001", "1"):
        assert [] == ran(program, START, reuse=reuse)[0]


def test_the_first_run_of_a_name_has_no_earlier_one() -> None:
    assert (["load", "fit"], {}) == ran(program, START)[:2]


@pytest.mark.parametrize(
    ("reuse", "error", "match"),
    [
        ("fit-0001", RunNotFoundError, "there is no such run"),
        (3, JournalError, "reuse is the name or the path of a run, True"),
        (b"run-0001", JournalError, "reuse is the name or the path of a run, True"),
    ],
)
def test_a_wrong_source_is_refused_before_a_file_is_made(reuse: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Journal.start("runs", "run", reuse=reuse)
    assert [] == [*Path().glob("runs/*")]


def test_a_damaged_run_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """With True, the older ones are tried; a run that is named raises."""
    ran(program, START, reuse=False)
    Path("runs/run-0002.db").write_bytes(b"no run")
    assert [] == ran(program, START)[0]
    assert "no step is taken over from run-0002" in caplog.text
    with pytest.raises(JournalError):
        ran(program, START, reuse="run-0002")
    Path("runs/run-0001.db").write_bytes(b"no run")
    Path("runs/run-0003.db").unlink()
    assert ["load", "fit"] == ran(program, START)[0]


def test_an_older_run_that_is_damaged_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    ran(program, START, reuse=False)
    ran(lambda ctx: ctx.run(load), START)
    Path("runs/run-0001.db").write_bytes(b"no run")
    assert ["fit"] == ran(program, START)[0]
    assert "no step is taken over from run-0001" in caplog.text


def test_a_resumed_run_goes_on_taking_over() -> None:
    """It finds the earlier run by its path, and the steps that it took over itself."""
    ran(program, START, reuse=False)
    ran(lambda ctx: ctx.run(load), START, reuse="run-0001")
    called.clear()
    with Journal.resume("runs/run-0002.db") as journal:
        ctx = journal.context(FrozenContext)
        assert 6.0 == program(ctx)
    assert [] == called
    assert ["run-0001", "run-0001"] == [record.reused_from for record in ctx.provenance.steps]


def test_a_resumed_run_whose_earlier_run_is_lost_runs_its_steps(caplog: pytest.LogCaptureFixture) -> None:
    ran(program, START, reuse=False)
    ran(lambda ctx: ctx.run(load), START)
    Path("runs/run-0001.db").unlink()
    with Journal.resume("runs/run-0002.db") as journal:
        program(journal.context(FrozenContext))
    assert ["fit"] == called
    assert {"fit-3": "the file of run-0001 is lost"} == reasons(journal.path)
    assert "run-0002: no more steps are taken over from run-0001" in caplog.text


def test_a_run_that_is_running_is_a_source() -> None:
    with Journal.start("runs", "run") as journal:
        program(journal.context(FrozenContext, START))
        journal.flush()
        assert [] == ran(program, START)[0]


def test_in_another_folder() -> None:
    """Large values and files come along."""

    def large(ctx: Any) -> Any:
        call("large")
        ctx["big"] = np.zeros(1 << 18)
        ctx.artifacts.add("big.bin", bytes(1 << 21))
        return ctx["big"] + 1

    def look(ctx: Any) -> float:
        call("look")
        return float(ctx["big"].sum() + ctx.artifacts["big.bin"].size)

    def main(ctx: Any) -> None:
        assert 1 << 18 == ctx.run(large).sum()
        assert 1 << 21 == ctx.run(look)

    ran(main, reuse=False)
    assert [] == ran(main)[0]
    with Journal.start("other", "run", reuse="runs/run-0001.db") as journal:
        ctx = journal.context(FrozenContext)
        main(ctx)
    assert ["large", "look"] != called
    assert bytes(1 << 21) == load_run("other/run-0001.db").artifacts["big.bin"].data
    for path in Path("runs/objects").rglob("*"):
        if path.is_file():
            path.unlink()
    _, why, _ = ran(main, reuse="run-0001")
    assert ["large", "look"] == [*why]


def test_options_of_step() -> None:
    """A version that changed, `reuse=False`, also of an inner step, and keys to ignore."""

    def at(version: int, *, reuse: bool = True) -> Main:
        @step("inner", version=version, reuse=reuse)
        def inner(ctx: Any) -> None:
            call("inner")

        @step("outer", ignore=("lr",))
        def outer(ctx: Any) -> float:
            call("outer")
            ctx.run(inner)
            return float(ctx["lr"])

        return lambda ctx: ctx.run(outer)

    ran(at(1), {"lr": 1.0}, reuse=False)
    assert [] == ran(at(1), {"lr": 2.0})[0]
    names, why, _ = ran(at(2), {"lr": 1.0})
    assert ["outer", "inner"] == names
    assert "version was 1, is 2" == why["outer/inner"]
    assert ["outer", "inner"] == ran(at(2, reuse=False), {"lr": 1.0})[0]
    names, why, _ = ran(at(2, reuse=False), {"lr": 1.0})
    assert (["outer", "inner"], "its task has @step(reuse=False)") == (names, why["outer/inner"])


def test_a_step_that_reads_a_secret_runs() -> None:
    def ask(ctx: Any) -> int:
        call("ask")
        return len(ctx["token"].get_secret_value())

    start = {"token": SecretStr("hunter2")}
    ran(lambda ctx: ctx.run(ask), start, reuse=False)
    assert (["ask"], {"ask": "it read token, a secret"}) == ran(lambda ctx: ctx.run(ask), start)[:2]
    plain = ran(lambda ctx: ctx.run(ask), start, reuse=False)
    assert ["ask"] == plain[0]


def test_a_result_that_cannot_be_restored() -> None:
    class Odd:
        pass

    def odd(ctx: Any) -> Any:
        call("odd")
        return Odd()

    ran(lambda ctx: ctx.run(odd), reuse=False)
    assert (["odd"], {"odd": "part of its work in run-0001 cannot be restored"}) == ran(lambda ctx: ctx.run(odd))[:2]


def test_steps_of_one_name() -> None:
    def count(ctx: Any) -> int:
        call("count")
        return len(called)

    def main(ctx: Any) -> None:
        assert [1, 2] == [ctx.run(count), ctx.run(count)]
        with ctx.step("count") as third:
            third["name"] = "count#3"

    ran(main, reuse=False)
    names, _, ctx = ran(main)
    assert ([], ["count", "count#2", "count#3"]) == (names, [record.name for record in ctx.provenance.steps])


def test_a_step_that_failed_with_retries() -> None:
    """The failed attempt stays on record, and the step is taken over."""

    @step(retries=1)
    def flaky(ctx: Any) -> int:
        call("flaky")
        ctx.record("tries", len(called))
        seen = len(ctx.metrics["tries"])
        if len(called) == 1:
            raise ValueError
        return seen

    def main(ctx: Any) -> None:
        ctx.record("tries", 0)
        assert 2 == ctx.run(flaky)

    _, _, first = ran(main, reuse=False)
    names, why, ctx = ran(main)
    assert ([], {}) == (names, why)
    assert [record.name for record in first.provenance.steps] == [record.name for record in ctx.provenance.steps]
    assert ["run-0001"] * 3 == [record.reused_from for record in ctx.provenance.steps]
    assert first.metrics["tries"] == ctx.metrics["tries"]


def fold(ctx: Any, number: int) -> float:
    call("fold")
    ctx.record("score", number, {"of": number})
    ctx[f"fold{number}"] = number
    return float(ctx["lr"] * number)


def test_branches_within_a_step() -> None:
    def tune(ctx: Any) -> float:
        with ThreadPoolExecutor(2) as executor:
            return float(sum(fan_out(ctx, fold, [1, 2, 3], executor=executor)))

    _, _, first = ran(lambda ctx: ctx.run(tune), START, reuse=False)
    names, why, ctx = ran(lambda ctx: ctx.run(tune), START)
    assert ([], {}) == (names, why)
    assert [*first.metrics.series("score")] == [*ctx.metrics.series("score")]
    assert [record.name for record in first.provenance.steps] == [record.name for record in ctx.provenance.steps]
    assert [] == ran(lambda ctx: ctx.run(tune), START)[0]


async def ask(ctx: Any, question: str) -> int:
    call("ask")
    await asyncio.sleep(0)
    ctx["answer"] = len(question)
    return len(question) + int(ctx["lr"])


def test_coroutines() -> None:
    def main(ctx: Any) -> None:
        assert 7 == asyncio.run(ctx.arun(ask, "why not"))

    ran(main, START, reuse=False)
    assert ([], {}) == ran(main, START)[:2]
    assert (["ask"], {"ask-why not": "lr was 0.5, is 0.25"}) == ran(main, {**START, "lr": 0.25})[:2]


class Config(BaseModel):
    depth: int = 1
    name: str = "x"


class Train(BaseModel):
    cfg: Config
    lr: float


class WideTrain(BaseModel):
    cfg: Config | None
    lr: float
    more: int = 0


class Losses(MetricSchema):
    loss = Metric(float, goal="minimize")


class OtherLosses(MetricSchema):
    loss = Metric(int, goal="minimize")


def typed(ctx: Any) -> Config:
    call("typed")
    ctx.record(Losses.loss, 0.5)
    return Config(depth=ctx["cfg"].depth + 1)


def test_models_and_declared_metrics() -> None:
    start = {"cfg": Config(depth=3), "lr": 0.1}

    def main(ctx: Any) -> None:
        assert Config(depth=4) == ctx.run(typed)

    ran(main, start, reuse=False, kind=FrozenContext[Train], metrics=Losses)
    names, why, ctx = ran(main, start, kind=FrozenContext[Train], metrics=Losses)
    assert ([], {}, 0.5) == (names, why, ctx.metrics.series(Losses.loss).best)
    assert {"typed": "the type of cfg changed"} == ran(main, start, kind=FrozenContext[WideTrain], metrics=Losses)[1]


def test_a_series_that_differs() -> None:
    def judge(ctx: Any) -> float:
        call("judge")
        return float(min(ctx.metrics["loss"]))

    def main(ctx: Any, losses: tuple[float, ...]) -> None:
        for loss in losses:
            ctx.record("loss", loss)
        ctx.run(judge)

    def run(*losses: float) -> Any:
        return ran(partial(main, losses=losses), reuse="run-0001")[:2]

    ran(partial(main, losses=(0.5, 0.25)), reuse=False)
    assert ([], {}) == run(0.5, 0.25)
    assert (["judge"], {"judge": "the points of loss changed"}) == run(0.5, 0.125)
    assert (["judge"], {"judge": "loss had 2 points, has 1"}) == run(0.5)


def test_declarations_that_changed() -> None:
    """The types of a metric and of a result."""

    def record(ctx: Any) -> int:
        call("record")
        ctx.record("loss", 1)
        return len(ctx.metrics["loss"])

    def text(ctx: Any) -> str:
        call("record")
        return "1"

    def main(ctx: Any) -> None:
        ctx.run(record)

    ran(main, reuse=False, metrics=Losses)
    assert {"record": "the declaration of loss changed"} == ran(main, metrics=OtherLosses, reuse="run-0001")[1]
    assert {} == ran(main, metrics=Losses, reuse="run-0001")[1]


outside: Any = None


def peek(ctx: Any) -> int:
    """Read through a global."""
    return int(outside["k"])


def test_a_context_in_a_global_or_a_closure_has_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "outside", other := FrozenContext({"k": 3}))

    def peek_too(ctx: Any) -> int:
        return int(other["k"])

    def main(ctx: Any) -> None:
        ctx.run(peek)
        ctx.run(peek_too)

    ran(main, reuse=False)
    why = ran(main)[1]
    assert "outside holds a context, whose reads by the step are not on record" == why["peek"]
    assert "the closure value other is a" in str(why["peek_too"])


def test_a_copy_of_a_context_takes_nothing_over() -> None:
    """A copy has no sinks, and so no journal."""
    from copy import deepcopy

    ran(program, START, reuse=False)
    with Journal.start("runs", "run", reuse=True) as journal:
        program(deepcopy(journal.context(FrozenContext, START)))
    assert ["load", "fit", "load", "fit"] == called


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "crystallize")


def page_of(run: Any) -> str:
    """Return the page of a run."""
    write_report(run, "run.html")
    return Path("run.html").read_text("utf-8")


def test_the_page_and_the_description_of_a_run() -> None:
    """They say which steps were taken over, and why the others ran."""
    ran(program, START, reuse=False)
    ran(program, {**START, "lr": 0.25})
    run = load_run("runs/run-0002.db")
    assert ("run-0001", ["load"]) == (run.parent, [step.name for step in describe(run).steps if step.reused_from])
    page = page_of(run)
    assert "Taken over from <code>run-0001</code>: <code>load</code>" in page
    assert "<code>fit-3</code></th><td>lr was 0.5, is 0.25</td>" in page
    ran(program, START, reuse="run-0001")
    assert "No other step was opened." in page_of(load_run("runs/run-0003.db"))


def sums(ctx: Any, number: int) -> float:
    call("sums")
    ctx.record("score", number)
    ctx.record("score", number * 2)
    ctx[f"sum{number}"] = sum(ctx.metrics["score"])
    return float(ctx["lr"] * number)


def test_branches_of_a_fan_out() -> None:
    """A branch is taken over if its item, its function and all that it read are the same."""

    def main(ctx: Any, items: list[int]) -> Any:
        with ThreadPoolExecutor(2) as executor:
            results = fan_out(ctx, sums, items, executor=executor)
        return results, dict(ctx), [*ctx.metrics.series("score")]

    def run(*items: int, lr: float = 0.5, reuse: Any = True) -> Any:
        found: list[Any] = []
        names, why, ctx = ran(lambda ctx: found.append(main(ctx, [*items])), {"lr": lr}, reuse=reuse)
        plain = FrozenContext({"lr": lr})
        assert main(plain, [*items]) == found[0]
        records = [(record.name, record.metric_reads) for record in plain.provenance.steps]
        assert records == [(record.name, record.metric_reads) for record in ctx.provenance.steps]
        return len(names), why

    assert (3, {}) == run(1, 2, 3, reuse=False)
    assert (0, {}) == run(1, 2, 3)
    assert (0, {}) == run(1, 2, 3)
    assert (
        2,
        {"sums-1": "its argument number changed", "sums-3": "it did not finish in run-0003 or an older run"},
    ) == run(1, 4, 3, 5)
    assert (4, {f"sums-{number}": "lr was 0.5, is 0.25" for number in range(4)}) == run(1, 4, 3, 5, lr=0.25)
    with Journal.resume("runs/run-0005.db") as journal:
        called.clear()
        assert ([0.25, 1.0, 0.75, 1.25], 0) == (main(journal.context(FrozenContext), [1, 4, 3, 5])[0], len(called))


def test_branches_of_coroutines() -> None:
    def main(ctx: Any) -> None:
        assert [3, 5] == asyncio.run(afan_out(ctx, ask_each, ["who", "where"]))

    ran(main, START, reuse=False)
    assert ([], {}) == ran(main, START)[:2]
    names, why, _ = ran(main, {**START, "lr": 0.25})
    assert (["ask", "ask"], "lr was 0.5, is 0.25") == (names, why["ask_each-0"])


async def ask_each(ctx: Any, question: str) -> int:
    call("ask")
    await asyncio.sleep(0)
    return len(question) + int(ctx["lr"])


def test_branches_whose_task_is_never_taken_over() -> None:
    @step(reuse=False)
    def never(ctx: Any, number: int) -> int:
        call("never")
        return number

    def outer(ctx: Any) -> None:
        with ThreadPoolExecutor(2) as executor:
            fan_out(ctx, never, [1, 2], executor=executor)

    ran(lambda ctx: ctx.run(outer), reuse=False)
    names, why, _ = ran(lambda ctx: ctx.run(outer))
    assert (["never", "never"], "its task has @step(reuse=False)") == (names, why["outer"])


def test_an_inner_step_stays_taken_over_if_the_step_around_it_is_done_again() -> None:
    """The run died after it had taken the inner step over; resumed, it does not run it either."""

    def outer(ctx: Any) -> float:
        size = ctx.run(load)
        if ctx["lr"] < 0 and not called:
            raise ValueError
        ctx["weight"] = ctx["lr"] * size
        return float(ctx["weight"])

    ran(lambda ctx: ctx.run(outer), START, reuse=False)
    with pytest.raises(ValueError, match=r"^$"):
        ran(lambda ctx: ctx.run(outer), {**START, "lr": -1.0})
    called.append("again")
    with Journal.resume("runs/run-0002.db") as journal:
        ctx = journal.context(FrozenContext)
        assert -3.0 == ctx.run(outer)
    assert (["again"], (3,)) == (called, ctx.metrics["size"])
    assert ["run-0001", None] == [record.reused_from for record in ctx.provenance.steps]
    assert [] == ran(lambda ctx: ctx.run(outer), {**START, "lr": -1.0})[0]


@pytest.mark.parametrize("is_branch", [False, True])
def test_a_key_to_ignore_that_is_not_declared(tmp_path: Path, is_branch: bool) -> None:
    """A misspelt key in `ignore` is an error, and nothing has run."""

    class Login(BaseModel):
        token: str
        answer: str

    @step(ignore=["tokn"])
    def ask(ctx: FrozenContext[Any], item: int) -> None:
        raise AssertionError

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext[Login], {"token": "t"})
        with (
            ThreadPoolExecutor(1) as executor,
            pytest.raises(InvalidStepError, match=r"'tokn', which .*Login does not declare; did you mean 'token'"),
        ):
            fan_out(ctx, ask, [1], executor=executor) if is_branch else ctx.run(ask, 1)
        assert () == tuple(ctx.provenance.steps)
