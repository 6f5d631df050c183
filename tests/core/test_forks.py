"""A child process that is forked while another thread uses a context can use the context."""

import copy
import os
import threading
from collections.abc import Callable

import pytest

from crystallize import Event, FrozenContext, fork
from crystallize._core.context import state_of
from crystallize.sinks.memory import MemorySink

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def use(ctx: FrozenContext) -> None:
    """Use all that has a lock."""
    copy.deepcopy(ctx)
    ctx["child"] = 1
    ctx.record("loss", 0.5)
    assert 0.5 == ctx.metrics["loss"][-1]
    with ctx.step("child") as step:
        step.artifacts.add("child.svg", b"")
    fork(ctx, "fold")


def child_succeeds(act: Callable[[], object]) -> bool:
    """Run a function in a child process; return whether it ended without an exception within 30 seconds."""
    child = os.fork()
    if not child:
        status = 1
        try:
            threading.Timer(30, os._exit, [2]).start()
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


class Waiting(MemorySink):
    """Stops the thread that causes an event, with the context's lock held."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = threading.Event()
        self.ends = threading.Event()

    def handle(self, event: Event, /) -> None:
        super().handle(event)
        if threading.current_thread() is not threading.main_thread():
            self.is_held.set()
            self.ends.wait(60)


def test_forked_while_another_thread_holds_all_locks() -> None:
    """In the child, the locks are free, and the other thread's unfinished emission is forgotten."""
    sink = Waiting()
    ctx = FrozenContext(sinks=[sink])
    ctx.record("loss", 0.25)
    points = state_of(ctx).metric_store.logs["loss"].points

    def write() -> None:
        points._lock.run(lambda: ctx.record("loss", 0.125))

    thread = threading.Thread(target=write)
    thread.start()
    sink.is_held.wait(30)
    succeeded = child_succeeds(lambda: use(ctx))
    sink.ends.set()
    thread.join()

    assert succeeded
    use(ctx)


def test_forked_by_a_sink() -> None:
    """A thread that forks while it holds a lock itself still holds it in the child, and releases it there."""
    outcomes: list[bool] = []

    class Forking(MemorySink):
        def handle(self, event: Event, /) -> None:
            super().handle(event)
            if event[0] == "a":
                outcomes.append(child_succeeds(lambda: use(ctx)))

    ctx = FrozenContext(sinks=[Forking()])
    ctx["a"] = 1

    assert [True] == outcomes
