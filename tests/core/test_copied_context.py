"""Work on a copy of a context in a child process, which no other process gets, warns."""

import multiprocessing
import multiprocessing.process
import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from crystallize import CopiedContextWarning, Delta, FrozenContext, LoggingContext, fork, merge
from crystallize._core.context import state_of

PARENT = 4_000_000
"""The number of no process."""

USES: dict[str, Callable[[Any], object]] = {
    "key 'a'": lambda ctx: ctx.add("a", 1),
    "metric 'loss'": lambda ctx: ctx.record("loss", 1),
    "artifact 'plot'": lambda ctx: ctx.artifacts.add("plot", b""),
    "step 'fit'": lambda ctx: ctx.run(fit),
    "step 'fold'": lambda ctx: merge(ctx, fork(ctx, "fold").open().delta()),
}


class Parent:
    """The process that started this one, as `multiprocessing` says."""

    pid = PARENT


def fit(ctx: Any) -> None:
    """Record a point."""
    ctx.record("loss", 1)


def work(ctx: FrozenContext) -> str:
    """Return the warning for work on a context."""
    with pytest.warns(CopiedContextWarning) as caught:
        ctx.record("loss", 1)
    return f"{caught[0].message}"


def forked(ctx: FrozenContext) -> Delta:
    """Return the work in a branch of a context."""
    child = fork(ctx, "fold").open()
    child["score"] = 1
    return child.delta()


def sent(ctx: FrozenContext, monkeypatch: pytest.MonkeyPatch, *, is_starting: bool = False) -> FrozenContext:
    """Return a context as if another process had pickled it, and this one is its child."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: PARENT)
        data = pickle.dumps(ctx)
    with monkeypatch.context() as patch:
        if is_starting:
            patch.setattr(multiprocessing.process.current_process(), "_inheriting", True, raising=False)
        else:
            patch.setattr(multiprocessing.process, "_parent_process", Parent)
        copied: FrozenContext = pickle.loads(data)
    monkeypatch.setattr(multiprocessing.process, "_parent_process", Parent)
    return copied


@pytest.mark.parametrize("work", USES)
def test_warns_once(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first work warns, with its kind, its name and the way to send it back; the rest does not."""
    copied = sent(FrozenContext({"lr": 0.1}), monkeypatch)
    assert 0.1 == copied["lr"]
    with pytest.warns(CopiedContextWarning, match=f"{work} went to a copy .*process {PARENT}.*use fan_out") as caught:
        USES[work](copied)
    assert [__file__] == [warning.filename for warning in caught]
    copied["b"] = 1
    assert 1 == copied["b"]


def test_a_step_that_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy of a step warns as well."""
    with FrozenContext().step("fit") as step:
        copied = sent(step, monkeypatch)
    assert isinstance(copied, LoggingContext)
    with pytest.warns(CopiedContextWarning, match="key 'a'"):
        copied["a"] = 1


def test_a_process_that_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments of a process are restored before it knows its parent."""
    copied = sent(FrozenContext(), monkeypatch, is_starting=True)
    with pytest.warns(CopiedContextWarning, match="metric 'loss'"):
        copied.record("loss", 1)


def test_a_delta_may_be_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that is forked from the copy does not warn: its delta can be merged in the other process."""
    ctx = FrozenContext()
    merge(ctx, forked(sent(ctx, monkeypatch)))
    assert 1 == ctx["score"]


def test_a_stored_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """A context from a file that another process has written belongs to this one, and records as fast as any."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: PARENT)
        data = pickle.dumps(FrozenContext())
    restored: FrozenContext = pickle.loads(data)
    restored["a"] = 1
    monkeypatch.delitem(sys.modules, "multiprocessing.process")
    other: FrozenContext = pickle.loads(data)
    other["a"] = 1
    assert [(), ()] == [state_of(ctx).dispatcher.sinks for ctx in (restored, other)]


def test_a_forked_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a context that a forked process inherits warns, if `multiprocessing` has forked it."""
    ctx, other = FrozenContext(), FrozenContext()
    monkeypatch.setattr(os, "getppid", lambda: PARENT)
    for each in (ctx, other):
        state_of(each).dispatcher.renew()
    other.run(fit)
    monkeypatch.setattr(multiprocessing.process, "_parent_process", Parent)
    with pytest.warns(CopiedContextWarning, match="step 'fit'"):
        ctx.run(fit)


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings(r"ignore:.*use of fork\(\):DeprecationWarning")
def test_processes(method: str) -> None:
    """A context that is sent to a process warns there, however that process starts; a branch does not."""
    ctx = FrozenContext()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert "metric 'loss' went to a copy" in pool.submit(work, ctx).result()
        merge(ctx, pool.submit(forked, ctx).result())
    assert 1 == ctx["score"]
