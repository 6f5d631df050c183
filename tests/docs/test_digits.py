"""The example of the docs: it says the same of a run as its own facts, and goes on after its process is killed."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from importlib import import_module
from itertools import count
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest

from crystallize import ContextMutationError, FrozenContext, Journal, Run, RunNotFoundError, load_run
from crystallize.runs import find_run

pytestmark = [
    pytest.mark.slow,
    # Since Python 3.12, of a fork in a process that has threads.
    pytest.mark.filterwarnings(r"ignore:.*use of fork\(\):DeprecationWarning"),
]

EXAMPLE = Path(__file__).parents[2] / "docs/examples/digits.py"
STEPS = ["load", "split", *(f"validate/fold-{fold}" for fold in range(5)), "validate", "fit", "evaluate"]
INPUTS = {"seed": 1, "learning_rate": 0.03, "note": "for people"}
FORK = get_context("fork")
PRINTED = "printed.txt"
"""The file, in the folder of the example, of all that it has printed."""
BRIEF_INPUTS = {**INPUTS, "epochs": 5}


@pytest.fixture(scope="module")
def digits() -> Iterator[ModuleType]:
    """The example as a module, which its workers can import too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE.parent)
        yield import_module("digits")


def run(digits: ModuleType, folder: Path, inputs: dict[str, Any]) -> FrozenContext[Any]:
    """Run the example and return its context."""
    with Journal.start(folder, "digits") as journal, ThreadPoolExecutor(2) as executor:
        made: FrozenContext[Any] = digits.run(journal, inputs, executor)
    return made


@pytest.fixture(scope="module")
def ctx(digits: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> FrozenContext[Any]:
    """The context of a whole run."""
    return run(digits, tmp_path_factory.mktemp("runs"), INPUTS)


@pytest.fixture(scope="module")
def brief(digits: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> FrozenContext[Any]:
    """The context of a run of a few epochs."""
    return run(digits, tmp_path_factory.mktemp("runs"), BRIEF_INPUTS)


class Demo(NamedTuple):
    """The example, run to its end."""

    printed: str
    folder: Path


@pytest.fixture(scope="module")
def demo(digits: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The example on a terminal of 80 columns. As a script of its own, `make demo` runs it."""
    folder = tmp_path_factory.mktemp("demo")
    process = start(folder)
    process.join()
    assert 0 == process.exitcode
    return Demo((folder / PRINTED).read_text(encoding="utf-8"), folder)


@pytest.fixture
def page(demo: Demo) -> str:
    """The text that the example prints."""
    return demo.printed


def test_steps_in_order(ctx: FrozenContext[Any]) -> None:
    """The steps ran in the order of the pipeline, each to its end."""
    steps = ctx.provenance.steps

    assert STEPS == [step.name for step in steps]
    assert {None} == {step.error for step in steps}
    assert all(step.duration.total_seconds() > 0 for step in steps)


@pytest.mark.parametrize(
    ("step", "reads", "absent", "writes", "artifacts"),
    [
        ("load", set(), ("limit",), ("samples",), ()),
        ("split", {"samples", "seed", "held_out"}, (), ("test", "val", "train"), ()),
        ("validate/fold-3", {"train", "epochs", "learning_rate", "seed"}, (), (), ()),
        ("validate", set(), (), ("expected",), ()),
        ("fit", {"train", "val", "epochs", "learning_rate", "seed"}, (), ("model",), ()),
        ("evaluate", {"model", "test"}, (), ("accuracy", "confusion"), ("curve.svg",)),
    ],
)
def test_step_record(
    ctx: FrozenContext[Any],
    step: str,
    reads: set[str],
    absent: tuple[str, ...],
    writes: tuple[str, ...],
    artifacts: tuple[str, ...],
) -> None:
    """Each step read, missed, wrote and added what its protocol and its code say, and nothing else."""
    (record,) = (record for record in ctx.provenance.steps if record.name == step)

    assert reads == set(record.reads)
    assert absent == record.absent
    assert writes == record.writes
    assert artifacts == record.artifacts


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_points(ctx: FrozenContext[Any], metric: str) -> None:
    """After each of at least 20 epochs, fit recorded a point for each split, in order."""
    epochs = ctx["epochs"]
    points = list(ctx.metrics.series(metric))
    expected = [{"epoch": epoch, "split": split} for epoch in range(1, epochs + 1) for split in ("train", "val")]

    assert epochs >= 20
    assert expected == [point.tags for point in points]
    assert {"fit"} == {point.step for point in points}
    (fit,) = (step for step in ctx.provenance.steps if step.name == "fit")
    assert 2 * epochs == fit.points[metric]


def test_folds(ctx: FrozenContext[Any]) -> None:
    """Each fold measured itself after every epoch, in a step of its own; the folds stand in order."""
    epochs = ctx["epochs"]
    points = list(ctx.metrics.series("score"))
    expected = [{"fold": fold, "epoch": epoch} for fold in range(5) for epoch in range(1, epochs + 1)]

    assert expected == [point.tags for point in points]
    assert [f"validate/fold-{point.tags['fold']}" for point in points] == [point.step for point in points]
    assert ctx["expected"] == pytest.approx(np.mean([point.value for point in points[epochs - 1 :: epochs]]))
    assert ctx["expected"] > 0.9


@pytest.mark.parametrize("split", ["train", "val"])
def test_learns(ctx: FrozenContext[Any], split: str) -> None:
    """The model gets better at what it trains on, and at what it does not."""
    loss = ctx.metrics.series("loss").where(split=split)
    accuracy = ctx.metrics.series("accuracy").where(split=split)

    assert loss.last < loss.values[0] / 2
    assert accuracy.best > accuracy.values[0]


def test_outcome(ctx: FrozenContext[Any]) -> None:
    """The accuracy is good, and the same as the confusion matrix says."""
    confusion = ctx["confusion"]

    assert ctx["accuracy"] > 0.9
    assert len(ctx["test"].labels) == confusion.sum()
    assert ctx["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())


def test_parts_cover_all_images(ctx: FrozenContext[Any]) -> None:
    """Each of the 1,797 images is in one part: train, val or test."""
    images = np.concatenate([ctx[part].images for part in ("train", "val", "test")])

    assert images.shape == (1797, 64)
    assert np.array_equal(np.sort(ctx["samples"].images, axis=0), np.sort(images, axis=0))


def test_arrays_are_read_only(ctx: FrozenContext[Any]) -> None:
    """Neither the confusion matrix nor the images can be changed by whoever reads them."""
    for array in (ctx["confusion"], *ctx["samples"], *ctx["test"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_model_is_shared(ctx: FrozenContext[Any]) -> None:
    """The model is handed on as it is, and predicts what it was evaluated on."""
    images, labels = ctx["test"]

    assert ctx["model"] is ctx["model"]
    assert ctx["accuracy"] == pytest.approx(ctx["model"].score(images, labels))


def test_artifact_is_svg(ctx: FrozenContext[Any]) -> None:
    """The learning curve is well-formed SVG, with a line per split and a point per epoch."""
    (artifact,) = ctx.artifacts
    root = ElementTree.fromstring(artifact.data)
    lines = [line for line in root if line.tag.endswith("polyline")]

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert artifact.step == "evaluate"
    assert [ctx["epochs"]] * 2 == [len(line.attrib["points"].split()) for line in lines]


def test_unread_inputs(ctx: FrozenContext[Any]) -> None:
    """Of the inputs, the note alone was read by no step."""
    assert ctx.provenance.unread_inputs == ("note",)


def test_lineage(ctx: FrozenContext[Any]) -> None:
    """The accuracy was made from every key but the note, the confusion matrix and the estimate, and that from six."""
    sources = ctx.provenance.lineage.sources

    assert set(ctx) - {"accuracy", "confusion", "note", "expected"} == sources("accuracy")
    assert {"train", "epochs", "learning_rate", "seed", "samples", "held_out"} == sources("expected")


def test_same_seed_same_figures(digits: ModuleType, brief: FrozenContext[Any], tmp_path: Path) -> None:
    """Another run from the same inputs gives the same figures and the same curve."""
    again = run(digits, tmp_path, BRIEF_INPUTS)

    assert brief.metrics.as_dict() == again.metrics.as_dict()
    assert brief["accuracy"] == again["accuracy"]
    assert np.array_equal(brief["confusion"], again["confusion"])
    assert brief.artifacts["curve.svg"].data == again.artifacts["curve.svg"].data


def test_other_seed_other_figures(digits: ModuleType, brief: FrozenContext[Any], tmp_path: Path) -> None:
    """The seed is an input like others: with another one the figures differ."""
    assert brief.metrics["loss"] != run(digits, tmp_path, {**BRIEF_INPUTS, "seed": 2}).metrics["loss"]


def test_limit(digits: ModuleType, tmp_path: Path) -> None:
    """Where the optional limit is given it is read, and only so many images are used."""
    short = run(digits, tmp_path, {**INPUTS, "limit": 300, "epochs": 1})

    assert len(short["samples"].labels) == 300
    assert short.provenance.steps[0].reads == ("limit",)
    assert short.provenance.steps[0].absent == ()


def test_page_tells_the_run(page: str, ctx: FrozenContext[Any]) -> None:
    """The page fits 80 columns uncut, with the figures that the context holds."""
    figures = [
        f"{figure:.4f}"
        for metric in ("loss", "accuracy")
        for split in ("train", "val")
        for series in [ctx.metrics.series(metric).where(split=split)]
        for figure in (series.values[0], series.best, series.last)
    ]
    rows = [line.split() for line in page.splitlines() if "minimize" in line or "maximize" in line]

    assert figures == [figure for row in rows for figure in row[4:]]
    assert f"{ctx['accuracy']:.4f}, on {ctx['confusion'].sum()} images" in page
    assert "never read   note: " in page
    assert "…" not in page


def test_page_tells_the_mistakes(page: str) -> None:
    """The page shows each mistake with the error that it raises, as a user would meet it."""
    expected = (
        ">>> ctx.fields.accuracy = 1.0\n"
        "ContextMutationError: Cannot mutate existing key: 'accuracy', written by step 'evaluate'\n"
        "\n"
        '>>> print(ctx["acuracy"])\n'
        "UnknownKeyError: 'acuracy' is not declared in Digits; did you mean 'accuracy'?\n"
        "\n"
        '>>> ctx.record("loss", 0.5, tags={"epoch": 1, "split": "trian"})\n'
        "InvalidTagError: cannot tag 'loss': 'split' should be 'train' or 'val', got 'trian' (str)\n"
    )

    assert expected == page.partition("What goes wrong\n\n")[2].partition("\nThe run is in ")[0]


def test_page_of_the_run(page: str, demo: Demo) -> None:
    """In the end there is a page of the run, and where it is is printed."""
    run = demo.folder / "runs/digits-0001.db"
    assert page.endswith(f"\nThe run is in {run}\nIts page is {run.with_suffix('.html')}\n")
    assert "<title>digits-0001</title>" in (demo.folder / "runs/digits-0001.html").read_text(encoding="utf-8")


def test_mistakes_change_nothing(digits: ModuleType, ctx: FrozenContext[Any]) -> None:
    """After a mistake the context holds what it held."""
    before, accuracy = ctx.metrics.as_dict(), ctx["accuracy"]
    with pytest.raises(ContextMutationError):
        digits.write_twice(ctx)
    with pytest.raises(KeyError):
        digits.misspell_a_key(ctx)
    with pytest.raises(ValueError, match="trian"):
        digits.misspell_a_tag(ctx)

    assert accuracy == ctx["accuracy"]
    assert before == ctx.metrics.as_dict()


def measured(folder: Path, metric: str) -> int:
    """Return how many points of a metric the run in a folder has so far."""
    try:
        return len(load_run(find_run(folder / "runs", "digits")).metrics[metric])
    except RunNotFoundError:
        return 0


def start(folder: Path, *arguments: str, stops_in: str = "") -> ForkProcess:
    """Start the example in a copy of this process, which has imported scikit-learn."""
    process = FORK.Process(target=play, args=(folder, arguments, stops_in))
    process.start()
    return process


def play(folder: Path, arguments: tuple[str, ...], stops_in: str) -> None:
    digits: Any = import_module("digits")
    os.setsid()
    os.chdir(folder)
    os.environ["COLUMNS"] = "80"
    sys.argv = ["digits.py", *arguments]
    # `demo` spawns the workers, and each imports scikit-learn. These are copies too.
    digits.get_context = lambda _: FORK
    if stops_in:
        digits.accuracy_score = stopping(digits.accuracy_score, in_workers=stops_in == "validate")
    with open(PRINTED, "w", encoding="utf-8") as printed, redirect_stdout(printed):
        digits.main()


def stopping(score: Callable[..., float], *, in_workers: bool) -> Callable[..., float]:
    """Return a function that hangs after 40 calls in one process: in the middle of its second fold, or of `fit`."""
    main, calls = os.getpid(), count(1)

    def stop(*given: Any) -> float:
        if (os.getpid() != main) == in_workers and next(calls) > 40:
            time.sleep(600)
        return score(*given)

    return stop


@pytest.mark.parametrize(("step", "metric"), [("validate", "score"), ("fit", "loss")])
@pytest.mark.usefixtures("digits")
def test_goes_on_after_a_kill(tmp_path: Path, ctx: FrozenContext[Any], step: str, metric: str) -> None:
    """Killed in the middle of a step and resumed, the run goes on, and ends with what an unbroken run ends with."""
    killed = start(tmp_path, stops_in=step)
    while measured(tmp_path, metric) < 4:
        assert killed.is_alive()
        time.sleep(0.02)
    killed.kill()
    killed.join()
    path = find_run(tmp_path / "runs", "digits")
    died = load_run(path)
    resumed = start(tmp_path, "--resume")
    resumed.join()
    # The workers of the one that was killed would wait for ever.
    assert killed.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(killed.pid, signal.SIGKILL)

    assert 0 == resumed.exitcode
    run: Run[Any] = load_run(path)
    assert ("died", "finished") == (died.status, run.status)
    assert step not in [record.name for record in died.provenance.steps]
    assert STEPS == [record.name for record in run.provenance.steps]
    assert [step] == [attempt.step for attempt in run.dead_attempts]
    assert [1] * 5 == [[attempt.step for attempt in run.attempts].count(name) for name in STEPS[2:7]]
    assert ctx["expected"] == run.values["expected"]
    assert ctx["accuracy"] == run.values["accuracy"]
    assert np.array_equal(ctx["confusion"], run.values["confusion"])
    assert ctx.metrics.as_dict() == run.metrics.as_dict()
    assert ctx.artifacts["curve.svg"].data == run.artifacts["curve.svg"].data
