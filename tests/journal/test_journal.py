"""The journal as its users meet it: starting, resuming, what is given back, and what is said when that cannot be."""

import contextlib
import copy
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import weakref
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import to_json
from typing_extensions import TypedDict

import crystallize
from crystallize import (
    DamagedRunError,
    FrozenContext,
    InvalidInitialError,
    Journal,
    JournalError,
    KeyWritten,
    Metric,
    MetricSchema,
    NotRestorable,
    ResumeError,
    Run,
    RunNotFoundError,
    SchemaError,
    Shared,
    SinkError,
    StepClosedError,
    load_run,
)
from crystallize._core.freezing import same
from crystallize._journal import database, spool
from crystallize.runs import Declared, diff_runs, find_run, list_runs, not_compared, verify_run

from ..permissions import modes_hold


class Train(BaseModel):
    lr: float
    token: SecretStr = SecretStr("")
    accuracy: float


class Tags(TypedDict):
    epoch: int


class TrainMetrics(MetricSchema):
    loss = Metric(float, tags=Tags)


def died(folder: Path, initial: dict[str, Any], kind: Any = FrozenContext, **options: Any) -> Path:
    """Write a run whose journal nobody closed."""
    journal = Journal.start(folder, "run")
    journal.context(kind, initial, **options)
    journal.flush()
    journal._finalizer()
    return journal.path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)
        Path(made).chmod(0o777)


@pytest.mark.parametrize("name", ["", "a/b", "..", "con", "a\nb", 5])
def test_name_that_no_file_can_have(tmp_path: Path, name: Any) -> None:
    """A run's name is a file's; what cannot be one is refused, and nothing is made."""
    with pytest.raises(JournalError, match="cannot name a run so"):
        Journal.start(tmp_path / "runs", name)
    assert not (tmp_path / "runs").exists()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where a file stands in place of the folder, the error names it."""
    (tmp_path / "runs").touch()
    with pytest.raises(JournalError, match="runs: the folder cannot be made"):
        Journal.start(tmp_path / "runs", "a")


def test_numbers_count_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a name are numbered; a number that somebody has taken meanwhile is passed over."""
    for _ in range(2):
        Journal.start(tmp_path, "a").close()
    Journal.start(tmp_path, "b").close()
    (tmp_path / "a-0003.spool").touch()
    monkeypatch.setattr("crystallize._journal.journal._next_number", lambda folder, name: 1)
    Journal.start(tmp_path, "a").close()

    assert ["a-0001", "a-0002", "a-0004", "b-0001"] == [run.stem for run in list_runs(tmp_path)]


@pytest.mark.parametrize("where", ["origin", "connect"])
def test_start_that_fails_leaves_no_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whatever fails in starting, the lock and the spool are given back."""

    def fail(*given: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"crystallize._journal.journal.{where}", fail)
    with pytest.raises(MemoryError):
        Journal.start(tmp_path, "run")
    assert [] == list(tmp_path.glob("*.spool*"))


def test_opening_that_fails_gives_the_lock_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that fails at its end lets the next one in."""
    path = died(tmp_path, {"lr": 0.1})
    with monkeypatch.context() as patch:
        patch.setattr(spool.Spool, "begin", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Journal.resume(path)
    with Journal.resume(path) as journal:
        assert 0.1 == journal.context(FrozenContext)["lr"]


def test_run_that_is_not_there(tmp_path: Path) -> None:
    """Neither loading nor resuming makes a file."""
    for act in (load_run, Journal.resume, verify_run):
        with pytest.raises(RunNotFoundError, match="there is no such run"):
            act(tmp_path / "a-0001.db")
        with pytest.raises(RunNotFoundError, match=r"a run is given by its file; find_run\(folder, 'a'\) finds that"):
            act(tmp_path / "a")
    assert [] == list(tmp_path.iterdir())


def test_resume_compares_initial_values(tmp_path: Path) -> None:
    """Initial values given again have to be those of the start; a key that was not there then is taken."""
    path = died(tmp_path, {"lr": 0.1}, FrozenContext[Train])
    with Journal.resume(path) as journal:
        with pytest.raises(InvalidInitialError) as caught:
            journal.context(FrozenContext[Train], {"lr": 0.2, "token": "hunter2"})
        assert "'lr' is 0.1 in the run that is resumed (leave it out, or start another), got 0.2 (float)" in str(
            caught.value
        )
        ctx = journal.context(FrozenContext[Train], Train(lr=0.1, accuracy=0.5, token=SecretStr("hunter2")))
        assert (0.1, 0.5) == (ctx["lr"], ctx["accuracy"])
        assert "hunter2" == ctx["token"].get_secret_value()


def test_resume_compares_without_telling_secrets(tmp_path: Path) -> None:
    """Of a key whose type may hold a secret, no text shows the value of then or of now."""

    class Login(BaseModel):
        user: str
        password: SecretStr | None = None

    class Needs(BaseModel):
        login: Login | None = None

    path = died(tmp_path, {})
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext, {"free": 1})
        assert 1 == ctx["free"]
    path = died(tmp_path, {}, FrozenContext[Needs])
    with Journal.resume(path) as journal:
        assert journal.context(FrozenContext[Needs])["login"] is None
    path = died(tmp_path, {"login": {"user": "ann", "password": "hunter2"}}, FrozenContext[Needs])
    with Journal.resume(path) as journal, pytest.raises(ResumeError, match=r"give again 'login' \(secret\)") as caught:
        journal.context(FrozenContext[Needs])
    assert "ann" not in str(caught.value)


def test_secret_has_to_be_given_again(tmp_path: Path) -> None:
    """A secret is in no file, and resuming names those that are missing."""
    path = died(tmp_path, {"lr": 0.1, "token": "hunter2"}, FrozenContext[Train])
    with Journal.resume(path) as journal:
        with pytest.raises(ResumeError, match=r"give again 'token' \(secret\); journal\.context"):
            journal.context(FrozenContext[Train])
        ctx = journal.context(FrozenContext[Train], {"token": "hunter2"})
        assert "hunter2" == ctx["token"].get_secret_value()
    for file in tmp_path.iterdir():
        assert b"hunter2" not in file.read_bytes()


def test_arguments_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that came as an argument of the program is masked in what is kept of the arguments."""
    monkeypatch.setattr("sys.orig_argv", ["train", "--token=hunter2"])
    path = died(tmp_path, {"lr": 0.1, "token": "hunter2"}, FrozenContext[Train])

    assert ["train", "--token=**********"] == load_run(path).sessions[0].origin["arguments"]
    assert all(b"hunter2" not in file.read_bytes() for file in tmp_path.iterdir())


def test_one_context(tmp_path: Path) -> None:
    """A journal is of one context, and that of a resumed run is made by the journal."""
    with Journal.start(tmp_path, "run") as journal:
        FrozenContext({"a": 1}, sinks=[journal])
        with pytest.raises(JournalError, match="a journal is of one context"):
            FrozenContext({"a": 1}, sinks=[journal])
    with Journal.resume(journal.path) as journal, pytest.raises(ResumeError, match=r"journal\.context"):
        FrozenContext({"a": 1}, sinks=[journal])


def test_event_without_a_context(tmp_path: Path) -> None:
    """A journal takes the events of its context, and of that alone."""
    with Journal.start(tmp_path, "run") as journal:
        with pytest.raises(JournalError, match="it has no context yet; pass the journal in sinks="):
            journal.handle(KeyWritten("a", 1, None))
        journal.context(FrozenContext)
        other: Any = object()
        with pytest.raises(crystallize.CrystallizeError, match="takes the events of a context, not object"):
            journal.handle(other)
        with pytest.raises(JournalError, match="has failed and takes nothing more"):
            journal.handle(KeyWritten("a", 1, None))
        with pytest.raises(JournalError, match="has failed"):
            journal.close()


def test_closed_journal(tmp_path: Path) -> None:
    """After the end nothing is taken; closing again does nothing."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
    journal.close()
    with pytest.raises(SinkError, match="the journal is closed"):
        ctx["a"] = 1
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.flush()
    assert "Journal(run-0001)" == repr(journal)
    assert 1 == ctx["a"]


def test_failed_run(tmp_path: Path) -> None:
    """An exception that comes through ends the run as failed, and is in the file without the secrets it tells."""

    def fail(journal: Journal) -> None:
        with journal:
            ctx = journal.context(FrozenContext[Train], {"lr": 0.1, "token": "hunter2"})
            with ctx.step("fit"):
                raise ValueError("not with hunter2")

    journal = Journal.start(tmp_path, "run")
    with pytest.raises(ValueError, match="hunter2"):
        fail(journal)
    run = load_run(journal.path)
    assert ("failed", "ValueError: not with **********") == (run.status, run.error)
    assert ["fit"] == [one.step for one in run.dead_attempts]
    with pytest.raises(ZeroDivisionError), Journal.start(tmp_path, "run") as journal:
        print(1 / 0)
    assert "ZeroDivisionError: division by zero" == load_run(journal.path).error


def test_facts_larger_than_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the spool has no room for is in the database when it is acknowledged, and all others stay in their order."""
    monkeypatch.setattr(spool, "CAPACITY", 1 << 16)
    monkeypatch.setattr("crystallize._journal.journal.DELAY", 1000)
    large = os.urandom(1 << 18)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext, metrics=TrainMetrics)
    for at in range(3):
        ctx.record("loss", at, {"epoch": at})
        ctx.artifacts.add(f"{at}.bin", large)
    for at in range(3, 5000):
        ctx.record("loss", at, {"epoch": at})
    journal._finalizer()
    run = load_run(journal.path)

    assert tuple(range(5000)) == run.metrics["loss"]
    assert [large] * 3 == [one.data for one in run.artifacts]
    assert () == verify_run(journal.path)


def test_interrupted_where_the_spool_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a large fact is written leaves a journal that takes nothing more: it cannot know how far it came."""
    monkeypatch.setattr(spool, "CAPACITY", 1 << 16)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    with monkeypatch.context() as patch:

        def interrupt(*given: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(spool.Spool, "skip", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ctx.artifacts.add("large", bytes(1 << 17))
    with pytest.raises(SinkError, match="it was interrupted while it wrote"):
        ctx["b"] = 1
    with pytest.raises(JournalError):
        journal.close()
    with Journal.resume(journal.path) as journal:
        assert {"a": 1} == dict(journal.context(FrozenContext).as_dict())


def test_interrupted_drain_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a drain, before or after its commit, neither loses nor doubles anything."""
    monkeypatch.setattr("crystallize._journal.journal.DELAY", 1000)
    real = database.apply
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        for at, interrupted in enumerate((True, False, True)):
            ctx.record("loss", at)

            def apply(*given: Any, stops: bool = interrupted) -> None:
                real(*given)
                if stops:
                    raise KeyboardInterrupt

            monkeypatch.setattr("crystallize._journal.journal.apply", apply)
            if interrupted:
                with pytest.raises(KeyboardInterrupt):
                    journal.flush()
        monkeypatch.setattr("crystallize._journal.journal.apply", real)
        ctx.record("loss", 3)
    assert (0, 1, 2, 3) == load_run(journal.path).metrics["loss"]
    assert () == verify_run(journal.path)


def test_commit_that_was_interrupted_is_not_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts that are in the database already, as Ctrl-C came right after the commit, are not put there again."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("loss", 1)
        with journal._lock:
            journal._apply(journal._spool.pending[:])  # and whoever asked for it never learned of it
        ctx.record("loss", 2)
    assert (1, 2) == load_run(journal.path).metrics["loss"]
    assert () == verify_run(journal.path)


class Pair(NamedTuple):
    one: NDArray[np.float64]
    many: list[NDArray[np.int8]]


class Odd(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    pair: Pair
    table: dict[str, NDArray[np.float64]]
    grown: Annotated[list[int], AfterValidator(lambda items: [*items, 0])]
    day: date
    hidden: Annotated[int, Field(exclude=True)] = 3
    live: Annotated[object, Shared] = None
    free: Any
    mixed: Any


def test_values_come_back(tmp_path: Path) -> None:
    """Arrays at any depth, what a validator made, and what JSON has no name for come back; the rest is named."""
    pair = Pair(np.array([0.5, np.nan]), [np.eye(2, dtype=np.int8)])
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext[Odd], {"live": object()})
    ctx["pair"], ctx["table"], ctx["grown"] = pair, {"a": np.zeros((2, 0))}, [1]
    ctx["day"], ctx["free"], ctx["mixed"] = date(2024, 2, 29), {"a": (1, 2)}, {"a": [np.ones(1), 2], "b": None}
    journal.close()
    run = load_run(journal.path, Odd)

    found = run.context.fields
    assert type(found.pair) is Pair
    assert np.array_equal(pair.one, found.pair.one, equal_nan=True)
    assert np.array_equal(pair.many[0], found.pair.many[0])
    assert (2, 0) == found.table["a"].shape
    assert ([1, 0], date(2024, 2, 29)) == (found.grown, found.day)
    assert ([1.0], 2, None) == ([*found.mixed["a"][0]], found.mixed["a"][1], found.mixed["b"])
    assert {"live": "object", "free": "dict", "hidden": "int"} == dict(run.unrestorable)
    plain = load_run(journal.path)
    assert ("2024-02-29", [1, 0]) == (plain.values["day"], plain.values["grown"])
    assert np.array_equal(pair.many[0], plain.values["pair"][1][0])


@pytest.mark.parametrize(
    "value",
    [
        *(np.float64(0.5), np.float32(np.nan), np.int8(3), np.bool_(True), np.str_("é"), np.datetime64("2026-01-02")),
        *(np.array(7), {"crystallize.scalar": 0}, [{"crystallize.scalar": 0}, np.zeros(1)]),
    ],
    ids=repr,
)
def test_numpys_scalars_come_back(tmp_path: Path, value: Any) -> None:
    """A scalar of numpy comes back as one, and an array of no dimension as that; nothing is taken for a scalar."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"a": value})
    run = load_run(journal.path)
    is_mistakable = isinstance(value, list)
    assert ({"a": "list"} if is_mistakable else {}) == run.unrestorable
    assert is_mistakable or same(value, run.values["a"])


class When(TypedDict):
    at: datetime
    note: str


class Shade(StrEnum):
    DARK = "dark"
    LIGHT = "light"


class Shaded(TypedDict):
    shade: Any


class Scores(MetricSchema):
    score = Metric(Any, tags=Shaded, goal="maximize")


class OddMetrics(MetricSchema):
    price = Metric(Decimal, tags=When)
    items = Metric(list[int])
    anything = Metric(Any)


def test_points_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Values and tags of any type come back by their schema; of those that do not something says so in their place."""
    at = datetime(2024, 2, 29, tzinfo=UTC)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=OddMetrics)
        ctx.record("price", Decimal("1.50"), {"at": at, "note": "a"})
        ctx.record("items", [1, 2])
        for _ in range(2):
            ctx.record("anything", (1, 2))
        ctx.record("anything", [3])
    run = load_run(journal.path, metrics=OddMetrics)

    assert (Decimal("1.50"),) == run.metrics["price"]
    assert ({"at": at, "note": "a"},) == run.metrics.get_tags("price")
    assert ([1, 2],) == run.metrics["items"]
    lost = NotRestorable("tuple", "[1, 2]")
    assert (lost, lost, [3]) == run.metrics["anything"] == load_run(journal.path).metrics["anything"]
    assert [1, 2] == run.metrics["anything"][0].seen
    assert {"anything": 2} == run.unrestorable_points
    assert ["1.50"] == list(load_run(journal.path).metrics["price"])
    assert 1 == caplog.text.count("metric 'anything' holds a tuple, which a file cannot give back")


HELD: tuple[Any, ...] = (
    np.arange(3),
    {"a": [np.eye(2), {"b": np.array([np.nan])}]},
    [1.0, float("nan"), [float("inf")]],
    {"x": float("-inf")},
    {"crystallize.npy": 0},
    "x" * 5000,
    10**30,
)


@pytest.mark.parametrize("value", HELD, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("typed", [False, True])
def test_arrays_and_nan_within_points(tmp_path: Path, value: Any, typed: bool) -> None:
    """What JSON does not have by itself comes back as it was, as a key, as a value, as a tag, and from a branch."""

    class AnyTags(TypedDict):
        held: Any

    class AnyMetrics(MetricSchema):
        seen = Metric(Any, tags=AnyTags)

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=AnyMetrics if typed else None)
        ctx["key"] = value
        ctx.record("seen", value, {"held": value})
        child = crystallize.fork(ctx, "branch").open()
        child.record("seen", value, {"held": 1})
        crystallize.merge(ctx, child.delta())
    for run in (load_run(journal.path), load_run(journal.path, metrics=AnyMetrics)):
        assert same(value, run.values["key"])
        points = [(point.value, point.tags) for point in run.metrics.series("seen")]
        assert same([(value, {"held": value}), (value, {"held": 1})], points)
        assert {} == run.unrestorable_points
    with Journal.resume(journal.path) as resumed:
        again = resumed.context(FrozenContext, metrics=AnyMetrics if typed else None)
        assert same((value, value), again.metrics["seen"])
    assert () == verify_run(journal.path)


def test_points_that_do_not_come_back(tmp_path: Path) -> None:
    """In place of what a file cannot give back stands its type, and what JSON makes of it; nothing is left out."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("a", b"\xff", {"t": (np.zeros(2), 1 + 2j)})
        ctx.record("a", {1: 2})
        ctx.record("b", 1, {"\ud800": 1})
        ctx.record("c", 1, {"t": "train"})
    run = load_run(journal.path)

    assert (NotRestorable("bytes"), NotRestorable("dict", '{"1": 2}')) == run.metrics["a"]
    assert None is run.metrics["a"][0].seen
    assert ({"t": NotRestorable("tuple", '[[0.0, 0.0], "1+2j"]')}, {}) == run.metrics.get_tags("a")
    assert ({"\\ud800": NotRestorable("str")},) == run.metrics.get_tags("b")
    assert {"a": 2, "b": 1} == run.unrestorable_points
    with Journal.resume(journal.path) as resumed:
        assert run.metrics["a"] == resumed.context(FrozenContext).metrics["a"]
    assert {"a": 2, "b": 1} == load_run(journal.path).unrestorable_points


def test_points_that_were_lost_under_another_schema(tmp_path: Path) -> None:
    """What was lost comes back by a schema that takes its JSON, stays lost where it has none, and else is an error."""

    class NewMetrics(MetricSchema):
        seen = Metric(tuple[int, int], tags=When)
        odd = Metric(bytes)

    class OtherMetrics(NewMetrics):
        other = Metric(int)

    at = datetime(2024, 2, 29, tzinfo=UTC)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("seen", (1, 2), {"at": at, "note": "a"})
        ctx.record("odd", b"\xff")
        journal.flush()
        run = load_run(journal.path, metrics=NewMetrics)
        ctx.record("other", (1, 2))
    with pytest.raises(JournalError, match="metric 'other' was declared otherwise"):
        load_run(journal.path, metrics=OtherMetrics).context

    assert ((1, 2),) == run.metrics["seen"]
    assert ({"at": at, "note": "a"},) == run.metrics.get_tags("seen")
    assert (NotRestorable("bytes"),) == run.metrics["odd"]


def test_best_of_what_was_lost(tmp_path: Path) -> None:
    """What a file cannot give back is the best value only where there is no other, and has tags as JSON shows them."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=Scores)
        ctx.record("score", (1, 2), {"shade": Shade.DARK})
        journal.flush()
        assert NotRestorable("tuple", "[1, 2]") == load_run(journal.path, metrics=Scores).metrics.series("score").best
        ctx.record("score", 3, {"shade": Shade.DARK})
        ctx.record("score", 2, {"shade": Shade.LIGHT})
    assert 3 == load_run(journal.path, metrics=Scores).metrics.series("score").best
    assert 2 == len(load_run(journal.path).metrics.series("score").where(shade="dark"))


def test_old_points(tmp_path: Path) -> None:
    """Of a run from before arrays were kept with points nothing is made up: what is not there is told."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("a", 1)
    old = [
        [
            "a",
            {"crystallize.npy": 0},
            {"t": [{"crystallize.npy": 1}], "n": 1},
            None,
            ["json", {"t": "json", "n": "json"}],
        ],
        ["a", [1, None], {}, None, ["none", {}]],
        ["a", [1, 2], {"t": {"x": [1]}}, None, ["json", {"t": "json"}]],
    ]
    connection = sqlite3.connect(journal.path, isolation_level=None)
    database.update(connection, "points", "sequence > ?", 0, count=3, content=zlib.compress(to_json(old)))
    database.update(connection, "sessions", "session = ?", 1, finished=5)
    database.update(connection, "run", "id = ?", 1, drained=5)
    connection.close()
    run = load_run(journal.path)

    assert () == verify_run(journal.path)
    lost = NotRestorable("", '{"crystallize.npy": 0}'), NotRestorable("", "[1, null]")
    assert (*lost, [1, 2]) == run.metrics["a"]
    assert (
        {"t": NotRestorable("", '[{"crystallize.npy": 1}]'), "n": 1},
        {},
        {"t": {"x": [1]}},
    ) == run.metrics.get_tags("a")


def test_text_that_is_not_unicode(tmp_path: Path) -> None:
    """Text that no file can hold is named as not restorable, as value, tag and name of a tag, and breaks nothing."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["a"] = "\ud800"
        ctx.record("loss", 1, {"\ud800": 1})
        ctx.record("loss", 2, {"a": "\ud800"})
        ctx.record("loss", 3)
    run = load_run(journal.path)

    assert {"a": "str"} == dict(run.unrestorable)
    assert 3 == run.metrics["loss"][-1]
    assert () == verify_run(journal.path)


def test_other_schema(tmp_path: Path) -> None:
    """A run loaded with a schema that is not its own is an error that names the key or the metric."""

    class Less(BaseModel):
        accuracy: float = 0

    class Strict(BaseModel):
        lr: float
        day: Annotated[list[date], Field(max_length=0)]
        accuracy: float = 0

    class Days(BaseModel):
        lr: float
        day: list[date]

    class OtherMetrics(MetricSchema):
        lost = Metric(float)

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext[Days], {"lr": 0.1, "day": [date(2024, 2, 29)]})
        ctx.record("loss", 1.0)
    for kind, text in (
        (Less, "'lr' is not declared in"),
        (Strict, "key 'day' was written as list, and Strict does not take"),
    ):
        with pytest.raises(JournalError, match=text):
            load_run(journal.path, kind).context
    with pytest.raises(JournalError, match="did you mean 'lost'"):
        load_run(journal.path, metrics=OtherMetrics).context


def test_metric_of_another_type_on_resuming(tmp_path: Path) -> None:
    """Points from when a tag had another type are validated by the type that it has now."""

    class Text(TypedDict):
        epoch: str

    class TextMetrics(MetricSchema):
        loss = Metric(float, tags=Text)

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=TextMetrics)
        for at in range(5000):
            ctx.record("loss", 0.5, {"epoch": str(at)})
    with Journal.resume(journal.path) as journal:
        ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        for at in range(10_000):
            ctx.record("loss", 0.5, {"epoch": at})
        tags = [tags["epoch"] for tags in ctx.metrics.get_tags("loss")]
        assert [*range(5000), *range(10_000)] == tags

    class Words(TypedDict):
        epoch: Literal["one"]

    class WordMetrics(MetricSchema):
        loss = Metric(float, tags=Words)

    with pytest.raises(JournalError, match="metric 'loss' was declared otherwise when the run measured it"):
        load_run(journal.path, metrics=WordMetrics).context


def test_array_without_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numpy is not installed, a run with an array says so."""
    path = died(tmp_path, {"a": np.zeros(2)})
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(JournalError, match="key 'a' holds an array, and numpy is not installed"):
        load_run(path).context


def test_point_with_an_array_without_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numpy is not installed, a run with an array in a point says so."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("a", np.zeros(2))
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(JournalError, match="metric 'a' holds an array, and numpy is not installed"):
        load_run(journal.path).context


def test_large_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that are large come in rows of fewer."""
    monkeypatch.setattr(database, "_LARGE", 10_000)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        for at in range(9):
            ctx.record("a", np.full(500, at))
    with contextlib.closing(sqlite3.connect(journal.path)) as connection:
        rows = connection.execute("SELECT sequence, count FROM points").fetchall()
    assert len(rows) > 4
    assert [float(at) for at in range(9)] == [value[0] for value in load_run(journal.path).metrics["a"]]
    assert () == verify_run(journal.path)


def test_series_of_a_step_that_ended(tmp_path: Path) -> None:
    """With a journal too, what a step handed out takes no more points when the step has ended."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        with ctx.step("fit") as step:
            series = step.metrics.series("loss")
            note = series.bind({"epoch": 1})
            for at in range(5000):
                note(at)
        with pytest.raises(StepClosedError):
            series.add(1.0, {"epoch": 1})
        with pytest.raises(StepClosedError):
            note(1.0)
        with pytest.raises(crystallize.InvalidMetricError):
            ctx.metrics.series("loss").bind({"epoch": 1})("x")
    assert tuple(map(float, range(5000))) == load_run(journal.path).metrics["loss"]


def test_finding_a_run(tmp_path: Path) -> None:
    """A run is found by path, name, number, the beginning of a number, or its name alone, which means the newest."""
    for name, count in (("a", 12), ("b", 1)):
        for _ in range(count):
            Journal.start(tmp_path, name).close()
    (tmp_path / "b-0001.db").rename(tmp_path / "b-0200.db")

    found = {name: find_run(tmp_path, name).stem for name in ("a-0003", "3", "0003", "a", "b", "20", "200")}
    meant = ("a-0003", "a-0003", "a-0003", "a-0012", "b-0200", "b-0200", "b-0200")
    assert found == dict(zip(found, meant, strict=True))
    assert tmp_path / "a-0001.db" == find_run("elsewhere", str(tmp_path / "a-0001.db"))
    (tmp_path / "b-0200.db").rename(tmp_path / "b-0001.db")
    for name, text in (
        ("1", "several runs are meant: a-0001, b-0001"),
        ("a-003", "did you mean 'a-0003'"),
        ("²", "lists"),
    ):
        with pytest.raises(RunNotFoundError, match=text):
            find_run(tmp_path, name)
    with pytest.raises(RunNotFoundError, match="there is no such run"):
        find_run(tmp_path / "none", "0")


def test_comparing_runs(tmp_path: Path) -> None:
    """Two runs differ in what they began with and what came out, and not in when."""
    paths = []
    for lr, last in ((0.1, 1.0), (0.1, 1.0), (0.2, float("nan"))):
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext[Train], {"lr": lr, "token": "hunter2"}, metrics=TrainMetrics)
            with ctx.step("fit") as step:
                step.record("loss", last, {"epoch": 1})
                step["accuracy"] = lr
            ctx.artifacts.add("a.txt", str(lr).encode())
        paths.append(journal.path)
    runs: list[Run[Any]] = [load_run(path) for path in paths]
    one, same, other = runs

    assert () == diff_runs(one, same) == diff_runs(other, load_run(paths[2]))
    assert [("input", "lr"), ("value", "accuracy"), ("metric", "loss"), ("artifact", "a.txt")] == [
        (found.what, found.name) for found in diff_runs(one, other)
    ]
    assert (("input", "token"),) == not_compared(one, same)
    assert "Run(run-0001, finished)" == repr(one)


def test_comparing_arrays(tmp_path: Path) -> None:
    """Points with arrays differ where these do, anywhere; what no file gives back is told as not compared."""
    runs: list[Run[Any]] = []
    for last in (1, 2, 1):
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext, {"b": object()} if len(runs) < 2 else {})
            many = np.zeros(5000)
            many[2500] = last
            ctx.record("seen", many, {"at": {"x": np.array([last])}})
            ctx.record("lost", b"\xff")
            ctx.record("both", (last,))
            if not runs:
                ctx.record("alone", b"\xff")
            ctx["a"] = object()
        runs.append(load_run(journal.path))

    assert ["seen", "both", "alone"] == [found.name for found in diff_runs(runs[0], runs[1])]
    assert ["b", "alone"] == [found.name for found in diff_runs(runs[0], runs[2])]
    assert (("input", "b"), ("value", "a"), ("metric", "lost")) == not_compared(runs[0], runs[1])
    assert (("value", "a"), ("metric", "both"), ("metric", "lost")) == not_compared(runs[0], runs[2])


def test_file_without_a_log_where_nobody_can_write(open_folder: Path) -> None:
    """A run that was left without its log can be read from where nothing can be written."""
    path = died(open_folder, {"lr": 0.1})
    path.with_suffix(".spool").unlink()
    for file in (path, open_folder):
        file.chmod(0o555)
    with modes_hold():
        assert 0.1 == load_run(path).values["lr"]


def test_file_that_nobody_may_read(open_folder: Path) -> None:
    """A file that may not be read is an error that names it."""
    with Journal.start(open_folder, "run") as journal:
        journal.context(FrozenContext)
        journal.flush()
        journal.path.chmod(0)
        with modes_hold(), pytest.raises(JournalError, match="run-0001"):
            load_run(journal.path)
        journal.path.chmod(0o644)


def test_tables_of_something_else(tmp_path: Path) -> None:
    """A file that has the mark of a run and not its tables is damaged."""
    path = died(tmp_path, {"lr": 0.1})
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE steps RENAME TO stairs")
    connection.close()
    with pytest.raises(DamagedRunError, match="not those of a run"):
        load_run(path)


def test_names_of_the_package() -> None:
    """What is imported when it is first asked for is among the names of the package, and nothing else is made up."""
    assert {"Journal", "Run", "load_run"} <= set(dir(crystallize))
    with pytest.raises(AttributeError, match="has no attribute 'jurnal'"):
        crystallize.jurnal


def test_short_way_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the short way of a point meets, the long way takes the point in."""

    def fail(value: object) -> bytes:
        raise MemoryError

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        with monkeypatch.context() as patch:
            patch.setattr("crystallize._journal.journal.to_json", fail)
            ctx.record("loss", 0.5, {"epoch": 1})
    assert (0.5,) == load_run(journal.path).metrics["loss"]


def test_closing_with_a_full_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run finds room in a spool that has none left."""
    monkeypatch.setattr(spool, "CAPACITY", 4096)
    monkeypatch.setattr("crystallize._journal.journal.DELAY", 1000)
    for room in range(60, 360, 20):
        journal = Journal.start(tmp_path, "run")
        ctx = journal.context(FrozenContext)
        used = sum(24 + len(fact) for fact in journal._spool.pending)
        ctx["a"] = "x" * (4096 - used - room)
        journal.close()
        run = load_run(journal.path)
        assert ("finished", 1) == (run.status, len(run.values))


def test_drainer_that_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that records nothing more learns all the same that its file is gone."""
    monkeypatch.setattr("crystallize._journal.journal.DELAY", 0.01)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    journal.flush()
    journal.path.unlink()
    ctx["a"] = 1
    journal._drainer.join(10)

    assert "run-0001: the journal has failed and takes nothing more" in caplog.text
    assert "moved or deleted" in caplog.text
    with pytest.raises(JournalError, match="moved or deleted"):
        journal.close()


def test_forked_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a forked process does first is to let go of its parent's journal."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    monkeypatch.setattr("crystallize._journal.journal._open_here", [journal])
    crystallize._journal.journal._after_fork()
    with pytest.raises(SinkError, match="it belongs to the process that opened it"):
        ctx["a"] = 1
    journal.close()
    journal._connection.close()


def test_reader_meets_a_run_as_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool that is emptied while it is read, since its run is being resumed, is no damage."""
    path = died(tmp_path, {"lr": 0.1})
    path.with_suffix(".spool").write_bytes(bytes(100))
    answers = iter([False, True, True])
    monkeypatch.setattr("crystallize._journal.loaded_run.is_locked", lambda spooled: next(answers))

    assert 0.1 == load_run(path).values["lr"]


def test_points_that_cannot_be_unpacked(tmp_path: Path) -> None:
    """Points whose check is right and whose content is none are damage."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("loss", 1)
    connection = sqlite3.connect(journal.path, isolation_level=None)
    database.update(connection, "points", "sequence > ?", 0, content=b"none")
    connection.close()

    with pytest.raises(DamagedRunError, match="a row of points cannot be read"):
        load_run(journal.path).metrics
    assert "a row of points cannot be read" in str(verify_run(journal.path))


def test_points_of_a_step_that_is_not_there(tmp_path: Path) -> None:
    """Points by a step that nobody opened are damage, though their check is right."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext).record("loss", 1)
    connection = sqlite3.connect(journal.path, isolation_level=None)
    database.update(connection, "points", "sequence > ?", 0, content=zlib.compress(b'[["loss",1,{},"fit"]]'))
    connection.close()

    with pytest.raises(DamagedRunError, match="points were recorded by step 'fit', which is not there"):
        load_run(journal.path).metrics
    assert ("points were recorded by step 'fit', which is not there",) == verify_run(journal.path)


def test_database_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that cannot begin is an error that says who is in the way."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        journal.flush()
        journal._connection.execute("PRAGMA busy_timeout=0")
        other = sqlite3.connect(journal.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ctx["a"] = 1
        with pytest.raises(JournalError, match="another program holds it"):
            journal.flush()
        other.close()
        with pytest.raises(JournalError, match="another program holds it"):
            journal.close()
    with Journal.resume(journal.path) as journal:
        assert 1 == journal.context(FrozenContext)["a"]


def test_file_that_nobody_may_read_beside_its_log(open_folder: Path) -> None:
    """A run that died, and whose file may not be read, is an error that names it."""
    path = died(open_folder, {"lr": 0.1})
    path.with_name(f"{path.name}-wal").touch()
    path.chmod(0)
    with modes_hold(), pytest.raises(JournalError, match="run-0001"):
        load_run(path)
    path.chmod(0o644)


def test_input_that_no_file_can_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the run began with and no file can hold has to be given again, also where it has a default."""

    class Needs(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        model: Annotated[object, Shared] = None
        score: float

    path = died(tmp_path, {"model": object()}, FrozenContext[Needs])
    with Journal.resume(path) as journal:
        with pytest.raises(ResumeError, match=r"give again 'model' \(not restorable\)"):
            journal.context(FrozenContext[Needs])
        ctx = journal.context(FrozenContext[Needs], {"model": 5})
        assert 5 == ctx["model"]


def test_nested_model_with_a_default(tmp_path: Path) -> None:
    """A model comes back with the defaults that it was not given."""

    class Optimizer(BaseModel):
        name: str = "sgd"
        momentum: float = 0.9

    class Needs(BaseModel):
        optimizer: Optimizer = Optimizer()

    path = died(tmp_path, {"optimizer": {"momentum": 0.5}}, FrozenContext[Needs])
    with Journal.resume(path) as journal:
        assert Optimizer(momentum=0.5) == journal.context(FrozenContext[Needs])["optimizer"]


def test_results_of_what_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A step that finished after one that has to be done again stays, and a warning says what it had read."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        with ctx.step("fit") as step:
            step["model"] = (1, 2)
        with ctx.step("predict") as step:
            step["answer"] = sum(step["model"])
    caplog.clear()
    with Journal.resume(journal.path) as journal:
        ctx = journal.context(FrozenContext)
        assert (False, True) == (ctx.provenance.finished("fit"), ctx.provenance.finished("predict"))
    assert "step 'predict' finished, and had read 'model', which is to be written anew" in caplog.text


def test_sets_have_one_order(tmp_path: Path) -> None:
    """Equal sets look the same in the file, whatever order they are met in."""
    digests = set()
    for items in ({"alpha", "beta", "gamma", "delta"}, {"delta", "gamma", "beta", "alpha"}):

        class Needs(BaseModel):
            names: set[str]

        path = died(tmp_path, {"names": items}, FrozenContext[Needs])
        digests.add(load_run(path).entries["names"].stored.json)
    assert {b'["alpha","beta","delta","gamma"]'} == digests


def test_resumed_and_left_alone(tmp_path: Path) -> None:
    """A run that is resumed without a context is not finished by that."""
    path = died(tmp_path, {"lr": 0.1})
    with Journal.resume(path):
        pass
    assert "died" == load_run(path).status


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (BaseModel, r"write FrozenContext\[BaseModel\]"),
        ({"lr": 0.1}, "this takes the class of a context, as FrozenContext"),
    ],
)
def test_context_of_no_class(tmp_path: Path, kind: Any, text: str) -> None:
    """Whoever hands a schema or the initial values on in place of a context's class is told what goes there."""
    with Journal.start(tmp_path, "run") as journal, pytest.raises(SchemaError, match=text):
        journal.context(kind)


def test_finished_and_resumed(tmp_path: Path) -> None:
    """A run that finished stays finished, whoever resumes it and makes no context, or fails to make one."""
    with Journal.start(tmp_path, "run") as journal, journal.context(FrozenContext, {"lr": 0.1}).step("fit"):
        pass
    with Journal.resume(journal.path):
        pass
    with pytest.raises(InvalidInitialError), Journal.resume(journal.path) as resumed:
        resumed.context(FrozenContext, {"lr": 0.2})
    run = load_run(journal.path)
    assert ("finished", None, run.sessions[0].ended) == (run.status, run.error, run.ended)
    assert ["finished", "finished", "failed"] == [one.outcome for one in run.sessions]
    assert "InvalidInitialError" in str(run.sessions[2].error)
    with pytest.raises(ZeroDivisionError), Journal.resume(journal.path) as resumed:
        resumed.context(FrozenContext)["lr"] / 0
    assert "failed" == load_run(journal.path).status


def test_users_own_error_is_not_hidden(tmp_path: Path) -> None:
    """What the user's code raised comes through a journal that cannot end, with a note that says so."""
    journal = Journal.start(tmp_path, "run")
    journal.context(FrozenContext)
    journal.path.with_suffix(".spool").unlink()

    def fail() -> None:
        with journal:
            raise ValueError("own")

    with pytest.raises(ValueError, match="own") as caught:
        fail()
    assert "Besides, its journal could not be ended" in caught.value.__notes__[0]


def test_what_is_no_context(tmp_path: Path) -> None:
    """A schema, or a context, in place of a context's class is refused with what to write."""
    with Journal.start(tmp_path, "run") as journal:
        for wrong in (Train, FrozenContext({"a": 1}), 5):
            kind: Any = wrong
            with pytest.raises(SchemaError, match="this takes the class of a context"):
                journal.context(kind)
        with pytest.raises(JournalError, match="a journal stays in the process that opened it"):
            copy.copy(journal)
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.context(FrozenContext)


def test_near_paths(tmp_path: Path) -> None:
    """A path that is nearly a run's says which one was probably meant."""
    path = died(tmp_path, {"lr": 0.1})
    for near, text in (
        (tmp_path, "this is a folder"),
        (path.with_suffix(""), "did you mean 'run-0001.db'"),
        (path.with_suffix(".spool"), "did you mean 'run-0001.db'"),
    ):
        with pytest.raises(RunNotFoundError, match=text):
            load_run(near)


def test_verify_misses_the_spool(tmp_path: Path) -> None:
    """A run that died and was copied without its spool does not verify, since facts may be missing."""
    path = died(tmp_path, {"lr": 0.1})
    assert () == verify_run(path)
    path.with_suffix(".spool").unlink()

    assert "its spool is not beside it" in str(verify_run(path))


def test_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the working directory was deleted a run starts all the same."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    Journal.start(tmp_path, "run").close()

    assert "" == load_run(tmp_path / "run-0001.db").sessions[0].origin["folder"]


def test_journal_that_nobody_closes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When a program ends without closing a journal it is told that the run is as if it had died."""
    program = f"""
from crystallize import FrozenContext, Journal
journal = Journal.start({str(tmp_path)!r}, "left")
journal.context(FrozenContext).add("lr", 0.1)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    told = "-0001: its journal was not closed, so the run is as if it had died; use with, or close"
    assert f"left{told}\n" == done.stderr
    assert "died" == load_run(tmp_path / "left-0001.db").status
    with Journal.start(tmp_path, "open"):
        crystallize._journal.journal._at_exit()
    crystallize._journal.journal._at_exit()
    assert [message for message in caplog.messages if message.startswith("open")] == [f"open{told}"]


def test_journal_that_nobody_has(tmp_path: Path) -> None:
    """A journal that is dropped without closing gives its lock back, and its thread ends."""
    journal = Journal.start(tmp_path, "run")
    path, drainer, gone = journal.path, journal._drainer, weakref.ref(journal)
    del journal
    gc.collect()
    drainer.join(10)

    assert gone() is None
    assert not drainer.is_alive()
    assert "died" == load_run(path).status
    # A thread that was waiting meanwhile finds nobody.
    crystallize._journal.journal._drain_on(gone, threading.Event(), threading.Event())


def test_drainer_of_a_journal_that_ends(caplog: pytest.LogCaptureFixture) -> None:
    """What fails in the thread as the journal ends is said by whoever ends it, and not twice."""
    ends = threading.Event()

    class Ending:
        name = "run-0001"

        def flush(self) -> None:
            ends.set()
            raise JournalError("run-0001.db", "the journal is closed")

    ending: Any = Ending()
    crystallize._journal.journal._drain_on(lambda: ending, threading.Event(), ends)  # type: ignore[arg-type]  # in place of a weakref

    assert "" == caplog.text


def test_interrupted_while_a_point_is_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C between a point's effect and its fact the journal takes nothing more, as it would have a hole."""

    def interrupt(value: object) -> bytes:
        raise KeyboardInterrupt

    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext, metrics=TrainMetrics)
    ctx.record("loss", 0.5, {"epoch": 1})
    with monkeypatch.context() as patch:
        patch.setattr("crystallize._journal.journal.to_json", interrupt)
        journal._shorten()
        with pytest.raises(KeyboardInterrupt):
            ctx.record("loss", 0.25, {"epoch": 2})
    with pytest.raises(SinkError, match="it was interrupted while it wrote"):
        ctx.record("loss", 0.125, {"epoch": 3})
    with pytest.raises(JournalError, match="it was interrupted"):
        journal.close()
    assert (0.5,) == load_run(journal.path).metrics["loss"]


def test_interrupted_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in closing loses nothing: what was not drained stays in the spool."""

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crystallize._journal.journal.DELAY", 1000)
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["a"] = 1
    with monkeypatch.context() as patch:
        patch.setattr("crystallize._journal.journal.apply", interrupt)
        with pytest.raises(KeyboardInterrupt):
            journal.close()
    run = load_run(journal.path)
    assert {"a": 1} == dict(run.values)
    assert () == verify_run(journal.path)


def test_threads_that_record_while_it_ends(tmp_path: Path) -> None:
    """What other threads had acknowledged before the end is in the file; after it they are refused."""
    for _ in range(5):
        journal = Journal.start(tmp_path, "run")
        ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        acknowledged = [0]
        begun = threading.Event()

        def record(
            ctx: FrozenContext[Any] = ctx, acknowledged: list[int] = acknowledged, begun: threading.Event = begun
        ) -> None:
            with contextlib.suppress(SinkError):
                while True:
                    ctx.record("loss", 0.5, {"epoch": 1})
                    acknowledged[0] += 1
                    begun.set()

        thread = threading.Thread(target=record)
        thread.start()
        begun.wait(10)
        journal.close()
        thread.join()
        run = load_run(journal.path)
        assert acknowledged[0] == len(run.metrics["loss"])
        assert "finished" == run.status


def test_refused_as_it_ends(tmp_path: Path) -> None:
    """An event that comes while the journal ends is refused as one that comes afterwards is."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        journal._refuse()
        with pytest.raises(SinkError, match="the journal is closed"):
            ctx["a"] = 1


def test_end_of_a_step_without_its_beginning(tmp_path: Path) -> None:
    """A step whose opening was interrupted is in the file as one that never ended, and the run can be read."""
    now = datetime.now(UTC)
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext)
        journal.handle(crystallize.StepFinished("fit", (), (), (), {}, (), now, now, "KeyboardInterrupt"))
    run = load_run(journal.path)

    assert [("fit", None)] == [(one.step, one.record) for one in run.dead_attempts]
    assert () == verify_run(journal.path)


def test_link_to_a_run(tmp_path: Path) -> None:
    """A link to a run's file is that run, with its spool and its lock."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        journal.flush()
        link = tmp_path / "latest.db"
        link.symlink_to(journal.path)
        with pytest.raises(crystallize.RunInUseError):
            Journal.resume(link)
        assert "running" == load_run(link).status
    with Journal.resume(link) as journal:
        assert 0.1 == journal.context(FrozenContext)["lr"]
    assert () == verify_run(link)
    assert "run-0001" == load_run(link).path.stem


def test_reader_overtaken_by_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that finds its run resumed in the meantime reads again."""
    path = died(tmp_path, {"lr": 0.1})
    answers = iter([False, True, True])
    monkeypatch.setattr("crystallize._journal.loaded_run.is_locked", lambda spooled: next(answers))

    assert 0.1 == load_run(path).values["lr"]
    assert [] == list(answers)


def test_context_that_failed_leaves_the_guard(tmp_path: Path) -> None:
    """A context that could not be made does not open the way for one made by hand."""
    path = died(tmp_path, {"lr": 0.1})
    with Journal.resume(path) as journal:
        with pytest.raises(InvalidInitialError):
            journal.context(FrozenContext, {"lr": 2})
        with pytest.raises(ResumeError, match=r"journal\.context"):
            FrozenContext({"lr": 2}, sinks=[journal])


def test_lost_value_of_an_inner_step(tmp_path: Path) -> None:
    """Where an inner step wrote what no file can hold, the steps around it are done again as well."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        with ctx.step("fit") as fit, fit.step("a") as inner:
            inner["v"] = b"\xff\xfe"
        with ctx.step("fit-2"):
            pass
    with Journal.resume(journal.path) as journal:
        finished = journal.context(FrozenContext).provenance.finished
        assert [False, False, True] == [finished(name) for name in ("fit", "fit/a", "fit-2")]


def test_what_was_declared(tmp_path: Path) -> None:
    """Without the schema a run still says what was declared of its metrics, and which keys nobody has written."""

    class Measured(MetricSchema):
        loss = Metric(float, unit="nats", goal="minimize", description="of a batch, \ud800")
        count = Metric(int)

    class Held(BaseModel):
        lr: float
        accuracy: float

    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext[Held], {"lr": 0.1}, metrics=Measured)
    run = load_run(journal.path)
    assert {"loss": Declared("nats", "minimize", "of a batch, \\ud800"), "count": Declared()} == run.declared
    assert ("accuracy",) == run.unwritten

    with Journal.start(tmp_path, "empty") as journal:
        pass
    assert ({}, ()) == (load_run(journal.path).declared, load_run(journal.path).unwritten)
