"""Branches on every engine: threads, processes however they are made, loky and Dask."""

import logging
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
import pytest
from pydantic import BaseModel

from crystallize import (
    BranchError,
    ForeignDeltaError,
    FrozenContext,
    MergeConflictError,
    Output,
    Shared,
    TravelError,
    fan_out,
    fork,
    merge,
)
from crystallize._branches import base_file, engines

from . import engine_tasks
from .engine_tasks import (
    APART,
    BUILDERS,
    BY_VALUE,
    ENGINES,
    SENDING,
    DerivedMetrics,
    OtherWork,
    OwnLogger,
    Settings,
    Stuck,
    Summary,
    TwoPartError,
    Work,
    WorkMetrics,
    dask_client,
    fails_oddly,
    fails_once,
    fills_a_field,
    in_a_loop,
    is_same_lookup,
    leaves,
    new_work,
    opened,
    raises_sour,
    reads,
    replaces_work,
    returns_item,
    returns_its_process,
    returns_nothing,
    returns_pair,
    returns_sour,
    returns_stuck,
    returns_summary,
    returns_table,
    tells,
    trains,
    trains_again,
    trains_each,
    view,
    writes_sour,
    writes_stuck,
)

pytestmark = [
    pytest.mark.slow,
    # Since Python 3.12, of a fork in a process that has threads; it is tried here on purpose.
    pytest.mark.filterwarnings(r"ignore:.*use of fork\(\):DeprecationWarning"),
]


@pytest.fixture(params=ENGINES, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, Executor]]:
    with opened(request.param) as executor:
        yield request.param, executor


@pytest.fixture
def executor(engine: tuple[str, Executor]) -> Executor:
    """Each engine in turn."""
    return engine[1]


on_sending = pytest.mark.parametrize("engine", SENDING, indirect=True, scope="module")
"""On those that send alone; on what has workers in processes of their own; on threads."""
on_processes = pytest.mark.parametrize("engine", APART, indirect=True, scope="module")
on_threads = pytest.mark.parametrize("engine", ["threads"], indirect=True, scope="module")


SETTINGS = Settings(rate=0.5, layers=[1])


def new_context() -> FrozenContext:
    initial = {"settings": SETTINGS, "table": np.arange(6.0), "names": ["a", "b"]}
    return FrozenContext(initial, metrics=WorkMetrics)


# What comes of it.


def test_it_is_as_in_a_loop(executor: Executor) -> None:
    """A fan_out leaves what a loop over the same task leaves: keys, points, artifacts, steps, results, in order."""
    alone, together = new_context(), new_context()
    folds = [4, 2, 0, 3, 1]
    expected = in_a_loop(alone, trains, folds)

    assert expected == fan_out(together, trains, folds, executor=executor)
    assert view(alone) == view(together)


def test_it_is_as_in_a_loop_with_large_values(executor: Executor) -> None:
    """The same holds where the parent's values are sent once, and what the branches wrote comes back by files."""
    table = np.arange(60_000.0)
    alone, together = (FrozenContext({"settings": SETTINGS, "table": table, "names": ["a"]}) for _ in range(2))
    expected = in_a_loop(alone, trains, [3, 0, 1])

    assert expected == fan_out(together, trains, [3, 0, 1], executor=executor)
    assert view(alone) == view(together)
    assert not together["weights-3"].flags.writeable
    assert expected[:2] == fan_out(together, trains_again, [3, 0], executor=executor)


@pytest.mark.parametrize("engine", ["dask", "dask-threads"], indirect=True, scope="module")
def test_dask_as_on_other_machines(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the workers of Dask may be on other machines, Dask itself sends the parent's values."""
    monkeypatch.setattr(engines, "is_near", lambda client: False)
    ctx = FrozenContext({"settings": SETTINGS, "table": np.arange(60_000.0), "names": ["a"]})
    alone = FrozenContext({"settings": SETTINGS, "table": np.arange(60_000.0), "names": ["a"]})

    assert in_a_loop(alone, trains, [3, 0, 1]) == fan_out(ctx, trains, [3, 0, 1], executor=executor)
    assert view(alone) == view(ctx)


@on_sending
def test_all_is_sent_once(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small may be sent once as well: schemas, models, secrets and what is shared."""
    monkeypatch.setattr(base_file, "SMALL", -1)
    ctx = new_work()

    assert [3, 3, 3] == fan_out(ctx, fills_a_field, ["third", "first", "second"], executor=executor)
    assert Summary(fold=1, losses=[1.5, 1.0]) == ctx.fields.first
    assert ("settings", "lookup", "names") == ctx.provenance.steps[0].reads[2:]


def test_it_is_as_in_a_loop_between_other_work(executor: Executor) -> None:
    """What the parent does before and after two fan_outs on one pool, and in a step, stands where it did it."""
    alone, together = new_context(), new_context()
    for ctx in (alone, together):
        ctx.record("score", -1.0)
        ctx["before"] = [1]
        for begin in (0, 10):
            with ctx.step("tune") as tune:
                tune.record("score", -2.0)
                items = [begin, begin + 1]
                if ctx is alone:
                    in_a_loop(tune, trains, items)
                else:
                    fan_out(tune, trains, items, executor=executor)
                tune["best" if begin else "worst"] = tune[f"summary-{begin}"]
        ctx["after"] = ctx["before"]

    assert view(alone) == view(together)
    assert {"tune/trains-0/fit/check", "tune#2/trains-1/fit"} <= {step.name for step in together.provenance.steps}


def test_nested(executor: Executor) -> None:
    """A task may fan out itself: what its branches did comes to the parent as steps in steps."""
    together = new_context()
    expected = [[trains(new_context(), 10 * group + at) for at in range(3)] for group in range(2)]

    assert expected == fan_out(together, trains_each, range(2), executor=executor)
    alone = new_context()
    for group in range(2):
        with alone.step(f"trains_each-{group}") as step:
            in_a_loop(step, trains, [10 * group + at for at in range(3)])
    assert view(alone) == view(together)


def test_lineage_and_misses(executor: Executor) -> None:
    """What a worker read, missed and wrote is known in the parent, and what was made from what."""
    ctx = new_context()
    fan_out(ctx, trains, [0, 1], executor=executor)
    records = {record.name: record for record in ctx.provenance.steps}

    assert ("settings", "table") == records["trains-1/fit"].reads
    assert ("weights-1",) == records["trains-1/fit"].writes
    assert {"loss": 4} == records["trains-1/fit"].points
    assert ("other", "another") == records["trains-1/fit/check"].absent
    assert ("weights-1",) == records["trains-1"].reads
    assert ("summary-1", "whole-1") == records["trains-1"].writes
    assert ("fold-1.txt",) == records["trains-1"].artifacts
    assert {"settings", "table", "names", "weights-1", "checked-1"} >= ctx.provenance.lineage.sources("whole-1")
    assert {"settings", "table"} <= ctx.provenance.lineage.sources("whole-1")
    assert {"summary-0", "summary-1"} <= ctx.provenance.lineage.results("settings")


@pytest.mark.parametrize("task", [returns_summary, returns_nothing, returns_pair, returns_item])
def test_results(executor: Executor, task: Any) -> None:
    """Whatever a task returns comes back, in the order of the items."""
    ctx = FrozenContext()

    assert [task(FrozenContext(), item) for item in (3, 1, 2)] == fan_out(ctx, task, [3, 1, 2], executor=executor)


def test_arrays_as_results(executor: Executor) -> None:
    """A task may return an array, or be given one."""
    tables = fan_out(FrozenContext(), returns_table, [3, 0, 2], executor=executor)
    assert [[0, 1, 2], [], [0, 1]] == [table.tolist() for table in tables]
    assert {np.dtype(np.int64)} == {table.dtype for table in tables}

    (same,) = fan_out(FrozenContext(), returns_item, tables[:1], executor=executor)
    assert [0, 1, 2] == same.tolist()


def test_what_a_shape_holds(executor: Executor) -> None:
    """Arrays, models, lists, secrets and what is shared can be read in each worker, and fields be written."""
    ctx = new_work()

    assert [3, 3, 3] == fan_out(ctx, fills_a_field, ["third", "first", "second"], executor=executor)
    assert ["third", "first", "second"] == list(ctx)[-3:]
    assert Summary(fold=1, losses=[1.5, 1.0]) == ctx.fields.first
    assert [3, 1, 2] == [point.tags["fold"] for point in ctx.metrics.series(WorkMetrics.loss)]
    assert ("settings", "lookup", "names") == ctx.provenance.steps[0].reads[2:]
    assert "hush" == ctx.fields.token.get_secret_value()


@on_threads
def test_what_is_shared_is_handed_over_in_threads(executor: Executor) -> None:
    """What is marked `Shared` is in threads the same object."""
    ctx = new_work()

    assert [True] == fan_out(ctx, is_same_lookup, [id(ctx["lookup"])], executor=executor)


@on_processes
def test_where_it_runs(executor: Executor) -> None:
    """A pool of processes runs tasks in other processes."""
    assert os.getpid() not in fan_out(FrozenContext(), returns_its_process, range(3), executor=executor)


def test_a_logger_travels(executor: Executor) -> None:
    """A worker logs where the context does, by the logger's name."""
    ctx = FrozenContext({}, logging.getLogger("crystallize.tests.engines"))

    assert ["crystallize.tests.engines"] == fan_out(ctx, tells, [1], executor=executor)


def test_as_items_come_and_by_name(executor: Executor) -> None:
    """Items may be any iterable, and branches be named after them."""
    ctx = FrozenContext()
    fan_out(ctx, returns_nothing, iter([5, 3]), executor=executor, name=lambda item: f"fold {item}")

    assert ["fold 5", "fold 3"] == [record.name for record in ctx.provenance.steps]
    assert ["k5", "k3"] == list(ctx)


def test_nothing_to_do(executor: Executor) -> None:
    """Of no items nothing comes."""
    ctx = FrozenContext()

    assert [] == fan_out(ctx, returns_nothing, [], executor=executor)
    assert view(FrozenContext()) == view(ctx)


# What goes wrong.


def test_failures(executor: Executor) -> None:
    """The first failure is raised with its branch and item; what failed leaves nothing, and the rest is merged."""
    ctx = FrozenContext()
    with pytest.raises(ValueError, match="item 1 is odd") as caught:
        fan_out(ctx, leaves, range(4), executor=executor)

    assert "in branch 'leaves-1', of item 1" in caught.value.__notes__
    assert ["k0", "k2"] == list(ctx)
    assert (0, 2) == ctx.metrics["m"]
    collected = fan_out(ctx, leaves, range(4), executor=executor, errors="collect")
    assert [None, "item 1 is odd", None, "item 3 is odd"] == [outcome and str(outcome) for outcome in collected]
    told = {record.name: record.error for record in ctx.provenance.steps}
    assert {"leaves-1": "ValueError: item 1 is odd", "leaves-3": "ValueError: item 3 is odd"} == {
        name: error for name, error in told.items() if error
    }
    assert ["leaves-0", "leaves-1", "leaves-2", "leaves-3"] == list(told)


@on_sending
def test_an_exception_that_cannot_be_made_again(executor: Executor) -> None:
    """An exception that pickle cannot make again comes as one that tells all of it; the pool goes on.

    Where Dask was imported it can, for most types.
    """
    ctx = FrozenContext()
    with pytest.raises((TravelError, TwoPartError), match="404: no such fold") as caught:
        fan_out(ctx, fails_oddly, range(3), executor=executor)

    assert "in branch 'fails_oddly-1', of item 1" in caught.value.__notes__
    if isinstance(caught.value, TravelError):
        assert "raised a tests.branches.engine_tasks.TwoPartError, which cannot be sent" in caught.value.reason
        assert 'raise TwoPartError(404, "no such fold")' in caught.value.reason
    errors = [record.error for record in ctx.provenance.steps]
    assert [None, "TwoPartError: 404: no such fold", None] == errors
    assert [5] == fan_out(ctx, fails_oddly, [5], executor=executor, name="again")


@on_threads
def test_an_exception_as_it_is(executor: Executor) -> None:
    """In threads an exception comes as it was raised, whatever pickle thinks of it."""
    with pytest.raises(TwoPartError, match="404: no such fold"):
        fan_out(FrozenContext(), fails_oddly, range(3), executor=executor)


@on_sending
@pytest.mark.parametrize(
    ("task", "named"), [(returns_stuck, "what its task returned"), (writes_stuck, "key 'k1'")], ids=["result", "key"]
)
def test_what_cannot_be_sent_back(executor: Executor, task: Any, named: str) -> None:
    """A result or key that does not pickle is an error that names it; that branch leaves nothing."""
    ctx = FrozenContext()
    with pytest.raises(
        TravelError,
        match=rf"{named} cannot be sent to another process: .*Stuck does not pickle \(it is bolted down\)",
    ):
        fan_out(ctx, task, range(3), executor=executor)

    assert ["k0", "k2"] == list(ctx)
    assert [5] == fan_out(ctx, task, [5], executor=executor, name="again")


@on_threads
@pytest.mark.parametrize("task", [returns_stuck, writes_stuck], ids=["result", "key"])
def test_threads_send_nothing(executor: Executor, task: Any) -> None:
    """In threads, results and keys need not pickle."""
    ctx = FrozenContext()
    results = fan_out(ctx, task, range(3), executor=executor)

    assert ["k0", "k1", "k2"] == list(ctx)
    assert 1 == sum(isinstance(value, Stuck) for value in [*results, ctx["k1"]])


@on_processes
@pytest.mark.parametrize("task", [returns_sour, writes_sour], ids=["result", "key"])
def test_what_cannot_be_read_here(executor: Executor, task: Any) -> None:
    """A result or key that this process cannot read is its item's error; the pool goes on."""
    ctx = FrozenContext()
    with pytest.raises(TravelError, match=r"'\w+-1': its work cannot be read in this process .*went sour"):
        fan_out(ctx, task, range(3), executor=executor)

    assert ["k0", "k2"] == list(ctx)
    assert [5] == fan_out(ctx, task, [5], executor=executor, name="again")


@pytest.mark.parametrize("name", APART)
def test_an_exception_that_cannot_be_read_here(name: str) -> None:
    """An exception that this process alone cannot read is its item's error too; the pool goes on."""
    ctx = FrozenContext()
    with opened(name) as executor:  # one of its own, for this may break it
        with pytest.raises(TravelError, match="SourError"):
            fan_out(ctx, raises_sour, range(3), executor=executor)

        assert ["k0", "k2"] == list(ctx)
        assert [5] == fan_out(ctx, raises_sour, [5], executor=executor, name="again")


class Holder(BaseModel):
    model_config = {"arbitrary_types_allowed": True}

    fine: int
    handle: Annotated[Stuck, Shared]
    a: Annotated[int | None, Output] = None


@on_sending
@pytest.mark.parametrize("as_shape", [False, True], ids=["untyped", "shape"])
def test_a_key_that_cannot_be_sent(executor: Executor, as_shape: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A key whose value does not pickle is named before anything is sent; a branch that reads it fails."""
    initial = {"fine": 1, "handle": Stuck()}
    ctx: FrozenContext[Any] = FrozenContext[Holder](initial) if as_shape else FrozenContext(initial)
    reason = r"key 'handle' cannot be sent to another process: .*bolted down"
    with pytest.raises(TravelError, match=rf"^branch 'reads-1': {reason}.*; a task that needs it has to make it"):
        fan_out(ctx, reads, ["fine", "handle", "fine"], executor=executor)

    assert 1 == len([record for record in caplog.records if re.search(reason, record.getMessage())])
    assert [True, False, True] == [record.error is None for record in ctx.provenance.steps]
    with ThreadPoolExecutor(2) as threads:
        assert ["1", str(ctx["handle"]), "1"] == fan_out(ctx, reads, ["fine", "handle", "fine"], executor=threads)


@on_sending
def test_a_logger_that_cannot_be_sent(executor: Executor) -> None:
    """Of a logger that does not pickle it is said that it is the logger."""
    ctx = FrozenContext({}, OwnLogger("nobody's"))
    with pytest.raises(TravelError, match=r"the logger cannot be sent to another process: .*OwnLogger does"):
        fan_out(ctx, returns_item, [1], executor=executor)


@on_sending
def test_an_item_that_cannot_be_sent(executor: Executor) -> None:
    """An item that does not pickle is its own failure, and the others are merged."""
    ctx = FrozenContext()
    ended = fan_out(ctx, returns_item, [1, Stuck(), 3], executor=executor, errors="collect")

    assert [1, 3] == [ended[0], ended[2]]
    assert isinstance(ended[1], TravelError)
    assert ended[1].__cause__ is not None
    assert "branch 'returns_item-1': its item " in str(ended[1])
    assert "cannot be sent to another process" in str(ended[1])
    assert [True, False, True] == [record.error is None for record in ctx.provenance.steps]


@pytest.mark.parametrize("engine", BY_VALUE, indirect=True, scope="module")
def test_lambdas(executor: Executor) -> None:
    """Threads, and engines that send functions by value, take a lambda."""
    ctx = FrozenContext()

    assert [2, 4] == fan_out(ctx, lambda child, item: 2 * item, [1, 2], executor=executor)
    assert ["branch-0", "branch-1"] == [record.name for record in ctx.provenance.steps]


@pytest.mark.parametrize("engine", BUILDERS, indirect=True, scope="module")
def test_lambdas_in_a_pool_of_processes(executor: Executor) -> None:
    """Of a pool that sends functions by name it is said that a lambda has none, before anything is sent."""
    ctx = FrozenContext()
    with pytest.raises(TravelError, match=r"its task cannot be sent to another process .*lambda.*; define it by def"):
        fan_out(ctx, lambda child, item: 2 * item, [1, 2], executor=executor)

    assert () == ctx.provenance.steps
    assert [5] == fan_out(ctx, returns_item, [5], executor=executor)


# One engine each.


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_worker_with_another_schema(builder: str) -> None:
    """What a worker did under another schema than the parent's is refused, and nothing of it is merged."""
    ctx = new_work()
    before = view(ctx)
    context = multiprocessing.get_context(builder)
    with (
        ProcessPoolExecutor(1, mp_context=context, initializer=replaces_work) as executor,
        pytest.raises(ForeignDeltaError, match="does a worker have older code"),
    ):
        fan_out(ctx, fills_a_field, ["first"], executor=executor)

    *steps, failed = ctx.provenance.steps
    assert "ForeignDeltaError" in str(failed.error)
    assert before == {**view(ctx), "steps": before["steps"]}
    assert len(steps) == len(before["steps"])
    with ThreadPoolExecutor(1) as threads:
        assert [3] == fan_out(ctx, fills_a_field, ["first"], executor=threads)


def test_a_schema_replaced_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A context keeps the schema that it was made with; a branch that is opened under a later one is refused."""
    ctx = new_work()
    late = pickle.dumps(fork(ctx, "late"))

    def replaces(child: FrozenContext[Work], name: str) -> int:
        monkeypatch.setattr(engine_tasks, "Work", OtherWork)
        return fills_a_field(child, name)

    with ThreadPoolExecutor(2) as executor:
        assert [3, 3] == fan_out(ctx, replaces, ["first", "second"], executor=executor)
    with pytest.raises(ForeignDeltaError, match="another in this process than where it was forked"):
        pickle.loads(late).open()
    assert ["first", "second"] == list(ctx)[-2:]


def test_a_delta_under_other_metrics() -> None:
    """A branch of a context with other metrics is refused, also by one of the same shape."""
    child = fork(new_work(metrics=WorkMetrics), "one").open()
    fills_a_field(child, "first")
    with pytest.raises(ForeignDeltaError, match="other metrics than Work with DerivedMetrics here"):
        merge(new_work(metrics=DerivedMetrics), child.delta())


def test_two_branches_of_one_key() -> None:
    """Where two branches write one key in other processes, the first stays, and the other says who wrote it."""
    ctx = FrozenContext()
    with (
        opened("fork") as executor,
        pytest.raises(MergeConflictError, match=r"key 'k7' is written by step 'returns_nothing-[01]'"),
    ):
        fan_out(ctx, returns_nothing, [7, 7], executor=executor)

    assert ["k7"] == list(ctx)
    assert 1 == sum(record.error is None for record in ctx.provenance.steps)


@pytest.fixture(params=[True, False], ids=["processes", "threads"], scope="module")
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    with dask_client(processes=request.param) as client:
        yield client


def test_retries_of_dask(client: Any, tmp_path: Path) -> None:
    """A task that Dask tries again leaves what its last attempt did, and nothing of the first."""
    items = [(str(tmp_path / "together"), at) for at in range(3)]
    again = [(str(tmp_path / "alone"), at) for at in range(3)]
    for folder in ("together", "alone"):
        (tmp_path / folder).mkdir()
    alone, together = FrozenContext(), FrozenContext()
    executor = client.get_executor(pure=False, retries=2)
    for item in again:
        with pytest.raises(OSError, match="not yet"):
            fails_once(FrozenContext(), item)

    assert in_a_loop(alone, fails_once, again) == fan_out(together, fails_once, items, executor=executor)
    assert view(alone) == view(together)


@pytest.mark.parametrize("options", [{}, {"pure": True}, {"retries": 1}], ids=str)
def test_pure_tasks_of_dask_are_refused(client: Any, options: dict[str, Any]) -> None:
    """An executor that would run equal tasks once is refused, with what to write instead."""
    ctx = FrozenContext()
    with pytest.raises(BranchError, match=r"run equal tasks once.*client\.get_executor\(pure=False\)"):
        fan_out(ctx, returns_item, [1], executor=client.get_executor(**options))
    assert [1] == fan_out(ctx, returns_item, [1], executor=client.get_executor(pure=False))


def test_a_client_is_no_executor(client: Any) -> None:
    """Where the client of Dask is passed itself, the error says what to write."""
    with pytest.raises(BranchError, match=r"is a concurrent\.futures\.Executor, .*client\.get_executor\(pure=False\)"):
        fan_out(FrozenContext(), returns_item, [1], executor=client)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_script(engine_name: str) -> None:
    """Schemas, metrics, models, exceptions and tasks may be defined in the script that is run.

    What its tasks raise comes as it was, also what would end a generator or a process. The parent's values are sent
    with each branch, and then once.
    """
    if engine_name in ("loky", "dask") and pydantic.VERSION in ("2.11.0", "2.11.1", "2.11.2", "2.11.3"):
        pytest.skip("before pydantic 2.11.4, a model that cloudpickle sent by value is not equal to its original")
    script = Path(__file__).with_name("engine_script.py")
    root = str(script.parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [sys.executable, str(script), engine_name], env=environment, capture_output=True, text=True, timeout=300
    )

    assert ("as expected\n", "") == (ended.stdout, ended.stderr)
