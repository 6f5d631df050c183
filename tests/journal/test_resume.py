"""Resuming equals never having died; and what a context holds comes back from its file."""

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crystallize import CrystallizeError, Event, FrozenContext, Journal, SinkError, load_run
from crystallize._core.equality import same
from crystallize._journal import frame_writer, run_files
from crystallize.runs import Run, verify_run

from ..core.test_state_machines import FREE, VALID, Shape
from ..profiles import examples
from .journal_runs import SMALL, copied, no_environment

SETTINGS = settings(
    max_examples=examples(60),
    # No shrinking, which takes minutes, as each example is a file or several.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    monkeypatch.setattr(frame_writer, "CAPACITY", SMALL)


class Step(NamedTuple):
    """A part of a program: it writes, records, makes files and has inner steps, in this order."""

    keys: int
    points: int
    artifacts: int
    inner: "tuple[Step, ...]"


def steps(depth: int) -> st.SearchStrategy[Step]:
    inner = st.lists(steps(depth - 1), max_size=2).map(tuple) if depth else st.just(())
    few = st.integers(0, 3)
    return st.builds(Step, few, few, few, inner)


def run_program(
    ctx: FrozenContext[Any], program: tuple[Step, ...], done: Callable[[str], bool], outer: str = ""
) -> None:
    """Do all steps of a program that are not done."""
    for at, part in enumerate(program):
        name = f"s{at}"
        path = f"{outer}/{name}" if outer else name
        if done(path):
            continue
        with ctx.step(name) as step:
            for number in range(part.keys):
                step[f"{path}.{number}"] = {"at": [number, path]}
            for number in range(part.points):
                step.record("loss", number / 3, {"at": number})
                step.record(path.replace("/", "."), number)
            for number in range(part.artifacts):
                step.artifacts.add(f"{path.replace('/', '.')}.{number}", path.encode() * number)
            step.get("lr")
            run_program(step, part.inner, done, path)
            step.record("loss", 1.5, {"at": -1})


def outside(ctx: FrozenContext[Any], program: tuple[Step, ...]) -> None:
    """Write something outside any step, where it is not there yet."""
    for key in range(len(program)):
        if f"k{key}" not in ctx:
            ctx.add(f"k{key}", [key, "outside"])
        if f"a{key}" not in ctx.artifacts:
            ctx.artifacts.add(f"a{key}", b"outside")
    for at in range(len(ctx.metrics.series("outside")), 3):
        ctx.record("outside", at)


def picture(ctx: FrozenContext[Any] | Run[Any]) -> dict[str, Any]:
    """Return what came out of a run, whatever the order in which steps were done."""
    values = dict(ctx.values) if isinstance(ctx, Run) else dict(ctx)
    points: dict[Any, list[Any]] = {}
    for name in ctx.metrics:
        for point in ctx.metrics.series(name):
            points.setdefault((name, point.step), []).append((point.value, point.tags))
    return {
        "values": {key: values[key] for key in sorted(values)},
        "points": dict(sorted(points.items(), key=repr)),
        "artifacts": sorted((artifact.name, artifact.data, artifact.step) for artifact in ctx.artifacts),
        "steps": sorted(
            (
                record.name,
                record.reads,
                record.absent,
                record.writes,
                dict(record.points),
                record.artifacts,
                record.error,
            )
            for record in ctx.provenance.steps
        ),
        "lineage": (sorted(ctx.provenance.lineage.reads), sorted(ctx.provenance.lineage.writes)),
        "inputs": ctx.provenance.inputs,
    }


class Copier:
    """A sink that keeps the files of a run as they are after some of its events."""

    def __init__(self, opened: Journal, folder: Path, deaths: set[int]) -> None:
        self.opened = opened
        self.folder = folder
        self.deaths = deaths
        self.events = 0
        self.copies: list[Path] = []

    def handle(self, event: Event) -> None:
        self.events += 1
        if self.events in self.deaths:
            self.copies.append(copied(self.opened, self.folder / f"{self.events}"))

    def close(self) -> None:
        pass


@pytest.mark.slow
@SETTINGS
@given(
    program=st.lists(steps(2), min_size=1, max_size=3).map(tuple),
    deaths=st.sets(st.integers(1, 60), min_size=1, max_size=4),
)
def test_resuming_equals_never_having_died(program: tuple[Step, ...], deaths: set[int]) -> None:
    """A program that is stopped after any event, and goes on with what has not finished, comes to the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Journal.start(folder / "whole", "run") as opened:
            copier = Copier(opened, folder, deaths)
            ctx = opened.context(FrozenContext, {"lr": 0.1}, sinks=[copier])
            outside(ctx, program)
            run_program(ctx, program, lambda path: False)
        whole = picture(ctx)
        assert same(whole, picture(load_run(opened.path, dict[str, Any])))
        for path in copier.copies:
            with Journal.resume(path) as resumed:
                again = resumed.context(FrozenContext)
                outside(again, program)
                run_program(again, program, again.provenance.finished)
            assert same(whole, picture(again))
            assert same(whole, picture(load_run(path, dict[str, Any])))
            assert () == verify_run(path)


TEXTS = st.text(max_size=4) | st.sampled_from(["**********", "crystallize.npy", "\0", "x" * 5000])
TAGS = st.dictionaries(TEXTS, st.none() | st.integers() | st.floats() | TEXTS | FREE, max_size=2)
NUMBERS = st.floats() | st.integers() | st.booleans() | st.just(10**5000) | TEXTS | FREE


class Own:
    """A value of which a file knows nothing."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    __hash__ = None  # type: ignore[assignment]  # as of most values


FREELY = FREE | TEXTS | st.just({"crystallize.npy": 0}) | st.builds(Own) | st.lists(FREE, max_size=2).map(tuple)
ACTS = st.one_of(
    st.tuples(st.just("key"), st.text("abc", min_size=1, max_size=2), FREELY),
    st.tuples(st.just("point"), st.text("abc", min_size=1, max_size=1), st.tuples(NUMBERS, TAGS)),
    st.tuples(st.just("artifact"), st.text("abc", min_size=1, max_size=2), st.binary(max_size=9)),
    st.tuples(st.just("step"), st.text("abc", min_size=1, max_size=1), st.none() | TEXTS),
)


def do_all(opened: Journal, ctx: FrozenContext[Any], acts: list[Any]) -> None:
    """Do what comes; what is refused for other reasons than the journal is not done."""
    for at, (what, name, value) in enumerate(acts):
        try:
            if what == "key":
                ctx[name] = value
            elif what == "point":
                ctx.record(name, *value)
            elif what == "artifact":
                ctx.artifacts.add(name, value)
            else:
                with ctx.step(name) as step:
                    do_all(opened, step, acts[at + 1 :])
                    if value is not None:
                        raise ZeroDivisionError(value)
                return
        except SinkError:
            raise
        except (CrystallizeError, ZeroDivisionError):
            pass


@pytest.mark.slow
@SETTINGS
@given(acts=st.lists(ACTS, max_size=12))
def test_an_untyped_context_comes_back(acts: list[Any]) -> None:
    """Whatever is done with a context without a schema, the file has it as JSON does, or names what it has not."""
    with tempfile.TemporaryDirectory() as name:
        with Journal.start(name, "run") as opened:
            ctx = opened.context(FrozenContext)
            do_all(opened, ctx, acts)
        check_back(opened, ctx, load_run(opened.path))


@pytest.mark.slow
@SETTINGS
@given(values=st.fixed_dictionaries({}, optional=VALID), acts=st.lists(ACTS, max_size=4))
def test_a_typed_context_comes_back(values: dict[str, Any], acts: list[Any]) -> None:
    """Whatever a context with a schema holds comes back equal by that schema, or is named."""
    with tempfile.TemporaryDirectory() as name:
        with Journal.start(name, "run") as opened:
            ctx = opened.context(FrozenContext[Shape])
            do_all(opened, ctx, [("key", *item) for item in values.items()] + acts)
        run = load_run(opened.path, Shape)
        check_back(opened, ctx, run)
        assert {*ctx} == {*run.values} | {*run.unrestorable}


def check_back(opened: Journal, ctx: FrozenContext[Any], run: Run[Any]) -> None:
    """Compare a context with its run."""
    assert opened._events is not None
    named = opened._events._encoder.unrestorable
    assert {*ctx} - {*run.values} == {*run.unrestorable}
    typed = load_run(opened.path, dict[str, Any]) if run.context._state.schema.name != "Shape" else run
    for key in ctx:
        if key not in run.unrestorable:
            assert same(ctx[key], typed.values[key]), (key, ctx[key], typed.values[key])
    for metric in ctx.metrics:
        if ("metric", metric) not in named:
            back = [(point.value, dict(point.tags), point.step) for point in run.metrics.series(metric)]
            assert same([(point.value, dict(point.tags), point.step) for point in ctx.metrics.series(metric)], back)
    assert [*ctx.artifacts] == [*run.artifacts]
    assert sorted((*record._replace(points=dict(record.points)),) for record in ctx.provenance.steps) == sorted(
        (*record._replace(points=dict(record.points)),) for record in run.provenance.steps
    )
    assert () == verify_run(opened.path)


def test_steps_come_back_in_the_order_in_which_they_ended(tmp_path: Path) -> None:
    """The records of steps are in one order in the context, in its file, and in the context of the run resumed."""
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        with ctx.step("outer") as outer, outer.step("inner"):
            pass
    assert ["outer/inner", "outer"] == [record.name for record in ctx.provenance.steps]
    assert ctx.provenance.steps == load_run(opened.path).provenance.steps
    with Journal.resume(opened.path) as resumed:
        assert ctx.provenance.steps == resumed.context(FrozenContext).provenance.steps


def key_not_unicode(ctx: FrozenContext[Any]) -> None:
    ctx["k"] = "\ud800"


def keys_within_not_unicode(ctx: FrozenContext[Any]) -> None:
    ctx["k"] = {"\ud800": 1}


def value_not_unicode(ctx: FrozenContext[Any]) -> None:
    ctx.record("loss", "\ud800")


def tag_not_unicode(ctx: FrozenContext[Any]) -> None:
    ctx.record("loss", 1, {"tag": "\ud800"})


def tag_name_not_unicode(ctx: FrozenContext[Any]) -> None:
    ctx.record("loss", 1, {"\ud800": 1})


def error_of_a_step_not_unicode(ctx: FrozenContext[Any]) -> None:
    with contextlib.suppress(ZeroDivisionError), ctx.step("fit"):
        raise ZeroDivisionError("\udcff")


@pytest.mark.parametrize(
    "act",
    [
        *(key_not_unicode, keys_within_not_unicode, value_not_unicode, tag_not_unicode, tag_name_not_unicode),
        error_of_a_step_not_unicode,
    ],
)
def test_text_that_is_not_unicode_breaks_no_journal(tmp_path: Path, act: Callable[[FrozenContext[Any]], None]) -> None:
    """Text that no JSON has, such as the name of a file whose bytes are no text, is at worst not restorable."""
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        act(ctx)
        ctx["after"] = 1
    assert 1 == load_run(opened.path).values["after"]
    assert () == verify_run(opened.path)


def test_an_error_that_is_not_unicode_ends_a_run(tmp_path: Path) -> None:
    """A run that fails by an error whose text is no Unicode is noted as failed, and the error comes through."""

    class OwnError(Exception):
        pass

    with pytest.raises(OwnError), Journal.start(tmp_path, "run") as opened:
        raise OwnError("\udcff")
    run = load_run(opened.path)
    assert "failed" == run.status
    assert "OwnError" in str(run.error)


def test_arguments_that_are_not_unicode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was called with the name of a file whose bytes are no text can have a journal."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "\udcff"])
    with Journal.start(tmp_path, "run") as opened:
        opened.context(FrozenContext, {"lr": 0.1})
    assert 0.1 == load_run(opened.path).values["lr"]


@pytest.mark.parametrize("tags", [{}, {"tag": 10**5000}])
def test_a_number_that_python_does_not_read_back(tmp_path: Path, tags: dict[str, Any]) -> None:
    """A point that no file gives back takes none of the others with it."""
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext, {"large": 10**5000})
        ctx.record("loss", 1.5)
        ctx.record("size", 1 if tags else 10**5000, tags)
    run = load_run(opened.path)
    assert (1.5,) == run.metrics["loss"]
    assert {"large": "int"} == run.unrestorable
    assert () == verify_run(opened.path)
