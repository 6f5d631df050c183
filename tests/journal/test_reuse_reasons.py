"""Why a step of an earlier run is not taken over."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import BaseModel, SecretStr

from crystallize import (
    ContextMutationError,
    FrozenContext,
    Journal,
    KeyLookupError,
    Metric,
    MetricError,
    MetricSchema,
    Shared,
    load_run,
    register,
    step,
)
from crystallize._branches.merge import merge_earlier
from crystallize._journal import reuse, reuse_check
from crystallize._journal.earlier_run import EarlierRun

Task = Callable[[Any], Any]
Setup = Callable[[Any], object]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def no_setup(ctx: Any) -> None:
    """Do nothing before the step."""


def reason(
    task: Task,
    first: Any = None,
    second: Any = None,
    *,
    setups: tuple[Setup, Setup] = (no_setup, no_setup),
    kinds: tuple[Any, Any] = (FrozenContext, FrozenContext),
    metrics: tuple[Any, Any] = (None, None),
) -> str | None:
    """Run a task in two runs, and return why the second did not take it over."""
    for at, initial in enumerate((first, first if second is None else second)):
        with Journal.start("runs", "run", reuse=True) as journal:
            ctx = journal.context(kinds[at], initial or {}, metrics=metrics[at])
            setups[at](ctx)
            with suppress(KeyLookupError, ContextMutationError, MetricError, ValueError):
                ctx.run(task)
    found = {attempt.step: attempt for attempt in load_run(journal.path).attempts}
    return found[task.__name__].reason


def get(ctx: Any) -> Any:
    return ctx.get("x", 1)


def has(ctx: Any) -> bool:
    return "x" in ctx


def read_file(ctx: Any) -> int:
    return ctx.artifacts["a.txt"].size if "a.txt" in ctx.artifacts else 0


def has_file(ctx: Any) -> bool:
    return "a.txt" in ctx.artifacts


def count_keys(ctx: Any) -> int:
    return len([*ctx])


def write(ctx: Any) -> None:
    with suppress(ContextMutationError):
        ctx["y"] = 1


def add_file(ctx: Any) -> None:
    with suppress(ContextMutationError):
        ctx.artifacts.add("b.txt", b"1")


def fail(ctx: Any) -> None:
    raise ValueError


def go_on(ctx: Any) -> None:
    with suppress(ValueError):
        ctx.run(fail)


def see_no_series(ctx: Any) -> bool:
    return "loss" in ctx.metrics


@pytest.mark.parametrize(
    ("task", "first", "second", "expected"),
    [
        (get, {}, {"x": 3}, "x was missing, and is 3"),
        (get, {"x": 1}, {"z": 1}, "x was 1, and is missing"),
        (get, {"x": 1}, {"x": 1.0}, "x was 1, is 1.0"),
        (get, {"x": [*range(999)]}, {"x": [*range(998), 0]}, "x changed"),
        (get, {"x": "a"}, {"x": SecretStr("a")}, "x has no digest"),
        (has, {"x": 1}, {"z": 1}, "x was there, and is missing"),
        (has, {"x": 1}, {"x": 2}, None),
        (has, {}, {"x": 1}, "x was missing, and is 1"),
        (count_keys, {}, {}, "it looked at the set of keys, which has no digest"),
        (write, {}, {"y": 1}, "y, which it wrote, is written already"),
        (go_on, {}, {}, "its inner step go_on/fail failed in run-0001"),
        (fail, {}, {}, "it did not finish in run-0001 or an older run"),
        (see_no_series, {}, {}, None),
    ],
)
def test_keys(task: Task, first: Any, second: Any, expected: str | None) -> None:
    assert expected == reason(task, first, second)


@pytest.mark.parametrize(("reuse", "end"), [(True, ", nor in an older run"), ("run-0001", "")])
def test_a_parent_that_is_still_being_written(tmp_path: Path, reuse: bool | str, end: str) -> None:
    """A step may yet finish there, so the reason does not say that it did not."""
    with Journal.start(tmp_path, "run") as parent:
        parent.context(FrozenContext, {"x": 1}).run(has)
        with Journal.start(tmp_path, "run", reuse=reuse) as journal:
            ctx = journal.context(FrozenContext, {"x": 1})
            ctx.run(has)
            ctx.run(get)
    found = {attempt.step: attempt.reason for attempt in load_run(journal.path).attempts}
    assert f"it had not finished in run-0001, which was still being written{end}" == found["get"]


def adds(data: bytes) -> Setup:
    """Return a setup that adds a file."""
    return lambda ctx: ctx.artifacts.add("a.txt", data)


@pytest.mark.parametrize(
    ("task", "setups", "expected"),
    [
        (read_file, (adds(b"1"), adds(b"2")), "the artifact a.txt changed"),
        (read_file, (adds(b"1"), adds(b"1")), None),
        (read_file, (adds(b"1"), no_setup), "the artifact a.txt was there, and is missing"),
        (read_file, (no_setup, adds(b"1")), "the artifact a.txt was missing, and exists now"),
        (has_file, (adds(b"1"), adds(b"2")), None),
        (
            add_file,
            (no_setup, lambda ctx: ctx.artifacts.add("b.txt", b"1")),
            "the artifact b.txt, which it added, exists already",
        ),
    ],
)
def test_artifacts(task: Task, setups: tuple[Setup, Setup], expected: str | None) -> None:
    assert expected == reason(task, setups=setups)


def own_work(ctx: Any) -> tuple[bool, bool, int]:
    """Look at the things that an inner step has made."""
    ctx.run(write)
    ctx.run(add_file)
    ctx.record("loss", 1.0)
    return "y" in ctx, "b.txt" in ctx.artifacts, ctx["y"] + len(ctx.artifacts["b.txt"].data) + len(ctx.metrics["loss"])


def test_the_work_of_the_step_itself_does_not_count() -> None:
    assert reason(own_work) is None


running: list[Any] = []


def while_others(ctx: Any) -> int:
    """Read a series while a thread records to it."""
    first = len(ctx.metrics["loss"])
    thread = Thread(target=lambda: running[-1].record("loss", 2.0))
    thread.start()
    thread.join()
    return first + len(ctx.metrics["loss"])


def starts_series(ctx: Any) -> None:
    running.append(ctx)
    ctx.record("loss", 1.0)


def test_a_series_that_grew_meanwhile() -> None:
    assert "other steps recorded loss while it ran" == reason(while_others, setups=(starts_series, starts_series))


class Narrow(BaseModel):
    y: int = 0
    z: int | None = None


class Wide(BaseModel):
    x: int | None = None
    y: int = 0


class Loss(MetricSchema):
    loss = Metric(float)


class Other(MetricSchema):
    accuracy = Metric(float)


class Whole(MetricSchema):
    loss = Metric(int)


def records(ctx: Any) -> None:
    with suppress(MetricError):
        ctx.record("loss", 1)


def test_schemas_that_changed() -> None:
    assert "the schema does not declare x" == reason(
        get, {"x": 1}, {}, kinds=(FrozenContext[Wide], FrozenContext[Narrow])
    )


class Empty(BaseModel):
    w: int = 0


class OutNarrow(BaseModel):
    z: int


class OutWide(BaseModel):
    z: int | None


class Out(BaseModel):
    x: int


def misses(ctx: Any) -> Any:
    with suppress(KeyLookupError):
        return ctx.get("x")


def makes_z(ctx: Any) -> None:
    with suppress(KeyLookupError):
        ctx["z"] = 3


def test_keys_that_another_schema_declares() -> None:
    assert "the schema does not declare x" == reason(misses, kinds=(FrozenContext[Out], FrozenContext[Empty]))
    assert "the type of z, which it wrote, changed" == reason(
        makes_z, kinds=(FrozenContext[OutNarrow], FrozenContext[OutWide])
    )


def test_a_written_key_that_is_not_declared() -> None:
    expected = "the schema does not declare z, which it wrote"
    assert expected == reason(makes_z, kinds=(FrozenContext[OutNarrow], FrozenContext[Empty]))


def test_metrics_that_changed() -> None:
    assert "the metric loss, which it recorded, is not declared" == reason(records, metrics=(Loss, Other))


def test_the_declaration_of_a_metric_that_changed() -> None:
    assert "the declaration of loss, which it recorded, changed" == reason(records, metrics=(Loss, Whole))


def records_arrays(ctx: Any) -> int:
    for number in range(5000):
        ctx.record("plain", number)
    ctx.record("array", np.arange(3), {"at": np.float64(0.5)})
    return len(ctx.metrics["array"])


def test_many_points_and_arrays() -> None:
    assert reason(records_arrays) is None
    metrics = load_run("runs/run-0002.db").metrics
    assert 5000 == len(metrics["plain"])
    np.testing.assert_array_equal(np.arange(3), metrics["array"][0])


class Opaque:
    """No file can have it."""


def records_opaque(ctx: Any) -> None:
    ctx.record("opaque", Opaque())


def test_points_that_cannot_be_restored() -> None:
    assert "a point of opaque cannot be restored" == reason(records_opaque)


def test_a_type_of_the_result_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code has another return annotation then, so mostly that is the reason."""

    def returning(kind: Any) -> Task:
        def give(ctx: Any) -> Any:
            return 1

        give.__annotations__["return"] = kind
        return give

    monkeypatch.setattr(reuse_check, "difference_of_inputs", lambda *_: None)
    assert reason(returning(int)) is None
    with Journal.start("runs", "run", reuse=True) as journal:
        journal.context(FrozenContext).run(returning(float))
    assert ["the type of its result changed"] == [attempt.reason for attempt in load_run(journal.path).attempts]


def odd_inside(ctx: Any) -> int:
    """Finish, with an inner step whose result no file has."""
    ctx.run(give_opaque)
    return int(ctx.get("x", 0))


def give_opaque(ctx: Any) -> Any:
    return Opaque()


def test_an_inner_step_whose_result_is_lost() -> None:
    assert "x was missing, and is 1" == reason(odd_inside, {}, {"x": 1})
    found = {attempt.step: attempt.reason for attempt in load_run("runs/run-0002.db").attempts}
    assert "its result cannot be restored" == found["odd_inside/give_opaque"]


def test_a_step_whose_name_is_taken() -> None:
    def opens(ctx: Any) -> None:
        with ctx.step("get") as inner:
            inner["own"] = 1

    assert reason(get) is None
    with Journal.start("runs", "run", reuse=True) as journal:
        ctx = journal.context(FrozenContext)
        opens(ctx)
        ctx.run(get)
    found = [attempt.reason for attempt in load_run(journal.path).attempts]
    assert [None, "a step of this name has run"] == found


def test_a_conflict_with_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread writes a key between the check and the merge; so the step runs."""
    assert reason(write) is None
    merge = merge_earlier

    def late(state: Any, work: Any, returns: Any) -> None:
        running[-1]["y"] = 5
        merge(state, work, returns)

    monkeypatch.setattr(reuse, "merge_earlier", late)
    with Journal.start("runs", "run", reuse=True) as journal:
        running.append(ctx := journal.context(FrozenContext))
        ctx.run(write)
    (attempt,) = load_run(journal.path).attempts
    assert "'y'" in str(attempt.reason)
    assert 5 == ctx["y"]


def test_another_thread_takes_over_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is merged once."""
    assert reason(write) is None
    merge = merge_earlier

    def twice(state: Any, work: Any, returns: Any) -> None:
        merge(state, work, returns)
        merge(state, work, returns)

    monkeypatch.setattr(reuse, "merge_earlier", twice)
    with Journal.start("runs", "run", reuse=True) as journal:
        ctx = journal.context(FrozenContext)
        ctx.run(write)
    (attempt,) = load_run(journal.path).attempts
    assert attempt.reason is None
    assert [record.reused_from for record in ctx.provenance.steps] == ["run-0001"]


class Coded:
    """Has a codec."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coded) and other.number == self.number

    def __hash__(self) -> int:
        return self.number


broken: list[Exception] = []


def load_coded(data: bytes) -> Coded:
    if broken:
        raise broken[-1]
    return Coded(int(data))


def give_coded(ctx: Any) -> Any:
    return Coded(7)


def read_coded(ctx: Any) -> int:
    return int(ctx["x"].number) if isinstance(ctx["x"], Coded) else 0


@pytest.fixture
def coded() -> None:
    register(Coded, dump=lambda value: str(value.number).encode(), load=load_coded, freeze=lambda value: value)


@pytest.mark.usefixtures("coded")
def test_a_codec_that_fails() -> None:
    assert reason(give_coded) is None
    broken.append(ValueError("old"))
    try:
        with Journal.start("runs", "run", reuse="run-0001") as journal:
            journal.context(FrozenContext, {"x": 1}).run(give_coded)
    finally:
        broken.clear()
    (attempt,) = load_run(journal.path).attempts
    assert "its result cannot be restored" in str(attempt.reason)


def record_coded(ctx: Any) -> None:
    ctx.record("coded", Coded(7))


@pytest.mark.usefixtures("coded")
def test_a_codec_that_fails_for_a_point() -> None:
    assert reason(record_coded) is None
    broken.append(ValueError("old"))
    try:
        with Journal.start("runs", "run", reuse="run-0001") as journal:
            journal.context(FrozenContext).run(record_coded)
    finally:
        broken.clear()
    (attempt,) = load_run(journal.path).attempts
    assert str(attempt.reason).startswith("a point of coded cannot be restored")


@pytest.mark.usefixtures("coded")
def test_a_codec_that_fails_as_a_value_is_shown() -> None:
    with Journal.start("runs", "run") as journal:
        journal.context(FrozenContext, {"x": Coded(1)}).run(read_coded)
    broken.append(ValueError("old"))
    try:
        with Journal.start("runs", "run", reuse=True) as journal:
            journal.context(FrozenContext, {"x": 1}).run(read_coded)
    finally:
        broken.clear()
    (attempt,) = load_run(journal.path).attempts
    assert str(attempt.reason).startswith("x was a ")
    assert str(attempt.reason).endswith(".Coded, is 1")


def test_a_run_in_several_processes() -> None:
    """The points of earlier processes count, and those of steps that ran again do not."""

    def judge(ctx: Any) -> float:
        return float(sum(ctx.metrics["loss"]))

    def first(ctx: Any) -> None:
        ctx.record("loss", 1.0)

    def second(ctx: Any) -> None:
        ctx.record("loss", 2.0)

    with suppress(ValueError), Journal.start("runs", "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.run(first)
        with ctx.step("second") as failing:
            failing.record("loss", 5.0)
            raise ValueError
    with Journal.resume("runs/run-0001.db") as journal:
        ctx = journal.context(FrozenContext)
        ctx.run(first)
        ctx.run(second)
        assert 3.0 == ctx.run(judge)
    with Journal.start("runs", "run", reuse=True) as journal:
        ctx = journal.context(FrozenContext)
        ctx.run(first)
        ctx.run(second)
        assert 3.0 == ctx.run(judge)
    assert [None] * 3 == [attempt.reason for attempt in load_run(journal.path).attempts]


def test_a_step_that_could_not_be_taken_over_before() -> None:
    """The earlier run has no digests of it."""
    for allowed in (False, True):

        @step(reuse=allowed)
        def same(ctx: Any) -> None: ...

        with Journal.start("runs", "run", reuse=True) as journal:
            journal.context(FrozenContext).run(same)
    assert ["its task has @step(reuse=False)"] == [attempt.reason for attempt in load_run(journal.path).attempts]


def test_versions_of_a_step() -> None:
    for version in (1, 2):

        @step(version=version)
        def same(ctx: Any) -> None: ...

        found = reason(same) if version == 1 else None
    with Journal.start("runs", "run", reuse=True) as journal:
        journal.context(FrozenContext).run(same)
    assert found is None
    assert ["version was 1, is 2"] == [attempt.reason for attempt in load_run(journal.path).attempts]


def test_a_step_that_read_points_of_a_step_that_ran_again() -> None:
    """How many points it saw is not certain then."""

    def make(ctx: Any) -> None:
        ctx.record("loss", 1.0)
        ctx.artifacts.add("big.bin", bytes(1 << 21))

    def judge(ctx: Any) -> int:
        return len(ctx.metrics["loss"])

    with Journal.start("runs", "run") as journal:
        journal.context(FrozenContext).run(make)
    for path in Path("runs/objects").rglob("*"):
        if path.is_file():
            path.unlink()
    with Journal.resume("runs/run-0001.db") as journal:
        ctx = journal.context(FrozenContext)
        ctx.run(make)
        ctx.run(judge)
    with Journal.start("runs", "run", reuse=True) as journal:
        ctx = journal.context(FrozenContext)
        ctx.run(make)
        ctx.run(judge)
    found = [attempt.reason for attempt in load_run(journal.path).attempts]
    assert [None, "it read points of a step that ran again later"] == found


class Listed(BaseModel):
    x: list[int]


class ListedLive(BaseModel):
    x: Annotated[list[int], Shared]


def test_a_key_that_is_shared_now() -> None:
    expected = "the type of x changed"
    kinds = (FrozenContext[Listed], FrozenContext[ListedLive])
    assert expected == reason(get, {"x": [1]}, kinds=kinds)


def test_ignored_keys_that_were_missing() -> None:
    @step(ignore=("x",))
    def look(ctx: Any) -> Any:
        return ctx.get("x", 1), "x" in ctx

    assert reason(look, {}, {"x": 3}) is None
    assert reason(look, {"x": 3}, {"z": 1}) is None


def test_a_value_that_was_read_before_its_write_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another thread may be about to record the write. Here, the file is asked as if that had happened.
    monkeypatch.setattr(EarlierRun, "entry", lambda run, key, reader: None)
    assert reason(lr_of, {"lr": 0.1}) == "the file of run-0001 does not have lr"


def lr_of(ctx: Any) -> Any:
    return ctx["lr"]
