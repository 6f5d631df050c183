"""The scenes that the pictures of the documentation show: small runs and timings, made when it is built."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGKILL
from statistics import median
from time import perf_counter, sleep
from timeit import Timer
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import BaseModel, FiniteFloat, PositiveFloat
from typing_extensions import TypedDict

from crystallize import (
    BranchMerged,
    Context,
    CrystallizeError,
    FrozenContext,
    Journal,
    Metric,
    MetricSchema,
    Run,
    Shared,
    fan_out,
    load_run,
    step,
)
from crystallize.report import write_report
from crystallize.sinks.memory import MemorySink

EXAMPLES: Final = Path(__file__).parent / "examples"


# For "Written once": lines of code, and the effect of each on the keys.


class Train(BaseModel):
    lr: PositiveFloat
    epochs: int = 3
    accuracy: float


Deed: TypeAlias = Literal["written", "read", "refused"]


class Deeds(NamedTuple):
    """A line of code, with its effect on each key that it names."""

    code: str
    deeds: dict[str, Deed]
    error: str
    """The name of the error that it raised; empty if it raised none."""


LINES: Final = (
    'ctx = FrozenContext[Train]({"lr": 0.1})',
    "ctx.fields.lr",
    "ctx.fields.epochs = 5",
    "ctx.fields.accuracy",
    'ctx.fields.accuracy = "high"',
    "ctx.fields.accuracy = 0.93",
    "ctx.fields.accuracy",
    "ctx.fields.accuracy = 0.93",
)


def deeds() -> list[Deeds]:
    """Run the lines in order, and compare the context before and after each."""
    found: list[Deeds] = []
    names: dict[str, Any] = {"FrozenContext": FrozenContext, "Train": Train}
    held: set[str] = set()
    for code in LINES:
        named = [key for key in Train.model_fields if f"fields.{key}" in code]
        error = ""
        try:
            exec(code, names)
        except CrystallizeError as raised:
            error = type(raised).__name__
        did: dict[str, Deed] = dict.fromkeys(named, "refused" if error else "read")
        for key in names["ctx"]:
            if key not in held:
                did[key] = "written"
                held.add(key)
        found.append(Deeds(code, did, error))
    return found


# For "Frozen values": how long ten thousand numbers take to write and to read, as a value of each kind.


class Cost(NamedTuple):
    """How long a value of some kind takes."""

    kind: str
    write: float
    """In seconds, as `read` is."""
    read: float


class Samples(BaseModel):
    rows: list[float]


class Loader:
    """A class that crystallize does not know."""

    def __init__(self, rows: list[float]) -> None:
        self.rows = rows


def costs() -> list[Cost]:
    """Time a write and a read of each kind of value. Nothing is validated, so that only freezing is timed."""
    rows = [float(n) for n in range(10_000)]
    kinds: dict[str, tuple[Any, Any]] = {
        "one float": (Any, 0.5),
        "tuple": (Any, tuple(rows)),
        "numpy array": (Any, np.array(rows)),
        "list": (Any, rows),
        "model with a list": (Any, Samples(rows=rows)),
        "object of another class": (Any, Loader(rows)),
        "list, marked Shared": (Annotated[Any, Shared], rows),
    }
    return [Cost(kind, *_cost(of_type, value)) for kind, (of_type, value) in kinds.items()]


def _cost(of_type: Any, value: Any) -> tuple[float, float]:
    writes, reads = [], []
    for _ in range(9):
        ctx: FrozenContext[Any] = FrozenContext[dict[str, of_type]]({})
        started = perf_counter()
        ctx["key"] = value
        writes.append(perf_counter() - started)
        timer = Timer(partial(ctx.__getitem__, "key"))
        number = max(1, int(2e-3 / max(timer.timeit(1), 1e-7)))
        reads.append(timer.timeit(number) / number)
    return median(writes), median(reads)


# For "Steps and provenance": a small pipeline, whose lineage is drawn.


class Digits(BaseModel):
    path: str
    lr: PositiveFloat
    seed: int = 0
    rows: list[float]
    train: list[float]
    val: list[float]
    weight: float
    accuracy: float


def load(ctx: Context[Digits]) -> None:
    ctx.fields.rows = [float(len(ctx.fields.path)), 1.0, 2.0]


def split(ctx: Context[Digits]) -> None:
    ctx.fields.train, ctx.fields.val = ctx.fields.rows[:2], ctx.fields.rows[2:]


def fit(ctx: Context[Digits]) -> None:
    ctx.fields.weight = ctx.fields.lr * sum(ctx.fields.train)


def evaluate(ctx: Context[Digits]) -> None:
    ctx.fields.accuracy = 1 / (1 + ctx.fields.weight * sum(ctx.fields.val))


def pipeline(ctx: FrozenContext[Digits]) -> None:
    for task in (load, split, fit, evaluate):
        ctx.run(task)


def lineage_run(folder: Path) -> Run[Any]:
    with Journal.start(folder, "lineage") as journal:
        pipeline(journal.context(FrozenContext[Digits], {"path": "digits.csv", "lr": 0.1}))
    return load_run(journal.path)


# For "Branches": four branches on two threads. The first branch is merged third.


class FoldMetrics(MetricSchema):
    loss = Metric(FiniteFloat, goal="minimize")


SECONDS: Final = (0.24, 0.06, 0.1, 0.2)


def fold(ctx: FrozenContext[Train], k: int) -> None:
    for epoch in range(3):
        sleep(SECONDS[k] / 3)
        ctx.record(FoldMetrics.loss, ctx.fields.lr / (k + epoch + 1))


class Folds(NamedTuple):
    """A run of branches."""

    run: Run[Any]
    arrived: list[str]
    """The branches in the order in which they were merged."""


def folds_run(folder: Path) -> Folds:
    sink = MemorySink()
    with Journal.start(folder, "folds") as journal, ThreadPoolExecutor(2) as pool:
        ctx = journal.context(FrozenContext[Train], {"lr": 0.1}, metrics=FoldMetrics, sinks=[sink])
        fan_out(ctx, fold, range(len(SECONDS)), executor=pool)
    return Folds(load_run(journal.path), [event.branch for event in sink.events if isinstance(event, BranchMerged)])


# For "Durability": a process that is killed in its second step, and another process that resumes the run.


def killed_run(folder: Path) -> Run[Any]:
    """Run `examples/survive.py`, kill it when it is in its fourth epoch, and run it again."""
    # An epoch takes 0.4 seconds, and begins when it is printed: the third one ends, and the fourth one does not.
    _kill("survive.py", folder, 0.6, pace=4)
    _finish("survive.py", folder, pace=4)
    return load_run(folder / "runs/train-0001.db")


def first_page(folder: Path) -> Path:
    """Run `examples/first_run.py`, kill it after its third epoch, resume it, and return the page of the run."""
    _kill("first_run.py", folder, 0)
    _finish("first_run.py", folder, "--resume")
    page = folder / "line.html"
    write_report(load_run(folder / "runs/line-0001.db"), page)
    return page


def demo_page(folder: Path) -> Path:
    """Run the demo, and return the page that it wrote."""
    _finish("digits.py", folder)
    return folder / "runs/digits-0001.html"


# For "The page of a run": a sweep over the settings of a small network.


class SweepTags(TypedDict):
    epoch: int
    split: Literal["train", "val"]


class SweepMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=SweepTags, goal="minimize", description="Cross entropy.")
    accuracy = Metric(FiniteFloat, goal="maximize")


def sweep_page(folder: Path, count: int) -> Path:
    """Train small networks with so many settings, each in a run, and return the page that compares the runs."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    parts = train_test_split(digits.data[:900] / 16, digits.target[:900], random_state=0)
    chosen = Random(1)
    paths = []
    for _ in range(count):
        settings = {
            "lr": chosen.choice([1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]),
            "width": chosen.choice([8, 16, 32, 64]),
            "solver": chosen.choice(["adam", "sgd"]),
            "alpha": chosen.choice([0.0, 1e-3, 1e-2]),
        }
        with Journal.start(folder, "sweep") as journal:
            ctx = journal.context(FrozenContext, {**settings, "epochs": 25, "data": "digits"}, metrics=SweepMetrics)
            ctx.run(_train_network, *parts)
        paths.append(journal.path)
    runs: list[Run[Any]] = [load_run(path) for path in paths]
    page = folder / "sweep.html"
    write_report(runs[0], page, beside=runs[1:])
    return page


@step("train")
def _train_network(ctx: FrozenContext[Any], *parts: np.ndarray[Any, Any]) -> None:
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    train, val, train_labels, val_labels = parts
    network = MLPClassifier(
        (ctx["width"],), solver=ctx["solver"], alpha=ctx["alpha"], learning_rate_init=ctx["lr"], random_state=0
    )
    classes = np.arange(10)
    for epoch in range(ctx["epochs"]):
        network.partial_fit(train, train_labels, classes=classes)
        for split, images, labels in (("train", train, train_labels), ("val", val, val_labels)):
            loss = float(log_loss(labels, network.predict_proba(images), labels=classes))
            tags: SweepTags = {"epoch": epoch, "split": "train" if split == "train" else "val"}
            ctx.record(SweepMetrics.loss, loss, tags)
        ctx.record(SweepMetrics.accuracy, float(network.score(val, val_labels)))
    ctx["weights"] = sum(weights.size for weights in network.coefs_)


def _kill(script: str, folder: Path, seconds: float, pace: int = 1) -> None:
    """Run an example, and kill it some seconds after it has printed its third epoch.

    Raises:
        RuntimeError: It ended before that.
    """
    with _started(script, folder, pace=pace) as process:
        for line in process.stdout or ():
            if line.startswith("epoch 3"):
                sleep(seconds)
                process.kill()
    if process.returncode != -SIGKILL:
        raise RuntimeError(f"{script} ended with {process.returncode} before it was killed")


def _finish(script: str, folder: Path, *arguments: str, pace: int = 1) -> None:
    with _started(script, folder, *arguments, pace=pace) as process:
        said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{script} ended with {process.returncode}:\n{said}")


def _started(script: str, folder: Path, *arguments: str, pace: int = 1) -> "subprocess.Popen[str]":
    """Start a copy of an example, so that its run does not record the folder in which the documentation is built.

    `pace` is the factor by which its sleeps are longer.
    """
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    (folder / script).write_text(text.replace(" sleep(", f" sleep({pace} * "), encoding="utf-8")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path}
    return subprocess.Popen(
        ["python", script, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
