"""The example of the docs, run in this process: it says the same of a run as the run's own facts."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from crystallize import ContextMutationError, FrozenContext

INPUTS = {"seed": 1, "learning_rate": 0.03, "note": "for people"}


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    """The example as a module."""
    spec = spec_from_file_location("digits", Path(__file__).parents[1] / "docs/examples/digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ctx(digits: ModuleType) -> FrozenContext[Any]:
    """The context of a whole run."""
    made: FrozenContext[Any] = digits.run(INPUTS)
    return made


@pytest.fixture
def page(digits: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the example prints on 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    digits.main()
    return capsys.readouterr().out


def test_steps_in_order(ctx: FrozenContext[Any]) -> None:
    """The steps ran in the order of the pipeline, each to its end."""
    steps = ctx.provenance.steps

    assert [step.name for step in steps] == ["load", "split", "fit", "evaluate"]
    assert [step.error for step in steps] == [None] * 4
    assert all(step.duration.total_seconds() > 0 for step in steps)


@pytest.mark.parametrize(
    ("step", "reads", "absent", "writes", "artifacts"),
    [
        ("load", set(), ("limit",), ("samples",), ()),
        ("split", {"samples", "seed", "held_out"}, (), ("test", "val", "train"), ()),
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
    assert 2 * epochs == ctx.provenance.steps[2].points[metric]


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
    """The accuracy was made from every other key that is there, but for the note and the confusion matrix."""
    assert set(ctx) - {"accuracy", "confusion", "note"} == ctx.provenance.lineage.sources("accuracy")


def test_same_seed_same_figures(digits: ModuleType, ctx: FrozenContext[Any]) -> None:
    """Another run from the same inputs gives the same figures and the same curve."""
    again = digits.run(INPUTS)

    assert ctx.metrics.as_dict() == again.metrics.as_dict()
    assert ctx["accuracy"] == again["accuracy"]
    assert np.array_equal(ctx["confusion"], again["confusion"])
    assert ctx.artifacts["curve.svg"].data == again.artifacts["curve.svg"].data


def test_other_seed_other_figures(digits: ModuleType, ctx: FrozenContext[Any]) -> None:
    """The seed is an input like others: with another one the figures differ."""
    assert ctx.metrics["loss"] != digits.run({**INPUTS, "seed": 2}).metrics["loss"]


def test_limit(digits: ModuleType) -> None:
    """Where the optional limit is given it is read, and only so many images are used."""
    short = digits.run({**INPUTS, "limit": 300, "epochs": 1})

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

    assert expected == page.partition("What goes wrong\n\n")[2]


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
