"""A step that runs again in one context, as when a cell of a notebook runs again: errors name the way on."""

from collections.abc import Callable
from typing import Any

import pytest

from crystallize import ContextMutationError, FrozenContext, InvalidStepError

WAY_ON = "To run it again, make a new context; a new run with reuse=True takes over"


def write(ctx: Any) -> None:
    """Write a key."""
    ctx["a"] = [1]


def add(ctx: Any) -> None:
    """Add an artifact."""
    ctx.artifacts.add("plot.svg", b"")


def add_file(ctx: Any) -> None:
    """Add this file."""
    ctx.artifacts.add_file(__file__)


def write_within(ctx: Any) -> None:
    """Write a key in an inner step."""
    ctx.run(write)


def record(ctx: Any) -> None:
    """Record a point."""
    ctx.record("loss", 1)


def read(ctx: Any) -> None:
    """Read a key."""
    ctx.get("a")


def fail(ctx: Any) -> None:
    """Write a key, and raise."""
    write(ctx)
    raise ValueError


def edited(task: Callable[[Any], object], *, module: str = __name__) -> Any:
    """Return a function of the same name with other code, as if a cell had defined it again."""
    namespace = {"task": task, "__name__": module}
    exec(f"def {task.__name__}(ctx):\n    return (task(ctx), 1)[0]", namespace)
    return namespace[task.__name__]


@pytest.mark.parametrize("task", [write, add, add_file, write_within])
def test_again(task: Callable[[Any], object]) -> None:
    """What a repeated step writes is refused, and the error says that the step has run, and how to go on."""
    ctx = FrozenContext()
    ctx.run(task)
    with pytest.raises(ContextMutationError, match=rf"has run in this context before, .*{WAY_ON}") as caught:
        ctx.run(task)
    assert "by step 'write" in str(caught.value) or "by step 'add" in str(caught.value)


def test_again_by_a_block() -> None:
    """The same holds for blocks."""
    ctx = FrozenContext()
    with ctx.step("fit") as step:
        step["a"] = 1
    with pytest.raises(ContextMutationError, match=WAY_ON), ctx.step("fit") as step:
        step["a"] = 1


def test_another_step() -> None:
    """A step of another name is told of the writer alone."""
    ctx = FrozenContext()
    ctx.run(write)
    for other in (ctx, ctx.artifacts):
        with pytest.raises(ContextMutationError) as caught:
            other.add("a", 1) if other is ctx else ctx.run(fail)
        assert "again" not in str(caught.value)


def test_after_a_failure() -> None:
    """A step that failed keeps what it wrote; so it does not run again, and the error says how to go on."""
    ctx = FrozenContext()
    with pytest.raises(ValueError, match=r"^$"):
        ctx.run(fail)
    with pytest.raises(InvalidStepError, match=r"its keys, points and artifacts stay\. .*@step\(retries=1\)"):
        ctx.run(edited(fail))


@pytest.mark.parametrize("task", [write, add, record, write_within])
def test_edited(task: Callable[[Any], object]) -> None:
    """A function that was defined again does not run if a step of its name has written: before hours are lost."""
    ctx = FrozenContext()
    ctx.run(task)
    with pytest.raises(InvalidStepError, match=f"its function was defined again since. {WAY_ON}"):
        ctx.run(edited(task))
    assert (1,) * (task is record) == ctx.metrics["loss"]
    ctx.run(read)


def test_edited_without_traces() -> None:
    """A function that only reads, or that fails, may be changed and run again."""
    ctx = FrozenContext()
    ctx.run(read)
    ctx.run(edited(read))
    ctx.run(record)
    ctx.run(record)
    assert ("read", "read#2", "record", "record#2") == tuple(step.name for step in ctx.provenance.steps)


def test_functions_of_one_name() -> None:
    """Functions of several modules, lambdas, and objects that are called, are told apart by their numbers."""
    ctx = FrozenContext()
    for task in (
        record,
        edited(record, module="other"),
        lambda ctx: ctx.record("a", 1),
        lambda ctx: ctx.record("b", 1),
    ):
        ctx.run(task)
    assert ("record", "record#2", "lambda", "lambda#2") == tuple(step.name for step in ctx.provenance.steps)
