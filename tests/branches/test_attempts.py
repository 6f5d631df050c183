"""`@step(retries=...)`: attempts of which only the one that succeeds leaves more than a record."""

import asyncio
import copy
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import FrozenContext, Journal, MergeConflictError, Metric, MetricSchema, load_run, step
from crystallize._journal.verify import verify_run
from crystallize.errors import SinkError
from crystallize.events import Event
from crystallize.frames import to_arrow
from crystallize.sinks.memory import MemorySink


class Flaky:
    """A function that fails a number of times, having written, recorded and added something."""

    def __init__(self, failures: int, error: type[BaseException] = ValueError) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self, ctx: FrozenContext[Any]) -> int:
        self.calls += 1
        ctx["made"] = self.calls
        ctx.record("loss", self.calls)
        ctx.artifacts.add("made.txt", str(self.calls).encode())
        with ctx.step("inner") as inner:
            inner["deep"] = self.calls
        if self.calls <= self.failures:
            raise self.error(f"attempt {self.calls}")
        return self.calls


class View(NamedTuple):
    """All that a step can see of a context."""

    keys: dict[str, Any]
    points: list[Any]
    last: Any
    values: tuple[Any, ...]
    artifacts: dict[str, bytes]
    finished: bool
    steps: list[str]
    rows: list[Any]

    @classmethod
    def of(cls, ctx: FrozenContext[Any]) -> "View":
        """Look at everything."""
        loss = ctx.metrics.series("loss")
        return cls(
            dict(ctx),
            [*loss],
            loss.last,
            loss.values,
            {artifact.name: artifact.data for artifact in ctx.artifacts},
            ctx.provenance.finished("before"),
            [record.name for record in ctx.provenance.steps],
            to_arrow(ctx.metrics).to_pylist(),
        )


def names(ctx: FrozenContext[Any]) -> list[str]:
    """Return the names of the steps that have ended."""
    return [record.name for record in ctx.provenance.steps]


class TestAttempts:
    def test_only_the_last_leaves_its_work(self) -> None:
        flaky, ctx = Flaky(2), FrozenContext({"lr": 0.1})
        assert 3 == ctx.run(step("fit", retries=2)(flaky))
        assert {"lr": 0.1, "made": 3, "deep": 3} == dict(ctx)
        assert ((3,), b"3") == (ctx.metrics["loss"], ctx.artifacts["made.txt"].data)
        errors = {record.name: record.error for record in ctx.provenance.steps}
        assert {
            "fit/attempt-1": "ValueError: attempt 1",
            "fit/attempt-2": "ValueError: attempt 2",
            "fit/attempt-3": None,
            "fit/attempt-3/inner": None,
            "fit": None,
        } == errors
        assert "fit/attempt-3" == ctx.provenance.writer("made")

    def test_the_exception_of_the_last_one_comes_out(self) -> None:
        flaky, ctx = Flaky(9), FrozenContext()
        with pytest.raises(ValueError, match="attempt 3"):
            ctx.run(step("fit", retries=2)(flaky))
        assert (3, {}, ()) == (flaky.calls, dict(ctx), ctx.metrics["loss"])
        assert ["fit/attempt-1", "fit/attempt-2", "fit/attempt-3", "fit"] == names(ctx)
        assert "ValueError: attempt 3" == ctx.provenance.steps[-1].error

    def test_other_exceptions_end_the_step(self) -> None:
        flaky, ctx = Flaky(1), FrozenContext()
        with pytest.raises(ValueError, match="attempt 1"):
            ctx.run(step("fit", retries=2, on=(TimeoutError, KeyError))(flaky))
        assert 1 == flaky.calls
        flaky = Flaky(1, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            ctx.run(step("stop", retries=2)(flaky))
        assert 1 == flaky.calls

    def test_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waited: list[float] = []
        monkeypatch.setattr(time, "sleep", waited.append)
        ctx = FrozenContext()
        ctx.run(step("fixed", retries=2, wait=1.5)(Flaky(1)))
        with pytest.raises(ValueError, match="attempt 3"):
            FrozenContext().run(step("grows", retries=2, wait=lambda failed: 2.0**failed)(Flaky(9)))
        assert [1.5, 2.0, 4.0] == waited

    def test_attempts_at_one_step_of_another(self) -> None:
        inner, outer = Flaky(1), Flaky(0)

        @step(retries=1)
        def both(ctx: FrozenContext[Any]) -> int:
            outer.calls += 1
            found: int = ctx.run(step("inner", retries=1)(inner))
            if outer.calls == 1:
                raise ValueError
            return found

        ctx = FrozenContext()
        assert 3 == ctx.run(both)
        assert 3 == ctx["made"]
        assert "both/attempt-2/inner/attempt-1" == ctx.provenance.writer("made")

    def test_a_step_that_is_left_open_is_a_failure(self) -> None:
        calls: list[Any] = []

        @step(retries=1)
        def fit(ctx: FrozenContext[Any]) -> int:
            calls.append(ctx.step("open"))
            if len(calls) == 1:
                calls[0].__enter__()
            return len(calls)

        assert 2 == FrozenContext().run(fit)

    def test_work_that_cannot_be_merged(self) -> None:
        ctx = FrozenContext()

        @step(retries=1, on=TimeoutError)
        def fit(child: FrozenContext[Any]) -> None:
            child["made"] = 1
            ctx["made"] = 2

        with pytest.raises(MergeConflictError):
            ctx.run(fit)
        assert 2 == ctx["made"]
        assert all(record.error for record in ctx.provenance.steps)

    def test_a_sink_that_fails_when_it_is_merged(self) -> None:
        class Full(MemorySink):
            def handle(self, event: Event, /) -> None:
                super().handle(event)
                if type(event).__name__ in self.failing:
                    raise OSError("full")

            failing: tuple[str, ...] = ("BranchMerged",)

        ctx, flaky = FrozenContext(sinks=[Full()]), Flaky(0)
        with pytest.raises(SinkError, match="full"):
            ctx.run(step("fit", retries=3)(flaky))
        assert (1, 1) == (flaky.calls, ctx["made"])

    def test_a_sink_that_fails_when_a_failure_is_put_on_record(self) -> None:
        class Full(MemorySink):
            def handle(self, event: Event, /) -> None:
                if getattr(event, "error", None):
                    raise OSError("full")

        ctx, flaky = FrozenContext(sinks=[Full()]), Flaky(9)
        with pytest.raises(ValueError, match="attempt 2") as caught:
            ctx.run(step("fit", retries=1)(flaky))
        assert any("full" in note for note in caught.value.__notes__)

    def test_secrets_of_a_failed_attempt_are_masked(self) -> None:
        from pydantic import SecretStr

        @step(retries=1)
        def login(ctx: FrozenContext[Any]) -> None:
            ctx["password"] = SecretStr("hunter22")
            raise ValueError("hunter22")

        ctx = FrozenContext()
        with pytest.raises(ValueError, match="hunter22"):
            ctx.run(login)
        assert "hunter22" not in repr(ctx.provenance.steps)

    def test_in_threads(self) -> None:
        def fit(ctx: FrozenContext[Any], number: int) -> int:
            ctx[f"key {number}"] = number
            ctx.record("loss", number)
            if number not in failed:
                failed.add(number)
                raise ValueError
            return number

        failed, ctx = set[int](), FrozenContext()
        with ThreadPoolExecutor(8) as pool:
            assert [*range(20)] == [*pool.map(lambda number: ctx.run(step(retries=1)(fit), number), range(20))]
        assert {f"key {number}": number for number in range(20)} == dict(ctx)
        assert sorted(range(20)) == sorted(ctx.metrics["loss"])


class TestCoroutines:
    def test_the_same_for_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        flaky, waited = Flaky(2), list[float]()

        @step("fit", retries=2, wait=lambda failed: failed / 1000)
        async def fit(ctx: FrozenContext[Any]) -> int:
            await asyncio.sleep(0)
            return flaky(ctx)

        sleep = asyncio.sleep

        def note(seconds: float) -> Any:
            waited.append(seconds)
            return sleep(0)

        monkeypatch.setattr(asyncio, "sleep", note)
        ctx = FrozenContext()
        assert 3 == asyncio.run(ctx.arun(fit))
        assert [0.001, 0.002] == [seconds for seconds in waited if seconds]
        assert ({"made": 3, "deep": 3}, (3,)) == (dict(ctx), ctx.metrics["loss"])

    def test_the_last_exception(self) -> None:
        @step(retries=1)
        async def fit(ctx: FrozenContext[Any]) -> None:
            raise TimeoutError

        ctx = FrozenContext()
        with pytest.raises(TimeoutError):
            asyncio.run(ctx.arun(fit))
        assert ["fit/attempt-1", "fit/attempt-2", "fit"] == names(ctx)

    def test_a_cancelled_attempt_is_the_last(self) -> None:
        @step(retries=5)
        async def fit(ctx: FrozenContext[Any]) -> None:
            ctx["made"] = 1
            await asyncio.sleep(60)

        async def main(ctx: FrozenContext[Any]) -> None:
            async with asyncio.timeout(0.01):
                await ctx.arun(fit)

        ctx = FrozenContext()
        with pytest.raises(TimeoutError):
            asyncio.run(main(ctx))
        assert {} == dict(ctx)
        assert ["CancelledError"] * 2 == [record.error for record in ctx.provenance.steps]

    def test_many_at_once(self) -> None:
        failed: set[int] = set()

        @step(retries=1)
        async def ask(ctx: FrozenContext[Any], number: int) -> int:
            ctx[f"answer {number}"] = number
            await asyncio.sleep(0)
            if number not in failed:
                failed.add(number)
                raise ValueError
            return number

        async def main(ctx: FrozenContext[Any]) -> list[int]:
            return await asyncio.gather(*(ctx.arun(ask, number) for number in range(30)))

        ctx = FrozenContext()
        assert [*range(30)] == asyncio.run(main(ctx))
        assert 30 == len(ctx)


class Measured(MetricSchema):
    loss = Metric(float, goal="minimize")


@pytest.mark.parametrize("metrics", [None, Measured])
def test_an_attempt_sees_what_the_step_would_see(metrics: type[MetricSchema] | None) -> None:
    """The keys, series, artifacts and steps of the context are there, and only its own work is new."""

    def prepare(ctx: FrozenContext[Any]) -> None:
        ctx.record("loss", 1)
        with ctx.step("before") as before:
            before["key"] = [1]
            before.record("loss", 0.5)
            before.artifacts.add("made.bin", b"x")
        ctx.run(step("tried", retries=1)(lambda ctx: ctx.record("loss", 2)))

    def look(ctx: FrozenContext[Any]) -> tuple[View, Any]:
        before = View.of(ctx)
        ctx.record("loss", 3)
        ctx.artifacts.add("new.bin", b"y")
        ctx["new"] = 1
        best = ctx.metrics.series(Measured.loss).best if metrics else min(ctx.metrics["loss"])
        return before, (best, ctx.metrics["loss"], [made.name for made in ctx.artifacts], dict(ctx))

    found = list[Any]()
    for retries in (0, 1):
        ctx: FrozenContext[Any] = FrozenContext(metrics=metrics)
        prepare(ctx)
        found.append(ctx.run(step("look", retries=retries)(look)))
        found.append(dict(ctx))
        found.append(
            [(point.value, (point.step or "").replace("/attempt-1", "")) for point in ctx.metrics.series("loss")]
        )
        found.append([made.name for made in ctx.artifacts])
    assert found[:4] == found[4:]


def test_the_earlier_steps_within_an_attempt() -> None:
    """They are there in copies of its context as well, also those of branches, and only until it ends."""

    @step(retries=1)
    def look(ctx: FrozenContext[Any]) -> list[Any]:
        with ctx.step("own"):
            pass
        copies = ctx, copy.copy(ctx), pickle.loads(pickle.dumps(ctx))
        return [(names(it), len(it.provenance.steps), it.provenance.finished("before")) for it in copies]

    ctx = FrozenContext()
    with ctx.step("before"):
        pass
    for _ in range(2):
        earlier = names(ctx)
        own = f"{'look' if len(earlier) == 1 else 'look#2'}/attempt-1/own"
        assert [([*earlier, own], len(earlier) + 1, True)] * 3 == ctx.run(look)
    assert ["before", "look/attempt-1/own", "look/attempt-1", "look"] == names(ctx)[:4]
    assert 7 == len(names(ctx))


def test_what_is_taken_already_is_refused_within_an_attempt() -> None:
    from crystallize import ContextMutationError

    def fit(ctx: FrozenContext[Any]) -> None:
        ctx.artifacts.add("made.bin", b"y")

    for retries in (0, 1):
        ctx = FrozenContext()
        ctx.artifacts.add("made.bin", b"x")
        with pytest.raises(ContextMutationError):
            ctx.run(step("fit", retries=retries)(fit))
        assert b"x" == ctx.artifacts["made.bin"].data


Action = tuple[str, int]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["write", "record", "add", "step", "run", "sum", "count", "last"]), st.integers(0, 3)),
    max_size=8,
)


def act(ctx: FrozenContext[Any], actions: list[Action]) -> list[Any]:
    """Do something with a context, and return all that was seen."""
    seen: list[Any] = []
    for at, (action, number) in enumerate(actions):
        if action == "write" and f"key {number}" not in ctx:
            ctx[f"key {number}"] = at
        elif action == "record":
            ctx.record(f"metric {number}", at)
        elif action == "add" and f"file {number}" not in ctx.artifacts:
            ctx.artifacts.add(f"file {number}", bytes(at))
        elif action == "step":
            with ctx.step(f"inner {number}") as inner:
                seen.append(act(inner, actions[at + 1 :][:2]))
        elif action == "run":
            seen.append(ctx.run(act, actions[at + 1 :][:2]))
        elif action == "sum":
            seen.append(sum(map(sum, ctx.metrics.as_dict().values())))
        elif action == "count":
            seen.append((len(ctx), len(ctx.artifacts), len(ctx.metrics)))
        elif action == "last" and len(ctx.metrics.series(f"metric {number}")):
            seen.append(ctx.metrics.series(f"metric {number}").last)
    return seen


@given(st.lists(ACTIONS, max_size=3), st.integers(0, 2))
def test_retries_do_not_change_what_a_program_computes(program: list[list[Action]], failures: int) -> None:
    """However often steps fail, the program sees and leaves the same as if no step failed and none had retries."""

    failed = 0

    def flaky(ctx: FrozenContext[Any], actions: list[Action]) -> list[Any]:
        nonlocal failed
        seen = act(ctx, actions)
        if failed < failures:
            failed += 1
            raise ValueError
        return seen

    plain, tried = FrozenContext[dict[str, Any]](), FrozenContext[dict[str, Any]]()
    for actions in program:
        failed = 0
        expected = plain.run(step("task")(act), actions)
        assert expected == tried.run(step("task", retries=2)(flaky), actions)
    assert dict(plain) == dict(tried)
    assert plain.metrics.as_dict() == tried.metrics.as_dict()
    assert [(made.name, made.data) for made in plain.artifacts] == [(made.name, made.data) for made in tried.artifacts]


class Died(BaseException):
    """The process dies here, as far as the run is concerned."""


class TestInAFile:
    @staticmethod
    def die(runs: Path, main: Callable[[FrozenContext[Any]], object]) -> Path:
        with pytest.raises(Died), Journal.start(runs, "run") as journal:
            main(journal.context(FrozenContext, {"lr": 0.1}))
        return journal.path

    def test_failed_attempts_are_in_the_file(self, tmp_path: Path) -> None:
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext)
            ctx.run(step("fit", retries=2)(Flaky(2)))
        run = load_run(journal.path)
        assert names(ctx) == names(run.context)
        assert {record.error for record in run.context.provenance.steps if record.error} == {
            "ValueError: attempt 1",
            "ValueError: attempt 2",
        }
        assert ({"made": 3, "deep": 3}, (3,)) == (dict(run.context), run.context.metrics["loss"])
        assert [] == list(verify_run(journal.path))

    def test_a_step_that_finished_is_not_called_again(self, tmp_path: Path) -> None:
        flaky = Flaky(1)

        def main(ctx: FrozenContext[Any]) -> int:
            found: int = ctx.run(step("fit", retries=1)(flaky))
            return found

        path = self.die(tmp_path, lambda ctx: (main(ctx), _die()))
        with Journal.resume(path) as journal:
            assert 2 == main(journal.context(FrozenContext))
        assert 2 == flaky.calls

    def test_death_during_an_attempt(self, tmp_path: Path) -> None:
        """The step goes on with another attempt; those before are in the file."""
        flaky = Flaky(2)

        @step(retries=1)
        def fit(ctx: FrozenContext[Any]) -> int:
            flaky.error = Died if flaky.calls == 1 else ValueError
            return flaky(ctx)

        path = self.die(tmp_path, lambda ctx: ctx.run(fit))
        with Journal.resume(path) as journal:
            ctx = journal.context(FrozenContext)
            assert 3 == ctx.run(fit)
            assert {"lr": 0.1, "made": 3, "deep": 3} == dict(ctx)
            assert (3,) == ctx.metrics["loss"]
            assert "fit/attempt-3" == ctx.provenance.writer("made")
        assert [] == list(verify_run(path))
        with Journal.resume(path) as journal:
            ctx = journal.context(FrozenContext)
            assert (3, {"lr": 0.1, "made": 3, "deep": 3}) == (ctx.run(fit), dict(ctx))
        assert 3 == flaky.calls

    def test_death_between_the_merge_and_the_end_of_the_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from crystallize._branches.attempts import Attempts

        flaky, run = Flaky(1), Attempts.run

        def dying(attempts: Attempts) -> Any:
            run(attempts)
            raise Died

        monkeypatch.setattr(Attempts, "run", dying)
        path = self.die(tmp_path, lambda ctx: ctx.run(step("fit", retries=1)(flaky)))
        monkeypatch.undo()
        with Journal.resume(path) as journal:
            ctx = journal.context(FrozenContext)
            assert 2 == ctx.run(step("fit", retries=1)(flaky))
            assert ({"lr": 0.1, "made": 2, "deep": 2}, (2,)) == (dict(ctx), ctx.metrics["loss"])
        assert 2 == flaky.calls
        assert [] == list(verify_run(path))

    def test_the_same_of_a_coroutine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from crystallize._branches.attempts import Attempts

        flaky, arun = Flaky(1), Attempts.arun

        @step(retries=1)
        async def fit(ctx: FrozenContext[Any]) -> int:
            return flaky(ctx)

        async def dying(attempts: Attempts) -> Any:
            await arun(attempts)
            raise Died

        monkeypatch.setattr(Attempts, "arun", dying)
        path = self.die(tmp_path, lambda ctx: asyncio.run(ctx.arun(fit)))
        monkeypatch.undo()
        with Journal.resume(path) as journal:
            ctx = journal.context(FrozenContext)
            assert (2, 2) == (asyncio.run(ctx.arun(fit)), ctx["made"])
        assert 2 == flaky.calls


def _die() -> object:
    raise Died
