"""A model learns to read handwritten digits, and the context that its steps share tells what happened.

Read it from top to bottom: what the run holds and measures, the steps, the run, and what it has to say. The run is
kept in a file in `runs`, with a page beside it; with `--resume` the newest one there goes on where it was when its
process died. One step runs on several processes at once; with `--dask` these are the workers of a Dask cluster. With
`--mlflow URI` the run is reported to an MLflow server as well.
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from inspect import getsource
from multiprocessing import get_context
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt, PositiveFloat, PositiveInt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from tqdm import trange
from typing_extensions import TypedDict

from crystallize import (
    Context,
    CrystallizeError,
    FrozenContext,
    Journal,
    LoggingContext,
    Metric,
    MetricSchema,
    Series,
    Shared,
    Sink,
    fan_out,
    load_run,
)
from crystallize.report import write_report
from crystallize.runs import find_run

# What the run holds: each key with its type. Whatever is written is checked against it, at the line that writes
# it; of an array, only that it is one.

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Samples(NamedTuple):
    images: NDArray[np.float64]  # (n, 64): the 8 x 8 pixels of each image, from 0 to 1
    labels: NDArray[np.int64]  # (n,): the digit that each image shows


class Digits(BaseModel, arbitrary_types_allowed=True):
    # The inputs. Those with a default need not be given.
    seed: NonNegativeInt
    learning_rate: PositiveFloat
    epochs: PositiveInt = 30
    held_out: Share = 0.2  # the part to validate with, and as much again to test with
    note: str = ""  # for whoever looks at the run later; no step needs it
    limit: PositiveInt  # only so many images, for a quick try; where nobody gives it, all of them

    # What the steps write. The model is Shared: handed on as it is, where other values are kept from change.
    samples: Samples
    train: Samples
    val: Samples
    test: Samples
    expected: Share
    model: Annotated[SGDClassifier, Shared]
    accuracy: Share
    confusion: NDArray[np.int64]  # (10, 10): row, the digit shown; column, the digit read


# What the run measures, and how each measurement is tagged.

Split: TypeAlias = Literal["train", "val"]


class EpochTags(TypedDict):
    epoch: PositiveInt
    split: Split


class FoldTags(TypedDict):
    fold: NonNegativeInt
    epoch: PositiveInt


class DigitsMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, unit="nats", goal="minimize")
    accuracy = Metric(Share, tags=EpochTags, unit="share", goal="maximize")
    score = Metric(Share, tags=FoldTags, unit="share", goal="maximize")


# The steps. Each declares the keys that it reads and writes, and gets a context that has them.


class Load(Protocol):
    samples: Samples


def load(ctx: Context[Load]) -> None:
    """Load the images."""
    digits = load_digits()
    limit = ctx.get("limit")
    ctx.fields.samples = Samples(digits.data[:limit] / 16, digits.target[:limit])


class Divide(Protocol):
    samples: Samples
    held_out: float
    seed: int
    train: Samples
    val: Samples
    test: Samples


def split(ctx: Context[Divide]) -> None:
    """Shuffle the images and hold two parts out, one to validate with and one to test with."""
    images, labels = ctx.fields.samples
    order = np.random.default_rng(ctx.fields.seed).permutation(len(labels))
    size = int(len(labels) * ctx.fields.held_out)
    parts = [Samples(images[rows], labels[rows]) for rows in np.split(order, [size, 2 * size])]
    ctx.fields.test, ctx.fields.val, ctx.fields.train = parts


class Learn(Protocol):
    train: Samples
    epochs: int
    learning_rate: float
    seed: int


def untrained(ctx: Context[Learn]) -> SGDClassifier:
    """Make a model that has learned nothing yet."""
    return SGDClassifier(
        loss="log_loss",
        learning_rate="constant",
        eta0=ctx.fields.learning_rate,
        random_state=ctx.fields.seed,
    )


FOLDS = 5


# The folds run at once, on workers. Each has a context of its own, and what it did is merged into this one.
def fold(ctx: Context[Learn], k: int) -> float:
    """Train on four fifths of the images, and say how well the model reads the k-th fifth."""
    images, labels = ctx.fields.train
    held_out = np.arange(len(labels)) % FOLDS == k
    score = ctx.metrics.series(DigitsMetrics.score)
    model = untrained(ctx)
    for epoch in range(1, ctx.fields.epochs + 1):
        model.partial_fit(images[~held_out], labels[~held_out], classes=range(10))
        answers = model.predict(images[held_out])
        score.add(accuracy_score(labels[held_out], answers), {"fold": k, "epoch": epoch})
    return score.last


class Validate(Learn, Protocol):
    expected: float


def validate(ctx: LoggingContext[Validate], executor: Executor) -> None:
    """Estimate, before there is a model, how well such a one reads what it has not seen."""
    scores = fan_out(ctx, fold, range(FOLDS), executor=executor)
    ctx.fields.expected = float(np.mean(scores))


class Fit(Learn, Protocol):
    val: Samples
    model: SGDClassifier


def fit(ctx: Context[Fit]) -> None:
    """Train the model, and measure it after every epoch."""
    fields = ctx.fields
    measured: dict[Split, Samples] = {"train": fields.train, "val": fields.val}
    loss = ctx.metrics.series(DigitsMetrics.loss)
    accuracy = ctx.metrics.series(DigitsMetrics.accuracy)
    model = untrained(ctx)
    # The bar goes to stderr, and is shown on a terminal alone.
    for epoch in trange(1, fields.epochs + 1, desc="fit", unit="epoch", disable=None):
        model.partial_fit(*fields.train, classes=range(10))
        for name, (images, labels) in measured.items():
            tags = EpochTags(epoch=epoch, split=name)
            loss.add(log_loss(labels, model.predict_proba(images), labels=range(10)), tags)
            accuracy.add(accuracy_score(labels, model.predict(images)), tags)
    fields.model = model


class Evaluate(Protocol):
    model: SGDClassifier
    test: Samples
    accuracy: float
    confusion: NDArray[np.int64]


def evaluate(ctx: Context[Evaluate]) -> None:
    """Try the model on images that it has not seen, and draw how it learned."""
    images, labels = ctx.fields.test
    answers = ctx.fields.model.predict(images)
    ctx.fields.accuracy = accuracy_score(labels, answers)
    ctx.fields.confusion = confusion_matrix(labels, answers, labels=range(10))
    ctx.artifacts.add("curve.svg", learning_curve(ctx.metrics.series(DigitsMetrics.loss)))


def learning_curve(loss: Series[float, EpochTags]) -> bytes:
    """Draw the loss by epoch, as SVG: train in grey, val in blue."""
    top = max(loss.values)
    lines = ""
    for name, colour in {"train": "grey", "val": "steelblue"}.items():
        values = loss.where(split=name).values
        points = " ".join(f"{x * 400 / len(values):.1f},{200 - y * 200 / top:.1f}" for x, y in enumerate(values))
        lines += f'<polyline points="{points}" fill="none" stroke="{colour}"><title>{name}</title></polyline>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-5 -5 410 210">{lines}</svg>'.encode()


# The run. `ctx.run` runs a function as a step, whose reads and writes are on record. In a resumed run it does not call
# the functions whose steps finished: their values and measurements are in the context.


def run(
    journal: Journal, inputs: dict[str, Any], executor: Executor, sinks: Sequence[Sink] = ()
) -> FrozenContext[Digits]:
    """Run all steps that have not finished yet, one after another."""
    ctx = journal.context(FrozenContext[Digits], inputs, metrics=DigitsMetrics, sinks=sinks)
    ctx.run(load)
    ctx.run(split)
    ctx.run(validate, executor)
    ctx.run(fit)
    ctx.run(evaluate)
    return ctx


@contextmanager
def workers(dask: bool) -> Iterator[Executor]:
    """Start what the folds run on: processes, or a Dask cluster, which on one machine is processes too."""
    if not dask:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            yield pool
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,  # type: ignore[no-untyped-call]  # not annotated there
        Client(cluster) as client,  # type: ignore[no-untyped-call]  # as above
    ):
        yield client.get_executor(pure=False)


@contextmanager
def reported(uri: str | None, name: str) -> Iterator[Sequence[Sink]]:
    """Give the sinks that report to a run of MLflow, which is made and ended here; none without an address."""
    if uri is None:
        yield ()
        return
    from mlflow import MlflowClient

    from crystallize.sinks.mlflow import MLflowSink

    client = MlflowClient(uri)
    found = client.get_experiment_by_name("digits")
    experiment = client.create_experiment("digits") if found is None else found.experiment_id
    run_id = client.create_run(experiment, run_name=name).info.run_id
    outcome = "FAILED"
    try:
        with MLflowSink(client, run_id, step_tag="epoch") as sink:
            yield (sink,)
        outcome = "FINISHED"
    finally:
        client.set_terminated(run_id, outcome)


# What it has to say. Every number here comes from the context.


def show(ctx: FrozenContext[Digits], console: Console) -> None:
    """Print what ran, what was measured and what came out."""
    console.print(steps_table(ctx), metrics_table(ctx))
    sources = ctx.provenance.lineage.sources("accuracy")
    outcome = table("What came out")
    outcome.add_row("accuracy", f"{ctx.fields.accuracy:.4f}, on {ctx.fields.confusion.sum()} images not seen before")
    outcome.add_row("expected", f"{ctx.fields.expected:.4f}, the mean of {FOLDS} folds")
    outcome.add_row("made from", ", ".join(key for key in ctx if key in sources))
    for artifact in ctx.artifacts:
        outcome.add_row("artifact", f"{artifact.name}, {len(artifact.data)} bytes, made by {artifact.step}")
    for key in ctx.provenance.unread_inputs:
        outcome.add_row("never read", f"{key}: {ctx[key]!r}")
    console.print(outcome)


def table(title: str, *columns: str) -> Table:
    """Make an empty table; what it says of time and numbers stands to the right."""
    made = Table(title=title, title_style="bold", title_justify="left", show_header=bool(columns), box=SIMPLE_HEAD)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in ("took", "first", "best", "last") else "left"
        made.add_column(column, justify=justify, min_width=14 if column == "read" else None)
    return made


def steps_table(ctx: FrozenContext[Digits]) -> Table:
    """Lay out what each step did."""
    made = table("What ran", "step", "read", "missed", "wrote", "recorded", "took")
    # A step ends after those within it, and is shown before them.
    for step in sorted(ctx.provenance.steps, key=lambda step: (step.started, step.name)):
        outer, _, name = step.name.rpartition("/")
        recorded = [f"{metric}: {count}" for metric, count in step.points.items()]
        cells = [", ".join(names) for names in (step.reads, step.absent, step.writes + step.artifacts, recorded)]
        made.add_row(f"  {name}" if outer else name, *cells, f"{step.duration.total_seconds() * 1000:.0f} ms")
    return made


def metrics_table(ctx: FrozenContext[Digits]) -> Table:
    """Lay out the first, best and last value of each metric by split."""
    made = table("What was measured", "metric", "unit", "goal", "split", "first", "best", "last")
    for metric in (DigitsMetrics.loss, DigitsMetrics.accuracy):
        for name in ("train", "val"):
            series = ctx.metrics.series(metric).where(split=name)
            cells = [f"{value:.4f}" for value in (series.values[0], series.best, series.last)]
            made.add_row(metric.name, metric.unit, metric.goal, name, *cells)
    return made


# Three mistakes that every project makes, and what one is told of them.


def write_twice(ctx: FrozenContext[Digits]) -> None:
    ctx.fields.accuracy = 1.0


def misspell_a_key(ctx: FrozenContext[Digits]) -> None:
    print(ctx["acuracy"])


def misspell_a_tag(ctx: FrozenContext[Digits]) -> None:
    ctx.record("loss", 0.5, tags={"epoch": 1, "split": "trian"})


def go_wrong(ctx: FrozenContext[Digits], console: Console) -> None:
    """Make each mistake, and print the line with the error that it raises."""
    console.print("[b]What goes wrong")
    for mistake in (write_twice, misspell_a_key, misspell_a_tag):
        try:
            mistake(ctx)
        except CrystallizeError as error:
            line = getsource(mistake).splitlines()[-1].strip()
            console.print(f"\n>>> {line}\n{type(error).__name__}: {error}", markup=False, soft_wrap=True)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="go on with the newest run")
    parser.add_argument("--dask", action="store_true", help="run the folds on a Dask cluster")
    parser.add_argument("--mlflow", metavar="URI", help="report to this MLflow server as well")
    options = parser.parse_args()
    console = Console()
    inputs = {"seed": 1, "learning_rate": 0.03, "note": "for people, so no step reads it"}
    journal = Journal.resume(find_run("runs", "digits")) if options.resume else Journal.start("runs", "digits")
    with journal, reported(options.mlflow, journal.name) as sinks, workers(options.dask) as executor:
        ctx = run(journal, inputs, executor, sinks)
    show(ctx, console)
    go_wrong(ctx, console)
    page = journal.path.with_suffix(".html")
    write_report(load_run(journal.path), page)
    console.print(f"\nThe run is in {journal.path}\nIts page is {page}", soft_wrap=True)


if __name__ == "__main__":
    main()
