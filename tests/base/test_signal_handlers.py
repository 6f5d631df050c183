"""Exceptions that a signal handler raises are told from all others, and come out of recording, writing and sinks."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, field_serializer

from crystallize import FrozenContext, Journal, Metric, MetricSchema, load_run, register
from crystallize._base import object_folder
from crystallize._base.object_folder import ObjectFolder
from crystallize._base.signal_handlers import is_raised_by_handler
from crystallize._core import pandas_codecs
from crystallize._core.codec import any_key, decode, encode
from crystallize._core.value_codecs import library
from crystallize._journal import fast_handler
from crystallize._journal.event_intake import EventIntake
from crystallize._journal.run_writer import RunWriter
from crystallize.sinks.memory import MemorySink
from tests.interruption import called_at


class TookTooLong(Exception):
    pass


calls: list[int] = []


def end(number: int, frame: FrameType | None) -> None:
    calls.append(number)
    raise TookTooLong


class Ender:
    def end(self, number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    def __call__(self, number: int, frame: FrameType | None) -> None:
        end(number, frame)


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, end)
    yield
    signal.signal(signal.SIGUSR1, before)


def caught(act: Callable[[], object]) -> BaseException:
    try:
        act()
    except TookTooLong as error:
        return error
    raise AssertionError("nothing came")


@pytest.mark.parametrize("handler", [end, Ender().end, Ender()])
def test_told_apart(handler: Any) -> None:
    """Whatever a handler is, an exception that it raises is known; the same type, raised by other code, is not."""
    signal.signal(signal.SIGUSR1, handler)
    assert is_raised_by_handler(caught(partial(signal.raise_signal, signal.SIGUSR1)))

    def other() -> None:
        raise TookTooLong

    assert not is_raised_by_handler(caught(other))
    assert not is_raised_by_handler(ValueError())


def raising_at(patch: pytest.MonkeyPatch, owner: Any, name: str, *, is_after: bool) -> None:
    """Let a signal come once, before or after a function does its work."""
    real = getattr(owner, name)
    signals = iter([signal.SIGUSR1])

    def function(*given: Any) -> Any:
        result = real(*given) if is_after else None
        for number in signals:
            signal.raise_signal(number)
        return result if is_after else real(*given)

    patch.setattr(owner, name, function)


class LossMetrics(MetricSchema):
    loss = Metric(float)


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize(
    ("owner", "name"), [(fast_handler, "to_json"), (EventIntake, "take"), (RunWriter, "append"), (Journal, "handle")]
)
def test_comes_out_of_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, is_after: bool
) -> None:
    """The exception comes out as it is, after the journal has the point and the artifact once."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=LossMetrics)
        for at in range(2):
            with monkeypatch.context() as patch:
                raising_at(patch, owner, name, is_after=is_after)
                with suppress(TookTooLong):
                    ctx.record(LossMetrics.loss, at)
                with suppress(TookTooLong):
                    ctx.artifacts.add(str(at), b"x")
    run = load_run(journal.path)
    assert (0, 1) == ctx.metrics["loss"] == run.metrics["loss"]
    assert ["0", "1"] == [artifact.name for artifact in run.artifacts]


def record(ctx: FrozenContext[Any]) -> None:
    ctx.record(LossMetrics.loss, 0.5)


def add(ctx: FrozenContext[Any]) -> None:
    ctx.metrics.series(LossMetrics.loss).add(0.5)


def write(ctx: FrozenContext[Any]) -> None:
    ctx["key"] = 0.5


def add_artifact(ctx: FrozenContext[Any]) -> None:
    ctx.artifacts.add("a.svg", b"x")


class Wrapped:
    """Its copies and its bytes are made by functions of the user."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapped) and self.number == other.number

    __hash__ = None  # type: ignore[assignment]  # as Python sets it

    def __deepcopy__(self, memo: dict[int, Any]) -> "Wrapped":
        return Wrapped(self.number)


class Serialized(BaseModel):
    number: int

    @field_serializer("number")
    def written(self, number: int) -> str:
        return str(number)


def dump(wrapped: Wrapped) -> bytes:
    return str(wrapped.number).encode()


def load(content: bytes) -> Wrapped:
    return Wrapped(int(content))


register(Wrapped, dump=dump, load=load)


def keep(value: Any) -> None:
    FrozenContext[dict[str, Any]]()["key"] = value


def store(value: Any) -> None:
    encode(any_key(), value)


def restore(value: Any) -> None:
    decode(encode(any_key(), value), any_key())


@pytest.mark.parametrize("act", [keep, store, restore])
@pytest.mark.parametrize(
    "value", [[Wrapped(1)], np.arange(3), np.array([1, None]), Serialized(number=1), {"at": datetime(2026, 1, 1)}]
)
def test_comes_out_of_copies_and_codecs(act: Callable[[Any], None], value: Any) -> None:
    """Wherever the handler raises while a value is copied or becomes bytes, that exception comes out as it is."""
    with suppress(TypeError, ValueError):
        act(value)  # so that all is imported
    at, is_called = 0, True
    while is_called:
        at += 1
        calls.clear()
        is_through = False
        with suppress(TookTooLong, TypeError, ValueError), called_at(at, partial(signal.raise_signal, signal.SIGUSR1)):
            try:
                act(value)
            except (TypeError, ValueError):
                assert not calls
                raise
            is_through = True
        is_called = bool(calls)
        assert not (is_through and is_called)
    assert at > 3


@pytest.mark.parametrize("name", ["dump", "equal", "load"])
def test_comes_out_of_registered_functions(tmp_path: Path, name: str) -> None:
    """If the handler raises in a function that was registered, it is not called a second time."""
    asked: list[str] = []
    late: list[str] = []

    class Own:
        pass

    def calls_of(function: str, result: Any) -> Any:
        asked.append(function)
        if function in late:
            signal.raise_signal(signal.SIGUSR1)
        return result

    register(
        Own,
        dump=lambda own: calls_of("dump", b""),
        load=lambda content: calls_of("load", Own()),
        equal=lambda left, right: calls_of("equal", True),
    )
    late.append(name)
    with pytest.raises(TookTooLong):
        encode(any_key(), {"own": Own()})
    assert asked.count(name) == 1


class TookTooLongToRead(OSError):
    """As TimeoutError is, which many handlers raise."""


@pytest.mark.parametrize("name", ["open_for_reading", "blocks_of"])
def test_comes_out_of_reading_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An error of the system that the handler raises is not taken for one of the disk."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TookTooLongToRead

    folder = ObjectFolder(tmp_path / "objects")
    stored = folder.put([b"content"])
    os.utime(folder.path_of(stored.digest), (5, 5))  # so that it is read
    signal.signal(signal.SIGUSR1, stop)
    monkeypatch.setattr(object_folder, name, lambda *given: signal.raise_signal(signal.SIGUSR1))
    for read in (folder.open_checked, folder.problem_of):
        with pytest.raises(TookTooLongToRead):
            read(stored)


@pytest.mark.parametrize(
    "value",
    [pd.DataFrame({"a": [1]}), pd.Index([1]), pd.Series(["a"], dtype=object)],
    ids=["frame", "index", "objects"],
)
def test_comes_out_of_the_conversion_of_frames(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    """If the handler raises while Arrow converts a column, that is not taken for an error of the column."""

    def convert(*given: object, **named: object) -> None:
        signal.raise_signal(signal.SIGUSR1)

    arrow = SimpleNamespace(Table=SimpleNamespace(from_pandas=convert), array=convert)
    monkeypatch.setattr(pandas_codecs, "library", lambda name: arrow if name == "pyarrow" else library(name))
    with pytest.raises(TookTooLong):
        encode(any_key(), value)


@pytest.mark.parametrize("has_sinks", [False, True])
@pytest.mark.parametrize("program", [record, add, write, add_artifact])
def test_comes_out_of_a_context(has_sinks: bool, program: Callable[[FrozenContext[Any]], None]) -> None:
    """Wherever the handler raises, that exception comes out, and the change took effect at most once."""
    at, is_called = 0, True
    while is_called:
        at += 1
        calls.clear()
        memory = MemorySink()
        ctx = FrozenContext(metrics=LossMetrics, sinks=(memory,) if has_sinks else ())
        is_through = False
        with suppress(TookTooLong), called_at(at, partial(signal.raise_signal, signal.SIGUSR1)):
            program(ctx)
            is_through = True
        is_called = bool(calls)
        assert is_through != is_called
        changes = len(ctx) + len(ctx.artifacts) + (len(ctx.metrics["loss"]) if "loss" in ctx.metrics else 0)
        assert changes == 1 if is_through else changes <= 1
        assert len(memory.events) == (changes if has_sinks else 0)
    assert at > 3
