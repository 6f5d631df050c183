"""Branches on Ray, by the executor that the docs show and by hand; run by `make test-ray` alone."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, default_int_handler, signal
from tempfile import mkstemp
from typing import Annotated, Any

import pytest
import ray
from pydantic import BaseModel
from ray_executor import RayExecutor
from typing_extensions import TypedDict

from crystallize import (
    Branch,
    BranchMerged,
    Delta,
    Event,
    FrozenContext,
    LostBranchesError,
    Metric,
    MetricSchema,
    Output,
    Shared,
    TravelError,
    fan_out,
    fork,
    merge,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Ray on this machine, with two workers at a time."""
    with pytest.MonkeyPatch.context() as patch:
        # Where workers find the modules of this test.
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, EXAMPLES))))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Off: it kills workers where other programs need the memory.
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        ray.init(
            "local",
            num_cpus=2,
            resources={"disk": 1},
            object_store_memory=100_000_000,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            yield
        finally:
            ray.shutdown()


class Layer(BaseModel):
    weights: list[float]


class FoldTags(TypedDict):
    epoch: int


class TrainMetrics(MetricSchema):
    loss = Metric(float, tags=FoldTags, goal="minimize")


class Train(BaseModel):
    lr: float
    layers: list[Layer]
    handle: Annotated[Any, Shared] = None
    first: Annotated[Layer | None, Output] = None
    second: Annotated[Layer | None, Output] = None
    third: Annotated[Any, Shared, Output] = None


def new_context(**inputs: Any) -> FrozenContext[Train]:
    return FrozenContext[Train]({"lr": 0.5, "layers": [{"weights": [1, 2]}], **inputs}, metrics=TrainMetrics)


KEYS = ("first", "second")


def train(ctx: FrozenContext[Train], fold: int) -> Layer:
    """Do a bit of all that can be done in a branch."""
    with ctx.step("fit") as step:
        layer = step.fields.layers[0]
        for epoch in range(3):
            step.record(TrainMetrics.loss, step.fields.lr * fold / (epoch + 1), FoldTags(epoch=epoch))
        made = Layer(weights=[weight * fold for weight in layer.weights])
        if fold < len(KEYS):
            step[KEYS[fold]] = made
    ctx.artifacts.add(f"fold-{fold}.txt", b"fold" * fold)
    return made


def started(ctx: FrozenContext[Any], folder: str, fold: int) -> int:
    """Do half of the work, leave a file for this run of the task, and return how many it has left so far."""
    ctx.record(TrainMetrics.loss, fold, FoldTags(epoch=0))
    os.close(mkstemp(prefix=f"{fold}-", dir=folder)[0])
    return runs_of(folder, fold)


def runs_of(folder: str | Path, fold: int) -> int:
    return len(list(Path(folder).glob(f"{fold}-*")))


def dies_once(ctx: FrozenContext[Train], item: tuple[str, int]) -> Layer:
    folder, fold = item
    if started(ctx, folder, fold) == 1 and fold == 1:
        os.kill(os.getpid(), SIGKILL)
    return train(ctx, fold)


def dies_until_cured(ctx: FrozenContext[Train], item: tuple[str, int]) -> Layer:
    folder, fold = item
    started(ctx, folder, fold)
    if fold == 1 and not Path(folder, "cured").exists():
        os.kill(os.getpid(), SIGKILL)
    return train(ctx, fold)


def fails_once(ctx: FrozenContext[Train], item: tuple[str, int]) -> Layer:
    folder, fold = item
    if started(ctx, folder, fold) == 1:
        raise OSError("not yet")
    return train(ctx, fold)


def refuses_odd(ctx: FrozenContext[Train], fold: int) -> Layer:
    layer = train(ctx, fold)
    if fold % 2:
        raise ValueError(f"fold {fold} is odd")
    return layer


def reads(ctx: FrozenContext[Train], key: str) -> Any:
    return ctx[key]


def sums(ctx: FrozenContext[Train], fold: int) -> float:
    return sum(ctx.fields.layers[0].weights) * fold


def writes_lock(ctx: FrozenContext[Train], fold: int) -> int:
    if fold == 1:
        ctx.fields.third = threading.Lock()
    return fold


def waits(ctx: FrozenContext[Train], item: tuple[str, int]) -> int:
    """Wait, but for the first item, for whoever lets it go on."""
    folder, fold = item
    while fold and not Path(folder, "go").exists():
        time.sleep(0.01)
    return fold


def resources_of(ctx: FrozenContext[Any], item: int) -> dict[str, float]:
    return ray.get_runtime_context().get_assigned_resources()


@ray.remote
def train_branch(branch: Branch[Train], fold: int) -> Delta:
    child = branch.open()
    train(child, fold)
    return child.delta()


def in_a_loop(ctx: FrozenContext[Train], task: Callable[[FrozenContext[Train], Any], Any], items: Iterable[Any]) -> Any:
    """Do without branches what they are to do."""
    results = []
    for at, item in enumerate(items):
        with ctx.step(f"{task.__name__}-{at}") as step:
            results.append(task(step, item))
    return results


def view(ctx: FrozenContext[Any]) -> dict[str, Any]:
    """Return all that is known of a context, times aside, as what can be compared."""
    return {
        "keys": [(key, ctx.provenance.writer(key), ctx[key]) for key in ctx],
        "points": [(name, [point._replace() for point in ctx.metrics.series(name)]) for name in ctx.metrics],
        "artifacts": list(ctx.artifacts),
        "steps": [
            (step.name, step.reads, step.absent, step.writes, step.artifacts, dict(step.points), step.error)
            for step in ctx.provenance.steps
        ],
    }


def steps_of(ctx: FrozenContext[Any]) -> list[str]:
    return [step.name for step in ctx.provenance.steps]


def test_it_is_as_in_a_loop() -> None:
    """A fan_out on Ray leaves what a loop leaves: keys, points, artifacts, steps and results, in order."""
    alone, together = new_context(), new_context()
    folds = [3, 1, 0, 2]
    with alone.step("tune") as step:
        expected = in_a_loop(step, train, folds)
    with together.step("tune") as step:
        results = fan_out(step, train, folds, executor=RayExecutor(num_cpus=1))

    assert expected == results
    assert view(alone) == view(together)
    assert ["second", "first"] == list(together)[-2:]
    assert "tune/train-1/fit" in [step.name for step in together.provenance.steps]


def test_a_worker_that_dies_once(tmp_path: Path) -> None:
    """A task whose worker is killed is run again, and leaves what it leaves when none is killed."""
    items = [(str(tmp_path), fold) for fold in range(4)]
    together = new_context()
    results = fan_out(together, dies_once, items, executor=RayExecutor(num_cpus=1))
    assert [1, 2, 1, 1] == [runs_of(tmp_path, fold) for fold in range(4)]

    # Each has its file by now, so that none dies here.
    alone = new_context()
    assert in_a_loop(alone, dies_once, items) == results
    assert view(alone) == view(together)


def test_a_worker_that_always_dies(tmp_path: Path) -> None:
    """A task whose workers die more often than it is retried is named, the others are merged; it alone runs again."""
    items = [(str(tmp_path), fold) for fold in range(4)]
    together = new_context()
    with pytest.raises(LostBranchesError) as caught:
        fan_out(together, dies_until_cured, items, executor=RayExecutor(num_cpus=1, max_retries=1))
    assert "dies_until_cured-1" == caught.value.branch
    assert 1 == len(caught.value.items)
    assert "WorkerCrashedError" in str(caught.value)
    assert [1, 2, 1, 1] == [runs_of(tmp_path, fold) for fold in range(4)]
    told = {step.name: step.error for step in together.provenance.steps if "/" not in step.name}
    assert [f"dies_until_cured-{fold}" for fold in (0, 2, 3)] == [name for name, error in told.items() if error is None]
    assert "WorkerCrashedError" in str(told["dies_until_cured-1"])

    (tmp_path / "cured").touch()
    results = fan_out(together, dies_until_cured, items, executor=RayExecutor(num_cpus=1))
    assert [1, 3, 1, 1] == [runs_of(tmp_path, fold) for fold in range(4)]
    alone = new_context()
    assert in_a_loop(alone, dies_until_cured, items) == results
    assert view(alone) == view(together)


def test_a_retry_after_an_exception(tmp_path: Path) -> None:
    """Where Ray is told to retry exceptions, only the attempt that succeeds leaves anything."""
    items = [(str(tmp_path), fold) for fold in range(2)]
    together = new_context()
    results = fan_out(together, fails_once, items, executor=RayExecutor(num_cpus=1, retry_exceptions=True))
    assert [2, 2] == [runs_of(tmp_path, fold) for fold in range(2)]

    alone = new_context()
    assert in_a_loop(alone, fails_once, items) == results
    assert view(alone) == view(together)


def test_an_exception() -> None:
    """What a task raises can be caught by its type; what the others did is merged."""
    ctx = new_context()
    with pytest.raises(ValueError, match="fold 1 is odd") as caught:
        fan_out(ctx, refuses_odd, range(4), executor=RayExecutor(num_cpus=1))

    assert "in branch 'refuses_odd-1', of item 1" in caught.value.__notes__
    assert ValueError is type(caught.value)
    assert "in refuses_odd" in str(caught.value.__cause__)
    told = [step.error for step in ctx.provenance.steps if "/" not in step.name]
    assert [None, "ValueError: fold 1 is odd", None, "ValueError: fold 3 is odd"] == told


class Interrupter:
    """A sink that presses Ctrl-C as soon as a branch is merged."""

    def handle(self, event: Event, /) -> None:
        if isinstance(event, BranchMerged) and event.branch == "waits-0":
            os.kill(os.getpid(), SIGINT)

    def close(self) -> None:
        pass


@pytest.fixture
def _handled() -> Iterator[None]:
    """Have SIGINT raise, also where the tests run in the background of a shell, which has it ignored."""
    before = signal(SIGINT, default_int_handler)
    yield
    signal(SIGINT, before)


@pytest.mark.usefixtures("_handled")
def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C leaves what was merged, and the same call again does the others."""
    items = [(str(tmp_path), fold) for fold in range(4)]
    ctx = FrozenContext[Train]({"lr": 0.5, "layers": []}, sinks=[Interrupter()])
    with pytest.raises(KeyboardInterrupt):
        fan_out(ctx, waits, items, executor=RayExecutor(num_cpus=0.25))
    assert ["waits-0"] == steps_of(ctx)

    (tmp_path / "go").touch()
    assert [0, 1, 2, 3] == fan_out(ctx, waits, items, executor=RayExecutor(num_cpus=0.25))
    assert [f"waits-{fold}" for fold in range(4)] == steps_of(ctx)


def test_a_key_that_cannot_be_sent() -> None:
    """A key that does not pickle is named, if a branch reads or writes it."""
    with pytest.raises(TypeError, match="branch 'reads-1': key 'handle' cannot be sent"):
        fan_out(new_context(handle=threading.Lock()), reads, ["lr", "handle"], executor=RayExecutor(num_cpus=1))

    ctx = new_context()
    with pytest.raises(TravelError, match="branch 'writes_lock-1': key 'third' cannot be sent"):
        fan_out(ctx, writes_lock, range(3), executor=RayExecutor(num_cpus=1))
    told = {record.name: record.error for record in ctx.provenance.steps}
    assert ["writes_lock-0", "writes_lock-1", "writes_lock-2"] == [*told]
    assert [None, None] == [told["writes_lock-0"], told["writes_lock-2"]]
    assert str(told["writes_lock-1"]).startswith("TravelError: ")


def test_what_is_large_is_put_once() -> None:
    """What a large parent holds is put into Ray's object store once, and branches fetch it from there."""
    ctx = new_context(layers=[{"weights": [0.5] * 10_000}])
    assert [0.0, 5000.0] == fan_out(ctx, sums, range(2), executor=RayExecutor(num_cpus=1))


def test_by_hand() -> None:
    """Deltas of Ray tasks may be merged in any order, and one more than once."""
    alone, together = new_context(), new_context()
    in_a_loop(alone, train, range(4))
    branches = [fork(together, f"train-{fold}") for fold in range(4)]
    first = ray.get(train_branch.remote(branches[1], 1))
    merge(together, first)
    deltas = ray.get([train_branch.remote(branch, fold) for fold, branch in enumerate(branches)])
    for delta in [*reversed(deltas), deltas[2]]:
        merge(together, delta)

    assert first.digest == deltas[1].digest
    assert view(alone) == view(together)


def test_resources() -> None:
    """What is given to the executor are the options of its tasks."""
    executor = RayExecutor(num_cpus=0.5, resources={"disk": 1})

    assert [{"CPU": 0.5, "disk": 1.0}] * 2 == fan_out(FrozenContext(), resources_of, range(2), executor=executor)


def test_the_example() -> None:
    """The program of the docs, which defines all that it uses itself, says the same of both ways."""
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    del environment["PYTHONPATH"]
    script = EXAMPLES / "ray_folds.py"
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)

    assert 0 == ended.returncode, ended.stderr
    said = ended.stdout.splitlines()
    assert "by_fan_out: Score(fold=0, loss=0.125)" == said[0]
    assert "validate-0/fit validate-0 validate-1/fit validate-1" == " ".join(said[1].split()[:4])
    assert "0.5 0.25 0.125 1.0 0.5 0.25 1.5 0.75 0.375 2.0 1.0 0.5" == said[2]
    assert ["by_hand: Score(fold=0, loss=0.125)", *said[1:3]] == said[3:]
