import os
import pickle
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from crystallize import EarlyRead, FrozenContext, Lineage, LoggingContext, Output, Shared, StepRecord, UnknownKeyError


class Train(BaseModel):
    lr: float
    epochs: int = 3
    seed: int = 0
    data: list[int]
    model: Annotated[list[int] | None, Output] = None
    accuracy: float


def trained() -> FrozenContext[Train]:
    """A run: `load` writes data, `fit` makes a model of data and lr, `evaluate` an accuracy of data and model."""
    ctx = FrozenContext[Train]({"lr": 0.1, "seed": 7})
    with ctx.step("load") as load:
        load.get("model")
        load["data"] = [1, 2]
    with ctx.step("fit") as fit:
        fit["model"] = [fit["lr"] > 0, *fit["data"]]
    with ctx.step("evaluate") as evaluate:
        assert "accuracy" not in evaluate
        evaluate["accuracy"] = len(evaluate["data"]) / len(evaluate.fields.model or ())
    return ctx


def test_steps_are_on_record() -> None:
    """Each step's record has its name, what it read, missed, wrote, and when it ran."""
    ctx = trained()
    facts = [(record.name, record.reads, record.absent, record.writes, record.error) for record in ctx.provenance.steps]
    assert [
        ("load", (), ("model",), ("data",), None),
        ("fit", ("lr", "data"), (), ("model",), None),
        ("evaluate", ("data", "model"), ("accuracy",), ("accuracy",), None),
    ] == facts
    for record in ctx.provenance.steps:
        assert record.started.tzinfo is UTC
        assert record.ended - record.started == record.duration >= timedelta(0)
    assert "Provenance(3 steps, 3 inputs)" == repr(ctx.provenance)


def test_a_record_holds_points_and_artifacts() -> None:
    """A step's record counts its points by metric and names its artifacts, and nobody else's."""
    ctx = FrozenContext({})
    ctx.record("loss", 0)
    with ctx.step("fit") as fit:
        for value in (1, 2):
            fit.record("loss", value)
        fit.record("f1", 1)
        fit.artifacts.add("a.txt", b"a")
        ctx.artifacts.add("b.txt", b"b")
        ctx.record("other", 1)
    (record,) = ctx.provenance.steps
    assert ({"loss": 2, "f1": 1}, ("a.txt",)) == (record.points, record.artifacts)
    with pytest.raises(TypeError):
        record.points["loss"] = 3  # type: ignore[index]
    with pytest.raises(AttributeError):
        record.name = "other"  # type: ignore[misc]


def test_a_record_pickles() -> None:
    """A record is the same after a pickle, its points still not to be changed."""
    ctx = FrozenContext({"a": 1})
    with ctx.step("fit") as fit:
        fit["a"]
        fit.record("loss", 1)
    (record,) = ctx.provenance.steps
    again: StepRecord = pickle.loads(pickle.dumps(record))
    assert record == again
    with pytest.raises(TypeError):
        again.points["loss"] = 3  # type: ignore[index]


def test_finished_asks_after_a_step() -> None:
    """A step is finished once it has ended, and not if an exception ended it."""
    ctx = FrozenContext({})
    with ctx.step("fit"):
        assert not ctx.provenance.finished("fit")
    with pytest.raises(RuntimeError), ctx.step("evaluate"):
        raise RuntimeError
    assert (True, False, False) == tuple(map(ctx.provenance.finished, ("fit", "evaluate", "none")))


def test_inputs_and_what_became_of_them() -> None:
    """The inputs are what the context was made with, and those that no step read are known."""
    ctx = trained()
    assert ("lr", "epochs", "seed") == ctx.provenance.inputs
    assert ("epochs", "seed") == ctx.provenance.unread_inputs
    ctx["epochs"]
    assert ("epochs", "seed") == ctx.provenance.unread_inputs
    with ctx.step("more") as more:
        more["epochs"]
    assert ["seed"] == list(ctx.provenance.unread_inputs)


def test_unwritten_are_the_declared_keys_without_a_value() -> None:
    """What is declared and not written is known, in the order of declaration."""
    ctx = FrozenContext[Train]({"lr": 0.1})
    assert ("data", "model", "accuracy") == ctx.provenance.unwritten
    ctx["model"] = [1]
    assert ["data", "accuracy"] == list(ctx.provenance.unwritten)
    assert () == FrozenContext({}).provenance.unwritten


def test_early_reads_name_reader_and_writer() -> None:
    """A key that a step looked for before it was written is told with who wrote it afterwards."""
    ctx = trained()
    assert (EarlyRead("model", "load", "fit"),) == ctx.provenance.early_reads
    free = FrozenContext({})
    with free.step("a") as step:
        step.get("x")
        step.get("never")
        assert "own" not in step
        step["own"] = 1
    free["x"] = 1
    assert (EarlyRead("x", "a", None),) == free.provenance.early_reads


def test_lineage_leads_from_key_to_key() -> None:
    """The lineage knows what each key was made from, over any number of steps, and what was made from it."""
    lineage = trained().provenance.lineage
    assert (("lr", "fit"), ("data", "fit"), ("data", "evaluate"), ("model", "evaluate")) == lineage.reads
    assert (("load", "data"), ("fit", "model"), ("evaluate", "accuracy")) == lineage.writes
    assert {"lr", "data", "model"} == lineage.sources("accuracy")
    assert {"lr", "data"} == lineage.sources("model")
    assert {"model", "accuracy"} == lineage.results("lr")
    assert set() == lineage.sources("lr") == lineage.results("accuracy") == lineage.sources("nothing")


def test_the_writer_of_a_key() -> None:
    """The step that wrote a key is known; of inputs, of nobody's writes and of nothing there is none."""
    ctx = trained()
    assert ["fit", "load", None] == [ctx.provenance.writer(key) for key in ("model", "data", "lr")]
    for question in (ctx.provenance.writer, ctx.provenance.digest):
        with pytest.raises(UnknownKeyError, match="'modle' is not declared in Train; did you mean 'model'"):
            question("modle")


def test_provenance_is_shared_by_all_handles() -> None:
    """All handles on a context have one provenance, and a copy of the context has its own."""
    ctx = trained()
    assert LoggingContext(ctx).provenance is ctx.provenance
    again = pickle.loads(pickle.dumps(ctx))
    assert ctx.provenance.steps == again.provenance.steps
    assert ("lr", "epochs", "seed") == again.provenance.inputs
    assert ctx.provenance.lineage == again.provenance.lineage
    with again.step("own"):
        pass
    assert (3, 4) == (len(ctx.provenance.steps), len(again.provenance.steps))


# Digests


class Inner(BaseModel):
    names: set[str]


@dataclass
class Point:
    labels: frozenset[str]


class Digested(BaseModel):
    number: float | None = None
    words: set[str] = set()
    inner: Inner | None = None
    point: Point | None = None
    table: dict[str, set[str]] = {}
    options: dict[str, Any] = {}


WORDS = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}

VALUES: dict[str, Any] = {
    "number": 0.1,
    "words": WORDS,
    "inner": {"names": WORDS},
    "point": {"labels": WORDS},
    "table": {"b": WORDS, "a": set()},
    "options": {"b": (1, WORDS), "a": [frozenset(WORDS)]},
}
FREE: dict[str, Any] = {
    "words": WORDS,
    "deep": {"a": [WORDS, {1, 2}], "b": frozenset({("x", "y"), ("z", "w")})},
    "inner": Inner(names=WORDS),
    "models": [Inner(names=WORDS)],
    "deque": deque([WORDS]),
    "array": np.arange(6.0).reshape(2, 3),
}


def digests() -> dict[str, str | None]:
    typed = FrozenContext[Digested](VALUES)
    free = FrozenContext(FREE)
    found = {f"typed {key}": typed.provenance.digest(key) for key in typed}
    return found | {f"free {key}": free.provenance.digest(key) for key in free}


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_digest_is_the_same_in_every_process(seed: str) -> None:
    """Equal values have the same digest in every process, whichever order its sets have there."""
    code = "from tests.core.test_provenance import digests; print(digests())"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert str(digests()).replace(", ", ",\n") == done.stdout.strip().replace(", ", ",\n")


def test_a_digest_is_of_the_value() -> None:
    """A digest has 128 bits in hexadecimal, is the same for equal values and goes by no order of keys."""
    digest = FrozenContext({"a": {"x": 1, "y": [2]}}).provenance.digest("a")
    assert digest is not None
    assert 32 == len(digest) == len(bytes.fromhex(digest).hex())
    assert digest == FrozenContext({"other": {"y": [2], "x": 1}}).provenance.digest("other")


def digest_of(value: Any) -> str | None:
    return FrozenContext({"v": value}).provenance.digest("v")


@pytest.mark.parametrize(
    "values",
    [
        (float("nan"), None, "NaN", "nan", 0.0),
        (1, True, 1.0, "1"),
        ([1, 2], [2, 1], {1, 2}, {"1": 2}),
        (np.zeros(2), np.zeros(3), np.zeros((1, 2)), np.zeros(2, np.float32), np.ones(2), np.zeros(2, np.int64)),
        ([None], [float("nan")], [], None),
        tuple(pd.Timestamp(f"2024-01-01 00:00:00{part}") for part in ("", ".000000001", ".000001")),
        ([pd.Timedelta(0)], [pd.Timedelta(1, "ns")], [pd.NaT]),
        (np.timedelta64(5, "ns"), np.timedelta64(5, "s"), np.timedelta64(5), np.datetime64(5, "ns"), 5),
    ],
)
def test_different_values_have_different_digests(values: tuple[Any, ...]) -> None:
    """Values that differ in content, type, shape or order have different digests."""
    found = [digest_of(value) for value in values]
    assert None not in found
    assert len(values) == len(set(found))


def test_nan_has_the_same_digest_each_time() -> None:
    """NaN, which is equal to nothing, has one digest."""
    assert digest_of([float("nan")]) == digest_of([float("nan")])


def test_equal_arrays_have_one_digest() -> None:
    """An array's digest goes by dtype, shape and content, and not by how it lies in memory."""
    array = np.arange(6).reshape(2, 3)
    assert digest_of(array) == digest_of(np.asfortranarray(array)) == digest_of(array.copy())


class Holder(TypedDict):
    token: SecretStr
    model: Annotated[list[int], Shared]


class Live:
    """An object that has no JSON."""


def ring() -> list[Any]:
    items: list[Any] = [{1}]
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value",
    [
        SecretStr("hunter2"),
        {"deep": [SecretStr("hunter2")]},
        Live(),
        [Live()],
        {Live()},
        np.array([object()], dtype=object),
        b"\xff\xfe",
        ring(),
    ],
)
def test_what_has_no_digest(value: Any) -> None:
    """What holds a secret, and what has no JSON, has no digest."""
    assert digest_of(value) is None


def test_no_digest_by_the_schema() -> None:
    """What the schema declares to hold a secret or to be shared has no digest; nor has what is not written."""
    ctx = FrozenContext[Holder]({"token": SecretStr("hunter2"), "model": [1]})
    assert [None, None] == [ctx.provenance.digest(key) for key in ("token", "model")]


def test_lineage_over_inner_steps() -> None:
    """A step may use what the steps within it and around it read, and not what their siblings do."""
    ctx = FrozenContext({"a": 1, "b": 2, "c": 3})
    with ctx.step("fit") as fit:
        fit["a"]
        with fit.step("fold-1") as first:
            first["b"]
            first["x"] = 1
        with fit.step("fold-2") as second:
            second["c"]
            second["y"] = 1
        fit["z"] = 1

    lineage = ctx.provenance.lineage
    assert {"a", "b"} == lineage.sources("x")
    assert {"a", "c"} == lineage.sources("y")
    assert {"a", "b", "c"} == lineage.sources("z")
    assert {"x", "z"} == lineage.results("b")


def reached(key: str, makers: set[tuple[str, str]], materials: set[tuple[str, str]]) -> set[str]:
    """The keys that can be reached from a key, by trying all edges until nothing new is found."""
    found = {key}
    while True:
        steps = {step for step, made in makers if made in found}
        near = {
            (other, step)
            for step in steps
            for _, other in materials
            if step == other or step.startswith(f"{other}/") or other.startswith(f"{step}/")
        }
        more = {material for material, other in materials if other in {other for other, _ in near}} - found
        if not more:
            return found - {key}
        found |= more


STEPS = st.sampled_from(["a", "a/b", "a/b/c", "a/c", "a#2", "a#2/b", "a-", "a0", "ab", "b", "b/a"])
EDGES = st.sets(st.tuples(st.sampled_from("klmnop"), STEPS), max_size=12)


@given(reads=EDGES, writes=EDGES, key=st.sampled_from("klmnop"))
def test_lineage_is_what_edges_lead_to(reads: set[tuple[str, str]], writes: set[tuple[str, str]], key: str) -> None:
    """The sources and results of a key are the keys that edges lead to, also over steps within and around others."""
    lineage = Lineage(tuple(reads), tuple((step, made) for made, step in writes))
    assert reached(key, {(step, made) for made, step in writes}, reads) == lineage.sources(key)
    assert reached(key, {(step, read) for read, step in reads}, writes) == lineage.results(key)


def filed() -> FrozenContext[Any]:
    """A run in which files are made and read: raw, clean, and a report that nobody reads."""
    ctx: FrozenContext[Any] = FrozenContext({"lr": 0.1})
    with ctx.step("load") as load:
        load.artifacts.add("raw.csv", b"1")
    with ctx.step("clean") as clean:
        assert "report.md" not in clean.artifacts
        clean.artifacts.add("clean.csv", clean.artifacts["raw.csv"].data)
    with ctx.step("fit") as fit:
        fit["model"] = [fit["lr"], fit.artifacts["clean.csv"].size]
    with ctx.step("judge") as judge:
        judge.artifacts.add("report.md", str(judge["model"]).encode())
    return ctx


def test_artifacts_are_on_record() -> None:
    """A step's record names the artifacts that it got by name, and those that it looked for in vain."""
    ctx = filed()
    facts = [(record.artifacts, record.artifact_reads, record.absent_artifacts) for record in ctx.provenance.steps]
    assert [
        (("raw.csv",), (), ()),
        (("clean.csv",), ("raw.csv",), ("report.md",)),
        ((), ("clean.csv",), ()),
        (("report.md",), (), ()),
    ] == facts


def test_lineage_leads_over_artifacts() -> None:
    """The lineage leads from a key to an artifact and from an artifact to a key, over any number of steps."""
    lineage = filed().provenance.lineage
    assert {"lr", "artifact:clean.csv", "artifact:raw.csv"} == lineage.sources("model")
    assert {"artifact:raw.csv", "artifact:clean.csv", "lr", "model"} == lineage.sources("artifact:report.md")
    assert {"artifact:clean.csv", "model", "artifact:report.md"} == lineage.results("artifact:raw.csv")
    assert frozenset() == lineage.results("artifact:report.md")


def test_artifact_that_was_looked_for_early() -> None:
    """An artifact that a step looked for before another step made it is an early read, like a key."""
    assert (EarlyRead("artifact:report.md", "clean", "judge"),) == filed().provenance.early_reads


def test_iteration_reads_artifacts() -> None:
    """A step that iterates over the artifacts has read those that it got to; the length and the text are no reads."""
    ctx = filed()
    with ctx.step("first") as first:
        _ = next(iter(first.artifacts)), len(first.artifacts), repr(first.artifacts)
    with ctx.step("all") as every:
        assert 3 == len([*every.artifacts])
    with ctx.step("none") as none:
        assert "raw.csv" in none.artifacts
        assert (5 in none.artifacts, "no/name" in none.artifacts) == (False, False)
    reads = [record.artifact_reads for record in ctx.provenance.steps[-3:]]
    assert [("raw.csv",), ("raw.csv", "clean.csv", "report.md"), ()] == reads
    assert () == ctx.provenance.steps[-1].absent_artifacts


def test_reads_outside_of_the_step() -> None:
    """What is read through the context itself is on no step's record."""
    ctx = filed()
    with ctx.step("last"):
        assert b"1" == ctx.artifacts["raw.csv"].data
    assert () == ctx.provenance.steps[-1].artifact_reads


def test_artifact_reads_of_an_open_step_travel() -> None:
    """A copy of a handle knows what was read through it."""
    ctx = filed()
    with ctx.step("last") as step:
        _ = step.artifacts["raw.csv"]
        again = pickle.loads(pickle.dumps(step))
        assert (("raw.csv",), set()) == (again.artifact_reads, again.absent_artifacts)
