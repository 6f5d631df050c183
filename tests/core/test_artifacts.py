"""Artifacts: bytes under a name, once."""

import copy
import ntpath
import pickle
from array import array
from contextlib import ExitStack
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystallize import (
    Artifact,
    ArtifactAdded,
    ArtifactLog,
    ContextMutationError,
    FrozenContext,
    InvalidArtifactError,
    LoggingContext,
    SinkError,
    StepClosedError,
)
from crystallize._core.artifacts import ArtifactStore
from crystallize.sinks.memory import MemorySink


class Names(StrEnum):
    PLOT = "plot.svg"


class Odd(str):
    """A str that is equal to nothing."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 7


class Failing:
    def handle(self, event: object, /) -> None:
        raise OSError("disk full")

    def close(self) -> None:
        pass


def made(**files: bytes) -> ArtifactLog:
    log = ArtifactLog()
    for name, data in files.items():
        log.add(name, data)
    return log


def test_adds() -> None:
    """What is added is there, in order, with the step that made it."""
    ctx = FrozenContext()
    ctx.artifacts.add("plot.svg", b"<svg/>")
    with ctx.step("fit") as step:
        step.artifacts.add("model.bin", b"\x00")
        assert 2 == len(step.artifacts)

    assert [Artifact("plot.svg", b"<svg/>", None), Artifact("model.bin", b"\x00", "fit")] == list(ctx.artifacts)
    assert Artifact("model.bin", b"\x00", "fit") == ctx.artifacts["model.bin"]
    assert 2 == len(ctx.artifacts)


def test_is_found_by_name() -> None:
    """`in` says whether there is an artifact of a name, whatever is asked for."""
    log = made(a=b"")

    assert "a" in log
    assert "b" not in log
    assert 5 not in log
    assert [] not in log


def test_absent_artifact() -> None:
    """Looking up what is not there is a KeyError that names the nearest."""
    log = made(plot=b"", model=b"")

    with pytest.raises(KeyError, match=r"no artifact is named 'plott'; did you mean 'plot'\?"):
        log["plott"]
    with pytest.raises(KeyError, match="no artifact is named 'zzzzzz'"):
        log["zzzzzz"]
    with pytest.raises(KeyError, match="no artifact is named 5"):
        log[5]  # type: ignore[index]  # what a script without a checker may do


@pytest.mark.parametrize("name", [Names.PLOT, Odd("plot.svg")], ids=["enum", "odd"])
def test_name_is_a_plain_str(name: str) -> None:
    """A subclass of str is kept as the plain str that it holds, and found by either."""
    log = ArtifactLog()
    log.add(name, b"1")

    assert [str] == [type(artifact.name) for artifact in log]
    assert "plot.svg" in log
    assert name in log
    assert b"1" == log[name].data
    with pytest.raises(ContextMutationError):
        log.add(name, b"2")


@pytest.mark.parametrize(
    "data",
    [b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"aXbX")[::2], memoryview(array("B", b"ab"))],
    ids=["bytes", "bytearray", "memoryview", "strided", "array"],
)
def test_takes_bytes(data: Any) -> None:
    """Whatever is bytes is taken, and handed out as bytes."""
    log = ArtifactLog()
    log.add("a", data)

    assert b"ab" == log["a"].data
    assert bytes is type(log["a"].data)


def test_keeps_its_own_bytes() -> None:
    """What the writer does to its buffer afterwards changes nothing."""
    log, buffer = ArtifactLog(), bytearray(b"ab")
    views: list[Any] = [buffer, memoryview(buffer)]
    for name, view in zip("ab", views, strict=True):
        log.add(name, view)
    buffer[:] = b"cd"

    assert [b"ab", b"ab"] == [artifact.data for artifact in log]


@pytest.mark.parametrize("data", ["text", None, 5, [1], array("B", b"ab")], ids=["str", "None", "int", "list", "array"])
def test_takes_nothing_but_bytes(data: Any) -> None:
    """What is not bytes is refused, by its type, and nothing is added."""
    log = ArtifactLog()
    with pytest.raises(InvalidArtifactError) as caught:
        log.add("a.txt", data)

    assert caught.value.reason.startswith("its data should be bytes, got ")
    assert caught.value.reason.endswith(f"({type(data).__name__})")
    assert 0 == len(log)


def test_released_buffer() -> None:
    """A buffer that can no longer be read is refused as any other data."""
    log = ArtifactLog()
    buffer: Any = memoryview(b"ab")
    buffer.release()
    with pytest.raises(InvalidArtifactError):
        log.add("a.txt", buffer)

    assert 0 == len(log)


PRINTABLE = "its name should be one or more printable characters"
LONG = "its name should have at most 255 bytes, and has"
PATH = "its name is a file's, never a path"
ENDS = "its name should not begin or end with a space, nor end with a dot"
RESERVED = "its name is reserved on Windows"

REFUSED = [
    *((name, PRINTABLE) for name in ("", "\0", "a\0b", "a\nb", "\x7f", "\x1b[1m", "\ud800", "a\u202eb", "\u200b")),
    *((name, LONG) for name in ("a" * 256, "a" * 300, "é" * 128, "語" * 86)),
    *((name, PATH) for name in ("a/b", "/", "/etc/passwd", "../a", "a\\b", "\\", "..\\a", "C:", "C:a", "C:\\a")),
    *((name, PATH) for name in ("a*", "a?", 'a"', "<a", "a>", "a|b", "a.txt:stream")),
    *((name, ENDS) for name in (".", "..", "...", "a.", "a..", "a ", " a", " ", "a. ")),
    *((name, RESERVED) for name in ("CON", "con", "con.txt", "Aux.tar.gz", "NUL", "prn.", "COM1", "lpt9.log")),
    *((name, RESERVED) for name in ("com¹", "LPT³.x", "CONIN$", "conout$", "con .txt", "nul  .log")),
    *((name, ENDS) for name in ("%2e", "%2e%2e", "%2E%2E", "%252e", "%252e%252e", "%25252e", "a%20", "%20a")),
    *((name, PATH) for name in ("%2f", "a%2Fb", "%5c", "%255c", "..%2fa", "C%3A", "%252fetc")),
    *((name, PRINTABLE) for name in ("%00", "a%0ab", "%2500")),
    *((name, RESERVED) for name in ("%63on", "%2563on", "con%2etxt")),
]


@pytest.mark.parametrize(("name", "reason"), REFUSED, ids=[ascii(name)[:30] for name, _ in REFUSED])
def test_refuses_name(name: str, reason: str) -> None:
    """A name that is no file's on every common system is refused, and nothing is added or told."""
    sink = MemorySink()
    ctx = FrozenContext(sinks=[sink])
    with pytest.raises(InvalidArtifactError) as caught:
        ctx.artifacts.add(name, b"")

    # `prn.` is wrong in two ways; which one is told does not matter.
    assert reason in caught.value.reason or (name == "prn." and ENDS == caught.value.reason)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert 0 == len(ctx.artifacts)
    assert [] == sink.events


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"], ("a",)], ids=["None", "int", "bytes", "list", "tuple"])
def test_refuses_what_is_no_str(name: Any) -> None:
    """A name that is no str is refused, by its type."""
    log = ArtifactLog()
    with pytest.raises(InvalidArtifactError, match=f"its name should be a str, got {type(name).__name__}"):
        log.add(name, b"")

    assert 0 == len(log)


@pytest.mark.parametrize(
    "name",
    [
        *("plot.svg", ".hidden", "a b", "a..b", "-", "~", "100%", "50%off", "report%20final.txt", "%zz", "a%ff"),
        *("console.txt", "com10", "com", "nullable", "auxiliary", "conin", "é", "語" * 85, "a" * 255, "a%2eb"),
    ],
    ids=lambda name: ascii(name)[:30],
)
def test_takes_name(name: str) -> None:
    """What any common system takes as a file's name is taken as it is."""
    log = ArtifactLog()
    log.add(name, b"")

    assert [name] == [artifact.name for artifact in log]


@settings(deadline=None)
@given(st.text(st.sampled_from("./\\:%25eEcCoOnN tT\0é"), max_size=12) | st.text(max_size=12))
def test_name_never_leaves_its_folder(name: str) -> None:
    """Whatever name is taken, it is one part of a path, and reserved nowhere."""
    log = ArtifactLog()
    try:
        log.add(name, b"")
    except InvalidArtifactError:
        assert 0 == len(log)
        return

    assert name == ntpath.basename(name)
    assert "/" not in name
    assert name not in (".", "..")
    stem = name.partition(".")[0].rstrip(" ").upper()
    assert stem not in {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}


def test_name_is_given_once() -> None:
    """A name that is taken is refused, even for the same data, and what is there stays."""
    log = made(a=b"1")
    with pytest.raises(ContextMutationError, match="Cannot mutate existing artifact: 'a' was added") as caught:
        log.add("a", b"1")

    assert "a" == caught.value.key
    assert [Artifact("a", b"1", None)] == list(log)


def test_normalization_does_not_count() -> None:
    """A name that is another's where Unicode is normalized is refused, with the characters that differ."""
    log = made(**{"\u00e9": b"1"})
    with pytest.raises(
        ContextMutationError, match=r"one file with .* where Unicode is normalized, as on macOS"
    ) as caught:
        log.add("e\u0301", b"2")

    assert "'e\\u0301' is one file with '\\xe9'" in str(caught.value)


@pytest.mark.parametrize(("first", "second"), [("Plot.svg", "plot.SVG"), ("É", "é"), ("STRASSE", "straße")])
def test_case_does_not_count(first: str, second: str) -> None:
    """A name that differs in case only is another's where case does not count, and refused."""
    log = ArtifactLog()
    log.add(first, b"1")
    with pytest.raises(ContextMutationError, match=f"'{second}' is one file with '{first}'"):
        log.add(second, b"2")

    assert [first] == [artifact.name for artifact in log]


def test_taken_by_a_step() -> None:
    """The error of a second artifact says which step added the first."""
    ctx = FrozenContext()
    with ctx.step("fit") as step:
        step.artifacts.add("a", b"")
    with pytest.raises(ContextMutationError, match="'a' was added by step 'fit'"):
        ctx.artifacts.add("a", b"")

    assert "fit" == ctx.artifacts["a"].step


def test_clear_forgets_names() -> None:
    """After `clear` there is nothing, a name can be given again, and a sink keeps what it was told."""
    sink = MemorySink()
    ctx = FrozenContext(sinks=[sink])
    ctx.artifacts.add("a", b"1")
    ctx.artifacts.clear()
    assert 0 == len(ctx.artifacts)
    assert "a" not in ctx.artifacts

    ctx.artifacts.add("a", b"2")
    assert [Artifact("a", b"2", None)] == list(ctx.artifacts)
    assert [ArtifactAdded("a", b"1", None), ArtifactAdded("a", b"2", None)] == sink.events


def test_closed_step_adds_nothing() -> None:
    """What a step handed out takes no artifacts after the step has ended, and forgets none."""
    ctx = FrozenContext()
    with ctx.step("fit") as step:
        step.artifacts.add("a", b"")
    with pytest.raises(StepClosedError):
        step.artifacts.add("b", b"")
    with pytest.raises(StepClosedError):
        step.artifacts.clear()

    assert ["a"] == [artifact.name for artifact in ctx.artifacts]


def test_one_log() -> None:
    """A LoggingContext has the artifacts of its context; that of a step knows which were read through it."""
    ctx = FrozenContext()
    with ctx.step("fit") as step:
        _read_artifacts(ctx, step, LoggingContext(step))


def _read_artifacts(ctx: FrozenContext[Any], outer: LoggingContext[Any], log: LoggingContext[Any]) -> None:
    log.artifacts.add("a", b"1")
    ctx.artifacts.add("b", b"2")

    assert [*ctx.artifacts] == [*log._state.artifact_store.in_order()]
    assert (b"2", False) == (log.artifacts["b"].data, "c" in log.artifacts)
    assert ((), set()) == (log.artifact_reads, log.absent_artifacts)
    assert (("b",), {"c"}) == (outer.artifact_reads, outer.absent_artifacts)


def test_iterates_over_what_was_there() -> None:
    """Artifacts may be added while one iterates."""
    log = made(a=b"", b=b"")
    for artifact in log:
        log.add(f"{artifact.name}2", b"")

    assert ["a", "b", "a2", "b2"] == [artifact.name for artifact in log]


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda log: pickle.loads(pickle.dumps(log))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies(copied: Any) -> None:
    """A copy holds the same, is independent, and tells no sinks."""
    sink = MemorySink()
    ctx = FrozenContext(sinks=[sink])
    with ctx.step("fit") as step:
        step.artifacts.add("a", b"1")
        told = len(sink.events)
        other: ArtifactLog = copied(step.artifacts)
    other.add("b", b"2")

    assert [Artifact("a", b"1", "fit"), Artifact("b", b"2", None)] == list(other)
    assert [Artifact("a", b"1", "fit")] == list(ctx.artifacts)
    assert told + 1 == len(sink.events)  # the step's end


def test_failing_sink() -> None:
    """An artifact that a sink failed to take is there all the same."""
    ctx = FrozenContext(sinks=[Failing()])
    with pytest.raises(SinkError, match=r"ArtifactAdded 'a' took effect.*Failing raised OSError: disk full"):
        ctx.artifacts.add("a", b"1")

    assert b"1" == ctx.artifacts["a"].data


def test_prints() -> None:
    """A log prints names and sizes, and completes names."""
    log = made(a=b"12", b=b"")

    assert "ArtifactLog(a: 2 bytes, b: 0 bytes)" == repr(log)
    assert "ArtifactLog(nothing)" == repr(ArtifactLog())
    assert ["a", "b"] == log._ipython_key_completions_()


def test_inserted_artifacts_that_are_undone() -> None:
    """An insertion that is undone leaves the artifacts as they were, also if it was interrupted before it began."""

    class Interrupting(dict[str, Artifact]):
        def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # it only raises
            raise KeyboardInterrupt

    kept, other = Artifact("a.txt", b"a", None), Artifact("b.txt", b"b", "fold-1")
    store = ArtifactStore([kept])
    with ExitStack() as undo:
        store.insert(0, 0, [other], undo)
        assert [other, kept] == store.in_order()
    assert [kept] == store.in_order()
    store.found = Interrupting(store.found)
    with pytest.raises(KeyboardInterrupt), ExitStack() as undo:
        store.insert(0, 0, [other], undo)
    assert [kept] == store.in_order()


def test_name_that_another_thread_takes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another thread takes the name while a content is stored, the first one stays, and is the step's alone."""
    ctx: FrozenContext[Any] = FrozenContext()
    ctx.artifacts.add("a", b"1")
    monkeypatch.setattr(ArtifactStore, "check_free", lambda store, name, step: None)
    with ctx.step("fit") as step:
        step.artifacts.add("b", b"1")
        for name, data in (("a", b"2"), ("b", b"1")):
            with pytest.raises(ContextMutationError, match=f"'{name}' was added"):
                step.artifacts.add(name, data)
    assert b"1" == ctx.artifacts["a"].data
    assert ("b",) == ctx.provenance.steps[0].artifacts
