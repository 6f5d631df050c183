"""The journal as its users meet it: starting, resuming, what is given back, and what is said when that cannot be."""

import copy
import os
import sqlite3
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
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
    ResumeError,
    RunNotFoundError,
    SchemaError,
    Shared,
    SinkError,
    StepClosedError,
    load_run,
)
from crystallize.runs import Declared, verify_run

from ..permissions import modes_hold
from .train_runs import Train, TrainMetrics, died


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)
        Path(made).chmod(0o777)


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
    assert ["fit"] == [attempt.step for attempt in run.dead_attempts]
    with pytest.raises(ZeroDivisionError), Journal.start(tmp_path, "run") as journal:
        print(1 / 0)
    assert "ZeroDivisionError: division by zero" == load_run(journal.path).error


class Opaque:
    """An object that no codec stores."""


class Pair(NamedTuple):
    single: NDArray[np.float64]
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
    assert np.array_equal(pair.single, found.pair.single, equal_nan=True)
    assert np.array_equal(pair.many[0], found.pair.many[0])
    assert (2, 0) == found.table["a"].shape
    assert ([1, 0], date(2024, 2, 29)) == (found.grown, found.day)
    assert ([1.0], 2, None) == ([*found.mixed["a"][0]], found.mixed["a"][1], found.mixed["b"])
    assert {"a": (1, 2)} == found.free
    assert {"live": "object", "hidden": "int"} == dict(run.unrestorable)
    plain = load_run(journal.path)
    assert ("2024-02-29", [1, 0]) == (plain.values["day"], plain.values["grown"])
    assert np.array_equal(pair.many[0], plain.values["pair"][1][0])


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
    """Where numpy is not installed, reading an array says so, and all else of the run can be read."""
    path = died(tmp_path, {"a": np.zeros(2), "b": 5})
    monkeypatch.setitem(sys.modules, "numpy", None)
    values = load_run(path).values
    assert 5 == values["b"]
    with pytest.raises(JournalError, match=r"key 'a' holds a numpy.ndarray, and numpy is not installed"):
        values["a"]


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


def test_reader_meets_a_run_as_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool that is emptied while it is read, since its run is being resumed, is no damage."""
    path = died(tmp_path, {"lr": 0.1})
    path.with_suffix(".spool").write_bytes(bytes(100))
    answers = iter([False, True, True])
    monkeypatch.setattr("crystallize._journal.read_run.has_writer", lambda spooled: next(answers))

    assert 0.1 == load_run(path).values["lr"]


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


def test_a_shared_input_makes_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A program passes its shared objects at each start. A step that writes one has to run again, and that is said."""

    class Needs(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        model: Annotated[object, Shared]
        fitted: Annotated[object, Shared]

    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext[Needs], {"model": object()})
        assert not caplog.messages
        with ctx.step("fit") as step:
            step.fields.fitted = object()
        assert "key 'fitted' holds a object" in caplog.text


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
            step["model"] = Opaque()
        with ctx.step("predict") as step:
            step["answer"] = type(step["model"]).__name__
    caplog.clear()
    with Journal.resume(journal.path) as journal:
        ctx = journal.context(FrozenContext)
        assert (False, True) == (ctx.provenance.finished("fit"), ctx.provenance.finished("predict"))
    assert "step 'predict' finished, and had read 'model', which must be written again" in caplog.text


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


class OwnContext(FrozenContext[Odd]):
    pass


def test_run_is_loaded_by_its_schema_or_its_class(tmp_path: Path) -> None:
    """`load_run` takes the schema, or the class that the context was made by, and a journal makes that class."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(OwnContext, {"live": None})
        ctx["free"] = (1, 2)
    assert OwnContext is type(ctx)
    loaded = [load_run(journal.path, kind) for kind in (Odd, FrozenContext[Odd], OwnContext, FrozenContext)]
    assert [FrozenContext, FrozenContext, OwnContext, FrozenContext] == [type(run.context) for run in loaded]
    shown = [repr(run.context).partition("(")[0] for run in loaded]
    assert ["FrozenContext[Odd]", "FrozenContext[Odd]", "OwnContext[Odd]", "FrozenContext"] == shown


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
    assert ["finished", "finished", "failed"] == [session.outcome for session in run.sessions]
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


def test_verify_misses_the_spool(tmp_path: Path) -> None:
    """A run that died and was copied without its spool does not verify, since facts may be missing."""
    path = died(tmp_path, {"lr": 0.1})
    assert () == verify_run(path)
    path.with_suffix(".spool").unlink()

    assert "'run-0001.spool', which may contain" in str(verify_run(path))


def test_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the working directory was deleted a run starts all the same."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    Journal.start(tmp_path, "run").close()

    assert "" == load_run(tmp_path / "run-0001.db").sessions[0].origin["folder"]


@pytest.mark.parametrize("folder", ["runs", "./runs", "../here/runs", ""])
@pytest.mark.parametrize("is_resumed", [False, True])
def test_working_directory_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, is_resumed: bool
) -> None:
    """A run that was started or resumed by a relative path is written to its end from any working directory."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    journal = Journal.start(folder, "run")
    if is_resumed:
        journal.close()
        journal = Journal.resume(Path(folder, "run-0001.db"))
    with journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        monkeypatch.chdir(tmp_path / "there")
        with ctx.step("fit") as step:
            step.record("loss", 0.5)
            journal.flush()
        ctx.record("loss", 0.25)
        assert "running" == load_run(journal.path).status

    assert journal.path.is_absolute()
    assert () == verify_run(journal.path)
    assert [] == list((tmp_path / "there").iterdir())
    run = load_run(os.path.relpath(journal.path))
    monkeypatch.chdir(tmp_path)
    with Journal.resume(run.path) as journal:
        assert (0.5, 0.25) == journal.context(FrozenContext).metrics["loss"]


def test_relative_path_where_the_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the working directory was deleted, a relative path is an error that says so."""
    path = died(tmp_path, {"lr": 0.1})
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for act in (load_run, Journal.resume, verify_run, lambda name: Journal.start(name, "run")):
        with pytest.raises(JournalError, match="the working directory was deleted; give an absolute path"):
            act("run-0001.db")

    assert 0.1 == load_run(path).values["lr"]


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
    monkeypatch.setattr("crystallize._journal.read_run.has_writer", lambda spooled: next(answers))

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
            inner["v"] = Opaque()
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
