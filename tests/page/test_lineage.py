"""The rows and columns of a lineage."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from crystallize._page.lineage import LineageLayout, lineage_layout
from crystallize._tables.run_description import MadeArtifact, StepAttempt

from .descriptions import run, step


def laid_out(*steps: StepAttempt, inputs: Iterable[str] = (), values: Iterable[str] = ()) -> LineageLayout:
    return lineage_layout(run(*steps, inputs=inputs, values=values))


def test_lineage_from_key_to_step_to_key() -> None:
    """A key has the step that wrote it and those that read it, and its kin over any number of steps."""
    load = step("load", 0, 1, reads=("path",), writes=("rows",))
    fit = step("fit", 1, 2, reads=("rows", "lr"), writes=("model",))
    found = laid_out(load, fit, inputs=("path", "lr", "note"), values=("rows", "model"))

    assert ["load", "fit"] == [column.label for column in found.columns]
    assert [(0, 3), (1, 4)] == [(column.first, column.last) for column in found.columns]
    rows = {row.key: (row.writer, row.readers, row.related) for row in found.rows}
    assert {
        "path": (None, (0,), (3, 4)),
        "lr": (None, (1,), (4,)),
        "note": (None, (), ()),
        "rows": (0, (1,), (0, 4)),
        "model": (1, (), (0, 1, 3)),
    } == rows


def test_steps_that_did_alike() -> None:
    """Steps that differ by a number alone are one column; by what they read, they are not."""
    folds = [step(f"tune/fold-{n}", 0, n + 1, reads=("lr",)) for n in range(12)]
    odd = step("tune/fold-12", 0, 20, reads=("seed",))

    assert ["tune/fold-0…11", "tune/fold-12"] == [
        column.label for column in laid_out(*folds, odd, inputs=("lr", "seed")).columns
    ]


def test_step_around_others() -> None:
    """What a step within another one has read may be in what that wrote."""
    inner, outer = step("tune/fold", 0, 1, reads=("lr",)), step("tune", 0, 2, writes=("score",))
    lr, score = laid_out(inner, outer, inputs=("lr",), values=("score",)).rows

    assert ((0,), (1,), (0, 1)) == (lr.readers, lr.indirect_readers, lr.steps)
    assert (1, (0,)) == (score.writer, score.related)


def test_key_that_is_not_in_the_run() -> None:
    """A step may have read a key that the run does not hold, as it was done again; it has no row."""
    found = laid_out(step("fit", reads=("gone",)), inputs=("lr",))

    assert [(0, 0)] == [(column.first, column.last) for column in found.columns]
    assert [()] == [row.readers for row in found.rows]


@pytest.mark.slow
def test_large_lineage() -> None:
    """A lineage too large to be seen is cut, and says by how much."""
    steps = [step(f"{n}.", n, n + 1, reads=(f"k{n}",), writes=(f"k{n + 1}",)) for n in range(200)]
    found = laid_out(*steps, inputs=("k0",), values=[f"k{n + 1}" for n in range(200)])

    assert (60, 120, 140 + 81) == (len(found.columns), len(found.rows), found.left_out)


def test_artifacts_are_rows() -> None:
    """An artifact is a row like a key, and steps whose files nobody reads share a column."""
    epochs = [step(f"epoch-{n}", n, n + 1, reads=("lr",), artifacts=(f"{n}.bin",)) for n in range(3)]
    judge = step("judge", 8, 9, artifact_reads=("2.bin",), writes=("score",))
    made = replace(
        run(*epochs, judge, inputs=("lr",), values=("score",)),
        artifacts=tuple(MadeArtifact(f"{n}.bin", 1, f"epoch-{n}") for n in range(3)),
    )
    found = lineage_layout(made)

    assert ["epoch-0…1", "epoch-2", "judge"] == [column.label for column in found.columns]
    assert {
        "lr": (None, (0, 1), (1, 2, 3, 4)),
        "score": (2, (), (0, 4)),
        "artifact:0.bin": (0, (), (0,)),
        "artifact:1.bin": (0, (), (0,)),
        "artifact:2.bin": (1, (2,), (0, 1)),
    } == {row.key: (row.writer, row.readers, row.related) for row in found.rows}
