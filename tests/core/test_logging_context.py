import copy
import logging
import pickle
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, SecretStr

from crystallize import (
    AbsentKeyError,
    ArtifactAdded,
    Context,
    ContextMutationError,
    FrozenContext,
    InvalidKeyError,
    InvalidStepError,
    InvalidValueError,
    KeyWritten,
    LoggingContext,
    Metric,
    MetricRecorded,
    MetricSchema,
    SchemaError,
    SinkError,
    StepClosedError,
    StepFinished,
    StepStarted,
    UnknownKeyError,
)
from crystallize.sinks.memory import MemorySink


class Train(BaseModel):
    lr: float
    epochs: int = 3
    token: SecretStr = SecretStr("hunter2")
    data: list[int]
    accuracy: float

    @property
    def step_size(self) -> float:
        return self.lr / self.epochs


class TrainMetrics(MetricSchema):
    loss = Metric(float)


def made() -> FrozenContext[Train]:
    return FrozenContext[Train]({"lr": 0.1, "data": [1]}, metrics=TrainMetrics)


# A proxy


def test_it_is_a_context() -> None:
    """It is a `FrozenContext` and a `Context`, over the same data, metrics, artifacts and logger."""
    ctx = made()
    log = LoggingContext(ctx)
    assert isinstance(log, FrozenContext)
    assert isinstance(log, Context)
    assert log.metrics is ctx.metrics
    log.artifacts.add("a", b"1")
    assert [*log.artifacts] == [*ctx.artifacts]
    assert log.logger is ctx.logger
    with pytest.raises(InvalidValueError):
        log.add("accuracy", "much")
    log.fields.accuracy = 0.9
    ctx.record("loss", 1.0)
    assert (0.9, (1.0,)) == (ctx["accuracy"], log.metrics["loss"])
    with pytest.raises(ContextMutationError, match="Cannot mutate existing key: 'accuracy'"):
        log["accuracy"] = 0.9


READS: dict[str, tuple[Callable[[LoggingContext[Train]], Any], dict[str, Any]]] = {
    "item": (lambda log: log["lr"], {"lr": 0.1}),
    "get": (lambda log: log.get("lr", 5), {"lr": 0.1}),
    "field": (lambda log: log.fields.lr, {"lr": 0.1}),
    "getattr": (lambda log: getattr(log.fields, "lr", None), {"lr": 0.1}),
    "mutable": (lambda log: log["data"], {"data": [1]}),
    "property": (lambda log: log.fields.step_size, {"lr": 0.1, "epochs": 3}),
    "in": (lambda log: "lr" in log, {}),
    "keys": (lambda log: list(log), {}),
    "len": (len, {}),
    "repr": (repr, {}),
    "write": (lambda log: log.add("accuracy", 1.0), {}),
}
ALL: dict[str, Any] = {"lr": 0.1, "epochs": 3, "token": SecretStr("hunter2"), "data": [1]}


@pytest.mark.parametrize("way", READS)
def test_what_is_read_is_noted(way: str) -> None:
    """Each key that is read is noted with its value, and nothing that was not read."""
    act, expected = READS[way]
    log = LoggingContext(made())
    act(log)
    assert expected == log.reads
    assert dict is type(log.reads)
    assert set() == log.absent


@pytest.mark.parametrize(
    "act",
    [
        lambda log: log.as_dict(),
        lambda log: dict(log),
        lambda log: list(log.items()),
        lambda log: list(log.values()),
        lambda log: {**log},
    ],
)
def test_reading_all_is_reading_each(act: Callable[[LoggingContext[Train]], object]) -> None:
    """What returns every value counts as reading every key."""
    log = LoggingContext(made())
    act(log)
    assert ALL == log.reads


def test_a_snapshot_is_a_read_of_all() -> None:
    """A snapshot counts as reading all that it returns."""
    log = LoggingContext(made())
    log["accuracy"] = 1.0
    assert 0.1 == log.snapshot().lr
    assert {**ALL, "accuracy": 1.0} == log.reads


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda log: log.get("accuracy"), {"accuracy"}),
        (lambda log: log.get("accuracy", 1.0), {"accuracy"}),
        (lambda log: "accuracy" in log, {"accuracy"}),
        (lambda log: "never" in log, {"never"}),
        (lambda log: hasattr(log.fields, "accuracy"), {"accuracy"}),
        (lambda log: getattr(log.fields, "accuracy", None), {"accuracy"}),
        (lambda log: 5 in log, set()),
        (lambda log: hasattr(log.fields, "__array__"), set()),
    ],
)
def test_what_is_not_found_is_noted(act: Callable[[Any], object], expected: set[str]) -> None:
    """A key looked for and not found is noted as absent and not as read."""
    log = LoggingContext(made())
    act(log)
    assert ({}, expected) == (log.reads, log.absent)


@pytest.mark.parametrize(
    ("key", "error"), [("accuracy", AbsentKeyError), ("accurcy", UnknownKeyError), (5, InvalidKeyError)]
)
def test_a_read_that_fails_raises(key: Any, error: type[Exception]) -> None:
    """A read that fails raises as it does on the context itself, and is no read."""
    log = LoggingContext(made())
    with pytest.raises(error):
        log[key]
    assert {} == log.reads


def test_what_is_absent_can_be_read_later() -> None:
    """A key that was absent and is read after it was written is in both."""
    log = LoggingContext(made())
    log.get("accuracy")
    log["accuracy"] = 1.0
    log["accuracy"]
    assert ({"accuracy": 1.0}, {"accuracy"}) == (log.reads, log.absent)


def test_what_was_noted_can_be_changed_without_effect() -> None:
    """The dict of reads and the set of absent keys are the caller's own, at any depth."""
    log = LoggingContext(made())
    log["data"].append(2)
    log.get("accuracy")
    log.reads["data"].append(3)
    log.reads.clear()
    log.absent.clear()
    assert ({"data": [1]}, {"accuracy"}) == (log.reads, log.absent)


def test_a_proxy_of_a_proxy() -> None:
    """What is read through a proxy of a proxy is noted by both; what is read through the first, by it alone."""
    inner = LoggingContext(made())
    inner["epochs"]
    outer = LoggingContext(inner)
    outer["lr"]
    outer.get("accuracy")
    assert ({"epochs": 3, "lr": 0.1}, {"accuracy"}) == (inner.reads, inner.absent)
    assert ({"lr": 0.1}, {"accuracy"}) == (outer.reads, outer.absent)
    assert outer.metrics is inner.metrics


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda log: pickle.loads(pickle.dumps(log))])
def test_a_proxy_copies(copied: Callable[[LoggingContext[Train]], LoggingContext[Train]]) -> None:
    """A copy or pickle of a proxy has the same data and notes, and is independent."""
    log = LoggingContext(made())
    log["lr"]
    log.get("accuracy")
    log.record(TrainMetrics.loss, 1.0)
    again = copied(log)
    assert isinstance(again, LoggingContext)
    assert (log.reads, log.absent, log.logger) == (again.reads, again.absent, again.logger)
    again["accuracy"] = 1.0
    again["epochs"]
    again.record(TrainMetrics.loss, 2.0)
    assert ("accuracy" in log, {"lr": 0.1}, (1.0,)) == (False, log.reads, log.metrics["loss"])


def test_a_step_copies_with_its_name() -> None:
    """A copy of an open step writes in the name of that step."""
    ctx = made()
    with ctx.step("other"), ctx.step("fit") as fit:
        again = copy.deepcopy(fit)
        again["accuracy"] = 1.0
        again.record(TrainMetrics.loss, 1.0)
    assert "fit" == again.provenance.writer("accuracy")
    assert ["fit"] == [point.step for point in again.metrics.series("loss")]
    assert "accuracy" not in ctx


# Log lines


def test_a_read_is_one_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    """Each read is one line at DEBUG: the key and the value in short; what is absent is none."""
    caplog.set_level(logging.DEBUG, logger="crystallize")
    log = LoggingContext(made())
    log["lr"]
    log.fields.epochs
    log.get("accuracy", 1)
    log["token"]
    assert [
        ("crystallize", logging.DEBUG, "Read lr -> 0.1"),
        ("crystallize", logging.DEBUG, "Read epochs -> 3"),
        ("crystallize", logging.DEBUG, "Read token -> **********"),
    ] == caplog.record_tuples


class Loud:
    """A value that counts how often it is printed."""

    printed = 0

    def __deepcopy__(self, memo: object) -> "Loud":
        return self

    def __repr__(self) -> str:
        Loud.printed += 1
        raise RuntimeError("hunter2")


class Lines:
    def __repr__(self) -> str:
        return "a\nb\rc\x1b[31m\u2028d" * 100


@pytest.mark.parametrize(
    "value",
    [
        "x" * 50_000_000,
        b"x" * 50_000_000,
        "line\nbreak\r\n\x00\x1b[0m\u2028",
        "\ud800",
        Lines(),
        Loud(),
        [["deep"] * 1000] * 1000,
        {"k" * 1000 + str(at): "v" * 1000 for at in range(100)},
        10**5000,
        "\U0001f600" * 500,
        "100 %s %d",
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_one_short_line(caplog: pytest.LogCaptureFixture, value: object) -> None:
    """Whatever a value holds, its read is one printable line under 1 KB, also where its repr raises."""
    caplog.set_level(logging.DEBUG, logger="crystallize")
    LoggingContext(FrozenContext({"key": value}))["key"]
    (line,) = caplog.messages
    assert line.startswith("Read key -> ")
    assert 1024 > len(line.encode())
    assert line.isprintable()


def test_nothing_is_formatted_with_debug_off(caplog: pytest.LogCaptureFixture) -> None:
    """With DEBUG off a read prints no value."""
    caplog.set_level(logging.INFO, logger="crystallize")
    Loud.printed = 0
    LoggingContext(FrozenContext({"key": Loud()}))["key"]
    assert (0, []) == (Loud.printed, caplog.messages)


def test_it_may_have_its_own_logger(caplog: pytest.LogCaptureFixture) -> None:
    """A logger handed to it is its own; else it is the context's, and a step's is the context's too."""
    mine, theirs = logging.getLogger("mine"), logging.getLogger("theirs")
    caplog.set_level(logging.DEBUG, logger="mine")
    ctx = FrozenContext({"a": 1}, logger=theirs)
    LoggingContext(ctx, mine)["a"]
    assert [("mine", logging.DEBUG, "Read a -> 1")] == caplog.record_tuples
    assert LoggingContext(ctx).logger is theirs
    with ctx.step("fit") as step:
        assert step.logger is theirs


# Steps


def test_a_step_notes_what_is_done_through_it() -> None:
    """A step's record has what was done through the step, not what was done through the context meanwhile."""
    ctx = made()
    with ctx.step("fit") as step:
        ctx["epochs"]
        step["lr"]
        assert [] == list(ctx.provenance.steps)
    (record,) = ctx.provenance.steps
    assert ("fit", ("lr",)) == (record.name, record.reads)
    assert isinstance(step, LoggingContext)


def test_steps_nest() -> None:
    """An inner step is named after both, and each record holds its own and not its inner steps'."""
    ctx = FrozenContext({"a": 1, "b": 2})
    with ctx.step("fit") as fit:
        fit["a"]
        for fold in range(2):
            with fit.step(f"fold-{fold}") as inner:
                inner["b"]
                inner[f"score-{fold}"] = fold
                inner.record("loss", fold)
                with inner.step("deep"):
                    pass
        fit.record("loss", 9)
        fit["score"] = 1
    facts = [(record.name, record.reads, record.writes, dict(record.points)) for record in ctx.provenance.steps]
    assert [
        ("fit/fold-0/deep", (), (), {}),
        ("fit/fold-0", ("b",), ("score-0",), {"loss": 1}),
        ("fit/fold-1/deep", (), (), {}),
        ("fit/fold-1", ("b",), ("score-1",), {"loss": 1}),
        ("fit", ("a",), ("score",), {"loss": 1}),
    ] == facts


def test_a_name_used_again_counts_up() -> None:
    """A step's name used again counts up, for inner steps by their whole name."""
    ctx = FrozenContext({})
    for _ in range(3):
        with ctx.step("epoch") as epoch, epoch.step("batch"), epoch.step("batch"):
            pass
    names = {record.name for record in ctx.provenance.steps}
    steps = ("epoch", "epoch#2", "epoch#3")
    assert {*steps, *(f"{step}/batch" for step in steps), *(f"{step}/batch#2" for step in steps)} == names


@pytest.mark.parametrize("name", ["", "a/b", "a#2", "a\nb", "x" * 256, "\ud800", 5, None])
def test_a_bad_name_for_a_step(name: Any) -> None:
    """What cannot be a step's name is an error, and no step is opened."""
    ctx = FrozenContext({})
    with pytest.raises(InvalidStepError, match="cannot open step "), ctx.step(name):
        pass
    assert () == ctx.provenance.steps


def test_an_exception_closes_a_step() -> None:
    """A step that raises is closed and on record with what ended it, and keeps what it wrote."""
    ctx = FrozenContext({"token": SecretStr("hunter2")})
    error = ValueError("bad token hunter2")

    def fit() -> None:
        with ctx.step("fit") as step:
            step["a"] = 1
            raise error

    with pytest.raises(ValueError, match="bad token") as caught:
        fit()
    assert caught.value is error
    (record,) = ctx.provenance.steps
    assert ("ValueError: bad token **********", ("a",)) == (record.error, record.writes)
    assert 1 == ctx["a"]
    with pytest.raises(KeyboardInterrupt), ctx.step("stopped"):
        raise KeyboardInterrupt
    assert "KeyboardInterrupt" == ctx.provenance.steps[-1].error


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_closes_a_step() -> None:
    """A step that is ended by an exception whose text cannot be had raises that one and is on record."""
    ctx = FrozenContext({})
    with pytest.raises(UnprintableError), ctx.step("fit"):
        raise UnprintableError
    (record,) = ctx.provenance.steps
    assert str(record.error).startswith("UnprintableError")


def test_writes_through_a_proxy_of_a_step_are_the_steps() -> None:
    """What is read and written through a proxy of a step is on that step's record."""
    ctx = FrozenContext({"a": 1})
    with ctx.step("fit") as step:
        log = LoggingContext(step)
        log["b"] = log["a"]
        log.record("loss", 1)
        log.artifacts.add("x", b"")
    (record,) = ctx.provenance.steps
    assert (("a",), ("b",), {"loss": 1}, ("x",)) == (record.reads, record.writes, record.points, record.artifacts)


def test_a_write_that_failed_is_not_on_record() -> None:
    """A write that was refused is none of the step's writes."""
    ctx = made()
    with ctx.step("fit") as step:
        for key, value in [("lr", 0.2), ("accuracy", "much"), ("accurcy", 1.0)]:
            with pytest.raises((ContextMutationError, InvalidValueError, UnknownKeyError)):
                step[key] = value
        with pytest.raises(InvalidKeyError):
            step[5] = 1  # type: ignore[index]
    assert () == ctx.provenance.steps[0].writes


USES: dict[str, Callable[[LoggingContext[Train]], object]] = {
    "item": lambda step: step["lr"],
    "undeclared item": lambda step: step["zzz"],
    "get": lambda step: step.get("accuracy", 1),
    "in": lambda step: "lr" in step,
    "not in": lambda step: "zzz" in step,
    "iter": iter,
    "len": len,
    "keys": lambda step: list(step.keys()),
    "values": lambda step: list(step.values()),
    "items": lambda step: list(step.items()),
    "dict": lambda step: dict(step),
    "as_dict": lambda step: step.as_dict(),
    "snapshot": lambda step: step.snapshot(),
    "field": lambda step: step.fields.lr,
    "property": lambda step: step.fields.step_size,
    "write": lambda step: step.add("accuracy", 1.0),
    "write again": lambda step: step.add("lr", 1.0),
    "write field": lambda step: setattr(step.fields, "accuracy", 1.0),
    "record": lambda step: step.record("loss", 1.0),
    "record badly": lambda step: step.record("zzz", 1.0),
    "metrics": lambda step: step.metrics.add(TrainMetrics.loss, 1.0),
    "series": lambda step: step.metrics.series("loss").add(1.0, None),
    "narrowed series": lambda step: step.metrics.series("loss").where().add(1.0, None),
    "bind": lambda step: step.metrics.series("loss").bind(None),
    "artifact": lambda step: step.artifacts.add("x", b""),
    "clear": lambda step: step.artifacts.clear(),
    "step": lambda step: step.step("inner").__enter__(),
    "proxy": lambda step: LoggingContext(step)["lr"],
    "proxy write": lambda step: LoggingContext(step).add("accuracy", 1.0),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("error", [None, RuntimeError()])
def test_a_closed_step_cannot_be_used(use: str, error: Exception | None) -> None:
    """Any use of a step after it ended is an error that names it, and nothing happens."""
    ctx = made()
    ctx.artifacts.add("kept", b"")
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(RuntimeError)) if error else None
        step = stack.enter_context(ctx.step("fit"))
        if error:
            raise error
    with pytest.raises(StepClosedError, match="step 'fit' has ended"):
        USES[use](step)
    assert ["lr", "epochs", "token", "data"] == list(ctx)
    assert ((), 1, 1) == (ctx.metrics["loss"], len(ctx.artifacts), len(ctx.provenance.steps))
    assert ({}, set()) == (step.reads, step.absent)


def test_what_a_step_handed_out_closes_with_it() -> None:
    """A series, a bound recorder, a view and a proxy obtained in a step fail once it has ended."""
    ctx = made()
    with ctx.step("fit") as step:
        series = step.metrics.series(TrainMetrics.loss)
        bound, metrics, artifacts, fields, log = (
            series.bind(None),
            step.metrics,
            step.artifacts,
            step.fields,
            LoggingContext(step),
        )
        inner = step.step("inner")
    acts: list[Callable[[], object]] = [
        lambda: series.add(1.0),
        lambda: series.bind(None),
        lambda: bound(1.0),
        lambda: metrics.add("loss", 1.0),
        lambda: artifacts.add("x", b""),
        lambda: fields.lr,
        lambda: log["lr"],
        lambda: log.add("accuracy", 1.0),
        inner.__enter__,
    ]
    for act in acts:
        with pytest.raises(StepClosedError):
            act()
    assert ((), False) == (ctx.metrics["loss"], "accuracy" in ctx)


def test_the_notes_of_a_closed_step_can_be_looked_at() -> None:
    """What a step read and missed can be looked at after it ended, and it still prints."""
    ctx = made()
    with ctx.step("fit") as step:
        step["lr"]
        step.get("accuracy")
    assert ({"lr": 0.1}, {"accuracy"}) == (step.reads, step.absent)
    assert repr(step).startswith("LoggingContext[Train](lr=0.1")


def test_an_outer_step_may_close_first() -> None:
    """An inner step goes on if its outer one ended before it."""
    ctx = FrozenContext({})
    outer = ctx.step("outer")
    inner = outer.__enter__().step("inner")
    step = inner.__enter__()
    outer.__exit__(None, None, None)
    step["a"] = 1
    inner.__exit__(None, None, None)
    assert [("outer", ()), ("outer/inner", ("a",))] == [(record.name, record.writes) for record in ctx.provenance.steps]


closing: list[Callable[[], object]] = []


def close_step(value: float) -> float:
    closing.pop()()
    return value


class Closing(BaseModel):
    a: Annotated[float, AfterValidator(close_step)]


class ClosingMetrics(MetricSchema):
    loss = Metric(Annotated[float, AfterValidator(close_step)])


@pytest.mark.parametrize(
    "use",
    [
        lambda step: step.add("a", 1.0),
        lambda step: step.record("loss", 1.0),
        lambda step: step.metrics.series("loss").bind(None)(1.0),
    ],
)
def test_a_step_that_ends_in_the_middle_of_a_use(use: Callable[[LoggingContext[Closing]], object]) -> None:
    """Where a step ends while something is being validated, that is an error and nothing happens."""
    ctx = FrozenContext[Closing]({}, metrics=ClosingMetrics)
    opened = ctx.step("fit")
    step = opened.__enter__()
    closing.append(lambda: opened.__exit__(None, None, None))
    with pytest.raises(StepClosedError, match="step 'fit' has ended"):
        use(step)
    assert (False, 0) == ("a" in ctx, len(ctx.metrics))


# Events


def test_sinks_are_told_in_order() -> None:
    """A sink is told all that happens, in order: inputs, steps, keys, points with positions, artifacts."""
    sink = MemorySink()
    ctx = FrozenContext({"a": 1}, sinks=[sink])
    with ctx.step("fit") as fit:
        fit["a"]
        fit["b"] = [2]
        fit.record("loss", [0.5], {"path": ["x"]})
        fit.metrics.series("loss").bind({"e": 2})(0.25)
        with fit.step("inner") as inner:
            inner.get("never")
            inner.artifacts.add("x", b"y")
    ctx.record("loss", 1)
    ctx["c"] = 3
    inner_record, record = ctx.provenance.steps
    assert [
        KeyWritten("a", 1, None, is_input=True),
        StepStarted("fit", record.started),
        KeyWritten("b", [2], "fit"),
        MetricRecorded("loss", [0.5], {"path": ["x"]}, "fit", 0),
        MetricRecorded("loss", 0.25, {"e": 2}, "fit", 1),
        StepStarted("fit/inner", inner_record.started),
        ArtifactAdded("x", b"y", "fit/inner"),
        StepFinished(
            "fit/inner", (), ("never",), (), {}, ("x",), inner_record.started, inner_record.ended, inner_record.error
        ),
        StepFinished("fit", ("a",), (), ("b",), {"loss": 2}, (), record.started, record.ended, None),
        MetricRecorded("loss", 1, {}, None, 2),
        KeyWritten("c", 3, None),
    ] == sink.events


def test_sinks_hear_nothing_of_what_failed() -> None:
    """What was refused is told to no sink."""
    sink = MemorySink()
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
    told = len(sink.events)
    acts: list[Callable[[], object]] = [
        lambda: ctx.add("lr", 1.0),
        lambda: ctx.add("accuracy", "much"),
        lambda: ctx.record("loss", "much"),
        lambda: ctx.record("zzz", 1.0),
    ]
    for act in acts:
        with pytest.raises(Exception, match=r"lr|accuracy|loss|zzz"):
            act()
    assert told == len(sink.events)


def test_what_a_sink_was_told_is_its_own() -> None:
    """A sink that changes what it was told changes nothing in the context."""
    sink = MemorySink()
    ctx = FrozenContext({"a": [1]}, sinks=[sink])
    ctx.record("loss", [1], {"path": [1]})
    written, point = sink.events
    assert isinstance(written, KeyWritten)
    assert isinstance(point, MetricRecorded)
    written.value.append(2)
    point.value.append(2)
    dict(point.tags)["path"].append(2)
    assert ([1], ([1],), ({"path": [1]},)) == (ctx["a"], ctx.metrics["loss"], ctx.metrics.get_tags("loss"))


class FailingSink(MemorySink):
    def handle(self, event: object, /) -> None:
        if isinstance(event, KeyWritten | MetricRecorded | StepFinished):
            raise OSError("disk full")


def test_what_a_failing_sink_did_not_take_is_on_record() -> None:
    """Where a sink fails, what took effect in the context is on the step's record all the same."""
    ctx = FrozenContext({}, sinks=[FailingSink()])
    opened = ctx.step("fit")
    fit = opened.__enter__()
    with pytest.raises(SinkError, match="KeyWritten 'a' took effect"):
        fit["a"] = 1
    with pytest.raises(SinkError, match=r"MetricRecorded 'loss' took effect.*FailingSink raised OSError: disk full"):
        fit.record("loss", 1)
    with pytest.raises(SinkError, match="StepFinished"):
        opened.__exit__(None, None, None)
    (record,) = ctx.provenance.steps
    assert (("a",), {"loss": 1}, None) == (record.writes, record.points, record.error)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_a_copy_of_a_closed_step_is_closed(copied: Callable[[Any], Any]) -> None:
    """A copy of a step is as open or closed as the step is."""
    with FrozenContext({"lr": 0.1}).step("fit") as step:
        step["lr"]
        during = copied(step)
    after = copied(step)

    assert 0.1 == during["lr"]
    assert {"lr": 0.1} == after.reads
    with pytest.raises(StepClosedError, match="step 'fit' has ended"):
        after["lr"]


def test_what_cannot_be_watched() -> None:
    """Only a context can be watched."""
    with pytest.raises(SchemaError, match=r"it watches a FrozenContext, not \{'a': 1\}"):
        LoggingContext({"a": 1})  # type: ignore[arg-type]  # what the test is about


def test_a_step_that_ends_while_it_is_written_to() -> None:
    """All that other threads wrote through a step before it ended is in its record; what came later was refused."""
    for _ in range(20):
        ctx = FrozenContext()
        refused: list[str] = []
        with ExitStack() as stack:
            step = stack.enter_context(ctx.step("fit"))

            def write(thread: int, step: Any = step, refused: list[str] = refused) -> None:
                for n in range(200):
                    try:
                        step[f"{thread}-{n}"] = n
                        step.record("m", n)
                    except StepClosedError:
                        refused.append(f"{thread}-{n}")
                        return

            threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        assert set(ctx) == set(ctx.provenance.steps[0].writes)
