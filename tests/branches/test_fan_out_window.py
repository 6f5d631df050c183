"""Items that are taken as branches end: all is as if every branch had been forked at once."""

import gc
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import count, islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crystallize import (
    BranchError,
    BranchForked,
    FrozenContext,
    Journal,
    LostBranchesError,
    StepClosedError,
    fan_out,
    fan_out_iter,
    fork,
    load_run,
    merge,
)
from crystallize._branches import submission_window
from crystallize._branches.engines import workers_of
from crystallize._branches.submission_window import window_for
from crystallize._core.context import state_of
from crystallize._journal import run_files
from crystallize.runs import verify_run
from crystallize.sinks.memory import MemorySink

from ..journal.journal_runs import no_environment
from ..profiles import examples
from .engine_tasks import view
from .test_branches import Dying, Now, fold


class Shuffling(Executor):
    """Runs its tasks in a thread, the waiting ones in no order."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.most = 0
        """The maximum number of tasks that were submitted and had not ended."""
        self.changed = threading.Condition()
        self.is_closed = False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self.changed:
            self.waiting.append((future, partial(fn, *args, **kwargs)))
            self.most = max(self.most, len(self.waiting))
            self.changed.notify()
        return future

    def work(self) -> None:
        while True:
            with self.changed:
                while not self.waiting and not self.is_closed:
                    self.changed.wait()
                if not self.waiting:
                    return
                at = self.random.randrange(len(self.waiting))
                future, act = self.waiting[at]
            Now().run(future, act) if future.set_running_or_notify_cancel() else None
            with self.changed:
                self.waiting.remove((future, act))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self.changed:
            self.is_closed = True
            self.changed.notify()
        self.thread.join()


class Stop(Exception):
    """What an iterable raises half-way."""


def own_work(ctx: FrozenContext[Any], number: int, stops: int | None = None) -> Iterator[int]:
    """Yield items, each after a step of the parent, and a branch that is forked by hand."""
    for item in range(number):
        if not ctx.provenance.finished(f"make-{item}"):
            with ctx.step(f"make-{item}") as make:
                make.record("m", -item)
                make[f"made-{item}"] = item
                make.artifacts.add(f"made-{item}", b"")
        by_hand(ctx, f"hand-{item}")
        if item == stops:
            raise Stop
        yield item


def by_hand(ctx: FrozenContext[Any], name: str) -> None:
    if not ctx.provenance.finished(name):
        child = fork(ctx, name).open()
        child.record("m", name)
        merge(ctx, child.delta())


def alone(number: int) -> dict[str, Any]:
    """Return the view of a context in which all branches were forked at once, when the first item was there."""
    ctx = FrozenContext({"size": 1})
    items = own_work(ctx, number)
    assert [*range(number)][:1] == list(islice(items, 1))
    branches = [fork(ctx, f"fold-{item}") for item in range(number)]
    assert [*range(number)][1:] == list(items)
    for item, branch in enumerate(branches):
        child = branch.open()
        fold(child, item)
        merge(ctx, child.delta())
    return view(ctx)


def listed(call: Any, *given: Any, **options: Any) -> list[Any]:
    return list(call(*given, **options))


CALLS = st.sampled_from([fan_out, partial(listed, fan_out_iter)])
LAW = settings(
    max_examples=examples(30),
    # No shrinking, which takes minutes, as each example starts threads.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@LAW
@given(call=CALLS, number=st.integers(0, 12), window=st.none() | st.integers(1, 14), seed=st.integers(0, 99))
def test_any_window_and_any_order_give_the_same(call: Any, number: int, window: int | None, seed: int) -> None:
    """Whatever ends first, and whatever the parent does meanwhile, branches have the position of the first one."""
    ctx = FrozenContext({"size": 1})
    with Shuffling(seed) as executor:
        results = call(ctx, fold, own_work(ctx, number), executor=executor, window=window)
    assert [item * item for item in range(number)] == results
    assert alone(number) == view(ctx)
    assert alone(number) == view(pickle.loads(pickle.dumps(ctx)))
    assert executor.most <= (window or 64)


def without_values(child: FrozenContext[Any], item: int) -> int:
    assert ["size", "made-0"] == list(child)
    return fold(child, item)


def test_branches_have_the_values_of_the_call() -> None:
    """A branch that is forked later has none of the keys that were written since the call."""
    ctx = FrozenContext({"size": 1})
    with ThreadPoolExecutor(1) as pool:
        assert 3 == len(fan_out(ctx, without_values, own_work(ctx, 3), executor=pool, window=1))
        results = fan_out_iter(ctx, lambda child, item: sorted(child), [1], executor=pool, name="more")
        before = sorted(ctx)
        ctx["later"] = 1
        assert [before] == list(results)


@pytest.mark.slow
@LAW
@given(
    number=st.integers(1, 8),
    window=st.integers(1, 9),
    seed=st.integers(0, 99),
    ends=st.lists(st.tuples(st.sampled_from(["stop", "close", "resume"]), st.integers(0, 8)), max_size=4),
)
def test_calls_that_end_early_and_runs_that_are_resumed(
    monkeypatch: pytest.MonkeyPatch, number: int, window: int, seed: int, ends: list[tuple[str, int]]
) -> None:
    """However often a call ends early, the same call goes on at the same position, in the context and in the file."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    with TemporaryDirectory() as folder, Shuffling(seed) as executor:
        journal = Journal.start(folder, "run")
        ctx = journal.context(FrozenContext, {"size": 1})
        for how, at in ends:
            at = min(at, number)
            stops = at if how == "stop" and at < number else None
            try:
                results = fan_out_iter(ctx, fold, own_work(ctx, number, stops), executor=executor, window=window)
                assert [item * item for item in range(at)] == list(islice(results, at))
                results.close()
            except Stop:
                assert stops is not None
            if how == "resume":
                journal.close()
                journal = Journal.resume(journal.path)
                ctx = journal.context(FrozenContext)
        results = fan_out_iter(ctx, fold, own_work(ctx, number), executor=executor, window=window)
        assert [item * item for item in range(number)] == list(results)
        journal.close()
        assert alone(number) == view(ctx)
        assert alone(number) == view(load_run(journal.path).context)
        assert () == verify_run(journal.path)


class Counted:
    """Items that count how many of them were taken."""

    def __init__(self, items: Iterable[int]) -> None:
        self.items = items
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for item in self.items:
            self.taken += 1
            yield item


@pytest.mark.parametrize("window", [1, 3, 20])
def test_no_more_are_taken_than_the_window_allows(window: int) -> None:
    """At most so many items are taken, and branches submitted, ahead of those that are merged."""
    ctx = FrozenContext()
    items = Counted(range(200))
    ahead = []

    class Watching(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            ahead.append(items.taken - len(ctx.provenance.steps))
            return super().submit(fn, *args, **kwargs)

    with Watching(3) as executor:
        assert 200 == len(fan_out(ctx, lambda child, item: item, items, executor=executor, window=window))
    assert 200 == len(ahead)
    assert window >= max(ahead)


def test_items_are_taken_in_the_calling_thread() -> None:
    """Items are taken by the thread that asks for results."""
    threads = set()

    def items() -> Iterator[int]:
        for item in range(30):
            threads.add(threading.current_thread())
            yield item

    with ThreadPoolExecutor(2) as executor:
        fan_out(FrozenContext(), lambda child, item: item, items(), executor=executor, window=2)
        list(fan_out_iter(FrozenContext(), lambda child, item: item, items(), executor=executor, window=2))
    assert {threading.current_thread()} == threads


def test_items_without_end() -> None:
    """Results of items without end come one after another; the branches that ran are merged when the loop is left."""
    ctx = FrozenContext()
    # With two workers, one can end any number of branches while the other has not ended its first.
    with ThreadPoolExecutor(1) as executor:
        for at, result in enumerate(fan_out_iter(ctx, fold, count(), executor=executor, window=4)):
            assert at * at == result
            if at == 20:
                break
    merged = len(ctx.provenance.steps) // 2
    assert 21 <= merged <= 21 + 4 + 2
    assert [f"fold-{at}" for at in range(merged)] == list(ctx)


def test_results_come_as_soon_as_they_are_known() -> None:
    """A result comes while later branches still run, and while later items are not there yet."""
    ctx = FrozenContext()
    is_told = threading.Event()

    def task(child: FrozenContext[Any], item: int) -> int:
        assert item == 0 or is_told.wait(60)
        return item

    def items() -> Iterator[int]:
        yield from range(2)
        assert is_told.wait(60)
        yield 2

    with ThreadPoolExecutor(2) as executor:
        results = fan_out_iter(ctx, task, range(9), executor=executor)
        assert 0 == next(results)
        is_told.set()
        assert [*range(1, 9)] == list(results)
        is_told.clear()
        # The second item is taken before, the third after.
        results = fan_out_iter(ctx, task, items(), executor=executor, name="slow", window=1)
        assert 0 == next(results)
        is_told.set()
        assert [1, 2] == list(results)


def test_closing_cancels_what_has_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the iterator waits for what has started, cancels the rest, and the same call yields all results."""
    monkeypatch.setattr(submission_window, "PATIENCE", 0.001)
    ctx = FrozenContext()
    started, goes_on = threading.Event(), threading.Event()

    def task(child: FrozenContext[Any], item: int) -> int:
        if item == 1:
            started.set()
            assert goes_on.wait(60)
        child[f"k{item}"] = item
        return item

    with ThreadPoolExecutor(1) as executor:
        results = fan_out_iter(ctx, task, range(9), executor=executor)
        assert 0 == next(results)
        assert started.wait(60)
        threading.Timer(0.05, goes_on.set).start()
        results.close()
        assert ["k0", "k1"] == list(ctx)
        assert [] == list(results)
        assert [*range(9)] == list(fan_out_iter(ctx, task, range(9), executor=executor))
        with pytest.raises(BranchError, match="an earlier call has merged it"):
            fan_out_iter(ctx, task, range(9), executor=executor)
    assert [f"k{item}" for item in range(9)] == list(ctx)


def test_an_iterator_that_nobody_asks() -> None:
    """Before the first result is asked for, one item is taken and its branch forked, and nothing is submitted."""
    ctx = FrozenContext(sinks=[sink := MemorySink()])
    items = Counted(range(3))
    fan_out_iter(ctx, fold, items, executor=Now()).close()
    assert ([BranchForked("fold-0", "fold-0", {"": 0})], 1) == (sink.events, items.taken)
    assert [0, 1, 4] == fan_out(ctx, fold, range(3), executor=Now())


def test_an_iterator_whose_step_has_ended() -> None:
    """Once the step has ended from which it forks, the iterator raises."""
    ctx = FrozenContext()
    with ctx.step("tune") as tune, ThreadPoolExecutor(1) as executor:
        results = fan_out_iter(tune, fold, range(3), executor=executor, window=1)
        assert 0 == next(results)
    with pytest.raises(StepClosedError):
        list(results)


def _in_a_cycle(results: Generator[int, None, None]) -> None:
    """Put an iterator into a cycle, so that the garbage collector is to close it."""
    cycle: list[Any] = [results]
    cycle.append(cycle)


def test_an_iterator_that_the_garbage_collector_closes() -> None:
    """An iterator that is closed in a thread with the lock of the context waits for nobody, and so not for ever."""
    ctx = FrozenContext()
    begins, goes_on = threading.Event(), threading.Event()

    def task(child: FrozenContext[Any], item: int) -> int:
        if item:
            begins.set()
            assert goes_on.wait(60)
        child[f"k{item}"] = item
        return item

    gc.collect()
    gc.disable()
    before = set(threading.enumerate())
    try:
        with ThreadPoolExecutor(1) as executor:
            results = fan_out_iter(ctx, task, range(3), executor=executor)
            assert 0 == next(results)
            assert begins.wait(60)
            _in_a_cycle(results)
            del results
            started = set(threading.enumerate()) - before
            state_of(ctx).dispatcher.lock.run(gc.collect)
            goes_on.set()
            for thread in started - executor._threads:
                thread.join(60)
    finally:
        gc.enable()
    assert ["k0", "k1"] == list(ctx)


# Failures


def failing(child: FrozenContext[Any], item: int) -> int:
    if item in (2, 5):
        raise ValueError(f"no {item}")
    return fold(child, item)


def test_the_first_failure_ends_the_iterator() -> None:
    """The results before the first failure come, then the failure is raised; what ran is merged."""
    ctx = FrozenContext()
    found: list[int] = []
    with pytest.raises(ValueError, match="no 2") as caught, ThreadPoolExecutor(1) as executor:
        found += fan_out_iter(ctx, failing, count(), executor=executor, window=1)
    assert ([0, 1], ["in branch 'failing-2', of item 2"]) == (found, caught.value.__notes__)
    assert ["fold-0", "fold-1"] == list(ctx)
    found.clear()
    with pytest.raises(ValueError, match="no 2") as caught:
        found.extend(fan_out_iter(ctx, failing, range(9), executor=Now()))
    assert [0, 1] == found
    assert "1 more failed, the next with ValueError: no 5" in caught.value.__notes__


def test_failures_are_yielded() -> None:
    """Where failures are collected, each comes in the place of its item; the same call again runs what failed."""
    ctx = FrozenContext()
    found: list[Any] = list(fan_out_iter(ctx, failing, range(7), executor=Now(), errors="collect"))
    assert ["no 2", "no 5"] == [str(found[at]) for at in (2, 5)]
    assert [0, 1, 9, 16, 36] == [result for result in found if type(result) is int]
    assert [4, 25] == list(fan_out_iter(ctx, fold, [2, 5], executor=Now(), name=lambda item: f"failing-{item}"))


def test_lost_branches_of_an_iterator() -> None:
    """Where an executor breaks, the iterator raises an error that names the items, or yields one for each."""
    ctx = FrozenContext()
    with pytest.raises(LostBranchesError, match="a worker died") as caught:
        list(fan_out_iter(ctx, fold, range(20), executor=Dying(3), window=2))
    assert ("fold-3", "3") == (caught.value.branch, caught.value.items[0])
    found: list[Any] = list(fan_out_iter(ctx, fold, range(6), executor=Dying(1, refuses=True), errors="collect"))
    assert [0, 1, 4, 9] == found[:4]
    assert [("4",), ("5",)] == [found[at].items for at in (4, 5)]
    assert [0, 1, 4, 9, 16, 25] == list(fan_out_iter(ctx, fold, range(6), executor=Now()))


@pytest.mark.parametrize("call", [fan_out, partial(listed, fan_out_iter)])
def test_an_iterable_that_raises(call: Any) -> None:
    """What an iterable raises half-way is raised when the branches that ran are merged; the same call runs the rest."""
    ctx = FrozenContext()
    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(Stop):
            call(ctx, fold, own_work(ctx, 9, 5), executor=executor, window=3)
        merged = [key for key in ctx if key.startswith("fold")]
        assert [f"fold-{at}" for at in range(len(merged))] == merged
        assert 2 <= len(merged) <= 5
        assert [at * at for at in range(9)] == call(ctx, fold, own_work(ctx, 9), executor=executor, window=3)


@pytest.mark.parametrize("items", [[1, 2, 1], iter([1, 2, 1])], ids=["list", "iterator"])
def test_two_items_of_one_name(items: Iterable[int]) -> None:
    """Two items of one name are an error that names both: before anything runs, if all items are at hand."""
    ctx = FrozenContext()
    with pytest.raises(BranchError, match=r"two items have this name, (1|that at index 0) and 1;"):
        fan_out(ctx, fold, items, executor=Now(), name=str)
    assert (["fold-1", "fold-2"] if isinstance(items, Iterator) else []) == list(ctx)


def test_names_by_a_function_of_items_that_come_singly() -> None:
    """A function names the branches also of items from an iterator, and what it raises comes with the item."""
    ctx = FrozenContext()
    assert [1, 4] == fan_out(ctx, fold, iter([1, 2]), executor=Now(), name=lambda item: f"at {item}")
    assert ["at 1", "at 2"] == [step.name for step in ctx.provenance.steps if "/" not in step.name]
    with pytest.raises(KeyError) as caught:
        fan_out(ctx, fold, iter([3, 4]), executor=Now(), name=lambda item: {3: "three"}[item])
    assert ["in name=, of item 4"] == caught.value.__notes__
    assert "fold-3" in ctx


def test_names_that_are_taken_or_a_steps() -> None:
    """Of items that come singly, a name that is used is an error when its item is taken."""
    ctx = FrozenContext()
    with ctx.step("fold-1"):
        pass
    with pytest.raises(BranchError, match="there is a step of that name"):
        fan_out(ctx, fold, iter(range(3)), executor=Now())
    assert ["fold-0"] == list(ctx)
    assert [25] == fan_out(ctx, fold, [5], executor=Now(), name="other")
    with pytest.raises(BranchError, match="an earlier call has merged it"):
        fan_out(ctx, fold, iter([5]), executor=Now(), name="other")


# Ctrl-C


def test_ctrl_c_while_an_item_is_taken() -> None:
    """Ctrl-C in the middle of many items merges what ran; the same call goes on from there."""
    ctx = FrozenContext()
    presses = {50}

    def items() -> Iterator[int]:
        for item in range(100):
            if item in presses:
                presses.remove(item)
                signal.raise_signal(signal.SIGINT)
            yield item

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(2) as executor:
            with pytest.raises(KeyboardInterrupt):
                fan_out(ctx, fold, items(), executor=executor, window=4)
            merged = len(ctx)
            assert 46 <= merged <= 50
            assert [at * at for at in range(100)] == fan_out(ctx, fold, items(), executor=executor, window=4)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [f"fold-{at}" for at in range(100)] == list(ctx)


# The window


@pytest.mark.parametrize("window", [0, -1, True, 2.0, "many"])
def test_what_is_no_window(window: Any) -> None:
    """A window is a whole number from 1 on."""
    with pytest.raises(ValueError, match="window is a whole number from 1 on, or None for the default, not "):
        fan_out(FrozenContext(), fold, [1], executor=Now(), window=window)


def test_the_default_window() -> None:
    """The window is found from the number of workers, where an executor tells it."""
    with ThreadPoolExecutor(2) as few, ThreadPoolExecutor(100) as many, ProcessPoolExecutor(3) as processes:
        assert [2, 100, 3] == [workers_of(executor) for executor in (few, many, processes)]
        assert [64, 400, 64] == [window_for(executor) for executor in (few, many, processes)]
    assert (None, 1024) == (workers_of(Now()), window_for(Now()))
    client = SimpleNamespace(nthreads=lambda: {"a": 8, "b": 32})
    cluster = type("ClientExecutor", (Now,), {"__module__": "distributed.cfexecutor", "_client": client})()
    assert (40, 160) == (workers_of(cluster), window_for(cluster))


def test_progress_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    """Of items without a length the number that has ended is shown, and no total; merged ones count too."""
    ctx = FrozenContext()
    for number in (2, 3):
        with pytest.raises(Stop):
            fan_out(ctx, fold, own_work(ctx, 9, number), executor=Now(), progress=True, window=1)
    shown = capsys.readouterr().err
    assert "3branch" in shown
    assert "/" not in shown.replace("branch/s", "")
    assert 9 == len(fan_out(ctx, fold, list(range(9)), executor=Now(), progress=True))
    assert "3/9" in (shown := capsys.readouterr().err)
    assert "9/9" in shown


def test_what_a_sink_hears_of_a_fork() -> None:
    """The events of the branches of a call name the first one, and that of a fork by hand none."""
    ctx = FrozenContext(sinks=[sink := MemorySink()])
    fan_out(ctx, fold, iter(range(3)), executor=Now(), window=1)
    fork(ctx, "alone")
    expected = [BranchForked(f"fold-{at}", "fold-0", {"": at}) for at in range(3)]
    assert [*expected, BranchForked("alone")] == [event for event in sink.events if type(event) is BranchForked]


class Item(int):
    """An item that counts how many there are."""

    alive = most = 0

    def __init__(self, number: int) -> None:
        Item.alive += 1
        Item.most = max(Item.most, Item.alive)

    def __del__(self) -> None:
        Item.alive -= 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [3_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_many_items(number: int) -> None:
    """Of any number of items few are held at a time: neither they nor their futures are kept."""
    Item.most = 0
    with ThreadPoolExecutor(2) as executor:
        results = fan_out_iter(FrozenContext(), lambda child, item: 1, map(Item, range(number)), executor=executor)
        assert number == sum(results)
    assert 0 == Item.alive
    assert 64 + 10 >= Item.most


@pytest.mark.parametrize("is_resumed", [False, True])
def test_what_a_later_call_goes_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_resumed: bool) -> None:
    """A call goes on at the position of an earlier one with the same first item, but not at that of a fork by hand."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    fork(ctx, "a-0")
    # These two are interrupted after their first fork, and after their second one.
    for name, number in (("c", 1), ("d", 2)):
        with pytest.raises(Stop):
            fan_out(ctx, recorded, raising(number), executor=Now(), name=name, window=1)
    with ctx.step("own") as own:
        own.record("m", "own")
    if is_resumed:
        journal.close()
        journal = Journal.resume(journal.path)
        ctx = journal.context(FrozenContext)
    for name in "acd":
        fan_out(ctx, recorded, range(3), executor=Now(), name=name)
    journal.close()
    expected = ["a-0", "c-0", "c-1", "c-2", "d-0", "d-1", "d-2", "own", "a-1", "a-2"]
    assert expected == [point.step for point in ctx.metrics.series("m")]
    assert view(ctx) == view(load_run(journal.path).context)


def raising(number: int) -> Iterator[int]:
    """Yield so many items, and then raise."""
    yield from range(number)
    raise Stop


def recorded(child: FrozenContext[Any], item: int) -> None:
    child.record("m", item)
