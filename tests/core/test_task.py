"""Functions as steps: `ctx.run`, `ctx.arun` and `@step`, without a journal."""

import asyncio
import copy
import enum
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import FrozenContext, InvalidStepError, StepFinished, StepStarted, step
from crystallize._core.step_options import StepOptions, options_of
from crystallize._core.task import parameters_of, return_type
from crystallize.sinks.memory import MemorySink


class Color(enum.Enum):
    RED = 1


def names(ctx: FrozenContext[Any]) -> list[str]:
    """Return the names of the steps that have ended."""
    return [record.name for record in ctx.provenance.steps]


def echo(ctx: FrozenContext[Any], *args: Any, **kwargs: Any) -> Any:
    """Return the arguments."""
    return args, kwargs


def half(ctx: FrozenContext[Any], size: int, *, deep: bool = False, label: str = "") -> float:
    """Return half of a number."""
    return size / 2


class Trainer:
    """A task with a state, and one that is called itself."""

    def fit(self, ctx: FrozenContext[Any], epoch: int) -> int:
        return epoch

    def __call__(self, ctx: FrozenContext[Any]) -> str:
        return "called"


class TestRun:
    def test_returns_what_the_function_returns(self) -> None:
        ctx = FrozenContext()
        assert ((1, "a"), {"k": None}) == ctx.run(echo, 1, "a", k=None)

    def test_reads_and_writes_are_of_its_step(self) -> None:
        def fit(ctx: FrozenContext[Any]) -> None:
            ctx["accuracy"] = ctx["lr"] * 2
            ctx.record("loss", 0.5)

        ctx = FrozenContext({"lr": 0.1})
        ctx.run(fit)
        (record,) = ctx.provenance.steps
        assert (("lr",), ("accuracy",), {"loss": 1}) == (record.reads, record.writes, dict(record.points))

    def test_steps_within_steps(self) -> None:
        def inner(ctx: FrozenContext[Any]) -> int:
            return 1

        def outer(ctx: FrozenContext[Any]) -> int:
            return ctx.run(inner) + ctx.run(inner)

        ctx = FrozenContext()
        with ctx.step("all") as around:
            assert around.run(outer) == 2
        assert ["all/outer/inner", "all/outer/inner#2", "all/outer", "all"] == names(ctx)

    def test_an_exception_ends_the_step(self) -> None:
        def fit(ctx: FrozenContext[Any]) -> None:
            ctx["half"] = 1
            raise ValueError("boom")

        ctx = FrozenContext()
        with pytest.raises(ValueError, match="boom"):
            ctx.run(fit)
        assert "ValueError: boom" == ctx.provenance.steps[0].error
        assert not ctx.provenance.finished("fit")

    @pytest.mark.parametrize("is_watched", [False, True])
    def test_a_step_that_failed_and_left_something_is_not_called_again(self, is_watched: bool) -> None:
        def fit(ctx: FrozenContext[Any], how: str, sizes: list[int]) -> int:
            if how == "point":
                ctx.record("loss", 1)
            elif how == "inner":
                with ctx.step("inner") as inner:
                    inner["half"] = 1
            elif how == "artifact":
                ctx.artifacts.add("half", b"")
            if failing[0]:
                raise ValueError("boom")
            return len(sizes)

        ctx, failing = FrozenContext(sinks=[MemorySink()] if is_watched else []), [True]
        for how in ("point", "inner", "artifact", "nothing"):
            with pytest.raises(ValueError, match="boom"):
                ctx.run(fit, how, [1])
        failing[0] = False
        for how in ("point", "inner", "artifact"):
            with pytest.raises(InvalidStepError, match=r"failed \(ValueError: boom\).*@step\(retries=1\)"):
                ctx.run(fit, how, [1])
            with pytest.raises(InvalidStepError):
                copy.copy(ctx).run(fit, how, [1])
        # One left nothing, and the other has other arguments.
        assert (1, 2) == (ctx.run(fit, "nothing", [1]), ctx.run(fit, "point", [1, 2]))

    def test_events(self) -> None:
        sink = MemorySink()
        assert FrozenContext(sinks=[sink]).run(half, 3) == 1.5
        start, end = sink.events
        assert isinstance(start, StepStarted)
        assert isinstance(end, StepFinished)
        assert start.arguments is not None
        assert end.returned is not None
        assert (1.5, float) == end.returned

    def test_a_step_of_a_with_block_has_no_task(self) -> None:
        sink = MemorySink()
        with FrozenContext(sinks=[sink]).step("fit"):
            pass
        start, end = sink.events
        assert isinstance(start, StepStarted)
        assert isinstance(end, StepFinished)
        assert (None, None) == (start.arguments, end.returned)

    def test_a_secret_is_masked_in_the_event(self) -> None:
        from pydantic import SecretStr

        def login(ctx: FrozenContext[Any]) -> SecretStr:
            return SecretStr("hunter22")

        sink = MemorySink()
        assert FrozenContext(sinks=[sink]).run(login).get_secret_value() == "hunter22"
        assert "hunter22" not in repr(sink.events)

    @pytest.mark.parametrize("copied", [copy.copy, lambda ctx: pickle.loads(pickle.dumps(ctx))])
    def test_a_copy_goes_on_counting(self, copied: Callable[[Any], Any]) -> None:
        ctx = FrozenContext()
        ctx.run(half, 1)
        twin = copied(ctx)
        twin.run(half, 1)
        ctx.run(half, 1)
        assert ["half-1", "half-1#2"] == names(twin) == names(ctx)


class TestName:
    @pytest.mark.parametrize(
        ("args", "kwargs", "name"),
        [
            ((), {}, "echo"),
            ((3,), {}, "echo-3"),
            (("train", True, Color.RED, -1), {}, "echo-train-True-RED--1"),
            ((0.5, None, [1], b"x", 3), {}, "echo-3"),
            (("a/b", "a#2", "", "x" * 41, "tab\t", "x" * 40), {}, "echo-" + "x" * 40),
            ((1,), {"b": 2, "a": 3}, "echo-1-2-3"),
        ],
    )
    def test_from_the_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> None:
        ctx = FrozenContext()
        ctx.run(echo, *args, **kwargs)
        assert [name] == names(ctx)

    def test_an_argument_by_name_is_as_one_by_position(self) -> None:
        ctx = FrozenContext()
        ctx.run(half, 3, label="x", deep=True)
        ctx.run(half, deep=True, label="x", size=3)
        assert ["half-3-True-x", "half-3-True-x#2"] == names(ctx)

    def test_of_other_callables(self) -> None:
        ctx = FrozenContext()
        ctx.run(Trainer().fit, 1)
        ctx.run(Trainer())
        ctx.run(partial(half, size=4))
        ctx.run(lambda ctx: None)
        ctx.run(lambda ctx: None)
        assert ["fit-1", "Trainer", "half", "lambda", "lambda#2"] == names(ctx)

    def test_beside_steps_of_with_blocks(self) -> None:
        ctx = FrozenContext()
        with ctx.step("half-3"):
            pass
        ctx.run(half, 3)
        with ctx.step("half-3"):
            pass
        ctx.run(half, 3)
        assert 4 == len(set(names(ctx)))

    def test_too_long(self) -> None:
        with pytest.raises(InvalidStepError, match="1 to 255"):
            FrozenContext().run(echo, *(["x" * 40] * 7))


class TestStep:
    def test_template(self) -> None:
        @step("epoch-{epoch}-{kind.name}")
        def train(ctx: FrozenContext[Any], epoch: int, kind: Color = Color.RED) -> int:
            return epoch

        ctx = FrozenContext()
        assert ctx.run(train, 2) == 2
        assert ctx.run(train, epoch=3) == 3
        assert ["epoch-2-RED", "epoch-3-RED"] == names(ctx)

    def test_without_a_template(self) -> None:
        @step
        def one(ctx: FrozenContext[Any]) -> int:
            return 1

        @step()
        def two(ctx: FrozenContext[Any]) -> int:
            return 2

        ctx = FrozenContext()
        assert (1, 2, ["one", "two"]) == (ctx.run(one), ctx.run(two), names(ctx))

    def test_names_a_lambda(self) -> None:
        ctx = FrozenContext()
        ctx.run(step("answer")(lambda ctx: 42))
        assert ["answer"] == names(ctx)

    def test_leaves_the_function_as_it_is(self) -> None:
        def train(ctx: FrozenContext[Any], epoch: int) -> int:
            return epoch

        assert step("epoch-{epoch}")(train) is train
        assert train(FrozenContext(), 7) == 7

    def test_of_a_method(self) -> None:
        class Model:
            @step("fit-{epoch}")
            def fit(self, ctx: FrozenContext[Any], epoch: int) -> int:
                return epoch

        ctx = FrozenContext()
        ctx.run(Model().fit, 5)
        assert ["fit-5"] == names(ctx)

    @pytest.mark.parametrize(
        ("template", "told"),
        [
            ("e-{epok}", "did you mean {epoch}"),
            ("e-{0}", "not a parameter"),
            ("e-{", "not a template"),
            (3, "is a str"),
        ],
    )
    def test_wrong_template(self, template: Any, told: str) -> None:
        def train(ctx: FrozenContext[Any], epoch: int) -> None: ...

        with pytest.raises(InvalidStepError, match=told):
            step(template)(train)

    def test_template_that_cannot_be_filled(self) -> None:
        @step("e-{epoch:d}")
        def train(ctx: FrozenContext[Any], epoch: Any) -> None: ...

        with pytest.raises(InvalidStepError, match="cannot be filled"):
            FrozenContext().run(train, "x")

    def test_of_what_takes_no_options(self) -> None:
        with pytest.raises(InvalidStepError, match="put @step above its def"):
            step("fit")(Trainer().fit)

    @pytest.mark.parametrize(
        "options",
        [
            {"retries": -1},
            {"retries": True},
            {"retries": 1.0},
            {"wait": -1},
            {"wait": float("nan")},
            {"wait": "1"},
            {"wait": True},
            {"on": (KeyboardInterrupt,)},
            {"on": [ValueError]},
            {"on": (ValueError("x"),)},
            {"on": ()},
            {"on": ValueError},
            {"wait": 1.0},
            {"wait": lambda failed: failed},
            {"version": 1.5},
            {"version": True},
            {"reuse": "runs"},
            {"ignore": "api_key"},
            {"ignore": (3,)},
            {"ignore": None},
        ],
    )
    def test_wrong_option(self, options: dict[str, Any]) -> None:
        (name,) = options
        with pytest.raises(InvalidStepError, match=name):
            step("fit", **options)

    def test_options(self) -> None:
        @step(retries=1, on=ValueError, version=3, reuse=False, ignore=["api_key"], wait=lambda failed: failed * 2)
        def fit(ctx: FrozenContext[Any]) -> None: ...

        options = options_of(partial(fit))
        assert ((ValueError,), 3, False, ("api_key",)) == (options.on, options.version, options.reuse, options.ignore)
        assert 4.0 == options.pause(2)
        assert StepOptions() == options_of(half)
        assert ("x", 0.5) == (
            options_of(step("x", retries=1, wait=0.5)(partial(fit))).name,
            StepOptions(wait=0.5).pause(1),
        )

    def test_a_pause_that_is_none(self) -> None:
        with pytest.raises(InvalidStepError, match=r"wait\(1\) returned -1"):
            StepOptions(wait=lambda failed: -failed).pause(1)

    def test_of_no_function(self) -> None:
        with pytest.raises(InvalidStepError, match="takes a function"):
            step("x")(3)  # type: ignore[type-var]  # on purpose


def generator(ctx: FrozenContext[Any]) -> Iterator[int]:
    yield 1


async def coroutine(ctx: FrozenContext[Any]) -> int:
    return 1


async def stream(ctx: FrozenContext[Any]) -> AsyncIterator[int]:
    yield 1


class TestRefused:
    @pytest.mark.parametrize("task", [generator, coroutine, stream, partial(coroutine), 3, None, "fit"])
    def test_by_run(self, task: Any) -> None:
        ctx = FrozenContext()
        with pytest.raises(InvalidStepError):
            ctx.run(task)
        assert [] == names(ctx)

    def test_says_what_to_write(self) -> None:
        with pytest.raises(InvalidStepError, match=r"await ctx\.arun"):
            _ = FrozenContext().run(coroutine)
        with pytest.raises(InvalidStepError, match="let it return a list"):
            FrozenContext().run(generator)

    @pytest.mark.parametrize("task", [generator, stream, 3])
    def test_by_arun(self, task: Any) -> None:
        with pytest.raises(InvalidStepError):
            asyncio.run(FrozenContext().arun(task))

    def test_arun_of_a_plain_function(self) -> None:
        ctx = FrozenContext()
        with pytest.raises(InvalidStepError, match=r"cannot be awaited; call ctx\.run"):
            asyncio.run(ctx.arun(half, 3))  # type: ignore[arg-type]  # on purpose

    def test_within_a_step_that_has_ended(self) -> None:
        ctx = FrozenContext()
        with ctx.step("fit") as ended:
            pass
        with pytest.raises(RuntimeError, match="has ended"):
            ended.run(half, 3)


class TestArun:
    def test_returns_what_the_coroutine_returns(self) -> None:
        ctx = FrozenContext()
        assert asyncio.run(ctx.arun(coroutine)) == 1
        assert ["coroutine"] == names(ctx)

    def test_an_awaitable_of_another_kind(self) -> None:
        def decorated(ctx: FrozenContext[Any]) -> Any:
            return coroutine(ctx)

        assert asyncio.run(FrozenContext().arun(decorated)) == 1

    def test_many_at_once(self) -> None:
        async def ask(ctx: FrozenContext[Any], number: int) -> int:
            await asyncio.sleep(0)
            ctx[f"answer {number}"] = number
            return number * 2

        async def main(ctx: FrozenContext[Any]) -> list[int]:
            return await asyncio.gather(*(ctx.arun(ask, number) for number in range(50)))

        ctx = FrozenContext()
        assert [number * 2 for number in range(50)] == asyncio.run(main(ctx))
        assert all(ctx.provenance.writer(f"answer {number}") == f"ask-{number}" for number in range(50))

    def test_within_a_step(self) -> None:
        async def outer(ctx: FrozenContext[Any]) -> int:
            return await ctx.arun(coroutine) + ctx.run(lambda ctx: 1)

        ctx = FrozenContext()
        assert asyncio.run(ctx.arun(outer)) == 2
        assert ["outer/coroutine", "outer/lambda", "outer"] == names(ctx)

    def test_cancelled(self) -> None:
        async def wait(ctx: FrozenContext[Any]) -> None:
            await asyncio.sleep(60)

        async def main(ctx: FrozenContext[Any]) -> None:
            async with asyncio.timeout(0):
                await ctx.arun(wait)

        ctx = FrozenContext()
        with pytest.raises(TimeoutError):
            asyncio.run(main(ctx))
        assert "CancelledError" == ctx.provenance.steps[0].error

    def test_one_that_failed_and_left_something_is_not_called_again(self) -> None:
        async def fit(ctx: FrozenContext[Any]) -> None:
            ctx["half"] = 1
            raise ValueError("boom")

        ctx = FrozenContext()
        with pytest.raises(ValueError, match="boom"):
            asyncio.run(ctx.arun(fit))
        with pytest.raises(InvalidStepError, match="retries=1"):
            asyncio.run(ctx.arun(fit))

    def test_a_group_whose_task_fails(self) -> None:
        async def fail(ctx: FrozenContext[Any]) -> None:
            raise ValueError("boom")

        async def wait(ctx: FrozenContext[Any]) -> None:
            await asyncio.sleep(60)

        async def main(ctx: FrozenContext[Any]) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.arun(wait))
                group.create_task(ctx.arun(fail))

        ctx = FrozenContext()
        with pytest.raises(ExceptionGroup):
            asyncio.run(main(ctx))
        errors = {record.name: record.error for record in ctx.provenance.steps}
        assert {"fail": "ValueError: boom", "wait": "CancelledError"} == errors


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b"])), max_size=12))
def test_names_are_those_of_steps_that_are_opened(calls: list[tuple[bool, str]]) -> None:
    """However `run` and `with` take turns, a step has the name that it would have if all were of one kind."""

    def task(ctx: FrozenContext[Any]) -> None: ...

    mixed, plain = FrozenContext(), FrozenContext()
    for is_task, name in calls:
        if is_task:
            mixed.run(step(name)(lambda ctx: None))
        else:
            with mixed.step(name):
                pass
        with plain.step(name):
            pass
    assert names(plain) == names(mixed)


class Unhashable:
    """A task that is an object, and equal to every other one."""

    def __eq__(self, other: object) -> bool:
        return True

    def __call__(self, ctx: FrozenContext[Any], size: int, rate: float = 0.5) -> int:
        return size


def test_names_of_parameters() -> None:
    """The step is named by arguments in the order of the parameters, also of objects without a hash."""
    ctx = FrozenContext()
    assert 3 == ctx.run(Unhashable(), rate=0.1, size=3)
    assert "Unhashable-3" == ctx.provenance.steps[0].name
    assert () == parameters_of(max)  # which does not say


def test_return_types() -> None:
    """A class, a type, a text, None and nothing; an undefined name counts only in the return annotation itself."""

    def judge(ctx: Any, rates: Any) -> int:
        return 1

    judge.__annotations__["rates"] = "Undefined"
    assert int is return_type(judge) is return_type(partial(judge, rates=1))
    for annotation, expected in {"float": float, list[int]: list[int], None: type(None), "Undefined": Any}.items():
        judge.__annotations__ = {"return": annotation}
        assert expected == return_type(judge)
    judge.__annotations__ = {}
    assert Any is return_type(judge) is return_type(max)


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda ctx: half_later(ctx), "coroutine, .*call ctx.arun"),
        (lambda ctx: (number for number in (1, 2)), "generator, .*let it return a list"),
    ],
)
def test_a_call_that_runs_nothing(call: Callable[[Any], Any], advice: str, retries: int) -> None:
    """A result that stands for work to be done is refused, whatever function returned it."""
    ctx = FrozenContext()
    with pytest.raises(InvalidStepError, match=advice):
        ctx.run(step("late", retries=retries)(call))
    assert not ctx.provenance.finished("late")


async def half_later(ctx: Any) -> float:
    return 0.5


def test_a_template_with_an_address() -> None:
    """A name that differs in each process is refused."""

    @step("fit-{model}")
    def fit(ctx: FrozenContext[Any], model: object) -> None: ...

    with pytest.raises(InvalidStepError, match="an address that differs in each process; name a part"):
        FrozenContext().run(fit, object())


@pytest.mark.parametrize("template", ["a/b", "", "a#b", "x" * 300, "a/{size}"])
def test_a_template_of_no_name(template: str) -> None:
    """A template that can never be the name of a step is an error at the definition."""
    with pytest.raises(InvalidStepError):
        step(template)(lambda ctx, size: size)
