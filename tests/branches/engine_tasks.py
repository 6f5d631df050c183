"""Engines, and tasks for them: at the level of a module, since that is where other processes find them."""

import fcntl
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from time import sleep
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, SecretStr
from typing_extensions import TypedDict

from crystallize import FrozenContext, Metric, MetricSchema, Output, Shared, fan_out
from crystallize._base.buffer_file import BufferFile

_I = TypeVar("_I")
_R = TypeVar("_R")
_T = TypeVar("_T")

BUILDERS = ("fork", "spawn", "forkserver")
"""How `multiprocessing` makes processes."""
SENDING = (*BUILDERS, "loky", "dask", "dask-threads")
"""The engines that send what a worker is to have, and what it returns."""
ENGINES = ("threads", *SENDING)
APART = (*BUILDERS, "loky", "dask")
"""Those whose workers are processes of their own."""
BY_VALUE = ("threads", "loky", "dask", "dask-threads")
"""Those to which a function need not be known by name."""


@contextmanager
def dask_client(*, processes: bool, deaths: int = 1000, workers: int = 2) -> Iterator[Any]:
    """Start Dask on this machine, and stop it.

    Args:
        processes: Whether its workers are processes; threads of this one otherwise.
        deaths: How many workers may die of a task before Dask gives up on it.
        workers: How many workers to start.
    """
    import distributed  # takes a second; and before its settings are changed, or they would be lost
    from dask.config import set as set_in_dask

    settings = {
        "distributed.scheduler.allowed-failures": deaths,
        # By default, a worker that is not there 15 seconds after it died is not started any more, also if it died anew.
        "distributed.deploy.lost-worker-timeout": "1h",
    }
    engine: Any = distributed  # its types are not all known
    with set_in_dask(settings):
        cluster = engine.LocalCluster(
            processes=processes,
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )
        with cluster, engine.Client(cluster) as client:
            yield client


@contextmanager
def opened(engine: str, *, deaths: int = 1000) -> Iterator[Executor]:
    """Make an executor with two workers, and end it; `deaths` is for Dask."""
    if engine in BUILDERS:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(engine)) as executor:
            yield executor
    elif engine == "threads":
        with ThreadPoolExecutor(2) as executor:
            yield executor
    elif engine == "loky":
        from loky import get_reusable_executor

        with get_reusable_executor(max_workers=2, reuse=False) as executor:
            yield executor
    else:
        with dask_client(processes=engine == "dask", deaths=deaths) as client:
            yield client.get_executor(pure=False)


# What contexts hold.


class Settings(BaseModel):
    rate: float
    layers: list[int]


class Summary(BaseModel):
    fold: int
    losses: list[float]


@dataclass
class Lookup:
    """Something to share; copies of it would show."""

    words: dict[str, int]


class WorkTags(TypedDict):
    fold: int
    epoch: int


class WorkMetrics(MetricSchema):
    loss = Metric(float, tags=WorkTags, goal="minimize")
    score = Metric(float)


class DerivedMetrics(WorkMetrics):
    extra = Metric(int)


class Work(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    settings: Settings
    table: NDArray[Any]
    names: list[str]
    token: SecretStr
    lookup: Annotated[Lookup, Shared]
    first: Annotated[Summary | None, Output] = None
    second: Annotated[Summary | None, Output] = None
    third: Annotated[Summary | None, Output] = None


class OtherWork(Work):
    """What `Work` might be where the code is older or newer."""

    fourth: Annotated[Summary | None, Output] = None


def new_work(*, metrics: type[MetricSchema] | None = WorkMetrics) -> FrozenContext[Work]:
    initial = {
        "settings": {"rate": 0.5, "layers": [3, 2]},
        "table": np.arange(6.0).reshape(2, 3),
        "names": ["a", "b"],
        "token": SecretStr("hush"),
        "lookup": Lookup({"a": 1}),
    }
    return FrozenContext[Work](initial, metrics=metrics)


# What they are compared by.


def in_a_loop(ctx: FrozenContext[_T], task: Callable[[FrozenContext[_T], _I], _R], items: Iterable[_I]) -> list[_R]:
    """Do what `fan_out` does without it: one item after another, each in a step."""
    results = []
    for at, item in enumerate(items):
        with ctx.step(f"{getattr(task, '__name__', 'branch')}-{at}") as step:
            results.append(task(step, item))
    return results


def view(ctx: FrozenContext[Any]) -> dict[str, Any]:
    """Return all that is known of a context, times aside, as what can be compared."""
    return {
        "keys": [(key, ctx.provenance.writer(key), plain(ctx[key])) for key in ctx],
        "points": {
            name: [(plain(point.value), dict(point.tags or {}), point.step) for point in ctx.metrics.series(name)]
            for name in sorted(ctx.metrics)
        },
        "artifacts": list(ctx.artifacts),
        "steps": [
            record._replace(started=None, ended=None, points=dict(record.points))  # type: ignore[arg-type]  # no times
            for record in ctx.provenance.steps
        ],
        "lineage": ctx.provenance.lineage,
    }


def plain(value: Any) -> Any:
    """Return a value as one that has an equality."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


# Tasks.


def trains(ctx: FrozenContext[Any], fold: int) -> Summary:
    """Do a bit of all that can be done in a branch."""
    losses = []
    with ctx.step("fit") as fit:
        settings = fit["settings"]
        for epoch in range(4):
            losses.append(settings.rate / (fold + epoch + 1))
            fit.record("loss", losses[-1], {"fold": fold, "epoch": epoch})
        fit[f"weights-{fold}"] = fit["table"] * fold
        with fit.step("check") as check:
            check[f"checked-{fold}"] = check["names"]
            assert check.get("other", "none") == "none"
            assert "another" not in check
    with ctx.step("fit") as again:
        again.record("score", 0.5)
    ctx.record("score", float(fold))
    ctx[f"summary-{fold}"] = Summary(fold=fold, losses=losses)
    ctx[f"whole-{fold}"] = ctx[f"weights-{fold}"].sum()
    ctx.artifacts.add(f"fold-{fold}.txt", b"fold" * fold)
    return Summary(fold=fold, losses=losses)


def trains_again(ctx: FrozenContext[Any], fold: int) -> Summary:
    """Do the same from what branches wrote."""
    assert (ctx[f"weights-{fold}"] == ctx["table"] * fold).all()
    return Summary(fold=fold, losses=ctx[f"summary-{fold}"].losses)


_FIELDS = {"first": 1, "second": 2, "third": 3}


def fills_a_field(ctx: FrozenContext[Work], name: str) -> int:
    """Write a field of `Work`, of all that it has."""
    fields = ctx.fields
    assert fields.token.get_secret_value() == "hush"
    assert not ctx["table"].flags.writeable or ctx["table"].base is None
    losses = [fields.settings.rate * layer for layer in fields.settings.layers]
    ctx.record(WorkMetrics.loss, float(fields.table.sum()), WorkTags(fold=_FIELDS[name], epoch=0))
    ctx[name] = Summary(fold=_FIELDS[name], losses=losses)
    return fields.lookup.words["a"] + len(fields.names)


def is_same_lookup(ctx: FrozenContext[Work], other: int) -> bool:
    return id(ctx.fields.lookup) == other


def returns_table(ctx: FrozenContext[Any], item: int) -> NDArray[np.int64]:
    return np.arange(item)


def returns_summary(ctx: FrozenContext[Any], item: int) -> Summary:
    return Summary(fold=item, losses=[item / 3])


def returns_nothing(ctx: FrozenContext[Any], item: int) -> None:
    ctx[f"k{item}"] = item


def returns_pair(ctx: FrozenContext[Any], item: int) -> tuple[str, Settings]:
    return str(item), Settings(rate=item, layers=[item])


def returns_item(ctx: FrozenContext[Any], item: _I) -> _I:
    return item


def reads(ctx: FrozenContext[Any], key: str) -> str:
    return str(ctx[key])


def returns_its_process(ctx: FrozenContext[Any], item: int) -> int:
    return os.getpid()


def tells(ctx: FrozenContext[Any], item: int) -> str:
    ctx.logger.warning("item %s", item)
    return ctx.logger.name


def leaves(ctx: FrozenContext[Any], item: int) -> None:
    """Write into the context, then fail for some."""
    ctx[f"k{item}"] = item
    ctx.record("m", item)
    if item % 2:
        raise ValueError(f"item {item} is odd")


class TwoPartError(Exception):
    """One that pickle cannot make again, as its arguments are not those of its class."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def fails_oddly(ctx: FrozenContext[Any], item: int) -> int:
    if item == 1:
        raise TwoPartError(404, "no such fold")
    return item


@dataclass(frozen=True)
class Stuck:
    """What can be copied and does not pickle."""

    def __deepcopy__(self, memo: object) -> "Stuck":
        return Stuck()

    def __reduce__(self) -> Any:
        raise TypeError("it is bolted down")


@dataclass(frozen=True)
class Sour:
    """What pickles, and cannot be read again where it was not made."""

    def __deepcopy__(self, memo: object) -> "Sour":
        return Sour()

    def __reduce__(self) -> Any:
        return _soured, (os.getpid(), Sour)


class OwnLogger(logging.Logger):
    """A logger that nobody finds by its name."""


class SourError(Exception):
    """An exception of that kind."""

    def __reduce__(self) -> Any:
        return _soured, (os.getpid(), SourError)


def _soured(process: int, kind: Callable[[], _T]) -> _T:
    if process != os.getpid():
        raise LookupError("it went sour on the way")
    return kind()


def returns_stuck(ctx: FrozenContext[Any], item: int) -> Any:
    ctx[f"k{item}"] = item
    return Stuck() if item == 1 else item


def writes_stuck(ctx: FrozenContext[Any], item: int) -> int:
    ctx[f"k{item}"] = Stuck() if item == 1 else item
    return item


def returns_sour(ctx: FrozenContext[Any], item: int) -> Any:
    ctx[f"k{item}"] = item
    return Sour() if item == 1 else item


def writes_sour(ctx: FrozenContext[Any], item: int) -> int:
    ctx[f"k{item}"] = Sour() if item == 1 else item
    return item


def raises_sour(ctx: FrozenContext[Any], item: int) -> int:
    ctx[f"k{item}"] = item
    if item == 1:
        raise SourError
    return item


def trains_each(ctx: FrozenContext[Any], group: int) -> list[Summary]:
    """Fan out in a branch, over threads of its own."""
    with ThreadPoolExecutor(2) as executor:
        return fan_out(ctx, trains, [10 * group + at for at in range(3)], executor=executor)


def fails_once(ctx: FrozenContext[Any], item: tuple[str, int]) -> int:
    """Fail the first time, with half of it done."""
    folder, at = item
    with ctx.step("work") as step:
        step.record("m", at)
        step[f"half-{at}"] = at
        step.artifacts.add(f"{at}.txt", b"half")
        if is_first(Path(folder), at):
            raise OSError("not yet")
        step.record("m", -at)
    return at


def is_first(folder: Path, at: int) -> bool:
    """Whether no task asked this before."""
    try:
        (folder / f"met-{at}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def replaces_work() -> None:
    """Make a worker's module another one than the parent's."""
    globals()["Work"] = OtherWork


# Tasks whose workers die.


def dies_once(ctx: FrozenContext[Any], item: tuple[str, int]) -> int:
    """Kill the own process the first time, in the middle; of two items in three."""
    folder, at = item
    with ctx.step("fit") as step:
        for epoch in range(50):
            if epoch == 25 and at % 3 and is_first(Path(folder), at):
                os.kill(os.getpid(), SIGKILL)
            step.record("loss", (at + 1) / (epoch + 1), {"fold": at, "epoch": epoch})
        step[f"weights-{at}"] = step["table"] * at
    ctx.artifacts.add(f"{at}.txt", str(at).encode() * 100)
    ctx[f"summary-{at}"] = [at, f"{at}"]
    return at * at


def dies_opening(folder: str, deaths: int) -> None:
    """Let this process, a worker, be killed when it maps a file, so many times in all."""
    opened = BufferFile.opened

    def killed(self: BufferFile) -> memoryview:
        whole = opened(self)
        if any(is_first(Path(folder), at) for at in range(deaths)):
            os.kill(os.getpid(), SIGKILL)
        return whole

    BufferFile.opened = killed  # type: ignore[method-assign]  # in this process alone


def sums(ctx: FrozenContext[Any], at: int) -> float:
    ctx[f"rows-{at}"] = ctx["table"] * at
    return float(ctx["table"][at])


def dies_of(ctx: FrozenContext[Any], item: int) -> int:
    """Kill the own process at one item, always."""
    ctx[f"k{item}"] = item
    if item == 2:
        os.kill(os.getpid(), SIGKILL)
    return item


IDLE = "../idle"
"""The file that a killer leaves in the folder above, until it has killed once."""


def in_the_hands_of_a_killer(ctx: FrozenContext[Any], item: tuple[str, int]) -> int:
    """Say by a lock on a file which process may be killed, while there is something to kill.

    Until the killer has killed once, wait for it in the middle: on a busy machine it would come too late.
    """
    folder, at = item
    with (Path(folder) / f"{at}-{os.getpid()}").open("wb") as mark:
        fcntl.lockf(mark, fcntl.LOCK_EX)
        with ctx.step("fit") as step:
            for epoch in range(4000):
                step.record("loss", (at + 1) / (epoch + 1), {"fold": at, "epoch": epoch})
                if epoch % 1000 == 500:
                    step[f"part-{at}-{epoch}"] = np.arange(epoch) * at
                while epoch == 2000 and (Path(folder) / IDLE).exists():
                    sleep(0.001)
        ctx.artifacts.add(f"{at}.txt", str(at).encode() * 1000)
    return at * at


def is_at_work(mark: Path) -> bool:
    """Whether the process that a mark is of lives, and is in the middle of a task."""
    with mark.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


# Tasks that do a lot.


def writes_a_lot(ctx: FrozenContext[Any], what: str) -> int:
    if what == "points":
        add = ctx.metrics.series("score").add
        for at in range(1_000_000):
            add(at / 2, None)
    elif what.endswith("value"):
        ctx["large"] = np.arange((50_000_000 if what.startswith("larger") else 20_000_000) // 8)
    else:
        for at in range(int(what.removesuffix(" keys"))):
            ctx[f"key-{at}"] = [at, "v" * (at % 40)]
    return len(what)
